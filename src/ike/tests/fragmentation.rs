//! RFC 7383 over a line that loses, doubles, reorders and forges fragments. The identities are long, so that both messages
//! of IKE_AUTH are.

use std::time::Duration;

use super::pair::*;
use crate::event::IkeReason;
use crate::ike::config::TunnelConfig;
use crate::ike::limits;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::ExchangeType;
use crate::wire::ike::payload::Payload;

/// Both tunnels, with names of so many bytes.
fn long(bytes: usize) -> [TunnelConfig; 2] {
    let names = ["a", "b"].map(|name| fqdn(&name.repeat(bytes)));
    [A, B].map(|side| {
        let mut tunnel = tunnel(side);
        tunnel.local_id = names[side].clone();
        tunnel.peer_id = names[1 - side].clone();
        tunnel
    })
}

fn start() -> Pair {
    let [a, b] = long(2500);
    Pair::new(a, b)
}

/// Number and total, if it is a fragment.
fn number(datagram: &Datagram) -> Option<(u16, u16)> {
    match Message::decode(&datagram.bytes).unwrap().payloads.last() {
        Some(Payload::Skf(skf)) => Some((skf.number, skf.total)),
        _ => None,
    }
}

fn longest(pair: &Pair) -> usize {
    pair.trace.iter().map(|datagram| datagram.bytes.len()).max().unwrap()
}

/// Until so many datagrams have been sent.
fn until_sent(pair: &mut Pair, count: usize) {
    while pair.trace.len() < count {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
}

/// ```text
/// A                              B
/// HDR, SAi1, KEi, Ni, N(IKEV2_FRAGMENTATION_SUPPORTED)  -->
///                          <--  HDR, SAr1, KEr, Nr, N(IKEV2_FRAGMENTATION_SUPPORTED)
/// HDR, SKF(1 of 6) .. HDR, SKF(6 of 6)                  -->
///                          <--  HDR, SKF(1 of 5) .. HDR, SKF(5 of 5)
/// ```
#[test]
fn a_long_message_goes_out_in_fragments_that_every_path_carries() {
    let mut pair = start();
    pair.run_secs(1);
    pair.assert_up(1);
    let numbers: Vec<_> = pair.trace.iter().filter_map(number).collect();
    let [to, from] = [B, A]
        .map(|side| pair.trace.iter().filter(|datagram| datagram.to == side).filter_map(number).collect::<Vec<_>>());
    for sent in [to, from] {
        let total = u16::try_from(sent.len()).unwrap();
        assert!(total > 1);
        assert_eq!(sent, (1..=total).map(|number| (number, total)).collect::<Vec<_>>());
    }
    assert_eq!(pair.trace.len(), 2 + numbers.len());
    // IPv4 and UDP.
    assert_eq!(longest(&pair) + 20 + 8, limits::UNFRAGMENTED_DATAGRAM, "the fragments are full");
}

#[test]
fn a_side_without_fragmentation_gets_whole_messages() {
    for off in [[true, false], [false, true], [true, true]] {
        let [mut a, mut b] = long(2500);
        (a.fragmentation, b.fragmentation) = (!off[A], !off[B]);
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(1);
        assert_eq!(pair.trace.len(), 4);
        assert!(longest(&pair) > 2500);
    }
}

#[test]
fn each_fragment_may_be_lost_once() {
    let mut pair = start();
    pair.run_secs(1);
    for lost in 0..pair.trace.len() as u64 {
        let mut pair = start();
        pair.meddle =
            Some(Box::new(
                move |datagram, _| {
                    if datagram.number == lost + 1 { vec![] } else { vec![(Duration::ZERO, datagram)] }
                },
            ));
        pair.run_secs(5);
        pair.assert_up(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "without datagram {lost}");
    }
}

#[test]
fn fragments_may_be_lost_doubled_and_reordered_at_will() {
    for seed in 0..40 {
        let [a, b] = long(2500);
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            let copies = [0, 1, 1, 1, 1, 1, 1, 2, 3, 3][usize::try_from(entropy.below(10)).unwrap()];
            (0..copies).map(|_| (Duration::from_millis(entropy.below(200)), datagram.clone())).collect()
        }));
        pair.run_secs(60);
        pair.meddle = None;
        pair.run_secs(60);
        pair.assert_up(1);
    }
}

#[test]
fn a_fragment_with_any_byte_changed_is_refused_and_the_true_one_taken() {
    let mut pair = start();
    pair.meddle = Some(Box::new(|datagram, _| {
        if number(&datagram).is_none() {
            return vec![(Duration::ZERO, datagram)];
        }
        let mut copies: Vec<_> = (28..datagram.bytes.len())
            .step_by(41)
            .map(|at| {
                let mut forged = datagram.clone();
                forged.bytes[at] ^= 0x10;
                (Duration::ZERO, forged)
            })
            .collect();
        // The half-open SA is deaf for a moment after so much junk.
        copies.push((limits::JUNK_PAUSE * 3, datagram));
        copies
    }));
    pair.run_secs(3);
    pair.assert_up(1);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    assert!(pair.refused(B, IkeReason::IntegrityFailed) > 50, "{}", pair.refused(B, IkeReason::IntegrityFailed));
}

