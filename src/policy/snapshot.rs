//! The compiled policy: immutable, swapped as a whole, asked once for each flow.

mod compile;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

pub use self::compile::CompileError;
use super::classifier::{Classifier, Entry, Opening, opened_port};
use super::gates::Gates;
use super::inspection::{Inspection, Mode};
use super::rule::{Rule, RuleDirection, SelectorMode, Service, TunnelPolicy};
use super::shape::Shape;
use super::translate::{Translation, Translations};
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, ShapeId, TunnelId};

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
    gates: Gates,
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

impl Snapshot {
    /// The same rules, under which nothing passes through the tunnels in `closed`, and what could pass through the others does.
    /// Its generation is the next one: every live flow is judged again, and none of a closed tunnel outlives it.
    #[must_use]
    pub fn gated(&self, closed: &BTreeMap<TunnelId, DropReason>) -> Self {
        let generation = self.generation.saturating_add(1);
        Self {
            generation,
            digest: self.digest,
            rules: Arc::clone(&self.rules),
            rule_by_id: Arc::clone(&self.rule_by_id),
            tunnels: Arc::clone(&self.tunnels),
            shapes: Arc::clone(&self.shapes),
            lane_shapes: Arc::clone(&self.lane_shapes),
            lanes: Arc::clone(&self.lanes),
            classifier: Arc::clone(&self.classifier),
            gates: self.gates.with(generation, closed.iter().map(|(tunnel, reason)| (*tunnel, *reason))),
            translations: Arc::clone(&self.translations),
        }
    }

    /// Why nothing passes through a tunnel, where its agreement does not hold now.
    #[must_use]
    pub fn gate(&self, tunnel: TunnelId) -> Option<DropReason> {
        self.gates.closed(tunnel)
    }

    /// Why a flow of a tunnel is over that was last allowed under `generation`: nothing passed there meanwhile, whether anything does
    /// now or not.
    #[must_use]
    pub fn closed_since(&self, tunnel: TunnelId, generation: u64) -> Option<DropReason> {
        self.gates.closed_since(tunnel, generation)
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
}
