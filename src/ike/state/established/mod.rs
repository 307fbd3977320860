//! The peer has authenticated: child SAs come and go, one exchange at a time in each direction. `time` is what the clock
//! brings, `wishes` what is to be done with the SAs, `end` what becomes of them.

mod end;
mod lost;
mod time;
mod wishes;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::{Handshake, IN_USE, Refused, State};
use crate::crypto::suite::{Group, IkeSuite};
use crate::event::{Event, IkeReason, Millis};
use crate::ids::ShapeId;
use crate::ike::account::{Heard, Outcome, Said, Topic};
use crate::ike::auth::{Means, PeerAuthenticated};
use crate::ike::children::Children;
use crate::ike::collision::Origin;
use crate::ike::crash::PeerToken;
use crate::ike::error::Refusal;
use crate::ike::exchange::{child_create, child_rekey, create, delete, followup, ike_rekey, informational, mobike};
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::path::Path;
use crate::ike::payloads::Sorted;
use crate::ike::protect::Protection;
use crate::ike::step::{Notice, Step};
use crate::sa::command::SadCommand;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::Payload;

pub use end::Estate;

/// What waits for the window.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// A child SA is wanted.
    CreateChild {
        /// For which selectors.
        shape: ShapeId,
        /// The group that the peer asked for.
        group: Option<Group>,
        /// Whether it is wanted beside the one that there is.
        beside: bool,
    },
    /// A child SA is to be replaced.
    RekeyChild {
        /// Our SPI of the old one.
        inbound: Spi,
        /// The group that the peer asked for.
        group: Option<Group>,
    },
    /// This IKE SA is to be replaced.
    RekeyIke {
        /// The group that the peer asked for.
        group: Option<Group>,
    },
    /// A child SA is to go; it may exist at the peer alone.
    DeleteChild(Spi),
    /// The peer does not have our token of this IKE SA yet (RFC 6290).
    TellToken,
    /// The addresses of the IKE SA are others (RFC 4555): we say so.
    UpdateAddresses,
    /// As original responder we have moved.
    TellAddress,
    /// The peer says that it has moved: is it there?
    CheckRoute,
}

/// Our request that waits for its response.
pub enum Ongoing {
    /// CREATE_CHILD_SA.
    ChildCreate(Box<create::Requested>),
    /// CREATE_CHILD_SA in place of a child SA.
    ChildRekey(Box<child_rekey::Rekeying>),
    /// CREATE_CHILD_SA in place of this IKE SA.
    IkeRekey(Box<ike_rekey::Rekeying>),
    /// A delete; the peer's SPI of what was deleted, if it had one.
    DeleteChild(Option<Spi>),
    /// Is the peer there?
    Liveness,
    /// The same, and where does it see us?
    AskMapping,
    /// The peer is told which addresses are used.
    UpdateAddresses(mobike::Asked),
    /// The peer is told where we are.
    TellAddress(mobike::Asked),
    /// Is the peer where it says to be?
    CheckRoute {
        /// What it has to give back.
        cookie: mobike::Cookie,
        /// The way that is checked.
        asked: mobike::Asked,
    },
}

/// An IKE SA in use.
#[allow(clippy::struct_field_names)] // when it was established has no better name
pub struct Established {
    /// Who the peer is.
    pub proof: PeerAuthenticated,
    /// The suite.
    pub suite: IkeSuite,
    /// Whether a PPK is in the keys (RFC 8784).
    pub uses_ppk: bool,
    /// What the keys of child SAs come from.
    pub sk_d: Secret,
    /// The keys.
    pub protection: Protection,
    /// The child SAs.
    pub children: Children,
    /// What waits for the window.
    pub tasks: VecDeque<Task>,
    /// Our request that waits for its response.
    pub ongoing: Option<Ongoing>,
    /// SPIs that the peer deleted before the answer that makes them reached us.
    deleted_early: Vec<u32>,
    /// Series of key exchanges that the peer has begun.
    pub pending: Vec<followup::Pending>,
    /// How often in a row the peer had forgotten one of ours.
    states_lost: u8,
    /// The handshake that it comes from.
    pub origin: Origin,
    /// Since when it has its keys.
    pub established_at: Instant,
    /// From the first message until then.
    pub handshake_time: Duration,
    last_inbound: Instant,
    last_keepalive: Instant,
    /// The hash of our address as the peer saw it last (RFC 4555 §3.8).
    pub seen_as: Option<Vec<u8>>,
    /// Where the peer was, while it is looked for elsewhere.
    home: Option<IpAddr>,
    /// Its twin has won: it goes then.
    leaves_at: Option<Instant>,
    /// When it is rekeyed.
    pub rekey_at: Instant,
    /// When it is over.
    pub expires_at: Instant,
    /// When another one is to be opened in its place, if it has not been rekeyed until then.
    pub reauth_at: Instant,
    /// By which the peer says that it has lost this IKE SA.
    pub peer_token: Option<PeerToken>,
}

