//! What the tests of the whole system share: two built gateways in namespaces of their own, and a host behind each.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a helper may panic as a test may")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis::lab::capture::{Capture, Seen, Sightings};
use portcullis::lab::gateway::{Gateway, write_private};
use portcullis::lab::topology::{Addresses, Topology, V4, inner_networks};
use portcullis::platform::guard::{self, Standing};
use portcullis::platform::namespace::Namespace;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[path = "../lab_common/mod.rs"]
pub mod lab_common;
pub mod programs;

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
/// The port that the rules allow.
pub const PORT: u16 = 1414;
/// How long something may take that takes well under a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network and a folder for its gateways.
pub struct Site {
    pub topology: Topology,
    folder: TempDir,
}

/// The network of a test, unless this process may not build one.
pub fn site(test: &str) -> Option<Site> {
    let topology = lab_common::topology(test)?;
    Some(Site { topology, folder: tempfile::tempdir().expect("a folder") })
}

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that opens connections.
    A,
    /// The other one.
    B,
}

/// What the two gateways are told. A test changes what it is about.
#[derive(Clone)]
pub struct Setup {
    /// Addresses of the gateways.
    pub outer: Addresses,
    /// Addresses of the hosts: a rule for each.
    pub inner: Vec<Addresses>,
    /// Further lines of `[gateway]`.
    pub gateway: [String; 2],
    /// Further lines of `[tunnel.t]`.
    pub tunnel: [String; 2],
    /// Further rules, or anything else at the end of the file.
    pub end: [String; 2],
    /// Where each finds the other, if not at its address.
    pub peers: [IpAddr; 2],
    /// The keys, in hexadecimal.
    pub keys: [&'static str; 2],
}

/// A key for tests, in hexadecimal.
pub const KEY: &str = "3f9c1de0a7b45826f10e6cd27b9835a4c8fe21d09a6437b5e2186f0dc95ba374";
/// Another one.
pub const OTHER_KEY: &str = "90c4e8275bd6f13a0e8b7ad94c6325f1e7094ab8d63f125c84b9d07e1f6a32c5";

impl Default for Setup {
    fn default() -> Self {
        Self {
            outer: V4,
            inner: vec![V4],
            gateway: [String::new(), String::new()],
            tunnel: [String::new(), String::new()],
            end: [String::new(), String::new()],
            peers: [V4.gateway_b, V4.gateway_a],
            keys: [KEY; 2],
        }
    }
}

impl Setup {
    /// Gateways and hosts with addresses of these families.
    pub fn between(outer: Addresses, inner: &[Addresses]) -> Self {
        Self { outer, inner: inner.to_vec(), peers: [outer.gateway_b, outer.gateway_a], ..Self::default() }
    }

    /// Both tunnels with these further lines.
    pub fn with_tunnel(mut self, lines: &str) -> Self {
        for tunnel in &mut self.tunnel {
            tunnel.push_str(lines);
            tunnel.push('\n');
        }
        self
    }

    /// The configuration file of one side.
    pub fn config(&self, side: Side) -> String {
        let at = side as usize;
        let local = [self.outer.gateway_a, self.outer.gateway_b][at];
        let (peer, tunnel, key) = (self.peers[at], &self.tunnel[at], self.keys[at]);
        let gateway = &self.gateway[at];
        let mut text = format!(
            r#"[gateway]
state_dir = "@FOLDER@/state"
control_socket = "@FOLDER@/control.sock"
{gateway}

[agreement.lab]
kind = "lab"

[tunnel.t]
agreement = "lab"
local = "{local}"
peer = "{peer}"
auth = {{ method = "psk", secret = "hex:{key}" }}
ike = ["aes256gcm16-prfsha384-ecp384"]
esp = ["aes256gcm16-ecp384-esn"]
{tunnel}
"#
        );
        for family in &self.inner {
            let name = if family.host_a.is_ipv4() { "mq" } else { "mq-v6" };
            text.push_str(&rule(side, name, family.host_a, family.host_b, "service = \"tcp\"\ntcp = [1414]"));
        }
        text + &self.end[at]
    }
}

/// A rule by which `from`, behind A, opens connections to `to`, behind B, as one side writes it down.
pub fn rule(side: Side, name: &str, from: IpAddr, to: IpAddr, service: &str) -> String {
    let direction = if side == Side::A { "outbound" } else { "inbound" };
    format!(
        "\n[[rule]]\nname = \"{name}\"\ntunnel = \"t\"\nclause = \"1a\"\nfrom = [\"{from}\"]\nto = [\"{to}\"]\n{service}\n\
         direction = \"{direction}\"\n"
    )
}

impl Site {
    /// The namespace of a gateway.
    pub fn place(&self, side: Side) -> &Namespace {
        if side == Side::A { &self.topology.gateway_a } else { &self.topology.gateway_b }
    }

    /// The folder of a gateway.
    pub fn folder(&self, side: Side) -> PathBuf {
        self.folder.path().join(if side == Side::A { "a" } else { "b" })
    }

    /// Starts one gateway.
    pub fn start(&self, side: Side, setup: &Setup) -> Gateway {
        let config = setup.config(side);
        Gateway::start(Path::new(PROGRAM), self.place(side), &self.folder(side), &config, None).expect("it starts")
    }

    /// Writes another configuration file for a gateway that runs.
    pub fn rewrite(&self, side: Side, config: &str) {
        let folder = self.folder(side);
        let text = config.replace("@FOLDER@", &folder.to_string_lossy());
        write_private(&folder.join("portcullis.toml"), &text).expect("the configuration is written");
    }

