//! IKE_SA_INIT and IKE_AUTH, with the messages of RFC 7296 above the steps.

use std::time::Duration;

use super::pair::*;
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::config::Start;
use crate::ike::exchange::sa_init::stateless;
use crate::ike::ike_sa::Incoming;
use crate::ike::limits;
use crate::ike::path::Path;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, IdType, NotifyType};
use crate::wire::ike::payload::{Id, Notify, Payload};

fn first_notify(datagram: &Datagram) -> Option<NotifyType> {
    match Message::decode(&datagram.bytes).unwrap().payloads.first() {
        Some(Payload::Notify(notify)) => Some(notify.kind),
        _ => None,
    }
}

/// ```text
/// A                              B
/// HDR, SAi1, KEi, Ni        -->
///                           <--  HDR, SAr1, KEr, Nr
/// HDR, SK {IDi, IDr, AUTH,
///     SAi2, TSi, TSr}       -->
///                           <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
/// ```
#[test]
fn four_messages_make_an_ike_sa_and_a_child_sa() {
    for (ike, esp) in [(X25519, ESP), (GCM, ESP), (CBC, ESP_CBC)] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.ike, b.ike) = (vec![ike], vec![ike]);
        (a.esp, b.esp) = (vec![esp], vec![esp]);
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(1);
        assert_eq!(pair.trace.len(), 4);
        assert_eq!(pair.status(A).ike.unwrap().peer_id, "b.example");
        assert_eq!(pair.status(B).ike.unwrap().peer_id, "a.example");
        assert_eq!((pair.status(A).handshakes, pair.status(B).handshakes), (1, 1));
        assert_eq!((pair.status(A).failures, pair.status(B).failures), (0, 0));
        assert!(pair.status(A).missing.is_empty() && pair.status(A).why.is_none());
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut pair = Pair::new(tunnel(A), tunnel(B));
        pair.run_secs(30);
        pair.trace
    };
    assert_eq!(run(), run());
}

#[test]
fn every_kind_of_identity_is_compared_exactly() {
    for (kind, data) in [
        (IdType::IPV4_ADDR, &[192, 0, 2, 1][..]),
        (IdType::IPV6_ADDR, &[7; 16]),
        (IdType::FQDN, b"gw.example"),
        (IdType::RFC822_ADDR, b"gw@example"),
        (IdType::DER_ASN1_DN, &[0x30, 0x00]),
        (IdType::DER_ASN1_GN, &[0x30, 0x00]),
        (IdType::KEY_ID, b"\x00\x01\x02"),
    ] {
        for (expected, up) in [(kind, "up"), (IdType(kind.0 ^ 1), "waiting")] {
            let [mut a, mut b] = [tunnel(A), tunnel(B)];
            a.local_id = Id::new(kind, data.to_vec());
            b.peer_id = Id::new(expected, data.to_vec());
            let mut pair = Pair::new(a, b);
            pair.run(Duration::from_millis(500));
            assert_eq!(pair.status(A).state, up, "{kind}");
        }
    }
}

/// RFC 7296 §3.5: the reserved bytes are to be ignored, and §2.15 signs them as they were sent.
#[test]
fn the_reserved_bytes_of_an_identity_are_signed_and_say_nothing() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.local_id.reserved = [1, 2, 3];
    b.local_id.reserved = [0xff; 3];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    pair.assert_up(1);
}

/// ```text
/// A                              B
/// HDR, SAi1, KEi, Ni        -->
///                           <--  HDR, N(COOKIE)
/// HDR, N(COOKIE), SAi1, KEi, Ni -->
///                           <--  HDR, SAr1, KEr, Nr
/// ```
#[test]
fn a_cookie_is_asked_for_and_echoed_first() {
    let b = std::sync::Arc::new(crate::ike::config::Config {
        tunnels: vec![std::sync::Arc::new(tunnel(B))],
        cookie_threshold: Some(0),
        puzzles: None,
    });
    let mut pair = Pair::seeded(1, config(tunnel(A)), b);
    pair.step(pair.now + Duration::from_secs(1));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0, "no state before the cookie has come back");
    assert!(pair.trace[1].bytes.len() < pair.trace[0].bytes.len());
    while pair.trace.len() < 3 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    // Somebody else's cookie gets another one, and no state.
    let mut wrong = pair.trace[2].clone();
    wrong.bytes[40] ^= 1;
    pair.deliver(&wrong);
    assert_eq!((pair.refused(B, IkeReason::BadCookie), pair.sides[B].endpoint.half_open()), (1, 0));
    pair.line.retain(|datagram| datagram.to == B);
    pair.trace.truncate(3);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.trace.len(), 6);
    assert_eq!(first_notify(&pair.trace[1]), Some(NotifyType::COOKIE));
    assert_eq!(first_notify(&pair.trace[2]), Some(NotifyType::COOKIE));
    let bodies = |index: usize| Message::decode(&pair.trace[index].bytes).unwrap().payloads;
    assert_eq!(bodies(0)[..3], bodies(2)[1..4], "SA, KE and nonce unchanged");
    assert_eq!(pair.refused(B, IkeReason::CookieWanted), 1);
}

