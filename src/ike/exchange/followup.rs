//! IKE_FOLLOWUP_KE (RFC 9370 §2.2.4): key exchanges that follow the one of CREATE_CHILD_SA, before the new SA is made.
//!
//! ```text
//! Initiator                                               Responder
//! HDR(CREATE_CHILD_SA), SK {SA, Ni, KEi ..}           -->
//!                            <-- HDR, SK {SA, Nr, KEr .., N(ADDITIONAL_KEY_EXCHANGE)(link1)}
//! HDR, SK {KEi(1), N(ADDITIONAL_KEY_EXCHANGE)(link1)} -->
//!                            <-- HDR, SK {KEr(1), N(ADDITIONAL_KEY_EXCHANGE)(link2)}
//! HDR, SK {KEi(2), N(ADDITIONAL_KEY_EXCHANGE)(link2)} -->
//!                            <-- HDR, SK {KEr(2)}
//! ```
//! Of two rekeyings at once (RFC 7296 §2.8.1) the nonces decide as ever; they are known after CREATE_CHILD_SA, so that the one
//! that loses is not carried on.

use std::collections::VecDeque;

use super::create;
use super::{child_create, child_rekey, ike_rekey};
use crate::crypto::kex::{self, KeyPair};
use crate::crypto::suite::{Additional, Group, IkeSuite};
use crate::event::IkeReason;
use crate::ike::child::{Agreed, Declined};
use crate::ike::child_sa::ChildSa;
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::{Nonces, Spis, child_keys};
use crate::ike::limits;
use crate::ike::negotiate;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::state::Established;
use crate::ike::state::established::Next;
use crate::ike::step::Step;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Ke, Notify, Payload};

/// Both messages carry this; all but the last response a link besides.
const REQUIRED: Required = Required(&[PayloadType::KE]);

fn link(link: &[u8]) -> Payload {
    Payload::Notify(Notify::status(NotifyType::ADDITIONAL_KEY_EXCHANGE, link.to_vec()))
}

// Initiator.

/// Our part in a series of key exchanges.
pub struct Series {
    secrets: Vec<Secret>,
    left: VecDeque<Group>,
    keypair: Option<KeyPair>,
}

impl Series {
    /// After CREATE_CHILD_SA, with its secret.
    pub fn new(first: Option<Secret>, additional: Additional) -> Self {
        let left = additional.iter().map(|(_, group)| group).collect();
        Self { secrets: first.into_iter().collect(), left, keypair: None }
    }

    /// Whether no other exchange is to come.
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// All secrets in their order.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Takes the response to the last request.
    pub fn take(&mut self, answer: &Sorted) -> Result<(), Declined> {
        if let Some(error) = answer.error() {
            let reason = match error.kind {
                NotifyType::STATE_NOT_FOUND => IkeReason::StateNotFound,
                _ => IkeReason::PeerError,
            };
            let detail = format!("the peer says {} to a key exchange that follows another one", error.kind);
            return Err(Declined { reason, notify: error.clone(), detail });
        }
        let Some(keypair) = self.keypair.take() else { return Ok(()) };
        let group = keypair.group();
        self.secrets.push(create::agree(Some(keypair), group, answer)?);
        Ok(())
    }

    /// Asks for the next exchange, with the link that the last response holds.
    pub fn ask(
        &mut self,
        state: &mut Established,
        core: &mut Core,
        step: &mut Step<'_>,
        answer: &Sorted,
    ) -> Result<(), Declined> {
        let missing = || {
            let detail = "no ADDITIONAL_KEY_EXCHANGE, although key exchanges are to follow";
            Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, detail)
        };
        let said = answer.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE);
        let said = said.filter(|notify| notify.data.len() <= limits::MAX_LINK).ok_or_else(missing)?;
        let group = self.left.pop_front().ok_or_else(missing)?;
        let keypair = KeyPair::generate(group, step.entropy);
        let payloads = [create::ke(&keypair), link(&said.data)];
        self.keypair = Some(keypair);
        core.request(step, &mut state.protection, ExchangeType::IKE_FOLLOWUP_KE, &payloads).ok_or_else(missing)
    }
}

// Responder.

