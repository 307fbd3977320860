//! Two data paths back to back, without a network: what passes, what is refused and by which name, what is answered, and
//! what IKE hears of it.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use std::collections::BTreeMap;
use std::time::Duration;

use esp_support::*;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::drop::Record;
use portcullis::dataplane::sad::carries;
use portcullis::event::DropReason;
use portcullis::ids::RuleId;
use portcullis::policy::{SelectorMode, TrafficSelector};
use portcullis::sa::child::{ChildSpec, Encapsulation};
use portcullis::sa::command::SadCommand;
use portcullis::sa::event::SadEvent;
use portcullis::sa::lifetime::Lifetime;
use portcullis::wire::ip::Inner;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn v6_datagram(len: usize) -> Vec<u8> {
    udp(("2001:db8::10", 1000), ("2001:db8:1::20", 2000), 0, &vec![0x66; len])
}

/// Seals `inner` on the left and gives the datagram as the right side receives it.
fn sealed(pair: &mut Pair, inner: &[u8]) -> (Vec<u8>, Path) {
    let (datagram, path) = seal_one(&mut pair.left, pair.now, inner).unwrap();
    (datagram, across(path))
}

#[test]
fn ipv4_and_ipv6_pass_inside_ipv4_and_ipv6_in_udp_and_raw_with_every_suite() {
    for suite in Suite::all() {
        for (outer_v6, raw) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut pair = Pair::new(Options { suite, outer_v6, raw, ..Options::default() });
            for len in [0, 1, 100, 1300] {
                for inner in [allowed(len), v6_datagram(len)] {
                    assert_eq!(pair.rightwards(&inner), Ok(inner.clone()), "{suite:?} {outer_v6} {raw}");
                }
            }
            let (_, path) = sealed(&mut pair, &allowed(1));
            assert_eq!(path.remote.is_ipv6(), outer_v6);
            assert_eq!(path.local.port(), if raw { 0 } else { 4500 });
        }
    }
}

#[test]
fn a_tcp_conversation_passes_both_ways_and_its_rule_and_tunnel_count_it() {
    for selectors in [SelectorMode::Host, SelectorMode::Service] {
        let mut pair = Pair::new(Options { selectors, ..Options::default() });
        pair.connect(5000);
        let data = tcp(5000, true, 0x18, 101, 501, &[], &[0x54; 1000]);
        assert_eq!(pair.rightwards(&data), Ok(data.clone()));
        let answer = tcp(5000, false, 0x18, 501, 1101, &[], &[0x55; 700]);
        assert_eq!(pair.leftwards(&answer), Ok(answer));
        let (left, right) =
            (pair.left.counters().rule(RuleId(0)).unwrap(), pair.right.counters().rule(RuleId(0)).unwrap());
        assert_eq!((left.packets_out.get(), left.packets_in.get(), left.flows.get()), (3, 2, 1));
        assert_eq!((right.packets_out.get(), right.packets_in.get(), right.flows.get()), (2, 3, 1));
        assert_eq!((left.bytes_out.get(), left.bytes_in.get()), (40 + 40 + 1040, 40 + 740));
        assert_eq!(pair.left.counters().tunnel(TUNNEL).unwrap().bytes_out.get(), 1120);
        assert_eq!(pair.right.counters().tunnel(TUNNEL).unwrap().last_inbound(), Some(NOW));
        assert!(drops(&pair.left).is_empty() && drops(&pair.right).is_empty());
    }
}

#[test]
fn what_comes_from_the_underlay_and_is_no_esp_of_ours_is_named() {
    // With ESN a number left of the window would be taken for one of the next 2^32, and fail its integrity check.
    let mut pair = Pair::new(Options { suite: Suite::GCM, ..Options::default() });
    let (good, path) = sealed(&mut pair, &allowed(50));
    let raw = Path { local: (path.local.ip(), 0).into(), remote: (path.remote.ip(), 0).into(), tos: 0 };
    let mut unknown = good.clone();
    unknown[0] = 0x7F;
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut zero = good.clone();
    zero[4..8].fill(0);
    let cases: Vec<(&[u8], Path, DropReason)> = vec![
        (&[], path, DropReason::NotIke),
        (&[0xFE], path, DropReason::NotIke),
        (&[0, 0, 0], path, DropReason::NotIke),
        (&[0, 0, 0, 9, 0, 0, 0, 1], path, DropReason::ReservedSpi),
        (&[0, 0, 0, 0, 0, 0, 0, 1], raw, DropReason::ReservedSpi),
        (&good[..7], path, DropReason::ShortEsp),
        (&good[..7], raw, DropReason::ShortEsp),
        (&good[..30], path, DropReason::ShortEsp),
        (&unknown, path, DropReason::UnknownSpi),
        (&zero, path, DropReason::ZeroSequence),
        (&forged, path, DropReason::Forged),
    ];
    for (datagram, path, reason) in cases {
        assert_eq!(open_one(&mut pair.right, NOW, datagram, path), Err(reason));
    }
    assert_eq!(events(&mut pair.right), [], "nothing of this concerns IKE");
    // The tunnel has not noticed.
    assert_eq!(open_one(&mut pair.right, NOW, &good, path), Ok(allowed(50)));
    assert_eq!(open_one(&mut pair.right, NOW, &good, path), Err(DropReason::Replayed));
    for _ in 0..4096 {
        pair.rightwards(&allowed(0)).unwrap();
    }
    assert_eq!(open_one(&mut pair.right, NOW, &good, path), Err(DropReason::TooOld));
}

