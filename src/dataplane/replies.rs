//! Packets that the gateway makes itself: ICMP errors, to our own side alone, and resets, to our own side and, of
//! flows that it ends, to the peer's.

use std::time::Duration;

use super::buffer::Batch;
use crate::inspect::Reset;
use crate::time::Instant;
use crate::wire::icmp::{self, IcmpError};
use crate::wire::ip::Inner;
use crate::wire::tcp;

/// Packets that wait to be written at a time.
const SLOTS: usize = 64;
/// RFC 4443 §2.4 (c): an error has at most 1280 bytes.
const ROOM: usize = 1280;

/// What is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A TCP reset.
    Reset,
    /// An ICMP error.
    Error(IcmpError),
}

/// A rate limit (RFC 4443 §2.4 (f) recommends a token bucket).
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u64,
    burst: u64,
    each: Duration,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u64) -> Self {
        Self { tokens: burst, burst, each: Duration::from_secs(1) / per_second, filled: Instant::ZERO }
    }

    fn take(&mut self, now: Instant) -> bool {
        let fresh = now.since(self.filled).as_nanos() / self.each.as_nanos();
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(u64::try_from(fresh).unwrap_or(u64::MAX)).min(self.burst);
            self.filled = now;
        }
        let some = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        some
    }
}

/// The packets, and how many more there may be.
pub struct Replies {
    pub(super) batch: Batch,
    errors: Bucket,
    resets: Bucket,
}

impl Default for Replies {
    fn default() -> Self {
        // A restart may meet every connection of a busy host at once: resets are dearer to it than errors.
        Self { batch: Batch::new(SLOTS, ROOM), errors: Bucket::new(100, 50), resets: Bucket::new(2000, 1000) }
    }
}

impl Replies {
    /// Answers `offending`: with the packet, if there is an answer.
    ///
    /// An error comes from the address that the packet was sent to: the gateway may have none that its own side knows,
    /// and the answer concerns that address (hosts take ICMP errors from anywhere).
    pub fn answer(&mut self, now: Instant, offending: &Inner<'_>, answer: Answer) -> Option<&mut [u8]> {
        let allowed = match answer {
            Answer::Reset => self.resets.take(now),
            Answer::Error(_) => self.errors.take(now),
        };
        if !allowed {
            return None;
        }
        let out = self.batch.vacant()?;
        let len = match answer {
            Answer::Reset => tcp::build_reset(out, offending),
            Answer::Error(error) => icmp::build_error(out, offending.destination(), error, offending),
        }?;
        self.batch.push(len, 0, None);
        let (packets, slab) = self.batch.parts_mut();
        let made = packets.last()?;
        slab.get_mut(made.start..made.start + made.len)
    }

    /// Ends a connection of our own side: with the packet, if there is room for that.
    pub fn reset(&mut self, now: Instant, reset: &Reset) -> Option<&mut [u8]> {
        write_reset(&mut self.batch, &mut self.resets, now, reset)
    }
}

/// Resets for the peer's side, which are sealed before they leave.
pub struct Departures {
    pub(super) batch: Batch,
    resets: Bucket,
}

impl Default for Departures {
    fn default() -> Self {
        Self { batch: Batch::new(SLOTS, ROOM), resets: Bucket::new(2000, 1000) }
    }
}

impl Departures {
    /// Ends a connection of the peer's side: with the packet, if there is room for that. It is the last one, and to be sealed.
    pub fn reset(&mut self, now: Instant, reset: &Reset) -> Option<&mut [u8]> {
        write_reset(&mut self.batch, &mut self.resets, now, reset)
    }
}

fn write_reset<'a>(batch: &'a mut Batch, limit: &mut Bucket, now: Instant, reset: &Reset) -> Option<&'a mut [u8]> {
    let Reset { from, to, sequence, acknowledgement } = *reset;
    let len = tcp::write_reset(batch.vacant()?, from, to, sequence, acknowledgement)?;
    if !limit.take(now) {
        return None;
    }
    batch.push(len, 0, None);
    let (packets, slab) = batch.parts_mut();
    let made = packets.last()?;
    slab.get_mut(made.start..made.start + made.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_empties_and_refills_at_its_rate() {
        let mut bucket = Bucket::new(100, 50);
        let at = |millis| Instant::from_nanos(1) + Duration::from_millis(millis);
        let taken = |bucket: &mut Bucket, now| (0..1000).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, at(0)), 50);
        assert_eq!(taken(&mut bucket, at(9)), 0);
        assert_eq!(taken(&mut bucket, at(30)), 3);
        assert_eq!(taken(&mut bucket, at(3_600_000)), 50);
    }
}
