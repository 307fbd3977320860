//! Rekeying of a child SA that meets another rekeying or a delete (RFC 7296 §2.8.1, §2.25). ESP is on its way across
//! every step; none of it is lost.

use std::time::Duration;

use super::choices::Choices;
use super::pair::*;
use crate::crypto::suite::{EspSuite, Group};
use crate::ike::api::Input;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::Payload;

fn up(seed: u64) -> Pair {
    let mut pair = Pair::seeded(seed, config(tunnel(A)), config(tunnel(B)));
    pair.run_secs(1);
    pair.assert_up(1);
    pair
}

/// What stands inside a datagram.
fn inside(pair: &Pair, datagram: &Datagram) -> Vec<Payload> {
    pair.sides[datagram.to].endpoint.unseal(&datagram.bytes).unwrap()
}

/// Whether it carries this notification.
fn says(pair: &Pair, datagram: &Datagram, kind: NotifyType) -> bool {
    inside(pair, datagram).iter().any(|payload| matches!(payload, Payload::Notify(notify) if notify.kind == kind))
}

fn is(pair: &Pair, datagram: &Datagram, kind: PayloadType) -> bool {
    inside(pair, datagram).iter().any(|payload| payload.kind() == kind)
}

/// The line empties, and after some seconds there is one child SA, the same on both sides.
fn settles(pair: &mut Pair) {
    pair.talk(Duration::from_secs(8));
    pair.assert_up(1);
    pair.assert_no_loss();
    for side in [A, B] {
        assert_eq!(pair.sides[side].ups(), 1, "still the first IKE SA");
        assert_eq!(pair.failed(side), []);
    }
}

/// Both have asked before either has heard: the two requests, A's first.
fn both_ask(pair: &mut Pair) -> [Datagram; 2] {
    pair.rekey(A, true, false);
    pair.rekey(B, true, false);
    [pair.take(B), pair.take(A)]
}

/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  --\ /--   HDR, SK {N(REKEY_SA), SA, Ni, ..}
///                                  <----X---->
/// HDR, SK {SA, Nr, ..}               --\ /--   HDR, SK {SA, Nr, ..}
///                                  <----X---->
/// HDR, SK {D(old)}                   -->       or the other way round, by the nonces
///                                    <--       HDR, SK {D(redundant)}
/// ```
#[test]
fn of_two_rekeyings_at_once_the_one_with_the_lowest_nonce_goes() {
    let mut winners = [0, 0];
    for seed in 0..12 {
        let mut pair = up(seed);
        let old = *pair.sides[A].inbound.keys().next().unwrap();
        let [of_a, of_b] = both_ask(&mut pair);
        pair.pass(&of_a);
        pair.pass(&of_b);
        let (to_a, to_b) = (pair.take(A), pair.take(B));
        pair.pass(&to_a);
        pair.pass(&to_b);
        // One of them deletes the old one, the other what it has made itself.
        let deletes = [pair.take(B), pair.take(A)];
        for delete in &deletes {
            assert!(is(&pair, delete, PayloadType::DELETE));
        }
        let way = *pair.sides[A].ways.values().next().unwrap().last().unwrap();
        let a_won = way != old && pair.sides[A].expected.contains(&way);
        winners[usize::from(!a_won)] += 1;
        for delete in &deletes {
            pair.pass(delete);
        }
        settles(&mut pair);
    }
    assert!(winners[0] > 0 && winners[1] > 0, "{winners:?}");
}

#[test]
fn every_order_of_the_messages_of_two_rekeyings_ends_with_one_child_sa() {
    let mut runs = 0;
    for seed in [1, 2, 3] {
        let mut choices = Choices::default();
        loop {
            let mut pair = up(seed);
            pair.rekey(A, true, false);
            pair.rekey(B, true, false);
            // Every datagram on its way may be the next to arrive; no timer ends meanwhile.
            let mut delivered = 0;
            while !pair.line.is_empty() && delivered < 12 {
                let datagram = pair.line.remove(choices.choose(pair.line.len())).unwrap();
                pair.pass(&datagram);
                delivered += 1;
            }
            settles(&mut pair);
            runs += 1;
            if !choices.advance() {
                break;
            }
        }
    }
    assert!(runs > 60, "{runs}");
}

