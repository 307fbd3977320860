//! NAT detection, the float to port 4500, and a peer that moves (RFC 7296 §2.23).

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::mobike::mobile;
use super::pair::*;
use crate::ike::api::Input;
use crate::ike::config::{Peering, TunnelConfig};
use crate::sa::child::Encapsulation;
use crate::sa::event::SadEvent;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::Payload;

const NAT: [u8; 4] = [203, 0, 113, 9];

/// A is behind a NAT that adds `shift` to its ports.
fn behind_nat() -> (Pair, Rc<Cell<u16>>) {
    between(tunnel(A), tunnel(B))
}

fn between(a: TunnelConfig, b: TunnelConfig) -> (Pair, Rc<Cell<u16>>) {
    let mut pair = Pair::seeded(1, config(a), config(TunnelConfig { peer: NAT.into(), ..b }));
    let shift = Rc::new(Cell::new(10_000));
    let of_nat = Rc::clone(&shift);
    pair.meddle = Some(Box::new(move |mut datagram, _| {
        if datagram.to == B {
            datagram.source = SocketAddr::from((NAT, datagram.source.port() + of_nat.get()));
        } else {
            let Some(port) = datagram.destination.port().checked_sub(of_nat.get()) else { return vec![] };
            if port != 500 && port != 4500 {
                return vec![];
            }
            datagram.destination = SocketAddr::new(address(A), port);
        }
        vec![(Duration::ZERO, datagram)]
    }));
    // What was sent before the NAT was there.
    let early: Vec<_> = pair.line.drain(..).collect();
    for mut datagram in early {
        datagram.source = SocketAddr::from((NAT, 10_500));
        pair.line.push_back(datagram);
    }
    (pair, shift)
}

#[test]
fn behind_a_nat_everything_floats_to_port_4500() {
    let (mut pair, _) = behind_nat();
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!((pair.status(A).ike.unwrap().nat, pair.status(B).ike.unwrap().nat), ("local", "remote"));
    let ports: Vec<_> = pair.trace.iter().filter(|d| d.to == B).map(|d| d.source.port()).collect();
    assert_eq!(ports, [500, 4500]);
    let udp = |side: usize| pair.sides[side].outbound.values().next().unwrap().child.encapsulation;
    let (ours, theirs) = (SocketAddr::new(address(A), 4500), SocketAddr::new(address(B), 4500));
    assert_eq!(udp(A), Encapsulation::Udp { local: ours, remote: theirs });
    assert_eq!(udp(B), Encapsulation::Udp { local: theirs, remote: SocketAddr::from((NAT, 14_500)) });
}

#[test]
fn only_the_side_behind_the_nat_keeps_its_mapping_alive() {
    let (mut pair, _) = behind_nat();
    pair.run_secs(101);
    assert_eq!(pair.sides[A].keepalives.len(), 5);
    assert!(pair.sides[B].keepalives.is_empty());
    let expected = (SocketAddr::new(address(A), 4500), SocketAddr::new(address(B), 4500));
    assert!(pair.sides[A].keepalives.iter().all(|way| *way == expected));
}

#[test]
fn a_new_mapping_is_followed_once_a_new_authenticated_message_has_come_by_it() {
    let (mut pair, shift) = behind_nat();
    pair.run_secs(1);
    let captured = pair.trace.iter().rfind(|datagram| datagram.to == B).unwrap().clone();
    // A replayed datagram from elsewhere moves nothing.
    let elsewhere = SocketAddr::from(([198, 18, 0, 1], 4500));
    pair.deliver(&Datagram { source: elsewhere, ..captured });
    assert!(pair.sides[B].redirects.is_empty());
    shift.set(20_000);
    pair.run_secs(30);
    pair.assert_up(1);
    let moved = SocketAddr::from((NAT, 24_500));
    assert_eq!(pair.status(B).ike.unwrap().remote, moved);
    let local = SocketAddr::new(address(B), 4500);
    assert_eq!(pair.sides[B].redirects, [Encapsulation::Udp { local, remote: moved }]);
}

