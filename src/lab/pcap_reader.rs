//! Reads captures that others have written: pcap and pcapng, both byte orders, Ethernet (with VLAN tags), raw IP, Linux
//! cooked (both versions) and BSD loopback. Gives the UDP datagrams of port 500 and 4500. A capture comes from anywhere:
//! nothing in it is believed, nothing allocated by its lengths. Left out: fragments, IPv6 extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::reader::Reader;

/// Largest capture that is read.
pub const MAX_FILE: usize = 256 << 20;
/// Datagrams that are kept.
const MAX_DATAGRAMS: usize = 100_000;
/// Interfaces of a pcapng section.
const MAX_INTERFACES: usize = 256;

/// An IKE message and its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The message, without a non-ESP marker.
    pub bytes: Vec<u8>,
}

/// Numbers in the byte order of the file.
#[derive(Clone, Copy)]
struct Order {
    little: bool,
}

impl Order {
    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }
}

/// Every IKE message of a capture, in its order. The error is a sentence.
pub fn ike_datagrams(file: &[u8]) -> Result<Vec<Captured>, String> {
    let mut found = Vec::new();
    let magic: [u8; 4] = *file.first_chunk().ok_or("the capture is empty")?;
    match u32::from_be_bytes(magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => classic(file, Order { little: false }, &mut found),
        0xd4c3_b2a1 | 0x4d3c_b2a1 => classic(file, Order { little: true }, &mut found),
        0x0a0d_0d0a => blocks(file, &mut found),
        _ => return Err("this is neither pcap nor pcapng".to_owned()),
    }
    Ok(found)
}

/// pcap: a file header and records. What is cut off ends the reading.
fn classic(file: &[u8], order: Order, found: &mut Vec<Captured>) {
    let mut reader = Reader::new(file);
    let Ok(header) = reader.array::<24>() else { return };
    let link = header.last_chunk::<4>().map_or(0, |bytes| order.u32(*bytes)) & 0xffff;
    while let Ok(record) = reader.array::<16>() {
        let length = record.get(8..12).and_then(<[u8]>::first_chunk).map_or(0, |bytes| order.u32(*bytes));
        let Ok(frame) = usize::try_from(length).map_err(|_| ()).and_then(|length| reader.take(length).map_err(|_| ()))
        else {
            return;
        };
        if keep(link, frame, found).is_none() {
            return;
        }
    }
}

