//! `portcullis demo`: two gateways, a host behind each, and everything the agreement does not allow.
//!
//! First the control: the same hosts without gateways, where everything arrives and the underlay shows it in clear. Then
//! the same with Portcullis. What is promised stands in [`outcome`]; the demo fails if anything differs.

mod agreement;
mod outcome;
mod pair;
mod stage;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture::{Capture, Seen, Sightings};
use super::gateway::Gateway;
use super::mq_session::{self, Plan, Tally};
use super::standing::Standing;
use super::topology::{Topology, V4, inner_networks};
use super::traffic::{Attempt, MQ_PORT, attempt};
use crate::platform::namespace::become_root_in_user_namespace;
use crate::platform::{clock, tun};
use indicatif::ProgressBar;
use outcome::{Passed, Refused, Result as Shown};
use pair::Pair;

/// What the operator asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Print one JSON object instead of the table.
    pub json: bool,
    /// Leave everything standing until Ctrl-C.
    pub keep: bool,
    /// Where captures and key tables go.
    pub pcap: Option<PathBuf>,
}

/// Why the demo could not be shown at all. A demo that ran and differed from its promise is `Ok(false)`.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The system does not let us build the network.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A gateway did not do what the demo needs.
    #[error("{0}")]
    Gateway(String),
}

fn system(what: &str) -> impl FnOnce(io::Error) -> DemoError + '_ {
    move |source| DemoError::System { what: what.into(), source }
}

/// The conversation of the control: enough to be seen.
const CONTROL: Plan = Plan { puts: 2, gets: 2, message: 100_000, heartbeat_every: 1 };
/// The conversation through the tunnel.
const CONVERSATION: Plan = Plan { puts: 64, gets: 64, message: 256 << 10, heartbeat_every: 16 };

/// Builds the network, runs the control and the demo, prints the table. `Ok(true)`: all was as promised.
/// Call it before the process has started any thread: an ordinary user is moved into a user namespace first.
pub fn run(options: Options) -> Result<bool, DemoError> {
    let Options { json, keep, pcap } = options;
    let ordinary = become_root_in_user_namespace().map_err(|error| DemoError::System {
        what: "the demo needs network namespaces".into(),
        source: io::Error::other(error),
    })?;
    tun::available().map_err(system("the demo needs a TUN device"))?;
    let standing = Standing::begin("demo").map_err(system("a private folder for the demo"))?;
    let steps = Steps::new(json);
    let mut topology = Topology::build().map_err(system("the demo's network"))?;
    if let Some(folder) = &pcap {
        fs::create_dir_all(folder).map_err(system("the folder for captures"))?;
        topology.cut_to_packets().map_err(system("the demo's network"))?;
    }

    steps.say("control: the same hosts without Portcullis");
    let control = control(&topology, pcap.as_deref()).map_err(system("the control without Portcullis"))?;

    // From here on the partner's rules name an address that host A has no more.
    topology.hide_host_a().map_err(system("the demo's network"))?;
    steps.say("an agreement is a draft until it is activated; then two gateways negotiate IKEv2");
    let capture = watch(&topology, pcap.as_deref(), "underlay.pcap").map_err(system("the capture"))?;
    let [place, other] = pair::places(&topology, &standing, pcap.as_deref());
    let (a, draft) = agreement::draft(&topology, &place)?;
    let mut pair = Pair::join(place, a, &other)?;

    steps.say("an MQ conversation from host to host");
    let passed = conversation(&topology, CONVERSATION)
        .map_err(|source| DemoError::Gateway(format!("the MQ conversation failed: {source}\n{}", pair.last_words())))?;

    let mut refused = Vec::new();
    for each in Attempt::ALL {
        steps.say(&format!("not allowed: {}", each.title()));
        refused.push(refuse(&topology, &pair, each)?);
    }
    let status = [&pair.a, &pair.b].map(|gateway| gateway.status().unwrap_or_default());
    steps.say("the agreement is suspended and resumed, expires, is renewed and terminated");
    let life = agreement::live(&topology, &mut pair, draft, keep)?;
    let seen = capture.stop().map_err(system("the capture"))?;
    let shown = Shown::of(&control, passed, refused, &status, pair.handshake_ms, &seen).with(life);
    steps.clear();
    if json {
        shown.print_json();
    } else {
        shown.print_table();
    }

    if let Some(folder) = &pcap
        && !json
    {
        println!(
            "\nCaptures and keys are in {0}; to read what the tunnel carried:\n  \
             WIRESHARK_CONFIG_DIR={0}/gateway-a tshark -o esp.enable_encryption_decode:TRUE -r {0}/underlay.pcap",
            folder.display()
        );
    }
    if keep {
        hints(&topology, &pair, ordinary);
        loop {
            std::thread::park();
        }
    }
    let farewell = pair.stop().map_err(system("the end of the gateways"))?;
    for (name, status) in &farewell {
        eprintln!("{name} did not end as it should: {status}");
    }
    Ok(shown.as_promised() && farewell.is_empty())
}

/// What is going on, for a person who watches.
struct Steps {
    bar: Option<ProgressBar>,
}