/// A's answer is late. B knows all four nonces and acts; A hears of the result before it knows how it came about.
///
/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  --\ /--   HDR, SK {N(REKEY_SA), SA, Ni, ..}
///                                  <----X---->
/// HDR, SK {SA, Nr, ..}               -->
///                                    <--       HDR, SK {SA, Nr, ..}        late
///                                    <--       HDR, SK {D(old or redundant)}
/// HDR, SK {D(..)}                    -->
/// ```
#[test]
fn a_late_answer_after_the_peer_has_decided_changes_nothing() {
    for seed in 0..12 {
        let mut pair = up(seed);
        let [of_a, of_b] = both_ask(&mut pair);
        pair.pass(&of_a);
        let late = pair.take(A);
        pair.pass(&of_b);
        pair.pass_next(B);
        pair.pass_next(A);
        pair.pass_next(B);
        pair.pass(&late);
        settles(&mut pair);
    }
}

/// A's request is late: B has rekeyed without noticing, and is about to close what A asks for.
///
/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  ------\
///                                    <-----|-  HDR, SK {N(REKEY_SA), SA, Ni, ..}
/// HDR, SK {SA, Nr, ..}               ------|->
///                                    <-----|-  HDR, SK {D(old)}
///                                          \->
///                                    <--       HDR, SK {N(TEMPORARY_FAILURE)}
/// ```
#[test]
fn a_late_request_for_what_the_peer_is_closing_gets_temporary_failure() {
    for seed in 0..4 {
        let mut pair = up(seed);
        let [late, of_b] = both_ask(&mut pair);
        pair.pass(&of_b);
        pair.pass_next(B);
        let delete = pair.take(A);
        assert!(is(&pair, &delete, PayloadType::DELETE));
        pair.pass(&late);
        let answer = pair.take(A);
        assert!(says(&pair, &answer, NotifyType::TEMPORARY_FAILURE));
        if seed % 2 == 0 {
            pair.pass(&answer);
            pair.pass(&delete);
        } else {
            pair.pass(&delete);
            pair.pass(&answer);
        }
        settles(&mut pair);
        assert_eq!([A, B].map(|side| pair.status(side).rekeys.child), [1, 1], "A has nothing left to rekey");
    }
}

/// Later still: B has forgotten the old one.
///
/// ```text
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  ------\
///                                    <-----|-  HDR, SK {N(REKEY_SA), SA, Ni, ..}
/// HDR, SK {SA, Nr, ..}               ------|->
///                                    <-----|-  HDR, SK {D(old)}
/// HDR, SK {D(old)}                   ------|->
///                                          \->
///                                    <--       HDR, SK {N(CHILD_SA_NOT_FOUND)}
/// ```
#[test]
fn a_request_that_comes_after_the_delete_finds_no_child_sa() {
    let mut pair = up(1);
    let [late, of_b] = both_ask(&mut pair);
    pair.pass(&of_b);
    pair.pass_next(B);
    pair.pass_next(A);
    pair.pass_next(B);
    pair.pass(&late);
    let answer = pair.take(A);
    assert!(says(&pair, &answer, NotifyType::CHILD_SA_NOT_FOUND));
    pair.pass(&answer);
    settles(&mut pair);
    assert_eq!([A, B].map(|side| pair.status(side).rekeys.child), [1, 1]);
}

/// Both have guessed the wrong group, and ask again at the same time.
///
/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), .., KEi(19)} --\ /--   HDR, SK {N(REKEY_SA), .., KEi(20)}
///                                  <----X---->
/// HDR, SK {N(INVALID_KE, 19)}        --\ /--   HDR, SK {N(INVALID_KE, 20)}
///                                  <----X---->
/// HDR, SK {N(REKEY_SA), .., KEi(20)} --\ /--   HDR, SK {N(REKEY_SA), .., KEi(19)}
/// ```
#[test]
fn two_rekeyings_that_both_need_another_group_end_with_one_child_sa() {
    for (seed, delayed) in [(0, false), (1, false), (2, false), (3, true), (4, true), (5, true)] {
        let [p256, p384] = [Group::Ecp256, Group::Ecp384].map(|group| EspSuite { group: Some(group), ..ESP });
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        a.esp = vec![p256, p384];
        b.esp = vec![p384, p256];
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.run_secs(1);
        // What is in use comes first in an offer, so the choice of the set-up must not count here.
        pair.sides[A].endpoint.forget_suites(p256);
        pair.sides[B].endpoint.forget_suites(p384);
        let [of_a, of_b] = both_ask(&mut pair);
        pair.pass(&of_a);
        pair.pass(&of_b);
        let (to_a, to_b) = (pair.take(A), pair.take(B));
        assert!(
            says(&pair, &to_a, NotifyType::INVALID_KE_PAYLOAD) && says(&pair, &to_b, NotifyType::INVALID_KE_PAYLOAD)
        );
        pair.pass(&to_a);
        if delayed {
            // B has answered A's second request before it hears that its own group was wrong.
            pair.pass_next(B);
        }
        pair.pass(&to_b);
        while !pair.line.is_empty() {
            let next = pair.line.pop_front().unwrap();
            pair.pass(&next);
        }
        settles(&mut pair);
    }
}

