//! The initiator's part of IKE_AUTH: it proves itself first, and asks for the first child SA with it (RFC 7296 §1.2).

use subtle::ConstantTimeEq;

use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::auth::{Circumstances, Failure, LocalAuth, Means, PeerAuthenticated, Shown, announce, check, prove};
use crate::ike::child::Offer;
use crate::ike::children::Children;
use crate::ike::collision;
use crate::ike::config::Childless;
use crate::ike::error::Refusal;
use crate::ike::exchange::{config, eap, mobike};
use crate::ike::ike_sa::Core;
use crate::ike::keymat::child_keys;
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::negotiate::Place;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::ppk::{self, Mixed};
use crate::ike::state::{AuthRequested, Closing, Established, Handshake, State};
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload};

/// A response that has anything to say after authentication.
const RESPONSE: Required = Required(&[PayloadType::IDR, PayloadType::AUTH]);

/// Sends the request, with the child SA `first` (or the first configured one).
pub fn request(mut handshake: Handshake, core: &mut Core, step: &mut Step<'_>, first: Option<ShapeId>) -> State {
    let tunnel = core.tunnel.clone();
    let says = handshake.peer_says.clone();
    let circumstances = Circumstances { turn: core.turn, says: &says };
    if matches!(tunnel.local_auth, LocalAuth::Eap(_)) && tunnel.ppk.as_ref().is_some_and(|ppk| ppk.required) {
        // Not done together: the configuration says so, and nothing goes on without what is required.
        let (exchange, reason) = (ExchangeType::IKE_AUTH, IkeReason::PpkRequired);
        step.notices.push(Notice::Failed { exchange, reason, detail: String::new() });
        return State::Ended;
    }
    let ppk = tunnel.ppk.as_deref().filter(|_| handshake.offers_ppk);
    let ppk = ppk.filter(|_| !matches!(tunnel.local_auth, LocalAuth::Eap(_)));
    // RFC 8784 §3: a proof without the PPK goes along where it is not mandatory, for a responder that does not have it.
    let signed = handshake.initiator_octets(&tunnel.local_id);
    let without = ppk.filter(|ppk| !ppk.required);
    let without = without.and_then(|_| prove(&tunnel.local_auth, signed, circumstances).ok().flatten());
    let mut mixed = ppk.map(|ppk| Mixed::new(handshake.suite.prf, ppk, &handshake.keys));
    if let Some(mixed) = &mut mixed {
        handshake.swap(mixed);
    }
    let own = prove(&tunnel.local_auth, handshake.initiator_octets(&tunnel.local_id), circumstances);
    if let Some(mixed) = &mut mixed {
        handshake.swap(mixed);
    }
    let own = match own {
        Ok(own) => own,
        Err(Failure { reason, detail }) => {
            step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_AUTH, reason, detail });
            return State::Ended;
        }
    };
    let own_auth = own.as_ref().map(|own| own.auth.data.clone());
    core.own_means = match (&own, &tunnel.local_auth) {
        (Some(own), _) => Some(own.means),
        (None, LocalAuth::Eap(credentials)) => Some(Means::Eap(credentials.name())),
        (None, _) => None,
    };
    let (certificates, auth) = own.map_or((Vec::new(), None), |own| (own.certificates, Some(own.auth)));
    let mut payloads = vec![Payload::IdI(tunnel.local_id.clone())];
    payloads.extend(certificates.into_iter().map(Payload::Cert));
    if step.rivals.is_empty() {
        // RFC 7296 §2.4: "asserts that this IKE SA is the only IKE SA currently active between the authenticated
        // identities".
        payloads.push(Payload::Notify(Notify::error(NotifyType::INITIAL_CONTACT)));
    }
    payloads.extend(announce::request(&tunnel));
    // RFC 9593 §3: the initiator says what it takes once the responder has.
    payloads.extend(announce::methods(&tunnel).filter(|_| handshake.peer_says.names_methods()));
    payloads.push(Payload::IdR(tunnel.peer_id.clone()));
    payloads.extend(auth.map(Payload::Auth));
    payloads.extend(mobike::supported(core));
    payloads.extend(config::request(core));
    // RFC 6023 §3: every child SA gets an exchange of its own.
    let childless = core.terms.childless && tunnel.peering.childless == Childless::Prefer;
    let first = first.map(|shape| lanes::first(&tunnel, shape));
    let shape = first.or_else(|| tunnel.children.first().map(|child| child.shape)).filter(|_| !childless);
    let offer = shape.map(|shape| Offer::new(core, step, shape, Place::IkeAuth));
    payloads.extend(offer.as_ref().and_then(|offer| offer.payloads(core)).into_iter().flatten());
    payloads.extend(shape.and_then(|shape| lanes::announced(&tunnel, &Children::default(), shape)));
    // Inner packets are checked against their length, so padding behind them would be refused (RFC 4303 §2.7).
    payloads.push(Payload::Notify(Notify::error(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED)));
    payloads.extend(step.token(core));
    payloads.extend(ppk.map(ppk::identity));
    let no_ppk = |without: prove::Proof| Payload::Notify(Notify::status(NotifyType::NO_PPK_AUTH, without.auth.data));
    payloads.extend(without.map(no_ppk));
    core.request(step, &mut handshake.protection, ExchangeType::IKE_AUTH, &payloads)
        .expect("IKE_SA_INIT is complete, so the window is free");
    match (own_auth, &tunnel.local_auth) {
        (None, LocalAuth::Eap(credentials)) => eap::requested(handshake, offer, credentials, step),
        (own_auth, _) => {
            let own_auth = own_auth.unwrap_or_default();
            State::AuthRequested(Box::new(AuthRequested { handshake, offer, own_auth, mixed }))
        }
    }
}

