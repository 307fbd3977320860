//! The initiator's side of IKE_SA_INIT: what is asked for, and what is believed of answers that may be anybody's.

use std::net::IpAddr;
use std::sync::Arc;

use super::{CHILDLESS, FRAGMENTS, INTERMEDIATE, PPK, REQUIRED, handshake, say, says};
use crate::crypto::kex::KeyPair;
use crate::crypto::suite::Group;
use crate::entropy::Entropy;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::account::{self, Heard, Outcome, Said, Topic};
use crate::ike::auth::announce;
use crate::ike::config::TunnelConfig;
use crate::ike::error::Refusal;
use crate::ike::exchange::intermediate;
use crate::ike::fragment::{Fragments, Outgoing};
use crate::ike::ike_sa::{Core, IkeSa, Incoming};
use crate::ike::keymat::Spis;
use crate::ike::natd::{self, Nat};
use crate::ike::path::{IKE_PORT, Path};
use crate::ike::payloads::Sorted;
use crate::ike::puzzle::Puzzle;
use crate::ike::state::init_requested::Try;
use crate::ike::state::{InitRequested, Purpose, Refused, State};
use crate::ike::step::{Notice, Step};
use crate::ike::terms::Terms;
use crate::ike::window::Window;
use crate::ike::{limits, negotiate};
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload};

/// How an attempt begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// With which head-end.
    pub peer: IpAddr,
    /// What for.
    pub purpose: Purpose,
    /// The child SA that is asked for with it.
    pub first: Option<ShapeId>,
    /// Which of our pre-shared keys it signs with, if there are several.
    pub turn: usize,
}

/// Sends the first request.
pub fn begin(step: &mut Step<'_>, tunnel: &Arc<TunnelConfig>, spi: IkeSpi, beginning: Beginning) -> Option<IkeSa> {
    let group = tunnel.ike.first()?.group;
    let mut core = Core {
        spis: Spis { initiator: spi, responder: 0 },
        initiator: true,
        path: Path::between(tunnel.local, beginning.peer, IKE_PORT),
        nat: Nat::default(),
        terms: Terms { opened: true, ..Terms::default() },
        tunnel: Arc::clone(tunnel),
        turn: beginning.turn,
        own_means: None,
        opened_at: step.now,
        window: Window::new(0),
        fragments: Fragments::default(),
        superseded: None,
    };
    let mut state = InitRequested {
        tries: vec![Try { keypair: KeyPair::generate(group, step.entropy), request: Vec::new() }],
        nonce: step.entropy.array::<{ limits::NONCE_LEN }>().to_vec(),
        false_source: natd::false_source(tunnel.force_encapsulation, step.entropy),
        cookie: None,
        cookies: 0,
        solution: None,
        puzzles: 0,
        retried: Vec::new(),
        hearsay: None,
        first: beginning.first,
        purpose: beginning.purpose,
    };
    let request = state.build(&core)?;
    step.out.transmit(core.path, request.clone());
    core.window.sent(step.now, ExchangeType::IKE_SA_INIT, Outgoing::whole(request), step.entropy);
    Some(IkeSa { core, state: State::InitRequested(Box::new(state)) })
}

impl InitRequested {
    /// The request with the group of the last try.
    fn build(&mut self, core: &Core) -> Option<Vec<u8>> {
        let current = self.tries.last_mut()?;
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            // RFC 7296 §2.6: the cookie goes first, and "all other payloads unchanged".
            payloads.push(Payload::Notify(Notify::status(NotifyType::COOKIE, cookie.clone())));
        }
        // RFC 8019 §7.1.3: the solution stands behind the cookie.
        payloads.extend(self.solution.clone());
        payloads.push(Payload::Sa(negotiate::ike_offer(&core.tunnel.ike)));
        payloads.push(Payload::Ke(Ke {
            method: negotiate::method(current.keypair.group()),
            data: current.keypair.public().to_vec(),
        }));
        payloads.push(Payload::Nonce(Nonce(self.nonce.clone())));
        payloads.extend(natd::notifies(core.spis, core.path, self.false_source));
        payloads.extend(core.tunnel.fragmentation.then(|| say(FRAGMENTS)));
        payloads.extend(announce::hashes(&core.tunnel));
        let follows = core.tunnel.ike.iter().any(|suite| !suite.additional.is_empty());
        payloads.extend(follows.then(|| say(INTERMEDIATE)));
        payloads.extend(core.tunnel.ppk.is_some().then(|| say(PPK)));
        current.request = Message { header: core.header(ExchangeType::IKE_SA_INIT, false, 0), payloads }.encode();
        Some(current.request.clone())
    }

    fn send_again(&mut self, core: &mut Core, step: &mut Step<'_>) {
        let Some(request) = self.build(core) else { return };
        step.out.transmit(core.path, request.clone());
        core.window.replace(step.now, Outgoing::whole(request), step.entropy);
    }

    /// Makes `group` that of the last try.
    fn turn_to(&mut self, group: Group, entropy: &mut dyn Entropy) {
        let known = self.tries.iter().position(|of| of.keypair.group() == group);
        let next = match known {
            Some(index) => self.tries.remove(index),
            None => Try { keypair: KeyPair::generate(group, entropy), request: Vec::new() },
        };
        self.tries.push(next);
    }
}

