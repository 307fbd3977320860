//! `bench tunnel` and `bench compare`: the same measurements (`stand`) through every tunnel that is asked for, on every wire
//! that is asked for, round by round in turn, so that what the machine does beside meets all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use super::ends::PORT;
use super::ends::client::Client;
use super::ends::server::{Server, Stop};
use super::peers::{Found, Missing, Subject};
use super::pins::Pins;
use super::progress::Progress;
use super::site::{HOST_B, Site, Underlay, told_apart};
use super::stand::{Case, Stand, trial_time};
use super::{BenchError, Outcome};
use crate::lab::standing::Standing;
use crate::platform::namespace::become_root_in_user_namespace;
use crate::platform::privileges::bind_to_processor;
use crate::platform::{clock, tun};

/// Bytes of a wire that carries 1500 bytes and any tunnel's overhead in one packet.
const ROOMY: u32 = 1600;
/// How long a tunnel may take to carry the first connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long each figure is measured once; a trial of a search lasts a fifth.
    pub seconds: Duration,
    /// How often.
    pub rounds: usize,
    /// Only cases whose name begins with one of these; empty: all.
    pub only: Vec<String>,
    /// On which wires.
    pub underlays: Vec<Underlay>,
    /// Let the generator's kernel segment its datagrams.
    pub segments: bool,
    /// Bind gateways and hosts to processors.
    pub pin: Option<Pins>,
}

/// Names of all cases, for whoever asks what `--only` takes.
#[must_use]
pub fn cases() -> Vec<String> {
    Case::all().into_iter().map(Case::name).collect()
}

/// Measures no tunnel, Portcullis and `peers`. Call it before the process has started any thread: an ordinary user is moved
/// into a user namespace first.
pub fn run(bench: &'static str, plan: &Plan, peers: &[Subject]) -> Result<Outcome, BenchError> {
    prepare()?;
    let standing = Standing::begin("bench").map_err(BenchError::system("a private folder for the bench"))?;
    let mut outcome = Outcome::new(bench);
    describe(&mut outcome, plan);
    let mut found = vec![Subject::None.find().expect("nothing is always there")];
    let mut missing: Vec<Missing> = Vec::new();
    for subject in [Subject::Portcullis].iter().chain(peers) {
        match subject.find() {
            Ok(here) => found.push(here),
            Err(not) => missing.push(not),
        }
    }
    let steps = |subject: &Found| {
        [false, true].map(|roomy| Case::wanted(&plan.only, subject.subject, roomy).len()).into_iter().sum::<usize>()
    };
    let steps: usize = found.iter().map(steps).sum::<usize>() * plan.rounds * plan.underlays.len();
    let mut shown = vec![Told::default(); found.len()];
    let mut bench = Bench { plan, standing: &standing, outcome, progress: Progress::new(steps) };
    for round in 1..=plan.rounds {
        for &underlay in &plan.underlays {
            for (found, told) in found.iter().zip(&mut shown) {
                bench.measure(round, underlay, found.subject, told);
            }
        }
    }
    let Bench { mut outcome, progress, .. } = bench;
    drop(progress);
    let shown = found.iter().zip(shown).filter(|(found, _)| found.subject != Subject::None);
    let shown = shown.map(|(found, told)| {
        let version = told.version.unwrap_or_else(|| found.version.clone());
        Found { version, ..found.clone() }.json(told.mtu, &told.commands)
    });
    outcome.more.insert("peers".into(), shown.collect());
    outcome.more.insert("missing".into(), missing.iter().map(Missing::json).collect());
    Ok(outcome)
}

/// Namespaces and a TUN device, or why there are none.
pub(super) fn prepare() -> Result<(), BenchError> {
    become_root_in_user_namespace().map_err(|error| BenchError::System {
        what: "this bench needs network namespaces".into(),
        source: io::Error::new(io::ErrorKind::PermissionDenied, error),
    })?;
    tun::available().map_err(BenchError::system("this bench needs a TUN device"))
}

fn describe(outcome: &mut Outcome, plan: &Plan) {
    describe_traffic(outcome, plan);
    let wires = plan.underlays.iter().map(|wire| format!("{}: {}", wire.name(), wire.words()));
    outcome.plan("underlays", wires.collect::<Vec<_>>());
    outcome.plan("network", "host A - gateway A = wire = gateway B - host B, four namespaces, veth; MTU 1500");
    outcome.plan("order", "round by round: every wire, on it every subject in turn; a fresh network for each");
    outcome.plan("imix_wire", format!("MTU {ROOMY}, so that no tunnel has to cut"));
}

/// How traffic is made.
pub(super) fn describe_traffic(outcome: &mut Outcome, plan: &Plan) {
    outcome.plan("seconds", plan.seconds.as_secs_f64());
    outcome.plan("rounds", plan.rounds);
    let tcp = "own generator, bytes counted where they arrive; the first quarter, at most 2 s, does not count";
    outcome.plan("tcp", tcp);
    let segments = "segmented by the kernel (UDP_SEGMENT)";
    outcome.plan(
        "udp",
        format!(
            "own generator, {}; highest rate with at most 0.1 % loss by search, trials of {:.1} s, one that fails is \
             tried again once",
            if plan.segments { segments } else { "single datagrams, 64 a system call" },
            trial_time(plan).as_secs_f64()
        ),
    );
    let imix = "frames of 64, 594 and 1518 bytes, 7:4:1 in a fixed order; RFC 6985 genome aAaaAaaAaaAg with A = 594";
    outcome.plan("imix", imix);
    let latency = "UDP round trips of 64 bytes of payload, one every 2 ms; loaded: beside one TCP stream forward";
    outcome.plan("latency", latency);
    let cpu = "nanoseconds on a processor per byte of TCP payload; gateways: all threads of both, with the softirq work \
               that interrupted them, and ksoftirqd; machine: everything, hosts too";
    outcome.plan("cpu", cpu);
    outcome.plan("pinned", plan.pin.map_or_else(|| "no".to_owned(), |pins| pins.words()));
}

