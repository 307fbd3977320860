//! `policy explain --live`: by what right do the flows between two hosts live?

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::words::Destination;
use crate::report;
use crate::runtime::protocol::{Answer, Request};

/// Asks the running gateway, prints, and ends with 0 if there is one.
pub(super) fn explain(
    socket: Option<PathBuf>,
    from: IpAddr,
    to: Destination,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let request = Request::Flows { from, to: to.address, port: to.port };
    let (Answer::Flows { flows, more }, line) = Client::connect(socket)?.ask(&request)? else {
        return Err(Failure::Refused("the gateway answers something else than its flows".to_owned()));
    };
    if json {
        writeln!(out, "{line}")?;
    } else {
        out.write_all(report::policy::live(&flows, more, report::width()).as_bytes())?;
    }
    Ok(if flows.is_empty() { Exit::Refused } else { Exit::Done })
}
