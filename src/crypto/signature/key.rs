//! Keys: what they verify and what they sign, also in certificates.
//!
//! A salt or nonce of a signature comes from the library's own generator, not from the endpoint's: no decision depends on it,
//! and a repeated nonce would give the key away.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm};

use super::{Algorithm, Hash, KeyKind};

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
