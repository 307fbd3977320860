//! Both sides have begun to rekey the IKE SA, and this is what the peer's request made here (RFC 7296 §2.8.2). It has no
//! child SAs until it is known to be the one that stays.

use super::{Established, IN_USE, Refused, State};
use crate::event::IkeReason;
use crate::ike::error::Refusal;
use crate::ike::exchange::delete;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::state::established::Estate;
use crate::ike::step::{Notice, Step};
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

/// An IKE SA that may become the one in use.
pub struct Spare {
    /// Its keys.
    pub established: Box<Established>,
    /// Our SPI of the one that both sides rekey.
    pub replaces: IkeSpi,
    /// When it goes, if nobody has decided.
    pub until: Instant,
}

impl Spare {
    /// A message for this IKE SA.
    pub fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        let refusal = match core.receive(step.now, &self.established.protection, incoming, IN_USE) {
            Ok(Arrival::Request(Ok(sorted))) if delete::names_ike_sa(&sorted) => {
                // The peer knows all four nonces, and this one has lost.
                core.respond(step, &mut self.established.protection, incoming, &[]);
                return Ok(State::Ended);
            }
            Ok(Arrival::Request(_)) => {
                // Nobody uses an IKE SA that is to go: the peer has not noticed our request, or it has won. The message
                // is answered when it comes again, and the child SAs are here.
                step.notices.push(Notice::Claim { replaced: self.replaces });
                Refusal::silent(IkeReason::UnexpectedExchange)
            }
            Ok(Arrival::Piece) => return Ok(State::Spare(self)),
            Ok(Arrival::Response(_) | Arrival::Repeated) => Refusal::silent(IkeReason::UnexpectedExchange),
            Err(refusal) => refusal,
        };
        Err(Refused { state: State::Spare(self), refusal })
    }

    /// It is the one that stays.
    pub fn inherit(mut self, core: &mut Core, step: &mut Step<'_>, estate: Estate) -> State {
        self.established.inherit(core, step, estate);
        State::Established(self.established)
    }

    /// Without child SAs it is nothing that would be missed.
    pub fn forsake(self, core: &mut Core, step: &mut Step<'_>) -> State {
        self.established.give_way(core, step, true).close(core, step, "")
    }

    /// Nobody has decided: it goes.
    pub fn on_time(self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        if step.now < self.until { State::Spare(self) } else { self.forsake(core, step) }
    }
}
