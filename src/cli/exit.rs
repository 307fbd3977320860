//! How a command ends. The numbers are stable; docs/EXIT-CODES.md lists them, and a test holds the two together.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; `policy explain`: allowed.
    Done = 0,
    /// The running gateway refused, or stands in the way of `release`; `policy explain`: no rule allows it.
    Refused = 1,
    /// The command line means nothing.
    Usage = 2,
    /// The configuration does not load.
    Config = 3,
    /// No gateway answers on the control socket.
    NotRunning = 4,
    /// Root or CAP_NET_ADMIN is missing, or the control socket belongs to another user.
    Privileges = 5,
    /// A known-answer test of the cryptography failed.
    SelfTest = 6,
    /// Done, but not all of it as asked: an agreement under which nothing passes, the demo's table, something that `import` could not carry over, a device that
    /// `peer-config` has too few words of.
    Differs = 7,
    /// `check --host` found something missing on this machine.
    Host = 8,
    /// The system failed a call that should work.
    System = 9,
}

impl Exit {
    /// Every code.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Refused,
        Self::Usage,
        Self::Config,
        Self::NotRunning,
        Self::Privileges,
        Self::SelfTest,
        Self::Differs,
        Self::Host,
        Self::System,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not be done.
#[derive(Debug)]
pub enum Failure {
    /// The configuration does not load.
    Config(ConfigError),
    /// The running gateway refused.
    Refused(String),
    /// The command line is well-formed and asks for something that does not exist.
    Usage(String),
    /// Nobody listens on the control socket.
    NotRunning {
        /// The control socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something that only root, or the gateway's own user, may do.
    Privileges(String),
    /// A known-answer test of the cryptography failed.
    SelfTest(String),
    /// The system failed a call.
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Standard output could not be written.
    Output(io::Error),
}

impl Failure {
    /// A call of the system failed; a missing privilege is told apart.
    pub fn system(what: impl Into<String>, error: io::Error) -> Self {
        let what = what.into();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Self::Privileges(format!("{what}: {error}"));
        }
        Self::System { what, error }
    }

    /// The code that it ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Refused(_) => Exit::Refused,
            Self::Usage(_) => Exit::Usage,
            Self::NotRunning { .. } => Exit::NotRunning,
            Self::Privileges(_) => Exit::Privileges,
            Self::SelfTest(_) => Exit::SelfTest,
            Self::System { .. } | Self::Output(_) => Exit::System,
        }
    }

    /// What is written to standard error, with its line end.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Config(error) => error.render(colour),
            other => format!("portcullis: {other}\n"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Refused(why) | Self::Usage(why) | Self::Privileges(why) => f.write_str(why),
            Self::NotRunning { socket, error } => write!(
                f,
                "no gateway answers on {}: {error}\n  start it with `portcullis run`, or name its socket with --socket",
                socket.display()
            ),
            Self::SelfTest(which) => write!(f, "the self-test of {which} failed: this build must not be used"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_the_documentation_says() {
        let documentation = include_str!("../../docs/EXIT-CODES.md");
        for exit in Exit::ALL {
            let row = format!("| {} | `{exit:?}` |", exit.code());
            assert!(documentation.contains(&row), "docs/EXIT-CODES.md has no row {row}");
        }
        let rows = documentation.lines().filter(|line| line.starts_with("| ") && line.contains('`')).count();
        assert_eq!(rows, Exit::ALL.len(), "docs/EXIT-CODES.md lists a code that does not exist");
    }

    #[test]
    fn a_missing_privilege_is_told_apart_from_a_failing_system() {
        let exit = |kind: io::ErrorKind| Failure::system("open", kind.into()).exit();
        assert_eq!(exit(io::ErrorKind::PermissionDenied), Exit::Privileges);
        assert_eq!(exit(io::ErrorKind::NotFound), Exit::System);
    }
}
