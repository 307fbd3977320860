//! Gives a packet another source or destination where it lies: the address, the port or echo identifier, and every checksum
//! that covers them, without a look at anything else (RFC 1624).
//!
//! An ICMP error speaks of a packet that went the other way: the same end of that one is changed in what it quotes
//! (RFC 5508 §4.2). Left out: protocols that carry addresses in their payload.

use std::net::IpAddr;

use super::checksum::Change;
use super::{ip, ipv4, ipv6};

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// The host.
    pub address: IpAddr,
    /// Its port, or the identifier of its echo requests.
    pub port: u16,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// What of a quoted packet can change: both headers, as far as the transport checksum.
const QUOTED: usize = ipv6::HEADER_LEN + 20;

/// Makes `to` the source or destination of `packet`, a whole packet that was parsed before. For an ICMP error also of the
/// packet that it quotes, as the other end. `None` if it is none of this; bytes of it may have changed then.
pub fn rewrite(packet: &mut [u8], side: Side, to: End) -> Option<()> {
    let Shape { v6, ip_len, protocol } = Shape::of(packet)?;
    let (header, transport) = packet.split_at_mut_checked(ip_len)?;
    let addresses = set_address(header, v6, side, to.address)?;
    if protocol != if v6 { ip::ICMPV6 } else { ip::ICMP } {
        return set_port(transport, protocol, side, to.port, addresses);
    }
    // RFC 4443 §2.3: the checksum of ICMPv6 covers the addresses, that of ICMP does not.
    let addresses = if v6 { addresses } else { Change::NONE };
    let kind = *transport.first()?;
    if is_echo(kind, v6) {
        set_identifier(transport, to.port, addresses)?;
        return not_of_zeros(transport, v6);
    }
    let change =
        if quotes(kind, v6) { rewrite_quoted(transport.get_mut(8..)?, v6, side.other(), to)? } else { Change::NONE };
    mend(transport, 2, addresses.with(change), false);
    Some(())
}

/// The same in the start of a packet, of which there may be no more than the ports; what that changes in its bytes.
fn rewrite_quoted(quoted: &mut [u8], v6: bool, side: Side, to: End) -> Option<Change> {
    let shape = Shape::of(quoted).filter(|shape| shape.v6 == v6)?;
    let len = quoted.len().min(QUOTED) / 2 * 2;
    let mut before = [0; QUOTED];
    before.get_mut(..len)?.copy_from_slice(quoted.get(..len)?);
    let (header, transport) = quoted.split_at_mut_checked(shape.ip_len)?;
    let addresses = set_address(header, v6, side, to.address)?;
    if shape.protocol == if v6 { ip::ICMPV6 } else { ip::ICMP } {
        // RFC 1122 §3.2.2: no error is about an error.
        let kind = *transport.first()?;
        is_echo(kind, v6).then(|| set_identifier(transport, to.port, if v6 { addresses } else { Change::NONE }))??;
    } else {
        set_port(transport, shape.protocol, side, to.port, addresses)?;
    }
    Some(Change::NONE.and(before.get(..len)?, quoted.get(..len)?))
}

/// What is to be known of a packet to find its fields.
struct Shape {
    v6: bool,
    ip_len: usize,
    protocol: u8,
}

impl Shape {
    /// Without IP options, extension headers, or a fragment that is not the first.
    fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? {
            0x45 if fragment_offset(packet)? == 0 => {
                Some(Self { v6: false, ip_len: ipv4::HEADER_LEN, protocol: *packet.get(9)? })
            }
            first if first >> 4 == 6 => Some(Self { v6: true, ip_len: ipv6::HEADER_LEN, protocol: *packet.get(6)? }),
            _ => None,
        }
    }
}

fn fragment_offset(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff)
}

fn is_echo(kind: u8, v6: bool) -> bool {
    if v6 { matches!(kind, 128 | 129) } else { matches!(kind, 0 | 8) }
}

fn quotes(kind: u8, v6: bool) -> bool {
    if v6 { kind < 128 || kind == 137 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) }
}

/// Replaces an address in an IP header, and mends the header's own checksum. What it changes elsewhere.
fn set_address(header: &mut [u8], v6: bool, side: Side, to: IpAddr) -> Option<Change> {
    let (octets, at, len) = match to {
        IpAddr::V4(to) if !v6 => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&to.octets());
            (octets, if side == Side::Source { 12 } else { 16 }, 4)
        }
        IpAddr::V6(to) if v6 => (to.octets(), if side == Side::Source { 8 } else { 24 }, 16),
        _ => return None,
    };
    let (field, new) = (header.get_mut(at..at + len)?, octets.get(..len)?);
    let change = Change::NONE.and(field, new);
    field.copy_from_slice(new);
    if !v6 {
        mend(header, 10, change, false);
    }
    Some(change)
}

