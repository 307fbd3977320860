//! AEAD keys as IPsec uses them: a 4-byte salt from KEYMAT and an 8-byte IV make the nonce (RFC 4106 §4, 5282 §4,
//! 7634 §2). The cipher is `ring`'s. Left out: ICVs of 8 and 12 bytes (RFC 8221 §5 asks for the 16-byte one alone), and
//! any care for the uniqueness of IVs, which is the sender's (`esp::outbound_sa`, `ike::protect`).

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

use super::suite::Cipher;

/// The integrity check failed: the bytes are not from the peer, or not as the peer sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrity check failed")]
pub struct Forged;

/// Length of the ICV of every AEAD cipher here.
pub const TAG_LEN: usize = 16;

/// Length of the salt at the end of each key's KEYMAT.
const SALT_LEN: usize = 4;

/// One direction's AEAD key, its key schedule done once. Boxed, so that moving an SA leaves no copy of it behind.
pub struct AeadKey(Box<Keyed>);

struct Keyed {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl AeadKey {
    /// `keymat` is key and salt, [`Cipher::key_len`] bytes. Panics if `cipher` is no AEAD or the length differs: both
    /// are the caller's own.
    #[must_use]
    pub fn new(cipher: Cipher, keymat: &[u8]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm16 => &AES_256_GCM,
            Cipher::Aes128Gcm16 => &AES_128_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Cbc => panic!("AES-CBC is no AEAD cipher"),
        };
        // RFC 4106 §8.1: the salt is the last four bytes of the KEYMAT; RFC 7634 §2 says the same for ChaCha20.
        let (key, salt) = keymat.split_last_chunk().expect("KEYMAT holds a salt");
        let key = UnboundKey::new(algorithm, key).expect("KEYMAT has the cipher's length");
        Self(Box::new(Keyed { key: LessSafeKey::new(key), salt: *salt }))
    }

    /// Encrypts `in_out` in place and gives the ICV.
    #[must_use]
    pub fn seal(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let Keyed { key, salt } = &*self.0;
        let tag = key
            .seal_in_place_separate_tag(nonce(*salt, iv), Aad::from(aad), in_out)
            .expect("a packet is shorter than 2^36 - 32 bytes");
        tag.as_ref().try_into().expect("every AEAD here has a 16-byte tag")
    }

    /// Decrypts `in_out` in place if `tag` is right; what `in_out` holds otherwise is not plaintext.
    pub fn open(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let Keyed { key, salt } = &*self.0;
        key.open_in_place_separate_tag(nonce(*salt, iv), Aad::from(aad), Tag::from(*tag), in_out, 0..)
            .map(|_| ())
            .map_err(|_| Forged)
    }
}

/// RFC 4106 §4: the nonce is the salt, then the IV.
fn nonce(salt: [u8; SALT_LEN], iv: [u8; 8]) -> Nonce {
    let mut nonce = [0; 12];
    let (front, back) = nonce.split_at_mut(SALT_LEN);
    front.copy_from_slice(&salt);
    back.copy_from_slice(&iv);
    Nonce::assume_unique_for_key(nonce)
}

impl Drop for Keyed {
    /// `ring` does not wipe its keys, so the schedule of a key of zeros is laid over this one. `black_box` keeps the
    /// compiler from leaving out a write that nobody reads.
    fn drop(&mut self) {
        let algorithm = self.key.algorithm();
        let zeros = [0; 32];
        let blank = UnboundKey::new(algorithm, &zeros[..algorithm.key_len()]).expect("as long as the key itself");
        self.key = LessSafeKey::new(blank);
        self.salt = [0; SALT_LEN];
        std::hint::black_box(self);
    }
}
