//! A peer that has lost everything but its secret (RFC 6290).

use std::time::Duration;

use super::pair::{A, B, Datagram, Pair, TUNNEL, config, tunnel};
use crate::entropy::SeededEntropy;
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::config::{Start, TunnelConfig};
use crate::ike::endpoint::Endpoint;
use crate::secret::Secret;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Notify, Payload};

fn secret(side: usize) -> Secret {
    Secret::copy_of(&[u8::try_from(side).unwrap() + 1; 32])
}

/// Both sides with a secret; only A opens.
fn with_secrets() -> Pair {
    let mut pair = Pair::new(TunnelConfig { start: Start::Manual, ..tunnel(A) }, tunnel(B));
    for side in [A, B] {
        pair.sides[side].endpoint.remember_by(secret(side));
    }
    pair.input(A, Input::Up(TUNNEL));
    pair.run_secs(1);
    pair.assert_up(1);
    pair
}

/// The side has lost everything; the data path too.
fn restart(pair: &mut Pair, side: usize, remembers: bool) {
    let before = tunnel(side);
    let fresh = TunnelConfig { start: Start::Manual, ..before };
    let number = u64::try_from(side).unwrap() + 90;
    let mut endpoint = Endpoint::new(config(fresh), Box::new(SeededEntropy::new(number)), true);
    if remembers {
        endpoint.remember_by(secret(side));
    }
    let this = &mut pair.sides[side];
    this.endpoint = endpoint;
    this.inbound.clear();
    this.outbound.clear();
    this.ways.clear();
    this.timeout = None;
    pair.input(side, Input::Timeout);
}

fn notifies(datagram: &Datagram) -> Vec<Notify> {
    let payloads = Message::decode(&datagram.bytes).map(|message| message.payloads).unwrap_or_default();
    payloads.into_iter().filter_map(|of| if let Payload::Notify(notify) = of { Some(notify) } else { None }).collect()
}

#[test]
fn a_restarted_peer_is_back_within_one_round_trip_of_the_first_question() {
    let mut pair = with_secrets();
    restart(&mut pair, B, true);
    // --> HDR, SK {}                 is anybody there?
    let asked = pair.trace.len();
    while pair.trace.len() == asked {
        pair.run(Duration::from_millis(100));
    }
    let question = pair.now;
    // <-- HDR, N(INVALID_IKE_SPI), N(QCD_TOKEN)
    pair.run(pair.latency * 2);
    let answer = &pair.trace[asked + 1];
    let kinds: Vec<_> = notifies(answer).iter().map(|notify| notify.kind).collect();
    assert_eq!(kinds, [NotifyType::INVALID_IKE_SPI, NotifyType::QCD_TOKEN]);
    assert!(answer.bytes.len() * 2 <= pair.trace[asked].bytes.len() * 3, "no amplifier");
    // --> HDR, SAi1, KEi, Ni         at once
    assert_eq!(pair.trace[asked + 2].header().exchange, ExchangeType::IKE_SA_INIT);
    assert!(pair.trace[asked + 2].at.since(question) <= pair.latency * 2);
    assert_eq!(pair.refused(A, IkeReason::PeerRestarted), 1);
    pair.run(Duration::from_millis(100));
    pair.assert_up(1);
}

#[test]
fn without_its_secret_a_restarted_peer_is_missed_only_when_it_does_not_answer() {
    let mut pair = with_secrets();
    let old = pair.status(A).ike.unwrap().spis;
    restart(&mut pair, B, false);
    pair.run_secs(20);
    assert_eq!(pair.status(A).ike.unwrap().spis, old);
    pair.run_secs(70);
    pair.assert_up(1);
}