impl Established {
    /// Needs the proof that only `ike::auth` makes.
    pub fn new(proof: PeerAuthenticated, handshake: Handshake, core: &Core, step: &mut Step<'_>) -> Self {
        let handshake_time = step.now.since(core.opened_at);
        step.out.event(Event::IkeUp {
            tunnel: core.tunnel.name.clone(),
            spis: core.spis.to_hex(),
            suite: handshake.suite.to_string(),
            initiator: core.initiator,
            local: core.path.local,
            remote: core.path.remote,
            local_auth: core.own_means.map(|means| means.to_string()).unwrap_or_default(),
            peer_auth: proof.means().to_string(),
            handshake_ms: Millis(handshake_time),
        });
        let (ours, peers) = (core.own_means.is_some_and(Means::is_old), proof.means().is_old());
        if ours || peers {
            let (tunnel, spis) = (core.tunnel.name.clone(), core.spis.to_hex());
            step.out.event(Event::OldSecretUsed { tunnel, spis, ours, peers });
        }
        let Handshake { suite, keys, protection, uses_ppk, .. } = handshake;
        Self { uses_ppk, ..Self::with(proof, suite, keys.sk_d, protection, handshake_time, core, step) }
    }

    /// One without child SAs.
    pub fn with(
        proof: PeerAuthenticated,
        suite: IkeSuite,
        sk_d: Secret,
        protection: Protection,
        handshake_time: Duration,
        core: &Core,
        step: &mut Step<'_>,
    ) -> Self {
        let lifetime = core.tunnel.ike_lifetime;
        let haste = lifetime.soft / 1000 * core.tunnel.haste(step.entropy);
        let mut state = Self {
            proof,
            suite,
            uses_ppk: false,
            sk_d,
            protection,
            children: Children::default(),
            tasks: VecDeque::new(),
            ongoing: None,
            deleted_early: Vec::new(),
            pending: Vec::new(),
            states_lost: 0,
            origin: Origin { spis: core.spis, since: step.now },
            established_at: step.now,
            handshake_time,
            last_inbound: step.now,
            last_keepalive: step.now,
            seen_as: None,
            home: None,
            leaves_at: None,
            rekey_at: step.now + lifetime.soft.saturating_sub(haste),
            expires_at: step.now + lifetime.hard,
            reauth_at: step.now + lifetime.soft + (lifetime.hard.saturating_sub(lifetime.soft)) / 2,
            peer_token: None,
        };
        state.heed_proof(step.now, step.unix_now);
        state
    }

