//! IKE_AUTH with EAP over a network in memory: A is the client and opens, B knows the users (RFC 7296 §2.16).

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::entropy::SeededEntropy;
use crate::event::IkeReason;
use crate::ike::api::Input;
use crate::ike::auth::{LocalAuth, PeerAuth};
use crate::ike::config::{Start, TunnelConfig};
use crate::ike::eap::mschapv2::Users;
use crate::ike::eap::tls::testing::{Authority, NOW};
use crate::ike::eap::tls::{ClientIdentity, ServerIdentity};
use crate::ike::eap::{Authenticator, Credentials};
use crate::ike::endpoint::Endpoint;
use crate::ike::limits;
use crate::secret::Secret;
use crate::wire::ike::numbers::{AuthMethod, ExchangeType, PayloadType};
use crate::wire::ike::payload::Payload;

const PASSWORD: &str = "correct horse";

/// Both sides, with the responder's own proof by the pre-shared key.
fn sides(credentials: Credentials, authenticator: Authenticator) -> [TunnelConfig; 2] {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    a.local_auth = LocalAuth::Eap(credentials);
    b.peer_auth = PeerAuth::Eap(authenticator);
    // Whatever is wanted of it, B does not open.
    b.start = Start::Always;
    [a, b]
}

fn mschapv2(user: &str, password: &str) -> [TunnelConfig; 2] {
    let mut users = Users::default();
    users.add("alice", PASSWORD);
    let password = Arc::new(Secret::copy_of(password.as_bytes()));
    sides(
        Credentials::MschapV2 { user: user.to_owned(), password },
        Authenticator::MschapV2 { users: Arc::new(users), ask_identity: false },
    )
}

fn tls(client: &str) -> [TunnelConfig; 2] {
    let authority = Authority::new("ours");
    let (of_client, of_server) = (authority.sign(client, |_| ()), authority.sign("b.example", |_| ()));
    let roots = || vec![authority.certificate.clone()];
    let client = ClientIdentity::new(of_client.chain, of_client.key, roots(), "b.example").unwrap();
    let server = ServerIdentity::new(of_server.chain, of_server.key, roots(), "a.example").unwrap();
    sides(
        Credentials::Tls { user: "a.example".to_owned(), identity: Arc::new(client) },
        Authenticator::Tls { identity: Arc::new(server), ask_identity: false },
    )
}

fn pair_of([a, b]: [TunnelConfig; 2]) -> Pair {
    seeded(1, [a, b])
}

fn seeded(seed: u64, [a, b]: [TunnelConfig; 2]) -> Pair {
    let mut pair = Pair::seeded(seed, config(a), config(b));
    for side in &mut pair.sides {
        side.endpoint.set_time_of_day(NOW);
    }
    pair
}

/// What stands inside the datagram with this place in the trace.
fn inside(pair: &Pair, place: usize) -> Vec<Payload> {
    let datagram = &pair.trace[place];
    pair.sides[datagram.to].endpoint.unseal(&datagram.bytes).unwrap()
}

/// Lets datagrams arrive until so many have been sent.
fn until_sent(pair: &mut Pair, count: usize) {
    while pair.trace.len() < count {
        assert!(pair.step(pair.now + Duration::from_secs(1)), "only {} were sent", pair.trace.len());
    }
}

fn assert_nothing_installed(pair: &Pair) {
    for side in &pair.sides {
        assert!(side.inbound.is_empty() && side.outbound.is_empty() && side.ups() == 0);
    }
}

#[test]
fn mschapv2_makes_an_ike_sa_and_a_child_sa_in_four_rounds() {
    let mut pair = pair_of(mschapv2("alice", PASSWORD));
    until_sent(&mut pair, 9);
    // RFC 7296 §2.16: message IDs go on counting.
    let ids: Vec<u32> = pair.trace.iter().map(|datagram| datagram.header().message_id).collect();
    assert_eq!(ids, [0, 0, 1, 1, 2, 2, 3, 3, 4]);
    assert!(pair.trace[2..].iter().all(|datagram| datagram.header().exchange == ExchangeType::IKE_AUTH));
    let kinds = |place| inside(&pair, place).iter().map(Payload::kind).collect::<Vec<_>>();
    let first = kinds(2);
    assert!(first.contains(&PayloadType::SA) && !first.contains(&PayloadType::AUTH), "{first:?}");
    assert_eq!(kinds(3), [PayloadType::IDR, PayloadType::AUTH, PayloadType::EAP]);
    for place in 4..8 {
        assert_eq!(kinds(place), [PayloadType::EAP]);
    }
    assert_eq!(kinds(8), [PayloadType::AUTH]);
    // Nothing stands before the last AUTH has been checked.
    assert_nothing_installed(&pair);
    assert_eq!(pair.sides[B].endpoint.half_open(), 1);
    pair.run_secs(2);
    pair.assert_up(1);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    let Some(Payload::Auth(auth)) = inside(&pair, 9).into_iter().next() else { panic!("no AUTH") };
    assert_eq!(auth.method, AuthMethod::SHARED_KEY);
}

