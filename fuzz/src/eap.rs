//! Both sides of EAP (RFC 3748) and a line between them: packets are delivered, changed on the way, said twice, or made up.
//! Whatever happens, nobody is believed who does not know the password, and both sides have the same key or none.
//!
//! EAP-MSCHAPv2, and EAP-TLS with a certificate on both sides, which may bear another name than the other side asks for, be not
//! valid yet, or be covered by no revocation list although there are some; or without certificates, so that it never begins. TLS
//! has randomness of its own: what differs from run to run are bytes, not the course of an honest conversation.

use std::sync::{Arc, LazyLock};

use portcullis::entropy::SeededEntropy;
use portcullis::ike::eap::mschapv2::Users;
use portcullis::ike::eap::tls::{ClientIdentity, ServerIdentity};
use portcullis::ike::eap::{Authenticator, Credentials, Fault, Msk, Peer, Reaction, Server, Verdict};
use portcullis::secret::Secret;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::steps::{self, List};

/// Things of one input.
const MAX_STEPS: usize = 64;
/// How an input is laid out: the mode, then the steps.
pub const LIST: List = List { prefix: 1, most: MAX_STEPS };
/// Packets that an honest conversation never reaches.
const MOST_PACKETS: usize = 256;

/// 2030, for certificates.
const NOW: u64 = 1_893_456_000;
/// 2020.
const TOO_EARLY_NOW: u64 = 1_577_836_800;

/// What a step does.
pub(super) const DELIVER: u8 = 0;
pub(super) const CHANGE: u8 = 1;
pub(super) const TO_PEER: u8 = 2;
pub(super) const TO_SERVER: u8 = 3;
pub(super) const AGAIN: u8 = 4;
pub(super) const LOSE: u8 = 5;
/// The bits of the mode.
pub(super) const ASKED: u8 = 1;
pub(super) const WRONG_PASSWORD: u8 = 2;
pub(super) const UNKNOWN_USER: u8 = 4;
pub(super) const TLS: u8 = 8;
/// Both sides of TLS have a certificate. What was wrong with the password is wrong with them: the server asks for another name
/// than the client has, or the client for another than the server has.
pub(super) const CERTIFIED: u8 = 16;
/// It is a year in which the certificates are not valid yet.
pub(super) const TOO_EARLY: u8 = 32;
/// Both sides have a list of what an authority has revoked, which is not the other side's authority.
pub(super) const LISTED: u8 = 64;

/// The two sides of EAP-TLS: which name the client asks of the server, and the server of the client, and whether there are lists.
fn identities(wrong: [bool; 2], listed: bool) -> (Arc<ClientIdentity>, Arc<ServerIdentity>) {
    static ALL: LazyLock<Vec<(Arc<ClientIdentity>, Arc<ServerIdentity>)>> = LazyLock::new(|| {
        let chain = |der: &'static [u8]| vec![CertificateDer::from_slice(der)];
        let key = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).expect("a fixture");
        let authority = || chain(include_bytes!("../fixtures/end_authority.der"));
        let lists = |listed: bool| {
            let list = CertificateRevocationListDer::from(include_bytes!("../fixtures/crl.der").to_vec());
            if listed { vec![list] } else { Vec::new() }
        };
        (0..8_u8)
            .map(|which| {
                let name = |bit: u8, right| if which & bit == 0 { right } else { "other.example" };
                let own =
                    (chain(include_bytes!("../fixtures/end_a.der")), key(include_bytes!("../fixtures/end_a.key")));
                let client = ClientIdentity::new(own.0, own.1, authority(), name(1, "b.example"));
                let own =
                    (chain(include_bytes!("../fixtures/end_b.der")), key(include_bytes!("../fixtures/end_b.key")));
                let server = ServerIdentity::new(own.0, own.1, authority(), name(2, "a.example"));
                let lists = lists(which & 4 != 0);
                let client = client.and_then(|client| client.with_lists(lists.clone())).expect("they belong together");
                let server = server.and_then(|server| server.with_lists(lists)).expect("they belong together");
                (Arc::new(client), Arc::new(server))
            })
            .collect()
    });
    ALL[usize::from(wrong[0]) + 2 * usize::from(wrong[1]) + 4 * usize::from(listed)].clone()
}

/// What a side has come to.
#[derive(Default)]
struct Side {
    proven: Option<Msk>,
    /// It has said that it is over.
    spent: bool,
}

struct Line {
    peer: Peer,
    server: Server,
    entropy: SeededEntropy,
    /// The packet under way, and whether it goes to the peer.
    under_way: Option<(bool, Vec<u8>)>,
    last: Option<(bool, Vec<u8>)>,
    at_peer: Side,
    at_server: Side,
    packets: usize,
}

/// Reads `data` as the mode and a list of steps.
pub fn conversation(data: &[u8]) {
    let _ = run(data);
}

/// Like [`conversation`]; whether the peer and the server are content.
#[must_use]
pub fn run(data: &[u8]) -> [bool; 2] {
    let Some((&mode, mut rest)) = data.split_first() else { return [false; 2] };
    let mut line = Line::new(mode);
    for (what, bytes) in std::iter::from_fn(|| steps::next(&mut rest)).take(MAX_STEPS) {
        line.step(what, bytes);
        line.check(mode);
    }
    [line.at_peer.proven.is_some(), line.at_server.proven.is_some()]
}

