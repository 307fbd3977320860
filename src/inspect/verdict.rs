//! The words in which a packet is asked about and answered.

use crate::event::DropReason;
use crate::ids::{RuleId, ShapeId, TunnelId};

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
