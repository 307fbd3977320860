//! The first packet of a flow that somebody asks about, put through a flow table of its own: what a test case or
//! `policy explain` is told is what the data path would do, because the same code says it.
//!
//! Left out: what is said inside the flow, which nobody can know beforehand.

use std::net::IpAddr;

use super::flow_table::FlowTable;
use super::verdict::{Origin, Verdict};
use crate::event::{DropReason, FlowKey};
use crate::policy::{Classified, Snapshot};
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::ip::{self, Inner};
use crate::wire::tcp;

/// Room for the longest of these packets: an IPv6 header, a TCP header and one option.
const ROOM: usize = 64;
/// RFC 9293 §3.7.1: what IPv6 must take without asking; any other number would do.
const MSS: [u8; 4] = [2, 4, 0x04, 0xc4];

/// Any port that a client might open from.
pub const EPHEMERAL: u16 = 49_152;
/// What `FlowKey` has in the place of ports for an echo request (RFC 792, RFC 4443 §4.1).
pub const ECHO_REQUEST: u16 = 8;
/// The same in ICMPv6.
pub const ECHO_REQUEST_V6: u16 = 128;

/// What becomes of the first packet of `flow`, and whether it is on its way out.
#[must_use]
pub fn ask(policy: &Snapshot, flow: &FlowKey) -> (Verdict, bool) {
    let origin = origin(policy, flow);
    let mut room = [0; ROOM];
    let packet = first_packet(&mut room, flow).and_then(|length| room.get(..length));
    let verdict = match packet.map_or(Err(DropReason::BadIpHeader), Inner::parse) {
        // One flow, and a seed that nobody has to guess.
        Ok(packet) => FlowTable::new(1, [0; 4]).judge(Instant::ZERO, origin, &packet, policy),
        Err(reason) => Verdict::Drop { reason, tunnel: None, rule: None, reply: super::Reply::None },
    };
    (verdict, origin == Origin::Tun)
}

/// Where the first packet of `flow` would come from: a host is behind us or behind the peer, and the rules know.
#[must_use]
pub fn origin(policy: &Snapshot, flow: &FlowKey) -> Origin {
    match policy.behind_peer(flow.source) {
        None => Origin::Tun,
        Some(tunnel) => match policy.classify(false, flow) {
            // The same host may be reached through several tunnels, by several of ours.
            Classified::Allow(allowed) => Origin::Tunnel(allowed.tunnel),
            _ => Origin::Tunnel(tunnel),
        },
    }
}

/// Writes the packet that opens `flow`: a SYN, an empty datagram, an echo request. Its length.
fn first_packet(out: &mut [u8], flow: &FlowKey) -> Option<usize> {
    let FlowKey { protocol, source, source_port, destination, destination_port } = *flow;
    match protocol {
        ip::TCP => {
            let mut header = [0; 24];
            header[0..2].copy_from_slice(&source_port.to_be_bytes());
            header[2..4].copy_from_slice(&destination_port.to_be_bytes());
            header[4..8].copy_from_slice(&1_u32.to_be_bytes());
            header[12] = 0x60;
            header[13] = tcp::SYN;
            header[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
            header[20..24].copy_from_slice(&MSS);
            let sum = Sum::pseudo(source, destination, protocol, header.len())?.and(&header).finish();
            header[16..18].copy_from_slice(&sum.to_be_bytes());
            ip::write_packet(out, source, destination, protocol, &[&header])
        }
        ip::UDP => {
            let mut header = [0; 8];
            header[0..2].copy_from_slice(&source_port.to_be_bytes());
            header[2..4].copy_from_slice(&destination_port.to_be_bytes());
            header[4..6].copy_from_slice(&8_u16.to_be_bytes());
            let sum = Sum::pseudo(source, destination, protocol, header.len())?.and(&header).finish();
            // RFC 768: a sum of zero is sent as all ones.
            header[6..8].copy_from_slice(&(if sum == 0 { u16::MAX } else { sum }).to_be_bytes());
            ip::write_packet(out, source, destination, protocol, &[&header])
        }
        ip::ICMP | ip::ICMPV6 => {
            let mut message = [0; 8];
            message[0] = u8::try_from(source_port).ok()?;
            message[1] = u8::try_from(destination_port).ok()?;
            let sum = match source {
                IpAddr::V4(_) => Sum::ZERO,
                IpAddr::V6(_) => Sum::pseudo(source, destination, protocol, message.len())?,
            };
            let sum = sum.and(&message).finish();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ip::write_packet(out, source, destination, protocol, &[&message])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8, source: &str, source_port: u16, destination: &str, destination_port: u16) -> FlowKey {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        FlowKey { protocol, source, source_port, destination, destination_port }
    }

    #[test]
    fn the_first_packet_is_that_of_the_flow_in_question() {
        for flow in [
            key(ip::TCP, "192.0.2.10", EPHEMERAL, "203.0.113.20", 1414),
            key(ip::TCP, "2001:db8::1", EPHEMERAL, "2001:db8::2", 443),
            key(ip::UDP, "192.0.2.10", EPHEMERAL, "203.0.113.20", 53),
            key(ip::ICMP, "192.0.2.10", ECHO_REQUEST, "203.0.113.20", 0),
            key(ip::ICMPV6, "2001:db8::1", ECHO_REQUEST_V6, "2001:db8::2", 0),
        ] {
            let mut room = [0; ROOM];
            let length = first_packet(&mut room, &flow).unwrap();
            assert_eq!(Inner::parse(&room[..length]).unwrap().flow(), flow);
        }
    }

    #[test]
    fn what_cannot_be_a_packet_is_refused_and_not_guessed() {
        let asked = |flow: FlowKey| match ask(&Snapshot::empty(), &flow).0 {
            Verdict::Drop { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(key(ip::TCP, "127.0.0.1", 1, "203.0.113.20", 1414)), DropReason::BadSource);
        assert_eq!(asked(key(47, "192.0.2.10", 0, "203.0.113.20", 0)), DropReason::BadIpHeader);
        assert_eq!(asked(key(ip::TCP, "192.0.2.10", 1, "203.0.113.20", 1414)), DropReason::NotOurs);
    }
}