/// pcapng: blocks with a type and their length at both ends.
fn blocks(file: &[u8], found: &mut Vec<Captured>) {
    let mut rest = file;
    let mut order = Order { little: true };
    let mut links: Vec<u32> = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, length @ ..] = *head;
        let is_section = [a, b, c, d] == [0x0a, 0x0d, 0x0d, 0x0a];
        if is_section {
            // The byte order is in the first word of the section's body.
            let Some(magic) = behind.first_chunk::<4>() else { return };
            order = Order { little: *magic == [0x4d, 0x3c, 0x2b, 0x1a] };
            links.clear();
        }
        let Some(length) = usize::try_from(order.u32(length)).ok().and_then(|length| length.checked_sub(8)) else {
            return;
        };
        let Some((body, next)) = behind.split_at_checked(length) else { return };
        rest = next;
        match order.u32([a, b, c, d]) {
            1 if links.len() < MAX_INTERFACES => {
                links.push(body.first_chunk().map_or(0, |bytes| u32::from(order.u16(*bytes))));
            }
            // Enhanced packet: interface, time, captured length, length, data.
            6 => {
                let word = |at: usize| body.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| order.u32(*bytes));
                let (Some(interface), Some(length)) = (word(0), word(12)) else { continue };
                let link = usize::try_from(interface).ok().and_then(|index| links.get(index));
                let data = body.get(20..).unwrap_or_default();
                let data = usize::try_from(length).ok().and_then(|length| data.get(..length));
                if let (Some(link), Some(data)) = (link, data)
                    && keep(*link, data, found).is_none()
                {
                    return;
                }
            }
            // Simple packet: length, data; always of the first interface.
            3 => {
                if let (Some(link), Some(data)) = (links.first(), body.get(4..))
                    && keep(*link, data, found).is_none()
                {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Keeps what a frame holds; `None` when there is no more room.
fn keep(link: u32, frame: &[u8], found: &mut Vec<Captured>) -> Option<()> {
    if let Some(captured) = packet(link, frame).and_then(datagram) {
        found.push(captured);
    }
    (found.len() < MAX_DATAGRAMS).then_some(())
}

/// The IP packet in a frame (https://www.tcpdump.org/linktypes.html).
fn packet(link: u32, frame: &[u8]) -> Option<&[u8]> {
    let ether = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    match link {
        // Null and loop: a word with the address family in front.
        0 | 108 => frame.get(4..),
        1 => {
            let mut at = 12;
            while matches!(ether(at)?, 0x8100 | 0x88a8) && at < 24 {
                at += 4;
            }
            matches!(ether(at)?, 0x0800 | 0x86dd).then(|| frame.get(at + 2..)).flatten()
        }
        12 | 14 | 101 | 228 | 229 => Some(frame),
        113 => matches!(ether(14)?, 0x0800 | 0x86dd).then(|| frame.get(16..)).flatten(),
        276 => matches!(ether(0)?, 0x0800 | 0x86dd).then(|| frame.get(20..)).flatten(),
        _ => None,
    }
}

fn datagram(packet: &[u8]) -> Option<Captured> {
    let version = packet.first()? >> 4;
    let (source, destination, udp): (IpAddr, IpAddr, _) = match version {
        4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x3fff;
            if header < 20 || *packet.get(9)? != 17 || fragment != 0 {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (address(12)?.into(), address(16)?.into(), packet.get(header..)?)
        }
        6 if *packet.get(6)? == 17 => {
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let mut reader = Reader::new(udp);
    let (from, to) = (reader.u16().ok()?, reader.u16().ok()?);
    let length = usize::from(reader.u16().ok()?).checked_sub(8)?;
    let _checksum = reader.u16().ok()?;
    let mut bytes = reader.take(length).ok()?;
    if [from, to].contains(&4500) {
        // RFC 3948 §2.2: four zero bytes stand before IKE.
        bytes = bytes.strip_prefix(&[0; 4])?;
    } else if ![from, to].contains(&500) {
        return None;
    }
    let (source, destination) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
    Some(Captured { source, destination, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(payload: &[u8], port: u16) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).unwrap();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        for word in [port, port, length, 0] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(payload);
        packet
    }

    fn pcap(link: u32, frames: &[Vec<u8>], little: bool) -> Vec<u8> {
        let word = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut file = word(0xa1b2_c3d4).to_vec();
        file.extend([0; 16]);
        file.extend(word(link));
        for frame in frames {
            file.extend([0; 8]);
            file.extend(word(u32::try_from(frame.len()).unwrap()));
            file.extend(word(u32::try_from(frame.len()).unwrap()));
            file.extend(frame);
        }
        file
    }

    fn pcapng(link: u16, frame: &[u8]) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes()[..], &length, &body, &length].concat()
        };
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        let interface = [&link.to_le_bytes()[..], &[0; 6]].concat();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let packet = [&[0; 12][..], &length, &length, frame].concat();
        [block(0x0a0d_0d0a, &section), block(1, &interface), block(6, &packet)].concat()
    }

    #[test]
    fn every_kind_of_link_and_file_gives_the_same_datagram() {
        let packet = ipv4(b"an ike message", 500);
        let behind = |front: &[u8]| [front, &packet].concat();
        let mut cooked = vec![0; 14];
        cooked.extend([0x08, 0]);
        let mut cooked2 = vec![0x08, 0];
        cooked2.extend([0; 18]);
        let mut tagged = vec![0; 12];
        tagged.extend([0x81, 0, 0, 7, 0x08, 0]);
        let mut ethernet = vec![0; 12];
        ethernet.extend([0x08, 0]);
        let frames = [
            (1, behind(&ethernet)),
            (1, behind(&tagged)),
            (101, packet.clone()),
            (113, behind(&cooked)),
            (276, behind(&cooked2)),
            (0, behind(&[2, 0, 0, 0])),
        ];
        for (link, frame) in frames {
            let files = [
                pcap(link, std::slice::from_ref(&frame), true),
                pcap(link, std::slice::from_ref(&frame), false),
                pcapng(u16::try_from(link).unwrap(), &frame),
            ];
            for file in files {
                let found = ike_datagrams(&file).unwrap();
                assert_eq!(found.len(), 1, "link {link}: {file:?}");
                assert_eq!(found[0].bytes, b"an ike message");
                assert_eq!(found[0].source, "192.0.2.1:500".parse().unwrap());
                for end in 0..file.len() {
                    // Cut anywhere, it gives what was whole.
                    let cut = ike_datagrams(&file[..end]).map_or(0, |found| found.len());
                    assert!(cut <= 1);
                }
            }
        }
    }

    #[test]
    fn a_marker_is_taken_off_and_esp_fragments_and_other_ports_are_passed_over() {
        let marked = [&[0; 4][..], b"ike"].concat();
        let mut fragment = ipv4(b"ike", 500);
        fragment[6] = 0x20;
        let frames = [ipv4(&marked, 4500), ipv4(b"\x01esp....", 4500), fragment, ipv4(b"dns", 53)];
        let found = ike_datagrams(&pcap(101, &frames, true)).unwrap();
        assert_eq!(found.iter().map(|of| &of.bytes[..]).collect::<Vec<_>>(), [b"ike"]);
        assert!(ike_datagrams(b"").is_err() && ike_datagrams(b"GIF89a..").is_err());
    }
}
