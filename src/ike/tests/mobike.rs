//! RFC 4555: addresses change while the tunnel is up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::pair::*;
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::config::{Peering, TunnelConfig};
use crate::sa::child::Encapsulation;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload};

const ELSEWHERE: [u8; 4] = [198, 18, 7, 7];

pub(super) fn elsewhere() -> IpAddr {
    ELSEWHERE.into()
}

pub(super) fn mobile(side: usize, lab: bool) -> TunnelConfig {
    let peering = Peering { mobike: true, ..Peering::default() };
    TunnelConfig {
        lab,
        peering,
        force_encapsulation: side == A,
        children: vec![child(side, 0), child(side, 1)],
        ..tunnel(side)
    }
}

pub(super) fn up(a: TunnelConfig, b: TunnelConfig) -> Pair {
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    pair.assert_up(2);
    pair.sides[A].own.push(elsewhere());
    pair.sides[B].own.push(elsewhere());
    pair
}

pub(super) fn udp(local: IpAddr, remote: IpAddr) -> Encapsulation {
    Encapsulation::Udp { local: SocketAddr::new(local, 4500), remote: SocketAddr::new(remote, 4500) }
}

/// What comes to an address that is no longer there is lost.
pub(super) fn abandon(pair: &mut Pair, address: IpAddr) {
    pair.meddle = Some(Box::new(move |datagram, _| {
        let gone = [datagram.source.ip(), datagram.destination.ip()].contains(&address);
        if gone { vec![] } else { vec![(Duration::ZERO, datagram)] }
    }));
}

pub(super) fn payloads(pair: &Pair, reader: usize, datagram: &Datagram) -> Vec<Payload> {
    pair.sides[reader].endpoint.unseal(&datagram.bytes).unwrap_or_default()
}

pub(super) fn says(payloads: &[Payload], kind: NotifyType) -> bool {
    payloads.iter().any(|payload| matches!(payload, Payload::Notify(notify) if notify.kind == kind))
}

/// ```text
/// A (moves)                                       B
/// HDR, SK {N(UPDATE_SA_ADDRESSES), N(NATD), N(NATD)} -->
///                                                 <-- HDR, SK {N(NATD), N(NATD)}
///                                                 <-- HDR, SK {N(COOKIE2)}
/// HDR, SK {N(COOKIE2)}                            -->
/// ```
#[test]
fn the_initiator_moves_and_the_child_sas_follow_after_the_way_back_was_tried() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    let keys: Vec<_> = pair.sides[A].inbound.keys().copied().collect();
    abandon(&mut pair, address(A));
    let before = pair.trace.len();
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    // The request has come, the answer to COOKIE2 not yet.
    while pair.trace.len() < before + 3 {
        assert!(pair.sides[B].redirects.is_empty());
        pair.step(pair.now + Duration::from_secs(1));
    }
    let exchanged: Vec<_> = pair.trace[before..].to_vec();
    assert!(says(&payloads(&pair, B, &exchanged[0]), NotifyType::UPDATE_SA_ADDRESSES));
    assert!(says(&payloads(&pair, A, &exchanged[1]), NotifyType::NAT_DETECTION_SOURCE_IP));
    assert!(says(&payloads(&pair, A, &exchanged[2]), NotifyType::COOKIE2));
    assert!(pair.sides[B].redirects.is_empty(), "nothing goes there before the cookie has come back");
    pair.run_secs(60);
    pair.assert_up(2);
    assert_eq!(pair.sides[A].redirects.last(), Some(&udp(elsewhere(), address(B))));
    assert_eq!(pair.sides[B].redirects, [udp(address(B), elsewhere())]);
    assert_eq!(pair.status(B).ike.unwrap().remote.ip(), elsewhere());
    assert_eq!(pair.sides[A].inbound.keys().copied().collect::<Vec<_>>(), keys, "the keys are the same");
    // New keys of either kind go by the new address.
    pair.rekey(A, true, true);
    pair.run_secs(1);
    pair.rekey(B, true, true);
    pair.run_secs(60);
    pair.assert_up(2);
    assert_eq!(pair.status(B).ike.unwrap().remote.ip(), elsewhere());
}

