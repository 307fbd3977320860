//! IKE_AUTH (RFC 7296 §1.2, §2.15): who we are, who the peer is, and the first child SA.
//!
//! ```text
//! Initiator                                              Responder
//! HDR, SK {IDi, [N(INITIAL_CONTACT)], IDr, AUTH,
//!          SAi2, TSi, TSr}                          -->
//!                                                   <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
//!                                               or  <--  HDR, SK {IDr, AUTH, N(why no child SA)}
//!                                               or  <--  HDR, SK {N(AUTHENTICATION_FAILED)}
//! ```
//! What a proof is made of and how it is checked is not known here, but in `ike::auth`. [`establish_opened`] and
//! [`establish_answered`] come after the proofs of both sides, in however many rounds those were made.
//!
//! Without AUTH in the request the peer asks for EAP: `exchange::eap`.
//!
//! Left out: IPComp, transport mode (passed over: without our own USE_TRANSPORT_MODE the child SA is in tunnel mode,
//! §1.3.1).
//!
//! `ask` is the initiator's part, `answer` the responder's.

mod answer;
mod ask;

pub use answer::{answer, establish_answered, is_meant_for_us, refuse, refuse_with};
pub use ask::{establish_opened, give_up, process, request};

use crate::ike::auth::SignedOctets;
use crate::ike::keymat::Nonces;
use crate::ike::state::Handshake;
use crate::wire::ike::payload::Id;

impl Handshake {
    /// What the initiator signs.
    pub(in crate::ike) fn initiator_octets<'a>(&'a self, id: &'a Id) -> SignedOctets<'a> {
        let (prf, int_auth) = (self.suite.prf, &self.int_auth);
        let (message, nonce, sk_p) = (&self.init_request, &self.responder_nonce, &self.keys.sk_pi);
        SignedOctets { prf, message, nonce, sk_p, id, int_auth }
    }

    /// What the responder signs.
    pub(in crate::ike) fn responder_octets<'a>(&'a self, id: &'a Id) -> SignedOctets<'a> {
        let (prf, int_auth) = (self.suite.prf, &self.int_auth);
        let (message, nonce, sk_p) = (&self.init_response, &self.initiator_nonce, &self.keys.sk_pr);
        SignedOctets { prf, message, nonce, sk_p, id, int_auth }
    }

    /// Both nonces.
    pub(in crate::ike) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator_nonce, responder: &self.responder_nonce }
    }
}
