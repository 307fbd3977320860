//! RFC 4555, when more than one thing changes at a time: a request that went by several ways, or in an IKE SA that is replaced.

use std::net::IpAddr;
use std::time::Duration;

use super::mobike::{elsewhere, mobile, payloads, says, udp, up};
use super::pair::*;
use crate::ike::api::Input;
use crate::ike::config::TunnelConfig;
use crate::sa::child::Encapsulation;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};

/// Two that nothing stands between: ESP is raw, as long as neither believes in a NAT.
fn straight() -> Pair {
    let of = |side| TunnelConfig { force_encapsulation: false, ..mobile(side, true) };
    up(of(A), of(B))
}

fn raw(local: IpAddr, remote: IpAddr) -> Encapsulation {
    Encapsulation::Raw { local, remote }
}

/// What is sent stays at its sender.
fn hold(pair: &mut Pair) {
    pair.line.clear();
    pair.meddle = Some(Box::new(|_, _| vec![]));
}

/// ```text
/// A                                                        B
/// HDR, SK {N(UPDATE_SA_ADDRESSES), N(NATD), ..} from there x
/// (back at home) the same bytes                            -->   the hashes are of another address: a NAT, it seems
/// (there again)                                            <-- HDR, SK {N(NATD), N(NATD)}
/// HDR, SK {N(UPDATE_SA_ADDRESSES), N(NATD), ..} from there -->
/// ```
#[test]
fn what_answers_an_update_that_went_two_ways_is_not_believed() {
    let mut pair = straight();
    hold(&mut pair);
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: address(A) });
    let first = pair.trace.last().unwrap().clone();
    while pair.trace.last() == Some(&first) {
        pair.step(pair.now + Duration::from_secs(1));
    }
    let again = pair.trace.last().unwrap().clone();
    assert_eq!((again.source.ip(), &again.bytes), (address(A), &first.bytes), "it is repeated bit for bit");
    pair.deliver(&again);
    let question = pair.trace.last().unwrap().clone();
    let answer = pair.trace[pair.trace.len() - 2].clone();
    assert!(says(&payloads(&pair, A, &question), NotifyType::COOKIE2));
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    let before = pair.sides[A].redirects.len();
    pair.deliver(&answer);
    assert_eq!(pair.sides[A].redirects.len(), before, "nothing follows from it");
    let new = pair.trace.last().unwrap().clone();
    assert!(says(&payloads(&pair, B, &new), NotifyType::UPDATE_SA_ADDRESSES), "it is said anew");
    pair.meddle = None;
    pair.run_secs(30);
    pair.assert_up(2);
    assert_eq!(pair.sides[A].redirects.last(), Some(&raw(elsewhere(), address(B))));
    assert_eq!(pair.sides[B].redirects.last(), Some(&raw(address(B), elsewhere())));
}

/// The same of the question whether the peer is there.
#[test]
fn a_cookie_that_was_sent_two_ways_proves_neither() {
    let mut pair = straight();
    hold(&mut pair);
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    let update = pair.trace.last().unwrap().clone();
    pair.deliver(&update);
    let [answer, asked] = pair.trace.last_chunk().unwrap().clone();
    pair.deliver(&answer);
    // A is back, and there again, before the cookie is: B asks at home meanwhile.
    for local in [address(A), elsewhere()] {
        pair.input(A, Input::Moved { tunnel: TUNNEL, local });
        let told = pair.trace.iter().rfind(|datagram| datagram.to == B).unwrap().clone();
        pair.deliver(&told);
        let answer =
            pair.trace.iter().rfind(|datagram| datagram.to == A && datagram.bytes != asked.bytes).unwrap().clone();
        pair.deliver(&answer);
        let until = pair.now + Duration::from_secs(3);
        while pair.step(until) {}
    }
    let homewards = pair.trace.iter().any(|of| of.bytes == asked.bytes && of.destination.ip() == address(A));
    assert!(homewards, "it was sent both ways");
    let before = pair.sides[B].redirects.len();
    pair.deliver(&asked);
    let cookie = pair.trace.last().unwrap().clone();
    pair.deliver(&cookie);
    assert_eq!(pair.sides[B].redirects.len(), before, "B asks again first");
    pair.meddle = None;
    pair.run_secs(30);
    pair.assert_up(2);
    assert_eq!(pair.sides[B].redirects.last(), Some(&raw(address(B), elsewhere())));
}

