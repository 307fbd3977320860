//! Seeds for what reads captures: the kinds of file and of link, and conversations as they are captured, whole or not.

use std::net::IpAddr;

use portcullis::wire::rewrite::{End, Side, rewrite};

use super::Seed;
use super::packets::{ACK, FIN_ACK, RST, SYN, SYN_ACK, icmp, mq_syn, packet, tcp, udp};

/// Kinds of link, as a capture numbers them.
const LOOPBACK: u32 = 0;
const ETHERNET: u32 = 1;
pub(super) const RAW: u32 = 101;
const COOKED: u32 = 113;
const COOKED_2: u32 = 276;

/// A pcap file: its magic number in the order of its bytes, the kind of link, and frames of which so many bytes are kept.
fn kept(magic: [u8; 4], link: u32, frames: &[Vec<u8>], most: usize) -> Vec<u8> {
    let little = matches!(magic[0], 0xd4 | 0x4d);
    let word = |word: u32| if little { word.to_le_bytes() } else { word.to_be_bytes() };
    let mut file = [&magic[..], &[0, 2, 0, 4], &[0; 12], &word(link)].concat();
    for (at, frame) in (0..).zip(frames) {
        let bytes = &frame[..most.min(frame.len())];
        let lengths = [bytes.len() as u32, frame.len() as u32].map(word).concat();
        file.extend([&word(at)[..], &word(500), &lengths, bytes].concat());
    }
    file
}

pub(super) fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    kept([0xa1, 0xb2, 0xc3, 0xd4], link, frames, usize::MAX)
}

/// A block of pcapng, in this order of bytes.
fn block(little: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let word = |word: u32| if little { word.to_le_bytes() } else { word.to_be_bytes() };
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = word(body.len() as u32 + 12);
    [&word(kind)[..], &length, &body, &length].concat()
}

fn section(little: bool) -> Vec<u8> {
    let magic: u32 = 0x1a2b_3c4d;
    let magic = if little { magic.to_le_bytes() } else { magic.to_be_bytes() };
    block(little, 0x0a0d_0d0a, &[&magic[..], &[1, 0, 0, 0], &[0xff; 8]].concat())
}

