//! Long packets through two data paths back to back: cut and sealed on one side, opened and tied together on the other,
//! judged once for all their segments.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use esp_support::*;
use portcullis::dataplane::buffer::{Batch, Path, Role};
use portcullis::dataplane::mtu::DEFAULT_PATH_MTU;
use portcullis::dataplane::offload::{Offloads, TunOffload};
use portcullis::event::DropReason;
use portcullis::ids::RuleId;
use portcullis::sa::lifetime::Lifetime;
use portcullis::wire::ip::Inner;
use portcullis::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use portcullis::wire::vnet::{self, Segments, VnetHeader};
use proptest::prelude::*;

const MSS: usize = 1398;

/// What the kernel says of a long packet.
fn offload(packet: &[u8], segment_len: usize) -> VnetHeader {
    let v6 = packet[0] >> 4 == 6;
    let udp = packet[if v6 { 6 } else { 9 }] == 17;
    VnetHeader {
        needs_checksum: true,
        segments: match (udp, v6) {
            (true, _) => Segments::Udp,
            (false, true) => Segments::Tcp6,
            (false, false) => Segments::Tcp4,
        },
        header_len: 0,
        segment_len: segment_len as u16,
        checksum_start: if v6 { 40 } else { 20 },
        checksum_offset: if udp { 6 } else { 16 },
    }
}

/// A pair whose TUN devices take trains.
fn pair() -> Pair {
    let mut pair = Pair::new(Options::default());
    for side in [&mut pair.left, &mut pair.right] {
        side.set_offloads(Offloads::ALL);
    }
    pair
}

/// Seals a long packet: the datagrams.
fn seal_long(pair: &mut Pair, packet: &[u8], said: VnetHeader) -> Vec<(Vec<u8>, Path)> {
    let mut batch = Batch::with_trains(4, 9216);
    batch.vacant_for_train().unwrap()[..packet.len()].copy_from_slice(packet);
    batch.push_from_tun(packet.len(), said);
    pair.left.outbound(pair.now, &mut batch);
    let sent = batch.packets().iter().enumerate().filter(|(_, packet)| !packet.done);
    sent.map(|(at, packet)| (batch.bytes(at).to_vec(), across(packet.path.unwrap()))).collect()
}

/// What goes to the TUN device: long packets put together with what the kernel is told, and single ones.
fn open_all(pair: &mut Pair, datagrams: &[(Vec<u8>, Path)]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut batch = Batch::new(datagrams.len().max(1), 2048);
    for (bytes, path) in datagrams {
        batch.vacant().unwrap()[..bytes.len()].copy_from_slice(bytes);
        batch.push(bytes.len(), 0, Some(*path));
    }
    pair.right.inbound(pair.now, &mut batch);
    written(&batch)
}

fn written(batch: &Batch) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut written = Vec::new();
    for (at, packet) in batch.packets().iter().enumerate() {
        if packet.done || packet.role == Role::Follows {
            continue;
        }
        let Some((head, payloads)) = batch.train(at) else {
            written.push((VnetHeader::default(), batch.bytes(at).to_vec()));
            continue;
        };
        let (said, headers) = head.bytes().split_first_chunk::<{ vnet::LEN }>().unwrap();
        let mut bytes = headers.to_vec();
        payloads.for_each(|payload| bytes.extend(payload));
        written.push((VnetHeader::parse(said), bytes));
    }
    written
}

/// The payload of a connection's segment number by number.
fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8).collect()
}

#[test]
fn a_long_packet_crosses_as_its_segments_and_arrives_as_one() {
    for count in [2, 3, 44, 46] {
        let mut pair = pair();
        pair.connect(5000);
        let payload = numbers((count - 1) * MSS + 5);
        let long = tcp(5000, true, ACK | PSH, 101, 501, &[], &payload);
        let said = offload(&long, MSS);
        let datagrams = seal_long(&mut pair, &long, said);
        assert_eq!(datagrams.len(), count);
        let sealed = datagrams[0].0.len();
        assert!(sealed + 28 <= usize::from(DEFAULT_PATH_MTU));
        assert!(datagrams[..count - 1].iter().all(|(bytes, _)| bytes.len() == sealed), "they can share a message");
        let arrived = open_all(&mut pair, &datagrams);
        assert_eq!(arrived.len(), 1);
        let (told, bytes) = &arrived[0];
        assert_eq!((told.segments, usize::from(told.segment_len)), (Segments::Tcp4, MSS));
        // But for the identification, which nobody promised, and the checksum, which the kernel completes.
        let without = |bytes: &[u8]| [&bytes[..4], &bytes[6..10], &bytes[12..36], &bytes[38..]].concat();
        assert_eq!(without(bytes), without(&long));
        let (left, right) =
            (pair.left.counters().rule(RuleId(0)).unwrap(), pair.right.counters().rule(RuleId(0)).unwrap());
        let (packets, bytes) = (2 + count as u64, (80 + count * 40 + payload.len()) as u64);
        assert_eq!((left.packets_out.get(), left.bytes_out.get()), (packets, bytes));
        assert_eq!((right.packets_in.get(), right.bytes_in.get()), (packets, bytes));
        assert!(drops(&pair.left).is_empty() && drops(&pair.right).is_empty());
        // The connection has gone on by all of it.
        let end = 101 + payload.len() as u32;
        assert!(pair.leftwards(&tcp(5000, false, ACK, 501, end, &[], &[])).is_ok());
        let ahead = tcp(5000, false, ACK, 501, end + 1, &[], &[]);
        assert_eq!(pair.leftwards(&ahead), Err(DropReason::OutOfState), "what was never sent is not acknowledged");
    }
}

