//! Child SAs beyond the first, and those that fail.

use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{EspSuite, Group};
use crate::event::{Event, IkeReason};
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::config::ChildConfig;
use crate::sa::event::SadEvent;
use crate::wire::ike::numbers::ExchangeType;

fn three(side: usize) -> Vec<ChildConfig> {
    (0..3).map(|number| child(side, number)).collect()
}

/// ```text
/// A                                  B
/// HDR, SK {SA, Ni, KEi, TSi, TSr} -->
///                                <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// ```
#[test]
fn each_shape_gets_a_child_sa_one_after_the_other() {
    for group in [Some(Group::Curve25519), None] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.children, b.children) = (three(A), three(B));
        let esp = EspSuite { group, ..ESP };
        (a.esp, b.esp) = (vec![esp], vec![esp]);
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(3);
        assert_eq!(pair.trace.len(), 8);
        assert_eq!(pair.sides[B].ways.len(), 3);
    }
}

/// ```text
/// A                                  B
/// HDR, SK {SA, Ni, KEi(20), ..}  -->
///                                <-- HDR, SK {N(INVALID_KE_PAYLOAD, 31)}
/// HDR, SK {SA, Ni, KEi(31), ..}  -->
///                                <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// ```
#[test]
fn a_child_sa_is_asked_for_again_with_the_wanted_group() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    (a.children, b.children) = (three(A), three(B));
    let p384 = EspSuite { group: Some(Group::Ecp384), ..ESP };
    a.esp = vec![p384, ESP];
    b.esp = vec![ESP];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    pair.assert_up(3);
    assert_eq!(pair.trace.len(), 4 + 2 * 4);
}

#[test]
fn a_pfs_mismatch_is_named_and_the_first_child_lives_on() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    (a.children, b.children) = (three(A), three(B));
    a.esp = vec![EspSuite { group: None, ..ESP }];
    let mut pair = Pair::new(a, b);
    pair.run_secs(20);
    pair.assert_up(1);
    let (exchange, reason, detail) = pair.failed(A).remove(0);
    assert_eq!((exchange.as_str(), reason), ("CREATE_CHILD_SA", IkeReason::NoProposalChosen));
    assert!(detail.contains("NO_PROPOSAL_CHOSEN"), "{detail}");
    let (_, _, theirs) = pair.failed(B).remove(0);
    assert!(theirs.contains("CURVE25519"), "{theirs}");
    assert_eq!(pair.status(A).missing.len(), 2);
}

/// ```text
/// A                                  B
/// HDR, SK {IDi, .., TSi, TSr}    -->
///                                <-- HDR, SK {IDr, AUTH, N(TS_UNACCEPTABLE)}
/// HDR, SK {SA, Ni, KEi, ..}      -->                                          later
/// ```
#[test]
fn the_ike_sa_stays_when_only_the_first_child_is_refused_and_the_child_comes_later() {
    for wrong in ["ts", "proposal"] {
        let wrong_b = || {
            let mut b = tunnel(B);
            match wrong {
                "ts" => b.children = vec![child(B, 7)],
                _ => b.esp = vec![ESP_CBC],
            }
            b
        };
        let mut pair = Pair::new(tunnel(A), wrong_b());
        pair.run_secs(1);
        for side in [A, B] {
            assert_eq!(pair.sides[side].ups(), 1);
            assert!(pair.sides[side].inbound.is_empty());
        }
        let status = pair.status(A);
        assert_eq!(status.state, "connecting");
        assert!(status.ike.is_some() && status.why.is_some());
        let expected = if wrong == "ts" { IkeReason::TsUnacceptable } else { IkeReason::NoProposalChosen };
        assert_eq!(pair.failed(A)[0].1, expected);
        assert_eq!(pair.failed(B)[0].1, expected);
        if wrong == "ts" {
            // B learns of the rule; the next attempt of A finds it.
            pair.reload(B, tunnel(B));
            pair.run_secs(10);
            pair.assert_up(1);
            assert_eq!(pair.sides[A].ups(), 1, "still the same IKE SA");
            assert_eq!(pair.trace.iter().filter(|d| d.header().exchange == ExchangeType::IKE_AUTH).count(), 2);
        }
    }
}

