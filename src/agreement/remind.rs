//! What an agreement's people are reminded of, once each: the end of its term, its last day, its yearly review, and that what
//! was agreed is not what is configured.
//!
//! CBP's guidance asks for an agreement that is "up-to-date"; TAXII ISA §1.12: "reviewed at least annually".

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::entry::{Case, Entry};
use super::record::Record;
use super::significant::{Baseline, Part};
use super::state::State;
use crate::event::{AgreementMatter, Event};

/// Days ahead of an end at which it is reminded of.
pub(super) const AHEAD: [i32; 5] = [180, 90, 30, 7, 1];
/// Days ahead of a review; the last one means that it is overdue.
const REVIEW: [i32; 4] = [30, 7, 1, -1];

/// What was told, so that a restart does not tell it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) expiry: Option<Mark>,
    pub(super) termination: Option<Mark>,
    pub(super) review: Option<Mark>,
    /// The parts as they were when it was told that they are not as agreed.
    pub(super) change: Option<Baseline>,
}

/// A reminder of a day, by the number of days ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    day: Date,
    ahead: i32,
}

impl Entry {
    /// The day on which the next review is due.
    pub(super) fn review_due(&self, record: &Record) -> Option<Date> {
        let agreed = self.agreed.date.or(record.date);
        let last = self.reviewed.into_iter().chain(record.reviewed).chain(agreed).max()?;
        Some(last.saturating_add(Span::new().years(1)))
    }

    /// Tells what is due to be told.
    pub(super) fn remind(&mut self, case: &Case<'_>, out: &mut Vec<Event>) {
        let name = &case.record.name;
        if matches!(self.state, State::Draft | State::Terminated) {
            return;
        }
        let mut tell = |told: &mut Option<Mark>, matter, day: Option<Date>, marks: &[i32]| {
            let Some(day) = day else { return };
            let left = days_between(case.today(), day);
            // Of several that became due meanwhile the nearest one says all.
            let Some(ahead) = marks.iter().copied().filter(|ahead| left <= *ahead).min() else { return };
            if told.is_some_and(|told| told.day == day && told.ahead <= ahead) {
                return;
            }
            *told = Some(Mark { day, ahead });
            out.push(Event::AgreementReminder { agreement: name.clone(), matter, day: day.to_string(), days: left });
        };
        let passes = self.state.passes();
        let ahead = |day: Option<Date>| day.filter(|day| passes && *day >= case.today());
        let last_day = ahead(self.last_day(case.record));
        let expiry = ahead(self.term(case.record).map(|term| term.last_day()));
        let review = self.review_due(case.record);
        tell(&mut self.told.expiry, AgreementMatter::Expiry, expiry, &AHEAD);
        tell(&mut self.told.termination, AgreementMatter::Termination, last_day, &AHEAD);
        tell(&mut self.told.review, AgreementMatter::Review, review, &REVIEW);
        self.compare(case, out);
    }

    /// Tells what is not as it was agreed, if that was not told yet. Nobody agreed to anything in a laboratory.
    fn compare(&mut self, case: &Case<'_>, out: &mut Vec<Event>) {
        let parts = self.baseline.differences(case.baseline);
        if parts.is_empty() || case.record.lab {
            self.told.change = None;
        } else if self.told.change.as_ref() != Some(case.baseline) {
            self.told.change = Some(case.baseline.clone());
            let agreement = case.record.name.clone();
            out.push(Event::AgreementChanged { agreement, parts: parts.into_iter().map(Part::as_str).collect() });
        }
    }
}

/// Days from one day to another; negative if that is over.
pub(super) fn days_between(from: Date, to: Date) -> i32 {
    i32::try_from(to.duration_since(from).as_hours() / 24).unwrap_or(if to < from { i32::MIN } else { i32::MAX })
}
