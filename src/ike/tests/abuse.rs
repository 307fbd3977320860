//! What strangers can make of us: answers, work and state, each bounded (RFC 7296 §2.6, RFC 8019).

use std::sync::Arc;
use std::time::Duration;

use super::pair::{A, B, Datagram, GCM, Pair, X25519, config, tunnel};
use crate::event::IkeReason;
use crate::ike::config::{Config, TunnelConfig};
use crate::ike::flood::Turn;
use crate::ike::limits;
use crate::ike::puzzle::Puzzle;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload};

/// The first message of A, not yet delivered.
fn first_request(a: TunnelConfig) -> Datagram {
    let pair = Pair::seeded(77, config(a), config(tunnel(B)));
    pair.line[0].clone()
}

/// B alone, with nobody who calls it by itself.
fn responder(change: impl FnOnce(&mut TunnelConfig)) -> Pair {
    let mut b = tunnel(B);
    change(&mut b);
    Pair::new(TunnelConfig { start: crate::ike::config::Start::Manual, ..tunnel(A) }, b)
}

fn edited(datagram: &Datagram, edit: impl FnOnce(&mut Message)) -> Datagram {
    let mut message = Message::decode(&datagram.bytes).unwrap();
    edit(&mut message);
    Datagram { bytes: message.encode(), ..datagram.clone() }
}

/// What B answers.
fn answers(pair: &mut Pair, request: &Datagram) -> Vec<Message> {
    let before = pair.trace.len();
    pair.deliver(request);
    pair.trace[before..].iter().map(|answer| Message::decode(&answer.bytes).unwrap()).collect()
}

fn notified(messages: &[Message]) -> Vec<NotifyType> {
    let payloads = messages.iter().flat_map(|message| &message.payloads);
    payloads
        .filter_map(|payload| if let Payload::Notify(notify) = payload { Some(notify.kind) } else { None })
        .collect()
}

