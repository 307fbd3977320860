//! AES-256-CBC with HMAC-SHA2, encrypt-then-MAC, towards older peers (RFC 3602, 4868). Whole blocks only: padding
//! belongs to ESP (RFC 4303 §2.4) and to the SK payload (RFC 7296 §3.14), not to the cipher.

use aes::Aes256;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use hmac::{Hmac, KeyInit};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::aead::Forged;
use super::suite::{Cipher, Mac};

/// A truncated HMAC of at most 32 bytes.
#[derive(Clone, Copy)]
pub struct Tag {
    bytes: [u8; 32],
    len: u8,
}

impl Tag {
    /// RFC 4868 §2.1: truncation keeps the leading half of the hash.
    fn truncated(mac: Mac, hash: &[u8]) -> Self {
        let len = mac.icv_len();
        let mut bytes = [0; 32];
        bytes[..len].copy_from_slice(&hash[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The checksum.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// One direction's cipher and integrity keys; key schedules done once. Boxed, so that moving an SA leaves no copy behind.
pub struct CbcHmacKey(Box<Keyed>);

struct Keyed {
    cipher: Aes256,
    mac: MacKey,
}

/// HMAC with inner and outer pads already hashed; a packet clones this state.
enum MacKey {
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl CbcHmacKey {
    /// `cipher_key` has 32 bytes, `mac_key` [`Mac::key_len`]. Panics otherwise: both are the caller's own.
    #[must_use]
    pub fn new(mac: Mac, cipher_key: &[u8], mac_key: &[u8]) -> Self {
        assert_eq!(cipher_key.len(), Cipher::Aes256Cbc.key_len(), "AES-256 takes a key of 32 bytes");
        // RFC 4868 §2.1.1: a fixed key length, that of the hash's output.
        assert_eq!(mac_key.len(), mac.key_len(), "the key is as long as the hash");
        let cipher = Aes256::new_from_slice(cipher_key).expect("its length was just checked");
        let mac = match mac {
            Mac::HmacSha256 => MacKey::Sha256(keyed(mac_key)),
            Mac::HmacSha384 => MacKey::Sha384(keyed(mac_key)),
            Mac::HmacSha512 => MacKey::Sha512(keyed(mac_key)),
        };
        Self(Box::new(Keyed { cipher, mac }))
    }

    /// Encrypts whole blocks in place.
    pub fn encrypt(&self, iv: &[u8; 16], in_out: &mut [u8]) {
        let (blocks, rest) = Array::slice_as_chunks_mut(in_out);
        debug_assert!(rest.is_empty(), "the caller pads to whole blocks");
        cbc::Encryptor::inner_iv_init(&self.0.cipher, iv.into()).encrypt_blocks(blocks);
    }

    /// Decrypts whole blocks in place. Verify first.
    pub fn decrypt(&self, iv: &[u8; 16], in_out: &mut [u8]) {
        let (blocks, rest) = Array::slice_as_chunks_mut(in_out);
        debug_assert!(rest.is_empty(), "the caller refuses what is not whole blocks");
        cbc::Decryptor::inner_iv_init(&self.0.cipher, iv.into()).decrypt_blocks(blocks);
    }

    /// The checksum over `parts`, one after the other.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> Tag {
        match &self.0.mac {
            MacKey::Sha256(key) => Tag::truncated(Mac::HmacSha256, &over(key, parts)),
            MacKey::Sha384(key) => Tag::truncated(Mac::HmacSha384, &over(key, parts)),
            MacKey::Sha512(key) => Tag::truncated(Mac::HmacSha512, &over(key, parts)),
        }
    }

    /// Compares in constant time.
    pub fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), Forged> {
        if self.mac(parts).as_bytes().ct_eq(icv).into() { Ok(()) } else { Err(Forged) }
    }
}

/// An HMAC with its key's pads hashed.
pub(super) fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The HMAC over `parts`, from a keyed state that stays as it is.
pub(super) fn over<M: hmac::Mac + Clone>(key: &M, parts: &[&[u8]]) -> hmac::digest::Output<M> {
    let mut state = key.clone();
    for part in parts {
        state.update(part);
    }
    state.finalize().into_bytes()
}
