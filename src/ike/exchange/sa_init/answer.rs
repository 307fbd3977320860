//! The responder's side of IKE_SA_INIT: what is read before there is any state, what is answered without state, and the answer
//! that makes an IKE SA.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{CHILDLESS, FRAGMENTS, INTERMEDIATE, PPK, REQUIRED, handshake, say, says};
use crate::crypto::kex::KeyPair;
use crate::crypto::suite::Group;
use crate::event::IkeReason;
use crate::ike::auth::announce;
use crate::ike::config::{Childless, TunnelConfig};
use crate::ike::error::Refusal;
use crate::ike::fragment::{Fragments, Outgoing};
use crate::ike::ike_sa::{Core, IkeSa, Incoming};
use crate::ike::keymat::Spis;
use crate::ike::payloads::Sorted;
use crate::ike::state::{InitAnswered, State};
use crate::ike::step::Step;
use crate::ike::terms::Terms;
use crate::ike::window::Window;
use crate::ike::{limits, natd, negotiate};
use crate::wire::ike::header::{Flags, Header, IkeSpi};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Ke, Nonce, Notify, Payload, Sa};

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