/// RFC 7296 §2.23: whether a NAT was found or not, both forms are taken at any time. Only what comes in UDP says where a peer
/// behind a NAT is.
#[test]
fn esp_in_udp_and_without_it_is_taken_at_any_time() {
    let elsewhere: std::net::SocketAddr = "192.0.2.77:4711".parse().unwrap();
    for raw in [false, true] {
        let mut pair = Pair::new(Options { raw, ..Options::default() });
        for udp in [true, false, true] {
            let (good, path) = sealed(&mut pair, &allowed(50));
            let port = if udp { 4500 } else { 0 };
            let way = Path { local: (path.local.ip(), port).into(), remote: (path.remote.ip(), port).into(), tos: 0 };
            assert_eq!(open_one(&mut pair.right, NOW, &good, way), Ok(allowed(50)), "{raw} {udp}");
        }
        let moved = |pair: &mut Pair| {
            events(&mut pair.right).into_iter().any(|event| matches!(event, SadEvent::PeerMoved { .. }))
        };
        let _ = moved(&mut pair);
        for udp in [false, true] {
            let (good, path) = sealed(&mut pair, &allowed(50));
            let from = if udp { elsewhere } else { (elsewhere.ip(), 0).into() };
            let local = (path.local.ip(), if udp { 4500 } else { 0 }).into();
            let way = Path { local, remote: from, tos: 0 };
            assert_eq!(open_one(&mut pair.right, NOW, &good, way), Ok(allowed(50)));
            assert_eq!(moved(&mut pair), udp && !raw, "{raw} {udp}");
        }
    }
}

#[test]
fn ike_on_port_4500_is_handed_on_and_keepalives_are_swallowed() {
    let mut pair = Pair::new(Options::default());
    let (good, path) = sealed(&mut pair, &allowed(50));
    let mut batch = Batch::new(8, 2000);
    for datagram in [&[0, 0, 0, 0, 1, 2, 3][..], &[0xFF], &good, &[0, 0, 0, 0, 4]] {
        batch.vacant().unwrap()[..datagram.len()].copy_from_slice(datagram);
        batch.push(datagram.len(), 0, Some(path));
    }
    pair.right.inbound(NOW, &mut batch);
    assert_eq!(batch.packets().iter().map(|packet| packet.done).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(pair.right.poll_ike(), Some((path, &[1, 2, 3][..])));
    assert_eq!(pair.right.poll_ike(), Some((path, &[4][..])));
    assert_eq!(pair.right.poll_ike(), None);
    assert_eq!(pair.right.counters().keepalives.get(), 1);
    assert!(drops(&pair.right).is_empty());
    // A flood is bounded, and named.
    let flood = |pair: &mut Pair| {
        let mut batch = batch_of(&[0, 0, 0, 0, 9], Some(path));
        pair.right.inbound(NOW, &mut batch);
    };
    (0..1000).for_each(|_| flood(&mut pair));
    let kept = std::iter::from_fn(|| pair.right.poll_ike().map(|_| ())).count() as u64;
    assert_eq!(kept + drops(&pair.right)[&DropReason::QueueFull], 1000);
}

#[test]
fn a_train_of_datagrams_is_split_where_it_lies() {
    let mut pair = Pair::new(Options::default());
    let datagrams: Vec<_> = [300, 300, 300, 40].map(|len| sealed(&mut pair, &allowed(len))).into();
    let (segment, path) = (datagrams[0].0.len(), datagrams[0].1);
    let train = datagrams.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>();
    let mut batch = Batch::new(2, 9000);
    batch.vacant().unwrap()[..train.len()].copy_from_slice(&train);
    batch.push(train.len(), segment as u16, Some(path));
    pair.right.inbound(NOW, &mut batch);
    let inner: Vec<_> = (0..batch.len()).map(|at| batch.bytes(at).len()).collect();
    assert_eq!(inner, [328, 328, 328, 68]);
    assert!(batch.packets().iter().all(|packet| !packet.done && packet.segment == 0));
}

#[test]
fn all_sixteen_ecn_cells_hold_through_the_data_path() {
    // Rows: inner 00, 01, 10, 11; columns likewise (Not-ECT, ECT(1), ECT(0), CE). `None` is a named drop.
    let expected: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    let mut pair = Pair::new(Options::default());
    for v6 in [false, true] {
        for inner_ecn in 0..4u8 {
            for outer_ecn in 0..4u8 {
                let tos = 0xB8 | inner_ecn;
                let inner = if v6 {
                    udp(("2001:db8::10", 1000), ("2001:db8:1::20", 2000), tos, b"ecn")
                } else {
                    udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), tos, b"ecn")
                };
                let (datagram, path) = sealed(&mut pair, &inner);
                assert_eq!(path.tos, tos, "DSCP and ECN go outwards");
                let outcome = open_one(&mut pair.right, NOW, &datagram, Path { tos: 0x20 | outer_ecn, ..path });
                match expected[usize::from(inner_ecn)][usize::from(outer_ecn)] {
                    None => assert_eq!(outcome, Err(DropReason::EcnDrop)),
                    Some(ecn) => {
                        let packet = outcome.unwrap();
                        let view = Inner::parse(&packet).expect("its checksum was mended");
                        assert_eq!(view.tos(), 0xB8 | ecn, "inner {inner_ecn:02b} outer {outer_ecn:02b}");
                        assert_eq!(view.payload(), Inner::parse(&inner).unwrap().payload());
                    }
                }
            }
        }
    }
}