/// A response has come in. It may be anybody's.
pub fn process(
    state: Box<InitRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
) -> Result<State, Refused> {
    let decoded = Message::decode_after(incoming.header, incoming.datagram).map_err(Refusal::from);
    let sorted = match decoded.and_then(|message| Sorted::sort(message.payloads)) {
        Ok(sorted) => sorted,
        Err(refusal) => return Err(state.refuse_with(refusal)),
    };
    if state.purpose == Purpose::Probe {
        let asks =
            [NotifyType::COOKIE, NotifyType::INVALID_KE_PAYLOAD].iter().any(|kind| sorted.notify(*kind).is_some());
        if sorted.sa.is_none() && !asks {
            return Err(state.refuse(IkeReason::PeerError));
        }
        step.notices.push(Notice::HeadEnd { answers: true });
        return Ok(State::Ended);
    }
    if sorted.sa.is_none() {
        return process_notify(state, core, step, &sorted);
    }
    if let Err(refusal) = sorted.require(REQUIRED) {
        return Err(state.refuse_with(refusal));
    }
    let Sorted { sa: Some(sa), ke: Some(ke), nonce: Some(nonce), notifies, .. } = sorted else {
        return Err(state.refuse(IkeReason::MissingPayload));
    };
    let spis = Spis { initiator: core.spis.initiator, responder: incoming.header.responder_spi };
    if spis.responder == 0 {
        return Err(state.refuse(IkeReason::UnknownIkeSpi));
    }
    // A peer that answers with our own values is a mirror.
    let own_value = state.tries.iter().any(|of| of.keypair.public() == ke.data);
    if spis.responder == spis.initiator || nonce == state.nonce || own_value {
        return Err(state.refuse(IkeReason::Reflected));
    }
    let Some(suite) = negotiate::accept_ike(&sa, &core.tunnel.ike, core.tunnel.lab) else {
        let detail = negotiate::compare(&negotiate::ike_offer(&core.tunnel.ike), Some(&sa));
        let said = Said::in_clear(Some(&sa), Some(&ke), &notifies);
        let classical = negotiate::lacks_post_quantum(&sa, &core.tunnel.ike, core.tunnel.lab);
        let reason = if classical { IkeReason::PostQuantumRequired } else { IkeReason::NoProposalChosen };
        hear(step, said, account::failed(reason, "the peer chose what we did not offer"));
        return Err(lacks(state, reason, detail));
    };
    if !suite.additional.is_empty() && !says(&notifies, INTERMEDIATE) {
        // RFC 9370 §2.2.1: who agrees to further key exchanges supports the exchange that carries them. Somebody on the way
        // has taken that out, for all we know.
        let detail = "the peer's answer agrees to further key exchanges without IKE_INTERMEDIATE";
        return Err(lacks(state, IkeReason::PostQuantumRequired, detail));
    }
    let ppk = core.tunnel.ppk.as_ref();
    if ppk.is_some_and(|ppk| ppk.required) && !says(&notifies, PPK) {
        // RFC 8784 §3: without the peer's USE_PPK a PPK that is mandatory cannot be had. The true answer may still come.
        return Err(lacks(state, IkeReason::PpkRequired, "the peer's answer says nothing of a PPK"));
    }
    let offers_ppk = ppk.is_some() && says(&notifies, PPK);
    let group = suite.group;
    let of_group = state.tries.iter().position(|of| of.keypair.group() == group);
    let fits = ke.method == negotiate::method(group) && ke.data.len() == group.public_len();
    let Some(index) = of_group.filter(|_| fits) else {
        return Err(state.refuse(IkeReason::InvalidKe));
    };
    hear(step, Said::in_clear(Some(&sa), Some(&ke), &notifies), Outcome::Agreed);
    let mut state = *state;
    let Try { keypair, request } = state.tries.swap_remove(index);
    let Ok(shared) = keypair.agree(&ke.data) else {
        // Our private value is spent; the next attempt makes another.
        let detail = format!("the public value for group {} is not valid", negotiate::method(group));
        let exchange = ExchangeType::IKE_SA_INIT;
        step.notices.push(Notice::Failed { exchange, reason: IkeReason::InvalidKe, detail });
        return Ok(State::Ended);
    };
    core.fragments = Fragments::new(core.tunnel.fragmentation && says(&notifies, FRAGMENTS));
    core.terms.childless = says(&notifies, CHILDLESS);
    // RFC 7296 §2.23: the responder hashes its addresses as our request had them. Held against the way of that one: somebody on
    // the line may send the same answer once more from another port, and that is no NAT.
    core.nat = natd::detect(&notifies, spis, core.path, core.tunnel.force_encapsulation);
    core.spis = spis;
    core.window.complete();
    // RFC 4555 §3.3: who may move floats at once, for a NAT may be on the way later.
    if core.nat.found() || (core.nat.supported && core.tunnel.peering.mobike) {
        // RFC 7296 §2.23: "the IKE initiator MUST switch to port 4500" for IKE_AUTH.
        core.path = core.path.floated();
    }
    let messages = [request, incoming.datagram.to_vec()];
    let mut handshake = handshake(step, suite, &shared, [state.nonce, nonce], spis, true, messages);
    handshake.offers_ppk = offers_ppk;
    handshake.peer_says.hear(&notifies);
    let left = suite.additional.iter().map(|(_, group)| group).collect();
    Ok(intermediate::request(handshake, core, step, left, state.first))
}

