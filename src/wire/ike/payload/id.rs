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
    /// RFC 7296 §3.5: "MUST be sent as zero; MUST be ignored on receipt". Kept all the same, for AUTH covers what was sent.
    pub reserved: [u8; 3],
    /// The identity.
    pub data: Vec<u8>,
}

impl Id {
    /// An identity of our own, or one that we expect.
    pub fn new(kind: IdType, data: impl Into<Vec<u8>>) -> Self {
        Self { kind, reserved: [0; 3], data: data.into() }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        Ok(Self { kind: IdType(reader.u8()?), reserved: reader.array()?, data: reader.rest().to_vec() })
    }

    /// Whether both name the same: type and bytes alike, whatever the reserved bytes are.
    #[must_use]
    pub fn names(&self, other: &Self) -> bool {
        self.kind == other.kind && self.data == other.data
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.body());
    }

    /// The body on the wire, behind the generic header: `RestOfIDPayload`, which AUTH is computed over (RFC 7296 §2.15).
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.data.len().saturating_add(4));
        writer.u8(self.kind.0);
        writer.bytes(&self.reserved);
        writer.bytes(&self.data);
        writer.into_bytes()
    }
}
