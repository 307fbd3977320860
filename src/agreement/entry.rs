//! One agreement as it is kept: its state, what led there, and what time brings. The other way on is what the operator wants
//! (`obey`).

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::obey::with;
use super::record::{Activation, Record};
use super::remind::Told;
use super::significant::Baseline;
use super::state::State;
use super::term::Term;
use super::wish::Evidence;
use crate::event::{DropReason, Event};

/// Transitions that are kept with their reasons; older ones are in the log alone.
const HISTORY: usize = 64;

/// What is kept of one agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Since when.
    pub(super) since: Timestamp,
    /// Nobody knows what it was: the state was lost.
    pub(super) lost: bool,
    /// The term that was agreed last.
    pub(super) agreed: Agreed,
    /// What was agreed, by parts.
    pub(super) baseline: Baseline,
    /// When it was reviewed last.
    pub(super) reviewed: Option<Date>,
    /// Its last day, where the operator has given notice.
    pub(super) termination: Option<Date>,
    /// Why it is suspended.
    pub(super) reason: Option<String>,
    /// What was shown since it was suspended.
    pub(super) evidence: Vec<Evidence>,
    /// The other organisation's last word for it.
    pub(super) authorisation: Option<String>,
    /// What was reminded of already.
    pub(super) told: Told,
    /// The last transitions, the newest last.
    pub(super) history: Vec<Passage>,
}

/// A term as it was agreed, and what the file said then. As long as the file says the same, the term holds that was agreed;
/// a file that says something else can only make it shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agreed {
    pub(super) date: Option<Date>,
    pub(super) years: Option<u8>,
    file_date: Option<Date>,
    file_years: Option<u8>,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Passage {
    pub(super) at: Timestamp,
    pub(super) from: State,
    pub(super) to: State,
    pub(super) cause: String,
    pub(super) by: String,
}

/// One agreement under the eyes of its record at one moment: everything that decides is here.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    pub(super) baseline: &'a Baseline,
    pub(super) now: Timestamp,
    /// Who acts: `uid 0`, `time`, `file`.
    pub(super) by: &'a str,
}

impl Case<'_> {
    pub(super) fn today(&self) -> Date {
        self.record.zone.day_of(self.now)
    }
}

impl Agreed {
    pub(super) fn of(record: &Record, date: Option<Date>) -> Self {
        Self { date, years: record.years, file_date: record.date, file_years: record.years }
    }
}

impl Entry {
    /// An agreement that nobody has seen before.
    pub(super) fn first(case: &Case<'_>) -> Self {
        let state = match case.record.activation {
            Activation::File => State::Active,
            Activation::Operator => State::Draft,
        };
        Self {
            state,
            since: case.now,
            lost: false,
            agreed: Agreed::of(case.record, case.record.date),
            baseline: case.baseline.clone(),
            reviewed: None,
            termination: None,
            reason: None,
            evidence: Vec::new(),
            authorisation: None,
            told: Told::default(),
            history: Vec::new(),
        }
    }

    /// An agreement of which something was known that is lost. It may have been suspended, so that is what it is now.
    pub(super) fn lost(case: &Case<'_>, why: &str) -> Self {
        Self { state: State::Suspended, lost: true, reason: Some(why.to_owned()), ..Self::first(case) }
    }

    /// The term that holds.
    pub(super) fn term(&self, record: &Record) -> Option<Term> {
        let Agreed { date, years, file_date, file_years } = self.agreed;
        let written = record.term();
        let (Some(date), Some(years)) = (date, years) else { return written };
        let agreed = Term { date, years, zone: record.zone, grace_days: record.grace_days };
        if (file_date, file_years) == (record.date, record.years) {
            return Some(agreed);
        }
        written.filter(|written| written.ends() < agreed.ends()).or(Some(agreed))
    }

    /// Whether the file names another term than the one that was agreed, so that a renewal is wanted before it counts.
    pub(super) fn file_differs(&self, record: &Record) -> bool {
        (self.agreed.file_date, self.agreed.file_years) != (record.date, record.years)
    }

