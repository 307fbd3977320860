//! Segments: how a few bytes become one, and what the model says of it.

use std::sync::LazyLock;

use portcullis::event::DropReason;
use portcullis::ids::TunnelId;
use portcullis::inspect::{Cause, Origin, Verdict};
use portcullis::wire::ip;
use portcullis::wire::tcp::{ACK, SYN};

use super::super::inner_ip::stripped;
use super::super::seeds::packets::packet;
use super::super::seeds::recognise::ssh_sides;
use super::flow::{Name, State};
use super::model::{self, Connection, Judged, Segment};
use super::{Arrival, CONNECTIONS, Expected, OBSERVED, TUNNEL, World, as_expected};

impl World {
    /// A segment, or a train of them.
    pub(super) fn segment(&mut self, what: u8, bytes: &[u8], train: bool) {
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let (opener_is_local, service, client) = CONNECTIONS[usize::from(what & 7)];
        let from_opener = what & 8 == 0;
        let outbound = from_opener == opener_is_local;
        let (local, remote) = if opener_is_local { (client, service) } else { (service, client) };
        let name = Name { protocol: ip::TCP, local, remote };
        let flags = if at(0) == 0 { ACK } else { at(0) };
        let connection = self.find(name).and_then(|flow| self.flows[flow].connection());
        let options = at(6);
        let len = usize::from(at(4) & 63) * if at(4) & 64 == 0 { 1 } else { 20 };
        let segment = Segment {
            from_opener,
            flags,
            sequence: self.number(connection, from_opener, at(1), flags & SYN != 0),
            acknowledgement: self.number(connection, !from_opener, at(2), false),
            window: match at(3) {
                0 => 1000,
                1 => 0,
                field => u16::from(field) * 257,
            },
            len: len as u32,
            scale: if options & 0x80 != 0 {
                Err(())
            } else {
                Ok((options & 16 != 0).then_some((options & 15).min(14)))
            },
        };
        let begin = connection.map_or(1, |connection| connection.read_segment(&segment).at);
        let mut payload: Vec<u8> = (begin..).take(len).map(|place| said(service, from_opener, place)).collect();
        if let (true, Some(byte)) = (at(5) != 0, payload.get_mut(usize::from(at(5)) % len.max(1))) {
            *byte ^= 0x20;
        }
        let first = if train { len.div_ceil(3) } else { len };
        let (first, rest) = payload.split_at(first);
        let mut bytes = self.written(outbound, name, &segment, options, [at(7), at(9)], first);
        if options & 64 != 0 {
            // What nobody takes: the checksum is wrong.
            let sum = if self.v6 { 56 } else { 36 };
            bytes[sum] ^= 0x55;
        }
        if flags & SYN != 0 {
            stripped(&bytes);
        }
        let arrival = Arrival {
            bytes,
            outbound,
            origin: origin(outbound, at(8)),
            rest: rest.to_vec(),
            piece: first.len().max(1),
        };
        self.tcp(name, &segment, &arrival);
    }

    pub(super) fn find(&self, name: Name) -> Option<usize> {
        self.flows.iter().position(|flow| flow.name == name)
    }

    /// A number near one that means something in the connection.
    pub(super) fn number(&self, connection: Option<&Connection>, opener: bool, choice: u8, syn: bool) -> u32 {
        let distance = i64::from((choice << 3).cast_signed() >> 3);
        let Some(connection) = connection else { return self.initial.wrapping_add(distance.cast_unsigned() as u32) };
        let (end, other) = (connection.end(opener), connection.end(!opener));
        let near = match choice >> 5 {
            _ if syn => 0,
            0 => end.sent,
            1 => other.acknowledged,
            2 => end.allowed,
            3 => 1,
            4 => end.sent - 66_000,
            5 => end.sent + (1 << 31),
            6 => end.sent + 40,
            _ => end.sent - 80,
        };
        connection.wire(opener, near + distance)
    }

    pub(super) fn written(
        &self,
        outbound: bool,
        name: Name,
        segment: &Segment,
        options: u8,
        [stamp, unknown]: [u8; 2],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut list = Vec::new();
        if segment.flags & SYN != 0 {
            list.extend(segment.scale.unwrap_or_default().map_or([1, 1, 1, 1], |shift| [1, 3, 3, shift]));
            list.extend(if segment.scale.is_err() { [3, 4, 0, 0] } else { [1, 1, 4, 2] });
        }
        if unknown > 8 {
            // Multipath TCP and others: padding by the time that the packet leaves.
            list.extend([unknown, 4, 0, 0]);
        }
        if options & 32 != 0 {
            list.extend([1, 1, 8, 10, 0, 0, 0, stamp, 0, 0, 0, 0]);
        }
        let ports = if outbound { [name.local, name.remote] } else { [name.remote, name.local] };
        let mut bytes = ports.map(u16::to_be_bytes).concat();
        bytes.extend([segment.sequence, segment.acknowledgement].map(u32::to_be_bytes).concat());
        bytes.extend([((5 + list.len() / 4) << 4) as u8, segment.flags]);
        bytes.extend(segment.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&list);
        bytes.extend(payload);
        packet(outbound, self.v6, ip::TCP, 16, bytes)
    }

