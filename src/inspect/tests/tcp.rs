//! The states of a connection, its windows, its resets.

use super::*;
use crate::wire::tcp::URG;

#[test]
fn a_segment_of_an_unknown_connection_is_reset_if_it_is_ours() {
    let mut gateway = Gateway::new();
    let unknown = DropReason::NoConnection;
    // The client and, by the inbound rule, the server on our side.
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1, 1, b"data")).dropped(unknown, Some(1), Reply::Reset);
    gateway.tcp(Origin::Tun, (22, 50000, ACK, 1, 1, b"data")).dropped(unknown, Some(2), Reply::Reset);
    gateway.tcp(Origin::Tun, (40000, 1414, RST | ACK, 1, 1, b"")).dropped(unknown, Some(1), Reply::None);
    gateway.tcp(PEER, (1414, 40000, ACK, 1, 1, b"data")).dropped(unknown, Some(1), Reply::None);
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 1, 1, b"")).dropped(unknown, Some(1), Reply::None);
    assert!(gateway.table.is_empty());
}

#[test]
fn flags_that_are_never_legal_are_refused_on_a_live_connection_too() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let bad = [0, FIN, PSH, SYN | FIN, SYN | RST, FIN | PSH | URG, SYN | ACK | FIN, RST | FIN | ACK, RST | URG, URG];
    for flags in bad {
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, flags, 101, 501, b"")).reason(), DropReason::BadTcpFlags);
    }
    for flags in [ACK | URG, SYN | URG, FIN | ACK | URG] {
        assert_eq!(gateway.tcp(PEER, (1414, 40000, flags, 501, 101, b"")).reason(), DropReason::UrgentData);
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK | PSH | 0xc0, 101, 501, b"")).passed();
}

#[test]
fn nothing_passes_before_the_handshake_is_complete() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let out = DropReason::OutOfState;
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"early")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"early")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 100, b"")).reason(), out, "wrong acknowledgement");
    let with_data = gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"data"));
    assert_eq!(with_data.reason(), DropReason::DataInSyn);
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, SYN | ACK, 100, 101, b"")).reason(), out);
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"early")).reason(), out);
    for acknowledgement in [500, 777] {
        let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, acknowledgement, b""));
        assert_eq!(verdict.reason(), out, "{acknowledgement}");
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"data with the acknowledgement")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 130, b"now")).passed();
}

#[test]
fn data_in_a_syn_opens_nothing() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"fast open")).dropped(
        DropReason::DataInSyn,
        Some(1),
        Reply::None,
    );
    assert!(gateway.table.is_empty());
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let again = gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"fast open"));
    assert_eq!(again.reason(), DropReason::DataInSyn);
}

#[test]
fn retransmissions_of_the_handshake_pass() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert!(!gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).opened());
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, SYN | ACK, 501, 101, b"")).reason(), DropReason::OutOfState);
}

#[test]
fn nothing_is_acknowledged_that_was_not_sent_and_nothing_sent_behind_a_fin() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let out = DropReason::OutOfState;
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 102, b"")).reason(), out);
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"bye")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"bye")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 105, 501, b"more")).reason(), out);
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 105, b"")).passed();
}

#[test]
fn sequence_numbers_wrap() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, u32::MAX, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, u32::MAX - 2, 0, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 0, u32::MAX - 1, b"abc")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, u32::MAX - 1, 3, b"abcdef")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 3, 0, b"")).passed();
}

#[test]
fn a_reset_ends_a_connection_only_if_its_receiver_would_believe_it() {
    let (out, unbelieved) = (DropReason::OutOfState, DropReason::ResetNotBelieved);
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, RST, 0, 0, b"")).reason(), unbelieved, "no acknowledgement");
    assert_eq!(gateway.tcp(PEER, (1414, 40000, RST | ACK, 0, 100, b"")).reason(), unbelieved);
    gateway.tcp(PEER, (1414, 40000, RST | ACK, 0, 101, b"")).passed();
    // The same ports may try again at once.
    assert!(gateway.tcp(Origin::Tun, (40000, 1414, SYN, 900, 0, b"")).opened());

    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"0123456789")).passed();
    for sequence in [500, 512, 600, 0] {
        assert_eq!(gateway.tcp(PEER, (1414, 40000, RST, sequence, 0, b"")).reason(), unbelieved, "{sequence}");
    }
    // RFC 5961: in the window, but perhaps not the next number. It is let through, and the connection stays for the
    // challenge ACK that may answer it.
    for sequence in [501, 505, 511] {
        gateway.tcp(PEER, (1414, 40000, RST, sequence, 0, b"")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 511, b"alive")).passed();
    gateway.tcp(PEER, (1414, 40000, RST, 511, 0, b"")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 106, 511, b"")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 511, 101, b"")).reason(), out);
    gateway.pass_time(11);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 511, 101, b"")).reason(), DropReason::NoConnection);
}

