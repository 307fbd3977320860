//! `policy`: the rules of a file are asked, tested and compared.

mod capture;
mod diff;
mod live;
mod question;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use super::words::Question;
use crate::config;
use crate::report;

pub(super) use diff::diff;

/// Asks about a flow, about those that live, or about those of a capture; ends with 0 if nothing is refused.
pub(super) fn explain(socket: Option<PathBuf>, question: &Question, out: &mut dyn Write) -> Result<Exit, Failure> {
    match (&question.pcap, question.from, question.to) {
        (Some(file), ..) => capture::explain(file, question, out),
        (None, Some(from), Some(to)) if question.live => live::explain(socket, from, to, question.json, out),
        (None, Some(from), Some(to)) => question::explain(question, from, to, out),
        _ => Err(Failure::Usage("ask about a flow with --from and --to, or about a capture with --pcap".to_owned())),
    }
}

/// Runs the tests of a file; ends with 0 if all of them pass.
pub(super) fn test(file: &Path, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = config::load_tests(file)?;
    if json {
        writeln!(out, "{}", report::policy::tests_json(&loaded))?;
    } else {
        out.write_all(report::policy::tests(&loaded, report::width()).as_bytes())?;
    }
    Ok(if loaded.tests.iter().all(|test| test.passed) { Exit::Done } else { Exit::Refused })
}