#[test]
fn the_data_path_may_see_the_move_first() {
    let (mut pair, _) = behind_nat();
    pair.run_secs(1);
    let inbound = *pair.sides[B].inbound.keys().next().unwrap();
    let remote = SocketAddr::from((NAT, 33_333));
    let local = SocketAddr::new(address(B), 4500);
    pair.input(B, Input::Sad(SadEvent::PeerMoved { inbound, remote, local }));
    assert_eq!(pair.sides[B].redirects, [Encapsulation::Udp { local, remote }]);
    assert_eq!(pair.status(B).ike.unwrap().remote, remote);
}

#[test]
fn without_a_nat_nobody_floats_and_nothing_is_followed() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    assert!(pair.trace.iter().all(|datagram| datagram.source.port() == 500));
    let inbound = *pair.sides[B].inbound.keys().next().unwrap();
    let (remote, local) = (SocketAddr::from((NAT, 4500)), SocketAddr::new(address(B), 4500));
    pair.input(B, Input::Sad(SadEvent::PeerMoved { inbound, remote, local }));
    assert!(pair.sides[B].redirects.is_empty());
    // An authenticated request from elsewhere is answered there (RFC 7296 §2.11), and that is all.
    let forged = pair.sides[A].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, PayloadType::NONE, &[]);
    let (path, bytes) = forged.unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote, bytes: &bytes });
    assert_eq!(pair.trace.last().unwrap().destination, remote);
    assert!(pair.sides[B].redirects.is_empty());
    assert_eq!(pair.status(B).ike.unwrap().remote, path.local);
    let raw = pair.sides[A].outbound.values().next().unwrap().child.encapsulation;
    assert_eq!(raw, Encapsulation::Raw { local: address(A), remote: address(B) });
}

#[test]
fn encapsulation_can_be_forced_from_either_side() {
    for forced in [A, B] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.force_encapsulation, b.force_encapsulation) = (forced == A, forced == B);
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(1);
        for side in [A, B] {
            let encapsulation = pair.sides[side].outbound.values().next().unwrap().child.encapsulation;
            assert!(matches!(encapsulation, Encapsulation::Udp { .. }));
        }
        assert_eq!(pair.status(forced).ike.unwrap().nat, "local");
        assert_eq!(pair.status(1 - forced).ike.unwrap().nat, "remote");
        assert_eq!(pair.trace[2].source.port(), 4500);
    }
}

/// Somebody on the line sends each message of the handshake from another port too, and is faster than the true one.
#[test]
fn a_copy_from_another_port_is_no_nat() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.meddle = Some(Box::new(|datagram, _| {
        let source = SocketAddr::new(datagram.source.ip(), 7777);
        let copy = Datagram { source, ..datagram.clone() };
        vec![(Duration::ZERO, copy), (Duration::from_millis(1), datagram)]
    }));
    pair.input(A, Input::Down(TUNNEL));
    pair.line.clear();
    pair.input(A, Input::Up(TUNNEL));
    // What is sent to that port reaches nobody.
    let until = pair.now + Duration::from_secs(5);
    while pair.now < until {
        pair.line.retain(|datagram| datagram.destination.port() != 7777);
        pair.step(until);
    }
    pair.assert_up(1);
    for side in [A, B] {
        let ike = pair.status(side).ike.unwrap();
        assert_eq!((ike.nat, ike.remote), ("none", SocketAddr::new(address(1 - side), 500)));
        let out = pair.sides[side].outbound.values().next().unwrap().child.encapsulation;
        assert_eq!(out, Encapsulation::Raw { local: address(side), remote: address(1 - side) });
    }
}

