//! UDP, echo, and ICMP errors.

use portcullis::event::{DropReason, FlowKey};
use portcullis::wire::ip;

use super::super::seeds::packets::packet;
use super::flow::{Name, State};
use super::segment::origin;
use super::{Arrival, CONNECTIONS, Expected, World, as_expected};

/// Type, code, second word, and why it does not pass whatever it is about.
type Kind = (u8, u8, u32, Option<DropReason>);
const V4: [Kind; 16] = [
    (3, 1, 0, None),
    (3, 4, 1400, None),
    (3, 4, 100, Some(DropReason::BadTransport)),
    (3, 2, 0, Some(DropReason::IcmpNotError)),
    (11, 0, 0, None),
    (5, 1, 0, Some(DropReason::IcmpNotError)),
    (12, 0, 0, None),
    (13, 0, 0, Some(DropReason::IcmpNotError)),
    (3, 3, 0, None),
    (3, 9, 0, None),
    (3, 10, 0, None),
    (3, 13, 0, None),
    (11, 1, 0, None),
    (12, 1, 0, Some(DropReason::IcmpNotError)),
    (11, 2, 0, Some(DropReason::IcmpNotError)),
    (4, 0, 0, Some(DropReason::IcmpNotError)),
];
const V6: [Kind; 16] = [
    (1, 0, 0, None),
    (2, 0, 1400, None),
    (2, 0, 100, Some(DropReason::BadTransport)),
    (1, 7, 0, Some(DropReason::IcmpNotError)),
    (3, 0, 0, None),
    (137, 0, 0, Some(DropReason::IcmpNotError)),
    (4, 2, 0, None),
    (135, 0, 0, Some(DropReason::IcmpNotError)),
    (1, 6, 0, None),
    (3, 1, 0, None),
    (4, 0, 0, None),
    (2, 1, 1400, Some(DropReason::IcmpNotError)),
    (3, 2, 0, Some(DropReason::IcmpNotError)),
    (4, 3, 0, Some(DropReason::IcmpNotError)),
    (100, 0, 0, Some(DropReason::IcmpNotError)),
    (1, 3, 0, None),
];

impl World {
    /// UDP, echo, and ICMP errors: the first byte chooses.
    pub(super) fn other(&mut self, what: u8, bytes: &[u8]) {
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let outbound = what & 8 == 0;
        match what & 7 {
            0..3 => self.datagram(outbound, at(0), at(1)),
            3..5 => self.echo(outbound, at(0), at(1), at(2)),
            _ => self.error(outbound, bytes),
        }
    }

    pub(super) fn datagram(&mut self, outbound: bool, client: u8, other: u8) {
        let (local, remote) = (5000 + u16::from(client & 3), if client & 4 == 0 { 53 } else { 54 });
        let name = Name { protocol: ip::UDP, local, remote };
        let ports = if outbound { [local, remote] } else { [remote, local] };
        let body = [&ports.map(u16::to_be_bytes).concat()[..], &[0, 12, 0, 0], b"data"].concat();
        let arrival = arrival(outbound, packet(outbound, self.v6, ip::UDP, 6, body), other);
        let key = self.key(outbound, name);
        let expected = match self.live(name, &arrival) {
            Err(reason) => Expected::Refused(reason),
            Ok(None) => self.open(name, &key, &arrival, Ok(State::Udp { answered: false })),
            Ok(Some(flow)) => {
                if outbound != self.flows[flow].opener_is_local {
                    self.flows[flow].state = State::Udp { answered: true };
                }
                self.touch(flow, &arrival, true);
                Expected::Passes { opened: false }
            }
        };
        self.settle(&expected, &arrival);
    }

    pub(super) fn settle(&mut self, expected: &Expected, arrival: &Arrival) {
        let (verdict, released) = self.judge(arrival);
        assert!(released.is_empty(), "a packet leaves behind another flow's");
        as_expected(expected, arrival, &verdict);
        self.hear_endings(Some(arrival));
    }

    pub(super) fn echo(&mut self, outbound: bool, choice: u8, code: u8, other: u8) {
        let (request, identifier) = (choice & 1 == 0, u16::from(choice >> 1 & 3));
        let protocol = if self.v6 { ip::ICMPV6 } else { ip::ICMP };
        let kind = match (self.v6, request) {
            (true, true) => 128,
            (true, false) => 129,
            (false, true) => 8,
            (false, false) => 0,
        };
        let code = code & 1;
        let name = Name { protocol, local: identifier, remote: 0 };
        let body = [&[kind, code, 0, 0][..], &identifier.to_be_bytes(), &[0, 1], b"data"].concat();
        let arrival = arrival(outbound, packet(outbound, self.v6, protocol, 2, body), other);
        let key = FlowKey { source_port: kind.into(), destination_port: code.into(), ..self.key(outbound, name) };
        let expected = match self.live(name, &arrival) {
            Err(reason) => Expected::Refused(reason),
            Ok(None) if request => self.open(name, &key, &arrival, Ok(State::Echo)),
            Ok(None) => Expected::Refused(DropReason::IcmpNotError),
            Ok(Some(flow)) => {
                let by_opener = outbound == self.flows[flow].opener_is_local;
                if request && !by_opener {
                    Expected::Refused(DropReason::WrongDirection)
                } else if request != by_opener || code != 0 {
                    Expected::Refused(DropReason::IcmpNotError)
                } else {
                    self.touch(flow, &arrival, true);
                    Expected::Passes { opened: false }
                }
            }
        };
        self.settle(&expected, &arrival);
    }

