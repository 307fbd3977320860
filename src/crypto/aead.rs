//! AEAD keys as IPsec uses them: a 4-byte salt from KEYMAT and an 8-byte IV make the nonce (RFC 4106 §4, 5282 §4,
//! 7634 §2). The cipher is `ring`'s or, for packets, `aws-lc-rs`'s where that is the faster one. Left out: ICVs of 8 and 12
//! bytes (RFC 8221 §5 asks for the 16-byte one alone), and any care for the uniqueness of IVs, which is the sender's
//! (`esp::outbound_sa`, `ike::protect`).

use aws_lc_rs::aead as aws;
use ring::aead as ring;

use super::suite::Cipher;

/// The integrity check failed: the bytes are not from the peer, or not as the peer sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrity check failed")]
pub struct Forged;

/// Length of the ICV of every AEAD cipher here.
pub const TAG_LEN: usize = 16;

/// Length of the salt at the end of each key's KEYMAT.
const SALT_LEN: usize = 4;

/// Whose code does the work. The bytes are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The crate `ring`.
    #[default]
    Ring,
    /// The crate `aws-lc-rs`.
    AwsLc,
    /// Nobody's: nothing is encrypted, nothing is checked. It measures what all the rest costs. No proposal names it,
    /// and a gateway chooses it only if it was built to measure (feature `measure-without-cipher`).
    Null,
}

impl Provider {
    /// Those that protect.
    pub const ALL: [Self; 2] = [Self::Ring, Self::AwsLc];

    /// Its name in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc-rs",
            Self::Null => "NONE: NOTHING IS ENCRYPTED",
        }
    }
}

/// One direction's AEAD key, its key schedule done once. Boxed, so that moving an SA leaves no copy of it behind.
pub struct AeadKey(Box<Keyed>);

struct Keyed {
    key: Key,
    salt: [u8; SALT_LEN],
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is boxed as a whole, and a second step to the key would cost each packet"
)]
enum Key {
    Ring(ring::LessSafeKey),
    /// `aws-lc-rs` wipes its keys itself.
    AwsLc(aws::LessSafeKey),
    Null,
}

impl Key {
    fn new(provider: Provider, cipher: Cipher, key: &[u8]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm16 => (&ring::AES_256_GCM, &aws::AES_256_GCM),
            Cipher::Aes128Gcm16 => (&ring::AES_128_GCM, &aws::AES_128_GCM),
            Cipher::ChaCha20Poly1305 => (&ring::CHACHA20_POLY1305, &aws::CHACHA20_POLY1305),
            Cipher::Aes256Cbc => panic!("AES-CBC is no AEAD cipher"),
        };
        match provider {
            Provider::Ring => {
                let key = ring::UnboundKey::new(algorithm.0, key).expect("KEYMAT has the cipher's length");
                Self::Ring(ring::LessSafeKey::new(key))
            }
            Provider::AwsLc => {
                let key = aws::UnboundKey::new(algorithm.1, key).expect("KEYMAT has the cipher's length");
                Self::AwsLc(aws::LessSafeKey::new(key))
            }
            Provider::Null => Self::Null,
        }
    }
}

impl AeadKey {
    /// A key for `ring`: messages of IKE are few.
    ///
    /// `keymat` is key and salt, [`Cipher::key_len`] bytes. Panics if `cipher` is no AEAD or the length differs: both
    /// are the caller's own.
    #[must_use]
    pub fn new(cipher: Cipher, keymat: &[u8]) -> Self {
        Self::with(Provider::Ring, cipher, keymat)
    }

    /// A key for the provider that packets have been given; otherwise as [`new`](Self::new).
    #[must_use]
    pub fn with(provider: Provider, cipher: Cipher, keymat: &[u8]) -> Self {
        // RFC 4106 §8.1: the salt is the last four bytes of the KEYMAT; RFC 7634 §2 says the same for ChaCha20.
        let (key, salt) = keymat.split_last_chunk().expect("KEYMAT holds a salt");
        Self(Box::new(Keyed { key: Key::new(provider, cipher, key), salt: *salt }))
    }

