//! What must hold of an agreement whatever its files say and whatever happens to it. The fuzz target asks for nothing more.

use jiff::{SignedDuration, Span, Timestamp};

use super::book::{Book, seal_bytes};
use super::digest::Digest;
use super::keep::{Found, Step, read};
use super::ledger::{Ledger, Subject};
use super::record::{Activation, Record};
use super::significant::{Baseline, Part};
use super::state::State;
use super::term::Zone;
use super::wish::{Effective, Evidence, Wish};
use crate::event::DropReason;

const NAME: &str = "cbp";
/// Things that happen in one input.
const MOST_STEPS: usize = 64;
/// 2026-06-01, when all of them begin.
const START: i64 = 1_780_272_000;

/// The first byte says what the others are: the two files as they lie on the disk, the body of a book whose head is right, or
/// things that happen, four bytes each.
pub fn fuzz(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        0 => {
            let at = rest.first().map_or(0, |at| usize::from(*at).saturating_mul(16).min(rest.len()));
            let (state, witness) = rest.split_at(at);
            found(&read(Some(state), Some(witness)));
        }
        1 => found(&read(Some(&seal_bytes("agreements", rest)), None)),
        _ => live(rest),
    }
}

fn subject(years: u8) -> Subject {
    let record = Record {
        name: NAME.to_owned(),
        lab: false,
        document: None,
        document_digest: None,
        organisation: None,
        contacts: [].into(),
        classification: None,
        basis: None,
        date: Some(jiff::civil::date(2025, 3, 1)),
        years: Some(years),
        zone: Zone::UTC,
        grace_days: u16::from(years),
        reviewed: None,
        termination: None,
        activation: Activation::File,
    };
    Subject { record, baseline: Baseline::of([(Part::Port, years.to_string())]) }
}

fn start() -> Timestamp {
    Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What was found is a book that reads back, or is closed.
fn found(found: &Found) {
    if let Found::Kept(book) = found {
        assert_eq!(Book::decode(&book.encode()).as_ref(), Ok(book), "a book that does not read back");
    }
    let mut events = Vec::new();
    let mut ledger = Ledger::open(found.clone(), vec![subject(3)], start(), &mut events);
    if matches!(found, Found::Lost { .. }) {
        assert_eq!(ledger.closings().get(NAME), Some(&DropReason::AgreementStateLost), "lost, and not closed");
        assert!(ledger.to_write(true).is_none(), "what was lost is written over");
    }
    for days in [1, 400, 4000] {
        ledger.pass_time(start() + SignedDuration::from_hours(24 * days), &mut events);
        assert_eq!(ledger.reports(None).len(), 1);
    }
    assert!(ledger.closings().contains_key(NAME) || matches!(found, Found::Kept(_)), "it never ends");
}

/// One agreement, a clock, and a disk.
fn live(mut rest: &[u8]) {
    let (mut wall, mut years) = (start(), 3);
    let mut highest = wall;
    let mut events = Vec::new();
    let mut ledger = Ledger::open(Found::Nothing, vec![subject(years)], wall, &mut events);
    let mut disk: [Option<Vec<u8>>; 2] = [None, None];
    let mut shown = false;
    for _ in 0..MOST_STEPS {
        let Some((&[act, a, b, c], more)) = rest.split_first_chunk() else { break };
        rest = more;
        let before = state(&ledger);
        let wish = wish(act, wall, [a, b, c]);
        match (&wish, act % 16) {
            (Some(wish), _) => {
                let granted = ledger.obey(NAME, wish, "fuzz", wall, &mut events).is_ok();
                if let Wish::Resume { evidence, .. } = wish {
                    shown |= granted && !evidence.is_empty();
                }
                shown &= !matches!(wish, Wish::Suspend { .. }) || !granted;
            }
            (None, 12) => {
                let [state, witness] = &disk;
                let found = read(state.as_deref(), witness.as_deref());
                assert!(!matches!(found, Found::Lost { .. }), "what was written is lost");
                ledger = Ledger::open(found, vec![subject(years)], wall, &mut events);
            }
            (None, 13) => {
                years = a % 5;
                ledger.follow(vec![subject(years)], wall, &mut events);
            }
            _ => {
                let hours = i64::from(i16::from_be_bytes([a, b]));
                wall = wall.checked_add(SignedDuration::from_hours(hours)).unwrap_or(wall);
                ledger.pass_time(wall, &mut events);
            }
        }
        save(&mut ledger, &mut disk);
        highest = highest.max(wall);
        let (now, closed) = (state(&ledger), ledger.closings().contains_key(NAME));
        let report = ledger.reports(None).pop().expect("the agreement of the file");
        assert_eq!(report.passes, !closed);
        if !closed {
            assert!(now.passes(), "{now} passes traffic");
            let held = [State::Suspended, State::Remediation, State::AwaitingAuthorisation].contains(&before);
            let authorised = matches!(wish, Some(Wish::Resume { authorisation: Some(_), .. }));
            assert!(!held || (authorised && shown), "it came out of {before} by {wish:?}");
            assert!(before != State::Expired || matches!(wish, Some(Wish::Renew { .. })), "revived by {wish:?}");
            let term = report.term.expect("it has a term");
            let grace = SignedDuration::from_hours(24 * i64::from(term.grace_days));
            assert!(highest < term.ends + grace, "it passes after its end");
        }
        assert!(before != State::Terminated || now == State::Terminated, "it came back from the dead");
        assert_eq!(Book::decode(&ledger.book().encode()).as_ref(), Ok(ledger.book()));
    }
}

fn state(ledger: &Ledger) -> State {
    ledger.reports(None).pop().expect("the agreement of the file").state
}

fn save(ledger: &mut Ledger, disk: &mut [Option<Vec<u8>>; 2]) {
    for step in ledger.to_write(false).into_iter().flatten() {
        if let Step::Write { file, bytes } = step {
            disk[usize::from(file.contains("witness"))] = Some(bytes);
        }
    }
    ledger.was_written();
}

fn wish(act: u8, wall: Timestamp, [a, b, c]: [u8; 3]) -> Option<Wish> {
    let text = (c & 1 == 1).then(|| String::from_utf8_lossy(&[a, b]).into_owned());
    let day = || {
        let ahead = Span::new().days(i64::from(i16::from_be_bytes([a, b])) % 2000);
        Zone::UTC.day_of(wall).saturating_add(ahead)
    };
    let evidence = |count: u8| {
        let one = Evidence { file: "f".into(), size: 1, digest: Digest::of(&[a]) };
        vec![one; usize::from(count)]
    };
    Some(match act % 16 {
        0 => Wish::Activate { authorisation: text, trust_clock: false },
        1 => Wish::Review { note: text },
        2 => Wish::Renew { date: None, authorisation: text },
        3 => Wish::Renew { date: Some(day()), authorisation: text },
        4 | 5 => Wish::Suspend { reason: text },
        6 => Wish::Resume { evidence: Vec::new(), authorisation: text },
        7 | 8 => Wish::Resume { evidence: evidence(b), authorisation: text },
        9 => Wish::Terminate { effective: None },
        10 => Wish::Terminate { effective: Some(Effective::On(day())) },
        11 if a == 255 => Wish::Terminate { effective: Some(Effective::Now) },
        _ => return None,
    })
}
