//! Rekeying of a child SA by one side (RFC 7296 §1.3.3, §2.8): in which order, with what loss, and when it is refused.

use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{EspSuite, Group};
use crate::event::{Event, IkeReason};
use crate::ike::api::Input;
use crate::ike::limits;
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Nonce, Notify, Payload, Ts};

fn up(a: EspSuite, b: EspSuite) -> Pair {
    let [mut of_a, mut of_b] = [tunnel(A), tunnel(B)];
    (of_a.esp, of_b.esp) = (vec![a], vec![b]);
    let mut pair = Pair::new(of_a, of_b);
    pair.run_secs(1);
    pair.assert_up(1);
    pair
}

fn only(pair: &Pair, side: usize) -> Spi {
    let inbound = &pair.sides[side].inbound;
    assert_eq!(inbound.len(), 1);
    *inbound.keys().next().unwrap()
}

/// Where packets of the one shape go: the SPI of the inbound half.
fn sends_on(pair: &Pair, side: usize) -> Spi {
    *pair.sides[side].ways.values().next().unwrap().last().unwrap()
}

/// What B answers to a request that A's keys have sealed, without A's knowledge.
fn answer_to(pair: &mut Pair, payloads: &[Payload]) -> Vec<Payload> {
    let (first, inner) = chain::encode(payloads);
    let forged = pair.sides[A].endpoint.forge(ExchangeType::CREATE_CHILD_SA, false, 0, first, &inner);
    let (path, bytes) = forged.unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    let answer = pair.take(A);
    pair.sides[A].endpoint.unseal(&answer.bytes).unwrap()
}

fn rekey_request(spi: u32, own: u32, local: &str, remote: &str) -> Vec<Payload> {
    let ts = |network| Ts::ranges([selector(network).to_wire().unwrap()]);
    let suites = [EspSuite { group: None, ..ESP }];
    let place = crate::ike::negotiate::Place::CreateChildSa;
    let own = Spi::new(own).unwrap();
    vec![
        Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, spi)),
        Payload::Sa(crate::ike::negotiate::esp_offer(&suites, own, place)),
        Payload::Nonce(Nonce(vec![9; 32])),
        Payload::TsI(ts(local)),
        Payload::TsR(ts(remote)),
    ]
}

#[test]
fn a_child_sa_is_replaced_in_an_order_that_loses_no_packet() {
    for side in [A, B] {
        let other = 1 - side;
        let mut pair = up(ESP, ESP);
        let old = [only(&pair, A), only(&pair, B)];
        // HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
        pair.rekey(side, true, false);
        let announced = pair.sides[side].expected.clone();
        pair.pass_next(other);
        assert_eq!(pair.sides[other].inbound_then.last(), Some(&2), "it receives on both before the answer leaves");
        assert_eq!(sends_on(&pair, other), old[other], "and sends on the old one");
        assert_eq!(pair.sides[side].inbound.len(), 1);
        // <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
        pair.pass_next(side);
        let new = sends_on(&pair, side);
        assert_ne!(new, old[side]);
        assert!(announced.contains(&new), "the data path knew the SPI before the request left");
        assert_eq!(pair.sides[side].outbound.len(), 1, "only the new one is sent on");
        assert_eq!(pair.sides[side].inbound.len(), 2);
        // ESP on the new one: the responder follows.
        assert_eq!(sends_on(&pair, other), old[other]);
        pair.send_esp();
        pair.deliver_esp();
        assert_ne!(sends_on(&pair, other), old[other]);
        // HDR, SK {D(old)} -->
        pair.pass_next(other);
        assert_eq!((pair.sides[other].inbound.len(), pair.sides[other].outbound.len()), (2, 1));
        // <-- HDR, SK {D(old)}
        pair.pass_next(side);
        assert!(pair.line.is_empty());
        pair.talk(Duration::from_millis(4900));
        assert_eq!([A, B].map(|side| pair.sides[side].inbound.contains_key(&old[side])), [true; 2], "for 5 s");
        pair.talk(Duration::from_millis(200));
        pair.assert_up(1);
        pair.assert_no_loss();
        for at in [A, B] {
            let status = pair.status(at);
            assert_eq!((status.rekeys.child, status.rekeys.ike, status.rekeys.refused), (1, 0, 0));
            assert_eq!(status.children[0].pfs.as_deref(), Some("x25519"));
            assert_eq!((status.handshakes, status.failures), (1, 0));
            assert!(pair.sides[at].key_log.len() == 5, "IKE, and two for each child SA");
        }
    }
}

