//! What an attacker can do who sees and changes everything but has no key, and what one can who has them.

use std::time::Duration;

use super::pair::*;
use crate::entropy::{Entropy, SeededEntropy};
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::limits;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Delete, Notify, Payload};

/// One byte of message `which` is changed, each time it is sent.
fn flipped(which: usize, index: usize, mask: u8) -> Pair {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let flip = move |mut datagram: Datagram| {
        let header = datagram.header();
        let place = match (header.exchange, header.flags.response) {
            (ExchangeType::IKE_SA_INIT, response) => usize::from(response),
            (ExchangeType::IKE_AUTH, response) => 2 + usize::from(response),
            _ => usize::MAX,
        };
        if place == which
            && let Some(byte) = datagram.bytes.get_mut(index)
        {
            *byte ^= mask;
        }
        datagram
    };
    let first: Vec<_> = pair.line.drain(..).map(flip).collect();
    pair.line.extend(first);
    pair.meddle = Some(Box::new(move |datagram, _| vec![(Duration::ZERO, flip(datagram))]));
    pair
}

fn lengths() -> Vec<usize> {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.trace.iter().map(|datagram| datagram.bytes.len()).collect()
}

/// The proof of each side covers the IKE_SA_INIT messages as they were sent and received: whatever bit was changed on
/// the way, no IKE SA comes of it (RFC 7296 §2.15). The responder cannot know that its own message was changed: it
/// hears it from the initiator (§2.21.2).
#[test]
fn a_changed_byte_in_ike_sa_init_never_leads_to_an_ike_sa() {
    let lengths = lengths();
    for (which, length) in lengths.into_iter().enumerate().take(2) {
        for index in 0..length {
            let mut pair = flipped(which, index, 1 << (index % 8));
            pair.run(Duration::from_millis(400));
            assert_eq!(pair.sides[A].ups(), 0, "message {which} byte {index}");
            assert!(which == 1 || pair.sides[B].ups() == 0, "message {which} byte {index}");
            for side in [A, B] {
                assert!(pair.sides[side].inbound.is_empty(), "message {which} byte {index}");
                assert!(pair.status(side).ike.is_none(), "message {which} byte {index}");
            }
        }
    }
}

#[test]
fn a_changed_byte_in_ike_auth_is_refused_in_silence() {
    let lengths = lengths();
    for (which, length) in lengths.into_iter().enumerate().skip(2) {
        for index in 0..length {
            let mut pair = flipped(which, index, 0x40);
            pair.run(Duration::from_millis(400));
            assert_eq!(pair.sides[A].ups(), 0, "message {which} byte {index}");
            assert_eq!(pair.sides[B].ups(), which - 2, "message {which} byte {index}");
            assert!(pair.failed(A).is_empty() && pair.failed(B).is_empty());
        }
    }
}

#[test]
fn every_message_sent_back_to_its_sender_is_refused() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut reflected = 0;
    for _ in 0..40 {
        pair.step(pair.now + Duration::from_secs(1));
        for datagram in pair.trace.clone().split_off(reflected) {
            let mirrored = Datagram {
                to: 1 - datagram.to,
                source: datagram.destination,
                destination: datagram.source,
                ..datagram
            };
            let before = pair.trace.len();
            pair.deliver(&mirrored);
            assert_eq!(pair.trace.len(), before, "no answer to a mirror");
            reflected += 1;
        }
    }
    pair.assert_up(1);
    let refused: u64 = [A, B]
        .into_iter()
        .flat_map(|side| [IkeReason::Reflected, IkeReason::BadFlags, IkeReason::UnknownIkeSpi].map(|r| (side, r)))
        .map(|(side, reason)| pair.refused(side, reason))
        .sum();
    assert_eq!(refused, reflected as u64);
}

#[test]
fn every_captured_message_replayed_later_changes_nothing() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(35);
    pair.assert_up(1);
    let captured = pair.trace.clone();
    let spis = pair.status(A).ike.unwrap().spis;
    let known: Vec<_> = captured.iter().map(|datagram| datagram.bytes.clone()).collect();
    for round in 0..3 {
        for datagram in &captured {
            let before = pair.trace.len();
            pair.deliver(datagram);
            let first_again = datagram.header().exchange == ExchangeType::IKE_SA_INIT && datagram.to == B;
            for answer in &pair.trace[before..] {
                // A first request may make a half-open IKE SA again, and nothing more.
                assert!(known.contains(&answer.bytes) || first_again, "an answer is the cached one");
            }
        }
        pair.run_secs(11 * round);
    }
    pair.run_secs(40);
    pair.assert_up(1);
    assert_eq!(pair.status(A).ike.unwrap().spis, spis);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

/// First requests under many SPIs and from many ports, as a spoofer sends them who never sees an answer.
fn flood(pair: &mut Pair, count: usize, entropy: &mut SeededEntropy) {
    let template = pair.trace[0].clone();
    let entropy: &mut dyn Entropy = entropy;
    for _ in 0..count {
        let mut datagram = template.clone();
        datagram.bytes[..8].copy_from_slice(&entropy.array::<8>());
        pair.deliver(&datagram);
    }
}

