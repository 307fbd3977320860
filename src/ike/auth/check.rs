//! The peer's proof: the one place where it becomes a [`PeerAuthenticated`].

use super::method::{Means, PeerAuth};
use super::octets::SignedOctets;
use super::{PeerAuthenticated, psk};
use crate::event::IkeReason;
use crate::ike::describe;
use crate::wire::ike::payload::{Auth, Id};

/// What a peer has shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its AUTH payload.
    pub auth: &'a Auth,
}

/// Why a peer is not who it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the counter.
    pub reason: IkeReason,
    /// For people, without raw bytes of the peer.
    pub detail: String,
}

/// Checks the peer's proof, and that it is the peer we expect. The proof comes first: who it is says nothing before.
pub fn check(
    peer: &PeerAuth,
    expected: &Id,
    signed: SignedOctets<'_>,
    shown: Shown<'_>,
) -> Result<PeerAuthenticated, Failure> {
    let checked = match peer {
        PeerAuth::Psk(secrets) => psk::check(secrets, signed, shown.auth).map(Means::Psk),
        // Whatever it has shown, it was to begin EAP instead: see `eap`.
        PeerAuth::Eap(_) => Err(IkeReason::AuthenticationFailed),
    };
    let means = checked.map_err(|reason| Failure { reason, detail: who(signed.id, expected) })?;
    // RFC 7296 §3.5 leaves matching to policy; ours compares type and bytes exactly.
    if !signed.id.names(expected) {
        return Err(Failure { reason: IkeReason::WrongIdentity, detail: who(signed.id, expected) });
    }
    Ok(PeerAuthenticated::new(signed.id.clone(), means))
}

/// For the log: who spoke, and who should have.
pub(super) fn who(said: &Id, expected: &Id) -> String {
    format!("the peer says it is {}, expected is {}", describe::identity(said), describe::identity(expected))
}
