//! Signatures of IKE_AUTH (RFC 7427, RFC 8420, RFC 4754) and of certificates: which exist here and their AlgorithmIdentifiers;
//! `key` has the keys that make and check them. `aws-lc-rs` does the work.
//!
//! Refused: SHA-1 and MD5 (RFC 8247 §3), RSA below 2048 bits or with an even modulus. Left out: Ed448, DSA, keys of type
//! id-RSASSA-PSS.

use aws_lc_rs::signature::{self as lc, VerificationAlgorithm};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

mod key;
#[cfg(test)]
mod tests;

pub use key::{PublicKey, SigningKey, VERIFIERS, Verifier};

/// Hash functions by their number in SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7, RFC 8420 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Hash {
    /// SHA2-256.
    Sha256 = 2,
    /// SHA2-384.
    Sha384 = 3,
    /// SHA2-512.
    Sha512 = 4,
    /// None: the algorithm hashes by itself (Ed25519).
    Identity = 5,
}

/// The numbers that are announced, the preferred ones first.
pub const HASHES: [Hash; 4] = [Hash::Sha256, Hash::Sha384, Hash::Sha512, Hash::Identity];

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PSS, with a salt as long as the hash.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// ECDSA on the curve of the key.
    Ecdsa(Hash),
    /// Ed25519.
    Ed25519,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

/// Every algorithm of method 14.
pub const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::RsaPss(Hash::Sha256),
    Algorithm::RsaPss(Hash::Sha384),
    Algorithm::RsaPss(Hash::Sha512),
    Algorithm::Ecdsa(Hash::Sha256),
    Algorithm::Ecdsa(Hash::Sha384),
    Algorithm::Ecdsa(Hash::Sha512),
    Algorithm::Ed25519,
    Algorithm::RsaPkcs1(Hash::Sha256),
    Algorithm::RsaPkcs1(Hash::Sha384),
    Algorithm::RsaPkcs1(Hash::Sha512),
];