#[test]
fn without_an_sa_one_acquire_a_second_is_told_and_the_sender_is_answered() {
    let mut pair = Pair::new(Options::default());
    for index in 0..8 {
        pair.left.apply(NOW, SadCommand::RemoveOutbound { inbound: spi(LEFT + index) });
    }
    for millis in (0..2500).step_by(100) {
        let now = NOW + Duration::from_millis(millis);
        assert_eq!(seal_one(&mut pair.left, now, &allowed(10)), Err(DropReason::NoSa));
        // An ICMP error would end the connection whose SYN brings the tunnel up.
        assert_eq!(pair.left.replies().is_empty(), millis < 2000, "after {millis} ms");
    }
    let acquired = events(&mut pair.left);
    assert_eq!(acquired.len(), 1, "not read, so repeats are one: {acquired:?}");
    assert!(matches!(acquired[0], SadEvent::Acquire { tunnel: TUNNEL, .. }));
    assert_eq!(seal_one(&mut pair.left, NOW + 4 * SECOND, &allowed(10)), Err(DropReason::NoSa));
    assert_eq!(events(&mut pair.left).len(), 1);
    assert_eq!(seal_one(&mut pair.left, NOW + 4 * SECOND, &allowed(10)), Err(DropReason::NoSa));
    assert_eq!(events(&mut pair.left).len(), 0);
    let answers = replies(&mut pair.left);
    let view = Inner::parse(&answers[0]).unwrap();
    assert_eq!((view.source(), view.destination()), (ip("203.0.113.20"), ip("192.0.2.10")));
    assert_eq!((view.icmp().unwrap().kind(), view.icmp().unwrap().code()), (3, 1));
    // A flood gets a bounded number of answers.
    for _ in 0..1000 {
        let _ = seal_one(&mut pair.left, NOW + 5 * SECOND, &allowed(10));
    }
    assert!((1..=64).contains(&replies(&mut pair.left).len()));
}