    /// An error about a packet of a flow that went the other way: which error, which flow, who had sent it, where it stood.
    pub(super) fn error(&mut self, outbound: bool, bytes: &[u8]) {
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let (kind, code, word, useless) = if self.v6 { V6 } else { V4 }[usize::from(at(0) & 15)];
        let (choice, odd) = (at(1), at(4));
        // The packet that it quotes went the other way.
        let quoted_outbound = !outbound;
        let (name, quoted_from_opener, protocol, head) = if choice & 0x80 == 0 {
            let (opener_is_local, service, client) = CONNECTIONS[usize::from(choice & 7)];
            let (local, remote) = if opener_is_local { (client, service) } else { (service, client) };
            let name = Name { protocol: ip::TCP, local, remote };
            let from_opener = quoted_outbound == opener_is_local;
            let connection = self.find(name).and_then(|flow| self.flows[flow].connection());
            let sequence = self.number(connection, from_opener, at(2), false);
            let ports = if quoted_outbound { [local, remote] } else { [remote, local] };
            (name, from_opener, ip::TCP, [&ports.map(u16::to_be_bytes).concat()[..], &sequence.to_be_bytes()].concat())
        } else if choice & 1 == 0 {
            let (local, remote) = (5000 + u16::from(choice >> 1 & 3), 53);
            let ports = if quoted_outbound { [local, remote] } else { [remote, local] };
            let head = [&ports.map(u16::to_be_bytes).concat()[..], &[0, 12, 0, 0]].concat();
            (Name { protocol: ip::UDP, local, remote }, quoted_outbound, ip::UDP, head)
        } else {
            let protocol = if self.v6 { ip::ICMPV6 } else { ip::ICMP };
            let identifier = choice >> 1 & 3;
            // What is quoted is a request, a reply, or neither.
            let kind = if self.v6 { [128, 129, 135] } else { [8, 0, 13] }[usize::from(odd >> 1) % 3];
            let head = vec![kind, 0, 0, 0, 0, identifier, 0, 1];
            (Name { protocol, local: identifier.into(), remote: 0 }, quoted_outbound, protocol, head)
        };
        let mut quoted = packet(quoted_outbound, self.v6, protocol, 0, [0, 0].into());
        quoted.truncate(if self.v6 { 40 } else { 20 });
        quoted.extend(&head);
        let neither = head.len() == 8 && protocol != ip::UDP && matches!(head[0], 135 | 13) && choice & 0x81 == 0x81;
        let mut lost = neither;
        match odd >> 5 {
            // What it quotes was sent by somebody else than who receives it, is of a protocol without ports, or is cut off.
            1 => (quoted[if self.v6 { 23 } else { 15 }], lost) = (7, true),
            2 => (quoted[if self.v6 { 6 } else { 9 }], lost) = (50, true),
            3 => {
                quoted.pop();
                lost = true;
            }
            _ => {}
        }
        let icmp = if self.v6 { ip::ICMPV6 } else { ip::ICMP };
        let body = [&[kind, code, 0, 0][..], &word.to_be_bytes(), &quoted].concat();
        let arrival = arrival(outbound, packet(outbound, self.v6, icmp, 2, body), at(3));
        let expected = match useless {
            Some(reason) => Expected::Refused(reason),
            None if lost => Expected::Refused(DropReason::IcmpNoFlow),
            None => match self.live(name, &arrival) {
                Err(reason) => Expected::Refused(reason),
                Ok(None) => Expected::Refused(DropReason::IcmpNoFlow),
                Ok(Some(flow)) => {
                    let about = match &self.flows[flow].state {
                        State::Tcp(connection) => {
                            let sequence = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                            connection.is_open() && connection.in_flight(quoted_from_opener, sequence)
                        }
                        State::Udp { answered } => quoted_from_opener || *answered,
                        State::Echo => true,
                    };
                    if about { Expected::Passes { opened: false } } else { Expected::Refused(DropReason::IcmpNoFlow) }
                }
            },
        };
        self.settle(&expected, &arrival);
    }
}

/// One packet by itself.
fn arrival(outbound: bool, bytes: Vec<u8>, other: u8) -> Arrival {
    Arrival { bytes, outbound, origin: origin(outbound, other), rest: Vec::new(), piece: 1 }
}
