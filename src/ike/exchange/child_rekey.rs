//! CREATE_CHILD_SA in place of a child SA (RFC 7296 §1.3.3, §2.8), and what happens when both sides, or a delete, do it at
//! the same time (§2.8.1, §2.25.1).
//!
//! ```text
//! Initiator                                           Responder
//! HDR, SK {N(REKEY_SA), SA, Ni, [KEi,] TSi, TSr}  -->              receives on the new one
//!                                                 <-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//! receives and sends on the new one
//! HDR, SK {D(old)}                                -->              sends on the new one, if ESP was not faster
//!                                                 <-- HDR, SK {D(old)}
//! receives on the old one for some seconds                         likewise
//! ```

use super::create::{self, Answer, Made, NotMade, Requested};
use super::followup;
use crate::crypto::suite::Group;
use crate::ids::ShapeId;
use crate::ike::child::{self, Declined, Offer};
use crate::ike::child_sa::{ChildSa, NewChild};
use crate::ike::collision::Lowest;
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::Nonces;
use crate::ike::limits;
use crate::ike::payloads::Sorted;
use crate::ike::retransmit::jitter;
use crate::ike::state::Established;
use crate::ike::state::established::{Ongoing, Task};
use crate::ike::step::{Notice, Step};
use crate::sa::spi::Spi;
use crate::wire::ike::numbers::{NotifyType, ProtocolId};
use crate::wire::ike::payload::{Notify, Payload};

/// A request of ours under way.
pub struct Rekeying {
    /// Our SPI of the child SA in whose place another one comes.
    pub old: Spi,
    requested: Requested,
    rival: Option<Rival>,
    /// It was asked for before the peer had shown that it has the old one: that it does not know it says nothing then.
    early: bool,
}

/// What the peer's request for the same child SA made meanwhile.
struct Rival {
    /// Our SPI of it; `None` while key exchanges follow.
    inbound: Option<Spi>,
    lowest: Lowest,
}

impl Rekeying {
    /// For which selectors.
    pub fn shape(&self) -> ShapeId {
        self.requested.offer.shape
    }
}

// Initiator.

/// Asks for another child SA in place of the one on which we receive under `old`.
pub fn begin(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    old: Spi,
    group: Option<Group>,
) -> Option<Ongoing> {
    core.window.next_id()?;
    // It may have gone, or have been replaced by the peer, while this waited for the window.
    let child = state.children.get(old).filter(|child| child.is_current())?;
    if followup::rekeys_child(state, old) {
        // The peer is at it, and if nothing comes of that, the next attempt is ours.
        return None;
    }
    let early = child.is_unproven(step.now);
    let offer = Offer::in_place_of(core, step, &child.agreed);
    // RFC 7296 §1.3.3: "The SPI field of the notification" is the one "the exchange initiator would expect in inbound ESP
    // or AH packets".
    let rekeyed = Notify::about_esp(NotifyType::REKEY_SA, old.get());
    let requested = create::request(state, core, step, offer, group, Some(rekeyed))?;
    Some(Ongoing::ChildRekey(Box::new(Rekeying { old, requested, rival: None, early })))
}

/// The response has come in.
pub fn process(rekeying: Rekeying, state: &mut Established, core: &mut Core, step: &mut Step<'_>, answer: &Sorted) {
    let Rekeying { old, requested, rival, early } = rekeying;
    let (shape, inbound) = (requested.offer.shape, requested.offer.inbound);
    if let Some(group) = requested.once_more(core, answer) {
        step.esp.release(inbound);
        state.tasks.push_front(Task::RekeyChild { inbound: old, group: Some(group) });
        return;
    }
    let lowest = requested.lowest(answer);
    let loses = rival.as_ref().is_some_and(|rival| lowest.loses(&rival.lowest));
    match requested.made(state, core, step, answer, loses) {
        Ok(Made::Now(new)) => install(state, core, step, *new, (old, inbound), rival.as_ref(), &lowest),
        Ok(Made::Later(requested)) => {
            state.ongoing = Some(Ongoing::ChildRekey(Box::new(Rekeying { old, requested: *requested, rival, early })));
        }
        Ok(Made::Gone(_)) => {
            step.esp.release(inbound);
            refused(state, core, step, (old, shape, early), create::deleted_already(), true);
        }
        // The peer's own takes its place, or the next attempt does.
        Ok(Made::Nothing) => step.esp.release(inbound),
        Err(NotMade { declined, installed, agreed }) => {
            if installed {
                // The peer has installed what we do not take.
                state.tasks.push_back(Task::DeleteChild(inbound));
            } else {
                step.esp.release(inbound);
            }
            refused(state, core, step, (old, shape, early), declined, agreed);
        }
    }
}