impl Algorithm {
    /// The hash that the other side must have announced.
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::RsaPss(hash) | Self::RsaPkcs1(hash) | Self::Ecdsa(hash) => hash,
            Self::Ed25519 => Hash::Identity,
        }
    }

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaPss(Hash::Sha256) => "RSA-PSS with SHA-256",
            Self::RsaPss(Hash::Sha384) => "RSA-PSS with SHA-384",
            Self::RsaPss(_) => "RSA-PSS with SHA-512",
            Self::RsaPkcs1(Hash::Sha256) => "RSA with SHA-256",
            Self::RsaPkcs1(Hash::Sha384) => "RSA with SHA-384",
            Self::RsaPkcs1(_) => "RSA with SHA-512",
            Self::Ecdsa(Hash::Sha256) => "ECDSA with SHA-256",
            Self::Ecdsa(Hash::Sha384) => "ECDSA with SHA-384",
            Self::Ecdsa(_) => "ECDSA with SHA-512",
            Self::Ed25519 => "Ed25519",
        }
    }

    const fn content(self) -> AlgorithmIdentifier {
        match self {
            Self::RsaPss(Hash::Sha256) => alg_id::RSA_PSS_SHA256,
            Self::RsaPss(Hash::Sha384) => alg_id::RSA_PSS_SHA384,
            Self::RsaPss(_) => alg_id::RSA_PSS_SHA512,
            Self::RsaPkcs1(Hash::Sha256) => alg_id::RSA_PKCS1_SHA256,
            Self::RsaPkcs1(Hash::Sha384) => alg_id::RSA_PKCS1_SHA384,
            Self::RsaPkcs1(_) => alg_id::RSA_PKCS1_SHA512,
            Self::Ecdsa(Hash::Sha256) => alg_id::ECDSA_SHA256,
            Self::Ecdsa(Hash::Sha384) => alg_id::ECDSA_SHA384,
            Self::Ecdsa(_) => alg_id::ECDSA_SHA512,
            Self::Ed25519 => alg_id::ED25519,
        }
    }

    /// The AlgorithmIdentifier in DER, of which each algorithm has one here (RFC 7427 appendix A).
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        let content = self.content();
        // All of them are shorter than 128 bytes, so one length byte is DER.
        let mut der = vec![0x30, u8::try_from(content.len()).unwrap_or(0x7f)];
        der.extend_from_slice(&content);
        der
    }

    /// The algorithm of an AlgorithmIdentifier: byte for byte what [`identifier`](Self::identifier) gives, nothing looser.
    #[must_use]
    pub fn identified(der: &[u8]) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.identifier() == der)
    }

    /// How it is verified with a key of this kind.
    fn verifier(self, key: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (key, self) {
            (KeyKind::Rsa, Self::RsaPss(Hash::Sha256)) => &lc::RSA_PSS_2048_8192_SHA256,
            (KeyKind::Rsa, Self::RsaPss(Hash::Sha384)) => &lc::RSA_PSS_2048_8192_SHA384,
            (KeyKind::Rsa, Self::RsaPss(Hash::Sha512)) => &lc::RSA_PSS_2048_8192_SHA512,
            (KeyKind::Rsa, Self::RsaPkcs1(Hash::Sha256)) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, Self::RsaPkcs1(Hash::Sha384)) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, Self::RsaPkcs1(Hash::Sha512)) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::P256, Self::Ecdsa(Hash::Sha256)) => &lc::ECDSA_P256_SHA256_ASN1,
            (KeyKind::P256, Self::Ecdsa(Hash::Sha384)) => &lc::ECDSA_P256_SHA384_ASN1,
            (KeyKind::P256, Self::Ecdsa(Hash::Sha512)) => &lc::ECDSA_P256_SHA512_ASN1,
            (KeyKind::P384, Self::Ecdsa(Hash::Sha256)) => &lc::ECDSA_P384_SHA256_ASN1,
            (KeyKind::P384, Self::Ecdsa(Hash::Sha384)) => &lc::ECDSA_P384_SHA384_ASN1,
            (KeyKind::P384, Self::Ecdsa(Hash::Sha512)) => &lc::ECDSA_P384_SHA512_ASN1,
            (KeyKind::P521, Self::Ecdsa(Hash::Sha256)) => &lc::ECDSA_P521_SHA256_ASN1,
            (KeyKind::P521, Self::Ecdsa(Hash::Sha384)) => &lc::ECDSA_P521_SHA384_ASN1,
            (KeyKind::P521, Self::Ecdsa(Hash::Sha512)) => &lc::ECDSA_P521_SHA512_ASN1,
            (KeyKind::Ed25519, Self::Ed25519) => &lc::ED25519,
            _ => return None,
        })
    }
}

impl KeyKind {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::P256 => "ECDSA P-256",
            Self::P384 => "ECDSA P-384",
            Self::P521 => "ECDSA P-521",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithms that a key of this kind signs with, the preferred ones first. RFC 7427 §3 prefers PSS to PKCS #1
    /// v1.5; a curve goes with the hash of its strength.
    #[must_use]
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Rsa => &[
                Algorithm::RsaPss(Hash::Sha256),
                Algorithm::RsaPss(Hash::Sha384),
                Algorithm::RsaPss(Hash::Sha512),
                Algorithm::RsaPkcs1(Hash::Sha256),
                Algorithm::RsaPkcs1(Hash::Sha384),
                Algorithm::RsaPkcs1(Hash::Sha512),
            ],
            Self::P256 => &[Algorithm::Ecdsa(Hash::Sha256)],
            Self::P384 => &[Algorithm::Ecdsa(Hash::Sha384)],
            Self::P521 => &[Algorithm::Ecdsa(Hash::Sha512)],
            Self::Ed25519 => &[Algorithm::Ed25519],
        }
    }

    const fn content(self) -> AlgorithmIdentifier {
        match self {
            Self::Rsa => alg_id::RSA_ENCRYPTION,
            Self::P256 => alg_id::ECDSA_P256,
            Self::P384 => alg_id::ECDSA_P384,
            Self::P521 => alg_id::ECDSA_P521,
            Self::Ed25519 => alg_id::ED25519,
        }
    }

    /// The kind of a key by the content of the AlgorithmIdentifier in its SubjectPublicKeyInfo.
    #[must_use]
    pub fn identified(content: &[u8]) -> Option<Self> {
        [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519]
            .into_iter()
            .find(|kind| kind.content().as_ref() == content)
    }
}
