//! Is the time of day to be believed? An agreement that is over must not come back to life because somebody sets the clock.
//!
//! The highest time that was ever seen is kept on disk. A clock that stands before it, or before this program was built,
//! has not been set yet or has been set back: nothing that depends on a date passes until it is right again. Small steps
//! back, as NTP makes them, are bridged: time then stands still.

use jiff::{SignedDuration, Timestamp};

/// A clock may stand so far behind the highest time that was seen. NTP steps by less, and a time zone is more.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Nobody has built this before 2025-01-01.
const EARLIEST: i64 = 1_735_689_600;

/// When this program was built, as far as the build says so (`SOURCE_DATE_EPOCH`, reproducible-builds.org); otherwise a moment
/// before which it cannot have been.
#[must_use]
pub fn built() -> Timestamp {
    const SECONDS: i64 = match option_env!("SOURCE_DATE_EPOCH") {
        Some(text) => digits(text.as_bytes()),
        None => EARLIEST,
    };
    Timestamp::from_second(SECONDS.max(EARLIEST)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A decimal number, or 0. The compiler asks, so there is no `parse`.
const fn digits(text: &[u8]) -> i64 {
    let (mut number, mut at) = (0_i64, 0);
    // No moment that can be meant has more digits.
    while at < text.len() && at < 12 {
        if !text[at].is_ascii_digit() {
            return 0;
        }
        number = number * 10 + (text[at] - b'0') as i64;
        at += 1;
    }
    if at == text.len() { number } else { 0 }
}

/// What is made of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is this late: never earlier than it has ever been.
    Sane(Timestamp),
    /// The clock is wrong: it is at least this late.
    Behind(Timestamp),
}

impl Sight {
    /// Judges the clock by the highest time that was seen.
    #[must_use]
    pub fn of(wall: Timestamp, highest: Timestamp) -> Self {
        let bound = highest.max(built());
        if wall >= bound {
            return Self::Sane(wall);
        }
        if wall >= built() && bound.duration_since(wall) <= TOLERANCE { Self::Sane(bound) } else { Self::Behind(bound) }
    }

    /// How late it is at least.
    #[must_use]
    pub const fn now(self) -> Timestamp {
        match self {
            Self::Sane(now) | Self::Behind(now) => now,
        }
    }

    /// Whether dates can be judged.
    #[must_use]
    pub const fn is_sane(self) -> bool {
        matches!(self, Self::Sane(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_not_believed_and_a_small_step_stands_still() {
        let seen: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let second = SignedDuration::from_secs(1);
        assert_eq!(Sight::of(seen, seen), Sight::Sane(seen));
        assert_eq!(Sight::of(seen + second, seen), Sight::Sane(seen + second));
        assert_eq!(Sight::of(seen - second, seen), Sight::Sane(seen));
        assert_eq!(Sight::of(seen - TOLERANCE, seen), Sight::Sane(seen));
        assert_eq!(Sight::of(seen - TOLERANCE - second, seen), Sight::Behind(seen));
        assert_eq!(Sight::of(Timestamp::UNIX_EPOCH, seen), Sight::Behind(seen));
    }

    #[test]
    fn no_clock_stands_before_the_program_was_built() {
        let second = SignedDuration::from_secs(1);
        assert_eq!(Sight::of(built() - second, Timestamp::UNIX_EPOCH), Sight::Behind(built()));
        assert_eq!(Sight::of(built(), Timestamp::UNIX_EPOCH), Sight::Sane(built()));
        assert_eq!(
            (digits(b"1735689601"), digits(b""), digits(b"17x"), digits(b"1234567890123")),
            (1_735_689_601, 0, 0, 0)
        );
    }
}
