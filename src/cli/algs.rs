//! `algs`: what a suite can be made of.

use std::io::Write;

use super::exit::{Exit, Failure};
use crate::report;

/// Prints the table.
pub(super) fn algs(json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    if json {
        writeln!(out, "{}", report::algs::json())?;
    } else {
        out.write_all(report::algs::algs(report::width()).as_bytes())?;
    }
    Ok(Exit::Done)
}
