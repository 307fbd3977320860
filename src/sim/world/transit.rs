//! The way of a datagram: out of a gateway, over the line, into another one, and what must not change when it comes.

use std::net::SocketAddr;

use super::{Action, Origin, World};
use crate::ike::api::Input;
use crate::ike::endpoint::Endpoint;
use crate::ike::endpoint::probe::SaProbe;
use crate::sim::coverage::Stimulus;
use crate::sim::hostile;
use crate::sim::network::{Body, Frame, PORTS};
use crate::sim::plan::{Feature, Line, TunnelPlan};
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::PayloadType;

/// Longest answer to who has not shown that it can be reached, in percent of what it sent.
const MAX_AMPLIFICATION: usize = 150;

impl World {
    /// A gateway sends a frame.
    pub(super) fn send(&mut self, gateway: usize, mut frame: Frame) {
        let mut origin = Origin::Gateway;
        if self.plan.has(Feature::Hostile) && gateway == hostile::GATEWAY && !self.healed {
            origin = self.corrupt_from_within(gateway, &mut frame);
        }
        let here = self.plan.public_address(gateway, self.gateways[gateway].place);
        if let Some(nat) = &mut self.gateways[gateway].nat {
            frame.source = nat.outwards(self.now, frame.source);
        } else if frame.source.ip() != here {
            // No host sends from an address that it has not.
            return;
        }
        if self.plan.has(Feature::Attacker) {
            self.attacker.record(&frame);
        }
        self.route(Some(gateway), frame, origin);
    }

    /// The gateway with this address.
    pub(in crate::sim) fn gateway_at(&self, address: SocketAddr) -> Option<usize> {
        let public = |gateway: usize| self.plan.public_address(gateway, self.gateways[gateway].place);
        (0..self.gateways.len()).find(|gateway| public(*gateway) == address.ip())
    }

    fn route(&mut self, from: Option<usize>, frame: Frame, origin: Origin) {
        let Some(to) = self.gateway_at(frame.destination) else { return };
        let between = |of: &TunnelPlan| {
            // The head-ends of a peer have nothing to say to each other.
            of.end_of(to).is_some_and(|to| from.is_none_or(|from| of.end_of(from) == Some(1 - to)))
        };
        let Some(tunnel) = self.plan.tunnels.iter().position(between) else { return };
        let way = usize::from(self.plan.tunnels[tunnel].ends[0] == to);
        let mut line = self.plan.tunnels[tunnel].lines[way];
        if self.healed {
            line = Line { loss: 0, duplicate: 0, corrupt: 0, mtu: 65_535, ..line };
        }
        let mut fate = line.fate(&mut self.line_dice, frame.length());
        if self.cuts[tunnel].until[way] > self.now {
            fate.delays = [None; 2];
            fate.lost = Some("cut");
        }
        if let Body::Ike(bytes) = &frame.body {
            let (source, destination) = (frame.source, frame.destination);
            self.note(|| {
                let origin = if origin == Origin::Gateway { String::new() } else { format!(" {origin:?}") };
                let lost = fate.lost.map_or(String::new(), |why| format!(" ({why})"));
                format!("{source} > {destination} {}{origin}{lost}", describe(bytes))
            });
        }
        let [first, second] = fate.delays;
        let copy = second.map(|delay| (delay, frame.clone()));
        for (delay, mut frame) in first.map(|delay| (delay, frame)).into_iter().chain(copy) {
            let mut origin = origin;
            if let Some(bit) = fate.flipped {
                flip(&mut frame, bit);
                origin = Origin::Damaged;
            }
            self.at(self.now + delay.max(1), Action::Arrive { to, frame, origin });
        }
    }

    pub(super) fn arrive(&mut self, to: usize, mut frame: Frame, origin: Origin) {
        if self.plan.public_address(to, self.gateways[to].place) != frame.destination.ip() {
            // It has moved meanwhile.
            return;
        }
        if let Some(nat) = &mut self.gateways[to].nat {
            match nat.inwards(self.now, frame.destination) {
                Some(inside) => frame.destination = inside,
                None => return,
            }
        }
        self.arrive_inside(to, &frame, origin);
    }

    /// It is behind the gateway's NAT, if there is one.
    pub(super) fn arrive_inside(&mut self, to: usize, frame: &Frame, origin: Origin) {
        if !self.is_awake(to) || !listens(frame) {
            return;
        }
        match &frame.body {
            Body::Ike(bytes) => self.arrive_ike(to, frame, bytes, origin),
            Body::Esp(_) => self.arrive_esp(to, frame, origin),
            Body::Keepalive => {}
        }
    }