/// Nothing has been agreed: the address is the one that the agreement names.
#[test]
fn without_mobike_nobody_moves() {
    for movable in [A, B] {
        // Behind a NAT the peer would be followed without it (RFC 7296 §2.23).
        let of = |side| {
            let mobike = side == movable;
            let peering = Peering { mobike, ..Peering::default() };
            TunnelConfig { force_encapsulation: false, peering, ..mobile(side, true) }
        };
        let mut pair = Pair::new(of(A), of(B));
        pair.run_secs(1);
        pair.assert_up(2);
        let before = pair.trace.len();
        pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
        assert_eq!(pair.trace.len(), before);
        let forged = forge(&mut pair, &[Payload::Notify(Notify::error(NotifyType::UPDATE_SA_ADDRESSES))]);
        pair.input(
            B,
            Input::Datagram { local: forged.0, remote: SocketAddr::new(elsewhere(), 4500), bytes: &forged.1 },
        );
        assert_eq!(pair.status(B).ike.unwrap().remote.ip(), address(A));
        assert!(pair.sides[B].redirects.is_empty());
    }
}

/// A request of A's to B.
fn forge(pair: &mut Pair, payloads: &[Payload]) -> (SocketAddr, Vec<u8>) {
    let (first, inner) = chain::encode(payloads);
    let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, first, &inner).unwrap();
    (path.remote, bytes)
}

/// Under a real agreement the peer may move among the addresses that it names, and nowhere else.
#[test]
fn a_peer_moves_only_to_where_its_agreement_lets_it() {
    for (listed, moves) in [(false, false), (true, true)] {
        let mut b = mobile(B, false);
        if listed {
            b.peering.others = vec![elsewhere()];
        }
        let mut pair = up(mobile(A, false), b);
        pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
        pair.run_secs(1);
        let there = pair.status(B).ike.unwrap().remote.ip();
        assert_eq!(there == elsewhere(), moves);
        assert_eq!(pair.sides[B].redirects.is_empty(), !moves);
        assert_eq!(pair.refused(B, IkeReason::AddressRefused), u64::from(!moves));
        assert_eq!(pair.refused(A, IkeReason::AddressRefused), u64::from(!moves), "UNACCEPTABLE_ADDRESSES is told");
    }
}

/// Somebody between the two sends A's packets from elsewhere, and A has said that there is nobody.
#[test]
fn a_nat_that_must_not_be_there_is_told() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    let promise = [address(A), address(B)].into_iter().flat_map(|ip| match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => unreachable!(),
    });
    let promise: Vec<u8> = promise.chain([0x11, 0x94, 0x11, 0x94]).collect();
    for (from, accepted) in [(elsewhere(), false), (address(A), true)] {
        let before = pair.trace.len();
        let forged = forge(
            &mut pair,
            &[
                Payload::Notify(Notify::error(NotifyType::UPDATE_SA_ADDRESSES)),
                Payload::Notify(Notify::status(NotifyType::NO_NATS_ALLOWED, promise.clone())),
            ],
        );
        pair.input(B, Input::Datagram { local: forged.0, remote: SocketAddr::new(from, 4500), bytes: &forged.1 });
        let answer = payloads(&pair, A, &pair.trace[before].clone());
        assert_eq!(says(&answer, NotifyType::UNEXPECTED_NAT_DETECTED), !accepted);
        assert_eq!(pair.status(B).ike.unwrap().remote.ip(), address(A));
        pair.sides[A].endpoint.skip_request();
        pair.line.clear();
    }
}

/// Whoever cannot give the cookie back is not where it says to be: the IKE SA is closed (§3.7).
#[test]
fn a_wrong_cookie_ends_the_ike_sa() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.pass_next(B);
    pair.pass_next(A);
    let question = pair.take(A);
    let Some(Payload::Notify(mut cookie)) = payloads(&pair, A, &question)
        .into_iter()
        .find(|payload| says(std::slice::from_ref(payload), NotifyType::COOKIE2))
    else {
        panic!("no COOKIE2")
    };
    cookie.data[3] ^= 1;
    let (first, inner) = chain::encode(&[Payload::Notify(cookie)]);
    let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::INFORMATIONAL, true, 0, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    assert!(pair.sides[B].inbound.is_empty() && pair.sides[B].redirects.is_empty());
}

