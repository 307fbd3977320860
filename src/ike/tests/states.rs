//! The wrong-state table: each state x exchange x I flag x R flag x message ID x protection. The expected column was written by
//! hand from the RFCs, as rules with their sections; there is no deviation.
//!
//! Beside `table`, which knows fewer states but checks the one reason for each refusal.

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{Additional, EspSuite, Group, IkeSuite};
use crate::event::Event;
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::config::{LocalAuth, PeerAuth};
use crate::ike::eap::mschapv2::Users;
use crate::ike::eap::{Authenticator, Credentials};
use crate::ike::endpoint::probe::{Phase, SaProbe};
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::sim::hostile::Sealer;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::numbers::{ExchangeType, PayloadType};
use crate::wire::ike::sealed::FragmentNumber;

/// A state to be in; two of them are one state at different points of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    InitRequested,
    IntermediateRequested,
    /// The suite has a further key exchange.
    InitAnsweredBeforeIntermediate,
    InitAnswered,
    AuthRequested,
    EapRequested,
    EapAnswered,
    Idle,
    ChildCreate,
    ChildRekey,
    IkeRekey,
    /// Our rekeying of a child SA waits for its second key exchange.
    Followup,
    /// The peer's does.
    FollowupAnswered,
    DeleteChild,
    Liveness,
    Spare,
    Closing,
    Refused,
}

const STATES: [At; 18] = [
    At::InitRequested,
    At::IntermediateRequested,
    At::InitAnsweredBeforeIntermediate,
    At::InitAnswered,
    At::AuthRequested,
    At::EapRequested,
    At::EapAnswered,
    At::Idle,
    At::ChildCreate,
    At::ChildRekey,
    At::IkeRekey,
    At::Followup,
    At::FollowupAnswered,
    At::DeleteChild,
    At::Liveness,
    At::Spare,
    At::Closing,
    At::Refused,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Clear,
    Sk,
    /// The first of two fragments (RFC 7383 §2.5).
    Skf,
    /// One bit of the checksum is wrong.
    Forged,
}

/// How a message ID stands to the next request of the peer, or to our own request for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    OneLess,
    Same,
    OneMore,
    Zero,
    Last,
}

/// What a message may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    /// It is processed.
    Taken,
    /// It is a piece that is kept until the others are there.
    Kept,
    /// The last answer goes out again, and nothing changes.
    Again,
    /// Nothing changes, and nothing is said.
    Silence,
}

/// What the RFCs know of a state: which requests are legal, which exchange of ours waits for its response, and whether the
/// peer's last request was one whose answer may go out again under protection.
fn known(state: At) -> (&'static [ExchangeType], Option<ExchangeType>, bool) {
    use ExchangeType as Of;
    // RFC 9370 §2.2.4: IKE_FOLLOWUP_KE belongs to CREATE_CHILD_SA; without one it is answered with STATE_NOT_FOUND.
    const IN_USE: &[ExchangeType] = &[Of::CREATE_CHILD_SA, Of::INFORMATIONAL, Of::IKE_FOLLOWUP_KE];
    match state {
        // RFC 7296 §1.2: the responder asks nothing before it has authenticated.
        At::InitRequested => (&[], Some(Of::IKE_SA_INIT), false),
        // RFC 9242 §3.1: IKE_INTERMEDIATE comes after IKE_SA_INIT and before IKE_AUTH.
        At::IntermediateRequested => (&[], Some(Of::IKE_INTERMEDIATE), false),
        At::InitAnsweredBeforeIntermediate => (&[Of::IKE_INTERMEDIATE], None, false),
        At::InitAnswered => (&[Of::IKE_AUTH], None, false),
        At::AuthRequested | At::EapRequested => (&[], Some(Of::IKE_AUTH), false),
        // RFC 7296 §2.16: further rounds of the same exchange.
        // §2.21.2: an initiator that does not believe the responder says so "in a separate INFORMATIONAL exchange".
        At::EapAnswered => (&[Of::IKE_AUTH, Of::INFORMATIONAL], None, true),
        // §1.3, §1.4: after the initial exchanges these two alone.
        At::Idle | At::FollowupAnswered => (IN_USE, None, true),
        // RFC 9370 §2.2.4: one after the other, in the exchange that follows.
        At::Followup => (IN_USE, Some(Of::IKE_FOLLOWUP_KE), true),
        At::ChildCreate | At::ChildRekey | At::IkeRekey => (IN_USE, Some(Of::CREATE_CHILD_SA), true),
        At::DeleteChild | At::Liveness | At::Closing => (IN_USE, Some(Of::INFORMATIONAL), true),
        // §2.18: message IDs of the new IKE SA begin at zero.
        At::Spare => (IN_USE, None, false),
        // §2.21.2: the answer to a failed IKE_AUTH is repeated, and that is all.
        At::Refused => (&[], None, true),
    }
}

