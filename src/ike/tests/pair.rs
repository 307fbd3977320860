//! The network: datagrams with a delay, and whatever a test wants done to them on the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::entropy::SeededEntropy;
use crate::event::{DropReason, Event, IkeReason};
use crate::ids::{ShapeId, TunnelId};
use crate::ike::api::{Input, KeyLog, Output};
use crate::ike::config::{
    ChildConfig, Config, IkeLifetime, LocalAuth, PeerAuth, Peering, Secrets, Start, TunnelConfig,
};
use crate::ike::endpoint::Endpoint;
use crate::ike::status::TunnelStatus;
use crate::policy::selector::TrafficSelector;
use crate::sa::child::{Encapsulation, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::lifetime::Lifetime;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

pub(super) const TUNNEL: TunnelId = TunnelId(1);
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn address(side: usize) -> IpAddr {
    ["192.0.2.1", "198.51.100.1"][side].parse().unwrap()
}

pub(super) fn fqdn(name: &str) -> Id {
    Id::new(IdType::FQDN, name.as_bytes().to_vec())
}

pub(super) const GCM: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    prf: PrfAlg::HmacSha384,
    group: Group::Ecp384,
    additional: Additional::NONE,
};
pub(super) const CBC: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Cbc,
    mac: Some(Mac::HmacSha256),
    prf: PrfAlg::HmacSha256,
    group: Group::Modp2048,
    additional: Additional::NONE,
};
pub(super) const X25519: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    prf: PrfAlg::HmacSha256,
    group: Group::Curve25519,
    additional: Additional::NONE,
};
pub(super) const ESP: EspSuite = EspSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    group: Some(Group::Curve25519),
    additional: Additional::NONE,
    esn: true,
};
pub(super) const ESP_CBC: EspSuite = EspSuite {
    cipher: Cipher::Aes256Cbc,
    mac: Some(Mac::HmacSha256),
    group: None,
    additional: Additional::NONE,
    esn: false,
};

pub(super) fn selector(network: &str) -> TrafficSelector {
    TrafficSelector::any(network.parse().unwrap())
}

/// The shape `number` as side `side` sees it.
pub(super) fn child(side: usize, number: u16) -> ChildConfig {
    let ours = selector(&format!("10.{side}.{number}.1/32"));
    let theirs = selector(&format!("10.{}.{number}.1/32", 1 - side));
    ChildConfig::new(ShapeId(number), ours, theirs)
}

/// The pre-shared key of both sides.
pub(super) fn psk() -> Secrets {
    secrets(&[b"a key that both sides know, long enough"])
}

/// Pre-shared keys.
pub(super) fn secrets(keys: &[&[u8]]) -> Secrets {
    Secrets::new(keys.iter().map(|key| Secret::copy_of(key)).collect()).unwrap()
}

/// Other pre-shared keys in both directions.
pub(super) fn set_psk(tunnel: &mut TunnelConfig, keys: &[&[u8]]) {
    tunnel.local_auth = LocalAuth::Psk(secrets(keys));
    tunnel.peer_auth = PeerAuth::Psk(secrets(keys));
}

/// A tunnel as side `side` has it, to be changed by a test.
pub(super) fn tunnel(side: usize) -> TunnelConfig {
    let name = |side: usize| fqdn(["a.example", "b.example"][side]);
    TunnelConfig {
        id: TUNNEL,
        name: "test".to_owned(),
        local: address(side),
        peer: address(1 - side),
        peering: Peering::default(),
        local_id: name(side),
        peer_id: name(1 - side),
        local_auth: LocalAuth::Psk(psk()),
        peer_auth: PeerAuth::Psk(psk()),
        ike: vec![X25519],
        esp: vec![ESP],
        lab: true,
        children: vec![child(side, 0)],
        start: if side == A { Start::Always } else { Start::Manual },
        ppk: None,
        fragmentation: true,
        force_encapsulation: false,
        replay_window: 64,
        liveness: Duration::from_secs(10),
        lifetime: Lifetime {
            soft_packets: 1 << 30,
            hard_packets: 1 << 40,
            soft_bytes: u64::MAX,
            hard_bytes: u64::MAX,
            soft_time: Duration::from_mins(50),
            hard_time: Duration::from_hours(1),
        },
        ike_lifetime: IkeLifetime { soft: Duration::from_hours(20), hard: Duration::from_hours(24) },
        jitter: 10,
    }
}

