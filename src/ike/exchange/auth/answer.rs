//! The responder's part of IKE_AUTH: whoever asks has to have proved itself before it learns anything (RFC 7296 §1.2, §2.21.2).

use crate::event::IkeReason;
use crate::ike::auth::{Circumstances, Failure, Means, PeerAuth, PeerAuthenticated, Shown, check, prove};
use crate::ike::child::{self, Agreed, Declined};
use crate::ike::collision;
use crate::ike::describe;
use crate::ike::error::Refusal;
use crate::ike::exchange::{config, eap, mobike};
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::child_keys;
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::negotiate::Place;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::ppk;
use crate::ike::state::{Closing, Established, Handshake, InitAnswered, State};
use crate::ike::step::{Notice, Step};
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload};

/// Who does not ask for EAP shows identity and proof in its first message.
const REQUEST: Required = Required(&[PayloadType::IDI, PayloadType::AUTH]);

/// Answers the request. It is not known yet who sent it.
pub fn answer(
    state: Box<InitAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    // The message is authentic within this IKE SA, so this is where its sender is: it may have floated to port 4500.
    core.settle_at(incoming.path);
    let tunnel = core.tunnel.clone();
    let sorted = sorted.and_then(|sorted| mobike::keeps_promise(core, incoming.path, &sorted).map(|()| sorted));
    let sorted = match (sorted, &tunnel.peer_auth) {
        (Ok(request), PeerAuth::Eap(authenticator)) if eap::is_asked_for(&request) => {
            if tunnel.ppk.as_ref().is_some_and(|ppk| ppk.required) {
                let refusal = Refusal::told(IkeReason::PpkRequired, Notify::error(NotifyType::AUTHENTICATION_FAILED));
                return refuse(state.handshake, state.until, core, step, incoming, refusal);
            }
            return eap::begin(state, core, step, incoming, request, authenticator);
        }
        (sorted, _) => sorted,
    };
    let (mut handshake, until) = (state.handshake, state.until);
    if let Ok(sorted) = &sorted {
        handshake.peer_says.hear(&sorted.notifies);
    }
    let checked = sorted.and_then(|mut sorted| {
        ppk::choose(&mut handshake, tunnel.ppk.as_deref(), &mut sorted)?;
        authenticate(&handshake, core, step.unix_now, sorted)
    });
    let (proof, request) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refuse(handshake, until, core, step, incoming, refusal),
    };
    // A peer that has one key of several is answered with the one that it has.
    let turn = match proof.means() {
        Means::Psk(place) => place,
        Means::Signature(_) | Means::Eap(_) => 0,
    };
    let circumstances = Circumstances { turn, says: &handshake.peer_says };
    let own = prove(&tunnel.local_auth, handshake.responder_octets(&tunnel.local_id), circumstances);
    let failed = Notify::error(NotifyType::AUTHENTICATION_FAILED);
    let own = match own {
        Ok(Some(own)) => own,
        Ok(None) => {
            let refusal = Refusal::told(IkeReason::NotResponder, failed);
            return refuse(handshake, until, core, step, incoming, refusal);
        }
        Err(Failure { reason, detail }) => {
            let refusal = Refusal::told(reason, failed).with(detail);
            return refuse(handshake, until, core, step, incoming, refusal);
        }
    };
    core.own_means = Some(own.means);
    let mut payloads = vec![Payload::IdR(tunnel.local_id.clone())];
    payloads.extend(own.into_payloads());
    payloads.extend(handshake.uses_ppk.then(ppk::used));
    establish_answered(proof, handshake, core, step, incoming, &request, payloads)
}

/// The peer has not proved itself, or asks for what makes no sense.
pub fn refuse(
    handshake: Handshake,
    until: Instant,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    mut refusal: Refusal,
) -> State {
    let answer: Vec<_> = refusal.notify.take().map(Payload::Notify).into_iter().collect();
    refuse_with(handshake, until, core, step, incoming, refusal, &answer)
}

/// The same, with this answer.
pub fn refuse_with(
    mut handshake: Handshake,
    until: Instant,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    Refusal { reason, detail, .. }: Refusal,
    answer: &[Payload],
) -> State {
    let detail = detail.unwrap_or_default();
    step.notices.push(Notice::Declined { exchange: ExchangeType::IKE_AUTH, reason, detail });
    core.respond(step, &mut handshake.protection, incoming, answer);
    // Kept for as long as the answer may have to be repeated.
    let until = until.min(step.now + limits::REFUSED_TIME);
    let protection = handshake.protection;
    let not_before = step.now;
    State::Closing(Box::new(Closing {
        protection,
        farewell: None,
        not_before,
        sent: false,
        was_established: false,
        until,
    }))
}