/// The delete comes before any ESP: it says just as well that the peer has the new one.
#[test]
fn the_responder_sends_on_the_new_one_once_the_old_one_is_deleted() {
    let mut pair = up(ESP, ESP);
    let old = only(&pair, B);
    pair.rekey(A, true, false);
    // HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
    // <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
    // HDR, SK {D(old)} -->
    pair.run(Duration::from_millis(35));
    assert_ne!(sends_on(&pair, B), old);
    assert_eq!(pair.sides[B].outbound.len(), 1);
    pair.run_secs(6);
    pair.assert_up(1);
}

#[test]
fn rekeying_without_a_key_exchange_of_its_own_works_too() {
    let plain = EspSuite { group: None, ..ESP };
    let mut pair = up(plain, plain);
    pair.rekey(B, true, false);
    pair.talk(Duration::from_secs(6));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(pair.status(A).children[0].pfs, None);
}

#[test]
fn selectors_of_a_rekeyed_child_sa_are_those_in_use() {
    // B narrows; from then on both offer what B has left of it.
    let [mut a, b] = [tunnel(A), tunnel(B)];
    a.children[0].local = selector("10.0.0.0/16");
    a.children[0].remote = selector("10.1.0.0/16");
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    for side in [A, B, A] {
        pair.rekey(side, true, false);
        pair.run_secs(6);
        pair.assert_up(1);
        let spec = pair.sides[A].inbound.values().next().unwrap();
        assert_eq!(spec.child.local, [selector("10.0.0.1/32")]);
        assert_eq!(spec.child.remote, [selector("10.1.0.1/32")]);
    }
    assert_eq!(pair.status(A).rekeys.child, 3);
}

/// ```text
/// HDR, SK {N(REKEY_SA), SA, Ni, TSi, TSr} -->      TSi narrower than in use
///                                         <-- HDR, SK {N(TS_UNACCEPTABLE)}
/// ```
#[test]
fn a_rekeying_that_would_narrow_is_refused_and_one_that_would_widen_is_narrowed() {
    let wide = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.esp = vec![EspSuite { group: None, ..ESP }];
        tunnel.children[0].local = selector(&format!("10.{side}.0.0/16"));
        tunnel.children[0].remote = selector(&format!("10.{}.0.0/16", 1 - side));
        tunnel
    };
    let mut pair = Pair::new(wide(A), wide(B));
    pair.run_secs(1);
    let old = only(&pair, A).get();
    let request = rekey_request(old, 0x00AB_CDEF, "10.0.0.0/24", "10.1.0.0/16");
    let answer = answer_to(&mut pair, &request);
    assert_eq!(answer, [Payload::Notify(Notify::error(NotifyType::TS_UNACCEPTABLE))]);
    assert_eq!(pair.sides[B].inbound.len(), 1);
    pair.assert_up(1);

    let mut pair = Pair::new(wide(A), wide(B));
    pair.run_secs(1);
    let old = only(&pair, A).get();
    let request = rekey_request(old, 0x00AB_CDEF, "0.0.0.0/0", "0.0.0.0/0");
    let answer = answer_to(&mut pair, &request);
    let expected = Ts::ranges([selector("10.0.0.0/16").to_wire().unwrap()]);
    assert!(answer.contains(&Payload::TsI(expected)), "{answer:?}");
}

