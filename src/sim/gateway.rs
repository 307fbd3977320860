//! One gateway of the simulation: a real `ike::Endpoint`, a model of its data path, its configurations, its clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::credentials;
use super::dice::Dice;
use super::network::{Frame, Nat};
use super::path::DataPath;
use super::plan::{Change, Feature, Plan};
use super::real::Real;
use crate::entropy::SeededEntropy;
use crate::ids::{ShapeId, TunnelId};
use crate::ike::config::{ChildConfig, Config, IkeLifetime, LocalAuth, PeerAuth, Peering, Ppk, Secrets, TunnelConfig};
use crate::ike::eap::mschapv2::Users;
use crate::ike::eap::{Authenticator, Credentials};
use crate::ike::endpoint::Endpoint;
use crate::policy::selector::TrafficSelector;
use crate::sa::command::SadCommand;
use crate::sa::lifetime::Lifetime;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// What IKE wants done, and may have to wait for what it wanted before.
pub enum Wanted {
    /// A change of the SAD.
    Sad(SadCommand),
    /// A datagram.
    Send(Frame),
}

/// A gateway.
pub struct Gateway {
    /// IKE; `None` while it is down.
    pub endpoint: Option<Endpoint>,
    /// The data path.
    pub path: DataPath,
    /// What its clock is ahead of the world's.
    pub skew: u64,
    /// It stands still until then.
    pub sleeps_until: u64,
    /// When it starts again.
    pub down_until: u64,
    /// When it wants to be woken, in the world's time.
    pub timeout: Option<u64>,
    /// How often it has started.
    pub epoch: u32,
    /// What waits for the data path, and until when.
    pub pending: VecDeque<(u64, Wanted)>,
    /// The configuration at first.
    pub base: Arc<Config>,
    /// All configurations that it has had.
    pub configs: Vec<Arc<Config>>,
    /// Whether it was told to read the last of them while it stood still.
    pub behind: bool,
    /// What the operator holds down.
    pub held: BTreeSet<TunnelId>,
    /// When IKE last heard of ESP from a peer.
    pub told: BTreeMap<TunnelId, u64>,
    /// What stands in front of it.
    pub nat: Option<Nat>,
    /// The real `esp` beside the model, in some seeds.
    pub real: Option<Real>,
    /// Where it is: at its own address, or at which other one.
    pub place: u8,
}

impl Gateway {
    /// A gateway that has not started yet.
    #[must_use]
    pub fn new(plan: &Plan, index: usize) -> Self {
        let base = Arc::new(config(plan, index, Change::Nothing));
        Self {
            endpoint: None,
            path: DataPath::default(),
            skew: u64::try_from(plan.clocks[index].as_nanos()).unwrap_or(0),
            sleeps_until: 0,
            down_until: 0,
            timeout: None,
            epoch: 0,
            pending: VecDeque::new(),
            configs: vec![base.clone()],
            behind: false,
            base,
            held: BTreeSet::new(),
            told: BTreeMap::new(),
            nat: plan.nats[index].map(|nat| Nat::new(nat, plan.addresses(index))),
            real: None,
            place: 0,
        }
    }

    /// The process starts.
    pub fn start(&mut self, plan: &Plan, index: usize) {
        self.epoch += 1;
        let mut dice = Dice::new(plan.seed, 1000 + index as u64 * 100 + u64::from(self.epoch));
        let current = self.configs.last().unwrap_or(&self.base).clone();
        let mut endpoint = Endpoint::new(current, Box::new(SeededEntropy::new(dice.next())), true);
        endpoint.set_time_of_day(credentials::TIME_OF_DAY);
        if plan.has(Feature::Tokens) {
            // It outlives the process.
            endpoint.remember_by(Secret::copy_of(format!("what gateway {index} keeps on its disk").as_bytes()));
        }
        self.endpoint = Some(endpoint);
        self.path = DataPath::default();
        self.real = plan.real_esp.then(Real::default);
        self.pending.clear();
        self.held.clear();
        self.told.clear();
        self.behind = false;
        // A process that starts is where its configuration says.
        self.place = 0;
    }

    /// The process is killed.
    pub fn crash(&mut self) {
        self.endpoint = None;
        self.path = DataPath::default();
        self.pending.clear();
        self.timeout = None;
    }

    /// What its clock says.
    #[must_use]
    pub fn clock(&self, now: u64) -> Instant {
        Instant::from_nanos(now + self.skew)
    }
}