fn pcapng(link: u16, frames: &[Vec<u8>]) -> Vec<u8> {
    let interface = [&link.to_le_bytes()[..], &[0; 6], &[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut file = [section(true), block(true, 1, &interface)].concat();
    for frame in frames {
        let length = (frame.len() as u32).to_le_bytes();
        file.extend(block(true, 6, &[&[0; 12][..], &length, &length, frame].concat()));
        file.extend(block(true, 3, &[&length[..], frame].concat()));
    }
    file
}

/// Interfaces with a resolution of their own, or one that cannot be; packets of none, and of which a part was kept; other blocks.
fn interfaces() -> Vec<u8> {
    let interface = |kept: u32, resolution: u8| {
        let options = [0, 9, 0, 1, resolution, 0, 0, 0, 0, 2, 0, 1, b'e', 0, 0, 0];
        block(false, 1, &[&[0, 101, 0, 0][..], &kept.to_be_bytes(), &options].concat())
    };
    let enhanced = |interface: u32, len: u32, bytes: &[u8]| {
        let words = [interface, 1, 2, len, len].map(u32::to_be_bytes).concat();
        block(false, 6, &[&words[..], bytes].concat())
    };
    let syn = mq_syn();
    let len = syn.len() as u32;
    [
        section(false),
        block(false, 3, &[&len.to_be_bytes()[..], &syn].concat()),
        interface(40, 0x80 | 0x14),
        interface(0, 0x7f),
        block(false, 1, &[]),
        block(false, 5, &[1, 2, 3]),
        enhanced(0, len, &syn),
        enhanced(1, len, &syn),
        enhanced(9, len, &syn),
        enhanced(0, len + 90, &syn),
        block(false, 6, &[0, 0, 0, 0]),
        block(false, 3, &[&len.to_be_bytes()[..], &syn].concat()),
        block(false, 3, &[]),
        section(true),
        block(true, 6, &[0; 24]),
        vec![1, 0, 0, 0, 4, 0, 0, 0],
    ]
    .concat()
}

/// A connection in which the client, and then the server, says something.
fn conversation(v6: bool, port: u16, client: &[u8], server: &[u8]) -> Vec<Vec<u8>> {
    let (out, back) = ([40000, port], [port, 40000]);
    let (said, answered) = (1001 + client.len() as u32, 5001 + server.len() as u32);
    vec![
        tcp(true, v6, out, SYN, [1000, 0], &[2, 4, 5, 0xb4], &[]),
        tcp(false, v6, back, SYN_ACK, [5000, 1001], &[2, 4, 5, 0xb4], &[]),
        tcp(true, v6, out, ACK, [1001, 5001], &[], client),
        tcp(false, v6, back, ACK, [5001, said], &[], server),
        tcp(true, v6, out, FIN_ACK, [said, answered], &[], &[]),
        tcp(false, v6, back, RST, [answered, 0], &[], &[]),
    ]
}

/// The same packets of another host: who goes out of our side bears this address.
fn of(host: [u8; 4], mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for packet in &mut packets {
        let ours = packet[12..16] == [192, 0, 2, 10];
        let side = if ours { Side::Source } else { Side::Destination };
        let at = match (packet[9], packet[20]) {
            (6 | 17, _) => 20 + 2 * usize::from(!ours),
            // The other end of what an error quotes.
            (1, 3 | 11) if packet[37] == 1 => 52,
            (1, 3 | 11) => 48 + 2 * usize::from(ours),
            _ => 24,
        };
        let port = packet.get(at..at + 2).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        rewrite(packet, side, End { address: IpAddr::from(host), port }).expect("a packet with ends");
    }
    packets
}

/// What hosts say that the peer knows under other addresses: one to one, and two behind one.
fn translated() -> Vec<Vec<u8>> {
    let ssh = || conversation(false, 22, b"SSH-2.0-client\r\n", b"SSH-2.0-server\r\n");
    let ping = || {
        let echo = [0, 7, 0, 1, 65, 66];
        vec![icmp(true, false, 8, 0, &echo), icmp(false, false, 0, 0, &echo)]
    };
    let quoted = [&[0; 4][..], &ssh()[2][..28]].concat();
    let pinged = [&[0; 4][..], &ping()[0]].concat();
    let asked = [&[0; 4][..], &udp(false, false, [4000, 53], b"question")].concat();
    let question = vec![udp(false, false, [4000, 53], b"question"), udp(true, false, [53, 4000], b"answer")];
    [
        of([10, 1, 0, 10], conversation(false, 1414, b"no such bytes", b"TSH ")),
        of([10, 2, 0, 10], ssh()),
        of([10, 2, 0, 11], ssh()),
        of([10, 2, 0, 11], vec![icmp(false, false, 3, 1, &quoted)]),
        of([10, 2, 0, 10], ping()),
        of([10, 2, 0, 11], ping()),
        of([10, 2, 0, 11], vec![icmp(false, false, 11, 0, &pinged), icmp(true, false, 3, 3, &asked)]),
        of([10, 2, 0, 10], question.clone()),
        of([192, 0, 2, 11], question),
        of([10, 2, 0, 10], vec![packet(true, false, 47, 0, vec![0; 8])]),
    ]
    .concat()
}

/// Conversations of which something is missing, or wrong.
fn broken() -> Vec<Vec<u8>> {
    let ssh = conversation(false, 22, b"SSH-2.0-client\r\n", b"SSH-2.0-server\r\n");
    let later = |from, data: &[u8]| tcp(from, false, [40000, 22], ACK, [1099, 5001], &[], data);
    let mut unsummed = ssh.clone();
    for packet in &mut unsummed {
        packet[36..38].fill(0);
    }
    let mut options = mq_syn();
    options[0] = 0x46;
    [
        // What comes behind a gap waits; the same ports again once it is over; a port of nobody.
        vec![ssh[0].clone(), ssh[1].clone(), later(true, b"behind a gap")],
        conversation(false, 23, b"login", b"no"),
        conversation(false, 23, b"login", b"again"),
        conversation(false, 1414, b"no such bytes", b"TSH "),
        unsummed,
        vec![options, vec![0x45; 4], icmp(false, false, 3, 1, &[0; 4])],
    ]
    .concat()
}

pub(super) fn capture() -> Vec<Seed> {
    let behind = |front: &[u8], packets: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        packets.into_iter().map(|packet| [front, &packet].concat()).collect()
    };
    let ethernet = [&[0; 12][..], &[8, 0]].concat();
    let tagged = [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat();
    let cooked = [&[0; 14][..], &[8, 0]].concat();
    let cooked_tag = [&[0; 14][..], &[0x81, 0, 0, 7, 8, 0]].concat();
    let cooked2 = [&[0x86, 0xdd][..], &[0; 18]].concat();
    let cooked2_tag = [&[0x88, 0xa8][..], &[0; 20], &[8, 0]].concat();
    let ssh = conversation(false, 22, b"SSH-2.0-client\r\n", b"SSH-2.0-server\r\n");
    let mail = conversation(false, 25, b"", b"220 mail\r\n");
    let mq = conversation(false, 1414, b"TSH \0\0\x01\x0c\x01\x01\x31", b"TSH ");
    let tls = conversation(true, 443, b"\x16\x03\x01\0\x05\x01\0\0\x01\x03", b"\x15\x03\x03\0\x02\x02\x28");
    let midstream = mq[2..].to_vec();
    let arp = vec![[&[0; 12][..], &[8, 6], &[0; 28]].concat(), vec![0; 13]];
    let (cut_header, cut_record) = (pcap(RAW, &[])[..20].to_vec(), [pcap(RAW, &ssh), vec![0; 9]].concat());
    vec![
        ("ethernet_ssh", pcap(ETHERNET, &behind(&ethernet, ssh.clone()))),
        ("ethernet_arp", pcap(ETHERNET, &arp)),
        ("vlan_mail", pcapng(1, &behind(&tagged, mail))),
        ("cooked_mq", pcap(COOKED, &behind(&cooked, mq.clone()))),
        ("cooked_vlan", pcap(COOKED, &behind(&cooked_tag, mq.clone()))),
        ("cooked2_tls", pcapng(276, &behind(&cooked2, tls))),
        ("cooked2_vlan", pcap(COOKED_2, &behind(&cooked2_tag, mq.clone()))),
        ("raw_midstream", pcap(RAW, &midstream)),
        ("loopback_udp", pcap(LOOPBACK, &behind(&[2, 0, 0, 0], vec![udp(true, false, [5000, 53], b"dns")]))),
        ("other_link", pcap(147, &ssh)),
        ("nanoseconds", kept([0xa1, 0xb2, 0x3c, 0x4d], RAW, &ssh, usize::MAX)),
        ("little", kept([0xd4, 0xc3, 0xb2, 0xa1], RAW, &ssh, usize::MAX)),
        ("little_nanoseconds", kept([0x4d, 0x3c, 0xb2, 0xa1], RAW, &ssh, usize::MAX)),
        ("headers_alone", kept([0xa1, 0xb2, 0xc3, 0xd4], RAW, &mq, 44)),
        ("half_a_header", kept([0xa1, 0xb2, 0xc3, 0xd4], RAW, &mq, 12)),
        ("cut_header", cut_header),
        ("cut_record", cut_record),
        ("interfaces", interfaces()),
        ("translated", pcap(RAW, &translated())),
        ("broken", pcap(RAW, &broken())),
        ("no_capture", b"GIF89a".to_vec()),
    ]
}
