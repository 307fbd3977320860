//! The gateway's folder: made private, and locked so that one gateway at a time works with it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::secret::Secret;

/// Octets of a secret.
const SECRET_LEN: usize = 32;

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

impl StateDir {
    /// The secret in `name`, made now if it is not there: what must be the same after a restart, and on no other machine.
    pub(super) fn secret(path: &Path, name: &str, entropy: &mut dyn Entropy) -> io::Result<Secret> {
        let file = path.join(name);
        match File::open(&file) {
            Ok(open) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_LEN + 1));
                open.take(SECRET_LEN as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() == SECRET_LEN {
                    return Ok(Secret::copy_of(&bytes));
                }
                // Cut short when the disk was full, perhaps; another one costs a few peers a minute after the next start.
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let secret = Secret::copy_of(&entropy.array::<SECRET_LEN>());
        let draft = path.join(format!("{name}.new"));
        let mut open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        open.write_all(secret.expose())?;
        open.sync_all()?;
        std::fs::rename(&draft, &file)?;
        Ok(secret)
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

    #[test]
    fn a_secret_is_made_once_is_nobody_elses_to_read_and_a_broken_one_is_made_anew() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut entropy = crate::entropy::SeededEntropy::new(1);
        let mut secret = || StateDir::secret(folder.path(), "crash", &mut entropy).unwrap();
        let first = secret();
        assert_eq!(first.expose(), secret().expose());
        let file = folder.path().join("crash");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, b"short").unwrap();
        let second = secret();
        assert_ne!(first.expose(), second.expose());
        assert_eq!(second.expose(), secret().expose());
    }
}
