//! Pairs of SAs and inner packets for the tests of ESP and the data path.
#![allow(dead_code)] // each test binary uses its part

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portcullis::crypto::suite::{Cipher, Mac};
use portcullis::ids::{ShapeId, TunnelId};
use portcullis::policy::selector::TrafficSelector;
use portcullis::sa::child::{ChildSpec, Encapsulation, EspKeys, InboundSpec, OutboundSpec};
use portcullis::sa::lifetime::Lifetime;
use portcullis::sa::spi::Spi;
use portcullis::secret::Secret;
use portcullis::time::Instant;

/// A time later than the clock's origin.
pub const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

/// No limit but that of the sequence number.
pub const ENDLESS: Lifetime = Lifetime {
    soft_packets: u64::MAX,
    hard_packets: u64::MAX,
    soft_bytes: u64::MAX,
    hard_bytes: u64::MAX,
    soft_time: Duration::MAX,
    hard_time: Duration::MAX,
};

/// One way to protect packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    pub cipher: Cipher,
    pub mac: Option<Mac>,
    pub esn: bool,
}

impl Suite {
    pub const GCM: Self = Self { cipher: Cipher::Aes256Gcm16, mac: None, esn: false };
    pub const GCM_ESN: Self = Self { cipher: Cipher::Aes256Gcm16, mac: None, esn: true };
    pub const CBC: Self = Self { cipher: Cipher::Aes256Cbc, mac: Some(Mac::HmacSha256), esn: false };

    /// Every suite that can be negotiated, with and without ESN.
    pub fn all() -> impl Iterator<Item = Self> {
        let ciphers = [
            (Cipher::Aes256Gcm16, None),
            (Cipher::Aes128Gcm16, None),
            (Cipher::ChaCha20Poly1305, None),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha256)),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha384)),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha512)),
        ];
        ciphers.into_iter().flat_map(|(cipher, mac)| [false, true].map(|esn| Self { cipher, mac, esn }))
    }

    /// The same keys at every call.
    pub fn keys(self) -> EspKeys {
        let bytes = |len: usize, seed: u8| (0..len as u8).map(|at| at.wrapping_mul(7) ^ seed).collect::<Vec<u8>>();
        EspKeys {
            cipher: Secret::new(bytes(self.cipher.key_len(), 0x5A)),
            mac: Secret::new(bytes(self.mac.map_or(0, Mac::key_len), 0xC3)),
        }
    }
}

pub fn spi(number: u32) -> Spi {
    Spi::new(number).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Everything between two single hosts.
pub fn host(text: &str) -> TrafficSelector {
    let address = ip(text);
    TrafficSelector { protocol: 0, first_port: 0, last_port: u16::MAX, start: address, end: address }
}

/// An SA between 192.0.2.10 (ours) and 203.0.113.20 in UDP, without limits.
pub fn child(suite: Suite) -> ChildSpec {
    ChildSpec {
        tunnel: TunnelId(0),
        shape: ShapeId(0),
        cipher: suite.cipher,
        mac: suite.mac,
        esn: suite.esn,
        local: vec![host("192.0.2.10")],
        remote: vec![host("203.0.113.20")],
        encapsulation: Encapsulation::Udp { local: socket("198.51.100.1:4500"), remote: socket("198.51.100.2:4500") },
        lifetime: ENDLESS,
    }
}

/// `child` as the other end sees it.
pub fn mirrored(child: &ChildSpec) -> ChildSpec {
    let encapsulation = match child.encapsulation {
        Encapsulation::Raw { local, remote } => Encapsulation::Raw { local: remote, remote: local },
        Encapsulation::Udp { local, remote } => Encapsulation::Udp { local: remote, remote: local },
    };
    ChildSpec { local: child.remote.clone(), remote: child.local.clone(), encapsulation, ..child.clone() }
}

pub fn outbound(suite: Suite, child: ChildSpec) -> OutboundSpec {
    OutboundSpec { spi: spi(0xC0DE_0001), inbound: spi(0xC0DE_0002), keys: suite.keys(), child }
}

pub fn inbound(suite: Suite, child: ChildSpec, replay_window: u32) -> InboundSpec {
    InboundSpec { spi: spi(0xC0DE_0001), keys: suite.keys(), child, replay_window }
}

/// The one's complement checksum, computed as plainly as possible.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum::<u32>();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IP packet of either family around `payload`.
pub fn packet(source: &str, destination: &str, protocol: u8, tos: u8, payload: &[u8]) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            packet[2..4].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, protocol, 64];
            packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        _ => panic!("one family"),
    }
}

/// The transport checksum over the pseudo header of `packet`, an IP packet from [`packet`].
fn transport_checksum(packet: &[u8]) -> u16 {
    let (addresses, protocol, payload) = if packet[0] >> 4 == 4 {
        (&packet[12..20], packet[9], &packet[20..])
    } else {
        (&packet[8..40], packet[6], &packet[40..])
    };
    let mut all = addresses.to_vec();
    all.extend((payload.len() as u32).to_be_bytes());
    all.extend(u32::from(protocol).to_be_bytes());
    all.extend(payload);
    checksum(&all)
}

/// A TCP segment with the given flags, sequence numbers, options and payload.
pub struct Tcp<'a> {
    pub source: (&'a str, u16),
    pub destination: (&'a str, u16),
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    pub fn build(&self, tos: u8) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.1.to_be_bytes());
        segment.extend(self.destination.1.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        segment.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags]);
        segment.extend([0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend(self.options);
        segment.extend(self.payload);
        let mut whole = packet(self.source.0, self.destination.0, 6, tos, &segment);
        let at = whole.len() - segment.len();
        let sum = transport_checksum(&whole);
        whole[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
        whole
    }
}

/// A UDP datagram.
pub fn udp(source: (&str, u16), destination: (&str, u16), tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let mut whole = packet(source.0, destination.0, 17, tos, &datagram);
    let at = whole.len() - datagram.len();
    let sum = transport_checksum(&whole);
    whole[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    whole
}

/// Room for one packet with head and tail.
pub fn slab(inner: &[u8]) -> (Vec<u8>, std::ops::Range<usize>) {
    let mut slab = vec![0xEE; 96 + inner.len() + 64];
    slab[96..96 + inner.len()].copy_from_slice(inner);
    (slab, 96..96 + inner.len())
}
