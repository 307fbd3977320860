//! UDP, echo, and ICMP errors that quote a live flow.

use super::*;

#[test]
fn udp_answers_pass_only_to_a_question() {
    let mut gateway = Gateway::new();
    gateway.udp(PEER, 5000, 40000).dropped(DropReason::WrongDirection, Some(3), Reply::None);
    assert!(gateway.udp(Origin::Tun, 40000, 5000).opened());
    gateway.udp(PEER, 5000, 40000).passed();
    assert!(!gateway.udp(Origin::Tun, 40000, 5000).opened());
    gateway.udp(PEER, 5000, 40001).dropped(DropReason::WrongDirection, Some(3), Reply::None);
}

#[test]
fn echo_replies_pass_only_to_a_request() {
    for (v6, request, reply) in [(false, 8, 0), (true, 128, 129)] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        assert_eq!(gateway.icmp(PEER, reply, 0, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
        assert!(gateway.icmp(Origin::Tun, request, 0, [0, 7, 0, 1]).opened());
        gateway.icmp(PEER, reply, 0, [0, 7, 0, 1]).passed();
        assert!(!gateway.icmp(Origin::Tun, request, 0, [0, 7, 0, 2]).opened());
        assert_eq!(gateway.icmp(PEER, reply, 0, [0, 8, 0, 1]).reason(), DropReason::IcmpNotError, "identifier");
        assert_eq!(gateway.icmp(PEER, request, 0, [0, 7, 0, 1]).reason(), DropReason::WrongDirection);
        assert_eq!(gateway.icmp(Origin::Tun, reply, 0, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
        assert_eq!(gateway.icmp(Origin::Tun, request, 1, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
    }
}

#[test]
fn an_icmp_error_passes_for_the_live_flow_that_it_quotes_whoever_sends_it() {
    for (v6, router, error) in [(false, "198.51.100.1", (3, 4, 1400)), (true, "2001:db8:9::1", (2, 0, 1400))] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b"data"));
        gateway.judge(Origin::Tun, &ours).passed();
        gateway.error(PEER, router, error, &ours).passed();
        let theirs = gateway.segment(PEER, (1414, 40000, ACK, 501, 101, b"data"));
        gateway.judge(PEER, &theirs).passed();
        gateway.error(Origin::Tun, router, error, &theirs).passed();
        // In the wrong direction it quotes what the receiver has never sent.
        assert_eq!(gateway.error(Origin::Tun, router, error, &ours).reason(), DropReason::IcmpNoFlow);
        let none = gateway.segment(Origin::Tun, (40001, 1414, ACK, 101, 501, b"data"));
        gateway.error(PEER, router, error, &none).dropped(DropReason::IcmpNoFlow, Some(1), Reply::None);
        for sequence in [0, 100, 106, 5000] {
            let stale = gateway.segment(Origin::Tun, (40000, 1414, ACK, sequence, 501, b""));
            assert_eq!(gateway.error(PEER, router, error, &stale).reason(), DropReason::IcmpNoFlow, "{sequence}");
        }
        assert_eq!(gateway.table.len(), 1);
    }
}

#[test]
fn an_icmp_error_goes_to_the_sender_of_what_it_quotes() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    let mut out = [0; 600];
    let error = IcmpError::Unreachable;
    let length = build_error(&mut out, [198, 51, 100, 1].into(), error, &Inner::parse(&ours).unwrap()).unwrap();
    out[19] ^= 1; // Another destination, with the checksum as it must be.
    out[10..12].fill(0);
    let sum = crate::wire::checksum::checksum(&out[..20]);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gateway.judge(PEER, &out[..length]).reason(), DropReason::IcmpNoFlow);
}

#[test]
fn errors_about_udp_and_echo_need_their_flow_too() {
    let mut gateway = Gateway::new();
    let datagram = gateway.datagram(Origin::Tun, 40000, 5000);
    let port_unreachable = (3, 3, 0);
    let error = |gateway: &mut Gateway| gateway.error(PEER, HOSTS[0][1], port_unreachable, &datagram);
    assert_eq!(error(&mut gateway).reason(), DropReason::IcmpNoFlow);
    gateway.judge(Origin::Tun, &datagram).passed();
    error(&mut gateway).passed();

    let mut request = Vec::new();
    gateway.ip(Origin::Tun).icmpv4_echo_request(7, 1).write(&mut request, b"").unwrap();
    let error = |gateway: &mut Gateway| gateway.error(PEER, "198.51.100.1", (11, 0, 0), &request);
    assert_eq!(error(&mut gateway).reason(), DropReason::IcmpNoFlow);
    gateway.judge(Origin::Tun, &request).passed();
    error(&mut gateway).passed();
}

#[test]
fn redirects_and_all_other_icmp_are_refused_even_about_a_live_flow() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
        let router = if v6 { "2001:db8:9::1" } else { "198.51.100.1" };
        let allowed: &[(u8, u8)] = if v6 {
            &[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)]
        } else {
            &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 9), (3, 10), (3, 13), (11, 0), (11, 1), (12, 0)]
        };
        let echo: &[u8] = if v6 { &[128, 129] } else { &[0, 8] };
        for kind in (0..=255).filter(|kind| !echo.contains(kind)) {
            for code in 0..=16 {
                let verdict = gateway.error(PEER, router, (kind, code, 1400), &ours);
                if allowed.contains(&(kind, code)) {
                    verdict.passed();
                } else {
                    assert_eq!(verdict.reason(), DropReason::IcmpNotError, "{kind}/{code}");
                }
            }
        }
    }
}

#[test]
fn an_mtu_that_no_link_has_is_not_believed() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    assert_eq!(gateway.error(PEER, "198.51.100.1", (3, 4, 575), &ours).reason(), DropReason::BadTransport);
    gateway.error(PEER, "198.51.100.1", (3, 4, 576), &ours).passed();
    let mut gateway = Gateway { v6: true, ..Gateway::new() };
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    assert_eq!(gateway.error(PEER, "2001:db8:9::1", (2, 0, 1279), &ours).reason(), DropReason::BadTransport);
    gateway.error(PEER, "2001:db8:9::1", (2, 0, 1280), &ours).passed();
}

#[test]
fn an_icmp_error_keeps_no_flow_alive_and_ends_none() {
    let mut gateway = Gateway::new();
    let datagram = gateway.datagram(Origin::Tun, 40000, 5000);
    gateway.judge(Origin::Tun, &datagram).passed();
    gateway.pass_time(29);
    gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).passed();
    assert!(!gateway.judge(Origin::Tun, &datagram).opened());
    gateway.pass_time(29);
    gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).passed();
    gateway.pass_time(1);
    assert_eq!(gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).reason(), DropReason::IcmpNoFlow);
}
