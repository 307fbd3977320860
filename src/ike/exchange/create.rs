//! CREATE_CHILD_SA is three exchanges under one number (RFC 7296 §1.3): a further child SA, one in place of another, and an
//! IKE SA in place of this one. Here is told which, and what they share: the key exchange.

use crate::crypto::kex::KeyPair;
use crate::crypto::suite::{EspSuite, Group};
use crate::event::IkeReason;
use crate::ike::child::{Agreed, Declined, Offer};
use crate::ike::child_sa::NewChild;
use crate::ike::collision::Lowest;
use crate::ike::error::Refusal;
use crate::ike::exchange::followup::{self, Makes, Pending, Series};
use crate::ike::exchange::{child_create, child_rekey, ike_rekey};
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::{Nonces, child_keys};
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::negotiate;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::state::Established;
use crate::ike::state::established::{Next, Ongoing};
use crate::ike::step::{Notice, Step};
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload, Proposal};

/// Every one of the messages carries these.
pub const REQUIRED: Required = Required(&[PayloadType::SA, PayloadType::NONCE]);

// Initiator.

/// A request for a child SA that is under way.
pub struct Requested {
    /// What was asked for.
    pub offer: Offer,
    /// `Ni`.
    pub nonce: Vec<u8>,
    keypair: Option<KeyPair>,
    /// Whether the group is one that the peer asked for.
    retried: bool,
    /// Whether it says N(SA_RESOURCE_INFO).
    announced: bool,
    /// What the peer has agreed to, while key exchanges follow.
    following: Option<Following>,
}

/// A child SA whose keys are not complete.
struct Following {
    agreed: Agreed,
    nonce: Vec<u8>,
    series: Series,
}

/// What a response makes.
pub enum Made {
    /// The child SA.
    Now(Box<NewChild>),
    /// Another key exchange is under way.
    Later(Box<Requested>),
    /// The same, but the peer has deleted it already: its delete was faster than the response.
    Gone(Box<NewChild>),
    /// Nothing: the peer's own rekeying has won.
    Nothing,
}

/// What there is to say of a child SA that the peer deleted before we knew of it.
pub fn deleted_already() -> Declined {
    let detail = "the peer has deleted it already";
    Declined::new(IkeReason::PeerError, NotifyType::CHILD_SA_NOT_FOUND, detail)
}

/// Why there is no child SA.
pub struct NotMade {
    /// Why.
    pub declined: Declined,
    /// Whether the peer has made it all the same.
    pub installed: bool,
    /// Whether the peer had agreed, so that it was us who did not.
    pub agreed: bool,
}

/// Asks for a child SA; `group` is the one that the peer wanted last time, `rekeyed` the notification that names the child
/// SA in whose place the new one comes.
pub fn request(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    offer: Offer,
    group: Option<Group>,
    rekeyed: Option<Notify>,
) -> Option<Requested> {
    let Some([sa, ts_i, ts_r]) = offer.payloads(core) else {
        step.esp.release(offer.inbound);
        return None;
    };
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let retried = group.is_some();
    let group = group.or_else(|| offer.suites.iter().find_map(|suite| suite.group));
    let keypair = group.map(|group| KeyPair::generate(group, step.entropy));
    // RFC 7296 §1.3.3: N(REKEY_SA) goes in front of the SA payload.
    let anew = rekeyed.is_none();
    let mut payloads: Vec<_> = rekeyed.map(Payload::Notify).into_iter().collect();
    payloads.extend([sa, Payload::Nonce(Nonce(nonce.clone()))]);
    payloads.extend(keypair.as_ref().map(ke));
    payloads.extend([ts_i, ts_r, no_padding()]);
    let lane = anew.then(|| lanes::announced(&core.tunnel, &state.children, offer.shape)).flatten();
    let announced = lane.is_some();
    payloads.extend(lane);
    core.request(step, &mut state.protection, ExchangeType::CREATE_CHILD_SA, &payloads)?;
    Some(Requested { offer, nonce, keypair, retried, announced, following: None })
}

/// Inner packets are checked against their length, so padding behind them would be refused (RFC 4303 §2.7).
fn no_padding() -> Payload {
    Payload::Notify(Notify::error(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED))
}

/// The KE payload of a key pair.
pub fn ke(keypair: &KeyPair) -> Payload {
    Payload::Ke(Ke { method: negotiate::method(keypair.group()), data: keypair.public().to_vec() })
}

/// The group among `ours` that the peer wants in place of the one that was tried.
pub fn wanted(answer: &Sorted, ours: impl IntoIterator<Item = Group>) -> Option<Group> {
    let notify = answer.notify(NotifyType::INVALID_KE_PAYLOAD)?;
    ours.into_iter().find(|group| notify.wanted_ke() == Some(negotiate::method(*group)))
}

impl Requested {
    /// The group with which the peer wants to be asked once more.
    pub fn once_more(&self, core: &Core, answer: &Sorted) -> Option<Group> {
        let groups = core.tunnel.esp.iter().filter_map(|suite: &EspSuite| suite.group);
        wanted(answer, groups).filter(|_| !self.retried)
    }

