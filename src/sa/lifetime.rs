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

impl Lifetime {
    /// The same, with at most `packets`; the soft limit stays as far below the hard one as it was.
    #[must_use]
    pub fn capped(self, packets: u64) -> Self {
        if self.hard_packets <= packets {
            return self;
        }
        let wide = u128::from(self.soft_packets) * u128::from(packets) / u128::from(self.hard_packets);
        let soft_packets = u64::try_from(wide).unwrap_or(packets).min(packets);
        Self { soft_packets, hard_packets: packets, ..self }
    }

    /// The same, with every soft limit `thousandths` of itself earlier.
    #[must_use]
    pub fn brought_forward(self, thousandths: u32) -> Self {
        let less = |limit: u64| limit - limit / 1000 * u64::from(thousandths.min(1000));
        Self {
            soft_packets: less(self.soft_packets),
            soft_bytes: less(self.soft_bytes),
            soft_time: self.soft_time.saturating_sub(self.soft_time / 1000 * thousandths.min(1000)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Lifetime = Lifetime {
        soft_packets: 850_000,
        hard_packets: 1_000_000,
        soft_bytes: u64::MAX,
        hard_bytes: u64::MAX,
        soft_time: Duration::from_mins(51),
        hard_time: Duration::from_hours(1),
    };

    #[test]
    fn a_cap_lowers_both_limits_and_nothing_else() {
        assert_eq!(HOUR.capped(1_000_000), HOUR);
        let capped = HOUR.capped(1000);
        assert_eq!((capped.soft_packets, capped.hard_packets), (850, 1000));
        assert_eq!((capped.soft_bytes, capped.hard_time), (u64::MAX, HOUR.hard_time));
        let endless = Lifetime { soft_packets: u64::MAX, hard_packets: u64::MAX, ..HOUR };
        assert_eq!(endless.capped(7).soft_packets, 7);
    }

    #[test]
    fn what_is_brought_forward_is_reported_earlier_and_stops_when_it_did() {
        let earlier = HOUR.brought_forward(100);
        assert_eq!((earlier.soft_packets, earlier.soft_time), (765_000, Duration::from_secs(2754)));
        assert_eq!((earlier.hard_packets, earlier.hard_time), (HOUR.hard_packets, HOUR.hard_time));
        assert_eq!(HOUR.brought_forward(0), HOUR);
        assert!(HOUR.brought_forward(u32::MAX).soft_time < Duration::from_secs(1));
    }
}
