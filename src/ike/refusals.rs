//! Refused datagrams: a counter for each reason that never falls, and events that a flood cannot multiply.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::limits;
use super::step::Outbox;
use crate::event::{Event, IkeReason};
use crate::time::Instant;

/// What was refused within one window of time.
#[derive(Debug, Default)]
pub struct Refusals {
    counters: BTreeMap<IkeReason, u64>,
    recent: BTreeMap<(SocketAddr, IkeReason), u64>,
    until: Option<Instant>,
}

impl Refusals {
    /// Counts one. The first of a remote address and reason is told at once, the others when the window ends.
    pub fn count(&mut self, now: Instant, out: &mut Outbox, remote: SocketAddr, reason: IkeReason) {
        self.note(reason);
        if let Some(count) = self.recent.get_mut(&(remote, reason)) {
            *count += 1;
        } else if self.recent.len() < limits::MAX_REFUSALS {
            self.recent.insert((remote, reason), 0);
            out.event(Event::IkeRefused { remote, reason, count: 1 });
        }
        self.until.get_or_insert(now + limits::REFUSAL_WINDOW);
    }

    /// Counts one that is told elsewhere.
    pub fn note(&mut self, reason: IkeReason) {
        self.note_many(reason, 1);
    }

    /// Counts as many as somebody else has refused.
    pub fn note_many(&mut self, reason: IkeReason, count: u64) {
        if count > 0 {
            *self.counters.entry(reason).or_default() += count;
        }
    }

    /// The end of the window.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Tells what was counted since, and begins anew.
    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        if self.until.is_none_or(|until| now < until) {
            return;
        }
        self.until = None;
        for ((remote, reason), count) in std::mem::take(&mut self.recent) {
            if count > 0 {
                out.event(Event::IkeRefused { remote, reason, count });
            }
        }
    }

    /// The counters above zero.
    pub fn counters(&self) -> impl Iterator<Item = (IkeReason, u64)> + '_ {
        self.counters.iter().map(|(reason, count)| (*reason, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::api::Output;

    fn events(out: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| out.pop())
            .map(|output| match output {
                Output::Event(Event::IkeRefused { count, .. }) => count,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_flood_gives_two_events_a_window_and_bounded_memory() {
        let (mut refusals, mut out) = (Refusals::default(), Outbox::new(false));
        let start = Instant::from_nanos(5);
        let remote = |port| SocketAddr::from(([192, 0, 2, 1], port));
        for _ in 0..1000 {
            refusals.count(start, &mut out, remote(1), IkeReason::Malformed);
        }
        assert_eq!(events(&mut out), [1]);
        refusals.on_time(start + limits::REFUSAL_WINDOW, &mut out);
        assert_eq!(events(&mut out), [999]);
        assert_eq!(refusals.deadline(), None);
        for port in 0..10_000 {
            refusals.count(start, &mut out, remote(port), IkeReason::UnknownPeer);
        }
        assert_eq!(events(&mut out).len(), limits::MAX_REFUSALS);
        let counters: Vec<_> = refusals.counters().collect();
        assert_eq!(counters, [(IkeReason::Malformed, 1000), (IkeReason::UnknownPeer, 10_000)]);
    }
}
