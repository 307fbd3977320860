//! Certificate and Certificate Request payloads (RFC 7296 §3.6, §3.7).

use crate::wire::ike::numbers::CertEncoding;

/// One certificate or what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cert {
    /// How `data` is encoded.
    pub encoding: CertEncoding,
    /// The certificate.
    pub data: Vec<u8>,
}

/// The authorities that the sender trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertReq {
    /// The encoding that is asked for.
    pub encoding: CertEncoding,
    /// SHA-1 hashes of the authorities' public keys, one after the other.
    pub authorities: Vec<u8>,
}