/// The expected column.
fn expected(
    state: At,
    exchange: ExchangeType,
    role_fits: bool,
    response: bool,
    id: u32,
    cover: Cover,
    ids: Ids,
) -> Reaction {
    let (legal, awaited, repeats) = known(state);
    // RFC 7296 §3.1: the I flag tells which SPI is whose. With the wrong one there is no such IKE SA, or it is our own message.
    if !role_fits {
        return Reaction::Silence;
    }
    // §2.21.1, §2.21.4, §3.14: after IKE_SA_INIT everything is protected. An answer to IKE_SA_INIT without payloads ends nothing.
    if cover == Cover::Clear || state == At::InitRequested {
        return Reaction::Silence;
    }
    // §2.21, §3.14: what fails its check is no message of the peer, not even one that comes again.
    if cover == Cover::Forged {
        return Reaction::Silence;
    }
    if response {
        // §2.1, §2.3: only a response to the request that waits counts, and only once.
        if awaited != Some(exchange) || ids.awaited != Some(id) {
            return Reaction::Silence;
        }
    } else if id == u32::MAX {
        // §2.2: IDs never wrap; the last one is not used.
        return Reaction::Silence;
    } else if repeats && id.checked_add(1) == Some(ids.expected) {
        // §2.1: the response to a repeated request is the same once more. RFC 7383 §2.6.1: for fragments, the first asks for it.
        return Reaction::Again;
    } else if id != ids.expected || !legal.contains(&exchange) {
        // §2.3: a window of one; §2.21.3: what is not legal in a state is not processed.
        return Reaction::Silence;
    }
    if cover == Cover::Skf { Reaction::Kept } else { Reaction::Taken }
}

/// The numbers of a state.
#[derive(Clone, Copy, Debug)]
struct Ids {
    expected: u32,
    awaited: Option<u32>,
    next: u32,
}

fn quantum() -> Vec<IkeSuite> {
    vec![IkeSuite { additional: Additional::one(Group::MlKem768), ..X25519 }]
}

/// Until the second key exchange of a rekeying is asked for, which is not delivered to `to`.
fn follow(pair: &mut Pair, to: usize) {
    let asked = |datagram: &Datagram| datagram.to == to && datagram.header().exchange == ExchangeType::IKE_FOLLOWUP_KE;
    while !pair.line.iter().any(asked) {
        assert!(pair.step(pair.now + Duration::from_secs(1)), "nothing follows");
    }
    pair.line.clear();
}

fn until(pair: &mut Pair, side: usize, phase: Phase) {
    for _ in 0..10_000 {
        if pair.sides[side].endpoint.probe().iter().any(|sa| sa.phase == phase) {
            pair.line.clear();
            return;
        }
        let next = pair.now + Duration::from_secs(1);
        pair.step(next);
    }
    panic!("{phase:?} is never reached");
}