#[test]
fn a_reset_that_may_have_been_believed_shortens_the_connections_life_unless_its_sender_goes_on() {
    let wounded = |goes_on: bool| {
        let mut gateway = Gateway::new();
        gateway.establish();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"on its way")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, RST, 111, 0, b"")).passed();
        if goes_on {
            gateway.tcp(PEER, (1414, 40000, ACK, 501, 111, b"")).passed();
            gateway.tcp(Origin::Tun, (40000, 1414, ACK, 111, 501, b"")).passed();
        }
        gateway
    };
    for (goes_on, lives) in [(false, 0), (true, 1)] {
        let mut gateway = wounded(goes_on);
        gateway.pass_time(60);
        gateway.table.sweep(gateway.now, 16);
        assert_eq!(gateway.table.len(), lives);
    }
    // Its ports are free for a new one.
    assert!(wounded(false).tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    assert!(!wounded(true).tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
}

#[test]
fn nothing_passes_that_lies_outside_the_window() {
    for v6 in [false, true] {
        let out = DropReason::OutOfWindow;
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        // Both ends have offered 1000 bytes.
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, &[7; 900])).passed();
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1102, 501, b"x")).reason(), out, "behind the window");
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1101, 501, b"x")).passed();
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 1101, b"")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 2000, 501, &[7; 101])).passed();
        // Sent again, as long as it may still be asked for; and a probe of a silent connection.
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1100, 501, b"x")).passed();
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1099, 501, b"x")).reason(), out, "long ago");
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1100, 501, b"")).reason(), out, "likewise");
        // What is acknowledged is what is on its way, or was not long ago.
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
        let old = 2101_u32.wrapping_sub(66_001);
        assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, old, b"")).reason(), out);
        assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 2102, b"")).reason(), DropReason::OutOfState);
    }
}

#[test]
fn windows_are_scaled_only_if_both_syns_say_so() {
    let scaled = |opener: bool, responder: bool| {
        let mut gateway = Gateway::new();
        let options = |scales: bool| if scales { &[3, 3, 7, 0][..] } else { &[][..] };
        let syn = gateway.syn(Origin::Tun, (40000, 1414, SYN, 100, 0, b""), options(opener));
        gateway.judge(Origin::Tun, &syn).passed();
        let answer = gateway.syn(PEER, (1414, 40000, SYN | ACK, 500, 101, b""), options(responder));
        gateway.judge(PEER, &answer).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
        // The window of the SYN is not scaled, that of the first acknowledgement is.
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1102, 501, b"x")).reason(), DropReason::OutOfWindow);
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
        let far = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101 + 128_000, 501, b"x"));
        let further = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 102 + 128_000, 501, b"x"));
        assert_eq!(further.reason(), DropReason::OutOfWindow);
        matches!(far, Verdict::Pass(_))
    };
    assert_eq!(
        [(true, true), (true, false), (false, true), (false, false)].map(|(a, b)| scaled(a, b)),
        [true, false, false, false]
    );
}

#[test]
fn a_closed_window_is_probed_with_one_byte() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.window = 0;
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, &[7; 1000])).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 1101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1101, 501, b"?")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1103, 501, b"?")).reason(), DropReason::OutOfWindow);
}

#[test]
fn a_syn_with_broken_options_opens_nothing_and_answers_nothing() {
    let mut gateway = Gateway::new();
    let broken = [3, 0, 0, 0];
    let syn = gateway.syn(Origin::Tun, (40000, 1414, SYN, 100, 0, b""), &broken);
    assert_eq!(gateway.judge(Origin::Tun, &syn).reason(), DropReason::BadTcpOptions);
    assert!(gateway.table.is_empty());
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let answer = gateway.syn(PEER, (1414, 40000, SYN | ACK, 500, 101, b""), &broken);
    assert_eq!(gateway.judge(PEER, &answer).reason(), DropReason::BadTcpOptions);
}

#[test]
fn an_opener_that_forgot_its_connection_can_end_it_and_open_it_again() {
    // The gateway remembers the connection: SYN, challenge ACK, RST, SYN.
    let mut gateway = Gateway::new();
    gateway.establish();
    assert!(!gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 101, 0, b"")).passed();
    assert!(gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    // The gateway has forgotten it too, the server alone remembers it.
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, RST, 102, 0, b"")).reason(), DropReason::ResetNotBelieved);
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 101, 0, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 9001, b"")).passed();
}

#[test]
fn half_the_sequence_space_away_is_not_in_flight() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let far = 101 + (1 << 31);
    for sequence in [far - 1, far, far + 1] {
        let verdict = gateway.tcp(Origin::Tun, (40000, 1414, RST, sequence, 0, b""));
        assert_eq!(verdict.reason(), DropReason::ResetNotBelieved, "{sequence}");
        let quoted = gateway.segment(Origin::Tun, (40000, 1414, ACK, sequence, 501, b""));
        let verdict = gateway.error(PEER, "203.0.113.1", (3, 1, 0), &quoted);
        assert_eq!(verdict.reason(), DropReason::IcmpNoFlow, "{sequence}");
    }
}
