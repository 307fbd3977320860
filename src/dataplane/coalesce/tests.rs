//! What is tied together, and what is not.

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