/// A pair in which the returned side has an IKE SA in the state.
fn at(state: At) -> (Pair, usize, Phase) {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    b.liveness = Duration::from_secs(3);
    match state {
        At::IntermediateRequested | At::InitAnsweredBeforeIntermediate => (a.ike, b.ike) = (quantum(), quantum()),
        At::EapRequested | At::EapAnswered => {
            let mut users = Users::default();
            users.add("alice", "password");
            let password = Arc::new(Secret::copy_of(b"password"));
            a.local_auth = LocalAuth::Eap(Credentials::MschapV2 { user: "alice".to_owned(), password });
            b.peer_auth = PeerAuth::Eap(Authenticator::MschapV2 { users: Arc::new(users), ask_identity: false });
        }
        At::ChildCreate => b.children.push(child(B, 1)),
        At::Followup | At::FollowupAnswered => {
            let both = EspSuite { additional: Additional::one(Group::MlKem768), ..ESP };
            (a.esp, b.esp) = (vec![both], vec![both]);
        }
        At::Refused => set_psk(&mut b, &[b"another key, which is just as long as it"]),
        _ => {}
    }
    let mut pair = Pair::new(a, b);
    let at_the_start = [
        At::InitRequested,
        At::IntermediateRequested,
        At::InitAnsweredBeforeIntermediate,
        At::InitAnswered,
        At::AuthRequested,
        At::EapRequested,
        At::EapAnswered,
        At::Liveness,
        At::Refused,
    ];
    if !at_the_start.contains(&state) {
        pair.run_secs(1);
    }
    let (side, phase) = match state {
        At::InitRequested => (A, Phase::InitRequested),
        At::IntermediateRequested => (A, Phase::IntermediateRequested),
        At::InitAnsweredBeforeIntermediate | At::InitAnswered => (B, Phase::InitAnswered),
        At::AuthRequested => (A, Phase::AuthRequested),
        At::EapRequested => (A, Phase::EapRequested),
        At::EapAnswered => (B, Phase::EapAnswered),
        At::Idle => (B, Phase::Idle),
        At::ChildCreate => {
            pair.input(B, Input::Sad(SadEvent::Acquire { tunnel: TUNNEL, shape: ShapeId(1) }));
            (B, Phase::ChildCreate)
        }
        At::ChildRekey => {
            pair.rekey(B, true, false);
            (B, Phase::ChildRekey)
        }
        At::IkeRekey => {
            pair.rekey(B, false, true);
            (B, Phase::IkeRekey)
        }
        At::Followup => {
            pair.rekey(B, true, false);
            follow(&mut pair, A);
            (B, Phase::ChildRekey)
        }
        At::FollowupAnswered => {
            pair.rekey(A, true, false);
            follow(&mut pair, B);
            (B, Phase::Idle)
        }
        At::DeleteChild => {
            let inbound: Spi = *pair.sides[B].inbound.keys().next().expect("a child SA");
            pair.sides[B].endpoint.delete_child(inbound);
            pair.input(B, Input::Timeout);
            (B, Phase::DeleteChild)
        }
        At::Liveness => (B, Phase::Liveness),
        At::Spare => {
            pair.rekey(A, false, true);
            pair.rekey(B, false, true);
            let of_a = pair.take(B);
            pair.deliver(&of_a);
            (B, Phase::Spare)
        }
        At::Closing => {
            pair.input(B, Input::Down(TUNNEL));
            (B, Phase::Closing)
        }
        At::Refused => (B, Phase::Refused),
    };
    until(&mut pair, side, phase);
    pair.input(side, Input::Timeout);
    pair.line.clear();
    (pair, side, phase)
}

fn victim(pair: &Pair, side: usize, phase: Phase) -> SaProbe {
    pair.sides[side].endpoint.probe().into_iter().find(|sa| sa.phase == phase).expect("it is in this state")
}

/// Everything that must not change.
fn picture(pair: &Pair, side: usize) -> String {
    let of = &pair.sides[side];
    let spis: Vec<_> = of.inbound.keys().chain(of.outbound.keys()).collect();
    let loud = of.events.iter().filter(|event| !matches!(event, Event::IkeRefused { .. })).count();
    format!("{:?} {spis:?} {loud} {} {:?}", of.endpoint.probe(), of.endpoint.half_open(), of.redirects)
}

fn message(pair: &Pair, side: usize, sa: &SaProbe, header: &Header, cover: Cover, iv: u64) -> Vec<u8> {
    let spis = sa.spis.map(|spi| format!("{spi:016x}")).join(",");
    let line = pair.sides[side].key_log.iter().rev().find(|line| line.starts_with(&spis));
    let fragment = (cover == Cover::Skf).then_some(FragmentNumber { number: 1, total: 2 });
    let sealer = line.and_then(|line| Sealer::from_line(line, !sa.initiator));
    match (cover, sealer) {
        (Cover::Sk | Cover::Skf | Cover::Forged, Some(sealer)) => {
            let mut bytes = sealer.seal(header, (PayloadType::NONE, &[]), fragment, iv).expect("it is short");
            if cover == Cover::Forged {
                *bytes.last_mut().expect("it has a checksum") ^= 1;
            }
            bytes
        }
        // Before IKE_SA_INIT has been answered there is no key to seal with.
        _ => Header { length: 28, ..*header }.encode().to_vec(),
    }
}

