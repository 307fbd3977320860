//! Seeds for the views of inner packets and for the data path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::wire::checksum::{Sum, checksum};
use portcullis::wire::ip::{ICMP, ICMPV6, TCP, UDP};
use portcullis::wire::vnet::{Segments, VnetHeader};
use portcullis::wire::{ipv4, ipv6};

use super::Seed;

pub(super) const SYN: u8 = 0x02;
pub(super) const SYN_ACK: u8 = 0x12;
pub(super) const ACK: u8 = 0x10;
pub(super) const FIN_ACK: u8 = 0x11;
pub(super) const RST: u8 = 0x04;

/// Our host, or the peer's.
pub fn host(ours: bool, v6: bool) -> IpAddr {
    match (ours, v6) {
        (true, false) => Ipv4Addr::new(192, 0, 2, 10).into(),
        (false, false) => Ipv4Addr::new(203, 0, 113, 20).into(),
        (true, true) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10).into(),
        (false, true) => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20).into(),
    }
}

/// A packet from our host (or the peer's) to the other one; the transport's checksum stands at `sum_at`.
pub fn packet(from_us: bool, v6: bool, protocol: u8, sum_at: usize, mut payload: Vec<u8>) -> Vec<u8> {
    let (source, destination) = (host(from_us, v6), host(!from_us, v6));
    let sum = if protocol == ICMP {
        checksum(&payload)
    } else {
        let pseudo = Sum::pseudo(source, destination, protocol, payload.len()).expect("one family");
        pseudo.and(&payload).finish()
    };
    payload[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = vec![0; if v6 { 40 } else { 20 }];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4::write_header(&mut bytes, source, destination, protocol, 0, payload.len());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6::write_header(&mut bytes, source, destination, protocol, 0, payload.len());
        }
        _ => {}
    }
    bytes.extend(payload);
    bytes
}