#[test]
fn ipv6_and_udp_cross_the_same_way() {
    let mut pair = pair();
    let payload = numbers(5 * 1200 + 700);
    for long in [
        udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &payload),
        udp(("2001:db8::10", 1000), ("2001:db8:1::20", 2000), 0, &payload),
    ] {
        let datagrams = seal_long(&mut pair, &long, offload(&long, 1200));
        assert_eq!(datagrams.len(), 6);
        let arrived = open_all(&mut pair, &datagrams);
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].0.segments, Segments::Udp);
        assert!(arrived[0].1.ends_with(&payload));
        // Where the device does not take them tied, they come one by one.
        pair.right.set_offloads(Offloads { tun_write: TunOffload::Tcp, ..Offloads::ALL });
        let datagrams = seal_long(&mut pair, &long, offload(&long, 1200));
        let arrived = open_all(&mut pair, &datagrams);
        assert_eq!(arrived.len(), 6);
        for (_, bytes) in arrived {
            assert!(Inner::parse(&bytes).is_ok_and(|inner| inner.udp().is_some()));
        }
        pair.right.set_offloads(Offloads::ALL);
    }
    let open = |flags, sequence, acknowledgement, payload: &[u8], rightwards: bool| {
        let (near, far) = (("2001:db8::10", 6000), ("2001:db8:1::20", 1414));
        let (source, destination) = if rightwards { (near, far) } else { (far, near) };
        Tcp { source, destination, flags, sequence, acknowledgement, options: &[], payload }.build(0)
    };
    pair.rightwards(&open(SYN, 100, 0, &[], true)).unwrap();
    pair.leftwards(&open(SYN | ACK, 500, 101, &[], false)).unwrap();
    let long = open(ACK, 101, 501, &payload, true);
    let datagrams = seal_long(&mut pair, &long, offload(&long, 1000));
    let arrived = open_all(&mut pair, &datagrams);
    assert_eq!((arrived.len(), arrived[0].0.segments), (1, Segments::Tcp6));
}

#[test]
fn what_is_refused_is_refused_for_every_segment_and_answered_once() {
    let mut pair = pair();
    let payload = numbers(10 * MSS);
    // No connection: a reset, as for a single segment.
    let long = tcp(5000, true, ACK, 101, 501, &[], &payload);
    assert!(seal_long(&mut pair, &long, offload(&long, MSS)).is_empty());
    assert_eq!(drops(&pair.left)[&DropReason::NoConnection], 10);
    let answers = replies(&mut pair.left);
    assert_eq!(answers.len(), 1);
    let answer = Inner::parse(&answers[0]).unwrap().tcp().unwrap();
    assert_eq!((answer.flags(), answer.sequence()), (RST, 501));
    assert_eq!(pair.left.counters().rule(RuleId(0)).unwrap().refused.get(), 10);

    // Behind a FIN nothing more is sent: neither with the first segment nor with the last.
    pair.connect(5000);
    pair.rightwards(&tcp(5000, true, ACK | FIN, 101, 501, &[], &[1; 100])).unwrap();
    let more = tcp(5000, true, ACK, 101, 501, &[], &payload);
    assert!(seal_long(&mut pair, &more, offload(&more, MSS)).is_empty());
    assert_eq!(drops(&pair.left)[&DropReason::OutOfState], 10);
}