    /// Its last day, where notice has been given by the operator or in the file.
    pub(super) fn last_day(&self, record: &Record) -> Option<Date> {
        self.termination.into_iter().chain(record.termination).min()
    }

    /// Why traffic does not pass. `sane`: the clock can be believed.
    pub(super) fn closed(&self, record: &Record, now: Timestamp, sane: bool) -> Option<DropReason> {
        if self.lost && self.state == State::Suspended {
            return Some(DropReason::AgreementStateLost);
        }
        let term = self.term(record);
        let dated = term.is_some() || self.last_day(record).is_some();
        self.state
            .reason()
            .or_else(|| (dated && !sane).then_some(DropReason::AgreementClock))
            .or_else(|| term.is_some_and(|term| now < term.begins()).then_some(DropReason::AgreementNotYet))
    }

    /// The next moment at which time alone changes something, after `now`.
    pub(super) fn next_change(&self, record: &Record, now: Timestamp) -> Option<Timestamp> {
        let term = self.term(record).into_iter().flat_map(|term| [term.begins(), term.ends(), term.closes()]);
        let last = self.last_day(record).map(|day| record.zone.end_of(day));
        term.chain(last).filter(|at| *at > now).min()
    }

    /// What time brings.
    pub(super) fn pass_time(&mut self, case: &Case<'_>, out: &mut Vec<Event>) {
        if self.state == State::Terminated {
            return;
        }
        let last = self.last_day(case.record);
        if let Some(day) = last.filter(|day| case.now >= case.record.zone.end_of(*day)) {
            self.go(State::Terminated, format!("its last day, {day}, is over"), case, out);
            return;
        }
        if !matches!(self.state, State::Active | State::Grace | State::Terminating) {
            return;
        }
        let (next, cause) = match (self.term(case.record), last) {
            (Some(term), _) if case.now >= term.closes() => {
                (State::Expired, format!("its term ended with {}", term.last_day()))
            }
            (_, Some(day)) => (State::Terminating, format!("notice has been given: its last day is {day}")),
            (Some(term), None) if case.now >= term.ends() => {
                let until = term.last_day_of_grace();
                (State::Grace, format!("its term ended with {}, and {until} is its last day of grace", term.last_day()))
            }
            _ => (State::Active, "its term runs".to_owned()),
        };
        if next != self.state {
            self.go(next, cause, case, out);
        }
    }

    /// The time by which it expired was wrong, says the operator. If its term still runs, so does the agreement.
    pub(super) fn clock_was_wrong(&mut self, case: &Case<'_>, reference: &str, out: &mut Vec<Event>) {
        let runs = self.term(case.record).is_none_or(|term| case.now < term.closes());
        if self.state == State::Expired && runs {
            self.go(State::Active, with("the clock was wrong", Some(reference)), case, out);
        } else {
            self.note(with("the clock was wrong", Some(reference)), case);
        }
    }

    /// Into another state, with the word for it.
    pub(super) fn go(&mut self, to: State, cause: String, case: &Case<'_>, out: &mut Vec<Event>) {
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            self.since = case.now;
        }
        out.push(Event::AgreementState {
            agreement: case.record.name.clone(),
            from: from.as_str(),
            to: to.as_str(),
            cause: cause.clone(),
            by: case.by.to_owned(),
        });
        self.remember(Passage { at: case.now, from, to, cause, by: case.by.to_owned() });
    }

    /// Something that changes no state, and is worth remembering.
    pub(super) fn note(&mut self, cause: String, case: &Case<'_>) {
        self.remember(Passage { at: case.now, from: self.state, to: self.state, cause, by: case.by.to_owned() });
    }

    fn remember(&mut self, passage: Passage) {
        if self.history.len() >= HISTORY {
            self.history.drain(..=self.history.len() - HISTORY);
        }
        self.history.push(passage);
    }
}
