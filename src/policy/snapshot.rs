//! The compiled policy: immutable, swapped as a whole, asked once for each flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::classifier::{Classifier, Entry, Opening, masked, opened_port};
use super::inspection::{Inspection, Mode};
use super::rule::{Rule, RuleDirection, SelectorMode, Service, TunnelPolicy};
use super::shape::{self, Shape, ShapeNumbers};
use super::translate::{Translation, Translations};
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, ShapeId, TunnelId};
use crate::wire::{ipv4, ipv6};

/// How many combinations of hosts and ports there may be: some 64 MB of tables.
const COMBINATIONS: usize = 1 << 18;

/// All rules of the configuration, compiled. What is large is shared with the snapshots made from it by
/// [`gated`](Self::gated).
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    digest: [u8; 32],
    rules: Arc<[Rule]>,
    rule_by_id: Arc<HashMap<RuleId, usize>>,
    tunnels: Arc<[TunnelPolicy]>,
    shapes: Arc<[Shape]>,
    /// The shapes of lanes above 0, at the place of the number of lane 0's.
    lane_shapes: Arc<[Vec<ShapeId>]>,
    /// How many lanes each tunnel has, by its number.
    lanes: Arc<[u8]>,
    classifier: Arc<Classifier>,
    translations: Arc<Translations>,
    /// Why nothing passes through a tunnel, by its number: its agreement does not hold now.
    gates: Box<[Option<DropReason>]>,
}

/// What a rule says of a flow that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule.
    pub rule: RuleId,
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The child SA that carries it, or the first of those that do ([`Snapshot::lane_shape`]).
    pub shape: ShapeId,
    /// Whether the side that opens is ours.
    pub opener_is_local: bool,
}

/// The table's answer for the first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classified {
    /// A rule allows its sender to open it.
    Allow(Allowed),
    /// A rule would allow it, but its tunnel is disabled, or its agreement does not hold now.
    Disabled {
        /// The rule.
        rule: RuleId,
        /// Its tunnel.
        tunnel: TunnelId,
        /// Why nothing passes.
        reason: DropReason,
    },
    /// A rule allows it the other way round.
    WrongDirection {
        /// The rule.
        rule: RuleId,
        /// Its tunnel.
        tunnel: TunnelId,
    },
    /// No rule allows it.
    NoRule {
        /// A rule between the same hosts, if there is one.
        near: Option<RuleId>,
        /// The tunnel that protects the other side, if there is one.
        tunnel: Option<TunnelId>,
    },
    /// It is on its way out to a host that no tunnel protects.
    NotOurs,
}

/// Why the rules make no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Two rules allow the same flow, so that their order would carry a meaning.
    #[error("rules \"{first}\" and \"{second}\" both allow {flow}")]
    Overlap {
        /// The earlier rule.
        first: String,
        /// The later rule.
        second: String,
        /// What both allow.
        flow: String,
    },
    /// A rule names a tunnel that is not there.
    #[error("rule \"{rule}\" names a tunnel that does not exist")]
    UnknownTunnel {
        /// The rule.
        rule: String,
    },
    /// Two rules have one number, or two tunnels.
    #[error("rule or tunnel \"{name}\" has the number of another one")]
    DuplicateId {
        /// The later one.
        name: String,
    },
    /// A rule names no host, or one that has nobody of its own address family on the other side.
    #[error("rule \"{rule}\" names a host for which there is none of the same address family on the other side")]
    NoPair {
        /// The rule.
        rule: String,
    },
    /// A rule's service needs ports and has none, or has port 0, or ports stand at a service without any.
    #[error("rule \"{rule}\": {service} with these ports allows nothing")]
    BadPorts {
        /// The rule.
        rule: String,
        /// Its service.
        service: &'static str,
    },
    /// A rule's host cannot be on the other side of a tunnel.
    #[error("rule \"{rule}\": {network} is a loopback, link-local, multicast, broadcast or unspecified address")]
    BadAddress {
        /// The rule.
        rule: String,
        /// The host.
        network: IpNet,
    },
    /// The table would grow beyond its bound.
    #[error("the rules make more than {limit} combinations of hosts and ports")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

