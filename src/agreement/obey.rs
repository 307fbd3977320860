//! What the operator wants of one agreement, and what becomes of it in each state. The table is docs/AGREEMENT.md, and `tests.rs`
//! holds it cell by cell.

use jiff::Span;
use jiff::civil::Date;

use super::entry::{Agreed, Case, Entry};
use super::remind::Told;
use super::state::State;
use super::term::Term;
use super::wish::{Effective, Evidence, MAX_EVIDENCE, Refusal, Wish};
use crate::event::Event;

/// The notice of the documents: "terminated upon 30-days advanced notice by either party" (CBP ISA §4).
const NOTICE_DAYS: i64 = 30;

impl Entry {
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
        let agreed = Agreed::of(case.record, Some(date));
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
}

fn over() -> Result<(), Refusal> {
    Refusal::new("it is terminated, which is for good: write the new agreement under another name")
}

/// What happened, and the reference for it.
pub(super) fn with(what: &str, reference: Option<&str>) -> String {
    reference.map_or_else(|| what.to_owned(), |reference| format!("{what}: {reference}"))
}
