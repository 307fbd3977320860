//! Identification payload (RFC 7296 §3.5).

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::IdType;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Who a peer says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// How `data` is meant.
    pub kind: IdType,
    /// The identity.
    pub data: Vec<u8>,
}

impl Id {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let kind = IdType(reader.u8()?);
        let _reserved: [u8; 3] = reader.array()?;
        Ok(Self { kind, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.body());
    }

    /// The body on the wire, behind the generic header: what AUTH is computed over (RFC 7296 §2.15, `RestOfIDPayload`
    /// with its reserved bytes zero).
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.data.len().saturating_add(4));
        writer.u8(self.kind.0);
        writer.zeros(3);
        writer.bytes(&self.data);
        writer.into_bytes()
    }
}
