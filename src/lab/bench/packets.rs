//! Packets that hosts behind two gateways would send, as they lie in batches: one by one, as the long ones that the kernel hands over,
//! and as what one gateway has sealed for the other. `benches/path.rs` times the same.

use std::net::Ipv4Addr;

use crate::dataplane::buffer::{Batch, Path};
use crate::wire::checksum::checksum;
use crate::wire::vnet::{Segments, VnetHeader};

/// Segments of the trains that are timed: what the kernel hands over in one piece at an inner MTU of 1,438.
pub const SEGMENTS: usize = 46;
/// TCP payload of each.
pub const SEGMENT: usize = 1398;

/// What the kernel says of a train.
const TRAIN: VnetHeader = VnetHeader {
    needs_checksum: true,
    segments: Segments::Tcp4,
    header_len: 40,
    segment_len: SEGMENT as u16,
    checksum_start: 20,
    checksum_offset: 16,
};

pub(super) const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(super) const HOST_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
pub(super) const UDP_PORT: u16 = 2000;
pub(super) const TCP_PORT: u16 = 1414;

/// Puts inner packets into an empty batch, as from the TUN device.
pub fn fill<'a>(batch: &mut Batch, packets: impl IntoIterator<Item = &'a [u8]>) {
    batch.clear();
    for packet in packets {
        batch.vacant().expect("room for each")[..packet.len()].copy_from_slice(packet);
        batch.push(packet.len(), 0, None);
    }
}

/// Puts one long packet into an empty batch, as the TUN device hands it over.
pub fn fill_train(batch: &mut Batch, long: &[u8]) {
    batch.clear();
    batch.vacant_for_train().expect("room for a train")[..long.len()].copy_from_slice(long);
    batch.push_from_tun(long.len(), TRAIN);
}

/// Copies what one side has sealed into an empty batch of the other, with its paths turned around.
pub fn across(sealed: &Batch, received: &mut Batch) {
    received.clear();
    for (at, packet) in sealed.packets().iter().enumerate() {
        received.vacant().expect("room for each")[..packet.len].copy_from_slice(sealed.bytes(at));
        let path = packet.path.map(|path| Path { local: path.remote, remote: path.local, tos: path.tos });
        received.push(packet.len, 0, path);
    }
}

/// A UDP datagram of `len` bytes, IP header included, that the policy allows.
pub(super) fn datagram(port: u16, len: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(port.to_be_bytes());
    payload.extend(UDP_PORT.to_be_bytes());
    payload.extend(u16::try_from(len - 20).expect("shorter than an IP packet").to_be_bytes());
    payload.extend([0; 2]); // RFC 768: an all zero checksum means that there is none
    payload.resize(len - 20, 0x33);
    packet((HOST_A, HOST_B), 17, &payload)
}

/// A TCP packet of [`SEGMENTS`] segments of the connection of `port`, as one.
pub(super) fn train(port: u16) -> Vec<u8> {
    segment(port, true, 0x10, (101, 501), &vec![0x33; SEGMENT * SEGMENTS])
}

/// A TCP packet of the connection of host A's `port`; a long one as the kernel would hand it over.
pub(super) fn segment(
    port: u16,
    rightwards: bool,
    flags: u8,
    (sequence, acknowledged): (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let ends = ((HOST_A, port), (HOST_B, TCP_PORT));
    let ((source, from), (destination, to)) = if rightwards { ends } else { (ends.1, ends.0) };
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    // A SYN offers windows that are shifted by seven bits (RFC 7323 §2): several trains are under way at a time.
    let options: &[u8] = if flags & 0x02 == 0 { &[] } else { &[3, 3, 7, 1] };
    tcp.extend([0x50 + (options.len() as u8) * 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(options);
    tcp.extend(payload);
    let mut pseudo = [source.octets(), destination.octets()].concat();
    pseudo.extend([0, 6]);
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    // A long packet's checksum is the kernel's business: the sum of its pseudo header is what it leaves there.
    let sum = if payload.len() > SEGMENT { !checksum(&pseudo) } else { checksum(&[pseudo, tcp.clone()].concat()) };
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet((source, destination), 6, &tcp)
}

fn packet((source, destination): (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    let len = u16::try_from(20 + payload.len()).expect("an IP packet");
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}
