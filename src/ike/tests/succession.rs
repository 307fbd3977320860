//! What a rekeying overtakes: IKE SAs that are on their way out, attempts with several keys, what waits for the window.

use std::time::Duration;

use super::pair::*;
use crate::entropy::{Entropy, SeededEntropy};
use crate::event::Event;
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::config::Start;
use crate::ike::endpoint::Endpoint;
use crate::ike::limits;
use crate::sa::event::SadEvent;
use crate::wire::ike::numbers::ExchangeType;

const OLD: &[u8] = b"the key that is to go, long enough for it";
const NEW: &[u8] = b"the key that is to stay, long enough too";

fn with(side: usize, keys: &[&[u8]]) -> crate::ike::config::TunnelConfig {
    let mut tunnel = tunnel(side);
    set_psk(&mut tunnel, keys);
    tunnel
}

/// B has the old IKE SA replaced by one that is made from scratch, while one side or both rekey the old one: what comes of
/// that goes too, whichever message is faster.
///
/// ```text
/// A                                        B
/// HDR(1), SK {SA(IKE), Ni, KEi}  --\ /--   HDR(1), SK {SA(IKE), Ni, KEi}
///                              <----X---   HDR(2), SA, KE, Ni
/// HDR(1), SK {SA, Nr, KEr}     --\ / \->
///                                 X
/// HDR(2), SA, KE, Nr           --/ \-->
///                                <--       HDR(2), SK {IDi, IDr, AUTH, ..}
/// ```
#[test]
fn a_rekeying_saves_no_ike_sa_that_has_a_successor() {
    let mut rekeyed = 0;
    for seed in 0..60 {
        let mut pair = Pair::seeded(seed, config(with(A, &[OLD])), config(with(B, &[NEW, OLD])));
        pair.run_secs(1);
        pair.reload(A, with(A, &[NEW, OLD]));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn Entropy = entropy;
            vec![(Duration::from_millis(entropy.below(150)), datagram)]
        }));
        pair.rekey(A, false, true);
        pair.run(Duration::from_millis(seed * 7 % 100));
        // It does not take the old key any more: the peer is to prove itself anew.
        pair.reload(B, with(B, &[NEW]));
        if seed % 2 == 0 {
            pair.rekey(B, false, true);
        }
        pair.run_secs(45);
        pair.assert_up(1);
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
        }
        let is_rekeyed = |event: &Event| matches!(event, Event::IkeRekeyed { .. });
        rekeyed += usize::from(pair.sides[A].events.iter().any(is_rekeyed));
    }
    assert!(rekeyed > 20, "{rekeyed}");
}

/// Both rekey the IKE SA, and B is gone before it has seen A's answer. What A has made for B does not outlive the old one.
#[test]
fn what_a_rekeying_made_beside_ours_goes_with_the_ike_sa_that_it_was_to_replace() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.rekey(A, false, true);
    pair.rekey(B, false, true);
    let (_, of_b) = (pair.take(B), pair.take(A));
    pair.deliver(&of_b);
    assert!(pair.sides[A].endpoint.spare().is_some());
    pair.line.clear();
    let mut b = tunnel(B);
    b.start = Start::Always;
    let side = &mut pair.sides[B];
    side.endpoint = Endpoint::new(config(b), Box::new(SeededEntropy::new(7)), false);
    (side.inbound, side.outbound, side.ways) = Default::default();
    pair.input(B, Input::Timeout);
    pair.run_secs(1);
    pair.assert_up(1);
    pair.run_secs(20);
    pair.sides[A].endpoint.assert_tidy(1);
}

/// ```text
/// HDR, SK {IDi, AUTH by the new key, ..} -->
///                                        <-- HDR, SK {N(AUTHENTICATION_FAILED)}
/// HDR, SK {IDi, AUTH by the old key, ..} -->                                        a second later
/// ```
#[test]
fn the_second_key_is_tried_soon_however_long_the_pauses_have_grown() {
    let mut pair = Pair::new(with(A, &[NEW, OLD]), with(B, &[OLD]));
    pair.meddle = Some(Box::new(|_, _| Vec::new()));
    pair.run_secs(1800);
    pair.meddle = None;
    while pair.failed(B).is_empty() {
        assert!(pair.step(pair.now + Duration::from_secs(130)));
    }
    pair.run_secs(2);
    pair.assert_up(1);
    assert_eq!(pair.failed(B).len(), 1);
    // With a key that nobody takes the pauses go on growing.
    pair.reload(A, with(A, &[NEW, b"another key that the peer has never heard of"]));
    pair.input(A, Input::Down(TUNNEL));
    pair.run_secs(2);
    pair.input(A, Input::Up(TUNNEL));
    let before = pair.failed(B).len();
    pair.run_secs(300);
    assert!((6..=24).contains(&(pair.failed(B).len() - before)), "{} attempts", pair.failed(B).len() - before);
}

