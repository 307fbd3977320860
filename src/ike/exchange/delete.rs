//! Deleting SAs with INFORMATIONAL (RFC 7296 §1.4.1, §3.11).
//!
//! ```text
//! Initiator                        Responder
//! HDR, SK {D(ESP, own SPIs)}  -->
//!                             <--  HDR, SK {D(ESP, own SPIs)}
//! HDR, SK {D(IKE)}            -->
//!                             <--  HDR, SK {}
//! ```

use crate::ike::ike_sa::Core;
use crate::ike::payloads::Sorted;
use crate::ike::state::Established;
use crate::ike::state::established::Ongoing;
use crate::ike::step::Step;
use crate::sa::spi::Spi;
use crate::wire::ike::numbers::{ExchangeType, ProtocolId};
use crate::wire::ike::payload::{Delete, Payload};

/// Whether the message ends its IKE SA.
pub fn names_ike_sa(sorted: &Sorted) -> bool {
    sorted.deletes.iter().any(|delete| delete.protocol == ProtocolId::IKE)
}

/// Asks the peer to forget a child SA, named by the SPI under which we receive. Nothing is sent on it from now on; what is
/// still under way to us is received for a moment if it has a successor, and not wanted if it has none.
pub fn begin(state: &mut Established, core: &mut Core, step: &mut Step<'_>, inbound: Spi) -> Option<Ongoing> {
    let payloads = [Payload::Delete(Delete::esp([inbound.get()]))];
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &payloads)?;
    let child = state.children.get(inbound);
    let (outbound, replaced) = (child.map(|child| child.agreed.outbound), child.and_then(|child| child.replaced_by));
    match child {
        Some(_) if replaced.is_some() => state.remove_child(core, step, inbound, "another one took its place"),
        Some(_) => state.remove_child(core, step, inbound, "deleted"),
        // It exists at the peer alone.
        None => step.esp.release(inbound),
    }
    Some(Ongoing::DeleteChild(outbound))
}

/// Removes what the peer deletes and gives what we answer.
///
/// RFC 7296 §1.4.1: the answer names the SAs of the other direction, and not those whose delete we have sent ourselves:
/// they are no longer in the table.
pub fn answer(state: &mut Established, core: &Core, step: &mut Step<'_>, sorted: &Sorted) -> Vec<Payload> {
    let mut ours = Vec::new();
    // The peer names the SPIs under which it receives: our outbound ones.
    for spi in sorted.deletes.iter().flat_map(Delete::esp_spis) {
        if let Some(inbound) = state.children.by_outbound(spi).map(|child| child.agreed.inbound) {
            state.remove_child(core, step, inbound, "the peer deleted it");
            ours.push(inbound.get());
        } else {
            state.note_unknown_delete(spi);
        }
    }
    // What takes its place sends now, and the peer has it: it has asked for something new.
    state.children.answers_arrived(step.now);
    if ours.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::esp(ours))] }
}
