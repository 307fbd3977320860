//! Traffic Selector payload (RFC 7296 §3.13).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::ike::limits::Budget;
use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::TsType;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// A set of traffic selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ts {
    /// The selectors, in the sender's order.
    pub selectors: Vec<SelectorEntry>,
}

/// One traffic selector as it stands on the wire (§3.13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorEntry {
    /// An address range with protocol and ports.
    Range(TsRange),
    /// A type this endpoint does not know; it is skipped when narrowing.
    Unknown {
        /// The number.
        kind: TsType,
        /// Everything behind the length field.
        body: Vec<u8>,
    },
}

/// The addresses, protocol and ports of one selector, both ends of a range included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsRange {
    /// TS_IPV4_ADDR_RANGE.
    V4 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First port. "OPAQUE" is 65535 to 0.
        start_port: u16,
        /// Last port.
        end_port: u16,
        /// First address.
        start: Ipv4Addr,
        /// Last address.
        end: Ipv4Addr,
    },
    /// TS_IPV6_ADDR_RANGE.
    V6 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First port. "OPAQUE" is 65535 to 0.
        start_port: u16,
        /// Last port.
        end_port: u16,
        /// First address.
        start: Ipv6Addr,
        /// Last address.
        end: Ipv6Addr,
    },
}

/// The part of a selector that its length field counts before the addresses: type, protocol, length.
const SELECTOR_HEADER_LEN: u16 = 4;
const V4_LEN: u16 = 16;
const V6_LEN: u16 = 40;

impl Ts {
    /// A payload of these ranges.
    pub fn ranges(ranges: impl IntoIterator<Item = TsRange>) -> Self {
        Self { selectors: ranges.into_iter().map(SelectorEntry::Range).collect() }
    }

    /// The selectors of a known type.
    pub fn known(&self) -> impl Iterator<Item = &TsRange> {
        self.selectors.iter().filter_map(|selector| match selector {
            SelectorEntry::Range(range) => Some(range),
            SelectorEntry::Unknown { .. } => None,
        })
    }

    pub(super) fn decode(body: &[u8], budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let said = reader.u8()?;
        let _reserved: [u8; 3] = reader.array()?;
        // RFC 7296 §2.9: "Each TS payload contains one or more Traffic Selectors."
        if said == 0 {
            return Err(Flaw::NoSelector);
        }
        let mut selectors = Vec::new();
        for _ in 0..said {
            budget.selector()?;
            selectors.push(SelectorEntry::read(&mut reader)?);
        }
        if !reader.is_empty() {
            return Err(Flaw::SelectorCount { said, left: reader.left() });
        }
        Ok(Self { selectors })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(u8::try_from(self.selectors.len()).unwrap_or(u8::MAX));
        writer.zeros(3);
        for selector in &self.selectors {
            selector.write(writer);
        }
    }
}

impl SelectorEntry {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Flaw> {
        let kind = TsType(reader.u8()?);
        let protocol = reader.u8()?;
        let length = reader.u16()?;
        let wrong_length = Flaw::SelectorLength { kind, length };
        let body_len = length.checked_sub(SELECTOR_HEADER_LEN).ok_or(wrong_length)?;
        let mut body = reader.sub(usize::from(body_len))?;
        match (kind, length) {
            (TsType::IPV4_ADDR_RANGE, V4_LEN) => Ok(Self::Range(TsRange::V4 {
                protocol,
                start_port: body.u16()?,
                end_port: body.u16()?,
                start: Ipv4Addr::from(body.array::<4>()?),
                end: Ipv4Addr::from(body.array::<4>()?),
            })),
            (TsType::IPV6_ADDR_RANGE, V6_LEN) => Ok(Self::Range(TsRange::V6 {
                protocol,
                start_port: body.u16()?,
                end_port: body.u16()?,
                start: Ipv6Addr::from(body.array::<16>()?),
                end: Ipv6Addr::from(body.array::<16>()?),
            })),
            (TsType::IPV4_ADDR_RANGE | TsType::IPV6_ADDR_RANGE, _) => Err(wrong_length),
            // The registered types besides these keep the byte before the length reserved.
            _ => Ok(Self::Unknown { kind, body: body.rest().to_vec() }),
        }
    }

    fn write(&self, writer: &mut Writer) {
        let start = writer.len();
        let (kind, protocol) = match self {
            Self::Range(TsRange::V4 { protocol, .. }) => (TsType::IPV4_ADDR_RANGE, *protocol),
            Self::Range(TsRange::V6 { protocol, .. }) => (TsType::IPV6_ADDR_RANGE, *protocol),
            Self::Unknown { kind, .. } => (*kind, 0),
        };
        writer.u8(kind.0);
        writer.u8(protocol);
        let length = writer.open_length(start);
        match self {
            Self::Range(TsRange::V4 { start_port, end_port, start, end, .. }) => {
                writer.u16(*start_port);
                writer.u16(*end_port);
                writer.bytes(&start.octets());
                writer.bytes(&end.octets());
            }
            Self::Range(TsRange::V6 { start_port, end_port, start, end, .. }) => {
                writer.u16(*start_port);
                writer.u16(*end_port);
                writer.bytes(&start.octets());
                writer.bytes(&end.octets());
            }
            Self::Unknown { body, .. } => writer.bytes(body),
        }
        writer.close(length);
    }
}
