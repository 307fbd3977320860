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
    header: Header<'a>,
    transport: Transport<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Header<'a> {
    V4(&'a [u8; ipv4::HEADER_LEN]),
    V6(&'a [u8; ipv6::HEADER_LEN]),
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

impl<'a> Inner<'a> {
    /// A packet that fills `bytes` exactly.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(bytes, true)
    }

    /// The first packet of a train, which fills `bytes` exactly. The others have the same headers but for what counts
    /// up, and carry `rest` bytes of payload altogether.
    #[inline]
    pub fn parse_leader(bytes: &'a [u8], rest: u32) -> Result<Self, DropReason> {
        let mut inner = Self::parse(bytes)?;
        if let Transport::Tcp(segment) = &mut inner.transport {
            segment.rest = rest;
        }
        Ok(inner)
    }

    /// A packet at the start of `bytes`; what follows it is padding for traffic flow confidentiality
    /// (RFC 4303 §2.7) and is left out of the view.
    #[inline]
    pub fn parse_padded(bytes: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(bytes, false)
    }

    fn read(given: &'a [u8], all: bool) -> Result<Self, DropReason> {
        let (header, payload) = match given.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(given).map(|(header, payload)| (Header::V4(header), payload))?,
            Some(6) => ipv6::parse(given).map(|(header, payload)| (Header::V6(header), payload))?,
            _ => return Err(DropReason::BadIpHeader),
        };
        let bytes = given.get(..header.len() + payload.len()).ok_or(DropReason::BadIpHeader)?;
        let v6 = matches!(header, Header::V6(_));
        let transport = match header.protocol() {
            TCP => tcp::TcpView::parse(payload).map(Transport::Tcp),
            UDP => udp::UdpView::parse(payload, v6).map(Transport::Udp),
            ICMP if !v6 => icmp::IcmpView::parse(payload, v6).map(Transport::Icmp),
            ICMPV6 if v6 => icmp::IcmpView::parse(payload, v6).map(Transport::Icmp),
            _ => Some(Transport::Other),
        }
        .ok_or(DropReason::BadTransport)?;
        if all && bytes.len() < given.len() {
            return Err(DropReason::BadIpHeader);
        }
        Ok(Self { bytes, header, transport })
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        matches!(self.header, Header::V6(_))
    }

    /// The source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        match self.header {
            Header::V4(header) => ipv4::source(header).into(),
            Header::V6(header) => ipv6::source(header).into(),
        }
    }

    /// The destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        match self.header {
            Header::V4(header) => ipv4::destination(header).into(),
            Header::V6(header) => ipv6::destination(header).into(),
        }
    }

    /// The IP protocol (in IPv6 the next header: there are no extension headers).
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.header.protocol()
    }

    /// Length of the IP header.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// The whole packet.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What is behind the IP header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header.len()..).unwrap_or_default()
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn tos(&self) -> u8 {
        match self.header {
            Header::V4(header) => ipv4::tos(header),
            Header::V6(header) => ipv6::tos(header),
        }
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        match self.header {
            Header::V4(header) => ipv4::ttl(header),
            Header::V6(header) => ipv6::hop_limit(header),
        }
    }

    /// Whether a router must not fragment it: always, in IPv6.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        match self.header {
            Header::V4(header) => ipv4::dont_fragment(header),
            Header::V6(_) => true,
        }
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
            protocol: self.protocol(),
            source: self.source(),
            source_port,
            destination: self.destination(),
            destination_port,
        }
    }
}

