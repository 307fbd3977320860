//! Selectors (RFC 4301 §4.4.1.1): address range, protocol, port range.
//!
//! Ports of ICMP are type and code in one number, type in front (RFC 7296 §3.13.1). "OPAQUE" (65535 to 0) stands for
//! ports that cannot be seen; "ANY" holds it (RFC 4301 §4.4.1.1).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::rule::{ICMP, ICMPV6, TCP, UDP};
use crate::event::FlowKey;
use crate::wire::ike::payload::{SelectorEntry, TsRange};

/// One traffic selector. The ends of each range belong to it; `start` and `end` are of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// One protocol and all its ports, of a network.
    #[must_use]
    pub fn protocol(network: IpNet, protocol: u8) -> Self {
        Self { protocol, ..Self::any(network) }
    }

    /// One port of one protocol, of a network.
    #[must_use]
    pub fn port(network: IpNet, protocol: u8, port: u16) -> Self {
        Self { protocol, first_port: port, last_port: port, ..Self::any(network) }
    }

    /// Whether it holds ports that cannot be seen, and no others.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        // RFC 7296 §3.13.1: OPAQUE is sent as start port 65535 and end port 0.
        self.first_port == u16::MAX && self.last_port == 0
    }

    /// Whether it holds every port, the unseen ones too.
    #[must_use]
    pub fn any_port(&self) -> bool {
        self.first_port == 0 && self.last_port == u16::MAX
    }

    /// Whether its ranges hold anything.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.start.is_ipv4() == self.end.is_ipv4()
            && self.start <= self.end
            && (self.first_port <= self.last_port || self.is_opaque())
    }

    /// What both selectors hold; `None` if that is nothing.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if !self.is_valid() || !other.is_valid() || self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (one, another) if one == another => one,
            _ => return None,
        };
        let (first_port, last_port) = match (self.is_opaque(), other.is_opaque()) {
            (false, false) => (self.first_port.max(other.first_port), self.last_port.min(other.last_port)),
            (true, true) => (self.first_port, self.last_port),
            (true, false) if other.any_port() => (self.first_port, self.last_port),
            (false, true) if self.any_port() => (other.first_port, other.last_port),
            _ => return None,
        };
        let common =
            Self { protocol, first_port, last_port, start: self.start.max(other.start), end: self.end.min(other.end) };
        let opaque = self.is_opaque() || other.is_opaque();
        (common.start <= common.end && (opaque || first_port <= last_port)).then_some(common)
    }

    /// Whether everything that `other` holds is in here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other).is_some_and(|common| common == *other)
    }

    /// Whether the source of `key` is in here.
    #[must_use]
    pub fn contains_source(&self, key: &FlowKey) -> bool {
        self.contains(key.source, key.source_port, key)
    }

    /// Whether the destination of `key` is in here.
    #[must_use]
    pub fn contains_destination(&self, key: &FlowKey) -> bool {
        self.contains(key.destination, key.destination_port, key)
    }

    fn contains(&self, address: IpAddr, port: u16, key: &FlowKey) -> bool {
        // `IpAddr` orders IPv4 before IPv6, so an address of the other family is out of range.
        if address < self.start || address > self.end || (self.protocol != 0 && self.protocol != key.protocol) {
            return false;
        }
        if self.any_port() {
            return true;
        }
        let port = match key.protocol {
            TCP | UDP => port,
            ICMP | ICMPV6 => key.source_port << 8 | key.destination_port & 0xff,
            // No other protocol's ports can be seen here.
            _ => return self.is_opaque(),
        };
        (self.first_port..=self.last_port).contains(&port)
    }

    /// The selector as it stands in a TS payload. `None` if its ends are of two families.
    #[must_use]
    pub fn to_wire(&self) -> Option<TsRange> {
        let Self { protocol, first_port: start_port, last_port: end_port, start, end } = *self;
        match (start, end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => Some(TsRange::V4 { protocol, start_port, end_port, start, end }),
            (IpAddr::V6(start), IpAddr::V6(end)) => Some(TsRange::V6 { protocol, start_port, end_port, start, end }),
            _ => None,
        }
    }

    /// The selectors of a TS payload; unknown types and empty ranges are skipped.
    #[must_use]
    pub fn from_entries(entries: &[SelectorEntry]) -> Vec<Self> {
        let ranges = entries.iter().filter_map(|entry| match entry {
            SelectorEntry::Range(range) => Some(Self::from(*range)),
            SelectorEntry::Unknown { .. } => None,
        });
        ranges.filter(Self::is_valid).collect()
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

/// `192.0.2.10`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`, with ` tcp/1414` and the like behind it.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match network(self.start, self.end) {
            _ if self.start == self.end => write!(f, "{}", self.start)?,
            Some(network) => write!(f, "{network}")?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        match self.protocol {
            0 if self.any_port() => return Ok(()),
            0 => f.write_str(" any")?,
            ICMP => f.write_str(" icmp")?,
            TCP => f.write_str(" tcp")?,
            UDP => f.write_str(" udp")?,
            ICMPV6 => f.write_str(" icmpv6")?,
            protocol => write!(f, " protocol {protocol}")?,
        }
        if self.any_port() {
            Ok(())
        } else if self.is_opaque() {
            f.write_str("/opaque")
        } else if self.first_port == self.last_port {
            write!(f, "/{}", self.first_port)
        } else {
            write!(f, "/{}-{}", self.first_port, self.last_port)
        }
    }
}

