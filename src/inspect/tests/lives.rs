//! How long a flow lives, who is told of its end, and how many there may be.

use super::*;

#[test]
fn what_was_not_acknowledged_is_waited_for_five_minutes() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"unanswered")).passed();
    gateway.pass_time(300);
    gateway.table.sweep(gateway.now, 16);
    assert!(gateway.table.is_empty());
}

#[test]
fn our_own_side_is_told_of_a_connection_that_was_silent_for_too_long() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        gateway.pass_time(7440);
        gateway.table.sweep(gateway.now, 16);
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.cause, ending.rule), (Some(Cause::Expired), RuleId(1)));
        let (client, server) = ((host(v6, false), 40000), (host(v6, true), 1414));
        let reset = Reset { from: server, to: client, sequence: 501, acknowledgement: 101 };
        assert_eq!((ending.local, ending.remote), (Some(reset), None));
        assert_eq!(gateway.table.poll_ending(), None);
        // Nobody is told of one that had ended already, or that never stood.
        gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
        gateway.pass_time(120);
        gateway.table.sweep(gateway.now, 16);
        assert!(gateway.table.is_empty());
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.cause, ending.local, ending.remote), (Some(Cause::Expired), None, None));
    }
}

#[test]
fn a_connection_that_was_closed_is_told_once_with_what_it_has_carried() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"0123456789")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 111, b"01234")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 111, 506, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, FIN | ACK, 506, 112, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 112, 507, b"")).passed();
    gateway.pass_time(120);
    gateway.table.sweep(gateway.now, 16);
    let ending = gateway.table.poll_ending().unwrap();
    assert_eq!((ending.cause, ending.bytes), (Some(Cause::Closed), [5 * 40 + 10, 3 * 40 + 5]));
    assert_eq!((ending.local, ending.remote, gateway.table.poll_ending()), (None, None, None));
}

#[test]
fn each_state_has_its_own_patience() {
    let outlives = |prepare: fn(&mut Gateway), seconds: u64| {
        [seconds - 1, seconds].map(|silence| {
            let mut gateway = Gateway::new();
            prepare(&mut gateway);
            gateway.pass_time(silence);
            gateway.table.sweep(gateway.now, 16);
            gateway.table.len()
        })
    };
    let open = |gateway: &mut Gateway| gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert_eq!(outlives(open, 120), [1, 0]);
    assert_eq!(outlives(Gateway::establish, 7440), [1, 0]);
    let half_closed = |gateway: &mut Gateway| {
        gateway.establish();
        gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"")).passed();
    };
    assert_eq!(outlives(half_closed, 120), [1, 0]);
    assert_eq!(outlives(|gateway| gateway.udp(Origin::Tun, 9, 5000).passed(), 30), [1, 0]);
    let answered = |gateway: &mut Gateway| {
        gateway.udp(Origin::Tun, 9, 5000).passed();
        gateway.udp(PEER, 5000, 9).passed();
    };
    assert_eq!(outlives(answered, 120), [1, 0]);
}

#[test]
fn an_expired_flow_is_over_even_before_it_is_swept() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.pass_time(7440);
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    verdict.dropped(DropReason::NoConnection, Some(1), Reply::Reset);
    assert!(gateway.table.is_empty());
}

#[test]
fn a_full_table_takes_no_new_flow_and_keeps_the_old_ones() {
    let mut gateway = Gateway::new();
    gateway.establish();
    for port in 1..16 {
        assert!(gateway.udp(Origin::Tun, port, 5000).opened());
    }
    gateway.udp(Origin::Tun, 99, 5000).dropped(DropReason::FlowTableFull, Some(3), Reply::None);
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    assert_eq!(gateway.table.len(), 16);
    // What has expired makes room.
    gateway.pass_time(30);
    assert!(gateway.udp(Origin::Tun, 99, 5000).opened());
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    assert_eq!(gateway.table.len(), 2);
}
