//! The end of an IKE SA in use: with what hangs on it, or after handing that to the one that takes its place.

use std::collections::VecDeque;

use super::{Established, Ongoing, Task};
use crate::event::Event;
use crate::ike::children::Children;
use crate::ike::config::TunnelConfig;
use crate::ike::exchange::ike_rekey::Heir;
use crate::ike::exchange::{followup, mobike};
use crate::ike::ike_sa::{Core, IkeSa};
use crate::ike::limits;
use crate::ike::natd::Nat;
use crate::ike::path::Path;
use crate::ike::state::{Closing, State};
use crate::ike::step::{Notice, Step};
use crate::ike::terms::Terms;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::payload::{Delete, Payload};

/// RFC 7296 §2.4: after repeated attempts without an answer the peer counts as gone, with all that was negotiated.
pub(super) const SILENT: &str = "the peer does not answer";

/// What an IKE SA leaves to the one that takes its place.
pub struct Estate {
    children: Children,
    tasks: VecDeque<Task>,
    leaves_at: Option<Instant>,
    /// Where the peer is, and what else was found out of it since the one that inherits was made.
    path: Path,
    nat: Nat,
    terms: Terms,
}

impl std::fmt::Debug for Estate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Estate({} child SAs)", self.children.len())
    }
}

impl Estate {
    /// Nobody takes it.
    pub fn dissolve(mut self, tunnel: &TunnelConfig, step: &mut Step<'_>, reason: &str) {
        self.children.dissolve(tunnel, step, reason);
    }
}

impl Established {
    fn estate(&mut self, core: &Core) -> Estate {
        let mut tasks = std::mem::take(&mut self.tasks);
        // What was to be renewed is new.
        tasks.retain(|task| !matches!(task, Task::RekeyIke { .. }));
        // The answer may not come any more.
        let unfinished = mobike::unfinished(self.ongoing.as_ref()).filter(|task| !tasks.contains(task));
        if let Some(task) = unfinished {
            tasks.push_front(task);
        }
        let children = std::mem::take(&mut self.children);
        let (path, nat, terms) = (core.path, core.nat, core.terms.clone());
        Estate { children, tasks, leaves_at: self.leaves_at, path, nat, terms }
    }

    /// RFC 7296 §2.8: the new IKE SA inherits the child SAs of the old one.
    pub fn inherit(&mut self, core: &mut Core, step: &mut Step<'_>, estate: Estate) {
        (core.path, core.nat, core.terms) = (estate.path, estate.nat, estate.terms);
        self.children = estate.children;
        self.children.inherited(step.now);
        self.tasks.extend(estate.tasks);
        // What was to go in favour of another one still is: a rekeying makes it no newer.
        self.leaves_at = estate.leaves_at;
        step.notices.push(Notice::IkeRekeyed);
        self.proceed(core, step);
    }

    /// The IKE SA that the peer's rekeying has made while ours was under way.
    pub fn rival(&self) -> Option<IkeSpi> {
        match &self.ongoing {
            Some(Ongoing::IkeRekey(rekeying)) => rekeying.rival(),
            _ => None,
        }
    }

    /// Everything goes to `heir`, which stands elsewhere.
    pub fn bequeath(&mut self, core: &Core, step: &mut Step<'_>, heir: IkeSpi) {
        followup::drop_everything(self, step);
        step.esp.hand_over(core.own_spi(), heir);
        step.notices.push(Notice::Bequest { heir, estate: Box::new(self.estate(core)) });
    }

    /// Everything goes to `heir`, which comes into being here. The initiator of the rekeying deletes the old IKE SA
    /// (§2.8); the responder waits for that.
    pub fn leave_to(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, heir: Heir, initiator: bool) -> State {
        let Heir { core: mut new, mut established } = heir;
        followup::drop_everything(&mut self, step);
        step.esp.hand_over(core.own_spi(), new.own_spi());
        established.inherit(&mut new, step, self.estate(core));
        step.born.push(IkeSa { core: new, state: State::Established(established) });
        self.give_way(core, step, initiator)
    }

    /// It is replaced. If the delete is ours it goes out now, else the peer has some time for it.
    pub fn give_way(self: Box<Self>, core: &mut Core, step: &mut Step<'_>, delete: bool) -> State {
        let not_before = if delete { step.now } else { step.now + limits::REPLACED_GRACE };
        self.farewell(core, step, not_before, not_before + limits::REPLACED_CLOSING_TIME)
    }

    /// Everything leaves the data path, and the operator hears why.
    fn dissolve(&mut self, core: &Core, step: &mut Step<'_>, reason: &str) {
        self.children.dissolve(&core.tunnel, step, reason);
        let (tunnel, spis) = (core.tunnel.name.clone(), core.spis.to_hex());
        step.out.event(Event::IkeDown { tunnel, spis, reason: reason.to_owned() });
        step.notices.push(Notice::Down { reason: reason.to_owned(), silent: reason == SILENT });
        // What the peer's rekeying has made beside ours has nothing to inherit any more.
        step.notices.extend(self.rival().map(|spare| Notice::Redundant { spare }));
    }

    /// Over, and the peer knows or cannot be told.
    pub fn end(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        self.dissolve(core, step, reason);
        State::Ended
    }

    /// Over, and the peer is told.
    pub fn close(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        self.dissolve(core, step, reason);
        let now = step.now;
        self.farewell(core, step, now, now + limits::CLOSING_TIME)
    }

    /// Over in favour of another one, and the peer is told.
    pub fn leave(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        self.retire_children(core, step, reason);
        self.close(core, step, reason)
    }

    /// Over, as the peer says: perhaps in favour of another one.
    pub fn end_as_told(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>, reason: &str) -> State {
        if self.leaves_soon() {
            self.retire_children(core, step, reason);
        }
        self.end(core, step, reason)
    }

    /// Nothing goes out by them any more. What is under way to us still comes in: ESP and a delete overtake each other.
    fn retire_children(&mut self, core: &Core, step: &mut Step<'_>, reason: &str) {
        let inbound = self.children.retire(&core.tunnel, step, reason);
        step.notices.push(Notice::Legacy { inbound });
    }

    fn farewell(self: Box<Self>, core: &mut Core, step: &mut Step<'_>, not_before: Instant, until: Instant) -> State {
        let Self { protection, .. } = *self;
        let farewell = Some(Payload::Delete(Delete::ike()));
        let mut closing = Closing { protection, farewell, not_before, sent: false, was_established: true, until };
        closing.say(core, step);
        State::Closing(Box::new(closing))
    }
}
