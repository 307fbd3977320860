//! The gateway's folder: made private, and locked so that one gateway at a time works with it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// Held for as long as the gateway runs; the kernel lets go of it whatever way the process ends.
pub(super) struct StateDir {
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the folder if it is not there, and locks it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway runs with this state_dir"))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_is_refused_while_the_first_one_runs() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(&folder.path().join("state")).unwrap();
        assert!(StateDir::open(&folder.path().join("state")).is_err());
        drop(first);
        StateDir::open(&folder.path().join("state")).unwrap();
    }
}