#[test]
fn no_token_of_an_ike_sa_that_stands_leaves_in_the_clear() {
    let mut pair = with_secrets();
    let request =
        pair.trace.iter().find(|of| of.header().exchange == ExchangeType::IKE_AUTH && of.to == B).unwrap().clone();
    let before = pair.trace.len();
    for to in [A, B] {
        for flags in 0..=255_u8 {
            for id in [0, 1, 2, u32::MAX] {
                let mut bytes = request.bytes.clone();
                bytes[19] = flags;
                bytes[20..24].copy_from_slice(&id.to_be_bytes());
                let (source, destination) =
                    if to == B { (request.source, request.destination) } else { (request.destination, request.source) };
                for swap in [false, true] {
                    let mut bytes = bytes.clone();
                    if swap {
                        bytes[..16].rotate_left(8);
                    }
                    pair.deliver(&Datagram { to, source, destination, bytes, ..request });
                }
            }
        }
    }
    let told = pair.trace[before..].iter().flat_map(notifies).filter(|notify| notify.kind == NotifyType::QCD_TOKEN);
    // The swapped SPIs are those of no IKE SA; what they get fits none either.
    for token in told {
        for side in [A, B] {
            let peer = 1 - side;
            let sent =
                pair.trace.iter().find(|of| of.to == side && of.header().exchange == ExchangeType::IKE_AUTH).unwrap();
            let known = pair.sides[side].endpoint.unseal(&sent.bytes).unwrap();
            let own = known.iter().any(|of| matches!(of, Payload::Notify(of) if of.data == token.data));
            assert!(!own, "the token of side {peer}");
        }
    }
    pair.run_secs(1);
    pair.assert_up(1);
}

#[test]
fn a_token_that_is_wrong_unasked_or_in_another_place_ends_nothing() {
    let mut pair = with_secrets();
    let old = pair.status(A).ike.unwrap().spis;
    let sent =
        pair.trace.iter().find(|of| of.to == A && of.header().exchange == ExchangeType::IKE_AUTH).unwrap().clone();
    let inside = pair.sides[A].endpoint.unseal(&sent.bytes).unwrap();
    let token = inside.iter().find_map(|of| match of {
        Payload::Notify(notify) if notify.kind == NotifyType::QCD_TOKEN => Some(notify.clone()),
        _ => None,
    });
    let token = token.expect("B gives its token in IKE_AUTH");
    let say = |pair: &mut Pair, id: u32, notifies: Vec<Notify>| {
        let mut header = sent.header();
        (header.exchange, header.message_id) = (ExchangeType::INFORMATIONAL, id);
        let payloads = notifies.into_iter().map(Payload::Notify).collect();
        let bytes = Message { header, payloads }.encode();
        pair.deliver(&Datagram { bytes, ..sent.clone() });
    };
    let lost = || Notify::error(NotifyType::INVALID_IKE_SPI);
    // Nobody has asked.
    for id in 0..4 {
        say(&mut pair, id, vec![lost(), token.clone()]);
    }
    // A asks: the answer is lost on the way, and somebody guesses.
    pair.meddle = Some(Box::new(|_, _| Vec::new()));
    let before = pair.trace.len();
    while pair.trace[before..].iter().all(|of| of.to != B) {
        pair.run(Duration::from_millis(100));
    }
    let id = pair.trace.last().unwrap().header().message_id;
    let mut wrong = token.clone();
    wrong.data[0] ^= 1;
    say(&mut pair, id, vec![lost(), wrong]);
    say(&mut pair, id, vec![token.clone()]);
    say(&mut pair, id + 1, vec![lost(), token.clone()]);
    assert_eq!(pair.status(A).ike.unwrap().spis, old);
    assert_eq!(pair.refused(A, IkeReason::PeerRestarted), 0);
    say(&mut pair, id, vec![lost(), token]);
    assert_eq!(pair.refused(A, IkeReason::PeerRestarted), 1, "and this is the true one");
}

#[test]
fn both_sides_have_a_token_for_the_ike_sa_that_took_the_place_of_another() {
    for rekeys in [A, B] {
        for lost in [A, B] {
            let mut pair = with_secrets();
            pair.input(rekeys, Input::Rekey { tunnel: TUNNEL, children: false, ike: true });
            pair.run_secs(3);
            pair.assert_up(1);
            restart(&mut pair, lost, true);
            pair.run_secs(15);
            assert_eq!(pair.refused(1 - lost, IkeReason::PeerRestarted), 1, "rekeyed by {rekeys}, lost by {lost}");
        }
    }
}
