//! Counts of what passed and what did not: by reason, by rule, by tunnel. They never fall: not when keys change, and not
//! when the policy is loaded again.
//!
//! One worker writes, anybody reads at any time: each count is an atomic that its one writer loads and stores, which
//! costs what a plain integer costs and needs neither lock nor copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::drop::Untold;
use super::offload::Offloads;
use crate::event::DropReason;
use crate::ids::{RuleId, TunnelId};
use crate::time::Instant;

/// A count with one writer.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `more`. Only the worker that owns the count may.
    pub(super) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one rule or one tunnel has carried and refused. Bytes are those of inner packets.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets sealed.
    pub packets_out: Tally,
    /// Their bytes.
    pub bytes_out: Tally,
    /// Packets opened and let in.
    pub packets_in: Tally,
    /// Their bytes.
    pub bytes_in: Tally,
    /// Packets refused, either way.
    pub refused: Tally,
    /// The same by reason (rules only).
    pub reasons: Reasons,
    /// Flows opened (rules only).
    pub flows: Tally,
    /// Flows ended because of what they said, or because the policy does not allow them any more (rules only).
    pub ended: Tally,
    /// Flows that were not ended only because their rule observes (rules only).
    pub observed: Tally,
    /// When the last authenticated packet came (tunnels only), in the nanoseconds of [`Instant`].
    pub last_inbound: Tally,
}

/// Refused packets by reason.
#[derive(Debug)]
pub struct Reasons([Tally; DropReason::ALL.len()]);

impl Default for Reasons {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Tally::default()))
    }
}

impl Reasons {
    fn add(&self, reason: DropReason, count: u64) {
        self.0[reason as usize].add(count);
    }

    /// How many packets were refused for `reason`.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().map(|&reason| (reason, self.get(reason))).filter(|&(_, count)| count > 0)
    }
}

impl Traffic {
    pub(super) fn refuse(&self, reason: DropReason, count: u64) {
        self.refused.add(count);
        self.reasons.add(reason, count);
    }

    pub(super) fn count_out(&self, packets: u64, bytes: u64) {
        self.packets_out.add(packets);
        self.bytes_out.add(bytes);
    }

    pub(super) fn count_in(&self, packets: u64, bytes: u64) {
        self.packets_in.add(packets);
        self.bytes_in.add(bytes);
    }

    /// When the last authenticated packet came, if one has.
    #[must_use]
    pub fn last_inbound(&self) -> Option<Instant> {
        Some(self.last_inbound.get()).filter(|&nanos| nanos > 0).map(Instant::from_nanos)
    }
}

type Rows = Vec<Arc<Traffic>>;

/// What anybody may read.
#[derive(Debug)]
pub struct Counters {
    drops: Reasons,
    rules: ArcSwap<Rows>,
    tunnels: ArcSwap<Rows>,
    /// NAT keepalives received.
    pub keepalives: Tally,
    /// ICMP errors and resets sent inwards.
    pub replies: Tally,
    /// Packets that were passed on to the worker that they belong to.
    pub handed_over: Tally,
    /// Ports of outside addresses that stand for a host's own now.
    pub mappings: Tally,
    untold: [Tally; 4],
    offloads: Tally,
}

impl Counters {
    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason)
    }

    /// The reasons that occurred, with their counts.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.drops.iter()
    }

    /// What happened and found no room among the records, since start.
    #[must_use]
    pub fn untold(&self) -> Untold {
        let [opened, recognised, closed, refused] = self.untold.each_ref().map(Tally::get);
        Untold { opened, recognised, closed, refused }
    }

    /// Which of the kernel's offloads are in use.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        Offloads::unpack(self.offloads.get())
    }

    /// What a rule has carried; `None` before its first packet or policy.
    #[must_use]
    pub fn rule(&self, rule: RuleId) -> Option<Arc<Traffic>> {
        self.rules.load().get(usize::from(rule.0)).cloned()
    }

    /// What a tunnel has carried; `None` before its first packet.
    #[must_use]
    pub fn tunnel(&self, tunnel: TunnelId) -> Option<Arc<Traffic>> {
        self.tunnels.load().get(usize::from(tunnel.0)).cloned()
    }
}

