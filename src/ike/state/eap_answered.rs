//! We have answered a request of IKE_AUTH, and the peer proves itself by EAP in several rounds of it: still half open.

use super::{Handshake, Refused, State};
use crate::event::IkeReason;
use crate::ike::eap::{Msk, Server};
use crate::ike::error::Refusal;
use crate::ike::exchange::eap;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::payloads::Sorted;
use crate::ike::step::Step;
use crate::time::Instant;
use crate::wire::ike::numbers::ExchangeType;

/// What the responder knows before the peer has authenticated.
pub struct EapAnswered {
    /// Keys, nonces and messages of IKE_SA_INIT.
    pub handshake: Handshake,
    /// The first request: who the peer says it is, and the child SA that it asks for.
    pub request: Sorted,
    /// The method.
    pub method: &'static str,
    /// What comes next.
    pub waiting: Waiting,
    /// When it is forgotten.
    pub until: Instant,
    junk: u32,
    deaf_until: Option<Instant>,
}

/// What the next request brings.
pub enum Waiting {
    /// The peer's next packet of EAP.
    ForEap(Server),
    /// EAP has ended well, and this is the key of the peer's AUTH.
    ForAuth(Msk),
}

/// RFC 7296 §2.21.2: an initiator that cannot believe us says so in an INFORMATIONAL exchange.
const LEGAL: &[ExchangeType] = &[ExchangeType::IKE_AUTH, ExchangeType::INFORMATIONAL];

impl EapAnswered {
    /// The first request has been answered.
    pub fn new(handshake: Handshake, request: Sorted, method: &'static str, waiting: Waiting, until: Instant) -> Self {
        Self { handshake, request, method, waiting, until, junk: 0, deaf_until: None }
    }

    /// A message for this IKE SA.
    pub fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        if self.deaf_until.is_some_and(|until| step.now < until) {
            return Err(self.refuse(Refusal::silent(IkeReason::IntegrityFailed)));
        }
        match core.receive(step.now, &self.handshake.protection, incoming, LEGAL) {
            Ok(Arrival::Request(sorted)) if incoming.header.exchange == ExchangeType::INFORMATIONAL => {
                Ok(eap::answer_farewell(self, core, step, incoming, sorted))
            }
            Ok(Arrival::Request(sorted)) => Ok(eap::answer(self, core, step, incoming, sorted)),
            Ok(Arrival::Piece) => Ok(State::EapAnswered(self)),
            Ok(Arrival::Repeated) => {
                // RFC 7296 §2.1: the same response again; EAP does not hear of it.
                step.out.transmit_all(incoming.path, core.window.last_answer());
                Err(self.refuse(Refusal::silent(IkeReason::Retransmitted)))
            }
            Ok(Arrival::Response(_)) => Err(self.refuse(Refusal::silent(IkeReason::UnexpectedExchange))),
            Err(refusal) => {
                if refusal.reason == IkeReason::IntegrityFailed {
                    self.junk += 1;
                    if self.junk.is_multiple_of(limits::MAX_JUNK) {
                        self.deaf_until = Some(step.now + limits::JUNK_PAUSE);
                    }
                }
                Err(self.refuse(refusal))
            }
        }
    }

    fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::EapAnswered(self), refusal }
    }

    /// Forgotten in silence: the peer that began it will begin again.
    pub fn on_time(self: Box<Self>, step: &Step<'_>) -> State {
        if step.now < self.until { State::EapAnswered(self) } else { State::Ended }
    }
}