/// The peer's part in a series: what its CREATE_CHILD_SA will make when the last key exchange has been made.
pub struct Pending {
    link: Vec<u8>,
    until: Instant,
    left: VecDeque<Group>,
    secrets: Vec<Secret>,
    initiator_nonce: Vec<u8>,
    responder_nonce: Vec<u8>,
    makes: Makes,
}

/// What a series makes.
pub enum Makes {
    /// A child SA, perhaps in place of one.
    Child {
        /// What was agreed.
        agreed: Box<Agreed>,
        /// Our SPI of the one in whose place it comes.
        old: Option<Spi>,
    },
    /// An IKE SA in place of this one.
    Ike {
        /// The suite.
        suite: IkeSuite,
        /// Its SPIs.
        spis: Spis,
    },
}

impl Pending {
    /// After CREATE_CHILD_SA.
    pub fn new(
        step: &mut Step<'_>,
        first: Option<Secret>,
        additional: Additional,
        nonces: Nonces<'_>,
        makes: Makes,
    ) -> Self {
        Self {
            link: step.entropy.array::<{ limits::LINK_LEN }>().to_vec(),
            until: step.now + limits::FOLLOWUP_TIME,
            left: additional.iter().map(|(_, group)| group).collect(),
            secrets: first.into_iter().collect(),
            initiator_nonce: nonces.initiator.to_vec(),
            responder_nonce: nonces.responder.to_vec(),
            makes,
        }
    }

    /// What the peer is to say with its next key exchange.
    pub fn link(&self) -> Payload {
        link(&self.link)
    }

    fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator_nonce, responder: &self.responder_nonce }
    }

    fn is_for(&self, replaced: Spi) -> bool {
        matches!(self.makes, Makes::Child { old: Some(old), .. } if old == replaced)
    }

    /// Nothing comes of it.
    fn release(&self, step: &mut Step<'_>) {
        if let Makes::Child { agreed, .. } = &self.makes {
            step.esp.release(agreed.inbound);
        }
    }
}

/// Answers a request.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Result<Next, Refusal> {
    sorted.require(REQUIRED)?;
    let said = sorted.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| &notify.data);
    let found = said.and_then(|said| state.pending.iter().position(|pending| pending.link == *said));
    let Some(mut pending) = found.map(|index| state.pending.remove(index)) else {
        // RFC 9370 §2.2.4: a key exchange that follows nothing known here gets STATE_NOT_FOUND, which ends nothing but the
        // series.
        let notify = Notify::error(NotifyType::STATE_NOT_FOUND);
        let detail = String::new();
        create::decline_for(state, core, step, incoming, Declined { reason: IkeReason::StateNotFound, notify, detail });
        return Ok(Next::Stay);
    };
    let own = match exchange(&mut pending, step, sorted) {
        Ok(own) => own,
        Err(declined) => {
            forget(state, step, &pending);
            create::decline_for(state, core, step, incoming, declined);
            return Ok(Next::Stay);
        }
    };
    if !pending.left.is_empty() {
        pending.link = step.entropy.array::<{ limits::LINK_LEN }>().to_vec();
        pending.until = step.now + limits::FOLLOWUP_TIME;
        core.respond(step, &mut state.protection, incoming, &[own, pending.link()]);
        state.pending.push(pending);
        return Ok(Next::Stay);
    }
    let payloads = [own];
    let nonces = pending.nonces();
    match &pending.makes {
        Makes::Ike { suite, spis } => {
            let heir = ike_rekey::succeed(state, core, step, *suite, &pending.secrets, nonces, *spis, false);
            Ok(ike_rekey::answered(state, core, step, incoming, heir, nonces, &payloads))
        }
        Makes::Child { agreed, old } => {
            let agreed = (**agreed).clone();
            let group = agreed.suite.group;
            let keys = child_keys(state.suite.prf, &state.sk_d, &pending.secrets, nonces, agreed.suite);
            match old {
                None => {
                    let new = agreed.specs(core, step, keys, false, group);
                    child_create::answered(state, core, step, incoming, new, &payloads);
                }
                Some(old) if state.children.get(*old).is_some_and(ChildSa::is_current) => {
                    let new = agreed.specs(core, step, keys, false, group);
                    child_rekey::answered(state, core, step, incoming, new, (*old, nonces), &payloads);
                }
                Some(old) => {
                    // It was replaced, or deleted, while this was under way (§2.25.1).
                    let known = state.children.get(*old).is_some();
                    let kind = if known { NotifyType::TEMPORARY_FAILURE } else { NotifyType::CHILD_SA_NOT_FOUND };
                    pending.release(step);
                    create::decline(state, core, step, incoming, Notify::error(kind));
                }
            }
            Ok(Next::Stay)
        }
    }
}

