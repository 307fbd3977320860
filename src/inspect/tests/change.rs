//! The rules change, or a tunnel is closed, while flows live.

use super::*;

#[test]
fn a_change_of_the_rules_tells_both_ends_of_each_flow_at_once() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"answer")).passed();
        gateway.udp(Origin::Tun, 9, 5000).passed();
        assert!(!gateway.table.end_disallowed(gateway.now, &gateway.policy), "nothing has changed");
        gateway.policy = compile(rules(), false, Some(&gateway.policy));
        gateway.table.policy_changed();
        assert!(!gateway.table.end_disallowed(gateway.now, &gateway.policy));
        assert!(gateway.table.is_empty());
        let mut endings: Vec<_> = std::iter::from_fn(|| gateway.table.poll_ending()).collect();
        endings.sort_by_key(|ending| ending.rule);
        let [tcp, udp] = endings[..] else { panic!("{endings:?}") };
        let disabled = Cause::Refused(DropReason::TunnelDisabled);
        assert_eq!((tcp.cause, udp.cause), (Some(disabled), Some(disabled)));
        let (client, server) = ((host(v6, false), 40000), (host(v6, true), 1414));
        let to_client = Reset { from: server, to: client, sequence: 507, acknowledgement: 101 };
        let to_server = Reset { from: client, to: server, sequence: 101, acknowledgement: 507 };
        assert_eq!((tcp.local, tcp.remote), (Some(to_client), Some(to_server)));
        assert_eq!((udp.local, udp.remote), (None, None));
        let flow = tcp.flow;
        assert_eq!((flow.source, flow.source_port, flow.destination_port), (client.0, 40000, 1414));
    }
}

#[test]
fn the_sender_that_meets_a_change_first_is_answered_and_the_other_end_told() {
    for outbound in [true, false] {
        let mut gateway = Gateway::new();
        gateway.establish();
        gateway.policy = compile(rules(), false, Some(&gateway.policy));
        let verdict = if outbound {
            gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"late"))
        } else {
            gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"late"))
        };
        let reply = if outbound { Reply::Reset } else { Reply::None };
        verdict.dropped(DropReason::TunnelDisabled, Some(1), reply);
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.local.is_some(), ending.remote.is_some()), (!outbound, true));
        assert!(gateway.table.is_empty());
    }
}

#[test]
fn more_flows_than_can_be_told_at_once_end_in_several_steps_and_none_carries_anything_meanwhile() {
    let mut gateway = Gateway { table: FlowTable::new(300, [1, 2, 3, 4]), ..Gateway::new() };
    for port in 1..=200 {
        gateway.tcp(Origin::Tun, (port, 1414, SYN, 100, 0, b"")).passed();
    }
    gateway.policy = compile(rules(), false, Some(&gateway.policy));
    gateway.table.policy_changed();
    let mut told = 0;
    loop {
        let more = gateway.table.end_disallowed(gateway.now, &gateway.policy);
        told += std::iter::from_fn(|| gateway.table.poll_ending()).count();
        let late = gateway.tcp(PEER, (1414, 200, SYN | ACK, 500, 101, b""));
        assert_ne!(late.reason(), DropReason::OutOfState);
        if !more {
            break;
        }
    }
    told += std::iter::from_fn(|| gateway.table.poll_ending()).count();
    assert_eq!((told, gateway.table.len()), (200, 0));
}

#[test]
fn a_change_of_the_rules_ends_the_flows_that_they_no_longer_allow() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.policy = compile(rules(), true, Some(&gateway.policy));
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    let without = rules().into_iter().skip(1).collect();
    gateway.policy = compile(without, true, Some(&gateway.policy));
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    verdict.dropped(DropReason::NoRule, Some(2), Reply::Reset);
    assert!(gateway.table.is_empty());

    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.policy = compile(rules(), false, Some(&gateway.policy));
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).dropped(DropReason::TunnelDisabled, Some(1), Reply::None);
    let verdict = gateway.tcp(Origin::Tun, (40001, 1414, SYN, 1, 0, b""));
    verdict.dropped(DropReason::TunnelDisabled, Some(1), Reply::Unreachable);
}

#[test]
fn a_changed_rule_takes_its_flows_along() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let mut moved = rules();
    moved[0].id = RuleId(9);
    gateway.policy = compile(moved, true, Some(&gateway.policy));
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    let Verdict::Pass(Pass { rule, opened: false, .. }) = verdict else { panic!("{verdict:?}") };
    assert_eq!(rule, RuleId(9));
}

#[test]
fn a_tunnel_that_was_closed_and_opened_again_before_anybody_looked_has_no_flow_left() {
    type Lifts = fn(&Snapshot) -> Snapshot;
    let closing: std::collections::BTreeMap<_, _> = [(TunnelId(0), DropReason::AgreementSuspended)].into();
    // Opened by the same rules, or by the same rules loaded again.
    let lifts: [Lifts; 2] = [|closed| closed.gated(&[].into()), |closed| compile(rules(), true, Some(closed))];
    for lift in lifts {
        for looks in [true, false] {
            let mut gateway = Gateway::new();
            gateway.establish();
            gateway.udp(Origin::Tun, 9, 5000).passed();
            gateway.policy = lift(&gateway.policy.gated(&closing));
            gateway.table.policy_changed();
            if looks {
                assert!(!gateway.table.end_disallowed(gateway.now, &gateway.policy));
            } else {
                let late = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"as if nothing had been"));
                late.dropped(DropReason::AgreementSuspended, Some(1), Reply::Reset);
                assert_eq!(gateway.udp(PEER, 5000, 9).reason(), DropReason::AgreementSuspended);
            }
            assert!(gateway.table.is_empty());
            let causes: Vec<_> =
                std::iter::from_fn(|| gateway.table.poll_ending()).map(|ending| ending.cause).collect();
            assert_eq!(causes, [Some(Cause::Refused(DropReason::AgreementSuspended)); 2]);
            // What is opened from now on lives.
            gateway.establish();
            gateway.policy = gateway.policy.gated(&[].into());
            gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"news")).passed();
        }
    }
    // The flow of another tunnel has nothing to do with it.
    let mut gateway = Gateway::new();
    gateway.establish();
    let other = [(TunnelId(1), DropReason::AgreementSuspended)].into();
    gateway.policy = gateway.policy.gated(&other).gated(&[].into());
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"still here")).passed();
    // A file that had disabled the tunnel is a closing as well.
    gateway.policy = compile(rules(), true, Some(&compile(rules(), false, Some(&gateway.policy))));
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).reason(), DropReason::TunnelDisabled);
}

#[test]
fn what_waited_in_a_flow_that_nobody_listens_to_any_more_leaves_behind_no_other_packet() {
    let mut listening = rules();
    listening[0].inspection = Inspection::of(Service::Mq);
    let mut gateway = Gateway { policy: compile(listening, true, None), ..Gateway::new() };
    gateway.establish();
    let later = (40000, 1414, ACK, 111, 501, &b"later"[..]);
    assert_eq!(gateway.tcp(Origin::Tun, later), Verdict::Waits);
    gateway.policy = compile(rules(), true, Some(&gateway.policy));
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    assert!(!gateway.table.releases(), "what our side has sent goes to our side");
    assert_eq!(gateway.table.kept(), 0);
    gateway.tcp(Origin::Tun, later).passed();
}
