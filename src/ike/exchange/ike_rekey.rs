//! CREATE_CHILD_SA in place of the IKE SA that it runs in (RFC 7296 §1.3.2, §2.8, §2.18), and what happens when both
//! sides do it at the same time (§2.8.2, §2.25.2).
//!
//! ```text
//! Initiator                            Responder
//! HDR, SK {SA(SPIi), Ni, KEi}      -->
//!                                  <-- HDR, SK {SA(SPIr), Nr, KEr}
//! the new IKE SA has the child SAs     likewise
//! HDR(old), SK {D(IKE)}            -->
//!                                  <-- HDR(old), SK {}
//! ```
//! When both sides have begun, each makes two new IKE SAs. The responder's half of the peer's rekeying is kept aside
//! (`state::Spare`) until the nonces, or what the peer does next, decide which of the two inherits.

use std::sync::Arc;

use super::create;
use super::followup::{self, Makes, Pending, Series};
use crate::crypto::kex::KeyPair;
use crate::crypto::suite::{Group, IkeSuite};
use crate::event::{Event, IkeReason};
use crate::ike::child::Declined;
use crate::ike::collision::Lowest;
use crate::ike::crash::PeerToken;
use crate::ike::error::Refusal;
use crate::ike::fragment::Fragments;
use crate::ike::ike_sa::{Core, IkeSa, Incoming};
use crate::ike::keymat::{Nonces, Spis, rekeyed_ike_keys};
use crate::ike::payloads::{Required, Sorted};
use crate::ike::protect::Protection;
use crate::ike::retransmit::jitter;
use crate::ike::state::established::{Next, Ongoing, Task};
use crate::ike::state::{Established, Spare, State};
use crate::ike::step::{Notice, Step};
use crate::ike::window::Window;
use crate::ike::{keylog, limits, negotiate};
use crate::secret::Secret;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::{Nonce, Notify, Payload, Proposal, Sa};

/// RFC 7296 §1.3.2: unlike for a child SA the key exchange is mandatory.
const REQUIRED: Required = Required(&[PayloadType::SA, PayloadType::NONCE, PayloadType::KE]);

/// A request of ours under way.
pub struct Rekeying {
    /// Our SPI of the new IKE SA.
    spi: IkeSpi,
    nonce: Vec<u8>,
    keypair: Option<KeyPair>,
    suites: Vec<IkeSuite>,
    retried: bool,
    following: Option<Following>,
    rival: Option<Rival>,
}

/// What the peer has agreed to.
struct Following {
    suite: IkeSuite,
    spis: Spis,
    nonce: Vec<u8>,
    series: Series,
    /// The peer's token of the new IKE SA (RFC 6290).
    token: Option<PeerToken>,
}

/// What the peer's request made meanwhile.
struct Rival {
    /// Our SPI of it; `None` while key exchanges follow.
    spi: Option<IkeSpi>,
    lowest: Lowest,
}

/// A new IKE SA that takes the place of an old one.
pub struct Heir {
    /// Its SPIs and message IDs.
    pub core: Core,
    /// Its keys.
    pub established: Box<Established>,
}

impl Rekeying {
    /// Whether it is to make the IKE SA with this SPI of ours.
    pub fn makes(&self, spi: IkeSpi) -> bool {
        self.spi == spi
    }

    /// Our SPI of what the peer's request made meanwhile.
    pub fn rival(&self) -> Option<IkeSpi> {
        self.rival.as_ref().and_then(|rival| rival.spi)
    }
}

// Initiator.

/// Asks for another IKE SA in place of this one.
pub fn begin(state: &mut Established, core: &mut Core, step: &mut Step<'_>, group: Option<Group>) -> Option<Ongoing> {
    core.window.next_id()?;
    let spi = super::sa_init::fresh_spi(step.entropy);
    let suites = negotiate::in_use_first(&core.tunnel.ike, state.suite);
    let retried = group.is_some();
    let keypair = KeyPair::generate(group.or_else(|| Some(suites.first()?.group))?, step.entropy);
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let payloads = [
        Payload::Sa(negotiate::ike_rekey_offer(&suites, spi)),
        Payload::Nonce(Nonce(nonce.clone())),
        create::ke(&keypair),
    ];
    core.request(step, &mut state.protection, ExchangeType::CREATE_CHILD_SA, &payloads)?;
    let (keypair, following, rival) = (Some(keypair), None, None);
    Some(Ongoing::IkeRekey(Box::new(Rekeying { spi, nonce, keypair, suites, retried, following, rival })))
}