/// The network that the range is, if it is one.
fn network(start: IpAddr, end: IpAddr) -> Option<IpNet> {
    let bits = match (start, end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => (start.to_bits() ^ end.to_bits()).leading_zeros(),
        (IpAddr::V6(start), IpAddr::V6(end)) => (start.to_bits() ^ end.to_bits()).leading_zeros(),
        _ => return None,
    };
    let network = IpNet::new(start, u8::try_from(bits).ok()?).ok()?;
    (network.network() == start && network.broadcast() == end).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(network: &str, protocol: u8, first_port: u16, last_port: u16) -> TrafficSelector {
        let any = TrafficSelector::any(network.parse().unwrap());
        TrafficSelector { protocol, first_port, last_port, ..any }
    }

    fn key(protocol: u8, source_port: u16, destination_port: u16) -> FlowKey {
        FlowKey {
            protocol,
            source: "192.0.2.10".parse().unwrap(),
            source_port,
            destination: "203.0.113.20".parse().unwrap(),
            destination_port,
        }
    }

    #[test]
    fn intersection_is_the_smaller_of_nested_selectors_and_nothing_of_disjoint_ones() {
        let wide = selector("192.0.2.0/24", 0, 0, 65535);
        let narrow = selector("192.0.2.10/32", TCP, 1414, 1414);
        assert_eq!(wide.intersect(&narrow), Some(narrow));
        assert_eq!(narrow.intersect(&wide), Some(narrow));
        assert!(wide.covers(&narrow) && !narrow.covers(&wide));
        assert_eq!(narrow.intersect(&selector("192.0.2.10/32", UDP, 1414, 1414)), None);
        assert_eq!(narrow.intersect(&selector("192.0.2.10/32", TCP, 1415, 65535)), None);
        assert_eq!(narrow.intersect(&selector("192.0.2.11/32", TCP, 1414, 1414)), None);
        assert_eq!(wide.intersect(&selector("::/0", 0, 0, 65535)), None);
    }

    #[test]
    fn ranges_that_overlap_in_part_meet_in_that_part() {
        let one = TrafficSelector {
            start: "192.0.2.1".parse().unwrap(),
            end: "192.0.2.9".parse().unwrap(),
            ..selector("192.0.2.0/32", TCP, 10, 20)
        };
        let other = TrafficSelector {
            start: "192.0.2.5".parse().unwrap(),
            end: "192.0.2.30".parse().unwrap(),
            ..selector("192.0.2.0/32", 0, 15, 30)
        };
        let common = one.intersect(&other).unwrap();
        assert_eq!(common.to_string(), "192.0.2.5-192.0.2.9 tcp/15-20");
    }

    #[test]
    fn any_holds_opaque_and_a_port_does_not() {
        let any = selector("192.0.2.0/24", TCP, 0, 65535);
        let opaque = selector("192.0.2.0/24", TCP, 65535, 0);
        assert_eq!(any.intersect(&opaque), Some(opaque));
        assert_eq!(opaque.intersect(&opaque), Some(opaque));
        assert_eq!(opaque.intersect(&selector("192.0.2.0/24", TCP, 0, 65534)), None);
        assert!(any.covers(&opaque) && !opaque.covers(&any));
        assert!(!opaque.contains_source(&key(TCP, 0, 0)));
    }

    #[test]
    fn an_empty_range_meets_nothing_not_even_itself() {
        let backwards = selector("192.0.2.0/24", TCP, 20, 10);
        assert_eq!(backwards.intersect(&backwards), None);
        assert!(!backwards.contains_source(&key(TCP, 15, 15)));
        assert!(TrafficSelector::from_entries(&[SelectorEntry::Range(backwards.to_wire().unwrap())]).is_empty());
    }

    #[test]
    fn each_side_of_a_flow_is_held_against_its_own_port() {
        let service = selector("203.0.113.20/32", TCP, 1414, 1414);
        assert!(service.contains_destination(&key(TCP, 40000, 1414)));
        assert!(!service.contains_destination(&key(TCP, 1414, 40000)));
        assert!(!service.contains_destination(&key(UDP, 40000, 1414)));
        assert!(!service.contains_source(&key(TCP, 40000, 1414)));
    }

    #[test]
    fn icmp_selectors_hold_type_and_code_on_both_sides() {
        let echo = selector("192.0.2.10/32", ICMP, 0x0800, 0x08ff);
        assert!(echo.contains_source(&key(ICMP, 8, 0)));
        assert!(!echo.contains_source(&key(ICMP, 0, 0)));
        let to = selector("203.0.113.20/32", ICMP, 0x0800, 0x08ff);
        assert!(to.contains_destination(&key(ICMP, 8, 0)));
    }

    #[test]
    fn a_selector_survives_the_wire() {
        for text in ["192.0.2.0/24", "2001:db8::/64"] {
            let selector = selector(text, TCP, 22, 23);
            assert_eq!(TrafficSelector::from(selector.to_wire().unwrap()), selector);
            assert_eq!(selector.to_string(), format!("{text} tcp/22-23"));
        }
        assert_eq!(selector("192.0.2.10/32", 0, 0, 65535).to_string(), "192.0.2.10");
    }
}