/// ```text
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi(20), TSi, TSr} -->
///                                                  <-- HDR, SK {N(INVALID_KE_PAYLOAD, 31)}
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi(31), TSi, TSr} -->
///                                                  <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// HDR, SK {D(old)}                                 -->
/// ```
#[test]
fn a_rekeying_is_begun_again_with_the_wanted_group_and_that_group_comes_first_next_time() {
    let [mut a, b] = [tunnel(A), tunnel(B)];
    a.esp = vec![EspSuite { group: Some(Group::Ecp384), ..ESP }, ESP];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    for messages in [6, 4] {
        let before = pair.trace.len();
        pair.rekey(A, true, false);
        pair.talk(Duration::from_secs(6));
        pair.assert_up(1);
        assert_eq!(pair.trace.len() - before, messages);
        assert_eq!(pair.status(A).children[0].pfs.as_deref(), Some("x25519"));
    }
    pair.assert_no_loss();
    assert_eq!((pair.status(A).rekeys.child, pair.status(A).failures), (2, 0));
}

#[test]
fn a_pfs_mismatch_shows_at_the_first_rekeying_and_what_is_in_use_lives_on() {
    for (a, b) in [(Some(Group::Ecp256), Some(Group::Curve25519)), (None, Some(Group::Curve25519))] {
        let mut pair = up(EspSuite { group: a, ..ESP }, EspSuite { group: b, ..ESP });
        let old = only(&pair, A);
        pair.rekey(A, true, false);
        pair.talk(Duration::from_secs(6));
        pair.assert_up(1);
        pair.assert_no_loss();
        assert_eq!(only(&pair, A), old);
        let status = pair.status(A);
        assert_eq!((status.rekeys.child, status.rekeys.refused), (0, 1));
        let why = status.rekeys.why.unwrap();
        assert!(why.contains("NO_PROPOSAL_CHOSEN") && why.contains(&old.to_string()), "{why}");
        let (exchange, reason, _) = pair.failed(A).remove(0);
        assert_eq!((exchange.as_str(), reason), ("CREATE_CHILD_SA", IkeReason::NoProposalChosen));
        // Tried again after a pause, not at once.
        pair.run_secs(30);
        assert_eq!(pair.status(A).rekeys.refused, 1);
        pair.run_secs(60);
        assert_eq!(pair.status(A).rekeys.refused, 2);
    }
}

#[test]
fn a_lost_request_or_answer_makes_no_second_child_sa() {
    for (lost, side) in [(0, A), (1, A), (2, A), (3, A), (0, B), (1, B), (2, B), (3, B)] {
        let mut pair = up(ESP, ESP);
        let mut passed = 0;
        pair.meddle = Some(Box::new(move |datagram, _| {
            passed += 1;
            if passed == lost + 1 { vec![] } else { vec![(Duration::ZERO, datagram)] }
        }));
        pair.rekey(side, true, false);
        pair.talk(Duration::from_secs(8));
        pair.assert_up(1);
        pair.assert_no_loss();
        assert_eq!([A, B].map(|side| pair.status(side).rekeys.child), [1, 1]);
    }
}

/// The answer is lost: B does not know the new child SA yet, and A does not rekey it.
///
/// ```text
/// A                                                B
///                                              <-- HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
/// HDR, SK {SA, Nr, KEr, TSi, TSr}              --X
///                                              <-- HDR, SK {N(REKEY_SA), ..}    again
/// HDR, SK {SA, Nr, KEr, TSi, TSr}              -->
///                                              <-- HDR, SK {D(old)}
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->                              only now
/// ```
#[test]
fn what_the_peer_may_not_have_yet_is_not_rekeyed() {
    let mut pair = up(ESP, ESP);
    pair.rekey(B, true, false);
    pair.pass_next(A);
    let _ = pair.take(B);
    let sent = pair.sides[A].sent;
    pair.rekey(A, true, false);
    assert_eq!(pair.sides[A].sent, sent, "not now");
    pair.talk(Duration::from_secs(15));
    pair.assert_up(1);
    pair.assert_no_loss();
    for side in [A, B] {
        let status = pair.status(side);
        assert_eq!((status.rekeys.child, status.failures), (2, 0), "later");
    }
}

