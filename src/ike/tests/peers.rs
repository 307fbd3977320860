//! Peers with habits of their own: Cisco's payloads, selectors and lifetimes, and IKE SAs that are not rekeyed but made anew.

use std::time::Duration;

use super::pair::*;
use crate::event::{Event, IkeReason};
use crate::ike::api::Input;
use crate::ike::config::{ChildConfig, IkeLifetime};
use crate::sa::event::SadEvent;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{CfgType, ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Attribute, Configuration, Notify, Payload, Vendor};

fn up() -> Pair {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.assert_up(1);
    pair
}

/// B answers A's next request with nothing but this.
fn answer_with(pair: &mut Pair, exchange: ExchangeType, payloads: &[Payload]) {
    let request = pair.take(B);
    let (first, inner) = chain::encode(payloads);
    let forged = pair.sides[B].endpoint.forge(exchange, true, 0, first, &inner);
    let (path, bytes) = forged.unwrap();
    assert_eq!(request.header().exchange, exchange);
    pair.sides[B].endpoint.skip_answer();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
}

fn error(kind: NotifyType) -> [Payload; 1] {
    [Payload::Notify(Notify::error(kind))]
}

/// ```text
/// A                                                B
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
///                                              <-- HDR, SK {N(TS_UNACCEPTABLE)}
///                                              <-- HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
/// HDR, SK {SA, Nr, KEr, TSi, TSr}              -->
/// ```
#[test]
fn a_peer_that_takes_no_rekeying_of_ours_is_left_to_rekey_by_itself() {
    for kind in [NotifyType::TS_UNACCEPTABLE, NotifyType::SINGLE_PAIR_REQUIRED] {
        let mut pair = up();
        pair.run_secs(660);
        pair.rekey(A, true, false);
        answer_with(&mut pair, ExchangeType::CREATE_CHILD_SA, &error(kind));
        let before = pair.trace.len();
        pair.run_secs(20);
        assert_eq!(
            pair.trace[before..].iter().filter(|d| d.header().exchange == ExchangeType::CREATE_CHILD_SA).count(),
            0
        );
        assert!(pair.status(A).rekeys.why.unwrap().contains("left to the peer"));
        pair.rekey(B, true, false);
        pair.talk(Duration::from_secs(6));
        pair.assert_up(1);
        pair.assert_no_loss();
        assert_eq!((pair.status(A).rekeys.child, pair.status(A).rekeys.refused), (1, 1));
    }
}

/// ```text
/// A                                                B
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
///                                              <-- HDR, SK {N(TS_UNACCEPTABLE)}
/// HDR, SK {SA, Ni, KEi, TSi, TSr}              -->     the peer has had its time
///                                              <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// HDR, SK {D(old)}                             -->
/// ```
#[test]
fn what_the_peer_does_not_rekey_either_is_made_from_scratch_before_it_ends() {
    let mut pair = up();
    pair.run_secs(660);
    pair.rekey(A, true, false);
    answer_with(&mut pair, ExchangeType::CREATE_CHILD_SA, &error(NotifyType::TS_UNACCEPTABLE));
    let old = *pair.sides[A].inbound.keys().next().unwrap();
    // An eleventh of its age.
    pair.talk(Duration::from_secs(57));
    assert!(pair.sides[A].inbound.contains_key(&old));
    pair.talk(Duration::from_secs(12));
    pair.assert_up(1);
    assert!(!pair.sides[A].inbound.contains_key(&old));
    pair.assert_no_loss();
    assert_eq!((pair.sides[A].ups(), pair.status(A).rekeys.child), (1, 0));
}