#[test]
fn what_does_not_fit_is_answered_with_the_mtu_that_does() {
    let mut pair = Pair::new(Options::default());
    let mtu = usize::from(pair.left.tunnel_mtu(TUNNEL));
    assert_eq!(mtu, 1438);
    assert!(pair.rightwards(&allowed(mtu - 28)).is_ok());
    assert_eq!(pair.rightwards(&allowed(mtu - 27)), Err(DropReason::TooBig));
    let mut may_fragment = allowed(1500);
    may_fragment[6] = 0;
    may_fragment[10..12].fill(0);
    let sum = checksum(&may_fragment[..20]);
    may_fragment[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(pair.rightwards(&may_fragment), Err(DropReason::TooBig));
    assert_eq!(pair.rightwards(&v6_datagram(1400)), Err(DropReason::TooBig));
    let answers = replies(&mut pair.left);
    let read: Vec<_> = answers
        .iter()
        .map(|answer| Inner::parse(answer).unwrap())
        .map(|view| (view.icmp().unwrap().kind(), view.icmp().unwrap().code(), view.icmp().unwrap().word()))
        .collect();
    assert_eq!(read, [(3, 4, 1438), (3, 4, 1438), (2, 0, 1438)]);
}

#[test]
fn a_path_mtu_report_is_believed_only_if_it_quotes_what_was_sent_recently() {
    let mut pair = Pair::new(Options::default());
    let (datagram, path) = seal_one(&mut pair.left, NOW, &allowed(1000)).unwrap();
    let peer = path.remote.ip();
    let quote = |datagram: &[u8]| datagram[..8].to_vec();
    let mut unsent = quote(&datagram);
    unsent[7] += 1;
    let mut foreign = quote(&datagram);
    foreign[0] ^= 0x40;
    for (remote, quoted) in [
        (peer, unsent),
        (peer, foreign),
        (peer, datagram[..7].to_vec()),
        (peer, vec![0; 8]),
        (ip("198.51.100.77"), quote(&datagram)),
    ] {
        assert!(!pair.left.path_mtu_report(NOW, remote, &quoted, 1300));
    }
    assert_eq!((pair.left.tunnel_mtu(TUNNEL), pair.left.poll_mtu_change()), (1438, None));

    assert!(pair.left.path_mtu_report(NOW, peer, &quote(&datagram), 1300));
    assert_eq!(pair.left.poll_mtu_change(), Some(TUNNEL));
    assert_eq!(pair.left.poll_mtu_change(), None);
    // 1300 less 28, 16 and 16 is 1240: 77 blocks of 16, less the trailer.
    assert_eq!(pair.left.tunnel_mtu(TUNNEL), 1230);
    assert!(pair.rightwards(&allowed(1202)).is_ok());
    assert_eq!(pair.rightwards(&allowed(1203)), Err(DropReason::TooBig));
    // The floor holds, and ten minutes later the path is tried again.
    assert!(pair.left.path_mtu_report(NOW, peer, &quote(&datagram), 68));
    assert_eq!(pair.left.tunnel_mtu(TUNNEL), 510);
    pair.left.tick(NOW + 601 * SECOND);
    assert_eq!(pair.left.tunnel_mtu(TUNNEL), 1438);
    assert_eq!(pair.left.poll_mtu_change(), Some(TUNNEL));
}

#[test]
fn the_mss_of_a_syn_is_clamped_in_both_directions() {
    let mss = |packet: &[u8]| u16::from_be_bytes(packet[42..44].try_into().unwrap());
    let mut pair = Pair::new(Options::default());
    let options = [2, 4, 0x23, 0, 1, 1, 1, 0];
    // Clamped on the way out by the left side; a smaller path on the right clamps on the way in.
    let syn = pair.rightwards(&tcp(5000, true, 0x02, 100, 0, &options, &[])).unwrap();
    assert_eq!(mss(&syn), 1398);
    pair.right.set_link_mtu(TUNNEL, 1300);
    let syn = pair.rightwards(&tcp(5001, true, 0x02, 100, 0, &options, &[])).unwrap();
    assert_eq!(mss(&syn), 1230 - 40);
    let answer = pair.leftwards(&tcp(5001, false, 0x12, 500, 101, &options, &[])).unwrap();
    assert_eq!(mss(&answer), 1230 - 40);
    // The checksums were mended: sum over pseudo header and segment is zero.
    for packet in [syn, answer] {
        let mut all = packet[12..20].to_vec();
        all.extend([0, 6]);
        all.extend(((packet.len() - 20) as u16).to_be_bytes());
        all.extend(&packet[20..]);
        assert_eq!(checksum(&all), 0);
    }
    // A small one is left alone.
    let small = tcp(5002, true, 0x02, 100, 0, &[2, 4, 2, 0, 1, 1, 1, 0], &[]);
    assert_eq!(pair.rightwards(&small), Ok(small));
}

#[test]
fn the_peer_is_followed_only_by_its_newest_authentic_packet() {
    let mut pair = Pair::new(Options::default());
    let (first, path) = sealed(&mut pair, &allowed(1));
    let (second, _) = sealed(&mut pair, &allowed(2));
    let (third, _) = sealed(&mut pair, &allowed(3));
    open_one(&mut pair.right, NOW, &second, path).unwrap();
    events(&mut pair.right);
    let elsewhere = Path { remote: socket("198.51.100.99:61000"), ..path };
    // An older packet, a replay and a forgery from elsewhere move nothing.
    open_one(&mut pair.right, NOW, &first, elsewhere).unwrap();
    assert_eq!(open_one(&mut pair.right, NOW, &second, elsewhere), Err(DropReason::Replayed));
    let mut forged = third.clone();
    forged[20] ^= 1;
    assert_eq!(open_one(&mut pair.right, NOW, &forged, elsewhere), Err(DropReason::Forged));
    assert_eq!(events(&mut pair.right), []);
    // The newest does, once for a change.
    let inbound = spi(u32::from_be_bytes(third[..4].try_into().unwrap()));
    open_one(&mut pair.right, NOW, &third, elsewhere).unwrap();
    let moved = SadEvent::PeerMoved { inbound, remote: elsewhere.remote, local: path.local };
    assert_eq!(events(&mut pair.right), [moved]);
    let (fourth, _) = sealed(&mut pair, &allowed(4));
    open_one(&mut pair.right, NOW, &fourth, elsewhere).unwrap();
    assert_eq!(events(&mut pair.right), []);
    // Only when IKE says so does the way back follow.
    let back = udp(("203.0.113.20", 2000), ("192.0.2.10", 1000), 0, b"back");
    let (_, before) = seal_one(&mut pair.right, NOW, &back).unwrap();
    assert_eq!(before.remote, path.remote);
    let encapsulation = Encapsulation::Udp { local: path.local, remote: elsewhere.remote };
    // What moves the SAs of another IKE SA of the tunnel moves nothing here.
    let other = spi(inbound.get() ^ 1);
    pair.right.apply(NOW, SadCommand::Redirect { tunnel: TUNNEL, inbound: vec![other], encapsulation });
    let (_, still) = seal_one(&mut pair.right, NOW, &back).unwrap();
    assert_eq!(still.remote, path.remote);
    pair.right.apply(NOW, SadCommand::Redirect { tunnel: TUNNEL, inbound: vec![inbound], encapsulation });
    let (_, after) = seal_one(&mut pair.right, NOW, &back).unwrap();
    assert_eq!((after.local, after.remote), (path.local, elsewhere.remote));
}

#[test]
fn a_segment_of_no_connection_is_answered_with_a_reset_inwards_only() {
    let mut pair = Pair::new(Options::default());
    let stray = tcp(5000, true, 0x10, 900, 800, &[], b"late");
    assert_eq!(pair.rightwards(&stray), Err(DropReason::NoConnection));
    let answers = replies(&mut pair.left);
    let view = Inner::parse(&answers[0]).unwrap();
    let reset = view.tcp().unwrap();
    assert_eq!((view.source(), reset.source_port()), (ip("203.0.113.20"), 1414));
    assert!(reset.flags() & 0x04 != 0 && reset.sequence() == 800);
    assert_eq!(pair.leftwards(&tcp(5000, false, 0x10, 900, 800, &[], b"late")), Err(DropReason::NoConnection));
}

/// An ICMP "port unreachable" from `router` about `quoted`.
fn unreachable(router: &str, to: &str, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(&quoted[..28]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(router, to, 1, 0, &message)
}

#[test]
fn an_icmp_error_from_a_router_passes_only_about_a_live_flow_of_its_sa() {
    // The right gateway's SA would not let its router's packets out, so this peer seals without a policy of its own.
    let mut pair = Pair::new(Options::default());
    let sent = allowed(8);
    pair.rightwards(&sent).unwrap();
    let about = |quoted: &[u8]| unreachable("203.0.113.1", "192.0.2.10", quoted);
    let mut peer = Peer::new(&pair);
    assert_eq!(peer.send(&mut pair.left, &about(&sent)), Ok(about(&sent)));
    // Never opened; not between the SA's hosts; not about a packet of ours at all.
    let idle = udp(("192.0.2.10", 1001), ("203.0.113.20", 2000), 0, &[0; 8]);
    assert_eq!(peer.send(&mut pair.left, &about(&idle)), Err(DropReason::IcmpNoFlow));
    let foreign = udp(("192.0.2.10", 1000), ("203.0.113.99", 2000), 0, &[0; 8]);
    assert_eq!(peer.send(&mut pair.left, &about(&foreign)), Err(DropReason::Selector));
    let theirs = udp(("203.0.113.20", 2000), ("192.0.2.10", 1000), 0, &[0; 8]);
    assert_eq!(peer.send(&mut pair.left, &about(&theirs)), Err(DropReason::Selector));
    assert_eq!(replies(&mut pair.left).len(), 0);
}

/// A peer that holds the right side's keys for IPv4 and obeys nobody.
struct Peer {
    sa: portcullis::esp::outbound_sa::OutboundSa,
    path: Path,
}

impl Peer {
    fn new(pair: &Pair) -> Self {
        let v4 = install(&pair.policies[1], &pair.options, false, 0).into_iter().find_map(|command| match command {
            SadCommand::InstallOutbound(spec) if spec.child.local[0].start == ip("203.0.113.20") => Some(*spec),
            _ => None,
        });
        let spec = v4.unwrap();
        let Encapsulation::Udp { local, remote } = spec.child.encapsulation else { panic!("in UDP") };
        let path = Path { local: remote, remote: local, tos: 0 };
        Self { sa: portcullis::esp::outbound_sa::OutboundSa::new(spec, NOW), path }
    }

    fn send(
        &mut self,
        to: &mut portcullis::dataplane::pipeline::Pipeline,
        inner: &[u8],
    ) -> Result<Vec<u8>, DropReason> {
        let sequence = self.sa.reserve(NOW, 1, 0).unwrap();
        let (mut slab, place) = slab(inner);
        let sealed = self.sa.seal(sequence, &mut slab, place);
        open_one(to, NOW, &slab[sealed], self.path)
    }
}

#[test]
fn each_hostile_inner_packet_is_named() {
    let mut pair = Pair::new(Options::default());
    let mut peer = Peer::new(&pair);
    let good = udp(("203.0.113.20", 9), ("192.0.2.10", 3000), 0, b"good");
    assert_eq!(peer.send(&mut pair.left, &good), Ok(good.clone()));
    let changed = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let mut bad_sum = good.clone();
    bad_sum[10] ^= 1;
    let from = |source: &str| udp((source, 9), ("192.0.2.10", 3000), 0, b"x");
    let to = |destination: &str| udp(("203.0.113.20", 9), (destination, 3000), 0, b"x");
    let cases = [
        (bad_sum, DropReason::BadIpChecksum),
        (changed(0, 0x46), DropReason::IpOptions),
        (changed(6, 0x20), DropReason::InnerFragment),
        (changed(8, 0), DropReason::TtlExpired),
        (changed(25, 200), DropReason::BadTransport),
        (from("127.0.0.1"), DropReason::BadSource),
        (to("224.0.0.1"), DropReason::BadSource),
        (from("203.0.113.21"), DropReason::Selector),
        (to("192.0.2.11"), DropReason::Selector),
        (udp(("192.0.2.10", 9), ("203.0.113.20", 3000), 0, b"x"), DropReason::Selector),
        (udp(("2001:db8:1::20", 9), ("2001:db8::10", 3000), 0, b"x"), DropReason::Selector),
        (udp(("203.0.113.20", 9), ("192.0.2.10", 3001), 0, b"x"), DropReason::NoRule),
        (udp(("203.0.113.20", 9), ("192.0.2.10", 2000), 0, b"x"), DropReason::WrongDirection),
        (tcp(5000, false, 0x02, 1, 0, &[], &[]), DropReason::WrongDirection),
        (tcp(5000, false, 0x03, 1, 0, &[], &[]), DropReason::BadTcpFlags),
        (packet("203.0.113.20", "192.0.2.10", 1, 0, &[5, 1, 0, 0, 0, 0, 0, 0]), DropReason::IcmpNotError),
        (packet("203.0.113.20", "192.0.2.10", 50, 0, &[0; 16]), DropReason::NoRule),
    ];
    for (inner, reason) in cases {
        let outcome = peer.send(&mut pair.left, &inner);
        assert_eq!(outcome, Err(reason), "{:?}", Inner::parse(&inner).map(|view| view.flow()));
    }
    assert_eq!(peer.send(&mut pair.left, &good), Ok(good), "and the tunnel still stands");
    assert_eq!(replies(&mut pair.left).len(), 0, "a peer is never answered");
}

#[test]
fn limits_are_told_to_ike_by_the_name_of_the_child_and_stop_it() {
    let lifetime = Lifetime { soft_packets: 2, hard_packets: 3, ..ENDLESS };
    let mut pair = Pair::new(Options { lifetime, ..Options::default() });
    let outcomes: Vec<_> = (0..5).map(|_| pair.rightwards(&allowed(1)).map(|_| ())).collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(DropReason::HardLimit), Err(DropReason::HardLimit)]);
    let told = events(&mut pair.left);
    let [SadEvent::SoftLimit { inbound: soft }, SadEvent::HardLimit { inbound: hard }] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(soft, hard);
    let SadEvent::FirstInbound { inbound } = events(&mut pair.right)[0] else { panic!("the first packet is told") };
    assert_eq!(inbound.get() - RIGHT, soft.get() - LEFT, "two names of one child SA");
    // An idle SA runs out by time alone.
    let lifetime = Lifetime { soft_time: 10 * SECOND, hard_time: 20 * SECOND, ..ENDLESS };
    let mut pair = Pair::new(Options { lifetime, ..Options::default() });
    pair.left.tick(NOW + 9 * SECOND);
    assert_eq!(events(&mut pair.left), []);
    pair.left.tick(NOW + 10 * SECOND);
    assert!(events(&mut pair.left).iter().all(|event| matches!(event, SadEvent::SoftLimit { .. })));
    pair.left.tick(NOW + 20 * SECOND);
    let told = events(&mut pair.left);
    assert!(!told.is_empty() && told.iter().all(|event| matches!(event, SadEvent::HardLimit { .. })));
}

