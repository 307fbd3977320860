//! IKE_INTERMEDIATE with further key exchanges (RFC 9242, 9370), and what an attacker makes of it.

use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{Additional, Group, IkeSuite};
use crate::entropy::Entropy;
use crate::event::IkeReason;
use crate::ike::exchange::intermediate::octets;
use crate::ike::limits;
use crate::wire::ike::chain;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Ke, Notify, Payload, Vendor};

fn following(groups: &[(usize, Group)]) -> IkeSuite {
    let mut additional = Additional::NONE;
    for (place, group) in groups {
        additional.put(*place, *group);
    }
    IkeSuite { additional, ..X25519 }
}

/// Both sides with these suites.
fn with(a: &[IkeSuite], b: &[IkeSuite]) -> Pair {
    let [mut left, mut right] = [tunnel(A), tunnel(B)];
    (left.ike, right.ike) = (a.to_vec(), b.to_vec());
    Pair::new(left, right)
}

fn exchanges(pair: &Pair, exchange: ExchangeType) -> usize {
    pair.trace.iter().filter(|datagram| datagram.header().exchange == exchange).count()
}

/// ```text
/// A                                                   B
/// HDR, SAi1(.. ADDKE*), KEi(0), Ni,
///      N(INTERMEDIATE_EXCHANGE_SUPPORTED)   -->
///                                           <--  HDR, SAr1(.. ADDKE*), KEr(0), Nr,
///                                                     N(INTERMEDIATE_EXCHANGE_SUPPORTED)
/// HDR, SK {KEi(n)}                          -->
///                                           <--  HDR, SK {KEr(n)}
/// HDR, SK {IDi, AUTH, ..}                   -->
///                                           <--  HDR, SK {IDr, AUTH, ..}
/// ```
#[test]
fn every_additional_key_exchange_is_made_before_ike_auth() {
    for (groups, datagrams) in [
        // What is longer than a fragment takes two.
        (&[(1, Group::MlKem768)][..], 2),
        (&[(1, Group::MlKem1024)], 4),
        (&[(1, Group::Ecp384), (4, Group::MlKem768), (7, Group::Ecp256)], 6),
    ] {
        let suite = following(groups);
        let mut pair = with(&[suite], &[suite]);
        pair.run_secs(1);
        pair.assert_up(1);
        assert_eq!(exchanges(&pair, ExchangeType::IKE_INTERMEDIATE), datagrams, "{suite}");
        assert_eq!(pair.status(A).ike.unwrap().suite, suite.to_string());
        assert!(suite.to_string().contains("-ke1_"), "{suite}");
        assert_eq!((pair.failed(A), pair.failed(B)), (vec![], vec![]));
    }
}

#[test]
fn each_message_may_be_lost_once() {
    let suite = following(&[(1, Group::MlKem1024), (2, Group::Ecp256)]);
    for lost in 1..=12 {
        let mut pair = with(&[suite], &[suite]);
        pair.meddle = Some(Box::new(
            move |datagram, _| {
                if datagram.number == lost { vec![] } else { vec![(Duration::ZERO, datagram)] }
            },
        ));
        pair.run_secs(5);
        pair.assert_up(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "without datagram {lost}");
    }
}

#[test]
fn messages_may_be_lost_doubled_and_reordered_at_will() {
    let suite = following(&[(1, Group::MlKem768), (2, Group::MlKem1024)]);
    for seed in 0..30 {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.ike, b.ike) = (vec![suite], vec![suite]);
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn Entropy = entropy;
            let copies = [0, 1, 1, 1, 1, 2, 2, 3][usize::try_from(entropy.below(8)).unwrap()];
            (0..copies).map(|_| (Duration::from_millis(entropy.below(200)), datagram.clone())).collect()
        }));
        pair.run_secs(60);
        pair.assert_up(1);
    }
}