#[test]
fn no_state_deviates_from_the_table() {
    let exchanges = [
        ExchangeType::IKE_SA_INIT,
        ExchangeType::IKE_AUTH,
        ExchangeType::CREATE_CHILD_SA,
        ExchangeType::INFORMATIONAL,
        ExchangeType::IKE_INTERMEDIATE,
        ExchangeType::IKE_FOLLOWUP_KE,
        ExchangeType(240),
    ];
    let (mut cells, mut taken, mut iv) = (0, 0, 0);
    let mut deviations = Vec::new();
    for state in STATES {
        let (mut pair, mut side, mut phase) = at(state);
        for exchange in exchanges {
            for role_fits in [true, false] {
                for response in [false, true] {
                    for id in [Id::OneLess, Id::Same, Id::OneMore, Id::Zero, Id::Last] {
                        for cover in [Cover::Clear, Cover::Sk, Cover::Skf, Cover::Forged] {
                            let name =
                                format!("{state:?} {exchange:?} role {role_fits} response {response} {id:?} {cover:?}");
                            (cells, iv) = (cells + 1, iv + 1);
                            let sa = victim(&pair, side, phase);
                            let waits = known(state).1.is_some();
                            let ids = Ids {
                                expected: sa.next[1],
                                next: sa.next[0],
                                awaited: waits.then(|| sa.next[0].saturating_sub(1)),
                            };
                            let base = if response { ids.awaited.unwrap_or(ids.next) } else { ids.expected };
                            let number = match id {
                                Id::OneLess => base.wrapping_sub(1),
                                Id::Same => base,
                                Id::OneMore => base + 1,
                                Id::Zero => 0,
                                Id::Last => u32::MAX,
                            };
                            let header = Header {
                                initiator_spi: sa.spis[0],
                                responder_spi: if sa.spis[1] == 0 { 77 } else { sa.spis[1] },
                                next_payload: PayloadType::NONE,
                                major: 2,
                                minor: 0,
                                exchange,
                                flags: Flags { initiator: role_fits != sa.initiator, version: false, response },
                                message_id: number,
                                length: 0,
                            };
                            let bytes = message(&pair, side, &sa, &header, cover, iv);
                            let before = picture(&pair, side);
                            let (sent, refused) = (pair.sides[side].sent, refusals(&pair, side));
                            let [local, remote] = sa.path;
                            pair.input(side, Input::Datagram { local, remote, bytes: &bytes });
                            let said = pair.sides[side].sent - sent;
                            let counted = refusals(&pair, side) - refused;
                            let changed = picture(&pair, side) != before;
                            let seen = match (changed || (said > 0 && counted == 0), said, counted) {
                                (true, ..) => Reaction::Taken,
                                (false, 1, 1) => Reaction::Again,
                                (false, 0, 1) => Reaction::Silence,
                                (false, 0, 0) => Reaction::Kept,
                                (false, said, counted) => panic!("{name}: {said} answers, {counted} refusals"),
                            };
                            let wanted = expected(state, exchange, role_fits, response, number, cover, ids);
                            if seen != wanted {
                                deviations
                                    .push(format!("{name} ({number} of {ids:?}): {wanted:?} expected, {seen:?} seen"));
                            }
                            if matches!(seen, Reaction::Taken | Reaction::Kept) {
                                taken += 1;
                                (pair, side, phase) = at(state);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(deviations.is_empty(), "{} of {cells} deviate:\n{}", deviations.len(), deviations.join("\n"));
    assert_eq!(cells, 18 * 7 * 2 * 2 * 5 * 4);
    assert!(taken > 40, "{taken} of the cells are legal");
}

fn refusals(pair: &Pair, side: usize) -> u64 {
    pair.sides[side].endpoint.refused().map(|(_, count)| count).sum()
}
