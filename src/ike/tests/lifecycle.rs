//! From start to end: start modes, operator, liveness, restart, reload.

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::entropy::SeededEntropy;
use crate::event::{DropReason, IkeReason};
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::config::{Config, Start};
use crate::ike::endpoint::Endpoint;
use crate::sa::event::SadEvent;

fn lose_everything(pair: &mut Pair) {
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.line.clear();
}

#[test]
fn an_idle_peer_is_probed_and_a_talking_one_is_not() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.run_secs(60);
    pair.assert_up(1);
    let probes = pair.trace.len() - 4;
    assert!((8..=14).contains(&probes), "a question and an answer every ten seconds: {probes}");
    for _ in 0..60 {
        pair.input(A, Input::InboundSeen(TUNNEL));
        pair.input(B, Input::InboundSeen(TUNNEL));
        pair.run_secs(1);
    }
    assert_eq!(pair.trace.len() - 4, probes);
}

#[test]
fn a_vanished_peer_is_noticed_within_70_seconds_and_tried_for_ever() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    lose_everything(&mut pair);
    pair.run_secs(70);
    assert!(pair.sides[A].inbound.is_empty() && pair.sides[A].outbound.is_empty());
    assert!(pair.sides[B].inbound.is_empty() && pair.sides[B].outbound.is_empty());
    assert!(pair.status(A).why.is_some());
    pair.run_secs(3600);
    assert!(pair.status(A).failures > 20);
    pair.meddle = None;
    // At most one pause of 60 s and one lost attempt.
    pair.run_secs(125);
    pair.assert_up(1);
}

/// A loses its memory and comes back: INITIAL_CONTACT lets B forget the old IKE SA once A has authenticated.
#[test]
fn a_restarted_peer_has_one_ike_sa_at_once() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(5);
    let old = pair.status(B).ike.unwrap().spis;
    pair.line.clear();
    let side = &mut pair.sides[A];
    side.endpoint = Endpoint::new(config(tunnel(A)), Box::new(SeededEntropy::new(999)), false);
    side.inbound.clear();
    side.outbound.clear();
    side.ways.clear();
    pair.input(A, Input::Timeout);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_ne!(pair.status(B).ike.unwrap().spis, old);
}

/// B loses its memory: nothing it says unauthenticated ends A's IKE SA, but A notices by itself and comes back.
#[test]
fn a_restarted_responder_is_found_again() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(5);
    let side = &mut pair.sides[B];
    side.endpoint = Endpoint::new(config(tunnel(B)), Box::new(SeededEntropy::new(998)), false);
    side.inbound.clear();
    side.outbound.clear();
    side.ways.clear();
    pair.input(B, Input::Timeout);
    pair.run_secs(75);
    pair.assert_up(1);
    assert!(pair.refused(B, IkeReason::UnknownIkeSpi) > 0);
}

#[test]
fn down_deletes_and_holds_until_up() {
    let mut both_start = tunnel(B);
    both_start.start = Start::Always;
    let mut pair = Pair::new(tunnel(A), both_start);
    pair.run_secs(10);
    pair.assert_up(1);
    pair.input(A, Input::Down(TUNNEL));
    assert!(pair.sides[A].inbound.is_empty(), "at once");
    pair.run_secs(100);
    for side in [A, B] {
        assert!(pair.sides[side].inbound.is_empty() && pair.sides[side].outbound.is_empty());
    }
    assert_eq!(pair.status(A).state, "down");
    assert!(pair.refused(A, IkeReason::HeldDown) > 0, "B tries, and is refused");
    pair.input(A, Input::Up(TUNNEL));
    pair.run_secs(10);
    pair.assert_up(1);
}