impl Snapshot {
    /// Compiles `rules`. Shapes that were in `previous` keep their numbers, and the generation counts on from it.
    pub fn compile(
        rules: Vec<Rule>,
        tunnels: Vec<TunnelPolicy>,
        previous: Option<&Self>,
    ) -> Result<Self, CompileError> {
        let mut rule_by_id = HashMap::new();
        let mut tunnel_by_id = HashMap::new();
        for tunnel in &tunnels {
            if tunnel_by_id.insert(tunnel.id, tunnel).is_some() {
                return Err(CompileError::DuplicateId { name: tunnel.name.clone() });
            }
        }
        let mut combinations = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if rule_by_id.insert(rule.id, index).is_some() {
                return Err(CompileError::DuplicateId { name: rule.name.clone() });
            }
            if !tunnel_by_id.contains_key(&rule.tunnel) {
                return Err(CompileError::UnknownTunnel { rule: rule.name.clone() });
            }
            expand(rule, index, &mut combinations)?;
        }
        refuse_overlaps(&rules, &combinations)?;

        let mut numbers = ShapeNumbers::after(previous.map_or(&[], |previous| &*previous.shapes));
        let mut classifier = Classifier::default();
        let mut lane_shapes = Vec::new();
        for Combination { rule, local, remote, protocol, port } in combinations {
            let rule = rules.get(rule).expect("a combination has the index of its rule");
            let tunnel = tunnel_by_id.get(&rule.tunnel).expect("each rule's tunnel was looked up above");
            let (local_selector, remote_selector) = shape::selectors(rule, tunnel.selectors, local, remote, port);
            let mut number = |lane| {
                let number = numbers.number((tunnel.id, local_selector, remote_selector, lane));
                number.ok_or(CompileError::TooLarge { limit: usize::from(u16::MAX) })
            };
            let shape = number(0)?;
            let others = (1..tunnel.lanes).map(number).collect::<Result<Vec<_>, _>>()?;
            if !others.is_empty() {
                let at = usize::from(shape.0);
                lane_shapes.resize(lane_shapes.len().max(at + 1), Vec::new());
                lane_shapes[at] = others;
            }
            let allowed = Allowed { rule: rule.id, tunnel: tunnel.id, shape, opener_is_local: rule.opener_is_local() };
            classifier.insert(local, remote, protocol, port, Entry { allowed, enabled: tunnel.enabled });
        }
        let mut snapshot = Self {
            generation: previous.map_or(0, |previous| previous.generation).saturating_add(1),
            digest: [0; 32],
            shapes: numbers.into_shapes().into(),
            lane_shapes: lane_shapes.into(),
            lanes: lanes_by_number(&tunnels).into(),
            rules: rules.into(),
            rule_by_id: rule_by_id.into(),
            tunnels: tunnels.into(),
            classifier: classifier.into(),
            gates: Box::default(),
            translations: Arc::default(),
        };
        snapshot.digest = Sha256::digest(snapshot.canonical_text()).into();
        Ok(snapshot)
    }

    /// The same rules, under which nothing passes through the tunnels in `closed`, and what could pass through the others does.
    /// Its generation is the next one: every live flow is judged again.
    #[must_use]
    pub fn gated(&self, closed: &BTreeMap<TunnelId, DropReason>) -> Self {
        let room = closed.keys().last().map_or(0, |last| usize::from(last.0) + 1);
        let mut gates = vec![None; room].into_boxed_slice();
        for (tunnel, reason) in closed {
            if let Some(gate) = gates.get_mut(usize::from(tunnel.0)) {
                *gate = Some(*reason);
            }
        }
        Self {
            generation: self.generation.saturating_add(1),
            digest: self.digest,
            rules: Arc::clone(&self.rules),
            rule_by_id: Arc::clone(&self.rule_by_id),
            tunnels: Arc::clone(&self.tunnels),
            shapes: Arc::clone(&self.shapes),
            lane_shapes: Arc::clone(&self.lane_shapes),
            lanes: Arc::clone(&self.lanes),
            classifier: Arc::clone(&self.classifier),
            gates,
            translations: Arc::clone(&self.translations),
        }
    }

    /// Why nothing passes through a tunnel, where its agreement does not hold now.
    #[must_use]
    pub fn gate(&self, tunnel: TunnelId) -> Option<DropReason> {
        self.gates.get(usize::from(tunnel.0)).copied().flatten()
    }

    /// Why nothing passes by an entry of the table.
    fn shut(&self, entry: &Entry) -> Option<DropReason> {
        self.gate(entry.allowed.tunnel).or((!entry.enabled).then_some(DropReason::TunnelDisabled))
    }

    /// The same policy, whose outside addresses are those of these hosts.
    #[must_use]
    pub fn translating(mut self, list: Vec<Translation>) -> Self {
        self.translations = Arc::new(Translations::compile(list, &self.rules));
        self.digest = Sha256::digest(self.canonical_text()).into();
        self
    }

    /// Who is known under which address.
    #[must_use]
    pub fn translations(&self) -> &Translations {
        &self.translations
    }

    /// A policy that allows nothing and protects nobody.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A policy that lets anybody open one service to anybody on these ports, outwards: for flows of which nothing else is
    /// known.
    #[must_use]
    pub fn anybody(service: Service, ports: Vec<u16>) -> Self {
        if ports.is_empty() || ports.contains(&0) {
            return Self::empty();
        }
        let everywhere = || vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
        let tunnel = TunnelId(0);
        let rule = Rule {
            id: RuleId(0),
            name: service.as_str().to_owned(),
            tunnel,
            agreement: String::new(),
            clause: String::new(),
            purposes: Vec::new(),
            from: everywhere(),
            to: everywhere(),
            service,
            ports,
            direction: RuleDirection::Outbound,
            inspection: Inspection::of(service),
            mode: Mode::Enforce,
        };
        let tunnels = vec![TunnelPolicy {
            id: tunnel,
            name: String::new(),
            selectors: SelectorMode::Host,
            lanes: 1,
            enabled: true,
        }];
        Self::compile(vec![rule], tunnels, None).unwrap_or_default()
    }

    /// Counts up with each compilation; a cached verdict of another generation is not believed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHA-256 of [`canonical_text`](Self::canonical_text).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What may the sender of `key` open? `outbound` is a packet from our side.
    #[must_use]
    pub fn classify(&self, outbound: bool, key: &FlowKey) -> Classified {
        let (local, remote) = if outbound { (key.source, key.destination) } else { (key.destination, key.source) };
        let protocol = key.protocol;
        let opening = |opener_is_local, port| Opening { local, remote, opener_is_local, protocol, port };
        let opened = opened_port(protocol, key.source_port, key.destination_port);
        if let Some(entry) = opened.and_then(|port| self.classifier.find(&opening(outbound, port))) {
            let Allowed { rule, tunnel, .. } = entry.allowed;
            return match self.shut(entry) {
                None => Classified::Allow(entry.allowed),
                Some(reason) => Classified::Disabled { rule, tunnel, reason },
            };
        }
        // The same service on the wrong side, or an answer to something that nobody asked.
        let answered = opened.map(|port| if port == 0 { 0 } else { key.source_port });
        for port in opened.into_iter().chain(answered) {
            if let Some(entry) = self.classifier.find(&opening(!outbound, port)) {
                let Allowed { rule, tunnel, .. } = entry.allowed;
                return Classified::WrongDirection { rule, tunnel };
            }
        }
        match self.classifier.protecting(remote) {
            None if outbound => Classified::NotOurs,
            tunnel => Classified::NoRule { near: self.classifier.near(local, remote, protocol), tunnel },
        }
    }

    /// The tunnel that protects a host, if the host is behind a peer; else it is on our side, or nobody's.
    #[must_use]
    pub fn behind_peer(&self, host: IpAddr) -> Option<TunnelId> {
        self.classifier.protecting(host)
    }

    /// By what right may a flow be open that was opened like this? `None` also if its tunnel is disabled, or its agreement does
    /// not hold now.
    #[must_use]
    pub fn allows(&self, opening: &Opening) -> Option<Allowed> {
        self.classifier.find(opening).filter(|entry| self.shut(entry).is_none()).map(|entry| entry.allowed)
    }

    /// The child SAs that `tunnel` needs, whether it is switched on or not.
    #[must_use]
    pub fn shapes(&self, tunnel: TunnelId) -> &[Shape] {
        let start = self.shapes.partition_point(|shape| shape.tunnel < tunnel);
        let end = self.shapes.partition_point(|shape| shape.tunnel <= tunnel);
        self.shapes.get(start..end).unwrap_or_default()
    }

    /// The shape that has the selectors of `first`, which is one of lane 0, in another lane; `first` itself where there is
    /// no such lane.
    #[must_use]
    pub fn lane_shape(&self, first: ShapeId, lane: u8) -> ShapeId {
        let Some(above) = usize::from(lane).checked_sub(1) else { return first };
        let others = self.lane_shapes.get(usize::from(first.0));
        others.and_then(|others| others.get(above)).copied().unwrap_or(first)
    }

    /// How many lanes a tunnel has: at least one.
    #[must_use]
    pub fn lanes(&self, tunnel: TunnelId) -> u8 {
        self.lanes.get(usize::from(tunnel.0)).copied().unwrap_or(1)
    }

    /// The tunnel that protects a host on the peer's side; of several always the same one.
    #[must_use]
    pub fn protecting(&self, remote: IpAddr) -> Option<TunnelId> {
        self.classifier.protecting(remote)
    }

    /// One shape by number.
    #[must_use]
    pub fn shape(&self, id: ShapeId) -> Option<&Shape> {
        self.shapes.iter().find(|shape| shape.id == id)
    }

    /// One rule by number.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rule_by_id.get(&id).and_then(|index| self.rules.get(*index))
    }

    /// All rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// One tunnel by number.
    #[must_use]
    pub fn tunnel(&self, id: TunnelId) -> Option<&TunnelPolicy> {
        self.tunnels.iter().find(|tunnel| tunnel.id == id)
    }

    /// All tunnels, in the order of the file.
    #[must_use]
    pub fn tunnels(&self) -> &[TunnelPolicy] {
        &self.tunnels
    }

    /// The rules as text, independent of their order in the file and of their numbers: what the digest is made of.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let mut lines = BTreeSet::new();
        for tunnel in self.tunnels.iter() {
            let state = if tunnel.enabled { "enabled" } else { "disabled" };
            lines.insert(format!("tunnel {:?} selectors {} {state}", tunnel.name, tunnel.selectors.as_str()));
        }
        for rule in self.rules.iter() {
            let tunnel = self.tunnel(rule.tunnel).map_or("", |tunnel| &tunnel.name);
            let mut line = format!(
                "rule {:?} tunnel {tunnel:?} agreement {:?} clause {:?} {} {} ports",
                rule.name,
                rule.agreement,
                rule.clause,
                rule.direction.as_str(),
                rule.service.as_str()
            );
            for port in rule.effective_ports() {
                let _ = write!(line, " {port}");
            }
            if !rule.purposes.is_empty() {
                let _ = write!(line, " purpose {}", rule.purposes.join(" "));
            }
            for (word, networks) in [("from", &rule.from), ("to", &rule.to)] {
                line.push(' ');
                line.push_str(word);
                for network in networks.iter().map(IpNet::trunc).collect::<BTreeSet<_>>() {
                    let _ = write!(line, " {network}");
                }
            }
            if !rule.inspection.is_uninspected() {
                let _ = write!(line, " {} {}", rule.mode.as_str(), rule.inspection);
            }
            lines.insert(line);
        }
        for translation in self.translations.list() {
            let tunnel = self.tunnel(translation.tunnel).map_or("", |tunnel| &tunnel.name);
            let mut line = format!("translate tunnel {tunnel:?} outside {} inside", translation.outside);
            for network in translation.inside.iter().map(IpNet::trunc).collect::<BTreeSet<_>>() {
                let _ = write!(line, " {network}");
            }
            if let Some(host) = translation.inbound {
                let _ = write!(line, " inbound {host}");
            }
            lines.insert(line);
        }
        lines.into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }
}

