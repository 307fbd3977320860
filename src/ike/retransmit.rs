//! When a request is sent again (RFC 7296 §2.1, §2.4): back-off with jitter, a bounded number of transmissions.

use std::time::Duration;

use super::limits;
use crate::entropy::Entropy;
use crate::time::Instant;

/// The schedule of one request. Only initiators of an exchange have one: a responder never retransmits by itself.
#[derive(Debug)]
pub struct Schedule {
    sent: u32,
    next: Instant,
}

impl Schedule {
    /// The request has just been sent for the first time.
    pub fn start(now: Instant, entropy: &mut dyn Entropy) -> Self {
        Self { sent: 1, next: now + wait(1, entropy) }
    }

    /// How often it has been sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// When something is to be done: the next transmission, or giving up.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// `next` has come. Whether to send again; otherwise the peer counts as gone.
    pub fn again(&mut self, now: Instant, entropy: &mut dyn Entropy) -> bool {
        if self.sent >= limits::TRANSMISSIONS {
            return false;
        }
        self.sent += 1;
        self.next = now + wait(self.sent, entropy);
        true
    }
}

/// 0.5 s, then 1.6 times as long each time, at most 8 s, each up to a tenth longer or shorter.
fn wait(sent: u32, entropy: &mut dyn Entropy) -> Duration {
    let mut wait = limits::RETRANSMIT_FIRST;
    for _ in 1..sent {
        wait = (wait * 8 / 5).min(limits::RETRANSMIT_MAX);
    }
    jitter(wait, 10, entropy)
}

/// `time` plus or minus up to `percent` of it.
pub fn jitter(time: Duration, percent: u32, entropy: &mut dyn Entropy) -> Duration {
    let span = time * percent / 100;
    let nanos = u64::try_from((span * 2).as_nanos()).unwrap_or(u64::MAX);
    (time + Duration::from_nanos(entropy.below(nanos.saturating_add(1)))).saturating_sub(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn ten_transmissions_within_a_minute_and_then_none() {
        for seed in 0..50 {
            let mut entropy = SeededEntropy::new(seed);
            let mut schedule = Schedule::start(Instant::ZERO, &mut entropy);
            let mut sent = 1;
            let mut now = schedule.next();
            while schedule.again(now, &mut entropy) {
                sent += 1;
                assert!(schedule.next() > now);
                now = schedule.next();
            }
            assert_eq!(sent, limits::TRANSMISSIONS);
            assert!(now - Instant::ZERO <= Duration::from_mins(1), "{now:?}");
            assert!(now - Instant::ZERO >= Duration::from_secs(35), "{now:?}");
        }
    }
}
