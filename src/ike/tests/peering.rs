//! IKE SAs without a child SA (RFC 6023), peers that send us elsewhere (RFC 5685), inner addresses (RFC 7296 §2.19).

use std::net::IpAddr;
use std::time::Duration;

use super::pair::*;
use crate::event::{Event, IkeReason};
use crate::ike::api::Input;
use crate::ike::config::{ChildConfig, Childless, Peering, TunnelConfig};
use crate::wire::ike::chain;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{CfgType, ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Attribute, Configuration, Notify, Payload};

fn with(side: usize, peering: Peering) -> TunnelConfig {
    TunnelConfig { peering, children: vec![child(side, 0), child(side, 1)], ..tunnel(side) }
}

fn childless(side: usize, childless: Childless) -> TunnelConfig {
    with(side, Peering { childless, ..Peering::default() })
}

fn until_sent(pair: &mut Pair, count: usize) {
    while pair.trace.len() < count {
        pair.step(pair.now + Duration::from_secs(1));
    }
}

/// ```text
/// A                                  B
/// HDR, SAi1, KEi, Ni             -->
///                                <-- HDR, SAr1, KEr, Nr, N(CHILDLESS_IKEV2_SUPPORTED)
/// HDR, SK {IDi, IDr, AUTH}       -->
///                                <-- HDR, SK {IDr, AUTH}
/// HDR, SK {SA, Ni, KEi, TSi, TSr} -->                                   for each child SA
///                                <-- HDR, SK {SA, Nr, KEr, TSi, TSr}
/// ```
#[test]
fn without_a_first_child_sa_every_child_sa_has_its_own_key_exchange() {
    for (ours, theirs, without) in [
        (Childless::Prefer, Childless::Allow, true),
        (Childless::Prefer, Childless::Off, false),
        (Childless::Allow, Childless::Prefer, false),
    ] {
        let mut pair = Pair::new(childless(A, ours), childless(B, theirs));
        pair.run_secs(1);
        pair.assert_up(2);
        let request = pair.sides[B].endpoint.unseal(&pair.trace[2].bytes).unwrap();
        assert_eq!(request.iter().all(|payload| payload.kind() != PayloadType::SA), without);
        let own = pair.status(A).children.iter().filter(|child| child.pfs.is_some()).count();
        assert_eq!(own, if without { 2 } else { 1 });
        assert_eq!(pair.trace.len(), if without { 8 } else { 6 });
    }
}

/// A childless request meets a tunnel that does without.
#[test]
fn a_request_without_a_child_sa_is_refused_where_that_is_off() {
    for (off, answered) in [(Childless::Off, false), (Childless::Allow, true)] {
        let mut pair = Pair::new(tunnel(A), childless(B, off));
        until_sent(&mut pair, 3);
        let request = pair.take(B);
        let payloads = pair.sides[B].endpoint.unseal(&request.bytes).unwrap();
        let kept = [PayloadType::IDI, PayloadType::AUTH];
        let kept: Vec<_> = payloads.into_iter().filter(|payload| kept.contains(&payload.kind())).collect();
        let (first, inner) = chain::encode(&kept);
        let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::IKE_AUTH, false, -1, first, &inner).unwrap();
        pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
        assert_eq!(pair.sides[B].ups(), usize::from(answered));
        let refused = pair.failed(B).iter().any(|(_, reason, _)| *reason == IkeReason::MissingPayload);
        assert_eq!(refused, !answered);
    }
}

/// Somebody answers IKE_SA_INIT with REDIRECT: nobody is authenticated, and we never said that we would go.
#[test]
fn a_redirect_before_authentication_changes_nothing_and_has_a_name() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let request = pair.trace[0].clone();
    let header = Header {
        flags: Flags { initiator: false, version: false, response: true },
        responder_spi: 7,
        next_payload: PayloadType::NONE,
        length: 0,
        ..request.header()
    };
    let elsewhere = [&[1, 4][..], &[198, 18, 0, 1]].concat();
    let payloads = vec![Payload::Notify(Notify::status(NotifyType::REDIRECT, elsewhere))];
    let bytes = Message { header, payloads }.encode();
    let (local, remote) = (request.source, request.destination);
    pair.input(A, Input::Datagram { local, remote, bytes: &bytes });
    assert_eq!(pair.refused(A, IkeReason::Redirected), 1);
    assert!(pair.status(A).why.unwrap().contains("REDIRECT"));
    pair.run_secs(1);
    pair.assert_up(1);
    let said = |datagram: &Datagram| {
        let message = Message::decode(&datagram.bytes).unwrap();
        message
            .payloads
            .iter()
            .any(|payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::REDIRECT_SUPPORTED))
    };
    assert!(pair.trace.iter().all(|datagram| !said(datagram)));
}

