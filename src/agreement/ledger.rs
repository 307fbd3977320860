//! All agreements of a gateway, live: what the file says, what is kept, and what time it is. The owner has the clock and the
//! disk; it hands the time in, does what `steps` says, and asks what is closed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::book::Book;
use super::clock::{Sight, built};
use super::entry::{Case, Entry};
use super::keep::{self, Found, Step};
use super::record::Record;
use super::report::Report;
use super::significant::Baseline;
use super::state::State;
use super::wish::{Effective, Refusal, Wish};
use crate::event::{DropReason, Event};

/// The highest time seen is written down this often, if nothing else is.
const WRITE_TIME: SignedDuration = SignedDuration::from_mins(10);

/// An agreement of the file, and the parts of what is configured under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What is written down of it.
    pub record: Record,
    /// What is configured under it.
    pub baseline: Baseline,
}

/// All agreements.
#[derive(Clone, Debug)]
pub struct Ledger {
    book: Book,
    subjects: Vec<Subject>,
    sight: Sight,
    /// Why nothing is known of what was kept.
    lost: Option<String>,
    /// What stands on the disk does not hold.
    damaged: bool,
    /// The highest time that is on the disk.
    written: Timestamp,
    dirty: bool,
}

impl Ledger {
    /// Opens what was found on the disk, for the agreements of the file.
    #[must_use]
    pub fn open(found: Found, subjects: Vec<Subject>, wall: Timestamp, out: &mut Vec<Event>) -> Self {
        let (book, lost) = match found {
            Found::Nothing => (Book::default(), None),
            Found::Kept(book) => (book, None),
            Found::Lost { why, highest, serial } => (Book { serial, highest, ..Book::default() }, Some(why)),
        };
        let (sight, written, damaged) = (Sight::of(wall, book.highest), book.highest, lost.is_some());
        let mut ledger = Self { book, subjects, sight, lost, damaged, written, dirty: false };
        ledger.meet(out);
        ledger.pass_time(wall, out);
        ledger
    }

    /// Takes over the agreements of a file that was loaded again.
    pub fn follow(&mut self, subjects: Vec<Subject>, wall: Timestamp, out: &mut Vec<Event>) {
        self.subjects = subjects;
        self.look(wall);
        self.meet(out);
        self.pass_time(wall, out);
    }

    /// Makes an entry for each agreement that has none. One that has left the file keeps its own: it may come back.
    fn meet(&mut self, out: &mut Vec<Event>) {
        let now = self.sight.now();
        for subject in &self.subjects {
            if self.book.entries.contains_key(&subject.record.name) {
                continue;
            }
            let case = Case { record: &subject.record, baseline: &subject.baseline, now, by: "file" };
            let entry = match &self.lost {
                Some(why) => Entry::lost(&case, why),
                None => Entry::first(&case),
            };
            out.push(Event::AgreementState {
                agreement: subject.record.name.clone(),
                from: State::Draft.as_str(),
                to: entry.state.as_str(),
                cause: self.lost.clone().unwrap_or_else(|| "it is new in the file".to_owned()),
                by: "file".to_owned(),
            });
            self.book.entries.insert(subject.record.name.clone(), entry);
            self.dirty = true;
        }
    }

    /// What time brings: to be called once in a while, and at [`next_change`](Self::next_change).
    pub fn pass_time(&mut self, wall: Timestamp, out: &mut Vec<Event>) {
        self.look(wall);
        let now = self.sight.now();
        for Subject { record, baseline } in &self.subjects {
            let Some(entry) = self.book.entries.get_mut(&record.name) else { continue };
            let case = Case { record, baseline, now, by: "time" };
            let before = (entry.state, entry.told.clone());
            entry.pass_time(&case, out);
            if self.sight.is_sane() {
                entry.remind(&case, out);
            }
            self.dirty |= before != (entry.state, entry.told.clone());
        }
    }

    fn look(&mut self, wall: Timestamp) {
        self.sight = Sight::of(wall, self.book.highest);
        if let Sight::Sane(now) = self.sight {
            self.book.highest = self.book.highest.max(now);
        }
    }