/// The worker's end.
pub(super) struct CounterWriter {
    shared: Arc<Counters>,
    rules: Arc<Rows>,
    tunnels: Arc<Rows>,
}

impl CounterWriter {
    pub(super) fn new() -> Self {
        let rows = || (Arc::new(Rows::new()), Arc::new(Rows::new()));
        let (rules, tunnels) = rows();
        let shared = Arc::new(Counters {
            drops: Reasons::default(),
            rules: ArcSwap::new(rules.clone()),
            tunnels: ArcSwap::new(tunnels.clone()),
            keepalives: Tally::default(),
            replies: Tally::default(),
            handed_over: Tally::default(),
            mappings: Tally::default(),
            untold: std::array::from_fn(|_| Tally::default()),
            offloads: Tally::default(),
        });
        Self { shared, rules, tunnels }
    }

    pub(super) fn shared(&self) -> &Arc<Counters> {
        &self.shared
    }

    pub(super) fn offloads(&self, offloads: Offloads) {
        self.shared.offloads.set(offloads.pack());
    }

    pub(super) fn drop(&self, reason: DropReason, count: u64) {
        self.shared.drops.add(reason, count);
    }

    pub(super) fn untold(&self, more: Untold) {
        let Untold { opened, recognised, closed, refused } = more;
        for (tally, more) in self.shared.untold.iter().zip([opened, recognised, closed, refused]) {
            tally.add(more);
        }
    }

    /// The row of a rule; made at its first use, which no packet but the first of a rule pays for.
    pub(super) fn rule(&mut self, rule: RuleId) -> &Traffic {
        let at = usize::from(rule.0);
        if at >= self.rules.len() {
            self.rules = grow(&self.rules, at, &self.shared.rules);
        }
        &self.rules[at]
    }

    /// The row of a tunnel, likewise.
    pub(super) fn tunnel(&mut self, tunnel: TunnelId) -> &Traffic {
        let at = usize::from(tunnel.0);
        if at >= self.tunnels.len() {
            self.tunnels = grow(&self.tunnels, at, &self.shared.tunnels);
        }
        &self.tunnels[at]
    }
}

/// A longer table of the same rows, for the worker and for the readers. It doubles, so that many rows, made one after the
/// other, are not copied once for each.
fn grow(rows: &Rows, at: usize, shared: &ArcSwap<Rows>) -> Arc<Rows> {
    let len = (at + 1).max(rows.len() * 2);
    let mut longer = Rows::with_capacity(len);
    longer.extend(rows.iter().cloned());
    longer.resize_with(len, Arc::default);
    let longer = Arc::new(longer);
    shared.store(longer.clone());
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_growth_of_their_table() {
        let mut writer = CounterWriter::new();
        let shared = writer.shared().clone();
        assert!(shared.rule(RuleId(3)).is_none());
        writer.rule(RuleId(3)).count_out(1, 100);
        let held = shared.rule(RuleId(3)).unwrap();
        writer.rule(RuleId(900)).count_in(1, 7);
        writer.rule(RuleId(3)).count_out(1, 50);
        for row in [held, shared.rule(RuleId(3)).unwrap()] {
            assert_eq!((row.packets_out.get(), row.bytes_out.get()), (2, 150));
        }
        assert_eq!(shared.rule(RuleId(900)).unwrap().bytes_in.get(), 7);
        assert_eq!(shared.rule(RuleId(899)).unwrap().packets_in.get(), 0);
    }

    #[test]
    fn only_reasons_that_occurred_are_listed() {
        let writer = CounterWriter::new();
        writer.drop(DropReason::Forged, 2);
        writer.drop(DropReason::SendFailed, 1);
        assert_eq!(writer.shared().drops().collect::<Vec<_>>(), [(DropReason::Forged, 2), (DropReason::SendFailed, 1)]);
    }
}
