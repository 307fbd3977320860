//! Views of inner packets, the edits that are made in place, and the answers that are built from them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::wire::checksum::{Sum, checksum};
use portcullis::wire::icmp::{IcmpError, build_error};
use portcullis::wire::ip::{self, Inner};
use portcullis::wire::{natt, tcp};

/// A packet as it is, and once more with the lengths and the IPv4 checksum that it should have.
pub fn packet(data: &[u8]) {
    let _ = natt::demultiplex(data);
    look(data);
    look(&mended(data));
}

/// `data` with version, header length, total length, header checksum and UDP length right, so that the rest of it is
/// looked at.
#[must_use]
pub fn mended(data: &[u8]) -> Vec<u8> {
    let mut packet = data.to_vec();
    let len = packet.len() as u16;
    match packet.first().map(|first| first >> 4) {
        Some(6) if data.len() >= 40 => {
            packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            if data.len() >= 48 && data[6] == ip::UDP {
                packet[44..46].copy_from_slice(&(len - 40).to_be_bytes());
            }
        }
        Some(4) if data.len() >= 20 => {
            packet[0] = 0x45;
            if data.len() >= 28 && data[9] == ip::UDP {
                packet[24..26].copy_from_slice(&(len - 20).to_be_bytes());
            }
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {}
    }
    packet
}

fn look(data: &[u8]) {
    let Ok(inner) = Inner::parse(data) else { return };
    assert_eq!(inner.bytes(), data);
    assert_eq!(inner.header_len() + inner.payload().len(), data.len());
    assert_eq!(inner.is_v6(), inner.source().is_ipv6());
    let flow = inner.flow();
    assert_eq!((flow.source, flow.destination, flow.protocol), (inner.source(), inner.destination(), inner.protocol()));
    for address in [inner.source(), inner.destination()] {
        let holds = !address.is_multicast() && !address.is_loopback() && !address.is_unspecified();
        assert!(holds, "{address} is on no host behind a gateway");
    }
    assert_ne!(inner.source(), inner.destination(), "a host that talks to itself");
    let mut views = 0;
    if let Some(segment) = inner.tcp() {
        views += 1;
        assert!(segment.payload().len() + segment.options().len() + 20 == inner.payload().len());
        let _ = (segment.sequence(), segment.acknowledgement(), segment.window(), segment.sequence_len());
    }
    if let Some(datagram) = inner.udp() {
        views += 1;
        assert!(datagram.payload().len() + 8 <= inner.payload().len());
    }
    if let Some(message) = inner.icmp() {
        views += 1;
        let _ = (message.identifier(), message.word(), message.is_echo_request(), message.is_echo_reply());
        if let Some(quoted) = message.quotes().then(|| message.quoted()).flatten() {
            let quote = message.body();
            assert_eq!(quoted.flow.source.is_ipv6(), inner.is_v6());
            // A fragment that is not the first shows no ports.
            assert!(inner.is_v6() || (quote[6] & 0x1f, quote[7]) == (0, 0), "ports out of the middle of a packet");
        }
    }
    assert!(views <= 1, "one packet, two transports");
    edits(data);
    answers(&inner);
}

/// What is edited in place is still the same flow, and parses.
fn edits(data: &[u8]) {
    let flow = Inner::parse(data).expect("parsed before").flow();
    let mut packet = data.to_vec();
    ip::set_tos(&mut packet, 0xb9);
    let before = Inner::parse(data).expect("parsed before");
    let ttl = ip::decrement_ttl(&mut packet);
    assert_eq!(ttl, before.ttl().checked_sub(1).filter(|ttl| *ttl > 0));
    let clamped = tcp::clamp_mss(&mut packet, 536);
    assert!(!tcp::clamp_mss(&mut packet, 536), "an MSS that was lowered is low");
    let edited = Inner::parse(&packet).expect("an edit breaks no packet");
    assert_eq!((edited.flow(), edited.tos()), (flow, 0xb9));
    assert_eq!(edited.ttl(), ttl.unwrap_or(before.ttl()));
    assert!(clamped || edited.payload() == before.payload(), "something else was edited");
    if clamped {
        // Whatever the checksum was, right or wrong, it still is as right or as wrong.
        let sum = |inner: &Inner<'_>| Sum::ZERO.and(inner.payload()).fold() % 0xffff;
        assert_eq!(sum(&edited), sum(&before), "the checksum did not follow the edit");
    }
}

/// Every answer is a packet from the other side to the sender, with a right checksum.
fn answers(inner: &Inner<'_>) {
    let mut room = [0; 1500];
    if let Some(len) = tcp::build_reset(&mut room, inner) {
        let answer = checked(&room[..len]);
        assert_eq!((answer.source(), answer.destination()), (inner.destination(), inner.source()));
        assert!(tcp::build_reset(&mut [0; 2000], &answer).is_none(), "a reset is not answered");
    }
    let gateway: IpAddr = if inner.is_v6() {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(198, 51, 100, 10).into()
    };
    // Nothing answers itself: a packet that pretends to come from the gateway has no answer that would be a packet.
    if inner.source() == gateway {
        return;
    }
    for error in
        [IcmpError::TooBig { mtu: 1398 }, IcmpError::Prohibited, IcmpError::Unreachable, IcmpError::TimeExceeded]
    {
        if let Some(len) = build_error(&mut room, gateway, error, inner) {
            // RFC 1812 §4.3.2.3, RFC 4443 §2.4 (c).
            assert!(len <= if inner.is_v6() { 1280 } else { 576 }, "an error of {len} bytes");
            let answer = checked(&room[..len]);
            assert_eq!((answer.source(), answer.destination()), (gateway, inner.source()));
            let message = answer.icmp().expect("an ICMP error");
            assert!(message.quotes());
            if let Some(quoted) = message.quoted() {
                let ports_seen = inner.tcp().is_some() || inner.udp().is_some() || inner.icmp().is_some();
                assert!(!ports_seen || quoted.flow == inner.flow(), "the quote is of another flow");
            }
        }
        for short in [0, 1, 19, 20, 39, 40, 47] {
            assert!(build_error(&mut room[..short], gateway, error, inner).is_none_or(|len| len <= short));
        }
    }
}

fn checked(packet: &[u8]) -> Inner<'_> {
    let answer = Inner::parse(packet).expect("an answer is a packet");
    let payload = answer.payload();
    let sum = if answer.protocol() == ip::ICMP {
        checksum(payload) == 0
    } else {
        let pseudo = Sum::pseudo(answer.source(), answer.destination(), answer.protocol(), payload.len());
        pseudo.expect("one family").and(payload).is_valid()
    };
    assert!(sum, "an answer has a right checksum");
    answer
}