/// The lanes of each tunnel, at the place of its number.
fn lanes_by_number(tunnels: &[TunnelPolicy]) -> Vec<u8> {
    let last = tunnels.iter().map(|tunnel| usize::from(tunnel.id.0)).max();
    let mut lanes = vec![1; last.map_or(0, |last| last + 1)];
    for tunnel in tunnels {
        lanes[usize::from(tunnel.id.0)] = tunnel.lanes.max(1);
    }
    lanes
}

/// One pair of networks and one port of a rule.
struct Combination {
    rule: usize,
    local: IpNet,
    remote: IpNet,
    protocol: u8,
    port: u16,
}

/// Writes a rule out: each of its networks with each of the other side, for each of its ports.
fn expand(rule: &Rule, index: usize, out: &mut Vec<Combination>) -> Result<(), CompileError> {
    let mut ports = rule.effective_ports();
    if ports.contains(&0) || ports.is_empty() != (rule.service == Service::Echo) {
        return Err(CompileError::BadPorts { rule: rule.name.clone(), service: rule.service.as_str() });
    }
    if rule.service == Service::Echo {
        ports.push(0);
    }
    if let Some(network) = rule.from.iter().chain(&rule.to).find(|network| !is_usable(network)) {
        return Err(CompileError::BadAddress { rule: rule.name.clone(), network: *network });
    }
    // A host without a partner of its own family would look allowed and be dead.
    let families =
        |networks: &[IpNet]| networks.iter().map(|network| network.network().is_ipv6()).collect::<BTreeSet<_>>();
    if rule.from.is_empty() || families(&rule.from) != families(&rule.to) {
        return Err(CompileError::NoPair { rule: rule.name.clone() });
    }
    let each = |networks: &[IpNet]| networks.iter().map(IpNet::trunc).collect::<BTreeSet<_>>();
    let remotes = each(rule.remote());
    for local in each(rule.local()) {
        let v6 = local.network().is_ipv6();
        for remote in remotes.iter().copied().filter(|remote| remote.network().is_ipv6() == v6) {
            for &port in &ports {
                if out.len() == COMBINATIONS {
                    return Err(CompileError::TooLarge { limit: COMBINATIONS });
                }
                out.push(Combination { rule: index, local, remote, protocol: rule.service.protocol(v6), port });
            }
        }
    }
    Ok(())
}

