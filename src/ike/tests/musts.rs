//! Sentences of RFC 7296 with a MUST that no other test is about (docs/COMPLIANCE.md).

use std::collections::BTreeSet;
use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{EspSuite, PrfAlg};
use crate::ike::api::Input;
use crate::ike::limits;
use crate::ike::negotiate::{self, Place};
use crate::sa::spi::Spi;
use crate::wire::ike::chain;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, KeMethod, NotifyType, PayloadType, TransformType};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload, Sa, Transform, Ts};

fn up() -> Pair {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.assert_up(1);
    pair
}

/// What B answers to a request that A's keys have sealed, without A's knowledge.
fn answer_to(pair: &mut Pair, exchange: ExchangeType, payloads: &[Payload]) -> Vec<Payload> {
    let (first, inner) = chain::encode(payloads);
    let (path, bytes) = pair.sides[A].endpoint.forge(exchange, false, 0, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    let answer = pair.take(A);
    pair.sides[A].endpoint.unseal(&answer.bytes).unwrap()
}

fn has(payloads: &[Payload], kind: PayloadType) -> bool {
    payloads.iter().any(|payload| payload.kind() == kind)
}

/// The key exchange of every proposal is NONE.
fn without_key_exchange(sa: &mut Sa) {
    for proposal in &mut sa.proposals {
        proposal.transforms.retain(|transform| transform.kind != TransformType::KE);
        proposal.transforms.push(Transform::ke(KeMethod::NONE));
    }
}

/// §1.3.2, §2.18: neither a request without KE nor one that offers NONE makes an IKE SA in place of another one.
#[test]
fn an_ike_sa_is_not_rekeyed_without_a_key_exchange() {
    for none in [false, true] {
        let mut pair = up();
        let mut sa = negotiate::ike_rekey_offer(&[X25519], 0x0077_0077);
        let ke = Payload::Ke(Ke { method: KeMethod::CURVE25519, data: vec![9; 32] });
        let mut request = vec![Payload::Nonce(Nonce(vec![9; 32]))];
        if none {
            without_key_exchange(&mut sa);
            request.push(ke);
        }
        request.insert(0, Payload::Sa(sa));
        let answer = answer_to(&mut pair, ExchangeType::CREATE_CHILD_SA, &request);
        assert!(!has(&answer, PayloadType::SA), "{none}: {answer:?}");
        let refused = answer.iter().any(|payload| match payload {
            Payload::Notify(notify) => {
                [NotifyType::NO_PROPOSAL_CHOSEN, NotifyType::INVALID_SYNTAX].contains(&notify.kind)
            }
            _ => false,
        });
        assert!(refused, "{none}: {answer:?}");
        assert_eq!(pair.status(B).rekeys.ike, 0);
    }
}

/// §3.3.6: where the key exchange of a child SA is NONE, a KE payload is passed over and none is sent back.
#[test]
fn a_public_value_that_nobody_needs_is_passed_over() {
    let without = EspSuite { group: None, ..ESP };
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    (a.esp, b.esp) = (vec![without], vec![without]);
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    let old = pair.sides[A].inbound.keys().next().unwrap().get();
    let mut sa = negotiate::esp_offer(&[without], Spi::new(0x00AB_CDEF).unwrap(), Place::CreateChildSa);
    without_key_exchange(&mut sa);
    let ts = |network| Ts::ranges([selector(network).to_wire().unwrap()]);
    let request = [
        Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, old)),
        Payload::Sa(sa),
        Payload::Nonce(Nonce(vec![9; 32])),
        Payload::Ke(Ke { method: KeMethod::CURVE25519, data: vec![9; 32] }),
        Payload::TsI(ts("10.0.0.1/32")),
        Payload::TsR(ts("10.1.0.1/32")),
    ];
    let answer = answer_to(&mut pair, ExchangeType::CREATE_CHILD_SA, &request);
    assert!(has(&answer, PayloadType::SA) && !has(&answer, PayloadType::KE), "{answer:?}");
    assert_eq!(pair.sides[B].inbound.len(), 2);
}

/// §1.4.1: both sides delete the same child SA at once.
///
/// ```text
/// A                                                B
/// HDR, SK {D(ESP, a)}  --\     /--                 HDR, SK {D(ESP, b)}
///                      <---------
/// HDR, SK {}           --/     \-->                HDR, SK {}
/// ```
#[test]
fn deletes_that_cross_name_nothing_twice() {
    let mut pair = up();
    for side in [A, B] {
        let inbound = *pair.sides[side].inbound.keys().next().unwrap();
        pair.sides[side].endpoint.delete_child(inbound);
    }
    pair.input(A, Input::Timeout);
    pair.input(B, Input::Timeout);
    let requests = [pair.take(A), pair.take(B)];
    for request in &requests {
        let inside = pair.sides[request.to].endpoint.unseal(&request.bytes).unwrap();
        assert!(has(&inside, PayloadType::DELETE), "{inside:?}");
        pair.deliver(request);
    }
    for side in [A, B] {
        let index = pair.line.iter().position(|of| of.to == side && of.header().flags.response);
        let answer = pair.line.remove(index.expect("an answer")).unwrap();
        let inside = pair.sides[side].endpoint.unseal(&answer.bytes).unwrap();
        assert!(inside.is_empty(), "{inside:?}");
        pair.deliver(&answer);
    }
    pair.run_secs(5);
    pair.assert_up(1);
}

