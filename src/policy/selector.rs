//! Selectors (RFC 4301 §4.4.1.1): address range, protocol, port range.

use std::net::IpAddr;

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
