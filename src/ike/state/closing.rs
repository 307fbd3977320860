//! The IKE SA is over for us: the peer is told, its last questions are answered, and then it is forgotten.

use super::{IN_USE, Refused, State, repeat};
use crate::event::IkeReason;
use crate::ike::error::Refusal;
use crate::ike::exchange::delete;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::protect::Protection;
use crate::ike::step::Step;
use crate::ike::timer::earlier;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Notify, Payload};

/// What is left to be done.
pub struct Closing {
    /// The keys.
    pub protection: Protection,
    /// What the peer is told as soon as the window lets us; `None` once it has been sent, or if nothing is to be said.
    pub farewell: Option<Payload>,
    /// When it is said at the earliest: what the peer has rekeyed, the peer deletes.
    pub not_before: Instant,
    /// Whether the farewell has been sent, so that its response ends everything.
    pub sent: bool,
    /// Whether the peer had authenticated.
    pub was_established: bool,
    /// When it is forgotten in any case.
    pub until: Instant,
}

impl Closing {
    /// Sends the farewell if the window is free.
    pub fn say(&mut self, core: &mut Core, step: &mut Step<'_>) {
        if self.farewell.is_none() || step.now < self.not_before || core.window.next_id().is_none() {
            return;
        }
        let payloads: Vec<_> = self.farewell.take().into_iter().collect();
        let sent = core.request(step, &mut self.protection, ExchangeType::INFORMATIONAL, &payloads);
        self.sent = sent.is_some();
    }

    /// A message for this IKE SA.
    pub fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        let legal = if self.was_established { IN_USE } else { &[] };
        match core.receive(step.now, &self.protection, incoming, legal) {
            Ok(Arrival::Response(_)) => {
                core.window.complete();
                if self.sent {
                    return Ok(State::Ended);
                }
                // It answered an older request; now the window is free.
                self.say(core, step);
                Ok(State::Closing(self))
            }
            Ok(Arrival::Piece) => Ok(State::Closing(self)),
            Ok(Arrival::Repeated) => {
                step.out.transmit_all(incoming.path, core.window.last_answer());
                Err(self.refuse(Refusal::silent(IkeReason::Retransmitted)))
            }
            Ok(Arrival::Request(sorted)) => {
                // RFC 7296 §2.25.2: a request for a new SA within an IKE SA that is being closed gets
                // TEMPORARY_FAILURE; a delete of it is answered as if ours did not exist.
                let refused = match incoming.header.exchange {
                    ExchangeType::CREATE_CHILD_SA => Some(NotifyType::TEMPORARY_FAILURE),
                    // RFC 9370 §2.2.4: what was to follow a key exchange here comes to nothing.
                    ExchangeType::IKE_FOLLOWUP_KE => Some(NotifyType::STATE_NOT_FOUND),
                    _ => None,
                };
                let answer: Vec<_> = refused.map(|kind| Payload::Notify(Notify::error(kind))).into_iter().collect();
                core.respond(step, &mut self.protection, incoming, &answer);
                let deleted = sorted.is_ok_and(|sorted| delete::names_ike_sa(&sorted));
                Ok(if deleted { State::Ended } else { State::Closing(self) })
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::Closing(self), refusal }
    }

    /// A retransmission is due, or it has lasted long enough.
    pub fn on_time(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        if step.now >= self.until || !repeat(core, step) {
            return State::Ended;
        }
        self.say(core, step);
        State::Closing(self)
    }

    /// No longer than anything else that ends.
    pub fn hurry(&mut self, core: &mut Core, step: &mut Step<'_>) {
        self.not_before = step.now;
        self.until = self.until.min(step.now + limits::CLOSING_TIME);
        self.say(core, step);
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self, core: &Core) -> Option<Instant> {
        let farewell = self.farewell.as_ref().filter(|_| core.window.next_id().is_some()).map(|_| self.not_before);
        earlier(farewell, earlier(core.window.deadline(), Some(self.until)))
    }
}
