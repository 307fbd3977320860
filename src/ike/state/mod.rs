//! The states of an IKE SA. Each is a struct that owns what it knows; a transition consumes it.
//!
//! ```text
//! initiator: InitRequested -> [IntermediateRequested ->] AuthRequested -> Established -> Closing -> Ended
//! responder: InitAnswered  ------------------> Established -> Closing -> Ended
//! initiator with EAP:             EapRequested -> Established
//! responder with EAP: InitAnswered -> EapAnswered -> Established
//! rekeyed:                                     Established
//! rekeyed by both sides at once:      Spare -> Established
//! ```

pub mod auth_requested;
pub mod closing;
pub mod eap_answered;
pub mod eap_requested;
pub mod established;
pub mod init_answered;
pub mod init_requested;
pub mod intermediate_requested;
pub mod spare;

pub use auth_requested::AuthRequested;
pub use closing::Closing;
pub use eap_answered::EapAnswered;
pub use eap_requested::EapRequested;
pub use established::Established;
pub use init_answered::InitAnswered;
pub use init_requested::{InitRequested, Purpose};
pub use intermediate_requested::IntermediateRequested;
pub use spare::Spare;

use super::auth::PeerSays;
use super::error::Refusal;
use super::ike_sa::{Core, Incoming};
use super::keymat::IkeKeys;
use super::protect::Protection;
use super::step::Step;
use super::window::Due;
use crate::crypto::suite::IkeSuite;
use crate::time::Instant;
use crate::wire::ike::numbers::ExchangeType;

/// A state.
pub enum State {
    /// We have sent the first request of IKE_SA_INIT.
    InitRequested(Box<InitRequested>),
    /// We have sent a request of IKE_INTERMEDIATE.
    IntermediateRequested(Box<IntermediateRequested>),
    /// We have answered IKE_SA_INIT, and perhaps IKE_INTERMEDIATE.
    InitAnswered(Box<InitAnswered>),
    /// We have sent the request of IKE_AUTH.
    AuthRequested(Box<AuthRequested>),
    /// We have sent a request of IKE_AUTH, and prove ourselves by EAP.
    EapRequested(Box<EapRequested>),
    /// We have answered a request of IKE_AUTH, and the peer proves itself by EAP.
    EapAnswered(Box<EapAnswered>),
    /// The peer has authenticated.
    Established(Box<Established>),
    /// The peer's rekeying made it while ours was under way: one of the two will go.
    Spare(Box<Spare>),
    /// A delete is under way, or an authentication has failed and its answer may have to be repeated.
    Closing(Box<Closing>),
    /// Over.
    Ended,
}

/// The exchanges of an IKE SA in use.
const IN_USE: &[ExchangeType] =
    &[ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL, ExchangeType::IKE_FOLLOWUP_KE];

/// A message was refused; the state is as it was.
pub struct Refused {
    /// The state.
    pub state: State,
    /// Why.
    pub refusal: Refusal,
}

/// What both sides know after IKE_SA_INIT.
pub struct Handshake {
    /// The suite.
    pub suite: IkeSuite,
    /// The keys.
    pub keys: IkeKeys,
    /// The keys, ready for use.
    pub protection: Protection,
    /// `Ni`.
    pub initiator_nonce: Vec<u8>,
    /// `Nr`.
    pub responder_nonce: Vec<u8>,
    /// The request of IKE_SA_INIT, `RealMessage1` of RFC 7296 §2.15.
    pub init_request: Vec<u8>,
    /// The response, `RealMessage2`.
    pub init_response: Vec<u8>,
    /// `IntAuth` of RFC 9242 §3.3.2, which both sides' AUTH covers; empty without IKE_INTERMEDIATE.
    pub int_auth: Vec<u8>,
    /// What that is made of: the chains over the initiator's and the responder's messages of IKE_INTERMEDIATE.
    pub signed_later: (Vec<u8>, Vec<u8>),
    /// Whether both sides have said that they have a PPK.
    pub offers_ppk: bool,
    /// Whether a PPK is in the keys.
    pub uses_ppk: bool,
    /// What the peer has said of the signatures that it takes.
    pub peer_says: PeerSays,
}