/// Replaces a port of TCP or UDP, and mends the checksum. Another protocol has neither that we know.
fn set_port(transport: &mut [u8], protocol: u8, side: Side, port: u16, addresses: Change) -> Option<()> {
    let (checksum, udp) = match protocol {
        ip::TCP => (16, false),
        ip::UDP => (6, true),
        _ => return Some(()),
    };
    let at = if side == Side::Source { 0 } else { 2 };
    let field = transport.get_mut(at..at + 2)?;
    let change = addresses.and(field, &port.to_be_bytes());
    field.copy_from_slice(&port.to_be_bytes());
    mend(transport, checksum, change, udp);
    Some(())
}

/// Replaces the identifier of an echo message, and mends the checksum.
fn set_identifier(message: &mut [u8], identifier: u16, addresses: Change) -> Option<()> {
    let field = message.get_mut(4..6)?;
    let change = addresses.and(field, &identifier.to_be_bytes());
    field.copy_from_slice(&identifier.to_be_bytes());
    mend(message, 2, change, false);
    Some(())
}

/// RFC 1071 §1: the sum over a message is right if it is all ones. Where everything else is zero, as it can be in an answer to
/// an echo request of IPv4 alone, only a checksum of ones makes it that, and RFC 1624's arithmetic knows no such zero.
fn not_of_zeros(message: &mut [u8], v6: bool) -> Option<()> {
    let field = message.get(2..4)?;
    if !v6 && field == [0, 0] && message.iter().all(|byte| *byte == 0) {
        message.get_mut(2..4)?.fill(0xff);
    }
    Some(())
}

