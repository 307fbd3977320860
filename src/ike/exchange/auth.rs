//! IKE_AUTH (RFC 7296 §1.2, §2.15): who we are, who the peer is, and the first child SA.
//!
//! ```text
//! Initiator                                              Responder
//! HDR, SK {IDi, [N(INITIAL_CONTACT)], IDr, AUTH,
//!          SAi2, TSi, TSr}                          -->
//!                                                   <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
//!                                               or  <--  HDR, SK {IDr, AUTH, N(why no child SA)}
//!                                               or  <--  HDR, SK {N(AUTHENTICATION_FAILED)}
//! ```
//! Left out: certificates, EAP, configuration payloads (passed over), IPComp, transport mode (passed over: without our
//! own USE_TRANSPORT_MODE the child SA is in tunnel mode, §1.3.1).

use subtle::ConstantTimeEq;

use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::auth::psk::{self, SignedOctets};
use crate::ike::child::{self, Declined, Offer};
use crate::ike::collision;
use crate::ike::describe;
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::{Nonces, child_keys};
use crate::ike::limits;
use crate::ike::negotiate::Place;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::state::{AuthRequested, Closing, Established, Handshake, InitAnswered, State};
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Auth, Id, Notify, Payload};

/// With PSK both sides show identity and proof in their first message.
const REQUEST: Required =
    Required(&[PayloadType::IDI, PayloadType::AUTH, PayloadType::SA, PayloadType::TSI, PayloadType::TSR]);
/// A response that has anything to say after authentication.
const RESPONSE: Required = Required(&[PayloadType::IDR, PayloadType::AUTH]);

impl Handshake {
    /// What the initiator signs.
    fn initiator_octets<'a>(&'a self, id: &'a Id) -> SignedOctets<'a> {
        SignedOctets { message: &self.init_request, nonce: &self.responder_nonce, sk_p: &self.keys.sk_pi, id }
    }

    /// What the responder signs.
    fn responder_octets<'a>(&'a self, id: &'a Id) -> SignedOctets<'a> {
        SignedOctets { message: &self.init_response, nonce: &self.initiator_nonce, sk_p: &self.keys.sk_pr, id }
    }

    fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator_nonce, responder: &self.responder_nonce }
    }
}

// Initiator.

/// Sends the request, with the child SA `first` (or the first configured one).
pub fn request(mut handshake: Handshake, core: &mut Core, step: &mut Step<'_>, first: Option<ShapeId>) -> State {
    let tunnel = core.tunnel.clone();
    let auth = psk::sign(handshake.suite.prf, &tunnel.psk, handshake.initiator_octets(&tunnel.local_id));
    let own_auth = auth.data.clone();
    let mut payloads = vec![Payload::IdI(tunnel.local_id.clone())];
    if step.rivals.is_empty() {
        // RFC 7296 §2.4: "asserts that this IKE SA is the only IKE SA currently active between the authenticated
        // identities".
        payloads.push(Payload::Notify(Notify::error(NotifyType::INITIAL_CONTACT)));
    }
    payloads.push(Payload::IdR(tunnel.peer_id.clone()));
    payloads.push(Payload::Auth(auth));
    let shape = first.or_else(|| tunnel.children.first().map(|child| child.shape));
    let offer = shape.map(|shape| Offer::new(core, step, shape, Place::IkeAuth));
    payloads.extend(offer.as_ref().and_then(|offer| offer.payloads(core)).into_iter().flatten());
    // Inner packets are checked against their length, so padding behind them would be refused (RFC 4303 §2.7).
    payloads.push(Payload::Notify(Notify::error(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED)));
    core.request(step, &mut handshake.protection, ExchangeType::IKE_AUTH, &payloads)
        .expect("IKE_SA_INIT is complete, so the window is free");
    State::AuthRequested(Box::new(AuthRequested { handshake, offer, own_auth }))
}