/// ```text
/// A                                                        B
///                                                          <-- HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}   from there
/// HDR, SK {}                                               --> (back at home)
///                                                          <-- HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}   from home
/// HDR, SK {N(UPDATE_SA_ADDRESSES), ..} to where it was     -->
/// HDR, SK {}                                               -->
/// HDR, SK {N(UPDATE_SA_ADDRESSES), ..} to its home         -->
/// ```
/// The update that is overtaken by the second telling moves B once more, but that is A's word: B has nothing to tell of it.
#[test]
fn a_responder_that_moves_there_and_back_at_once_comes_to_rest() {
    let mut pair = up(mobile(A, true), mobile(B, true));
    let before = pair.trace.len();
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.input(B, Input::Moved { tunnel: TUNNEL, local: address(B) });
    pair.run_secs(5);
    let told = pair.trace[before..].iter().filter(|datagram| datagram.to == A);
    let told = told.filter(|datagram| says(&payloads(&pair, A, datagram), NotifyType::NO_ADDITIONAL_ADDRESSES));
    assert_eq!(told.count(), 2, "where it went, and that it is back");
    pair.assert_up(2);
    let ends = [A, B].map(|side| pair.status(side).ike.unwrap());
    assert_eq!((ends[A].remote.ip(), ends[B].local.ip()), (address(B), address(B)));
    assert_eq!(pair.sides[A].redirects.last(), Some(&udp(address(A), address(B))));
    assert_eq!(pair.sides[B].redirects.last(), Some(&udp(address(B), address(A))));
}

/// B rekeys the IKE SA while A's update is under way in the old one, where nobody answers it any more.
#[test]
fn an_update_that_was_under_way_is_made_in_the_ike_sa_that_takes_the_place() {
    let mut pair = straight();
    hold(&mut pair);
    pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
    pair.rekey(B, false, true);
    let request = pair.trace.last().unwrap().clone();
    assert_eq!((request.to, request.header().exchange), (A, ExchangeType::CREATE_CHILD_SA));
    pair.deliver(&request);
    pair.meddle = None;
    pair.run_secs(60);
    pair.assert_up(2);
    assert_eq!(pair.status(B).ike.unwrap().remote.ip(), elsewhere());
    assert_eq!(pair.sides[B].redirects.last(), Some(&raw(address(B), elsewhere())));
}

/// RFC 4555 §1.3: whoever opened the first IKE SA is the initiator, although the other side has rekeyed it.
#[test]
fn who_opened_the_first_ike_sa_says_where_things_go_after_a_rekeying_too() {
    let mut pair = straight();
    pair.rekey(B, false, true);
    pair.run_secs(60);
    assert!(!pair.status(A).ike.unwrap().initiator);
    for (mover, kind) in [(A, NotifyType::UPDATE_SA_ADDRESSES), (B, NotifyType::NO_ADDITIONAL_ADDRESSES)] {
        let before = pair.trace.len();
        pair.input(mover, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
        let said = pair.trace[before].clone();
        assert!(says(&payloads(&pair, 1 - mover, &said), kind), "{mover}");
        pair.run_secs(60);
        pair.assert_up(2);
        pair.input(mover, Input::Moved { tunnel: TUNNEL, local: address(mover) });
        pair.run_secs(60);
    }
}

/// Both sides have begun to rekey, and A moves before it is known which of the two new IKE SAs stays.
#[test]
fn an_ike_sa_that_waited_for_the_end_of_a_collision_is_where_the_old_one_was() {
    for seed in 0..6 {
        let of = |side| config(TunnelConfig { force_encapsulation: false, ..mobile(side, true) });
        let mut pair = Pair::seeded(seed, of(A), of(B));
        pair.run_secs(1);
        pair.sides[A].own.push(elsewhere());
        pair.rekey(A, false, true);
        pair.rekey(B, false, true);
        // Both requests have come, the answers have not.
        pair.pass_next(A);
        pair.pass_next(B);
        pair.input(A, Input::Moved { tunnel: TUNNEL, local: elsewhere() });
        pair.run_secs(90);
        pair.assert_up(2);
        assert_eq!(pair.status(A).ike.unwrap().local.ip(), elsewhere(), "seed {seed}");
        assert_eq!(pair.status(B).ike.unwrap().remote.ip(), elsewhere(), "seed {seed}");
        assert_eq!(pair.sides[B].redirects.last(), Some(&raw(address(B), elsewhere())));
    }
}
