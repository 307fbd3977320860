//! IKE_AUTH in several rounds (RFC 7296 §2.16): the initiator proves itself by EAP, the responder before that by its key
//! or its certificate.
//!
//! ```text
//! Initiator                                              Responder
//! HDR, SK {IDi, [N(INITIAL_CONTACT)], IDr,
//!          SAi2, TSi, TSr}                          -->
//!                                                   <--  HDR, SK {IDr, [CERT], AUTH, EAP}
//! HDR, SK {EAP}                                     -->
//!                                                   <--  HDR, SK {EAP}
//!        .. as often as the method needs ..
//! HDR, SK {EAP}                                     -->
//!                                                   <--  HDR, SK {EAP(Success)}
//! HDR, SK {AUTH}                                    -->
//!                                                   <--  HDR, SK {AUTH, SAr2, TSi, TSr}
//!                                               or  <--  HDR, SK {EAP(Failure)} after any EAP
//! ```
//! The child SA is asked for in the first request and answered in the last response; nothing of it exists before the last
//! AUTH has been checked. EAP_ONLY_AUTHENTICATION (RFC 5998) is neither offered nor accepted: our own peer shows nothing
//! to a responder that has not proved itself.

use subtle::ConstantTimeEq;

use super::auth::{establish_answered, establish_opened, give_up, is_meant_for_us, refuse, refuse_with};
use crate::event::IkeReason;
use crate::ike::auth::{self, Circumstances, Failure, Shown};
use crate::ike::child::{self, Offer};
use crate::ike::eap::{Authenticator, Credentials, Fault, Peer, Reaction, Server, Verdict};
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::limits;
use crate::ike::payloads::{Required, Sorted};
use crate::ike::state::eap_answered::{EapAnswered, Waiting};
use crate::ike::state::eap_requested::{EapRequested, Stage};
use crate::ike::state::{Handshake, InitAnswered, State};
use crate::ike::step::{Notice, Step};
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Eap, Notify, Payload};

/// The first response: the responder has proved itself, and begins EAP.
const BEGINS: Required = Required(&[PayloadType::IDR, PayloadType::AUTH, PayloadType::EAP]);
/// A round.
const ROUND: Required = Required(&[PayloadType::EAP]);
/// What comes last, either way.
const LAST: Required = Required(&[PayloadType::AUTH]);
/// The first request: all but a proof.
const REQUEST: Required = Required(&[PayloadType::IDI]);

// Initiator.

/// The request without AUTH has been sent: the responder is to prove itself and to begin EAP.
pub fn requested(handshake: Handshake, offer: Option<Offer>, credentials: &Credentials, step: &Step<'_>) -> State {
    let stage = Stage::Begun(Peer::new(credentials, step.unix_now));
    State::EapRequested(Box::new(EapRequested { handshake, offer, stage }))
}