/// The payloads of IOS, in its order: `VID IDi AUTH CFG SA TSi TSr N(INITIAL_CONTACT) N(USE_TRANSPORT_MODE)
/// N(SET_WINDOW_SIZE) N(ESP_TFC_PADDING_NOT_SUPPORTED) N(NON_FIRST_FRAGMENTS_ALSO)`.
#[test]
fn what_cisco_peers_add_to_their_requests_is_passed_over() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    while pair.trace.len() < 3 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let ours = pair.take(B);
    let ours = pair.sides[B].endpoint.unseal(&ours.bytes).unwrap();
    let of = |kind: PayloadType| ours.iter().find(|payload| payload.kind() == kind).cloned().unwrap();
    let status = |kind, data: &[u8]| Payload::Notify(Notify::status(kind, data.to_vec()));
    let theirs = [
        Payload::Vendor(Vendor(b"CISCO-DELETE-REASON".to_vec())),
        Payload::Vendor(Vendor(b"FLEXVPN-SUPPORTED".to_vec())),
        of(PayloadType::IDI),
        of(PayloadType::AUTH),
        Payload::Cp(Configuration {
            kind: CfgType::REQUEST,
            attributes: [1, 2, 3, 3, 28_672, 8].map(|kind| Attribute { kind, value: Vec::new() }).to_vec(),
        }),
        of(PayloadType::SA),
        of(PayloadType::TSI),
        of(PayloadType::TSR),
        status(NotifyType::INITIAL_CONTACT, &[]),
        status(NotifyType::USE_TRANSPORT_MODE, &[]),
        status(NotifyType::SET_WINDOW_SIZE, &[0, 0, 0, 5]),
        status(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED, &[]),
        status(NotifyType::NON_FIRST_FRAGMENTS_ALSO, &[]),
    ];
    let (first, inner) = chain::encode(&theirs);
    let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::IKE_AUTH, false, -1, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    let answer = pair.trace.last().unwrap().bytes.clone();
    let answer = pair.sides[A].endpoint.unseal(&answer).unwrap();
    let kinds: Vec<_> = answer.iter().map(Payload::kind).collect();
    let expected = [PayloadType::IDR, PayloadType::AUTH, PayloadType::SA, PayloadType::TSI, PayloadType::TSR];
    assert_eq!(kinds, expected, "no USE_TRANSPORT_MODE, so the child SA is in tunnel mode; no CFG_REPLY");
    pair.run_secs(1);
    pair.assert_up(1);
}

/// ```text
/// A                                  B
/// HDR, SK {IDi, .., TSi, TSr}    -->
///                                <-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr, N(ADDITIONAL_TS_POSSIBLE)}
/// ```
#[test]
fn a_wide_offer_that_fits_several_shapes_is_told_that_there_is_more() {
    let wide =
        |number| ChildConfig { local: selector("10.0.0.0/16"), remote: selector("10.1.0.0/16"), ..child(A, number) };
    for (shapes, more) in [(1, false), (2, true)] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        a.children = vec![wide(0)];
        b.children = (0..shapes).map(|number| child(B, number)).collect();
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        let answer = pair.trace[3].bytes.clone();
        let answer = pair.sides[A].endpoint.unseal(&answer).unwrap();
        let told = Payload::Notify(Notify::error(NotifyType::ADDITIONAL_TS_POSSIBLE));
        assert_eq!(answer.contains(&told), more);
        assert_eq!(pair.sides[A].inbound.len(), 1);
    }
}

/// Kilobyte lifetimes that fire every half minute at speed: nothing piles up, and nothing is lost.
#[test]
fn a_peer_that_rekeys_every_half_minute_leaves_nothing_behind() {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.children = vec![child(A, 0), child(A, 1)];
    b.children = vec![child(B, 0), child(B, 1)];
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    for round in 0..120 {
        let of_b: Vec<_> = pair.sides[B].ways.values().filter_map(|ways| ways.last().copied()).collect();
        for inbound in of_b {
            pair.input(B, Input::Sad(SadEvent::SoftLimit { inbound }));
        }
        pair.talk(Duration::from_secs(1));
        pair.run_secs(29);
        for side in &pair.sides {
            assert_eq!((side.inbound.len(), side.outbound.len()), (2, 2), "round {round}");
        }
    }
    pair.assert_up(2);
    pair.assert_no_loss();
    assert_eq!(pair.status(A).rekeys.child, 240);
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
        assert_eq!(pair.status(side).children.len(), 2);
    }
}

