//! Counts what an SA has carried against its [`Lifetime`]: soft limits are told once, hard ones refuse.

use crate::sa::lifetime::Lifetime;
use crate::time::Instant;

/// Tells IKE to renew the key after so many failed integrity checks on one SA: one forgery in 2^36 attempts succeeds
/// with probability 2^-92 against a 128-bit ICV and short packets, about 2^-85 with long ones.
pub const FORGERY_BUDGET: u64 = 1 << 36;

/// Packets under one key, whatever IKE says. An AEAD key wears out with the blocks it has sealed: after 2^40 packets of 1,500
/// bytes (2^47 blocks) an attacker tells AES-GCM from an ideal cipher with probability about 2^-35.
pub const MOST_PACKETS: u64 = 1 << 40;

/// Bytes under one key, whatever IKE says: about as many blocks.
pub const MOST_BYTES: u64 = 1 << 51;

/// What an SA has to tell IKE. Each kind is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A soft limit was passed.
    Soft,
    /// A hard limit was reached.
    Hard,
    /// The first packet was authenticated.
    First,
    /// Too many integrity checks failed.
    ForgeryBudget,
}

/// The hard limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardLimitReached;

/// Which notices wait, and which were ever given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notices {
    waiting: u8,
    given: u8,
}

impl Notices {
    /// Gives `notice` unless it was given before.
    pub(super) fn give(&mut self, notice: Notice) {
        let bit = 1 << notice as u8;
        self.waiting |= bit & !self.given;
        self.given |= bit;
    }

    /// The next notice that nobody has read.
    pub(super) fn poll(&mut self) -> Option<Notice> {
        if self.waiting == 0 {
            return None;
        }
        let all = [Notice::First, Notice::Soft, Notice::Hard, Notice::ForgeryBudget];
        let next = all.into_iter().find(|&notice| self.waiting & (1 << notice as u8) != 0)?;
        self.waiting &= !(1 << next as u8);
        Some(next)
    }
}

/// What one direction has carried.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    packets: u64,
    bytes: u64,
    limit: Lifetime,
    soft_at: Instant,
    hard_at: Instant,
}

impl Meter {
    /// Starts to count at `now`.
    #[must_use]
    pub fn new(limit: Lifetime, now: Instant) -> Self {
        let mut limit = limit.capped(MOST_PACKETS);
        limit.hard_bytes = limit.hard_bytes.min(MOST_BYTES);
        limit.soft_bytes = limit.soft_bytes.min(MOST_BYTES / 8 * 7);
        Self { packets: 0, bytes: 0, limit, soft_at: now + limit.soft_time, hard_at: now + limit.hard_time }
    }

    /// Packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of inner packets so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the SA may still carry `packets` more with `bytes` in them.
    pub fn admits(&self, now: Instant, packets: u64, bytes: u64) -> Result<(), HardLimitReached> {
        let within = self.packets.saturating_add(packets) <= self.limit.hard_packets
            && self.bytes.saturating_add(bytes) <= self.limit.hard_bytes
            && now < self.hard_at;
        if within { Ok(()) } else { Err(HardLimitReached) }
    }

    /// Counts what was carried.
    pub fn add(&mut self, packets: u64, bytes: u64) {
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether it is time to renew.
    #[must_use]
    pub fn past_soft(&self, now: Instant) -> bool {
        self.packets >= self.limit.soft_packets || self.bytes >= self.limit.soft_bytes || now >= self.soft_at
    }

    /// Whether it is over by time alone.
    #[must_use]
    pub fn expired(&self, now: Instant) -> bool {
        now >= self.hard_at
    }
}
