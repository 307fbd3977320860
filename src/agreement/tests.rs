//! Agreements over years of virtual time: every cell of the table of states, every edge of a term, a clock that lies, and what
//! survives a restart.

mod any;
mod clock;
mod table;

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::event::{AgreementMatter, DropReason, Event};

const NAME: &str = "cbp";

/// A complete record: three years from 1 March 2025.
fn record() -> Record {
    Record {
        name: NAME.into(),
        lab: false,
        document: Some("Interconnection Security Agreement".into()),
        document_digest: Some(Digest::of(b"the document")),
        organisation: Some("Example Brokers".into()),
        contacts: Role::ALL.map(|role| (role, format!("{role:?}"))).into(),
        classification: Some(Classification::SensitiveButUnclassified),
        basis: Some(Basis::Acknowledgement),
        date: Some(date(2025, 3, 1)),
        years: Some(3),
        zone: Zone::UTC,
        grace_days: 0,
        reviewed: None,
        termination: None,
        activation: Activation::File,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn baseline(port: &str) -> Baseline {
    Baseline::of([(Part::Peer, "203.0.113.5".to_owned()), (Part::Port, port.to_owned())])
}

/// A gateway of one agreement, its disk, and a clock that the test turns.
struct Office {
    ledger: Ledger,
    subject: Subject,
    wall: Timestamp,
    events: Vec<Event>,
    disk: [Option<Vec<u8>>; 2],
}

impl Office {
    fn new(record: Record, now: &str) -> Self {
        let subject = Subject { record, baseline: baseline("1414") };
        let (wall, mut events) = (at(now), Vec::new());
        let ledger = Ledger::open(Found::Nothing, vec![subject.clone()], wall, &mut events);
        let mut office = Self { ledger, subject, wall, events, disk: [None, None] };
        office.save();
        office
    }

    fn save(&mut self) {
        let Some(steps) = self.ledger.to_write(false) else { return };
        for step in steps {
            if let Step::Write { file, bytes } = step {
                self.disk[usize::from(file.contains("witness"))] = Some(bytes);
            }
        }
        self.ledger.was_written();
    }

    /// The process ends without a word, and begins again.
    fn restart(&mut self) {
        let [state, witness] = &self.disk;
        let found = read(state.as_deref(), witness.as_deref());
        self.ledger = Ledger::open(found, vec![self.subject.clone()], self.wall, &mut self.events);
        self.save();
    }

    fn clock(&mut self, wall: Timestamp) {
        self.wall = wall;
        self.ledger.pass_time(wall, &mut self.events);
        self.save();
    }

    fn at(&mut self, now: &str) -> State {
        self.clock(at(now));
        self.state()
    }

    fn reload(&mut self, change: impl FnOnce(&mut Subject)) {
        change(&mut self.subject);
        self.ledger.follow(vec![self.subject.clone()], self.wall, &mut self.events);
        self.save();
    }

    fn report(&self) -> Report {
        self.ledger.reports(Some(NAME)).pop().unwrap()
    }

    fn state(&self) -> State {
        self.report().state
    }

    /// Why nothing passes.
    fn closed(&self) -> Option<DropReason> {
        self.ledger.closings().get(NAME).copied()
    }

    fn obey(&mut self, wish: &Wish) -> Result<State, String> {
        let before = (self.ledger.book().clone(), self.events.len());
        let done = self.ledger.obey(NAME, wish, "uid 0", self.wall, &mut self.events);
        if done.is_err() {
            let entries = |book: &Book| book.entries.clone();
            assert_eq!((entries(self.ledger.book()), self.events.len()), (entries(&before.0), before.1), "half-way");
        }
        self.save();
        done.map(|()| self.state()).map_err(|refusal| refusal.to_string())
    }

    /// The words that were told since the last call.
    fn told(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| word(&event)).collect()
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::AgreementState { from, to, .. } => format!("{from} -> {to}"),
        Event::AgreementReminder { matter, days, .. } => format!("{matter:?} {days}"),
        Event::AgreementChanged { parts, .. } => format!("changed {}", parts.join(" ")),
        Event::AgreementReviewed { date, .. } => format!("reviewed {date}"),
        Event::AgreementRenewed { last_day, .. } => format!("renewed until {last_day}"),
        Event::AgreementClockTrusted { .. } => "clock trusted".into(),
        other => panic!("{other:?}"),
    }
}

fn proof() -> Evidence {
    Evidence { file: "scan.pdf".into(), size: 3, digest: Digest::of(b"abc") }
}

fn suspend() -> Wish {
    Wish::Suspend { reason: Some("ransomware at the broker".into()) }
}

fn resume(evidence: bool, authorised: bool) -> Wish {
    let authorisation = authorised.then(|| "CBP mail of 2026-06-05".to_owned());
    Wish::Resume { evidence: evidence.then(proof).into_iter().collect(), authorisation }
}

fn renew(day: Option<jiff::civil::Date>) -> Wish {
    Wish::Renew { date: day, authorisation: None }
}

fn terminate(effective: Option<Effective>) -> Wish {
    Wish::Terminate { effective }
}

/// An agreement that has come into a state on an ordinary way.
fn in_state(state: State) -> Office {
    let mut record = record();
    match state {
        State::Draft => record.activation = Activation::Operator,
        State::Grace => record.grace_days = 30,
        _ => {}
    }
    let mut office = Office::new(record, "2026-06-01T12:00:00Z");
    let wishes = match state {
        State::Suspended => vec![suspend()],
        State::Remediation => vec![suspend(), resume(false, false)],
        State::AwaitingAuthorisation => vec![suspend(), resume(true, false)],
        State::Terminating => vec![terminate(None)],
        State::Terminated => vec![terminate(Some(Effective::Now))],
        _ => Vec::new(),
    };
    for wish in wishes {
        office.obey(&wish).unwrap();
    }
    match state {
        State::Grace => drop(office.at("2028-03-10T00:00:00Z")),
        State::Expired => drop(office.at("2028-05-01T00:00:00Z")),
        _ => {}
    }
    assert_eq!(office.state(), state);
    office
}

#[test]
fn an_agreement_expires_with_the_end_of_its_last_day() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    assert_eq!(office.ledger.next_change(), Some(at("2028-03-02T00:00:00Z")));
    assert_eq!((office.at("2028-03-01T23:59:59.999Z"), office.closed()), (State::Active, None));
    assert_eq!(office.at("2028-03-02T00:00:00Z"), State::Expired);
    assert_eq!(office.closed(), Some(DropReason::AgreementExpired));
    assert_eq!(office.told().last().unwrap(), "active -> expired");
}

