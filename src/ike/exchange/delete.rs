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

/// Asks the peer to forget a child SA, named by the SPI under which we receive. It leaves the data path now: what is
/// still under way to us has a successor or is not wanted.
pub fn begin(state: &mut Established, core: &mut Core, step: &mut Step<'_>, inbound: Spi) -> Option<Ongoing> {
    let payloads = [Payload::Delete(Delete::esp([inbound.get()]))];
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &payloads)?;
    state.remove_child(core, step, inbound, "deleted");
    step.esp.release(inbound);
    Some(Ongoing::DeleteChild)
}

/// Removes what the peer deletes and gives what we answer.
///
/// RFC 7296 §1.4.1: the answer names the SAs of the other direction, and not those whose delete we have sent ourselves:
/// they are no longer in the table.
pub fn answer(state: &mut Established, core: &Core, step: &mut Step<'_>, sorted: &Sorted) -> Vec<Payload> {
    let mut ours = Vec::new();
    // The peer names the SPIs under which it receives: our outbound ones.
    for spi in sorted.deletes.iter().flat_map(Delete::esp_spis) {
        let child = state.children.iter().find(|child| child.agreed.outbound.get() == spi);
        if let Some(inbound) = child.map(|child| child.agreed.inbound) {
            state.remove_child(core, step, inbound, "the peer deleted it");
            ours.push(inbound.get());
        } else {
            state.note_unknown_delete(spi);
        }
    }
    if ours.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::esp(ours))] }
}
