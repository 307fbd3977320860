//! Configuration payload (RFC 7296 §3.15).

use crate::wire::ike::limits::Budget;
use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::CfgType;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// What a peer asks for or hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Request, reply, set or acknowledgement.
    pub kind: CfgType,
    /// The attributes.
    pub attributes: Vec<Attribute>,
}

/// One configuration attribute (§3.15.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its type, 15 bits.
    pub kind: u16,
    /// Its value; empty in a request.
    pub value: Vec<u8>,
}

/// The R bit of an attribute's type.
const RESERVED_BIT: u16 = 0x8000;

impl Configuration {
    pub(super) fn decode(body: &[u8], budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let kind = CfgType(reader.u8()?);
        let _reserved: [u8; 3] = reader.array()?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            budget.config_attribute()?;
            let kind = reader.u16()? & !RESERVED_BIT;
            let length = reader.u16()?;
            attributes.push(Attribute { kind, value: reader.take(usize::from(length))?.to_vec() });
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.kind.0);
        writer.zeros(3);
        for Attribute { kind, value } in &self.attributes {
            writer.u16(kind & !RESERVED_BIT);
            let counted_from = writer.len().saturating_add(2);
            let length = writer.open_length(counted_from);
            writer.bytes(value);
            writer.close(length);
        }
    }
}