/// The response has come in.
pub fn process(
    state: Box<AuthRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let AuthRequested { handshake, offer, own_auth } = *state;
    core.window.complete();
    let exchange = ExchangeType::IKE_AUTH;
    let fail = |step: &mut Step<'_>, reason, detail: String| {
        step.notices.push(Notice::Failed { exchange, reason, detail });
    };
    let sorted = match sorted {
        Ok(sorted) => sorted,
        Err(refusal) => {
            fail(step, refusal.reason, refusal.detail.unwrap_or_default());
            return State::Ended;
        }
    };
    if let (None, Some(error)) = (&sorted.auth, sorted.error()) {
        let reason = match error.kind {
            NotifyType::AUTHENTICATION_FAILED => IkeReason::AuthenticationFailed,
            _ => IkeReason::PeerError,
        };
        fail(step, reason, format!("the peer refused us: {}", error.kind));
        return State::Ended;
    }
    if let Err(refusal) = sorted.require(RESPONSE) {
        fail(step, refusal.reason, refusal.detail.unwrap_or_default());
        return State::Ended;
    }
    let (Some(id), Some(auth)) = (&sorted.id_r, &sorted.auth) else { return State::Ended };
    let tunnel = core.tunnel.clone();
    let verified = if bool::from(auth.data.ct_eq(&own_auth)) {
        Err(IkeReason::Reflected)
    } else {
        let signed = handshake.responder_octets(id);
        psk::verify(handshake.suite.prf, &tunnel.psk, signed, auth, &tunnel.peer_id)
    };
    let proof = match verified {
        Ok(proof) => proof,
        Err(reason) => {
            fail(step, reason, who(id, &tunnel.peer_id));
            // RFC 7296 §2.21.2: the initiator tells the responder, which believes that all is well, "in a separate
            // INFORMATIONAL exchange".
            let farewell = Some(Payload::Notify(Notify::error(NotifyType::AUTHENTICATION_FAILED)));
            let until = step.now + limits::CLOSING_TIME;
            let protection = handshake.protection;
            let not_before = step.now;
            let mut closing = Closing { protection, farewell, not_before, sent: false, was_established: false, until };
            closing.say(core, step);
            return State::Closing(Box::new(closing));
        }
    };
    let agreed = offer.map(|offer| (offer.shape, offer.inbound, offer.accept(core, &sorted)));
    let child = agreed.map(|(shape, inbound, agreed)| {
        let agreed = agreed.map(|agreed| {
            let suite = agreed.suite;
            let keys = child_keys(handshake.suite.prf, &handshake.keys.sk_d, None, handshake.nonces(), suite);
            agreed.specs(core, step, keys, true, None)
        });
        (shape, inbound, agreed)
    });
    let mut established = Established::new(proof, handshake, core, step);
    step.notices.push(Notice::Authenticated { initial_contact: false });
    let receive_only = collision::loses(core.spis, step.rivals);
    match child {
        None => {}
        Some((_, _, Ok(new))) => {
            let child = new.install_inbound(step).install_outbound(core, step, receive_only);
            established.children.push(child);
        }
        Some((shape, inbound, Err(declined))) => {
            established.child_failed(step, shape, inbound, exchange, declined, sorted.sa.is_some());
        }
    }
    established.proceed(core, step);
    State::Established(Box::new(established))
}

/// For the log: who spoke, and who should have.
fn who(said: &Id, expected: &Id) -> String {
    format!("the peer says it is {}, expected is {}", describe::identity(said), describe::identity(expected))
}

// Responder.

