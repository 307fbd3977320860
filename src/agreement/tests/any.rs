//! Anything may happen in any order.

use proptest::prelude::*;

use super::*;

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
