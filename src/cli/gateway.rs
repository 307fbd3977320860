//! `run` and `release`: the commands that hold the gateway and that take away what it left in the kernel.

use std::io::Write;
use std::path::PathBuf;

use super::exit::{Exit, Failure};
use crate::platform::guard::{self, GuardError};
use crate::platform::privileges;
use crate::runtime::{self, Options, RunError};

/// Runs the gateway until it is told to end.
pub(super) fn run(file: PathBuf, socket: Option<PathBuf>, keylog: Option<PathBuf>) -> Result<Exit, Failure> {
    runtime::run(Options { file, socket, keylog })?;
    Ok(Exit::Done)
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Config(error) => Self::Config(error),
            RunError::SelfTest(failed) => Self::SelfTest(failed.0.to_owned()),
            RunError::Privileges(missing) => Self::Privileges(missing.to_string()),
            RunError::Io { what, error } => Self::system(what, error),
        }
    }
}

/// Removes routes and filters.
pub(super) fn release(out: &mut dyn Write) -> Result<Exit, Failure> {
    privileges::check().map_err(|missing| Failure::Privileges(missing.to_string()))?;
    let any = guard::release().map_err(|error| match error {
        GuardError::Running => Failure::Refused(error.to_string()),
        other => Failure::system("release", std::io::Error::other(other)),
    })?;
    let word = if any {
        "released: routes and barrier are gone; what they protected is reachable in clear from now on"
    } else {
        "nothing to release: neither routes nor a barrier of ours stand"
    };
    writeln!(out, "{word}")?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::self_test::SelfTestFailed;

    #[test]
    fn each_reason_not_to_run_has_its_code() {
        let exit = |error: RunError| Failure::from(error).exit();
        assert_eq!(exit(RunError::SelfTest(SelfTestFailed("AES-256-GCM"))), Exit::SelfTest);
        let io = |kind: std::io::ErrorKind| RunError::Io { what: "sockets", error: kind.into() };
        assert_eq!(exit(io(std::io::ErrorKind::AddrInUse)), Exit::System);
        assert_eq!(exit(io(std::io::ErrorKind::PermissionDenied)), Exit::Privileges);
    }
}