/// A response has come in.
pub fn process(
    state: Box<EapRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let EapRequested { handshake, offer, stage } = *state;
    core.window.complete();
    let sorted = match sorted {
        Ok(sorted) => sorted,
        Err(refusal) => return fail(step, refusal.reason, refusal.detail.unwrap_or_default()),
    };
    if let (None, None, Some(error)) = (&sorted.auth, &sorted.eap, sorted.error()) {
        let reason = match error.kind {
            NotifyType::AUTHENTICATION_FAILED => IkeReason::AuthenticationFailed,
            _ => IkeReason::PeerError,
        };
        return fail(step, reason, format!("the peer refused us: {}", error.kind));
    }
    let required = match &stage {
        Stage::Begun(_) => BEGINS,
        Stage::Rounds { .. } => ROUND,
        Stage::Last { .. } => LAST,
    };
    if let Err(refusal) = sorted.require(required) {
        // A responder that asks for no EAP, or for no more of it, believes what has not been proved.
        return fail(step, refusal.reason, refusal.detail.unwrap_or_default());
    }
    match stage {
        Stage::Begun(peer) => {
            let (Some(id), Some(auth)) = (&sorted.id_r, &sorted.auth) else { return State::Ended };
            let tunnel = core.tunnel.clone();
            // RFC 7296 §2.16: the responder's AUTH comes first, and nothing is shown before it is right (CVE-2015-4171).
            let shown = Shown { auth, certificates: &sorted.certificates, unix_now: step.unix_now };
            match auth::check(&tunnel.peer_auth, &tunnel.peer_id, handshake.responder_octets(id), shown) {
                Ok(first) => {
                    let rounds =
                        EapRequested { handshake, offer, stage: Stage::Rounds { peer, first, id: id.clone() } };
                    go_on(rounds, core, step, &sorted)
                }
                Err(Failure { reason, detail }) => give_up(handshake, core, step, reason, detail),
            }
        }
        Stage::Rounds { .. } => go_on(EapRequested { handshake, offer, stage }, core, step, &sorted),
        Stage::Last { msk, first, id, own_auth } => {
            let Some(auth) = &sorted.auth else { return State::Ended };
            let confirmed = if bool::from(auth.data.ct_eq(&own_auth)) {
                Err(Failure { reason: IkeReason::Reflected, detail: String::new() })
            } else {
                auth::eap::confirm(first, &msk, handshake.responder_octets(&id), auth)
            };
            match confirmed {
                Ok(proof) => establish_opened(proof, handshake, core, step, offer, &sorted),
                Err(Failure { reason, detail }) => give_up(handshake, core, step, reason, detail),
            }
        }
    }
}

/// Answers what EAP asks, or shows our own proof once EAP has ended well.
fn go_on(state: EapRequested, core: &mut Core, step: &mut Step<'_>, sorted: &Sorted) -> State {
    let EapRequested { mut handshake, offer, stage } = state;
    let (Stage::Rounds { mut peer, first, id }, Some(packet)) = (stage, &sorted.eap) else { return State::Ended };
    let (payload, stage) = match peer.handle(packet, step.entropy) {
        Ok(Reaction::Answer(answer)) => (Payload::Eap(Eap(answer)), Stage::Rounds { peer, first, id }),
        Ok(Reaction::Proven(msk)) => {
            let auth = auth::eap::sign(&msk, handshake.initiator_octets(&core.tunnel.local_id));
            let own_auth = auth.data.clone();
            (Payload::Auth(auth), Stage::Last { msk, first, id, own_auth })
        }
        // The responder has said so itself, and has nothing left of this IKE SA.
        Err(Fault { reason, detail, told: true }) => return fail(step, reason, detail.into_owned()),
        Err(Fault { reason, detail, told: false }) => {
            return give_up(handshake, core, step, reason, detail.into_owned());
        }
    };
    core.request(step, &mut handshake.protection, ExchangeType::IKE_AUTH, &[payload])
        .expect("the response before has freed the window");
    State::EapRequested(Box::new(EapRequested { handshake, offer, stage }))
}

fn fail(step: &mut Step<'_>, reason: IkeReason, detail: String) -> State {
    step.notices.push(Notice::Failed { exchange: ExchangeType::IKE_AUTH, reason, detail });
    State::Ended
}

// Responder.

/// Whether a first request asks for EAP. RFC 7296 §2.16: "An initiator indicates a desire to use EAP by leaving out the
/// AUTH payload from the first message in the IKE_AUTH exchange."
pub fn is_asked_for(request: &Sorted) -> bool {
    request.auth.is_none() && request.id_i.is_some()
}

