//! IKE_SA_INIT (RFC 7296 §1.2, §2.6, §2.7): suite, key exchange, nonces, NAT detection. Nothing here is authenticated
//! before IKE_AUTH has signed it.
//!
//! ```text
//! Initiator                         Responder
//! HDR, SAi1, KEi, Ni           -->
//!                              <--  HDR, N(COOKIE)                    (under load)
//! HDR, N(COOKIE), SAi1, KEi, Ni -->
//!                              <--  HDR, N(INVALID_KE_PAYLOAD)        (another group)
//! HDR, [N(COOKIE)], SAi1, KEi, Ni -->
//!                              <--  HDR, SAr1, KEr, Nr, [CERTREQ]
//! ```
//!
//! `ask` is the initiator's side, `answer` the responder's.

mod answer;
mod ask;

use crate::crypto::suite::IkeSuite;
use crate::entropy::Entropy;
use crate::ike::auth::PeerSays;
use crate::ike::keylog;
use crate::ike::keymat::{Nonces, Spis, ike_keys};
use crate::ike::payloads::Required;
use crate::ike::protect::Protection;
use crate::ike::state::Handshake;
use crate::ike::step::Step;
use crate::secret::Secret;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload};

pub use answer::{FirstRequest, answer, stateless, stateless_about, stateless_with};
pub use ask::{Beginning, begin, process};

/// Both messages carry these.
const REQUIRED: Required = Required(&[PayloadType::SA, PayloadType::KE, PayloadType::NONCE]);

/// A fresh IKE SPI. RFC 7296 §3.1: never zero.
pub fn fresh_spi(entropy: &mut dyn Entropy) -> IkeSpi {
    loop {
        let spi = u64::from_be_bytes(entropy.array());
        if spi != 0 {
            return spi;
        }
    }
}

/// RFC 7383 §2.3: support for fragmentation is announced by a notification without data.
const FRAGMENTS: NotifyType = NotifyType::IKEV2_FRAGMENTATION_SUPPORTED;
/// RFC 9242 §3.1: likewise support for IKE_INTERMEDIATE.
const INTERMEDIATE: NotifyType = NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED;

/// RFC 6023 §3: likewise that IKE_AUTH may go without a child SA.
const CHILDLESS: NotifyType = NotifyType::CHILDLESS_IKEV2_SUPPORTED;
/// RFC 8784 §3: likewise that there is a PPK.
const PPK: NotifyType = NotifyType::USE_PPK;

/// Says what is supported.
fn say(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::status(kind, Vec::new()))
}

fn says(notifies: &[Notify], kind: NotifyType) -> bool {
    notifies.iter().any(|notify| notify.kind == kind)
}

/// What both sides know after it.
fn handshake(
    step: &mut Step<'_>,
    suite: IkeSuite,
    shared: &Secret,
    [initiator_nonce, responder_nonce]: [Vec<u8>; 2],
    spis: Spis,
    initiator: bool,
    [init_request, init_response]: [Vec<u8>; 2],
) -> Handshake {
    let nonces = Nonces { initiator: &initiator_nonce, responder: &responder_nonce };
    let keys = ike_keys(suite, shared, nonces, spis);
    step.out.key_log(|| keylog::ike(suite, spis, &keys));
    let protection = Protection::new(suite, &keys, initiator);
    Handshake {
        suite,
        keys,
        protection,
        initiator_nonce,
        responder_nonce,
        init_request,
        init_response,
        int_auth: Vec::new(),
        signed_later: (Vec::new(), Vec::new()),
        offers_ppk: false,
        uses_ppk: false,
        peer_says: PeerSays::default(),
    }
}
