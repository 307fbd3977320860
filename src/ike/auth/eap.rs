//! AUTH keyed by what EAP has made (RFC 7296 §2.16): the responder has proved itself before by other means, and now both
//! sides show that they have been in one and the same EAP conversation.

use super::check::{Failure, who};
use super::method::Means;
use super::octets::SignedOctets;
use super::{PeerAuthenticated, psk};
use crate::event::IkeReason;
use crate::ike::eap::Msk;
use crate::wire::ike::payload::{Auth, Id};

/// Our proof.
///
/// RFC 7296 §2.15: with a key-generating EAP method "the MSK from the EAP method" is the shared secret of both AUTH.
pub fn sign(msk: &Msk, signed: SignedOctets<'_>) -> Auth {
    psk::sign(msk.secret(), signed)
}

/// The initiator's: that it is the one whom EAP has proved, and that it is the peer we expect.
pub fn check(
    msk: &Msk,
    method: &'static str,
    expected: &Id,
    signed: SignedOctets<'_>,
    auth: &Auth,
) -> Result<PeerAuthenticated, Failure> {
    let fail = |reason| Err(Failure { reason, detail: who(signed.id, expected) });
    if !psk::is_right(msk.secret(), signed, auth) {
        return fail(IkeReason::AuthenticationFailed);
    }
    if !signed.id.names(expected) {
        return fail(IkeReason::WrongIdentity);
    }
    Ok(PeerAuthenticated::new(signed.id.clone(), Means::Eap(method)))
}

/// The responder's: that who proved itself at `first` is the other end of EAP too, and nobody in between.
pub fn confirm(
    first: PeerAuthenticated,
    msk: &Msk,
    signed: SignedOctets<'_>,
    auth: &Auth,
) -> Result<PeerAuthenticated, Failure> {
    if psk::is_right(msk.secret(), signed, auth) {
        return Ok(first);
    }
    let detail = "the responder's second AUTH is not keyed by what EAP has made".to_owned();
    Err(Failure { reason: IkeReason::AuthenticationFailed, detail })
}
