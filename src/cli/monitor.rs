//! `monitor`: what happens, as it happens.

use std::io::Write;
use std::path::PathBuf;

use super::client::Client;
use super::exit::{Exit, Failure};
use crate::report;
use crate::runtime::protocol::{Answer, Request};

/// Prints events until the gateway ends or the reader hangs up.
pub(super) fn monitor(socket: Option<PathBuf>, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket)?;
    client.send(&Request::Monitor {})?;
    while let Some(line) = client.line()? {
        match serde_json::from_str(&line) {
            Ok(Answer::Refused { error }) => return Err(Failure::Refused(error)),
            // The first line only says that events follow.
            Ok(Answer::Done { .. }) => continue,
            _ if json => writeln!(out, "{line}")?,
            _ => writeln!(out, "{}", report::event::sentence(&line))?,
        }
        out.flush()?;
    }
    Ok(Exit::Done)
}