    /// Whether we have said that there may be several with these selectors.
    pub fn is_announced(&self) -> bool {
        self.announced
    }

    /// The nonce that decides between two rekeyings, once the peer's is known.
    pub fn lowest(&self, answer: &Sorted) -> Lowest {
        let responder = self.following.as_ref().map(|following| following.nonce.as_slice());
        let responder = responder.or(answer.nonce.as_deref()).unwrap_or_default();
        Lowest::of(Nonces { initiator: &self.nonce, responder })
    }

    /// What the response makes of it. `loses`: the peer's own rekeying is the one to stay, so that no further key exchange is
    /// made for ours.
    #[allow(clippy::single_match_else)] // first and later responses side by side
    pub fn made(
        mut self,
        state: &mut Established,
        core: &mut Core,
        step: &mut Step<'_>,
        answer: &Sorted,
        loses: bool,
    ) -> Result<Made, NotMade> {
        let (result, last) = match self.following.take() {
            Some(Following { agreed, nonce, mut series }) => {
                let last = series.is_over();
                (series.take(answer).map(|()| Following { agreed, nonce, series }), last)
            }
            None => {
                let result = self.agreed(core, answer);
                let last = result.as_ref().map_or(answer.sa.is_some(), |following| following.series.is_over());
                (result, last)
            }
        };
        let agreed = answer.sa.is_some() || answer.ke.is_some();
        // It is made at the peer by the last response alone.
        let not_made = |declined: Declined| NotMade {
            installed: last && agreed && declined.notify.kind != NotifyType::CHILD_SA_NOT_FOUND,
            agreed,
            declined,
        };
        let mut following = result.map_err(not_made)?;
        if !following.series.is_over() {
            if loses {
                return Ok(Made::Nothing);
            }
            following.series.ask(state, core, step, answer).map_err(not_made)?;
            self.following = Some(following);
            return Ok(Made::Later(Box::new(self)));
        }
        let Following { agreed, nonce, series } = following;
        let gone = state.was_deleted(agreed.outbound);
        let nonces = Nonces { initiator: &self.nonce, responder: &nonce };
        let keys = child_keys(state.suite.prf, &state.sk_d, series.secrets(), nonces, agreed.suite);
        let group = agreed.suite.group;
        let new = Box::new(agreed.specs(core, step, keys, true, group));
        Ok(if gone { Made::Gone(new) } else { Made::Now(new) })
    }

