//! Signatures of IKE_AUTH (RFC 7427, RFC 8420, RFC 4754) and of certificates: which exist here, their AlgorithmIdentifiers,
//! and the keys that make them. `aws-lc-rs` does the work.
//!
//! Refused: SHA-1 and MD5 (RFC 8247 §3), RSA below 2048 bits or with an even modulus. Left out: Ed448, DSA, keys of type
//! id-RSASSA-PSS. A salt or nonce of a signature comes from the library's own generator, not from the endpoint's: no
//! decision depends on it, and a repeated nonce would give the key away.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id};

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

/// A public key: its kind, and the bits of its SubjectPublicKeyInfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is.
    pub kind: KeyKind,
    /// An RSAPublicKey, an uncompressed point, or 32 bytes.
    pub bits: Vec<u8>,
}

impl PublicKey {
    /// Whether `signature` was made over `message` by the owner of this key.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = algorithm.verifier(self.kind);
        verifier.is_some_and(|verifier| self.verifies_with(verifier, message, signature))
    }

    /// The same for the methods of RFC 4754, where the signature is r and s with a fixed length and the hash is that of
    /// the curve.
    #[must_use]
    pub fn verifies_fixed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verifier: &'static dyn VerificationAlgorithm = match self.kind {
            KeyKind::P256 => &lc::ECDSA_P256_SHA256_FIXED,
            KeyKind::P384 => &lc::ECDSA_P384_SHA384_FIXED,
            KeyKind::P521 => &lc::ECDSA_P521_SHA512_FIXED,
            KeyKind::Rsa | KeyKind::Ed25519 => return false,
        };
        self.verifies_with(verifier, message, signature)
    }

    /// Whether it is an RSA signature with SHA-1, which is not accepted: for the name of the reason alone.
    #[must_use]
    pub fn is_by_sha1(&self, message: &[u8], signature: &[u8]) -> bool {
        self.kind == KeyKind::Rsa
            && self.verifies_with(&lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, message, signature)
    }

    fn verifies_with(&self, verifier: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(verifier, &self.bits).verify(message, signature).is_ok()
    }
}

/// How certificates and CRLs are verified: a kind of key with an algorithm.
#[derive(Debug)]
pub struct Verifier {
    key: KeyKind,
    algorithm: Algorithm,
}

impl SignatureVerificationAlgorithm for Verifier {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key.content()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.content()
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let verifier = self.algorithm.verifier(self.key).ok_or(InvalidSignature)?;
        UnparsedPublicKey::new(verifier, public_key).verify(message, signature).map_err(|_| InvalidSignature)
    }
}

macro_rules! verifiers {
    ($($key:ident $algorithm:expr,)*) => {
        /// Every signature that a certificate or CRL may have.
        pub static VERIFIERS: &[&dyn SignatureVerificationAlgorithm] =
            &[$(&Verifier { key: KeyKind::$key, algorithm: $algorithm },)*];
    };
}

verifiers! {
    Rsa Algorithm::RsaPkcs1(Hash::Sha256),
    Rsa Algorithm::RsaPkcs1(Hash::Sha384),
    Rsa Algorithm::RsaPkcs1(Hash::Sha512),
    Rsa Algorithm::RsaPss(Hash::Sha256),
    Rsa Algorithm::RsaPss(Hash::Sha384),
    Rsa Algorithm::RsaPss(Hash::Sha512),
    P256 Algorithm::Ecdsa(Hash::Sha256),
    P256 Algorithm::Ecdsa(Hash::Sha384),
    P256 Algorithm::Ecdsa(Hash::Sha512),
    P384 Algorithm::Ecdsa(Hash::Sha256),
    P384 Algorithm::Ecdsa(Hash::Sha384),
    P384 Algorithm::Ecdsa(Hash::Sha512),
    P521 Algorithm::Ecdsa(Hash::Sha256),
    P521 Algorithm::Ecdsa(Hash::Sha384),
    P521 Algorithm::Ecdsa(Hash::Sha512),
    Ed25519 Algorithm::Ed25519,
}

/// A private key. Never printed, never copied.
pub struct SigningKey {
    inner: Inner,
    public: PublicKey,
}

enum Inner {
    Rsa(lc::RsaKeyPair),
    /// The same key twice: the library ties a key to the form of its signatures.
    Ecdsa {
        der: lc::EcdsaKeyPair,
        fixed: lc::EcdsaKeyPair,
    },
    Ed25519(lc::Ed25519KeyPair),
}

