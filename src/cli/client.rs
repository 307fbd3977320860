//! The other end of the control socket: one JSON object a line (`runtime::protocol`).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit::Failure;
use crate::runtime::protocol::{Answer, Request};

/// Where a gateway listens if its configuration does not say otherwise.
const DEFAULT_SOCKET: &str = "/run/portcullis/control.sock";
/// A gateway that takes longer than this for an answer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is longer than this.
const MAX_LINE: u64 = 64 << 20;

/// A connection to the running gateway.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Client {
    /// Connects.
    pub(super) fn connect(socket: Option<PathBuf>) -> Result<Self, Failure> {
        let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        let stream = UnixStream::connect(&socket).map_err(|error| unreachable_because(&socket, error))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|error| Failure::system("cannot set a time limit on the control socket", error))?;
        Ok(Self { stream: BufReader::new(stream), socket })
    }

    /// Asks, and waits for the answer; the line as it came stands beside it.
    pub(super) fn ask(&mut self, request: &Request) -> Result<(Answer, String), Failure> {
        self.send(request)?;
        let Some(line) = self.line()? else {
            return Err(self.not_running(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")));
        };
        match serde_json::from_str(&line) {
            Ok(Answer::Refused { error }) => Err(Failure::Refused(error)),
            Ok(answer) => Ok((answer, line)),
            Err(error) => Err(self.not_running(io::Error::new(io::ErrorKind::InvalidData, error))),
        }
    }

    /// Asks for events; from then on [`line`](Self::line) waits as long as it takes.
    pub(super) fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_string(request).expect("a request is made of names and words");
        line.push('\n');
        if let Err(error) = self.stream.get_mut().write_all(line.as_bytes()) {
            return Err(self.not_running(error));
        }
        if matches!(request, Request::Monitor {}) {
            let unlimited = self.stream.get_ref().set_read_timeout(None);
            unlimited.map_err(|error| Failure::system("cannot lift the time limit of the control socket", error))?;
        }
        Ok(())
    }

    /// The next line, without its end; `None` when the gateway hangs up.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        match (&mut self.stream).take(MAX_LINE).read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => {
                line.truncate(line.trim_end_matches(['\n', '\r']).len());
                Ok(Some(line))
            }
            Err(error) => Err(self.not_running(error)),
        }
    }

    fn not_running(&self, error: io::Error) -> Failure {
        unreachable_because(&self.socket, error)
    }
}

fn unreachable_because(socket: &Path, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::Privileges(format!(
            "the control socket {} belongs to another user: run as root, or as the gateway's own user",
            socket.display()
        ));
    }
    Failure::NotRunning { socket: socket.to_owned(), error }
}