/// B wants a child SA and has to wait; when its turn comes A has made it.
///
/// ```text
/// A                                        B
///                                <--       HDR, SK {N(REKEY_SA), SA, Ni, ..}   late
/// HDR, SK {SA, Ni, TSi, TSr}     -->       wants the same
///                                <--       HDR, SK {SA, Nr, TSi, TSr}
/// ```
#[test]
fn what_the_peer_has_made_meanwhile_is_not_asked_for() {
    let two = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.children = vec![child(side, 0), child(side, 1)];
        config(tunnel)
    };
    let mut pair = Pair::seeded(1, two(A), two(B));
    while pair.sides[A].ups() == 0 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let of_a = pair.take(B);
    assert_eq!(of_a.header().exchange, ExchangeType::CREATE_CHILD_SA);
    pair.rekey(B, true, false);
    pair.input(B, Input::Up(TUNNEL));
    pair.pass(&of_a);
    pair.talk(Duration::from_secs(8));
    pair.assert_up(2);
    pair.assert_no_loss();
    for side in [A, B] {
        let ups = pair.sides[side].events.iter().filter(|event| matches!(event, Event::ChildUp { .. }));
        assert_eq!(ups.count(), 2, "one for each pair of selectors");
    }
}

/// A has asked for a second child SA, and B has just answered. A asks for signs of life after `liveness`.
fn answering(liveness: Duration) -> (Pair, Datagram) {
    let two = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.children = vec![child(side, 0), child(side, 1)];
        tunnel.liveness = liveness;
        config(tunnel)
    };
    let mut pair = Pair::seeded(1, two(A), two(B));
    while pair.sides[A].ups() == 0 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let request = pair.take(B);
    pair.deliver(&request);
    let answer = pair.take(A);
    (pair, answer)
}

fn assert_both_are_new(pair: &Pair) {
    pair.assert_up(2);
    pair.assert_no_loss();
    for side in [A, B] {
        assert_eq!(pair.failed(side), []);
        assert_eq!(pair.status(side).rekeys.child, 2, "both have new keys in the end");
    }
}

/// B's answer is late. What it has made does not count as lost because A does not know of it yet.
///
/// ```text
/// A                                        B
/// HDR, SK {SA, Ni, TSi, TSr}     -->
///                                <--       HDR, SK {SA, Nr, TSi, TSr}           late
///                                          wants new keys for it: not yet
/// ```
#[test]
fn what_the_peer_has_asked_for_is_not_rekeyed_before_it_has_the_answer() {
    let (mut pair, late) = answering(Duration::from_secs(10));
    pair.rekey(B, true, false);
    pair.run(Duration::from_millis(400));
    let asked = pair.trace.iter().filter(|datagram| datagram.to == A).count();
    assert_eq!(asked, 5, "three answers, and the rekeying of the child SA that A has with its delete");
    pair.deliver(&late);
    pair.talk(Duration::from_secs(14));
    assert_both_are_new(&pair);
}

/// Whatever shows that the answer has come ends the wait: the next request, or a packet.
#[test]
fn what_shows_that_the_answer_has_come_lets_the_rekeying_begin() {
    for by_packet in [false, true] {
        let (mut pair, answer) = answering(Duration::from_secs(if by_packet { 10 } else { 1 }));
        pair.rekey(B, true, false);
        pair.deliver(&answer);
        pair.run(Duration::from_millis(100));
        let done = |pair: &Pair| pair.status(B).rekeys.child;
        assert_eq!(done(&pair), 1, "the child SA of IKE_AUTH is rekeyed at once");
        if by_packet {
            pair.talk(Duration::from_millis(100));
        } else {
            pair.run(Duration::from_millis(1_300));
        }
        pair.run(Duration::from_millis(100));
        assert_eq!(done(&pair), 2);
        pair.talk(Duration::from_secs(10));
        assert_both_are_new(&pair);
    }
}