/// Answers the request. It is not known yet who sent it.
pub fn answer(
    state: Box<InitAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let mut handshake = state.handshake;
    // The message is authentic within this IKE SA, so this is where its sender is: it may have floated to port 4500.
    core.path = incoming.path;
    let checked = sorted.and_then(|sorted| authenticate(&handshake, core, sorted));
    let (proof, request) = match checked {
        Ok(checked) => checked,
        Err(Refusal { reason, notify, detail }) => {
            step.notices.push(Notice::Declined {
                exchange: ExchangeType::IKE_AUTH,
                reason,
                detail: detail.unwrap_or_default(),
            });
            let answer: Vec<_> = notify.map(Payload::Notify).into_iter().collect();
            core.respond(step, &mut handshake.protection, incoming, &answer);
            // Kept for as long as the answer may have to be repeated.
            let until = state.until.min(step.now + limits::REFUSED_TIME);
            let protection = handshake.protection;
            let not_before = step.now;
            let closing =
                Closing { protection, farewell: None, not_before, sent: false, was_established: false, until };
            return State::Closing(Box::new(closing));
        }
    };
    let tunnel = core.tunnel.clone();
    let auth: Auth = psk::sign(handshake.suite.prf, &tunnel.psk, handshake.responder_octets(&tunnel.local_id));
    let mut payloads = vec![Payload::IdR(tunnel.local_id.clone()), Payload::Auth(auth)];
    // RFC 7296 §1.2: if the child SA fails, the IKE SA stands all the same.
    let child = match child::choose(core, step, &request, &[], Place::IkeAuth) {
        Ok((agreed, proposal)) => {
            payloads.extend(agreed.payloads(proposal));
            let suite = agreed.suite;
            let keys = child_keys(handshake.suite.prf, &handshake.keys.sk_d, None, handshake.nonces(), suite);
            Some(agreed.specs(core, step, keys, false, None).install_inbound(step))
        }
        Err(Declined { reason, notify, detail }) => {
            payloads.push(Payload::Notify(notify));
            step.notices.push(Notice::Declined { exchange: ExchangeType::IKE_AUTH, reason, detail });
            None
        }
    };
    core.respond(step, &mut handshake.protection, incoming, &payloads);
    let mut established = Established::new(proof, handshake, core, step);
    let initial_contact = request.notify(NotifyType::INITIAL_CONTACT).is_some();
    step.notices.push(Notice::Authenticated { initial_contact });
    // An SA that INITIAL_CONTACT is about to end is no rival.
    let rivals: Vec<_> =
        step.rivals.iter().filter(|rival| !(initial_contact && rival.is_older_than(core))).copied().collect();
    let receive_only = collision::loses(core.spis, &rivals);
    if let Some(child) = child {
        established.children.push(child.install_outbound(core, step, receive_only));
    }
    established.proceed(core, step);
    State::Established(Box::new(established))
}

/// Checks identity and proof.
fn authenticate(
    handshake: &Handshake,
    core: &Core,
    sorted: Sorted,
) -> Result<(crate::ike::auth::PeerAuthenticated, Sorted), Refusal> {
    let refused = |reason| Refusal::told(reason, Notify::error(NotifyType::AUTHENTICATION_FAILED));
    if sorted.id_i.is_some() && sorted.auth.is_none() {
        // RFC 7296 §2.16: no AUTH asks for EAP, which this tunnel does not do.
        return Err(refused(IkeReason::AuthenticationFailed).with("the peer asks for EAP"));
    }
    sorted.require(REQUEST)?;
    let (Some(id), Some(auth)) = (&sorted.id_i, &sorted.auth) else {
        return Err(Refusal::missing(PayloadType::AUTH));
    };
    let tunnel = &core.tunnel;
    let signed = handshake.initiator_octets(id);
    let proof = psk::verify(handshake.suite.prf, &tunnel.psk, signed, auth, &tunnel.peer_id)
        .map_err(|reason| refused(reason).with(who(id, &tunnel.peer_id)))?;
    if let Some(wanted) = sorted.id_r.as_ref().filter(|wanted| !wanted.names(&tunnel.local_id)) {
        let detail = format!(
            "the peer asks for {}, we are {}",
            describe::identity(wanted),
            describe::identity(&tunnel.local_id)
        );
        return Err(refused(IkeReason::WrongIdentity).with(detail));
    }
    Ok((proof, sorted))
}
