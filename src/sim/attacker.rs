//! Somebody on the line without keys: records, replays, reflects, spoofs, mutates, and makes up what needs no key.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::dice::Dice;
use super::network::{Body, Frame};
use super::plan::{Feature, Plan};
use super::world::{Action, MILLI, Origin, World};
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Delete, Notify, Payload};

/// Frames that it remembers.
const REMEMBERED: usize = 96;

/// What it knows.
pub struct Attacker {
    recorded: VecDeque<Frame>,
    dice: Dice,
}

impl Attacker {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { recorded: VecDeque::new(), dice: Dice::new(plan.seed, 300) }
    }

    /// A frame passes.
    pub fn record(&mut self, frame: &Frame) {
        if self.recorded.len() == REMEMBERED {
            self.recorded.pop_front();
        }
        self.recorded.push_back(frame.clone());
    }

    fn header(exchange: ExchangeType, spis: [u64; 2], flags: Flags, message_id: u32) -> Header {
        Header {
            initiator_spi: spis[0],
            responder_spi: spis[1],
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// What it does this time: a frame and whether it is a copy of a gateway's.
    fn strike(&mut self) -> Option<(Frame, bool)> {
        let of = self.recorded.len();
        if of == 0 {
            return None;
        }
        let mut frame = self.recorded[self.dice.index(of)].clone();
        let dice = &mut self.dice;
        match dice.below(9) {
            0 | 1 => return Some((frame, true)),
            2 => std::mem::swap(&mut frame.source, &mut frame.destination),
            3 => {
                // From elsewhere.
                frame.source.set_port(u16::try_from(dice.between(1, 65_535)).unwrap_or(1));
                return Some((frame, true));
            }
            4 | 5 => {
                let before = frame.clone();
                mutate(&mut frame, dice);
                if frame == before {
                    return Some((frame, true));
                }
            }
            6 => {
                let Body::Ike(bytes) = &mut frame.body else { return None };
                // Another first request: whatever was recorded, under an SPI of its own.
                bytes.get_mut(..8)?.copy_from_slice(&dice.next().to_be_bytes());
                if dice.chance(500) {
                    frame.source.set_port(u16::try_from(dice.between(1, 65_535)).unwrap_or(1));
                }
            }
            7 => answer(&mut frame, dice)?,
            _ => unprotected(&mut frame, dice)?,
        }
        Some((frame, false))
    }
}

/// Bits, lengths and fields of the header.
fn mutate(frame: &mut Frame, dice: &mut Dice) {
    let bytes = match &mut frame.body {
        Body::Ike(bytes) if bytes.len() > 28 => bytes,
        Body::Esp(esp) => {
            match dice.below(4) {
                0 => esp.tag ^= 1 << dice.below(64),
                1 => esp.sequence = esp.sequence.wrapping_add(dice.between(1, 1 << 33)),
                2 => esp.packet.number ^= 1,
                _ => esp.spi ^= 1 << dice.below(32),
            }
            return;
        }
        _ => return,
    };
    match dice.below(8) {
        0 => {
            let len = dice.index(bytes.len());
            bytes.truncate(len);
        }
        1 => {
            // Shorter, and the header says so.
            let len = dice.index(bytes.len() - 28) + 28;
            bytes.truncate(len);
            let len = u32::try_from(len).unwrap_or(0);
            bytes[24..28].copy_from_slice(&len.to_be_bytes());
        }
        2 => bytes[16] = u8::try_from(dice.below(60)).unwrap_or(0),
        3 => bytes[18] = u8::try_from(dice.between(34, 45)).unwrap_or(0),
        4 => bytes[19] ^= 0x08 << dice.below(3),
        5 => {
            let id = dice.pick(&[0, 1, 2, 3, u32::MAX, u32::MAX - 1]);
            bytes[20..24].copy_from_slice(&id.to_be_bytes());
        }
        6 => bytes[17] = u8::try_from(dice.below(256)).unwrap_or(0),
        _ => {
            for _ in 0..dice.between(1, 8) {
                let at = dice.index(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
        }
    }
}

/// In place of a recorded first request: an answer to it that needs no key.
fn answer(frame: &mut Frame, dice: &mut Dice) -> Option<()> {
    let Body::Ike(bytes) = &mut frame.body else { return None };
    let asked = Header::decode(bytes).ok().filter(|header| !header.flags.response)?;
    let flags = Flags { initiator: !asked.flags.initiator, version: false, response: true };
    let responder =
        if asked.responder_spi == 0 { dice.pick(&[0, 1, dice.clone().next()]) } else { asked.responder_spi };
    let kinds = [
        Notify::error(NotifyType::NO_PROPOSAL_CHOSEN),
        Notify::error(NotifyType::AUTHENTICATION_FAILED),
        Notify::error(NotifyType::INVALID_SYNTAX),
        Notify::status(NotifyType::INVALID_MAJOR_VERSION, Vec::new()),
        Notify::status(NotifyType::INVALID_KE_PAYLOAD, vec![0, u8::try_from(dice.between(14, 31)).unwrap_or(0)]),
        Notify::status(NotifyType::COOKIE, dice.next().to_be_bytes().to_vec()),
        Notify::status(NotifyType(16_407), vec![1; 16]),
    ];
    let notify = kinds[dice.index(kinds.len())].clone();
    let spis = [asked.initiator_spi, responder];
    let header = Attacker::header(asked.exchange, spis, flags, asked.message_id);
    *bytes = Message { header, payloads: vec![Payload::Notify(notify)] }.encode();
    std::mem::swap(&mut frame.source, &mut frame.destination);
    Some(())
}

/// A message about a recorded IKE SA without protection.
fn unprotected(frame: &mut Frame, dice: &mut Dice) -> Option<()> {
    let Body::Ike(bytes) = &mut frame.body else { return None };
    let of = Header::decode(bytes).ok()?;
    let exchange = ExchangeType(u8::try_from(dice.between(34, 44)).unwrap_or(37));
    let id = of.message_id.wrapping_add(u32::try_from(dice.below(4)).unwrap_or(0)).wrapping_sub(1);
    let flags = Flags { response: dice.chance(500), ..of.flags };
    let payload = match dice.below(4) {
        0 => Payload::Delete(Delete::ike()),
        1 => Payload::Delete(Delete::esp([dice.next() as u32])),
        2 => Payload::Notify(Notify::error(NotifyType::INVALID_IKE_SPI)),
        _ => Payload::Notify(Notify::error(NotifyType::INVALID_SPI)),
    };
    let header = Attacker::header(exchange, [of.initiator_spi, of.responder_spi], flags, id);
    *bytes = Message { header, payloads: vec![payload] }.encode();
    Some(())
}

impl World {
    /// Somebody has guessed both SPIs of an IKE SA of a gateway, which is harder than anything else that it does, and says
    /// something in it.
    pub(super) fn guess(&mut self, to: usize, own: Option<u64>) {
        let Some(endpoint) = &self.gateways[to].endpoint else { return };
        let all = endpoint.probe();
        let dice = &mut self.attacker.dice;
        let found = match own {
            Some(own) => all.iter().find(|sa| sa.own == own),
            None if all.is_empty() => None,
            None => all.get(dice.index(all.len())),
        };
        let Some(sa) = found else { return };
        let exchanges = [34, 35, 36, 37, 38, 43, 44].map(ExchangeType);
        let exchange = dice.pick(&exchanges);
        let response = dice.chance(500);
        let flags = Flags { initiator: !sa.initiator, version: false, response };
        let next = sa.next[usize::from(!response)];
        let message_id = next.wrapping_sub(u32::try_from(dice.below(2)).unwrap_or(0));
        let header = Attacker::header(exchange, sa.spis, flags, message_id);
        let mut bytes = Message { header, payloads: vec![Payload::Delete(Delete::ike())] }.encode();
        if dice.chance(500) {
            // As if it were sealed.
            bytes[16] = PayloadType::SK.0;
        }
        let frame = Frame { source: sa.path[1], destination: sa.path[0], body: Body::Ike(bytes) };
        let delay = dice.below(MILLI) + 1;
        // Behind whatever NAT there is: nothing is translated.
        self.at(self.now + delay, Action::Guess { to, frame });
    }

    /// The attacker's turn.
    pub(super) fn attack(&mut self) {
        if self.healed {
            return;
        }
        let mean = u64::try_from(self.plan.attack_every.as_millis()).unwrap_or(100);
        let pause = self.attacker.dice.millis(1, mean * 2);
        self.at(self.now + super::gateway::nanos(pause).max(MILLI), Action::Attack);
        if self.plan.has(Feature::Hostile) {
            self.say_what_is_not_so();
        }
        if !self.plan.has(Feature::Attacker) {
            return;
        }
        if self.attacker.dice.chance(100) {
            let to = self.attacker.dice.index(self.gateways.len());
            return self.guess(to, None);
        }
        let Some((frame, copy)) = self.attacker.strike() else { return };
        let Some(to) = self.gateway_at(frame.destination) else { return };
        let delay = self.attacker.dice.below(50 * MILLI) + 1;
        self.at(self.now + delay, Action::Arrive { to, frame, origin: Origin::Attacker { copy } });
    }

    /// Whether an address belongs to no gateway.
    #[must_use]
    pub fn is_foreign(&self, address: SocketAddr) -> bool {
        self.gateway_at(address).is_none()
    }
}