    /// Runs `portcullis` with these words beside a gateway.
    pub fn portcullis(&self, side: Side, words: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(words).arg("--socket").arg(self.folder(side).join("control.sock")).env_remove("RUST_LOG");
        self.place(side).run(move || command.output()).expect("the namespace").expect("it starts")
    }

    /// Starts both and waits until the tunnel is up on both sides.
    pub fn pair(&self, setup: &Setup) -> Pair {
        let mut pair = Pair { a: self.start(Side::A, setup), b: self.start(Side::B, setup) };
        pair.wait_until_up();
        pair
    }

    /// Looks at the underlay from now on.
    pub fn watch(&self) -> Capture {
        let ring = self.topology.watch_underlay().expect("a packet socket");
        Capture::start(ring, inner_networks(), None).expect("a capture")
    }

    /// What stands in the kernel on a gateway's behalf.
    pub fn standing(&self, side: Side) -> Standing {
        self.place(side).run(|| guard::current("portcullis0")).expect("the namespace").expect("the kernel's side")
    }

    /// Moves a file from host A to host B and another one back, over one connection.
    pub fn exchange(&self, family: &Addresses, size: usize) {
        self.exchange_and(family, size, |_| {});
    }

    /// As `exchange`, and calls `midway` when half of a file is sent.
    pub fn exchange_and(&self, family: &Addresses, size: usize, midway: impl Fn(Way) + Sync) {
        let target = SocketAddr::new(family.host_b, PORT);
        let listener = self.topology.host_b.run(|| TcpListener::bind(target)).unwrap().expect("a listener");
        let connect = || TcpStream::connect_timeout(&target, PATIENCE);
        let stream = self.topology.host_a.run(connect).unwrap().expect("a connection through the tunnel");
        exchange(&stream, &listener.accept().expect("a client").0, size, &midway);
    }
}

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the one that connected.
    There,
    /// To the one that connected.
    Back,
}

/// A file each way between the ends of a connection; both arrive as they were sent.
pub fn exchange(client: &TcpStream, server: &TcpStream, size: usize, midway: &(impl Fn(Way) + Sync)) {
    let (there, back) = (file(size, 1), file(size, 2));
    let (sent, answered) = (digest(&there), digest(&back));
    for stream in [client, server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let send = |mut stream: &TcpStream, file: &[u8], way| {
        let (first, second) = file.split_at(file.len() / 2);
        stream.write_all(first).unwrap_or_else(|error| panic!("{way:?}, first half: {error}"));
        midway(way);
        stream.write_all(second).unwrap_or_else(|error| panic!("{way:?}, second half: {error}"));
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let receive = |mut stream: &TcpStream, way| {
        let mut file = Vec::with_capacity(size);
        let end = stream.read_to_end(&mut file);
        end.unwrap_or_else(|error| panic!("{way:?}: {error} after {} bytes", file.len()));
        (file.len(), digest(&file))
    };
    std::thread::scope(|scope| {
        let far = scope.spawn(|| {
            let received = receive(server, Way::There);
            send(server, &back, Way::Back);
            received
        });
        send(client, &there, Way::There);
        assert_eq!(receive(client, Way::Back), (size, answered));
        assert_eq!(far.join().unwrap(), (size, sent));
    });
}

fn file(size: usize, salt: u64) -> Vec<u8> {
    let mut state = salt;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Both gateways.
pub struct Pair {
    pub a: Gateway,
    pub b: Gateway,
}

impl Pair {
    /// Waits until the tunnel is up on both sides.
    pub fn wait_until_up(&mut self) {
        let up = self.a.wait_until_up(PATIENCE).is_some() && self.b.wait_until_up(PATIENCE).is_some();
        assert!(up, "the tunnel does not come up\n{}", self.logs());
    }

    /// Ends both as an operator does.
    pub fn stop(self) {
        for gateway in [self.a, self.b] {
            let log = gateway.log();
            let end = gateway.stop().expect("it ends");
            assert!(end.success(), "{end}\n{log}");
        }
    }

    /// What both logged at last.
    pub fn logs(&self) -> String {
        let last = |gateway: &Gateway| {
            let log = gateway.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        format!("--- A\n{}\n--- B\n{}", last(&self.a), last(&self.b))
    }
}

/// The first tunnel of a status.
pub fn tunnel(gateway: &Gateway) -> Value {
    gateway.status().expect("an answer on the control socket")["tunnels"][0].clone()
}

/// How many packets a gateway has dropped for a reason.
pub fn drops(gateway: &Gateway, reason: &str) -> u64 {
    gateway.status().expect("an answer on the control socket")["drops"][reason].as_u64().unwrap_or(0)
}

/// Waits until `is` holds.
pub fn wait_until(is: impl FnMut() -> bool) -> bool {
    wait_for(PATIENCE, is)
}

/// Waits at most `patience` until `is` holds.
pub fn wait_for(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if is() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The capture saw everything, and nothing in clear.
pub fn assert_nothing_in_clear(seen: &Sightings) {
    assert_eq!(seen.lost, 0, "the capture missed frames");
    assert_eq!(seen.packets(Seen::Plaintext), 0, "{:?}", seen.flows);
}

/// How opening a connection from `from` ends: connected, or the kind of its error.
pub fn connect(from: &Namespace, target: SocketAddr, patience: Duration) -> Result<TcpStream, ErrorKind> {
    loop {
        let error = match from.run(|| TcpStream::connect_timeout(&target, patience)).expect("the namespace") {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // Shown where a test fails for it.
        println!("{target}: {error:?}");
        // The standard library may find a connection failed and no error that says why; all others have a number.
        if error.raw_os_error().is_some() || error.kind() == ErrorKind::TimedOut {
            return Err(error.kind());
        }
    }
}
