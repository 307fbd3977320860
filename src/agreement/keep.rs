//! How the book gets to the disk and back: steps of which each may be the last one, and what is made of what is found.
//!
//! Two files: the book, and a witness that knows the book's serial number and digest. A book that is missing, damaged or older than
//! its witness is lost, and what is lost stays closed. Neither of them is a gateway that has never kept anything: a first start.
//! The book is written first, so that a witness never speaks of a book that is not there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::book::{self, Book, MAX_LENGTH};
use super::clock::built;
use super::digest::Digest;

/// The book's name in the folder.
pub const STATE_FILE: &str = "agreements";
/// The witness's.
pub const WITNESS_FILE: &str = "agreements.witness";
/// Where a book that does not hold is put when the operator begins a new one.
const DAMAGED_FILE: &str = "agreements.damaged";
/// Under these names they are written before they take their place.
const STATE_DRAFT: &str = "agreements.new";
const WITNESS_DRAFT: &str = "agreements.witness.new";

/// One step of writing. The next one is taken once it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the file anew with these bytes, readable by its owner alone, and make sure that they are on the disk.
    Write {
        /// Its name in the folder.
        file: &'static str,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// Give the file another name, in place of whatever has that name. If `from` is not there, nothing is to be done.
    Rename {
        /// Its name.
        from: &'static str,
        /// Its new name.
        to: &'static str,
    },
    /// Make sure that the folder's names are on the disk.
    SyncFolder,
}

/// What the witness knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Witness {
    serial: u64,
    highest: Timestamp,
    book: Digest,
}

/// What was found on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever kept here.
    Nothing,
    /// The book as it was written last.
    Kept(Book),
    /// Something was kept, and it is not there or does not hold.
    Lost {
        /// What is wrong, in a sentence.
        why: String,
        /// What the witness knows of time and number.
        highest: Timestamp,
        /// The number that the next book must be above.
        serial: u64,
    },
}

/// How a book is written. `over_damage`: what stands there now does not hold, and is put aside.
#[must_use]
pub fn steps(book: &Book, over_damage: bool) -> Vec<Step> {
    let bytes = book.encode();
    let witness = Witness { serial: book.serial, highest: book.highest, book: Digest::of(&bytes) };
    let mut steps = Vec::new();
    if over_damage {
        steps.push(Step::Rename { from: STATE_FILE, to: DAMAGED_FILE });
    }
    steps.extend([
        Step::Write { file: STATE_DRAFT, bytes },
        Step::Rename { from: STATE_DRAFT, to: STATE_FILE },
        Step::SyncFolder,
        Step::Write { file: WITNESS_DRAFT, bytes: book::seal("witness", &witness) },
        Step::Rename { from: WITNESS_DRAFT, to: WITNESS_FILE },
        Step::SyncFolder,
    ]);
    steps
}