#[test]
fn a_repeated_request_gets_the_same_answer_although_the_keys_are_others_now() {
    let suite = following(&[(1, Group::MlKem768)]);
    let mut pair = with(&[suite], &[suite]);
    while pair.trace.len() < 4 {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
    let (request, answer) = (pair.trace[2].clone(), pair.trace[3].clone());
    assert_eq!(request.header().exchange, ExchangeType::IKE_INTERMEDIATE);
    pair.deliver(&request);
    assert_eq!(pair.trace.last().unwrap().bytes, answer.bytes);
    assert_eq!(pair.trace.len(), 5);
    let mut forged = request.clone();
    *forged.bytes.last_mut().unwrap() ^= 1;
    pair.deliver(&forged);
    assert_eq!(pair.trace.len(), 5, "a forged one gets none");
    pair.run_secs(1);
    pair.assert_up(1);
    pair.trace.clear();
    pair.deliver(&request);
    assert_eq!(pair.trace.len(), 0, "it is over");
}

/// The last line of Wireshark's table for an IKE SA is the one that counts.
#[test]
fn the_key_log_has_the_keys_of_each_exchange_in_order() {
    let suite = following(&[(1, Group::MlKem768), (2, Group::Ecp256)]);
    let mut pair = with(&[suite], &[suite]);
    pair.run_secs(1);
    let [a, b] = [A, B]
        .map(|side| pair.sides[side].key_log.iter().filter(|line| !line.starts_with('"')).cloned().collect::<Vec<_>>());
    assert_eq!(a, b);
    assert_eq!(a.len(), 3);
    assert!(a[0] != a[1] && a[1] != a[2]);
    assert!(a.iter().all(|line| line[..33] == a[0][..33]), "all of one IKE SA");
}

type Change = fn(&mut Vec<Payload>);

/// Somebody on the way changes messages of IKE_SA_INIT to side `to`.
fn changed(pair: &mut Pair, to: usize, times: usize, change: Change) {
    let mut left = times;
    let mut meddle = move |mut datagram: Datagram| {
        if datagram.to == to && datagram.header().exchange == ExchangeType::IKE_SA_INIT && left > 0 {
            left -= 1;
            let mut message = Message::decode(&datagram.bytes).unwrap();
            change(&mut message.payloads);
            datagram.bytes = message.encode();
        }
        datagram
    };
    // The first request is under way already.
    pair.line = std::mem::take(&mut pair.line).into_iter().map(&mut meddle).collect();
    pair.meddle = Some(Box::new(move |datagram, _| vec![(Duration::ZERO, meddle(datagram))]));
}

fn take_out_the_transforms(payloads: &mut Vec<Payload>) {
    for payload in payloads {
        if let Payload::Sa(sa) = payload {
            for proposal in &mut sa.proposals {
                proposal.transforms.retain(|transform| !transform.kind.is_additional());
            }
        }
    }
}

fn take_out_the_proposals(payloads: &mut Vec<Payload>) {
    for payload in payloads {
        if let Payload::Sa(sa) = payload {
            sa.proposals.retain(|proposal| proposal.transforms.iter().all(|transform| !transform.kind.is_additional()));
        }
    }
}

fn take_out_the_notification(payloads: &mut Vec<Payload>) {
    payloads.retain(|payload| {
        !matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED)
    });
}

#[test]
fn a_responder_that_requires_it_names_a_request_without() {
    let pq = following(&[(1, Group::MlKem768)]);
    for change in [take_out_the_transforms as Change, take_out_the_notification] {
        let mut pair = with(&[pq], &[pq]);
        changed(&mut pair, B, usize::MAX, change);
        pair.run_secs(2);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
        assert!(pair.refused(B, IkeReason::PostQuantumRequired) > 0);
        assert_eq!(pair.failed(B)[0].1, IkeReason::PostQuantumRequired);
        assert_eq!(pair.sides[B].endpoint.half_open(), 0);
        assert!(pair.failed(B)[0].2.contains("ADDKE1:ML_KEM_768"), "{:?}", pair.failed(B));
    }
    let mut pair = with(&[X25519], &[pq]);
    pair.run_secs(2);
    assert_eq!(pair.failed(B)[0].1, IkeReason::PostQuantumRequired);
}

#[test]
fn an_initiator_that_requires_it_names_an_answer_without_and_waits_for_the_true_one() {
    let pq = following(&[(1, Group::MlKem768)]);
    for change in [take_out_the_transforms as Change, take_out_the_notification] {
        let mut pair = with(&[pq], &[pq]);
        changed(&mut pair, A, 2, change);
        pair.run(Duration::from_millis(900));
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
        assert_eq!(pair.refused(A, IkeReason::PostQuantumRequired), 2);
        pair.run_secs(5);
        pair.assert_up(1);
    }
}

/// Where both sides could do without, somebody who takes it out is found out by IKE_AUTH.
#[test]
fn a_downgrade_to_what_both_sides_allow_does_not_get_past_ike_auth() {
    let pq = following(&[(1, Group::MlKem768)]);
    for change in [take_out_the_proposals as Change, take_out_the_notification] {
        let mut pair = with(&[pq, X25519], &[pq, X25519]);
        changed(&mut pair, B, usize::MAX, change);
        pair.run_secs(3);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
        assert_eq!(pair.failed(B)[0].1, IkeReason::AuthenticationFailed);
    }
    let mut pair = with(&[pq, X25519], &[X25519]);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.status(A).ike.unwrap().suite, X25519.to_string());
}

/// A request to B with A's keys and the next message ID.
fn forged(pair: &mut Pair, exchange: ExchangeType, offset: i32, payloads: &[Payload]) {
    let (first, inner) = chain::encode(payloads);
    let (path, bytes) = pair.sides[A].endpoint.forge(exchange, false, offset, first, &inner).unwrap();
    let at = pair.now;
    let datagram = Datagram { at, number: 0, to: B, source: path.local, destination: path.remote, bytes };
    pair.deliver(&datagram);
}

