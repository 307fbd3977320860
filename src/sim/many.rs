//! Many seeds, on as many threads as there are cores. Each seed runs on one thread from beginning to end.

use std::collections::BTreeSet;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::coverage::Coverage;
use super::ledger::Violation;
use super::plan::Feature;
use super::{Outcome, run};

/// What became of all of them.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// How many were run.
    pub seeds: u64,
    /// Those in which something did not hold.
    pub failures: Vec<Outcome>,
    /// What was reached.
    pub coverage: Coverage,
    /// IKE messages.
    pub messages: u64,
    /// Authenticated IKE SAs, counted at both ends.
    pub handshakes: u64,
    /// Rekeyed IKE SAs, and child SAs.
    pub rekeys: [u64; 2],
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
    /// The longest way to rest, in milliseconds, and whose.
    pub slowest: (u64, u64),
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.coverage.add(&outcome.coverage);
        self.messages += outcome.messages;
        self.handshakes += outcome.handshakes;
        for (mine, theirs) in self.rekeys.iter_mut().zip(outcome.rekeys) {
            *mine += theirs;
        }
        self.simulated_ms += outcome.simulated_ms;
        self.slowest = self.slowest.max((outcome.settled_ms, outcome.seed));
        if outcome.violation.is_some() {
            self.failures.push(outcome);
        }
    }
}

/// One seed, where a panic is a failure like any other.
#[must_use]
pub fn run_safely(seed: u64, off: &BTreeSet<Feature>) -> Outcome {
    panic::catch_unwind(|| run(seed, off, None)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        Outcome {
            seed,
            violation: Some(Violation { invariant: "panic", what: text }),
            features: super::plan::Plan::draw(seed, off).features,
            trace: Vec::new(),
            coverage: Coverage::default(),
            messages: 0,
            handshakes: 0,
            rekeys: [0; 2],
            settled_ms: 0,
            simulated_ms: 0,
        }
    })
}

/// Runs the seeds from `first` on; `progress` hears how many are done, and of each failure at once.
#[must_use]
pub fn run_many(
    first: u64,
    count: u64,
    threads: usize,
    off: &BTreeSet<Feature>,
    progress: &(dyn Fn(u64, Option<&Outcome>) + Sync),
) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let outcome = run_safely(first.wrapping_add(index), off);
                    let Ok(mut sum) = sum.lock() else { return };
                    let failed = outcome.violation.is_some().then(|| outcome.clone());
                    sum.add(outcome);
                    progress(sum.seeds, failed.as_ref());
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_default();
    sum.failures.sort_by_key(|outcome| outcome.seed);
    sum
}
