//! What tests that need namespaces or foreign programs share: they run, or say why they cannot.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write as _;

use portcullis::lab::topology::Topology;

/// Says that a test did not run, past the capture of the test harness; `tests/run` counts these lines.
pub fn not_run(name: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {name}: {reason}");
}

/// The network, for those who may build it.
pub fn topology(name: &str) -> Option<Topology> {
    match Topology::build() {
        Ok(topology) => Some(topology),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            not_run(name, "no right to make network namespaces");
            None
        }
        Err(error) => panic!("the network cannot be built: {error}"),
    }
}
