//! Key Exchange payload (RFC 7296 §3.4).

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::KeMethod;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// A public value of one key exchange method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ke {
    /// The method, once "DH group number".
    pub method: KeMethod,
    /// The public value.
    pub data: Vec<u8>,
}

impl Ke {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let method = KeMethod(reader.u16()?);
        let _reserved = reader.u16()?;
        Ok(Self { method, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u16(self.method.0);
        writer.zeros(2);
        writer.bytes(&self.data);
    }
}
