//! What must hold of an agreement whatever its files say and whatever happens to it. The fuzz target asks for nothing more.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Span, Timestamp};

use super::book::{Book, seal_bytes};
use super::digest::Digest;
use super::keep::{Found, Step, read};
use super::ledger::{Ledger, Subject};
use super::record::{Activation, Basis, Classification, Record, Role};
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

/// The first byte says what the others are: the two files as they lie on the disk, the body of a book whose head is right, a
/// witness alone, both bodies, or things that happen to an agreement (to one that begins as a draft), four bytes each.
pub fn fuzz(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let cut = |at: usize| rest.split_at(at.min(rest.len()));
    match kind {
        0 => {
            let (state, witness) = cut(rest.first().map_or(0, |at| usize::from(*at).saturating_mul(16)));
            found(&read(Some(state), Some(witness)));
        }
        1 => found(&read(Some(&seal_bytes("agreements", rest)), None)),
        4 => found(&read(None, Some(&seal_bytes("witness", rest)))),
        5 => {
            let Some(([high, low], rest)) = rest.split_first_chunk() else { return };
            let (book, witness) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
            found(&read(Some(&seal_bytes("agreements", book)), Some(&seal_bytes("witness", witness))));
        }
        kind => live(if kind & 1 == 0 { Activation::File } else { Activation::Operator }, rest),
    }
}

/// What a file might say, in three bytes.
type File = [u8; 3];
/// A term of three years from 2025-03-01, and nothing else.
const PLAIN: File = [3, 0, 0];

fn subject(activation: Activation, [a, b, c]: File) -> Subject {
    let said = |bit: u8| (b & bit != 0).then(|| "said".to_owned());
    let zone = ["UTC", "-05:00", "+05:30", "+00:19:32"][usize::from(c >> 6)];
    let years = a & 7;
    let day = |days: u8| jiff::civil::date(2025, 3, 1).saturating_add(Span::new().days(16 * i64::from(days)));
    let record = Record {
        name: NAME.to_owned(),
        lab: a & 0x80 != 0,
        document: said(1),
        document_digest: said(2).map(|text| Digest::of(text.as_bytes())),
        organisation: said(4),
        contacts: said(8).map_or_else(BTreeMap::new, |text| Role::ALL.map(|role| (role, text.clone())).into()),
        classification: said(16).map(|_| Classification::ALL[usize::from(b >> 5) % 3]),
        basis: [None, Some(Basis::Acknowledgement), Some(Basis::LatestSignature)][usize::from(a >> 4 & 3) % 3],
        date: (a & 8 == 0).then(|| day(c & 0x3f)),
        years: (years < 5).then_some(years),
        zone: zone.parse().expect("a zone"),
        grace_days: u16::from(years),
        reviewed: (b & 0x40 != 0).then(|| day(b)),
        termination: (b & 0x80 != 0).then(|| day(b)),
        activation,
    };
    let facts = [(Part::Port, a.to_string()), (Part::Contact, b.to_string())];
    Subject { record, baseline: Baseline::of(facts) }
}