/// The response has come in.
pub fn process(
    state: Box<AuthRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let AuthRequested { mut handshake, offer, own_auth, mixed } = *state;
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
            NotifyType::AUTHENTICATION_FAILED => {
                step.notices.push(Notice::ProofRefused);
                IkeReason::AuthenticationFailed
            }
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
    if let Err(reason) = ppk::settle(&mut handshake, tunnel.ppk.as_deref(), mixed, &sorted) {
        return give_up(handshake, core, step, reason, String::new());
    }
    let verified = if bool::from(auth.data.ct_eq(&own_auth)) {
        Err(Failure { reason: IkeReason::Reflected, detail: String::new() })
    } else {
        let shown = Shown { auth, certificates: &sorted.certificates, unix_now: step.unix_now };
        check(&tunnel.peer_auth, &tunnel.peer_id, handshake.responder_octets(id), shown)
    };
    let proof = match verified {
        Ok(proof) => proof,
        Err(Failure { reason, detail }) => return give_up(handshake, core, step, reason, detail),
    };
    establish_opened(proof, handshake, core, step, offer, &sorted)
}

/// The responder is not who it should be, and it believes that all is well.
pub fn give_up(handshake: Handshake, core: &mut Core, step: &mut Step<'_>, reason: IkeReason, detail: String) -> State {
    step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_AUTH, reason, detail });
    // RFC 7296 §2.21.2: the initiator tells the responder "in a separate INFORMATIONAL exchange".
    let farewell = Some(Payload::Notify(Notify::error(NotifyType::AUTHENTICATION_FAILED)));
    let until = step.now + limits::CLOSING_TIME;
    let protection = handshake.protection;
    let not_before = step.now;
    let mut closing = Closing { protection, farewell, not_before, sent: false, was_established: false, until };
    closing.say(core, step);
    State::Closing(Box::new(closing))
}

/// The peer has proved itself, and in `sorted` it says what becomes of the child SA: the IKE SA that we opened stands.
pub fn establish_opened(
    proof: PeerAuthenticated,
    handshake: Handshake,
    core: &mut Core,
    step: &mut Step<'_>,
    offer: Option<Offer>,
    sorted: &Sorted,
) -> State {
    let agreed = offer.map(|offer| (offer.shape, offer.inbound, offer.accept(core, sorted)));
    config::accept(core, sorted);
    mobike::agree(core, sorted);
    let child = agreed.map(|(shape, inbound, agreed)| {
        let agreed = agreed.map(|agreed| {
            let suite = agreed.suite;
            let keys = child_keys(handshake.suite.prf, &handshake.keys.sk_d, &[], handshake.nonces(), suite);
            agreed.specs(core, step, keys, true, None)
        });
        (shape, inbound, agreed)
    });
    let mut established = Established::new(proof, handshake, core, step);
    established.take_token(sorted);
    step.notices.push(Notice::Authenticated { initial_contact: false });
    let receive_only = collision::loses(core, step.rivals);
    match child {
        None => {}
        Some((_, _, Ok(new))) => {
            established.hear_of_lanes(core, step, ExchangeType::IKE_AUTH, lanes::is_one_of_several(sorted));
            let child = new.install_inbound(step).install_outbound(core, step, receive_only);
            established.children.push(child);
        }
        Some((shape, inbound, Err(declined))) => {
            established.child_failed(step, shape, inbound, ExchangeType::IKE_AUTH, declined, sorted.sa.is_some());
        }
    }
    established.proceed(core, step);
    State::Established(Box::new(established))
}
