//! Seeds for the responder: conversations, as lists of things that happen.

use portcullis::wire::ike::numbers::PayloadType;

use super::Seed;
use super::ike::{ike_inner_chain, ike_message};

const STRANGER: u8 = 0;
const DELIVER: u8 = 1;
const CHANGE: u8 = 2;
const CHANGE_INSIDE: u8 = 3;
const FORGE: u8 = 4;
const FORGE_BACK: u8 = 5;
const ELAPSE: u8 = 6;
const AGAIN: u8 = 7;
const LOSE: u8 = 15;
/// The chain stands there as it is, not as a list of payloads.
const VERBATIM: u8 = 8;

fn list(mode: u8, things: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![mode];
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

pub(super) fn responder() -> Vec<Seed> {
    let messages = ike_message();
    let stranger = |name| -> &[u8] { &messages.iter().find(|(seed, _)| *seed == name).expect("a seed of that name").1 };
    let verbatim = FORGE | VERBATIM;
    let (liveness, delete_ike) = (request(3, "liveness"), request(3, "delete_ike"));
    let (child, rekey) = (request(2, "child_rekey"), request(2, "ike_rekey"));
    let (critical, children) = (request(3, "critical_unknown"), request(3, "delete_children"));
    let unknown_notify = [3, 0, 128, PayloadType::NOTIFY.0, 4, 0, 0, 0x9c, 0x40];
    vec![
        ("handshake", list(0, &[(DELIVER, &[])])),
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
