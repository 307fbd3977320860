//! IKE_SA_INIT (RFC 7296 §1.2, §2.6, §2.7): suite, key exchange, nonces, NAT detection. Nothing here is authenticated
//! before IKE_AUTH has signed it.
//!
//! ```text
//! Initiator                         Responder
//! HDR, SAi1, KEi, Ni           -->
//!                              <--  HDR, N(COOKIE)                    (under load)
//! HDR, N(COOKIE), SAi1, KEi, Ni -->
//!                              <--  HDR, N(INVALID_KE_PAYLOAD)        (another group)
//! HDR, [N(COOKIE)], SAi1, KEi, Ni -->
//!                              <--  HDR, SAr1, KEr, Nr, [CERTREQ]
//! ```

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::crypto::kex::KeyPair;
use crate::crypto::suite::{Group, IkeSuite};
use crate::entropy::Entropy;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::account::{self, Heard, Outcome, Said, Topic};
use crate::ike::auth::{PeerSays, announce};
use crate::ike::config::{Childless, TunnelConfig};
use crate::ike::error::Refusal;
use crate::ike::exchange::intermediate;
use crate::ike::fragment::{Fragments, Outgoing};
use crate::ike::ike_sa::{Core, IkeSa, Incoming};
use crate::ike::keymat::{Nonces, Spis, ike_keys};
use crate::ike::natd::{self, Nat};
use crate::ike::path::{IKE_PORT, Path};
use crate::ike::payloads::{Required, Sorted};
use crate::ike::protect::Protection;
use crate::ike::puzzle::Puzzle;
use crate::ike::state::init_requested::Try;
use crate::ike::state::{Handshake, InitAnswered, InitRequested, Purpose, Refused, State};
use crate::ike::step::{Notice, Step};
use crate::ike::terms::Terms;
use crate::ike::window::Window;
use crate::ike::{keylog, limits, negotiate};
use crate::secret::Secret;
use crate::wire::ike::header::{Flags, Header, IkeSpi};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload, Sa};

/// Both messages carry these.
const REQUIRED: Required = Required(&[PayloadType::SA, PayloadType::KE, PayloadType::NONCE]);

/// A fresh IKE SPI. RFC 7296 §3.1: never zero.
pub fn fresh_spi(entropy: &mut dyn Entropy) -> IkeSpi {
    loop {
        let spi = u64::from_be_bytes(entropy.array());
        if spi != 0 {
            return spi;
        }
    }
}

/// RFC 7383 §2.3: support for fragmentation is announced by a notification without data.
const FRAGMENTS: NotifyType = NotifyType::IKEV2_FRAGMENTATION_SUPPORTED;
/// RFC 9242 §3.1: likewise support for IKE_INTERMEDIATE.
const INTERMEDIATE: NotifyType = NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED;

/// RFC 6023 §3: likewise that IKE_AUTH may go without a child SA.
const CHILDLESS: NotifyType = NotifyType::CHILDLESS_IKEV2_SUPPORTED;
/// RFC 8784 §3: likewise that there is a PPK.
const PPK: NotifyType = NotifyType::USE_PPK;

/// Says what is supported.
fn say(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::status(kind, Vec::new()))
}

fn says(notifies: &[Notify], kind: NotifyType) -> bool {
    notifies.iter().any(|notify| notify.kind == kind)
}

// Initiator.

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

fn handshake(
    step: &mut Step<'_>,
    suite: IkeSuite,
    shared: &Secret,
    [initiator_nonce, responder_nonce]: [Vec<u8>; 2],
    spis: Spis,
    initiator: bool,
    [init_request, init_response]: [Vec<u8>; 2],
) -> Handshake {
    let nonces = Nonces { initiator: &initiator_nonce, responder: &responder_nonce };
    let keys = ike_keys(suite, shared, nonces, spis);
    step.out.key_log(|| keylog::ike(suite, spis, &keys));
    let protection = Protection::new(suite, &keys, initiator);
    Handshake {
        suite,
        keys,
        protection,
        initiator_nonce,
        responder_nonce,
        init_request,
        init_response,
        int_auth: Vec::new(),
        signed_later: (Vec::new(), Vec::new()),
        offers_ppk: false,
        uses_ppk: false,
        peer_says: PeerSays::default(),
    }
}