#[test]
fn grace_passes_traffic_for_as_many_days_as_the_file_says() {
    let mut office = Office::new(Record { grace_days: 2, ..record() }, "2026-06-01T12:00:00Z");
    assert_eq!((office.at("2028-03-02T00:00:00Z"), office.closed()), (State::Grace, None));
    assert_eq!(office.at("2028-03-03T23:59:59Z"), State::Grace);
    assert_eq!(
        (office.at("2028-03-04T00:00:00Z"), office.closed()),
        (State::Expired, Some(DropReason::AgreementExpired))
    );
}

#[test]
fn the_zone_decides_when_the_day_ends_and_a_leap_day_ends_on_the_28th() {
    let eastern = Record { zone: "-05:00".parse().unwrap(), date: Some(date(2024, 2, 29)), ..record() };
    let mut office = Office::new(eastern, "2026-06-01T12:00:00Z");
    assert_eq!(office.at("2027-03-01T04:59:59Z"), State::Active);
    assert_eq!(office.at("2027-03-01T05:00:00Z"), State::Expired);
}

#[test]
fn a_date_in_the_future_keeps_it_closed_until_it_comes() {
    let mut office = Office::new(Record { date: Some(date(2026, 7, 1)), ..record() }, "2026-06-01T12:00:00Z");
    assert_eq!((office.state(), office.closed()), (State::Active, Some(DropReason::AgreementNotYet)));
    assert_eq!(office.ledger.next_change(), Some(at("2026-07-01T00:00:00Z")));
    office.at("2026-06-30T23:59:59Z");
    assert_eq!(office.closed(), Some(DropReason::AgreementNotYet));
    office.at("2026-07-01T00:00:00Z");
    assert_eq!(office.closed(), None);
}

