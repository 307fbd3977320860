//! Two head-ends of one peer: B is both, with a tunnel on each of its addresses. A has the one tunnel with two head-ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::event::{Event, IkeReason};
use crate::ids::ShapeId;
use crate::ids::TunnelId;
use crate::ike::api::Input;
use crate::ike::auth::Secrets;
use crate::ike::config::{ChildConfig, Config, LocalAuth, PeerAuth, Peering, Start, TunnelConfig};
use crate::secret::Secret;
use crate::wire::ike::numbers::ExchangeType;

pub(super) fn second() -> IpAddr {
    "198.51.100.2".parse().unwrap()
}

pub(super) fn client(fail_back: Option<u64>) -> TunnelConfig {
    let peering =
        Peering { others: vec![second()], fail_back: fail_back.map(Duration::from_secs), ..Peering::default() };
    TunnelConfig { peering, children: vec![child(A, 0), child(A, 1)], ..tunnel(A) }
}

/// What B is at its first address, and at its second one.
pub(super) fn head_end(place: u16) -> TunnelConfig {
    let shape = |number: u16| ChildConfig { shape: ShapeId(10 * place + number), ..child(B, number) };
    let local = if place == 1 { address(B) } else { second() };
    TunnelConfig { id: TunnelId(place), local, children: vec![shape(0), shape(1)], ..tunnel(B) }
}

pub(super) fn between(a: TunnelConfig, heads: [TunnelConfig; 2]) -> Pair {
    let b = Config { tunnels: heads.map(Arc::new).to_vec(), cookie_threshold: None, puzzles: None };
    Pair::seeded(3, config(a), Arc::new(b))
}

/// From now on nothing comes from or to this address.
pub(super) fn cut(pair: &mut Pair, address: IpAddr) {
    let there = move |datagram: &Datagram| [datagram.source.ip(), datagram.destination.ip()].contains(&address);
    pair.line.retain(|datagram| !there(datagram));
    pair.meddle =
        Some(Box::new(move |datagram, _| if there(&datagram) { vec![] } else { vec![(Duration::ZERO, datagram)] }));
}

pub(super) fn in_use(pair: &Pair) -> IpAddr {
    pair.status(A).ike.expect("an IKE SA").remote.ip()
}

pub(super) fn head_ends(pair: &Pair) -> Vec<(IpAddr, usize)> {
    let of = |event: &Event| match event {
        Event::HeadEnd { remote, place, .. } => Some((*remote, *place)),
        _ => None,
    };
    pair.sides[A].events.iter().filter_map(of).collect()
}

#[test]
fn the_first_head_end_is_used_if_it_answers() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    pair.run_secs(300);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (address(B), 2));
    assert!(pair.trace.iter().all(|datagram| datagram.destination.ip() != second()), "the other one hears nothing");
    assert_eq!(head_ends(&pair), []);
}

#[test]
fn a_head_end_that_does_not_answer_is_left_for_the_next_one_within_ten_seconds() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(11);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    assert_eq!(head_ends(&pair), [(second(), 2)]);
    assert_eq!(pair.status(A).why, None);
    assert_eq!(pair.failed(A)[0].1, IkeReason::TimedOut);
}

#[test]
fn a_head_end_that_refuses_is_left_for_the_next_one() {
    let wrong_key = || {
        let secrets = Secrets::one(Secret::copy_of(b"quite another key, which A does not know"));
        TunnelConfig { local_auth: LocalAuth::Psk(secrets.clone()), peer_auth: PeerAuth::Psk(secrets), ..head_end(1) }
    };
    let other_suite = || TunnelConfig { ike: vec![CBC], ..head_end(1) };
    for first in [wrong_key(), other_suite()] {
        let mut pair = between(client(Some(60)), [first, head_end(2)]);
        pair.run_secs(12);
        assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    }
}

#[test]
fn when_no_head_end_answers_all_are_tried_again_and_again() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.run_secs(600);
    let tried = |address| pair.trace.iter().filter(|datagram| datagram.destination.ip() == address).count();
    assert!(tried(address(B)) > 30 && tried(second()) > 30);
    pair.meddle = None;
    pair.run_secs(80);
    assert_eq!(pair.sides[A].inbound.len(), 2);
}

/// The head-end in use vanishes: the other one carries the tunnel. It comes back, has to show for a minute that it is well,
/// and gets the tunnel back without a packet being lost.
#[test]
fn a_tunnel_fails_over_and_back_without_a_cut_on_the_way_back() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    pair.run_secs(5);
    cut(&mut pair, address(B));
    pair.run_secs(75);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    pair.run_secs(300);
    assert_eq!(in_use(&pair), second(), "it does not answer");
    assert_eq!(pair.sides[A].ups(), 2, "asking it opens nothing");
    pair.meddle = None;
    pair.talk(Duration::from_secs(55));
    assert_eq!(in_use(&pair), second(), "it has not answered for a minute");
    pair.talk(Duration::from_secs(45));
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len(), pair.sides[A].outbound.len()), (address(B), 2, 2));
    pair.assert_no_loss();
    assert_eq!(head_ends(&pair), [(second(), 2), (address(B), 1)]);
    pair.run_secs(60);
    let asked =
        pair.trace.iter().rev().take_while(|datagram| datagram.at.as_nanos() + 60_000_000_000 > pair.now.as_nanos());
    assert!(
        asked.clone().all(|datagram| datagram.header().exchange != ExchangeType::IKE_SA_INIT),
        "nothing is left to ask"
    );
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}

