//! One agreement as it is kept: its state, and what led there. What the operator wants and what time brings are the only two
//! ways on; the table of both is docs/AGREEMENT.md, and `tests.rs` holds it cell by cell.

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::{Activation, Record};
use super::remind::Told;
use super::significant::Baseline;
use super::state::State;
use super::term::Term;
use super::wish::{Effective, Evidence, MAX_EVIDENCE, Refusal, Wish};
use crate::event::{DropReason, Event};

/// The notice of the documents: "terminated upon 30-days advanced notice by either party" (CBP ISA §4).
const NOTICE_DAYS: i64 = 30;
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
    fn of(record: &Record, date: Option<Date>) -> Self {
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

    /// What the operator wants. A refusal may leave `self` half-way: the caller throws it away then.
    pub(super) fn obey(&mut self, wish: &Wish, case: &Case<'_>, out: &mut Vec<Event>) -> Result<(), Refusal> {
        wish.holds()?;
        match wish {
            Wish::Activate { authorisation, .. } => self.activate(authorisation.as_deref(), case, out),
            Wish::Review { note } => self.review(note.as_deref(), case, out),
            Wish::Renew { date, authorisation } => self.renew(*date, authorisation.as_deref(), case, out),
            Wish::Suspend { reason } => self.suspend(reason.as_deref(), case, out),
            Wish::Resume { evidence, authorisation } => self.resume(evidence, authorisation.as_deref(), case, out),
            Wish::Terminate { effective } => self.terminate(*effective, case, out),
        }
    }

    fn activate(&mut self, reference: Option<&str>, case: &Case<'_>, out: &mut Vec<Event>) -> Result<(), Refusal> {
        match self.state {
            State::Draft => {}
            State::Active | State::Grace | State::Terminating => return Refusal::new("it is in force already"),
            State::Expired => return Refusal::new("it has expired: `agreement renew` puts it in force again"),
            State::Suspended | State::Remediation | State::AwaitingAuthorisation => {
                return Refusal::new("it is suspended: `agreement resume` leads back");
            }
            State::Terminated => return over(),
        }
        // AIS agreement, instructions: "The external organization name is required to activate the Interconnection Agreement."
        let missing = case.record.missing();
        if !missing.is_empty() {
            let keys: Vec<_> = missing.into_iter().map(|(key, _)| key).collect();
            return Refusal::new(format!("its record lacks {}: add them to the file and reload", keys.join(", ")));
        }
        self.agreed = Agreed::of(case.record, case.record.date);
        self.baseline = case.baseline.clone();
        self.authorisation = reference.map(str::to_owned);
        self.go(State::Active, with("activated", reference), case, out);
        self.pass_time(case, out);
        Ok(())
    }

    fn review(&mut self, note: Option<&str>, case: &Case<'_>, out: &mut Vec<Event>) -> Result<(), Refusal> {
        match self.state {
            State::Draft => return Refusal::new("it is a draft: there is nothing to review before it was in force"),
            State::Terminated => return over(),
            _ => {}
        }
        self.reviewed = Some(case.today());
        out.push(Event::AgreementReviewed {
            agreement: case.record.name.clone(),
            date: case.today().to_string(),
            note: note.map(str::to_owned),
            by: case.by.to_owned(),
        });
        Ok(())
    }

    fn renew(
        &mut self,
        date: Option<Date>,
        reference: Option<&str>,
        case: &Case<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        match self.state {
            State::Draft => return Refusal::new("it is a draft: `agreement activate` puts it in force"),
            State::Terminated => return over(),
            State::Terminating if case.record.termination.is_some() => {
                return Refusal::new("the file gives notice: take `termination` out of it and reload");
            }
            State::Terminating if reference.is_none() => {
                return Refusal::new(
                    "notice has been given: a renewal takes it back, and needs --authorisation REFERENCE",
                );
            }
            _ => {}
        }
        let Some(date) = date.or(case.record.date) else {
            return Refusal::new("it has no term: name the day from which it runs with --date");
        };
        let Some(years) = case.record.years else {
            return Refusal::new("its record has no `years`, so that it never ends and need not be renewed");
        };
        if date > case.today() {
            return Refusal::new(format!("{date} lies in the future: renew it when that day has come"));
        }
        if self.agreed.date.is_some_and(|agreed| date < agreed) {
            return Refusal::new(format!("{date} lies before the day from which its present term runs"));
        }
        if self.agreed.date == Some(date) && reference.is_none() {
            return Refusal::new(
                "its term runs from that day already: name a later one with --date, or say with --authorisation REFERENCE by \
                 what the other organisation agrees to the changes",
            );
        }
        let agreed = Agreed { date: Some(date), years: Some(years), ..Agreed::of(case.record, None) };
        let term = Term { date, years, zone: case.record.zone, grace_days: case.record.grace_days };
        if case.now >= term.ends() {
            return Refusal::new(format!("a term from {date} has ended with {}", term.last_day()));
        }
        self.agreed = agreed;
        self.baseline = case.baseline.clone();
        self.told = Told { review: self.told.review, ..Told::default() };
        out.push(Event::AgreementRenewed {
            agreement: case.record.name.clone(),
            date: date.to_string(),
            last_day: term.last_day().to_string(),
            authorisation: reference.map(str::to_owned),
            by: case.by.to_owned(),
        });
        match self.state {
            // The way out of an incident is another one.
            State::Suspended | State::Remediation | State::AwaitingAuthorisation => {}
            State::Active => self.note(with("renewed", reference), case),
            _ => {
                self.termination = None;
                self.go(State::Active, with("renewed", reference), case, out);
            }
        }
        self.pass_time(case, out);
        Ok(())
    }

    fn suspend(&mut self, reason: Option<&str>, case: &Case<'_>, out: &mut Vec<Event>) -> Result<(), Refusal> {
        match self.state {
            State::Draft => return Refusal::new("it is a draft: nothing passes that could be stopped"),
            State::Suspended => return Refusal::new("it is suspended already"),
            State::Terminated => return over(),
            _ => {}
        }
        self.reason = reason.map(str::to_owned);
        // What was shown before is about what was before.
        self.evidence.clear();
        self.authorisation = None;
        self.go(State::Suspended, reason.unwrap_or("by the operator").to_owned(), case, out);
        Ok(())
    }

    /// CBP's guidance for brokers: they "must provide evidence of system remediation before CBP will authorize reconnection".
    fn resume(
        &mut self,
        evidence: &[Evidence],
        reference: Option<&str>,
        case: &Case<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let began_in = self.state;
        match began_in {
            State::Suspended => self.go(State::Remediation, "remediation has begun".to_owned(), case, out),
            State::Remediation | State::AwaitingAuthorisation => {}
            State::Terminated => return over(),
            _ => return Refusal::new("it is not suspended"),
        }
        if !evidence.is_empty() {
            if self.evidence.len() + evidence.len() > MAX_EVIDENCE {
                return Refusal::new(format!("no more than {MAX_EVIDENCE} files are kept; put them in an archive"));
            }
            self.evidence.extend_from_slice(evidence);
            if self.state == State::Remediation {
                let files =
                    if self.evidence.len() == 1 { "1 file".into() } else { format!("{} files", self.evidence.len()) };
                self.go(State::AwaitingAuthorisation, format!("{files} of evidence"), case, out);
            }
        } else if reference.is_none() && began_in != State::Suspended {
            return Refusal::new(match began_in {
                State::Remediation => "evidence of the remediation is missing: --evidence FILE",
                _ => "the other organisation's authorisation is missing: --authorisation REFERENCE",
            });
        }
        let Some(reference) = reference else { return Ok(()) };
        if self.state != State::AwaitingAuthorisation {
            return Refusal::new("no reconnection is authorised without evidence of the remediation: --evidence FILE");
        }
        self.authorisation = Some(reference.to_owned());
        self.lost = false;
        let next = if self.last_day(case.record).is_some() { State::Terminating } else { State::Active };
        self.go(next, with("reconnection authorised", Some(reference)), case, out);
        self.pass_time(case, out);
        Ok(())
    }

    fn terminate(
        &mut self,
        effective: Option<Effective>,
        case: &Case<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        if self.state == State::Terminated {
            return over();
        }
        let day = match effective {
            None => case.today().saturating_add(Span::new().days(NOTICE_DAYS)),
            Some(Effective::On(day)) if day >= case.today() => day,
            Some(Effective::On(day)) => {
                self.termination = Some(day);
                self.go(State::Terminated, format!("it was terminated with the end of {day}"), case, out);
                return Ok(());
            }
            Some(Effective::Now) => {
                self.termination = Some(case.today());
                self.go(State::Terminated, "terminated at once".to_owned(), case, out);
                return Ok(());
            }
        };
        if let Some(given) = self.termination.filter(|given| day > *given) {
            return Refusal::new(format!("notice has been given for {given}: it can only end earlier than that"));
        }
        self.termination = Some(day);
        let cause = format!("notice has been given: its last day is {day}");
        if matches!(self.state, State::Active | State::Grace) {
            self.go(State::Terminating, cause, case, out);
        } else {
            let state = self.state;
            self.go(state, cause, case, out);
        }
        Ok(())
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
    fn go(&mut self, to: State, cause: String, case: &Case<'_>, out: &mut Vec<Event>) {
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
    fn note(&mut self, cause: String, case: &Case<'_>) {
        self.remember(Passage { at: case.now, from: self.state, to: self.state, cause, by: case.by.to_owned() });
    }

    fn remember(&mut self, passage: Passage) {
        if self.history.len() >= HISTORY {
            self.history.drain(..=self.history.len() - HISTORY);
        }
        self.history.push(passage);
    }
}

fn over() -> Result<(), Refusal> {
    Refusal::new("it is terminated, which is for good: write the new agreement under another name")
}

/// What happened, and the reference for it.
fn with(what: &str, reference: Option<&str>) -> String {
    reference.map_or_else(|| what.to_owned(), |reference| format!("{what}: {reference}"))
}
