//! The peer has authenticated: child SAs come and go, one exchange at a time in each direction.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Closing, Handshake, IN_USE, Refused, State, repeat};
use crate::crypto::suite::{Group, IkeSuite};
use crate::event::{Event, IkeReason, Millis};
use crate::ids::ShapeId;
use crate::ike::auth::PeerAuthenticated;
use crate::ike::child::{ChildSa, Declined};
use crate::ike::error::Refusal;
use crate::ike::exchange::{child_create, delete, informational};
use crate::ike::ike_sa::{Arrival, Core, Incoming};
use crate::ike::limits;
use crate::ike::path::Path;
use crate::ike::payloads::Sorted;
use crate::ike::protect::Protection;
use crate::ike::step::{Notice, Step};
use crate::ike::timer::earlier;
use crate::sa::command::SadCommand;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Delete, Payload};

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
    /// A child SA is to go; it may exist at the peer alone.
    DeleteChild(Spi),
}

/// Our request that waits for its response.
pub enum Ongoing {
    /// CREATE_CHILD_SA.
    ChildCreate(Box<child_create::Requested>),
    /// A delete.
    DeleteChild,
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
    /// The child SAs, oldest first.
    pub children: Vec<ChildSa>,
    /// What waits for the window.
    pub tasks: VecDeque<Task>,
    ongoing: Option<Ongoing>,
    /// SPIs that the peer deleted before the answer that makes them reached us.
    deleted_early: Vec<u32>,
    /// When the peer authenticated.
    pub established_at: Instant,
    /// From the first message until then.
    pub handshake_time: Duration,
    last_inbound: Instant,
    last_keepalive: Instant,
    /// Its twin has won: it goes then.
    leaves_at: Option<Instant>,
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
        Self {
            proof,
            suite: handshake.suite,
            sk_d: handshake.keys.sk_d,
            protection: handshake.protection,
            children: Vec::new(),
            tasks: VecDeque::new(),
            ongoing: None,
            deleted_early: Vec::new(),
            established_at: step.now,
            handshake_time,
            last_inbound: step.now,
            last_keepalive: step.now,
            leaves_at: None,
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
        for child in &mut self.children {
            child.encapsulation = encapsulation;
        }
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
            ExchangeType::CREATE_CHILD_SA => {
                child_create::answer(&mut self, core, step, incoming, &sorted).map(|()| None)
            }
            _ => Ok(informational::answer(&mut self, core, step, incoming, &sorted)),
        });
        match answered {
            Ok(None) => {
                self.proceed(core, step);
                State::Established(self)
            }
            Ok(Some(over)) => self.end(core, step, over),
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
            // RFC 7296 §1.4.1: the answer to a delete names the other direction, which is gone here already.
            Some(Ongoing::DeleteChild | Ongoing::Liveness) | None => {}
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
        let asked = matches!(&self.ongoing, Some(Ongoing::ChildCreate(requested)) if requested.shape() == shape);
        asked
            || self.children.iter().any(|child| child.agreed.shape == shape && !child.leaving)
            || self.tasks.iter().any(wants)
    }

    /// A child SA has come to a limit: another one takes its place, then it goes.
    pub fn replace_child(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        let Some(child) = self.children.iter_mut().find(|child| child.agreed.inbound == inbound && !child.leaving)
        else {
            return;
        };
        child.leaving = true;
        let shape = child.agreed.shape;
        if !self.has_child(shape) {
            self.tasks.push_back(Task::CreateChild { shape, group: None });
        }
        self.tasks.push_back(Task::DeleteChild(inbound));
        self.proceed(core, step);
    }

    /// Child SAs whose selectors are no longer configured go.
    pub fn drop_children(&mut self, core: &mut Core, step: &mut Step<'_>, keep: impl Fn(&ChildSa) -> bool) {
        for child in self.children.iter_mut().filter(|child| !child.leaving && !keep(child)) {
            child.leaving = true;
            self.tasks.push_back(Task::DeleteChild(child.agreed.inbound));
        }
        self.proceed(core, step);
    }

    /// A child SA was installed. If both sides have asked for the same one, the initiator of the IKE SA deletes the
    /// older of the two.
    pub fn add_child(&mut self, core: &Core, child: ChildSa) {
        if core.initiator {
            for twin in self.children.iter_mut().filter(|other| !other.leaving && other.is_twin(&child)) {
                twin.leaving = true;
                self.tasks.push_back(Task::DeleteChild(twin.agreed.inbound));
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

    /// A child SA leaves the data path.
    pub fn remove_child(&mut self, core: &Core, step: &mut Step<'_>, inbound: Spi, reason: &str) {
        if let Some(index) = self.children.iter().position(|child| child.agreed.inbound == inbound) {
            self.children.remove(index).remove(core, step, reason);
        }
        self.tasks.retain(|task| *task != Task::DeleteChild(inbound));
    }

    /// The peer deletes an SPI that is not known. It may be that of a child SA whose CREATE_CHILD_SA response is late
    /// or lost (RFC 7296 §2.25: exchanges in both directions overtake each other).
    pub fn note_unknown_delete(&mut self, spi: u32) {
        let creates = matches!(self.ongoing, Some(Ongoing::ChildCreate(_)));
        if creates && self.deleted_early.len() < limits::SPARE_CHILDREN {
            self.deleted_early.push(spi);
        }
    }

    /// Whether the peer has deleted this SPI already.
    pub fn was_deleted(&self, spi: Spi) -> bool {
        self.deleted_early.contains(&spi.get())
    }

    /// Its twin has won.
    pub fn leave_at(&mut self, at: Instant) {
        self.leaves_at.get_or_insert(at);
    }

    /// Whether its twin has won, so that no new traffic goes by it.
    pub fn leaves_soon(&self) -> bool {
        self.leaves_at.is_some()
    }

    /// Time has passed.
    pub fn on_time(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        if !repeat(core, step) {
            // RFC 7296 §2.4: after repeated attempts without an answer the peer counts as gone, with all that was
            // negotiated.
            return self.end(core, step, "the peer does not answer");
        }
        if core.window.is_exhausted() {
            return self.close(core, step, "the message IDs have run out");
        }
        if self.leaves_at.is_some_and(|at| at <= step.now) {
            return self.close(core, step, "both sides had opened an IKE SA, and the other one stays");
        }
        if self.liveness_at(core).is_some_and(|at| at <= step.now) && self.tasks.is_empty() {
            self.ongoing = informational::begin_liveness(&mut self, core, step);
            if self.ongoing.is_none() {
                // The window is taken: what waits there asks the same. Not again in this instant, in any case.
                self.last_inbound = step.now;
            }
        }
        if self.keepalive_at(core).is_some_and(|at| at <= step.now) {
            // RFC 3948 §2.3, §4: only the side behind the NAT keeps its mapping alive.
            step.out.keepalive(core.path);
            self.last_keepalive = step.now;
        }
        State::Established(self)
    }

    fn liveness_at(&self, core: &Core) -> Option<Instant> {
        // A request that waits asks the same question.
        let interval = core.tunnel.liveness.max(Duration::from_secs(1));
        self.ongoing.is_none().then(|| self.last_inbound + interval)
    }

    fn keepalive_at(&self, core: &Core) -> Option<Instant> {
        core.nat.local.then(|| self.last_keepalive + limits::KEEPALIVE)
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self, core: &Core) -> Option<Instant> {
        let own = earlier(self.liveness_at(core), self.keepalive_at(core));
        earlier(earlier(own, self.leaves_at), core.window.deadline())
    }

    /// Everything leaves the data path, and the operator hears why.
    fn dissolve(&mut self, core: &Core, step: &mut Step<'_>, reason: &str) {
        for child in std::mem::take(&mut self.children) {
            child.remove(core, step, reason);
        }
        let (tunnel, spis) = (core.tunnel.name.clone(), core.spis.to_hex());
        step.out.event(Event::IkeDown { tunnel, spis, reason: reason.to_owned() });
        step.notices.push(Notice::Down { reason: reason.to_owned() });
    }

    /// Over, and the peer knows or cannot be told.
    pub fn end(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        self.dissolve(core, step, reason);
        State::Ended
    }

    /// Over, and the peer is told.
    pub fn close(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        self.dissolve(core, step, reason);
        let Self { protection, .. } = *self;
        let mut closing = Closing {
            protection,
            farewell: Some(Payload::Delete(Delete::ike())),
            sent: false,
            was_established: true,
            until: step.now + limits::CLOSING_TIME,
        };
        closing.say(core, step);
        State::Closing(Box::new(closing))
    }
}