#[test]
fn a_closed_agreement_deletes_refuses_both_roles_and_lets_the_tunnel_up_again() {
    let mut both_start = tunnel(B);
    both_start.start = Start::Always;
    let mut pair = Pair::new(tunnel(A), both_start);
    pair.run_secs(10);
    pair.assert_up(1);
    pair.gate(A, Some(DropReason::AgreementSuspended));
    assert!(pair.sides[A].inbound.is_empty() && pair.sides[A].outbound.is_empty(), "at once");
    // Whatever is wanted: by a packet, by the operator, by the peer, by a changed file.
    let handshakes = pair.status(A).handshakes;
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.input(A, Input::Up(TUNNEL));
    pair.run_secs(100);
    let mut changed = tunnel(A);
    changed.liveness = Duration::from_secs(20);
    pair.reload(A, changed);
    pair.run_secs(100);
    for side in [A, B] {
        assert!(pair.sides[side].inbound.is_empty() && pair.sides[side].outbound.is_empty());
    }
    let status = pair.status(A);
    assert_eq!((status.state, status.handshakes), ("closed", handshakes));
    assert_eq!(status.why.as_deref(), Some(DropReason::AgreementSuspended.sentence()));
    assert!(pair.refused(A, IkeReason::AgreementClosed) > 0, "B tries, and is refused");
    // The reason may change, and nothing is opened by that.
    pair.gate(A, Some(DropReason::AgreementRemediation));
    pair.run_secs(70);
    assert_eq!(pair.status(A).why.as_deref(), Some(DropReason::AgreementRemediation.sentence()));
    assert!(pair.sides[A].inbound.is_empty());
    pair.gate(A, None);
    pair.run_secs(10);
    pair.assert_up(1);
}

#[test]
fn an_agreement_that_is_closed_in_the_midst_of_a_handshake_lets_none_come_to_an_end() {
    // A message takes ten milliseconds.
    for begun in 0..10 {
        let mut pair = Pair::new(tunnel(A), tunnel(B));
        pair.run(Duration::from_millis(begun * 5));
        for side in [A, B] {
            pair.gate(side, Some(DropReason::AgreementExpired));
        }
        pair.run_secs(300);
        for side in [A, B] {
            assert!(pair.sides[side].inbound.is_empty() && pair.sides[side].outbound.is_empty(), "{begun}");
            assert_eq!(pair.status(side).state, "closed");
        }
    }
}

#[test]
fn what_the_operator_took_down_stays_down_when_its_agreement_holds_again() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(10);
    pair.input(A, Input::Down(TUNNEL));
    pair.gate(A, Some(DropReason::AgreementSuspended));
    pair.run_secs(70);
    pair.gate(A, None);
    pair.run_secs(70);
    assert_eq!(pair.status(A).state, "down");
    assert!(pair.sides[A].inbound.is_empty());
}

#[test]
fn a_tunnel_that_is_disabled_by_reload_closes_and_stays_closed_until_the_next_one() {
    let mut both_start = tunnel(B);
    both_start.start = Start::Always;
    let mut pair = Pair::new(tunnel(A), both_start);
    pair.run_secs(10);
    pair.assert_up(1);
    let mut disabled = tunnel(A);
    disabled.start = Start::Disabled;
    pair.reload(A, disabled);
    assert!(pair.sides[A].inbound.is_empty(), "at once");
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.run_secs(100);
    assert_eq!(pair.status(A).state, "disabled");
    assert!(pair.sides.iter().all(|side| side.inbound.is_empty() && side.outbound.is_empty()));
    assert!(pair.refused(A, IkeReason::HeldDown) > 0, "B tries, and is refused");
    // What the operator took down is another matter: that stays.
    pair.reload(A, tunnel(A));
    pair.run_secs(70);
    pair.assert_up(1);
    pair.input(A, Input::Down(TUNNEL));
    let mut manual = tunnel(A);
    manual.start = Start::Manual;
    pair.reload(A, manual);
    pair.reload(A, tunnel(A));
    pair.run_secs(70);
    assert_eq!(pair.status(A).state, "down");
}

#[test]
fn shutdown_deletes_everything_within_five_seconds_even_if_nobody_answers() {
    for silent in [false, true] {
        let mut pair = Pair::new(tunnel(A), tunnel(B));
        pair.run_secs(1);
        if silent {
            lose_everything(&mut pair);
        }
        pair.input(A, Input::Shutdown);
        assert!(pair.sides[A].inbound.is_empty());
        pair.run_secs(5);
        pair.assert_empty(A);
        if !silent {
            pair.assert_empty(B);
        }
        let sent = pair.sides[A].sent;
        pair.run_secs(300);
        assert_eq!(pair.sides[A].sent, sent, "nothing is started again");
    }
}

