//! Rekeying of the IKE SA (RFC 7296 §1.3.2, §2.8, §2.18), by one side and by both at once (§2.8.2, §2.25.2).

use std::time::Duration;

use super::choices::Choices;
use super::pair::*;
use crate::crypto::suite::Group;
use crate::event::Event;
use crate::ike::api::Input;
use crate::ike::config::IkeLifetime;
use crate::ike::limits;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::Payload;

fn up(seed: u64) -> Pair {
    let two = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.children = vec![child(side, 0), child(side, 1)];
        config(tunnel)
    };
    let mut pair = Pair::seeded(seed, two(A), two(B));
    pair.run_secs(1);
    pair.assert_up(2);
    pair
}

fn spis(pair: &Pair, side: usize) -> [String; 2] {
    pair.status(side).ike.unwrap().spis
}

fn says(pair: &Pair, datagram: &Datagram, kind: NotifyType) -> bool {
    let inside = pair.sides[datagram.to].endpoint.unseal(&datagram.bytes).unwrap();
    inside.iter().any(|payload| matches!(payload, Payload::Notify(notify) if notify.kind == kind))
}

/// One IKE SA, with the child SAs that were there before, on both sides.
fn settles(pair: &mut Pair, old: &[String; 2]) {
    let children = |pair: &Pair| [A, B].map(|side| pair.sides[side].inbound.keys().copied().collect::<Vec<_>>());
    let before = children(pair);
    pair.talk(Duration::from_secs(8));
    pair.assert_up(2);
    pair.assert_no_loss();
    assert_eq!(children(pair), before, "the same child SAs all the while");
    assert_ne!(spis(pair, A), *old);
    for side in [A, B] {
        assert_eq!(pair.sides[side].ups(), 1, "nobody has authenticated again");
        assert!(!pair.sides[side].events.iter().any(|event| matches!(event, Event::IkeDown { .. })));
        assert_eq!(pair.failed(side), []);
    }
    // The new one works both ways, and its child SAs can be renewed.
    for side in [A, B] {
        pair.rekey(side, true, false);
        pair.talk(Duration::from_secs(7));
        pair.assert_up(2);
    }
    pair.assert_no_loss();
    // The redundant one is gone at once or, if its delete could not be told, after a while.
    pair.run_secs(50);
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}

/// ```text
/// HDR(old), SK {SA(SPIi), Ni, KEi} -->
///                                  <-- HDR(old), SK {SA(SPIr), Nr, KEr}
/// HDR(old), SK {D(IKE)}            -->
///                                  <-- HDR(old), SK {}
/// ```
#[test]
fn an_ike_sa_is_replaced_and_its_child_sas_go_on() {
    for side in [A, B] {
        let mut pair = up(1);
        let old = spis(&pair, A);
        let before = pair.trace.len();
        pair.rekey(side, false, true);
        pair.talk(Duration::from_secs(1));
        assert_eq!(pair.trace.len() - before, 4);
        let ike = pair.status(side).ike.unwrap();
        assert!(ike.initiator, "who rekeys is the original initiator of the new IKE SA");
        assert!(!old.contains(&ike.spis[0]) && !old.contains(&ike.spis[1]), "both SPIs are new");
        // §2.18: the new one counts its messages from zero.
        pair.trace.clear();
        pair.rekey(side, true, false);
        assert_eq!(pair.trace[0].header().message_id, 0);
        assert!(pair.trace[0].header().flags.initiator);
        pair.talk(Duration::from_secs(1));
        pair.rekey(1 - side, true, false);
        let of_other = pair.trace.iter().find(|datagram| datagram.to == side && !datagram.header().flags.response);
        assert_eq!(of_other.unwrap().header().message_id, 0);
        pair.talk(Duration::from_secs(7));
        pair.assert_up(2);
        pair.assert_no_loss();
        for at in [A, B] {
            assert_eq!((pair.status(at).rekeys.ike, pair.status(at).handshakes), (1, 1));
            let ike_lines = pair.sides[at].key_log.iter().filter(|line| !line.starts_with('"')).count();
            assert_eq!(ike_lines, 2, "the key log has both IKE SAs");
        }
        assert_eq!(
            pair.sides[A].key_log.iter().find(|l| l.starts_with(&ike.spis[0])),
            pair.sides[B].key_log.iter().find(|l| l.starts_with(&ike.spis[0])),
            "both have the same keys"
        );
    }
}

