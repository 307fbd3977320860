//! `status`, `sa`, `up`, `down`, `reload`: what is asked of the running gateway.

use std::io::Write;
use std::path::PathBuf;

use super::client::Client;
use super::exit::{Exit, Failure};
use crate::report;
use crate::runtime::protocol::{Answer, Request, Status};

/// Shows every tunnel.
pub(super) fn status(socket: Option<PathBuf>, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (status, line) = ask_status(socket)?;
    if json {
        writeln!(out, "{line}")?;
    } else {
        out.write_all(report::status::status(&status, report::width()).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Shows the SAs of every tunnel.
pub(super) fn sa(socket: Option<PathBuf>, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (status, _) = ask_status(socket)?;
    if json {
        writeln!(out, "{}", report::sa::json(&status))?;
    } else {
        out.write_all(report::sa::sa(&status, report::width()).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn ask_status(socket: Option<PathBuf>) -> Result<(Status, String), Failure> {
    match Client::connect(socket)?.ask(&Request::Status {})? {
        (Answer::Status(status), line) => Ok((*status, line)),
        _ => Err(Failure::Refused("the gateway answers something else than its status".to_owned())),
    }
}

/// Brings a tunnel up.
pub(super) fn up(socket: Option<PathBuf>, tunnel: String, out: &mut dyn Write) -> Result<Exit, Failure> {
    let done = format!("tunnel {tunnel} is being brought up; `portcullis status` shows how far it is");
    tell(socket, &Request::Up { tunnel }, &done, out)
}

/// Takes a tunnel down.
pub(super) fn down(socket: Option<PathBuf>, tunnel: String, out: &mut dyn Write) -> Result<Exit, Failure> {
    let done = format!("tunnel {tunnel} goes down and stays down until `portcullis up {tunnel}`");
    tell(socket, &Request::Down { tunnel }, &done, out)
}

/// Loads the configuration again.
pub(super) fn reload(socket: Option<PathBuf>, out: &mut dyn Write) -> Result<Exit, Failure> {
    tell(socket, &Request::Reload {}, "the configuration was loaded again", out)
}

fn tell(socket: Option<PathBuf>, request: &Request, done: &str, out: &mut dyn Write) -> Result<Exit, Failure> {
    Client::connect(socket)?.ask(request)?;
    writeln!(out, "{done}")?;
    Ok(Exit::Done)
}
