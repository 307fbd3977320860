//! The child SAs of one IKE SA: which take whose place, which may send, which only receive until the last packets on
//! their way have come in (RFC 7296 §2.8).

use super::child_sa::{ChildSa, receives_no_more};
use super::config::TunnelConfig;
use super::lanes::Lanes;
use super::limits;
use super::step::Step;
use super::timer::earlier;
use crate::ids::ShapeId;
use crate::sa::child::Encapsulation;
use crate::sa::spi::Spi;
use crate::time::Instant;

/// The table, oldest first.
#[derive(Default)]
pub struct Children {
    all: Vec<ChildSa>,
    /// Inbound halves of child SAs that are gone otherwise, and until when.
    lingering: Vec<(Instant, Spi)>,
    /// What the peer has said about several child SAs with the same selectors.
    pub lanes: Lanes,
}

impl Children {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ChildSa> {
        self.all.iter()
    }

    /// As if they had been made with another suite.
    #[cfg(test)]
    pub fn pretend(&mut self, suite: crate::crypto::suite::EspSuite) {
        self.all.iter_mut().for_each(|child| child.agreed.suite = suite);
    }

    /// As if their limits were far away.
    #[cfg(test)]
    pub fn stop_renewing(&mut self, never: Instant) {
        self.all.iter_mut().for_each(|child| (child.rekey_at, child.expires_at) = (never, never));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The one on which we receive under this SPI.
    pub fn get(&self, inbound: Spi) -> Option<&ChildSa> {
        self.all.iter().find(|child| child.agreed.inbound == inbound)
    }

    /// The one on which we receive under this SPI.
    pub fn get_mut(&mut self, inbound: Spi) -> Option<&mut ChildSa> {
        self.all.iter_mut().find(|child| child.agreed.inbound == inbound)
    }

    /// The one on which the peer receives under this SPI.
    pub fn by_outbound(&self, outbound: u32) -> Option<&ChildSa> {
        self.all.iter().find(|child| child.agreed.outbound.get() == outbound)
    }

    /// Shapes that have a child SA which is there to stay.
    pub fn covered(&self) -> Vec<ShapeId> {
        self.all.iter().filter(|child| !child.leaving && !child.redundant).map(|child| child.agreed.shape).collect()
    }

    /// Whether one that is there to stay has these selectors.
    pub fn is_covered(&self, shape: ShapeId) -> bool {
        self.covered().contains(&shape)
    }

    /// Those in use that carry exactly the same traffic as `child`.
    pub fn twins(&self, child: &ChildSa) -> Vec<Spi> {
        self.all
            .iter()
            .filter(|other| other.is_current() && other.is_twin(child))
            .map(|twin| twin.agreed.inbound)
            .collect()
    }

    /// Those that waited for the peer to show that it has their twin, which was not made in their place.
    pub fn outlived(&self, by: Spi) -> Vec<Spi> {
        let rekeyed = self.get(by).and_then(|child| child.replaces);
        let waits = |child: &&ChildSa| child.replaced_by == Some(by) && rekeyed != Some(child.agreed.inbound);
        self.all.iter().filter(waits).map(|child| child.agreed.inbound).collect()
    }

    /// One more.
    pub fn push(&mut self, child: ChildSa) {
        self.all.push(child);
    }

    /// `old` has a successor; if the peer does not delete it until `patience_ends`, we do.
    pub fn replaced(&mut self, old: Spi, by: Spi, patience_ends: Option<Instant>) {
        if let Some(old) = self.get_mut(old) {
            old.replaced_by = Some(by);
            old.patience_ends = patience_ends;
        }
    }

    /// `old` goes in favour of its twin. So does what `old` was to replace, which the peer, if it has asked for that, does not
    /// delete any more.
    pub fn pass_on(&mut self, old: Spi, twin: Spi, patience_ends: Instant) {
        for predecessor in self.all.iter_mut().filter(|child| child.replaced_by == Some(old)) {
            predecessor.replaced_by = Some(twin);
            predecessor.patience_ends.get_or_insert(patience_ends);
        }
    }

    /// `old` ought to be gone by now. Gives what is to be deleted: the old one or, if the peer has never shown that it has
    /// the new one, that; nothing as long as the peer may still ask for it.
    pub fn patience_ends(&mut self, now: Instant, old: Spi) -> Option<Spi> {
        let successor = self.get(old).and_then(|child| child.replaced_by);
        let Some(new) = successor.and_then(|new| self.get(new)).filter(|new| new.waits() && !new.redundant) else {
            return Some(old);
        };
        let (inbound, until) = (new.agreed.inbound, new.unproven_until);
        let over = now >= until;
        self.get_mut(old)?.patience_ends = if over { None } else { Some(until) };
        over.then_some(inbound)
    }

    /// The IKE SA in which they were made is gone. If the peer has not got an answer, it never will.
    pub fn inherited(&mut self, now: Instant) {
        self.lanes.ask_again();
        let until = now + limits::INHERITED_GRACE;
        for child in self.all.iter_mut().filter(|child| child.waits() || child.unheard) {
            child.unproven_until = child.unproven_until.min(until);
        }
        for child in &mut self.all {
            child.patience_ends = child.patience_ends.map(|at| at.min(until));
        }
    }

    /// It has lost against its twin, and the peer, which made it, is to delete it.
    pub fn redundant(&mut self, inbound: Spi, patience_ends: Instant) {
        if let Some(child) = self.get_mut(inbound) {
            child.redundant = true;
            child.patience_ends = Some(patience_ends);
        }
    }

    /// The peer asks for something new, so it has all our answers: it asks for one thing at a time.
    pub fn answers_arrived(&mut self, now: Instant) {
        self.all.iter_mut().filter(|child| child.unheard).for_each(|child| child.arrived(now));
    }

    /// The first packet has come in on a child SA: the peer has it, so it may be sent on.
    pub fn seen(&mut self, step: &mut Step<'_>, inbound: Spi) {
        if let Some(child) = self.get_mut(inbound) {
            child.arrived(step.now);
            child.send(step);
        }
    }

    /// Their IKE SA stays after all: all of them send.
    pub fn stay(&mut self, step: &mut Step<'_>) {
        self.all.iter_mut().for_each(|child| child.stay(step));
    }

    /// Takes one out of the table and stops sending on it. What has a successor or a twin, or lost against it, goes on
    /// receiving for a moment: packets may be on their way.
    pub fn remove(&mut self, tunnel: &TunnelConfig, step: &mut Step<'_>, inbound: Spi, reason: &str) {
        let Some(index) = self.all.iter().position(|child| child.agreed.inbound == inbound) else { return };
        let gone = self.all.remove(index);
        // Its successor sends before it stops: no packet is without an SA.
        for successor in self.all.iter_mut().filter(|child| child.replaces == Some(inbound)) {
            successor.send_unheard(step);
        }
        // A successor that goes leaves its predecessor where it was, or to its own successor.
        let heir = gone.replaced_by.filter(|heir| self.get(*heir).is_some());
        for predecessor in self.all.iter_mut().filter(|child| child.replaced_by == Some(inbound)) {
            predecessor.replaced_by = heir;
            if heir.is_some() {
                continue;
            }
            predecessor.patience_ends = None;
            // It was to be replaced, and still is.
            predecessor.rekey_at = predecessor.rekey_at.min(step.now + limits::TEMPORARY_FAILURE_PAUSE);
        }
        // Of two that both sides have made at once one stays, and the traffic of the other moves to it.
        let twin = self.all.iter().any(|other| other.is_twin(&gone));
        let lingers = gone.replaced_by.is_some() || gone.redundant || twin;
        let inbound = gone.retire(tunnel, step, reason);
        if lingers {
            self.lingering.push((step.now + limits::LINGER, inbound));
        } else {
            receives_no_more(step, inbound);
        }
    }

    /// All of them leave the data path.
    pub fn dissolve(&mut self, tunnel: &TunnelConfig, step: &mut Step<'_>, reason: &str) {
        for child in std::mem::take(&mut self.all) {
            let inbound = child.retire(tunnel, step, reason);
            receives_no_more(step, inbound);
        }
        for (_, inbound) in std::mem::take(&mut self.lingering) {
            receives_no_more(step, inbound);
        }
    }

    /// Nothing is sent on any of them any more. The SPIs under which packets may still come.
    pub fn retire(&mut self, tunnel: &TunnelConfig, step: &mut Step<'_>, reason: &str) -> Vec<Spi> {
        let retired = std::mem::take(&mut self.all).into_iter().map(|child| child.retire(tunnel, step, reason));
        let mut inbound: Vec<Spi> = retired.collect();
        inbound.extend(std::mem::take(&mut self.lingering).into_iter().map(|(_, spi)| spi));
        inbound
    }

    /// Inbound halves from elsewhere go on receiving for a moment.
    pub fn linger(&mut self, until: Instant, inbound: &[Spi]) {
        self.lingering.extend(inbound.iter().map(|spi| (until, *spi)));
    }

    /// The peer is elsewhere. Our SPIs of what goes by another way from now on.
    pub fn redirect(&mut self, encapsulation: Encapsulation) -> Vec<Spi> {
        self.all.iter_mut().for_each(|child| child.redirect(encapsulation));
        let lingering = self.lingering.iter().map(|(_, inbound)| *inbound);
        self.all.iter().map(|child| child.agreed.inbound).chain(lingering).collect()
    }

    /// Inbound halves whose time is over leave the data path.
    pub fn forget_lingering(&mut self, step: &mut Step<'_>) {
        let (over, left) = std::mem::take(&mut self.lingering).into_iter().partition(|(until, _)| *until <= step.now);
        self.lingering = left;
        let over: Vec<(Instant, Spi)> = over;
        for (_, inbound) in over {
            receives_no_more(step, inbound);
        }
    }

    /// What is due: what has had its successor for too long, what is over, what is to be renewed.
    pub fn due(&self, now: Instant) -> Vec<(Spi, Due)> {
        let due = |child: &ChildSa| {
            let what = if child.leaving {
                return None;
            } else if child.patience_ends.is_some_and(|at| at <= now) {
                Due::Patience
            } else if child.expires_at <= now {
                Due::Expired
            } else if child.is_current() && child.left_to_peer.is_some_and(|at| at <= now) {
                Due::Anew
            } else if child.is_current() && child.rekey_at <= now {
                Due::Rekey
            } else {
                return None;
            };
            Some((child.agreed.inbound, what))
        };
        self.all.iter().filter_map(due).collect()
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        let lingering = self.lingering.iter().map(|(until, _)| *until).min();
        let staying = self.all.iter().filter(|child| !child.leaving);
        staying.fold(lingering, |first, child| {
            let renewal = child.is_current().then(|| child.left_to_peer.unwrap_or(child.rekey_at));
            earlier(earlier(first, renewal), earlier(child.patience_ends, Some(child.expires_at)))
        })
    }
}

/// What the time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The peer has not deleted what it was to delete.
    Patience,
    /// It carries nothing any more.
    Expired,
    /// It is to be renewed.
    Rekey,
    /// The peer was to renew it, and has not.
    Anew,
}
