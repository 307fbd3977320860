//! One IKE SA: what every state of it has, and the way of a message or a time to the state it is in.

use std::net::SocketAddr;
use std::sync::Arc;

use super::auth::Means;
use super::config::TunnelConfig;
use super::error::Refusal;
use super::exchange::intermediate;
use super::fragment::Fragments;
use super::keymat::Spis;
use super::natd::Nat;
use super::path::{IKE_PORT, NAT_PORT, Path};
use super::payloads::Sorted;
use super::protect::Protection;
use super::state::{Refused, State};
use super::step::Step;
use super::terms::Terms;
use super::timer::earlier;
use super::window::{RequestId, ResponseId, Window};
use crate::event::IkeReason;
use crate::sa::child::Encapsulation;
use crate::time::Instant;
use crate::wire::ike::chain::{self, PAYLOAD_HEADER_LEN};
use crate::wire::ike::header::{Flags, HEADER_LEN, Header, IkeSpi};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};
use crate::wire::ike::payload::Payload;

/// A datagram whose header has been read.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// Its header.
    pub header: Header,
    /// All of it.
    pub datagram: &'a [u8],
    /// The way it came.
    pub path: Path,
}

/// What every state has.
pub struct Core {
    /// Both SPIs; the responder's is zero until it is known.
    pub spis: Spis,
    /// Whether we opened the IKE SA: RFC 7296's "original initiator".
    pub initiator: bool,
    /// The way to the peer.
    pub path: Path,
    /// Who is behind a NAT.
    pub nat: Nat,
    /// What was found out of each other.
    pub terms: Terms,
    /// The tunnel it belongs to.
    pub tunnel: Arc<TunnelConfig>,
    /// Which of our pre-shared keys this attempt of ours signs with, if there are several.
    pub turn: usize,
    /// What we have proved ourselves with; `None` before.
    pub own_means: Option<Means>,
    /// When its first message was sent or received.
    pub opened_at: Instant,
    /// Message IDs.
    pub window: Window,
    /// Whether the peer takes fragments, and those that have come in.
    pub fragments: Fragments,
    /// The keys of the last IKE_INTERMEDIATE that we answered: its request may come again.
    pub superseded: Option<Protection>,
}

impl Core {
    /// Our SPI.
    pub fn own_spi(&self) -> IkeSpi {
        if self.initiator { self.spis.initiator } else { self.spis.responder }
    }

    /// The header of our next message; its length and first payload are filled in when it is encoded.
    pub fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        Header {
            initiator_spi: self.spis.initiator,
            responder_spi: self.spis.responder,
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange,
            flags: Flags { initiator: self.initiator, version: false, response },
            message_id,
            length: 0,
        }
    }

    /// Seals and sends our next request. `None` if one still waits or the message IDs have run out.
    pub fn request(
        &mut self,
        step: &mut Step<'_>,
        protection: &mut Protection,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Option<()> {
        let id = self.window.next_id()?;
        let header = self.header(exchange, false, id);
        let message = self.fragments.seal_request(protection, &header, payloads, self.path, step.entropy);
        step.out.transmit_all(self.path, message.datagrams(1));
        self.window.sent(step.now, exchange, message, step.entropy);
        Some(())
    }

    /// Seals, caches and sends the answer to the request in `incoming`.
    ///
    /// RFC 7296 §2.11: the answer goes to the address and port the request came from, and from those it was sent to.
    pub fn respond(
        &mut self,
        step: &mut Step<'_>,
        protection: &mut Protection,
        incoming: &Incoming<'_>,
        payloads: &[Payload],
    ) {
        let header = self.header(incoming.header.exchange, true, incoming.header.message_id);
        let message = self.fragments.seal_response(protection, &header, payloads, incoming.path, step.entropy);
        step.out.transmit_all(incoming.path, message.datagrams(1));
        self.window.answered(message);
    }

    /// An authentic message of the handshake has come to us by `path`: this is where the peer is, for all that we know.
    ///
    /// Without a NAT the peer's port is one of those of IKE. A message from another one is then a copy that somebody on the line
    /// has made; it is answered where it came from (RFC 7296 §2.11), but nothing of our own goes there later.
    pub fn settle_at(&mut self, path: Path) {
        let is_of_ike = |port: u16| [IKE_PORT, NAT_PORT].contains(&port);
        let strange = is_of_ike(self.path.remote.port()) && !is_of_ike(path.remote.port()) && !self.nat.remote;
        self.path = path;
        if strange {
            self.path.remote.set_port(path.local.port());
        }
    }

    /// How ESP travels.
    pub fn encapsulation(&self) -> Encapsulation {
        let Path { local, remote } = self.path;
        if !self.nat.found() {
            return Encapsulation::Raw { local: local.ip(), remote: remote.ip() };
        }
        // RFC 3948 §2.1: ESP in UDP uses the ports of IKE after it has floated. A peer that stayed on port 500 is
        // expected on 4500.
        let port = if local.port() == NAT_PORT { remote.port() } else { NAT_PORT };
        Encapsulation::Udp { local: SocketAddr::new(local.ip(), NAT_PORT), remote: SocketAddr::new(remote.ip(), port) }
    }
}

/// What a protected message is, once its integrity has been checked.
pub enum Arrival {
    /// The next request; `Err` if what is inside is malformed.
    Request(Result<Sorted, Refusal>),
    /// The response that was awaited; `Err` if what is inside is malformed.
    Response(Result<Sorted, Refusal>),
    /// The last request again.
    Repeated,
    /// A piece of a message; others are missing.
    Piece,
}