#[test]
fn reminders_come_once_each_also_over_restarts_and_the_nearest_speaks_for_those_that_were_slept_through() {
    let reviewed = Record { reviewed: Some(date(2028, 2, 1)), ..record() };
    let mut office = Office::new(reviewed, "2027-06-01T12:00:00Z");
    office.told();
    let mut told = Vec::new();
    let (mut now, end) = (at("2027-08-01T06:00:00Z"), at("2028-03-03T00:00:00Z"));
    while now < end {
        office.clock(now);
        office.restart();
        told.extend(office.told());
        now += SignedDuration::from_hours(6);
    }
    let expected = ["Expiry 180", "Expiry 90", "Expiry 30", "Expiry 7", "Expiry 1", "active -> expired"];
    assert_eq!(told, expected);
    // Another one sleeps from the summer to twenty days before the end.
    let mut office = Office::new(Record { reviewed: Some(date(2028, 2, 1)), ..record() }, "2027-06-01T12:00:00Z");
    office.told();
    office.at("2028-02-10T00:00:00Z");
    assert_eq!(office.told(), ["Expiry 20"]);
    office.at("2028-02-23T00:00:00Z");
    assert_eq!(office.told(), ["Expiry 7"]);
    // A new term begins from the start.
    office.obey(&renew(Some(date(2028, 2, 20)))).unwrap();
    office.told();
    office.at("2030-08-25T00:00:00Z");
    assert!(office.told().contains(&"Expiry 179".to_owned()));
}

#[test]
fn the_yearly_review_is_asked_for_and_its_being_overdue_is_told_once_and_stops_nothing() {
    let mut office = Office::new(record(), "2025-06-01T12:00:00Z");
    office.told();
    for (day, told) in [
        ("2026-01-29T12:00:00Z", &[][..]),
        ("2026-01-30T00:00:00Z", &["Review 30"]),
        ("2026-02-22T00:00:00Z", &["Review 7"]),
        ("2026-02-28T00:00:00Z", &["Review 1"]),
        ("2026-03-01T23:00:00Z", &[]),
        ("2026-03-02T00:00:00Z", &["Review -1"]),
        ("2026-04-02T00:00:00Z", &[]),
    ] {
        office.at(day);
        assert_eq!(office.told(), told, "{day}");
    }
    assert!(office.report().review.unwrap().overdue && office.closed().is_none());
    office.obey(&Wish::Review { note: Some("no finding".into()) }).unwrap();
    assert_eq!(office.told(), ["reviewed 2026-04-02"]);
    let review = office.report().review.unwrap();
    assert_eq!((review.last, review.due, review.overdue), (Some(date(2026, 4, 2)), date(2027, 4, 2), false));
}

#[test]
fn notice_ends_with_its_last_day_is_reminded_of_and_only_gets_earlier() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    office.told();
    office.obey(&terminate(None)).unwrap();
    assert_eq!(office.told(), ["active -> terminating", "Termination 30"], "thirty days, as the documents say");
    assert_eq!(office.report().last_day, Some(date(2026, 7, 1)));
    assert!(office.obey(&terminate(Some(Effective::On(date(2026, 8, 1))))).unwrap_err().contains("earlier"));
    assert_eq!(office.obey(&terminate(Some(Effective::On(date(2026, 6, 10))))), Ok(State::Terminating));
    assert_eq!((office.at("2026-06-10T23:59:59Z"), office.closed()), (State::Terminating, None));
    assert_eq!(office.at("2026-06-11T00:00:00Z"), State::Terminated);
    assert_eq!(office.closed(), Some(DropReason::AgreementTerminated));
    // A day that is over ends it at once.
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    assert_eq!(office.obey(&terminate(Some(Effective::On(date(2026, 5, 31))))), Ok(State::Terminated));
}

