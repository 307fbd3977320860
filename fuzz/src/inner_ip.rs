//! Views of inner packets, the edits that are made in place, and the answers that are built from them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::wire::checksum::{Change, Sum, checksum};
use portcullis::wire::icmp::{IcmpError, Quoted, build_error};
use portcullis::wire::ip::{self, Inner, Transport};
use portcullis::wire::natt::{self, Natt};
use portcullis::wire::{ipv4, ipv6, tcp, tcp_options};

/// More than a packet can be.
static TOO_LONG: [u8; 65_536] = [0; 65_536];

/// A packet as it is, and once more with the lengths and the IPv4 checksum that it should have.
pub fn packet(data: &[u8]) {
    let _ = natt::demultiplex(data).map(|what| {
        let marked = data.starts_with(&natt::NON_ESP_MARKER);
        assert_eq!(marked, what == Natt::Ike(data.get(4..).unwrap_or_default()));
        assert_eq!(what == Natt::Keepalive, data == natt::KEEPALIVE);
    });
    unchecked(data);
    sums(data);
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
    assert_eq!(views == 0, matches!(inner.transport(), Transport::Other));
    padded(data);
    stripped(data);
    edits(data);
    shed(data);
    answers(&inner);
    resets(&inner);
}

/// What is not known to be a packet: edits leave alone what has no header to edit.
fn unchecked(data: &[u8]) {
    let version = data.first().map(|first| first >> 4);
    let whole =
        version == Some(4) && data.len() >= ipv4::HEADER_LEN || version == Some(6) && data.len() >= ipv6::HEADER_LEN;
    let mut packet = data.to_vec();
    ip::set_tos(&mut packet, 0xb9);
    assert!(whole || packet == data, "a TOS in half a header");
    packet.copy_from_slice(data);
    let ttl = ip::decrement_ttl(&mut packet);
    assert!(whole || ttl.is_none());
    assert_eq!(ttl.is_none(), packet == data, "a TTL that is as it was is one that cannot be lower");
    packet.copy_from_slice(data);
    let clamped = tcp::clamp_mss(&mut packet, 536);
    assert_eq!(clamped, packet != data);
    for v6 in [false, true] {
        if let Some(quoted) = Quoted::parse(data, v6) {
            assert_eq!((quoted.flow.source.is_ipv6(), version), (v6, Some(if v6 { 6 } else { 4 })));
        }
    }
}

/// The sum of RFC 1071, once more, word by word.
fn naive(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)));
    words.fold(0, |sum, word| (sum + word) % 0xffff) as u16
}

/// The same of what stands in front of a transport's header: RFC 9293 §3.1, RFC 8200 §8.1.
fn naive_pseudo(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let length = (payload.len() as u32).to_be_bytes();
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    naive(&[&octets(source), &octets(destination), &[0, protocol], &length, payload])
}

