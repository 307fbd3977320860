//! Key exchange (RFC 7296 §2.7, RFC 6989): each peer's value is checked before it is used.
//!
//! A private value is used once: `agree` consumes it. RFC 6989 §2.3 asks for more checks from those who use one again.
//! The groups themselves: X25519 here, `ecp`, `modp` and `mlkem`.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::suite::Group;
use super::{ecp, mlkem, modp};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// A peer's public value that must not be used (RFC 6989 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's public value is not valid for its group")]
pub struct BadPublicValue;

/// Our half of one exchange, used once.
pub struct KeyPair {
    group: Group,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Curve25519(StaticSecret),
    Ecp(ecp::Private),
    Modp(modp::Private),
    MlKem(mlkem::Private),
}

impl KeyPair {
    /// Makes a fresh private value from `entropy` alone, so that a seed repeats the exchange.
    #[must_use]
    pub fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        let (private, public) = match group {
            Group::Modp2048 | Group::Modp3072 | Group::Modp4096 => {
                let private = modp::Private::generate(group, entropy);
                let public = private.public();
                (Private::Modp(private), public)
            }
            Group::Ecp256 | Group::Ecp384 | Group::Ecp521 => {
                let private = ecp::Private::generate(group, entropy);
                let public = private.public();
                (Private::Ecp(private), public)
            }
            Group::MlKem768 | Group::MlKem1024 => {
                let (private, public) = mlkem::Private::generate(group, entropy);
                (Private::MlKem(private), public)
            }
            Group::Curve25519 => {
                // RFC 8031 §2: 32 random bytes; X25519 itself clamps them (RFC 7748 §5).
                let mut bytes = Zeroizing::new([0; 32]);
                entropy.fill(&mut *bytes);
                let private = StaticSecret::from(*bytes);
                let public = PublicKey::from(&private).as_bytes().to_vec();
                (Private::Curve25519(private), public)
            }
        };
        Self { group, private, public }
    }

    /// The method.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Our value as it goes into a KE payload: RFC 5903 §7 without the leading 4, RFC 8031 §2, MODP padded to
    /// the prime's length, an encapsulation key of ML-KEM.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret with the owner of `peer`'s value, which answers ours; leading zeros kept (RFC 7296 §2.14).
    pub fn agree(self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        if peer.len() != self.group.answer_len() {
            return Err(BadPublicValue);
        }
        match self.private {
            Private::Modp(private) => private.agree(peer),
            Private::Ecp(private) => private.agree(peer),
            Private::MlKem(private) => private.agree(peer),
            Private::Curve25519(private) => {
                let peer = <[u8; 32]>::try_from(peer).map_err(|_| BadPublicValue)?;
                let shared = private.diffie_hellman(&PublicKey::from(peer));
                // RFC 7748 §6.1 lets both sides check for the all-zero value that a point of small order gives, and
                // RFC 8031 §3 lets the exchange fail then; the check looks at every byte whatever the value.
                if shared.was_contributory() { Ok(Secret::copy_of(shared.as_bytes())) } else { Err(BadPublicValue) }
            }
        }
    }
}

/// The responder's half of one exchange: the value that answers `peer`'s, and the shared secret.
pub fn answer(group: Group, peer: &[u8], entropy: &mut dyn Entropy) -> Result<(Vec<u8>, Secret), BadPublicValue> {
    if group.is_post_quantum() {
        return mlkem::answer(group, peer, entropy);
    }
    let keypair = KeyPair::generate(group, entropy);
    let public = keypair.public().to_vec();
    Ok((public, keypair.agree(peer)?))
}

#[cfg(test)]
mod tests;
