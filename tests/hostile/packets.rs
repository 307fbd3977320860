//! Inner packets, as hosts would send them and as nobody would.

use std::net::IpAddr;

use portcullis::lab::topology::{V4, V6};
use portcullis::wire::checksum::{Sum, checksum};
use portcullis::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};
use portcullis::wire::vnet::{Segments, VnetHeader};

/// A port of host A that the peer may open.
pub const OPEN: u16 = 9;
/// Another one.
pub const OPEN_TOO: u16 = 10;
/// A TCP port of host A that the peer may open.
pub const OPEN_TCP: u16 = 4000;
/// A port of host A whose flow to [`ECHO`] is opened early.
pub const FIXED: u16 = 43_000;
/// The port of host B that answers.
pub const ECHO: u16 = 7;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Repeatable chance (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.roll()) * bound as u128) >> 64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn byte(&mut self) -> u8 {
        (self.roll() >> 32) as u8
    }

    pub fn word(&mut self) -> u16 {
        (self.roll() >> 32) as u16
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Source and destination of a packet, each with its port.
#[derive(Clone, Copy)]
pub struct Ends {
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

impl Ends {
    /// From host B's port to host A's, as the peer sends.
    pub fn inwards(from: u16, to: u16) -> Self {
        Self { source: (V4.host_b, from), destination: (V4.host_a, to) }
    }

    /// From host A's port to host B's.
    pub fn outwards(from: u16, to: u16) -> Self {
        Self { source: (V4.host_a, from), destination: (V4.host_b, to) }
    }

    /// The same ports between the IPv6 addresses of the hosts.
    pub fn in_v6(self) -> Self {
        let other = |address| if address == V4.host_a { V6.host_a } else { V6.host_b };
        Self {
            source: (other(self.source.0), self.source.1),
            destination: (other(self.destination.0), self.destination.1),
        }
    }

    pub fn udp(self, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() + 8) as u16;
        let mut out = [self.source.1, self.destination.1, len, 0].map(u16::to_be_bytes).concat();
        out.extend(payload);
        self.finish(UDP, out, Some(6))
    }

    pub fn tcp(self, flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = [self.source.1, self.destination.1].map(u16::to_be_bytes).concat();
        out.extend(sequence.to_be_bytes());
        out.extend(acknowledgement.to_be_bytes());
        out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(payload);
        self.finish(TCP, out, Some(16))
    }

    pub fn icmp(self, kind: u8, code: u8, word: u32, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, code, 0, 0];
        out.extend(word.to_be_bytes());
        out.extend(body);
        if self.source.0.is_ipv6() {
            return self.finish(ICMPV6, out, Some(2));
        }
        let sum = checksum(&out).to_be_bytes();
        out[2..4].copy_from_slice(&sum);
        self.finish(ICMP, out, None)
    }

    /// The IP packet around a transport header whose checksum belongs `at` bytes into it.
    pub fn finish(self, protocol: u8, mut transport: Vec<u8>, at: Option<usize>) -> Vec<u8> {
        let (source, destination) = (self.source.0, self.destination.0);
        if let Some(at) = at {
            let pseudo = Sum::pseudo(source, destination, protocol, transport.len()).expect("one family");
            let sum = pseudo.and(&transport).finish().to_be_bytes();
            transport[at..at + 2].copy_from_slice(&sum);
        }
        let len = transport.len() as u16;
        let mut out = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut out = vec![0x45, 0];
                out.extend((len + 20).to_be_bytes());
                out.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
                out.extend(source.octets());
                out.extend(destination.octets());
                mend(&mut out);
                out
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(len.to_be_bytes());
                out.extend([protocol, 64]);
                out.extend(source.octets());
                out.extend(destination.octets());
                out
            }
            _ => panic!("one family"),
        };
        out.extend(transport);
        out
    }
}

/// Makes the IPv4 header checksum right, whatever stands in the header.
pub fn mend(packet: &mut [u8]) {
    if packet.len() >= 20 && packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    }
}

