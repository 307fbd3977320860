//! Algorithms by name, and the suites that a proposal is made of.
//!
//! Here are the words, their lengths (RFC 4106, 4868, 5903, 7634, 8031) and their numbers at IANA; how an operator
//! writes a suite is in `written`.

use crate::wire::ike::numbers::{Encr, Integ, KeMethod, Prf};

/// Encryption for SK payloads and ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM with a 16-byte ICV (RFC 4106, 5282).
    Aes256Gcm16,
    /// AES-128-GCM with a 16-byte ICV; lab agreements only.
    Aes128Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634); lab agreements only.
    ChaCha20Poly1305,
    /// AES-256-CBC (RFC 3602), always together with a [`Mac`].
    Aes256Cbc,
}

/// Integrity protection beside a cipher that has none of its own (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    /// HMAC-SHA-256-128.
    HmacSha256,
    /// HMAC-SHA-384-192.
    HmacSha384,
    /// HMAC-SHA-512-256.
    HmacSha512,
}

/// Pseudorandom function of an IKE SA (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrfAlg {
    /// PRF-HMAC-SHA-256.
    HmacSha256,
    /// PRF-HMAC-SHA-384.
    HmacSha384,
    /// PRF-HMAC-SHA-512.
    HmacSha512,
}

/// Key exchange method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Group 14 (RFC 3526).
    Modp2048,
    /// Group 15 (RFC 3526).
    Modp3072,
    /// Group 16 (RFC 3526).
    Modp4096,
    /// Group 19 (RFC 5903).
    Ecp256,
    /// Group 20 (RFC 5903).
    Ecp384,
    /// Group 21 (RFC 5903).
    Ecp521,
    /// Group 31 (RFC 8031).
    Curve25519,
    /// ML-KEM-768 (draft-ietf-ipsecme-ikev2-mlkem), beside a classical exchange.
    MlKem768,
    /// ML-KEM-1024, likewise.
    MlKem1024,
}

/// How many key exchanges may follow the first one (RFC 9370 §2.2.1: seven transform types).
pub const MAX_ADDITIONAL: usize = 7;

/// Key exchanges beside the first one (RFC 9370), in the order in which they are made: by transform type, 6 to 12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Additional([Option<Group>; MAX_ADDITIONAL]);

impl Additional {
    /// None at all.
    pub const NONE: Self = Self([None; MAX_ADDITIONAL]);

    /// One alone, as ADDKE1.
    #[must_use]
    pub const fn one(group: Group) -> Self {
        let mut all = Self::NONE;
        all.0[0] = Some(group);
        all
    }

    /// Puts one in its place, from 1 on. Gives what stood there.
    pub fn put(&mut self, place: usize, group: Group) -> Option<Group> {
        self.0.get_mut(place.checked_sub(1)?)?.replace(group)
    }

    /// Their places, from 1 on, and what stands there.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Group)> + '_ {
        (1..).zip(&self.0).filter_map(|(place, group)| Some((place, (*group)?)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether one of them withstands a quantum computer, as far as is known.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.iter().any(|(_, group)| group.is_post_quantum())
    }
}

/// What one IKE SA is protected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IkeSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` with an AEAD cipher.
    pub mac: Option<Mac>,
    /// Pseudorandom function.
    pub prf: PrfAlg,
    /// Key exchange.
    pub group: Group,
    /// Key exchanges that follow it.
    pub additional: Additional,
}

/// What one child SA is protected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EspSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` with an AEAD cipher.
    pub mac: Option<Mac>,
    /// Key exchange of CREATE_CHILD_SA; left out in IKE_AUTH (RFC 7296 §1.2).
    pub group: Option<Group>,
    /// Key exchanges that follow it; none without a first one.
    pub additional: Additional,
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    pub esn: bool,
}

impl Cipher {
    /// Bytes of KEYMAT that one direction takes, the salt of an AEAD cipher included (RFC 4106 §8.1, RFC 7634 §2).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32 + 4,
            Self::Aes128Gcm16 => 16 + 4,
            Self::Aes256Cbc => 32,
        }
    }

    /// Length of the IV that each packet or message carries.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// What the plaintext is padded to a multiple of.
    #[must_use]
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    /// Whether the cipher protects integrity by itself.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::Aes256Cbc)
    }

    /// Whether an agreement that asks for "AES 256 bit" (CBP §2a) is met.
    #[must_use]
    pub const fn is_aes256(self) -> bool {
        matches!(self, Self::Aes256Gcm16 | Self::Aes256Cbc)
    }

    /// The transform's number and its Key Length attribute: RFC 7296 §3.3.5 gives one to AES and none to ChaCha20, whose
    /// key has one length (RFC 7634 §4).
    #[must_use]
    pub const fn encr(self) -> (Encr, Option<u16>) {
        match self {
            Self::Aes256Gcm16 => (Encr::AES_GCM_16, Some(256)),
            Self::Aes128Gcm16 => (Encr::AES_GCM_16, Some(128)),
            Self::ChaCha20Poly1305 => (Encr::CHACHA20_POLY1305, None),
            Self::Aes256Cbc => (Encr::AES_CBC, Some(256)),
        }
    }

    /// The cipher with this number and Key Length attribute, if it is one of ours.
    #[must_use]
    pub fn from_encr(encr: Encr, key_bits: Option<u16>) -> Option<Self> {
        [Self::Aes256Gcm16, Self::Aes256Cbc, Self::Aes128Gcm16, Self::ChaCha20Poly1305]
            .into_iter()
            .find(|cipher| cipher.encr() == (encr, key_bits))
    }
}