/// §2.1, §2.2: the same bits again, and so the same message ID; before and after there are keys.
#[test]
fn a_request_that_is_sent_again_is_the_same_bit_for_bit() {
    for established in [false, true] {
        let mut pair = if established { up() } else { Pair::new(tunnel(A), tunnel(B)) };
        pair.line.clear();
        if established {
            pair.trace.clear();
            pair.rekey(A, true, false);
        }
        pair.line.clear();
        pair.meddle = Some(Box::new(|_, _| vec![]));
        // Less than ten transmissions take.
        pair.run_secs(35);
        let sent: Vec<_> = pair.trace.iter().filter(|datagram| datagram.to == B).collect();
        assert!(sent.len() > 6, "{}", sent.len());
        let different: BTreeSet<_> = sent.iter().map(|datagram| &datagram.bytes).collect();
        assert_eq!(different.len(), 1, "established {established}");
    }
}

/// §2.8, §1.4.1: nothing is asked in an IKE SA behind its delete.
#[test]
fn the_delete_of_a_replaced_ike_sa_is_the_last_request_in_it() {
    let mut pair = up();
    let old = pair.trace[0].header().initiator_spi;
    pair.rekey(A, false, true);
    pair.talk(Duration::from_secs(30));
    let requests = |to: usize| -> Vec<_> {
        let of = |datagram: &&Datagram| datagram.to == to && datagram.header().initiator_spi == old;
        let headers = pair.trace.iter().filter(of).map(Datagram::header);
        headers.filter(|header| !header.flags.response).map(|header| header.exchange).collect()
    };
    let asked = requests(B);
    let position = asked.iter().position(|exchange| *exchange == ExchangeType::CREATE_CHILD_SA).unwrap();
    assert_eq!(asked[position + 1..], [ExchangeType::INFORMATIONAL], "{asked:?}");
    assert_eq!(requests(A), [], "B had nothing to ask");
}

/// §2.10: at least 128 bits, at least half of the key of any PRF that may be agreed on, and never the same one again.
#[test]
fn nonces_are_long_enough_for_every_prf_and_never_the_same() {
    for prf in [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512] {
        assert!(limits::NONCE_LEN >= 16 && limits::NONCE_LEN * 2 >= prf.len());
    }
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for seed in 0..20 {
        let mut pair = Pair::seeded(seed, config(tunnel(A)), config(tunnel(B)));
        pair.run_secs(1);
        for side in [A, B] {
            pair.rekey(side, true, false);
            pair.talk(Duration::from_secs(1));
        }
        for datagram in &pair.trace {
            let payloads = match Message::decode(&datagram.bytes) {
                Ok(message) if datagram.header().exchange == ExchangeType::IKE_SA_INIT => message.payloads,
                _ => pair.sides[datagram.to].endpoint.unseal(&datagram.bytes).unwrap_or_default(),
            };
            for payload in payloads {
                if let Payload::Nonce(nonce) = payload {
                    assert_eq!(nonce.0.len(), limits::NONCE_LEN);
                    seen.insert(nonce.0);
                    count += 1;
                }
            }
        }
    }
    assert_eq!((seen.len(), count), (120, 120), "two for each of three exchanges of each of twenty pairs");
}

/// §3.10.1: an error that nobody knows ends the request that it answers, and means nothing in a request.
#[test]
fn an_error_without_a_name_ends_what_it_answers_and_nothing_else() {
    let unknown = [Payload::Notify(Notify::error(NotifyType(8_191)))];
    let mut pair = up();
    let answer = answer_to(&mut pair, ExchangeType::INFORMATIONAL, &unknown);
    assert!(answer.is_empty(), "{answer:?}");
    pair.sides[A].endpoint.skip_request();
    pair.rekey(A, true, false);
    let _ = pair.take(B);
    let (first, inner) = chain::encode(&unknown);
    let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::CREATE_CHILD_SA, true, 0, first, &inner).unwrap();
    pair.sides[B].endpoint.skip_answer();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    assert_eq!(pair.failed(A).len(), 1);
    pair.run_secs(1);
    pair.assert_up(1);
    assert_eq!(pair.status(A).rekeys.child, 0, "it is over, and what was in use is in use");
}

/// §3.1: a minor version, the V flag and flags without a meaning are neither heeded nor sent back.
#[test]
fn a_minor_version_and_flags_without_a_meaning_are_neither_heeded_nor_sent() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut request = pair.take(B);
    assert_eq!((request.bytes[17], request.bytes[19]), (0x20, 0x08), "version 2.0, from the initiator");
    request.bytes[17] = 0x2B;
    request.bytes[19] |= 0b1101_0111;
    pair.deliver(&request);
    let answer = pair.take(A);
    assert_eq!((answer.bytes[17], answer.bytes[19]), (0x20, 0x20), "version 2.0, a response");
    assert!(has(&Message::decode(&answer.bytes).unwrap().payloads, PayloadType::SA));
}

/// §2.6, §3.1: an IKE SPI of ours is neither zero nor one that is in use.
#[test]
fn an_ike_spi_is_neither_zero_nor_taken() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let mut seen = BTreeSet::from([0]);
    for _ in 0..20 {
        pair.run_secs(1);
        for side in [A, B] {
            for sa in pair.sides[side].endpoint.probe() {
                let own = sa.spis[usize::from(!sa.initiator)];
                assert_ne!(own, 0);
                seen.insert(own);
            }
        }
        pair.rekey(A, false, true);
    }
    assert!(seen.len() > 30, "each IKE SA has others: {}", seen.len());
}
