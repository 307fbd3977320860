//! Ties packets that came through the tunnel one by one into trains, which the TUN device takes in one system call and the
//! kernel treats as one packet: what GRO does on a network card.
//!
//! Nothing is tied that Linux's GRO would not tie: the headers are the same but for what counts up, nothing of the flow
//! came in between, no segment is longer than the first and only the last is shorter, and every checksum was found to be
//! right, because the train has none of its own that could be wrong. No byte of a packet is changed or moved, so that a
//! train which the kernel refuses can still go packet by packet. Left out: segments with other flags than ACK and PSH.

use super::buffer::{Head, LONGEST, MAX_HEADERS};
use super::segment::{addresses_sum, set_lengths};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{ACK, PSH};
use crate::wire::vnet::{self, Segments, VnetHeader};
use crate::wire::{ip, ipv4, ipv6};

/// Packets of a train at most: what GRO takes of UDP (`UDP_GRO_CNT_MAX`), and more than fit of full-sized TCP.
pub const MAX_PACKETS: usize = 64;

/// What a packet that may be part of a train looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    ip_len: usize,
    header_len: usize,
    payload: usize,
    udp: bool,
    sequence: u32,
    push: bool,
    identification: Option<u16>,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

impl Candidate {
    /// Looks at an inner packet. That its headers are sound beyond what is needed here is for others to check.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (ip_len, said, protocol, identification) = match packet.first()? {
            // No options, no fragment.
            0x45 if be16(packet, 6)? & 0xbfff == 0 => {
                (ipv4::HEADER_LEN, usize::from(be16(packet, 2)?), *packet.get(9)?, be16(packet, 4))
            }
            first if first >> 4 == 6 => (ipv6::HEADER_LEN, usize::from(be16(packet, 4)?) + 40, *packet.get(6)?, None),
            _ => return None,
        };
        let transport = packet.get(ip_len..).filter(|_| said == packet.len())?;
        let (len, udp, sequence, push) = match protocol {
            ip::TCP => {
                let flags = transport.get(13).filter(|flags| **flags & !PSH == ACK)?;
                let len = usize::from(transport.get(12)? >> 4) * 4;
                (len, false, be32(transport, 4)?, flags & PSH != 0)
            }
            // A datagram without a checksum would get one in a train.
            ip::UDP if be16(transport, 6)? != 0 && usize::from(be16(transport, 4)?) == transport.len() => {
                (8, true, 0, false)
            }
            _ => return None,
        };
        let payload = transport.len().checked_sub(len).filter(|payload| *payload > 0)?;
        let header_len = ip_len + len;
        (header_len <= MAX_HEADERS && (udp || len >= 20)).then_some(Self {
            ip_len,
            header_len,
            payload,
            udp,
            sequence,
            push,
            identification,
        })
    }

    /// Whether it is UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.udp
    }

    /// Whether the checksums of `packet`, which it was made from, are right.
    #[must_use]
    pub fn checksums_hold(&self, packet: &[u8]) -> bool {
        let Some((header, transport)) = packet.split_at_checked(self.ip_len) else { return false };
        let length = (transport.len() as u16).to_be_bytes();
        (self.ip_len == ipv6::HEADER_LEN || Sum::ZERO.and(header).is_valid())
            && addresses_sum(packet, self.ip_len, self.udp).and(&length).and(transport).is_valid()
    }
}

/// Whether two packets may be of one flow, so that one must not overtake the other. `leader` is a [`Candidate`];
/// `packet` may be anything.
#[must_use]
pub fn same_flow(leader: &[u8], packet: &[u8]) -> bool {
    let same = |range: std::ops::Range<usize>| leader.get(range.clone()) == packet.get(range);
    match (leader.first(), packet.first()) {
        // With options in between the ports stand elsewhere: one more reason to take no chances.
        (Some(0x45), Some(first)) if first >> 4 == 4 => same(9..10) && same(12..20) && (*first != 0x45 || same(20..24)),
        (Some(a), Some(b)) if a >> 4 == 6 && b >> 4 == 6 => same(6..7) && same(8..44),
        _ => false,
    }
}

/// How the IPv4 identification goes on from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Unknown,
    Up,
    Not,
}