impl State {
    /// The way of a message to its state.
    pub fn handle(self, core: &mut Core, step: &mut Step<'_>, incoming: &Incoming<'_>) -> Result<Self, Refused> {
        match self {
            Self::InitRequested(state) => state.handle(core, step, incoming),
            Self::IntermediateRequested(state) => state.handle(core, step, incoming),
            Self::InitAnswered(state) => state.handle(core, step, incoming),
            Self::AuthRequested(state) => state.handle(core, step, incoming),
            Self::EapRequested(state) => state.handle(core, step, incoming),
            Self::EapAnswered(state) => state.handle(core, step, incoming),
            Self::Established(state) => state.handle(core, step, incoming),
            Self::Spare(state) => state.handle(core, step, incoming),
            Self::Closing(state) => state.handle(core, step, incoming),
            Self::Ended => Ok(Self::Ended),
        }
    }

    /// Time has passed.
    pub fn on_time(self, core: &mut Core, step: &mut Step<'_>) -> Self {
        match self {
            Self::InitRequested(state) => state.on_time(core, step),
            Self::IntermediateRequested(state) => state.on_time(core, step),
            Self::InitAnswered(state) => state.on_time(step),
            Self::AuthRequested(state) => state.on_time(core, step),
            Self::EapRequested(state) => state.on_time(core, step),
            Self::EapAnswered(state) => state.on_time(step),
            Self::Established(state) => state.on_time(core, step),
            Self::Spare(state) => state.on_time(core, step),
            Self::Closing(state) => state.on_time(core, step),
            Self::Ended => Self::Ended,
        }
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self, core: &Core) -> Option<Instant> {
        match self {
            Self::InitRequested(state) => state.deadline(core),
            Self::IntermediateRequested(_) | Self::AuthRequested(_) | Self::EapRequested(_) => core.window.deadline(),
            Self::EapAnswered(state) => Some(state.until),
            Self::InitAnswered(state) => Some(state.until),
            Self::Established(state) => state.deadline(core),
            Self::Spare(state) => Some(state.until),
            Self::Closing(state) => state.deadline(core),
            Self::Ended => None,
        }
    }

    /// The IKE SA is to end.
    pub fn close(self, core: &mut Core, step: &mut Step<'_>, reason: &str) -> Self {
        match self {
            Self::Established(state) => state.close(core, step, reason),
            Self::Spare(state) => state.forsake(core, step),
            Self::Closing(mut state) => {
                state.hurry(core, step);
                Self::Closing(state)
            }
            Self::InitRequested(_)
            | Self::IntermediateRequested(_)
            | Self::InitAnswered(_)
            | Self::AuthRequested(_)
            | Self::EapRequested(_)
            | Self::EapAnswered(_)
            | Self::Ended => Self::Ended,
        }
    }

    /// Another one has its place; the peer is to delete it.
    pub fn give_way(self, core: &mut Core, step: &mut Step<'_>) -> Self {
        match self {
            Self::Established(state) => state.give_way(core, step, false),
            other => other,
        }
    }

    /// Whether a stranger's message made it.
    pub fn is_half_open(&self) -> bool {
        match self {
            Self::InitAnswered(_) | Self::EapAnswered(_) => true,
            Self::Closing(state) => !state.was_established,
            _ => false,
        }
    }

    /// Whether our own attempt is still under way.
    pub fn is_attempt(&self) -> bool {
        match self {
            Self::InitRequested(state) => state.purpose == Purpose::Open,
            Self::IntermediateRequested(_) | Self::AuthRequested(_) | Self::EapRequested(_) => true,
            _ => false,
        }
    }
}

/// Sends what is due again. Whether the peer still counts as there.
fn repeat(core: &mut Core, step: &mut Step<'_>) -> bool {
    let path = core.path;
    match core.window.due(step.now, step.entropy) {
        Due::Nothing => true,
        Due::Again(datagrams) => {
            step.out.transmit_all(path, datagrams);
            true
        }
        Due::GiveUp => false,
    }
}
