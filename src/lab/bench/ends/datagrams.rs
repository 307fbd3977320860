//! Numbered datagrams: a generator that keeps a rate, and a sink that counts what is its own.
//!
//! A datagram begins with its trial's number (4 bytes), then its own (8 bytes, from 1; the highest bit marks the one whose
//! time of arrival is wanted); the rest is zeros. Single datagrams, 64 a system call; segmentation by the kernel
//! (`UDP_SEGMENT`) only if it is asked for, because it hands trains to the device under test.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use super::words::Tally;
use crate::esp::replay::{MAX_WIDTH, ReplayWindow};
use crate::event::DropReason;
use crate::platform::bulk::{AT_ONCE, Bulk};
use crate::platform::clock;
use crate::time::Instant;

/// Bytes of trial and number.
pub const SHORTEST: usize = 12;
/// The longest payload of a datagram in a frame of 9,000 bytes.
pub const LONGEST: usize = 9000 - 18 - 28;
/// Marks the one whose arrival is timed.
const MARK: u64 = 1 << 63;
/// Bytes of each datagram that the sink looks at.
const SLOT: usize = 16;
/// Wanted socket buffers of the sink.
const BUFFER: usize = 16 << 20;
/// The generator sleeps rather than spins when its next datagram is further away than this: the device under test may want
/// the processor.
const NAP: Duration = Duration::from_micros(60);
/// Datagrams in one message with `UDP_SEGMENT`.
const SEGMENTS: usize = 40;

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Payload lengths, in turn.
    pub sizes: Vec<usize>,
    /// Datagrams a second; infinite: as fast as it goes.
    pub rate: f64,
    /// For how long.
    pub time: Duration,
    /// At most so many.
    pub most: u64,
    /// Let the kernel segment (`UDP_SEGMENT`). Only for datagrams of one length.
    pub segments: bool,
    /// After this time the next datagram is marked.
    pub mark_after: Option<Duration>,
}

impl Load {
    /// Datagrams of one payload length at a rate.
    #[must_use]
    pub fn steady(size: usize, rate: f64, time: Duration) -> Self {
        Self { sizes: vec![size], rate, time, most: u64::MAX, segments: false, mark_after: None }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their payloads.
    pub bytes: u64,
    /// From the first call to the last.
    pub took: Duration,
    /// When the marked one left.
    pub marked_at: Option<Instant>,
}

impl Sent {
    /// Datagrams a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let datagrams = self.datagrams as f64;
        datagrams / self.took.as_secs_f64().max(1e-9)
    }
}