impl Core {
    /// The way of a protected message through flags, window and integrity, in that order: what costs least goes first.
    /// A new request must be of an exchange in `legal`. `Err` leaves everything as it was.
    pub fn receive(
        &mut self,
        now: Instant,
        protection: &Protection,
        incoming: &Incoming<'_>,
        legal: &[ExchangeType],
    ) -> Result<Arrival, Refusal> {
        let header = &incoming.header;
        let spis = Spis { initiator: header.initiator_spi, responder: header.responder_spi };
        if spis != self.spis {
            return Err(Refusal::silent(IkeReason::UnknownIkeSpi));
        }
        // RFC 7296 §3.1: the I flag "MUST be set in messages sent by the original initiator of the IKE SA and MUST be
        // cleared in messages sent by the original responder".
        if header.flags.initiator == self.initiator {
            return Err(Refusal::silent(IkeReason::Reflected));
        }
        let repeated = if header.flags.response {
            match self.window.response(header.message_id) {
                ResponseId::Awaited => {}
                ResponseId::Repeated => return Err(Refusal::silent(IkeReason::RepeatedResponse)),
                ResponseId::Outside => return Err(Refusal::silent(IkeReason::OutsideWindow)),
            }
            if self.window.awaits() != Some(header.exchange) {
                return Err(Refusal::silent(IkeReason::UnexpectedExchange));
            }
            false
        } else {
            match self.window.request(header.message_id) {
                RequestId::Next if !legal.contains(&header.exchange) => {
                    return Err(Refusal::silent(IkeReason::UnexpectedExchange));
                }
                RequestId::Next => false,
                RequestId::Repeated => true,
                RequestId::Outside => return Err(Refusal::silent(IkeReason::OutsideWindow)),
            }
        };
        let protection = match &self.superseded {
            Some(before) if repeated && header.exchange == ExchangeType::IKE_INTERMEDIATE => before,
            _ => protection,
        };
        let message = Message::decode_after(*header, incoming.datagram)
            .map_err(|malformed| Refusal::silent(IkeReason::Malformed).with(malformed.to_string()))?;
        let response = header.flags.response;
        let opened = match message.payloads.last() {
            Some(Payload::Sk(sk)) => {
                let verified = protection.open(incoming.datagram, &sk.content).map_err(Refusal::silent)?;
                if repeated {
                    return Ok(Arrival::Repeated);
                }
                self.fragments.drop_pieces(response);
                let (in_front, reserved) = incoming
                    .datagram
                    .split_at_checked(sk.content.start)
                    .unwrap_or_default()
                    .0
                    .split_last_chunk::<PAYLOAD_HEADER_LEN>()
                    .map_or((&[][..], 0), |(front, header)| (front, header[1]));
                verified.stripped().map(|inner| (in_front, reserved, sk.first_inner, inner))
            }
            // RFC 7383 §2.6.1: of a request that was answered, the first fragment alone makes the answer go out again: once
            // for all of them.
            Some(Payload::Skf(skf)) if repeated => {
                if !self.fragments.supported || skf.number != 1 {
                    return Err(Refusal::silent(IkeReason::Retransmitted));
                }
                protection.open(incoming.datagram, &skf.content).map_err(Refusal::silent)?;
                return Ok(Arrival::Repeated);
            }
            Some(Payload::Skf(skf)) => {
                let whole = self.fragments.take(now, protection, header, incoming.datagram, skf)?;
                let Some((first, inner)) = whole else { return Ok(Arrival::Piece) };
                Ok((incoming.datagram.get(..HEADER_LEN).unwrap_or_default(), 0, first, inner))
            }
            _ => return Err(Refusal::silent(IkeReason::NotProtected)),
        };
        let sorted = opened.map_err(Refusal::from).and_then(|(in_front, reserved, first, inner)| {
            let mut sorted = Sorted::sort(chain::decode_inner(first, &inner)?)?;
            // RFC 9242 §3.3: IKE_AUTH signs this exchange as it was.
            let signed = header.exchange == ExchangeType::IKE_INTERMEDIATE;
            sorted.octets = signed.then(|| intermediate::octets(in_front, reserved, first, &inner));
            Ok(sorted)
        });
        Ok(if response { Arrival::Response(sorted) } else { Arrival::Request(sorted) })
    }
}

/// One IKE SA in whatever state.
pub struct IkeSa {
    /// What every state has.
    pub core: Core,
    /// The state.
    pub state: State,
}

impl IkeSa {
    /// A message has come in.
    pub fn handle(&mut self, step: &mut Step<'_>, incoming: &Incoming<'_>) -> Result<(), Refusal> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        match state.handle(&mut self.core, step, incoming) {
            Ok(next) => {
                self.state = next;
                Ok(())
            }
            Err(Refused { state, refusal }) => {
                self.state = state;
                Err(refusal)
            }
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, step: &mut Step<'_>) {
        self.core.fragments.on_time(step.now);
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.state = state.on_time(&mut self.core, step);
    }

    /// The IKE SA is to end: with a delete if the peer has authenticated, else without a word.
    pub fn close(&mut self, step: &mut Step<'_>, reason: &str) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.state = state.close(&mut self.core, step, reason);
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self) -> Option<Instant> {
        earlier(self.state.deadline(&self.core), self.core.fragments.deadline())
    }
}
