//! ICMP (RFC 792) and ICMPv6 (RFC 4443): views, the packet that an error quotes, and the errors that we send.

use std::net::IpAddr;

use super::checksum::Sum;
use super::ip::{self, Inner};
use super::{ipv4, ipv6};
use crate::event::FlowKey;

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct IcmpView<'a> {
    v6: bool,
    header: &'a [u8; 8],
    body: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// The message that fills `bytes` exactly.
    pub(super) fn parse(bytes: &'a [u8], v6: bool) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<8>()?;
        Some(Self { v6, header, body })
    }

    /// Whether it is ICMPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// The second word of the header: pointer, MTU, or identifier and sequence number.
    #[must_use]
    pub fn word(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// The identifier of an echo message.
    #[must_use]
    pub fn identifier(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// What is behind the header: for an error the packet that it quotes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Whether it is an echo request.
    #[must_use]
    pub fn is_echo_request(&self) -> bool {
        self.kind() == if self.v6 { 128 } else { 8 }
    }

    /// Whether it is an echo reply.
    #[must_use]
    pub fn is_echo_reply(&self) -> bool {
        self.kind() == if self.v6 { 129 } else { 0 }
    }

    /// Whether it is of a type that quotes a packet: an error or a redirect.
    #[must_use]
    pub fn quotes(&self) -> bool {
        if self.v6 { self.kind() < 128 || self.kind() == 137 } else { matches!(self.kind(), 3 | 4 | 5 | 11 | 12) }
    }

    /// The packet that an error quotes, as far as it can be read.
    #[must_use]
    pub fn quoted(&self) -> Option<Quoted> {
        Quoted::parse(self.body, self.v6)
    }
}

/// The start of a packet that an ICMP error quotes: an IP header and eight bytes are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it to whom.
    pub flow: FlowKey,
    /// TCP: the sequence number. ICMP: the second word of the header. UDP: zero.
    pub word: u32,
}

impl Quoted {
    /// Reads the start of a packet of the given family, whose checksum and length say nothing any more.
    #[must_use]
    pub fn parse(bytes: &[u8], v6: bool) -> Option<Self> {
        let (source, destination, protocol, transport): (IpAddr, IpAddr, u8, &[u8]) = if v6 {
            let (header, transport) = bytes.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
            if header[0] >> 4 != 6 {
                return None;
            }
            (ipv6::source(header).into(), ipv6::destination(header).into(), ipv6::next_header(header), transport)
        } else {
            let (header, transport) = bytes.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
            // Nothing of ours has options, and a fragment that is not the first shows no ports.
            let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
            if header[0] != 0x45 || offset != 0 {
                return None;
            }
            (ipv4::source(header).into(), ipv4::destination(header).into(), ipv4::protocol(header), transport)
        };
        let [a, b, c, d, word @ ..] = *transport.first_chunk::<8>()?;
        let (source_port, destination_port, word) = match protocol {
            ip::TCP => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u32::from_be_bytes(word)),
            ip::UDP => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0),
            ip::ICMP if !v6 => (a.into(), b.into(), u32::from_be_bytes(word)),
            ip::ICMPV6 if v6 => (a.into(), b.into(), u32::from_be_bytes(word)),
            _ => return None,
        };
        Some(Self { flow: FlowKey { protocol, source, source_port, destination, destination_port }, word })
    }
}

/// An error that we send inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The packet does not fit: fragmentation needed (3/4), Packet Too Big (2/0).
    TooBig {
        /// What would fit.
        mtu: u32,
    },
    /// Policy forbids it: 3/13, 1/1.
    Prohibited,
    /// The tunnel is down: host unreachable (3/1), no route (1/0).
    Unreachable,
    /// The TTL ran out: 11/0, 3/0.
    TimeExceeded,
}

impl IcmpError {
    /// Type, code and second word of the header.
    fn header(self, v6: bool) -> (u8, u8, u32) {
        match (self, v6) {
            // RFC 1191 §4: the next-hop MTU stands in the low 16 bits.
            (Self::TooBig { mtu }, false) => (3, 4, mtu.min(0xffff)),
            (Self::TooBig { mtu }, true) => (2, 0, mtu),
            (Self::Prohibited, false) => (3, 13, 0),
            (Self::Prohibited, true) => (1, 1, 0),
            (Self::Unreachable, false) => (3, 1, 0),
            (Self::Unreachable, true) => (1, 0, 0),
            (Self::TimeExceeded, false) => (11, 0, 0),
            (Self::TimeExceeded, true) => (3, 0, 0),
        }
    }
}

