//! The one clock: `CLOCK_BOOTTIME`, which counts on while the machine is suspended, so that an SA's lifetime ends in time
//! after a night in sleep, and which no operator or NTP step can set.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::Instant;

/// The present moment.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    Instant::ZERO + Duration::from(time)
}

/// The time of day for people and logs, in UTC (RFC 3339). It may jump; nothing is decided by it.
#[must_use]
pub fn wall_rfc3339() -> String {
    jiff::Timestamp::now().to_string()
}

/// The time of day. It may jump: whoever decides by it keeps the highest that it has seen (`agreement`).
#[must_use]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The time of day in seconds since 1970, for the dates of certificates. It may jump.
#[must_use]
pub fn unix() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forwards_and_from_the_boot() {
        let first = now();
        std::thread::sleep(Duration::from_millis(2));
        let second = now();
        assert!(second - first >= Duration::from_millis(2));
        // The machine's own word for how long it is up, suspended time included.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((now().since(Instant::ZERO).as_secs_f64() - uptime).abs() < 5.0);
    }
}