/// Nothing shows it, and time does.
#[test]
fn a_rekeying_waits_no_longer_than_answers_take() {
    let (mut pair, answer) = answering(Duration::from_secs(10));
    pair.rekey(B, true, false);
    pair.deliver(&answer);
    pair.run(limits::ARRIVAL_TIME + Duration::from_millis(100));
    assert_eq!(pair.status(B).rekeys.child, 2);
}

/// B's answer is lost, and so are A's next requests for it: the child SA is asked about in vain, and stays.
///
/// ```text
/// A                                        B
/// HDR, SK {SA, Ni, TSi, TSr}     -->
///                                X--       HDR, SK {SA, Nr, TSi, TSr}
///                                <--       HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
/// HDR, SK {N(CHILD_SA_NOT_FOUND)} -->
/// HDR, SK {SA, Ni, TSi, TSr}     -->
///                                <--       HDR, SK {SA, Nr, TSi, TSr}
/// ```
#[test]
fn what_the_peer_does_not_know_yet_is_kept_and_rekeyed_once_it_does() {
    let (mut pair, _lost) = answering(Duration::from_secs(10));
    let until = pair.now + Duration::from_secs(5);
    let request = ExchangeType::CREATE_CHILD_SA;
    pair.meddle = Some(Box::new(move |datagram, _| {
        let header = datagram.header();
        let repeated = datagram.to == B && header.exchange == request && !header.flags.response && datagram.at < until;
        if repeated { vec![] } else { vec![(Duration::ZERO, datagram)] }
    }));
    let made: Vec<_> = pair.sides[B].inbound.keys().copied().collect();
    pair.rekey(B, true, false);
    pair.run_secs(4);
    assert_eq!(pair.status(B).rekeys.child, 1, "that of the child SA that A has");
    let kept = made.iter().filter(|spi| pair.sides[B].inbound.contains_key(spi)).count();
    assert!(kept >= 1, "what A does not know is still there");
    pair.talk(Duration::from_secs(14));
    assert_both_are_new(&pair);
}

/// What was said last to a side.
fn last_to(pair: &Pair, to: usize) -> Datagram {
    pair.trace.iter().rfind(|datagram| datagram.to == to).unwrap().clone()
}

/// B asks about what A does not have yet, over a line that carries nothing else from then on. What A answers.
fn asked_too_early(pair: &mut Pair) -> Datagram {
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.rekey(B, true, false);
    pair.run(limits::ARRIVAL_TIME + Duration::from_millis(10));
    let asked = last_to(pair, A);
    assert!(!asked.header().flags.response && asked.header().exchange == ExchangeType::CREATE_CHILD_SA);
    pair.deliver(&asked);
    last_to(pair, B)
}

/// B asks about what A does not have yet, and hears A's answer after A has it.
///
/// ```text
/// A                                          B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}   -->
///                                   /--      HDR, SK {SA, Nr, ..}
///                                   | <--    HDR, SK {N(REKEY_SA), SA, Ni, ..}, of the new one
/// HDR, SK {N(CHILD_SA_NOT_FOUND)}  --|-\
///                                 <--/  |
/// HDR, SK {D}, of the old one        ---|->
///                                       \->
/// ```
#[test]
fn what_the_peer_did_not_know_when_it_was_asked_is_kept_when_it_has_shown_since_that_it_does() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.rekey(A, true, false);
    pair.pass_next(B);
    let made = pair.take(A);
    let unknown = asked_too_early(&mut pair);
    pair.deliver(&made);
    pair.deliver(&last_to(&pair, B));
    pair.deliver(&last_to(&pair, A));
    let made: Vec<_> = pair.sides[B].outbound.keys().copied().collect();
    pair.deliver(&unknown);
    assert_eq!(pair.sides[B].outbound.keys().copied().collect::<Vec<_>>(), made);
    pair.meddle = None;
    pair.talk(Duration::from_secs(12));
    pair.assert_up(1);
    pair.assert_no_loss();
}

