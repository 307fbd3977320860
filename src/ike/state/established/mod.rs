//! The peer has authenticated: child SAs come and go, one exchange at a time in each direction. `time` is what the clock
//! brings, `end` what becomes of it and of what hangs on it.

mod end;
mod time;

use std::collections::VecDeque;
use std::time::Duration;

use super::{Handshake, IN_USE, Refused, State};
use crate::crypto::suite::{Group, IkeSuite};
use crate::event::{Event, IkeReason, Millis};
use crate::ids::ShapeId;
use crate::ike::auth::PeerAuthenticated;
use crate::ike::child::{ChildSa, Declined};
use crate::ike::children::Children;
use crate::ike::error::Refusal;
use crate::ike::exchange::{child_create, child_rekey, create, delete, ike_rekey, informational};
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
}

/// An IKE SA in use.
#[allow(clippy::struct_field_names)] // when it was established has no better name
pub struct Established {
    /// Who the peer is.
    pub proof: PeerAuthenticated,
    /// The suite.
    pub suite: IkeSuite,
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
    /// Since when it has its keys.
    pub established_at: Instant,
    /// From the first message until then.
    pub handshake_time: Duration,
    last_inbound: Instant,
    last_keepalive: Instant,
    /// Its twin has won: it goes then.
    leaves_at: Option<Instant>,
    /// When it is rekeyed.
    pub rekey_at: Instant,
    /// When it is over.
    pub expires_at: Instant,
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
            handshake_ms: Millis(handshake_time),
        });
        let Handshake { suite, keys, protection, .. } = handshake;
        Self::with(proof, suite, keys.sk_d, protection, handshake_time, core, step)
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
        Self {
            proof,
            suite,
            sk_d,
            protection,
            children: Children::default(),
            tasks: VecDeque::new(),
            ongoing: None,
            deleted_early: Vec::new(),
            established_at: step.now,
            handshake_time,
            last_inbound: step.now,
            last_keepalive: step.now,
            leaves_at: None,
            rekey_at: step.now + lifetime.soft.saturating_sub(haste),
            expires_at: step.now + lifetime.hard,
        }
    }

    /// A message for this IKE SA.
    pub fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        step: &mut Step<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<State, Refused> {
        match core.receive(&self.protection, incoming, IN_USE) {
            Ok(Arrival::Repeated) => {
                if let Some(answer) = core.window.last_answer() {
                    step.out.transmit(incoming.path, answer.to_vec());
                }
                Err(self.refuse(Refusal::silent(IkeReason::Retransmitted)))
            }
            Ok(Arrival::Request(sorted)) => {
                self.heard(core, step, incoming.path);
                Ok(self.answer(core, step, incoming, sorted))
            }
            Ok(Arrival::Response(sorted)) => {
                self.heard(core, step, incoming.path);
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
        // RFC 7296 §2.23: a host that is not behind a NAT sends to the address and port that the newest valid packet
        // of a peer behind one came from.
        if core.nat.remote && path.remote != core.path.remote && path.local.port() == core.path.local.port() {
            self.follow(core, step, path);
        }
    }

    /// The peer is somewhere else now.
    pub fn follow(&mut self, core: &mut Core, step: &mut Step<'_>, path: Path) {
        core.path = path;
        let encapsulation = core.encapsulation();
        self.children.redirect(encapsulation);
        step.out.sad(SadCommand::Redirect { tunnel: core.tunnel.id, encapsulation });
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
                None => self.end(core, step, reason),
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

    fn process(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, sorted: Result<Sorted, Refusal>) -> State {
        let ongoing = self.ongoing.take();
        // RFC 7296 §2.21.3: there is no way to tell the peer about a bad response; the IKE SA cannot be trusted.
        let Ok(sorted) = sorted else { return self.close(core, step, "the peer sent a malformed response") };
        if sorted.notify(NotifyType::INVALID_SYNTAX).is_some() {
            return self.end(core, step, "the peer says that our message was malformed");
        }
        match ongoing {
            Some(Ongoing::ChildCreate(requested)) => {
                child_create::process(*requested, &mut self, core, step, &sorted);
                self.deleted_early.clear();
            }
            Some(Ongoing::ChildRekey(rekeying)) => {
                child_rekey::process(*rekeying, &mut self, core, step, &sorted);
                self.deleted_early.clear();
            }
            Some(Ongoing::IkeRekey(rekeying)) => return ike_rekey::process(*rekeying, self, core, step, &sorted),
            // RFC 7296 §1.4.1: the answer to a delete names the other direction, which is gone here already.
            Some(Ongoing::DeleteChild(_) | Ongoing::Liveness) | None => {}
        }
        self.proceed(core, step);
        State::Established(self)
    }

    /// Begins what waits, if the window is free.
    pub fn proceed(&mut self, core: &mut Core, step: &mut Step<'_>) {
        while self.ongoing.is_none() && core.window.next_id().is_some() {
            let Some(task) = self.tasks.pop_front() else { return };
            self.ongoing = match task {
                Task::CreateChild { shape, group } => child_create::begin(self, core, step, shape, group),
                Task::RekeyChild { inbound, group } => child_rekey::begin(self, core, step, inbound, group),
                Task::RekeyIke { group } => ike_rekey::begin(self, core, step, group),
                Task::DeleteChild(inbound) => delete::begin(self, core, step, inbound),
            };
        }
    }

    /// A child SA for these selectors is wanted.
    pub fn want_child(&mut self, core: &mut Core, step: &mut Step<'_>, shape: ShapeId) {
        self.tasks.push_back(Task::CreateChild { shape, group: None });
        self.proceed(core, step);
    }

    /// Whether there is a child SA for these selectors, or one on its way.
    pub fn has_child(&self, shape: ShapeId) -> bool {
        let wants = |task: &Task| matches!(task, Task::CreateChild { shape: of, .. } if *of == shape);
        let asked = matches!(&self.ongoing, Some(Ongoing::ChildCreate(requested)) if requested.offer.shape == shape);
        asked || self.children.covered().contains(&shape) || self.tasks.iter().any(wants)
    }

    /// A child SA comes near a limit, or the operator wishes so: another one takes its place.
    pub fn rekey_child(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        let Some(child) = self.children.get_mut(inbound).filter(|child| child.is_current()) else { return };
        // Not again before this attempt has come to its end, whatever that is.
        child.rekey_at = step.now + limits::REKEY_RETRY;
        let queued = |task: &Task| matches!(task, Task::RekeyChild { inbound: of, .. } if *of == inbound);
        if !self.is_rekeying(inbound) && !self.tasks.iter().any(queued) {
            self.tasks.push_back(Task::RekeyChild { inbound, group: None });
            self.proceed(core, step);
        }
    }

    /// Every child SA is to be replaced.
    pub fn rekey_children(&mut self, core: &mut Core, step: &mut Step<'_>) {
        let current: Vec<_> =
            self.children.iter().filter(|child| child.is_current()).map(|child| child.agreed.inbound).collect();
        for inbound in current {
            self.rekey_child(core, step, inbound);
        }
    }

    /// This IKE SA is to be replaced.
    pub fn rekey_ike(&mut self, core: &mut Core, step: &mut Step<'_>) {
        self.rekey_at = step.now + limits::REKEY_RETRY;
        let under_way = matches!(self.ongoing, Some(Ongoing::IkeRekey(_)));
        if !under_way && !self.tasks.iter().any(|task| matches!(task, Task::RekeyIke { .. })) {
            self.tasks.push_back(Task::RekeyIke { group: None });
            self.proceed(core, step);
        }
    }

    /// Whether our request to replace this child SA is under way.
    pub fn is_rekeying(&self, inbound: Spi) -> bool {
        matches!(&self.ongoing, Some(Ongoing::ChildRekey(rekeying)) if rekeying.old == inbound)
    }

    /// A child SA has come to its end without a successor: another one takes its place, then it goes.
    pub fn replace_child(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        let under_way = self.is_rekeying(inbound);
        let Some(child) = self.children.get_mut(inbound).filter(|child| !child.leaving) else { return };
        if under_way {
            // The answer to our rekeying decides, if it still comes.
            child.expires_at = step.now + limits::NEGOTIATION_TIME;
            return;
        }
        child.leaving = true;
        let (shape, alone) = (child.agreed.shape, child.replaced_by.is_none() && !child.redundant);
        if alone && !self.has_child(shape) {
            self.tasks.push_back(Task::CreateChild { shape, group: None });
        }
        self.delete_child(inbound);
        self.proceed(core, step);
    }

    /// A delete of this child SA waits for the window from now on.
    pub fn delete_child(&mut self, inbound: Spi) {
        if let Some(child) = self.children.get_mut(inbound) {
            child.leaving = true;
            self.tasks.push_back(Task::DeleteChild(inbound));
        }
    }

    /// Child SAs whose selectors are no longer configured go.
    pub fn drop_children(&mut self, core: &mut Core, step: &mut Step<'_>, keep: impl Fn(&ChildSa) -> bool) {
        let gone = self.children.iter().filter(|child| !child.leaving && !keep(child));
        for inbound in gone.map(|child| child.agreed.inbound).collect::<Vec<_>>() {
            self.delete_child(inbound);
        }
        self.proceed(core, step);
    }

    /// A child SA was installed. If both sides have asked for the same one, the initiator of the IKE SA deletes the
    /// older of the two.
    pub fn add_child(&mut self, core: &Core, child: ChildSa) {
        if core.initiator {
            let twins = self.children.iter().filter(|other| other.is_current() && other.is_twin(&child));
            for inbound in twins.map(|twin| twin.agreed.inbound).collect::<Vec<_>>() {
                self.delete_child(inbound);
            }
        }
        self.children.push(child);
    }

    /// A child SA that we asked for was not made. If the peer `installed` it all the same, it is told to forget it.
    pub fn child_failed(
        &mut self,
        step: &mut Step<'_>,
        shape: ShapeId,
        inbound: Spi,
        exchange: ExchangeType,
        declined: Declined,
        installed: bool,
    ) {
        if installed {
            self.tasks.push_back(Task::DeleteChild(inbound));
        } else {
            step.esp.release(inbound);
        }
        let Declined { reason, notify, detail } = declined;
        let pause = (notify.kind == NotifyType::TEMPORARY_FAILURE).then_some(limits::TEMPORARY_FAILURE_PAUSE);
        step.notices.push(Notice::ChildFailed { shape, exchange, reason, detail, pause });
    }

    /// A child SA leaves the table.
    pub fn remove_child(&mut self, core: &Core, step: &mut Step<'_>, inbound: Spi, reason: &str) {
        self.children.remove(&core.tunnel, step, inbound, reason);
        self.tasks.retain(|task| *task != Task::DeleteChild(inbound));
    }

    /// The peer deletes an SPI that is not known. It may be that of a child SA whose CREATE_CHILD_SA response is late
    /// or lost (RFC 7296 §2.25: exchanges in both directions overtake each other).
    pub fn note_unknown_delete(&mut self, spi: u32) {
        let creates = matches!(self.ongoing, Some(Ongoing::ChildCreate(_) | Ongoing::ChildRekey(_)));
        if creates && self.deleted_early.len() < limits::SPARE_CHILDREN {
            self.deleted_early.push(spi);
        }
    }

    /// Whether the peer has deleted this SPI already.
    pub fn was_deleted(&self, spi: Spi) -> bool {
        self.deleted_early.contains(&spi.get())
    }

    /// The first packet has come in on a child SA.
    pub fn first_inbound(&mut self, step: &mut Step<'_>, inbound: Spi) {
        self.last_inbound = step.now;
        self.children.seen(step, inbound);
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
