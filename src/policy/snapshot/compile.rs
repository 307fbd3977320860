//! From rules to tables: each rule written out, what cannot be meant refused, and what two rules would both allow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{Allowed, Snapshot};
use crate::event::DropReason;
use crate::policy::classifier::{Classifier, Entry, masked};
use crate::policy::gates::Gates;
use crate::policy::rule::{Rule, Service, TunnelPolicy};
use crate::policy::shape::{self, ShapeNumbers};
use crate::wire::{ipv4, ipv6};

/// How many combinations of hosts and ports there may be: some 64 MB of tables.
const COMBINATIONS: usize = 1 << 18;

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
        let generation = previous.map_or(0, |previous| previous.generation).saturating_add(1);
        let gates = previous.map_or_else(Gates::default, |previous| {
            let gone = previous.tunnels.iter().filter(|tunnel| !tunnel_by_id.contains_key(&tunnel.id));
            let disabled = tunnels.iter().filter(|tunnel| !tunnel.enabled);
            let gone = gone.map(|tunnel| (tunnel.id, DropReason::NoRule));
            previous.gates.under(generation, gone.chain(disabled.map(|tunnel| (tunnel.id, DropReason::TunnelDisabled))))
        });
        let mut snapshot = Self {
            generation,
            digest: [0; 32],
            shapes: numbers.into_shapes().into(),
            lane_shapes: lane_shapes.into(),
            lanes: lanes_by_number(&tunnels).into(),
            rules: rules.into(),
            rule_by_id: rule_by_id.into(),
            tunnels: tunnels.into(),
            classifier: classifier.into(),
            gates,
            translations: Arc::default(),
        };
        snapshot.digest = Sha256::digest(snapshot.canonical_text()).into();
        Ok(snapshot)
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
