//! CREATE_CHILD_SA for a further child SA (RFC 7296 §1.3.1), with or without a key exchange of its own.
//!
//! ```text
//! Initiator                              Responder
//! HDR, SK {SA, Ni, [KEi,] TSi, TSr}  -->
//!                                    <-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//!                                or  <-- HDR, SK {N(INVALID_KE_PAYLOAD)}   once more with that group
//!                                or  <-- HDR, SK {N(error)}                the IKE SA stays
//! ```
//! A peer's rekeying (§1.3.2, §1.3.3) is answered NO_ADDITIONAL_SAS: see [`answer`].

use crate::crypto::kex::KeyPair;
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::child::{self, Agreed, Declined, HalfInstalled, Offer};
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::{Nonces, child_keys};
use crate::ike::limits;
use crate::ike::negotiate::{self, Place};
use crate::ike::payloads::{Required, Sorted};
use crate::ike::state::Established;
use crate::ike::state::established::{Ongoing, Task};
use crate::ike::step::{Notice, Step};
use crate::secret::Secret;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload};

/// Both messages carry at least these.
const REQUIRED: Required = Required(&[PayloadType::SA, PayloadType::NONCE]);

/// A request of ours under way.
pub struct Requested {
    offer: Offer,
    nonce: Vec<u8>,
    keypair: Option<KeyPair>,
    /// Whether the group is one that the peer asked for.
    retried: bool,
}

impl Requested {
    /// For which selectors.
    pub fn shape(&self) -> ShapeId {
        self.offer.shape
    }
}

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
    let offer = Offer::new(core, step, shape, Place::CreateChildSa);
    let Some([sa, ts_i, ts_r]) = offer.payloads(core) else {
        step.esp.release(offer.inbound);
        return None;
    };
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let retried = group.is_some();
    let group = group.or_else(|| core.tunnel.esp.iter().find_map(|suite| suite.group));
    let keypair = group.map(|group| KeyPair::generate(group, step.entropy));
    let mut payloads = vec![sa, Payload::Nonce(Nonce(nonce.clone()))];
    payloads.extend(keypair.as_ref().map(ke));
    payloads.extend([ts_i, ts_r]);
    core.request(step, &mut state.protection, ExchangeType::CREATE_CHILD_SA, &payloads)?;
    Some(Ongoing::ChildCreate(Box::new(Requested { offer, nonce, keypair, retried })))
}

fn ke(keypair: &KeyPair) -> Payload {
    Payload::Ke(Ke { method: negotiate::method(keypair.group()), data: keypair.public().to_vec() })
}

