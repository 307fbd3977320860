//! Security Association payload (RFC 7296 §3.3).

use crate::wire::ike::limits::Budget;
use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::{Encr, Esn, Integ, KeMethod, Prf, ProtocolId, TransformType};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The proposals, in the sender's order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sa {
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// One proposal (§3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number, from 1.
    pub number: u8,
    /// What it is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty in IKE_SA_INIT, 8 bytes for an IKE rekey, 4 for ESP.
    pub spi: Vec<u8>,
    /// The transforms offered.
    pub transforms: Vec<Transform>,
}

/// One transform (§3.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// Its number within that type's registry.
    pub id: u16,
    /// Its attributes (§3.3.5).
    pub attributes: Vec<TransformAttribute>,
}

/// One transform attribute (§3.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformAttribute {
    /// Key Length (14), in bits.
    KeyLength(u16),
    /// An attribute in the short form that this endpoint does not know.
    Short {
        /// Its type, 15 bits.
        kind: u16,
        /// Its value.
        value: u16,
    },
    /// An attribute in the long form.
    Long {
        /// Its type, 15 bits.
        kind: u16,
        /// Its value.
        value: Vec<u8>,
    },
}

/// Last Substruc: nothing follows.
const LAST: u8 = 0;
/// Last Substruc of a proposal that another one follows.
const MORE_PROPOSALS: u8 = 2;
/// Last Substruc of a transform that another one follows.
const MORE_TRANSFORMS: u8 = 3;
/// The AF bit: set for the short form, with the value in place of the length.
const SHORT_FORM: u16 = 0x8000;
/// The only attribute that is registered.
const KEY_LENGTH: u16 = 14;

impl Sa {
    pub(super) fn decode(body: &[u8], budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let mut proposals = Vec::new();
        while !reader.is_empty() {
            budget.proposal()?;
            let more = last_substruc("proposal", MORE_PROPOSALS, &mut reader)?;
            proposals.push(Proposal::read(&mut reader, budget)?);
            if more == reader.is_empty() {
                return Err(Flaw::LastSubstrucPlace { what: "proposal" });
            }
        }
        if proposals.is_empty() {
            return Err(Flaw::NoProposal);
        }
        Ok(Self { proposals })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let mut proposals = self.proposals.iter().peekable();
        while let Some(proposal) = proposals.next() {
            proposal.write(if proposals.peek().is_some() { MORE_PROPOSALS } else { LAST }, writer);
        }
    }
}

impl Proposal {
    /// The SPI, if it has the length of an ESP or AH SPI.
    #[must_use]
    pub fn esp_spi(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.spi.as_slice()).ok().map(u32::from_be_bytes)
    }

    /// The SPI, if it has the length of an IKE SPI.
    #[must_use]
    pub fn ike_spi(&self) -> Option<u64> {
        <[u8; 8]>::try_from(self.spi.as_slice()).ok().map(u64::from_be_bytes)
    }

    /// The transforms of one type, in the sender's order.
    pub fn transforms_of(&self, kind: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |transform| transform.kind == kind)
    }

    /// Reads what stands behind the Last Substruc byte.
    fn read(reader: &mut Reader<'_>, budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = substructure("proposal", reader)?;
        let number = reader.u8()?;
        let protocol = ProtocolId(reader.u8()?);
        let spi_size = reader.u8()?;
        let said = reader.u8()?;
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        let mut transforms = Vec::new();
        while !reader.is_empty() {
            budget.transform()?;
            let more = last_substruc("transform", MORE_TRANSFORMS, &mut reader)?;
            transforms.push(Transform::read(&mut reader, budget)?);
            if more == reader.is_empty() {
                return Err(Flaw::LastSubstrucPlace { what: "transform" });
            }
        }
        if transforms.len() != usize::from(said) {
            return Err(Flaw::TransformCount { said, counted: transforms.len() });
        }
        Ok(Self { number, protocol, spi, transforms })
    }

    fn write(&self, last_substruc: u8, writer: &mut Writer) {
        let start = writer.len();
        writer.u8(last_substruc);
        writer.u8(0);
        let length = writer.open_length(start);
        writer.u8(self.number);
        writer.u8(self.protocol.0);
        writer.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        writer.u8(u8::try_from(self.transforms.len()).unwrap_or(u8::MAX));
        writer.bytes(&self.spi);
        let mut transforms = self.transforms.iter().peekable();
        while let Some(transform) = transforms.next() {
            transform.write(if transforms.peek().is_some() { MORE_TRANSFORMS } else { LAST }, writer);
        }
        writer.close(length);
    }
}