/// The error that answers `offending`, sent from `source`, as a whole packet in `out`.
///
/// `None` if there must be no error (RFC 1122 §3.2.2, RFC 4443 §2.4 (e): never about another error), if it would go to its
/// own sender, if the families differ, or if `out` is too short; 576 bytes are enough for IPv4 and 1280 for IPv6.
pub fn build_error(out: &mut [u8], source: IpAddr, error: IcmpError, offending: &Inner<'_>) -> Option<usize> {
    if offending.icmp().is_some_and(|message| message.quotes()) || offending.source() == source {
        return None;
    }
    let v6 = offending.is_v6();
    // RFC 1812 §4.3.2.3: as much of the packet as fits into 576 bytes. RFC 4443 §2.4 (c): into the least MTU.
    let (protocol, overhead, most) =
        if v6 { (ip::ICMPV6, ipv6::HEADER_LEN + 8, 1280) } else { (ip::ICMP, ipv4::HEADER_LEN + 8, 576) };
    let quote = offending.bytes();
    let quote = quote.get(..most - overhead).unwrap_or(quote);
    let (kind, code, word) = error.header(v6);
    let [a, b, c, d] = word.to_be_bytes();
    let mut header = [kind, code, 0, 0, a, b, c, d];
    let pseudo = Sum::pseudo(source, offending.source(), protocol, header.len() + quote.len())?;
    let sum = if v6 { pseudo } else { Sum::ZERO };
    let sum = sum.and(&header).and(quote).finish();
    header[2..4].copy_from_slice(&sum.to_be_bytes());
    ip::write_packet(out, source, offending.source(), protocol, &[&header, quote])
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};

    fn datagram(v6: bool, length: usize) -> Vec<u8> {
        let ip = if v6 {
            PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64)
        } else {
            PacketBuilder::ipv4([192, 0, 2, 10], [203, 0, 113, 20], 64)
        };
        let mut packet = Vec::new();
        ip.udp(40000, 1414).write(&mut packet, &vec![7; length]).unwrap();
        packet
    }

    fn error(v6: bool, error: IcmpError, length: usize) -> Vec<u8> {
        let packet = datagram(v6, length);
        let mut out = vec![0; 1280];
        let offending = Inner::parse(&packet).unwrap();
        let length = build_error(&mut out, offending.destination(), error, &offending).unwrap();
        assert_eq!(build_error(&mut out.clone()[..length - 1], offending.destination(), error, &offending), None);
        out.truncate(length);
        out
    }

    #[test]
    fn each_error_is_what_etherparse_makes_of_it() {
        let v4 = [
            (
                IcmpError::TooBig { mtu: 1400 },
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
            ),
            (IcmpError::Prohibited, icmpv4::DestUnreachableHeader::FilterProhibited),
            (IcmpError::Unreachable, icmpv4::DestUnreachableHeader::Host),
        ];
        for (ours, theirs) in v4 {
            let packet = error(false, ours, 100);
            let (header, body) = etherparse::Icmpv4Header::from_slice(&packet[20..]).unwrap();
            assert_eq!(header.icmp_type, Icmpv4Type::DestinationUnreachable(theirs));
            assert_eq!(header.checksum, header.icmp_type.calc_checksum(body));
            assert_eq!(body, datagram(false, 100));
        }
        let v6 = [
            (IcmpError::TooBig { mtu: 1400 }, Icmpv6Type::PacketTooBig { mtu: 1400 }),
            (IcmpError::Prohibited, Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Prohibited)),
            (IcmpError::Unreachable, Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::NoRoute)),
        ];
        for (ours, theirs) in v6 {
            let packet = error(true, ours, 100);
            let (header, body) = etherparse::Icmpv6Header::from_slice(&packet[40..]).unwrap();
            assert_eq!(header.icmp_type, theirs);
            assert_eq!(header.checksum, header.icmp_type.calc_checksum([0x21; 16], [0x20; 16], body).unwrap());
            assert_eq!(body, datagram(true, 100));
        }
    }

    #[test]
    fn a_quote_ends_where_the_rfc_says() {
        assert_eq!(error(false, IcmpError::Prohibited, 1400).len(), 576);
        assert_eq!(error(true, IcmpError::Prohibited, 1400).len(), 1280);
    }

    #[test]
    fn no_error_is_about_an_error_or_a_redirect() {
        for v6 in [false, true] {
            let mut packet = error(v6, IcmpError::Prohibited, 100);
            let mut out = [0; 1280];
            let source: IpAddr = if v6 { [0x22; 16].into() } else { [192, 0, 2, 1].into() };
            assert_eq!(build_error(&mut out, source, IcmpError::Prohibited, &Inner::parse(&packet).unwrap()), None);
            packet[if v6 { 40 } else { 20 }] = if v6 { 137 } else { 5 };
            assert_eq!(build_error(&mut out, source, IcmpError::Prohibited, &Inner::parse(&packet).unwrap()), None);
            packet[if v6 { 40 } else { 20 }] = if v6 { 128 } else { 8 };
            let offending = Inner::parse(&packet).unwrap();
            assert!(build_error(&mut out, source, IcmpError::Prohibited, &offending).is_some());
            assert_eq!(build_error(&mut out, offending.source(), IcmpError::Prohibited, &offending), None);
        }
    }

    #[test]
    fn an_error_quotes_the_flow_that_it_is_about() {
        for v6 in [false, true] {
            let packet = error(v6, IcmpError::Unreachable, 10);
            let quoted = Inner::parse(&packet).unwrap().icmp().unwrap().quoted().unwrap();
            assert_eq!(quoted.flow, Inner::parse(&datagram(v6, 10)).unwrap().flow());
        }
    }

    #[test]
    fn a_quote_that_shows_no_ports_is_no_quote() {
        let packet = datagram(false, 10);
        assert!(Quoted::parse(&packet[..28], false).is_some());
        assert_eq!(Quoted::parse(&packet[..27], false), None);
        assert_eq!(Quoted::parse(&packet, true), None);
        assert_eq!(Quoted::parse(&datagram(true, 10), false), None);
        let changed = |at: usize, value: u8| {
            let mut packet = packet.clone();
            packet[at] = value;
            Quoted::parse(&packet, false)
        };
        assert_eq!(changed(0, 0x46), None);
        assert_eq!(changed(7, 1), None);
        assert_eq!(changed(9, ip::ICMPV6), None);
    }
}
