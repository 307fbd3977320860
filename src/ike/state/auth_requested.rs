//! We have sent the request of IKE_AUTH.

use super::{Handshake, Refused, State, repeat};
use crate::event::IkeReason;
use crate::ike::child::Offer;
use crate::ike::error::Refusal;
use crate::ike::exchange::auth;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::ppk::Mixed;
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::ExchangeType;

/// What the initiator knows before the peer has authenticated.
pub struct AuthRequested {
    /// Keys, nonces and messages of IKE_SA_INIT.
    pub handshake: Handshake,
    /// The child SA that was asked for with it.
    pub offer: Option<Offer>,
    /// Our own proof, which must not come back.
    pub own_auth: Vec<u8>,
    /// The keys with the PPK that was offered: the response says whether they count.
    pub mixed: Option<Mixed>,
}

impl AuthRequested {
    /// A message for this IKE SA.
    pub fn handle(
        self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        match core.receive(step.now, &self.handshake.protection, incoming, &[]) {
            Ok(Arrival::Response(sorted)) => {
                step.hear(incoming.header.exchange, true, &sorted);
                Ok(auth::process(self, core, step, sorted))
            }
            Ok(Arrival::Piece) => Ok(State::AuthRequested(self)),
            // Nothing is asked of us before we know who asks, so no exchange is legal.
            Ok(Arrival::Request(_) | Arrival::Repeated) => {
                Err(self.refuse(Refusal::silent(IkeReason::UnexpectedExchange)))
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::AuthRequested(self), refusal }
    }

    /// A retransmission is due, or the peer did not answer.
    pub fn on_time(self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        let in_time = step.now.since(core.opened_at) < limits::NEGOTIATION_TIME * 2;
        if in_time && repeat(core, step) {
            return State::AuthRequested(self);
        }
        let detail = format!("{} answered IKE_SA_INIT, but not IKE_AUTH", core.path.remote);
        step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_AUTH, reason: IkeReason::TimedOut, detail });
        State::Ended
    }
}