/// The new child SA stands. If the peer has made another one at the same time, one of the two has to go.
fn install(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    new: NewChild,
    (old, inbound): (Spi, Spi),
    rival: Option<&Rival>,
    lowest: &Lowest,
) {
    let mut child = new.install_inbound(step).in_place_of(core, step, old);
    // A rival that is gone already has nothing to win; one whose keys are not complete may still come.
    let is_there = |inbound| state.children.get(inbound).is_some();
    let rival = rival.filter(|rival| rival.inbound.is_none_or(is_there));
    if rival.is_some_and(|rival| lowest.loses(&rival.lowest)) {
        // RFC 7296 §2.8.1: ours "SHOULD be closed by the endpoint that created it"; the peer deletes the old one.
        child.redundant = true;
        state.children.push(child);
        state.delete_child(inbound);
        return;
    }
    let current = state.children.get(old).is_some_and(ChildSa::is_current);
    if rival.is_none() && !current && !state.children.twins(&child).is_empty() {
        // What it replaces was to go already, in favour of another one for the same traffic, and so is this one.
        child.redundant = true;
        state.children.push(child);
        state.delete_child(inbound);
        return;
    }
    if !state.leaves_soon() {
        child.send(step);
    }
    state.children.push(child);
    match rival {
        Some(Rival { inbound: Some(rival), .. }) => {
            state.children.redundant(*rival, step.now + limits::REDUNDANT_GRACE);
        }
        Some(Rival { inbound: None, .. }) => followup::drop_child(state, step, old),
        None => {}
    }
    if state.children.get(old).is_some_and(|old| !old.leaving) {
        state.children.replaced(old, inbound, None);
        // §2.8: the initiator of the rekeying deletes the old SA.
        state.delete_child(old);
    }
}

/// Nothing came of it. What is in use stays in use. `agreed`: the peer had made the new one, and it was us who did not.
fn refused(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    (old, shape, early): (Spi, ShapeId, bool),
    declined: Declined,
    agreed: bool,
) {
    let Declined { reason, notify, detail } = declined;
    let not_found = !agreed && notify.kind == NotifyType::CHILD_SA_NOT_FOUND;
    let Some(child) = state.children.get_mut(old).filter(|child| child.is_current()) else {
        // The peer was first, or the child SA is gone: nothing is left to rekey.
        if not_found && !early {
            state.remove_child(core, step, old, "the peer has it no more");
        }
        // If the peer has deleted it meanwhile and nothing takes its place, it is missing from now on.
        step.notices.push(Notice::ChildDown { shape });
        return;
    };
    match notify.kind {
        // RFC 7296 §2.25: busy, not unwilling.
        NotifyType::TEMPORARY_FAILURE | NotifyType::STATE_NOT_FOUND if !agreed => {
            child.rekey_at = step.now + jitter(limits::TEMPORARY_FAILURE_PAUSE, 25, step.entropy);
        }
        // It has asked for it, and does not have our answer: it asks again, and so do we.
        _ if not_found && (early || child.is_unproven(step.now)) => {
            child.rekey_at = step.now + jitter(limits::TEMPORARY_FAILURE_PAUSE, 25, step.entropy);
        }
        // §2.25: "it SHOULD silently delete the Child SA (if it still exists) and send a request to create a new Child SA
        // from scratch".
        _ if not_found => {
            state.remove_child(core, step, old, "the peer has it no more");
            if !state.has_child(shape) {
                state.tasks.push_front(Task::CreateChild { shape, group: None, beside: false });
            }
        }
        // A peer that keeps exact pairs may take its own words alone: it shall rekey. If it does not, another one is made
        // from scratch shortly before this one ends.
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED if !agreed => {
            child.leave_to_peer(step.now);
            let detail = format!("rekeying of child SA {old}, which is left to the peer: {detail}");
            step.notices.push(Notice::RekeyFailed { reason, detail });
        }
        _ => {
            child.rekey_at = step.now + jitter(limits::REKEY_RETRY, 25, step.entropy);
            if notify.kind == NotifyType::NO_ADDITIONAL_SAS && !agreed {
                // §4: "the implementation MUST be capable of instead deleting the old SA and creating a new one". A peer that can do
                // the initial exchanges alone gets another IKE SA, whose child SA takes the place of this one in time.
                let last_call = child.last_call(step.now);
                state.reauth_at = state.reauth_at.min(last_call);
            }
            let detail = format!("rekeying of child SA {old}: {detail}");
            step.notices.push(Notice::RekeyFailed { reason, detail });
        }
    }
}

