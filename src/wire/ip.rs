//! A checked view of an inner packet, of either family.
//!
//! What is behind the header is checked as far as a gateway must understand it: TCP, UDP and ICMP headers. IP options,
//! extension headers and fragments are refused by name, and so are addresses that no packet between two sites has.
//! Transport checksums are the business of the hosts.

use std::net::IpAddr;

use super::{icmp, ipv4, ipv6, tcp, udp};
use crate::event::{DropReason, FlowKey};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// An inner packet whose header has been checked: no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    bytes: &'a [u8],
    payload: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    transport: Transport<'a>,
}

/// What an inner packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// TCP.
    Tcp(tcp::TcpView<'a>),
    /// UDP.
    Udp(udp::UdpView<'a>),
    /// ICMP over IPv4 or ICMPv6 over IPv6.
    Icmp(icmp::IcmpView<'a>),
    /// Anything else.
    Other,
}

/// The fields that both headers have, as `ipv4` and `ipv6` find them.
pub(super) struct Header<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
}

impl<'a> Inner<'a> {
    /// A packet that fills `bytes` exactly.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let inner = Self::parse_padded(bytes)?;
        if inner.bytes.len() == bytes.len() { Ok(inner) } else { Err(DropReason::BadIpHeader) }
    }

    /// A packet at the start of `bytes`; what follows it is padding for traffic flow confidentiality
    /// (RFC 4303 §2.7) and is left out of the view.
    pub fn parse_padded(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let header = match bytes.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(bytes)?,
            Some(6) => ipv6::parse(bytes)?,
            _ => return Err(DropReason::BadIpHeader),
        };
        let v6 = header.source.is_ipv6();
        let transport = match header.protocol {
            TCP => tcp::TcpView::parse(header.payload).map(Transport::Tcp),
            UDP => udp::UdpView::parse(header.payload, v6).map(Transport::Udp),
            ICMP if !v6 => icmp::IcmpView::parse(header.payload, v6).map(Transport::Icmp),
            ICMPV6 if v6 => icmp::IcmpView::parse(header.payload, v6).map(Transport::Icmp),
            _ => Some(Transport::Other),
        }
        .ok_or(DropReason::BadTransport)?;
        let Header { bytes, payload, source, destination, protocol, tos, ttl, dont_fragment } = header;
        Ok(Self { bytes, payload, source, destination, protocol, tos, ttl, dont_fragment, transport })
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// The source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// The destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The IP protocol (in IPv6 the next header: there are no extension headers).
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Length of the IP header.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.bytes.len() - self.payload.len()
    }

    /// The whole packet.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is behind the IP header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.tos
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Whether a router must not fragment it: always, in IPv6.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.dont_fragment
    }

    /// What it carries.
    #[must_use]
    pub fn transport(&self) -> Transport<'a> {
        self.transport
    }

    /// The TCP segment, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<tcp::TcpView<'a>> {
        if let Transport::Tcp(segment) = self.transport { Some(segment) } else { None }
    }

    /// The UDP datagram, if it is one.
    #[must_use]
    pub fn udp(&self) -> Option<udp::UdpView<'a>> {
        if let Transport::Udp(datagram) = self.transport { Some(datagram) } else { None }
    }

    /// The ICMP or ICMPv6 message, if it is one.
    #[must_use]
    pub fn icmp(&self) -> Option<icmp::IcmpView<'a>> {
        if let Transport::Icmp(message) = self.transport { Some(message) } else { None }
    }

    /// Who talks to whom.
    #[must_use]
    pub fn flow(&self) -> FlowKey {
        let (source_port, destination_port) = match self.transport {
            Transport::Tcp(segment) => (segment.source_port(), segment.destination_port()),
            Transport::Udp(datagram) => (datagram.source_port(), datagram.destination_port()),
            Transport::Icmp(message) => (u16::from(message.kind()), u16::from(message.code())),
            Transport::Other => (0, 0),
        };
        FlowKey {
            protocol: self.protocol,
            source: self.source,
            source_port,
            destination: self.destination,
            destination_port,
        }
    }
}

/// Sets DSCP and ECN of a packet that was parsed before, and mends the header checksum.
pub fn set_tos(bytes: &mut [u8], tos: u8) {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4::set_tos(bytes, tos),
        Some(6) => ipv6::set_tos(bytes, tos),
        _ => {}
    }
}

/// Counts TTL or hop limit down, and mends the header checksum. `None`, and no change, if it would reach zero.
#[must_use]
pub fn decrement_ttl(bytes: &mut [u8]) -> Option<u8> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4::decrement_ttl(bytes),
        Some(6) => ipv6::decrement_ttl(bytes),
        _ => None,
    }
}
