//! The live flows and their verdicts: every inner packet of both directions is judged here.

use crate::event::DropReason;
use crate::ids::{RuleId, ShapeId, TunnelId};
use crate::policy::Snapshot;
use crate::time::Instant;
use crate::wire::ip::Inner;

/// From where an inner packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From our side: read from the TUN device.
    Tun,
    /// From the peer: opened with an SA of this tunnel.
    Tunnel(TunnelId),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass(Pass),
    /// It goes no further.
    Drop {
        /// Why.
        reason: DropReason,
        /// The tunnel that it would have taken or came by, where one is known.
        tunnel: Option<TunnelId>,
        /// The rule that is near: the one that refuses it, or one between the same hosts.
        rule: Option<RuleId>,
        /// What is to be sent back.
        reply: Reply,
    },
}

/// By what right a packet goes on, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The child SA that carries it.
    pub shape: ShapeId,
    /// The rule that allows it.
    pub rule: RuleId,
    /// Whether it is the first packet of its flow.
    pub opened: bool,
}

/// What is sent back to our own side; never anything to the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    None,
    /// A RST: `wire::tcp::build_reset`.
    Reset,
    /// "Administratively prohibited": `wire::icmp::build_error`.
    Unreachable,
}

/// The flows of one worker, in room that is allocated once.
#[derive(Debug)]
pub struct FlowTable {
    capacity: usize,
}

impl FlowTable {
    /// Room for `capacity` flows; `hash_seed` must not be known to the peers.
    #[must_use]
    pub fn new(capacity: usize, hash_seed: [u64; 4]) -> Self {
        let _ = hash_seed;
        Self { capacity }
    }

    /// How many flows are alive, or have expired and were not yet swept away.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many flows there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether `packet` may go on.
    pub fn judge(&mut self, _now: Instant, _origin: Origin, _packet: &Inner<'_>, _policy: &Snapshot) -> Verdict {
        todo!()
    }

    /// Looks at the next `budget` places of the table and ends the flows there that have expired.
    pub fn sweep(&mut self, _now: Instant, _budget: usize) {}
}