/// What the two files say. A file that cannot be read is one that does not hold: `Some(&[])`.
#[must_use]
pub fn read(state: Option<&[u8]>, witness: Option<&[u8]>) -> Found {
    let known = witness.map(|bytes| book::open::<Witness>("witness", bytes));
    let (serial, highest) = match &known {
        Some(Ok(known)) => (known.serial, known.highest),
        _ => (0, built()),
    };
    let lost = |why: String| Found::Lost { why, highest, serial };
    let Some(bytes) = state else {
        return match known {
            None => Found::Nothing,
            Some(_) => {
                lost(format!("the file `{STATE_FILE}` is missing, and `{WITNESS_FILE}` knows that there was one"))
            }
        };
    };
    if bytes.len() > MAX_LENGTH {
        return lost(format!("the file `{STATE_FILE}` is too long"));
    }
    let book = match Book::decode(bytes) {
        Ok(book) => book,
        Err(damage) => return lost(format!("the file `{STATE_FILE}` does not hold: {damage}")),
    };
    match known {
        Some(Ok(known)) if book.serial < known.serial => lost(format!(
            "the file `{STATE_FILE}` is older than `{WITNESS_FILE}`: number {} after {}",
            book.serial, known.serial
        )),
        Some(Ok(known)) if book.serial == known.serial && Digest::of(bytes) != known.book => {
            lost(format!("the file `{STATE_FILE}` is not the one that `{WITNESS_FILE}` knows"))
        }
        // A witness that is older was about to be written when the process ended; one that is gone or damaged takes nothing away
        // from a book that holds.
        _ => Found::Kept(book),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Disk = BTreeMap<&'static str, Vec<u8>>;

    fn book(serial: u64) -> Book {
        Book { serial, ..Book::default() }
    }

    fn found(disk: &Disk) -> Found {
        read(disk.get(STATE_FILE).map(Vec::as_slice), disk.get(WITNESS_FILE).map(Vec::as_slice))
    }

    /// Every disk that a process may leave that ends in the midst of this step, or before it.
    fn torn(disk: &Disk, step: &Step) -> Vec<Disk> {
        let mut left = vec![disk.clone()];
        if let Step::Write { file, bytes } = step {
            for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                let mut torn = disk.clone();
                torn.insert(file, bytes[..length].to_vec());
                left.push(torn);
            }
        }
        left
    }

    fn take(disk: &mut Disk, step: &Step) {
        match step {
            Step::Write { file, bytes } => drop(disk.insert(file, bytes.clone())),
            Step::Rename { from, to } => {
                if let Some(bytes) = disk.remove(from) {
                    disk.insert(to, bytes);
                }
            }
            Step::SyncFolder => {}
        }
    }

    fn take_all(disk: &mut Disk, book: &Book) {
        for step in steps(book, false) {
            take(disk, &step);
        }
    }

    fn kept(books: &[u64]) -> Disk {
        let mut disk = Disk::new();
        for serial in books {
            take_all(&mut disk, &book(*serial));
        }
        disk
    }

    #[test]
    fn a_process_that_is_killed_while_it_writes_leaves_the_old_book_or_the_new_one() {
        for (before, old) in
            [(Disk::new(), Found::Nothing), (kept(&[1]), Found::Kept(book(1))), (kept(&[6, 7]), Found::Kept(book(7)))]
        {
            let next = match &old {
                Found::Kept(book) => book.serial + 1,
                _ => 1,
            };
            let new = Found::Kept(book(next));
            let mut disk = before;
            let mut written = false;
            for step in steps(&book(next), false) {
                for left in torn(&disk, &step) {
                    assert_eq!(found(&left), if written { new.clone() } else { old.clone() }, "{step:?}");
                    // The next process writes over what is left.
                    let mut after = left;
                    take_all(&mut after, &book(next + 1));
                    assert_eq!(found(&after), Found::Kept(book(next + 1)));
                }
                take(&mut disk, &step);
                written |= matches!(step, Step::Rename { to: STATE_FILE, .. });
            }
            assert_eq!(found(&disk), new);
        }
    }

    #[test]
    fn a_new_book_over_a_damaged_one_is_there_as_a_whole_or_all_stays_lost() {
        let mut disk = kept(&[3]);
        disk.insert(STATE_FILE, b"rubbish".to_vec());
        let mut written = false;
        for step in steps(&book(4), true) {
            for left in torn(&disk, &step) {
                assert_eq!(matches!(found(&left), Found::Lost { serial: 3, .. }), !written, "{step:?}");
            }
            take(&mut disk, &step);
            written |= matches!(step, Step::Rename { to: STATE_FILE, .. });
        }
        assert_eq!((found(&disk), &disk["agreements.damaged"]), (Found::Kept(book(4)), &b"rubbish".to_vec()));
    }

    fn why(disk: &Disk) -> String {
        match found(disk) {
            Found::Lost { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_lost_is_noticed() {
        let whole = kept(&[1, 2]);
        let change = |change: &dyn Fn(&mut Disk)| {
            let mut disk = whole.clone();
            change(&mut disk);
            disk
        };
        assert!(why(&change(&|disk| drop(disk.remove(STATE_FILE)))).contains("is missing"));
        assert!(why(&change(&|disk| drop(disk.insert(STATE_FILE, Vec::new())))).contains("not a file of this kind"));
        let earlier = kept(&[1])[STATE_FILE].clone();
        assert!(why(&change(&|disk| drop(disk.insert(STATE_FILE, earlier.clone())))).contains("number 1 after 2"));
        let mut other = book(2);
        other.highest = "2030-01-01T00:00:00Z".parse().unwrap();
        assert!(why(&change(&|disk| drop(disk.insert(STATE_FILE, other.encode())))).contains("is not the one"));
        // A damaged witness still says that there was something.
        let blank = change(&|disk| {
            disk.insert(WITNESS_FILE, Vec::new());
            disk.remove(STATE_FILE);
        });
        assert!(why(&blank).contains("is missing"));
        // Every flipped bit, and every length but the true one.
        let bytes = &whole[STATE_FILE];
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(matches!(read(Some(&flipped), None), Found::Lost { .. }), "byte {at}");
            assert!(matches!(read(Some(&bytes[..at]), None), Found::Lost { .. }), "{at} bytes");
        }
    }

    #[test]
    fn a_book_that_holds_needs_no_witness() {
        let mut disk = kept(&[1, 2]);
        disk.remove(WITNESS_FILE);
        assert_eq!(found(&disk), Found::Kept(book(2)));
        disk.insert(WITNESS_FILE, b"rubbish".to_vec());
        assert_eq!(found(&disk), Found::Kept(book(2)));
    }

    #[test]
    fn a_book_of_a_later_version_is_not_taken_for_an_empty_one() {
        let text = String::from_utf8(book(1).encode()).unwrap();
        let later = text.replacen("agreements 1 ", "agreements 2 ", 1);
        assert_eq!(Book::decode(later.as_bytes()), Err(book::Damage::Later(2)));
        assert!(matches!(read(Some(later.as_bytes()), None), Found::Lost { why, .. } if why.contains("later version")));
    }
}