/// A train that may still grow.
#[derive(Clone, Copy, Debug)]
pub struct Train {
    first: Candidate,
    /// Payload so far.
    payload: usize,
    count: usize,
    last_identification: Option<u16>,
    counting: Counting,
    /// Nothing may follow any more.
    ended: bool,
    push: bool,
    verified: bool,
}

impl Train {
    /// A train of one.
    #[must_use]
    pub fn of(first: Candidate) -> Self {
        Self {
            first,
            payload: first.payload,
            count: 1,
            last_identification: first.identification,
            counting: Counting::Unknown,
            ended: first.push,
            push: first.push,
            verified: false,
        }
    }

    /// How many packets it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What its packets have together, headers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.count * self.first.header_len + self.payload
    }

    /// How much payload follows that of the first packet.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.payload - self.first.payload
    }

    /// Takes `packet` in, if it continues the train that `leader` leads.
    pub fn take(&mut self, leader: &[u8], packet: &[u8], next: &Candidate) -> bool {
        let Some(counting) = self.counting_with(leader, next) else { return false };
        let fits = !self.ended
            && self.count < MAX_PACKETS
            && next.payload <= self.first.payload
            && self.first.header_len + self.payload + next.payload <= LONGEST
            && (next.udp || next.sequence == self.first.sequence.wrapping_add(self.payload as u32))
            && self.has_the_headers_of(leader, packet, next);
        if !fits {
            return false;
        }
        if !self.verified {
            if !self.first.checksums_hold(leader) {
                self.ended = true;
                return false;
            }
            self.verified = true;
        }
        if !next.checksums_hold(packet) {
            return false;
        }
        self.counting = counting;
        self.last_identification = next.identification;
        self.count += 1;
        self.payload += next.payload;
        self.push |= next.push;
        self.ended = next.push || next.payload < self.first.payload;
        true
    }

    /// How the identification counts if `next` follows; `None` if it must not.
    ///
    /// Cutting the train again counts it up. Where nothing may be fragmented it may also stand still: it has no meaning
    /// then (RFC 6864 §4.1).
    fn counting_with(&self, leader: &[u8], next: &Candidate) -> Option<Counting> {
        let (Some(last), Some(this)) = (self.last_identification, next.identification) else {
            return (self.last_identification == next.identification).then_some(Counting::Unknown);
        };
        let atomic = leader.get(6).is_some_and(|flags| flags & 0x40 != 0);
        let now = match this.wrapping_sub(last) {
            1 => Counting::Up,
            0 if atomic => Counting::Not,
            _ => return None,
        };
        (self.counting == Counting::Unknown || self.counting == now).then_some(now)
    }

    /// All fields that do not count up are those of the leader.
    fn has_the_headers_of(&self, leader: &[u8], packet: &[u8], next: &Candidate) -> bool {
        let first = &self.first;
        let same = |range: std::ops::Range<usize>| {
            let (ours, theirs) = (leader.get(range.clone()), packet.get(range));
            ours.is_some() && ours == theirs
        };
        let at = first.ip_len;
        let ip = if at == ipv4::HEADER_LEN {
            // Version and TOS; flags, TTL and protocol; addresses.
            same(0..2) && same(6..10) && same(12..20)
        } else {
            // Version, traffic class and flow label; next header, hop limit and addresses.
            same(0..4) && same(6..40)
        };
        // Ports; acknowledgement and header length; window; urgent pointer and options.
        let transport = same(at..at + 4)
            && (first.udp || (same(at + 8..at + 13) && same(at + 14..at + 16) && same(at + 18..first.header_len)));
        (first.ip_len, first.header_len, first.udp) == (next.ip_len, next.header_len, next.udp) && ip && transport
    }

    /// What stands in front of the payloads when the train goes as one.
    #[must_use]
    pub fn head(&self, leader: &[u8]) -> Head {
        let Candidate { ip_len, header_len, udp, .. } = self.first;
        let offset: u16 = if udp { 6 } else { 16 };
        let offload = VnetHeader {
            needs_checksum: true,
            segments: match (udp, ip_len) {
                (true, _) => Segments::Udp,
                (false, ipv4::HEADER_LEN) => Segments::Tcp4,
                (false, _) => Segments::Tcp6,
            },
            header_len: header_len as u16,
            segment_len: self.first.payload as u16,
            checksum_start: ip_len as u16,
            checksum_offset: offset,
        };
        let mut head = Head { bytes: [0; vnet::LEN + MAX_HEADERS], len: vnet::LEN + header_len };
        let (front, headers) = head.bytes.split_at_mut(vnet::LEN);
        front.copy_from_slice(&offload.encode());
        let headers = &mut headers[..header_len];
        headers.copy_from_slice(&leader[..header_len]);
        let len = header_len + self.payload;
        set_lengths(headers, ip_len, len, udp);
        if self.push {
            headers[ip_len + 13] |= PSH;
        }
        // The kernel goes on from the sum of the pseudo header.
        let sum = addresses_sum(headers, ip_len, udp).and(&((len - ip_len) as u16).to_be_bytes()).fold();
        let at = ip_len + usize::from(offset);
        headers[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::segment;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const SEGMENT: usize = 100;

    /// What one packet of a flow is made of; a test changes what it is about.
    #[derive(Clone, Debug)]
    struct Made {
        v6: bool,
        udp: bool,
        identification: u16,
        dont_fragment: bool,
        ttl: u8,
        tos: u8,
        port: u16,
        sequence: u32,
        acknowledgement: u32,
        window: u16,
        flags: u8,
        timestamp: u32,
        payload: Vec<u8>,
    }

    impl Made {
        fn new(v6: bool, udp: bool) -> Self {
            Self {
                v6,
                udp,
                identification: 65_530,
                dont_fragment: true,
                ttl: 61,
                tos: 0,
                port: 4000,
                sequence: u32::MAX - 150,
                acknowledgement: 77,
                window: 999,
                flags: ACK,
                timestamp: 5,
                payload: vec![7; SEGMENT],
            }
        }

        /// The packet that comes `index` segments later.
        fn later(&self, index: usize) -> Self {
            let mut later = self.clone();
            later.identification = self.identification.wrapping_add(index as u16);
            later.sequence = self.sequence.wrapping_add((index * SEGMENT) as u32);
            later
        }

        fn bytes(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            let builder = if self.v6 {
                let mut header = etherparse::Ipv6Header {
                    traffic_class: self.tos,
                    hop_limit: self.ttl,
                    source: [0x20; 16],
                    destination: [0x21; 16],
                    ..etherparse::Ipv6Header::default()
                };
                header.flow_label = 5.try_into().unwrap();
                PacketBuilder::ip(etherparse::IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default()))
            } else {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    self.ttl,
                    etherparse::ip_number::TCP,
                    [192, 0, 2, 10],
                    [203, 0, 113, 20],
                )
                .unwrap();
                header.identification = self.identification;
                header.dont_fragment = self.dont_fragment;
                header.dscp = (self.tos >> 2).try_into().unwrap();
                header.ecn = (self.tos & 3).try_into().unwrap();
                PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
            };
            if self.udp {
                builder.udp(self.port, 2000).write(&mut bytes, &self.payload).unwrap();
            } else {
                let mut header = etherparse::TcpHeader::new(self.port, 1414, self.sequence, self.window);
                header.acknowledgment_number = self.acknowledgement;
                (header.ack, header.psh) = (self.flags & ACK != 0, self.flags & PSH != 0);
                header.fin = self.flags & crate::wire::tcp::FIN != 0;
                (header.cwr, header.ece) = (self.flags & 0x80 != 0, self.flags & 0x40 != 0);
                header.set_options(&[etherparse::TcpOptionElement::Timestamp(self.timestamp, 6)]).unwrap();
                builder.tcp_header(header).write(&mut bytes, &self.payload).unwrap();
            }
            bytes
        }
    }

    fn candidate(packet: &[u8]) -> Candidate {
        Candidate::of(packet).expect("a candidate")
    }

    /// Whether the second packet joins a train of the first.
    fn joins(first: &[u8], second: &[u8]) -> bool {
        assert!(same_flow(first, first));
        let mut train = Train::of(candidate(first));
        Candidate::of(second).is_some_and(|next| train.take(first, second, &next))
    }

    /// The long packet that a train stands for.
    fn long(train: &Train, packets: &[Vec<u8>]) -> (Vec<u8>, VnetHeader) {
        let head = train.head(&packets[0]);
        let (offload, headers) = head.bytes().split_first_chunk::<{ vnet::LEN }>().unwrap();
        let mut bytes = headers.to_vec();
        for packet in packets {
            bytes.extend(&packet[headers.len()..]);
        }
        (bytes, VnetHeader::parse(offload))
    }

    proptest! {
        #[test]
        fn what_was_tied_together_is_cut_into_the_same_packets(
            v6: bool, udp: bool, count in 2_usize..MAX_PACKETS, last in 1..=SEGMENT, push: bool, seed: u8, port in 1_u16..,
        ) {
            let first = Made { port, ..Made::new(v6, udp) };
            let packets: Vec<Vec<u8>> = (0..count).map(|index| {
                let mut made = first.later(index);
                made.payload.fill(seed.wrapping_add(index as u8));
                if index + 1 == count {
                    made.payload.truncate(last);
                    made.flags |= if push { PSH } else { 0 };
                }
                made.bytes()
            }).collect();
            let mut train = Train::of(candidate(&packets[0]));
            for packet in &packets[1..] {
                prop_assert!(train.take(&packets[0], packet, &candidate(packet)));
            }
            prop_assert_eq!(train.count(), count);
            prop_assert_eq!(train.bytes(), packets.iter().map(Vec::len).sum::<usize>());
            let (mut bytes, offload) = long(&train, &packets);
            // The way out again.
            let plan = segment::Train::plan(&bytes, &offload).unwrap();
            prop_assert_eq!(usize::from(offload.header_len), plan.header_len());
            plan.pretend_first(&mut bytes);
            let template = segment::Template::new(&plan, &bytes);
            for (index, packet) in packets.iter().enumerate() {
                let (from, len) = plan.payload(index);
                let mut cut = vec![0; plan.header_len()];
                cut.extend(&bytes[plan.header_len() + from..plan.header_len() + from + len]);
                template.write(index, &mut cut);
                prop_assert_eq!(&cut, packet);
            }
        }

        #[test]
        fn junk_is_never_tied_and_never_panics(
            first in prop::collection::vec(any::<u8>(), 0..120),
            second in prop::collection::vec(any::<u8>(), 0..120),
            version in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
            protocol in prop::sample::select(vec![6_u8, 17]),
        ) {
            let dress = |mut bytes: Vec<u8>| {
                let length = bytes.len() as u16;
                let (at, length, protocol_at) = if version >> 4 == 4 { (2, length, 9) } else { (4, length.saturating_sub(40), 6) };
                for (at, value) in [(0, version), (protocol_at, protocol)] {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = value;
                    }
                }
                if let Some(field) = bytes.get_mut(at..at + 2) {
                    field.copy_from_slice(&length.to_be_bytes());
                }
                bytes
            };
            let (first, second) = (dress(first), dress(second));
            let _ = same_flow(&first, &second);
            if let (Some(one), Some(other)) = (Candidate::of(&first), Candidate::of(&second)) {
                prop_assert!(!Train::of(one).take(&first, &second, &other), "its checksums are junk");
            }
        }
    }

    #[test]
    fn a_packet_that_differs_in_anything_but_what_counts_up_stays_alone() {
        for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
            let first = Made::new(v6, udp);
            let leader = first.bytes();
            assert!(joins(&leader, &first.later(1).bytes()));
            let mut cases: Vec<(&str, Made)> = vec![
                ("TTL", Made { ttl: 60, ..first.later(1) }),
                ("TOS", Made { tos: 3, ..first.later(1) }),
                ("port", Made { port: 4001, ..first.later(1) }),
                ("longer", Made { payload: vec![7; SEGMENT + 1], ..first.later(1) }),
                ("empty", Made { payload: vec![], ..first.later(1) }),
            ];
            if !udp {
                cases.extend([
                    ("sequence", Made { sequence: first.sequence, ..first.later(1) }),
                    ("gap", Made { sequence: first.later(2).sequence, ..first.later(1) }),
                    ("acknowledgement", Made { acknowledgement: 78, ..first.later(1) }),
                    ("window", Made { window: 998, ..first.later(1) }),
                    ("option", Made { timestamp: 6, ..first.later(1) }),
                    ("FIN", Made { flags: ACK | 1, ..first.later(1) }),
                    ("CWR", Made { flags: ACK | 0x80, ..first.later(1) }),
                    ("ECE", Made { flags: ACK | 0x40, ..first.later(1) }),
                ]);
            }
            if !v6 {
                cases.extend([
                    ("identification", Made { identification: 1, ..first.later(1) }),
                    ("may be fragmented", Made { dont_fragment: false, ..first.later(1) }),
                ]);
            }
            for (what, made) in cases {
                assert!(!joins(&leader, &made.bytes()), "{what}, v6 {v6}, udp {udp}");
            }
        }
        assert!(!joins(&Made::new(false, false).bytes(), &Made::new(true, false).later(1).bytes()));
    }

    #[test]
    fn a_wrong_checksum_is_never_covered_up() {
        for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
            let first = Made::new(v6, udp);
            let (leader, next) = (first.bytes(), first.later(1).bytes());
            for at in [leader.len() - 1, leader.len() - SEGMENT] {
                let flip = |packet: &[u8]| {
                    let mut packet = packet.to_vec();
                    packet[at] ^= 0x10;
                    packet
                };
                assert!(!joins(&flip(&leader), &next), "the first one's");
                assert!(!joins(&leader, &flip(&next)), "the second one's");
            }
            if !v6 {
                let mut header = next.clone();
                header[10] ^= 1;
                assert!(!joins(&leader, &header), "the IP header's");
            }
        }
        // A datagram without one is not given one.
        let mut bare = Made::new(false, true).bytes();
        bare[26..28].fill(0);
        assert_eq!(Candidate::of(&bare), None);
    }

    #[test]
    fn a_push_or_a_shorter_packet_ends_a_train() {
        let first = Made::new(false, false);
        for end in [Made { flags: ACK | PSH, ..first.later(1) }, Made { payload: vec![7; 50], ..first.later(1) }] {
            let leader = first.bytes();
            let mut train = Train::of(candidate(&leader));
            let last = end.bytes();
            assert!(train.take(&leader, &last, &candidate(&last)));
            let mut next = first.later(2);
            next.sequence = end.sequence.wrapping_add(end.payload.len() as u32);
            let next = next.bytes();
            assert!(!train.take(&leader, &next, &candidate(&next)));
        }
        let pushed = Made { flags: ACK | PSH, ..first.clone() }.bytes();
        assert!(!joins(&pushed, &first.later(1).bytes()));
    }

    #[test]
    fn an_identification_that_stands_still_is_taken_only_where_it_means_nothing() {
        for dont_fragment in [true, false] {
            let first = Made { dont_fragment, ..Made::new(false, false) };
            let still = |index| Made { identification: first.identification, ..first.later(index) }.bytes();
            assert_eq!(joins(&first.bytes(), &still(1)), dont_fragment);
            // But it does not begin to count in the middle.
            let leader = first.bytes();
            let mut train = Train::of(candidate(&leader));
            for (packet, taken) in [(still(1), dont_fragment), (first.later(2).bytes(), false)] {
                assert_eq!(train.take(&leader, &packet, &candidate(&packet)), taken);
            }
        }
    }

    #[test]
    fn a_train_has_no_more_than_a_packet_can_say() {
        let first = Made { payload: vec![1; 1400], ..Made::new(false, true) };
        let leader = first.bytes();
        let mut train = Train::of(candidate(&leader));
        let mut count = 1;
        loop {
            let next = Made { identification: first.identification.wrapping_add(count), ..first.clone() }.bytes();
            if !train.take(&leader, &next, &candidate(&next)) {
                break;
            }
            count += 1;
        }
        assert_eq!(count, 46);
        let head = train.head(&leader);
        assert_eq!(u16::from_be_bytes([head.bytes()[12], head.bytes()[13]]), 28 + 46 * 1400);
    }

    #[test]
    fn what_may_be_of_one_flow_is_seen_without_trust() {
        let leader = Made::new(false, false).bytes();
        let other = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = leader.clone();
            change(&mut packet);
            same_flow(&leader, &packet)
        };
        assert!(other(&|_| {}));
        // With options the ports stand elsewhere: it may be the same flow.
        assert!(other(&|packet| packet[0] = 0x46));
        assert!(!other(&|packet| packet[15] ^= 1));
        assert!(!other(&|packet| packet[21] ^= 1));
        assert!(!other(&|packet| packet[9] = 17));
        assert!(!other(&|packet| packet.clear()));
        assert!(!same_flow(&leader, &Made::new(true, false).bytes()));
        let v6 = Made::new(true, false);
        assert!(same_flow(&v6.bytes(), &v6.later(3).bytes()));
        assert!(!same_flow(&v6.bytes(), &Made { port: 1, ..v6.clone() }.bytes()));
    }
}