/// ```text
/// A                                               B (moves)
///                                                 <-- HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}
/// HDR, SK {}                                      -->
/// HDR, SK {N(UPDATE_SA_ADDRESSES), ..}            -->
///                                                 <-- HDR, SK {N(NATD), N(NATD)}
/// ```
#[test]
fn the_responder_moves_and_the_initiator_follows() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    abandon(&mut pair, address(B));
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.run_secs(60);
    pair.assert_up(2);
    assert_eq!(pair.status(A).ike.unwrap().remote.ip(), elsewhere());
    assert_eq!(pair.sides[A].redirects.last(), Some(&udp(address(A), elsewhere())));
    assert_eq!(pair.sides[B].redirects.last(), Some(&udp(elsewhere(), address(A))));
}

/// The address that a list comes from belongs to it without being named (§3.4), and strongSwan leaves it out.
#[test]
fn a_list_of_other_addresses_that_comes_from_elsewhere_moves_the_responder() {
    for (mobike, named) in [(true, true), (true, false), (false, false)] {
        let mut a = mobile(A, true);
        a.peering.mobike = mobike;
        a.force_encapsulation = false;
        let mut pair = up(a, mobile(B, true));
        let other = if named { ELSEWHERE } else { [198, 18, 9, 9] };
        let list = [Payload::Notify(Notify::status(NotifyType::ADDITIONAL_IP4_ADDRESS, other.to_vec()))];
        let (first, inner) = chain::encode(&list);
        let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, first, &inner).unwrap();
        let remote = SocketAddr::new(elsewhere(), path.local.port());
        pair.input(A, Input::Datagram { local: path.remote, remote, bytes: &bytes });
        let there = pair.status(A).ike.unwrap().remote.ip();
        assert_eq!(there == elsewhere(), mobike);
    }
}

/// The responder has said at the beginning where it is too. Its first address dies without a word.
#[test]
fn a_silent_responder_is_looked_for_at_its_other_addresses() {
    let mut pair = Pair::new(mobile(A, true), mobile(B, true));
    pair.sides[B].own.push(elsewhere());
    while pair.trace.len() < 4 {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let answer = pair.take(A);
    let mut said = payloads(&pair, A, &answer);
    said.push(Payload::Notify(Notify::status(NotifyType::ADDITIONAL_IP4_ADDRESS, ELSEWHERE.to_vec())));
    let (first, inner) = chain::encode(&said);
    let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::IKE_AUTH, true, -1, first, &inner).unwrap();
    pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    pair.run_secs(1);
    pair.assert_up(2);
    abandon(&mut pair, address(B));
    pair.run_secs(80);
    pair.assert_up(2);
    assert_eq!(pair.status(A).ike.unwrap().remote.ip(), elsewhere());
    assert_eq!(pair.sides[A].ups(), 1, "it is the same IKE SA");
    assert_eq!(pair.sides[A].redirects.last(), Some(&udp(address(A), elsewhere())));
}

/// Who may move floats to port 4500 in IKE_AUTH, NAT or not (§3.3), and both say so.
#[test]
fn who_may_move_floats_at_once() {
    let mut a = mobile(A, true);
    a.force_encapsulation = false;
    let mut pair = Pair::new(a, mobile(B, true));
    pair.run_secs(1);
    pair.assert_up(2);
    assert_eq!(pair.trace[2].source.port(), 4500);
    for (reader, datagram) in [(B, 2), (A, 3)] {
        assert!(says(&payloads(&pair, reader, &pair.trace[datagram]), NotifyType::MOBIKE_SUPPORTED));
    }
    let raw = pair.sides[A].outbound.values().next().unwrap().child.encapsulation;
    assert_eq!(raw, Encapsulation::Raw { local: address(A), remote: address(B) });
    let kinds: Vec<_> = payloads(&pair, A, &pair.trace[3]).iter().map(Payload::kind).collect();
    assert_eq!(kinds.last(), Some(&PayloadType::TSR));
}