#[test]
fn eap_tls_makes_an_ike_sa_and_a_child_sa() {
    let mut pair = pair_of(tls("a.example"));
    pair.run_secs(3);
    pair.assert_up(1);
}

#[test]
fn who_has_come_by_eap_is_rekeyed_and_deleted_like_anybody() {
    let mut pair = pair_of(mschapv2("alice", PASSWORD));
    pair.run_secs(2);
    for side in [A, B] {
        pair.input(side, Input::Rekey { tunnel: TUNNEL, children: true, ike: true });
        pair.run_secs(20);
        pair.assert_up(1);
    }
    pair.input(B, Input::Down(TUNNEL));
    pair.run_secs(1);
    assert_ne!(pair.status(A).state, "up");
}

#[test]
fn a_wrong_password_and_a_stranger_are_refused_alike_and_nothing_is_left() {
    let mut seen = Vec::new();
    for (user, password) in [("alice", "wrong"), ("carol", PASSWORD)] {
        let mut pair = pair_of(mschapv2(user, password));
        pair.run(Duration::from_millis(300));
        let (exchange, reason, detail) = pair.failed(A).remove(0);
        assert_eq!((&*exchange, reason), ("IKE_AUTH", IkeReason::EapFailed));
        assert_eq!(detail, "the authenticator says: wrong user or password");
        assert_eq!(pair.refused(B, IkeReason::EapFailed), 1);
        assert_nothing_installed(&pair);
        seen.push(pair.trace.iter().map(|datagram| (datagram.to, datagram.bytes.len())).collect::<Vec<_>>());
        pair.input(A, Input::Shutdown);
        pair.run_secs(10);
        pair.assert_empty(A);
        assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    }
    assert_eq!(seen[0], seen[1], "both see the same number of messages of the same length");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let mut pair = pair_of(tls("c.example"));
    pair.run_secs(1);
    assert!(pair.failed(A)[0].2.contains("alert"), "{:?}", pair.failed(A));
    assert!(pair.refused(B, IkeReason::EapFailed) >= 1);
    assert_nothing_installed(&pair);
}

/// CVE-2015-4171: what we show depends on who asks, so who asks is looked at first.
#[test]
fn a_responder_that_cannot_prove_itself_is_shown_nothing() {
    let [mut a, b] = mschapv2("alice", PASSWORD);
    a.peer_auth = PeerAuth::Psk(secrets(&[b"another key than the one that B has"]));
    let mut pair = pair_of([a, b]);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed);
    for place in (2..pair.trace.len()).filter(|place| pair.trace[*place].to == B) {
        let shown = inside(&pair, place);
        assert!(!shown.iter().any(|payload| matches!(payload, Payload::Eap(_))), "{shown:?}");
    }
    assert_nothing_installed(&pair);
}

#[test]
fn only_the_side_that_proves_itself_by_eap_opens() {
    let [mut a, b] = mschapv2("alice", PASSWORD);
    a.start = Start::Manual;
    let mut pair = pair_of([a, b]);
    pair.run_secs(5);
    pair.input(B, Input::Up(TUNNEL));
    pair.run_secs(5);
    assert_eq!(pair.trace.len(), 0, "B waits");
    // A peer that tries is told nothing.
    let [a, _] = mschapv2("alice", PASSWORD);
    let mut b = tunnel(B);
    b.start = Start::Always;
    let mut pair = pair_of([TunnelConfig { start: Start::Manual, ..a }, b]);
    pair.run_secs(2);
    assert!(pair.refused(A, IkeReason::NotResponder) > 0);
    assert_eq!(pair.sides[A].sent, 0);
}

/// Whoever has to prove himself by EAP does not get by with a key, and the other way round.
#[test]
fn another_proof_than_the_one_that_is_asked_for_is_refused() {
    let [_, b] = mschapv2("alice", PASSWORD);
    let mut pair = pair_of([tunnel(A), b]);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed);
    assert_eq!(pair.refused(B, IkeReason::AuthenticationFailed), 1);
    let [a, _] = mschapv2("alice", PASSWORD);
    let mut pair = pair_of([a, tunnel(B)]);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed);
    assert_nothing_installed(&pair);
}