/// A opens another IKE SA beside the one in use.
fn reauthenticate(pair: &mut Pair) {
    pair.input(A, Input::Timeout);
    pair.sides[A].endpoint.reauthenticate_now();
    pair.drain(A);
}

fn short_lived() -> IkeLifetime {
    IkeLifetime { soft: Duration::from_mins(10), hard: Duration::from_mins(11) }
}

/// A's IKE SA is not rekeyed by B, and A opens another one before it ends.
///
/// ```text
/// A                                  B
/// HDR, SK {SA, Ni, KEi}          -->
///                                <-- HDR, SK {N(NO_ADDITIONAL_SAS)}
/// IKE_SA_INIT, IKE_AUTH          --> <--
/// HDR(old), SK {D}               -->
/// ```
#[test]
fn an_ike_sa_that_the_peer_does_not_rekey_is_made_anew_before_it_ends() {
    for opener in [A, B] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        a.ike_lifetime = short_lived();
        a.jitter = 0;
        a.children = vec![child(A, 0), child(A, 1)];
        b.children = vec![child(B, 0), child(B, 1)];
        (a.start, b.start) = if opener == A { (a.start, b.start) } else { (b.start, a.start) };
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(2);
        let old = pair.status(A).ike.unwrap().spis;
        pair.run_secs(598);
        while pair.line.is_empty() {
            pair.step(pair.now + Duration::from_secs(2));
        }
        answer_with(&mut pair, ExchangeType::CREATE_CHILD_SA, &error(NotifyType::NO_ADDITIONAL_SAS));
        assert!(pair.status(A).rekeys.why.is_some());
        pair.talk(Duration::from_secs(49));
        pair.assert_up(2);
        pair.assert_no_loss();
        assert_ne!(pair.status(A).ike.unwrap().spis, old);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (2, 2));
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
        }
    }
}

/// A peer that can do the initial exchanges alone makes no child SA beside the first one, and none in its place.
///
/// ```text
/// A                                                B
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->
///                                              <-- HDR, SK {N(NO_ADDITIONAL_SAS)}
/// IKE_SA_INIT, IKE_AUTH                        --> <--
/// HDR(old), SK {D}                             -->
/// ```
#[test]
fn a_peer_that_makes_no_further_child_sa_gets_another_ike_sa_in_time() {
    let mut pair = up();
    pair.run_secs(2_000);
    let before = pair.now;
    pair.rekey(A, true, false);
    let mut refused = 0;
    while pair.sides[A].ups() == 1 {
        let create = ExchangeType::CREATE_CHILD_SA;
        if pair.line.iter().any(|datagram| datagram.to == B && datagram.header().exchange == create) {
            answer_with(&mut pair, create, &error(NotifyType::NO_ADDITIONAL_SAS));
            refused += 1;
        }
        pair.step(pair.now + Duration::from_millis(5));
        assert!(pair.now < before + Duration::from_mins(4), "after {refused} refusals");
    }
    assert!(refused > 0);
    pair.talk(Duration::from_secs(49));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert!(pair.status(A).ike.unwrap().initiator);
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}

/// A peer that authenticates anew, the old IKE SA being deleted last: both follow whichever SPIs are lower.
#[test]
fn a_peer_that_authenticates_anew_takes_the_traffic_with_it() {
    for seed in 0..12 {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.children, b.children) = (vec![child(A, 0), child(A, 1)], vec![child(B, 0), child(B, 1)]);
        a.ike_lifetime = IkeLifetime { soft: Duration::from_hours(1), hard: Duration::from_hours(1) };
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.run_secs(1);
        let old = pair.status(B).ike.unwrap().spis;
        reauthenticate(&mut pair);
        pair.talk(Duration::from_secs(20));
        pair.assert_up(2);
        pair.assert_no_loss();
        assert_ne!(pair.status(B).ike.unwrap().spis, old);
        assert_eq!(pair.sides[B].ups(), 2, "seed {seed}");
    }
}