#[test]
fn segments_that_do_not_fit_the_path_are_answered_and_none_is_sent() {
    let mut pair = pair();
    pair.connect(5000);
    let payload = numbers(10 * 1460);
    let long = tcp(5000, true, ACK, 101, 501, &[], &payload);
    assert!(seal_long(&mut pair, &long, offload(&long, 1460)).is_empty());
    assert_eq!(drops(&pair.left)[&DropReason::TooBig], 10);
    let answers = replies(&mut pair.left);
    assert_eq!(answers.len(), 1);
    let view = Inner::parse(&answers[0]).unwrap();
    let error = view.icmp().unwrap();
    assert_eq!((error.kind(), error.code(), error.word()), (3, 4, 1438));
    assert!(error.quoted().is_some_and(|quoted| quoted.flow.source_port == 5000));
    // What the sender does then.
    let long = tcp(5000, true, ACK, 101, 501, &[], &payload);
    assert_eq!(seal_long(&mut pair, &long, offload(&long, MSS)).len(), 11);
    // One segment that is short enough is cut from nothing.
    let single = tcp(5000, true, ACK, 101 + 14_600, 501, &[], &numbers(700));
    let datagrams = seal_long(&mut pair, &single, offload(&single, 1460));
    assert_eq!(datagrams.len(), 1);
}

#[test]
fn lies_about_a_packet_are_named_and_harm_nobody() {
    let mut pair = pair();
    pair.connect(5000);
    let long = tcp(5000, true, ACK, 101, 501, &[], &numbers(4000));
    let said = offload(&long, 1000);
    let mut short = long.clone();
    short.truncate(3000);
    let cases = [
        (&long, VnetHeader { segment_len: 0, ..said }, DropReason::SegmentSize),
        (&long, VnetHeader { segment_len: 1, ..said }, DropReason::SegmentSize),
        (&long, VnetHeader { checksum_start: 60_000, ..said }, DropReason::BadOffload),
        (&long, VnetHeader { segments: Segments::Unknown(3), ..said }, DropReason::BadOffload),
        (&short, said, DropReason::BadIpHeader),
    ];
    for (packet, said, reason) in cases {
        let before = drops(&pair.left).get(&reason).copied().unwrap_or(0);
        assert!(seal_long(&mut pair, packet, said).is_empty());
        assert_eq!(drops(&pair.left)[&reason], before + 1, "{said:?}");
    }
    assert_eq!(seal_long(&mut pair, &long, said).len(), 4);
}

#[test]
fn numbers_for_a_long_packet_are_given_as_one_range_or_not_at_all() {
    let mut lifetime = ENDLESS;
    lifetime.hard_packets = 10;
    let mut pair = Pair::new(Options { lifetime: Lifetime { ..lifetime }, ..Options::default() });
    let long = udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &numbers(8 * 1000));
    let datagrams = seal_long(&mut pair, &long, offload(&long, 1000));
    let sequence = |datagram: &[u8]| u32::from_be_bytes(datagram[4..8].try_into().unwrap());
    let given: Vec<u32> = datagrams.iter().map(|(bytes, _)| sequence(bytes)).collect();
    assert_eq!(given, (1..=8).collect::<Vec<_>>());
    assert!(seal_long(&mut pair, &long, offload(&long, 1000)).is_empty());
    assert_eq!(drops(&pair.left)[&DropReason::HardLimit], 8);
    assert!(pair.rightwards(&allowed(10)).is_ok(), "what still fits goes");
}

#[test]
fn lost_repeated_and_reordered_segments_are_never_tied_over_the_gap() {
    let mut pair = pair();
    pair.connect(5000);
    let payload = numbers(8 * MSS);
    let long = tcp(5000, true, ACK, 101, 501, &[], &payload);
    let mut datagrams = seal_long(&mut pair, &long, offload(&long, MSS));
    datagrams.remove(2);
    datagrams.swap(4, 5);
    datagrams.push(datagrams[0].clone());
    let arrived = open_all(&mut pair, &datagrams);
    // 0 1 | 3 4 | 6 | 5 | 7
    let segments = |bytes: &[u8]| (bytes.len() - 40) / MSS;
    assert_eq!(arrived.iter().map(|(_, bytes)| segments(bytes)).collect::<Vec<_>>(), [2, 2, 1, 1, 1]);
    let starts: Vec<u32> =
        arrived.iter().map(|(_, bytes)| u32::from_be_bytes(bytes[24..28].try_into().unwrap())).collect();
    let at = |index: usize| 101 + (index * MSS) as u32;
    assert_eq!(starts, [at(0), at(3), at(6), at(5), at(7)]);
    assert_eq!(drops(&pair.right)[&DropReason::Replayed], 1);
}