impl Transform {
    /// A transform without attributes.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, attributes: Vec::new() }
    }

    /// An encryption transform; `key_bits` for ciphers with keys of several lengths.
    #[must_use]
    pub fn encr(encr: Encr, key_bits: Option<u16>) -> Self {
        let attributes = key_bits.map(TransformAttribute::KeyLength).into_iter().collect();
        Self { kind: TransformType::ENCR, id: encr.0, attributes }
    }

    /// A pseudorandom function.
    #[must_use]
    pub const fn prf(prf: Prf) -> Self {
        Self::new(TransformType::PRF, prf.0)
    }

    /// An integrity algorithm.
    #[must_use]
    pub const fn integ(integ: Integ) -> Self {
        Self::new(TransformType::INTEG, integ.0)
    }

    /// A key exchange method.
    #[must_use]
    pub const fn ke(method: KeMethod) -> Self {
        Self::new(TransformType::KE, method.0)
    }

    /// A key exchange method that follows the first one, in its place from 1 to 7 (RFC 9370 §2.2.1).
    #[must_use]
    pub const fn additional(place: u8, method: KeMethod) -> Self {
        Self::new(TransformType::additional(place), method.0)
    }

    /// With or without extended sequence numbers.
    #[must_use]
    pub const fn esn(esn: Esn) -> Self {
        Self::new(TransformType::ESN, esn.0)
    }

    /// The Key Length attribute in bits, if there is one.
    #[must_use]
    pub fn key_bits(&self) -> Option<u16> {
        self.attributes.iter().find_map(|attribute| match attribute {
            TransformAttribute::KeyLength(bits) => Some(*bits),
            _ => None,
        })
    }

    /// Whether there is an attribute besides one Key Length: such a transform must not be chosen (RFC 7296 §3.3.6).
    #[must_use]
    pub fn has_unknown_attribute(&self) -> bool {
        !matches!(self.attributes.as_slice(), [] | [TransformAttribute::KeyLength(_)])
    }

    /// Reads what stands behind the Last Substruc byte.
    fn read(reader: &mut Reader<'_>, budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = substructure("transform", reader)?;
        let kind = TransformType(reader.u8()?);
        let _reserved = reader.u8()?;
        let id = reader.u16()?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            budget.transform_attribute()?;
            attributes.push(TransformAttribute::read(&mut reader)?);
        }
        Ok(Self { kind, id, attributes })
    }

    fn write(&self, last_substruc: u8, writer: &mut Writer) {
        let start = writer.len();
        writer.u8(last_substruc);
        writer.u8(0);
        let length = writer.open_length(start);
        writer.u8(self.kind.0);
        writer.u8(0);
        writer.u16(self.id);
        for attribute in &self.attributes {
            attribute.write(writer);
        }
        writer.close(length);
    }
}

impl TransformAttribute {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Flaw> {
        let form_and_kind = reader.u16()?;
        let kind = form_and_kind & !SHORT_FORM;
        let value_or_length = reader.u16()?;
        if form_and_kind & SHORT_FORM == 0 {
            return Ok(Self::Long { kind, value: reader.take(usize::from(value_or_length))?.to_vec() });
        }
        Ok(match kind {
            KEY_LENGTH => Self::KeyLength(value_or_length),
            _ => Self::Short { kind, value: value_or_length },
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::KeyLength(bits) => {
                writer.u16(SHORT_FORM | KEY_LENGTH);
                writer.u16(*bits);
            }
            Self::Short { kind, value } => {
                writer.u16(SHORT_FORM | kind);
                writer.u16(*value);
            }
            Self::Long { kind, value } => {
                writer.u16(kind & !SHORT_FORM);
                let counted_from = writer.len().saturating_add(2);
                let length = writer.open_length(counted_from);
                writer.bytes(value);
                writer.close(length);
            }
        }
    }
}

/// Reads the Last Substruc byte: whether more of `what` are to follow.
fn last_substruc(what: &'static str, more: u8, reader: &mut Reader<'_>) -> Result<bool, Flaw> {
    match reader.u8()? {
        LAST => Ok(false),
        value if value == more => Ok(true),
        value => Err(Flaw::LastSubstruc { what, value }),
    }
}

/// Reads the reserved byte and the length of a proposal or transform, and takes what the length says is left of it.
fn substructure<'a>(what: &'static str, reader: &mut Reader<'a>) -> Result<Reader<'a>, Flaw> {
    let _reserved = reader.u8()?;
    let length = reader.u16()?;
    // The length counts Last Substruc, the reserved byte and itself; 8 is the fixed part of both structures.
    if length < 8 {
        return Err(Flaw::SubstructureTooShort { what, length });
    }
    Ok(reader.sub(usize::from(length).saturating_sub(4))?)
}
