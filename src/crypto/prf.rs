//! `prf` and `prf+` (RFC 7296 §2.13), and the hash of NAT detection (§2.23). Only HMAC over SHA-2 (RFC 4868 §2.1.2).

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use super::cbc_hmac::{keyed, over};
use super::suite::PrfAlg;
use crate::secret::Secret;

impl PrfAlg {
    /// `prf(key, parts[0] | parts[1] | ...)`.
    #[must_use]
    pub fn prf(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        match self {
            Self::HmacSha256 => prf::<Hmac<Sha256>>(key, parts),
            Self::HmacSha384 => prf::<Hmac<Sha384>>(key, parts),
            Self::HmacSha512 => prf::<Hmac<Sha512>>(key, parts),
        }
    }

    /// `prf+(key, parts[0] | parts[1] | ...)`, the first `len` bytes; at most 255 blocks (§2.13), more panics, for the
    /// lengths of keys are our own.
    #[must_use]
    pub fn prf_plus(self, key: &[u8], parts: &[&[u8]], len: usize) -> Secret {
        match self {
            Self::HmacSha256 => prf_plus::<Hmac<Sha256>>(key, parts, len),
            Self::HmacSha384 => prf_plus::<Hmac<Sha384>>(key, parts, len),
            Self::HmacSha512 => prf_plus::<Hmac<Sha512>>(key, parts, len),
        }
    }
}

fn prf<M: Mac + KeyInit + Clone>(key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut block = over::<M>(&keyed(key), parts);
    let secret = Secret::copy_of(&block);
    block.as_mut_slice().zeroize();
    secret
}

/// RFC 7296 §2.13: "prf+ (K,S) = T1 | T2 | T3 | T4 | ...", "T1 = prf (K, S | 0x01)", "T2 = prf (K, T1 | S | 0x02)".
fn prf_plus<M: Mac + KeyInit + Clone>(key: &[u8], parts: &[&[u8]], len: usize) -> Secret {
    // RFC 7296 §2.13: the function is not defined beyond 255 times the size of the prf output.
    assert!(len <= 255 * M::output_size(), "prf+ ends after 255 blocks");
    let key = keyed::<M>(key);
    let mut out = Vec::with_capacity(len);
    let mut last = Zeroizing::new(Vec::new());
    for counter in 1..=u8::MAX {
        let Some(missing) = len.checked_sub(out.len()).filter(|missing| *missing > 0) else { break };
        let mut state = key.clone();
        state.update(&last);
        for part in parts {
            state.update(part);
        }
        state.update(&[counter]);
        let mut block = state.finalize().into_bytes();
        out.extend_from_slice(&block[..missing.min(block.len())]);
        last = Zeroizing::new(block.to_vec());
        block.as_mut_slice().zeroize();
    }
    Secret::new(out)
}

/// SHA-1 over `parts`: only for NAT_DETECTION_*_IP, where RFC 7296 §2.23 prescribes it and nothing depends on its strength.
#[must_use]
pub fn nat_detection_hash(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prf_plus_is_the_chain_of_its_blocks_cut_to_length() {
        for prf in [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512] {
            let (key, seed) = (b"a key".as_slice(), b"a seed".as_slice());
            let mut chain = Vec::new();
            let mut block: Vec<u8> = Vec::new();
            for number in 1..=4u8 {
                block = prf.prf(key, &[&block, seed, &[number]]).expose().to_vec();
                chain.extend_from_slice(&block);
            }
            for len in [1, prf.len(), prf.len() + 1, 3 * prf.len() + 7] {
                assert_eq!(prf.prf_plus(key, &[b"a ", b"seed"], len).expose(), &chain[..len], "{prf:?} {len}");
            }
        }
    }
}