#[test]
fn an_ike_sa_is_rekeyed_again_and_again() {
    let mut pair = up(1);
    for round in 0..6 {
        pair.rekey(round % 2, true, true);
        pair.talk(Duration::from_secs(6));
        pair.assert_up(2);
    }
    pair.assert_no_loss();
    assert_eq!(pair.status(A).rekeys.ike, 6);
    assert_eq!(pair.status(B).rekeys.child, 12);
}

/// ```text
/// HDR, SK {SA, Ni, KEi(31)} -->
///                           <-- HDR, SK {N(INVALID_KE_PAYLOAD, 20)}
/// HDR, SK {SA, Ni, KEi(20)} -->
///                           <-- HDR, SK {SA, Nr, KEr(20)}
/// ```
#[test]
fn another_group_and_another_prf_may_be_agreed_in_a_rekeying() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.ike = vec![X25519, GCM];
    b.ike = vec![X25519, GCM];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    // B prefers another suite by now; the IKE SA that stands is left alone.
    pair.sides[B].endpoint.prefer(&[GCM]);
    let before = pair.trace.len();
    pair.rekey(A, false, true);
    pair.talk(Duration::from_secs(2));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(pair.trace.len() - before, 6);
    assert!(pair.status(B).ike.unwrap().suite.contains("prfsha384-ecp384"));
    pair.rekey(B, true, true);
    pair.talk(Duration::from_secs(7));
    pair.assert_up(1);
    assert_eq!(X25519.group, Group::Curve25519);
}

#[test]
fn every_order_of_the_messages_of_two_rekeyings_ends_with_one_ike_sa() {
    let mut runs = 0;
    for seed in [1, 2, 3, 4] {
        let mut choices = Choices::default();
        loop {
            let mut pair = up(seed);
            let old = spis(&pair, A);
            pair.rekey(A, false, true);
            pair.rekey(B, false, true);
            let mut delivered = 0;
            while !pair.line.is_empty() && delivered < 12 {
                let datagram = pair.line.remove(choices.choose(pair.line.len())).unwrap();
                pair.pass(&datagram);
                delivered += 1;
            }
            settles(&mut pair, &old);
            runs += 1;
            if !choices.advance() {
                break;
            }
        }
    }
    assert!(runs > 60, "{runs}");
}

/// Both have asked before either has heard: the two requests, A's first.
fn both_ask(pair: &mut Pair) -> [Datagram; 2] {
    pair.rekey(A, false, true);
    pair.rekey(B, false, true);
    [pair.take(B), pair.take(A)]
}

/// ```text
/// A                                      B
/// HDR, SK {SA(IKE), Ni, KEi}   --\ /--   HDR, SK {SA(IKE), Ni, KEi}
///                            <----X---->
/// HDR, SK {SA, Nr, KEr}        --\ /--   HDR, SK {SA, Nr, KEr}
///                            <----X---->
/// HDR(old), SK {D(IKE)}        -->       who has won
///                              <--       HDR(redundant), SK {D(IKE)}    who has lost
/// ```
#[test]
fn of_two_new_ike_sas_the_one_with_the_lowest_nonce_goes() {
    let mut winners = [0, 0];
    for seed in 0..12 {
        let mut pair = up(seed);
        let old = spis(&pair, A);
        let [of_a, of_b] = both_ask(&mut pair);
        pair.pass(&of_a);
        pair.pass(&of_b);
        assert_eq!(spis(&pair, A), old, "nothing is decided yet");
        pair.pass_next(A);
        pair.pass_next(B);
        let now = spis(&pair, A);
        assert_eq!(spis(&pair, B), now, "both know which one stays before either delete has come");
        winners[usize::from(!pair.status(A).ike.unwrap().initiator)] += 1;
        settles(&mut pair, &old);
        assert_eq!(spis(&pair, A), now);
    }
    assert!(winners[0] > 0 && winners[1] > 0, "{winners:?}");
}

/// A's request is lost: B does not notice, rekeys, and deletes the old IKE SA.
///
/// ```text
/// A                                      B
/// HDR, SK {SA(IKE), Ni, KEi}   --X
///                              <--       HDR, SK {SA(IKE), Ni, KEi}
/// HDR, SK {SA, Nr, KEr}        -->
///                              <--       HDR(old), SK {D(IKE)}
/// HDR(old), SK {}              -->
/// ```
#[test]
fn a_lost_request_of_ours_gives_way_to_the_peers_rekeying() {
    for seed in 0..6 {
        let mut pair = up(seed);
        let old = spis(&pair, A);
        let [_, of_b] = both_ask(&mut pair);
        pair.pass(&of_b);
        settles(&mut pair, &old);
        assert!(pair.status(B).ike.unwrap().initiator);
    }
}

