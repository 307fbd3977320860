//! What this build can do, in one table: the algorithm, whose code it is, its number at IANA, and whether an agreement
//! with another organisation allows it. Negotiation offers nothing that is not here; `check` and `status` print it.

use super::suite::{Cipher, Group, Mac, PrfAlg};
use crate::wire::ike::numbers::TransformType;

/// One algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    /// What it is.
    pub choice: Choice,
    /// Its name in self-tests and tables.
    pub name: &'static str,
    /// The word for it in a written suite.
    pub word: &'static str,
    /// Crate that does the work.
    pub implementation: &'static str,
    /// Version of that crate.
    pub version: &'static str,
    /// Whether a real agreement allows it; if not, an agreement of kind `lab` does.
    pub agreement: bool,
}

/// An algorithm, by the place that it takes in a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Encryption.
    Cipher(Cipher),
    /// Integrity.
    Mac(Mac),
    /// Pseudorandom function.
    Prf(PrfAlg),
    /// Key exchange.
    Group(Group),
}

impl Choice {
    /// The transform and its number in a proposal (RFC 7296 §3.3.2).
    #[must_use]
    pub const fn transform(self) -> (TransformType, u16) {
        match self {
            Self::Cipher(cipher) => (TransformType::ENCR, cipher.encr().0.0),
            Self::Mac(mac) => (TransformType::INTEG, mac.integ().0),
            Self::Prf(prf) => (TransformType::PRF, prf.number().0),
            // Beside a classical exchange; the other additional types (RFC 9370) take the same numbers.
            Self::Group(group) if group.is_post_quantum() => (TransformType::ADDKE1, group.method().0),
            Self::Group(group) => (TransformType::KE, group.method().0),
        }
    }

    /// Where it is specified for IKEv2 and ESP.
    #[must_use]
    pub const fn rfc(self) -> &'static str {
        match self {
            Self::Cipher(Cipher::Aes256Gcm16 | Cipher::Aes128Gcm16) => "RFC 4106, RFC 5282",
            Self::Cipher(Cipher::ChaCha20Poly1305) => "RFC 7634",
            Self::Cipher(Cipher::Aes256Cbc) => "RFC 3602",
            Self::Mac(_) | Self::Prf(_) => "RFC 4868",
            Self::Group(Group::Modp2048 | Group::Modp3072 | Group::Modp4096) => "RFC 3526",
            Self::Group(Group::Ecp256 | Group::Ecp384 | Group::Ecp521) => "RFC 5903",
            Self::Group(Group::Curve25519) => "RFC 8031",
            Self::Group(Group::MlKem768 | Group::MlKem1024) => "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem",
        }
    }

    /// Whether it has a place in the suite of an IKE SA, and in that of a child SA.
    #[must_use]
    pub const fn places(self) -> (bool, bool) {
        match self {
            Self::Cipher(_) | Self::Mac(_) | Self::Group(_) => (true, true),
            Self::Prf(_) => (true, false),
        }
    }
}

const fn row(
    choice: Choice,
    name: &'static str,
    word: &'static str,
    (implementation, version): (&'static str, &'static str),
) -> Algorithm {
    // CBP §2a asks for "AES 256 bit" and says nothing of the other places.
    let agreement = match choice {
        Choice::Cipher(cipher) => cipher.is_aes256(),
        Choice::Mac(_) | Choice::Prf(_) | Choice::Group(_) => true,
    };
    Algorithm { choice, name, word, implementation, version, agreement }
}

const RING: (&str, &str) = ("ring", "0.17.14");
const AES: (&str, &str) = ("aes", "0.9.4");
const HMAC: (&str, &str) = ("hmac", "0.13.0");
const CRYPTO_BIGINT: (&str, &str) = ("crypto-bigint", "0.7.10");
const AWS_LC: (&str, &str) = ("aws-lc-rs", "1.17.4");
const ML_KEM: (&str, &str) = ("ml-kem", "0.3.4");
const DALEK: (&str, &str) = ("x25519-dalek", "3.0.0");

