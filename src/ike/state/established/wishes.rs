//! What is wanted of the SAs: made, replaced, deleted, one task after the other.

use super::{Established, Ongoing, Task};
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::ike::child::Declined;
use crate::ike::child_sa::ChildSa;
use crate::ike::ike_sa::Core;
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::step::{Notice, Step};
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};

impl Established {
    /// A child SA for these selectors is wanted.
    pub fn want_child(&mut self, core: &mut Core, step: &mut Step<'_>, shape: ShapeId) {
        self.tasks.push_back(Task::CreateChild { shape, group: None, beside: false });
        self.proceed(core, step);
    }

    /// Whether there is a child SA for these selectors, or one on its way.
    pub fn has_child(&self, shape: ShapeId) -> bool {
        let wants = |task: &Task| matches!(task, Task::CreateChild { shape: of, .. } if *of == shape);
        let asked = match &self.ongoing {
            Some(Ongoing::ChildCreate(requested)) => requested.offer.shape == shape,
            Some(Ongoing::ChildRekey(rekeying)) => rekeying.shape() == shape,
            _ => false,
        };
        asked || self.children.covered().contains(&shape) || self.tasks.iter().any(wants)
    }

    /// A child SA comes near a limit, or the operator wishes so: another one takes its place.
    pub fn rekey_child(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        let Some(child) = self.children.get_mut(inbound).filter(|child| child.is_current()) else { return };
        if child.puts_renewal_off(step.now) {
            return;
        }
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

    /// This IKE SA is to be replaced before anything else is begun: the peer has asked for that and found us busy.
    pub fn rekey_ike_next(&mut self, now: Instant) {
        self.rekey_at = now + limits::REKEY_RETRY;
        self.tasks.retain(|task| !matches!(task, Task::RekeyIke { .. }));
        self.tasks.push_front(Task::RekeyIke { group: None });
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
        let (shape, alone) = (child.agreed.shape, child.replaced_by.is_none() && !child.redundant);
        // The new one is asked for first, so that it is there when the old one goes; a further lane is asked for once the old
        // one is gone, so that the peer has it free. Lane 0 carries its packets meanwhile.
        let mut delete = self.mark_leaving(inbound);
        if lanes::is_above(&core.tunnel, shape) {
            self.tasks.extend(delete.take());
        }
        if alone && !self.has_child(shape) {
            self.tasks.push_back(Task::CreateChild { shape, group: None, beside: false });
        }
        self.tasks.extend(delete);
        self.proceed(core, step);
    }

    /// The peer takes no rekeying of this child SA and has not rekeyed it either: another one is made beside it.
    pub fn renew_from_scratch(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        let Some(child) = self.children.get_mut(inbound) else { return };
        child.left_to_peer = None;
        let shape = child.agreed.shape;
        if lanes::is_above(&core.tunnel, shape) {
            return self.replace_child(core, step, inbound);
        }
        let covers = |other: &ChildSa| other.is_current() && other.agreed.shape == shape;
        if !self.children.iter().any(|other| other.agreed.inbound != inbound && covers(other)) {
            self.tasks.push_back(Task::CreateChild { shape, group: None, beside: true });
            self.proceed(core, step);
        }
    }

    /// A delete of this child SA waits for the window from now on.
    pub fn delete_child(&mut self, inbound: Spi) {
        let delete = self.mark_leaving(inbound);
        self.tasks.extend(delete);
    }

    /// It goes; the task that does it, once.
    fn mark_leaving(&mut self, inbound: Spi) -> Option<Task> {
        let child = self.children.get_mut(inbound).filter(|child| !child.leaving)?;
        child.leaving = true;
        Some(Task::DeleteChild(inbound))
    }

    /// Child SAs whose selectors are no longer configured go.
    pub fn drop_children(&mut self, core: &mut Core, step: &mut Step<'_>, keep: impl Fn(&ChildSa) -> bool) {
        let gone = self.children.iter().filter(|child| !child.leaving && !keep(child));
        for inbound in gone.map(|child| child.agreed.inbound).collect::<Vec<_>>() {
            self.delete_child(inbound);
        }
        self.proceed(core, step);
    }

    /// A child SA was installed, which `ours` says whether we asked for. If there is one for the same traffic already - both
    /// sides have asked, or it was not to be rekeyed -, the initiator of the IKE SA deletes the older of the two.
    pub fn add_child(&mut self, core: &Core, step: &Step<'_>, mut child: ChildSa, ours: bool) {
        child.unheard = !ours;
        let (new, first) = (child.agreed.inbound, self.children.twins(&child));
        self.children.push(child);
        for old in first.into_iter().filter(|_| core.initiator) {
            self.children.pass_on(old, new, step.now + limits::TWIN_GRACE);
            if ours {
                self.delete_child(old);
            } else {
                // The peer has nothing else until our answer is there.
                self.children.replaced(old, new, Some(step.now + limits::TWIN_GRACE));
            }
        }
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
        if reason == IkeReason::NoLane {
            self.children.lanes.refuse(shape);
            step.notices.push(Notice::LaneRefused { exchange, detail });
            return;
        }
        let pause = (notify.kind == NotifyType::TEMPORARY_FAILURE).then_some(limits::TEMPORARY_FAILURE_PAUSE);
        step.notices.push(Notice::ChildFailed { shape, exchange, reason, detail, pause });
    }

    /// What the peer has said of several child SAs with the same selectors, as it made one.
    pub fn hear_of_lanes(&mut self, core: &Core, step: &mut Step<'_>, exchange: ExchangeType, takes_part: bool) {
        if lanes::are_several(&core.tunnel) && self.children.lanes.hear(takes_part) {
            let detail = "the peer says no SA_RESOURCE_INFO: it makes one for all packets".to_owned();
            step.notices.push(Notice::LaneRefused { exchange, detail });
        }
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
    pub fn first_inbound(&mut self, core: &mut Core, step: &mut Step<'_>, inbound: Spi) {
        self.last_inbound = step.now;
        self.children.seen(step, inbound);
        for twin in self.children.outlived(inbound) {
            self.delete_child(twin);
        }
        self.proceed(core, step);
    }
}
