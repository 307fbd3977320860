//! RFC 4555 §3.4, §3.6: what a peer says of its other addresses, and what that is good for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::mobike::{abandon, elsewhere, mobile, payloads, says, udp, up};
use super::pair::*;
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::config::{Peering, TunnelConfig};
use crate::ike::limits;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Notify, Payload};

fn other(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 18, 7, number))
}

fn of(kind: NotifyType, data: &[u8]) -> Payload {
    Payload::Notify(Notify::status(kind, data.to_vec()))
}

fn list(addresses: &[IpAddr]) -> Vec<Payload> {
    let notify = |address: &IpAddr| match address {
        IpAddr::V4(v4) => of(NotifyType::ADDITIONAL_IP4_ADDRESS, &v4.octets()),
        IpAddr::V6(v6) => of(NotifyType::ADDITIONAL_IP6_ADDRESS, &v6.octets()),
    };
    addresses.iter().map(notify).collect()
}

fn none() -> Vec<Payload> {
    vec![of(NotifyType::NO_ADDITIONAL_ADDRESSES, &[])]
}

/// What NO_NATS_ALLOWED holds: source and destination address, source and destination port.
fn promise(source: SocketAddr, destination: SocketAddr) -> Payload {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => unreachable!(),
    };
    let mut data = [octets(source.ip()), octets(destination.ip())].concat();
    data.extend(source.port().to_be_bytes());
    data.extend(destination.port().to_be_bytes());
    of(NotifyType::NO_NATS_ALLOWED, &data)
}

/// A request of `side`'s that says this, and the other side's answer to it.
fn say(pair: &mut Pair, side: usize, said: &[Payload]) -> Vec<Payload> {
    let (first, inner) = chain::encode(said);
    let forged = pair.sides[side].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, first, &inner);
    let (path, bytes) = forged.unwrap();
    let before = pair.trace.len();
    pair.input(1 - side, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    pair.sides[side].endpoint.skip_request();
    let answer = pair.trace[before].clone();
    pair.line.retain(|datagram| datagram.number != answer.number);
    payloads(pair, side, &answer)
}

/// Where a side's messages went since `before`, each place once, in order.
fn tried(pair: &Pair, from: usize, before: usize) -> Vec<IpAddr> {
    let mut places = Vec::new();
    for datagram in pair.trace[before..].iter().filter(|datagram| datagram.to != from) {
        if !places.contains(&datagram.destination.ip()) {
            places.push(datagram.destination.ip());
        }
    }
    places
}

/// ```text
/// A                                               B
///                                                 <-- HDR, SK {N(ADDITIONAL_*_ADDRESS)+}
/// HDR, SK {}                                      -->
///                                                 <-- HDR, SK {N(NO_ADDITIONAL_ADDRESSES), N(COOKIE2)}
/// HDR, SK {N(COOKIE2)}                            -->
/// ```
#[test]
fn each_list_of_addresses_replaces_the_one_before_and_is_answered() {
    let straight = |side| TunnelConfig { force_encapsulation: false, ..mobile(side, true) };
    for (listener, speaker) in [(A, B), (B, A)] {
        let mut pair = up(straight(A), straight(B));
        assert_eq!(say(&mut pair, speaker, &list(&[other(1), other(2)])), []);
        assert_eq!(pair.sides[listener].endpoint.elsewhere(), [other(1), other(2)]);
        assert_eq!(say(&mut pair, speaker, &list(&[other(3)])), []);
        assert_eq!(pair.sides[listener].endpoint.elsewhere(), [other(3)]);
        // Whoever says nothing of them takes nothing back, and what is malformed is passed over.
        assert_eq!(say(&mut pair, speaker, &[]), []);
        let malformed = [0, 3, 5, 16].map(|len| of(NotifyType::ADDITIONAL_IP4_ADDRESS, &vec![198; len]));
        assert_eq!(say(&mut pair, speaker, &malformed), []);
        assert_eq!(say(&mut pair, speaker, &[of(NotifyType::ADDITIONAL_IP6_ADDRESS, &[198; 4])]), []);
        assert_eq!(say(&mut pair, speaker, &[of(NotifyType(40_000), &[198, 18, 7, 9])]), []);
        assert_eq!(pair.sides[listener].endpoint.elsewhere(), [other(3)]);
        let cookie = of(NotifyType::COOKIE2, &[7; 16]);
        assert_eq!(say(&mut pair, speaker, &[none(), vec![cookie.clone()]].concat()), [cookie]);
        assert_eq!(pair.sides[listener].endpoint.elsewhere(), [] as [IpAddr; 0]);
        // The IKE SA is where it was, and so are its child SAs.
        pair.run_secs(30);
        pair.assert_up(2);
        assert_eq!(pair.status(listener).ike.unwrap().remote.ip(), address(speaker));
        assert!(pair.sides[listener].redirects.is_empty());
    }
}