/// Every algorithm of this build, the preferred ones of each place first.
pub static ALGORITHMS: [Algorithm; 19] = [
    row(Choice::Cipher(Cipher::Aes256Gcm16), "AES-256-GCM", "aes256gcm16", RING),
    row(Choice::Cipher(Cipher::Aes256Cbc), "AES-256-CBC", "aes256", AES),
    row(Choice::Cipher(Cipher::Aes128Gcm16), "AES-128-GCM", "aes128gcm16", RING),
    row(Choice::Cipher(Cipher::ChaCha20Poly1305), "ChaCha20-Poly1305", "chacha20poly1305", RING),
    row(Choice::Mac(Mac::HmacSha384), "HMAC-SHA-384-192", "sha384", HMAC),
    row(Choice::Mac(Mac::HmacSha512), "HMAC-SHA-512-256", "sha512", HMAC),
    row(Choice::Mac(Mac::HmacSha256), "HMAC-SHA-256-128", "sha256", HMAC),
    row(Choice::Prf(PrfAlg::HmacSha384), "PRF-HMAC-SHA-384", "prfsha384", HMAC),
    row(Choice::Prf(PrfAlg::HmacSha512), "PRF-HMAC-SHA-512", "prfsha512", HMAC),
    row(Choice::Prf(PrfAlg::HmacSha256), "PRF-HMAC-SHA-256", "prfsha256", HMAC),
    row(Choice::Group(Group::Ecp384), "ECP-384", "ecp384", AWS_LC),
    row(Choice::Group(Group::Ecp521), "ECP-521", "ecp521", AWS_LC),
    row(Choice::Group(Group::Ecp256), "ECP-256", "ecp256", AWS_LC),
    row(Choice::Group(Group::Curve25519), "X25519", "x25519", DALEK),
    row(Choice::Group(Group::Modp4096), "MODP-4096", "modp4096", CRYPTO_BIGINT),
    row(Choice::Group(Group::Modp3072), "MODP-3072", "modp3072", CRYPTO_BIGINT),
    row(Choice::Group(Group::Modp2048), "MODP-2048", "modp2048", CRYPTO_BIGINT),
    row(Choice::Group(Group::MlKem768), "ML-KEM-768", "mlkem768", ML_KEM),
    row(Choice::Group(Group::MlKem1024), "ML-KEM-1024", "mlkem1024", ML_KEM),
];

/// The row of `choice`.
#[must_use]
pub fn row_of(choice: Choice) -> &'static Algorithm {
    ALGORITHMS.iter().find(|row| row.choice == choice).expect("every choice has a row, as a test shows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_versions_that_are_built_in() {
        let lock = include_str!("../../Cargo.lock");
        for Algorithm { name, implementation, version, .. } in &ALGORITHMS {
            let entry = format!("name = \"{implementation}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name}: {implementation} {version} is not in Cargo.lock");
        }
    }

    #[test]
    fn words_names_and_numbers_are_distinct() {
        for (at, a) in ALGORITHMS.iter().enumerate() {
            for b in &ALGORITHMS[..at] {
                assert_ne!(a.choice, b.choice);
                assert_ne!(a.name, b.name);
                assert_ne!(a.word, b.word);
                // The two key lengths of AES-GCM share a number (RFC 7296 §3.3.5).
                if a.choice != Choice::Cipher(Cipher::Aes128Gcm16) {
                    assert_ne!(a.choice.transform(), b.choice.transform(), "{} and {}", a.name, b.name);
                }
            }
        }
    }

    #[test]
    fn an_agreement_allows_aes_256_and_no_other_cipher() {
        let allowed: Vec<_> = ALGORITHMS
            .iter()
            .filter(|row| row.agreement && matches!(row.choice, Choice::Cipher(_)))
            .map(|row| row.name)
            .collect();
        assert_eq!(allowed, ["AES-256-GCM", "AES-256-CBC"]);
    }
}