/// The response has come in.
pub fn process(requested: Requested, state: &mut Established, core: &mut Core, step: &mut Step<'_>, answer: &Sorted) {
    let Requested { offer, nonce, keypair, retried } = requested;
    let (shape, inbound) = (offer.shape, offer.inbound);
    if let Some(notify) = answer.notify(NotifyType::INVALID_KE_PAYLOAD)
        && !retried
    {
        let mut groups = core.tunnel.esp.iter().filter_map(|suite| suite.group);
        if let Some(group) = groups.find(|group| notify.wanted_ke() == Some(negotiate::method(*group))) {
            step.esp.release(inbound);
            state.tasks.push_front(Task::CreateChild { shape, group: Some(group) });
            return;
        }
    }
    let made = offer.accept(core, answer).and_then(|agreed| {
        if state.was_deleted(agreed.outbound) {
            let detail = "the peer has deleted it already";
            return Err(Declined::new(IkeReason::PeerError, NotifyType::CHILD_SA_NOT_FOUND, detail));
        }
        let Some(theirs) = &answer.nonce else {
            return Err(Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no Nonce"));
        };
        let shared = agree(keypair, agreed.suite.group, answer)?;
        let nonces = Nonces { initiator: &nonce, responder: theirs };
        let keys = child_keys(state.suite.prf, &state.sk_d, shared.as_ref(), nonces, agreed.suite);
        Ok(agreed.specs(core, step, keys, true))
    });
    match made {
        Ok(new) => {
            let receive_only = state.leaves_soon();
            let child = new.install_inbound(step).install_outbound(core, step, receive_only);
            state.add_child(core, child);
        }
        Err(declined) => {
            let installed = answer.sa.is_some() && declined.notify.kind != NotifyType::CHILD_SA_NOT_FOUND;
            state.child_failed(step, shape, inbound, ExchangeType::CREATE_CHILD_SA, declined, installed);
        }
    }
}

/// The shared secret of our key pair with the peer's KE, if the suite has a group.
fn agree(keypair: Option<KeyPair>, group: Option<Group>, answer: &Sorted) -> Result<Option<Secret>, Declined> {
    let Some(group) = group else { return Ok(None) };
    let invalid = |detail: &str| Declined::new(IkeReason::InvalidKe, NotifyType::INVALID_SYNTAX, detail);
    let ke = answer.ke.as_ref().ok_or_else(|| invalid("no KE"))?;
    let keypair = keypair.filter(|keypair| keypair.group() == group).ok_or_else(|| invalid("another group"))?;
    if ke.method != negotiate::method(group) || ke.data == keypair.public() {
        return Err(invalid("the KE payload is of another group, or our own"));
    }
    keypair.agree(&ke.data).map(Some).map_err(|_| invalid("the public value is not valid"))
}

// Responder.

/// Answers a request. The IKE SA stays, whatever becomes of the child SA, but for a message that is malformed (§2.21.3).
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Result<(), Refusal> {
    let ike_rekey =
        sorted.sa.as_ref().is_some_and(|sa| sa.proposals.iter().any(|proposal| proposal.protocol == ProtocolId::IKE));
    let most = core.tunnel.children.len() * 2 + limits::SPARE_CHILDREN;
    if ike_rekey || sorted.notify(NotifyType::REKEY_SA).is_some() || state.children.len() >= most {
        // RFC 7296 §1.3: "If the responder rejects the CREATE_CHILD_SA request with a NO_ADDITIONAL_SAS notification",
        // the peer falls back to a new IKE SA when its keys grow old.
        let full = Payload::Notify(Notify::error(NotifyType::NO_ADDITIONAL_SAS));
        core.respond(step, &mut state.protection, incoming, &[full]);
        return Ok(());
    }
    sorted.require(REQUIRED)?;
    child::require_child(sorted)?;
    match create(state, core, step, sorted) {
        Ok((half, payloads)) => {
            core.respond(step, &mut state.protection, incoming, &payloads);
            let receive_only = state.leaves_soon();
            let child = half.install_outbound(core, step, receive_only);
            state.add_child(core, child);
        }
        Err(Declined { reason, notify, detail }) => {
            core.respond(step, &mut state.protection, incoming, &[Payload::Notify(notify)]);
            let exchange = ExchangeType::CREATE_CHILD_SA;
            step.notices.push(Notice::Declined { exchange, reason, detail });
        }
    }
    Ok(())
}

fn create(
    state: &Established,
    core: &Core,
    step: &mut Step<'_>,
    sorted: &Sorted,
) -> Result<(HalfInstalled, Vec<Payload>), Declined> {
    let (agreed, proposal) = child::choose(core, step, sorted, &state.children, Place::CreateChildSa)?;
    let inbound = agreed.inbound;
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let made = exchange_keys(&agreed, sorted, step);
    let (public, shared) = match made {
        Ok(made) => made,
        Err(declined) => {
            step.esp.release(inbound);
            return Err(declined);
        }
    };
    let theirs = sorted.nonce.as_deref().unwrap_or_default();
    let nonces = Nonces { initiator: theirs, responder: &nonce };
    let keys = child_keys(state.suite.prf, &state.sk_d, shared.as_ref(), nonces, agreed.suite);
    let [sa, ts_i, ts_r] = agreed.payloads(proposal);
    let mut payloads = vec![sa, Payload::Nonce(Nonce(nonce))];
    payloads.extend(public);
    payloads.extend([ts_i, ts_r]);
    Ok((agreed.specs(core, step, keys, false).install_inbound(step), payloads))
}

/// Our KE payload and the shared secret, if the suite has a group.
fn exchange_keys(
    agreed: &Agreed,
    sorted: &Sorted,
    step: &mut Step<'_>,
) -> Result<(Option<Payload>, Option<Secret>), Declined> {
    let Some(group) = agreed.suite.group else { return Ok((None, None)) };
    let method = negotiate::method(group);
    let Some(theirs) = sorted.ke.as_ref().filter(|ke| ke.method == method) else {
        // RFC 7296 §1.3.1: the proposal names a group, the KE payload is of another one.
        return Err(Declined {
            reason: IkeReason::InvalidKe,
            notify: Notify::invalid_ke(method),
            detail: format!("group {method} is wanted"),
        });
    };
    let keypair = KeyPair::generate(group, step.entropy);
    let public = ke(&keypair);
    let shared = keypair.agree(&theirs.data).map_err(|_| {
        Declined::new(IkeReason::InvalidKe, NotifyType::INVALID_SYNTAX, "the public value is not valid")
    })?;
    Ok((Some(public), Some(shared)))
}