#[test]
fn flows_that_come_mixed_are_tied_each_by_itself_in_its_own_order() {
    let mut pair = pair();
    let mut datagrams: Vec<Vec<(Vec<u8>, Path)>> = Vec::new();
    // More flows than trains can grow at a time.
    for port in 5000..5010 {
        pair.connect(port);
        let long = tcp(port, true, ACK, 101, 501, &[], &numbers(6 * 500));
        datagrams.push(seal_long(&mut pair, &long, offload(&long, 500)));
    }
    let mut mixed = Vec::new();
    for index in 0..6 {
        for flow in &datagrams {
            mixed.push(flow[index].clone());
        }
    }
    let arrived = open_all(&mut pair, &mixed);
    let mut payloads = vec![Vec::<u8>::new(); 10];
    for (_, bytes) in &arrived {
        let inner = Inner::parse(bytes).unwrap();
        let segment = inner.tcp().unwrap();
        let flow = &mut payloads[usize::from(segment.source_port() - 5000)];
        assert_eq!(segment.sequence(), 101 + flow.len() as u32, "in order");
        flow.extend(segment.payload());
    }
    assert!(payloads.iter().all(|payload| *payload == numbers(3000)));
    // Of two flows nothing keeps the segments apart.
    let mut mixed = Vec::new();
    for port in [5000, 5001] {
        let long = tcp(port, true, ACK, 3101, 501, &[], &numbers(6 * 500));
        mixed.push(seal_long(&mut pair, &long, offload(&long, 500)));
    }
    let mixed: Vec<_> = (0..6).flat_map(|index| [mixed[0][index].clone(), mixed[1][index].clone()]).collect();
    assert_eq!(open_all(&mut pair, &mixed).len(), 2);
}

#[test]
fn a_fin_behind_a_train_is_judged_behind_it() {
    let mut pair = pair();
    pair.connect(5000);
    let payload = numbers(3 * MSS);
    let long = tcp(5000, true, ACK | FIN, 101, 501, &[], &payload);
    let datagrams = seal_long(&mut pair, &long, offload(&long, MSS));
    let arrived = open_all(&mut pair, &datagrams);
    assert_eq!(arrived.len(), 2, "the segment with the FIN goes alone");
    assert_eq!(arrived[1].1[33] & FIN, FIN);
    // Both sides have seen the FIN where it stands.
    let end = 101 + payload.len() as u32;
    assert!(pair.leftwards(&tcp(5000, false, ACK, 501, end + 1, &[], &[])).is_ok());
    let beyond = tcp(5000, true, ACK, end + 1, 501, &[], b"x");
    assert_eq!(pair.rightwards(&beyond), Err(DropReason::OutOfState));
}

#[test]
fn congestion_marked_outside_reaches_every_packet_of_a_train() {
    let mut pair = pair();
    for (tos, marked) in [(2, Some(3)), (0, None)] {
        let long = udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), tos, &numbers(4 * 1000));
        let mut datagrams = seal_long(&mut pair, &long, offload(&long, 1000));
        assert!(datagrams.iter().all(|(_, path)| path.tos == tos));
        for (_, path) in &mut datagrams {
            path.tos = 3;
        }
        let mut batch = Batch::new(8, 2048);
        for (bytes, path) in &datagrams {
            batch.vacant().unwrap()[..bytes.len()].copy_from_slice(bytes);
            batch.push(bytes.len(), 0, Some(*path));
        }
        pair.right.inbound(pair.now, &mut batch);
        let arrived = written(&batch);
        let Some(marked) = marked else {
            assert!(arrived.is_empty());
            assert_eq!(drops(&pair.right)[&DropReason::EcnDrop], 4);
            continue;
        };
        assert_eq!((arrived.len(), arrived[0].1[1]), (1, marked));
        // Also if the kernel refuses the train and they go one by one.
        for at in 0..4 {
            assert_eq!(Inner::parse(batch.bytes(at)).unwrap().tos(), marked);
        }
    }
    // Segments with another mark are not of one train.
    let long = udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 2, &numbers(4 * 1000));
    let mut datagrams = seal_long(&mut pair, &long, offload(&long, 1000));
    datagrams[2].1.tos = 3;
    let arrived = open_all(&mut pair, &datagrams);
    assert_eq!(arrived.iter().map(|(_, bytes)| bytes[1]).collect::<Vec<_>>(), [2, 3, 2]);
}