    /// Encrypts `in_out` in place and gives the ICV.
    #[must_use]
    pub fn seal(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let Keyed { key, salt } = &*self.0;
        let nonce = nonce(*salt, iv);
        match key {
            Key::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, ring::Aad::from(aad), in_out);
                let tag = sealed.expect("a packet is shorter than 2^36 - 32 bytes");
                tag.as_ref().try_into().expect("every AEAD here has a 16-byte tag")
            }
            Key::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, aws::Aad::from(aad), in_out);
                let tag = sealed.expect("a packet is shorter than 2^36 - 32 bytes");
                tag.as_ref().try_into().expect("every AEAD here has a 16-byte tag")
            }
            Key::Null => [0; TAG_LEN],
        }
    }

    /// Decrypts `in_out` in place if `tag` is right; what `in_out` holds otherwise is not plaintext.
    pub fn open(&self, iv: [u8; 8], aad: &[u8], in_out: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let Keyed { key, salt } = &*self.0;
        let nonce = nonce(*salt, iv);
        match key {
            Key::Ring(key) => {
                let (nonce, aad) = (ring::Nonce::assume_unique_for_key(nonce), ring::Aad::from(aad));
                let opened = key.open_in_place_separate_tag(nonce, aad, ring::Tag::from(*tag), in_out, 0..);
                opened.map(|_| ()).map_err(|_| Forged)
            }
            Key::AwsLc(key) => {
                let (nonce, aad) = (aws::Nonce::assume_unique_for_key(nonce), aws::Aad::from(aad));
                let opened = key.open_in_place_separate_tag(nonce, aad, tag, in_out);
                opened.map(|_| ()).map_err(|_| Forged)
            }
            Key::Null => Ok(()),
        }
    }
}

/// RFC 4106 §4: the nonce is the salt, then the IV.
fn nonce(salt: [u8; SALT_LEN], iv: [u8; 8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (front, back) = nonce.split_at_mut(SALT_LEN);
    front.copy_from_slice(&salt);
    back.copy_from_slice(&iv);
    nonce
}

impl Keyed {
    /// `ring` does not wipe its keys, so the schedule of a key of zeros is laid over this one. `black_box` keeps the
    /// compiler from leaving out a write that nobody reads. What a constructor left on its stack is out of reach.
    fn wipe(&mut self) {
        if let Key::Ring(key) = &mut self.key {
            let algorithm = key.algorithm();
            let blank = ring::UnboundKey::new(algorithm, &[0; 32][..algorithm.key_len()]).expect("as long as the key");
            *key = ring::LessSafeKey::new(blank);
        }
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
    fn both_providers_seal_the_same_bytes_and_open_each_others() {
        for cipher in AEADS {
            let keymat: Vec<u8> = (0..).take(cipher.key_len()).collect();
            let keys = Provider::ALL.map(|provider| AeadKey::with(provider, cipher, &keymat));
            for len in (0..200).chain([1408, 9000]) {
                let plain: Vec<u8> = (0..=255).cycle().take(len).collect();
                let sealed = keys.each_ref().map(|key| {
                    let mut bytes = plain.clone();
                    (key.seal([3; 8], b"SPI and sequence", &mut bytes), bytes)
                });
                assert_eq!(sealed[0], sealed[1], "{cipher:?}, {len} bytes");
                assert!(len < 16 || sealed[0].1 != plain);
                for key in &keys {
                    let (tag, mut bytes) = sealed[0].clone();
                    assert_eq!(key.open([3; 8], b"SPI and sequence", &mut bytes, &tag), Ok(()));
                    assert_eq!(bytes, plain);
                }
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        for (cipher, provider) in AEADS.into_iter().flat_map(|cipher| Provider::ALL.map(|provider| (cipher, provider)))
        {
            let key = AeadKey::with(provider, cipher, &vec![7; cipher.key_len()]);
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