    fn arrive_ike(&mut self, to: usize, frame: &Frame, bytes: &[u8], origin: Origin) {
        let header = Header::decode(bytes).ok();
        let mut stale = false;
        if let (Some(header), Some(endpoint)) = (&header, &self.gateways[to].endpoint) {
            let own = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
            if let Some(phase) = endpoint.phase(own) {
                self.coverage.note(phase, Stimulus::of(header), origin == Origin::Gateway);
            }
            // A request that was answered, or a response that was processed, is nothing new whoever sends it.
            stale = endpoint.next_ids(own).is_some_and(|[next, expected]| {
                if header.flags.response {
                    header.message_id.saturating_add(1) < next
                } else {
                    header.message_id < expected
                }
            });
        }
        let input = Input::Datagram { local: frame.destination, remote: frame.source, bytes };
        let answered = self.answered;
        self.take_in(to, input, origin, stale);
        // S12: who has not shown that it can be reached gets no more than half as much again as it has sent.
        let said = (self.answered - answered) * 100;
        if header.is_some_and(|header| is_unproven(&header)) && said > bytes.len() * MAX_AMPLIFICATION {
            self.fail("S12", format!("gateway {to} answers {} bytes with {}", bytes.len(), said / 100));
        }
    }

    /// A gateway looks at a datagram; `stale`: it has answered, or processed, what has this message ID.
    fn take_in(&mut self, to: usize, input: Input<'_>, origin: Origin, stale: bool) {
        let forged = matches!(origin, Origin::Damaged | Origin::Attacker { copy: false });
        // RFC 6290: a token is proof enough, whatever else was changed of the message around it.
        let proven = self.plan.has(Feature::Tokens) && carries_token(&input);
        if !(forged || stale) {
            return self.input(to, input);
        }
        // S13: what nobody with keys has made changes nothing that is established. Time may; so time goes first.
        self.input(to, Input::Timeout);
        let before = self.established(to);
        let sent = self.messages;
        self.input(to, input);
        if self.violation.is_none() && !proven && self.established(to) != before {
            let after = self.established(to);
            self.fail("S13", format!("a forged or old message changed gateway {to}: {before:?} became {after:?}"));
        }
        // L5: no storm.
        if self.messages - sent > 4 {
            self.fail("L5", format!("{} messages in answer to one that was forged", self.messages - sent));
        }
    }

    fn established(&self, gateway: usize) -> Vec<SaProbe> {
        let probe = self.gateways[gateway].endpoint.as_ref().map(Endpoint::probe);
        probe.unwrap_or_default().into_iter().filter(|sa| sa.phase.is_established()).collect()
    }
}

/// Whether a gateway has an open port for it.
fn listens(frame: &Frame) -> bool {
    let port = frame.destination.port();
    match frame.body {
        Body::Ike(_) => PORTS.contains(&port),
        // Raw, or in UDP.
        Body::Esp(_) => [0, PORTS[1]].contains(&port),
        Body::Keepalive => port == PORTS[1],
    }
}

/// Whether anybody may have sent it: a request in the clear without a cookie.
fn is_unproven(header: &Header) -> bool {
    !header.flags.response && ![PayloadType::SK, PayloadType::SKF, PayloadType::NOTIFY].contains(&header.next_payload)
}

/// Whether it may be the answer of a peer that has restarted.
fn carries_token(input: &Input<'_>) -> bool {
    let Input::Datagram { bytes, .. } = input else { return false };
    Header::decode(bytes).is_ok_and(|header| header.flags.response && header.next_payload == PayloadType::NOTIFY)
}

/// A message in a few words.
fn describe(bytes: &[u8]) -> String {
    let Ok(header) = Header::decode(bytes) else { return format!("{} bytes of junk", bytes.len()) };
    format!(
        "{} {}{} {:08x}../{:08x}.. {} bytes",
        header.exchange,
        if header.flags.response { "response " } else { "request " },
        header.message_id,
        header.initiator_spi >> 32,
        header.responder_spi >> 32,
        bytes.len()
    )
}

/// One bit is another.
fn flip(frame: &mut Frame, bit: u64) {
    match &mut frame.body {
        Body::Ike(bytes) if !bytes.is_empty() => {
            let at = usize::try_from(bit / 8 % bytes.len() as u64).unwrap_or(0);
            bytes[at] ^= 1 << (bit % 8);
        }
        Body::Esp(esp) => esp.tag ^= 1 << (bit % 64),
        Body::Ike(_) | Body::Keepalive => {}
    }
}