/// The peer has proved itself and asks in `request` for a child SA; `payloads` are the first ones of our answer to
/// `incoming`, our own proof among them. The IKE SA that the peer opened stands.
pub fn establish_answered(
    proof: PeerAuthenticated,
    mut handshake: Handshake,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    request: &Sorted,
    mut payloads: Vec<Payload>,
) -> State {
    // RFC 7296 §1.2: if the child SA fails, the IKE SA stands all the same.
    mobike::agree(core, request);
    if core.terms.mobike {
        payloads.extend(mobike::supported(core));
    }
    let chosen = if child::is_childless(core, request) {
        None
    } else {
        let granted = config::grant(core, request).map(|given| payloads.extend(given));
        Some(granted.and_then(|()| child::choose(core, step, request, &[], Place::IkeAuth)))
    };
    let child = match chosen {
        None => None,
        Some(Ok((agreed, proposal))) => {
            payloads.push(Agreed::proposal(proposal));
            payloads.extend(agreed.selectors());
            payloads.extend(lanes::answered(&core.tunnel, request, agreed.shape));
            let suite = agreed.suite;
            let keys = child_keys(handshake.suite.prf, &handshake.keys.sk_d, &[], handshake.nonces(), suite);
            Some(agreed.specs(core, step, keys, false, None).install_inbound(step))
        }
        Some(Err(Declined { reason, notify, detail })) => {
            payloads.push(Payload::Notify(notify));
            step.notices.push(Notice::Declined { exchange: ExchangeType::IKE_AUTH, reason, detail });
            None
        }
    };
    payloads.extend(step.token(core));
    core.respond(step, &mut handshake.protection, incoming, &payloads);
    let mut established = Established::new(proof, handshake, core, step);
    established.take_token(request);
    let initial_contact = request.notify(NotifyType::INITIAL_CONTACT).is_some();
    step.notices.push(Notice::Authenticated { initial_contact });
    let receive_only = collision::loses(core, step.rivals);
    if let Some(child) = child {
        established.hear_of_lanes(core, step, ExchangeType::IKE_AUTH, lanes::is_one_of_several(request));
        established.children.push(child.install_outbound(core, step, receive_only));
    }
    established.proceed(core, step);
    State::Established(Box::new(established))
}

/// Checks identity and proof.
fn authenticate(
    handshake: &Handshake,
    core: &Core,
    unix_now: u64,
    sorted: Sorted,
) -> Result<(PeerAuthenticated, Sorted), Refusal> {
    let refused = |reason| Refusal::told(reason, Notify::error(NotifyType::AUTHENTICATION_FAILED));
    if eap::is_asked_for(&sorted) {
        // RFC 7296 §2.16: no AUTH asks for EAP, which this tunnel does not do.
        return Err(refused(IkeReason::AuthenticationFailed).with("the peer asks for EAP"));
    }
    sorted.require(REQUEST)?;
    child::require_or_none(core, &sorted)?;
    let (Some(id), Some(auth)) = (&sorted.id_i, &sorted.auth) else {
        return Err(Refusal::missing(PayloadType::AUTH));
    };
    let tunnel = &core.tunnel;
    let shown = Shown { auth, certificates: &sorted.certificates, unix_now };
    let proof = check(&tunnel.peer_auth, &tunnel.peer_id, handshake.initiator_octets(id), shown)
        .map_err(|Failure { reason, detail }| refused(reason).with(detail))?;
    is_meant_for_us(core, &sorted)?;
    Ok((proof, sorted))
}

/// Whether it is us whom the peer wants to speak with.
pub fn is_meant_for_us(core: &Core, sorted: &Sorted) -> Result<(), Refusal> {
    let tunnel = &core.tunnel;
    if let Some(wanted) = sorted.id_r.as_ref().filter(|wanted| !wanted.names(&tunnel.local_id)) {
        let detail = format!(
            "the peer asks for {}, we are {}",
            describe::identity(wanted),
            describe::identity(&tunnel.local_id)
        );
        let notify = Notify::error(NotifyType::AUTHENTICATION_FAILED);
        return Err(Refusal::told(IkeReason::WrongIdentity, notify).with(detail));
    }
    Ok(())
}