/// Sends `load` over a connected socket as the datagrams of `trial`.
pub fn send(socket: &UdpSocket, trial: u32, load: &Load) -> io::Result<Sent> {
    // A sleep of a few dozen microseconds must not become one of a hundred.
    let _ = nix::sys::prctl::set_timerslack(1000);
    let longest = load.sizes.iter().copied().max().unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST);
    let size = |number: u64| {
        let turn = (number % load.sizes.len().max(1) as u64) as usize;
        load.sizes.get(turn).copied().unwrap_or(SHORTEST).clamp(SHORTEST, LONGEST)
    };
    let segments = load.segments && load.sizes.len() == 1 && SEGMENTS * longest < 65_000;
    setsockopt(socket, sockopt::UdpGsoSegment, &if segments { i32::try_from(longest).unwrap_or(0) } else { 0 })?;
    let mut slots = vec![0; AT_ONCE * longest];
    let mut bulk = Bulk::default();
    let mut sent = Sent::default();
    let mut mark = load.mark_after;
    let began = clock::now();
    let end = began + load.time;
    loop {
        let now = clock::now();
        sent.took = now - began;
        if now >= end || sent.datagrams >= load.most {
            return Ok(sent);
        }
        let due = if load.rate.is_finite() {
            #[allow(clippy::cast_sign_loss, reason = "times and rates are not negative")]
            let due = (sent.took.as_secs_f64() * load.rate) as u64 + 1;
            due.saturating_sub(sent.datagrams)
        } else {
            u64::MAX
        };
        if due == 0 {
            rest(now, began, load.rate, sent.datagrams);
            continue;
        }
        let most = if segments { SEGMENTS } else { AT_ONCE };
        let count = due.min(load.most - sent.datagrams).min(most as u64) as usize;
        let mut bytes = 0;
        for (at, slot) in slots.chunks_exact_mut(longest).take(count).enumerate() {
            let number = sent.datagrams + at as u64;
            let marked = at == 0 && mark.is_some_and(|after| sent.took >= after);
            if marked {
                mark = None;
                sent.marked_at = Some(clock::now());
            }
            slot[..4].copy_from_slice(&trial.to_be_bytes());
            slot[4..SHORTEST].copy_from_slice(&((number + 1) | if marked { MARK } else { 0 }).to_be_bytes());
            bytes += size(number);
        }
        let first = sent.datagrams;
        let taken = if segments {
            send_segments(socket, &slots[..count * longest], count)
        } else {
            let datagrams = slots.chunks_exact(longest).take(count).zip(first..);
            bulk.send(socket.as_fd(), datagrams.map(|(slot, number)| &slot[..size(number)]))
        };
        match taken {
            Ok(taken) => {
                sent.datagrams += taken as u64;
                sent.bytes += if taken == count {
                    bytes as u64
                } else {
                    (first..first + taken as u64).map(|number| size(number) as u64).sum()
                };
            }
            // An ICMP error of an earlier datagram, or a queue that is full for a moment: neither is the end.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ECONNREFUSED | libc::ENOBUFS | libc::EAGAIN | libc::EINTR)
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send_segments(socket: &UdpSocket, bytes: &[u8], count: usize) -> io::Result<usize> {
    socket.send(bytes).map(|_| count)
}

/// Waits until the next datagram is due.
fn rest(now: Instant, began: Instant, rate: f64, sent: u64) {
    #[allow(clippy::cast_precision_loss, reason = "a time")]
    let due = began + Duration::from_secs_f64((sent as f64 / rate).min(3600.0));
    let left = due - now;
    if left > NAP {
        std::thread::sleep(left.min(Duration::from_millis(50)).saturating_sub(NAP / 2));
    } else {
        std::hint::spin_loop();
    }
}

/// Counts the datagrams of one trial at a time.
pub struct Sink {
    trial: AtomicU32,
    counts: Mutex<(u32, Tally)>,
    stop: AtomicBool,
    overruns: AtomicU64,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            trial: AtomicU32::new(0),
            counts: Mutex::default(),
            stop: AtomicBool::new(false),
            overruns: AtomicU64::new(0),
        }
    }
}

impl Sink {
    /// Counts datagrams with this number from now on, from zero. Zero counts nothing.
    pub fn expect(&self, trial: u32) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = (trial, Tally::default());
        self.overruns.store(super::server::overruns(), Ordering::Release);
        self.trial.store(trial, Ordering::Release);
    }

    /// What the kernel had thrown away when this trial began.
    pub(super) fn overruns_before(&self) -> u64 {
        self.overruns.load(Ordering::Acquire)
    }

    /// What came so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Has [`run`](Self::run) end soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Receives until it is stopped.
    pub fn run(&self, socket: &UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        // Beyond the system's limit, where we may.
        if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            SockRef::from(socket).set_recv_buffer_size(BUFFER)?;
        }
        let mut bulk = Bulk::default();
        let mut slots = vec![0; AT_ONCE * SLOT];
        let mut counting = Counting::new(0);
        while !self.stop.load(Ordering::Acquire) {
            let count = match bulk.receive(socket.as_fd(), &mut slots, SLOT) {
                Ok(count) => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => continue,
                Err(error) => return Err(error),
            };
            let trial = self.trial.load(Ordering::Acquire);
            if trial != counting.trial {
                counting = Counting::new(trial);
            }
            let now = clock::now().as_nanos();
            for (at, slot) in slots.chunks_exact(SLOT).take(count).enumerate() {
                counting.take(slot, bulk.length(at), now);
            }
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            if counts.0 == trial {
                counts.1 = counting.tally;
            }
        }
        Ok(())
    }
}

