//! Seeds for the responder: conversations, as lists of things that happen.

use std::net::Ipv4Addr;

use portcullis::wire::ike::chain;
use portcullis::wire::ike::numbers::{Encr, Esn, PayloadType, ProtocolId};
use portcullis::wire::ike::payload::{Nonce, Payload, Proposal, Sa, Transform, Ts, TsRange};

use super::Seed;
use super::ike::{ike_inner_chain, ike_message};

const STRANGER: u8 = 0;
const DELIVER: u8 = 1;
const CHANGE: u8 = 2;
const CHANGE_INSIDE: u8 = 3;
const IN_PIECES: u8 = CHANGE_INSIDE | 32;
const FORGE: u8 = 4;
const FORGE_BACK: u8 = 5;
const ELAPSE: u8 = 6;
const AGAIN: u8 = 7;
const LOSE: u8 = 15;
/// Minutes after which keys are renewed and none is dead.
const GROWN_OLD: u8 = 62;
/// The chain stands there as it is, not as a list of payloads.
const VERBATIM: u8 = 8;

fn list(mode: u8, things: &[(u8, &[u8])]) -> Vec<u8> {
    featured(mode, 0, things)
}

/// The same with more than the least.
fn featured(mode: u8, features: u8, things: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![mode, features];
    for (what, with) in things {
        bytes.extend([*what, with.len() as u8]);
        bytes.extend_from_slice(with);
    }
    bytes
}

/// A request of the exchange 34 + `exchange` with a chain that another target starts from.
fn request(exchange: u8, name: &str) -> Vec<u8> {
    let chains = ike_inner_chain();
    let (_, chain) = chains.iter().find(|(seed, _)| *seed == name).expect("a seed of that name");
    [&[exchange, 0, 128], chain.as_slice()].concat()
}

/// The chain of a request for a child SA that is granted.
fn further_child() -> Vec<u8> {
    let transforms = vec![Transform::encr(Encr::AES_GCM_16, Some(256)), Transform::esn(Esn::YES)];
    let proposal = Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![0xc0, 0, 0, 9], transforms };
    let host = |side: u8| {
        let host = Ipv4Addr::new(10, side, 1, 1);
        Ts::ranges([TsRange::V4 { protocol: 0, start_port: 0, end_port: 65535, start: host, end: host }])
    };
    let (first, chain) = chain::encode(&[
        Payload::Sa(Sa { proposals: vec![proposal] }),
        Payload::Nonce(Nonce(vec![9; 32])),
        Payload::TsI(host(0)),
        Payload::TsR(host(1)),
    ]);
    [&[first.0], chain.as_slice()].concat()
}

