//! Our own proof.

use super::announce::PeerSays;
use super::check::Failure;
use super::method::{LocalAuth, Means};
use super::octets::SignedOctets;
use super::{certificate, psk};
use crate::wire::ike::payload::{Auth, Cert, Payload};

/// What a proof depends on beside the octets.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Which of several pre-shared keys: counts up when a peer has refused us (docs/CONFIG.md, "Changing a pre-shared
    /// key").
    pub turn: usize,
    /// What the peer has said of the signatures that it takes.
    pub says: &'a PeerSays,
}

/// Our proof, and what the peer needs to check it.
pub struct Proof {
    /// The AUTH payload.
    pub auth: Auth,
    /// Our certificates, our own first.
    pub certificates: Vec<Cert>,
    /// What it was made with.
    pub means: Means,
}

impl Proof {
    /// The payloads of a message that holds nothing between them, in the order of RFC 7296 §1.2.
    pub fn into_payloads(self) -> impl Iterator<Item = Payload> {
        self.certificates.into_iter().map(Payload::Cert).chain([Payload::Auth(self.auth)])
    }
}

/// Makes our proof; `None` with EAP, where it takes more than one message.
pub fn prove(
    local: &LocalAuth,
    signed: SignedOctets<'_>,
    circumstances: Circumstances<'_>,
) -> Result<Option<Proof>, Failure> {
    match local {
        LocalAuth::Psk(secrets) => {
            let (place, secret) = secrets.of_turn(circumstances.turn);
            let auth = psk::sign(secret, signed);
            Ok(Some(Proof { auth, certificates: Vec::new(), means: Means::Psk(place) }))
        }
        LocalAuth::Certificate(credential) => {
            let (auth, certificates, means) = certificate::sign(credential, signed, circumstances.says)?;
            Ok(Some(Proof { auth, certificates, means }))
        }
        LocalAuth::Eap(_) => Ok(None),
    }
}
