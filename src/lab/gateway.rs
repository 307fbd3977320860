//! A running gateway: this very program as a child process in a namespace, spoken to over its control socket.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::topology::spawn_in;
use crate::platform::child::dies_with_its_parent;
use crate::platform::clock;
use crate::platform::namespace::Namespace;
use crate::runtime::protocol::Request;

/// How long an answer on the control socket may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a gateway may take to end after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(6);

/// A gateway and the folder where its files are.
pub struct Gateway {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Writes `config` into `folder`, whose place the text may name as `@FOLDER@`, and starts `program run` in `place`.
    pub fn start(
        program: &Path,
        place: &Namespace,
        folder: &Path,
        config: &str,
        keylog: Option<&Path>,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join("portcullis.toml");
        write_private(&file, &config.replace("@FOLDER@", &folder.to_string_lossy()))?;
        let socket = folder.join("control.sock");
        let log = folder.join("log");
        let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
        let mut command = Command::new(program);
        command.arg("run").arg(&file).arg("--socket").arg(&socket);
        if let Some(keylog) = keylog {
            command.arg("--keylog").arg(keylog);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C is for the one who started the lab; it ends its gateways in order.
        command.process_group(0);
        let child = spawn_in(place, dies_with_its_parent(&mut command))?;
        Ok(Self { child, socket, log })
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The answer to one request.
    pub fn request(&self, request: &Request) -> io::Result<Value> {
        let mut lines = self.ask(request)?;
        lines.get_ref().set_read_timeout(Some(ANSWER))?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    fn ask(&self, request: &Request) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let mut line = serde_json::to_string(request).map_err(io::Error::other)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        Ok(BufReader::new(stream))
    }

    /// What it says of itself.
    pub fn status(&self) -> io::Result<Value> {
        self.request(&Request::Status {})
    }

    /// Asks for the status until `is` holds; `None` if it never does, or the gateway has ended.
    pub fn wait_for(&mut self, patience: Duration, mut is: impl FnMut(&Value) -> bool) -> Option<Value> {
        let end = clock::now() + patience;
        loop {
            if let Ok(status) = self.status()
                && is(&status)
            {
                return Some(status);
            }
            if clock::now() > end || !matches!(self.child.try_wait(), Ok(None)) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until its first tunnel is up with every child SA that the rules ask for.
    pub fn wait_until_up(&mut self, patience: Duration) -> Option<Value> {
        self.wait_for(patience, is_up)
    }

    /// Collects its events from now on.
    pub fn monitor(&self) -> io::Result<Events> {
        let mut lines = self.ask(&Request::Monitor {})?;
        // The first line says that everything from here on is told.
        lines.read_line(&mut String::new())?;
        let events = Events::default();
        let list = Arc::clone(&events.list);
        std::thread::Builder::new().name("events".into()).spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    list.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        })?;
        Ok(events)
    }

    /// Ends it with SIGTERM; kills it if it does not go.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let end = clock::now() + FAREWELL;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if clock::now() > end {
                self.child.kill()?;
                return self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it without a word to anybody, and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether the first tunnel of a status is up and lacks no child SA.
#[must_use]
pub fn is_up(status: &Value) -> bool {
    let tunnel = &status["tunnels"][0];
    tunnel["state"] == "up"
        && tunnel["children"].as_array().is_some_and(|children| !children.is_empty())
        && tunnel["missing"].as_array().is_none_or(Vec::is_empty)
}

/// The events of a gateway, as they come.
#[derive(Clone, Default)]
pub struct Events {
    list: Arc<Mutex<Vec<Value>>>,
}

impl Events {
    /// Those that came so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<Value> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first event for which `is` holds, waiting for it if need be.
    #[must_use]
    pub fn find(&self, patience: Duration, is: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = clock::now() + patience;
        loop {
            if let Some(event) = self.so_far().into_iter().find(&is) {
                return Some(event);
            }
            if clock::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