/// Answers the first request with our own proof and the first packet of EAP. It is not known yet who sent it.
pub fn begin(
    state: Box<InitAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    request: Sorted,
    authenticator: &Authenticator,
) -> State {
    let InitAnswered { mut handshake, .. } = *state;
    handshake.peer_says.hear(&request.notifies);
    let until = core.opened_at + limits::EAP_TIME;
    let tunnel = core.tunnel.clone();
    let begun = request
        .require(REQUEST)
        .and_then(|()| child::require_or_none(core, &request))
        .and_then(|()| is_meant_for_us(core, &request))
        .and_then(|()| {
            let signed = handshake.responder_octets(&tunnel.local_id);
            let circumstances = Circumstances { turn: 0, says: &handshake.peer_says };
            let own = auth::prove(&tunnel.local_auth, signed, circumstances)
                .map_err(|Failure { reason, detail }| told(reason).with(detail))?;
            let own = own.ok_or_else(|| told(IkeReason::NotResponder))?;
            let name = tunnel.name.as_bytes();
            let (server, packet) = Server::begin(authenticator, name, step.unix_now, step.entropy)
                .map_err(|fault| told(fault.reason).with(fault.detail))?;
            Ok((own, server, packet))
        });
    let (own, server, packet) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return refuse(handshake, until, core, step, incoming, refusal),
    };
    let mut payloads = vec![Payload::IdR(tunnel.local_id.clone())];
    core.own_means = Some(own.means);
    payloads.extend(own.into_payloads());
    payloads.push(Payload::Eap(Eap(packet)));
    core.respond(step, &mut handshake.protection, incoming, &payloads);
    let method = authenticator.name();
    State::EapAnswered(Box::new(EapAnswered::new(handshake, request, method, Waiting::ForEap(server), until)))
}

/// Answers a further request.
pub fn answer(
    state: Box<EapAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let EapAnswered { mut handshake, request, method, waiting, until, .. } = *state;
    core.settle_at(incoming.path);
    match (waiting, sorted) {
        (Waiting::ForEap(mut server), Ok(Sorted { eap: Some(packet), .. })) => {
            let (packet, waiting) = match server.handle(&packet, step.entropy) {
                Verdict::Ask(packet) => (packet, Waiting::ForEap(server)),
                Verdict::Proven(packet, msk) => (packet, Waiting::ForAuth(msk)),
                Verdict::Refused(packet, Fault { reason, detail, .. }) => {
                    let refusal = Refusal::silent(reason).with(detail);
                    let answer = [Payload::Eap(Eap(packet))];
                    return refuse_with(handshake, until, core, step, incoming, refusal, &answer);
                }
            };
            core.respond(step, &mut handshake.protection, incoming, &[Payload::Eap(Eap(packet))]);
            State::EapAnswered(Box::new(EapAnswered::new(handshake, request, method, waiting, until)))
        }
        (Waiting::ForAuth(msk), Ok(Sorted { auth: Some(auth), .. })) => {
            let tunnel = core.tunnel.clone();
            let Some(id) = &request.id_i else { return State::Ended };
            match auth::eap::check(&msk, method, &tunnel.peer_id, handshake.initiator_octets(id), &auth) {
                Ok(proof) => {
                    let own = auth::eap::sign(&msk, handshake.responder_octets(&tunnel.local_id));
                    let payloads = vec![Payload::Auth(own)];
                    establish_answered(proof, handshake, core, step, incoming, &request, payloads)
                }
                Err(Failure { reason, detail }) => {
                    refuse(handshake, until, core, step, incoming, told(reason).with(detail))
                }
            }
        }
        (waiting, sorted) => {
            let missing = match waiting {
                Waiting::ForEap(_) => PayloadType::EAP,
                Waiting::ForAuth(_) => PayloadType::AUTH,
            };
            let refusal = sorted.err().unwrap_or_else(|| Refusal::missing(missing));
            refuse(handshake, until, core, step, incoming, refusal)
        }
    }
}

/// Answers an INFORMATIONAL request: the peer gives up, for whatever reason.
pub fn answer_farewell(
    state: Box<EapAnswered>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: Result<Sorted, Refusal>,
) -> State {
    let said = sorted.ok().and_then(|sorted| sorted.error().map(|error| error.kind.to_string()));
    let detail = format!("the peer gives up within EAP and says {}", said.as_deref().unwrap_or("nothing"));
    let refusal = Refusal::silent(IkeReason::EapFailed).with(detail);
    refuse_with(state.handshake, state.until, core, step, incoming, refusal, &[])
}

fn told(reason: IkeReason) -> Refusal {
    Refusal::told(reason, Notify::error(NotifyType::AUTHENTICATION_FAILED))
}
