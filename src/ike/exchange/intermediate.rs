//! IKE_INTERMEDIATE (RFC 9242) with the additional key exchanges of RFC 9370, one in each, between IKE_SA_INIT and IKE_AUTH.
//!
//! ```text
//! Initiator                         Responder
//! HDR, SK {KEi(1)}             -->
//!                              <--  HDR, SK {KEr(1)}
//!                 both have other keys now
//! HDR, SK {KEi(2)}             -->
//!                              <--  HDR, SK {KEr(2)}
//! ```
//! Each message is protected by the keys of the exchange before, and signed in IKE_AUTH (`IntAuth`). Left out: any other use
//! of this exchange. One that was not agreed on in IKE_SA_INIT, or that comes later than the last one, is refused.

use std::collections::VecDeque;

use crate::crypto::kex::{self, KeyPair};
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::error::Refusal;
use crate::ike::exchange::auth;
use crate::ike::exchange::create::ke;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::{Spis, next_ike_keys};
use crate::ike::payloads::{Required, Sorted};
use crate::ike::protect::Protection;
use crate::ike::state::{Closing, Handshake, InitAnswered, IntermediateRequested, State};
use crate::ike::step::{Notice, Step};
use crate::ike::{keylog, limits, negotiate};
use crate::secret::Secret;
use crate::wire::ike::chain::{self, PAYLOAD_HEADER_LEN};
use crate::wire::ike::header::HEADER_LEN;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Ke, Notify, Payload};

/// Both messages carry this.
const REQUIRED: Required = Required(&[PayloadType::KE]);

/// `IntAuth_*A | IntAuth_*P` of one message (RFC 9242 §3.3.2): what stands in front of its SK payload and that payload's header,
/// as if nothing but the `inner` chain followed, and that chain. For one that came in fragments the same, as if it were
/// whole.
pub fn octets(in_front: &[u8], reserved: u8, first: PayloadType, inner: &[u8]) -> Vec<u8> {
    const NEXT_PAYLOAD: usize = 16;
    const LENGTH: usize = 24;
    let mut octets = in_front.to_vec();
    let payload = PAYLOAD_HEADER_LEN + inner.len();
    let whole = u32::try_from(in_front.len() + payload).unwrap_or(u32::MAX);
    if let Some(length) = octets.get_mut(LENGTH..HEADER_LEN) {
        length.copy_from_slice(&whole.to_be_bytes());
    }
    if let Some(next) = octets.get_mut(NEXT_PAYLOAD).filter(|next| **next == PayloadType::SKF.0) {
        *next = PayloadType::SK.0;
    }
    octets.extend([first.0, reserved]);
    octets.extend(u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes());
    octets.extend_from_slice(inner);
    octets
}

impl Handshake {
    /// Takes one message, of the initiator or the responder, into what IKE_AUTH signs. To be called while its keys are
    /// in use.
    fn sign_later(&mut self, initiator: bool, octets: &[u8]) {
        let (chain, sk_p) = if initiator {
            (&mut self.signed_later.0, &self.keys.sk_pi)
        } else {
            (&mut self.signed_later.1, &self.keys.sk_pr)
        };
        // RFC 9242 §3.3.2: "IntAuth_i2 = prf(SK_pi2, IntAuth_i1 | IntAuth_i2A [| IntAuth_i2P])"; in the first one there is
        // nothing in front.
        *chain = self.suite.prf.prf(sk_p.expose(), &[chain, octets]).expose().to_vec();
    }

    /// The same for a message of ours with this ID.
    fn sign_own(&mut self, core: &Core, response: bool, id: u32, payloads: &[Payload]) {
        let header = core.header(ExchangeType::IKE_INTERMEDIATE, response, id);
        let header = crate::wire::ike::header::Header { next_payload: PayloadType::SK, ..header };
        let (first, inner) = chain::encode(payloads);
        self.sign_later(!response, &octets(&header.encode(), 0, first, &inner));
    }

    /// The exchange with this message ID has given another secret: other keys from now on. Gives those before.
    fn go_on(&mut self, core: &Core, step: &mut Step<'_>, id: u32, shared: &Secret) -> Protection {
        let spis: Spis = core.spis;
        self.keys = next_ike_keys(self.suite, &self.keys.sk_d, shared, self.nonces(), spis);
        step.out.key_log(|| keylog::ike(self.suite, spis, &self.keys));
        // §3.3.2: "IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID", the message ID of the first request of IKE_AUTH.
        let (initiator, responder) = &self.signed_later;
        self.int_auth = [initiator, responder, &id.wrapping_add(1).to_be_bytes()[..]].concat();
        std::mem::replace(&mut self.protection, Protection::new(self.suite, &self.keys, core.initiator))
    }
}