/// The response has come in.
#[allow(clippy::single_match_else)] // first and later responses side by side
pub fn process(
    mut rekeying: Rekeying,
    mut state: Box<Established>,
    core: &mut Core,
    step: &mut Step<'_>,
    answer: &Sorted,
) -> State {
    let groups = rekeying.suites.iter().map(|suite| suite.group);
    if let Some(group) = create::wanted(answer, groups).filter(|_| !rekeying.retried && rekeying.rival.is_none()) {
        state.tasks.push_front(Task::RekeyIke { group: Some(group) });
        state.proceed(core, step);
        return State::Established(state);
    }
    let following = match rekeying.following.take() {
        Some(mut following) => following.series.take(answer).map(|()| following),
        None => {
            let keypair = rekeying.keypair.take();
            accept(answer, &rekeying.suites, core, rekeying.spi, keypair)
        }
    };
    let mut following = match following {
        Ok(following) => following,
        Err(declined) => return refused(state, core, step, rekeying.rival, declined),
    };
    let loses = {
        let lowest = Lowest::of(Nonces { initiator: &rekeying.nonce, responder: &following.nonce });
        rekeying.rival.as_ref().is_some_and(|rival| lowest.loses(&rival.lowest))
    };
    if !following.series.is_over() {
        if loses {
            // No further key exchange is made for what goes in any case.
            return lose(state, core, step, rekeying.rival.as_ref());
        }
        if let Err(declined) = following.series.ask(&mut state, core, step, answer) {
            return refused(state, core, step, rekeying.rival, declined);
        }
        rekeying.following = Some(following);
        state.ongoing = Some(Ongoing::IkeRekey(Box::new(rekeying)));
        return State::Established(state);
    }
    let Following { suite, spis, nonce, series, token } = following;
    let nonces = Nonces { initiator: &rekeying.nonce, responder: &nonce };
    let mut heir = succeed(&state, core, step, suite, series.secrets(), nonces, spis, true);
    if loses {
        // RFC 7296 §2.8.2: "the new IKE SA containing the lowest nonce SHOULD be deleted by the node that created it,
        // and the other surviving new IKE SA MUST inherit all the Child SAs."
        let farewell = heir.established.give_way(&mut heir.core, step, true);
        step.born.push(IkeSa { core: heir.core, state: farewell });
        return lose(state, core, step, rekeying.rival.as_ref());
    }
    heir.established.peer_token = token;
    heir.established.tasks.extend(step.tokens.map(|_| Task::TellToken));
    followup::drop_ike(&mut state, step);
    if let Some(spare) = rekeying.rival.as_ref().and_then(|rival| rival.spi) {
        // The peer deletes what it made - unless our delete of the old IKE SA overtakes our response there, so that it
        // never makes it.
        step.notices.push(Notice::Redundant { spare });
    }
    state.leave_to(core, step, heir, true)
}

/// The IKE SA that the peer's rekeying makes is the one that stays.
fn lose(mut state: Box<Established>, core: &mut Core, step: &mut Step<'_>, rival: Option<&Rival>) -> State {
    if let Some(heir) = rival.and_then(|rival| rival.spi) {
        state.bequeath(core, step, heir);
        // The peer, whose IKE SA has won, deletes the old one.
        return state.give_way(core, step, false);
    }
    // Its key exchanges are not complete; until then everything stays here.
    state.proceed(core, step);
    State::Established(state)
}

/// What the peer agreed to.
fn accept(
    answer: &Sorted,
    suites: &[IkeSuite],
    core: &Core,
    spi: IkeSpi,
    keypair: Option<KeyPair>,
) -> Result<Following, Declined> {
    let (Some(sa), Some(nonce)) = (&answer.sa, &answer.nonce) else {
        return Err(match answer.error() {
            Some(error) => {
                let ours = negotiate::compare(&negotiate::ike_offer(suites), None);
                let detail = format!("the peer says {}; {ours}", error.kind);
                let reason = match error.kind {
                    NotifyType::NO_PROPOSAL_CHOSEN => IkeReason::NoProposalChosen,
                    NotifyType::INVALID_KE_PAYLOAD => IkeReason::InvalidKe,
                    _ => IkeReason::PeerError,
                };
                Declined { reason, notify: error.clone(), detail }
            }
            None => Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no SA or Nonce"),
        });
    };
    let theirs = sa.proposals.first().and_then(Proposal::ike_spi).filter(|theirs| *theirs != 0 && *theirs != spi);
    let suite = negotiate::accept_ike(sa, suites, core.tunnel.lab);
    let (Some(suite), Some(responder)) = (suite, theirs) else {
        let detail = negotiate::compare(&negotiate::ike_offer(suites), Some(sa));
        return Err(Declined::new(none_chosen(sa, suites, core), NotifyType::NO_PROPOSAL_CHOSEN, detail));
    };
    let shared = create::agree(keypair, suite.group, answer)?;
    let series = Series::new(Some(shared), suite.additional);
    let token = PeerToken::read(&answer.notifies);
    Ok(Following { suite, spis: Spis { initiator: spi, responder }, nonce: nonce.clone(), series, token })
}

