//! What is wrong with a certificate by itself, and why a chain of them is not accepted.

use std::fmt;

use crate::event::IkeReason;

/// A certificate that cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// There is no certificate in PEM.
    NotPem,
    /// It is not X.509 in DER.
    Malformed,
    /// It is longer than [`MAX_LEN`](super::MAX_LEN).
    TooLong,
    /// Its key is of a kind that is not known here.
    UnknownKey,
    /// Its RSA key is too short, too long, or impossible.
    WeakKey,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "there is no certificate in PEM",
            Self::Malformed => "the certificate is not X.509 in DER",
            Self::TooLong => "the certificate is too long",
            Self::UnknownKey => "its key is neither RSA, nor ECDSA on P-256, P-384 or P-521, nor Ed25519",
            Self::WeakKey => "its RSA key is below 2048 or above 8192 bits, or no RSA key at all",
        })
    }
}

impl Flaw {
    /// The reason that is counted if it is a peer's.
    #[must_use]
    pub const fn reason(self) -> IkeReason {
        match self {
            Self::WeakKey | Self::UnknownKey => IkeReason::WeakSignature,
            Self::NotPem | Self::Malformed | Self::TooLong => IkeReason::BadCertificate,
        }
    }
}

/// Why a chain is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is counted.
    pub reason: IkeReason,
    /// For people.
    pub text: String,
}

impl Fault {
    pub(super) fn new(reason: IkeReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl From<&webpki::Error> for Fault {
    fn from(error: &webpki::Error) -> Self {
        #[allow(clippy::wildcard_imports)] // a table
        use IkeReason::{
            BadCertificate, CertificateExpired, CertificateNotYetValid, CertificateRevoked, CertificateUntrusted,
            CertificateUsage, RevocationUnknown, WeakSignature,
        };
        use webpki::Error as E;
        let (reason, text) = match error {
            E::CertExpired { .. } => (CertificateExpired, "a certificate of the chain has expired"),
            E::CertNotValidYet { .. } => (CertificateNotYetValid, "a certificate of the chain is not valid yet"),
            E::CertRevoked => (CertificateRevoked, "a certificate of the chain is on its authority's revocation list"),
            E::UnknownRevocationStatus => {
                (RevocationUnknown, "no revocation list at hand covers every certificate of the chain")
            }
            E::CrlExpired { .. } => (RevocationUnknown, "the revocation list at hand is out of date"),
            E::IssuerNotCrlSigner
            | E::InvalidCrlSignatureForPublicKey
            | E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                (RevocationUnknown, "the revocation list at hand is not signed by the authority")
            }
            E::UnknownIssuer => (CertificateUntrusted, "no chain of certificates leads to a trusted authority"),
            E::InvalidSignatureForPublicKey => (CertificateUntrusted, "a certificate is not signed by its issuer"),
            E::NameConstraintViolation => (CertificateUntrusted, "a name lies outside its authority's constraints"),
            E::PathLenConstraintViolated
            | E::MaximumPathDepthExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumSignatureChecksExceeded
            | E::MaximumNameConstraintComparisonsExceeded => (CertificateUntrusted, "the chain is too long"),
            E::EndEntityUsedAsCa => (CertificateUntrusted, "the issuer of a certificate is no authority"),
            E::CaUsedAsEndEntity => (CertificateUsage, "an authority's certificate was shown as the peer's own"),
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => {
                (CertificateUsage, "the certificate is for another purpose than IPsec")
            }
            E::UnsupportedSignatureAlgorithmContext(_) | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                (WeakSignature, "a certificate is signed with an algorithm that is not accepted")
            }
            _ => (BadCertificate, "a certificate does not follow RFC 5280"),
        };
        Self::new(reason, text)
    }
}
