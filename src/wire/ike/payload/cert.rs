//! Certificate and Certificate Request payloads (RFC 7296 §3.6, §3.7).

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::CertEncoding;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

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

impl Cert {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        Ok(Self { encoding: CertEncoding(reader.u8()?), data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.encoding.0);
        writer.bytes(&self.data);
    }
}

impl CertReq {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        Ok(Self { encoding: CertEncoding(reader.u8()?), authorities: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.encoding.0);
        writer.bytes(&self.authorities);
    }
}
