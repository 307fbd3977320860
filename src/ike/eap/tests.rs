//! A peer and an authenticator in conversation, and what happens to it on the way.

use std::sync::Arc;

use super::mschapv2::Users;
use super::packet::{EapType, Packet};
use super::tls::testing::{Authority, Holder, NOW};
use super::tls::{ClientIdentity, ServerIdentity};
use super::{Authenticator, Credentials, Fault, Peer, Reaction, Server, Verdict};
use crate::entropy::SeededEntropy;
use crate::event::IkeReason;
use crate::secret::Secret;

const SERVER: &str = "b.example";
const CLIENT: &str = "a.example";

fn user(user: &str, password: &str) -> Credentials {
    let password = Arc::new(Secret::copy_of(password.as_bytes()));
    Credentials::MschapV2 { user: user.to_owned(), password }
}

fn users() -> Authenticator {
    let mut users = Users::default();
    users.add("alice", "correct horse");
    users.add("bob", "something else");
    Authenticator::MschapV2 { users: Arc::new(users), ask_identity: false }
}

fn client(own: Holder, of: &Authority, name: &str) -> ClientIdentity {
    ClientIdentity::new(own.chain, own.key, vec![of.certificate.clone()], name).unwrap()
}

fn tls(identity: ClientIdentity) -> Credentials {
    Credentials::Tls { user: CLIENT.to_owned(), identity: Arc::new(identity) }
}

fn tls_server(own: Holder, of: &Authority, name: &str) -> Authenticator {
    let identity = ServerIdentity::new(own.chain, own.key, vec![of.certificate.clone()], name).unwrap();
    Authenticator::Tls { identity: Arc::new(identity), ask_identity: false }
}

/// Both sides of EAP-TLS as they should be, with TLS 1.3 or without.
fn tls_pair(newest: bool) -> (Credentials, Authenticator) {
    let authority = Authority::new("ours");
    let identity = client(authority.sign(CLIENT, |_| ()), &authority, SERVER);
    let identity = if newest { identity } else { identity.only_tls12() };
    (tls(identity), tls_server(authority.sign(SERVER, |_| ()), &authority, CLIENT))
}

/// A user who is asked first who he is.
fn asked() -> Authenticator {
    let Authenticator::MschapV2 { users, .. } = users() else { unreachable!("users have passwords") };
    Authenticator::MschapV2 { users, ask_identity: true }
}

/// Every method as it should be.
fn all() -> [(Credentials, Authenticator); 3] {
    [(user("alice", "correct horse"), users()), tls_pair(true), tls_pair(false)]
}

/// What a whole conversation came to.
#[derive(Debug)]
struct Outcome {
    peer: Result<Vec<u8>, Fault>,
    server: Result<Vec<u8>, Fault>,
    /// All packets, the authenticator's first.
    packets: Vec<Vec<u8>>,
}

impl Outcome {
    fn assert_proven(&self) {
        let (Ok(peer), Ok(server)) = (&self.peer, &self.server) else { panic!("{self:?}") };
        assert_eq!((peer, peer.len()), (server, 64));
    }

    fn assert_refused(&self, peer: &str, server: &str) {
        let text = |of: &Result<Vec<u8>, Fault>| of.as_ref().unwrap_err().detail.clone();
        assert_eq!((&*text(&self.peer), &*text(&self.server)), (peer, server));
    }
}