fn until_half_open(suite: IkeSuite) -> Pair {
    let mut pair = with(&[suite], &[suite]);
    while pair.trace.len() < 3 {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
    pair.line.clear();
    pair
}

#[test]
fn what_was_not_agreed_on_comes_too_early_or_too_late_is_refused() {
    let ke = Payload::Ke(Ke { method: Group::MlKem768.method(), data: vec![0; 1184] });
    // Not agreed on. The window of A has the request of IKE_AUTH under way, hence the offset.
    let mut pair = until_half_open(X25519);
    forged(&mut pair, ExchangeType::IKE_INTERMEDIATE, -1, std::slice::from_ref(&ke));
    assert_eq!(pair.refused(B, IkeReason::UnexpectedExchange), 1);
    // IKE_AUTH in its place.
    let mut pair = until_half_open(following(&[(1, Group::MlKem768)]));
    forged(&mut pair, ExchangeType::IKE_AUTH, -1, std::slice::from_ref(&ke));
    assert_eq!(pair.refused(B, IkeReason::UnexpectedExchange), 1);
    assert_eq!(pair.sides[B].endpoint.half_open(), 1, "nothing has changed");
    // After IKE_AUTH.
    let suite = following(&[(1, Group::MlKem768)]);
    let mut pair = with(&[suite], &[suite]);
    pair.run_secs(1);
    pair.assert_up(1);
    forged(&mut pair, ExchangeType::IKE_INTERMEDIATE, 0, &[ke]);
    assert_eq!(pair.refused(B, IkeReason::UnexpectedExchange), 1);
    pair.run_secs(30);
    pair.assert_up(1);
}

#[test]
fn a_value_that_is_not_valid_is_named_and_ends_the_attempt() {
    let method = Group::MlKem768.method();
    let too_large = vec![0xff; 1184];
    for (ke, reason) in [
        (Some(Ke { method, data: too_large }), IkeReason::InvalidKe),
        (Some(Ke { method, data: vec![0; 1183] }), IkeReason::InvalidKe),
        (Some(Ke { method, data: vec![] }), IkeReason::InvalidKe),
        (Some(Ke { method: Group::MlKem1024.method(), data: vec![0; 1568] }), IkeReason::InvalidKe),
        (None, IkeReason::MissingPayload),
    ] {
        let mut pair = until_half_open(following(&[(1, Group::MlKem768)]));
        let payloads: Vec<_> = ke.map(Payload::Ke).into_iter().collect();
        forged(&mut pair, ExchangeType::IKE_INTERMEDIATE, -1, &payloads);
        assert_eq!(pair.failed(B).last().unwrap().1, reason);
        let answer = pair.trace.last().unwrap().clone();
        let said = pair.sides[A].endpoint.unseal(&answer.bytes).unwrap();
        assert_eq!(said, [Payload::Notify(Notify::error(NotifyType::INVALID_SYNTAX))]);
        pair.deliver(&answer);
        assert_eq!(pair.failed(A).last().unwrap().1, IkeReason::PeerError);
        pair.run(limits::REFUSED_TIME + Duration::from_secs(1));
        pair.run_secs(20);
        pair.assert_up(1);
    }
}

/// RFC 9242 §3.3: somebody who breaks the first key exchange and changes a message of the second is found out.
#[test]
fn a_message_that_is_not_the_one_that_was_sent_fails_in_ike_auth() {
    let mut pair = until_half_open(following(&[(1, Group::MlKem768)]));
    let sent = pair.trace[2].clone();
    let mut payloads = pair.sides[B].endpoint.unseal(&sent.bytes).unwrap();
    // The same key exchange, and something besides.
    payloads.push(Payload::Vendor(Vendor(b"x".to_vec())));
    forged(&mut pair, ExchangeType::IKE_INTERMEDIATE, -1, &payloads);
    pair.run_secs(1);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
    assert_eq!(pair.failed(B)[0].1, IkeReason::AuthenticationFailed);
}

#[test]
fn what_is_signed_later_is_the_message_as_if_it_were_whole_and_open() {
    let mut header = vec![7; 28];
    header[16] = PayloadType::SKF.0;
    let signed = octets(&header, 0, PayloadType::KE, b"inner");
    assert_eq!(signed.len(), 28 + 4 + 5);
    assert_eq!(signed[16], PayloadType::SK.0);
    assert_eq!(signed[24..28], [0, 0, 0, 37]);
    assert_eq!(signed[28..], [34, 0, 0, 9, b'i', b'n', b'n', b'e', b'r']);
    let mut whole = header.clone();
    whole[16] = PayloadType::SK.0;
    assert_eq!(octets(&whole, 0, PayloadType::KE, b"inner"), signed);
}