pub(super) fn tcp(
    from_us: bool,
    v6: bool,
    ports: [u16; 2],
    flags: u8,
    numbers: [u32; 2],
    options: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let mut segment = ports.map(u16::to_be_bytes).concat();
    segment.extend(numbers.map(u32::to_be_bytes).concat());
    segment.extend([((5 + options.len() / 4) << 4) as u8, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend([options, data].concat());
    packet(from_us, v6, TCP, 16, segment)
}

pub(super) fn udp(from_us: bool, v6: bool, ports: [u16; 2], data: &[u8]) -> Vec<u8> {
    let mut datagram = ports.map(u16::to_be_bytes).concat();
    datagram.extend((data.len() as u16 + 8).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    packet(from_us, v6, UDP, 6, datagram)
}

pub(super) fn icmp(from_us: bool, v6: bool, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let message = [&[kind, code, 0, 0], rest].concat();
    packet(from_us, v6, if v6 { ICMPV6 } else { ICMP }, 2, message)
}

pub(super) fn mq_syn() -> Vec<u8> {
    tcp(true, false, [40000, 1414], SYN, [1000, 0], &[2, 4, 5, 0xb4, 1, 1, 4, 2], &[])
}

pub(super) fn segment() -> Vec<Seed> {
    let said = |segments, segment_len, start, offset, packet: &[u8]| {
        let header = VnetHeader {
            needs_checksum: true,
            segments,
            header_len: 66,
            segment_len,
            checksum_start: start,
            checksum_offset: offset,
        };
        [&header.encode()[..], packet].concat()
    };
    let data: Vec<u8> = (0..700_u16).map(|at| at as u8).collect();
    let time = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let segment = |v6, flags| tcp(true, v6, [40000, 1414], flags, [u32::MAX - 200, 501], &time, &data);
    let datagrams = |v6| udp(true, v6, [1000, 2000], &data);
    // The first two bytes of a datagram are what its checksum would be without them: then it is zero.
    let mut zero = data.clone();
    zero[..2].fill(0);
    let sum: [u8; 2] = udp(true, false, [1000, 2000], &zero[..100])[26..28].try_into().expect("two bytes");
    zero[..2].copy_from_slice(&sum);
    vec![
        ("udp_zero", said(Segments::Udp, 100, 20, 6, &udp(true, false, [1000, 2000], &zero))),
        ("tcp", said(Segments::Tcp4, 100, 20, 16, &segment(false, ACK | 0x08))),
        ("tcp_v6", said(Segments::Tcp6, 300, 40, 16, &segment(true, ACK))),
        ("tcp_cwr_fin", said(Segments::Tcp4, 200, 20, 16, &segment(false, FIN_ACK | 0x80))),
        ("tcp_even", said(Segments::Tcp4, 350, 20, 16, &segment(false, ACK))),
        ("udp", said(Segments::Udp, 99, 20, 6, &datagrams(false))),
        ("udp_v6", said(Segments::Udp, 699, 40, 6, &datagrams(true))),
        ("size_zero", said(Segments::Tcp4, 0, 20, 16, &segment(false, ACK))),
        ("size_one", said(Segments::Udp, 1, 20, 6, &datagrams(false))),
        ("single", said(Segments::None, 0, 20, 16, &mq_syn())),
        ("lie", said(Segments::Tcp6, 100, 60_000, 60_000, &segment(false, ACK))),
    ]
}

pub(super) fn inner_ip() -> Vec<Seed> {
    let quoted = [&[0; 4][..], &mq_syn()[..28]].concat();
    let mut fragment = mq_syn();
    fragment[6] = 0x20;
    vec![
        ("tcp_syn", mq_syn()),
        ("tcp_syn_v6", tcp(false, true, [40000, 22], SYN, [7, 0], &[1, 2, 4, 5, 0xb4, 1, 1, 0], &[])),
        ("tcp_data", tcp(false, false, [1414, 40000], ACK, [9, 1001], &[], b"TSH ")),
        ("tcp_reset", tcp(true, false, [40000, 1414], RST, [9, 0], &[], &[])),
        ("udp", udp(false, false, [4000, 53], b"question")),
        ("udp_v6", udp(true, true, [4000, 53], b"question")),
        ("echo", icmp(true, false, 8, 0, &[0, 1, 0, 1, 65, 66])),
        ("echo_v6", icmp(true, true, 128, 0, &[0, 1, 0, 1, 65, 66])),
        ("unreachable", icmp(false, false, 3, 1, &quoted)),
        ("redirect", icmp(false, false, 5, 1, &quoted)),
        ("fragment", fragment),
        ("long", udp(true, false, [4000, 53], &[0x5a; 700])),
        ("long_v6", udp(true, true, [4000, 53], &[0x5a; 1300])),
    ]
}

/// Which end, its new port and address, how much is quoted, and a packet.
pub(super) fn rewrite() -> Vec<Seed> {
    let other = |seed: Seed| (seed.0, [&[0, 0x9c, 0x40, 7, 8][..], &seed.1].concat());
    let mut bare = udp(true, false, [4000, 53], b"question");
    bare[26..28].fill(0);
    let packets = inner_ip().into_iter().filter(|(name, _)| !matches!(*name, "fragment" | "long" | "long_v6"));
    packets
        .map(other)
        .chain([
            ("destination", [&[1, 0, 1, 0, 20][..], &udp(false, true, [53, 4000], b"answer")].concat()),
            ("bare", [&[3, 0xff, 0xff, 255, 12][..], &bare].concat()),
            ("half_a_checksum", [&[0, 0, 0, 1, 17][..], &mq_syn()].concat()),
            ("reply", [&[0, 1, 2, 3, 9][..], &icmp(true, true, 129, 0, &[0, 1, 0, 1])].concat()),
        ])
        .collect()
}

/// A list as `esp_open` reads it.
fn list(packets: &[(u8, Vec<u8>)]) -> Vec<u8> {
    packets.iter().flat_map(|(what, bytes)| [&[*what, bytes.len() as u8], bytes.as_slice()].concat()).collect()
}

pub(super) fn esp_open() -> Vec<Seed> {
    // What the first byte says: 0 a bare datagram, 1 sealed, 2 sealed with the trailer given, 3 out; 4 the other child;
    // 8 mended; the high half is what the sequence number does.
    let sealed = |packet| (1, packet);
    let out = |packet| (3, packet);
    let quoted = [&[0; 4][..], &mq_syn()[..28]].concat();
    let data = tcp(true, false, [40000, 1414], ACK, [1001, 9001], &[], b"TSH ");
    let lost = [&[0; 4], &data[..28]].concat();
    let conversation = list(&[
        out(mq_syn()),
        sealed(tcp(false, false, [1414, 40000], SYN_ACK, [9000, 1001], &[2, 4, 5, 0xb4], &[])),
        out(data),
        sealed(icmp(false, false, 3, 1, &lost)),
        sealed(tcp(false, false, [1414, 40000], ACK, [9001, 1005], &[], b"TSH ")),
        (0x11, tcp(false, false, [1414, 40000], ACK, [9001, 1005], &[], b"TSH ")),
        sealed(tcp(false, false, [1414, 40000], FIN_ACK, [9005, 1005], &[], &[])),
        out(tcp(true, false, [40000, 1414], FIN_ACK, [1005, 9006], &[], &[])),
    ]);
    let inbound = list(&[
        sealed(udp(false, false, [4000, 53], b"question")),
        out(udp(true, false, [53, 4000], b"answer")),
        (5, tcp(false, true, [40000, 22], SYN, [7, 0], &[], &[])),
        (7, tcp(true, true, [22, 40000], SYN_ACK, [5, 8], &[], &[])),
    ]);
    let echo = list(&[
        out(icmp(true, false, 8, 0, &[0, 1, 0, 1, 65, 66])),
        sealed(icmp(false, false, 0, 0, &[0, 1, 0, 1, 65, 66])),
        sealed(icmp(false, false, 0, 0, &[0, 1, 0, 1, 65, 66])),
    ]);
    let refused = list(&[
        sealed(tcp(false, false, [40000, 23], SYN, [1, 0], &[], &[])),
        sealed(icmp(false, false, 5, 1, &quoted)),
        sealed(tcp(false, true, [40000, 22], SYN, [7, 0], &[], &[])),
        (2, vec![1, 2, 59]),
        (2, vec![0x45, 0, 0, 0, 1, 1, 4]),
        (0, vec![0xff]),
        (0, vec![0, 0, 0, 0, 1, 2, 3]),
        (0, vec![0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
    ]);
    // Questions of which the third comes before the second, and one that is very late.
    let question = |what| (what, vec![0x42, 0, 0, 0, 1]);
    let reordered = list(&[question(0x09), question(0x89), question(0x39), question(0x59)]);
    // The same conversation as `made` reads it: SYN, SYN and ACK, ACK, FIN; then questions in and answers out.
    let short = list(&[
        (0x0b, vec![0x00, SYN, 0, 0]),
        (0x09, vec![0x04, SYN_ACK, 0, 1]),
        (0x0b, vec![0x00, ACK, 1, 1]),
        (0x0b, vec![0x00, FIN_ACK, 1, 1]),
        (0x09, vec![0x42, 0, 0, 0, 1]),
        (0x09, vec![0x42, 0, 0, 0, 1]),
        (0x0b, vec![0x46, 0, 0, 0, 1]),
        (0x0b, vec![0x60, 8, 1, 1, 1]),
        (0x0d, vec![0x09, SYN, 0, 0]),
    ]);
    vec![
        ("short", short),
        ("reordered", reordered),
        ("mq_conversation", conversation),
        ("from_the_peer", inbound),
        ("echo", echo),
        ("refused", refused),
    ]
}