// Responder.

/// The pieces of a first request that are needed before any state is made.
pub struct FirstRequest {
    /// The proposals.
    pub sa: Sa,
    /// The initiator's public value.
    pub ke: Ke,
    /// `Ni`.
    pub nonce: Vec<u8>,
    /// Everything else that matters.
    pub notifies: Vec<Notify>,
    /// The solution of a puzzle.
    pub solution: Option<Vec<u8>>,
}

impl FirstRequest {
    /// Reads a first request.
    pub fn read(incoming: &Incoming<'_>) -> Result<Self, Refusal> {
        let message = Message::decode_after(incoming.header, incoming.datagram)?;
        let sorted = Sorted::sort(message.payloads)?;
        sorted.require(REQUIRED)?;
        match sorted {
            Sorted { sa: Some(sa), ke: Some(ke), nonce: Some(nonce), notifies, solution, .. } => {
                Ok(Self { sa, ke, nonce, notifies, solution })
            }
            _ => Err(Refusal::missing(PayloadType::SA)),
        }
    }

    /// The cookie that it brings.
    pub fn cookie(&self) -> Option<&[u8]> {
        let cookie = self.notifies.iter().find(|notify| notify.kind == NotifyType::COOKIE)?;
        Some(&cookie.data)
    }
}

/// An answer that needs no state: a cookie, the wanted group, or an error. Shorter than any request that causes it.
pub fn stateless(incoming: &Incoming<'_>, notify: Notify) -> Vec<u8> {
    stateless_with(incoming, vec![notify])
}

/// The same with several notifications.
pub fn stateless_with(incoming: &Incoming<'_>, notifies: Vec<Notify>) -> Vec<u8> {
    answer_in_clear(incoming, false, notifies)
}

/// An unprotected answer about an IKE SA that is not there: its sender's flag is the other one than the request's.
pub fn stateless_about(incoming: &Incoming<'_>, notifies: Vec<Notify>) -> Vec<u8> {
    answer_in_clear(incoming, !incoming.header.flags.initiator, notifies)
}

fn answer_in_clear(incoming: &Incoming<'_>, initiator: bool, notifies: Vec<Notify>) -> Vec<u8> {
    let header = Header {
        flags: Flags { initiator, version: false, response: true },
        major: 2,
        minor: 0,
        next_payload: PayloadType::NONE,
        length: 0,
        ..incoming.header
    };
    Message { header, payloads: notifies.into_iter().map(Payload::Notify).collect() }.encode()
}