#[test]
fn selectors_are_narrowed_by_the_responder_and_accepted_by_the_initiator() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    a.children[0].local = selector("10.0.0.0/16");
    a.children[0].remote = selector("10.1.0.0/16");
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    pair.assert_up(1);
    let spec = pair.sides[A].inbound.values().next().unwrap();
    assert_eq!(spec.child.local, [selector("10.0.0.1/32")]);
    assert_eq!(spec.child.remote, [selector("10.1.0.1/32")]);
}

#[test]
fn a_child_sa_at_its_limit_gets_a_successor_and_then_goes() {
    for event in [|inbound| SadEvent::HardLimit { inbound }, |inbound| SadEvent::SoftLimit { inbound }] {
        let mut pair = Pair::new(tunnel(A), tunnel(B));
        pair.run_secs(1);
        let old = *pair.sides[A].inbound.keys().next().unwrap();
        pair.input(A, Input::Sad(event(old)));
        pair.input(A, Input::Sad(event(old)));
        pair.run_secs(6);
        pair.assert_up(1);
        assert!(!pair.sides[A].inbound.contains_key(&old));
        assert_eq!(pair.trace.len(), 8, "one CREATE_CHILD_SA, one delete");
        assert_eq!(pair.sides[A].ups(), 1);
    }
}

#[test]
fn a_child_sa_that_the_peer_deletes_is_made_again() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let old = *pair.sides[A].inbound.keys().next().unwrap();
    let mut b = tunnel(B);
    b.children = vec![child(B, 5)];
    pair.reload(B, b);
    pair.run(Duration::from_millis(200));
    assert!(pair.sides[A].inbound.is_empty() && pair.sides[B].inbound.is_empty());
    pair.reload(B, tunnel(B));
    pair.run_secs(5);
    pair.assert_up(1);
    assert!(!pair.sides[A].inbound.contains_key(&old));
}

#[test]
fn a_peer_cannot_fill_the_table_with_child_sas() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    // A believes in many shapes, all of which B narrows to its one.
    a.children = (0..40)
        .map(|number| ChildConfig::new(ShapeId(number), selector("10.0.0.0/16"), selector("10.1.0.0/16")))
        .collect();
    let mut pair = Pair::new(a, b);
    pair.run_secs(10);
    let most = 2 + crate::ike::limits::SPARE_CHILDREN;
    assert_eq!(pair.sides[B].inbound.len(), most);
    assert!(pair.sides[A].events.iter().filter(|event| matches!(event, Event::ChildUp { .. })).count() >= most);
}

/// ```text
/// A                                  B
/// HDR, SK {IDi, .., TSi, TSr}    -->
///                                <-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}    wider than A's rules allow by now
/// HDR, SK {D(ESP)}               -->
/// ```
#[test]
fn an_answer_wider_than_the_rules_is_not_installed_and_deleted_at_the_peer() {
    let wide = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.children[0].local = selector(&format!("10.{side}.0.0/16"));
        tunnel.children[0].remote = selector(&format!("10.{}.0.0/16", 1 - side));
        tunnel
    };
    let mut pair = Pair::new(wide(A), wide(B));
    while pair.trace.len() < 3 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    pair.reload(A, tunnel(A));
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.failed(A)[0].1, IkeReason::TsUnacceptable);
    assert!(pair.sides[A].inbound.is_empty(), "not even for a moment");
    assert!(!pair.sides[A].events.iter().any(|event| matches!(event, Event::ChildUp { .. })));
    assert!(pair.sides[B].inbound.is_empty(), "the peer has heard");
    pair.run_secs(5);
    pair.assert_up(1);
    let spec = pair.sides[B].inbound.values().next().unwrap();
    assert_eq!(spec.child.remote, [selector("10.0.0.1/32")]);
}