    /// What the operator wants of one agreement. A refusal changes nothing.
    pub fn obey(
        &mut self,
        name: &str,
        wish: &Wish,
        by: &str,
        wall: Timestamp,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let Some(Subject { record, baseline }) = self.subjects.iter().find(|subject| subject.record.name == name)
        else {
            let names: Vec<_> = self.subjects.iter().map(|subject| subject.record.name.as_str()).collect();
            return Refusal::new(format!("no agreement is called `{name}`; there is {}", names.join(", ")));
        };
        let (record, baseline) = (record.clone(), baseline.clone());
        self.look(wall);
        wish.holds()?;
        if let Wish::Activate { trust_clock: true, authorisation } = wish {
            return self.trust_clock(&record, &baseline, authorisation.as_deref(), by, wall, out);
        }
        let Some(entry) = self.book.entries.get(name) else { return Refusal::new("nothing is known of it") };
        // Stopping needs no clock, and what is resumed stays closed until the clock is right.
        let timeless = matches!(
            wish,
            Wish::Suspend { .. } | Wish::Resume { .. } | Wish::Terminate { effective: Some(Effective::Now) }
        );
        if !self.sight.is_sane() && !timeless {
            return Refusal::new(
                "the clock stands before a time that was seen already: set it right; or, if that time was wrong, \
                 `agreement activate --trust-clock --authorisation REFERENCE`",
            );
        }
        let case = Case { record: &record, baseline: &baseline, now: self.sight.now(), by };
        let (mut entry, mut events) = (entry.clone(), Vec::new());
        entry.obey(wish, &case, &mut events)?;
        if self.sight.is_sane() {
            entry.remind(&case, &mut events);
        }
        self.book.entries.insert(name.to_owned(), entry);
        out.append(&mut events);
        // From here on the new book is what is known.
        self.lost = None;
        self.dirty = true;
        Ok(())
    }

    /// The highest time that was seen was wrong. What expired by it and had not by the clock is in force again.
    fn trust_clock(
        &mut self,
        record: &Record,
        baseline: &Baseline,
        authorisation: Option<&str>,
        by: &str,
        wall: Timestamp,
        out: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let Some(authorisation) = authorisation else {
            return Refusal::new("whoever says that the clock was wrong says by what: --authorisation REFERENCE");
        };
        if wall < built() {
            return Refusal::new("the clock stands before this program was built");
        }
        self.book.highest = wall;
        self.sight = Sight::Sane(wall);
        out.push(Event::AgreementClockTrusted {
            agreement: record.name.clone(),
            authorisation: authorisation.to_owned(),
            by: by.to_owned(),
        });
        if let Some(entry) = self.book.entries.get_mut(&record.name) {
            let case = Case { record, baseline, now: wall, by };
            entry.clock_was_wrong(&case, authorisation, out);
            entry.pass_time(&case, out);
        }
        self.lost = None;
        self.dirty = true;
        Ok(())
    }

    /// The agreements of the file under which nothing passes, and why.
    #[must_use]
    pub fn closings(&self) -> BTreeMap<String, DropReason> {
        let (now, sane) = (self.sight.now(), self.sight.is_sane());
        let closed = |Subject { record, .. }: &Subject| {
            // What is not known does not pass.
            let entry = self.book.entries.get(&record.name);
            let reason = entry.map_or(Some(DropReason::AgreementDraft), |entry| entry.closed(record, now, sane))?;
            Some((record.name.clone(), reason))
        };
        self.subjects.iter().filter_map(closed).collect()
    }

    /// The next moment at which time alone may close or open something.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        let now = self.sight.now();
        let entry = |subject: &Subject| self.book.entries.get(&subject.record.name)?.next_change(&subject.record, now);
        self.subjects.iter().filter_map(entry).min()
    }

    /// Every agreement of the file, or the one that is named.
    #[must_use]
    pub fn reports(&self, name: Option<&str>) -> Vec<Report> {
        let (now, sane) = (self.sight.now(), self.sight.is_sane());
        let wanted = self.subjects.iter().filter(|subject| name.is_none_or(|name| subject.record.name == name));
        let report = |Subject { record, baseline }: &Subject| {
            let case = Case { record, baseline, now, by: "" };
            Some(self.book.entries.get(&record.name)?.report(&case, sane))
        };
        wanted.filter_map(report).collect()
    }

    /// The state of each agreement of the file.
    #[must_use]
    pub fn states(&self) -> BTreeMap<&str, State> {
        let state = |subject: &Subject| self.book.entries.get(&subject.record.name).map(|entry| entry.state);
        let all = self.subjects.iter();
        all.filter_map(|subject| Some((subject.record.name.as_str(), state(subject)?))).collect()
    }

    /// Why nothing is known of what was kept.
    #[must_use]
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// What is to be written, if anything is. What was found damaged is only written over when the operator has acted: until
    /// then every start finds it so. `last`: the process ends, and what it knows of time is worth a write.
    #[must_use]
    pub fn to_write(&mut self, last: bool) -> Option<Vec<Step>> {
        let time = self.book.highest.duration_since(self.written);
        let time_counts = time >= WRITE_TIME || time < SignedDuration::ZERO || (last && !time.is_zero());
        if self.lost.is_some() || !(self.dirty || time_counts) {
            return None;
        }
        self.book.serial = self.book.serial.saturating_add(1);
        Some(keep::steps(&self.book, self.damaged))
    }

    /// What was to be written is on the disk.
    pub fn was_written(&mut self) {
        self.written = self.book.highest;
        self.dirty = false;
        self.damaged = false;
    }

    /// What is kept.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }
}