/// ```text
/// A                              B
/// HDR, SAi1, KEi(20), Ni    -->
///                           <--  HDR, N(INVALID_KE_PAYLOAD, 31)
/// HDR, SAi1, KEi(31), Ni    -->
///                           <--  HDR, SAr1, KEr, Nr
/// ```
#[test]
fn another_group_is_asked_for_and_used() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    a.ike = vec![GCM, X25519];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.trace.len(), 6);
    assert_eq!(first_notify(&pair.trace[1]), Some(NotifyType::INVALID_KE_PAYLOAD));
}

#[test]
fn cookie_and_group_in_one_negotiation() {
    let mut a = tunnel(A);
    a.ike = vec![GCM, X25519];
    let b = std::sync::Arc::new(crate::ike::config::Config {
        tunnels: vec![std::sync::Arc::new(tunnel(B))],
        cookie_threshold: Some(0),
        puzzles: None,
    });
    let mut pair = Pair::seeded(1, config(a), b);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.trace.len(), 8);
    assert_eq!(first_notify(&pair.trace[4]), Some(NotifyType::COOKIE), "the cookie stays with the new group");
}

/// What somebody on the way answers to A's first message.
fn forged(pair: &Pair, notify: Notify) -> Datagram {
    let first = &pair.trace[0];
    let path = Path { local: first.destination, remote: first.source };
    let bytes = stateless(&Incoming { header: first.header(), datagram: &first.bytes, path }, notify);
    Datagram { to: A, source: first.destination, destination: first.source, bytes, ..first.clone() }
}

#[test]
fn forged_errors_before_the_true_answer_change_nothing() {
    let kinds = [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::INVALID_SYNTAX,
        NotifyType::INVALID_MAJOR_VERSION,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::INVALID_IKE_SPI,
        NotifyType(9999),
    ];
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    for kind in kinds {
        let datagram = forged(&pair, Notify::error(kind));
        pair.deliver(&datagram);
        assert!(pair.status(A).why.unwrap().contains("unauthenticated"));
    }
    assert_eq!(pair.refused(A, IkeReason::PeerError), kinds.len() as u64);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.trace.len(), 4);
}

#[test]
fn a_forged_wish_for_another_group_costs_a_round_trip_and_no_more() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.ike = vec![X25519, GCM];
    b.ike = vec![X25519, GCM];
    let mut pair = Pair::new(a, b);
    for method in [20, 31, 20, 31, 14, 20] {
        let datagram = forged(&pair, Notify::invalid_ke(crate::wire::ike::numbers::KeMethod(method)));
        pair.deliver(&datagram);
    }
    assert!(pair.sides[A].sent <= 3, "once per group");
    pair.run_secs(5);
    pair.assert_up(1);
}

#[test]
fn forged_cookies_do_not_make_an_initiator_send_for_ever() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    for cookie in 0..100u8 {
        let datagram = forged(&pair, Notify::status(NotifyType::COOKIE, vec![cookie; 64]));
        pair.deliver(&datagram);
    }
    let too_long = forged(&pair, Notify::status(NotifyType::COOKIE, vec![1; 65]));
    pair.deliver(&too_long);
    assert_eq!(pair.sides[A].sent, 1 + usize::from(limits::MAX_COOKIES_ECHOED));
    // The true answer may be to a request that was sent with another cookie; then the next attempt works.
    pair.run_secs(4);
    pair.assert_up(1);
}

#[test]
fn no_common_proposal_is_told_at_once_and_reported_in_the_end() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.ike = vec![GCM];
    b.ike = vec![CBC];
    let mut pair = Pair::new(a, b);
    pair.run_secs(2);
    assert!(pair.status(A).why.unwrap().contains("NO_PROPOSAL_CHOSEN"));
    let (exchange, reason, detail) = pair.failed(B).remove(0);
    assert_eq!((exchange.as_str(), reason), ("IKE_SA_INIT", IkeReason::NoProposalChosen));
    assert!(detail.contains("ours: IKE AES_CBC-256") && detail.contains("theirs: IKE AES_GCM_16-256"), "{detail}");
    pair.run_secs(62);
    assert_eq!(pair.failed(A)[0].1, IkeReason::NoProposalChosen);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    assert!(pair.failed(B).len() <= 7, "told once in a while, not once a message");
}

#[test]
fn a_wrong_key_establishes_nothing_and_is_named() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    set_psk(&mut a, &[b"another key"]);
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed);
    let (_, reason, detail) = pair.failed(B).remove(0);
    assert_eq!(reason, IkeReason::AuthenticationFailed);
    assert!(detail.ends_with("a.example, as expected, and does not prove it"), "{detail}");
    pair.run_secs(200);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
    assert!(pair.sides.iter().all(|side| side.inbound.is_empty() && side.outbound.is_empty()));
    assert!(pair.sides[B].endpoint.half_open() <= 3, "old ones are forgotten");
    assert!(pair.status(A).failures >= 5, "tried again and again");
    assert!(pair.trace.len() < 100, "with pauses that grow: {}", pair.trace.len());
}