/// The selectors of a shape as one end of a tunnel sees them: its own and the other's.
#[must_use]
pub fn selectors(plan: &Plan, tunnel: usize, shape: u16, end: usize) -> [TrafficSelector; 2] {
    let of = &plan.tunnels[tunnel];
    let len = if of.wide == Some(end) { 24 } else { 32 };
    of.hosts(tunnel, shape, end).map(|host| {
        let net = IpNet::new(host, len).expect("a length of IPv4");
        TrafficSelector::any(net.trunc())
    })
}

/// The configuration of one gateway.
#[must_use]
pub fn config(plan: &Plan, index: usize, change: Change) -> Config {
    let mut tunnels = Vec::new();
    for (number, of) in plan.tunnels.iter().enumerate() {
        let Some(end) = of.end_of(index) else { continue };
        // Both head-ends are the same peer.
        let (me, peer) = (of.ends[end], of.ends[1 - end]);
        let head = of.second.filter(|_| end == 0);
        let name = |gateway: usize| Id::new(IdType::FQDN, format!("g{gateway}.example").into_bytes());
        let shapes = if change == Change::FewerShapes && of.shapes > 1 { of.shapes - 1 } else { of.shapes };
        let children = (0..shapes).map(|shape| {
            let [local, remote] = selectors(plan, number, shape, end);
            ChildConfig::new(ShapeId(shape), local, remote)
        });
        let longer = if change == Change::Lifetimes { 2 } else { 1 };
        let [soft, hard] = of.child_life[end].map(|time| time * longer);
        let [ike_soft, ike_hard] = of.ike_life[end].map(|time| time * longer);
        let secret =
            |name: &str| Secret::copy_of(format!("what the two ends of tunnel {number} know: {name}").as_bytes());
        // A key that is being replaced: each side has both for a while, in an order of its own.
        let mut keys: Vec<Secret> = of.keys[end].iter().map(|name| secret(name)).collect();
        if change == Change::Key {
            keys.reverse();
        }
        let key = Secrets::new(keys).expect("there is a key");
        let window = if change == Change::Window { of.replay_window * 2 } else { of.replay_window };
        let ppk = of.ppk[end].map(|required| {
            let secret = Secret::copy_of(format!("the postquantum key of tunnel {number}").as_bytes());
            Arc::new(Ppk { id: b"ppk".to_vec(), secret, required })
        });
        tunnels.push(Arc::new(TunnelConfig {
            ppk,
            id: TunnelId(u16::try_from(number).unwrap_or(0)),
            name: format!("t{number}"),
            local: plan.addresses(index)[0],
            peer: plan.addresses(peer)[1],
            local_id: name(me),
            peer_id: name(peer),
            peering: Peering {
                childless: of.childless[end],
                mobike: of.mobike,
                others: head.map(|head| plan.addresses(head.gateway)[1]).into_iter().collect(),
                fail_back: head.and_then(|head| head.fail_back),
                ..Peering::default()
            },
            local_auth: if of.eap == Some(end) {
                let password = Arc::new(Secret::copy_of(b"open sesame"));
                LocalAuth::Eap(Credentials::MschapV2 { user: "ali".to_owned(), password })
            } else if of.certificates[end] {
                credentials::of(me)
            } else {
                LocalAuth::Psk(key.clone())
            },
            peer_auth: if of.eap == Some(1 - end) {
                let mut users = Users::default();
                users.add("ali", "open sesame");
                PeerAuth::Eap(Authenticator::MschapV2 { users: Arc::new(users), ask_identity: false })
            } else if of.certificates[1 - end] {
                credentials::anybody()
            } else {
                PeerAuth::Psk(key)
            },
            fragmentation: of.fragmentation[end],
            ike: of.ike[end].clone(),
            esp: of.esp[end].clone(),
            lab: true,
            children: children.collect(),
            start: of.start[end],
            force_encapsulation: of.force_encapsulation,
            replay_window: window,
            liveness: of.liveness[end],
            lifetime: Lifetime {
                soft_packets: of.packets[0],
                hard_packets: of.packets[1],
                soft_bytes: u64::MAX,
                hard_bytes: u64::MAX,
                soft_time: soft,
                hard_time: hard,
            },
            ike_lifetime: IkeLifetime { soft: ike_soft, hard: ike_hard },
            jitter: of.jitter,
        }));
    }
    Config { tunnels, cookie_threshold: plan.cookies[index], puzzles: None }
}

/// A time as the queue counts it.
#[must_use]
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
