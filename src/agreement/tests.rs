//! Agreements over years of virtual time: every cell of the table of states, every edge of a term, a clock that lies, and what
//! survives a restart.

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

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

type Cell = Result<State, &'static str>;

/// The table of docs/AGREEMENT.md: activate, review, renew from today, suspend, resume with nothing, with evidence, with
/// authorisation, with both, terminate, terminate now.
#[rustfmt::skip]
const TABLE: [(State, [Cell; 10]); 9] = {
    use State::*;
    const FORCE: Cell = Err("in force already");
    const DRAFT: Cell = Err("is a draft");
    const NOT: Cell = Err("not suspended");
    const SUSPENDED: Cell = Err("is suspended: `agreement resume`");
    const OVER: Cell = Err("for good");
    const PROOF: Cell = Err("--evidence FILE");
    [
        (Draft, [Ok(Active), DRAFT, DRAFT, DRAFT, NOT, NOT, NOT, NOT, Ok(Draft), Ok(Terminated)]),
        (Active, [FORCE, Ok(Active), Ok(Active), Ok(Suspended), NOT, NOT, NOT, NOT, Ok(Terminating), Ok(Terminated)]),
        (Grace, [FORCE, Ok(Grace), Ok(Active), Ok(Suspended), NOT, NOT, NOT, NOT, Ok(Terminating), Ok(Terminated)]),
        (Expired, [Err("has expired"), Ok(Expired), Ok(Active), Ok(Suspended), NOT, NOT, NOT, NOT, Ok(Expired), Ok(Terminated)]),
        (Suspended, [SUSPENDED, Ok(Suspended), Ok(Suspended), Err("suspended already"), Ok(Remediation), Ok(AwaitingAuthorisation), PROOF, Ok(Active), Ok(Suspended), Ok(Terminated)]),
        (Remediation, [SUSPENDED, Ok(Remediation), Ok(Remediation), Ok(Suspended), PROOF, Ok(AwaitingAuthorisation), PROOF, Ok(Active), Ok(Remediation), Ok(Terminated)]),
        (AwaitingAuthorisation, [SUSPENDED, Ok(AwaitingAuthorisation), Ok(AwaitingAuthorisation), Ok(Suspended), Err("--authorisation REFERENCE"), Ok(AwaitingAuthorisation), Ok(Active), Ok(Active), Ok(AwaitingAuthorisation), Ok(Terminated)]),
        (Terminating, [FORCE, Ok(Terminating), Err("--authorisation REFERENCE"), Ok(Suspended), NOT, NOT, NOT, NOT, Ok(Terminating), Ok(Terminated)]),
        (Terminated, [OVER, OVER, OVER, OVER, OVER, OVER, OVER, OVER, OVER, OVER]),
    ]
};

#[test]
fn every_wish_in_every_state_leads_where_the_table_says_or_is_refused_with_a_reason() {
    for (state, row) in TABLE {
        for (column, expected) in row.into_iter().enumerate() {
            let mut office = in_state(state);
            let today = Zone::UTC.day_of(office.wall);
            let wish = match column {
                0 => Wish::Activate { authorisation: None, trust_clock: false },
                1 => Wish::Review { note: None },
                2 => renew(Some(today)),
                3 => suspend(),
                4 => resume(false, false),
                5 => resume(true, false),
                6 => resume(false, true),
                7 => resume(true, true),
                8 => terminate(None),
                _ => terminate(Some(Effective::Now)),
            };
            let found = office.obey(&wish);
            match expected {
                Ok(next) => assert_eq!(found, Ok(next), "{state}, {wish:?}"),
                Err(why) => {
                    let refusal = found.expect_err(&format!("{state}, {wish:?}"));
                    assert!(refusal.contains(why), "{state}, {wish:?}: {refusal}");
                }
            }
            // What passes follows from the state alone, and a restart changes nothing.
            assert_eq!(office.closed(), office.state().reason(), "{state}, {wish:?}");
            let before = office.report();
            office.restart();
            assert_eq!(office.report(), before, "{state}, {wish:?}");
        }
    }
}

#[test]
fn the_way_out_of_a_suspension_is_told_step_by_step_and_keeps_what_was_shown() {
    let mut office = in_state(State::Suspended);
    office.told();
    office.obey(&resume(true, true)).unwrap();
    let way = ["suspended -> remediation", "remediation -> awaiting-authorisation", "awaiting-authorisation -> active"];
    assert_eq!(office.told(), way);
    office.restart();
    let report = office.report();
    assert_eq!((report.evidence, report.authorisation.as_deref()), (vec![proof()], Some("CBP mail of 2026-06-05")));
    // What was shown for one incident is not shown for the next.
    office.obey(&suspend()).unwrap();
    assert!(office.report().evidence.is_empty() && office.report().authorisation.is_none());
}

