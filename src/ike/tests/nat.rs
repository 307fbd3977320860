//! NAT detection, the float to port 4500, and a peer that moves (RFC 7296 §2.23).

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::pair::*;
use crate::ike::api::Input;
use crate::sa::child::Encapsulation;
use crate::sa::event::SadEvent;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};

const NAT: [u8; 4] = [203, 0, 113, 9];

/// A is behind a NAT that adds `shift` to its ports.
fn behind_nat() -> (Pair, Rc<Cell<u16>>) {
    let mut b = tunnel(B);
    b.peer = NAT.into();
    let mut pair = Pair::seeded(1, config(tunnel(A)), config(b));
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