// Responder.

/// Answers a request about the child SA that `named` names.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
    named: &Notify,
) -> Result<(), Refusal> {
    // The peer names it by the SPI under which it receives: our outbound one.
    let spi = named.esp_spi().filter(|_| named.protocol == ProtocolId::ESP).unwrap_or_default();
    let old = match standing(state, spi) {
        Standing::Current(old) => old,
        Standing::Closing => {
            let busy = Notify::error(NotifyType::TEMPORARY_FAILURE);
            create::decline(state, core, step, incoming, busy);
            return Ok(());
        }
        Standing::Unknown => {
            let unknown = Notify::about_esp(NotifyType::CHILD_SA_NOT_FOUND, spi);
            create::decline(state, core, step, incoming, unknown);
            return Ok(());
        }
    };
    sorted.require(create::REQUIRED)?;
    child::require_child(sorted)?;
    let Some(agreed) = state.children.get(old).map(|child| child.agreed.clone()) else { return Ok(()) };
    let chosen = child::choose_in_place_of(core, step, sorted, &agreed);
    match chosen.and_then(|chosen| create::make(state, core, step, sorted, chosen, Some(old))) {
        Ok((Answer::Now(new), payloads, nonce)) => {
            let initiator = sorted.nonce.as_deref().unwrap_or_default();
            let nonces = Nonces { initiator, responder: &nonce };
            answered(state, core, step, incoming, *new, (old, nonces), &payloads);
        }
        Ok((Answer::Later(pending), payloads, nonce)) => {
            let initiator = sorted.nonce.as_deref().unwrap_or_default();
            followup::begin(state, core, step, incoming, pending, payloads);
            rival(state, old, None, Nonces { initiator, responder: &nonce });
        }
        Err(declined) => create::decline_for(state, core, step, incoming, declined),
    }
    Ok(())
}

/// The child SA in place of `old` is made, and the last response goes out.
pub fn answered(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    new: NewChild,
    (old, nonces): (Spi, Nonces<'_>),
    payloads: &[Payload],
) {
    let half = new.install_inbound(step);
    core.respond(step, &mut state.protection, incoming, payloads);
    // Sends on the old one until the peer shows that it has the new one.
    let child = half.in_place_of(core, step, old);
    let inbound = child.agreed.inbound;
    state.children.push(child);
    state.children.replaced(old, inbound, Some(step.now + limits::REPLACED_GRACE));
    rival(state, old, Some(inbound), nonces);
}

/// RFC 7296 §2.25.1: "If a peer receives a request to rekey a Child SA that it is currently trying to rekey, it SHOULD reply as
/// usual, and SHOULD prepare to close redundant SAs later based on the nonces".
fn rival(state: &mut Established, old: Spi, inbound: Option<Spi>, nonces: Nonces<'_>) {
    if let Some(Ongoing::ChildRekey(ours)) = &mut state.ongoing
        && ours.old == old
    {
        ours.rival = Some(Rival { inbound, lowest: Lowest::of(nonces) });
    }
}

/// Nothing comes of what the peer has begun for the same child SA.
pub fn rival_is_gone(state: &mut Established, old: Spi) {
    if let Some(Ongoing::ChildRekey(ours)) = &mut state.ongoing
        && ours.old == old
    {
        ours.rival = None;
    }
}

/// How a child SA that the peer wants to rekey stands.
enum Standing {
    /// In use; our SPI.
    Current(Spi),
    /// It is being closed, or has a successor already.
    Closing,
    /// There is none.
    Unknown,
}

fn standing(state: &Established, outbound: u32) -> Standing {
    match state.children.by_outbound(outbound) {
        Some(child) if child.is_current() => Standing::Current(child.agreed.inbound),
        // RFC 7296 §2.25.1: "If a peer receives a request to rekey a Child SA that it is currently trying to close, it
        // SHOULD reply with TEMPORARY_FAILURE."
        Some(_) => Standing::Closing,
        None if matches!(&state.ongoing, Some(Ongoing::DeleteChild(Some(spi))) if spi.get() == outbound) => {
            Standing::Closing
        }
        // §2.25: a request to rekey a child SA that does not exist gets CHILD_SA_NOT_FOUND.
        None => Standing::Unknown,
    }
}
