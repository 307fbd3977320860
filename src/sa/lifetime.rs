//! When an SA is renewed (soft) and when it stops (hard).

use std::time::Duration;

/// Soft limits are reported once, hard limits are enforced in the data path even if the control side is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Report after this many packets.
    pub soft_packets: u64,
    /// Stop after this many packets. RFC 4303 §3.3.3: a sequence number never wraps, so at most 2^32 - 1 without ESN.
    pub hard_packets: u64,
    /// Report after this many bytes of plaintext.
    pub soft_bytes: u64,
    /// Stop after this many bytes.
    pub hard_bytes: u64,
    /// Report after this long.
    pub soft_time: Duration,
    /// Stop after this long.
    pub hard_time: Duration,
}