/// An answer lacks what this tunnel asks for. Anybody may have sent it, so the true one is waited for; if none comes, this is
/// why.
fn lacks(mut state: Box<InitRequested>, reason: IkeReason, detail: impl Into<String>) -> Refused {
    let detail = detail.into();
    state.hearsay = Some((reason, detail.clone()));
    state.refuse_with(Refusal::silent(reason).with(detail))
}

/// A response without SA: a cookie, another group, or an error.
fn process_notify(
    mut state: Box<InitRequested>,
    core: &mut Core,
    step: &mut Step<'_>,
    sorted: &Sorted,
) -> Result<State, Refused> {
    if let Some(cookie) = sorted.notify(NotifyType::COOKIE) {
        if cookie.data.is_empty() || cookie.data.len() > limits::MAX_COOKIE {
            return Err(state.refuse(IkeReason::BadCookie));
        }
        if state.cookie.as_ref() == Some(&cookie.data) {
            return Err(state.refuse(IkeReason::RepeatedResponse));
        }
        if state.cookies >= limits::MAX_COOKIES_ECHOED {
            return Err(state.refuse(IkeReason::BadCookie));
        }
        state.cookies += 1;
        state.cookie = Some(cookie.data.clone());
        // RFC 8019 §7.1.2: who cannot or will not solve it returns the cookie alone, and may still be served.
        let puzzle = sorted.notify(NotifyType::PUZZLE).and_then(Puzzle::read);
        state.solution = None;
        if let Some(puzzle) = puzzle.filter(|_| state.puzzles < limits::MAX_PUZZLES_SOLVED) {
            state.puzzles += 1;
            state.solution = puzzle.solve(&cookie.data);
        }
        state.send_again(core, step);
        return Ok(State::InitRequested(state));
    }
    if let Some(notify) = sorted.notify(NotifyType::INVALID_KE_PAYLOAD) {
        let groups = core.tunnel.ike.iter().map(|suite| suite.group);
        let wanted = groups.into_iter().find(|group| notify.wanted_ke() == Some(negotiate::method(*group)));
        // Once per group; a forged wish is undone by the true responder's, and neither goes on for ever.
        let current = state.tries.last().map(|of| of.keypair.group());
        let fresh = wanted.filter(|group| !state.retried.contains(group) && current != Some(*group));
        if let Some(group) = fresh {
            state.retried.push(group);
            state.turn_to(group, step.entropy);
            state.send_again(core, step);
            return Ok(State::InitRequested(state));
        }
    }
    if sorted.notify(NotifyType::REDIRECT).is_some() {
        // RFC 5685 §3: only for an initiator that has said REDIRECT_SUPPORTED, which we never do: the agreement names the
        // addresses.
        let said = "the peer (unauthenticated) says REDIRECT".to_owned();
        step.notices.push(Notice::Hearsay { text: format!("{said}; trying on") });
        state.hearsay = Some((IkeReason::Redirected, said));
        return Err(state.refuse_with(Refusal::silent(IkeReason::Redirected)));
    }
    let Some(error) = sorted.error() else {
        return Err(state.refuse(IkeReason::MissingPayload));
    };
    // RFC 7296 §2.21.1: an error that anybody could have sent is a hint; the exchange goes on until its end.
    let reason = match error.kind {
        NotifyType::NO_PROPOSAL_CHOSEN => IkeReason::NoProposalChosen,
        NotifyType::INVALID_KE_PAYLOAD => IkeReason::InvalidKe,
        _ => IkeReason::PeerError,
    };
    let said = format!("the peer (unauthenticated) says {}", error.kind);
    hear(step, Said::in_clear(None, None, &sorted.notifies), account::failed(reason, &said));
    step.notices.push(Notice::Hearsay { text: format!("{said}; trying on") });
    state.hearsay = Some((reason, said));
    Err(state.refuse_with(Refusal::silent(IkeReason::PeerError)))
}

/// Notes what an answer says, for `explain`.
fn hear(step: &mut Step<'_>, said: Said, outcome: Outcome) {
    step.notices.push(Notice::Heard(Heard { topic: Topic::IkeSaInit, by_us: true, said, outcome }));
}