/// B's old child SA is over before A has the new one: B deletes it and sends on the new one, and that shows nothing.
///
/// ```text
/// A                                          B
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}   -->
///                                   /--      HDR, SK {SA, Nr, ..}
///                                   | <--    HDR, SK {D}, of the old one
/// HDR, SK {D}                       --|->
///                                   | <--    HDR, SK {N(REKEY_SA), SA, Ni, ..}, of the new one
/// HDR, SK {N(CHILD_SA_NOT_FOUND)}   --|->
///                                 <--/
/// ```
#[test]
fn that_the_old_one_is_over_does_not_show_that_the_peer_has_the_new_one() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let old = *pair.sides[B].inbound.keys().next().unwrap();
    pair.rekey(A, true, false);
    pair.pass_next(B);
    let made = pair.take(A);
    pair.input(B, Input::Sad(SadEvent::HardLimit { inbound: old }));
    pair.pass_next(A);
    pair.pass_next(B);
    assert!(!pair.sides[A].outbound.contains_key(&old) && pair.sides[B].outbound.len() == 1);
    let unknown = asked_too_early(&mut pair);
    let kept: Vec<_> = pair.sides[B].outbound.keys().copied().collect();
    pair.deliver(&unknown);
    assert_eq!(pair.sides[B].outbound.keys().copied().collect::<Vec<_>>(), kept);
    pair.deliver(&made);
    pair.meddle = None;
    pair.run_secs(12);
    pair.assert_up(1);
}

/// B has always a child SA to renew, so A's wish to renew the IKE SA would find it busy each time.
///
/// ```text
/// A                                        B
/// HDR, SK {SA(IKE), Ni, KEi}       --\ /--   HDR, SK {N(REKEY_SA), SA, Ni, ..}
///                                  <----X---->
/// HDR, SK {SA, Nr, ..}             --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
///                                  <----X---->
///                                    <--   HDR, SK {SA(IKE), Ni, KEi}
/// ```
#[test]
fn who_is_too_busy_for_the_renewal_of_the_ike_sa_does_it_next() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let old = pair.status(A).ike.unwrap().spis;
    pair.rekey(B, true, false);
    pair.rekey(A, false, true);
    let (of_b, of_a) = (pair.take(A), pair.take(B));
    pair.pass(&of_a);
    pair.pass_next(A);
    // Sooner than A would ask again.
    assert!(Duration::from_millis(500) < limits::TEMPORARY_FAILURE_PAUSE);
    pair.pass(&of_b);
    pair.run(Duration::from_millis(500));
    assert_ne!(pair.status(A).ike.unwrap().spis, old);
    assert!(!pair.status(A).ike.unwrap().initiator, "B has done it");
    pair.talk(Duration::from_secs(8));
    pair.assert_up(1);
    pair.assert_no_loss();
}

/// What B was too busy for is asked for once more as soon as the IKE SA is renewed, and not after the pause.
///
/// ```text
/// A                                          B
/// HDR, SK {SA, Ni, .., TSi, TSr}   --\ /--   HDR, SK {SA(IKE), Ni, KEi}
///                                <----X---->
/// HDR, SK {N(TEMPORARY_FAILURE)}   --\ /--   HDR, SK {N(TEMPORARY_FAILURE)}
///                                <----X---->
/// HDR, SK {SA(IKE), Ni, KEi}       -->
///                                  <--       HDR, SK {SA(IKE), Nr, KEr}
/// HDR(new), SK {SA, Ni, .., TSi, TSr} -->
/// ```
#[test]
fn a_child_sa_that_the_renewal_of_the_ike_sa_put_off_is_asked_for_right_behind_it() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.start = Start::OnDemand;
    (a.children, b.children) = (vec![child(A, 0), child(A, 1)], vec![child(B, 0), child(B, 1)]);
    let mut pair = Pair::new(a, b);
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(0) }));
    pair.run_secs(1);
    pair.assert_up(1);
    pair.input(A, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(1) }));
    pair.rekey(B, false, true);
    let (of_a, of_b) = (pair.take(B), pair.take(A));
    pair.pass(&of_a);
    pair.pass(&of_b);
    assert!(Duration::from_millis(500) < limits::TEMPORARY_FAILURE_PAUSE);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.status(A).rekeys.ike, 1);
    pair.assert_up(2);
}
