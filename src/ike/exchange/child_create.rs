//! CREATE_CHILD_SA for a further child SA (RFC 7296 §1.3.1), with or without a key exchange of its own.
//!
//! ```text
//! Initiator                              Responder
//! HDR, SK {SA, Ni, [KEi,] TSi, TSr}  -->
//!                                    <-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//!                                or  <-- HDR, SK {N(INVALID_KE_PAYLOAD)}   once more with that group
//!                                or  <-- HDR, SK {N(error)}                the IKE SA stays
//! ```

use super::create::{self, Answer, Made, NotMade, Requested};
use super::followup;
use crate::crypto::suite::Group;
use crate::ids::ShapeId;
use crate::ike::child::{self, Offer};
use crate::ike::child_sa::NewChild;
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::negotiate::Place;
use crate::ike::payloads::Sorted;
use crate::ike::state::Established;
use crate::ike::state::established::{Ongoing, Task};
use crate::ike::step::Step;
use crate::wire::ike::numbers::ExchangeType;
use crate::wire::ike::payload::Payload;

// Initiator.

/// Asks for a child SA; `group` is the one that the peer wanted last time.
pub fn begin(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    shape: ShapeId,
    group: Option<Group>,
) -> Option<Ongoing> {
    core.window.next_id()?;
    if lanes::is_left_alone(&core.tunnel, &state.children, shape) {
        // What the peer has said since this began to wait.
        return None;
    }
    let offer = Offer::new(core, step, shape, Place::CreateChildSa);
    let requested = create::request(state, core, step, offer, group, None)?;
    Some(Ongoing::ChildCreate(Box::new(requested)))
}

/// The response has come in.
pub fn process(requested: Requested, state: &mut Established, core: &mut Core, step: &mut Step<'_>, answer: &Sorted) {
    let (shape, inbound) = (requested.offer.shape, requested.offer.inbound);
    if let Some(group) = requested.once_more(core, answer) {
        step.esp.release(inbound);
        state.tasks.push_front(Task::CreateChild { shape, group: Some(group), beside: true });
        return;
    }
    if answer.sa.is_some() && requested.is_announced() {
        let takes_part = lanes::is_one_of_several(answer);
        state.hear_of_lanes(core, step, ExchangeType::CREATE_CHILD_SA, takes_part);
    }
    match requested.made(state, core, step, answer, false) {
        Ok(Made::Now(new)) => {
            let receive_only = state.leaves_soon();
            let child = new.install_inbound(step).install_outbound(core, step, receive_only);
            state.add_child(core, step, child, true);
        }
        Ok(Made::Later(requested)) => state.ongoing = Some(Ongoing::ChildCreate(requested)),
        // Of two that both sides have made at once the peer has chosen the other one. It may have sent on this one before.
        Ok(Made::Gone(new)) if state.children.is_covered(shape) => {
            let _ = new.install_inbound(step);
            state.children.linger(step.now + limits::LINGER, &[inbound]);
        }
        Ok(Made::Gone(_)) => {
            let declined = create::deleted_already();
            state.child_failed(step, shape, inbound, ExchangeType::CREATE_CHILD_SA, declined, false);
        }
        Ok(Made::Nothing) => step.esp.release(inbound),
        Err(NotMade { declined, installed, .. }) => {
            state.child_failed(step, shape, inbound, ExchangeType::CREATE_CHILD_SA, declined, installed);
        }
    }
}

// Responder.

/// Answers a request.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Result<(), Refusal> {
    sorted.require(create::REQUIRED)?;
    child::require_child(sorted)?;
    let one_of_several = lanes::is_one_of_several(sorted);
    if one_of_several || state.children.len() == 0 {
        state.hear_of_lanes(core, step, ExchangeType::CREATE_CHILD_SA, one_of_several);
    }
    let chosen = child::choose(core, step, sorted, &state.children.covered(), Place::CreateChildSa);
    match chosen.and_then(|chosen| create::make(state, core, step, sorted, chosen, None)) {
        Ok((Answer::Now(new), payloads, _)) => answered(state, core, step, incoming, *new, &payloads),
        Ok((Answer::Later(pending), payloads, _)) => followup::begin(state, core, step, incoming, pending, payloads),
        Err(declined) => create::decline_for(state, core, step, incoming, declined),
    }
    Ok(())
}

/// The child SA is made, and the last response goes out.
pub fn answered(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    new: NewChild,
    payloads: &[Payload],
) {
    let half = new.install_inbound(step);
    core.respond(step, &mut state.protection, incoming, payloads);
    let receive_only = state.leaves_soon();
    let child = half.install_outbound(core, step, receive_only);
    state.add_child(core, step, child, false);
}
