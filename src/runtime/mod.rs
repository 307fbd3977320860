//! Which thread? The control loop owns IKE and everything slow, the worker owns the packets; they meet in `link`.
//!
//! `run` is the walk of a start: self-test, configuration, barrier, TUN, sockets, worker, control loop.

mod admin_socket;
mod agreements;
mod control_loop;
mod crew;
mod flood;
mod gates;
mod host;
mod journal;
mod keylog;
mod link;
mod operator;
pub mod protocol;
pub mod provider;
mod sockets;
mod state_dir;
mod stats;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use admin_socket::{MAX_LINE, parse_request};
pub use agreements::{OfflineError, offline_reports, offline_wish};

use crate::config::{self, ConfigError};
use crate::crypto::aead::Provider;
use crate::crypto::self_test::{self, SelfTestFailed};
use crate::dataplane::handover::Hands;
use crate::dataplane::offload::Offloads;
use crate::dataplane::pipeline::{Pipeline, PipelineConfig};
use crate::entropy::Entropy;
use crate::ike::endpoint::Endpoint;
use crate::platform::entropy::OsEntropy;
use crate::platform::tun::Tun;
use crate::platform::{clock, privileges};

/// Flows at a time.
const FLOWS: usize = 65_536;

/// What `portcullis run` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub file: PathBuf,
    /// Another place for the control socket.
    pub socket: Option<PathBuf>,
    /// Where Wireshark's tables are written, if anywhere.
    pub keylog: Option<PathBuf>,
}

/// Why the gateway does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration does not load.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An algorithm gives wrong answers.
    #[error(transparent)]
    SelfTest(#[from] SelfTestFailed),
    /// The process may not do what a gateway does.
    #[error(transparent)]
    Privileges(#[from] privileges::Missing),
    /// The system refused something.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl RunError {
    fn io<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Io { what, error: error.into() }
    }
}

/// Runs the gateway until SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), RunError> {
    let passed = self_test::run()?;
    tracing::info!(algorithms = passed.len(), "self-test passed");
    let mut loaded = config::load(&options.file)?;
    for warning in loaded.warnings_at(clock::wall()) {
        tracing::warn!("{}", warning.located(&loaded.path));
    }
    let socket = options.socket.unwrap_or_else(|| loaded.gateway.control_socket.clone());
    privileges::check()?;
    privileges::protect_memory().map_err(RunError::io("process limits"))?;
    let _state = state_dir::StateDir::open(&loaded.gateway.state_dir).map_err(RunError::io("state_dir"))?;
    let mut news = Vec::new();
    let agreements = agreements::Agreements::open(&loaded.gateway.state_dir, loaded.subjects(), &mut news);
    let agreements = agreements.map_err(RunError::io("state_dir"))?;
    let closed = agreements::tunnels(&loaded, &agreements.closed);
    // Before the first packet.
    loaded.policy = Arc::new(loaded.policy.gated(&closed));
    let keylog = match &options.keylog {
        Some(folder) => {
            tracing::warn!(
                "KEYS OF EVERY SA ARE WRITTEN TO {}: whoever reads them reads the traffic",
                folder.display()
            );
            Some(keylog::KeyLogFiles::open(folder).map_err(RunError::io("key log"))?)
        }
        None => None,
    };
    let (host, queues) = host::Host::prepare(&loaded).map_err(RunError::io("TUN device, routes and barrier"))?;
    let (data, ports) = sockets::open(&loaded).map_err(RunError::io("sockets"))?;

    let mut hash_seed = [0; 4];
    for word in &mut hash_seed {
        let entropy: &mut dyn Entropy = &mut OsEntropy;
        *word = u64::from_ne_bytes(entropy.array());
    }
    let race = provider::Race::run();
    tracing::info!(provider = race.winner.name(), figures = ?race.ns, "AEAD chosen");
    if race.winner == Provider::Null {
        tracing::warn!("BUILT TO MEASURE WITHOUT A CIPHER: PACKETS LEAVE IN CLEAR AND ARE NOT CHECKED");
    }
    let mtus = host::link_mtus(&loaded);
    let links = link::links(loaded.gateway.workers).map_err(RunError::io("event descriptors"))?;
    let (controls, links): (Vec<_>, Vec<_>) = links.into_iter().unzip();
    let wakers: Vec<_> = links.iter().map(link::WorkerEnd::waker).collect();
    let hands = Hands::crew(loaded.gateway.workers);
    let make = |(((link, tun), sockets), hands): (((_, Tun), _), Hands)| {
        let config = PipelineConfig { flow_capacity: FLOWS, hash_seed };
        let mut pipeline = Pipeline::new(config, loaded.policy.clone()).with_hands(hands);
        pipeline.set_provider(race.winner);
        pipeline.set_reset_remote(loaded.gateway.reset_peers);
        for (tunnel, mtu) in &mtus {
            pipeline.set_link_mtu(*tunnel, *mtu);
        }
        let offloads = Offloads { tun: tun.offload(), tun_write: tun.offload(), ..Offloads::default() };
        pipeline.set_offloads(offloads);
        let (tun, crew) = (Some(tun), wakers.clone());
        worker::Worker { link, pipeline, tun, sockets, tun_made: 0, tun_gone: false, crew, truncated: 0, offloads }
    };
    let workers: Vec<_> = links.into_iter().zip(queues).zip(data).zip(hands).map(make).collect();
    let counters = workers.iter().map(|worker| worker.pipeline.counters().clone()).collect();
    let stats = stats::Stats::new(counters, race);
    let crew =
        crew::Crew::start(controls, workers, &loaded.gateway.processors).map_err(RunError::io("packet threads"))?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::io("control loop"))?;
    runtime.block_on(async {
        let admin = admin_socket::AdminSocket::bind(&socket).map_err(RunError::io("control socket"))?;
        let mut endpoint = Endpoint::new(loaded.ike.clone(), Box::new(OsEntropy), keylog.is_some());
        let secret = state_dir::StateDir::secret(&loaded.gateway.state_dir, "crash-detection", &mut OsEntropy);
        endpoint.remember_by(secret.map_err(RunError::io("state_dir"))?);
        endpoint.set_time_of_day(clock::unix());
        endpoint.gate(clock::now(), closed);
        let journal = journal::Journal::new(&loaded);
        for event in news.iter().chain(&gates::gates(&BTreeMap::new(), &agreements.closed)) {
            journal.publish(event);
        }
        tracing::info!(tunnels = loaded.tunnels.len(), rules = loaded.policy.rules().len(), "gateway runs");
        control_loop::ControlLoop {
            file: options.file,
            loaded,
            endpoint,
            crew,
            tun_made: 0,
            mtus: BTreeMap::new(),
            sockets: ports,
            host,
            journal,
            stats,
            keylog,
            agreements,
            more: None,
            flood: flood::FloodWatch::default(),
        }
        .run(admin)
        .await
    })
}
