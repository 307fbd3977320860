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

impl Keyed {
    /// `ring` does not wipe its keys, so the schedule of a key of zeros is laid over this one. `black_box` keeps the
    /// compiler from leaving out a write that nobody reads. What a constructor left on its stack is out of reach.
    fn wipe(&mut self) {
        let algorithm = self.key.algorithm();
        let blank = UnboundKey::new(algorithm, &[0; 32][..algorithm.key_len()]).expect("as long as the key itself");
        self.key = LessSafeKey::new(blank);
        self.salt = [0; SALT_LEN];
        std::hint::black_box(self);
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AEADS: [Cipher; 3] = [Cipher::Aes256Gcm16, Cipher::Aes128Gcm16, Cipher::ChaCha20Poly1305];

    #[test]
    fn a_wiped_key_is_the_key_of_zeros() {
        for cipher in AEADS {
            let mut key = AeadKey::new(cipher, &vec![7; cipher.key_len()]);
            key.0.wipe();
            let blank = AeadKey::new(cipher, &vec![0; cipher.key_len()]);
            let sealed = |key: &AeadKey| {
                let mut bytes = *b"attack at dawn";
                (key.seal([9; 8], b"aad", &mut bytes), bytes)
            };
            assert_eq!(sealed(&key), sealed(&blank), "{cipher:?}");
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        for cipher in AEADS {
            let key = AeadKey::new(cipher, &vec![7; cipher.key_len()]);
            let (iv, aad, mut sealed) = ([1, 2, 3, 4, 5, 6, 7, 8], *b"SPI and sequence", *b"inner packet");
            let tag = key.seal(iv, &aad, &mut sealed);
            let refused =
                |iv, aad: &[u8], sealed: [u8; 12], tag| key.open(iv, aad, &mut sealed.clone(), &tag) == Err(Forged);
            assert!(!refused(iv, &aad, sealed, tag));
            for bit in 0..128 {
                assert!(refused(iv, &aad, sealed, flipped(tag, bit)), "{cipher:?}, bit {bit} of the ICV");
                assert!(refused(iv, &flipped(aad, bit), sealed, tag), "{cipher:?}, bit {bit} of the AAD");
                assert!(refused(flipped(iv, bit % 64), &aad, sealed, tag), "{cipher:?}, bit {bit} of the IV");
                assert!(refused(iv, &aad, flipped(sealed, bit % 96), tag), "{cipher:?}, bit {bit} of the text");
            }
        }
    }

    fn flipped<const N: usize>(mut bytes: [u8; N], bit: usize) -> [u8; N] {
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }
}
