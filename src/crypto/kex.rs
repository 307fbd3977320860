//! Key exchange (RFC 7296 §2.7, RFC 6989): each peer's value is checked before it is used.

use super::suite::Group;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// A peer's public value that must not be used (RFC 6989 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's public value is not valid for its group")]
pub struct BadPublicValue;

/// Our half of one exchange, used once.
pub struct KeyPair {
    group: Group,
    public: Vec<u8>,
}

impl KeyPair {
    /// Makes a fresh private value from `entropy` alone, so that a seed repeats the exchange.
    #[must_use]
    pub fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        let _ = entropy;
        todo!("{group:?}")
    }

    /// The method.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Our value as it goes into a KE payload: RFC 5903 §7 without the leading 4, RFC 8031 §2, MODP padded to the prime's length.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret with the owner of `peer`'s value; leading zeros kept (RFC 7296 §2.14).
    pub fn agree(self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        todo!("{peer:?}")
    }
}