    pub(super) fn tcp(&mut self, name: Name, segment: &Segment, arrival: &Arrival) {
        let expected = self.expect_tcp(name, segment, arrival);
        let (verdict, released) = self.judge(arrival);
        match (expected, verdict) {
            (Expected::Speaks(at, said), verdict) => {
                if matches!(verdict, Verdict::Split(_)) {
                    assert!(!arrival.rest.is_empty() && self.flows[at].inspected.is_some(), "no train to be split");
                    assert!(released.is_empty());
                    return self.one_by_one(name, segment, arrival);
                }
                self.spoken(at, said, arrival, &verdict, &released);
            }
            (expected, verdict) => {
                assert!(released.is_empty(), "packets leave that waited for something else: {verdict:?}");
                as_expected(&expected, arrival, &verdict);
            }
        }
        self.hear_endings(Some(arrival));
    }

    pub(super) fn one_by_one(&mut self, name: Name, segment: &Segment, arrival: &Arrival) {
        let header = arrival.bytes.len() - (segment.len as usize - arrival.rest.len());
        let (header, first) = arrival.bytes.split_at(header);
        let payload = [first, &arrival.rest].concat();
        let transport = if self.v6 { 40 } else { 20 };
        for (number, piece) in (0..).zip(payload.chunks(arrival.piece)) {
            let mut bytes = header[transport..].to_vec();
            let sequence = segment.sequence.wrapping_add(number * arrival.piece as u32);
            bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
            bytes[16..18].fill(0);
            bytes.extend(piece);
            let bytes = packet(arrival.outbound, self.v6, ip::TCP, 16, bytes);
            let one = Segment { sequence, len: piece.len() as u32, ..*segment };
            self.tcp(name, &one, &Arrival { bytes, rest: Vec::new(), ..*arrival });
        }
    }

    pub(super) fn expect_tcp(&mut self, name: Name, segment: &Segment, arrival: &Arrival) -> Expected {
        if let Some(reason) = model::illegal(segment.flags) {
            return Expected::Refused(reason);
        }
        let key = self.key(arrival.outbound, name);
        let found = match self.live(name, arrival) {
            Ok(found) => found,
            Err(reason) => return Expected::Refused(reason),
        };
        let Some(at) = found else {
            if segment.flags & (SYN | ACK) == SYN {
                let opening = Segment { from_opener: true, ..*segment };
                let state = Connection::asked(&opening).map(|connection| State::Tcp(Box::new(connection)));
                return self.open(name, &key, arrival, state);
            }
            let opened = [true, false].into_iter().any(|local| self.allows(local, &self.key(local, name)).is_some());
            let reason = if opened { DropReason::NoConnection } else { self.why_not(arrival.outbound, &key) };
            return Expected::Refused(reason);
        };
        let segment = Segment { from_opener: arrival.outbound == self.flows[at].opener_is_local, ..*segment };
        let State::Tcp(connection) = &mut self.flows[at].state else { unreachable!("a name has a protocol") };
        match connection.judge(&segment) {
            Judged::Refused(reason) => Expected::Refused(reason),
            Judged::Aside => Expected::Passes { opened: false },
            Judged::Speaks(said) => Expected::Speaks(at, said),
            Judged::Passes => {
                let acknowledged = (segment.flags & SYN == 0 && segment.flags & ACK != 0)
                    .then(|| connection.end(segment.from_opener).acknowledged);
                if let Some(acknowledged) = acknowledged {
                    self.flows[at].readers[usize::from(segment.from_opener)].acknowledge(acknowledged);
                }
                self.touch(at, arrival, true);
                Expected::Passes { opened: false }
            }
            Judged::Anew => match Connection::asked(&segment) {
                Err(reason) => Expected::Refused(reason),
                Ok(anew) => {
                    let cause = if connection.is_open() { Cause::Expired } else { Cause::Closed };
                    let old = self.flows[at].clone();
                    self.read += old.is_read_well();
                    if !old.connection().is_some_and(Connection::is_ended) {
                        self.owed.push((cause, old));
                    }
                    let flow = &mut self.flows[at];
                    (flow.state, flow.bytes) = (State::Tcp(Box::new(anew)), [0; 2]);
                    flow.readers = Default::default();
                    self.touch(at, arrival, true);
                    Expected::Passes { opened: true }
                }
            },
        }
    }
}

/// By which way a packet comes; `other`: by the wrong tunnel, if it comes by one.
pub(super) fn origin(outbound: bool, other: u8) -> Origin {
    if outbound { Origin::Tun } else { Origin::Tunnel(if other == 1 { TunnelId(1) } else { TUNNEL }) }
}

/// What the opener of a connection says at a place of its stream, or the responder.
fn said(service: u16, opener: bool, place: i64) -> u8 {
    static SSH: LazyLock<[Vec<u8>; 2]> = LazyLock::new(ssh_sides);
    let text = if matches!(service, 22 | OBSERVED) { &SSH[usize::from(!opener)][..] } else { &[] };
    usize::try_from(place - 1).ok().and_then(|at| text.get(at).copied()).unwrap_or(place.cast_unsigned() as u8 | 0x80)
}
