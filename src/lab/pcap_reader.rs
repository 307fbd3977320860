//! The IKE messages of a capture (`wire::pcap`): the UDP datagrams of port 500 and 4500. Left out: fragments, IPv6
//! extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::pcap as frames;
use crate::wire::reader::Reader;

/// Datagrams that are kept.
const MAX_DATAGRAMS: usize = 100_000;

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

/// Every IKE message of a capture, in its order. The error is a sentence.
pub fn ike_datagrams(file: &[u8]) -> Result<Vec<Captured>, String> {
    let mut found = Vec::new();
    frames::frames(file, |frame| {
        if let Some(captured) = frames::packet(frame.link, frame.bytes).and_then(datagram) {
            found.push(captured);
        }
        found.len() < MAX_DATAGRAMS
    })?;
    Ok(found)
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
    use crate::wire::pcap::testing::{pcap, pcapng};

    fn ipv4(payload: &[u8], port: u16) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).unwrap();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        for word in [port, port, length, 0] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(payload);
        packet
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
                pcapng(u16::try_from(link).unwrap(), std::slice::from_ref(&frame)),
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
