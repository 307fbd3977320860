//! IKE_AUTH with certificates: both roles, every reason for which one is refused, and what a reload does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::pair::*;
use crate::crypto::certificate::testing::{Authority, Issued, Leaf, NOW, P521, RSA_2048};
use crate::crypto::certificate::{Certificate, Revocation, Trust};
use crate::crypto::signature::SigningKey;
use crate::event::{Event, IkeReason};
use crate::ike::config::{Credential, LocalAuth, PeerAuth, TunnelConfig};
use crate::ike::eap::mschapv2::Users;
use crate::ike::eap::{Authenticator, Credentials};
use crate::secret::Secret;
use crate::wire::ike::numbers::ExchangeType;

fn names(side: usize) -> &'static [&'static str] {
    [&["a.example"][..], &["b.example"]][side]
}

fn credential(issued: &Issued, between: &[Certificate]) -> LocalAuth {
    let mut chain = vec![issued.certificate()];
    chain.extend_from_slice(between);
    LocalAuth::Certificate(Arc::new(Credential::new(chain, issued.key()).unwrap()))
}

fn by(authority: &Authority, revocation: Revocation, lists: &[Vec<u8>]) -> PeerAuth {
    let mut trust = Trust::new(vec![authority.certificate()], revocation).unwrap();
    for list in lists {
        trust.add_lists(list).unwrap();
    }
    PeerAuth::Certificate(Arc::new(trust))
}

/// What a side gets for its number, if there is a way.
type Make<'a> = Box<dyn Fn(usize) -> Option<Issued> + 'a>;

/// Both sides with a certificate of `authority`, to be changed by a test.
fn both(authority: &Authority) -> [TunnelConfig; 2] {
    [A, B].map(|side| {
        let mut tunnel = tunnel(side);
        tunnel.local_auth = credential(&authority.issue(&Leaf { hosts: names(side), ..Leaf::default() }), &[]);
        tunnel.peer_auth = by(authority, Revocation::Off, &[]);
        tunnel
    })
}

fn open([a, b]: [TunnelConfig; 2]) -> Pair {
    let mut pair = Pair::new(a, b);
    pair.sides.iter_mut().for_each(|side| side.endpoint.set_time_of_day(NOW));
    pair.run_secs(2);
    pair
}

fn proofs(pair: &Pair, side: usize) -> [String; 2] {
    let ike = pair.status(side).ike.unwrap();
    [ike.local_auth, ike.peer_auth]
}

/// Nothing stands, and side B has refused A for this reason.
#[track_caller]
fn refused(sides: [TunnelConfig; 2], reason: IkeReason, words: &str) {
    let pair = open(sides);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0));
    let (exchange, why, detail) = pair.failed(B).remove(0);
    assert_eq!((exchange.as_str(), why), ("IKE_AUTH", reason), "{detail}");
    assert!(detail.contains(words), "{detail}");
    assert_eq!(pair.failed(A)[0].1, IkeReason::AuthenticationFailed, "the peer hears no more than that");
}

#[test]
fn every_kind_of_key_proves_both_sides() {
    let authority = Authority::new("ca");
    let rsa_or_p521 = |pem: &str, side: usize| {
        let key = rcgen::KeyPair::from_pem(pem);
        key.ok().map(|key| authority.issue_for(&Leaf { hosts: names(side), ..Leaf::default() }, &key))
    };
    let made = |kind: &'static rcgen::SignatureAlgorithm, side: usize| {
        Some(authority.issue(&Leaf { hosts: names(side), kind, ..Leaf::default() }))
    };
    let kinds: [(Make<'_>, &str); 4] = [
        (Box::new(|side| made(&rcgen::PKCS_ECDSA_P256_SHA256, side)), "ECDSA with SHA-256"),
        (Box::new(|side| made(&PKCS_ECDSA_P384_SHA384, side)), "ECDSA with SHA-384"),
        (Box::new(|side| made(&PKCS_ED25519, side)), "Ed25519"),
        (Box::new(|side| rsa_or_p521(RSA_2048, side)), "RSA-PSS with SHA-256"),
    ];
    for (make, algorithm) in kinds {
        let mut sides = both(&authority);
        for (side, tunnel) in sides.iter_mut().enumerate() {
            tunnel.local_auth = credential(&make(side).expect("ring knows this kind of key"), &[]);
        }
        let pair = open(sides);
        pair.assert_up(1);
        let words = format!("certificate, {algorithm}");
        assert_eq!(proofs(&pair, A), [words.clone(), words.clone()]);
        assert_eq!(proofs(&pair, B), [words.clone(), words]);
    }
    assert!(SigningKey::from_pem(P521.as_bytes()).is_ok());
}

