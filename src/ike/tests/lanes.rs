//! Several child SAs with the same selectors (RFC 9611): both roles, unequal numbers, peers that know nothing of it.

use super::pair::*;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::config::{ChildConfig, Childless, Start, TunnelConfig};
use crate::sa::event::SadEvent;
use crate::sa::spi::SpiClass;
use crate::wire::ike::numbers::ExchangeType;

/// How many workers there are: enough.
const WORKERS: u16 = 4;

/// A tunnel with `lanes` lanes of its one pair of hosts.
fn with(side: usize, lanes: u8) -> TunnelConfig {
    let mut tunnel = tunnel(side);
    let lane = |lane: u8| ChildConfig {
        shape: ShapeId(u16::from(lane) * 10),
        lane,
        spis: SpiClass::of_worker(lane.into(), WORKERS),
        ..child(side, 0)
    };
    tunnel.children = (0..lanes).map(lane).collect();
    tunnel
}

/// The lanes that have a child SA, each with the inbound and outbound SPI.
fn lanes(pair: &Pair, side: usize) -> Vec<(u8, [String; 2])> {
    let mut lanes: Vec<_> =
        pair.status(side).children.into_iter().filter(|of| !of.replaced).map(|of| (of.lane, of.spis)).collect();
    lanes.sort();
    lanes
}

/// Equal lanes meet at both ends, and each SPI is of its lane's class.
fn assert_equal_lanes(pair: &Pair, count: u8) {
    pair.assert_up(count.into());
    let [a, b] = [A, B].map(|side| lanes(pair, side));
    let mirrored: Vec<_> = b.into_iter().map(|(lane, [inbound, outbound])| (lane, [outbound, inbound])).collect();
    assert_eq!(a, mirrored);
    for side in &pair.sides {
        for spec in side.inbound.values() {
            assert_eq!(spec.spi.get() % u32::from(WORKERS), u32::from(spec.child.shape.0 / 10));
        }
    }
}

fn no_lane(pair: &Pair, side: usize) -> Vec<String> {
    let failed = pair.failed(side).into_iter();
    failed.filter(|(_, reason, _)| *reason == IkeReason::NoLane).map(|(_, _, detail)| detail).collect()
}

/// ```text
/// A                                                          B
/// HDR, SK {IDi, .., SA, TSi, TSr, N(SA_RESOURCE_INFO)}   -->
///                            <-- HDR, SK {IDr, .., SA, TSi, TSr, N(SA_RESOURCE_INFO)}
/// HDR, SK {SA, Ni, KEi, TSi, TSr, N(SA_RESOURCE_INFO)}   -->        once for each further lane
///                            <-- HDR, SK {SA, Nr, KEr, TSi, TSr, N(SA_RESOURCE_INFO)}
/// ```
#[test]
fn each_lane_gets_a_child_sa_and_equal_lanes_meet() {
    for count in [1, 2, 4] {
        let mut pair = Pair::new(with(A, count), with(B, count));
        pair.run_secs(3);
        assert_equal_lanes(&pair, count);
        assert_eq!(pair.trace.len(), 2 + 2 * usize::from(count));
        assert_eq!((no_lane(&pair, A), no_lane(&pair, B)), (vec![], vec![]));
        assert_eq!(pair.status(A).missing.len(), 0);
    }
}

#[test]
fn without_a_first_child_in_ike_auth_it_is_the_same() {
    let prefer = |side| {
        let mut tunnel = with(side, 3);
        tunnel.peering.childless = Childless::Prefer;
        tunnel
    };
    let mut pair = Pair::new(prefer(A), prefer(B));
    pair.run_secs(3);
    assert_equal_lanes(&pair, 3);
}

#[test]
fn both_sides_that_want_them_do_not_make_one_too_many() {
    for seed in 1..20 {
        let always = |side| config(TunnelConfig { start: Start::Always, ..with(side, 3) });
        let mut pair = Pair::seeded(seed, always(A), always(B));
        pair.run_secs(120);
        for side in [A, B] {
            assert_eq!(lanes(&pair, side).iter().map(|(lane, _)| *lane).collect::<Vec<_>>(), [0, 1, 2], "{seed}");
        }
    }
}

