//! INFORMATIONAL (RFC 7296 §1.4): deletes, errors, and the empty message that asks whether the peer lives (§2.4).
//!
//! ```text
//! Initiator                         Responder
//! HDR, SK {[N,] [D,] [CP,] ...} -->
//!                               <-- HDR, SK {[N,] [D,] [CP,] ...}
//! ```

use super::{delete, mobike};
use crate::event::IkeReason;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::payloads::Sorted;
use crate::ike::state::Established;
use crate::ike::state::established::{Next, Ongoing};
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::{ExchangeType, NotifyType};

/// Asks whether the peer lives.
pub fn begin_liveness(state: &mut Established, core: &mut Core, step: &mut Step<'_>) -> Option<Ongoing> {
    let about = mobike::about_mapping(core, step);
    let (payloads, ongoing) = match &about {
        Some(payloads) => (&payloads[..], Ongoing::AskMapping),
        None => (&[][..], Ongoing::Liveness),
    };
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, payloads)?;
    Some(ongoing)
}

/// Gives the peer our token of a new IKE SA (RFC 6290 §4.3: in an exchange of its own, where the initiator of the rekeying
/// makes tokens).
pub fn begin_token(state: &mut Established, core: &mut Core, step: &mut Step<'_>) -> Option<Ongoing> {
    let token = step.token(core)?;
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &[token])?;
    Some(Ongoing::Liveness)
}

/// Answers a request.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Next {
    state.take_token(sorted);
    if sorted.notify(NotifyType::REDIRECT).is_some() {
        // RFC 5685 §5: in an established IKE SA too. The agreement names the addresses.
        let (exchange, reason, detail) = (ExchangeType::INFORMATIONAL, IkeReason::Redirected, String::new());
        step.notices.push(Notice::Declined { exchange, reason, detail });
    }
    let mut answer = delete::answer(state, core, step, sorted);
    answer.extend(mobike::answer(state, core, step, incoming, sorted));
    // RFC 7296 §1.4: a request must be answered, if only with an empty message.
    core.respond(step, &mut state.protection, incoming, &answer);
    if delete::names_ike_sa(sorted) {
        return Next::End("the peer deleted it");
    }
    // §2.21.2: the initiator could not authenticate us.
    match sorted.notify(NotifyType::AUTHENTICATION_FAILED) {
        Some(_) => Next::End("the peer says that our authentication failed"),
        None => Next::Stay,
    }
}
