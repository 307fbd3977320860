//! The compiled policy: immutable, swapped as a whole, asked once for each flow.

use crate::event::FlowKey;
use crate::ids::{RuleId, ShapeId, TunnelId};

use super::rule::{Rule, TunnelPolicy};
use super::shape::Shape;

/// All rules of the configuration, compiled.
#[derive(Debug)]
pub struct Snapshot {
    generation: u64,
    digest: [u8; 32],
    rules: Vec<Rule>,
    tunnels: Vec<TunnelPolicy>,
    shapes: Vec<Shape>,
}

/// What a rule says of a flow that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule.
    pub rule: RuleId,
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The child SA that carries it.
    pub shape: ShapeId,
    /// Whether the side that opens is ours.
    pub opener_is_local: bool,
}

/// The table's answer for the first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classified {
    /// A rule allows its sender to open it.
    Allow(Allowed),
    /// A rule would allow it, but its tunnel is switched off.
    Disabled {
        /// The rule.
        rule: RuleId,
        /// Its tunnel.
        tunnel: TunnelId,
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
    /// A rule names no host, or its sides have no address family in common.
    #[error("rule \"{rule}\" has no pair of hosts of one address family")]
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
    #[error("rule \"{rule}\": {network} is a loopback, multicast, broadcast or unspecified address")]
    BadAddress {
        /// The rule.
        rule: String,
        /// The host.
        network: ipnet::IpNet,
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
        let generation = previous.map_or(0, |previous| previous.generation).saturating_add(1);
        Ok(Self { generation, digest: [0; 32], rules, tunnels, shapes: Vec::new() })
    }

    /// A policy that allows nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { generation: 0, digest: [0; 32], rules: Vec::new(), tunnels: Vec::new(), shapes: Vec::new() }
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
    pub fn classify(&self, _outbound: bool, _key: &FlowKey) -> Classified {
        todo!()
    }

    /// The child SAs that `tunnel` needs.
    #[must_use]
    pub fn shapes(&self, tunnel: TunnelId) -> &[Shape] {
        let _ = (tunnel, &self.shapes);
        todo!()
    }

    /// One shape by number.
    #[must_use]
    pub fn shape(&self, _id: ShapeId) -> Option<&Shape> {
        todo!()
    }

    /// One rule by number.
    #[must_use]
    pub fn rule(&self, _id: RuleId) -> Option<&Rule> {
        todo!()
    }

    /// All rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// One tunnel by number.
    #[must_use]
    pub fn tunnel(&self, _id: TunnelId) -> Option<&TunnelPolicy> {
        let _ = &self.tunnels;
        todo!()
    }

    /// The rules as text, independent of their order in the file: what the digest is made of.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        todo!()
    }
}