#[test]
fn a_flood_of_first_requests_fills_a_bounded_table_that_empties_again() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut entropy = SeededEntropy::new(77);
    flood(&mut pair, 2000, &mut entropy);
    let sent = pair.sides[B].sent;
    assert!(pair.sides[B].endpoint.half_open() <= limits::COOKIE_THRESHOLD_PER_SOURCE);
    assert_eq!(sent, 2000, "one answer each, none larger than the question by half");
    let (asked, answered) = (pair.trace[0].bytes.len(), pair.trace[1..].iter().map(|d| d.bytes.len()).max().unwrap());
    assert!(answered * 2 <= asked * 3);
    // The honest peer gets in meanwhile, with a cookie.
    pair.line.retain(|datagram| datagram.to == B);
    pair.run_secs(2);
    pair.assert_up(1);
    flood(&mut pair, 200, &mut entropy);
    pair.run_secs(40);
    pair.assert_up(1);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
}

#[test]
fn strangers_get_no_answer() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let first = pair.trace[0].clone();
    let stranger = "198.18.0.7:500".parse().unwrap();
    pair.deliver(&Datagram { source: stranger, ..first });
    assert_eq!((pair.sides[B].sent, pair.refused(B, IkeReason::UnknownPeer)), (0, 1));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

#[test]
fn another_major_version_is_answered_with_ours_and_garbage_with_silence() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut first = pair.trace[0].clone();
    first.bytes[17] = 0x30;
    pair.deliver(&first);
    let answer = pair.trace.last().unwrap();
    assert_eq!(answer.to, A);
    let message = crate::wire::ike::message::Message::decode(&answer.bytes).unwrap();
    assert_eq!(message.payloads, [Payload::Notify(Notify::error(NotifyType::INVALID_MAJOR_VERSION))]);
    assert_eq!(message.header.major, 2);
    let sent = pair.sides[B].sent;
    let mut entropy = SeededEntropy::new(5);
    let entropy: &mut dyn Entropy = &mut entropy;
    for len in 0..600 {
        let mut bytes = vec![0; len];
        entropy.fill(&mut bytes);
        pair.deliver(&Datagram { bytes, ..first.clone() });
    }
    assert_eq!(pair.sides[B].sent, sent);
    pair.run_secs(1);
    pair.assert_up(1);
}

/// Junk to a half-open IKE SA: it stays for the true peer.
#[test]
fn junk_does_not_close_a_half_open_ike_sa() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    while pair.trace.len() < 3 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let auth = pair.trace[2].clone();
    for index in 0..1000 {
        let mut junk = auth.clone();
        let last = junk.bytes.len() - 1 - index % 50;
        junk.bytes[last] ^= 0x55;
        pair.deliver(&junk);
    }
    assert!(pair.refused(B, IkeReason::IntegrityFailed) >= 1000);
    pair.run_secs(3);
    pair.assert_up(1);
}

fn forge(pair: &mut Pair, exchange: ExchangeType, payloads: &[Payload]) {
    let (first, inner) = chain::encode(payloads);
    forge_chain(pair, exchange, first, &inner);
}

fn forge_chain(pair: &mut Pair, exchange: ExchangeType, first: PayloadType, inner: &[u8]) {
    let (path, bytes) = pair.sides[A].endpoint.forge(exchange, false, 0, first, inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
}

fn last_answer(pair: &Pair) -> Vec<Payload> {
    let answer = pair.trace.last().unwrap();
    assert_eq!(answer.to, A);
    pair.sides[A].endpoint.unseal(&answer.bytes).unwrap()
}

#[test]
fn an_authenticated_unknown_critical_payload_is_named_and_nothing_else_happens() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let unknown = |critical| Payload::Unknown { kind: PayloadType(200), critical, body: vec![1, 2] };
    forge(&mut pair, ExchangeType::INFORMATIONAL, &[unknown(true)]);
    let expected = Notify::status(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200]);
    assert_eq!(last_answer(&pair), [Payload::Notify(expected)]);
    assert_eq!(pair.sides[B].inbound.len(), 1);
    pair.assert_up(1);
}

#[test]
fn an_authenticated_malformed_message_ends_its_ike_sa_on_both_sides() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    forge_chain(&mut pair, ExchangeType::INFORMATIONAL, PayloadType::NOTIFY, &[0, 0, 0, 3]);
    assert_eq!(last_answer(&pair), [Payload::Notify(Notify::error(NotifyType::INVALID_SYNTAX))]);
    pair.assert_empty(B);
    assert_eq!(pair.failed(B)[0].1, IkeReason::Malformed);
}

#[test]
fn a_delete_of_unknown_spis_is_answered_and_changes_nothing() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    forge(&mut pair, ExchangeType::INFORMATIONAL, &[Payload::Delete(Delete::esp([0x7777_7777, 0, 1]))]);
    assert_eq!(last_answer(&pair), []);
    pair.assert_up(1);
}

/// The peer cannot be asked to send its own messages back to us under another name.
#[test]
fn status_notifies_and_vendor_ids_are_passed_over() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let payloads: Vec<_> = [16384, 16385, 16394, 40_000, 65_535]
        .map(|kind| Payload::Notify(Notify::status(NotifyType(kind), vec![0; 40])))
        .into_iter()
        .chain([Payload::Vendor(crate::wire::ike::payload::Vendor(b"CISCO-DELETE-REASON".to_vec()))])
        .collect();
    forge(&mut pair, ExchangeType::INFORMATIONAL, &payloads);
    assert_eq!(last_answer(&pair), []);
    pair.assert_up(1);
}
