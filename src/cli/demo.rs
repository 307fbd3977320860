//! `demo`: everything at once, in a network of namespaces (`lab::demo`).

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use crate::lab::demo::{self, DemoError, Options};

/// Runs the demo. Nothing before it may have started a thread: an ordinary user is moved into a user namespace first.
pub(super) fn demo(json: bool, keep: bool, pcap: Option<PathBuf>) -> Result<Exit, Failure> {
    outcome(demo::run(Options { json, keep, pcap }))
}

fn outcome(ran: Result<bool, DemoError>) -> Result<Exit, Failure> {
    match ran {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Differs),
        Err(DemoError::System { what, source }) => Err(Failure::system(what, source)),
        Err(DemoError::Gateway(why)) => {
            eprintln!("portcullis: {why}");
            Ok(Exit::Differs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_that_differs_from_its_promise_is_7() {
        assert_eq!(outcome(Ok(true)).unwrap().code(), 0);
        assert_eq!(outcome(Ok(false)).unwrap().code(), 7);
        assert_eq!(outcome(Err(DemoError::Gateway("it did not come up".into()))).unwrap().code(), 7);
        let refused =
            |kind: std::io::ErrorKind| outcome(Err(DemoError::System { what: "unshare".into(), source: kind.into() }));
        assert_eq!(refused(std::io::ErrorKind::PermissionDenied).unwrap_err().exit(), Exit::Privileges);
        assert_eq!(refused(std::io::ErrorKind::NotFound).unwrap_err().exit(), Exit::System);
    }
}