pub(super) fn responder() -> Vec<Seed> {
    let messages = ike_message();
    let stranger = |name| -> &[u8] { &messages.iter().find(|(seed, _)| *seed == name).expect("a seed of that name").1 };
    let verbatim = FORGE | VERBATIM;
    let (liveness, delete_ike) = (request(3, "liveness"), request(3, "delete_ike"));
    let (child, rekey) = (request(2, "child_rekey"), request(2, "ike_rekey"));
    let (critical, children) = (request(3, "critical_unknown"), request(3, "delete_children"));
    // Each datagram by itself, first to B, then to A, with no change: a place to put one in.
    let one_by_one = [(CHANGE_INSIDE, &[][..]), (CHANGE_INSIDE | 8, &[])].repeat(5);
    // A child SA for the second pair of hosts, of the suite that is configured.
    let further = [&[2, 0, 128], further_child().as_slice()].concat();
    let unknown_notify = [3, 0, 128, PayloadType::NOTIFY.0, 4, 0, 0, 0x9c, 0x40];
    vec![
        ("handshake", list(0, &[(DELIVER, &[])])),
        // The two messages of IKE_SA_INIT are not sealed and come whole; then each of IKE_AUTH in pieces, some of them
        // twice, some forged.
        (
            "in_pieces",
            list(
                0,
                &[(IN_PIECES, &[]), (IN_PIECES | 8, &[]), (IN_PIECES, &[3, 0, 2, 2, 0]), (IN_PIECES | 8, &[1, 2, 1])],
            ),
        ),
        (
            "cut_anew",
            list(
                0,
                &[
                    (IN_PIECES, &[]),
                    (IN_PIECES | 8, &[]),
                    (IN_PIECES, &[1, 0, 0, 27, 1]),
                    (ELAPSE, &[12, 8]),
                    (DELIVER, &[]),
                ],
            ),
        ),
        ("handshake_with_cookie", list(1, &[(DELIVER, &[])])),
        ("handshake_encapsulated", list(2, &[(DELIVER, &[])])),
        (
            "strangers",
            list(
                1,
                &[
                    (STRANGER, stranger("sa_init_request")),
                    (STRANGER, stranger("version_1")),
                    (STRANGER, stranger("auth_gcm")),
                    (DELIVER, &[]),
                    (STRANGER | 8, stranger("informational")),
                ],
            ),
        ),
        (
            "changed_on_the_way",
            list(
                0,
                &[(CHANGE, &[60, 0, 255]), (ELAPSE, &[15, 20]), (CHANGE, &[]), (CHANGE, &[90, 0, 1]), (DELIVER, &[])],
            ),
        ),
        ("proofs", list(0, &one_by_one[..4])),
        // RFC 7296 §2.9: the responder takes less than it was offered, here fewer ports.
        ("narrowed", list(0, &[&one_by_one[..3], &[(CHANGE_INSIDE | 8, &[2, 3, 3, 99, 2, 4, 3, 99][..])]].concat())),
        ("one_by_one", list(0, &one_by_one)),
        ("child_with_key_exchange", list(8, &[(DELIVER, &[]), (verbatim, &child), (DELIVER, &[])])),
        ("suite_with_mac", list(4, &[(DELIVER, &[]), (ELAPSE, &[15, 30]), (DELIVER, &[])])),
        ("another_group_first", list(16, &[(DELIVER, &[])])),
        ("both_begin", list(32, &[(DELIVER, &[]), (ELAPSE, &[15, 6]), (DELIVER, &[])])),
        (
            "grown_old",
            list(0, &[(DELIVER, &[]), (ELAPSE, &[11, GROWN_OLD]), (DELIVER, &[]), (ELAPSE, &[1, 0]), (DELIVER, &[])]),
        ),
        (
            "asked_again",
            list(0, &[(DELIVER, &[]), (verbatim, &further), (AGAIN, &[]), (verbatim, &liveness), (AGAIN, &[])]),
        ),
        (
            "reloaded",
            list(0, &[(DELIVER, &[]), (ELAPSE, &[10, 0]), (DELIVER, &[]), (ELAPSE | 8, &[10, 8]), (DELIVER, &[])]),
        ),
        ("puzzle", list(129, &[(DELIVER, &[])])),
        ("ppk", featured(0, 1, &[(DELIVER, &[])])),
        ("eap", featured(0, 2, &[(DELIVER, &[])])),
        ("certificates", featured(0, 4, &[(DELIVER, &[])])),
        ("eap_and_certificate", featured(0, 7, &[(DELIVER, &[])])),
        ("eap_one_by_one", featured(0, 2, &one_by_one)),
        (
            "ml_kem",
            featured(8, 8, &[(DELIVER, &[]), (ELAPSE, &[13, 7]), (DELIVER, &[]), (ELAPSE, &[13, 3]), (DELIVER, &[])]),
        ),
        (
            "moved",
            featured(2, 16, &[(DELIVER, &[]), (ELAPSE, &[14, 1]), (DELIVER, &[]), (ELAPSE, &[14, 3]), (DELIVER, &[])]),
        ),
        ("inner_address", featured(0, 32, &[(DELIVER, &[]), (ELAPSE, &[13, 7]), (DELIVER, &[])])),
        ("childless", featured(8, 64, &[(DELIVER, &[]), (ELAPSE, &[12, 8]), (DELIVER, &[])])),
        ("lanes", featured(0, 128, &[(DELIVER, &[]), (ELAPSE, &[12, 8]), (DELIVER, &[])])),
        (
            "both_rekey",
            list(
                0,
                &[
                    (DELIVER, &[]),
                    (ELAPSE, &[13, 7]),
                    (ELAPSE | 8, &[13, 7]),
                    (CHANGE, &[]),
                    (CHANGE_INSIDE | 8, &[]),
                    (DELIVER, &[]),
                    (AGAIN, &[]),
                ],
            ),
        ),
        ("changed_inside", list(0, &[(CHANGE, &[]), (DELIVER, &[]), (AGAIN, &[])])),
        ("other_selectors", list(0, &[(CHANGE, &[]), (CHANGE_INSIDE, &[200, 0, 10, 201, 0, 20]), (DELIVER, &[])])),
        (
            "forged_requests",
            list(
                0,
                &[
                    (DELIVER, &[]),
                    (verbatim, &liveness),
                    (FORGE, &unknown_notify),
                    (verbatim, &child),
                    (verbatim, &rekey),
                    (verbatim, &critical),
                    (verbatim, &children),
                    (FORGE_BACK | VERBATIM, &liveness),
                    (verbatim, &delete_ike),
                    (DELIVER, &[]),
                ],
            ),
        ),
        (
            "time_and_events",
            list(
                0,
                &[
                    (DELIVER, &[]),
                    (ELAPSE, &[1, 0]),
                    (ELAPSE | 8, &[5, 0]),
                    (ELAPSE | 8, &[0, 1]),
                    (DELIVER, &[]),
                    (ELAPSE, &[15, 30]),
                    (LOSE, &[]),
                    (ELAPSE, &[15, 255]),
                    (ELAPSE, &[15, 255]),
                    (DELIVER, &[]),
                    (ELAPSE, &[7, 1]),
                    (ELAPSE, &[6, 1]),
                    (DELIVER, &[]),
                    (ELAPSE | 8, &[8, 0]),
                    (DELIVER, &[]),
                ],
            ),
        ),
    ]
}