/// Runs it; `meddle` sees each packet with its number before it arrives.
fn converse(
    credentials: &Credentials,
    authenticator: &Authenticator,
    mut meddle: impl FnMut(usize, &mut Vec<u8>),
) -> Outcome {
    let mut entropy = SeededEntropy::new(1);
    let (mut server, mut packet) = Server::begin(authenticator, b"gw", NOW, &mut SeededEntropy::new(2)).unwrap();
    let mut peer = Peer::new(credentials, NOW);
    let (mut packets, mut proven) = (Vec::new(), Err(Fault::unexpected("still under way")));
    loop {
        meddle(packets.len(), &mut packet);
        packets.push(packet.clone());
        packet = match peer.handle(&packet, &mut entropy) {
            Ok(Reaction::Answer(answer)) => answer,
            Ok(Reaction::Proven(msk)) => {
                return Outcome { peer: Ok(msk.secret().expose().to_vec()), server: proven, packets };
            }
            Err(fault) => return Outcome { peer: Err(fault), server: proven, packets },
        };
        meddle(packets.len(), &mut packet);
        packets.push(packet.clone());
        packet = match server.handle(&packet, &mut SeededEntropy::new(3)) {
            Verdict::Ask(asks) => asks,
            Verdict::Proven(success, msk) => {
                proven = Ok(msk.secret().expose().to_vec());
                success
            }
            Verdict::Refused(failure, fault) => {
                proven = Err(fault);
                failure
            }
        };
        assert!(packets.len() < 400, "it does not end");
    }
}

fn undisturbed(credentials: &Credentials, authenticator: &Authenticator) -> Outcome {
    converse(credentials, authenticator, |_, _| ())
}

