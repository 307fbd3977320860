//! We have answered IKE_SA_INIT and wait for IKE_INTERMEDIATE, if that was agreed on, and for IKE_AUTH: half open, and open to anybody.

use std::collections::VecDeque;

use super::{Handshake, Refused, State};
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ike::error::Refusal;
use crate::ike::exchange::{auth, intermediate};
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::step::Step;
use crate::time::Instant;
use crate::wire::ike::numbers::ExchangeType;

/// What the responder knows before the peer has authenticated.
pub struct InitAnswered {
    /// Keys, nonces and messages of IKE_SA_INIT.
    pub handshake: Handshake,
    /// Key exchanges of IKE_INTERMEDIATE that are to come before IKE_AUTH.
    pub left: VecDeque<Group>,
    /// When it is forgotten.
    pub until: Instant,
    /// Messages that failed their integrity check.
    pub junk: u32,
    /// Deaf until then.
    pub deaf_until: Option<Instant>,
}

impl InitAnswered {
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
        // RFC 9242 §3.2: what was agreed on is made before IKE_AUTH, and nothing else is.
        let legal = if self.left.is_empty() { ExchangeType::IKE_AUTH } else { ExchangeType::IKE_INTERMEDIATE };
        match core.receive(step.now, &self.handshake.protection, incoming, &[legal]) {
            Ok(Arrival::Request(sorted)) if legal == ExchangeType::IKE_INTERMEDIATE => {
                step.hear(incoming.header.exchange, false, &sorted);
                Ok(intermediate::answer(self, core, step, incoming, sorted))
            }
            Ok(Arrival::Request(sorted)) => {
                step.hear(incoming.header.exchange, false, &sorted);
                core.superseded = None;
                Ok(auth::answer(self, core, step, incoming, sorted))
            }
            Ok(Arrival::Repeated) if core.superseded.is_some() => {
                step.out.transmit_all(incoming.path, core.window.last_answer());
                Err(self.refuse(Refusal::silent(IkeReason::Retransmitted)))
            }
            Ok(Arrival::Piece) => Ok(State::InitAnswered(self)),
            Ok(Arrival::Response(_) | Arrival::Repeated) => {
                Err(self.refuse(Refusal::silent(IkeReason::UnexpectedExchange)))
            }
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
        Refused { state: State::InitAnswered(self), refusal }
    }

    /// Forgotten in silence: the peer that began it will begin again.
    pub fn on_time(self: Box<Self>, step: &Step<'_>) -> State {
        if step.now < self.until { State::InitAnswered(self) } else { State::Ended }
    }
}