#[test]
fn the_two_directions_need_not_be_alike() {
    let authority = Authority::new("ca");
    let [mut a, mut b] = both(&authority);
    a.local_auth = LocalAuth::Psk(psk());
    b.peer_auth = PeerAuth::Psk(psk());
    let pair = open([a, b]);
    pair.assert_up(1);
    assert_eq!(proofs(&pair, A), ["psk", "certificate, ECDSA with SHA-256"]);
    assert_eq!(proofs(&pair, B), ["certificate, ECDSA with SHA-256", "psk"]);
}

#[test]
fn a_chain_over_an_authority_between_is_followed_in_fragments() {
    let root = Authority::new("root");
    let between = root.below("between");
    let [mut a, mut b] = both(&root);
    for tunnel in [&mut a, &mut b] {
        tunnel.fragmentation = true;
    }
    let leaf = between.issue(&Leaf { hosts: names(A), ..Leaf::default() });
    a.local_auth = credential(&leaf, &[between.certificate()]);
    open([a.copied(), b.copied()]).assert_up(1);
    // Without the one between there is no chain.
    a.local_auth = credential(&leaf, &[]);
    refused([a, b], IkeReason::CertificateUntrusted, "no chain");
}

/// RFC 7296 §3.6: "Implementations MUST be capable of being configured to send and accept up to four X.509 certificates".
#[test]
fn a_chain_of_four_certificates_is_sent_and_taken() {
    let root = Authority::new("root");
    let first = root.above("first", 2);
    let second = first.above("second", 1);
    let third = second.below("third");
    let mut sides = both(&root);
    for (side, tunnel) in sides.iter_mut().enumerate() {
        tunnel.fragmentation = true;
        let leaf = third.issue(&Leaf { hosts: names(side), ..Leaf::default() });
        let between = [third.certificate(), second.certificate(), first.certificate()];
        tunnel.local_auth = credential(&leaf, &between);
    }
    open(sides).assert_up(1);
}

/// What is done to both sides' configuration.
type Change<'a> = Box<dyn Fn(&mut TunnelConfig, &mut TunnelConfig) + 'a>;

#[test]
fn each_reason_for_which_a_certificate_is_refused_has_its_name() {
    let authority = Authority::new("ca");
    let with = |leaf: &Leaf<'_>, trust: PeerAuth| {
        let [mut a, mut b] = both(&authority);
        a.local_auth = credential(&authority.issue(leaf), &[]);
        b.peer_auth = trust;
        [a, b]
    };
    let leaf = |serial| Leaf { hosts: names(A), serial, ..Leaf::default() };
    let off = || by(&authority, Revocation::Off, &[]);
    refused(with(&Leaf { hosts: names(B), ..leaf(7) }, off()), IkeReason::CertificateName, "a.example");
    refused(with(&Leaf { years: (2026, 2027), ..leaf(7) }, off()), IkeReason::CertificateExpired, "CN=leaf");
    refused(with(&Leaf { years: (2029, 2030), ..leaf(7) }, off()), IkeReason::CertificateNotYetValid, "not valid yet");
    let other = by(&Authority::new("ca"), Revocation::Off, &[]);
    refused(with(&leaf(7), other), IkeReason::CertificateUntrusted, "not signed by its issuer");
    let list = vec![authority.revoke(&[66], (2027, 2029))];
    let hard = |lists: &[Vec<u8>]| by(&authority, Revocation::HardFail, lists);
    refused(with(&leaf(66), hard(&list)), IkeReason::CertificateRevoked, "revocation list");
    refused(with(&leaf(7), hard(&[])), IkeReason::RevocationUnknown, "revocation list");
    open(with(&leaf(7), hard(&list))).assert_up(1);
    // A shared key where a certificate is asked for, and a certificate where a shared key is.
    let [mut a, b] = both(&authority);
    a.local_auth = LocalAuth::Psk(psk());
    refused([a, b], IkeReason::MethodMismatch, "shared key");
    let [a, mut b] = both(&authority);
    b.peer_auth = PeerAuth::Psk(psk());
    refused([a, b], IkeReason::AuthenticationFailed, "a.example");
    // A right certificate for another identity than the configured one.
    let [mut a, b] = both(&authority);
    a.local_id = fqdn("c.example");
    a.local_auth = credential(&authority.issue(&Leaf { hosts: &["c.example"], ..leaf(7) }), &[]);
    refused([a, b], IkeReason::WrongIdentity, "c.example");
}