/// Each curve with the two forms of its signatures.
const CURVES: [(KeyKind, &lc::EcdsaSigningAlgorithm, &lc::EcdsaSigningAlgorithm); 3] = [
    (KeyKind::P256, &lc::ECDSA_P256_SHA256_ASN1_SIGNING, &lc::ECDSA_P256_SHA256_FIXED_SIGNING),
    (KeyKind::P384, &lc::ECDSA_P384_SHA384_ASN1_SIGNING, &lc::ECDSA_P384_SHA384_FIXED_SIGNING),
    (KeyKind::P521, &lc::ECDSA_P521_SHA512_ASN1_SIGNING, &lc::ECDSA_P521_SHA512_FIXED_SIGNING),
];

impl SigningKey {
    /// Reads a key in PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted. The error is a sentence without a byte of it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            if encrypted { "the key is encrypted" } else { "there is no private key in PEM in this file" }
        })?;
        Self::from_der(&key)
            .ok_or("the key is neither RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, nor Ed25519")
    }

    fn from_der(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let der = key.secret_der();
        let ec = |kind, form| match key {
            PrivateKeyDer::Pkcs8(_) => lc::EcdsaKeyPair::from_pkcs8(form, der).ok().map(|pair| (kind, pair)),
            PrivateKeyDer::Sec1(_) => lc::EcdsaKeyPair::from_private_key_der(form, der).ok().map(|pair| (kind, pair)),
            _ => None,
        };
        let rsa = match key {
            PrivateKeyDer::Pkcs8(_) => lc::RsaKeyPair::from_pkcs8(der).ok(),
            PrivateKeyDer::Pkcs1(_) => lc::RsaKeyPair::from_der(der).ok(),
            _ => None,
        };
        if let Some(pair) = rsa {
            let public = PublicKey { kind: KeyKind::Rsa, bits: pair.public_key().as_ref().to_vec() };
            return Some(Self { inner: Inner::Rsa(pair), public });
        }
        for (kind, as_der, as_fixed) in CURVES {
            if let (Some((_, der)), Some((_, fixed))) = (ec(kind, as_der), ec(kind, as_fixed)) {
                let public = PublicKey { kind, bits: der.public_key().as_ref().to_vec() };
                return Some(Self { inner: Inner::Ecdsa { der, fixed }, public });
            }
        }
        let PrivateKeyDer::Pkcs8(_) = key else { return None };
        let pair = lc::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let public = PublicKey { kind: KeyKind::Ed25519, bits: pair.public_key().as_ref().to_vec() };
        Some(Self { inner: Inner::Ed25519(pair), public })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature; `None` if this kind of key does not make it.
    #[must_use]
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (&self.inner, algorithm) {
            (Inner::Rsa(pair), Algorithm::RsaPss(hash) | Algorithm::RsaPkcs1(hash)) => {
                let pss = matches!(algorithm, Algorithm::RsaPss(_));
                let padding: &'static lc::RsaSignatureEncoding = match (pss, hash) {
                    (true, Hash::Sha256) => &lc::RSA_PSS_SHA256,
                    (true, Hash::Sha384) => &lc::RSA_PSS_SHA384,
                    (true, Hash::Sha512) => &lc::RSA_PSS_SHA512,
                    (false, Hash::Sha256) => &lc::RSA_PKCS1_SHA256,
                    (false, Hash::Sha384) => &lc::RSA_PKCS1_SHA384,
                    (false, Hash::Sha512) => &lc::RSA_PKCS1_SHA512,
                    (_, Hash::Identity) => return None,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            (Inner::Ecdsa { der, .. }, _) if self.public.kind.algorithms().contains(&algorithm) => {
                Some(der.sign(&random, message).ok()?.as_ref().to_vec())
            }
            (Inner::Ed25519(pair), Algorithm::Ed25519) => Some(pair.sign(message).as_ref().to_vec()),
            _ => None,
        }
    }

    /// A signature in the form of RFC 4754; `None` if the key is not on a curve.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> Option<Vec<u8>> {
        let Inner::Ecdsa { fixed, .. } = &self.inner else { return None };
        Some(fixed.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7427 appendix A: the objects, byte for byte as they are printed there.
    #[test]
    fn identifiers_are_those_of_the_rfc() {
        for (algorithm, printed) in [
            (Algorithm::RsaPkcs1(Hash::Sha256), "300d06092a864886f70d01010b0500"),
            (Algorithm::RsaPkcs1(Hash::Sha384), "300d06092a864886f70d01010c0500"),
            (Algorithm::RsaPkcs1(Hash::Sha512), "300d06092a864886f70d01010d0500"),
            (Algorithm::Ecdsa(Hash::Sha256), "300a06082a8648ce3d040302"),
            (Algorithm::Ecdsa(Hash::Sha384), "300a06082a8648ce3d040303"),
            (Algorithm::Ecdsa(Hash::Sha512), "300a06082a8648ce3d040304"),
            (Algorithm::Ed25519, "300506032b6570"),
            (
                Algorithm::RsaPss(Hash::Sha256),
                "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d\
                 06096086480165030402010500a203020120",
            ),
        ] {
            assert_eq!(hex::encode(algorithm.identifier()), printed, "{}", algorithm.as_str());
        }
        for algorithm in ALGORITHMS {
            let der = algorithm.identifier();
            assert_eq!(Algorithm::identified(&der), Some(algorithm));
            for at in 0..der.len() {
                let mut other = der.clone();
                other[at] ^= 0x40;
                assert_ne!(Algorithm::identified(&other), Some(algorithm), "byte {at}");
                assert_ne!(Algorithm::identified(&der[..at]), Some(algorithm));
            }
            assert_eq!(Algorithm::identified(&[&der[..], &[0]].concat()), None, "nothing may follow");
        }
        // SHA-1 with RSA and with ECDSA, MD5, PSS with the defaults (SHA-1).
        for weak in [
            "300d06092a864886f70d0101050500",
            "300906072a8648ce3d0401",
            "300d06092a864886f70d0101040500",
            "300d06092a864886f70d01010a3000",
        ] {
            assert_eq!(Algorithm::identified(&hex::decode(weak).unwrap()), None);
        }
    }

    fn keys() -> Vec<SigningKey> {
        use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
        let curves = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
        let mut keys: Vec<_> = curves
            .map(|kind| SigningKey::from_pem(KeyPair::generate_for(kind).unwrap().serialize_pem().as_bytes()).unwrap())
            .into_iter()
            .collect();
        for pem in [crate::crypto::certificate::testing::RSA_2048, crate::crypto::certificate::testing::P521] {
            keys.push(SigningKey::from_pem(pem.as_bytes()).unwrap());
        }
        keys
    }

    #[test]
    fn what_a_key_signs_it_verifies_and_nothing_else() {
        let keys = keys();
        let kinds: Vec<_> = keys.iter().map(|key| key.public().kind).collect();
        assert_eq!(kinds, [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa, KeyKind::P521]);
        for key in &keys {
            for algorithm in ALGORITHMS {
                let Some(signature) = key.sign(algorithm, b"message") else {
                    assert!(!key.public().kind.algorithms().contains(&algorithm));
                    continue;
                };
                assert!(key.public().verifies(algorithm, b"message", &signature));
                assert!(!key.public().verifies(algorithm, b"massage", &signature));
                for other in ALGORITHMS.into_iter().filter(|other| *other != algorithm) {
                    assert!(!key.public().verifies(other, b"message", &signature), "{algorithm:?} as {other:?}");
                }
                for at in 0..signature.len() {
                    let mut forged = signature.clone();
                    forged[at] ^= 1;
                    assert!(!key.public().verifies(algorithm, b"message", &forged));
                    assert!(!key.public().verifies(algorithm, b"message", &signature[..at]));
                }
                assert!(
                    keys.iter()
                        .filter(|other| other.public() != key.public())
                        .all(|other| { !other.public().verifies(algorithm, b"message", &signature) })
                );
            }
            if let Some(fixed) = key.sign_fixed(b"message") {
                assert!(key.public().verifies_fixed(b"message", &fixed));
                assert!(!key.public().verifies_fixed(b"massage", &fixed));
                // RFC 4754 §3: 64, 96 and 132 octets.
                assert!([64, 96, 132].contains(&fixed.len()));
            }
        }
    }

    #[test]
    fn a_short_or_encrypted_key_is_refused_in_words() {
        let refused = |pem: &str| SigningKey::from_pem(pem.as_bytes()).err().unwrap();
        assert!(refused(crate::crypto::certificate::testing::RSA_1024).contains("2048"));
        assert!(
            refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
                .contains("encrypted")
        );
        assert!(refused("swordfish").contains("no private key"));
    }
}
