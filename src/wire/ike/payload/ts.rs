//! Traffic Selector payload (RFC 7296 §3.13).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::ike::numbers::TsType;

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
