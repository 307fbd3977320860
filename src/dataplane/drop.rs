//! Which flow was refused, and how often? A bounded table: the first hit is told at once, repeats are counted.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::RandomState;

use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, TunnelId};
use crate::time::Instant;
use crate::wire::rewrite::End;

/// Refused flows that are remembered at a time.
const SLOTS: usize = 1024;
/// How many slots one flow may lie in.
const WAYS: usize = 4;
/// Records that wait to be read.
const QUEUE: usize = 1024;
/// Repeats are told at most this often.
const EVERY: Duration = Duration::from_secs(10);
/// Flows opened, recognised and closed that are told between two ticks, of which there are ten a second: more than anybody
/// reads, and what a log takes without falling behind.
const TOLD: u32 = 128;

/// Something to be told to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A flow was refused.
    Refused(Refused),
    /// A flow was opened by a rule.
    FlowOpened {
        /// Its tunnel.
        tunnel: TunnelId,
        /// The rule.
        rule: RuleId,
        /// Who talks to whom.
        flow: FlowKey,
        /// Our end of it behind a translation.
        inside: Option<End>,
    },
    /// A flow speaks what its rule demands.
    FlowRecognised {
        /// Its tunnel.
        tunnel: TunnelId,
        /// The rule.
        rule: RuleId,
        /// Who talks to whom.
        flow: FlowKey,
    },
    /// A flow has ended.
    FlowClosed(Closed),
    /// A flow would have been ended if its rule did not only observe.
    FlowObserved {
        /// Its tunnel.
        tunnel: TunnelId,
        /// The rule.
        rule: RuleId,
        /// Why.
        reason: DropReason,
        /// Who talks to whom.
        flow: FlowKey,
    },
}

/// A flow that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// The rule.
    pub rule: RuleId,
    /// Who talked to whom, the side that opened it first.
    pub flow: FlowKey,
    /// How it ended.
    pub end: Ending,
    /// Bytes of inner packets that went out.
    pub bytes_out: u64,
    /// Bytes of inner packets that came in.
    pub bytes_in: u64,
}

/// How a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides closed it, or one reset it.
    Closed,
    /// It was silent for too long.
    Expired,
    /// It was refused: what it said, or that no rule allows it any more.
    Refused(DropReason),
}

impl Ending {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Refused(reason) => reason.as_str(),
        }
    }
}

/// What happened and found no room to be told, by what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Flows opened.
    pub opened: u64,
    /// Flows recognised.
    pub recognised: u64,
    /// Flows ended.
    pub closed: u64,
    /// Packets refused.
    pub refused: u64,
}

impl Untold {
    /// What two workers have counted, together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            opened: self.opened.wrapping_add(other.opened),
            recognised: self.recognised.wrapping_add(other.recognised),
            closed: self.closed.wrapping_add(other.closed),
            refused: self.refused.wrapping_add(other.refused),
        }
    }
}

/// A refused flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its tunnel, where one is known.
    pub tunnel: Option<TunnelId>,
    /// The rule nearest to it.
    pub rule: Option<RuleId>,
    /// Why.
    pub reason: DropReason,
    /// Whether it was on its way out.
    pub outbound: bool,
    /// Who talks to whom.
    pub flow: FlowKey,
    /// Our end of it behind a translation.
    pub inside: Option<End>,
    /// How many packets since the last record of the same flow and reason.
    pub count: u64,
}

struct Slot {
    refused: Refused,
    told: Instant,
}

/// Refused flows and records about them. Allocated once.
pub struct Records {
    slots: Box<[Option<Slot>]>,
    queue: VecDeque<Record>,
    hash: RandomState,
    untold: Untold,
    left: u32,
}