#[test]
fn each_method_ends_with_one_key_on_both_sides() {
    let mut keys = Vec::new();
    for (credentials, authenticator) in all() {
        let outcome = undisturbed(&credentials, &authenticator);
        outcome.assert_proven();
        keys.extend(outcome.peer);
        let last = outcome.packets.last().unwrap();
        assert!(matches!(Packet::decode(last), Ok(Packet::Success { .. })));
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn a_wrong_password_and_a_stranger_get_the_same_answers() {
    let told = "the authenticator says: wrong user or password";
    let wrong = undisturbed(&user("alice", "Correct horse"), &users());
    wrong.assert_refused(told, "wrong user or password");
    let stranger = undisturbed(&user("carol", "Correct horse"), &users());
    stranger.assert_refused(told, "wrong user or password");
    let from_server = |outcome: &Outcome| outcome.packets.iter().step_by(2).cloned().collect::<Vec<_>>();
    assert_eq!(from_server(&wrong), from_server(&stranger));
    let nobody = Authenticator::MschapV2 { users: Arc::new(Users::default()), ask_identity: false };
    undisturbed(&user("alice", ""), &nobody).assert_refused(told, "wrong user or password");
}

/// An authenticator that does not know the password has nothing to show.
#[test]
fn an_authenticator_without_the_password_is_not_believed() {
    // It says that every proof is right, and guesses its own.
    let outcome = converse(&user("alice", "correct horse"), &users(), |number, packet| {
        if number == 2 {
            let text = String::from_utf8(packet[9..].to_vec()).unwrap();
            assert!(text.starts_with("S="));
            packet[11] = if packet[11] == b'0' { b'1' } else { b'0' };
        }
    });
    assert_eq!(outcome.peer.unwrap_err().detail, "the authenticator does not know the password");
}

/// CVE-2021-45079, CVE-2015-8023.
#[test]
fn a_success_before_the_method_has_ended_is_refused_wherever_it_comes() {
    for (credentials, authenticator) in all() {
        let whole = undisturbed(&credentials, &authenticator).packets.len();
        for place in (0..whole - 1).step_by(2) {
            let outcome = converse(&credentials, &authenticator, |number, packet| {
                if number == place {
                    *packet = Packet::Success { identifier: packet[1] }.encode();
                }
            });
            assert_eq!(outcome.peer.unwrap_err().reason, IkeReason::EapUnexpected, "packet {place} of {whole}");
            assert!(outcome.server.is_err());
        }
    }
}

#[test]
fn after_the_end_nothing_counts_any_more() {
    for (credentials, authenticator) in all() {
        let whole = undisturbed(&credentials, &authenticator).packets.len();
        let mut entropy = SeededEntropy::new(1);
        for end in [Packet::Failure { identifier: 0 }, Packet::Request { identifier: 0, kind: EapType(99), data: &[] }]
        {
            let (mut server, mut packet) =
                Server::begin(&authenticator, b"gw", NOW, &mut SeededEntropy::new(2)).unwrap();
            let mut peer = Peer::new(&credentials, NOW);
            for _ in 0..whole / 2 {
                let Ok(Reaction::Answer(answer)) = peer.handle(&packet, &mut entropy) else { panic!("{whole}") };
                packet = match server.handle(&answer, &mut entropy) {
                    Verdict::Ask(packet) | Verdict::Proven(packet, _) => packet,
                    Verdict::Refused(_, fault) => panic!("{fault:?}"),
                };
            }
            // The true Success comes after a Failure, or after something that does not belong here.
            assert!(peer.handle(&end.encode(), &mut entropy).is_err());
            let late = peer.handle(&packet, &mut entropy).unwrap_err();
            assert_eq!((late.reason, &*late.detail), (IkeReason::EapUnexpected, "an EAP packet after the end"));
            let again = Packet::Response { identifier: 0, kind: authenticator.kind(), data: &[3] }.encode();
            assert!(matches!(server.handle(&again, &mut entropy), Verdict::Refused(..)));
        }
    }
}

#[test]
fn another_method_within_a_method_is_refused() {
    for (credentials, authenticator) in all() {
        let other = EapType(if credentials.kind() == EapType::TLS { 26 } else { 13 });
        for place in [2, 3] {
            let outcome = converse(&credentials, &authenticator, |number, packet| {
                if number == place {
                    packet[4] = other.0;
                }
            });
            let fault = if place % 2 == 0 { outcome.peer } else { outcome.server }.unwrap_err();
            assert_eq!(fault.reason, IkeReason::EapUnexpected);
        }
    }
}

#[test]
fn a_method_that_only_one_side_does_ends_with_a_failure_on_both() {
    let (_, authenticator) = tls_pair(true);
    let outcome = undisturbed(&user("alice", "correct horse"), &authenticator);
    let nak = Packet::Response { identifier: outcome.packets[0][1], kind: EapType::NAK, data: &[26] };
    assert_eq!(outcome.packets[1], nak.encode());
    outcome.assert_refused(
        "the authenticator does not do the configured EAP method",
        "the peer does not do the configured EAP method",
    );
    // Asked twice, it says no more.
    let mut peer = Peer::new(&user("alice", "x"), NOW);
    let mut entropy = SeededEntropy::new(1);
    let asks = Packet::Request { identifier: 1, kind: EapType::TLS, data: &[0x20] }.encode();
    assert!(peer.handle(&asks, &mut entropy).is_ok());
    assert_eq!(peer.handle(&asks, &mut entropy).unwrap_err().reason, IkeReason::EapFailed);
}

#[test]
fn a_peer_that_wants_to_be_asked_is_asked() {
    let outcome = undisturbed(&user("alice", "correct horse"), &asked());
    outcome.assert_proven();
    let identifier = outcome.packets[0][1];
    let asks = Packet::Request { identifier, kind: EapType::IDENTITY, data: &[] };
    assert_eq!(outcome.packets[0], asks.encode());
    let says = Packet::Response { identifier, kind: EapType::IDENTITY, data: b"alice" };
    assert_eq!(outcome.packets[1], says.encode());
    // A proof in the place of the identity, and the identity in the place of a proof.
    for place in [1, 3] {
        let other = if place == 1 { EapType::MSCHAPV2 } else { EapType::IDENTITY };
        let outcome = converse(&user("alice", "correct horse"), &asked(), |number, packet| {
            if number == place {
                packet[4] = other.0;
            }
        });
        assert_eq!(outcome.server.unwrap_err().reason, IkeReason::EapUnexpected);
    }
}

#[test]
fn identity_and_notification_are_answered_and_endless_ones_are_not() {
    let (mut peer, mut entropy) = (Peer::new(&user("alice", "x"), NOW), SeededEntropy::new(1));
    let asks = |kind| Packet::Request { identifier: 3, kind, data: b"who\x1b[2J" }.encode();
    let Ok(Reaction::Answer(answer)) = peer.handle(&asks(EapType::IDENTITY), &mut entropy) else { panic!() };
    assert_eq!(answer, Packet::Response { identifier: 3, kind: EapType::IDENTITY, data: b"alice" }.encode());
    let count = (0..1000).take_while(|_| peer.handle(&asks(EapType::NOTIFICATION), &mut entropy).is_ok()).count();
    assert_eq!(count, 79);
    // Within a method nobody is asked who he is.
    let (mut peer, (_, packet)) =
        (Peer::new(&user("alice", "x"), NOW), Server::begin(&users(), b"gw", NOW, &mut SeededEntropy::new(2)).unwrap());
    assert!(peer.handle(&packet, &mut entropy).is_ok());
    assert!(peer.handle(&asks(EapType::NOTIFICATION), &mut entropy).is_ok());
    assert!(peer.handle(&asks(EapType::IDENTITY), &mut entropy).is_err());
}

/// The line below EAP delivers each packet once; somebody who repeats or reflects one gets nowhere.
#[test]
fn a_repeated_a_reflected_and_a_lost_packet_end_the_conversation() {
    for (credentials, authenticator) in all() {
        let whole = undisturbed(&credentials, &authenticator).packets;
        for place in 0..whole.len() {
            // In the place of each packet the one before it of the same side, then the one before it of the other side.
            for back in [1, 2] {
                let mut before: Vec<Vec<u8>> = Vec::new();
                let outcome = converse(&credentials, &authenticator, |number, packet| {
                    before.push(packet.clone());
                    if number == place && number >= back {
                        *packet = before[number - back].clone();
                    }
                });
                if place >= back {
                    assert!(outcome.peer.is_err() && (outcome.server.is_err() || place == whole.len() - 1), "{place}");
                }
            }
        }
    }
}

#[test]
fn a_changed_byte_never_gives_the_two_sides_different_keys() {
    for (credentials, authenticator) in all() {
        let whole = undisturbed(&credentials, &authenticator).packets;
        for (place, of_place) in whole.iter().enumerate() {
            // Certificates and keys differ from run to run; a sample of each packet is enough for those.
            for at in (0..of_place.len()).step_by(1 + of_place.len() / 40) {
                for mask in [0x01, 0x80, 0xff] {
                    let outcome = converse(&credentials, &authenticator, |number, packet| {
                        if number == place
                            && let Some(byte) = packet.get_mut(at)
                        {
                            *byte ^= mask;
                        }
                    });
                    if let (Ok(peer), Ok(server)) = (&outcome.peer, &outcome.server) {
                        assert_eq!(peer, server, "byte {at} of packet {place}");
                    }
                }
            }
            for end in (0..of_place.len()).step_by(1 + of_place.len() / 20) {
                let outcome = converse(&credentials, &authenticator, |number, packet| {
                    if number == place {
                        packet.truncate(end);
                    }
                });
                assert!(outcome.peer.is_err(), "{end} bytes of packet {place}");
            }
        }
    }
}

#[test]
fn a_certificate_that_is_not_what_it_has_to_be_is_refused_by_either_side() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let expired = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    let good = |_: &mut rcgen::CertificateParams| ();
    let server_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    for newest in [true, false] {
        let check = |client_has: Holder, server_has: Holder, peer: &str, server: &str| {
            let identity = client(client_has, &ours, SERVER);
            let identity = if newest { identity } else { identity.only_tls12() };
            let outcome = undisturbed(&tls(identity), &tls_server(server_has, &ours, CLIENT));
            let detail = |of: &Result<Vec<u8>, Fault>| of.as_ref().unwrap_err().detail.to_string();
            assert!(detail(&outcome.peer).contains(peer), "{:?} has no {peer:?}", outcome.peer);
            assert!(detail(&outcome.server).contains(server), "{:?} has no {server:?}", outcome.server);
        };
        let (client_is, server_is) = (|| ours.sign(CLIENT, good), || ours.sign(SERVER, good));
        check(other.sign(CLIENT, good), server_is(), "alert", "none of the configured authorities");
        check(Authority::new("ours").sign(CLIENT, good), server_is(), "alert", "is not valid");
        check(ours.sign(CLIENT, expired), server_is(), "alert", "has expired");
        check(ours.sign("c.example", good), server_is(), "alert", "does not bear the name");
        check(ours.sign(CLIENT, server_only), server_is(), "alert", "is not for this use");
        check(client_is(), other.sign(SERVER, good), "none of the configured authorities", "alert");
        check(client_is(), ours.sign(SERVER, expired), "has expired", "alert");
        check(client_is(), ours.sign("c.example", good), "does not bear the name", "alert");
    }
}

/// RFC 5216 §5.4 and RFC 9190 §5.4 ask for a look at revocation; it is one at lists that came with the configuration.
#[test]
fn a_certificate_that_was_taken_back_is_refused_by_either_side_and_silence_is_no_good_word() {
    let ours = Authority::new("ours");
    let numbered =
        |serial: u64| move |params: &mut rcgen::CertificateParams| params.serial_number = Some(serial.into());
    let other = Authority::new("another").revoke(&[], (2029, 1));
    for newest in [true, false] {
        let outcome = |for_client: Vec<_>, for_server: Vec<_>| {
            let [own, servers] = [(CLIENT, 7), (SERVER, 8)].map(|(name, serial)| ours.sign(name, numbered(serial)));
            let identity = client(own, &ours, SERVER).with_lists(for_client).unwrap();
            let identity = if newest { identity } else { identity.only_tls12() };
            let of_server =
                ServerIdentity::new(servers.chain, servers.key, vec![ours.certificate.clone()], CLIENT).unwrap();
            let of_server = Arc::new(of_server.with_lists(for_server).unwrap());
            undisturbed(&tls(identity), &Authenticator::Tls { identity: of_server, ask_identity: false })
        };
        let good = || vec![ours.revoke(&[66], (2029, 1))];
        outcome(good(), good()).assert_proven();
        for (lists, said) in [
            (vec![ours.revoke(&[7, 8], (2029, 1))], "is revoked"),
            (vec![other.clone()], "may be revoked"),
            (vec![ours.revoke(&[], (2026, 3))], "out of date"),
        ] {
            let by_client = outcome(lists.clone(), good()).peer.unwrap_err().detail.to_string();
            assert!(by_client.contains(said), "{by_client} has no {said:?}");
            let by_server = outcome(good(), lists).server.unwrap_err().detail.to_string();
            assert!(by_server.contains(said), "{by_server} has no {said:?}");
        }
    }
    let own = ours.sign(CLIENT, |_| ());
    let refused = client(own, &ours, SERVER).with_lists(vec![b"no list".to_vec().into()]);
    assert!(refused.unwrap_err().0.contains("no revocation list"));
}

#[test]
fn long_chains_travel_in_fragments() {
    let authority = Authority::new("ours");
    let long = |params: &mut rcgen::CertificateParams| {
        let extra = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5; 9_000]);
        params.custom_extensions.push(extra);
    };
    let credentials = tls(client(authority.sign(CLIENT, long), &authority, SERVER));
    let outcome = undisturbed(&credentials, &tls_server(authority.sign(SERVER, long), &authority, CLIENT));
    outcome.assert_proven();
    assert!(outcome.packets.len() > 36, "{} packets", outcome.packets.len());
    assert!(outcome.packets.iter().all(|packet| packet.len() <= 1_024 + 10));
    let endless = |params: &mut rcgen::CertificateParams| {
        let extra = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5; 40_000]);
        params.custom_extensions.push(extra);
    };
    let credentials = tls(client(authority.sign(CLIENT, endless), &authority, SERVER));
    let outcome = undisturbed(&credentials, &tls_server(authority.sign(SERVER, |_| ()), &authority, CLIENT));
    assert_eq!(outcome.server.unwrap_err().detail, "the TLS messages are too long");
}