/// ```text
/// A                                                      B     has two lanes
/// HDR, SK {SA, Ni, KEi, TSi, TSr, N(SA_RESOURCE_INFO)}   -->
///                            <-- HDR, SK {N(TS_MAX_QUEUE)}
/// ```
#[test]
fn a_responder_without_a_free_lane_says_so_and_is_not_asked_again() {
    let mut pair = Pair::new(with(A, 4), with(B, 2));
    pair.run_secs(3);
    for side in [A, B] {
        assert_eq!(lanes(&pair, side).iter().map(|(lane, _)| *lane).collect::<Vec<_>>(), [0, 1]);
    }
    let refusals = no_lane(&pair, A);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals.iter().all(|detail| detail.contains("TS_MAX_QUEUE")), "{refusals:?}");
    assert_eq!(pair.refused(A, IkeReason::NoLane), 2);
    assert_eq!(pair.refused(B, IkeReason::NoLane), 2);
    let status = pair.status(A);
    assert_eq!((status.state, status.why, status.failures), ("up", None, 0));
    // No storm: not a message more for as long as the IKE SA lasts but what keeps it alive.
    let exchanges =
        |pair: &Pair| pair.trace.iter().filter(|of| of.header().exchange == ExchangeType::CREATE_CHILD_SA).count();
    let before = exchanges(&pair);
    pair.run_secs(600);
    assert_eq!(exchanges(&pair), before);
    // A packet that asks changes nothing about it.
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(20) }));
    pair.run_secs(10);
    assert_eq!(exchanges(&pair), before);
    // Another IKE SA: the peer may have more by now, and is asked once more.
    pair.input(A, Input::Rekey { tunnel: TUNNEL, children: false, ike: true });
    pair.run_secs(10);
    assert_eq!(no_lane(&pair, A).len(), 4);
    assert_eq!(lanes(&pair, A).len(), 2);
}

/// A peer with one lane is one that knows nothing of it: it passes over a notification that it does not know.
#[test]
fn a_peer_that_says_nothing_of_resources_is_not_asked_for_more_and_that_is_told_once() {
    for (a, b) in [(3, 1), (1, 3)] {
        let mut pair = Pair::new(with(A, a), with(B, b));
        pair.run_secs(120);
        pair.assert_up(1);
        assert_eq!(pair.trace.iter().filter(|of| of.header().exchange == ExchangeType::CREATE_CHILD_SA).count(), 0);
        let told = [no_lane(&pair, A).len(), no_lane(&pair, B).len()];
        assert_eq!(told, [usize::from(a > 1), usize::from(b > 1)]);
        assert_eq!(pair.status(A).failures + pair.status(B).failures, 0);
    }
}

/// The file of a running gateway is given lanes: the peer has not been asked yet, and makes a duplicate.
#[test]
fn a_peer_that_makes_a_duplicate_works_too_and_is_asked_for_one_alone() {
    // What it makes stands under another number, but it says nothing of resources.
    let mut b = with(B, 1);
    b.children.push(ChildConfig { shape: ShapeId(7), ..child(B, 0) });
    let mut pair = Pair::new(with(A, 1), b);
    pair.run_secs(1);
    pair.reload(A, with(A, 3));
    pair.run_secs(60);
    assert_eq!(lanes(&pair, A).iter().map(|(lane, _)| *lane).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(pair.sides[B].inbound.len(), 2);
    assert_eq!(no_lane(&pair, A).len(), 1);
}

#[test]
fn a_rekeyed_lane_stays_the_lane_it_was() {
    for side in [A, B] {
        let mut pair = Pair::new(with(A, 3), with(B, 3));
        pair.run_secs(3);
        let before = lanes(&pair, A);
        pair.input(side, Input::Rekey { tunnel: TUNNEL, children: true, ike: false });
        // Nothing is sent, so the responder waits until its last answer must have arrived.
        pair.run_secs(9);
        assert_equal_lanes(&pair, 3);
        let after = lanes(&pair, A);
        assert!(before.iter().zip(&after).all(|(old, new)| old.0 == new.0 && old.1 != new.1));
    }
}

#[test]
fn a_lane_that_comes_to_its_hard_end_is_made_anew_where_it_was() {
    for lane in 0..3 {
        let mut pair = Pair::new(with(A, 3), with(B, 3));
        pair.run_secs(3);
        let shape = ShapeId(lane * 10);
        let old = pair.sides[A].inbound.values().find(|spec| spec.child.shape == shape).map(|spec| spec.spi).unwrap();
        pair.input(A, Input::Sad(SadEvent::HardLimit { inbound: old }));
        pair.run_secs(10);
        assert!(!pair.sides[A].inbound.contains_key(&old));
        assert_equal_lanes(&pair, 3);
    }
}

#[test]
fn a_packet_for_a_further_lane_opens_the_first_one_first() {
    let on_demand = TunnelConfig { start: Start::OnDemand, ..with(A, 3) };
    let mut pair = Pair::new(on_demand, with(B, 3));
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(10) }));
    pair.run_secs(3);
    for side in [A, B] {
        let mut made: Vec<_> = pair.sides[side].inbound.values().map(|spec| spec.child.shape.0 / 10).collect();
        made.sort_unstable();
        assert_eq!(made, [0, 1], "its own lane, and the one that carries everything");
    }
}

#[test]
fn a_lane_that_the_peer_gives_up_comes_back_with_the_next_ike_sa() {
    let mut pair = Pair::new(with(A, 2), with(B, 2));
    pair.run_secs(3);
    pair.reload(B, with(B, 1));
    pair.run_secs(10);
    pair.assert_up(1);
    pair.reload(B, with(B, 2));
    pair.run_secs(10);
    pair.assert_up(1);
    pair.input(A, Input::Rekey { tunnel: TUNNEL, children: false, ike: true });
    pair.run_secs(10);
    assert_equal_lanes(&pair, 2);
    assert_eq!(pair.sides[A].ups(), 1);
}