fn start() -> Timestamp {
    Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What was found is a book that reads back, or is closed until the operator has gone the whole way.
fn found(found: &Found) {
    if let Found::Kept(book) = found {
        assert_eq!(Book::decode(&book.encode()).as_ref(), Ok(book), "a book that does not read back");
    }
    let mut events = Vec::new();
    let mut ledger = Ledger::open(found.clone(), vec![subject(Activation::File, PLAIN)], start(), &mut events);
    assert_eq!(ledger.lost().is_some(), matches!(found, Found::Lost { .. }));
    if ledger.lost().is_some() {
        assert_eq!(ledger.closings().get(NAME), Some(&DropReason::AgreementStateLost), "lost, and not closed");
        assert!(ledger.to_write(true).is_none(), "what was lost is written over");
    }
    for act in 0..16 {
        let Some(wish) = wish(act, start(), [65, 32, 1]) else { continue };
        let mut ledger = ledger.clone();
        let granted = ledger.obey(NAME, &wish, "fuzz", start(), &mut events).is_ok();
        let steps = ledger.to_write(false);
        if matches!(found, Found::Lost { .. }) {
            assert_eq!(steps.is_some(), granted, "a refusal is written, or what was granted is not");
            let aside = |steps: &[Step]| matches!(steps, [Step::Rename { .. }, ..]);
            assert!(steps.is_none_or(|steps| aside(&steps)), "what does not hold is not put aside");
        }
        assert_eq!(Book::decode(&ledger.book().encode()).as_ref(), Ok(ledger.book()));
    }
    for days in [1, 400, 4000] {
        ledger.pass_time(start() + SignedDuration::from_hours(24 * days), &mut events);
        assert_eq!(ledger.reports(None).len(), 1);
    }
    assert!(ledger.closings().contains_key(NAME) || matches!(found, Found::Kept(_)), "it never ends");
}

/// One agreement, a clock, and a disk.
fn live(activation: Activation, mut rest: &[u8]) {
    let (mut wall, mut file) = (start(), PLAIN);
    let mut highest = wall;
    let mut events = Vec::new();
    let mut ledger = Ledger::open(Found::Nothing, vec![subject(activation, file)], wall, &mut events);
    let mut disk: [Option<Vec<u8>>; 2] = [None, None];
    let mut shown = false;
    for _ in 0..MOST_STEPS {
        let Some((&[act, a, b, c], more)) = rest.split_first_chunk() else { break };
        rest = more;
        let before = state(&ledger);
        let wish = wish(act, wall, [a, b, c]);
        match (&wish, act % 16) {
            (Some(wish), _) => {
                let name = if act & 0x80 == 0 { NAME } else { "nobody" };
                let granted = ledger.obey(name, wish, "fuzz", wall, &mut events).is_ok();
                assert!(name == NAME || !granted, "granted to nobody");
                if let Wish::Resume { evidence, .. } = wish {
                    shown |= granted && !evidence.is_empty();
                }
                shown &= !matches!(wish, Wish::Suspend { .. }) || !granted;
                if granted && matches!(wish, Wish::Activate { trust_clock: true, .. }) {
                    highest = wall;
                }
            }
            (None, 12) => {
                let [state, witness] = &disk;
                let found = read(state.as_deref(), witness.as_deref());
                assert!(!matches!(found, Found::Lost { .. }), "what was written is lost");
                ledger = Ledger::open(found, vec![subject(activation, file)], wall, &mut events);
            }
            (None, 13) => {
                file = [a, b, c];
                ledger.follow(vec![subject(activation, file)], wall, &mut events);
            }
            _ => {
                let hours = i64::from(i16::from_be_bytes([a, b]));
                wall = wall.checked_add(SignedDuration::from_hours(hours)).unwrap_or(wall);
                ledger.pass_time(wall, &mut events);
            }
        }
        save(&mut ledger, &mut disk);
        highest = highest.max(wall);
        holds(&ledger, before, wish.as_ref(), shown, highest);
    }
}

/// What must be true of it now, `before` and this wish after.
fn holds(ledger: &Ledger, before: State, wish: Option<&Wish>, shown: bool, highest: Timestamp) {
    let (now, closings) = (state(ledger), ledger.closings());
    let report = ledger.reports(Some(NAME)).pop().expect("the agreement of the file");
    let passes = !closings.contains_key(NAME);
    assert_eq!((report.passes, ledger.states().get(NAME)), (passes, Some(&now)));
    if passes {
        assert!(now.passes(), "{now} passes traffic");
        let held = [State::Suspended, State::Remediation, State::AwaitingAuthorisation].contains(&before);
        let authorised = matches!(wish, Some(Wish::Resume { authorisation: Some(_), .. }));
        assert!(!held || (authorised && shown), "it came out of {before} by {wish:?}");
        let revives = matches!(wish, Some(Wish::Renew { .. } | Wish::Activate { trust_clock: true, .. }));
        assert!(before != State::Expired || revives, "revived by {wish:?}");
        let activates = matches!(wish, Some(Wish::Activate { trust_clock: false, .. }));
        assert!(before != State::Draft || activates, "in force by {wish:?}");
        if let Some(term) = report.term {
            let grace = SignedDuration::from_hours(24 * i64::from(term.grace_days));
            assert!(highest < term.ends + grace, "it passes after its end");
        }
    }
    assert!(before != State::Terminated || now == State::Terminated, "it came back from the dead");
    assert_eq!(Book::decode(&ledger.book().encode()).as_ref(), Ok(ledger.book()));
    if report.clock_sane {
        // Until then nothing changes by itself.
        let next = ledger.next_change().unwrap_or(Timestamp::MAX);
        let mut later = ledger.clone();
        later.pass_time(next - SignedDuration::from_secs(1), &mut Vec::new());
        assert_eq!((later.closings(), state(&later)), (closings, now), "before {next}");
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
    let text = (c & 1 == 1).then(|| String::from_utf8_lossy(&[a, b]).repeat(if c == 255 { 200 } else { 1 }));
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
        14 => Wish::Activate { authorisation: text, trust_clock: true },
        _ => return None,
    })
}