/// The first head-end comes and goes: it never answers for a whole minute, and never gets the tunnel.
#[test]
fn a_first_head_end_that_comes_and_goes_has_to_stay_before_it_gets_the_tunnel() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(15);
    for _ in 0..10 {
        pair.meddle = None;
        pair.run_secs(40);
        cut(&mut pair, address(B));
        pair.run_secs(25);
        assert_eq!((in_use(&pair), pair.sides[A].ups()), (second(), 1));
    }
}

/// The first head-end answers IKE_SA_INIT and refuses the rest: the tunnel stays where it is, and asks rarely.
#[test]
fn a_first_head_end_that_answers_and_refuses_takes_nothing_away() {
    let secrets = Secrets::one(Secret::copy_of(b"quite another key, which A does not know"));
    let first =
        TunnelConfig { local_auth: LocalAuth::Psk(secrets.clone()), peer_auth: PeerAuth::Psk(secrets), ..head_end(1) };
    let mut pair = between(client(Some(10)), [first, head_end(2)]);
    pair.run_secs(2);
    assert_eq!(in_use(&pair), second());
    pair.talk(Duration::from_mins(10));
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    pair.assert_no_loss();
    assert_eq!(pair.sides[A].ups(), 1);
    let refused = pair.failed(A).iter().filter(|(_, reason, _)| *reason == IkeReason::AuthenticationFailed).count();
    assert!((2..=12).contains(&refused), "{refused}");
}

/// Whoever answers for the first head-end without knowing the key moves nothing; and with `fail_back = 0` nobody asks.
#[test]
fn without_fail_back_the_tunnel_stays_where_it_is() {
    let mut pair = between(client(None), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(15);
    pair.meddle = None;
    let before = pair.trace.len();
    pair.run_secs(600);
    assert_eq!(in_use(&pair), second());
    assert!(pair.trace[before..].iter().all(|datagram| datagram.destination.ip() != address(B)));
}

/// Every head-end may open the tunnel, and two of them do not push each other out.
#[test]
fn each_head_end_may_open_the_tunnel() {
    let [mut first, mut other] = [1, 2].map(head_end);
    (first.start, other.start) = (Start::Always, Start::Always);
    let mut pair = between(TunnelConfig { start: Start::Manual, ..client(Some(60)) }, [first, other]);
    pair.run_secs(120);
    assert_eq!(pair.sides[A].ups(), 2);
    assert_eq!(pair.sides[B].ups(), 2, "neither was opened twice");
    cut(&mut pair, address(B));
    pair.run_secs(75);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
}

#[test]
fn a_reload_that_changes_the_other_head_ends_leaves_the_tunnel_alone() {
    let mut pair = between(client(Some(60)), [1, 2].map(head_end));
    pair.run_secs(5);
    pair.reload(A, TunnelConfig { peering: Peering::default(), ..client(None) });
    pair.run_secs(5);
    assert_eq!((pair.sides[A].ups(), in_use(&pair)), (1, address(B)));
    // The one in use is taken out of the list.
    pair.reload(A, TunnelConfig { peer: second(), peering: Peering::default(), ..client(None) });
    pair.run_secs(10);
    assert_eq!((pair.sides[A].ups(), in_use(&pair)), (2, second()));
    pair.input(A, Input::Shutdown);
}

/// The tunnel goes back, and the first head-end takes it away again before the other one is left: that one goes on, and the first
/// one is asked again.
#[test]
fn a_way_back_that_ends_at_once_is_looked_for_again() {
    let mut pair = between(client(Some(10)), [1, 2].map(head_end));
    cut(&mut pair, address(B));
    pair.run_secs(15);
    pair.meddle = None;
    while head_ends(&pair).last().is_none_or(|(_, place)| *place != 1) {
        pair.step(pair.now + Duration::from_secs(1));
    }
    pair.input(B, Input::Down(TunnelId(1)));
    pair.run_secs(15);
    assert_eq!((in_use(&pair), pair.sides[A].inbound.len()), (second(), 2));
    assert_eq!(head_ends(&pair), [(second(), 2), (address(B), 1), (second(), 2)]);
    let before = pair.trace.len();
    pair.run_secs(60);
    let asked = |datagram: &Datagram| {
        datagram.destination.ip() == address(B) && datagram.header().exchange == ExchangeType::IKE_SA_INIT
    };
    assert!(pair.trace[before..].iter().any(asked));
}