#[test]
fn an_attackers_fragments_between_the_true_ones_change_nothing() {
    let mut refused = [0, 0];
    for seed in 0..10 {
        let [a, b] = long(2500);
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            let mut copies = vec![(Duration::from_millis(5), datagram.clone())];
            let Some((number, total)) = number(&datagram) else { return copies };
            let lies =
                [(number, total), (1, total + 1), (total, total), (64, 64), (0, total), (total, 1), (1, 999), (2, 2)];
            for _ in 0..2 {
                let (number, total) = lies[usize::try_from(entropy.below(lies.len() as u64)).unwrap()];
                let mut forged = datagram.clone();
                forged.bytes[32..34].copy_from_slice(&number.to_be_bytes());
                forged.bytes[34..36].copy_from_slice(&total.to_be_bytes());
                forged.bytes[60] ^= 1;
                copies.push((Duration::from_millis(entropy.below(10)), forged));
            }
            copies
        }));
        pair.run_secs(10);
        pair.assert_up(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "seed {seed}");
        for side in [A, B] {
            refused[side] += pair.refused(side, IkeReason::IntegrityFailed);
        }
    }
    assert!(refused.iter().all(|count| *count > 10), "{refused:?}");
}

/// RFC 7383 §2.5.2.
#[test]
fn a_path_that_carries_nothing_long_gets_narrow_fragments_both_ways() {
    for bytes in [700, 2500] {
        let [a, b] = long(bytes);
        let mut pair = Pair::new(a, b);
        let most = limits::NARROW_DATAGRAM - 20 - 8;
        pair.meddle =
            Some(Box::new(
                move |datagram, _| {
                    if datagram.bytes.len() > most { vec![] } else { vec![(Duration::ZERO, datagram)] }
                },
            ));
        pair.run_secs(10);
        pair.assert_up(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    }
}

/// RFC 7383 §2.6.1: a request that was answered is answered again, once, when its first fragment comes.
#[test]
fn the_first_fragment_of_an_answered_request_brings_the_same_answer_once() {
    let mut pair = start();
    pair.run_secs(1);
    let sent = pair.trace.clone();
    let request: Vec<_> = sent.iter().filter(|datagram| datagram.to == B && number(datagram).is_some()).collect();
    let answer: Vec<_> = sent.iter().filter(|datagram| datagram.to == A && number(datagram).is_some()).collect();
    pair.trace.clear();
    for fragment in &request {
        pair.deliver(fragment);
    }
    let again: Vec<_> = pair.trace.iter().map(|datagram| &datagram.bytes).collect();
    assert_eq!(again, answer.iter().map(|datagram| &datagram.bytes).collect::<Vec<_>>());
    pair.trace.clear();
    for fragment in &request[1..] {
        pair.deliver(fragment);
    }
    assert_eq!(pair.trace.len(), 0);
    // A forged first fragment brings nothing.
    let mut forged = request[0].clone();
    forged.bytes[100] ^= 1;
    pair.deliver(&forged);
    assert_eq!(pair.trace.len(), 0);
    pair.run_secs(1);
    pair.assert_up(1);
}

#[test]
fn a_retransmission_that_comes_in_part_does_not_stand_in_the_way_of_the_next_message() {
    let mut pair = start();
    pair.run_secs(1);
    let request: Vec<_> =
        pair.trace.iter().filter(|datagram| datagram.to == B && number(datagram).is_some()).cloned().collect();
    for fragment in &request[..2] {
        pair.deliver(fragment);
    }
    // Liveness goes on in both directions.
    pair.run_secs(60);
    pair.assert_up(1);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    assert!(pair.trace.iter().any(|datagram| datagram.header().exchange == ExchangeType::INFORMATIONAL));
}

#[test]
fn fragments_of_a_half_open_sa_are_forgotten_after_a_while() {
    let mut pair = start();
    until_sent(&mut pair, 3);
    let first = pair.trace[2].clone();
    assert_eq!(number(&first).map(|(number, _)| number), Some(1));
    // The others never come.
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.line.clear();
    pair.deliver(&first);
    let now = pair.now;
    assert_eq!(pair.sides[B].timeout, Some(now + limits::REASSEMBLY_TIME));
    pair.sides[A].timeout = None;
    pair.run_secs(11);
    assert!(pair.sides[B].timeout.unwrap() > now + limits::REASSEMBLY_TIME);
    assert_eq!(pair.sides[B].endpoint.half_open(), 1);
}