/// Which of the ten datagrams is lost or doubled makes no difference in the end.
#[test]
fn every_datagram_may_be_lost_or_come_twice() {
    for count in [0, 2, 3] {
        for place in 1..=10 {
            let mut pair = pair_of(mschapv2("alice", PASSWORD));
            pair.meddle = Some(Box::new(move |datagram, _| {
                let copies = if datagram.number == place { count } else { 1 };
                (0..copies).map(|copy| (Duration::from_millis(7 * copy), datagram.clone())).collect()
            }));
            pair.run_secs(5);
            pair.assert_up(1);
            assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "{count} of {place}");
            assert_eq!(pair.failed(A), [], "{count} of {place}");
        }
    }
}

#[test]
fn eap_gets_through_a_bad_line() {
    for seed in 0..20 {
        let sides = if seed % 2 == 0 { mschapv2("alice", PASSWORD) } else { tls("a.example") };
        let mut pair = seeded(seed, sides);
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            if entropy.below(10) < 2 {
                return vec![];
            }
            let copies = 1 + entropy.below(2);
            (0..copies).map(|_| (Duration::from_millis(entropy.below(300)), datagram.clone())).collect()
        }));
        pair.run_secs(60);
        pair.meddle = None;
        pair.run_secs(60);
        pair.assert_up(1);
    }
}

/// In the place of each datagram the one before it, sent back or sent again, with the true one behind it.
#[test]
fn reflected_and_replayed_datagrams_change_nothing() {
    for place in 2..=10 {
        for back in 1..=2 {
            let mut pair = pair_of(mschapv2("alice", PASSWORD));
            let mut before: Vec<Datagram> = Vec::new();
            pair.meddle = Some(Box::new(move |datagram, _| {
                before.push(datagram.clone());
                let mut copies = vec![(Duration::from_millis(5), datagram.clone())];
                if datagram.number == place && before.len() > back {
                    let old = before[before.len() - 1 - back].clone();
                    let (to, source, destination) = (datagram.to, datagram.source, datagram.destination);
                    copies.push((Duration::ZERO, Datagram { to, source, destination, ..old }));
                }
                copies
            }));
            pair.run_secs(5);
            pair.assert_up(1);
        }
    }
}

/// A peer with the keys of the IKE SA but without a proof: in the place of each message of the initiator something else.
#[test]
fn nothing_but_the_right_message_in_its_turn_establishes_anything() {
    let eap = |packet: &[u8]| (PayloadType::EAP, [&[0, 0, 0, packet.len() as u8 + 4], packet].concat());
    let forged: Vec<(PayloadType, Vec<u8>)> = vec![
        eap(&[3, 1, 0, 4]),
        eap(&[4, 1, 0, 4]),
        eap(&[2, 1, 0, 6, 26, 3]),
        eap(&[2, 1, 0, 6, 3, 13]),
        eap(&[1, 1, 0, 5, 1]),
        eap(&[]),
        eap(&[2, 1]),
        // AUTH before EAP has ended: empty, and keyed with nothing.
        (PayloadType::AUTH, vec![0, 0, 0, 8, 2, 0, 0, 0]),
        (PayloadType::AUTH, [&[0, 0, 0, 40, 2, 0, 0, 0][..], &[0; 32]].concat()),
        (PayloadType::NONE, vec![]),
    ];
    for rounds in 0..3 {
        for (first, inner) in &forged {
            let mut pair = pair_of(mschapv2("alice", PASSWORD));
            until_sent(&mut pair, 4 + 2 * rounds);
            pair.line.clear();
            let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::IKE_AUTH, false, 0, *first, inner).unwrap();
            pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
            assert_nothing_installed(&pair);
            let ended = [IkeReason::EapUnexpected, IkeReason::EapMalformed, IkeReason::EapFailed]
                .into_iter()
                .chain([IkeReason::AuthenticationFailed, IkeReason::MissingPayload]);
            let count: u64 = ended.map(|reason| pair.refused(B, reason)).sum();
            assert_eq!(count, 1, "after {rounds} rounds: {first} {inner:?}");
            // The true message comes too late.
            let late = pair.trace.iter().rfind(|datagram| datagram.to == B).unwrap().clone();
            pair.deliver(&late);
            assert_nothing_installed(&pair);
        }
    }
}

