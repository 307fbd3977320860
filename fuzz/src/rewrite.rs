//! Other names for a packet's ends, given where it lies, against a copy whose fields are set one by one and whose checksums
//! are summed up anew, word by word; there and back; and the same in what an ICMP error quotes.
//!
//! An input is five bytes (which end, its new port and address, how much is quoted) and a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::wire::ip::{ICMP, ICMPV6, Inner, TCP, UDP};
use portcullis::wire::rewrite::{End, Side, rewrite};

use super::inner_ip::mended;
use super::seeds::packets::host;

/// As far as a quoted packet may change: both headers.
const QUOTED: usize = 60;

/// Takes a packet as it is, and once more with its lengths and checksums right.
pub fn packet(data: &[u8]) {
    let Some(([options, high, low, address, cut], bytes)) = data.split_first_chunk() else { return };
    let side = if options & 1 == 0 { Side::Source } else { Side::Destination };
    let v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
    let to = End { address: named(v6, *address), port: u16::from_be_bytes([*high, *low]) };
    whatever(bytes, side, to);
    let Some(packet) = right(mended(bytes), options & 2 != 0) else { return };
    let Ok(inner) = Inner::parse(&packet) else { return };
    if !inner.icmp().is_some_and(|message| message.quotes()) {
        as_summed_anew(&packet, side, to);
        told_of(&packet, side, to, usize::from(*cut));
    }
}

fn named(v6: bool, choice: u8) -> IpAddr {
    match (v6, choice) {
        (false, 0 | 255) => Ipv4Addr::from([choice; 4]).into(),
        (false, _) => Ipv4Addr::new(10, choice, !choice, choice ^ 0x55).into(),
        (true, 0 | 255) => Ipv6Addr::from([choice; 16]).into(),
        (true, _) => Ipv6Addr::new(0xfd00, choice.into(), 0, 0xffff, 0, u16::from(choice) << 8, 0, 1).into(),
    }
}

/// Nothing but headers changes, whatever it is.
fn whatever(bytes: &[u8], side: Side, to: End) {
    let mut packet = bytes.to_vec();
    let _ = rewrite(&mut packet, side, to);
    assert_eq!(packet.len(), bytes.len());
    let headers = bytes.len().min(40 + 8 + QUOTED);
    assert_eq!(packet[headers..], bytes[headers..], "a payload was changed");
}

fn as_summed_anew(packet: &[u8], side: Side, to: End) {
    let expected = copied(packet, side, to);
    let mut told = packet.to_vec();
    assert_eq!(rewrite(&mut told, side, to), Some(()), "a packet that was parsed has ends");
    assert_eq!(told, expected);
    assert_eq!(rewrite(&mut told, side, end(packet, side)), Some(()));
    assert_eq!(told, packet, "there and back");
}

/// An error about the packet, which quotes so much of it.
fn told_of(packet: &[u8], side: Side, to: End, cut: usize) {
    let v6 = packet[0] >> 4 == 6;
    let (ip_len, protocol) = shape(packet);
    let other = if side == Side::Source { Side::Destination } else { Side::Source };
    let quoted = packet.get(..ip_len + cut).unwrap_or(packet);
    let told = copied(packet, other, to);
    let zeros =
        |packet: &[u8]| packet[ip_len..ip_len + 2] == [0, 0] && packet[ip_len + 4..].iter().all(|byte| *byte == 0);
    if protocol == ICMP && !v6 && (zeros(packet) || zeros(&told)) {
        // The checksum of nothing but zeros is ones, and zero in the arithmetic of changes: of a quote nobody can tell.
        return;
    }
    let mut expected = told[..quoted.len()].to_vec();
    // Half a checksum says nothing, and stays as it is.
    let halves = [(TCP, 16), (UDP, 6)];
    if let Some((_, at)) = halves.iter().find(|(of, at)| *of == protocol && expected.len() == ip_len + at + 1) {
        expected[ip_len + at] = packet[ip_len + at];
    }
    let before = error(v6, quoted, None);
    let expected = error(v6, &expected, Some((side, to.address)));
    let mut packet = before.clone();
    let needed = match protocol {
        TCP | UDP if other == Side::Source => 2,
        TCP | UDP => 4,
        ICMP if !v6 => 6,
        ICMPV6 if v6 => 6,
        _ => 0,
    };
    if quoted.len() < ip_len + needed {
        assert_eq!(rewrite(&mut packet, side, to), None, "an end that is not quoted");
        return;
    }
    let echo = [128, 129, 0, 8];
    if needed == 6 && !echo[if v6 { 0..2 } else { 2..4 }].contains(&quoted[ip_len]) {
        assert_eq!(rewrite(&mut packet, side, to), None, "an ICMP message without an end");
        return;
    }
    assert_eq!(rewrite(&mut packet, side, to), Some(()));
    assert_eq!(packet, expected, "an error about the packet that was sent under the other name");
    // Back: the error's own end and the packet's are not the same host here, so only the quote can be what it was.
    let back = End { port: end(quoted, other).port, address: end(quoted, other).address };
    assert_eq!(rewrite(&mut packet, side, back), Some(()));
    assert_eq!(packet, error(v6, quoted, Some((side, back.address))), "there and back");
}