/// `packet` with some bytes set and the header checksum right.
pub fn with(mut packet: Vec<u8>, changes: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, bytes) in changes {
        packet[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    mend(&mut packet);
    packet
}

/// A packet that could be one of the conversation, either way.
fn plausible(dice: &mut Dice, inwards: bool) -> Vec<u8> {
    let port = 40_000 + dice.below(32) as u16;
    let known = dice.pick(&[OPEN, OPEN_TOO, OPEN_TCP, ECHO, 1414, 23, 53]);
    let (near, far) = if dice.one_in(2) { (port, known) } else { (known, port) };
    let mut ends = if inwards { Ends::inwards(near, far) } else { Ends::outwards(near, far) };
    let back = if inwards { Ends::outwards(far, near) } else { Ends::inwards(far, near) };
    let v6 = dice.one_in(5);
    let back = if v6 { back.in_v6() } else { back };
    if v6 {
        ends = ends.in_v6();
    }
    let len = dice.below(64);
    let content = dice.bytes(len);
    let (sequence, acknowledgement) = (dice.roll() as u32 & 0xffff, dice.roll() as u32 & 0xffff);
    match dice.below(12) {
        0..=3 => ends.udp(&content),
        4 => ends.tcp(SYN, sequence, 0, &[]),
        5 => ends.tcp(dice.pick(&[ACK, ACK | PSH, ACK | FIN, RST, RST | ACK]), sequence, acknowledgement, &content),
        6 => ends.tcp(dice.byte(), sequence, acknowledgement, &content),
        7 => {
            // Echo: few identifiers, so that replies meet requests.
            let kind = if v6 { dice.pick(&[128, 129]) } else { dice.pick(&[8, 0]) };
            ends.icmp(kind, 0, u32::from(dice.byte() & 7) << 16, &content)
        }
        8 | 9 => {
            let kind = if v6 { dice.pick(&[1, 2, 3, 4]) } else { dice.pick(&[3, 3, 4, 5, 11, 12]) };
            let quoted = if dice.one_in(2) { back.udp(&content) } else { back.tcp(ACK, sequence, 0, &content) };
            ends.icmp(kind, dice.byte() % 16, dice.roll() as u32 & 0x0fff, &quoted)
        }
        10 => ends.icmp(dice.byte(), dice.byte(), dice.roll() as u32, &content),
        _ => ends.finish(dice.byte(), content, None),
    }
}

/// A packet that has been tampered with. Most keep a header that is worth a second look.
pub fn mutated(dice: &mut Dice, inwards: bool) -> Vec<u8> {
    let mut packet = plausible(dice, inwards);
    for _ in 0..=dice.below(4) {
        let at = dice.below(packet.len());
        packet[at] = if dice.one_in(2) { dice.byte() } else { packet[at] ^ 1 << dice.below(8) };
    }
    if dice.one_in(8) {
        packet.truncate(dice.below(packet.len() + 1));
    }
    if dice.one_in(16) {
        let len = dice.below(40);
        packet.extend(dice.bytes(len));
    }
    if !dice.one_in(8) {
        mend(&mut packet);
    }
    packet
}

/// What the peer seals: an inner packet, and what is wrong around it.
pub struct Content {
    pub inner: Vec<u8>,
    /// Next header, if not what the inner packet says.
    pub next_header: Option<u8>,
    /// Whether the padding is wrong.
    pub bad_padding: bool,
    /// The outer TOS byte.
    pub tos: u8,
}

impl From<Vec<u8>> for Content {
    fn from(inner: Vec<u8>) -> Self {
        Self { inner, next_header: None, bad_padding: false, tos: 0 }
    }
}

/// One packet for each reason for which the daemon refuses what the peer has sealed.
pub fn sealed_for_a_reason(dice: &mut Dice, which: usize) -> Content {
    let fine = || Ends::inwards(41_000, OPEN).udp(b"let in");
    let quoted = Ends::outwards(45_000, ECHO).udp(b"never sent");
    let port = 42_000 + dice.below(16) as u16;
    match which % 26 {
        0 => Content { bad_padding: true, ..fine().into() },
        1 => Content { next_header: Some(6), ..fine().into() },
        2 => Content { next_header: Some(59), ..fine().into() },
        3 => with(fine(), &[(2, &[0x7f, 0])]).into(),
        4 => Content { next_header: Some(41), ..fine().into() },
        5 => {
            let mut packet = fine();
            packet[10] ^= 0x55;
            packet.into()
        }
        6 => with(fine(), &[(0, &[0x46])]).into(),
        7 => with(fine(), &[(6, &[0x20, 0])]).into(),
        8 => with(fine(), &[(12, &[127, 0, 0, 1])]).into(),
        9 => with(fine(), &[(24, &[0, 3])]).into(),
        10 => with(fine(), &[(12, &[10, 20, 0, 99])]).into(),
        // RFC 6040: congestion marked outside, and inside nobody who would react to it.
        11 => Content { tos: 3, ..fine().into() },
        12 => with(fine(), &[(8, &[0])]).into(),
        13 => Ends::inwards(41_000, 4444).udp(b"no rule").into(),
        14 => Ends::inwards(41_000, 1414).tcp(SYN, 1, 0, &[]).into(),
        15 => Ends::inwards(1414, 50_000).tcp(SYN | FIN | URG, 1, 0, &[]).into(),
        16 => Ends::inwards(1414, 50_000).tcp(ACK, 1, 1, b"midstream").into(),
        17 => Ends::inwards(port, OPEN_TCP).tcp(SYN, 7, 0, b"data on SYN").into(),
        18 => Ends::inwards(0, 0).icmp(5, 1, 0xc000_0201, &quoted).into(),
        19 => Ends::inwards(0, 0).icmp(3, 1, 0, &quoted).into(),
        20 => Ends::inwards(0, 0).icmp(13, 0, 0x0001_0001, &[0; 12]).into(),
        21 => Ends::inwards(port, OPEN_TCP).tcp(SYN, 7, 0, &[]).into(),
        22 => Ends::inwards(0, 0).icmp(8, 0, u32::from(port) << 16, b"ping").into(),
        23 => Ends::inwards(port, OPEN_TCP).tcp(ACK, 8, 1, b"nobody has answered").into(),
        // A maximum segment size of no length.
        24 => with(Ends::inwards(port + 100, OPEN_TCP).tcp(SYN, 7, 0, &[2, 0, 0, 0]), &[(32, &[0x60])]).into(),
        _ => fine().into(),
    }
}

/// One packet for each reason for which the daemon refuses what comes from its own side. `(packet, number of kinds)`.
pub fn outwards_for_a_reason(dice: &mut Dice, which: usize) -> Vec<u8> {
    let port = 43_000 + dice.below(16) as u16;
    let fine = || Ends::outwards(port, ECHO).udp(b"not for the probe");
    let to = |address: [u8; 4]| Ends { destination: (IpAddr::from(address), 1414), ..Ends::outwards(port, 1414) };
    match which % 15 {
        0 => Ends::outwards(port, 23).tcp(SYN, 1, 0, &[]),
        1 => to([10, 99, 0, 1]).tcp(SYN, 1, 0, &[]),
        2 => to([10, 20, 0, 40]).tcp(SYN, 1, 0, &[]),
        3 => Ends::outwards(FIXED, ECHO).udp(&vec![0x77; 1500 + dice.below(7000)]),
        4 => with(fine(), &[(8, &[0])]),
        5 => Ends::outwards(port, OPEN_TCP).tcp(SYN, 1, 0, &[]),
        6 => Ends::outwards(port, 1414).tcp(ACK, 1, 1, b"midstream"),
        7 => Ends::outwards(port, 1414).tcp(SYN | RST, 1, 0, &[]),
        8 => with(fine(), &[(6, &[0x20, 0])]),
        9 => with(fine(), &[(0, &[0x47])]),
        10 => Ends::outwards(0, 0).icmp(5, 0, 0, &fine()),
        11 => Ends::outwards(port, OPEN).udp(b"the wrong way"),
        12 => to([10, 20, 0, 50]).tcp(SYN, 1, 0, &[]),
        13 => Ends::outwards(FIXED, ECHO).udp(&vec![0x77; dice.below(1300)]),
        _ => mutated(dice, false),
    }
}

/// A packet from inside that is to be cut, and must not be; `which` chooses the reason.
pub fn long_for_a_reason(which: usize) -> (VnetHeader, Vec<u8>) {
    // A connection that opens with many segments; segments of one byte.
    let (flags, segment_len) = if which.is_multiple_of(8) { (SYN, 1000) } else { (ACK, 1) };
    let header = VnetHeader {
        needs_checksum: true,
        segments: Segments::Tcp4,
        header_len: 40,
        segment_len,
        checksum_start: 20,
        checksum_offset: 16,
    };
    (header, Ends::outwards(43_100, 1414).tcp(flags, 1, 1, &[0x77; 3000]))
}