/// A sum that follows a change is the sum of what was changed; what has no sum has none.
fn sums(data: &[u8]) {
    assert_eq!(Sum::ZERO.and(data).fold() % 0xffff, naive(&[data]));
    let (v4, v6) =
        (IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    assert!(Sum::pseudo(v4, v6, ip::TCP, 20).is_none(), "two families");
    assert!(Sum::pseudo(v4, v4, ip::TCP, 1 << 32).is_none(), "more than a header can say");
    // The last two fields become others.
    let Some((front, [old @ .., a, b, c, d])) = data.split_last_chunk::<20>() else { return };
    let before = checksum(data);
    let new: Vec<u8> = old.iter().map(|byte| byte.rotate_left(3) ^ 0x35).collect();
    let change = Change::NONE.and(old, &new).with(Change::NONE.and(&[*a, *b, *c, *d], &[*d, *b, *a, *c]));
    if front.len().is_multiple_of(2) {
        let after = !change.mend(before);
        assert_eq!(after % 0xffff, naive(&[front, &new, &[*d, *b, *a, *c]]), "a sum that did not follow the change");
    }
    let mut room = [0; 64];
    for (ends, protocol) in [([v4; 2], ip::UDP), ([v6; 2], ip::TCP), ([v4, v6], ip::ICMP)] {
        assert_eq!(ip::write_packet(&mut room, ends[0], ends[1], protocol, &[front, &TOO_LONG]), None);
        let short = ip::write_packet(&mut room, ends[0], ends[1], protocol, &[&data[..data.len() % 48]]);
        let whole =
            ends[0].is_ipv4() == ends[1].is_ipv4() && (if ends[0].is_ipv4() { 20 } else { 40 }) + data.len() % 48 <= 64;
        assert_eq!(short.is_some(), whole, "what fits is written, and nothing else");
    }
    if let (IpAddr::V4(v4), IpAddr::V6(v6)) = (v4, v6) {
        assert!(ipv4::write_header(&mut room, v4, v4, ip::TCP, 0, usize::MAX).is_none());
        assert!(ipv6::write_header(&mut room, v6, v6, ip::TCP, 0, usize::MAX).is_none());
    }
}

/// Bytes behind a packet are not of it; segments behind the first one of a train are.
fn padded(data: &[u8]) {
    let longer = [data, &[0; 6]].concat();
    assert!(Inner::parse(&longer).is_err());
    let padded = Inner::parse_padded(&longer).expect("a packet with something behind it");
    assert_eq!(padded.bytes(), data);
    let (alone, leader) = (Inner::parse(data), Inner::parse_leader(data, 1000));
    let carried = |inner: Inner<'_>| inner.tcp().map(|segment| segment.carried());
    assert_eq!(alone.map(carried).ok().flatten().map(|carried| carried + 1000), leader.map(carried).ok().flatten());
}

/// Options that are not carried become padding, one by one, and the checksum follows; what is carried says what it said.
pub fn stripped(data: &[u8]) {
    let Ok(before) = Inner::parse(data) else { return };
    let mut packet = data.to_vec();
    let changed = tcp_options::strip(&mut packet);
    assert_eq!(changed, packet != data);
    let Some(was) = before.tcp() else { return assert!(!changed, "something other than a segment was edited") };
    let mut expected = was.options().to_vec();
    let mut at = 0;
    while let Some([kind, rest @ ..]) = expected.get(at..) {
        let len = match (*kind, rest.first()) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(len)) if *len >= 2 && at + usize::from(*len) <= expected.len() => usize::from(*len),
            _ => break,
        };
        // RFC 9293 §3.2, RFC 7323, RFC 2018.
        if !matches!(*kind, 1..=5 | 8) {
            expected[at..at + len].fill(1);
        }
        at += len;
    }
    let after = Inner::parse(&packet).expect("an edit breaks no packet");
    let is = after.tcp().expect("a segment");
    assert_eq!(is.options(), expected);
    assert_eq!((is.payload(), after.flow()), (was.payload(), before.flow()));
    let sum = |inner: &Inner<'_>| Sum::ZERO.and(inner.payload()).fold() % 0xffff;
    assert_eq!(sum(&after), sum(&before), "the checksum did not follow the edit");
    assert_eq!(tcp_options::of_syn(is.options()), tcp_options::of_syn(was.options()));
    assert_eq!(tcp_options::timestamp(is.options()), tcp_options::timestamp(was.options()));
}

/// A segment without its payload is the same segment without it, with a right checksum.
fn shed(data: &[u8]) {
    let before = Inner::parse(data).expect("parsed before");
    let mut packet = data.to_vec();
    let shed = tcp::shed_payload(&mut packet);
    assert_eq!(shed.is_some(), before.tcp().is_some());
    let (Some(len), Some(was)) = (shed, before.tcp()) else {
        return assert_eq!(packet, data, "something other than a segment was edited");
    };
    let after = Inner::parse(&packet[..len]).expect("a packet");
    let is = after.tcp().expect("a segment");
    assert!(is.payload().is_empty() && tcp::checksum_holds(&after));
    assert_eq!(naive_pseudo(after.source(), after.destination(), ip::TCP, after.payload()), 0);
    assert_eq!(is.flags(), was.flags() & !(tcp::FIN | tcp::PSH));
    let told = |of: &Inner<'_>, tcp: &tcp::TcpView<'_>| {
        (of.flow(), of.tos(), of.ttl(), of.dont_fragment(), tcp.sequence(), tcp.acknowledgement(), tcp.window())
    };
    assert_eq!(told(&after, &is), told(&before, &was));
    assert_eq!(is.options(), was.options());
}

/// A reset that is written over a segment says what it should; a checksum holds if it does.
fn resets(inner: &Inner<'_>) {
    let Some(segment) = inner.tcp() else { return };
    let sum = naive_pseudo(inner.source(), inner.destination(), ip::TCP, inner.payload());
    assert_eq!(tcp::checksum_holds(inner), sum == 0);
    let (from, to) = ((inner.source(), segment.source_port()), (inner.destination(), segment.destination_port()));
    let (sequence, acknowledgement) = (segment.sequence(), segment.acknowledgement());
    let mut room = [0; 60];
    let len = tcp::write_reset(&mut room, from, to, sequence, acknowledgement).expect("there is room");
    let reset = checked(&room[..len]);
    assert_eq!(reset.flow(), inner.flow());
    let tcp = reset.tcp().expect("a segment");
    assert_eq!((tcp.flags(), tcp.sequence(), tcp.acknowledgement()), (tcp::RST | tcp::ACK, sequence, acknowledgement));
    assert_eq!(tcp::write_reset(&mut room[..len - 1], from, to, sequence, acknowledgement), None);
    let other: IpAddr = if inner.is_v6() { Ipv4Addr::new(198, 51, 100, 10).into() } else { Ipv6Addr::LOCALHOST.into() };
    assert_eq!(tcp::write_reset(&mut room, from, (other, 1), sequence, acknowledgement), None, "two families");
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