/// A rekeys what B deletes: it goes, and comes back because it is wanted.
///
/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  --\ /--   HDR, SK {D(old)}
///                                  <----X---->
/// HDR, SK {D(old)}                   --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
///                                  <----X---->
/// ```
#[test]
fn a_rekeying_of_what_the_peer_deletes_gets_temporary_failure() {
    for order in 0..4 {
        let mut pair = up(1);
        let old = *pair.sides[B].inbound.keys().next().unwrap();
        pair.rekey(A, true, false);
        let request = pair.take(B);
        pair.input(B, Input::Timeout);
        pair.sides[B].endpoint.delete_child(old);
        pair.drain(B);
        let delete = pair.take(A);
        assert!(is(&pair, &delete, PayloadType::DELETE));
        if order & 1 == 0 {
            pair.deliver(&request);
            pair.deliver(&delete);
        } else {
            pair.deliver(&delete);
            pair.deliver(&request);
        }
        let (to_a, to_b) = (pair.take(A), pair.take(B));
        assert!(says(&pair, &to_a, NotifyType::TEMPORARY_FAILURE));
        assert!(is(&pair, &to_b, PayloadType::DELETE), "as usual, with the other direction");
        for answer in if order & 2 == 0 { [to_a, to_b] } else { [to_b, to_a] } {
            pair.deliver(&answer);
        }
        pair.run_secs(10);
        pair.assert_up(1);
    }
}

/// The delete is lost, or the rekeying is: retransmission brings it to the same end.
#[test]
fn a_lost_delete_or_rekeying_ends_no_differently() {
    for lost in [B, A] {
        let mut pair = up(1);
        let old = *pair.sides[B].inbound.keys().next().unwrap();
        pair.rekey(A, true, false);
        pair.input(B, Input::Timeout);
        pair.sides[B].endpoint.delete_child(old);
        pair.drain(B);
        let _ = pair.take(lost);
        pair.run_secs(10);
        pair.assert_up(1);
        for side in [A, B] {
            assert_eq!(pair.sides[side].ups(), 1);
            assert!(!pair.sides[B].inbound.contains_key(&old));
        }
    }
}

/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  --\ /--   HDR, SK {SA(IKE), Ni, KEi}
///                                  <----X---->
/// HDR, SK {N(TEMPORARY_FAILURE)}     --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
/// ```
#[test]
fn a_child_sa_is_not_rekeyed_while_its_ike_sa_is_and_both_are_tried_again() {
    for seed in 0..4 {
        let mut pair = up(seed);
        pair.rekey(A, true, false);
        pair.rekey(B, false, true);
        let (of_a, of_b) = (pair.take(B), pair.take(A));
        pair.pass(&of_a);
        pair.pass(&of_b);
        let (to_a, to_b) = (pair.take(A), pair.take(B));
        assert!(says(&pair, &to_a, NotifyType::TEMPORARY_FAILURE));
        assert!(says(&pair, &to_b, NotifyType::TEMPORARY_FAILURE));
        pair.pass(&to_a);
        pair.pass(&to_b);
        pair.talk(Duration::from_secs(15));
        pair.assert_up(1);
        pair.assert_no_loss();
        for side in [A, B] {
            let rekeys = pair.status(side).rekeys;
            assert_eq!((rekeys.child, rekeys.ike, rekeys.refused), (1, 1, 0));
        }
    }
}

/// ```text
/// A                                            B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}  --\ /--   HDR, SK {D(IKE)}
///                                  <----X---->
/// HDR, SK {}                         --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
/// ```
#[test]
fn a_rekeying_that_meets_the_end_of_its_ike_sa_leaves_nothing_behind() {
    for first in [A, B] {
        let mut pair = up(1);
        pair.rekey(A, true, false);
        pair.input(B, Input::Down(TUNNEL));
        let (of_a, of_b) = (pair.take(B), pair.take(A));
        let order = if first == A { [of_a, of_b] } else { [of_b, of_a] };
        for datagram in &order {
            pair.deliver(datagram);
        }
        pair.run(Duration::from_millis(100));
        for side in [A, B] {
            assert!(pair.sides[side].inbound.is_empty() && pair.sides[side].outbound.is_empty());
        }
    }
}