/// A retransmitted request and a doubled answer.
#[test]
fn doubled_messages_of_a_rekeying_change_nothing() {
    let mut pair = up(ESP, ESP);
    pair.meddle =
        Some(Box::new(|datagram, _| vec![(Duration::ZERO, datagram.clone()), (Duration::from_millis(3), datagram)]));
    pair.rekey(A, true, false);
    pair.talk(Duration::from_secs(8));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!([A, B].map(|side| pair.status(side).rekeys.child), [1, 1]);
}

/// ```text
/// HDR, SK {N(REKEY_SA, unknown), SA, Ni, TSi, TSr} -->
///                                         <-- HDR, SK {N(CHILD_SA_NOT_FOUND, unknown)}
/// ```
#[test]
fn a_child_sa_that_does_not_exist_is_not_found() {
    let mut pair = up(ESP, ESP);
    let request = rekey_request(0x0BAD_0BAD, 0x00AB_CDEF, "10.0.0.1/32", "10.1.0.1/32");
    let answer = answer_to(&mut pair, &request);
    assert_eq!(answer, [Payload::Notify(Notify::about_esp(NotifyType::CHILD_SA_NOT_FOUND, 0x0BAD_0BAD))]);
    pair.assert_up(1);
}

/// B has lost the child SA, and nobody has told A.
///
/// ```text
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
///                                              <-- HDR, SK {N(CHILD_SA_NOT_FOUND)}
/// HDR, SK {SA, Ni, KEi, TSi, TSr}              -->
///                                              <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// ```
#[test]
fn what_the_peer_has_lost_is_made_from_scratch_without_a_delete() {
    let mut pair = up(ESP, ESP);
    let old = only(&pair, A);
    // B deletes it, and A never hears of that.
    let (first, inner) = chain::encode(&[Payload::Delete(crate::wire::ike::payload::Delete::esp([old.get()]))]);
    let forged = pair.sides[A].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: forged.0.remote, remote: forged.0.local, bytes: &forged.1 });
    pair.line.clear();
    pair.sides[A].endpoint.skip_request();
    let before = pair.trace.len();
    pair.rekey(A, true, false);
    pair.run(Duration::from_millis(100));
    pair.assert_up(1);
    assert_eq!(pair.trace.len() - before, 4);
    assert_ne!(only(&pair, A), old);
    assert_eq!(pair.failed(A), []);
}

/// The peer rekeys, and never deletes what it has replaced. What shows that it has the new one decides which one goes.
#[test]
fn the_responder_deletes_the_old_one_when_the_initiator_does_not() {
    for used in [true, false] {
        let mut pair = up(EspSuite { group: None, ..ESP }, EspSuite { group: None, ..ESP });
        let old = only(&pair, B);
        let request = rekey_request(only(&pair, A).get(), 0x00AB_CDEF, "10.0.0.1/32", "10.1.0.1/32");
        let answer = answer_to(&mut pair, &request);
        assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA));
        let new = *pair.sides[B].inbound.keys().find(|spi| **spi != old).unwrap();
        pair.sides[A].endpoint.skip_request();
        pair.run_secs(1);
        assert_eq!(sends_on(&pair, B), old);
        if used {
            pair.input(B, Input::Sad(SadEvent::FirstInbound { inbound: new }));
        }
        let grace = if used { limits::REPLACED_GRACE } else { limits::NEGOTIATION_TIME };
        pair.run(grace.saturating_sub(Duration::from_secs(2)));
        let sends = |pair: &Pair, spi| pair.sides[B].outbound.contains_key(spi);
        assert_eq!((sends(&pair, &old), sends(&pair, &new)), (true, used));
        pair.run_secs(2);
        assert_eq!((sends(&pair, &old), sends(&pair, &new)), (!used, used));
    }
}