pub(super) fn config(tunnel: TunnelConfig) -> Arc<Config> {
    Arc::new(Config { tunnels: vec![Arc::new(tunnel)], cookie_threshold: None, puzzles: None })
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Datagram {
    pub at: Instant,
    pub number: u64,
    pub to: usize,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Datagram {
    pub(super) fn header(&self) -> Header {
        Header::decode(&self.bytes).unwrap()
    }
}

/// One endpoint with the world around it.
pub(super) struct Side {
    pub endpoint: Endpoint,
    /// Its addresses.
    pub own: Vec<IpAddr>,
    /// Inner addresses that it was given.
    pub addresses: Vec<IpAddr>,
    pub events: Vec<Event>,
    pub inbound: BTreeMap<Spi, InboundSpec>,
    /// SPIs that were announced to the data path.
    pub expected: BTreeSet<Spi>,
    /// By the inbound SPI it is paired with.
    pub outbound: BTreeMap<Spi, OutboundSpec>,
    /// The outbound SAs of each shape, the last one being where packets go.
    pub ways: BTreeMap<ShapeId, Vec<Spi>>,
    pub redirects: Vec<Encapsulation>,
    pub keepalives: Vec<(SocketAddr, SocketAddr)>,
    pub key_log: Vec<String>,
    pub timeout: Option<Instant>,
    pub sent: usize,
    /// How many inbound SAs there were when each datagram left.
    pub inbound_then: Vec<usize>,
    /// Inbound SAs on which a packet has come.
    pub seen: BTreeSet<Spi>,
    /// Packets that came before their SA.
    pub held: Vec<Spi>,
    /// Packets that came, and packets that no SA took.
    pub received: usize,
    pub lost: Vec<Spi>,
}

type Meddle = Box<dyn FnMut(Datagram, &mut SeededEntropy) -> Vec<(Duration, Datagram)>>;

/// Two endpoints and the line between them.
pub(super) struct Pair {
    pub now: Instant,
    pub sides: [Side; 2],
    pub line: VecDeque<Datagram>,
    pub latency: Duration,
    /// What the line does to a datagram: nothing, one or many, each with an extra delay.
    pub meddle: Option<Meddle>,
    pub trace: Vec<Datagram>,
    /// ESP on its way: to whom, under which SPI.
    pub esp: Vec<(usize, Spi)>,
    entropy: SeededEntropy,
    number: u64,
}

impl Pair {
    pub(super) fn new(a: TunnelConfig, b: TunnelConfig) -> Self {
        Self::seeded(1, config(a), config(b))
    }

    pub(super) fn seeded(seed: u64, a: Arc<Config>, b: Arc<Config>) -> Self {
        let side = |config: Arc<Config>, salt| Side {
            own: config.tunnels.iter().map(|tunnel| tunnel.local).collect(),
            endpoint: Endpoint::new(config, Box::new(SeededEntropy::new(seed * 4 + salt)), true),
            addresses: Vec::new(),
            events: Vec::new(),
            inbound: BTreeMap::new(),
            expected: BTreeSet::new(),
            outbound: BTreeMap::new(),
            ways: BTreeMap::new(),
            redirects: Vec::new(),
            keepalives: Vec::new(),
            key_log: Vec::new(),
            timeout: None,
            sent: 0,
            inbound_then: Vec::new(),
            seen: BTreeSet::new(),
            held: Vec::new(),
            received: 0,
            lost: Vec::new(),
        };
        let mut pair = Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            sides: [side(a, 1), side(b, 2)],
            line: VecDeque::new(),
            latency: Duration::from_millis(10),
            meddle: None,
            trace: Vec::new(),
            esp: Vec::new(),
            entropy: SeededEntropy::new(seed * 4 + 3),
            number: 0,
        };
        pair.input(A, Input::Timeout);
        pair.input(B, Input::Timeout);
        pair
    }

    pub(super) fn input(&mut self, side: usize, input: Input<'_>) {
        let now = self.now;
        self.sides[side].endpoint.handle(now, input);
        self.drain(side);
    }

    pub(super) fn reload(&mut self, side: usize, tunnel: TunnelConfig) {
        let now = self.now;
        self.sides[side].endpoint.reload(now, config(tunnel));
        self.drain(side);
    }

    /// The agreement of one side's tunnel holds, or does not.
    pub(super) fn gate(&mut self, side: usize, closed: Option<DropReason>) {
        let now = self.now;
        self.sides[side].endpoint.gate(now, closed.map(|reason| (TUNNEL, reason)).into_iter().collect());
        self.drain(side);
    }

    pub(super) fn drain(&mut self, side: usize) {
        loop {
            let this = &mut self.sides[side];
            match this.endpoint.poll_output() {
                Output::Timeout(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a timeout in the past never ends");
                    this.timeout = at;
                    return self.release_held(side);
                }
                Output::Transmit { local, remote, bytes } => {
                    this.sent += 1;
                    this.inbound_then.push(this.inbound.len());
                    assert!(this.own.contains(&local.ip()), "it leaves from our address");
                    self.number += 1;
                    let to = 1 - side;
                    let datagram =
                        Datagram { at: self.now, number: self.number, to, source: local, destination: remote, bytes };
                    self.post(datagram);
                }
                Output::Keepalive { local, remote } => this.keepalives.push((local, remote)),
                Output::Addresses { addresses, .. } => this.addresses = addresses,
                Output::Event(event) => this.events.push(event),
                Output::KeyLog(KeyLog::Ike(line) | KeyLog::Esp(line)) => this.key_log.push(line),
                Output::Sad(command) => this.apply(command),
            }
        }
    }

    fn post(&mut self, datagram: Datagram) {
        self.trace.push(datagram.clone());
        let copies = match &mut self.meddle {
            Some(meddle) => meddle(datagram, &mut self.entropy),
            None => vec![(Duration::ZERO, datagram)],
        };
        for (extra, datagram) in copies {
            self.line.push_back(Datagram { at: self.now + self.latency + extra, ..datagram });
        }
    }

    /// Hands a datagram over as the line would.
    pub(super) fn deliver(&mut self, datagram: &Datagram) {
        let (local, remote) = (datagram.destination, datagram.source);
        self.input(datagram.to, Input::Datagram { local, remote, bytes: &datagram.bytes });
    }

    /// The next thing that happens: a datagram arrives or a timer ends. False if nothing will.
    pub(super) fn step(&mut self, until: Instant) -> bool {
        let datagram = self.line.iter().enumerate().min_by_key(|(_, datagram)| (datagram.at, datagram.number));
        let arrival = datagram.map(|(index, datagram)| (datagram.at, index));
        let timer = [A, B].into_iter().filter_map(|side| Some((self.sides[side].timeout?, side))).min();
        match (arrival, timer) {
            (Some((at, index)), timer) if at <= until && timer.is_none_or(|(when, _)| at <= when) => {
                let datagram = self.line.remove(index).unwrap();
                self.now = self.now.max(at);
                self.deliver(&datagram);
            }
            (_, Some((at, side))) if at <= until => {
                self.now = self.now.max(at);
                self.input(side, Input::Timeout);
            }
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        true
    }

    /// Lets `time` pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    pub(super) fn run_secs(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    pub(super) fn status(&self, side: usize) -> TunnelStatus {
        self.sides[side].endpoint.status().remove(0)
    }

    /// Both sides agree on everything: one IKE SA each, the same; child SAs that fit together, with the same keys.
    pub(super) fn assert_up(&self, children: usize) {
        let [a, b] = [A, B].map(|side| self.status(side));
        assert_eq!((a.state, b.state), ("up", "up"), "{a:#?} {b:#?}");
        let (ike_a, ike_b) = (a.ike.unwrap(), b.ike.unwrap());
        assert_eq!(ike_a.spis, ike_b.spis);
        assert_eq!(ike_a.suite, ike_b.suite);
        assert_ne!(ike_a.initiator, ike_b.initiator);
        assert_eq!((a.children.len(), b.children.len()), (children, children));
        let [a, b] = &self.sides;
        for (here, there) in [(a, b), (b, a)] {
            assert_eq!(here.inbound.len(), children);
            assert_eq!(here.outbound.len(), children);
            for (inbound, out) in &here.outbound {
                let peer = there.inbound.get(&out.spi).expect("the peer receives what we send");
                assert_eq!(out.keys.cipher, peer.keys.cipher);
                assert_eq!(out.keys.mac, peer.keys.mac);
                assert_eq!((out.child.cipher, out.child.esn), (peer.child.cipher, peer.child.esn));
                assert_eq!(out.child.local, peer.child.remote);
                assert_eq!(out.child.remote, peer.child.local);
                assert_ne!(out.keys.cipher, here.inbound[inbound].keys.cipher, "one key for each direction");
            }
            assert_eq!(here.ways.len(), children, "one for each shape");
        }
    }

    /// Nothing is left: no IKE SA, no child SA, no half-open entry.
    pub(super) fn assert_empty(&self, side: usize) {
        let side = &self.sides[side];
        assert!(side.endpoint.is_quiet());
        assert_eq!(side.endpoint.half_open(), 0);
        assert!(side.inbound.is_empty() && side.outbound.is_empty());
    }

    pub(super) fn refused(&self, side: usize, reason: IkeReason) -> u64 {
        self.sides[side].endpoint.refused().find(|(of, _)| *of == reason).map_or(0, |(_, count)| count)
    }

    pub(super) fn failed(&self, side: usize) -> Vec<(String, IkeReason, String)> {
        let failed = |event: &Event| match event {
            Event::NegotiationFailed { exchange, reason, detail, .. } => {
                Some((exchange.clone(), *reason, detail.clone()))
            }
            _ => None,
        };
        self.sides[side].events.iter().filter_map(failed).collect()
    }
}

impl Side {
    fn apply(&mut self, command: SadCommand) {
        match command {
            SadCommand::ExpectInbound(spi) => {
                self.expected.insert(spi);
            }
            SadCommand::InstallInbound(spec) => {
                assert!(self.inbound.insert(spec.spi, *spec).is_none(), "an SPI is used once");
            }
            SadCommand::InstallOutbound(spec) => {
                assert!(self.inbound.contains_key(&spec.inbound), "its inbound half was there first");
                self.ways.entry(spec.child.shape).or_default().push(spec.inbound);
                self.outbound.insert(spec.inbound, *spec);
            }
            SadCommand::RemoveInbound(spi) => {
                assert!(self.inbound.remove(&spi).is_some(), "it was installed");
            }
            SadCommand::RemoveOutbound { inbound } => {
                self.outbound.remove(&inbound);
                self.ways.values_mut().for_each(|ways| ways.retain(|of| *of != inbound));
                self.ways.retain(|_, ways| !ways.is_empty());
            }
            SadCommand::Redirect { encapsulation, .. } => self.redirects.push(encapsulation),
        }
    }

    pub(super) fn ups(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::IkeUp { .. })).count()
    }
}