#[test]
fn on_demand_waits_for_a_packet_and_makes_what_it_needs() {
    let mut a = tunnel(A);
    a.start = Start::OnDemand;
    a.children = vec![child(A, 0), child(A, 1)];
    let mut b = tunnel(B);
    b.children = vec![child(B, 0), child(B, 1)];
    let mut pair = Pair::new(a, b);
    pair.run_secs(100);
    assert_eq!((pair.trace.len(), pair.status(A).state), (0, "on-demand"));
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(1) }));
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.sides[A].ways.keys().collect::<Vec<_>>(), [&ShapeId(1)]);
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(77) }));
    pair.run_secs(1);
    pair.assert_up(2);
}

#[test]
fn manual_is_not_moved_by_packets() {
    let mut a = tunnel(A);
    a.start = Start::Manual;
    let mut pair = Pair::new(a, tunnel(B));
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.run_secs(100);
    assert_eq!((pair.trace.len(), pair.status(A).state), (0, "down"));
    pair.input(A, Input::Up(TUNNEL));
    pair.run_secs(1);
    pair.assert_up(1);
}

#[test]
fn a_reload_touches_only_what_has_changed() {
    let two = |side| {
        let mut tunnel = tunnel(side);
        tunnel.children = vec![child(side, 0), child(side, 1)];
        tunnel
    };
    let mut pair = Pair::new(two(A), two(B));
    pair.run_secs(1);
    pair.assert_up(2);
    let (spis, sent) = (pair.status(A).ike.unwrap().spis, pair.sides[A].sent);
    // Nothing changed.
    pair.reload(A, two(A));
    pair.run_secs(1);
    assert_eq!(pair.sides[A].sent, sent);
    // A rule less.
    pair.reload(A, tunnel(A));
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.sides[A].sent, sent + 1, "one delete");
    // A rule more.
    pair.reload(A, two(A));
    pair.run_secs(1);
    pair.assert_up(2);
    assert_eq!(pair.status(A).ike.unwrap().spis, spis, "still the same IKE SA");
    // Another key, on both sides.
    let other = |side| {
        let mut tunnel = two(side);
        set_psk(&mut tunnel, &[b"a new key of the two of them"]);
        tunnel
    };
    pair.reload(B, other(B));
    pair.reload(A, other(A));
    pair.run_secs(40);
    pair.assert_up(2);
    assert_ne!(pair.status(A).ike.unwrap().spis, spis);
    // The tunnel is gone.
    let now = pair.now;
    pair.sides[A].endpoint.reload(now, Arc::new(Config::default()));
    pair.drain(A);
    pair.run_secs(10);
    pair.assert_empty(A);
    pair.assert_empty(B);
}

#[test]
fn counters_never_fall_when_keys_change() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut last = (0, 0);
    for round in 0..5 {
        pair.run_secs(5);
        let status = pair.status(A);
        assert!(status.handshakes >= last.0 && status.failures >= last.1);
        assert_eq!(status.handshakes, round + 1);
        last = (status.handshakes, status.failures);
        pair.input(A, Input::Down(TUNNEL));
        pair.run(Duration::from_millis(100));
        pair.input(A, Input::Up(TUNNEL));
    }
}

/// One gateway, two peers, one of which does not exist: the other tunnel does not notice.
#[test]
fn tunnels_do_not_disturb_each_other() {
    let mut other = tunnel(A);
    other.id = crate::ids::TunnelId(2);
    other.name = "nowhere".to_owned();
    other.peer = "198.18.0.9".parse().unwrap();
    let both =
        Arc::new(Config { tunnels: vec![Arc::new(other), Arc::new(tunnel(A))], cookie_threshold: None, puzzles: None });
    let mut pair = Pair::seeded(1, both, config(tunnel(B)));
    // What goes to the peer that does not exist is lost.
    pair.line.retain(|datagram| datagram.destination.ip() == address(B));
    pair.meddle = Some(Box::new(|datagram, _| {
        let lost = datagram.to == B && datagram.destination.ip() != address(B);
        if lost { vec![] } else { vec![(Duration::ZERO, datagram)] }
    }));
    pair.run_secs(300);
    let status = pair.sides[A].endpoint.status();
    assert_eq!((status[0].name.as_str(), status[1].name.as_str()), ("nowhere", "test"), "in the order of the file");
    assert_eq!(status[1].state, "up");
    assert_eq!((status[1].handshakes, status[1].failures), (1, 0));
    assert!(status[0].ike.is_none() && status[0].failures >= 3);
    assert!(status[0].why.as_ref().unwrap().contains("198.18.0.9"));
    assert_eq!(pair.sides[B].ups(), 1);
}