/// Why there is no common suite.
fn none_chosen(theirs: &Sa, ours: &[IkeSuite], core: &Core) -> IkeReason {
    if negotiate::lacks_post_quantum(theirs, ours, core.tunnel.lab) {
        IkeReason::PostQuantumRequired
    } else {
        IkeReason::NoProposalChosen
    }
}

/// The peer did not rekey.
fn refused(
    mut state: Box<Established>,
    core: &mut Core,
    step: &mut Step<'_>,
    rival: Option<Rival>,
    declined: Declined,
) -> State {
    let Declined { reason, notify, detail } = declined;
    if let Some(heir) = rival.and_then(|rival| rival.spi) {
        // RFC 7296 §2.8.2: the peer has rekeyed without noticing our request. Its IKE SA is the one that stays.
        state.bequeath(core, step, heir);
        return state.give_way(core, step, false);
    }
    if matches!(notify.kind, NotifyType::TEMPORARY_FAILURE | NotifyType::STATE_NOT_FOUND) {
        state.rekey_at = step.now + jitter(limits::TEMPORARY_FAILURE_PAUSE, 25, step.entropy);
    } else {
        state.rekey_at = step.now + jitter(limits::REKEY_RETRY, 25, step.entropy);
        step.notices.push(Notice::RekeyFailed { reason, detail: format!("rekeying of the IKE SA: {detail}") });
    }
    state.proceed(core, step);
    State::Established(state)
}

// Responder.

/// Answers a request.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    sorted: &Sorted,
) -> Result<Next, Refusal> {
    sorted.require(REQUIRED)?;
    if state.rival().is_some() {
        // The peer rekeys twice what it has rekeyed already.
        create::decline(state, core, step, incoming, Notify::error(NotifyType::TEMPORARY_FAILURE));
        return Ok(Next::Stay);
    }
    let chosen = match choose(state, core, step, sorted) {
        Ok(chosen) => chosen,
        Err(declined) => {
            create::decline_for(state, core, step, incoming, declined);
            return Ok(Next::Stay);
        }
    };
    let Chosen { suite, spis, nonce, shared, payloads } = chosen;
    let initiator = sorted.nonce.as_deref().unwrap_or_default();
    let nonces = Nonces { initiator, responder: &nonce };
    if suite.additional.is_empty() {
        let heir = succeed(state, core, step, suite, &[shared], nonces, spis, false);
        return Ok(answered(state, core, step, incoming, heir, nonces, &payloads));
    }
    let pending = Pending::new(step, Some(shared), suite.additional, nonces, Makes::Ike { suite, spis });
    followup::begin(state, core, step, incoming, pending, payloads);
    if let Some(Ongoing::IkeRekey(ours)) = &mut state.ongoing {
        ours.rival = Some(Rival { spi: None, lowest: Lowest::of(nonces) });
    }
    Ok(Next::Stay)
}

/// Nothing comes of what the peer has begun.
pub fn rival_is_gone(state: &mut Established) {
    if let Some(Ongoing::IkeRekey(ours)) = &mut state.ongoing {
        ours.rival = None;
    }
}

