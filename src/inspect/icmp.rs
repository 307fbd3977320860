//! ICMP: which errors may pass at all, and which flow an error is about (RFC 4301 §6.2, RFC 5927 §4).
//!
//! Echo is a flow like others and is opened by a rule. Redirects, router and neighbour discovery, timestamps and all
//! else that changes or asks how a host is configured never cross a tunnel.

use std::net::IpAddr;

use super::flow::FlowId;
use crate::event::FlowKey;
use crate::wire::icmp::{IcmpView, Quoted};
use crate::wire::ip;

/// Whether it is an error that a live flow may need.
pub(super) fn is_useful_error(message: &IcmpView<'_>) -> bool {
    if message.is_v6() {
        // RFC 4443 §3: destination unreachable, packet too big, time exceeded, parameter problem.
        matches!((message.kind(), message.code()), (1, 0..=6) | (2, 0) | (3, 0..=1) | (4, 0..=2))
    } else {
        // RFC 792: net, host and port unreachable, fragmentation needed; RFC 1122 §3.2.2.1 and RFC 1812 §5.2.7.1:
        // prohibited; time exceeded; parameter problem. Protocol unreachable would end a connection for good.
        matches!((message.kind(), message.code()), (3, 0 | 1 | 3 | 4 | 9 | 10 | 13) | (11, 0..=1) | (12, 0))
    }
}

/// Whether the MTU that it tells, if it tells one, is one that a link of its family can have.
pub(super) fn mtu_is_plausible(message: &IcmpView<'_>) -> bool {
    match (message.is_v6(), message.kind(), message.code()) {
        // RFC 8200 §5: every link has 1280 bytes. RFC 791: every host takes 576.
        (true, 2, _) => message.word() >= 1280,
        (false, 3, 4) => message.word() & 0xffff >= 576,
        _ => true,
    }
}

/// The flow that an error is about, as seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) id: FlowId,
    /// The quoted packet.
    pub(super) key: FlowKey,
    /// Whether the packet that it quotes was on its way out.
    pub(super) outbound: bool,
    /// The quoted packet's sequence number, if it was TCP.
    pub(super) sequence: u32,
}

/// Turns the quoted packet into its flow. `outbound` is the direction of the error: the packet went the other way.
pub(super) fn about(quoted: &Quoted, outbound: bool) -> Option<About> {
    let outbound = !outbound;
    let flow = quoted.flow;
    let id = match flow.protocol {
        ip::ICMP | ip::ICMPV6 => {
            matches!(flow.source_port, 0 | 8 | 128 | 129).then_some(())?;
            let identifier = (quoted.word >> 16) as u16;
            echo(outbound, flow.protocol, identifier, flow.source, flow.destination)
        }
        _ => FlowId::new(
            outbound,
            flow.protocol,
            (flow.source, flow.source_port),
            (flow.destination, flow.destination_port),
        ),
    };
    Some(About { id, key: flow, outbound, sequence: quoted.word })
}

/// The flow of an echo request and its replies.
pub(super) fn echo(outbound: bool, protocol: u8, identifier: u16, source: IpAddr, destination: IpAddr) -> FlowId {
    let (source_port, destination_port) = if outbound { (identifier, 0) } else { (0, identifier) };
    FlowId::new(outbound, protocol, (source, source_port), (destination, destination_port))
}
