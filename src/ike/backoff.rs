//! The pauses between attempts to bring up what is wanted: an IKE SA, a child SA.

use super::limits;
use super::retransmit::jitter;
use crate::entropy::Entropy;
use crate::time::Instant;

/// Pauses that grow, and shrink again only after what was wanted has lasted: a peer that agrees and takes it back at
/// once is not asked every second.
#[derive(Debug, Default)]
pub struct Backoff {
    /// In a row.
    pub failures: u32,
    /// The next attempt waits until then.
    pub not_before: Option<Instant>,
    /// Or until what the peer is busy with is over.
    busy: bool,
    well_since: Option<Instant>,
}

impl Backoff {
    /// Another failure: 1 s, 2 s, 4 s .. 60 s, each up to a quarter shorter or longer and never above 60 s.
    pub fn failed(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.well_since.take().is_some_and(|since| now.since(since) >= limits::RETRY_MAX) {
            self.failures = 0;
        }
        let pause = limits::RETRY_FIRST.saturating_mul(1 << self.failures.min(10)).min(limits::RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.busy = false;
        self.not_before = Some(now + jitter(pause, 25, entropy).min(limits::RETRY_MAX));
    }

    /// The peer is busy: the next attempt waits until then, or until that is over.
    pub fn put_off(&mut self, until: Instant) {
        (self.not_before, self.busy) = (Some(until), true);
    }

    /// What the peer was busy with is over.
    pub fn peer_is_free(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.not_before = None;
        }
    }

    /// What was wanted is there.
    pub fn succeeded(&mut self, now: Instant) {
        (self.not_before, self.busy) = (None, false);
        self.well_since = Some(now);
    }

    /// Whether the next attempt may be made.
    pub fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn pauses_grow_to_a_minute_and_shrink_only_after_a_minute_of_peace() {
        let mut entropy = SeededEntropy::new(1);
        let entropy: &mut dyn Entropy = &mut entropy;
        let mut backoff = Backoff::default();
        let mut now = Instant::from_nanos(1);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.failed(now, entropy);
            let next = backoff.not_before.unwrap();
            pauses.push(next - now);
            assert!(!backoff.is_due(now) && backoff.is_due(next));
            now = next;
            // It works for a moment, each time.
            backoff.succeeded(now);
        }
        assert!(pauses[0] < Duration::from_secs(2), "{pauses:?}");
        assert!(pauses[7..].iter().all(|pause| (45..=60).contains(&pause.as_secs())), "{pauses:?}");
        now = now + limits::RETRY_MAX;
        backoff.failed(now, entropy);
        assert!(backoff.not_before.unwrap() - now < Duration::from_secs(2));
    }
}