impl Mac {
    /// Key length (RFC 4868 §2.1.1: the hash's output length).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Length of the truncated checksum.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// The transform's number.
    #[must_use]
    pub const fn integ(self) -> Integ {
        match self {
            Self::HmacSha256 => Integ::HMAC_SHA2_256_128,
            Self::HmacSha384 => Integ::HMAC_SHA2_384_192,
            Self::HmacSha512 => Integ::HMAC_SHA2_512_256,
        }
    }

    /// The integrity algorithm with this number, if it is one of ours.
    #[must_use]
    pub fn from_integ(integ: Integ) -> Option<Self> {
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512].into_iter().find(|mac| mac.integ() == integ)
    }

    /// The PRF over the same hash: what a written suite means that names no other.
    #[must_use]
    pub const fn prf(self) -> PrfAlg {
        match self {
            Self::HmacSha256 => PrfAlg::HmacSha256,
            Self::HmacSha384 => PrfAlg::HmacSha384,
            Self::HmacSha512 => PrfAlg::HmacSha512,
        }
    }
}

impl Group {
    /// Length of a public value in a KE payload: RFC 7296 §3.4 (the prime's length), RFC 5903 §7 (x and y), RFC 8031 §2.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 2 * 32,
            Self::Ecp384 => 2 * 48,
            Self::Ecp521 => 2 * 66,
            Self::Curve25519 => 32,
            // FIPS 203 §8, table 3: the encapsulation key.
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// Length of the value that answers it: for ML-KEM a ciphertext (FIPS 203 §8, table 3).
    #[must_use]
    pub const fn answer_len(self) -> usize {
        match self {
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
            classical => classical.public_len(),
        }
    }

    /// Whether it withstands a quantum computer, as far as is known.
    #[must_use]
    pub const fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlKem768 | Self::MlKem1024)
    }

    /// The transform's number.
    #[must_use]
    pub const fn method(self) -> KeMethod {
        match self {
            Self::Modp2048 => KeMethod::MODP_2048,
            Self::Modp3072 => KeMethod::MODP_3072,
            Self::Modp4096 => KeMethod::MODP_4096,
            Self::Ecp256 => KeMethod::ECP_256,
            Self::Ecp384 => KeMethod::ECP_384,
            Self::Ecp521 => KeMethod::ECP_521,
            Self::Curve25519 => KeMethod::CURVE25519,
            Self::MlKem768 => KeMethod::ML_KEM_768,
            Self::MlKem1024 => KeMethod::ML_KEM_1024,
        }
    }

    /// The group with this number, if it is one of ours.
    #[must_use]
    pub fn from_method(method: KeMethod) -> Option<Self> {
        use Group::{Curve25519, Ecp256, Ecp384, Ecp521, MlKem768, MlKem1024, Modp2048, Modp3072, Modp4096};
        [Modp2048, Modp3072, Modp4096, Ecp256, Ecp384, Ecp521, Curve25519, MlKem768, MlKem1024]
            .into_iter()
            .find(|group| group.method() == method)
    }
}

impl PrfAlg {
    /// Output length, which is also the preferred key length (RFC 4868 §2.1.2).
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length of output, not of a collection")]
    pub const fn len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The transform's number.
    #[must_use]
    pub const fn number(self) -> Prf {
        match self {
            Self::HmacSha256 => Prf::HMAC_SHA2_256,
            Self::HmacSha384 => Prf::HMAC_SHA2_384,
            Self::HmacSha512 => Prf::HMAC_SHA2_512,
        }
    }

    /// The PRF with this number, if it is one of ours.
    #[must_use]
    pub fn from_number(number: Prf) -> Option<Self> {
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512].into_iter().find(|prf| prf.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::provider::{ALGORITHMS, Choice};

    #[test]
    fn every_number_leads_back_to_its_algorithm() {
        for row in &ALGORITHMS {
            match row.choice {
                Choice::Cipher(cipher) => {
                    let (encr, key_bits) = cipher.encr();
                    assert_eq!(Cipher::from_encr(encr, key_bits), Some(cipher));
                }
                Choice::Mac(mac) => assert_eq!(Mac::from_integ(mac.integ()), Some(mac)),
                Choice::Prf(prf) => assert_eq!(PrfAlg::from_number(prf.number()), Some(prf)),
                Choice::Group(group) => assert_eq!(Group::from_method(group.method()), Some(group)),
            }
        }
    }

    #[test]
    fn no_other_number_leads_to_an_algorithm() {
        let groups = (0..=u16::MAX).filter(|number| Group::from_method(KeMethod(*number)).is_some());
        assert_eq!(groups.collect::<Vec<_>>(), [14, 15, 16, 19, 20, 21, 31, 36, 37]);
        let macs = (0..=u16::MAX).filter(|number| Mac::from_integ(Integ(*number)).is_some());
        assert_eq!(macs.collect::<Vec<_>>(), [12, 13, 14]);
        let prfs = (0..=u16::MAX).filter(|number| PrfAlg::from_number(Prf(*number)).is_some());
        assert_eq!(prfs.collect::<Vec<_>>(), [5, 6, 7]);
        let lengths = [None, Some(0), Some(128), Some(192), Some(256), Some(512)];
        let ciphers = (0..=u16::MAX)
            .flat_map(|number| lengths.map(|bits| (number, bits)))
            .filter(|(number, bits)| Cipher::from_encr(Encr(*number), *bits).is_some());
        let expected = [(12, Some(256)), (20, Some(128)), (20, Some(256)), (28, None)];
        assert_eq!(ciphers.collect::<Vec<_>>(), expected, "AES without a length, or with another, is refused");
    }
}
