//! `run` and `release`: the commands that hold the gateway and that take away what it left in the kernel.

use std::io::Write;
use std::path::PathBuf;

use super::exit::{Exit, Failure};
use crate::config;
use crate::crypto::self_test;

/// Runs the gateway until it is told to end.
pub(super) fn run(file: PathBuf, socket: Option<PathBuf>, keylog: Option<PathBuf>) -> Result<Exit, Failure> {
    if let Some(directory) = &keylog {
        tracing::warn!(
            directory = %directory.display(),
            "KEY LOG IS ON: the keys of every SA are written to disk; whoever reads them reads the traffic"
        );
    }
    self_test::run().map_err(|failed| Failure::SelfTest(failed.0.to_owned()))?;
    let loaded = config::load(&file)?;
    let _ = (loaded, socket);
    Err(Failure::Refused("this build has no packet path yet".to_owned()))
}

/// Removes routes and filters.
pub(super) fn release(out: &mut dyn Write) -> Result<Exit, Failure> {
    let _ = out;
    Err(Failure::Refused("this build has left nothing in the kernel".to_owned()))
}
