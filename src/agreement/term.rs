//! How long an agreement holds: whole days in a zone that is written down, so that everybody means the same moment.
//!
//! CBP ISA §4: "valid for three (3) years after the date on the acknowledgement email"; TAXII ISA §1.12 and AIS agreement
//! §4.0: "valid for three (3) years after the latest date on either signature". So the agreement of 1 March 2025 holds until
//! the end of 1 March 2028. Where the year has no 29 February the 28th is the last day: the earlier of the two readings.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

/// No place on earth is further from UTC.
const MAX_OFFSET: i32 = 14 * 3600;

/// The offset from UTC in which days begin and end. No name of a zone: the rules behind a name change, an agreement does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Offset);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Offset::UTC);

    /// The day on which this moment lies.
    #[must_use]
    pub fn day_of(self, at: Timestamp) -> Date {
        self.0.to_datetime(at).date()
    }

    /// The first moment of a day.
    #[must_use]
    pub fn start_of(self, day: Date) -> Timestamp {
        self.0.to_timestamp(day.to_datetime(Time::midnight())).unwrap_or(Timestamp::MAX)
    }

    /// The first moment that does not belong to a day any more.
    #[must_use]
    pub fn end_of(self, day: Date) -> Timestamp {
        day.tomorrow().map_or(Timestamp::MAX, |next| self.start_of(next))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.seconds();
        if seconds == 0 {
            return f.write_str("UTC");
        }
        let (sign, rest) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
        write!(f, "{sign}{:02}:{:02}", rest / 3600, rest / 60 % 60)?;
        if rest % 60 == 0 { Ok(()) } else { write!(f, ":{:02}", rest % 60) }
    }
}

impl FromStr for Zone {
    type Err = &'static str;

    /// `UTC`, `-05:00`, `+05:30`; seconds may follow.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is neither UTC nor an offset such as -05:00";
        if text == "UTC" {
            return Ok(Self::UTC);
        }
        let (sign, digits) = match text.split_at_checked(1) {
            Some(("+", digits)) => (1, digits),
            Some(("-", digits)) => (-1, digits),
            _ => return Err(WRONG),
        };
        let mut parts = [0; 3];
        let mut count = 0;
        for part in digits.split(':') {
            let two = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
            *parts.get_mut(count).filter(|_| two).ok_or(WRONG)? = part.parse::<i32>().map_err(|_| WRONG)?;
            count += 1;
        }
        let [hours, minutes, seconds] = parts;
        let total = hours * 3600 + minutes * 60 + seconds;
        if count < 2 || minutes > 59 || seconds > 59 || total > MAX_OFFSET {
            return Err(WRONG);
        }
        Offset::from_seconds(sign * total).map(Self).map_err(|_| WRONG)
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The day of the acknowledgement, or of the latest signature.
    pub date: Date,
    /// How many years.
    pub years: u8,
    /// Where its days begin and end.
    pub zone: Zone,
    /// Days for which traffic passes after its end.
    pub grace_days: u16,
}

impl Term {
    /// The last day on which it holds.
    #[must_use]
    pub fn last_day(&self) -> Date {
        // A day that the year does not have becomes the last one of its month.
        self.date.saturating_add(Span::new().years(i64::from(self.years)))
    }

    /// Its first moment.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        self.zone.start_of(self.date)
    }

    /// The first moment at which it does not hold any more.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.zone.end_of(self.last_day())
    }

    /// The last day of grace; its last day if there is none.
    #[must_use]
    pub fn last_day_of_grace(&self) -> Date {
        self.last_day().saturating_add(Span::new().days(i64::from(self.grace_days)))
    }

    /// The first moment at which nothing passes any more.
    #[must_use]
    pub fn closes(&self) -> Timestamp {
        self.zone.end_of(self.last_day_of_grace())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn term(date: Date, years: u8) -> Term {
        Term { date, years, zone: Zone::UTC, grace_days: 0 }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_agreement_holds_through_the_end_of_the_day_on_which_it_turns_three() {
        let three = term(date(2025, 3, 1), 3);
        assert_eq!((three.begins(), three.ends()), (at("2025-03-01T00:00:00Z"), at("2028-03-02T00:00:00Z")));
        assert_eq!(three.closes(), three.ends());
        assert_eq!(term(date(2025, 12, 31), 3).ends(), at("2029-01-01T00:00:00Z"));
    }

    #[test]
    fn what_began_on_a_leap_day_ends_on_the_28th_where_there_is_no_29th() {
        assert_eq!(term(date(2024, 2, 29), 3).last_day(), date(2027, 2, 28));
        assert_eq!(term(date(2024, 2, 29), 4).last_day(), date(2028, 2, 29));
        // The day before is not moved, and 1 March neither.
        assert_eq!(term(date(2024, 2, 28), 3).last_day(), date(2027, 2, 28));
        assert_eq!(term(date(2025, 3, 1), 3).last_day(), date(2028, 3, 1));
    }

    #[test]
    fn the_end_of_a_day_is_that_of_its_zone() {
        let ends = |zone: &str| Term { zone: zone.parse().unwrap(), ..term(date(2025, 3, 1), 3) }.ends();
        assert_eq!(ends("-05:00"), at("2028-03-02T05:00:00Z"));
        assert_eq!(ends("+05:30"), at("2028-03-01T18:30:00Z"));
        assert_eq!(ends("+14:00"), at("2028-03-01T10:00:00Z"));
        let zone: Zone = "-05:00".parse().unwrap();
        assert_eq!(zone.day_of(at("2028-03-02T04:59:59.999Z")), date(2028, 3, 1));
        assert_eq!(zone.day_of(at("2028-03-02T05:00:00Z")), date(2028, 3, 2));
    }

    #[test]
    fn grace_is_counted_in_days_from_the_last_one() {
        let term = Term { grace_days: 30, ..term(date(2025, 1, 31), 1) };
        assert_eq!(term.ends(), at("2026-02-01T00:00:00Z"));
        assert_eq!((term.last_day_of_grace(), term.closes()), (date(2026, 3, 2), at("2026-03-03T00:00:00Z")));
    }

    #[test]
    fn a_zone_reads_back_and_what_is_none_is_refused() {
        for zone in ["UTC", "-05:00", "+05:30", "+14:00", "-00:30", "+01:02:03"] {
            assert_eq!(zone.parse::<Zone>().unwrap().to_string(), zone);
        }
        assert_eq!("+00:00".parse::<Zone>(), Ok(Zone::UTC));
        let wrong = [
            "",
            "utc",
            "EST",
            "5",
            "+5:00",
            "+0500",
            "+05",
            "+05:60",
            "+14:01",
            "-15:00",
            "+05:00:60",
            "+1:2:3:4",
            "++1:00",
            "+é:00",
        ];
        for zone in wrong {
            assert!(zone.parse::<Zone>().is_err(), "{zone}");
        }
    }

    #[test]
    fn no_date_leads_past_the_end_of_time() {
        let last = Term { grace_days: u16::MAX, ..term(Date::MAX, u8::MAX) };
        assert_eq!((last.ends(), last.closes()), (Timestamp::MAX, Timestamp::MAX));
    }
}