#[test]
fn a_newer_sa_takes_over_the_older_inbound_one_stays_and_no_counter_falls() {
    let mut pair = Pair::new(Options::default());
    let (late, path) = sealed(&mut pair, &allowed(7));
    pair.rightwards(&allowed(1)).unwrap();
    let options = pair.options;
    for command in install(&pair.policies[1], &options, false, 100) {
        pair.right.apply(NOW, command);
    }
    for command in install(&pair.policies[0], &options, true, 100) {
        pair.left.apply(NOW, command);
    }
    let (newer, _) = sealed(&mut pair, &allowed(2));
    assert_ne!(newer[..4], late[..4], "the newest outbound SA sends");
    open_one(&mut pair.right, NOW, &newer, path).unwrap();
    open_one(&mut pair.right, NOW, &late, path).unwrap();
    for index in 0..8 {
        pair.right.apply(NOW, SadCommand::RemoveInbound(spi(RIGHT + index)));
        pair.left.apply(NOW, SadCommand::RemoveOutbound { inbound: spi(LEFT + index) });
    }
    assert_eq!(open_one(&mut pair.right, NOW, &late, path), Err(DropReason::UnknownSpi));
    assert!(pair.rightwards(&allowed(3)).is_ok(), "the flow survives its SA");
    let counters = pair.right.counters().rule(RuleId(1)).unwrap();
    assert_eq!((counters.packets_in.get(), counters.flows.get()), (4, 1));
}

