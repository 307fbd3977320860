//! AES-256-CBC with HMAC-SHA2, encrypt-then-MAC, towards older peers (RFC 3602, 4868).

use super::aead::Forged;
use super::suite::Mac;

/// A truncated HMAC of at most 32 bytes.
#[derive(Clone, Copy)]
pub struct Tag {
    bytes: [u8; 32],
    len: u8,
}

impl Tag {
    /// The checksum.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// One direction's cipher and integrity keys.
pub struct CbcHmacKey {
    _private: (),
}

impl CbcHmacKey {
    /// `cipher_key` has 32 bytes, `mac_key` [`Mac::key_len`].
    #[must_use]
    pub fn new(mac: Mac, cipher_key: &[u8], mac_key: &[u8]) -> Self {
        todo!("{mac:?} {} {}", cipher_key.len(), mac_key.len())
    }

    /// Encrypts whole blocks in place.
    pub fn encrypt(&self, iv: &[u8; 16], in_out: &mut [u8]) {
        todo!("{iv:?} {in_out:?}")
    }

    /// Decrypts whole blocks in place. Verify first.
    pub fn decrypt(&self, iv: &[u8; 16], in_out: &mut [u8]) {
        todo!("{iv:?} {in_out:?}")
    }

    /// The checksum over `parts`, one after the other.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> Tag {
        todo!("{parts:?}")
    }

    /// Compares in constant time.
    pub fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> Result<(), Forged> {
        todo!("{parts:?} {icv:?}")
    }
}