#[test]
fn what_ran_out_while_it_was_suspended_is_not_revived_by_resuming_it() {
    let mut office = in_state(State::Suspended);
    assert_eq!(office.at("2029-01-01T00:00:00Z"), State::Suspended);
    assert_eq!(office.obey(&resume(true, true)), Ok(State::Expired));
    let mut office = in_state(State::Terminating);
    office.obey(&suspend()).unwrap();
    assert_eq!(office.obey(&resume(true, true)), Ok(State::Terminating), "the notice still counts");
    office.obey(&suspend()).unwrap();
    assert_eq!(office.at("2026-07-02T00:00:00Z"), State::Terminated);
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
fn a_clock_that_is_set_back_does_not_revive_what_expired_whether_it_was_seen_or_slept_through() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    assert_eq!(office.at("2028-03-02T00:00:01Z"), State::Expired);
    for wall in ["2028-03-02T00:00:00Z", "2028-03-01T12:00:00Z", "2025-06-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        assert_eq!(office.at(wall), State::Expired);
        office.restart();
        assert_eq!((office.state(), office.closed()), (State::Expired, Some(DropReason::AgreementExpired)));
    }
}

#[test]
fn a_clock_behind_what_was_seen_keeps_dated_agreements_closed_until_it_is_right() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    // Small steps, as NTP makes them, are bridged.
    assert_eq!((office.at("2026-06-01T11:58:00Z"), office.closed()), (State::Active, None));
    // A machine that comes up without a clock.
    office.wall = Timestamp::UNIX_EPOCH;
    office.restart();
    assert_eq!((office.state(), office.closed()), (State::Active, Some(DropReason::AgreementClock)));
    assert!(!office.report().clock_sane);
    let refused = office.obey(&renew(None)).unwrap_err();
    assert!(refused.contains("clock"), "{refused}");
    // Stopping needs no clock.
    let mut stopped = in_state(State::Active);
    stopped.clock(Timestamp::UNIX_EPOCH);
    assert!(stopped.obey(&terminate(None)).unwrap_err().contains("clock"), "thirty days from when?");
    assert_eq!(stopped.obey(&suspend()), Ok(State::Suspended));
    assert_eq!(stopped.obey(&resume(true, true)), Ok(State::Active));
    assert_eq!(stopped.closed(), Some(DropReason::AgreementClock));
    assert_eq!(stopped.obey(&terminate(Some(Effective::Now))), Ok(State::Terminated));
    // The network sets it right.
    assert_eq!((office.at("2026-06-01T12:00:05Z"), office.closed()), (State::Active, None));
}

#[test]
fn a_first_start_without_a_clock_stays_closed_until_there_is_one() {
    let mut office = Office::new(record(), "1970-01-01T00:02:00Z");
    assert_eq!((office.state(), office.closed()), (State::Active, Some(DropReason::AgreementClock)));
    assert_eq!((office.at("2026-06-01T12:00:00Z"), office.closed()), (State::Active, None));
}

#[test]
fn what_has_no_dates_asks_for_no_clock() {
    let lab = Record { lab: true, date: None, years: None, basis: None, ..record() };
    let mut office = Office::new(lab, "1970-01-01T00:00:00Z");
    assert_eq!((office.state(), office.closed()), (State::Active, None));
    assert_eq!(office.obey(&suspend()), Ok(State::Suspended));
    assert_eq!(office.obey(&resume(true, true)), Ok(State::Active));
    assert_eq!(office.closed(), None);
}

#[test]
fn the_highest_time_survives_a_restart_to_within_ten_minutes() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    office.at("2026-06-01T12:09:00Z");
    office.at("2026-06-01T12:10:00Z");
    office.at("2026-06-01T12:19:59Z");
    office.wall = at("2026-06-01T12:04:59Z");
    office.restart();
    assert_eq!(office.closed(), Some(DropReason::AgreementClock));
}