impl Records {
    /// An empty table.
    #[must_use]
    pub fn new(hash: RandomState) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { slots, queue: VecDeque::with_capacity(QUEUE), hash, untold: Untold::default(), left: TOLD }
    }

    /// Notes a refused packet; `refused.count` says how many at once.
    pub fn refused(&mut self, now: Instant, refused: Refused) {
        let home =
            self.hash.hash_one((refused.flow, refused.reason, refused.outbound)) as usize % (SLOTS / WAYS) * WAYS;
        let ways = &mut self.slots[home..home + WAYS];
        let same = |slot: &Slot| {
            (slot.refused.flow, slot.refused.reason, slot.refused.outbound)
                == (refused.flow, refused.reason, refused.outbound)
        };
        let slot = if let Some(way) = ways.iter().position(|slot| slot.as_ref().is_some_and(same)) {
            let slot = ways[way].as_mut().expect("it was just found");
            slot.refused.count += refused.count;
            if now.since(slot.told) < EVERY {
                return;
            }
            slot
        } else {
            // A free slot, or one whose flow has nothing left to tell.
            let free = |slot: &Option<Slot>| {
                slot.as_ref().is_none_or(|slot| slot.refused.count == 0 && now.since(slot.told) >= EVERY)
            };
            let Some(way) = ways.iter().position(free) else {
                self.untold.refused += refused.count;
                return;
            };
            ways[way].insert(Slot { refused, told: now })
        };
        slot.told = now;
        let record = Record::Refused(slot.refused);
        slot.refused.count = 0;
        self.push(record);
    }

    /// Notes an opened flow.
    pub fn opened(&mut self, tunnel: TunnelId, rule: RuleId, flow: FlowKey, inside: Option<End>) {
        self.tell(Record::FlowOpened { tunnel, rule, flow, inside });
    }

    /// Notes a flow that was recognised.
    pub fn recognised(&mut self, tunnel: TunnelId, rule: RuleId, flow: FlowKey) {
        self.tell(Record::FlowRecognised { tunnel, rule, flow });
    }

    /// Notes a flow that goes on though it should not. There is one such record for a flow, and it is what the rule is for.
    pub fn observed(&mut self, tunnel: TunnelId, rule: RuleId, reason: DropReason, flow: FlowKey) {
        self.push(Record::FlowObserved { tunnel, rule, reason, flow });
    }

    /// Notes a flow that has ended.
    pub fn closed(&mut self, closed: Closed) {
        self.tell(Record::FlowClosed(closed));
    }

    /// Tells the repeats that are due.
    pub fn tick(&mut self, now: Instant) {
        self.left = TOLD;
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots[at].as_mut() else { continue };
            if now.since(slot.told) < EVERY {
                continue;
            }
            if slot.refused.count == 0 {
                self.slots[at] = None;
                continue;
            }
            slot.told = now;
            let record = Record::Refused(slot.refused);
            slot.refused.count = 0;
            self.push(record);
        }
    }

    /// The oldest record that nobody has read.
    pub fn poll(&mut self) -> Option<Record> {
        self.queue.pop_front()
    }

    /// How many packets and flows found no room since the last call.
    pub fn take_untold(&mut self) -> Untold {
        std::mem::take(&mut self.untold)
    }

    /// Tells of a flow, as long as there are not too many.
    fn tell(&mut self, record: Record) {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            self.push(record);
        } else {
            self.count(&record);
        }
    }

    fn push(&mut self, record: Record) {
        if self.queue.len() < QUEUE {
            self.queue.push_back(record);
        } else {
            self.count(&record);
        }
    }

    fn count(&mut self, record: &Record) {
        let (tally, more) = match record {
            Record::Refused(refused) => (&mut self.untold.refused, refused.count),
            Record::FlowOpened { .. } => (&mut self.untold.opened, 1),
            Record::FlowRecognised { .. } | Record::FlowObserved { .. } => (&mut self.untold.recognised, 1),
            Record::FlowClosed(_) => (&mut self.untold.closed, 1),
        };
        *tally += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(port: u16, reason: DropReason) -> Refused {
        let flow = FlowKey {
            protocol: 6,
            source: [192, 0, 2, 1].into(),
            source_port: port,
            destination: [192, 0, 2, 2].into(),
            destination_port: 23,
        };
        Refused { tunnel: None, rule: None, reason, outbound: true, flow, inside: None, count: 1 }
    }

    fn records() -> Records {
        Records::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_hit_is_told_at_once_and_repeats_every_ten_seconds() {
        let mut records = records();
        let hit = refused(1000, DropReason::NoRule);
        for second in 0..=25 {
            records.refused(at(second), hit);
        }
        let counts: Vec<_> = std::iter::from_fn(|| records.poll())
            .map(|record| match record {
                Record::Refused(refused) => refused.count,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [1, 10, 10]);
        records.tick(at(29));
        assert_eq!(records.poll(), None);
        records.tick(at(30));
        assert_eq!(records.poll(), Some(Record::Refused(Refused { count: 5, ..hit })));
        records.tick(at(31));
        assert_eq!(records.poll(), None);
    }

    #[test]
    fn one_flow_with_two_reasons_has_two_records() {
        let mut records = records();
        records.refused(at(0), refused(1, DropReason::NoRule));
        records.refused(at(0), refused(1, DropReason::Selector));
        assert_eq!(std::iter::from_fn(|| records.poll()).count(), 2);
    }

    #[test]
    fn a_flood_of_flows_is_counted_where_it_does_not_fit() {
        let mut records = records();
        for port in 0..60_000 {
            records.refused(at(0), refused(port, DropReason::NoRule));
        }
        let told = std::iter::from_fn(|| records.poll()).count() as u64;
        assert!(told <= QUEUE as u64);
        assert_eq!(told + records.take_untold().refused, 60_000);
        // Ten seconds later the table has room again.
        records.tick(at(10));
        records.refused(at(10), refused(7, DropReason::NoRule));
        assert!(records.poll().is_some());
    }

    #[test]
    fn a_flood_of_opened_and_closed_flows_is_told_in_part_and_counted_in_full() {
        let mut records = records();
        let mut told = 0;
        for tick in 0..20 {
            for port in 0..1000 {
                let flow = refused(port, DropReason::NoRule).flow;
                let (tunnel, rule) = (TunnelId(0), RuleId(0));
                records.opened(tunnel, rule, flow, None);
                records.recognised(tunnel, rule, flow);
                records.closed(Closed { tunnel, rule, flow, end: Ending::Expired, bytes_out: 1, bytes_in: 2 });
            }
            let now = std::iter::from_fn(|| records.poll()).count() as u64;
            assert!((1..=u64::from(TOLD)).contains(&now));
            told += now;
            records.tick(at(tick));
        }
        let Untold { opened, recognised, closed, refused } = records.take_untold();
        assert_eq!((told + opened + recognised + closed, refused), (60_000, 0));
        assert_eq!(records.take_untold(), Untold::default());
    }

    #[test]
    fn opened_flows_leave_room_for_refusals() {
        let mut records = records();
        for port in 0..60_000 {
            records.opened(TunnelId(0), RuleId(0), refused(port, DropReason::NoRule).flow, None);
        }
        let hit = refused(7, DropReason::NoRule);
        records.refused(at(0), hit);
        assert!(std::iter::from_fn(|| records.poll()).any(|record| record == Record::Refused(hit)));
    }
}