#[test]
fn notice_in_the_file_counts_and_can_be_taken_back_there_until_its_day() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    office.reload(|subject| subject.record.termination = Some(date(2026, 9, 30)));
    assert_eq!((office.state(), office.closed()), (State::Terminating, None));
    office.reload(|subject| subject.record.termination = None);
    assert_eq!(office.state(), State::Active);
    office.reload(|subject| subject.record.termination = Some(date(2026, 9, 30)));
    assert!(office.obey(&renew(Some(date(2026, 6, 1)))).unwrap_err().contains("take `termination` out"));
    assert_eq!(office.at("2026-10-01T00:00:00Z"), State::Terminated);
    office.reload(|subject| subject.record.termination = None);
    assert_eq!(office.state(), State::Terminated, "what is over is over");
}

#[test]
fn a_renewal_needs_a_later_day_that_has_come_and_a_term_that_still_runs() {
    let mut office = in_state(State::Expired);
    assert!(office.obey(&renew(None)).unwrap_err().contains("already"), "the file's own day is the old one");
    assert!(office.obey(&renew(Some(date(2028, 6, 1)))).unwrap_err().contains("future"));
    assert!(office.obey(&renew(Some(date(2024, 6, 1)))).unwrap_err().contains("before"));
    let same = Wish::Renew { date: None, authorisation: Some("mail".into()) };
    assert!(office.obey(&same).unwrap_err().contains("has ended"));
    assert_eq!(office.obey(&renew(Some(date(2028, 4, 15)))), Ok(State::Active));
    // The file still has the old day, and that does not count against what was agreed since.
    office.restart();
    assert_eq!((office.state(), office.report().term.unwrap().last_day), (State::Active, date(2031, 4, 15)));
}

#[test]
fn a_later_day_in_the_file_counts_when_it_is_renewed_and_an_earlier_end_at_once() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    office.reload(|subject| subject.record.date = Some(date(2026, 5, 20)));
    let report = office.report();
    assert_eq!((report.term.unwrap().last_day, report.file_differs), (date(2028, 3, 1), true));
    assert_eq!(office.obey(&renew(None)), Ok(State::Active));
    let report = office.report();
    assert_eq!((report.term.unwrap().last_day, report.file_differs), (date(2029, 5, 20), false));
    office.reload(|subject| subject.record.years = Some(1));
    assert_eq!(office.report().term.unwrap().last_day, date(2027, 5, 20));
    // What expired by it does not come back by itself when the file is changed again.
    assert_eq!(office.at("2027-06-01T00:00:00Z"), State::Expired);
    office.reload(|subject| subject.record.years = Some(3));
    assert_eq!(office.state(), State::Expired);
}

#[test]
fn a_significant_change_is_told_once_and_a_renewal_makes_it_what_was_agreed() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    office.told();
    office.reload(|subject| subject.baseline = baseline("1415"));
    assert_eq!(office.told(), ["changed port"]);
    office.restart();
    office.at("2026-06-02T12:00:00Z");
    assert!(office.told().is_empty());
    assert_eq!((office.report().changed, office.closed()), (vec![Part::Port], None), "it asks, and stops nothing");
    office.reload(|subject| subject.baseline = baseline("1416"));
    assert_eq!(office.told(), ["changed port"], "another change");
    office.obey(&Wish::Renew { date: None, authorisation: Some("CBP mail of 2 June".into()) }).unwrap();
    assert_eq!((office.report().changed, office.told()), (vec![], vec!["renewed until 2028-03-01".to_owned()]));
    office.reload(|subject| subject.baseline = baseline("1414"));
    assert_eq!(office.told(), ["changed port"], "back is a change too");
}

#[test]
fn a_reminder_names_its_matter() {
    let mut office = Office::new(record(), "2028-02-25T00:00:00Z");
    let reminder =
        |event: &Event| matches!(event, Event::AgreementReminder { matter: AgreementMatter::Expiry, days: 5, .. });
    assert!(office.events.iter().any(reminder), "{:?}", office.events);
    office.told();
}