// Initiator.

/// Begins the next of the key exchanges that are `left`, or IKE_AUTH if there is none.
pub fn request(
    mut handshake: Handshake,
    core: &mut Core,
    step: &mut Step<'_>,
    mut left: VecDeque<Group>,
    first: Option<ShapeId>,
) -> State {
    let Some(group) = left.pop_front() else { return auth::request(handshake, core, step, first) };
    let keypair = KeyPair::generate(group, step.entropy);
    let payloads = [ke(&keypair)];
    let id = core.window.next_id().expect("what came before is complete, so the window is free");
    handshake.sign_own(core, false, id, &payloads);
    core.request(step, &mut handshake.protection, ExchangeType::IKE_INTERMEDIATE, &payloads)
        .expect("the window is free");
    State::IntermediateRequested(Box::new(IntermediateRequested { handshake, id, keypair, left, first }))
}

/// The response has come in. It is nobody's yet, but what is wrong with it cannot be put right by another one.
pub fn process(
    state: Box<IntermediateRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let IntermediateRequested { mut handshake, id, keypair, left, first } = *state;
    core.window.complete();
    let shared = sorted.and_then(|sorted| {
        if let Some(error) = sorted.error() {
            let detail = format!("the peer refused the key exchange: {}", error.kind);
            return Err(Refusal::silent(IkeReason::PeerError).with(detail));
        }
        sorted.require(REQUIRED)?;
        handshake.sign_later(false, sorted.octets.as_deref().unwrap_or_default());
        let method = negotiate::method(keypair.group());
        let answer = sorted.ke.filter(|ke| ke.method == method && ke.data != keypair.public());
        answer.and_then(|ke| keypair.agree(&ke.data).ok()).ok_or_else(|| invalid(method))
    });
    match shared {
        Ok(shared) => {
            handshake.go_on(core, step, id, &shared);
            request(handshake, core, step, left, first)
        }
        Err(Refusal { reason, detail, .. }) => {
            let (exchange, detail) = (ExchangeType::IKE_INTERMEDIATE, detail.unwrap_or_default());
            step.notices.push(Notice::Failed { exchange, reason, detail });
            State::Ended
        }
    }
}

fn invalid(method: impl std::fmt::Display) -> Refusal {
    Refusal::told(IkeReason::InvalidKe, Notify::error(NotifyType::INVALID_SYNTAX))
        .with(format!("the value for {method} is not valid, or of another method"))
}

// Responder.

/// Answers a request, while key exchanges are left.
pub fn answer(
    mut state: Box<InitAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    // Authentic within this IKE SA: this is where its sender is, perhaps on port 4500 now.
    core.settle_at(incoming.path);
    let id = incoming.header.message_id;
    let answered = sorted.and_then(|sorted| {
        sorted.require(REQUIRED)?;
        let group = state.left.front().copied().ok_or_else(|| Refusal::silent(IkeReason::UnexpectedExchange))?;
        let method = negotiate::method(group);
        let theirs = sorted.ke.filter(|ke| ke.method == method).ok_or_else(|| invalid(method))?;
        let (data, shared) = kex::answer(group, &theirs.data, step.entropy).map_err(|_| invalid(method))?;
        state.handshake.sign_later(true, sorted.octets.as_deref().unwrap_or_default());
        Ok((Payload::Ke(Ke { method, data }), shared))
    });
    match answered {
        Ok((own, shared)) => {
            state.left.pop_front();
            let payloads = [own];
            state.handshake.sign_own(core, true, id, &payloads);
            core.respond(step, &mut state.handshake.protection, incoming, &payloads);
            // RFC 9370 §2.2.2: the answer still goes out under the keys before; a request that comes again is read with them.
            core.superseded = Some(state.handshake.go_on(core, step, id, &shared));
            state.until = step.now + limits::HALF_OPEN_TIME;
            State::InitAnswered(state)
        }
        Err(Refusal { reason, notify, detail }) => {
            let (exchange, detail) = (ExchangeType::IKE_INTERMEDIATE, detail.unwrap_or_default());
            step.notices.push(Notice::Declined { exchange, reason, detail });
            let answer: Vec<_> = notify.map(Payload::Notify).into_iter().collect();
            core.respond(step, &mut state.handshake.protection, incoming, &answer);
            let until = state.until.min(step.now + limits::REFUSED_TIME);
            let (protection, not_before) = (state.handshake.protection, step.now);
            let was_established = false;
            let closing = Closing { protection, farewell: None, not_before, sent: false, was_established, until };
            State::Closing(Box::new(closing))
        }
    }
}
