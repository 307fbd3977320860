//! A head-end opens the tunnel itself, while we hold it with another one or are trying to: B is both head-ends.

use std::time::Duration;

use super::heads::{between, client, cut, head_end, head_ends, in_use, second};
use super::pair::*;
use crate::ids::TunnelId;
use crate::ike::api::Input;
use crate::ike::config::{Start, TunnelConfig};
use crate::wire::ike::numbers::ExchangeType;

/// B's tunnel at its first address, and at its second one.
const HEADS: [TunnelId; 2] = [TunnelId(1), TunnelId(2)];

/// With the tunnel up at the head-end `place`, opened by A.
fn held_with(place: usize, fail_back: u64) -> Pair {
    let mut pair = between(client(Some(fail_back)), [1, 2].map(head_end));
    if place == 2 {
        cut(&mut pair, address(B));
    }
    pair.run_secs(15);
    pair.meddle = None;
    assert_eq!(in_use(&pair), if place == 1 { address(B) } else { second() });
    pair
}

fn asked_since(pair: &Pair, before: usize) -> bool {
    let asks = |datagram: &Datagram| {
        datagram.destination.ip() == address(B) && datagram.header().exchange == ExchangeType::IKE_SA_INIT
    };
    pair.trace[before..].iter().any(asks)
}

fn authenticate_anew(pair: &mut Pair, side: usize, tunnel: TunnelId) {
    pair.input(side, Input::Timeout);
    pair.sides[side].endpoint.reauthenticate_tunnel(tunnel);
    pair.drain(side);
}

#[test]
fn a_head_end_that_opens_the_tunnel_takes_it_from_the_one_that_we_had_opened_it_with() {
    for (held, opens) in [(1, 2), (2, 1)] {
        let mut pair = held_with(held, 600);
        pair.talk(Duration::from_secs(1));
        pair.input(B, Input::Up(HEADS[opens - 1]));
        pair.talk(Duration::from_secs(20));
        let there = if opens == 1 { address(B) } else { second() };
        assert_eq!(in_use(&pair), there);
        assert_eq!(head_ends(&pair).last(), Some(&(there, opens)));
        pair.assert_no_loss();
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
            assert_eq!((pair.sides[side].inbound.len(), pair.sides[side].outbound.len()), (2, 2), "{held} {side}");
        }
        // Nothing is opened again.
        pair.run_secs(300);
        assert_eq!([A, B].map(|side| pair.sides[side].ups()), [2, 2]);
    }
}

#[test]
fn what_the_peer_has_opened_with_several_head_ends_stays_and_none_pushes_another_one_out() {
    for first in [0, 1] {
        let manual = TunnelConfig { start: Start::Manual, ..client(Some(5)) };
        let mut pair = between(manual, [1, 2].map(head_end));
        for (number, opens) in [first, 1 - first].into_iter().enumerate() {
            pair.input(B, Input::Up(HEADS[opens]));
            pair.run_secs(20);
            // The second one says INITIAL_CONTACT as well as the first one: of itself.
            pair.sides[A].endpoint.assert_tidy(number + 1);
            assert_eq!(head_ends(&pair).last().map_or(1, |(_, place)| *place), opens + 1);
        }
        assert_eq!(in_use(&pair), if first == 0 { second() } else { address(B) });
        let before = pair.trace.len();
        pair.run_secs(600);
        assert_eq!([A, B].map(|side| pair.sides[side].ups()), [2, 2]);
        assert_eq!(pair.sides[A].inbound.len(), 4, "either may use its own");
        assert!(!asked_since(&pair, before), "the peer has chosen");
        // The one in use closes its own: the other one carries the tunnel.
        pair.input(B, Input::Down(HEADS[1 - first]));
        pair.run_secs(10);
        assert_eq!(in_use(&pair), if first == 0 { address(B) } else { second() });
        assert_eq!(pair.sides[A].inbound.len(), 2);
        pair.sides[A].endpoint.assert_tidy(1);
    }
}

/// A has sent its IKE_AUTH to the first head-end when the second one opens the tunnel.
#[test]
fn an_attempt_that_meets_a_head_end_which_opens_the_tunnel_gives_way() {
    let mut pair = between(client(Some(5)), [1, 2].map(head_end));
    pair.meddle = Some(Box::new(|datagram, _| {
        let late = datagram.source.ip() == address(B) && datagram.header().exchange == ExchangeType::IKE_AUTH;
        vec![(Duration::from_secs(if late { 2 } else { 0 }), datagram)]
    }));
    pair.input(B, Input::Up(HEADS[1]));
    pair.run_secs(1);
    assert_eq!(in_use(&pair), second());
    pair.run_secs(20);
    assert_eq!([A, B].map(|side| pair.sides[side].ups()), [2, 2], "both were made");
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    assert_eq!(head_ends(&pair), [(second(), 2)], "it never seemed to be the other one");
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}

/// It would go back after five seconds if A had chosen the second head-end itself.
#[test]
fn a_tunnel_does_not_go_back_from_a_head_end_that_the_peer_has_chosen_until_that_is_over() {
    let mut pair = held_with(1, 5);
    pair.input(B, Input::Up(HEADS[1]));
    pair.run_secs(20);
    let before = pair.trace.len();
    pair.run_secs(300);
    assert_eq!(in_use(&pair), second());
    assert!(!asked_since(&pair, before));
    // New keys are no other choice, whoever makes them, and neither is another IKE SA with the same head-end.
    pair.input(A, Input::Rekey { tunnel: TUNNEL, children: false, ike: true });
    pair.run_secs(60);
    authenticate_anew(&mut pair, A, TUNNEL);
    pair.run_secs(60);
    authenticate_anew(&mut pair, B, HEADS[1]);
    pair.run_secs(120);
    assert_eq!((in_use(&pair), pair.sides[A].ups()), (second(), 4));
    pair.sides[A].endpoint.assert_tidy(1);
    assert!(!asked_since(&pair, before));
    pair.input(B, Input::Down(HEADS[1]));
    pair.run_secs(10);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (address(B), 2));
}

/// The second head-end, which A has chosen, authenticates anew: nothing was chosen by that.
#[test]
fn a_head_end_that_authenticates_anew_does_not_keep_the_tunnel_from_going_back() {
    let mut pair = between(client(Some(10)), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(15);
    authenticate_anew(&mut pair, B, HEADS[1]);
    pair.run_secs(60);
    assert_eq!((in_use(&pair), pair.sides[A].ups(), pair.sides[A].inbound.len()), (second(), 2, 2));
    pair.meddle = None;
    pair.run_secs(60);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (address(B), 2));
    pair.sides[A].endpoint.assert_tidy(1);
}

/// The tunnel has just gone back when the second head-end authenticates anew what is about to go.
#[test]
fn what_was_to_go_goes_although_its_head_end_authenticates_anew() {
    let mut pair = between(client(Some(10)), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(15);
    pair.meddle = None;
    while head_ends(&pair).last() != Some(&(address(B), 1)) {
        pair.step(pair.now + Duration::from_secs(1));
    }
    authenticate_anew(&mut pair, B, HEADS[1]);
    pair.run_secs(60);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (address(B), 2));
    assert_eq!(head_ends(&pair), [(second(), 2), (address(B), 1)], "and it never seemed to be the other one again");
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}