/// The initiator of a rekeying ought to delete the old one; here the responder is faster.
///
/// ```text
/// A                                                B
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
///                                              <-- HDR, SK {SA, Nr, KEr, TSi, TSr}    late
///                                              <-- HDR, SK {D(old)}
/// HDR, SK {D(old)}                             -->
/// ```
#[test]
fn the_responder_of_a_rekeying_may_delete_the_old_one_first() {
    let mut pair = up(ESP, ESP);
    let old = only(&pair, B);
    pair.rekey(A, true, false);
    pair.pass_next(B);
    let late = pair.take(A);
    pair.input(B, Input::Sad(SadEvent::HardLimit { inbound: old }));
    pair.pass_next(A);
    pair.pass_next(B);
    pair.pass(&late);
    pair.talk(Duration::from_secs(7));
    pair.assert_up(1);
    assert_eq!(pair.status(A).rekeys.child, 1);
}

/// The responder deletes the new one instead: the old one is what remains, and it is rekeyed again.
#[test]
fn a_new_child_sa_that_the_peer_takes_back_leaves_the_old_one_in_use() {
    let mut pair = up(ESP, ESP);
    let old = only(&pair, B);
    pair.rekey(A, true, false);
    pair.pass_next(B);
    let new = *pair.sides[B].inbound.keys().find(|spi| **spi != old).unwrap();
    pair.input(B, Input::Sad(SadEvent::HardLimit { inbound: new }));
    // <-- HDR, SK {D(new)} overtakes <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
    let late = pair.take(A);
    pair.pass_next(A);
    pair.pass(&late);
    pair.talk(Duration::from_secs(10));
    pair.assert_up(1);
    for side in [A, B] {
        assert_eq!(pair.sides[side].ups(), 1);
    }
}

/// ```text
/// A                                                B
/// HDR, SK {SA, Ni, KEi, TSi, TSr}              -->
///                                              <-- HDR, SK {N(NO_ADDITIONAL_SAS)}
/// ```
#[test]
fn a_peer_that_takes_no_more_sas_is_believed_and_the_old_one_lives_on() {
    let mut pair = up(EspSuite { group: None, ..ESP }, EspSuite { group: None, ..ESP });
    // Whoever rekeys again and again, and deletes nothing, comes to an end.
    let mut known = only(&pair, A).get();
    for own in (0x00AB_0000..).take(limits::SPARE_CHILDREN + limits::SPARE_REKEYED + 1) {
        let request = rekey_request(known, own, "10.0.0.1/32", "10.1.0.1/32");
        let answer = answer_to(&mut pair, &request);
        assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA), "{answer:?}");
        pair.sides[A].endpoint.skip_request();
        known = own;
    }
    let request = rekey_request(known, 0x00AC_0000, "10.0.0.1/32", "10.1.0.1/32");
    let answer = answer_to(&mut pair, &request);
    assert_eq!(answer, [Payload::Notify(Notify::error(NotifyType::NO_ADDITIONAL_SAS))]);
}

#[test]
fn events_name_both_child_sas() {
    let mut pair = up(ESP, ESP);
    let old = only(&pair, A).to_string();
    pair.rekey(A, true, false);
    pair.run_secs(6);
    let new = only(&pair, A).to_string();
    let events = &pair.sides[A].events;
    assert!(events.iter().any(|event| matches!(event,
        Event::ChildRekeyed { spis, replaced, pfs, .. } if spis[0] == new && *replaced == old && pfs.is_some())));
    assert!(events.iter().any(|event| matches!(event, Event::ChildDown { spis, .. } if spis[0] == old)));
}
