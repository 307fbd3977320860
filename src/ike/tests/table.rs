//! Each state against each message: exchange, flags, message ID, protection. What is not legal changes nothing and has
//! one named reason (RFC 7296 §2.2, §3.1).

use std::time::Duration;

use super::pair::*;
use crate::event::{Event, IkeReason};
use crate::ike::api::Input;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    InitAnswered,
    AuthRequested,
    Established,
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Sealed,
    Broken,
    Clear,
    WrongRole,
    WrongSpi,
}

/// A pair in which the returned side is in the state, and the other one holds the keys.
fn at(state: At) -> (Pair, usize) {
    let mut pair = Pair::new(tunnel(A), tunnel(B));
    let steps = |pair: &mut Pair, count: usize| {
        while pair.trace.len() < count {
            pair.step(pair.now + Duration::from_secs(1));
        }
    };
    let victim = match state {
        At::InitAnswered => {
            steps(&mut pair, 3);
            B
        }
        At::AuthRequested => {
            steps(&mut pair, 3);
            A
        }
        At::Established => {
            pair.run_secs(1);
            B
        }
        At::Closing => {
            pair.run_secs(1);
            pair.input(B, Input::Down(TUNNEL));
            B
        }
    };
    pair.line.clear();
    (pair, victim)
}

/// Everything that must not change.
fn picture(pair: &Pair, side: usize) -> String {
    let of = &pair.sides[side];
    let mut status = pair.status(side);
    status.why = None;
    let spis: Vec<_> = of.inbound.keys().chain(of.outbound.keys()).collect();
    let loud = of.events.iter().filter(|event| !matches!(event, Event::IkeRefused { .. })).count();
    format!("{status:?} {spis:?} {loud} {} {:?}", of.endpoint.half_open(), of.redirects)
}

/// What the RFC lets happen: `None` if the message is legal, else the one reason for which it is not.
fn expected(state: At, exchange: ExchangeType, response: bool, offset: i32, cover: Cover) -> Option<IkeReason> {
    let in_use = [ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL].contains(&exchange);
    match cover {
        Cover::WrongSpi => return Some(IkeReason::UnknownIkeSpi),
        // §3.1: the I flag tells which SPI is whose; with the wrong one the message has no IKE SA, or is our own.
        Cover::WrongRole => return Some(IkeReason::Reflected),
        Cover::Sealed | Cover::Broken | Cover::Clear => {}
    }
    // What the window says (§2.3).
    if response {
        let (awaited, of) = match state {
            At::AuthRequested => (true, ExchangeType::IKE_AUTH),
            At::Closing => (true, ExchangeType::INFORMATIONAL),
            At::InitAnswered | At::Established => (false, exchange),
        };
        match offset {
            0 if !awaited => return Some(IkeReason::OutsideWindow),
            0 if exchange != of => return Some(IkeReason::UnexpectedExchange),
            0 => {}
            // Before the first request of its own nothing was answered to the original responder.
            -1 if state == At::AuthRequested => return Some(IkeReason::RepeatedResponse),
            _ => return Some(IkeReason::OutsideWindow),
        }
    } else {
        let legal = match state {
            At::InitAnswered => exchange == ExchangeType::IKE_AUTH,
            At::AuthRequested => false,
            At::Established | At::Closing => in_use,
        };
        match offset {
            0 if !legal => return Some(IkeReason::UnexpectedExchange),
            0 => {}
            // §2.1: the last request again gets the last answer again; the initiator has answered nothing yet.
            -1 if state != At::AuthRequested => {}
            _ => return Some(IkeReason::OutsideWindow),
        }
    }
    match (cover, response, offset, state) {
        (Cover::Broken, ..) => Some(IkeReason::IntegrityFailed),
        (Cover::Clear, ..) => Some(IkeReason::NotProtected),
        // A repeated IKE_SA_INIT is never sealed.
        (_, false, -1, At::InitAnswered) => Some(IkeReason::UnexpectedExchange),
        (_, false, -1, _) => Some(IkeReason::Retransmitted),
        _ => None,
    }
}

#[test]
fn what_is_not_legal_changes_nothing_and_has_one_reason() {
    let exchanges = [
        ExchangeType::IKE_SA_INIT,
        ExchangeType::IKE_AUTH,
        ExchangeType::CREATE_CHILD_SA,
        ExchangeType::INFORMATIONAL,
        ExchangeType::IKE_INTERMEDIATE,
        ExchangeType(240),
    ];
    let (mut cells, mut legal) = (0, 0);
    for state in [At::InitAnswered, At::AuthRequested, At::Established, At::Closing] {
        for exchange in exchanges {
            for response in [false, true] {
                for offset in [-2, -1, 0, 1, 1000] {
                    for cover in [Cover::Sealed, Cover::Broken, Cover::Clear, Cover::WrongRole, Cover::WrongSpi] {
                        cells += 1;
                        legal += usize::from(cell(state, exchange, response, offset, cover));
                    }
                }
            }
        }
    }
    assert_eq!(cells, 4 * 6 * 2 * 5 * 5);
    // IKE_AUTH; its response; two requests; two requests and the response to the delete.
    assert_eq!(legal, 1 + 1 + 2 + 3);
}

/// Whether the cell was legal.
fn cell(state: At, exchange: ExchangeType, response: bool, offset: i32, cover: Cover) -> bool {
    let name = format!("{state:?} {exchange:?} response {response} {offset:+} {cover:?}");
    let (mut pair, victim) = at(state);
    // The true IKE_AUTH is on its way and has taken the next number already.
    let taken = i32::from(state == At::InitAnswered && !response);
    let forged = pair.sides[1 - victim].endpoint.forge(exchange, response, offset - taken, PayloadType::NONE, &[]);
    let (path, mut bytes) = forged.expect("the other side holds the keys");
    match cover {
        Cover::Sealed => {}
        Cover::Broken => *bytes.last_mut().unwrap() ^= 1,
        Cover::Clear => {
            bytes.truncate(28);
            bytes[16] = 0;
            bytes[24..28].copy_from_slice(&28u32.to_be_bytes());
        }
        Cover::WrongRole => bytes[19] ^= 0x08,
        Cover::WrongSpi => {
            bytes[0] ^= 1;
            bytes[8] ^= 1;
        }
    }
    pair.input(victim, Input::Timeout);
    let before = picture(&pair, victim);
    let refused: u64 = pair.sides[victim].endpoint.refused().map(|(_, count)| count).sum();
    let sent = pair.sides[victim].sent;
    let reason = expected(state, exchange, response, offset, cover);
    let count = reason.map_or(0, |reason| pair.refused(victim, reason));
    pair.input(victim, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    let Some(reason) = reason else { return true };
    assert_eq!(picture(&pair, victim), before, "{name}");
    let counters: Vec<_> = pair.sides[victim].endpoint.refused().collect();
    assert_eq!(pair.refused(victim, reason), count + 1, "{name}: {reason} expected, {counters:?}");
    assert_eq!(counters.iter().map(|(_, count)| count).sum::<u64>(), refused + 1, "{name}");
    let answers = u64::from(reason == IkeReason::Retransmitted);
    assert_eq!((pair.sides[victim].sent - sent) as u64, answers, "{name}");
    false
}