/// ```text
/// HDR, SK {IDi, AUTH, SA, ..}   -->
///                               <-- HDR, SK {IDr, AUTH, N(REDIRECT)}
/// ```
#[test]
fn a_redirect_in_place_of_the_child_sa_is_named() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    until_sent(&mut pair, 4);
    let answer = pair.take(A);
    let payloads = pair.sides[A].endpoint.unseal(&answer.bytes).unwrap();
    let kept = [PayloadType::IDR, PayloadType::AUTH];
    let mut kept: Vec<_> = payloads.into_iter().filter(|payload| kept.contains(&payload.kind())).collect();
    kept.push(Payload::Notify(Notify::status(NotifyType::REDIRECT, vec![1, 4, 198, 18, 0, 1])));
    let (first, inner) = chain::encode(&kept);
    let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::IKE_AUTH, true, -1, first, &inner).unwrap();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    assert_eq!(pair.failed(A)[0].1, IkeReason::Redirected);
    assert_eq!(pair.status(A).ike.unwrap().remote.ip(), address(B), "we stay");
}

#[test]
fn a_redirect_in_use_is_answered_and_not_followed() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    let payloads = [Payload::Notify(Notify::status(NotifyType::REDIRECT, vec![1, 4, 198, 18, 0, 1]))];
    let (first, inner) = chain::encode(&payloads);
    let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, first, &inner).unwrap();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    assert_eq!(pair.refused(A, IkeReason::Redirected), 1);
    pair.sides[B].endpoint.skip_request();
    pair.run_secs(30);
    pair.assert_up(1);
}

fn client(local: &[&str]) -> TunnelConfig {
    let shape = |(number, local): (usize, &&str)| {
        let number = u16::try_from(number).unwrap();
        let remote = if local.contains(':') { selector("2001:db8:1::1/128") } else { child(A, 0).remote };
        ChildConfig { local: selector(local), remote, ..child(A, number) }
    };
    let peering = Peering { request_address: true, ..Peering::default() };
    TunnelConfig { peering, children: local.iter().enumerate().map(shape).collect(), ..tunnel(A) }
}

