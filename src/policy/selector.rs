//! Selectors (RFC 4301 §4.4.1.1): address range, protocol, port range.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::FlowKey;
use crate::wire::ike::payload::{SelectorEntry, TsRange};

/// One traffic selector. The ends of each range belong to it; `start` and `end` are of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    /// IP protocol; 0 for any.
    pub protocol: u8,
    /// First port (for ICMP: type and code).
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}

impl TrafficSelector {
    /// Every protocol and port of a network.
    #[must_use]
    pub fn any(network: IpNet) -> Self {
        Self { protocol: 0, first_port: 0, last_port: u16::MAX, start: network.network(), end: network.broadcast() }
    }

    /// What both selectors hold; `None` if that is nothing.
    #[must_use]
    pub fn intersect(&self, _other: &Self) -> Option<Self> {
        todo!()
    }

    /// Whether everything that `other` holds is in here too.
    #[must_use]
    pub fn covers(&self, _other: &Self) -> bool {
        todo!()
    }

    /// Whether the source of `key` is in here.
    #[must_use]
    pub fn contains_source(&self, _key: &FlowKey) -> bool {
        todo!()
    }

    /// Whether the destination of `key` is in here.
    #[must_use]
    pub fn contains_destination(&self, _key: &FlowKey) -> bool {
        todo!()
    }

    /// The selector as it stands in a TS payload. `None` if its ends are of two families.
    #[must_use]
    pub fn to_wire(&self) -> Option<TsRange> {
        todo!()
    }

    /// The selectors of a TS payload; unknown types are skipped (RFC 7296 §3.13.1).
    #[must_use]
    pub fn from_entries(_entries: &[SelectorEntry]) -> Vec<Self> {
        todo!()
    }
}

impl From<TsRange> for TrafficSelector {
    fn from(range: TsRange) -> Self {
        match range {
            TsRange::V4 { protocol, start_port, end_port, start, end } => {
                Self { protocol, first_port: start_port, last_port: end_port, start: start.into(), end: end.into() }
            }
            TsRange::V6 { protocol, start_port, end_port, start, end } => {
                Self { protocol, first_port: start_port, last_port: end_port, start: start.into(), end: end.into() }
            }
        }
    }
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start)
    }
}