#[test]
fn no_answer_to_a_stranger_is_longer_than_one_and_a_half_requests() {
    for suite in [X25519, GCM] {
        let request = first_request(TunnelConfig { ike: vec![suite], ..tunnel(A) });
        // The shortest request that has all that is needed: a nonce of 16 octets, no notifications.
        let minimal = edited(&request, |message| {
            message.payloads.retain(|payload| !matches!(payload, Payload::Notify(_)));
            for payload in &mut message.payloads {
                if let Payload::Nonce(nonce) = payload {
                    nonce.0.truncate(16);
                }
            }
        });
        let unknown = edited(&minimal, |message| {
            message.payloads = vec![Payload::Unknown { kind: PayloadType(200), critical: true, body: Vec::new() }];
        });
        let newer = {
            let mut bytes = minimal.bytes[..28].to_vec();
            bytes[16] = 0;
            bytes[17] = 0x30;
            bytes[24..28].copy_from_slice(&28_u32.to_be_bytes());
            Datagram { bytes, ..minimal.clone() }
        };
        let empty = edited(&minimal, |message| message.payloads.clear());
        let other_group = edited(&minimal, |message| {
            for payload in &mut message.payloads {
                if let Payload::Ke(ke) = payload {
                    ke.method = crate::wire::ike::numbers::KeMethod::MODP_2048;
                    ke.data.truncate(1);
                }
            }
        });
        for threshold in [None, Some(0)] {
            for puzzles in [None, Some(0)] {
                for request in [&request, &minimal, &unknown, &newer, &empty, &other_group] {
                    let b = TunnelConfig { ike: vec![suite], ..tunnel(B) };
                    let b = Config { tunnels: vec![Arc::new(b)], cookie_threshold: threshold, puzzles };
                    let mut pair = Pair::seeded(3, config(tunnel(A)), Arc::new(b));
                    let before = pair.trace.len();
                    pair.deliver(request);
                    let answered: usize = pair.trace[before..].iter().map(|answer| answer.bytes.len()).sum();
                    assert!(
                        answered * 100 <= request.bytes.len() * limits::MAX_AMPLIFICATION,
                        "{answered} for {request:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_ordinary_answer_is_at_most_a_third_longer_than_the_shortest_request() {
    let mut pair = responder(|_| {});
    let request = first_request(TunnelConfig { ike: vec![X25519], ..tunnel(A) });
    let short = edited(&request, |message| {
        for payload in &mut message.payloads {
            if let Payload::Nonce(nonce) = payload {
                nonce.0.truncate(16);
            }
        }
        message.payloads.retain(|payload| !matches!(payload, Payload::Notify(_)));
    });
    let plain = answers(&mut pair, &short);
    assert!(!notified(&plain).contains(&NotifyType::COOKIE), "it is answered without a cookie");
    let ratio = plain[0].encode().len() * 100 / short.bytes.len();
    assert!(ratio <= 133, "{ratio} percent");
}

#[test]
fn a_key_agreement_for_nothing_makes_the_next_one_cost_a_round_trip() {
    let mut pair = responder(|b| b.ike = vec![GCM]);
    let request = first_request(TunnelConfig { ike: vec![GCM], ..tunnel(A) });
    // A point that is not on the curve.
    let bad = edited(&request, |message| {
        for payload in &mut message.payloads {
            if let Payload::Ke(ke) = payload {
                ke.data.fill(7);
            }
        }
    });
    assert!(answers(&mut pair, &bad).is_empty());
    assert_eq!(pair.refused(B, IkeReason::InvalidKe), 1);
    assert_eq!(notified(&answers(&mut pair, &bad)), [NotifyType::COOKIE]);
    assert_eq!(pair.refused(B, IkeReason::InvalidKe), 1, "no second one");
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    // The true peer has one round trip more.
    pair.input(A, crate::ike::api::Input::Up(super::pair::TUNNEL));
    pair.run_secs(2);
    assert_eq!(pair.status(A).state, "connecting", "another suite; but it was asked for a cookie and answered");
    assert!(pair.refused(B, IkeReason::NoProposalChosen) > 0);
}

#[test]
fn a_thousand_first_requests_in_one_name_leave_five_half_open_and_the_true_peer_gets_through() {
    let mut pair = responder(|_| {});
    let request = first_request(tunnel(A));
    for number in 1..=1000_u64 {
        let other = edited(&request, |message| message.header.initiator_spi = number);
        pair.deliver(&other);
    }
    assert_eq!(pair.sides[B].endpoint.half_open(), limits::COOKIE_THRESHOLD_PER_SOURCE);
    assert_eq!(pair.refused(B, IkeReason::CookieWanted), 997);
    pair.input(A, crate::ike::api::Input::Up(super::pair::TUNNEL));
    pair.run_secs(1);
    assert_eq!(pair.status(A).state, "up");
    pair.run_secs(40);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

#[test]
fn a_flood_asks_for_a_sieve_with_a_hole_for_each_peer_and_what_it_refuses_has_a_name() {
    let mut pair = responder(|_| {});
    let request = first_request(tunnel(A));
    let stranger = Datagram { source: "198.18.0.7:500".parse().unwrap(), ..request.clone() };
    let response = edited(&stranger, |message| message.header.flags.response = true);
    let established = edited(&stranger, |message| message.header.responder_spi = 7);
    let nat_t =
        |datagram: &Datagram| Datagram { destination: (datagram.destination.ip(), 4500).into(), ..datagram.clone() };
    let judge = |pair: &mut Pair, nat_t| {
        let now = pair.now + limits::FLOOD_WINDOW;
        pair.sides[B].endpoint.judge_flood(now, nat_t)
    };
    for number in 0..300 {
        pair.deliver(&edited(&response, |message| message.header.initiator_spi = 1000 + number));
        pair.deliver(&established);
    }
    assert!(!pair.sides[B].endpoint.is_flood_due(pair.now + Duration::from_secs(9), false), "none may open an IKE SA");
    for _ in 0..300 {
        pair.deliver(&stranger);
    }
    assert_eq!(judge(&mut pair, true), Turn::Stay, "the other port is at peace");
    assert_eq!(judge(&mut pair, false), Turn::Sift { began: Some(1_200) });
    let endpoint = &mut pair.sides[B].endpoint;
    let hole = [(super::pair::address(A), [0, 0])];
    assert_eq!(endpoint.sieve(false).unwrap().peers, hole.into());
    assert!(endpoint.sieve(true).is_none());
    endpoint.missed(false, 40, 2);
    assert_eq!((pair.refused(B, IkeReason::RefusedInKernel), pair.refused(B, IkeReason::SocketFull)), (40, 2));
    // In the peer's name, at the other port: with a cookie in front and without.
    let bare = nat_t(&request);
    let notified = nat_t(&edited(&request, |message| {
        message.payloads.insert(0, Payload::Notify(Notify::status(NotifyType::COOKIE, vec![7; 34])));
    }));
    for _ in 0..2_000 {
        pair.deliver(&bare);
    }
    (0..30).for_each(|_| pair.deliver(&notified));
    assert_eq!(judge(&mut pair, true), Turn::Sift { began: Some(8_120) });
    assert_eq!(pair.sides[B].endpoint.sieve(true).unwrap().peers, [(super::pair::address(A), [3, 0])].into());
}

fn puzzled(from: usize) -> Arc<Config> {
    Arc::new(Config { tunnels: vec![Arc::new(tunnel(B))], cookie_threshold: None, puzzles: Some(from) })
}

#[test]
fn a_puzzle_is_posed_under_load_and_solved() {
    // <-- HDR, N(COOKIE), N(PUZZLE)
    // --> HDR, N(COOKIE), PS, SA, KE, Ni
    let mut pair = Pair::seeded(1, config(tunnel(A)), puzzled(0));
    pair.run_secs(1);
    assert_eq!((pair.status(A).state, pair.status(B).state), ("up", "up"));
    let messages: Vec<_> = pair.trace.iter().map(|datagram| Message::decode(&datagram.bytes).unwrap()).collect();
    assert_eq!(notified(&messages[1..2]), [NotifyType::COOKIE, NotifyType::PUZZLE]);
    let kinds: Vec<_> = messages[2].payloads.iter().take(3).map(Payload::kind).collect();
    assert_eq!(kinds, [PayloadType::NOTIFY, PayloadType::PS, PayloadType::SA]);
    assert_eq!(pair.refused(B, IkeReason::PuzzleWanted), 1);
}

#[test]
fn a_cookie_alone_and_a_wrong_solution_are_not_enough() {
    let mut pair =
        Pair::seeded(1, config(TunnelConfig { start: crate::ike::config::Start::Manual, ..tunnel(A) }), puzzled(0));
    let request = first_request(tunnel(A));
    let posed = answers(&mut pair, &request);
    let notify = |kind: NotifyType| -> Notify {
        let found = posed[0].payloads.iter().find_map(|payload| match payload {
            Payload::Notify(notify) if notify.kind == kind => Some(notify.clone()),
            _ => None,
        });
        found.unwrap()
    };
    let (cookie, puzzle) = (notify(NotifyType::COOKIE), Puzzle::read(&notify(NotifyType::PUZZLE)).unwrap());
    assert_eq!(puzzle.difficulty, limits::PUZZLE_DIFFICULTY);
    let with = |solution: Option<Payload>| {
        edited(&request, |message| {
            message.payloads.splice(0..0, [Payload::Notify(cookie.clone())].into_iter().chain(solution));
        })
    };
    let solution = puzzle.solve(&cookie.data).unwrap();
    let Payload::Unknown { kind, critical, mut body } = puzzle.solve(&cookie.data).unwrap() else {
        panic!("a PS payload")
    };
    body[3] ^= 1;
    let wrong = Payload::Unknown { kind, critical, body };
    for _ in 0..50 {
        assert_eq!(notified(&answers(&mut pair, &with(Some(wrong.clone())))), [NotifyType::COOKIE, NotifyType::PUZZLE]);
    }
    assert_eq!(pair.refused(B, IkeReason::BadSolution), 50);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    // RFC 8019 §7.1.4: one in eight is served without, for peers that know no puzzles.
    let tries = (1..=64).find(|_| {
        answers(&mut pair, &with(None));
        pair.sides[B].endpoint.half_open() == 1
    });
    assert!(tries.is_some_and(|tries| tries > 1), "{tries:?}");
    let mut fresh =
        Pair::seeded(1, config(TunnelConfig { start: crate::ike::config::Start::Manual, ..tunnel(A) }), puzzled(0));
    assert_eq!(notified(&answers(&mut fresh, &request)), [NotifyType::COOKIE, NotifyType::PUZZLE]);
    let solved = with(Some(solution));
    let answer = answers(&mut fresh, &solved);
    assert!(answer[0].payloads.iter().any(|payload| payload.kind() == PayloadType::KE), "{answer:?}");
    assert_eq!(fresh.sides[B].endpoint.half_open(), 1);
}

#[test]
fn puzzles_from_anybody_cost_an_initiator_a_bounded_number_of_solutions() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let first = pair.line[0].clone();
    pair.line.clear();
    for number in 0..20_u8 {
        let forged = edited(&first, |message| {
            message.header.flags.initiator = false;
            message.header.flags.response = true;
            let puzzle = Puzzle { prf: crate::crypto::suite::PrfAlg::HmacSha256, difficulty: 4 };
            message.payloads = vec![
                Payload::Notify(Notify::status(NotifyType::COOKIE, vec![number; 8])),
                Payload::Notify(puzzle.notify()),
            ];
        });
        pair.deliver(&Datagram { to: A, source: first.destination, destination: first.source, ..forged });
    }
    let solved = pair.trace.iter().filter(|datagram| {
        let message = Message::decode(&datagram.bytes).unwrap();
        message.payloads.iter().any(|payload| payload.kind() == PayloadType::PS)
    });
    assert_eq!(solved.count(), usize::from(limits::MAX_PUZZLES_SOLVED));
    pair.run(Duration::from_secs(3));
    assert_eq!(pair.status(A).state, "up", "and the true peer is not lost");
}