#[test]
fn without_a_time_of_day_no_certificate_counts() {
    let [a, b] = both(&Authority::new("ca"));
    let mut pair = Pair::new(a, b);
    pair.run_secs(1);
    assert_eq!(pair.failed(B)[0].1, IkeReason::NoWallClock);
    assert_eq!(pair.sides[A].ups(), 0);
}

#[test]
fn the_initiator_refuses_the_responder_for_the_same_reasons() {
    let authority = Authority::new("ca");
    let [a, mut b] = both(&authority);
    b.local_auth = credential(&authority.issue(&Leaf { hosts: names(A), ..Leaf::default() }), &[]);
    let pair = open([a, b]);
    assert_eq!(pair.failed(A)[0].1, IkeReason::CertificateName);
    assert!(pair.sides.iter().all(|side| side.inbound.is_empty() && side.outbound.is_empty()));
}

/// RFC 7296 §2.16: with EAP the responder proves itself by a signature before it is shown anything; only then does the client
/// begin with its method.
#[test]
fn a_responder_with_a_certificate_is_believed_before_it_is_shown_a_password() {
    let authority = Authority::new("ca");
    let sides = || {
        let [mut a, mut b] = both(&authority);
        let mut users = Users::default();
        users.add("alice", "correct horse");
        let password = Arc::new(Secret::copy_of(b"correct horse"));
        a.local_auth = LocalAuth::Eap(Credentials::MschapV2 { user: "alice".to_owned(), password });
        b.peer_auth = PeerAuth::Eap(Authenticator::MschapV2 { users: Arc::new(users), ask_identity: true });
        [a, b]
    };
    let pair = open(sides());
    pair.assert_up(1);
    assert_eq!(proofs(&pair, A)[1], "certificate, ECDSA with SHA-256");
    assert_eq!(proofs(&pair, B)[0], "certificate, ECDSA with SHA-256");
    let list = vec![authority.revoke(&[66], (2027, 2029))];
    let leaf = |hosts, serial| authority.issue(&Leaf { serial, hosts, ..Leaf::default() });
    let cases: [(IkeReason, Change<'_>); 5] = [
        (
            IkeReason::CertificateUntrusted,
            Box::new(|a, _| a.peer_auth = by(&Authority::new("ca"), Revocation::Off, &[])),
        ),
        (IkeReason::CertificateName, Box::new(|_, b| b.local_auth = credential(&leaf(names(A), 7), &[]))),
        (
            IkeReason::CertificateRevoked,
            Box::new(|a, b| {
                a.peer_auth = by(&authority, Revocation::HardFail, &list);
                b.local_auth = credential(&leaf(names(B), 66), &[]);
            }),
        ),
        (IkeReason::RevocationUnknown, Box::new(|a, _| a.peer_auth = by(&authority, Revocation::HardFail, &[]))),
        (IkeReason::MethodMismatch, Box::new(|_, b| b.local_auth = LocalAuth::Psk(psk()))),
    ];
    for (reason, change) in cases {
        let [mut a, mut b] = sides();
        change(&mut a, &mut b);
        let pair = open([a, b]);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0), "{reason:?}");
        assert_eq!(pair.failed(A)[0].1, reason);
        // IKE_SA_INIT, the identities of IKE, and that it does not believe: nothing of EAP.
        let first = pair.trace[0].header().initiator_spi;
        let of_first = pair.trace.iter().filter(|datagram| datagram.header().initiator_spi == first);
        let auth = of_first.filter(|of| of.to == B && of.header().exchange == ExchangeType::IKE_AUTH);
        let different: BTreeSet<_> = auth.map(|datagram| datagram.header().message_id).collect();
        assert_eq!(different, BTreeSet::from([1]), "{reason:?}");
    }
}