    /// What the peer has agreed to in CREATE_CHILD_SA.
    fn agreed(&mut self, core: &Core, answer: &Sorted) -> Result<Following, Declined> {
        let agreed = self.offer.accept(core, answer)?;
        let Some(nonce) = answer.nonce.clone() else {
            return Err(Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no Nonce"));
        };
        let keypair = self.keypair.take();
        let shared = agreed.suite.group.map(|group| agree(keypair, group, answer)).transpose()?;
        let series = Series::new(shared, agreed.suite.additional);
        Ok(Following { agreed, nonce, series })
    }
}

/// The shared secret of our key pair with the peer's KE.
pub fn agree(keypair: Option<KeyPair>, group: Group, answer: &Sorted) -> Result<Secret, Declined> {
    let invalid = |detail: &str| Declined::new(IkeReason::InvalidKe, NotifyType::INVALID_SYNTAX, detail);
    let ke = answer.ke.as_ref().ok_or_else(|| invalid("no KE"))?;
    let keypair = keypair.filter(|keypair| keypair.group() == group).ok_or_else(|| invalid("another group"))?;
    if ke.method != negotiate::method(group) || ke.data == keypair.public() {
        return Err(invalid("the KE payload is of another group, or our own"));
    }
    keypair.agree(&ke.data).map_err(|_| invalid("the public value is not valid"))
}

// Responder.

/// Answers a request. The IKE SA stays, whatever becomes of it, but for a message that is malformed (§2.21.3).
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Result<Next, Refusal> {
    let of_ike = |proposal: &Proposal| proposal.protocol == ProtocolId::IKE;
    let rekeys_ike = sorted.sa.as_ref().is_some_and(|sa| sa.proposals.iter().any(of_ike));
    if is_busy(state, rekeys_ike) {
        decline(state, core, step, incoming, Notify::error(NotifyType::TEMPORARY_FAILURE));
        if rekeys_ike && !state.leaves_soon() && !followup::rekeys_ike(state) {
            // It may ask again when something else is under way here, and again, until its lifetime is over.
            state.rekey_ike_next(step.now);
        }
        return Ok(Next::Stay);
    }
    if rekeys_ike {
        return ike_rekey::answer(state, core, step, incoming, sorted);
    }
    let named = sorted.notify(NotifyType::REKEY_SA).filter(|notify| notify.protocol != ProtocolId::IKE);
    let most = core.tunnel.children.len() * 2 + limits::SPARE_CHILDREN;
    let current = state.children.iter().filter(|child| child.is_current()).count();
    // A rekeying is answered as usual even while what it replaces, or lost against it, waits for its end.
    let full = if named.is_some() { state.children.len() >= most + limits::SPARE_REKEYED } else { current >= most };
    if full {
        // RFC 7296 §1.3: "If the responder rejects the CREATE_CHILD_SA request with a NO_ADDITIONAL_SAS notification",
        // it takes no more child SAs in this IKE SA.
        decline(state, core, step, incoming, Notify::error(NotifyType::NO_ADDITIONAL_SAS));
        return Ok(Next::Stay);
    }
    match named {
        Some(notify) => child_rekey::answer(state, core, step, incoming, sorted, notify)?,
        None => child_create::answer(state, core, step, incoming, sorted)?,
    }
    Ok(Next::Stay)
}

/// Whether what is under way here forbids what the peer asks.
fn is_busy(state: &Established, rekeys_ike: bool) -> bool {
    if !rekeys_ike {
        // RFC 7296 §2.25.2: "If a peer receives a request to create or rekey a Child SA when it is currently rekeying the
        // IKE SA, it SHOULD reply with TEMPORARY_FAILURE."
        return matches!(state.ongoing, Some(Ongoing::IkeRekey(_))) || followup::rekeys_ike(state);
    }
    // §2.25.1: so does one that is creating, rekeying or closing a child SA of an IKE SA that is to be rekeyed. One that
    // is about to close the IKE SA says the same (§2.25.2).
    state.leaves_soon()
        || followup::rekeys_ike(state)
        || matches!(state.ongoing, Some(Ongoing::ChildCreate(_) | Ongoing::ChildRekey(_) | Ongoing::DeleteChild(_)))
}

/// Answers with a notification.
pub fn decline(state: &mut Established, core: &mut Core, step: &mut Step<'_>, incoming: &Incoming<'_>, notify: Notify) {
    core.respond(step, &mut state.protection, incoming, &[Payload::Notify(notify)]);
}

/// Answers with the reason for which something is not made.
pub fn decline_for(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    declined: Declined,
) {
    let Declined { reason, notify, detail } = declined;
    // Another group is asked for, and comes: nothing to report.
    let settled = notify.kind == NotifyType::INVALID_KE_PAYLOAD;
    decline(state, core, step, incoming, notify);
    if settled {
        return;
    }
    step.notices.push(Notice::Declined { exchange: ExchangeType::CREATE_CHILD_SA, reason, detail });
}

/// What a request makes here.
pub enum Answer {
    /// The child SA.
    Now(Box<NewChild>),
    /// Key exchanges follow.
    Later(Pending),
}

/// A child SA for what was agreed, in place of `old` if there is one, with the payloads of the response and our nonce.
pub fn make(
    state: &Established,
    core: &Core,
    step: &mut Step<'_>,
    sorted: &Sorted,
    (agreed, proposal): (Agreed, Proposal),
    old: Option<Spi>,
) -> Result<(Answer, Vec<Payload>, Vec<u8>), Declined> {
    let inbound = agreed.inbound;
    let EspSuite { group, additional, .. } = agreed.suite;
    if !additional.is_empty() && !followup::has_room(state) {
        step.esp.release(inbound);
        let detail = "too many key exchanges are under way";
        return Err(Declined::new(IkeReason::PeerError, NotifyType::TEMPORARY_FAILURE, detail));
    }
    let exchanged = group.map(|group| exchange_keys(group, sorted, step)).transpose();
    let (public, shared) = match exchanged {
        Ok(exchanged) => exchanged.unzip(),
        Err(declined) => {
            step.esp.release(inbound);
            return Err(declined);
        }
    };
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let theirs = sorted.nonce.as_deref().unwrap_or_default();
    let nonces = Nonces { initiator: theirs, responder: &nonce };
    let mut payloads = vec![Agreed::proposal(proposal), Payload::Nonce(Nonce(nonce.clone()))];
    payloads.extend(public);
    payloads.extend(agreed.selectors());
    payloads.push(no_padding());
    if old.is_none() {
        payloads.extend(lanes::answered(&core.tunnel, sorted, agreed.shape));
    }
    let answer = if additional.is_empty() {
        let keys = child_keys(state.suite.prf, &state.sk_d, shared.as_slice(), nonces, agreed.suite);
        Answer::Now(Box::new(agreed.specs(core, step, keys, false, group)))
    } else {
        let makes = Makes::Child { agreed: Box::new(agreed), old };
        Answer::Later(Pending::new(step, shared, additional, nonces, makes))
    };
    Ok((answer, payloads, nonce))
}

/// Our KE payload and the shared secret.
pub fn exchange_keys(group: Group, sorted: &Sorted, step: &mut Step<'_>) -> Result<(Payload, Secret), Declined> {
    let method = negotiate::method(group);
    let Some(theirs) = sorted.ke.as_ref().filter(|ke| ke.method == method) else {
        // RFC 7296 §1.3: the proposal names a group, the KE payload is of another one.
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
    Ok((public, shared))
}
