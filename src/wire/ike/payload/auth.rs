//! Authentication payload (RFC 7296 §3.8).

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::AuthMethod;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The proof that the sender knows its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How the proof was made.
    pub method: AuthMethod,
    /// The proof.
    pub data: Vec<u8>,
}

impl Auth {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let method = AuthMethod(reader.u8()?);
        let _reserved: [u8; 3] = reader.array()?;
        Ok(Self { method, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.method.0);
        writer.zeros(3);
        writer.bytes(&self.data);
    }
}
