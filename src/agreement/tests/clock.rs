//! A clock that lies, and state that is lost.

use super::*;

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
