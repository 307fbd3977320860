//! The words in which a packet is asked about and answered.

use std::net::IpAddr;

use crate::event::{DropReason, FlowKey};
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
    /// It waits inside until what is missing in front of it has come, and leaves then (`FlowTable::release`).
    Waits,
    /// It is the first of a train that cannot be judged as one: its packets are to be asked about one by one.
    Split(Pass),
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
    /// Whether it goes without its payload (`wire::tcp::shed_payload`), which its receiver has already.
    pub bare: bool,
    /// Whether what is said in the flow is known now to be what its rule demands.
    pub recognised: bool,
    /// What would have ended the flow if its rule did not only observe. Nothing more of it is heard.
    pub observed: Option<DropReason>,
}

/// What is sent back to our own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    None,
    /// A RST: `wire::tcp::build_reset`.
    Reset,
    /// "Administratively prohibited": `wire::icmp::build_error`.
    Unreachable,
}

/// How a flow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its ends have closed it, or one has reset it.
    Closed,
    /// It was silent for too long.
    Expired,
    /// We have ended it: for what it said, or because the policy does not allow it any more.
    Refused(DropReason),
}

/// A flow that has ended, or a packet of one that was ended: what is to be told, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How. Told once for a flow: later packets have `None`.
    pub cause: Option<Cause>,
    /// Bytes of inner packets that it has carried, out and in; those of a train without the headers of all but the first.
    pub bytes: [u64; 2],
    /// The packet with which the flow was opened.
    pub flow: FlowKey,
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The child SA that carries it.
    pub shape: ShapeId,
    /// The rule that allowed it.
    pub rule: RuleId,
    /// The RST for our own side, if it has not been told otherwise.
    pub local: Option<Reset>,
    /// The RST for the peer's side, likewise.
    pub remote: Option<Reset>,
}

/// A RST that seems to come from the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Address and port of the end that it seems to come from.
    pub from: (IpAddr, u16),
    /// Where it goes.
    pub to: (IpAddr, u16),
    /// The next sequence number that `to` waits for, as far as is known (RFC 5961 §3.2).
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledgement: u32,
}
