//! Real programs on the hosts behind the gateways: a server on host B, a client on host A.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use portcullis::lab::topology::{V4, spawn_in};
use portcullis::platform::namespace::Namespace;

use super::lab_common::{has_program, not_run};
use super::{Pair, Side, Site, drops, wait_until};

/// Debian's Python, for the packages that are installed beside it.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether either gateway has refused something for this reason.
pub fn refused(pair: &Pair, reason: &str) -> bool {
    drops(&pair.a, reason) + drops(&pair.b, reason) > 0
}

#[track_caller]
pub fn assert_refused(pair: &Pair, reason: &str) {
    assert!(wait_until(|| refused(pair, reason)), "{reason}\n{}\n{}", pair.a.status().unwrap(), pair.logs());
}

/// A program of a server, which ends with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on host B and waits until it listens on `port`.
pub fn server(site: &Site, port: u16, command: &mut Command) -> Server {
    let log = fs::File::create(site.folder(Side::B).join("server.log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut server = Server(spawn_in(&site.topology.host_b, command).unwrap());
    let listens = || {
        let target = SocketAddr::new(V4.host_b, port);
        site.topology.host_b.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(1))).unwrap().is_ok()
    };
    let up = wait_until(|| server.0.try_wait().unwrap().is_some() || listens());
    let log = fs::read_to_string(site.folder(Side::B).join("server.log")).unwrap();
    assert!(up && server.0.try_wait().unwrap().is_none(), "the server does not start: {log}");
    server
}

/// Runs a client on host A, to its end or for ten seconds.
pub fn client(place: &Namespace, program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("10").arg(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_in(place, &mut command).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has ended does not read.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

pub fn missing(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| !has_program(program)).copied().collect();
    if !missing.is_empty() {
        not_run(test, &format!("{} is not installed", missing.join(", ")));
    }
    !missing.is_empty()
}

/// A certificate and its key.
pub fn certificate(folder: &Path) -> [PathBuf; 2] {
    let [certificate, key] = ["server.pem", "server.key"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=server.example", "-addext", "subjectAltName=DNS:server.example"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [certificate, key]
}
