//! `demo`: everything at once, in a network of namespaces (`lab::demo`).

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use crate::lab::demo::{self, DemoError, Options};

/// Runs the demo. Nothing before it may have started a thread: an ordinary user is moved into a user namespace first.
pub(super) fn demo(json: bool, keep: bool, pcap: Option<PathBuf>) -> Result<Exit, Failure> {
    match demo::run(Options { json, keep, pcap }) {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Differs),
        Err(DemoError::System { what, source }) => Err(Failure::system(what, source)),
        Err(DemoError::Gateway(why)) => {
            eprintln!("portcullis: {why}");
            Ok(Exit::Differs)
        }
    }
}
