//! We have sent the first request of IKE_SA_INIT. Nothing that comes back is authenticated: an error ends nothing.

use super::{Refused, State, repeat};
use crate::crypto::kex::KeyPair;
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::error::Refusal;
use crate::ike::exchange::sa_init;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::limits;
use crate::ike::negotiate;
use crate::ike::step::{Notice, Step};
use crate::ike::timer::earlier;
use crate::time::Instant;
use crate::wire::ike::numbers::ExchangeType;
use crate::wire::ike::payload::Payload;

/// A request with one group.
pub struct Try {
    /// Our half of the key exchange.
    pub keypair: KeyPair,
    /// The request as it was sent last.
    pub request: Vec<u8>,
}

/// What the initiator knows before the first response.
pub struct InitRequested {
    /// The requests that were sent, one for each group, the last one being the current. The answer to an earlier one
    /// still counts: the wish for another group may have been forged.
    pub tries: Vec<Try>,
    /// `Ni`.
    pub nonce: Vec<u8>,
    /// What pretends a NAT, if that is configured.
    pub false_source: Option<[u8; 20]>,
    /// What the responder wants to see again.
    pub cookie: Option<Vec<u8>>,
    /// How many cookies were echoed.
    pub cookies: u8,
    /// The solution of the puzzle that came with the cookie.
    pub solution: Option<Payload>,
    /// How many puzzles were solved.
    pub puzzles: u8,
    /// Groups that were tried because somebody asked for them.
    pub retried: Vec<Group>,
    /// What an unauthenticated error said, and what it means.
    pub hearsay: Option<(IkeReason, String)>,
    /// Which child SA is asked for first.
    pub first: Option<ShapeId>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What an IKE_SA_INIT is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An IKE SA.
    Open,
    /// To see whether a head-end is there.
    Probe,
}

impl InitRequested {
    /// A message for this IKE SA.
    pub fn handle(
        self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        if incoming.header.exchange != ExchangeType::IKE_SA_INIT || incoming.header.message_id != 0 {
            return Err(self.refuse(IkeReason::UnexpectedExchange));
        }
        if incoming.header.flags.initiator || !incoming.header.flags.response {
            return Err(self.refuse(IkeReason::BadFlags));
        }
        sa_init::process(self, core, step, incoming)
    }

    /// When it is given up.
    fn until(&self, core: &Core) -> Instant {
        core.opened_at
            + match self.purpose {
                Purpose::Probe => limits::PROBE_TIME,
                Purpose::Open if core.tunnel.peering.others.is_empty() => limits::NEGOTIATION_TIME,
                Purpose::Open => limits::HEAD_END_TIME,
            }
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self, core: &Core) -> Option<Instant> {
        earlier(core.window.deadline(), Some(self.until(core)))
    }

    /// Stays as it is, in silence.
    pub fn refuse(self: Box<Self>, reason: IkeReason) -> Refused {
        self.refuse_with(Refusal::silent(reason))
    }

    /// Stays as it is. RFC 7296 §2.21.1: an initiator answers no bad response to IKE_SA_INIT.
    pub fn refuse_with(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::InitRequested(self), refusal: Refusal { notify: None, ..refusal } }
    }

    /// A retransmission is due, or the peer did not answer.
    pub fn on_time(self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        if step.now < self.until(core) && repeat(core, step) {
            return State::InitRequested(self);
        }
        if self.purpose == Purpose::Probe {
            step.notices.push(Notice::HeadEnd { answers: false });
            return State::Ended;
        }
        let ours = negotiate::compare(&negotiate::ike_offer(&core.tunnel.ike), None);
        let (reason, detail) = match self.hearsay {
            Some((reason, said)) => (reason, format!("{said}; {ours}")),
            None => (IkeReason::TimedOut, format!("no answer from {}", core.path.remote)),
        };
        step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_SA_INIT, reason, detail });
        State::Ended
    }
}