/// A's request is late: B is closing what A asks for.
///
/// ```text
/// A                                      B
/// HDR, SK {SA(IKE), Ni, KEi}   ------\
///                              <-----|-  HDR, SK {SA(IKE), Ni, KEi}
/// HDR, SK {SA, Nr, KEr}        ------|->
///                                    \->
///                              <--       HDR(old), SK {N(TEMPORARY_FAILURE)}
///                              <--       HDR(old), SK {D(IKE)}
/// ```
#[test]
fn a_late_request_for_the_ike_sa_that_the_peer_is_closing_gets_temporary_failure() {
    for (seed, delete_first) in [(0, false), (1, false), (2, true), (3, true)] {
        let mut pair = up(seed);
        let old = spis(&pair, A);
        let [late, of_b] = both_ask(&mut pair);
        pair.pass(&of_b);
        pair.pass_next(B);
        let delete = pair.take(A);
        pair.pass(&late);
        let answer = pair.take(A);
        assert!(says(&pair, &answer, NotifyType::TEMPORARY_FAILURE));
        for datagram in if delete_first { [&delete, &answer] } else { [&answer, &delete] } {
            pair.pass(datagram);
        }
        settles(&mut pair, &old);
    }
}

/// B knows all four nonces and acts while its answer to A is still under way.
#[test]
fn a_late_answer_after_the_peer_has_decided_leaves_one_ike_sa() {
    for seed in 0..12 {
        let mut pair = up(seed);
        let old = spis(&pair, A);
        let [of_a, of_b] = both_ask(&mut pair);
        pair.pass(&of_a);
        let late = pair.take(A);
        pair.pass(&of_b);
        // B has decided; what it says of it comes first.
        pair.pass_next(B);
        while !pair.line.is_empty() {
            let next = pair.line.pop_front().unwrap();
            pair.pass(&next);
        }
        pair.pass(&late);
        // What the peer never made, and so never deletes, is not kept for long.
        pair.talk(limits::REDUNDANT_GRACE + Duration::from_secs(5));
        settles(&mut pair, &old);
    }
}

/// The peer uses the new IKE SA before its delete of the old one has come: that one it is.
#[test]
fn the_first_request_in_the_peers_new_ike_sa_decides_for_it() {
    let mut pair = up(1);
    let old = spis(&pair, A);
    let [_, of_b] = both_ask(&mut pair);
    pair.pass(&of_b);
    pair.pass_next(B);
    let delete = pair.take(A);
    // HDR(new), SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
    pair.rekey(B, true, false);
    pair.pass_next(A);
    assert_ne!(spis(&pair, A), old, "it is the one in use");
    pair.talk(Duration::from_secs(2));
    pair.pass(&delete);
    settles_with_new_children(&mut pair);
}

fn settles_with_new_children(pair: &mut Pair) {
    pair.talk(Duration::from_secs(10));
    pair.assert_up(2);
    pair.assert_no_loss();
    pair.run_secs(50);
    pair.sides[A].endpoint.assert_tidy(1);
}

/// ```text
/// A                                      B
/// HDR, SK {SA(IKE), Ni, KEi}   --\ /--   HDR, SK {D(IKE)}
///                            <----X---->
/// HDR, SK {}                   --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
/// ```
#[test]
fn a_rekeying_that_meets_a_delete_ends_with_the_delete() {
    for lost in [None, Some(A), Some(B)] {
        let mut pair = up(1);
        pair.rekey(A, false, true);
        pair.input(B, Input::Down(TUNNEL));
        if let Some(to) = lost {
            let _ = pair.take(to);
        }
        pair.run_secs(3);
        for side in [A, B] {
            assert!(pair.sides[side].inbound.is_empty() && pair.sides[side].outbound.is_empty(), "{lost:?}");
        }
        pair.input(A, Input::Down(TUNNEL));
        pair.run_secs(90);
        pair.assert_empty(A);
        pair.assert_empty(B);
    }
}

#[test]
fn a_lost_message_of_an_ike_rekeying_ends_with_one_ike_sa() {
    for (lost, side) in [(0, A), (1, A), (2, A), (3, A), (0, B), (1, B), (2, B), (3, B)] {
        let mut pair = up(1);
        let old = spis(&pair, A);
        let mut passed = 0;
        pair.meddle = Some(Box::new(move |datagram, _| {
            passed += 1;
            if passed == lost + 1 { vec![] } else { vec![(Duration::ZERO, datagram)] }
        }));
        pair.rekey(side, false, true);
        settles(&mut pair, &old);
    }
}