/// The old IKE SA goes, at its time or because its lifetime ends before that, while the child SA that B has just rekeyed in it
/// carries packets. The delete overtakes those of A, and B's are on their way.
///
/// ```text
/// A                                        B
/// IKE_SA_INIT, IKE_AUTH          --> <--
///                                <--       HDR(old), SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
/// HDR(old), SK {SA, Nr, KEr, TSi, TSr} -->
/// ESP on what that has made      --> <--   ESP on what that has made
/// HDR(old), SK {D}               -->
/// ```
#[test]
fn what_is_under_way_when_an_ike_sa_ends_in_favour_of_another_one_arrives() {
    for hard in [Duration::from_secs(20), Duration::from_hours(1)] {
        let mut a = tunnel(A);
        (a.jitter, a.ike_lifetime) = (0, IkeLifetime { soft: hard, hard });
        let mut pair = Pair::new(a, tunnel(B));
        pair.run_secs(15);
        let [old] = pair.sides[B].inbound.keys().copied().collect::<Vec<_>>()[..] else { panic!("one child SA") };
        reauthenticate(&mut pair);
        pair.run_secs(1);
        assert_eq!(pair.sides[A].ups(), 2);
        pair.input(B, Input::Sad(SadEvent::SoftLimit { inbound: old }));
        pair.talk(Duration::from_secs(1));
        assert_eq!(pair.status(B).rekeys.child, 1);
        let is_down = |event: &Event| matches!(event, Event::IkeDown { .. });
        while !pair.sides[A].events.iter().any(is_down) {
            pair.deliver_esp();
            pair.send_esp();
            pair.step(pair.now + Duration::from_millis(5));
        }
        let delete = pair.take(B);
        pair.deliver(&delete);
        assert!(pair.sides[B].events.iter().any(is_down), "it has overtaken what is under way");
        let [to_a, to_b] = [A, B].map(|side| pair.esp.iter().filter(|(to, _)| *to == side).count());
        assert!(to_a > 0 && to_b > 0);
        pair.deliver_esp();
        pair.assert_no_loss();
        pair.talk(Duration::from_secs(8));
        pair.assert_up(1);
        pair.assert_no_loss();
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
        }
    }
}

/// The newer one is deleted before the older one has gone: the older one stays.
#[test]
fn an_older_ike_sa_stays_when_its_successor_goes() {
    let mut pair = up();
    let old = pair.status(B).ike.unwrap().spis;
    reauthenticate(&mut pair);
    pair.run_secs(1);
    assert_eq!(pair.sides[B].ups(), 2);
    pair.input(A, Input::Timeout);
    pair.sides[A].endpoint.close_newest();
    pair.drain(A);
    pair.run_secs(60);
    pair.assert_up(1);
    assert_eq!([A, B].map(|side| pair.status(side).ike.unwrap().spis), [old.clone(), old]);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (2, 2));
}

/// An attempt beside an IKE SA in use that comes to nothing is no reason to give up what there is.
#[test]
fn a_failed_attempt_to_authenticate_anew_changes_nothing() {
    let mut pair = up();
    pair.meddle = Some(Box::new(|datagram, _| {
        let init = datagram.header().exchange == ExchangeType::IKE_SA_INIT;
        if init { vec![] } else { vec![(Duration::ZERO, datagram)] }
    }));
    reauthenticate(&mut pair);
    pair.talk(Duration::from_secs(70));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(pair.failed(A).last().unwrap().1, IkeReason::TimedOut);
    assert_eq!(pair.sides[A].ups(), 1);
    assert!(!pair.sides[A].events.iter().any(|event| matches!(event, Event::IkeDown { .. })));
    assert_eq!(pair.status(A).why, None);
}