/// From a router to a host of ours: whatever is quoted does not arrive.
fn error(v6: bool, quoted: &[u8], named: Option<(Side, IpAddr)>) -> Vec<u8> {
    let mut ends = [host(false, v6), host(true, v6)];
    if let Some((side, address)) = named {
        ends[usize::from(side == Side::Destination)] = address;
    }
    let kind = if v6 { 1 } else { 3 };
    let len = quoted.len() as u16 + 8;
    let mut packet = match ends {
        [IpAddr::V4(from), IpAddr::V4(to)] => {
            let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0];
            header[2..4].copy_from_slice(&(len + 20).to_be_bytes());
            [&header[..], &from.octets(), &to.octets()].concat()
        }
        [IpAddr::V6(from), IpAddr::V6(to)] => {
            let mut header = [0x60, 0, 0, 0, 0, 0, ICMPV6, 64];
            header[4..6].copy_from_slice(&len.to_be_bytes());
            [&header[..], &from.octets(), &to.octets()].concat()
        }
        _ => unreachable!("both are of one family"),
    };
    packet.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(quoted);
    summed(packet, false)
}

/// Where the transport header begins, and which it is.
fn shape(packet: &[u8]) -> (usize, u8) {
    if packet[0] >> 4 == 6 { (40, packet[6]) } else { (20, packet[9]) }
}

/// Where a port, or the identifier of an echo message, stands.
fn port_at(packet: &[u8], side: Side) -> Option<usize> {
    let (ip_len, protocol) = shape(packet);
    match protocol {
        TCP | UDP => Some(ip_len + if side == Side::Source { 0 } else { 2 }),
        ICMP | ICMPV6 if (protocol == ICMP) == (ip_len == 20) => Some(ip_len + 4),
        _ => None,
    }
}

fn end(packet: &[u8], side: Side) -> End {
    let source = side == Side::Source;
    let address = if packet[0] >> 4 == 6 {
        let at = if source { 8 } else { 24 };
        IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes"))
    } else {
        let at = if source { 12 } else { 16 };
        IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"))
    };
    let port = port_at(packet, side).and_then(|at| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    End { address, port: port.unwrap_or_default() }
}

/// The packet that the other host would have sent, or been sent.
fn copied(packet: &[u8], side: Side, to: End) -> Vec<u8> {
    let mut copy = packet.to_vec();
    let source = side == Side::Source;
    match to.address {
        IpAddr::V4(to) => copy[if source { 12..16 } else { 16..20 }].copy_from_slice(&to.octets()),
        IpAddr::V6(to) => copy[if source { 8..24 } else { 24..40 }].copy_from_slice(&to.octets()),
    }
    let echo = |kind: u8| matches!((shape(packet), kind), ((40, ICMPV6), 128 | 129) | ((20, ICMP), 0 | 8));
    let (ip_len, protocol) = shape(packet);
    if let Some(at) = port_at(packet, side).filter(|_| matches!(protocol, TCP | UDP) || echo(packet[ip_len])) {
        copy[at..at + 2].copy_from_slice(&to.port.to_be_bytes());
    }
    let bare = protocol == UDP && packet[ip_len + 6..ip_len + 8] == [0, 0];
    summed(copy, bare)
}

/// A packet with right checksums; `bare`: a UDP datagram of IPv4 without one. `None` if it is too short for its headers.
fn right(packet: Vec<u8>, bare: bool) -> Option<Vec<u8>> {
    Inner::parse(&packet).ok()?;
    let bare = bare && packet[0] >> 4 == 4;
    Some(summed(packet, bare))
}

/// Sums up every checksum of a packet anew.
fn summed(mut packet: Vec<u8>, bare: bool) -> Vec<u8> {
    let (ip_len, protocol) = shape(&packet);
    if ip_len == 20 {
        packet[10..12].fill(0);
        let sum = sum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let at = ip_len
        + match protocol {
            TCP => 16,
            UDP => 6,
            ICMP if ip_len == 20 => 2,
            ICMPV6 if ip_len == 40 => 2,
            _ => return packet,
        };
    packet[at..at + 2].fill(0);
    if bare && protocol == UDP {
        return packet;
    }
    let addresses = if ip_len == 20 { &packet[12..20] } else { &packet[8..40] };
    let len = (packet.len() as u32 - ip_len as u32).to_be_bytes();
    let pseudo = [addresses, &len, &[0, 0, 0, protocol]].concat();
    let pseudo = if protocol == ICMP { &[][..] } else { &pseudo };
    let sum = match sum(&[pseudo, &packet[ip_len..]]) {
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071, as it stands there.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for word in part.chunks(2) {
            sum += u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}