fn server(pool: &[&str], dns: &[&str]) -> TunnelConfig {
    let shape = |(number, pool): (usize, &&str)| {
        let number = u16::try_from(number).unwrap();
        let local = if pool.contains(':') { selector("2001:db8:1::1/128") } else { child(B, 0).local };
        ChildConfig { local, remote: selector(pool), ..child(B, number) }
    };
    let peering = Peering {
        pool: pool.iter().map(|net| net.parse().unwrap()).collect(),
        dns: dns.iter().map(|server| server.parse().unwrap()).collect(),
        ..Peering::default()
    };
    TunnelConfig { peering, children: pool.iter().enumerate().map(shape).collect(), ..tunnel(B) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// ```text
/// HDR, SK {IDi, AUTH, CP(CFG_REQUEST), SA, TSi, TSr} -->
///                                                    <-- HDR, SK {IDr, AUTH, CP(CFG_REPLY), SA, TSi, TSr}
/// ```
#[test]
fn an_inner_address_is_asked_for_given_and_the_selectors_narrowed_to_it() {
    let mut pair = Pair::new(client(&["10.9.0.0/24"]), server(&["10.9.0.0/24"], &["10.9.0.53", "2001:db8::53"]));
    pair.run_secs(1);
    pair.assert_up(1);
    // RFC 7296 §2.19: the CP payload stands before the SA payload, in the first IKE_AUTH messages.
    for (side, message) in [(B, 2), (A, 3)] {
        let payloads = pair.sides[side].endpoint.unseal(&pair.trace[message].bytes).unwrap();
        let kinds: Vec<_> = payloads.iter().map(Payload::kind).collect();
        let place = |kind| kinds.iter().position(|of| *of == kind).unwrap();
        assert!(place(PayloadType::CP) < place(PayloadType::SA), "{kinds:?}");
    }
    assert_eq!(pair.sides[A].addresses, [ip("10.9.0.1")]);
    let told =
        Event::InnerAddresses { tunnel: "test".into(), addresses: vec![ip("10.9.0.1")], dns: vec![ip("10.9.0.53")] };
    assert!(pair.sides[A].events.contains(&told), "no IPv6 name server for somebody who asked for IPv4");
    let spec = pair.sides[B].inbound.values().next().unwrap();
    assert_eq!(spec.child.remote, [selector("10.9.0.1/32")]);
    let (ours, theirs) = (pair.status(A).ike.unwrap(), pair.status(B).ike.unwrap());
    assert_eq!((ours.inner_addresses, ours.dns), (vec![ip("10.9.0.1")], vec![ip("10.9.0.53")]));
    assert_eq!(theirs.leased, [ip("10.9.0.1")]);
    // New keys of either kind change nothing of that.
    pair.rekey(A, true, true);
    pair.run_secs(1);
    pair.rekey(B, true, true);
    pair.talk(Duration::from_secs(40));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(
        (&pair.sides[A].addresses, pair.status(B).ike.unwrap().leased),
        (&vec![ip("10.9.0.1")], vec![ip("10.9.0.1")])
    );
    assert_eq!(pair.sides[B].outbound.values().next().unwrap().child.remote, [selector("10.9.0.1/32")]);
    pair.input(A, Input::Down(TUNNEL));
    assert!(pair.sides[A].addresses.is_empty(), "it is the peer's again");
}

#[test]
fn both_families_are_given_where_both_are_needed() {
    let pool = ["10.9.0.0/24", "2001:db8:9::/64"];
    let mut pair = Pair::new(client(&pool), server(&pool, &["10.9.0.53", "2001:db8::53"]));
    pair.run_secs(1);
    pair.assert_up(2);
    assert_eq!(pair.sides[A].addresses, [ip("10.9.0.1"), ip("2001:db8:9::")]);
    assert_eq!(pair.status(A).ike.unwrap().dns.len(), 2);
}

/// The peer wants to keep the address that it had, or one that is not of the pool.
#[test]
fn an_address_of_the_pool_is_given_if_it_is_asked_for_and_no_other() {
    for (wish, given) in [([10, 9, 0, 77], "10.9.0.77"), ([10, 8, 0, 1], "10.9.0.1"), ([10, 9, 0, 255], "10.9.0.1")] {
        let mut pair = Pair::new(client(&["10.9.0.0/24"]), server(&["10.9.0.0/24"], &[]));
        until_sent(&mut pair, 3);
        let request = pair.take(B);
        let mut payloads = pair.sides[B].endpoint.unseal(&request.bytes).unwrap();
        for payload in &mut payloads {
            if let Payload::Cp(cp) = payload {
                cp.attributes[0].value = wish.to_vec();
            }
        }
        let (first, inner) = chain::encode(&payloads);
        let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::IKE_AUTH, false, -1, first, &inner).unwrap();
        pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
        pair.run_secs(1);
        assert_eq!(pair.sides[A].addresses, [ip(given)]);
        pair.assert_up(1);
    }
}

/// The IKE SA stays in both cases; only the child SA is refused (RFC 7296 §3.15.4).
#[test]
fn who_asks_for_no_address_or_for_another_family_gets_no_child_sa() {
    let silent = TunnelConfig { peering: Peering::default(), ..client(&["10.9.0.0/24"]) };
    for (a, pool, notify) in [
        (silent, "10.9.0.0/24", "FAILED_CP_REQUIRED"),
        (client(&["10.9.0.0/24"]), "2001:db8:9::/64", "INTERNAL_ADDRESS_FAILURE"),
    ] {
        let mut pair = Pair::new(a, server(&[pool], &[]));
        pair.run_secs(1);
        assert_eq!((pair.sides[A].ups(), pair.sides[A].inbound.len()), (1, 0));
        let (_, reason, detail) = pair.failed(A).remove(0);
        assert_eq!(reason, IkeReason::AddressFailure);
        assert!(detail.contains(notify), "{detail}");
        assert_eq!(pair.failed(B)[0].1, IkeReason::AddressFailure);
    }
}

/// What nobody asked for is not taken.
#[test]
fn addresses_that_were_not_asked_for_are_passed_over() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    until_sent(&mut pair, 4);
    let answer = pair.take(A);
    let mut payloads = pair.sides[A].endpoint.unseal(&answer.bytes).unwrap();
    let attributes = vec![Attribute { kind: 1, value: vec![10, 9, 0, 1] }];
    payloads.insert(2, Payload::Cp(Configuration { kind: CfgType::REPLY, attributes }));
    let (first, inner) = chain::encode(&payloads);
    let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::IKE_AUTH, true, -1, first, &inner).unwrap();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    pair.run_secs(1);
    pair.assert_up(1);
    assert!(pair.sides[A].addresses.is_empty());
}

/// Some peers send a CP payload in a rekeying.
#[test]
fn a_configuration_payload_in_a_rekeying_is_passed_over() {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    pair.run_secs(1);
    pair.rekey(A, true, false);
    let request = pair.take(B);
    let mut payloads = pair.sides[B].endpoint.unseal(&request.bytes).unwrap();
    let attributes = vec![Attribute { kind: 1, value: Vec::new() }];
    payloads.push(Payload::Cp(Configuration { kind: CfgType::REQUEST, attributes }));
    let (first, inner) = chain::encode(&payloads);
    let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::CREATE_CHILD_SA, false, -1, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    pair.talk(Duration::from_secs(7));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(pair.status(B).rekeys.child, 1);
}
