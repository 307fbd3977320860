//! Our own proof.

use super::method::{LocalAuth, Means};
use super::octets::SignedOctets;
use super::psk;
use crate::wire::ike::payload::{Auth, Payload};

/// What a proof depends on beside the octets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// Which of several pre-shared keys: counts up when a peer has refused us (§2 of docs/CONFIGURATION.md).
    pub turn: usize,
}

/// Our proof, and what the peer needs to check it.
pub struct Proof {
    /// The AUTH payload.
    pub auth: Auth,
    /// What it was made with.
    pub means: Means,
}

impl Proof {
    /// The payloads, in the order of RFC 7296 §1.2: certificates go before AUTH.
    pub fn into_payloads(self) -> impl Iterator<Item = Payload> {
        std::iter::once(Payload::Auth(self.auth))
    }
}

/// Makes our proof; `None` with EAP, where it takes more than one message.
pub fn prove(local: &LocalAuth, signed: SignedOctets<'_>, circumstances: Circumstances) -> Option<Proof> {
    match local {
        LocalAuth::Psk(secrets) => {
            let (place, secret) = secrets.of_turn(circumstances.turn);
            Some(Proof { auth: psk::sign(secret, signed), means: Means::Psk(place) })
        }
        LocalAuth::Eap(_) => None,
    }
}
