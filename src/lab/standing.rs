//! What stands while a demo or a bench runs, and is taken down however it ends: the private folder and the processes.
//!
//! Namespaces need no care: they end with the process. Processes die with it too; here they are only waited for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, mkdtemp};

/// Exit code after SIGINT, as shells know it.
const INTERRUPTED: i32 = 130;

/// The folder and the processes of one run.
pub(super) struct Standing {
    folder: PathBuf,
    children: Arc<Mutex<Vec<u32>>>,
}

impl Standing {
    /// Makes the folder, with `name` in its own, and takes care that SIGINT, SIGTERM and SIGHUP take everything down. Call it before threads start:
    /// they inherit that these signals are not for them.
    pub(super) fn begin(name: &str) -> io::Result<Self> {
        let folder = mkdtemp(&std::env::temp_dir().join(format!("portcullis-{name}-XXXXXX")))?;
        let children = Arc::new(Mutex::new(Vec::new()));
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let (kept, dying) = (folder.clone(), Arc::clone(&children));
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if signals.wait().is_ok() {
                take_down(&kept, &dying);
                std::process::exit(INTERRUPTED);
            }
        })?;
        Ok(Self { folder, children })
    }

    /// The folder, which only this user can enter.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A process that must not stay behind.
    pub(super) fn watch(&self, pid: u32) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    }

    /// A process that has ended: another may have its number now.
    pub(super) fn forget(&self, pid: u32) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).retain(|child| *child != pid);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn take_down(folder: &Path, children: &Mutex<Vec<u32>>) {
    let children = children.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
    remove(folder);
}

/// Removes the folder. A dying gateway may still be writing into it; the folder goes when it has gone.
fn remove(folder: &Path) {
    let mut kept = Ok(());
    for _ in 0..50 {
        kept = fs::remove_dir_all(folder);
        if kept.is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Err(why) = kept {
        eprintln!("{} stays behind: {why}", folder.display());
    }
}
