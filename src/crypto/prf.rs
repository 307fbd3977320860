//! `prf` and `prf+` (RFC 7296 §2.13), and the hash of NAT detection (§2.23).

use super::suite::PrfAlg;
use crate::secret::Secret;

impl PrfAlg {
    /// `prf(key, parts[0] | parts[1] | ...)`.
    #[must_use]
    pub fn prf(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        todo!("{} {parts:?}", key.len())
    }

    /// `prf+(key, parts[0] | parts[1] | ...)`, the first `len` bytes; at most 255 blocks (§2.13).
    #[must_use]
    pub fn prf_plus(self, key: &[u8], parts: &[&[u8]], len: usize) -> Secret {
        todo!("{} {parts:?} {len}", key.len())
    }
}

/// SHA-1 over `parts`: only for NAT_DETECTION_*_IP, where RFC 7296 §2.23 prescribes it and nothing depends on its strength.
#[must_use]
pub fn nat_detection_hash(parts: &[&[u8]]) -> [u8; 20] {
    todo!("{parts:?}")
}
