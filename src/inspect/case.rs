//! One packet and all that it is judged by; and why it goes no further.

use super::flow::{Flow, FlowId};
use super::icmp;
use super::verdict::{Origin, Pass, Reply};
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, TunnelId};
use crate::policy::{Allowed, Classified, Snapshot};
use crate::time::Instant;
use crate::wire::icmp::IcmpView;
use crate::wire::ip::{self, Inner};
use crate::wire::tcp::{ACK, RST};

/// One packet and all that it is judged by.
pub(super) struct Case<'a> {
    pub(super) now: Instant,
    pub(super) origin: Origin,
    pub(super) packet: &'a Inner<'a>,
    /// The payload of the rest of its train, in pieces.
    pub(super) rest: &'a [&'a [u8]],
    pub(super) policy: &'a Snapshot,
}

/// Why a packet goes no further, and what stands near.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    pub(super) tunnel: Option<TunnelId>,
    pub(super) rule: Option<RuleId>,
}

impl Refusal {
    pub(super) fn by(reason: DropReason, allowed: Allowed) -> Self {
        Self { reason, tunnel: Some(allowed.tunnel), rule: Some(allowed.rule) }
    }

    /// Why the sender of `key` may not open.
    pub(super) fn of_opening(policy: &Snapshot, outbound: bool, key: &FlowKey) -> Self {
        let (reason, tunnel, rule) = match policy.classify(outbound, key) {
            // What could be opened is refused only if it did not open.
            Classified::Allow(allowed) => (DropReason::NoConnection, Some(allowed.tunnel), Some(allowed.rule)),
            Classified::Disabled { rule, tunnel, reason } => (reason, Some(tunnel), Some(rule)),
            Classified::WrongDirection { rule, tunnel } => (DropReason::WrongDirection, Some(tunnel), Some(rule)),
            Classified::NoRule { near, tunnel } => (DropReason::NoRule, tunnel, near),
            Classified::NotOurs => (DropReason::NotOurs, None, None),
        };
        Self { reason, tunnel, rule }
    }
}

impl Flow {
    pub(super) fn pass(&self, opened: bool) -> Pass {
        let Allowed { rule, tunnel, shape, .. } = self.allowed;
        Pass { tunnel, shape, rule, opened, bare: false, recognised: false, observed: None }
    }

    pub(super) fn refuse(&self, reason: DropReason) -> Refusal {
        Refusal::by(reason, self.allowed)
    }
}

impl FlowId {
    /// The packet with which the flow was opened.
    pub(super) fn opener_key(&self, opener_is_local: bool) -> FlowKey {
        let protocol = self.protocol();
        let echo = match protocol {
            ip::ICMP => Some((8, 0)),
            ip::ICMPV6 => Some((128, 0)),
            _ => None,
        };
        let ((source, source_port), (destination, destination_port)) =
            if opener_is_local { (self.local(), self.remote()) } else { (self.remote(), self.local()) };
        let (source_port, destination_port) = echo.unwrap_or((source_port, destination_port));
        FlowKey { protocol, source, source_port, destination, destination_port }
    }
}

impl Case<'_> {
    pub(super) fn outbound(&self) -> bool {
        self.origin == Origin::Tun
    }

    /// Bytes of the packet, and of the payload of the rest of its train.
    pub(super) fn bytes(&self) -> u64 {
        let rest = self.packet.tcp().map_or(0, |segment| segment.carried() as usize - segment.payload().len());
        (self.packet.bytes().len() + rest) as u64
    }

    pub(super) fn id(&self) -> FlowId {
        let FlowKey { protocol, source, source_port, destination, destination_port } = self.packet.flow();
        FlowId::new(self.outbound(), protocol, (source, source_port), (destination, destination_port))
    }

    pub(super) fn echo_id(&self, message: &IcmpView<'_>) -> FlowId {
        let (source, destination) = (self.packet.source(), self.packet.destination());
        icmp::echo(self.outbound(), self.packet.protocol(), message.identifier(), source, destination)
    }

    /// The answer of the table to a packet that would open a flow.
    pub(super) fn refuse_opening(&self) -> Refusal {
        Refusal::of_opening(self.policy, self.outbound(), &self.packet.flow())
    }

    /// A refusal for another reason than the table's, with the rule that the table finds nearest.
    pub(super) fn refuse(&self, reason: DropReason) -> Refusal {
        Refusal { reason, ..self.refuse_opening() }
    }

    /// What our own side is told: it should fail at once and not wait for a timeout. `ended`: its flow has just been
    /// ended.
    pub(super) fn reply(&self, reason: DropReason, ended: bool) -> Reply {
        let tcp = self.packet.tcp();
        let reset = tcp.is_some_and(|segment| segment.flags() & RST != 0);
        let midstream = tcp.is_some_and(|segment| segment.flags() & ACK != 0);
        let error = self.packet.icmp().is_some_and(|message| !message.is_echo_request());
        match reason {
            _ if !self.outbound() || reset || error => Reply::None,
            _ if ended && midstream => Reply::Reset,
            DropReason::NoConnection | DropReason::FlowEnded => Reply::Reset,
            reason if reason.is_of_policy() => {
                // An established connection takes an ICMP error for a passing trouble (RFC 1122 §4.2.3.9).
                if midstream { Reply::Reset } else { Reply::Unreachable }
            }
            _ => Reply::None,
        }
    }
}