/// The peer answers our CREATE_CHILD_SA and sends at once, and the IKE message takes longer.
#[test]
fn esp_that_overtakes_the_answer_is_held_and_judged_once_its_sa_is_there() {
    let mut pair = Pair::new(Options::default());
    let options = pair.options;
    for command in install(&pair.policies[0], &options, true, 100) {
        pair.left.apply(NOW, command);
    }
    for index in 0..8 {
        pair.right.apply(NOW, SadCommand::ExpectInbound(spi(RIGHT + 100 + index)));
    }
    let (first, path) = sealed(&mut pair, &allowed(2));
    let (second, _) = sealed(&mut pair, &allowed(3));
    let mut forged = second.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new(8, 2048);
    for datagram in [&first, &forged, &second, &second] {
        batch.vacant().unwrap()[..datagram.len()].copy_from_slice(datagram);
        batch.push(datagram.len(), 0, Some(path));
    }
    pair.right.inbound(NOW, &mut batch);
    assert!(batch.packets().iter().all(|packet| packet.done));
    assert_eq!(drops(&pair.right), BTreeMap::new(), "nothing is lost yet");
    assert!(!pair.right.release_held(&mut batch));
    for command in install(&pair.policies[1], &options, false, 100) {
        pair.right.apply(NOW, command);
    }
    assert!(pair.right.release_held(&mut batch));
    pair.right.inbound(NOW, &mut batch);
    let left: Vec<_> =
        (0..batch.len()).filter(|at| !batch.packets()[*at].done).map(|at| batch.bytes(at).len()).collect();
    assert_eq!(left, [allowed(2).len(), allowed(3).len()], "each once, in order, the forged one not at all");
    assert_eq!(drops(&pair.right), BTreeMap::from([(DropReason::Forged, 1), (DropReason::Replayed, 1)]));
    assert!(!pair.right.release_held(&mut batch));
    assert!(matches!(events(&mut pair.right)[..], [SadEvent::FirstInbound { .. }]));
}