/// The next key exchange of a series: our KE payload.
fn exchange(pending: &mut Pending, step: &mut Step<'_>, sorted: &Sorted) -> Result<Payload, Declined> {
    let invalid = |detail: String| Declined::new(IkeReason::InvalidKe, NotifyType::INVALID_SYNTAX, detail);
    let group = pending.left.pop_front().ok_or_else(|| invalid("no key exchange is left".to_owned()))?;
    let method = negotiate::method(group);
    let theirs = sorted.ke.as_ref().filter(|ke| ke.method == method);
    let theirs = theirs.ok_or_else(|| invalid(format!("the key exchange to follow is {method}")))?;
    let answered = kex::answer(group, &theirs.data, step.entropy);
    let (data, shared) = answered.map_err(|_| invalid(format!("the value for {method} is not valid")))?;
    pending.secrets.push(shared);
    Ok(Payload::Ke(Ke { method, data }))
}

/// The response to CREATE_CHILD_SA goes out; the rest follows.
pub fn begin(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    pending: Pending,
    mut payloads: Vec<Payload>,
) {
    payloads.push(pending.link());
    core.respond(step, &mut state.protection, incoming, &payloads);
    state.pending.push(pending);
}

/// Whether the peer may begin another series.
pub fn has_room(state: &Established) -> bool {
    state.pending.len() < limits::MAX_PENDING
}

/// Whether the peer is rekeying this IKE SA.
pub fn rekeys_ike(state: &Established) -> bool {
    state.pending.iter().any(|pending| matches!(pending.makes, Makes::Ike { .. }))
}

/// Whether the peer is rekeying this child SA.
pub fn rekeys_child(state: &Established, inbound: Spi) -> bool {
    state.pending.iter().any(|pending| pending.is_for(inbound))
}

/// Ours has won: what the peer has begun for the same child SA comes to nothing.
pub fn drop_child(state: &mut Established, step: &mut Step<'_>, old: Spi) {
    drop_all(state, step, |pending| pending.is_for(old));
}

/// Ours has won: so it is for the IKE SA.
pub fn drop_ike(state: &mut Established, step: &mut Step<'_>) {
    drop_all(state, step, |pending| matches!(pending.makes, Makes::Ike { .. }));
}

/// The peer has not gone on in time, or this IKE SA goes.
///
/// RFC 9370 §2.2.4: the responder waits a reasonable time for the next request of a series, then forgets the series.
pub fn expire(state: &mut Established, step: &mut Step<'_>) {
    let now = step.now;
    drop_all(state, step, |pending| pending.until <= now);
}

/// All of them.
pub fn drop_everything(state: &mut Established, step: &mut Step<'_>) {
    drop_all(state, step, |_| true);
}

/// When the next of them is given up.
pub fn deadline(state: &Established) -> Option<Instant> {
    state.pending.iter().map(|pending| pending.until).min()
}

fn drop_all(state: &mut Established, step: &mut Step<'_>, goes: impl Fn(&Pending) -> bool) {
    let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending).into_iter().partition(goes);
    state.pending = left;
    for pending in &gone {
        forget(state, step, pending);
    }
}

/// Nothing comes of a series: our own rekeying, if one is under way, has no rival any more.
fn forget(state: &mut Established, step: &mut Step<'_>, pending: &Pending) {
    pending.release(step);
    match &pending.makes {
        Makes::Child { old: Some(old), .. } => child_rekey::rival_is_gone(state, *old),
        Makes::Child { old: None, .. } => {}
        Makes::Ike { .. } => ike_rekey::rival_is_gone(state),
    }
}
