//! `bench run --peer`: the same measurements between two machines, over whatever lies between them: a bare network, or a
//! tunnel that is already up. The other end is `bench serve`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use super::ends::client::Client;
use super::ends::server::Server;
use super::peers::Running;
use super::progress::Progress;
use super::stand::{Case, Stand};
use super::tunnel::{Plan, describe_traffic};
use super::{BenchError, Outcome};
use crate::platform::ethtool;
use crate::platform::netlink::Netlink;

/// How long the server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures against the server at `peer`.
pub fn run(plan: &Plan, peer: SocketAddr) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new("run");
    describe_traffic(&mut outcome, plan);
    outcome.plan("peer", peer.to_string());
    outcome.plan(
        "network",
        "what lies between this machine and the peer; datagrams longer than its MTU travel as fragments",
    );
    let client = Client::connect(peer, PATIENCE).map_err(|error| refused(peer, error))?;
    outcome.more.insert("peer_environment".into(), client.environment().clone());
    // What the system does not say is left out.
    if let Ok(Some((device, offloads))) = way_to(peer.ip()) {
        outcome.plan("device", device.clone());
        outcome.more.insert("offloads".into(), json!({(device): offloads}));
    }
    let cases = Case::for_two_machines(&plan.only);
    let progress = Progress::new(cases.len() * plan.rounds);
    let mut running = Running::default();
    let mut stand = Stand::on_this_machine(&mut running, client, plan);
    for round in 1..=plan.rounds {
        for case in &cases {
            let name = case.name();
            progress.step(&format!("round {round}: {name}"));
            match stand.case(*case) {
                Ok(figures) => figures.into_iter().for_each(|figure| outcome.figures.add(figure)),
                Err(error) => {
                    outcome.failed.push(format!("{name}: {error}"));
                    stand.client.hang_up();
                    stand.client = Client::connect(peer, PATIENCE).map_err(|error| refused(peer, error))?;
                }
            }
        }
    }
    Ok(outcome)
}

/// The device by which the peer is reached, and its offloads.
fn way_to(peer: IpAddr) -> io::Result<Option<(String, BTreeMap<String, bool>)>> {
    let mut netlink = Netlink::open()?;
    let device = netlink.lookup(peer)?.and_then(|route| route.device);
    let Some(link) = netlink.links()?.into_iter().find(|link| Some(link.index) == device) else { return Ok(None) };
    let offloads = ethtool::offloads(&link.name)?;
    Ok(Some((link.name, offloads)))
}

/// Answers whoever asks at `port`, one at a time, until SIGINT, SIGTERM or SIGHUP. Call it before threads start.
pub fn serve(address: IpAddr, port: u16) -> Result<(), BenchError> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|error| BenchError::system("signals")(error.into()))?;
    let server = Server::bind(address, port).map_err(BenchError::system("the ports of the server"))?;
    let stop = server.stopper();
    eprintln!("serving at {}, TCP and UDP, and UDP {}; Ctrl-C ends it", SocketAddr::new(address, port), port + 1);
    let wait = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let _ = signals.wait();
        drop(stop);
    });
    wait.map_err(BenchError::system("a thread"))?;
    server.run(|what| eprintln!("{what}")).map_err(BenchError::system("serving"))
}

fn refused(peer: SocketAddr, source: io::Error) -> BenchError {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => BenchError::Refused(format!("{peer}: {source}")),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            BenchError::Refused(format!("{peer}: what answers there is no `portcullis bench serve`: {source}"))
        }
        _ => BenchError::System { what: format!("connecting to {peer}"), source },
    }
}