/// B's answer to a child rekeying is lost, and before A asks again B rekeys the IKE SA. A peer that follows RFC 7296 §2.25.1
/// says TEMPORARY_FAILURE; one that agrees has forgotten its request, and the child SA that only B has must not be used.
#[test]
fn a_child_sa_whose_answer_was_lost_with_its_ike_sa_is_not_used() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let old = pair.sides[B].inbound.keys().copied().collect::<Vec<_>>();
    pair.rekey(A, true, false);
    pair.pass_next(B);
    let _ = pair.take(A);
    pair.sides[A].endpoint.forget_request();
    pair.rekey(B, false, true);
    pair.talk(Duration::from_secs(1));
    let ways = |pair: &Pair| pair.sides[B].ways.values().map(|ways| *ways.last().unwrap()).collect::<Vec<_>>();
    assert!(ways(&pair).iter().all(|spi| old.contains(spi)), "on the old ones");
    pair.talk(Duration::from_secs(40));
    pair.assert_up(1);
    pair.assert_no_loss();
}

/// A request for a child SA that meets the rekeying of its IKE SA is tried again in the new one.
#[test]
fn a_child_sa_wanted_during_the_rekeying_is_made_in_the_new_ike_sa() {
    let mut a = tunnel(A);
    a.children = vec![child(A, 0), child(A, 1)];
    let mut pair = Pair::new(a, tunnel(B));
    pair.run_secs(1);
    pair.rekey(A, false, true);
    let mut b = tunnel(B);
    b.children = vec![child(B, 0), child(B, 1)];
    pair.reload(B, b);
    pair.talk(Duration::from_secs(20));
    pair.assert_up(2);
    pair.assert_no_loss();
    assert_eq!(pair.status(A).rekeys.ike, 1);
}

/// RFC 7296 §2.2: message IDs never wrap.
#[test]
fn an_ike_sa_whose_messages_have_become_many_is_rekeyed() {
    let mut pair = up(1);
    let many = limits::MANY_MESSAGES - 2;
    pair.sides[A].endpoint.skip_messages(many, many);
    pair.sides[B].endpoint.skip_messages(many, many);
    pair.run_secs(60);
    pair.assert_up(2);
    assert_eq!(pair.status(A).rekeys.ike, 1);
    pair.trace.clear();
    pair.run_secs(20);
    assert!(pair.trace.iter().all(|datagram| datagram.header().message_id < 10));
}

#[test]
fn an_ike_sa_that_the_peer_does_not_rekey_lasts_as_long_as_it_may_and_comes_back() {
    let mut a = tunnel(A);
    a.ike_lifetime = IkeLifetime { soft: Duration::from_mins(10), hard: Duration::from_mins(12) };
    let mut pair = Pair::new(a, tunnel(B));
    pair.run_secs(1);
    let old = spis(&pair, A);
    // B refuses to rekey this one; a new one it takes.
    pair.sides[B].endpoint.prefer(&[GCM]);
    pair.run(Duration::from_secs(600 + 30));
    let status = pair.status(A);
    assert!(status.rekeys.refused > 0 && status.rekeys.why.unwrap().contains("NO_PROPOSAL_CHOSEN"));
    assert_eq!(spis(&pair, A), old);
    pair.run_secs(100);
    assert_ne!(spis(&pair, A), old);
    assert_eq!(pair.sides[A].ups(), 2, "from scratch");
    pair.assert_up(1);
}

#[test]
fn a_liveness_probe_under_way_is_no_reason_to_wait() {
    let mut pair = up(1);
    // A's probe and B's rekeying cross.
    pair.run_secs(30);
    while !pair.line.is_empty() {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let old = spis(&pair, A);
    loop {
        pair.step(pair.now + Duration::from_secs(20));
        if let Some(probe) = pair.line.back().filter(|d| d.to == B && !d.header().flags.response) {
            assert_eq!(probe.header().exchange, ExchangeType::INFORMATIONAL);
            break;
        }
    }
    pair.rekey(B, false, true);
    let request = pair.line.iter().position(|datagram| datagram.to == A).unwrap();
    let request = pair.line.remove(request).unwrap();
    pair.pass(&request);
    settles(&mut pair, &old);
}