#[test]
fn opened_and_refused_flows_are_recorded_once() {
    let mut pair = Pair::new(Options::default());
    for _ in 0..5 {
        pair.rightwards(&allowed(1)).unwrap();
        let telnet = Tcp {
            source: ("192.0.2.10", 5000),
            destination: ("203.0.113.20", 23),
            flags: 2,
            sequence: 1,
            acknowledgement: 0,
            options: &[],
            payload: &[],
        };
        assert_eq!(pair.rightwards(&telnet.build(0)), Err(DropReason::NoRule));
    }
    let records: Vec<_> = std::iter::from_fn(|| pair.left.poll_record()).collect();
    let [Record::FlowOpened { rule, .. }, Record::Refused(refused)] = records[..] else { panic!("{records:?}") };
    assert_eq!(rule, RuleId(1));
    assert_eq!(
        (refused.reason, refused.outbound, refused.count, refused.flow.destination_port),
        (DropReason::NoRule, true, 1, 23)
    );
    pair.left.tick(NOW + 10 * SECOND);
    let Some(Record::Refused(repeats)) = pair.left.poll_record() else { panic!("repeats are told later") };
    assert_eq!(repeats.count, 4);
}

/// One packet of a hostile peer, made of parts that are often right.
#[derive(Clone, Debug)]
struct Hostile {
    source: String,
    destination: String,
    protocol: u8,
    ports: (u16, u16),
    flags: u8,
    flips: Vec<(usize, u8)>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let address = |right: &'static str, near: &'static str, other: &'static str| prop_oneof![8 => Just(right.to_owned()), 1 => Just(near.to_owned()), 1 => Just(other.to_owned())];
    let port = || prop_oneof![Just(1414u16), Just(2000), Just(3000), Just(9), any::<u16>()];
    let flip = (0usize..60, any::<u8>());
    (
        address("203.0.113.20", "203.0.113.21", "192.0.2.10"),
        address("192.0.2.10", "192.0.2.11", "203.0.113.20"),
        prop_oneof![4 => Just(17u8), 3 => Just(6), 2 => Just(1), 1 => any::<u8>()],
        (port(), port()),
        prop_oneof![Just(0x02u8), Just(0x12), Just(0x10), any::<u8>()],
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(flip, 1..4)],
    )
        .prop_map(|(source, destination, protocol, ports, flags, flips)| Hostile {
            source,
            destination,
            protocol,
            ports,
            flags,
            flips,
        })
}