/// Whether hosts on either side can have this address. Networks may hold addresses that none has.
fn is_usable(network: &IpNet) -> bool {
    match network.network() {
        _ if network.prefix_len() != network.max_prefix_len() => true,
        IpAddr::V4(host) => ipv4::is_host(host),
        IpAddr::V6(host) => ipv6::is_host(host),
    }
}

/// Two rules that allow the same flow would make their order, or the choice of a tunnel, a matter of chance.
///
/// Prefixes overlap if they agree in as many bits as the shorter one has: so for each two pairs of lengths one side is
/// cut down to the common lengths and kept by address, and the other looks itself up there.
fn refuse_overlaps(rules: &[Rule], combinations: &[Combination]) -> Result<(), CompileError> {
    type ByLengths<'a> = BTreeMap<(u8, u8), Vec<&'a Combination>>;
    let mut by_service: BTreeMap<(bool, bool, u8, u16), ByLengths<'_>> = BTreeMap::new();
    for combination in combinations {
        let opener_is_local = rules.get(combination.rule).is_some_and(Rule::opener_is_local);
        let v6 = combination.local.network().is_ipv6();
        let lengths = (combination.local.prefix_len(), combination.remote.prefix_len());
        let service = (v6, opener_is_local, combination.protocol, combination.port);
        by_service.entry(service).or_default().entry(lengths).or_default().push(combination);
    }
    let collisions = by_service.values().flat_map(|by_lengths| {
        let pairs = by_lengths
            .iter()
            .enumerate()
            .flat_map(|(index, one)| by_lengths.iter().skip(index).map(move |other| (one, other)));
        pairs.filter_map(|((one_lengths, one), (other_lengths, other))| {
            let common = (one_lengths.0.min(other_lengths.0), one_lengths.1.min(other_lengths.1));
            let cut = |combination: &Combination| {
                (masked(combination.local.network(), common.0), masked(combination.remote.network(), common.1))
            };
            let mut kept = HashMap::with_capacity(one.len());
            if one_lengths == other_lengths {
                return one
                    .iter()
                    .find_map(|combination| Some((kept.insert(cut(combination), *combination)?, *combination)));
            }
            kept.extend(one.iter().map(|combination| (cut(combination), *combination)));
            other.iter().find_map(|combination| Some((*kept.get(&cut(combination))?, *combination)))
        })
    });
    // Of several collisions the one that stands first in the file is told.
    let earliest = collisions.map(|(one, other)| if one.rule <= other.rule { (one, other) } else { (other, one) });
    let Some((one, other)) = earliest.min_by_key(|(one, other)| (one.rule, other.rule)) else { return Ok(()) };
    let name =
        |combination: &Combination| rules.get(combination.rule).map_or_else(String::new, |rule| rule.name.clone());
    let narrower = |one: IpNet, other: IpNet| if one.prefix_len() >= other.prefix_len() { one } else { other };
    let (local, remote) = (narrower(one.local, other.local), narrower(one.remote, other.remote));
    let service = rules.get(one.rule).map_or("", |rule| rule.service.as_str());
    let port = if one.port == 0 { String::new() } else { format!(" port {}", one.port) };
    Err(CompileError::Overlap {
        first: name(one),
        second: name(other),
        flow: format!("{service}{port} between {local} and {remote}"),
    })
}
