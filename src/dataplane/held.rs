//! ESP that overtakes the IKE message which makes its SA (RFC 7296 §2.8: the responder may send on a new SA as soon as it
//! has answered): held, bounded, and judged once the SA is there.
//!
//! Only packets under an SPI that IKE has announced are held; the announcement costs the sender of a forged packet a guess
//! of 32 bits, and what it could fill is bounded all the same.

use std::ops::Range;
use std::time::Duration;

use super::buffer::{Batch, Path};
use crate::sa::spi::Spi;
use crate::time::Instant;

/// SPIs announced at a time; the oldest gives way. One exchange of each tunnel is under way at most.
const EXPECTED: usize = 1024;
/// Packets held at a time: ten milliseconds of the fastest tunnel, far more than an answer of IKE takes to be worked on.
const PACKETS: usize = 4096;
/// Their bytes. Only what has been used once is memory.
const BYTES: usize = 6 << 20;
/// As long as an IKE request is repeated for.
const EXPECTED_FOR: Duration = Duration::from_mins(1);
/// What is older is of no use to those who sent it.
const HELD_FOR: Duration = Duration::from_secs(5);

/// Whether a packet was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It was.
    Held,
    /// It belongs to an SA that is expected, but there is no room.
    Full,
    /// No such SA is expected.
    Stranger,
}

struct Entry {
    spi: Spi,
    path: Path,
    since: Instant,
    place: Range<usize>,
    done: bool,
}

/// What is held, first in, first out; the room is free again once all of it has gone.
pub struct Held {
    expected: Vec<(Spi, Instant)>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            expected: Vec::with_capacity(EXPECTED),
            entries: Vec::with_capacity(PACKETS),
            bytes: Vec::with_capacity(BYTES),
        }
    }
}

impl Held {
    /// An SA with this SPI is about to be made.
    pub fn expect(&mut self, now: Instant, spi: Spi) {
        if self.expected.len() == EXPECTED {
            self.expected.remove(0);
        }
        self.expected.push((spi, now));
    }

    /// It is there, or will never be.
    pub fn settled(&mut self, spi: Spi) {
        self.expected.retain(|(expected, _)| *expected != spi);
    }

    /// Takes a copy of a packet whose SA is expected.
    pub fn hold(&mut self, now: Instant, spi: Spi, path: Path, packet: &[u8]) -> Holding {
        if !self.expected.iter().any(|(expected, _)| *expected == spi) {
            return Holding::Stranger;
        }
        if self.entries.len() == PACKETS || self.bytes.len() + packet.len() > BYTES {
            return Holding::Full;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet);
        self.entries.push(Entry { spi, path, since: now, place: start..self.bytes.len(), done: false });
        Holding::Held
    }

    /// Fills `batch` with packets whose SA is there by now; false if there is none.
    pub fn release(&mut self, batch: &mut Batch, is_there: impl Fn(Spi) -> bool) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        batch.clear();
        for entry in self.entries.iter_mut().filter(|entry| !entry.done && is_there(entry.spi)) {
            let packet = &self.bytes[entry.place.clone()];
            let Some(room) = batch.vacant().and_then(|slot| slot.get_mut(..packet.len())) else { break };
            room.copy_from_slice(packet);
            batch.push(packet.len(), 0, Some(entry.path));
            entry.done = true;
        }
        self.sweep();
        !batch.is_empty()
    }

    /// Forgets what has waited too long, and gives how many packets that were.
    pub fn tick(&mut self, now: Instant) -> u64 {
        self.expected.retain(|(_, since)| now.since(*since) < EXPECTED_FOR);
        let old = self.entries.iter_mut().filter(|entry| !entry.done && now.since(entry.since) >= HELD_FOR);
        let count = old.map(|entry| entry.done = true).count();
        self.sweep();
        count as u64
    }

    fn sweep(&mut self) {
        if self.entries.iter().all(|entry| entry.done) {
            self.entries.clear();
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spi(number: u32) -> Spi {
        Spi::new(number).unwrap()
    }

    fn path() -> Path {
        Path { local: ([192, 0, 2, 1], 4500).into(), remote: ([192, 0, 2, 2], 4500).into(), tos: 0 }
    }

    #[test]
    fn only_what_is_expected_is_held_and_comes_out_in_order() {
        let (now, mut held, mut batch) = (Instant::ZERO, Held::default(), Batch::new(4, 100));
        assert_eq!(held.hold(now, spi(1000), path(), b"one"), Holding::Stranger);
        held.expect(now, spi(1000));
        held.expect(now, spi(2000));
        for (of, packet) in [(1000, &b"one"[..]), (2000, b"other"), (1000, b"two")] {
            assert_eq!(held.hold(now, spi(of), path(), packet), Holding::Held);
        }
        held.settled(spi(1000));
        assert!(held.release(&mut batch, |of| of == spi(1000)));
        assert_eq!((batch.len(), batch.bytes(0), batch.bytes(1)), (2, &b"one"[..], &b"two"[..]));
        assert!(!held.release(&mut batch, |of| of == spi(1000)));
        assert_eq!(held.hold(now, spi(1000), path(), b"late"), Holding::Stranger);
        assert!(held.release(&mut batch, |_| true));
        assert_eq!(batch.bytes(0), b"other");
        assert!(held.bytes.is_empty());
    }

    #[test]
    fn it_is_bounded_in_packets_bytes_announcements_and_time() {
        let (now, mut held) = (Instant::ZERO, Held::default());
        held.expect(now, spi(1000));
        let hold = |held: &mut Held, len: usize| {
            (0..2 * PACKETS).filter(|_| held.hold(now, spi(1000), path(), &vec![0; len]) == Holding::Held).count()
        };
        assert_eq!(hold(&mut held, 100), PACKETS);
        assert_eq!(held.hold(now, spi(1000), path(), &[0]), Holding::Full);
        assert_eq!(held.tick(now + Duration::from_secs(4)), 0);
        assert_eq!(held.tick(now + HELD_FOR), PACKETS as u64);
        assert_eq!(hold(&mut held, 9000), BYTES / 9000);
        for number in 0..2 * EXPECTED as u32 {
            held.expect(now, spi(5000 + number));
        }
        assert_eq!(held.expected.len(), EXPECTED);
        held.tick(now + EXPECTED_FOR);
        assert!(held.expected.is_empty());
    }
}