#[test]
fn a_list_of_addresses_is_bounded_and_holds_only_what_is_of_use() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    // Of the other family, inside the tunnel, or said before.
    let useless: [IpAddr; 3] = ["2001:db8::7", "10.1.0.1", "10.1.1.1"].map(|text| text.parse().unwrap());
    let many: Vec<IpAddr> = (0..60).map(other).collect();
    let said = [list(&useless.repeat(4)), list(&[other(0); 9]), list(&many)].concat();
    say(&mut pair, B, &said);
    assert_eq!(pair.sides[A].endpoint.elsewhere(), many[..limits::MAX_ADDITIONAL_ADDRESSES]);
    // Under an agreement nothing but what that names.
    let mut a = mobile(A, false);
    a.peering.others = vec![other(5), other(6)];
    let mut pair = up(a, mobile(B, false));
    say(&mut pair, B, &list(&many));
    assert_eq!(pair.sides[A].endpoint.elsewhere(), [other(5), other(6)]);
}

#[test]
fn without_mobike_a_list_of_addresses_is_answered_and_passed_over() {
    for able in [A, B] {
        let tunnel = |side| {
            let peering = Peering { mobike: side == able, ..Peering::default() };
            TunnelConfig { peering, ..mobile(side, true) }
        };
        let mut pair = up(tunnel(A), tunnel(B));
        for (listener, speaker) in [(A, B), (B, A)] {
            let cookie = of(NotifyType::COOKIE2, &[7; 16]);
            assert_eq!(say(&mut pair, speaker, &[list(&[other(1)]), vec![cookie]].concat()), []);
            assert_eq!(pair.sides[listener].endpoint.elsewhere(), [] as [IpAddr; 0]);
        }
    }
}

/// The peer has named another address, and then taken it back or named yet another one. Then it falls silent.
#[test]
fn a_silent_responder_is_looked_for_by_the_newest_list_alone() {
    for newest in [vec![], vec![other(4), other(5)]] {
        let mut pair = up(mobile(A, true), mobile(B, true));
        say(&mut pair, B, &list(&[other(1), other(2)]));
        say(&mut pair, B, &if newest.is_empty() { none() } else { list(&newest) });
        let before = pair.trace.len();
        pair.meddle = Some(Box::new(|_, _| vec![]));
        pair.run_secs(40);
        assert_eq!(tried(&pair, A, before), [vec![address(B)], newest].concat());
    }
}

/// §3.9: "The exchange responder MUST verify that the contents of the NO_NATS_ALLOWED notification match the addresses in the IP
/// header."
#[test]
fn a_list_that_came_through_a_nat_which_must_not_be_there_is_refused() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    let [a, b] = [A, B].map(|side| SocketAddr::new(address(side), 4500));
    for (listener, speaker, source, destination) in [(A, B, b, a), (B, A, a, b)] {
        say(&mut pair, speaker, &list(&[other(1)]));
        for said in [list(&[other(2)]), none()] {
            for wrong in [(SocketAddr::new(elsewhere(), 4500), destination), (source, SocketAddr::new(source.ip(), 1))]
            {
                let answer = say(&mut pair, speaker, &[said.clone(), vec![promise(wrong.0, wrong.1)]].concat());
                assert!(says(&answer, NotifyType::UNEXPECTED_NAT_DETECTED), "{answer:?}");
                assert_eq!(pair.sides[listener].endpoint.elsewhere(), [other(1)], "it is as it was");
            }
        }
        assert_eq!(pair.refused(listener, IkeReason::AddressRefused), 4);
        let answer = say(&mut pair, speaker, &[none(), vec![promise(source, destination)]].concat());
        assert_eq!((answer, pair.sides[listener].endpoint.elsewhere()), (vec![], vec![]));
    }
}

