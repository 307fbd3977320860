//! Ports that stand for others, as RFC 4787, 5382 and 5508 want them.

use super::*;
use crate::wire::ip::{ICMP, TCP, UDP};

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);
const PUSH: u8 = ACK | crate::wire::tcp::PSH;

fn table() -> Mappings {
    let mut mappings = Mappings::new(RandomState::with_seeds(1, 2, 3, 4));
    mappings.make_room(CAPACITY);
    mappings
}

fn end(host: u8, port: u16) -> End {
    End { address: [10, 0, 0, host].into(), port }
}

fn opened(mappings: &mut Mappings, protocol: u8, inside: End) -> Slot {
    let port = mappings.free_port(NOW, 0, protocol, inside.port, |_| false).unwrap();
    mappings.insert(NOW, 0, protocol, inside, port).unwrap()
}

fn passing(outbound: bool, remote: u8, flags: u8) -> Passing {
    Passing { outbound, remote: End { address: [203, 0, 113, remote].into(), port: 1414 }, flags }
}

/// Whether it is there so long after `NOW`, and not a second longer.
#[track_caller]
fn lasts(mappings: &Mappings, protocol: u8, inside: End, minutes: u64) {
    let at = |seconds| mappings.of_inside(NOW + Duration::from_secs(seconds), 0, protocol, inside).is_some();
    assert_eq!((at(minutes * 60 - 1), at(minutes * 60)), (true, false), "{minutes} minutes");
}

#[test]
fn a_mapping_does_not_depend_on_the_destination_and_is_nobody_elses() {
    let mut mappings = table();
    let first = opened(&mut mappings, UDP, end(1, 5000));
    let second = opened(&mut mappings, UDP, end(2, 5000));
    let ports = [first, second].map(|slot| mappings.ends(slot).unwrap().1);
    assert_eq!(ports[0], 5000);
    assert!(ports[1] != 5000 && ports[1] >= 1024 && ports[1] % 2 == 0, "{ports:?}");
    // Two partners, one mapping.
    for remote in [1, 2] {
        mappings.passed(NOW, first, passing(true, remote, 0));
        assert_eq!(mappings.of_inside(NOW, 0, UDP, end(1, 5000)), Some(first));
    }
    assert_eq!(mappings.of_outside(NOW, 0, UDP, ports[1]), Some(second));
    // Another protocol, and another address, have ports of their own.
    assert_eq!(mappings.free_port(NOW, 0, TCP, 5000, |_| false), Some(5000));
    assert_eq!(mappings.free_port(NOW, 1, UDP, 5000, |_| false), Some(5000));
    // A port that the peer may open is given to nobody, and a well-known one becomes one.
    let instead = mappings.free_port(NOW, 0, TCP, 80, |port| port == 80).unwrap();
    assert!((1..1024).contains(&instead) && instead != 80);
    // When all of those are taken, another one will do.
    assert!(mappings.free_port(NOW, 0, TCP, 80, |port| port < 1024).unwrap() >= 1024);
    assert_eq!(mappings.free_port(NOW, 0, TCP, 80, |_| true), None);
}

#[test]
fn mappings_outlive_silence_as_long_as_the_rfcs_ask() {
    let mut mappings = table();
    for (protocol, minutes) in [(UDP, 5), (ICMP, 1), (TCP, 4)] {
        opened(&mut mappings, protocol, end(1, 7));
        lasts(&mappings, protocol, end(1, 7), minutes);
    }
    let slot = mappings.of_inside(NOW, 0, TCP, end(1, 7)).unwrap();
    let steps = [
        (true, SYN, 4),
        (false, SYN | ACK, 4),
        (true, ACK, 124),
        (false, PUSH, 124),
        // Half closed is in use.
        (true, FIN | ACK, 124),
        (false, ACK, 124),
        (false, FIN | ACK, 4),
        (true, ACK, 4),
        // The same port again.
        (true, SYN, 4),
        (true, ACK, 124),
        (false, RST, 4),
        (false, ACK, 4),
    ];
    for (outbound, flags, minutes) in steps {
        mappings.passed(NOW, slot, passing(outbound, 1, flags));
        lasts(&mappings, TCP, end(1, 7), minutes);
    }
}

#[test]
fn the_end_of_one_connection_is_not_that_of_another_one_from_the_same_port() {
    let mut mappings = table();
    let slot = opened(&mut mappings, TCP, end(1, 7));
    for (remote, flags) in [(1, SYN), (1, ACK), (2, SYN), (2, ACK), (1, RST)] {
        mappings.passed(NOW, slot, passing(true, remote, flags));
    }
    lasts(&mappings, TCP, end(1, 7), 124);
    // One after the other is no such thing.
    let slot = opened(&mut mappings, TCP, end(1, 8));
    for (remote, flags) in [(1, SYN), (1, ACK), (1, RST), (2, SYN), (2, ACK), (2, RST)] {
        mappings.passed(NOW, slot, passing(true, remote, flags));
    }
    lasts(&mappings, TCP, end(1, 8), 4);
}

#[test]
fn the_table_is_bounded_and_what_has_expired_makes_room() {
    let mut mappings = Mappings::new(RandomState::with_seeds(1, 2, 3, 4));
    assert_eq!(mappings.insert(NOW, 0, UDP, end(1, 1), 1), None, "no room was made");
    mappings.make_room(100);
    for port in 1..=100 {
        assert!(mappings.insert(NOW, 0, UDP, end(1, port), port).is_some());
    }
    assert_eq!(mappings.insert(NOW, 0, UDP, end(2, 1), 1000), None);
    let later = NOW + DATAGRAMS;
    assert!(mappings.insert(later, 0, UDP, end(2, 1), 1000).is_some());
    // An expired one at either end gives way to a new one.
    mappings.sweep(later, 1000);
    assert_eq!(mappings.len(), 1);
    let slot = mappings.insert(later + DATAGRAMS, 0, UDP, end(2, 1), 2000).unwrap();
    let slot_too = mappings.insert(later + DATAGRAMS * 2, 0, UDP, end(3, 3), 2000).unwrap();
    assert_eq!(mappings.len(), 1);
    assert_eq!(slot, slot_too, "its room is free again");
    assert_eq!(mappings.ends(slot), Some((end(3, 3), 2000)));
}