/// One trial, as the sink's own thread counts it.
struct Counting {
    trial: u32,
    tally: Tally,
    window: ReplayWindow,
    first: Option<u64>,
}

impl Counting {
    fn new(trial: u32) -> Self {
        Self { trial, tally: Tally::default(), window: ReplayWindow::new(MAX_WIDTH), first: None }
    }

    fn take(&mut self, head: &[u8], len: usize, now: u64) {
        let Some((trial, rest)) = head.split_first_chunk::<4>() else { return };
        let Some(number) = rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)) else { return };
        if len < SHORTEST || self.trial == 0 || u32::from_be_bytes(*trial) != self.trial {
            return;
        }
        let (number, marked) = (number & !MARK, number & MARK != 0);
        match self.window.check(number) {
            Ok(()) => self.tally.overtaken += u64::from(!self.window.commit(number)),
            // So late that nobody remembers whether it came before.
            Err(DropReason::TooOld) => self.tally.overtaken += 1,
            Err(_) => {
                self.tally.again += 1;
                return;
            }
        }
        self.tally.datagrams += 1;
        self.tally.bytes += len as u64;
        if marked {
            self.tally.marked_at = Some(now);
        }
        self.tally.span = now - *self.first.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(trial: u32, number: u64) -> Vec<u8> {
        [&trial.to_be_bytes()[..], &number.to_be_bytes(), &[0; 4]].concat()
    }

    #[test]
    fn a_sink_counts_what_is_its_own_once() {
        let mut counting = Counting::new(7);
        for (at, (trial, number, len)) in
            [(7, 1, 64), (7, 3, 64), (7, 2, 64), (7, 3, 64), (8, 4, 64), (7, 0, 64), (7, 5, 11), (7, 6 | MARK, 64)]
                .into_iter()
                .enumerate()
        {
            counting.take(&head(trial, number), len, 100 + at as u64);
        }
        let Tally { datagrams, bytes, again, overtaken, marked_at, span, .. } = counting.tally;
        assert_eq!((datagrams, bytes, overtaken, marked_at, span), (4, 256, 1, Some(107), 7));
        assert_eq!(again, 2, "the same number again, and a number that does not exist");
        let mut nobody = Counting::new(0);
        nobody.take(&head(0, 1), 64, 1);
        assert_eq!(nobody.tally, Tally::default());
        counting.take(&[0; 3], 3, 1);
    }

    #[test]
    fn what_is_sent_arrives_at_its_rate_and_in_its_sizes() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source = UdpSocket::bind("127.0.0.1:0").unwrap();
        source.connect(socket.local_addr().unwrap()).unwrap();
        let sink = Sink::default();
        std::thread::scope(|scope| {
            scope.spawn(|| sink.run(&socket).unwrap());
            for (trial, segments, sizes) in [(8, false, vec![64, 100, 1400]), (9, true, vec![100])] {
                sink.expect(trial);
                let load = Load {
                    sizes,
                    segments,
                    most: 600,
                    mark_after: Some(Duration::ZERO),
                    ..Load::steady(0, 20_000.0, Duration::from_secs(5))
                };
                let sent = send(&source, trial, &load).unwrap();
                let end = clock::now() + Duration::from_secs(5);
                while sink.tally().datagrams < sent.datagrams && clock::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let tally = sink.tally();
                assert_eq!(
                    (sent.datagrams, tally.datagrams, tally.bytes),
                    (600, 600, sent.bytes),
                    "segments: {segments}"
                );
                assert!(tally.marked_at.is_some() && sent.marked_at.is_some());
                assert_eq!(sent.bytes, if segments { 60_000 } else { 200 * (64 + 100 + 1400) });
            }
            sink.stop();
        });
    }
}