/// The same of the first request of IKE_AUTH.
#[test]
fn a_first_request_that_came_through_a_nat_which_must_not_be_there_is_refused() {
    for (source, accepted) in [(elsewhere(), false), (address(A), true)] {
        let mut pair = Pair::new(mobile(A, true), mobile(B, true));
        while pair.trace.len() < 3 {
            pair.step(pair.now + Duration::from_secs(1));
        }
        let request = pair.take(B);
        let mut said = payloads(&pair, B, &request);
        said.push(promise(SocketAddr::new(source, request.source.port()), request.destination));
        let (first, inner) = chain::encode(&said);
        let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::IKE_AUTH, false, -1, first, &inner).unwrap();
        pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
        pair.run(Duration::from_millis(500));
        assert_eq!(pair.refused(B, IkeReason::AddressRefused), u64::from(!accepted));
        assert_eq!(pair.sides[B].ups(), usize::from(accepted));
    }
}

/// ```text
/// A (has moved, and said before where it is too)    B (moves)
///                                               x--  HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}   where A was
///                                               <--  the same                               where A is too
/// HDR, SK {}                                    -->
///                                               <--  HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}   said anew
/// HDR, SK {}                                    -->
/// HDR, SK {N(UPDATE_SA_ADDRESSES), ..}          -->
/// ```
/// RFC 4555 §3.6: "when the responder wants to update the address set, the currently used addresses may no longer work."
#[test]
fn a_responder_that_moves_looks_for_the_initiator_at_its_other_addresses() {
    let straight = |side| TunnelConfig { force_encapsulation: false, ..mobile(side, true) };
    let mut pair = up(straight(A), straight(B));
    let (new_a, new_b) = (other(1), other(2));
    pair.sides[A].own.push(new_a);
    pair.sides[B].own.push(new_b);
    say(&mut pair, A, &list(&[new_a]));
    let gone = [address(A), address(B)];
    pair.meddle = Some(Box::new(move |datagram, _| {
        let lost = [datagram.source.ip(), datagram.destination.ip()].iter().any(|end| gone.contains(end));
        if lost { vec![] } else { vec![(Duration::ZERO, datagram)] }
    }));
    let before = pair.trace.len();
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: new_b });
    assert!(says(&payloads(&pair, A, &pair.trace[before].clone()), NotifyType::NO_ADDITIONAL_ADDRESSES));
    pair.run_secs(45);
    pair.assert_up(2);
    let ends = |side: usize| {
        let ike = pair.status(side).ike.unwrap();
        (ike.local.ip(), ike.remote.ip())
    };
    assert_eq!((ends(A), ends(B)), ((new_a, new_b), (new_b, new_a)));
    assert_eq!([A, B].map(|side| pair.sides[side].ups()), [1, 1], "it is the same IKE SA");
    let told = pair.trace[before..].iter().filter(|datagram| datagram.to == A);
    let told = told.filter(|datagram| says(&payloads(&pair, A, datagram), NotifyType::NO_ADDITIONAL_ADDRESSES));
    let mut ids: Vec<u32> = told.map(|datagram| datagram.header().message_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "it is said anew by one way: {ids:?}");
}

/// §3.4: "The responder normally does not use the set of initiator addresses for anything".
#[test]
fn a_silent_initiator_is_not_looked_for_elsewhere() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    say(&mut pair, A, &list(&[other(1)]));
    abandon(&mut pair, address(A));
    let before = pair.trace.len();
    pair.rekey(B, true, false);
    pair.run_secs(40);
    assert_eq!(tried(&pair, B, before), [address(A)]);
}

/// B tells where it is, and moves on before that has been answered.
#[test]
fn a_responder_that_moves_on_while_it_tells_so_tells_it_anew() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    pair.sides[B].own.push(other(1));
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.run(Duration::from_millis(100));
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: other(1) });
    pair.meddle = None;
    let before = pair.trace.len();
    pair.run_secs(30);
    pair.assert_up(2);
    assert_eq!(pair.status(A).ike.unwrap().remote.ip(), other(1));
    assert_eq!(pair.sides[A].redirects.last(), Some(&udp(address(A), other(1))));
    let told = pair.trace[before..].iter().filter(|datagram| datagram.to == A && datagram.source.ip() == other(1));
    let told = told.filter(|datagram| says(&payloads(&pair, A, datagram), NotifyType::NO_ADDITIONAL_ADDRESSES));
    let mut ids: Vec<u32> = told.map(|datagram| datagram.header().message_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "what was sent from two addresses proves none: {ids:?}");
}
