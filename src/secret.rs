//! Bytes that must not be printed, copied by accident, or left behind in memory.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Key material: redacted when printed, compared in constant time, wiped when dropped, not `Clone`.
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes over `bytes`. The vector is not reallocated on the way, so no copy stays behind.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self(bytes.into_boxed_slice());
        }
        let exact = Self(bytes.as_slice().into());
        bytes.zeroize();
        exact
    }

    /// A copy of `bytes`, for key material that arrives in a borrowed buffer.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves. The name is long so that each use is seen.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let mut roomy = Vec::with_capacity(64);
        roomy.extend_from_slice(b"swordfish");
        let secret = Secret::new(roomy);
        assert_eq!(format!("{secret:?}"), "Secret(9 bytes)");
        assert_eq!(secret, Secret::copy_of(b"swordfish"));
        assert_ne!(secret, Secret::copy_of(b"swordfisH"));
    }
}