impl Hostile {
    fn build(&self) -> Vec<u8> {
        let (source, destination) = ((&*self.source, self.ports.0), (&*self.destination, self.ports.1));
        let mut bytes = match self.protocol {
            6 => Tcp {
                source,
                destination,
                flags: self.flags,
                sequence: 7,
                acknowledgement: 9,
                options: &[],
                payload: b"x",
            }
            .build(0),
            17 => udp(source, destination, 0, b"payload"),
            other => packet(source.0, destination.0, other, 0, &[self.flags, self.ports.0 as u8, 0, 0, 0, 0, 0, 0]),
        };
        for &(at, value) in &self.flips {
            let at = at % bytes.len();
            bytes[at] ^= value;
        }
        // The header's checksum is made right again, so that the changes get past it.
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// What the right host may send to a left side that has opened nothing, said as plainly as possible: UDP to port 3000.
fn naively_allowed(bytes: &[u8]) -> bool {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[0] == 0x45
        && usize::from(word(2)) == bytes.len()
        && bytes[9] == 17
        && bytes[12..16] == [203, 0, 113, 20]
        && bytes[16..20] == [192, 0, 2, 10]
        && word(22) == 3000
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An authenticated peer gets nothing through but what the table says in plain words.
    #[test]
    fn no_inner_packet_escapes_the_selectors_and_the_table(
        packets in prop::collection::vec(hostile(), 1..60),
        service in any::<bool>(),
    ) {
        let selectors = if service { SelectorMode::Service } else { SelectorMode::Host };
        let mut pair = Pair::new(Options { selectors, ..Options::default() });
        let mut peer = Peer::new(&pair);
        for hostile in packets {
            let inner = hostile.build();
            let outcome = peer.send(&mut pair.left, &inner);
            if let Ok(passed) = &outcome {
                prop_assert!(naively_allowed(&inner), "escaped: {hostile:?}");
                prop_assert_eq!(passed, &inner);
            } else if hostile.flips.is_empty() && !service {
                prop_assert!(!naively_allowed(&inner), "refused: {hostile:?} {outcome:?}");
            }
        }
        prop_assert_eq!(replies(&mut pair.left).len(), 0);
    }

    /// Arbitrary datagrams from the underlay are named, one reason each, and leave the tunnel as it was.
    #[test]
    fn arbitrary_datagrams_have_one_reason_each_and_change_nothing(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..40),
        into_sa in any::<bool>(),
    ) {
        let mut pair = Pair::new(Options::default());
        let (good, path) = sealed(&mut pair, &allowed(20));
        for mut datagram in datagrams {
            if into_sa && datagram.len() >= 4 {
                datagram[..4].copy_from_slice(&good[..4]);
            }
            if !datagram.starts_with(&[0; 4]) && datagram != [0xFF] {
                prop_assert!(open_one(&mut pair.right, NOW, &datagram, path).is_err());
            }
        }
        prop_assert_eq!(events(&mut pair.right), []);
        prop_assert_eq!(open_one(&mut pair.right, NOW, &good, path), Ok(allowed(20)));
    }
}

/// A selector over a few neighbouring addresses and ports, so that edges are met.
fn selector() -> impl Strategy<Value = TrafficSelector> {
    let protocol = prop_oneof![Just(0u8), Just(6), Just(17)];
    (protocol, 0u16..8, 0u16..8, 0u8..8, 0u8..8).prop_map(|(protocol, port, ports, start, more)| TrafficSelector {
        protocol,
        first_port: port,
        last_port: port + ports,
        start: [192, 0, 2, 100 + start].into(),
        end: [192, 0, 2, 100 + start + more].into(),
    })
}

/// Whether one end of a packet lies in one of the selectors of a side, from the bytes alone.
fn naively_in(side: &[TrafficSelector], protocol: u8, address: &[u8], port: u16) -> bool {
    let octets = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => u32::from(address),
        std::net::IpAddr::V6(_) => panic!("all selectors here are IPv4"),
    };
    let address = u32::from_be_bytes(address.try_into().unwrap());
    side.iter().any(|selector| {
        (octets(selector.start)..=octets(selector.end)).contains(&address)
            && (selector.first_port..=selector.last_port).contains(&port)
            && (selector.protocol == 0 || selector.protocol == protocol)
    })
}

proptest! {
    /// RFC 4301 §5.2, step 4: both addresses, the protocol and both ports, in either direction.
    #[test]
    fn an_sa_carries_exactly_what_its_selectors_hold(
        local in prop::collection::vec(selector(), 1..3),
        remote in prop::collection::vec(selector(), 1..3),
        ends in (0u8..16, 0u8..16, 1u16..16, 1u16..16),
        tcp in any::<bool>(),
        outbound in any::<bool>(),
    ) {
        let (source, destination) = (format!("192.0.2.{}", 100 + ends.0), format!("192.0.2.{}", 100 + ends.1));
        prop_assume!(source != destination);
        let (source, destination) = ((&*source, ends.2), (&*destination, ends.3));
        let bytes = if tcp {
            Tcp { source, destination, flags: 2, sequence: 1, acknowledgement: 0, options: &[], payload: &[] }.build(0)
        } else {
            udp(source, destination, 0, b"x")
        };
        let child = ChildSpec { local, remote, ..child(Suite::GCM) };
        let (from, to) = if outbound { (&child.local, &child.remote) } else { (&child.remote, &child.local) };
        let expected = naively_in(from, bytes[9], &bytes[12..16], ends.2) && naively_in(to, bytes[9], &bytes[16..20], ends.3);
        let inner = Inner::parse(&bytes).unwrap();
        prop_assert_eq!(carries(&child, outbound, &inner), expected);
    }
}