impl Steps {
    fn new(json: bool) -> Self {
        let bar = (!json).then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar }
    }

    fn say(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn watch(topology: &Topology, folder: Option<&Path>, name: &str) -> io::Result<Capture> {
    let file = folder.map(|folder| folder.join(name));
    Capture::start(topology.watch_underlay()?, inner_networks(), file.as_deref())
}

/// Without gateways every attempt arrives and every packet is seen: that is what makes the zero at the end mean something.
fn control(topology: &Topology, folder: Option<&Path>) -> io::Result<Sightings> {
    let capture = watch(topology, folder, "control.pcap")?;
    conversation(topology, CONTROL)?;
    for each in Attempt::ALL {
        let outcome = attempt(topology, each)?;
        if !outcome.arrived {
            return Err(io::Error::other(format!("{} did not arrive ({})", each.title(), outcome.answer)));
        }
    }
    let seen = capture.stop()?;
    if seen.packets(Seen::Plaintext) == 0 {
        return Err(io::Error::other("nothing was seen on the underlay"));
    }
    Ok(seen)
}

/// An MQ conversation from host A to host B; both ends must have seen the same.
fn conversation(topology: &Topology, plan: Plan) -> io::Result<Passed> {
    let target = SocketAddr::new(V4.host_b, MQ_PORT);
    let listener = topology.host_b.run(|| TcpListener::bind(target))??;
    listener.set_nonblocking(true)?;
    let stream = topology.host_a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)))??;
    let server = accept(&listener)?;
    let (own, seen) = (stream.local_addr()?.ip(), server.peer_addr()?.ip());
    let start = clock::now();
    let server = std::thread::spawn(move || mq_session::server(server, plan));
    let client: Tally = mq_session::client(stream, plan)?;
    let server = server.join().map_err(|_| io::Error::other("the queue manager has panicked"))??;
    if !client.agrees_with(&server) {
        return Err(io::Error::other("the two ends saw different content"));
    }
    Ok(Passed { tally: client, took: clock::now() - start, own, seen })
}

/// The client is connected one segment before the server is.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let end = clock::now() + Duration::from_secs(5);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && clock::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes one attempt and asks the gateway that must have refused it for rule and reason.
fn refuse(topology: &Topology, pair: &Pair<'_>, each: Attempt) -> Result<Refused, DemoError> {
    let (gateway, events) = if each.from_a() { (&pair.a, &pair.events_a) } else { (&pair.b, &pair.events_b) };
    let reason = each.reason().as_str();
    let drops = |gateway: &Gateway| -> u64 {
        let status = gateway.status().unwrap_or_default();
        status["drops"][reason].as_u64().unwrap_or(0)
    };
    let before = drops(gateway);
    let outcome = attempt(topology, each).map_err(system(each.title()))?;
    let (protocol, port) = each.flow();
    let (source, destination) = if each.from_a() { (V4.host_a, V4.host_b) } else { (V4.host_b, V4.host_a) };
    let event = events.find(Duration::from_secs(2), |event| {
        event["event"] == "refused"
            && event["flow"]["protocol"] == protocol
            && event["flow"]["source"] == source.to_string()
            && event["flow"]["destination"] == destination.to_string()
            && event["flow"]["destination_port"] == port
            // The wrong side and a segment out of the blue go to the same port.
            && (each != Attempt::Midstream || event["flow"]["source_port"] == super::traffic::MIDSTREAM_PORT)
    });
    let mut after = drops(gateway);
    let end = clock::now() + Duration::from_secs(2);
    while after <= before && clock::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        after = drops(gateway);
    }
    let event = event.unwrap_or_default();
    let text = |key: &str| event[key].as_str().map(str::to_owned);
    Ok(Refused {
        attempt: each,
        gateway: if each.from_a() { "A" } else { "B" },
        rule: text("rule"),
        reason: text("reason"),
        counted: after.saturating_sub(before),
        arrived: outcome.arrived,
        answer: outcome.answer,
    })
}

/// What somebody who has asked for `--keep` may try now.
fn hints(topology: &Topology, pair: &Pair<'_>, ordinary: bool) {
    use std::os::fd::AsRawFd;
    let pid = std::process::id();
    let user = if ordinary { format!("--user --preserve-credentials --target {pid} ") } else { String::new() };
    let enter = |place: &crate::platform::namespace::Namespace| {
        format!("nsenter {user}--net=/proc/{pid}/fd/{}", place.fd().as_raw_fd())
    };
    eprintln!(
        "\nEverything still stands. In another terminal:\n  \
         portcullis --socket {} status\n  \
         portcullis --socket {} monitor\n  \
         {} nc -v {} {MQ_PORT}      # host A: no listener, but the tunnel carries it\n  \
         {} telnet {}         # host A: refused\n  \
         {} tcpdump -ni any        # the underlay: only ESP and IKE\n  \
         kill -9 {}                        # gateway A: nothing leaks\n\
         Ctrl-C takes everything down.",
        pair.a.socket().display(),
        pair.a.socket().display(),
        enter(&topology.host_a),
        V4.host_b,
        enter(&topology.host_a),
        V4.host_b,
        enter(&topology.underlay),
        pair.a.pid(),
    );
}