#[test]
fn a_train_that_may_not_come_in_is_refused_packet_by_packet() {
    let mut pair = pair();
    pair.connect(5000);
    let long = tcp(5000, true, ACK, 101, 501, &[], &numbers(5 * MSS));
    let datagrams = seal_long(&mut pair, &long, offload(&long, MSS));
    // The right side has forgotten the connection.
    let policy = pair.policies[1].clone();
    let mut fresh = pair_of(&pair);
    fresh.right.set_policy(policy);
    assert!(open_all(&mut fresh, &datagrams).is_empty());
    assert_eq!(drops(&fresh.right)[&DropReason::NoConnection], 5);
    assert_eq!(fresh.right.counters().tunnel(TUNNEL).unwrap().refused.get(), 5);
}

fn pair_of(old: &Pair) -> Pair {
    let mut fresh = Pair::new(old.options);
    fresh.right.set_offloads(Offloads::ALL);
    fresh
}

#[test]
fn a_train_of_datagrams_cut_short_loses_its_stump_alone() {
    let mut pair = pair();
    let long = udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &numbers(4 * 1000));
    let datagrams = seal_long(&mut pair, &long, offload(&long, 1000));
    let (segment, path) = (datagrams[0].0.len(), datagrams[0].1);
    for (stump, reason) in [(segment - 1, DropReason::Forged), (20, DropReason::ShortEsp), (2, DropReason::NotIke)] {
        let mut pair = pair_of(&pair);
        let mut train: Vec<u8> = datagrams.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        train.truncate(3 * segment + stump);
        let mut batch = Batch::new(2, 65_535);
        batch.vacant().unwrap()[..train.len()].copy_from_slice(&train);
        batch.push(train.len(), segment as u16, Some(path));
        pair.right.inbound(pair.now, &mut batch);
        let arrived = written(&batch);
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].1.len(), 28 + 3000);
        assert_eq!(drops(&pair.right)[&reason], 1);
    }
}

#[test]
fn ike_and_keepalives_are_found_within_a_train_of_datagrams() {
    let mut pair = pair();
    let (datagram, path) = seal_one(&mut pair.left, NOW, &allowed(100)).unwrap();
    let path = across(path);
    // Equally long, so that the kernel may have put them together.
    let mut message = vec![0; datagram.len()];
    message[4..].fill(9);
    let train = [&datagram[..], &message, &message, &[0xFF]].concat();
    let mut batch = Batch::new(2, 65_535);
    batch.vacant().unwrap()[..train.len()].copy_from_slice(&train);
    batch.push(train.len(), datagram.len() as u16, Some(path));
    pair.right.inbound(NOW, &mut batch);
    assert_eq!(written(&batch), [(VnetHeader::default(), allowed(100))]);
    for _ in 0..2 {
        assert_eq!(pair.right.poll_ike(), Some((path, &message[4..])));
    }
    assert_eq!(pair.right.poll_ike(), None);
    assert_eq!(pair.right.counters().keepalives.get(), 1);
    assert!(drops(&pair.right).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_lost_or_overtaken_tcp_gets_its_bytes_in_the_order_of_arrival(
        count in 2_usize..46,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        swapped in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..4),
        broken in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut pair = pair();
        pair.connect(5000);
        let payload = numbers(count * 900);
        let long = tcp(5000, true, ACK, 101, 501, &[], &payload);
        let mut datagrams: Vec<_> = seal_long(&mut pair, &long, offload(&long, 900)).into_iter().enumerate().collect();
        for (one, other) in swapped {
            let (one, other) = (one.index(datagrams.len()), other.index(datagrams.len()));
            datagrams.swap(one, other);
        }
        for lost in lost {
            if datagrams.len() > 1 {
                datagrams.remove(lost.index(datagrams.len()));
            }
        }
        let mut forged = std::collections::BTreeSet::new();
        for broken in broken {
            let at = broken.index(datagrams.len());
            if forged.insert(at) {
                datagrams[at].1.0[40] ^= 1;
            }
        }
        let expected: Vec<u8> = datagrams
            .iter()
            .enumerate()
            .filter(|(at, _)| !forged.contains(at))
            .flat_map(|(_, (index, _))| payload[index * 900..(index + 1) * 900].to_vec())
            .collect();
        let datagrams: Vec<_> = datagrams.into_iter().map(|(_, datagram)| datagram).collect();
        let arrived = open_all(&mut pair, &datagrams);
        let got: Vec<u8> = arrived.iter().flat_map(|(_, bytes)| bytes[40..].to_vec()).collect();
        prop_assert!(got == expected, "bytes in the order of arrival");
        for (said, bytes) in &arrived {
            let inner = Inner::parse(bytes).unwrap();
            let at = (inner.tcp().unwrap().sequence() - 101) as usize;
            prop_assert_eq!(inner.tcp().unwrap().payload(), &payload[at..at + bytes.len() - 40]);
            prop_assert!(said.segments == Segments::None || bytes.len() > 940);
        }
    }
}
