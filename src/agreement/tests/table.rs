//! Every wish in every state: the table of docs/AGREEMENT.md.

use super::*;

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
fn a_renewal_takes_back_a_notice_only_by_the_other_organisations_word() {
    let mut office = in_state(State::Terminating);
    let authorised = Wish::Renew { date: Some(date(2026, 6, 1)), authorisation: Some("CBP mail".into()) };
    assert_eq!(office.obey(&authorised), Ok(State::Active));
    assert_eq!(office.report().last_day, None);
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
