//! What the interoperability tests share: a peer, data both ways, and tshark as a second opinion.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod charon;
pub mod named;
pub mod scene;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use portcullis::lab::mq_session::{self, Plan, Tally};
use portcullis::lab::topology::{Topology, V4};
use portcullis::lab::traffic::MQ_PORT;
use portcullis::platform::namespace::Namespace;

use super::lab_common::{has_program, not_run};

/// A key of 256 bits that is no secret.
pub const PSK: &str = "8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33";

/// One mebibyte each way.
pub const FILE: Plan = Plan { puts: 16, gets: 16, message: 64 << 10, heartbeat_every: 8 };

/// The network for a test that needs strongSwan, or the reason why it cannot run.
pub fn topology(name: &str) -> Option<Topology> {
    for program in ["charon-systemd", "swanctl", "tshark"] {
        if !has_program(program) {
            not_run(name, &format!("{program} is not installed"));
            return None;
        }
    }
    super::lab_common::topology(name)
}

/// Asks until `is` or patience ends.
pub fn until(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !is() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    true
}

/// Moves a file from host A, which is in `a`, to host B, which is in `b`, and another one back over one TCP connection, and
/// compares their digests.
pub fn transfer(a: &Namespace, b: &Namespace) -> Result<Tally, String> {
    transfer_to(a, b, V4.host_b)
}

/// The same, where `b` has another address.
pub fn transfer_to(a: &Namespace, b: &Namespace, address: IpAddr) -> Result<Tally, String> {
    let target = SocketAddr::new(address, MQ_PORT);
    let listener = b.run(|| TcpListener::bind(target)).unwrap().expect("host B listens");
    listener.set_nonblocking(true).unwrap();
    let client = a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5))).unwrap();
    let client = client.map_err(|error| format!("host A cannot connect: {error}"))?;
    let mut accepted = None;
    // The client is connected one segment before the server is.
    until(Duration::from_secs(5), || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (server, _) = accepted.ok_or("host B never got the connection")?;
    server.set_nonblocking(false).unwrap();
    let server = std::thread::spawn(move || mq_session::server(server, FILE));
    let client = mq_session::client(client, FILE).map_err(|error| format!("host A: {error}"))?;
    let server = server.join().unwrap().map_err(|error| format!("host B: {error}"))?;
    if client.agrees_with(&server) { Ok(client) } else { Err(format!("{client:?} is not {server:?}")) }
}
