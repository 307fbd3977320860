//! The peer's proof: the one place where it becomes a [`PeerAuthenticated`].

use super::method::{Means, PeerAuth};
use super::octets::SignedOctets;
use super::{PeerAuthenticated, certificate, psk};
use crate::event::IkeReason;
use crate::ike::describe;
use crate::wire::ike::payload::{Auth, Cert, Id};

/// What a peer has shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its AUTH payload.
    pub auth: &'a Auth,
    /// Its certificates, its own first.
    pub certificates: &'a [Cert],
    /// The time of day, in seconds since 1970; 0: not known.
    pub unix_now: u64,
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
    let refused = |reason| Failure { reason, detail: who(signed.id, expected) };
    let (means, chain) = match peer {
        PeerAuth::Psk(secrets) => {
            let place = psk::check(secrets, signed, shown.auth).map_err(refused)?;
            (Means::Psk(place), None)
        }
        PeerAuth::Certificate(trust) => {
            let (means, chain) = certificate::check(trust, signed, shown.auth, shown.certificates, shown.unix_now)?;
            (means, Some(chain))
        }
        // Whatever it has shown, it was to begin EAP instead: see `eap`.
        PeerAuth::Eap(_) => return Err(refused(IkeReason::AuthenticationFailed)),
    };
    // RFC 7296 §3.5 leaves matching to policy; ours compares type and bytes exactly.
    if !signed.id.names(expected) {
        return Err(Failure { reason: IkeReason::WrongIdentity, detail: who(signed.id, expected) });
    }
    Ok(PeerAuthenticated { chain, ..PeerAuthenticated::new(signed.id.clone(), means) })
}

/// For the log: who spoke, and who should have.
pub(super) fn who(said: &Id, expected: &Id) -> String {
    let told = describe::identity(said);
    if said.names(expected) {
        return format!("the peer says it is {told}, as expected, and does not prove it");
    }
    format!("the peer says it is {told}, expected is {}", describe::identity(expected))
}