/// What a running tunnel tells of itself: its MTU, its version where nobody else tells it, and how it was started.
#[derive(Clone, Debug, Default)]
struct Told {
    mtu: Option<u32>,
    version: Option<String>,
    commands: Vec<String>,
}

/// A run.
struct Bench<'a> {
    plan: &'a Plan,
    standing: &'a Standing,
    outcome: Outcome,
    progress: Progress,
}

impl Bench<'_> {
    /// All cases of one subject on one wire.
    fn measure(&mut self, round: usize, underlay: Underlay, subject: Subject, told: &mut Told) {
        for roomy in [false, true] {
            let cases = Case::wanted(&self.plan.only, subject, roomy);
            if cases.is_empty() {
                continue;
            }
            if let Err(error) = self.cases(round, underlay, subject, roomy, &cases, told) {
                let place = if matches!(error, BenchError::Refused(_)) {
                    String::new()
                } else {
                    format!(" on {}", underlay.name())
                };
                self.fail(format!("{error}{place}"));
            }
        }
    }

    fn cases(
        &mut self,
        round: usize,
        underlay: Underlay,
        subject: Subject,
        roomy: bool,
        cases: &[Case],
        told: &mut Told,
    ) -> Result<(), BenchError> {
        let site = Site::build(underlay, if roomy { ROOMY } else { 1500 }, 1500)?;
        if !roomy && let Ok(offloads) = site.offloads() {
            self.outcome.plan(&format!("wire_{}", underlay.name()), told_apart(&offloads));
            let all = self.outcome.more.entry("offloads").or_insert_with(|| json!({}));
            all[underlay.name()] = json!(offloads);
        }
        let mut running = subject.start(&site, self.standing)?;
        if let Some(pins) = self.plan.pin {
            running.bind(pins)?;
        }
        let _server = serve(&site, self.plan.pin.map(|pins| pins.hosts[1]))?;
        let client = connect(&site).map_err(|error| {
            BenchError::Failed(format!("{}: nothing passes: {error}; {}", subject.name(), running.last_words()))
        })?;
        if !roomy || told.mtu.is_none() {
            let (mtu, version) = (running.mtu(&site), running.version.take());
            *told = Told { mtu, version, commands: std::mem::take(&mut running.commands) };
        }
        let mut stand = Stand {
            site: Some(&site),
            running: &mut running,
            client,
            subject: subject.name(),
            underlay: underlay.name(),
            quiet: Duration::from_millis(if underlay == Underlay::Wan { 300 } else { 100 }),
            plan: self.plan,
        };
        for case in cases {
            let name = case.name();
            self.progress.step(&format!("round {round}, {}, {}: {name}", underlay.name(), subject.name()));
            match stand.case(*case) {
                Ok(figures) => figures.into_iter().for_each(|figure| self.outcome.figures.add(figure)),
                Err(error) => {
                    self.fail(format!("{}: {name}: {error} on {}", subject.name(), underlay.name()));
                    // Whatever state its session is in: a new one, if the tunnel still carries one.
                    stand.client.hang_up();
                    stand.client = connect(&site).map_err(|error| {
                        BenchError::Failed(format!("{}: nothing passes after {name}: {error}", subject.name()))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, why: String) {
        if !self.outcome.failed.contains(&why) {
            self.progress.tell(&format!("not measured: {why}"));
            self.outcome.failed.push(why);
        }
    }
}

/// A server at host B, until what comes back is dropped.
pub(super) fn serve(site: &Site, processor: Option<usize>) -> Result<Stop, BenchError> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let server = site.host_b.run(|| Server::bind(any, PORT)).and_then(|bound| bound);
    let server = server.map_err(BenchError::system("the server at host B"))?;
    let stop = server.stopper();
    let place = site.host_b.try_clone().map_err(BenchError::system("a namespace"))?;
    let thread = std::thread::Builder::new().name("bench-server".into()).spawn(move || {
        // Its threads are born in the namespace of this one.
        let entered = place.enter().and_then(|()| processor.map_or(Ok(()), bind_to_processor));
        let _ = entered.and_then(|()| server.run(|_| {}));
    });
    thread.map_err(BenchError::system("a thread"))?;
    Ok(stop)
}

/// A client at host A, as soon as the tunnel carries one.
pub(super) fn connect(site: &Site) -> io::Result<Client> {
    let end = clock::now() + PATIENCE;
    loop {
        match site.host_a.run(|| Client::connect(SocketAddr::new(HOST_B, PORT), Duration::from_secs(1)))? {
            Ok(client) => return Ok(client),
            Err(error) if clock::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
