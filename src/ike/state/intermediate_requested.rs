//! We have sent a request of IKE_INTERMEDIATE: a further key exchange, before anybody says who he is (RFC 9242, 9370).

use std::collections::VecDeque;

use super::{Handshake, Refused, State, repeat};
use crate::crypto::kex::KeyPair;
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::error::Refusal;
use crate::ike::exchange::intermediate;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::ExchangeType;

/// What the initiator knows between two key exchanges.
pub struct IntermediateRequested {
    /// Keys, nonces and messages so far.
    pub handshake: Handshake,
    /// The message ID of the request.
    pub id: u32,
    /// Our half of the key exchange.
    pub keypair: KeyPair,
    /// The key exchanges after this one.
    pub left: VecDeque<Group>,
    /// Which child SA is asked for first.
    pub first: Option<ShapeId>,
}

impl IntermediateRequested {
    /// A message for this IKE SA.
    pub fn handle(
        self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        let refusal = match core.receive(step.now, &self.handshake.protection, incoming, &[]) {
            Ok(Arrival::Response(sorted)) => return Ok(intermediate::process(self, core, step, sorted)),
            Ok(Arrival::Piece) => return Ok(State::IntermediateRequested(self)),
            Ok(Arrival::Request(_) | Arrival::Repeated) => Refusal::silent(IkeReason::UnexpectedExchange),
            Err(refusal) => refusal,
        };
        Err(Refused { state: State::IntermediateRequested(self), refusal })
    }

    /// A retransmission is due, or the peer did not answer.
    pub fn on_time(self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        let in_time = step.now.since(core.opened_at) < limits::NEGOTIATION_TIME * 2;
        if in_time && repeat(core, step) {
            return State::IntermediateRequested(self);
        }
        let detail = format!("{} answered IKE_SA_INIT, but not IKE_INTERMEDIATE", core.path.remote);
        let exchange = ExchangeType::IKE_INTERMEDIATE;
        step.notices.push(Notice::Failed { exchange, reason: IkeReason::TimedOut, detail });
        State::Ended
    }
}