/// Mends the checksum that stands at `at`, if the packet goes that far.
fn mend(bytes: &mut [u8], at: usize, change: Change, udp: bool) {
    let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = u16::from_be_bytes(*field);
    // RFC 768: "An all zero transmitted checksum value means that the transmitter generated no checksum".
    if udp && old == 0 {
        return;
    }
    let new = change.mend(old);
    *field = (if udp && new == 0 { 0xffff } else { new }).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
    use proptest::prelude::*;

    use crate::wire::ip::Inner;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        Tcp,
        Udp,
        BareUdp,
        Request,
        Reply,
    }

    /// The packet of this kind between these ends, with all its checksums made anew.
    fn built(kind: Kind, from: End, to: End, payload: &[u8]) -> Vec<u8> {
        let ip = match (from.address, to.address) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header =
                    Ipv4Header::new(0, 61, etherparse::ip_number::TCP, from.octets(), to.octets()).unwrap();
                header.identification = 4711;
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => IpHeaders::Ipv6(
                Ipv6Header {
                    traffic_class: 3,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: etherparse::ip_number::TCP,
                    hop_limit: 61,
                    source: from.octets(),
                    destination: to.octets(),
                },
                Ipv6Extensions::default(),
            ),
            _ => panic!("one family"),
        };
        let v6 = from.address.is_ipv6();
        let builder = PacketBuilder::ip(ip);
        let mut packet = Vec::new();
        match kind {
            Kind::Tcp => builder.tcp(from.port, to.port, 7, 1000).ack(9).write(&mut packet, payload).unwrap(),
            Kind::Udp | Kind::BareUdp => builder.udp(from.port, to.port).write(&mut packet, payload).unwrap(),
            Kind::Request if v6 => builder.icmpv6_echo_request(from.port, 5).write(&mut packet, payload).unwrap(),
            Kind::Request => builder.icmpv4_echo_request(from.port, 5).write(&mut packet, payload).unwrap(),
            Kind::Reply if v6 => builder.icmpv6_echo_reply(to.port, 5).write(&mut packet, payload).unwrap(),
            Kind::Reply => builder.icmpv4_echo_reply(to.port, 5).write(&mut packet, payload).unwrap(),
        }
        if kind == Kind::BareUdp && !v6 {
            packet[26..28].fill(0);
        }
        packet
    }

    /// An error from `from` to `to` that quotes so much of a packet.
    fn error(from: IpAddr, to: IpAddr, quoted: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
                );
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
                    .icmpv4(unreachable)
                    .write(&mut packet, quoted)
                    .unwrap();
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let big = etherparse::Icmpv6Type::PacketTooBig { mtu: 1400 };
                PacketBuilder::ipv6(from.octets(), to.octets(), 64).icmpv6(big).write(&mut packet, quoted).unwrap();
            }
            _ => panic!("one family"),
        }
        packet
    }

    fn address(v6: bool) -> BoxedStrategy<IpAddr> {
        if v6 {
            any::<u128>().prop_map(|bits| IpAddr::V6((bits & !(0xffff << 112) | 0x2001 << 112).into())).boxed()
        } else {
            any::<u32>().prop_map(|bits| IpAddr::V4((bits & 0x00ff_ffff | 0x0b00_0000).into())).boxed()
        }
    }

    fn end(v6: bool) -> impl Strategy<Value = End> {
        (address(v6), 1..=u16::MAX).prop_map(|(address, port)| End { address, port })
    }

    fn ends() -> impl Strategy<Value = (End, End, End)> {
        any::<bool>().prop_flat_map(|v6| (end(v6), end(v6), end(v6)))
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![Kind::Tcp, Kind::Udp, Kind::BareUdp, Kind::Request, Kind::Reply])
    }

    /// An echo message has one identifier, which is that of whoever asked.
    fn asks(kind: Kind, side: Side) -> bool {
        !matches!((kind, side), (Kind::Request, Side::Destination) | (Kind::Reply, Side::Source))
    }

    proptest! {
        #[test]
        fn a_rewritten_packet_is_the_one_that_the_other_host_would_have_sent(
            (here, there, new) in ends(), kind in kind(), payload in prop::collection::vec(any::<u8>(), 0..200), source: bool,
        ) {
            let side = if source { Side::Source } else { Side::Destination };
            let new = if asks(kind, side) { new } else { End { port: if source { there.port } else { here.port }, ..new } };
            let before = built(kind, here, there, &payload);
            let expected =
                if source { built(kind, new, there, &payload) } else { built(kind, here, new, &payload) };
            let mut packet = before.clone();
            prop_assert_eq!(rewrite(&mut packet, side, new), Some(()));
            prop_assert_eq!(&packet, &expected);
            let old = if source { here } else { there };
            let old = if asks(kind, side) { old } else { End { port: new.port, ..old } };
            prop_assert_eq!(rewrite(&mut packet, side, old), Some(()));
            prop_assert_eq!(packet, before);
        }

        #[test]
        fn an_error_speaks_of_the_packet_that_was_sent_under_the_other_name(
            (here, there, new) in ends(), kind in kind(), payload in prop::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(), outwards: bool,
        ) {
            // Outwards: `here` tells `there` of a packet that came from there; inwards it is told of one that it sent.
            let side = if outwards { Side::Source } else { Side::Destination };
            let kind = match kind {
                Kind::Request | Kind::Reply if outwards => Kind::Reply,
                Kind::Request | Kind::Reply => Kind::Request,
                kind => kind,
            };
            let packet = |host: End| if outwards { built(kind, there, host, &payload) } else { built(kind, host, there, &payload) };
            let about = |host: End| {
                let whole = packet(host);
                let headers = if host.address.is_ipv6() { 48 } else { 28 };
                // Half a checksum, which TCP's can be, says nothing and is left as it is.
                let cut = match cut.index(whole.len() - headers + 1) {
                    9 if kind == Kind::Tcp => 10,
                    other => other,
                };
                let quoted = &whole[..(headers + cut).min(whole.len())];
                if outwards {
                    error(host.address, there.address, quoted)
                } else {
                    error(there.address, host.address, quoted)
                }
            };
            let before = about(here);
            let mut told = before.clone();
            prop_assert_eq!(rewrite(&mut told, side, new), Some(()));
            prop_assert_eq!(&told, &about(new));
            prop_assert_eq!(rewrite(&mut told, side, here), Some(()));
            prop_assert_eq!(told, before);
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), first in prop::sample::select(vec![0x45, 0x60]), to in end(false), source: bool) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let len = bytes.len();
            let _ = rewrite(&mut bytes, if source { Side::Source } else { Side::Destination }, to);
            prop_assert_eq!(bytes.len(), len);
        }
    }

    #[test]
    fn an_answer_of_nothing_but_zeros_has_a_right_checksum() {
        let end = |address: [u8; 4], port| End { address: address.into(), port };
        let (server, outside) = (end([203, 0, 113, 20], 0), end([192, 0, 2, 1], 7));
        let mut packet = built(Kind::Reply, server, outside, &[0; 8]);
        packet[20..28].copy_from_slice(&[0, 0, 0xff, 0xf8, 0, 7, 0, 0]);
        assert_eq!(crate::wire::checksum::checksum(&packet[20..]), 0);
        rewrite(&mut packet, Side::Destination, end([10, 0, 0, 1], 0)).unwrap();
        assert_eq!(packet[20..], [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rewrite(&mut packet, Side::Destination, outside).unwrap();
        assert_eq!(packet[20..28], [0, 0, 0xff, 0xf8, 0, 7, 0, 0]);
    }

    #[test]
    fn another_protocol_gets_another_address_and_nothing_else() {
        let (here, there) =
            (End { address: [192, 0, 2, 1].into(), port: 5 }, End { address: [192, 0, 2, 9].into(), port: 6 });
        let mut packet = built(Kind::Udp, here, there, b"payload");
        packet[9] = 132;
        packet[10..12].fill(0);
        let sum = crate::wire::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let before = packet.clone();
        rewrite(&mut packet, Side::Source, End { address: [10, 0, 0, 1].into(), port: 77 }).unwrap();
        assert_eq!(Inner::parse(&packet).unwrap().source(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(packet[20..], before[20..]);
        assert_eq!(rewrite(&mut packet, Side::Source, End { address: [0x20; 16].into(), port: 77 }), None);
    }
}