/// Answers a first request with an IKE SA, or says why not. The answer itself is in the IKE SA; it is the caller who sends
/// it, if it is not too long for a stranger.
pub fn answer(
    step: &mut Step<'_>,
    tunnel: &Arc<TunnelConfig>,
    incoming: &Incoming<'_>,
    request: FirstRequest,
    spi: IkeSpi,
) -> Result<IkeSa, Refusal> {
    let further = says(&request.notifies, INTERMEDIATE);
    let Some(chosen) = negotiate::choose_ike(&request.sa, &tunnel.ike, tunnel.lab, further) else {
        let detail = negotiate::compare(&negotiate::ike_offer(&tunnel.ike), Some(&request.sa));
        let notify = Notify::error(NotifyType::NO_PROPOSAL_CHOSEN);
        return Err(Refusal::told(why_none(&request.sa, tunnel, further), notify).with(detail));
    };
    let ppk = tunnel.ppk.as_ref();
    let offers_ppk = ppk.is_some() && says(&request.notifies, PPK);
    if ppk.is_some_and(|ppk| ppk.required) && !offers_ppk {
        let notify = Notify::error(NotifyType::NO_PROPOSAL_CHOSEN);
        return Err(Refusal::told(IkeReason::PpkRequired, notify).with("the peer's request says nothing of a PPK"));
    }
    let group: Group = chosen.suite.group;
    if request.ke.method != negotiate::method(group) {
        // RFC 7296 §1.2: the response "indicat[es] its preferred" group; no state is kept for it.
        return Err(Refusal::told(IkeReason::InvalidKe, Notify::invalid_ke(negotiate::method(group))));
    }
    let keypair = KeyPair::generate(group, step.entropy);
    let public = keypair.public().to_vec();
    let shared = keypair.agree(&request.ke.data).map_err(|_| Refusal::silent(IkeReason::InvalidKe))?;
    let spis = Spis { initiator: incoming.header.initiator_spi, responder: spi };
    // The peer hashed the header of its request, where our SPI was still zero.
    let as_sent = Spis { responder: 0, ..spis };
    let nat = natd::detect(&request.notifies, as_sent, incoming.path, tunnel.force_encapsulation);
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let mut core = Core {
        spis,
        initiator: false,
        path: incoming.path,
        nat,
        terms: Terms::default(),
        tunnel: Arc::clone(tunnel),
        turn: 0,
        own_means: None,
        opened_at: step.now,
        // The request was number 0, and IKE_AUTH will be number 1.
        window: Window::new(0),
        fragments: Fragments::new(tunnel.fragmentation && says(&request.notifies, FRAGMENTS)),
        superseded: None,
    };
    let mut payloads = vec![
        Payload::Sa(Sa { proposals: vec![chosen.proposal] }),
        Payload::Ke(Ke { method: negotiate::method(group), data: public }),
        Payload::Nonce(Nonce(nonce.clone())),
    ];
    if nat.supported {
        let false_source = natd::false_source(tunnel.force_encapsulation, step.entropy);
        payloads.extend(natd::notifies(spis, incoming.path, false_source));
    }
    // RFC 7383 §2.3: the responder says so only if the initiator has.
    payloads.extend(core.fragments.supported.then(|| say(FRAGMENTS)));
    // RFC 6023 §3: the responder says so, and the initiator then may.
    payloads.extend((tunnel.peering.childless != Childless::Off).then(|| say(CHILDLESS)));
    let signs = says(&request.notifies, NotifyType::SIGNATURE_HASH_ALGORITHMS);
    payloads.extend(announce::hashes(tunnel).filter(|_| signs));
    payloads.extend(announce::request(tunnel));
    let left: VecDeque<_> = chosen.suite.additional.iter().map(|(_, group)| group).collect();
    payloads.extend((!left.is_empty()).then(|| say(INTERMEDIATE)));
    payloads.extend(offers_ppk.then(|| say(PPK)));
    let header = core.header(ExchangeType::IKE_SA_INIT, true, 0);
    let mut response = Message { header, payloads: payloads.clone() }.encode();
    if let Some(methods) = announce::methods(tunnel) {
        // RFC 9593 §4 leaves it out where the response would grow too long, which is here where it would cost a cookie.
        payloads.push(methods);
        let longer = Message { header, payloads }.encode();
        if longer.len() * 100 <= incoming.datagram.len() * limits::MAX_AMPLIFICATION {
            response = longer;
        }
    }
    core.window.answered(Outgoing::whole(response.clone()));
    let messages = [incoming.datagram.to_vec(), response];
    let mut handshake = handshake(step, chosen.suite, &shared, [request.nonce, nonce], spis, false, messages);
    handshake.offers_ppk = offers_ppk;
    handshake.peer_says.hear(&request.notifies);
    let until = step.now + limits::HALF_OPEN_TIME;
    let state = InitAnswered { handshake, left, until, junk: 0, deaf_until: None };
    Ok(IkeSa { core, state: State::InitAnswered(Box::new(state)) })
}

/// Why no proposal of a first request is one of ours.
fn why_none(offered: &Sa, tunnel: &TunnelConfig, further: bool) -> IkeReason {
    let would_do = || negotiate::choose_ike(offered, &tunnel.ike, tunnel.lab, true);
    let silent = !further && would_do().is_some_and(|chosen| chosen.suite.additional.is_post_quantum());
    if silent || negotiate::lacks_post_quantum(offered, &tunnel.ike, tunnel.lab) {
        IkeReason::PostQuantumRequired
    } else {
        IkeReason::NoProposalChosen
    }
}
