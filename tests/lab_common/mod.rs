//! What tests that need namespaces or foreign programs share: they run, or say why they cannot.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

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

/// Whether a program is installed.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        || ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(name).is_file())
}

/// What tshark prints of a capture.
pub fn tshark(file: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-n").arg("-r").arg(file).args(arguments).output().expect("tshark starts");
    assert!(output.status.success(), "tshark {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("tshark prints text")
}