/// The new IKE SA is made, and the last response goes out.
pub fn answered(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    heir: Heir,
    nonces: Nonces<'_>,
    payloads: &[Payload],
) -> Next {
    core.respond(step, &mut state.protection, incoming, payloads);
    let Some(Ongoing::IkeRekey(ours)) = &mut state.ongoing else { return Next::Leave(Box::new(heir)) };
    // RFC 7296 §2.25.2: "If a peer receives a request to rekey an IKE SA that it is currently rekeying, it SHOULD reply as
    // usual, and SHOULD prepare to close redundant SAs and move inherited Child SAs later based on the nonces".
    let Heir { core: new, established } = heir;
    ours.rival = Some(Rival { spi: Some(new.own_spi()), lowest: Lowest::of(nonces) });
    let spare = Spare { established, replaces: core.own_spi(), until: step.now + limits::NEGOTIATION_TIME };
    step.born.push(IkeSa { core: new, state: State::Spare(Box::new(spare)) });
    Next::Stay
}

/// What the peer's request and ours to it agree on.
struct Chosen {
    suite: IkeSuite,
    spis: Spis,
    nonce: Vec<u8>,
    shared: Secret,
    payloads: Vec<Payload>,
}

fn choose(state: &Established, core: &Core, step: &mut Step<'_>, sorted: &Sorted) -> Result<Chosen, Declined> {
    if !followup::has_room(state) {
        let detail = "too many key exchanges are under way";
        return Err(Declined::new(IkeReason::PeerError, NotifyType::TEMPORARY_FAILURE, detail));
    }
    let tunnel = &core.tunnel;
    let offered = sorted.sa.clone().unwrap_or_default();
    let chosen = negotiate::choose_ike(&offered, &tunnel.ike, tunnel.lab, true);
    let theirs = |proposal: &Proposal| proposal.ike_spi().filter(|spi| *spi != 0);
    let Some((initiator, chosen)) = chosen.and_then(|chosen| Some((theirs(&chosen.proposal)?, chosen))) else {
        let detail = negotiate::compare(&negotiate::ike_offer(&tunnel.ike), Some(&offered));
        let reason = none_chosen(&offered, &tunnel.ike, core);
        return Err(Declined::new(reason, NotifyType::NO_PROPOSAL_CHOSEN, detail));
    };
    let (public, shared) = create::exchange_keys(chosen.suite.group, sorted, step)?;
    let spis = Spis { initiator, responder: super::sa_init::fresh_spi(step.entropy) };
    let nonce = step.entropy.array::<{ limits::NONCE_LEN }>().to_vec();
    let proposal = Proposal { spi: spis.responder.to_be_bytes().to_vec(), ..chosen.proposal };
    let mut payloads =
        vec![Payload::Sa(Sa { proposals: vec![proposal] }), Payload::Nonce(Nonce(nonce.clone())), public];
    // RFC 6290 §4.3: the responder's token of the new IKE SA goes with its answer.
    payloads.extend(step.tokens.map(|tokens| Payload::Notify(tokens.token(spis, false))));
    Ok(Chosen { suite: chosen.suite, spis, nonce, shared, payloads })
}

/// The new IKE SA, without child SAs yet.
#[allow(clippy::too_many_arguments)] // both roles meet here with everything that keys are made of
pub fn succeed(
    state: &Established,
    core: &Core,
    step: &mut Step<'_>,
    suite: IkeSuite,
    shared: &[Secret],
    nonces: Nonces<'_>,
    spis: Spis,
    initiator: bool,
) -> Heir {
    let keys = rekeyed_ike_keys((state.suite.prf, &state.sk_d), suite, shared, nonces, spis);
    step.out.key_log(|| keylog::ike(suite, spis, &keys));
    let protection = Protection::new(suite, &keys, initiator);
    let replaced = core.spis.to_hex();
    let core = Core {
        spis,
        // RFC 7296 §2.8: the initiator of the rekeying is the "original initiator" of the new IKE SA.
        initiator,
        path: core.path,
        nat: core.nat,
        terms: core.terms.clone(),
        tunnel: Arc::clone(&core.tunnel),
        turn: core.turn,
        own_means: core.own_means,
        opened_at: step.now,
        // §2.18: "The old IKE SA retains its numbering"; the new one begins at zero both ways.
        window: Window::new(0),
        fragments: Fragments::new(core.fragments.supported),
        superseded: None,
    };
    step.out.event(Event::IkeRekeyed {
        tunnel: core.tunnel.name.clone(),
        spis: spis.to_hex(),
        replaced,
        suite: suite.to_string(),
        initiator,
    });
    let proof = state.proof.inherited();
    let mut established = Established::with(proof, suite, keys.sk_d, protection, state.handshake_time, &core, step);
    // Its keys come from those of the old one.
    established.uses_ppk = state.uses_ppk;
    established.origin = state.origin;
    Heir { core, established: Box::new(established) }
}