impl Line {
    fn new(mode: u8) -> Self {
        let mut users = Users::default();
        users.add("broker", "correct horse battery staple");
        let password: &[u8] =
            if mode & WRONG_PASSWORD == 0 { b"correct horse battery staple" } else { b"another password" };
        let user = if mode & UNKNOWN_USER == 0 { "broker" } else { "nobody" };
        let ask_identity = mode & ASKED != 0;
        let now = if mode & TOO_EARLY == 0 { NOW } else { TOO_EARLY_NOW };
        let (credentials, authenticator) = if mode & CERTIFIED != 0 {
            let wrong = [UNKNOWN_USER, WRONG_PASSWORD].map(|bit| mode & bit != 0);
            let (client, server) = identities(wrong, mode & LISTED != 0);
            (
                Credentials::Tls { user: user.into(), identity: client },
                Authenticator::Tls { identity: server, ask_identity },
            )
        } else if mode & TLS == 0 {
            (
                Credentials::MschapV2 { user: user.into(), password: Arc::new(Secret::copy_of(password)) },
                Authenticator::MschapV2 { users: Arc::new(users), ask_identity },
            )
        } else {
            (
                Credentials::Tls { user: user.into(), identity: Arc::new(ClientIdentity::unread()) },
                // Its first packet is the server's start; a server without files never begins, so the identity is asked.
                Authenticator::Tls { identity: Arc::new(ServerIdentity::unread()), ask_identity: true },
            )
        };
        let mut entropy = SeededEntropy::new(7);
        let (server, first) =
            Server::begin(&authenticator, b"gw.example", now, &mut entropy).expect("a conversation begins");
        Self {
            peer: Peer::new(&credentials, now),
            server,
            entropy,
            under_way: Some((true, first)),
            last: None,
            at_peer: Side::default(),
            at_server: Side::default(),
            packets: 0,
        }
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what & 7 {
            DELIVER => {
                if let Some((to_peer, packet)) = self.under_way.take() {
                    self.give(to_peer, &packet);
                }
            }
            CHANGE => {
                if let Some((to_peer, mut packet)) = self.under_way.take() {
                    change(&mut packet, bytes);
                    self.give(to_peer, &packet);
                }
            }
            TO_PEER => self.give(true, bytes),
            TO_SERVER => self.give(false, bytes),
            AGAIN => {
                if let Some((to_peer, packet)) = self.last.clone() {
                    self.give(to_peer, &packet);
                }
            }
            LOSE => self.under_way = None,
            _ => {}
        }
    }

    fn give(&mut self, to_peer: bool, packet: &[u8]) {
        self.packets += 1;
        assert!(self.packets < MOST_PACKETS);
        self.last = Some((to_peer, packet.to_vec()));
        if to_peer {
            match self.peer.handle(packet, &mut self.entropy) {
                Ok(Reaction::Answer(answer)) => {
                    assert!(!self.at_peer.spent, "an answer after the end");
                    well_formed(&answer, &[2]);
                    self.under_way = Some((false, answer));
                }
                Ok(Reaction::Proven(msk)) => {
                    assert!(!self.at_peer.spent, "a proof after the end");
                    self.at_peer = Side { proven: Some(msk), spent: true };
                }
                Err(fault) => {
                    told(&fault);
                    self.at_peer.spent = true;
                }
            }
        } else {
            match self.server.handle(packet, &mut self.entropy) {
                Verdict::Ask(request) => {
                    assert!(!self.at_server.spent, "a request after the end");
                    well_formed(&request, &[1]);
                    self.under_way = Some((true, request));
                }
                Verdict::Proven(success, msk) => {
                    assert!(!self.at_server.spent, "a proof after the end");
                    well_formed(&success, &[3]);
                    self.under_way = Some((true, success));
                    self.at_server = Side { proven: Some(msk), spent: true };
                }
                Verdict::Refused(failure, fault) => {
                    told(&fault);
                    well_formed(&failure, &[4]);
                    self.under_way = Some((true, failure));
                    self.at_server.spent = true;
                }
            }
        }
    }

    fn check(&self, mode: u8) {
        let [peer, server] = [&self.at_peer, &self.at_server].map(|side| side.proven.as_ref());
        let nobody_is = match mode & (CERTIFIED | TLS) {
            0 => WRONG_PASSWORD | UNKNOWN_USER,
            TLS => TLS,
            _ => WRONG_PASSWORD | UNKNOWN_USER | TOO_EARLY | LISTED,
        };
        if mode & nobody_is != 0 {
            assert!(peer.is_none() && server.is_none(), "a proof without the password");
        }
        if let (Some(peer), Some(server)) = (peer, server) {
            assert!(peer.secret().expose() == server.secret().expose(), "two keys");
        }
    }
}

/// RFC 3748 §4: code, identifier, length of all of it.
fn well_formed(packet: &[u8], codes: &[u8]) {
    let [code, _, high, low] = *packet.first_chunk().expect("a packet has four bytes");
    assert!(codes.contains(&code), "a packet of a side that does not send it");
    assert_eq!(usize::from(u16::from_be_bytes([high, low])), packet.len());
}

/// A fault is told in words of ours.
fn told(fault: &Fault) {
    assert!(!fault.detail.is_empty() && fault.detail.is_ascii() && !fault.detail.chars().any(char::is_control));
}

/// `edits` are (place, what): a byte set, or the packet cut off there.
fn change(packet: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(2) {
        let place = usize::from(edit[0]);
        if place == 255 {
            packet.truncate(usize::from(edit[1]));
        } else if let Some(byte) = packet.get_mut(place) {
            *byte = edit[1];
        }
    }
}