#[test]
fn a_corrected_key_is_not_turned_away_for_the_wrong_ones_before_it() {
    let wrong = || {
        let mut tunnel = tunnel(A);
        set_psk(&mut tunnel, &[b"another key"]);
        tunnel.start = Start::Manual;
        tunnel
    };
    let id = tunnel(A).id;
    let mut pair = Pair::new(wrong(), tunnel(B));
    // An operator who tries again and again, every three seconds.
    for _ in 0..8 {
        pair.input(A, Input::Up(id));
        pair.run_secs(1);
        pair.input(A, Input::Down(id));
        pair.run_secs(2);
    }
    assert!(pair.sides[B].endpoint.half_open() < limits::MAX_HALF_OPEN_PER_SOURCE);
    assert_eq!(pair.refused(B, IkeReason::TooManyHalfOpen), 0);
    pair.reload(A, tunnel(A));
    pair.input(A, Input::Up(id));
    pair.run_secs(1);
    pair.assert_up(1);
}

#[test]
fn who_proves_to_be_somebody_else_is_told_apart_from_who_should_have() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    a.local_id = fqdn("c.example");
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(100));
    let failed = pair.failed(B);
    let (_, reason, detail) = &failed[0];
    assert_eq!(*reason, IkeReason::WrongIdentity);
    assert!(detail.contains("c.example, expected is") && detail.ends_with("a.example"), "{detail}");
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
}

#[test]
fn a_responder_refuses_to_be_somebody_else() {
    let [a, mut b] = [tunnel(A), tunnel(B)];
    b.local_id = fqdn("c.example");
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.failed(B)[0].1, IkeReason::WrongIdentity);
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
}

#[test]
fn a_retransmitted_request_gets_the_cached_response() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut lost = Vec::new();
    pair.meddle = Some(Box::new(move |datagram, _| {
        // The first answer of B is lost in each exchange.
        let exchange = datagram.header().exchange;
        if datagram.to == A && !lost.contains(&exchange) {
            lost.push(exchange);
            return vec![];
        }
        vec![(Duration::ZERO, datagram)]
    }));
    pair.run_secs(5);
    pair.assert_up(1);
    let answers: Vec<_> = pair.trace.iter().filter(|datagram| datagram.to == A).collect();
    assert!(answers.len() > 2);
    for exchange in [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH] {
        let of = |d: &&&Datagram| d.header().exchange == exchange;
        let all: Vec<_> = answers.iter().filter(of).map(|datagram| &datagram.bytes).collect();
        assert!(all.len() > 1 && all.windows(2).all(|pair| pair[0] == pair[1]), "bit for bit");
    }
}

#[test]
fn duplicates_and_reordering_change_nothing() {
    for seed in 0..20 {
        let mut pair = Pair::seeded(seed, config(tunnel(A)), config(tunnel(B)));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            (0..=entropy.below(3)).map(|_| (Duration::from_millis(entropy.below(400)), datagram.clone())).collect()
        }));
        pair.run_secs(20);
        pair.assert_up(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    }
}

#[test]
fn a_line_that_loses_a_third_still_carries_a_handshake() {
    let mut up = 0;
    for seed in 0..60 {
        let mut pair = Pair::seeded(seed, config(tunnel(A)), config(tunnel(B)));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            if entropy.below(10) < 3 { vec![] } else { vec![(Duration::ZERO, datagram)] }
        }));
        pair.run_secs(60);
        up += usize::from(pair.sides[A].ups() > 0);
    }
    assert!(up >= 59, "{up} of 60");
}

#[test]
fn the_key_log_has_wiresharks_names_and_one_line_for_each_sa() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let mut logs: Vec<Vec<String>> = pair.sides.iter().map(|side| side.key_log.clone()).collect();
    for log in &mut logs {
        log.sort();
        assert_eq!(log.len(), 3, "one IKE SA, two directions of ESP");
    }
    assert_eq!(logs[0], logs[1], "both sides have the same keys");
    let ike: Vec<_> = logs[0].iter().find(|line| !line.starts_with('"')).unwrap().split(',').collect();
    assert_eq!((ike[0].len(), ike[1].len(), ike[2].len(), ike[3].len()), (16, 16, 72, 72));
    assert_eq!(ike[4..], ["\"AES-GCM-256 with 16 octet ICV [RFC5282]\"", "", "", "\"NONE [RFC4306]\""]);
    let esp = logs[0].iter().find(|line| line.starts_with("\"IPv4\",\"192.0.2.1\"")).unwrap();
    assert!(esp.contains("\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x"), "{esp}");
    assert!(esp.ends_with("\"NULL\",\"\""), "{esp}");
}