impl Header<'_> {
    fn len(&self) -> usize {
        match self {
            Self::V4(header) => header.len(),
            Self::V6(header) => header.len(),
        }
    }

    fn protocol(&self) -> u8 {
        match self {
            Self::V4(header) => ipv4::protocol(header),
            Self::V6(header) => ipv6::next_header(header),
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

/// Writes a packet whose transport header and payload are `parts`. `None` if they do not fit, or if the addresses are
/// of two families.
#[must_use]
pub fn write_packet(
    out: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    parts: &[&[u8]],
) -> Option<usize> {
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let header_len = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4::write_header(out, source, destination, protocol, 0, payload_len)?;
            ipv4::HEADER_LEN
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6::write_header(out, source, destination, protocol, 0, payload_len)?;
            ipv6::HEADER_LEN
        }
        _ => return None,
    };
    let mut rest = out.get_mut(header_len..)?;
    for part in parts {
        let (to, behind) = rest.split_at_mut_checked(part.len())?;
        to.copy_from_slice(part);
        rest = behind;
    }
    Some(header_len + payload_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket};
    use proptest::prelude::*;

    fn tcp_v4() -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 10], [203, 0, 113, 20], 64);
        builder.tcp(40000, 1414, 7, 1000).write(&mut packet, b"TSH ").unwrap();
        packet
    }

    fn udp_v6() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64).udp(40000, 53).write(&mut packet, b"hello").unwrap();
        packet
    }

    fn mended(mut packet: Vec<u8>) -> Vec<u8> {
        packet[10..12].fill(0);
        let sum = crate::wire::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn refused(packet: &[u8]) -> DropReason {
        Inner::parse(packet).map(|inner| inner.flow()).unwrap_err()
    }

    /// The packet with some of its bytes replaced and the IPv4 checksum right again.
    fn with(packet: &[u8], changes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        for (at, bytes) in changes {
            packet[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        if packet[0] >> 4 == 4 { mended(packet) } else { packet }
    }

    #[test]
    fn a_packet_reads_as_it_was_built() {
        let packet = tcp_v4();
        let inner = Inner::parse(&packet).unwrap();
        assert_eq!((inner.is_v6(), inner.header_len(), inner.ttl(), inner.tos()), (false, 20, 64, 0));
        assert_eq!(inner.tcp().unwrap().payload(), b"TSH ");
        assert!(inner.udp().is_none() && inner.icmp().is_none());
        let flow = inner.flow();
        assert_eq!((flow.protocol, flow.source_port, flow.destination_port), (TCP, 40000, 1414));
        assert_eq!((flow.source, flow.destination), (inner.source(), inner.destination()));
        let packet = udp_v6();
        let inner = Inner::parse(&packet).unwrap();
        assert_eq!((inner.is_v6(), inner.header_len(), inner.ttl()), (true, 40, 64));
        assert_eq!(inner.udp().unwrap().payload(), b"hello");
        assert!(inner.dont_fragment());
    }

    #[test]
    fn each_fault_of_a_header_has_its_reason() {
        let v4 = tcp_v4();
        assert_eq!(refused(&[]), DropReason::BadIpHeader);
        assert_eq!(refused(&v4[..19]), DropReason::BadIpHeader);
        assert_eq!(refused(&v4[..v4.len() - 1]), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v4, &[(0, &[0x55])])), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v4, &[(0, &[0x44])])), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v4, &[(2, &[0, 19])])), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v4, &[(0, &[0x46])])), DropReason::IpOptions);
        assert_eq!(refused(&with(&v4, &[(6, &[0x80])])), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v4, &[(6, &[0x20])])), DropReason::InnerFragment);
        assert_eq!(refused(&with(&v4, &[(6, &[0, 1])])), DropReason::InnerFragment);
        assert_eq!(refused(&with(&v4, &[(32, &[0x40])])), DropReason::BadTransport);
        let mut sum = v4.clone();
        sum[10] ^= 1;
        assert_eq!(refused(&sum), DropReason::BadIpChecksum);
        let v6 = udp_v6();
        assert_eq!(refused(&v6[..39]), DropReason::BadIpHeader);
        assert_eq!(refused(&v6[..v6.len() - 1]), DropReason::BadIpHeader);
        assert_eq!(refused(&with(&v6, &[(6, &[44])])), DropReason::InnerFragment);
        for extension in [0, 43, 51, 60, 135] {
            assert_eq!(refused(&with(&v6, &[(6, &[extension])])), DropReason::IpOptions);
        }
        assert_eq!(refused(&with(&v6, &[(44, &[0, 12])])), DropReason::BadTransport);
        assert_eq!(refused(&with(&v6, &[(46, &[0, 0])])), DropReason::BadTransport, "no checksum over IPv6");
        assert_eq!(refused(&with(&v6, &[(40, &[0, 0])])), DropReason::BadTransport, "port zero");
    }

    #[test]
    fn addresses_that_no_host_behind_a_gateway_has_are_refused_on_both_sides() {
        let v4 = tcp_v4();
        for bad in [[127, 0, 0, 1], [224, 0, 0, 5], [255; 4], [0; 4], [0, 1, 2, 3], [169, 254, 0, 1]] {
            for at in [12, 16] {
                assert_eq!(refused(&with(&v4, &[(at, &bad)])), DropReason::BadSource, "{bad:?}");
            }
        }
        assert_eq!(refused(&with(&v4, &[(12, &[203, 0, 113, 20])])), DropReason::BadSource, "LAND");
        let v6 = udp_v6();
        for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            let octets = bad.parse::<std::net::Ipv6Addr>().unwrap().octets();
            for at in [8, 24] {
                assert_eq!(refused(&with(&v6, &[(at, &octets)])), DropReason::BadSource, "{bad}");
            }
        }
    }

    #[test]
    fn padding_for_traffic_flow_confidentiality_is_cut_off_and_refused_elsewhere() {
        for packet in [tcp_v4(), udp_v6()] {
            let padded = [packet.as_slice(), &[0; 100]].concat();
            assert_eq!(Inner::parse_padded(&padded).unwrap().bytes(), packet);
            assert_eq!(refused(&padded), DropReason::BadIpHeader);
        }
    }

    #[test]
    fn tos_and_ttl_change_in_place_and_the_checksum_stays_right() {
        for mut packet in [tcp_v4(), udp_v6()] {
            for tos in [0, 0xb8, 3, 0xff] {
                set_tos(&mut packet, tos);
                assert_eq!(Inner::parse(&packet).unwrap().tos(), tos);
            }
            for ttl in (1..64).rev() {
                assert_eq!(decrement_ttl(&mut packet), Some(ttl));
                assert_eq!(Inner::parse(&packet).unwrap().ttl(), ttl);
            }
            let last = packet.clone();
            assert_eq!(decrement_ttl(&mut packet), None);
            assert_eq!(packet, last);
        }
        set_tos(&mut [0x45], 1);
        assert_eq!(decrement_ttl(&mut [0x45]), None);
    }

    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let base = prop_oneof![Just(tcp_v4()), Just(udp_v6())];
        (base, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<bool>()).prop_map(
            |(mut packet, changes, mend)| {
                for (at, value) in changes {
                    let at = at.index(packet.len());
                    packet[at] = value;
                }
                if mend { mended(packet) } else { packet }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_as_etherparse_reads_it(packet in mutated()) {
            if let Ok(inner) = Inner::parse(&packet) {
                let theirs = SlicedPacket::from_ip(&packet).unwrap();
                let flow = inner.flow();
                match theirs.net.unwrap() {
                    etherparse::NetSlice::Ipv4(ip) => {
                        prop_assert_eq!(IpAddr::from(ip.header().source_addr()), flow.source);
                        prop_assert_eq!(IpAddr::from(ip.header().destination_addr()), flow.destination);
                        prop_assert_eq!(ip.header().ttl(), inner.ttl());
                        prop_assert_eq!(ip.header().dcp().value() << 2 | ip.header().ecn().value(), inner.tos());
                        prop_assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
                        prop_assert!(!ip.is_payload_fragmented() && ip.header().options().is_empty());
                    }
                    etherparse::NetSlice::Ipv6(ip) => {
                        prop_assert_eq!(IpAddr::from(ip.header().source_addr()), flow.source);
                        prop_assert_eq!(IpAddr::from(ip.header().destination_addr()), flow.destination);
                        prop_assert_eq!(ip.header().hop_limit(), inner.ttl());
                        prop_assert_eq!(ip.header().traffic_class(), inner.tos());
                        prop_assert!(ip.extensions().is_empty());
                    }
                    etherparse::NetSlice::Arp(_) => prop_assert!(false, "ARP is not IP"),
                }
                match theirs.transport {
                    Some(etherparse::TransportSlice::Tcp(tcp)) => {
                        prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (flow.source_port, flow.destination_port));
                    }
                    Some(etherparse::TransportSlice::Udp(udp)) => {
                        prop_assert_eq!((udp.source_port(), udp.destination_port()), (flow.source_port, flow.destination_port));
                    }
                    _ => prop_assert!(flow.protocol != TCP && flow.protocol != UDP),
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(mut packet in prop::collection::vec(any::<u8>(), 0..100), version in 0_u8..3) {
            if let Some(first) = packet.first_mut() {
                *first = [0x45, 0x60, *first][usize::from(version)];
            }
            if let Ok(inner) = Inner::parse_padded(&packet) {
                let _ = (inner.flow(), inner.icmp().and_then(|message| message.quoted()), inner.header_len());
            }
            set_tos(&mut packet, 1);
            let _ = decrement_ttl(&mut packet);
        }
    }
}
