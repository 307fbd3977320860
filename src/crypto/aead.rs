//! AEAD keys as IPsec uses them: a 4-byte salt from KEYMAT and an 8-byte IV make the nonce (RFC 4106 §4, 5282 §4, 7634 §2).

use super::suite::Cipher;

/// The integrity check failed: the bytes are not from the peer, or not as the peer sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrity check failed")]
pub struct Forged;

/// Length of the ICV of every AEAD cipher here.
pub const TAG_LEN: usize = 16;

/// One direction's AEAD key, its key schedule done once.
pub struct AeadKey {
    _private: (),
}

impl AeadKey {
    /// `keymat` is key and salt, [`Cipher::key_len`] bytes. Panics if `cipher` is no AEAD or the length differs: both
    /// are the caller's own.
    #[must_use]
    pub fn new(cipher: Cipher, keymat: &[u8]) -> Self {
        todo!("{cipher:?} {}", keymat.len())
    }

    /// Encrypts `in_out` in place and gives the ICV.
    #[must_use]
    pub fn seal(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        todo!("{iv:?} {aad:?} {in_out:?}")
    }

    /// Decrypts `in_out` in place if `tag` is right; what `in_out` holds otherwise is not plaintext.
    pub fn open(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        todo!("{iv:?} {aad:?} {in_out:?} {tag:?}")
    }
}