    /// A message for this IKE SA.
    pub fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        if self.is_lost(core, incoming) {
            let state = self.end(core, step, "the peer has restarted, and proved it");
            step.notices.push(Notice::Crashed);
            return Ok(state);
        }
        match core.receive(step.now, &self.protection, incoming, IN_USE) {
            Ok(Arrival::Piece) => Ok(State::Established(self)),
            Ok(Arrival::Repeated) => {
                step.out.transmit_all(incoming.path, core.window.last_answer());
                Err(self.refuse(Refusal::silent(IkeReason::Retransmitted)))
            }
            Ok(Arrival::Request(sorted)) => {
                self.heard(core, step, incoming.path);
                step.hear(incoming.header.exchange, false, &sorted);
                self.children.answers_arrived(step.now);
                Ok(self.answer(core, step, incoming, sorted))
            }
            Ok(Arrival::Response(sorted)) => {
                self.heard(core, step, incoming.path);
                self.hear_answer(step, incoming.header.exchange, &sorted);
                core.window.complete();
                Ok(self.process(core, step, sorted))
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    fn refuse(self: Box<Self>, refusal: Refusal) -> Refused {
        Refused { state: State::Established(self), refusal }
    }

    /// An authenticated message that was not seen before: the peer lives, and it lives there.
    fn heard(&mut self, core: &mut Core, step: &mut Step<'_>, path: Path) {
        self.last_inbound = step.now;
        if core.window.is_half_spent() {
            // §2.2: message IDs never wrap; the new IKE SA begins at zero.
            self.rekey_at = step.now;
        }
        if core.terms.mobike {
            // RFC 4555 §3.8: "The host not behind a NAT MUST NOT use these dynamic updates for IKEv2 packets, but MAY use them
            // for ESP packets."
            return self.arrive(core, step, path);
        }
        // RFC 7296 §2.23: a host that is not behind a NAT sends to the address and port that the newest valid packet
        // of a peer behind one came from.
        if core.nat.remote && path.remote != core.path.remote && path.local.port() == core.path.local.port() {
            self.follow(core, step, path);
        }
    }

    /// The peer was looked for elsewhere, and speaks: that is where it is.
    fn arrive(&mut self, core: &mut Core, step: &mut Step<'_>, path: Path) {
        let Some(home) = self.home.take() else { return };
        if path.remote.ip() != home && core.terms.elsewhere.contains(&path.remote.ip()) {
            core.path.remote = path.remote;
            return mobike::found(self, core);
        }
        core.path.remote.set_ip(home);
        if path.remote.ip() == home && path.remote != core.path.remote {
            // At home, by another way through its NAT: the child SAs go by it too.
            self.follow(core, step, Path { remote: path.remote, ..core.path });
        }
    }

    /// The peer is somewhere else now.
    pub fn follow(&mut self, core: &mut Core, step: &mut Step<'_>, path: Path) {
        core.path = path;
        let encapsulation = core.encapsulation();
        let inbound = self.children.redirect(encapsulation);
        if !inbound.is_empty() {
            step.out.sad(SadCommand::Redirect { tunnel: core.tunnel.id, inbound, encapsulation });
        }
    }

    /// ESP of the peer has come in.
    pub fn inbound_seen(&mut self, now: Instant) {
        self.last_inbound = now;
    }

    fn answer(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
        sorted: Result<Sorted, Refusal>,
    ) -> State {
        let answered = sorted.and_then(|sorted| match incoming.header.exchange {
            ExchangeType::CREATE_CHILD_SA => create::answer(&mut self, core, step, incoming, &sorted),
            ExchangeType::IKE_FOLLOWUP_KE => followup::answer(&mut self, core, step, incoming, &sorted),
            _ => Ok(informational::answer(&mut self, core, step, incoming, &sorted)),
        });
        match answered {
            Ok(Next::Stay) => {
                self.proceed(core, step);
                State::Established(self)
            }
            Ok(Next::Leave(heir)) => self.leave_to(core, step, *heir, false),
            // RFC 7296 §2.8.2: the peer has not noticed that we rekey too. Its IKE SA is the one that stays.
            Ok(Next::End(reason)) => match self.rival() {
                Some(heir) => {
                    self.bequeath(core, step, heir);
                    State::Ended
                }
                None => self.end_as_told(core, step, reason),
            },
            Err(refusal) => {
                let fatal = refusal.is_fatal();
                let answer: Vec<_> = refusal.notify.clone().map(Payload::Notify).into_iter().collect();
                core.respond(step, &mut self.protection, incoming, &answer);
                let (exchange, reason) = (incoming.header.exchange, refusal.reason);
                step.notices.push(Notice::Declined { exchange, reason, detail: refusal.detail.unwrap_or_default() });
                if fatal { self.end(core, step, "the peer sent a malformed message") } else { State::Established(self) }
            }
        }
    }

    /// Notes what answers our request, for `explain`.
    fn hear_answer(&self, step: &mut Step<'_>, exchange: ExchangeType, sorted: &Result<Sorted, Refusal>) {
        let topic = match &self.ongoing {
            Some(Ongoing::ChildCreate(_)) => Topic::Child,
            Some(Ongoing::ChildRekey(_)) => Topic::RekeyChild,
            Some(Ongoing::IkeRekey(_)) => Topic::RekeyIke,
            _ => return,
        };
        if let Ok(sorted) = sorted
            && exchange == ExchangeType::CREATE_CHILD_SA
        {
            let (said, outcome) = (Said::of(sorted, false), Outcome::Open);
            step.notices.push(Notice::Heard(Heard { topic, by_us: true, said, outcome }));
        }
    }

    fn process(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, sorted: Result<Sorted, Refusal>) -> State {
        // RFC 7296 §2.21.3: there is no way to tell the peer about a bad response; the IKE SA cannot be trusted.
        let Ok(sorted) = sorted else { return self.close(core, step, "the peer sent a malformed response") };
        if sorted.notify(NotifyType::INVALID_SYNTAX).is_some() {
            return self.end(core, step, "the peer says that our message was malformed");
        }
        let lost = sorted.notify(NotifyType::STATE_NOT_FOUND).is_some();
        self.states_lost = if lost { self.states_lost.saturating_add(1) } else { 0 };
        if self.states_lost >= limits::MAX_STATES_LOST {
            // RFC 9370 §2.2.4: what several retries do not mend is fatal, and the IKE SA is deleted.
            return self.close(core, step, "the peer forgets each key exchange that others are to follow");
        }
        match self.ongoing.take() {
            Some(Ongoing::ChildCreate(requested)) => {
                child_create::process(*requested, &mut self, core, step, &sorted);
            }
            Some(Ongoing::ChildRekey(rekeying)) => {
                child_rekey::process(*rekeying, &mut self, core, step, &sorted);
            }
            Some(Ongoing::IkeRekey(rekeying)) => return ike_rekey::process(*rekeying, self, core, step, &sorted),
            Some(Ongoing::AskMapping) => mobike::heard_of_mapping(&mut self, &sorted),
            Some(Ongoing::UpdateAddresses(asked)) => mobike::updated(&mut self, core, step, asked, &sorted),
            Some(Ongoing::TellAddress(asked)) => mobike::told(&mut self, asked),
            Some(Ongoing::CheckRoute { cookie, asked }) => {
                if !mobike::checked(&mut self, core, step, (cookie, asked), &sorted) {
                    // RFC 4555 §3.7: a cookie that does not match ends the IKE SA.
                    return self.close(core, step, "the peer could not show that it is where it says to be");
                }
            }
            // RFC 7296 §1.4.1: the answer to a delete names the other direction, which is gone here already.
            Some(Ongoing::DeleteChild(_) | Ongoing::Liveness) | None => {}
        }
        if self.ongoing.is_none() {
            self.deleted_early.clear();
        }
        self.proceed(core, step);
        State::Established(self)
    }

    /// Begins what waits, if the window is free.
    pub fn proceed(&mut self, core: &mut Core, step: &mut Step<'_>) {
        // §2.25.1: nothing new in an IKE SA that the peer is rekeying, however many key exchanges that takes.
        while self.ongoing.is_none() && core.window.next_id().is_some() && !followup::rekeys_ike(self) {
            let Some(task) = self.tasks.pop_front() else { return };
            self.ongoing = match task {
                // While it waited the peer may have made it.
                Task::CreateChild { shape, beside: false, .. } if self.children.is_covered(shape) => None,
                Task::CreateChild { shape, group, .. } => child_create::begin(self, core, step, shape, group),
                Task::RekeyChild { inbound, group } => child_rekey::begin(self, core, step, inbound, group),
                Task::RekeyIke { group } => ike_rekey::begin(self, core, step, group),
                Task::DeleteChild(inbound) => delete::begin(self, core, step, inbound),
                Task::TellToken => informational::begin_token(self, core, step),
                Task::UpdateAddresses => mobike::begin_update(self, core, step),
                Task::TellAddress => mobike::begin_telling(self, core, step),
                Task::CheckRoute => mobike::begin_check(self, core, step),
            };
        }
    }
}

/// What becomes of an IKE SA after a request of the peer.
pub enum Next {
    /// It stays as it is.
    Stay,
    /// It is over.
    End(&'static str),
    /// The peer has rekeyed it: this one takes its place.
    Leave(Box<ike_rekey::Heir>),
}