#[test]
fn an_operator_who_answers_for_it_makes_a_wrong_clock_forgotten() {
    let mut office = Office::new(record(), "2026-06-01T12:00:00Z");
    assert_eq!(office.at("2036-06-01T12:00:00Z"), State::Expired, "a clock ten years ahead");
    office.clock(at("2026-06-01T13:00:00Z"));
    assert!(office.obey(&renew(None)).is_err());
    let trust = |authorisation: Option<&str>| Wish::Activate {
        authorisation: authorisation.map(str::to_owned),
        trust_clock: true,
    };
    assert!(office.obey(&trust(None)).unwrap_err().contains("--authorisation"));
    assert_eq!(office.obey(&trust(Some("ticket 17"))), Ok(State::Active));
    office.restart();
    assert_eq!(office.closed(), None);
    // It revives nothing that is over by the right clock too, and nothing that somebody has stopped.
    let mut office = in_state(State::Expired);
    assert_eq!(office.obey(&trust(Some("ticket 17"))), Ok(State::Expired));
    let mut office = in_state(State::Suspended);
    assert_eq!(office.obey(&trust(Some("ticket 17"))), Ok(State::Suspended));
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
fn a_renewal_takes_back_a_notice_only_by_the_other_organisations_word() {
    let mut office = in_state(State::Terminating);
    let authorised = Wish::Renew { date: Some(date(2026, 6, 1)), authorisation: Some("CBP mail".into()) };
    assert_eq!(office.obey(&authorised), Ok(State::Active));
    assert_eq!(office.report().last_day, None);
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
fn a_draft_is_put_in_force_only_with_a_complete_record() {
    let incomplete = Record {
        activation: Activation::Operator,
        document_digest: None,
        contacts: Role::ALL[1..].iter().map(|role| (*role, "x".into())).collect(),
        ..record()
    };
    let mut office = Office::new(incomplete, "2026-06-01T12:00:00Z");
    assert_eq!(office.closed(), Some(DropReason::AgreementDraft));
    let activate = Wish::Activate { authorisation: None, trust_clock: false };
    let refused = office.obey(&activate).unwrap_err();
    assert!(refused.contains("document_digest, contacts.authorising-official"), "{refused}");
    let complete = record();
    office.reload(|subject| subject.record = Record { activation: Activation::Operator, ..complete });
    assert_eq!(office.obey(&activate), Ok(State::Active));
    office.restart();
    assert_eq!(office.state(), State::Active);
}

#[test]
fn what_was_lost_is_closed_and_leads_back_over_evidence_and_authorisation() {
    for damage in [None, Some(b"rubbish".to_vec())] {
        let mut office = in_state(State::Active);
        office.disk[0] = damage;
        let found = office.disk[0].clone();
        for _ in 0..2 {
            office.restart();
            assert_eq!((office.state(), office.closed()), (State::Suspended, Some(DropReason::AgreementStateLost)));
            assert_eq!(office.disk[0], found, "what was found stays as it is until the operator acts");
        }
        assert!(office.obey(&resume(false, true)).is_err());
        assert_eq!(office.obey(&resume(true, false)), Ok(State::AwaitingAuthorisation));
        office.restart();
        assert_eq!(office.closed(), Some(DropReason::AgreementAwaitingAuthorisation), "the new book is kept");
        assert_eq!(office.obey(&resume(false, true)), Ok(State::Active));
        office.restart();
        assert_eq!(office.closed(), None);
    }
}

#[test]
fn a_lost_book_does_not_lose_the_time_that_its_witness_saw() {
    let mut office = in_state(State::Expired);
    office.disk[0] = None;
    office.wall = at("2026-06-01T12:00:00Z");
    office.restart();
    office.obey(&resume(true, true)).unwrap();
    assert_ne!(office.closed(), None, "the clock stands before what was seen");
}

#[test]
fn an_agreement_that_leaves_the_file_comes_back_as_it_was() {
    let mut office = in_state(State::Suspended);
    let subject = office.subject.clone();
    let mut other = subject.clone();
    other.record.name = "other".into();
    office.ledger.follow(vec![other], office.wall, &mut office.events);
    assert_eq!(office.ledger.closings(), [].into());
    office.ledger.follow(vec![subject], office.wall, &mut office.events);
    assert_eq!(office.closed(), Some(DropReason::AgreementSuspended));
}

#[test]
fn nobody_writes_novels_into_the_state() {
    let mut office = in_state(State::Active);
    for reason in ["", " ", "two\nlines", &"x".repeat(257)] {
        assert!(office.obey(&Wish::Suspend { reason: Some(reason.into()) }).unwrap_err().contains("one line"));
    }
    office.obey(&suspend()).unwrap();
    let many = Wish::Resume { evidence: vec![proof(); MAX_EVIDENCE + 1], authorisation: None };
    assert!(office.obey(&many).unwrap_err().contains("up to 64"));
    for _ in 0..500 {
        office.obey(&resume(true, true)).unwrap();
        office.obey(&suspend()).unwrap();
    }
    let length = office.ledger.book().encode().len();
    assert!(length < 32 << 10, "{length} bytes after two thousand transitions");
    assert_eq!(office.report().history.len(), 64);
}

#[test]
fn a_reminder_names_its_matter() {
    let mut office = Office::new(record(), "2028-02-25T00:00:00Z");
    let reminder =
        |event: &Event| matches!(event, Event::AgreementReminder { matter: AgreementMatter::Expiry, days: 5, .. });
    assert!(office.events.iter().any(reminder), "{:?}", office.events);
    office.told();
}

/// Something that may happen.
#[derive(Clone, Debug)]
enum Act {
    Wish(Wish),
    Clock(i64),
    Restart,
    File(u8, u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    let days = |range: std::ops::Range<i64>| {
        range.prop_map(|days| at("2026-06-01T12:00:00Z") + SignedDuration::from_hours(24 * days))
    };
    let wish = prop_oneof![
        any::<bool>().prop_map(|_| Wish::Activate { authorisation: None, trust_clock: false }),
        Just(Wish::Review { note: None }),
        (days(-400..900), any::<bool>()).prop_map(|(at, known)| Wish::Renew {
            date: known.then(|| Zone::UTC.day_of(at)),
            authorisation: known.then(|| "mail".to_owned()),
        }),
        Just(suspend()),
        (any::<bool>(), any::<bool>()).prop_map(|(evidence, authorised)| resume(evidence, authorised)),
        days(0..900).prop_map(|at| terminate(Some(Effective::On(Zone::UTC.day_of(at))))),
    ];
    prop_oneof![
        4 => wish.prop_map(Act::Wish),
        4 => (-1000_i64..1500).prop_map(Act::Clock),
        2 => Just(Act::Restart),
        1 => (1_u8..4, 0_u16..40).prop_map(|(years, grace)| Act::File(years, grace)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever happens in whatever order, with a clock that goes back and forth.
    #[test]
    fn nothing_passes_that_must_not(acts in prop::collection::vec(any_act(), 1..40), draft in any::<bool>()) {
        let activation = if draft { Activation::Operator } else { Activation::File };
        let mut office = Office::new(Record { activation, ..record() }, "2026-06-01T12:00:00Z");
        let mut highest = office.wall;
        for act in acts {
            let before = (office.state(), office.closed());
            let mut authorised = false;
            match &act {
                Act::Wish(wish) => {
                    authorised = matches!(wish, Wish::Resume { authorisation: Some(_), .. }) && office.obey(wish).is_ok();
                    if !matches!(wish, Wish::Resume { authorisation: Some(_), .. }) {
                        let _ = office.obey(wish);
                    }
                }
                Act::Clock(hours) => office.clock(office.wall + SignedDuration::from_hours(*hours)),
                Act::Restart => office.restart(),
                Act::File(years, grace) => office.reload(|subject| {
                    subject.record.years = Some(*years);
                    subject.record.grace_days = *grace;
                }),
            }
            highest = highest.max(office.wall);
            let (state, closed) = (office.state(), office.closed());
            let report = office.report();
            prop_assert!(closed.is_some() || state.passes());
            prop_assert_eq!(report.passes, closed.is_none());
            prop_assert!(before.0 != State::Terminated || state == State::Terminated);
            let suspended = [State::Suspended, State::Remediation, State::AwaitingAuthorisation];
            if suspended.contains(&before.0) && closed.is_none() {
                prop_assert!(authorised && !office.report().evidence.is_empty(), "{:?}", act);
            }
            if before.0 == State::Expired && closed.is_none() {
                prop_assert!(matches!(act, Act::Wish(Wish::Renew { .. })), "{:?}", act);
            }
            // By the latest time that anybody has seen, whatever the clock says now.
            let term = report.term.unwrap();
            let grace = SignedDuration::from_hours(24 * i64::from(term.grace_days));
            prop_assert!(closed.is_some() || highest < term.ends + grace);
            prop_assert!(closed.is_some() || report.last_day.is_none_or(|day| highest < Zone::UTC.end_of(day)));
            // What is kept reads back, and a restart by the same clock changes nothing.
            let kept = Book::decode(&office.ledger.book().encode());
            prop_assert_eq!(kept.as_ref(), Ok(office.ledger.book()));
        }
    }

    #[test]
    fn any_bytes_are_a_book_or_are_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Book::decode(&bytes).is_err());
        let _ = read(Some(&bytes), Some(&bytes));
    }
}