/// CVE-2021-45079: a responder that has proved itself says Success where EAP has not run to its end.
#[test]
fn an_early_success_or_an_auth_of_the_responder_ends_the_attempt() {
    let success = (PayloadType::EAP, vec![0, 0, 0, 8, 3, 1, 0, 4]);
    let auth = (PayloadType::AUTH, [&[0, 0, 0, 40, 2, 0, 0, 0][..], &[0; 32]].concat());
    for rounds in 0..3 {
        for (first, inner) in [&success, &auth] {
            let mut pair = pair_of(mschapv2("alice", PASSWORD));
            until_sent(&mut pair, 4 + 2 * rounds);
            pair.line.clear();
            let (path, bytes) = pair.sides[B].endpoint.forge(ExchangeType::IKE_AUTH, true, -1, *first, inner).unwrap();
            pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
            if *first == PayloadType::EAP && rounds == 2 {
                // Here it is in its turn: what follows is the AUTH that only the true key makes.
                assert_eq!(pair.failed(A), []);
            } else {
                let (_, reason, _) = pair.failed(A).remove(0);
                let expected = if rounds > 0 && *first == PayloadType::EAP {
                    IkeReason::EapUnexpected
                } else {
                    IkeReason::MissingPayload
                };
                assert_eq!(reason, expected, "{first} after {rounds} rounds");
            }
            assert_nothing_installed(&pair);
        }
    }
}

/// RFC 7296 §2.21.2. strongSwan's client does so when it is told that its password is wrong.
#[test]
fn a_client_that_gives_up_within_eap_is_answered_and_forgotten() {
    let mut pair = pair_of(mschapv2("alice", PASSWORD));
    until_sent(&mut pair, 6);
    pair.line.clear();
    let gives_up = [0, 0, 0, 8, 0, 0, 0, 24];
    let notify = PayloadType::NOTIFY;
    let (path, bytes) = pair.sides[A].endpoint.forge(ExchangeType::INFORMATIONAL, false, 0, notify, &gives_up).unwrap();
    let sent = pair.sides[B].sent;
    for _ in 0..2 {
        pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    }
    assert_eq!(pair.sides[B].sent, sent + 2, "its farewell is answered, also the second time");
    assert_eq!(pair.refused(B, IkeReason::EapFailed), 1);
    pair.meddle = Some(Box::new(|_, _| vec![]));
    pair.run_secs(10);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
}

/// The responder's last AUTH has to be keyed by what EAP has made, and our own sent back is not it.
#[test]
fn a_last_auth_of_the_responder_that_is_not_keyed_by_eap_ends_the_attempt() {
    for reflected in [false, true] {
        let mut pair = pair_of(mschapv2("alice", PASSWORD));
        until_sent(&mut pair, 10);
        pair.line.clear();
        let Some(Payload::Auth(own)) = inside(&pair, 8).into_iter().next() else { panic!("no AUTH") };
        let data = if reflected { own.data } else { vec![0; own.data.len()] };
        let length = u8::try_from(data.len() + 8).unwrap();
        let inner = [&[0, 0, 0, length, 2, 0, 0, 0], &data[..]].concat();
        let forged = pair.sides[B].endpoint.forge(ExchangeType::IKE_AUTH, true, -1, PayloadType::AUTH, &inner);
        let (path, bytes) = forged.unwrap();
        pair.input(A, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
        let expected = if reflected { IkeReason::Reflected } else { IkeReason::AuthenticationFailed };
        assert_eq!(pair.failed(A)[0].1, expected);
        assert_eq!((pair.sides[A].ups(), pair.sides[A].inbound.len()), (0, 0));
    }
}

#[test]
fn a_peer_that_stops_in_the_middle_is_forgotten_within_a_minute() {
    let mut pair = pair_of(mschapv2("alice", PASSWORD));
    until_sent(&mut pair, 6);
    pair.line.clear();
    pair.meddle = Some(Box::new(|_, _| vec![]));
    assert_eq!(pair.sides[B].endpoint.half_open(), 1);
    pair.run(limits::EAP_TIME);
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    assert_eq!(pair.failed(A)[0].1, IkeReason::TimedOut);
}

/// RFC 7296 §2.4: INITIAL_CONTACT stands in the first request, and counts once the last AUTH has been checked.
#[test]
fn a_client_that_has_restarted_replaces_its_old_ike_sa() {
    let mut pair = pair_of(mschapv2("alice", PASSWORD));
    pair.run_secs(2);
    let old = pair.status(B).ike.unwrap().spis;
    let [a, _] = mschapv2("alice", PASSWORD);
    let side = &mut pair.sides[A];
    side.endpoint = Endpoint::new(config(a), Box::new(SeededEntropy::new(999)), false);
    side.inbound.clear();
    side.outbound.clear();
    pair.input(A, Input::Timeout);
    pair.run_secs(3);
    let new = pair.status(B).ike.unwrap().spis;
    assert_ne!(old, new);
    assert_eq!(pair.status(A).ike.unwrap().spis, new);
    assert_eq!(pair.sides[B].inbound.len(), 1);
}