/// RFC 4555 §3.8: IKE messages alone move nobody who may say that it moves. It asks where it is seen, and says so then.
#[test]
fn who_may_move_finds_a_new_mapping_and_says_so() {
    let mobile = |side| TunnelConfig { peering: Peering { mobike: true, ..Peering::default() }, ..tunnel(side) };
    // Only A asks whether the other side lives.
    let patient = TunnelConfig { liveness: Duration::from_hours(1), ..mobile(B) };
    let (mut pair, shift) = between(mobile(A), patient);
    let updates = |pair: &Pair| {
        let says =
            |payload: &Payload| matches!(payload, Payload::Notify(of) if of.kind == NotifyType::UPDATE_SA_ADDRESSES);
        let to_b = pair.trace.iter().filter(|datagram| datagram.to == B);
        let opened = to_b.filter_map(|datagram| pair.sides[B].endpoint.unseal(&datagram.bytes));
        opened.filter(|payloads| payloads.iter().any(says)).count()
    };
    pair.run_secs(15);
    assert_eq!(updates(&pair), 1, "what was seen before is not known");
    pair.run_secs(60);
    assert_eq!(updates(&pair), 1, "nothing has changed");
    let before = pair.status(B).ike.unwrap().remote;
    shift.set(20_000);
    let asked = pair.trace.len();
    while pair.trace[asked..].iter().all(|datagram| datagram.to == B) {
        pair.step(pair.now + Duration::from_secs(1));
        assert_eq!(pair.status(B).ike.unwrap().remote, before, "a question moves nobody");
    }
    pair.run_secs(5);
    let after = SocketAddr::from((NAT, 24_500));
    assert_eq!((updates(&pair), pair.status(B).ike.unwrap().remote), (2, after));
    assert_eq!(
        pair.sides[B].redirects.last(),
        Some(&Encapsulation::Udp { local: SocketAddr::new(address(B), 4500), remote: after })
    );
}

/// With MOBIKE the original initiator looks for a peer that is silent at its other addresses. It may have been at home all the time.
#[test]
fn a_peer_that_is_heard_again_by_another_mapping_gets_its_esp_there() {
    let mut pair = Pair::new(
        TunnelConfig { peer: NAT.into(), liveness: Duration::from_secs(2), ..mobile(A, true) },
        TunnelConfig { liveness: Duration::from_secs(20), ..mobile(B, true) },
    );
    let shift = Rc::new(Cell::new(10_000));
    let of_nat = Rc::clone(&shift);
    // B is behind the NAT, which lets new connections to B through.
    pair.meddle = Some(Box::new(move |mut datagram, _| {
        let forwarded = [500, 4500].map(|port| (port, port)).into_iter();
        let mapped = [500, 4500].map(|port| (port + of_nat.get(), port)).into_iter();
        if datagram.to == A {
            datagram.source = SocketAddr::from((NAT, datagram.source.port() + of_nat.get()));
        } else {
            let inside = forwarded.chain(mapped).find(|(outside, _)| *outside == datagram.destination.port());
            let Some((_, port)) = inside else { return vec![] };
            datagram.destination = SocketAddr::new(address(B), port);
        }
        vec![(Duration::ZERO, datagram)]
    }));
    for datagram in &mut pair.line {
        datagram.destination.set_ip(address(B));
    }
    pair.run_secs(1);
    pair.assert_up(2);
    let (local, at) = (SocketAddr::new(address(A), 4500), |port: u16| SocketAddr::from((NAT, port)));
    let inbound = *pair.sides[A].inbound.keys().next().unwrap();
    pair.input(A, Input::Sad(SadEvent::PeerMoved { inbound, remote: at(14_500), local }));
    // A's questions do not reach B any more, and B is silent for a while.
    shift.set(20_000);
    pair.run_secs(20);
    pair.assert_up(2);
    assert_eq!(pair.sides[A].redirects.last(), Some(&Encapsulation::Udp { local, remote: at(24_500) }));
    assert_eq!(pair.status(A).ike.unwrap().remote, at(24_500));
}
