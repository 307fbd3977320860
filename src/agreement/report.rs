//! What `portcullis agreement status` shows of one agreement. Field names are stable: scripts read them.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::entry::{Case, Entry};
use super::remind::days_between;
use super::significant::Part;
use super::state::State;
use super::wish::Evidence;
use crate::event::DropReason;

/// One agreement, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// `lab` or `agreement`.
    pub kind: String,
    /// Title of the document.
    pub document: Option<String>,
    /// SHA-256 of the document.
    pub document_digest: Option<String>,
    /// The other organisation.
    pub organisation: Option<String>,
    /// The highest classification of what may cross.
    pub classification: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Whether traffic passes.
    pub passes: bool,
    /// Why not: the reason as it stands in counters and events.
    pub closed: Option<String>,
    /// The last cause for which it changed, or what stands in the way, in a sentence.
    pub why: Option<String>,
    /// Its term.
    pub term: Option<TermReport>,
    /// The file names another term: `agreement renew` takes it over.
    pub file_differs: bool,
    /// Its yearly review.
    pub review: Option<ReviewReport>,
    /// Its last day, where notice has been given.
    pub last_day: Option<Date>,
    /// The parts that are not as they were agreed, so that a renewal is due.
    pub changed: Vec<Part>,
    /// What its record lacks.
    pub missing: Vec<String>,
    /// What was shown since it was suspended.
    pub evidence: Vec<Evidence>,
    /// The other organisation's last word for it.
    pub authorisation: Option<String>,
    /// Whether the clock is believed.
    pub clock_sane: bool,
    /// The last transitions, the newest last.
    pub history: Vec<HistoryReport>,
}

/// A term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermReport {
    /// `acknowledgement` or `latest-signature`.
    pub basis: Option<String>,
    /// The day from which it runs.
    pub date: Date,
    /// In years.
    pub years: u8,
    /// Where its days begin and end.
    pub zone: String,
    /// The last day on which it holds.
    pub last_day: Date,
    /// The first moment at which it does not hold any more.
    pub ends: Timestamp,
    /// Days that are left; negative if it is over.
    pub days_left: i32,
    /// Days for which traffic passes after its end.
    pub grace_days: u16,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewReport {
    /// The last one.
    pub last: Option<Date>,
    /// When the next one is due.
    pub due: Date,
    /// Whether that day is over.
    pub overdue: bool,
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// When.
    pub at: Timestamp,
    /// From which state.
    pub from: State,
    /// To which.
    pub to: State,
    /// Why.
    pub cause: String,
    /// By whom: `uid 0`, `time`.
    pub by: String,
}

impl Entry {
    /// What is shown of it.
    pub(super) fn report(&self, case: &Case<'_>, sane: bool) -> Report {
        let record = case.record;
        let closed = self.closed(record, case.now, sane);
        let term = self.term(record).map(|term| TermReport {
            basis: record.basis.map(|basis| basis.as_str().to_owned()),
            date: term.date,
            years: term.years,
            zone: term.zone.to_string(),
            last_day: term.last_day(),
            ends: term.ends(),
            days_left: days_between(case.today(), term.last_day()),
            grace_days: term.grace_days,
        });
        let why = match closed {
            Some(DropReason::AgreementStateLost) => self.reason.clone(),
            Some(reason @ (DropReason::AgreementClock | DropReason::AgreementNotYet)) => {
                Some(reason.sentence().to_owned())
            }
            _ => self.history.last().map(|passage| passage.cause.clone()),
        };
        Report {
            name: record.name.clone(),
            kind: record.kind().to_owned(),
            document: record.document.clone(),
            document_digest: record.document_digest.map(|digest| digest.to_string()),
            organisation: record.organisation.clone(),
            classification: record.classification.map(|class| class.as_str().to_owned()),
            state: self.state,
            since: self.since,
            passes: closed.is_none(),
            closed: closed.map(|reason| reason.as_str().to_owned()),
            why,
            term,
            file_differs: self.file_differs(record),
            review: self.review_due(record).map(|due| ReviewReport {
                last: self.reviewed.into_iter().chain(record.reviewed).max(),
                due,
                overdue: due < case.today(),
            }),
            last_day: self.last_day(record),
            changed: if record.lab { Vec::new() } else { self.baseline.differences(case.baseline) },
            missing: record.missing().into_iter().map(|(key, _)| key).collect(),
            evidence: self.evidence.clone(),
            authorisation: self.authorisation.clone(),
            clock_sane: sane,
            history: self
                .history
                .iter()
                .map(|passage| HistoryReport {
                    at: passage.at,
                    from: passage.from,
                    to: passage.to,
                    cause: passage.cause.clone(),
                    by: passage.by.clone(),
                })
                .collect(),
        }
    }
}
