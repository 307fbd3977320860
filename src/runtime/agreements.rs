//! The agreements' states: read from the disk, written to it, and asked what they close. What they mean is `agreement`'s.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::state_dir::StateDir;
use crate::agreement::{self, Found, Ledger, Refusal, Report, STATE_FILE, Step, Subject, WITNESS_FILE, Wish};
use crate::config::Loaded;
use crate::event::{DropReason, Event};
use crate::ids::TunnelId;
use crate::platform::clock;

/// No file of ours is longer; one that is does not hold.
const MAX_FILE: u64 = 128 << 20;

/// The live agreements, and where they are kept.
pub(super) struct Agreements {
    pub(super) ledger: Ledger,
    folder: PathBuf,
    /// What is closed in the data path and in IKE, by agreement.
    pub(super) closed: BTreeMap<String, DropReason>,
    /// When time alone may close or open something next.
    change: Option<Timestamp>,
    /// The disk refused the last time: told once.
    refused: bool,
}

impl Agreements {
    /// Opens what is kept. What has to be on the disk before the first packet passes is there afterwards.
    pub(super) fn open(folder: &Path, subjects: Vec<Subject>, out: &mut Vec<Event>) -> io::Result<Self> {
        let found = find(folder);
        let first = found == Found::Nothing;
        let ledger = Ledger::open(found, subjects, clock::wall(), out);
        if let Some(why) = ledger.lost() {
            tracing::error!("STATE OF THE AGREEMENTS LOST: {why}; nothing passes until `portcullis agreement resume`");
        }
        let closed = ledger.closings();
        let mut agreements = Self { ledger, folder: folder.to_owned(), closed, change: None, refused: false };
        agreements.look_ahead();
        let written = agreements.write(false);
        // A gateway that cannot keep what it is told must not begin; one that could once goes on by what it knows.
        if first { written.map(|()| agreements) } else { Ok(agreements) }
    }

    /// Writes what is to be written. `last`: the process ends.
    pub(super) fn write(&mut self, last: bool) -> io::Result<()> {
        let Self { ledger, folder, refused, .. } = self;
        let written = write(folder, ledger, last);
        match &written {
            Err(error) if !*refused => tracing::error!(%error, "the state of the agreements cannot be written"),
            _ => {}
        }
        *refused = written.is_err();
        written
    }

    /// Finds out when time alone may close or open something: to be called after every change.
    pub(super) fn look_ahead(&mut self) {
        self.change = self.ledger.next_change();
    }

    /// How long until then; a day at most.
    pub(super) fn until_change(&self) -> Duration {
        const DAY: Duration = Duration::from_hours(24);
        let left = self.change.map(|at| at.duration_since(clock::wall()));
        // Once a second it is looked at anyway: a moment that has just passed is no reason to turn in circles.
        left.map_or(DAY, |left| Duration::try_from(left).unwrap_or(DAY).min(DAY))
    }
}

/// The tunnels that are closed.
pub(super) fn tunnels(loaded: &Loaded, closed: &BTreeMap<String, DropReason>) -> BTreeMap<TunnelId, DropReason> {
    loaded.tunnels.iter().filter_map(|info| Some((info.id, *closed.get(&info.agreement)?))).collect()
}

/// Writes what is to be written of a ledger.
pub(super) fn write(folder: &Path, ledger: &mut Ledger, last: bool) -> io::Result<()> {
    let Some(steps) = ledger.to_write(last) else { return Ok(()) };
    take(folder, &steps)?;
    ledger.was_written();
    Ok(())
}

/// What the folder holds. A file that is there and cannot be read is one that does not hold.
fn find(folder: &Path) -> Found {
    let file = |name: &str| match File::open(folder.join(name)) {
        Ok(open) => {
            let mut bytes = Vec::new();
            match open.take(MAX_FILE).read_to_end(&mut bytes) {
                Ok(_) => Some(bytes),
                Err(_) => Some(Vec::new()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(Vec::new()),
    };
    agreement::read(file(STATE_FILE).as_deref(), file(WITNESS_FILE).as_deref())
}

/// Does what `agreement` says is to be done, step by step.
fn take(folder: &Path, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Write { file, bytes } => {
                let path = folder.join(file);
                let mut open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
                open.write_all(bytes)?;
                open.sync_all()?;
            }
            Step::Rename { from, to } => match fs::rename(folder.join(from), folder.join(to)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            },
            Step::SyncFolder => File::open(folder)?.sync_all()?,
        }
    }
    Ok(())
}

/// Why the agreements of a gateway that does not run could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The folder does not let us.
    #[error("state_dir {}: {error}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The wish is not granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The agreements of a gateway that does not run: as its next start will find them. Nothing is written.
pub fn offline_reports(loaded: &Loaded, now: Timestamp) -> Result<Vec<Report>, OfflineError> {
    let folder = &loaded.gateway.state_dir;
    // Whether there is nothing, or nothing that we may see, is a difference.
    match fs::read_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OfflineError::Folder { folder: folder.clone(), error });
        }
        _ => {}
    }
    Ok(Ledger::open(find(folder), loaded.subjects(), now, &mut Vec::new()).reports(None))
}

/// Does something to an agreement of a gateway that does not run, and gives what became of it. A gateway that runs holds the
/// lock, and is told so.
pub fn offline_wish(
    loaded: &Loaded,
    name: &str,
    wish: &Wish,
    by: &str,
    now: Timestamp,
) -> Result<(Vec<Report>, Vec<Event>), OfflineError> {
    let folder = &loaded.gateway.state_dir;
    let refused = |error| OfflineError::Folder { folder: folder.clone(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
    let _lock = StateDir::open(folder).map_err(refused)?;
    let mut events = Vec::new();
    let mut ledger = Ledger::open(find(folder), loaded.subjects(), now, &mut events);
    ledger.obey(name, wish, by, now, &mut events)?;
    write(folder, &mut ledger, true).map_err(refused)?;
    Ok((ledger.reports(Some(name)), events))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::agreement::Book;

    #[test]
    fn what_was_written_is_found_again_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()), Found::Nothing);
        let book = Book::default();
        take(folder.path(), &agreement::steps(&book, true)).unwrap();
        assert_eq!(find(folder.path()), Found::Kept(book));
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [STATE_FILE, WITNESS_FILE]);
        for name in names {
            let mode = fs::metadata(folder.path().join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_lost_and_not_a_first_start() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the place of the file opens and does not read, for root too.
        fs::create_dir(folder.path().join(STATE_FILE)).unwrap();
        assert!(matches!(find(folder.path()), Found::Lost { .. }));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WITNESS_FILE), b"").unwrap();
        assert!(matches!(find(folder.path()), Found::Lost { .. }));
    }
}
