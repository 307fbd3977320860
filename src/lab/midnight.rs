//! A last day that is over in a moment. Terms end with a day, and no process can have a time of day of its own (time namespaces leave
//! that clock alone); but an agreement says in which zone its days end, and somewhere one always ends soon.

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// A day, and the zone in which it ends at a certain moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Midnight {
    /// The offset from UTC, as `zone` of an agreement has it.
    pub zone: String,
    /// The day.
    pub day: Date,
}

impl Midnight {
    /// The day that ends `from_now` after `now`, rounded up to whole seconds.
    #[must_use]
    pub fn after(now: Timestamp, from_now: SignedDuration) -> Self {
        const DAY: i64 = 86_400;
        let end = now.saturating_add(from_now).unwrap_or(Timestamp::MAX);
        let second = end.as_second() + i64::from(end.subsec_nanosecond() > 0);
        let of_day = second.rem_euclid(DAY);
        // The nearer of the two zones: none is further from UTC than twelve hours.
        let offset = if of_day <= DAY / 2 { -of_day } else { DAY - of_day };
        let (sign, rest) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        let zone = format!("{sign}{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
        let last = Timestamp::from_second(second - 1).unwrap_or(Timestamp::MAX);
        let offset = Offset::from_seconds(i32::try_from(offset).unwrap_or_default()).unwrap_or(Offset::UTC);
        Self { zone, day: offset.to_datetime(last).date() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::Zone;

    #[test]
    fn the_day_ends_at_the_moment_that_was_asked_for_whatever_the_hour() {
        for hour in 0..48 {
            let now: Timestamp = "2026-02-28T00:17:31Z".parse().unwrap();
            let now = now + SignedDuration::from_mins(30 * hour);
            for seconds in [0, 1, 5, 3600] {
                let Midnight { zone, day } = Midnight::after(now, SignedDuration::from_secs(seconds));
                let zone: Zone = zone.parse().unwrap_or_else(|why| panic!("{zone}: {why}"));
                assert_eq!(zone.end_of(day), now + SignedDuration::from_secs(seconds), "{now} {seconds}");
            }
        }
        let now: Timestamp = "2026-06-01T11:59:59.5Z".parse().unwrap();
        let Midnight { zone, day } = Midnight::after(now, SignedDuration::from_secs(3));
        let end = zone.parse::<Zone>().unwrap().end_of(day);
        assert_eq!(end.to_string(), "2026-06-01T12:00:03Z");
    }
}