#[test]
fn a_reload_replaces_certificates_without_a_cut_and_ends_what_was_revoked() {
    let authority = Authority::new("ca");
    let next = Authority::new("next");
    let sides = both(&authority);
    let mut pair = open([sides[A].copied(), sides[B].copied()]);
    pair.assert_up(1);
    let spis = pair.status(A).ike.unwrap().spis;
    // Another certificate of ours: nothing is sent.
    let mut a = sides[A].copied();
    a.local_auth = credential(&authority.issue(&Leaf { hosts: names(A), serial: 8, ..Leaf::default() }), &[]);
    let sent = pair.sides[A].sent;
    pair.reload(A, a.copied());
    assert_eq!((pair.sides[A].sent, pair.status(A).ike.unwrap().spis), (sent, spis.clone()));
    // A list that revokes somebody else.
    let mut b = sides[B].copied();
    b.peer_auth = by(&authority, Revocation::HardFail, &[authority.revoke(&[66], (2027, 2029))]);
    pair.reload(B, b.copied());
    pair.talk(Duration::from_secs(1));
    assert_eq!(pair.status(B).ike.unwrap().spis, spis);
    // Another authority: the peer proves itself anew, with its new certificate, and not a packet is lost.
    let mut two = Trust::new(vec![authority.certificate(), next.certificate()], Revocation::Off).unwrap();
    two.add_lists(&authority.revoke(&[], (2027, 2029))).unwrap();
    a.local_auth = credential(&next.issue(&Leaf { hosts: names(A), ..Leaf::default() }), &[]);
    pair.reload(A, a.copied());
    b.peer_auth = by(&next, Revocation::Off, &[]);
    pair.reload(B, b.copied());
    pair.talk(Duration::from_secs(20));
    pair.assert_up(1);
    pair.assert_no_loss();
    let after = pair.status(B).ike.unwrap().spis;
    assert_ne!(after, spis);
    // What is revoked now is ended now.
    b.peer_auth = by(&next, Revocation::HardFail, &[next.revoke(&[7], (2027, 2029))]);
    pair.reload(B, b);
    pair.run_secs(1);
    let ended = |event: &Event| matches!(event, Event::IkeDown { spis, reason, .. } if *spis == after && reason.contains("not accepted"));
    assert!(pair.sides[B].events.iter().any(ended));
    assert_eq!(pair.failed(B).last().map(|failed| failed.1), Some(IkeReason::CertificateRevoked));
    assert!(pair.sides[B].inbound.is_empty());
}

#[test]
fn an_ike_sa_lasts_no_longer_than_the_certificates_of_its_peer() {
    let authority = Authority::new("ca");
    let leaf = authority.issue(&Leaf { hosts: names(A), years: (2026, 2028), ..Leaf::default() });
    let [mut a, b] = both(&authority);
    a.local_auth = credential(&leaf, &[]);
    let hour = 3600;
    let mut pair = Pair::new(a.copied(), b);
    let before = u64::try_from(leaf.certificate().not_after).unwrap() - hour;
    pair.sides.iter_mut().for_each(|side| side.endpoint.set_time_of_day(before));
    pair.run_secs(1);
    pair.assert_up(1);
    assert!((hour - 5..=hour).contains(&pair.status(B).ike.unwrap().expires_in_s));
    // Rekeying does not prolong it.
    pair.sides.iter_mut().for_each(|side| side.endpoint.set_time_of_day(before + 600));
    pair.rekey(A, false, true);
    pair.run_secs(1);
    assert!(pair.status(B).ike.unwrap().expires_in_s <= hour - 600);
    // A minute before the end it is proved anew, if there is a newer certificate.
    a.local_auth = credential(&authority.issue(&Leaf { hosts: names(A), ..Leaf::default() }), &[]);
    pair.reload(A, a);
    pair.run(Duration::from_secs(hour - 600));
    pair.assert_up(1);
    assert!(pair.status(B).ike.unwrap().expires_in_s > hour);
}

#[test]
fn each_certificate_is_told_of_four_times_ahead_and_once_when_it_is_over() {
    let authority = Authority::valid("ca", (2026, 2031));
    let leaf = authority.issue(&Leaf { hosts: names(A), years: (2026, 2028), ..Leaf::default() });
    let end = u64::try_from(leaf.certificate().not_after).unwrap();
    let mut a = tunnel(A);
    a.local_auth = credential(&leaf, &[]);
    a.peer_auth = by(&authority, Revocation::Off, &[]);
    let mut pair = Pair::new(a.copied(), tunnel(B));
    let told = |pair: &mut Pair, unix_now: u64| {
        pair.sides[A].endpoint.set_time_of_day(unix_now);
        pair.drain(A);
        let of = |event: Event| match event {
            Event::CertificateExpires { ours: true, subject, days, .. } if subject == "CN=leaf" => Some(days),
            Event::CertificateExpires { .. } => panic!("{event:?}"),
            _ => None,
        };
        std::mem::take(&mut pair.sides[A].events).into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let day = 86_400;
    let hours = 0..24 * 41;
    let all: Vec<_> = hours.flat_map(|hour| told(&mut pair, end - 40 * day + hour * 3600)).collect();
    assert_eq!(all, [30, 14, 7, 1, 0]);
    // A reload of the same says nothing again; a gateway that starts late says where it stands.
    pair.reload(A, a.copied());
    assert!(told(&mut pair, end).is_empty());
    let mut late = Pair::new(a, tunnel(B));
    assert_eq!(told(&mut late, end - 10 * day), [10]);
}
