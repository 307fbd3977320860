//! We have sent a request of IKE_AUTH, and prove ourselves by EAP in several rounds of it.

use super::{Handshake, Refused, State, repeat};
use crate::event::IkeReason;
use crate::ike::auth::PeerAuthenticated;
use crate::ike::child::Offer;
use crate::ike::eap::{Msk, Peer};
use crate::ike::error::Refusal;
use crate::ike::exchange::eap;
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::ExchangeType;
use crate::wire::ike::payload::Id;

/// What the initiator knows before the responder's last AUTH.
pub struct EapRequested {
    /// Keys, nonces and messages of IKE_SA_INIT.
    pub handshake: Handshake,
    /// The child SA that was asked for in the first request.
    pub offer: Option<Offer>,
    /// How far it has come.
    pub stage: Stage,
}

/// How far it has come.
pub enum Stage {
    /// The request without AUTH has been sent. The responder has not proved itself yet, and EAP has not begun.
    Begun(Peer),
    /// The responder has proved itself once, and EAP is under way.
    Rounds {
        /// Our side of EAP.
        peer: Peer,
        /// Who the responder is.
        first: PeerAuthenticated,
        /// As it said it.
        id: Id,
    },
    /// EAP has ended well, and the request with our AUTH has been sent.
    Last {
        /// What EAP has made.
        msk: Msk,
        /// Who the responder is.
        first: PeerAuthenticated,
        /// As it said it.
        id: Id,
        /// Our own proof, which must not come back.
        own_auth: Vec<u8>,
    },
}

impl EapRequested {
    /// A message for this IKE SA.
    pub fn handle(
        self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        match core.receive(step.now, &self.handshake.protection, incoming, &[]) {
            Ok(Arrival::Response(sorted)) => Ok(eap::process(self, core, step, sorted)),
            Ok(Arrival::Piece) => Ok(State::EapRequested(self)),
            // Nothing is asked of us before we know who asks, so no exchange is legal.
            Ok(Arrival::Request(_) | Arrival::Repeated) => {
                Err(self.refuse(Refusal::silent(IkeReason::UnexpectedExchange)))
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::EapRequested(self), refusal }
    }

    /// A retransmission is due, or the peer did not answer.
    pub fn on_time(self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        let in_time = step.now.since(core.opened_at) < limits::NEGOTIATION_TIME * 2;
        if in_time && repeat(core, step) {
            return State::EapRequested(self);
        }
        let where_to = match self.stage {
            Stage::Begun(_) => "IKE_AUTH",
            Stage::Rounds { .. } => "EAP",
            Stage::Last { .. } => "the last round of IKE_AUTH",
        };
        let detail = format!("{} answered IKE_SA_INIT, but not {where_to}", core.path.remote);
        step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_AUTH, reason: IkeReason::TimedOut, detail });
        State::Ended
    }
}
