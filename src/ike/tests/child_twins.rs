//! Both sides want the same child SA and ask for it at once. Two are made, the initiator of the IKE SA deletes the older one, and
//! no packet is lost on the way.

use std::time::Duration;

use super::choices::Choices;
use super::pair::*;
use crate::event::Event;
use crate::ike::api::Input;
use crate::ike::config::{Childless, Peering};
use crate::wire::ike::numbers::{ExchangeType, PayloadType};

/// Both have asked before either has heard.
fn both_ask(seed: u64) -> Pair {
    let mut a = tunnel(A);
    a.peering = Peering { childless: Childless::Prefer, ..Peering::default() };
    let mut pair = Pair::seeded(seed, config(a), config(tunnel(B)));
    while pair.sides[A].ups() == 0 {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
    // A has begun. B would wait for that, but for its operator.
    pair.input(B, Input::Up(TUNNEL));
    let asked = pair.line.iter().filter(|datagram| datagram.header().exchange == ExchangeType::CREATE_CHILD_SA);
    assert_eq!(asked.map(|datagram| datagram.to).collect::<Vec<_>>(), [B, A]);
    pair
}

/// ```text
/// A                                       B
/// HDR, SK {SA, Ni, KEi, TSi, TSr}  --\ /--   HDR, SK {SA, Ni, KEi, TSi, TSr}
///                                <----X---->
/// HDR, SK {SA, Nr, KEr, TSi, TSr}  --\ /--   HDR, SK {SA, Nr, KEr, TSi, TSr}
///                                <----X---->
/// HDR, SK {D(the older one)}       -->
///                                  <--       HDR, SK {D(the older one)}
/// ```
/// The delete may be faster than the response that makes what it names; A may have sent on that all the same.
#[test]
fn of_two_that_are_made_at_once_one_stays_and_every_packet_arrives() {
    let (mut runs, mut twins, mut early) = (0, 0, 0);
    for seed in [1, 2] {
        let mut choices = Choices::default();
        loop {
            let mut pair = both_ask(seed);
            let mut delivered = 0;
            while !pair.line.is_empty() && delivered < 12 {
                let datagram = pair.line.remove(choices.choose(pair.line.len())).unwrap();
                pair.pass(&datagram);
                delivered += 1;
            }
            let made = |side: usize| {
                let up = |event: &&Event| matches!(event, Event::ChildUp { .. });
                pair.sides[side].events.iter().filter(up).count()
            };
            twins += usize::from(made(A) == 2 && made(B) == 2);
            early += usize::from(made(B) < made(A));
            pair.talk(Duration::from_secs(8));
            pair.assert_up(1);
            pair.assert_no_loss();
            for side in [A, B] {
                assert_eq!(pair.sides[side].ups(), 1);
                assert_eq!(pair.failed(side), []);
            }
            runs += 1;
            if !choices.advance() {
                break;
            }
        }
    }
    assert!(twins > 10 && early > 0, "{twins} pairs of twins in {runs} runs, {early} deletes before their time");
}

/// A rekeys what it has just made; meanwhile B's request for the same traffic makes the twin that stays.
///
/// ```text
/// A                                          B
/// HDR, SK {SA, Ni, KEi, TSi, TSr}  ----\ /-- HDR, SK {SA, Ni, KEi, TSi, TSr}   late
///                                  <----|--  HDR, SK {SA, Nr, KEr, TSi, TSr}
/// HDR, SK {N(REKEY_SA), SA, Ni, ..} ----|->
///                                  <----/
/// HDR, SK {SA, Nr, KEr, TSi, TSr}  -->
///                                  <--       HDR, SK {SA, Nr, ..}
/// ```
#[test]
fn what_replaces_a_twin_that_is_to_go_goes_too() {
    for seed in 0..4 {
        let mut pair = both_ask(seed);
        let (of_a, of_b) = (pair.take(B), pair.take(A));
        pair.pass(&of_a);
        pair.pass_next(A);
        pair.rekey(A, true, false);
        pair.pass(&of_b);
        pair.talk(Duration::from_secs(8));
        pair.assert_up(1);
        pair.assert_no_loss();
    }
}

/// B rekeys what it has just made, and does not hear the answer for a while; meanwhile A's request for the same traffic makes the
/// twin that stays. What B has rekeyed is nobody's successor's any more.
///
/// ```text
/// A                                          B
/// HDR, SK {SA, Ni, KEi, TSi, TSr}  ----\ <--  HDR, SK {SA, Ni, KEi, TSi, TSr}
/// HDR, SK {SA, Nr, KEr, TSi, TSr}  ----|->
///                                  <---|---  HDR, SK {N(REKEY_SA), SA, Ni, ..}
/// HDR, SK {SA, Nr, ..}  late       --\ \->
///                                  <--|----  HDR, SK {SA, Nr, KEr, TSi, TSr}
///                                     \--->
/// ```
#[test]
fn what_a_twin_that_is_to_go_has_replaced_goes_too() {
    for seed in 0..4 {
        let mut pair = both_ask(seed);
        let (of_a, of_b) = (pair.take(B), pair.take(A));
        pair.pass(&of_b);
        pair.pass_next(B);
        pair.rekey(B, true, false);
        pair.pass_next(A);
        let late = pair.take(B);
        pair.pass(&of_a);
        pair.pass_next(A);
        // No ESP meanwhile, which would show what has arrived.
        pair.run(Duration::from_millis(100));
        pair.pass(&late);
        pair.run_secs(8);
        pair.assert_up(1);
    }
}

/// Both have asked, A first. A is to delete its own, and rekeys B's before that.
///
/// ```text
/// A                                          B
/// HDR, SK {SA, Ni, KEi, TSi, TSr}  --\ /--   HDR, SK {SA, Ni, KEi, TSi, TSr}
///                                <----|----  HDR, SK {SA, Nr, KEr, TSi, TSr}
/// HDR, SK {SA, Nr, KEr, TSi, TSr}  <--/ -->
/// HDR, SK {N(REKEY_SA), SA, Ni, ..}     -->
///                                       <--  HDR, SK {SA, Nr, ..}
/// HDR, SK {D}, of what was rekeyed      -->
/// ```
#[test]
fn what_waits_for_its_end_beside_a_twin_does_not_come_back_when_that_is_rekeyed() {
    for seed in 0..4 {
        let mut pair = both_ask(seed);
        let (of_a, of_b) = (pair.take(B), pair.take(A));
        pair.pass(&of_a);
        pair.pass_next(A);
        pair.pass(&of_b);
        pair.pass_next(B);
        // B has A's answer, and shows it by asking something else.
        let asked = pair.sides[B].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, PayloadType::NONE, &[]);
        let (path, bytes) = asked.unwrap();
        pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
        pair.rekey(A, true, false);
        pair.run_secs(8);
        pair.assert_up(1);
    }
}
