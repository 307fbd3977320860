//! The way in: a datagram from the underlay becomes an inner packet for the TUN device, where it lies (RFC 4301 §5.2).
//!
//! Each datagram is opened by itself. Packets that continue one another are tied into a train first (`coalesce`) and judged
//! as one: what holds for the first one's addresses, ports and TOS holds for those that have the same.

use std::ops::Range;

use super::buffer::{Batch, Packet, Parts, Role, put_in_order};
use super::coalesce::{self, Candidate};
use super::handover::Beside;
use super::held::Holding;
use super::mtu;
use super::outbound::Refusal;
use super::pipeline::{Pipeline, notice_event};
use super::sad::carries;
use super::tunnel;
use crate::event::DropReason;
use crate::ids::TunnelId;
use crate::inspect::{Origin, Verdict};
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::esp::EspHeader;
use crate::wire::ip::{self, Inner};
use crate::wire::natt::{self, Natt};
use crate::wire::rewrite::{Side, rewrite};
use crate::wire::tcp;
use crate::wire::tcp_options;

/// No datagram of a tunnel is longer: a jumbo frame, and what ESP adds. The sockets have room for more, for trains.
const LONGEST_DATAGRAM: usize = 9_728;

/// Trains that grow at a time: flows whose packets come mixed.
const OPEN: usize = 8;

/// Which packets are tied into trains: those that the TUN device takes as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// TCP segments.
    pub tcp: bool,
    /// UDP datagrams.
    pub udp: bool,
}

/// An opened packet, or several that continue one another.
#[derive(Clone, Copy)]
struct Arrival {
    /// Index of the first packet, and of the last.
    first: usize,
    last: usize,
    /// The SA that it came by, unless another worker has it.
    sa: Option<usize>,
    /// The tunnel of that SA.
    tunnel: TunnelId,
    /// The outer TOS byte.
    tos: u8,
    train: Option<coalesce::Train>,
}

/// The trains that still grow, oldest first.
#[derive(Default)]
pub(super) struct Growing {
    trains: [Option<Arrival>; OPEN],
    len: usize,
}

impl Growing {
    fn remove(&mut self, at: usize) -> Option<Arrival> {
        let gone = self.trains.get_mut(at)?.take()?;
        self.trains[at..self.len].rotate_left(1);
        self.len -= 1;
        Some(gone)
    }

    fn push(&mut self, arrival: Arrival) {
        self.trains[self.len] = Some(arrival);
        self.len += 1;
    }
}

fn place(packets: &[Packet], index: usize) -> Range<usize> {
    let packet = &packets[index];
    packet.start..packet.start + packet.len
}

fn bytes<'a>(parts: &'a Parts<'_>, index: usize) -> &'a [u8] {
    &parts.slab[place(parts.packets, index)]
}

/// Each packet of an arrival, in place.
fn each(parts: &mut Parts<'_>, arrival: &Arrival, mut act: impl FnMut(&mut [u8])) {
    let mut at = arrival.first;
    loop {
        let place = place(parts.packets, at);
        act(&mut parts.slab[place]);
        if at == arrival.last {
            return;
        }
        at = parts.packets[at].next as usize;
    }
}

/// What was said of an arrival.
enum Judged {
    /// It goes on.
    In,
    /// It waits.
    Waits,
    /// Its packets are to be judged one by one.
    Split,
    /// Of a train the first goes on, without its payload.
    Bare,
}

impl Pipeline {
    /// Opens what came to UDP port 4500 and as raw ESP; each packet's `path` says which (port 0 is raw ESP). Afterwards
    /// every packet that is not `done` is an inner packet for the TUN device, by itself or with its train.
    pub fn inbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        let refused = batch.split_trains();
        self.counters.drop(DropReason::SegmentSize, refused);
        let mut parts = batch.all_mut();
        for index in 0..parts.packets.len() {
            if parts.packets[index].done {
                continue;
            }
            match self.open(now, &mut parts.packets[index], parts.slab) {
                Ok(Some(Arrival { sa, tos, .. }))
                    if self.pass_on_opened(sa, tos, &parts.packets[index], parts.slab) =>
                {
                    parts.packets[index].done = true;
                }
                Ok(Some(arrival)) => self.gather(now, Arrival { first: index, last: index, ..arrival }, &mut parts),
                Ok(None) => parts.packets[index].done = true,
                Err(refusal) => {
                    parts.packets[index].done = true;
                    self.refuse(now, false, refusal, 1);
                }
            }
        }
        self.admit_all(now, &mut parts);
    }

    /// Lets in what other workers have opened; `beside` tells of each packet of `batch`.
    pub(super) fn inbound_opened(&mut self, now: Instant, batch: &mut Batch, beside: &[Beside]) {
        let mut parts = batch.all_mut();
        for (index, &Beside { tunnel, tos }) in beside.iter().enumerate() {
            let arrival = Arrival { first: index, last: index, sa: None, tunnel, tos, train: None };
            self.gather(now, arrival, &mut parts);
        }
        self.admit_all(now, &mut parts);
    }

    /// Lets in what may still grow: nothing is held back for a later batch.
    fn admit_all(&mut self, now: Instant, parts: &mut Parts<'_>) {
        while let Some(arrival) = self.growing.remove(0) {
            self.admit(now, arrival, parts);
        }
        if !self.followed.is_empty() {
            put_in_order(parts.packets, &self.followed);
            self.followed.clear();
        }
    }

    /// Opens one datagram and leaves `packet` on the inner packet; `None` if it was no ESP and is consumed.
    fn open(&mut self, now: Instant, packet: &mut Packet, slab: &mut [u8]) -> Result<Option<Arrival>, Refusal> {
        let Some(path) = packet.path else { return Err(DropReason::NotIke.into()) };
        if packet.len > LONGEST_DATAGRAM {
            return Err(DropReason::TooLongDatagram.into());
        }
        let udp = path.local.port() != 0;
        let datagram = &mut slab[packet.start..packet.start + packet.len];

        // IKE, keepalive or ESP?
        if udp {
            match natt::demultiplex(datagram)? {
                Natt::Esp => {}
                Natt::Ike(message) => {
                    let kept = self.ike.push(path, message);
                    return if kept { Ok(None) } else { Err(DropReason::QueueFull.into()) };
                }
                Natt::Keepalive => {
                    self.counters.shared().keepalives.add(1);
                    return Ok(None);
                }
            }
        }

        // Which SA? One that IKE is about to install is waited for.
        let header = EspHeader::parse(datagram)?;
        let spi = Spi::new(header.spi).ok_or(DropReason::ReservedSpi)?;
        let Some(place) = self.sad.find_inbound(spi) else {
            if self.pass_on_datagram(spi, path, datagram)? {
                return Ok(None);
            }
            return match self.held.hold(now, spi, path, datagram) {
                Holding::Held => Ok(None),
                Holding::Full => Err(DropReason::QueueFull.into()),
                Holding::Stranger => Err(DropReason::UnknownSpi.into()),
            };
        };
        let sa = self.sad.inbound(place).expect("its place was just found");
        let tunnel = sa.child().tunnel;
        let refusal = |reason: DropReason| Refusal { tunnel: Some(tunnel), ..reason.into() };
        // RFC 7296 §2.23 has both sides take ESP in UDP and ESP without it at any time, whatever was found on the way: the SA's key
        // tells whose it is.

        // Is it new, and from the peer? From here on it is.
        let received = sa.receive(now, header.sequence, datagram);
        while let Some(notice) = sa.poll_notice() {
            self.events.push(notice_event(notice, spi));
        }
        let received = received.map_err(refusal)?;
        self.counters.tunnel(tunnel).last_inbound.set(now.as_nanos());
        // RFC 7296 §2.23: the peer's address follows only what it has authenticated, and no packet older than the last.
        if received.newest && udp && sa.follow(path.remote, path.local) {
            self.events.push(SadEvent::PeerMoved { inbound: spi, remote: path.remote, local: path.local });
        }
        let inner = received.inner.map_err(refusal)?;
        packet.start += inner.start;
        packet.len = inner.len();
        Ok(Some(Arrival { first: 0, last: 0, sa: Some(place), tunnel, tos: path.tos, train: None }))
    }

    /// Ties an opened packet to a train, or lets it begin one, or lets it go on alone; nothing overtakes its own flow.
    fn gather(&mut self, now: Instant, mut arrival: Arrival, parts: &mut Parts<'_>) {
        let own = bytes(parts, arrival.first);
        let Coalescing { tcp, udp } = self.coalescing;
        let candidate = if tcp || udp { Candidate::of(own) } else { None };
        let candidate = candidate.filter(|candidate| if candidate.is_udp() { udp } else { tcp });
        let growing = &mut self.growing;
        let same = (0..growing.len)
            .rev()
            .find(|&at| growing.trains[at].is_some_and(|other| coalesce::same_flow(bytes(parts, other.first), own)));
        if let Some(at) = same {
            if let (Some(candidate), Some(other)) = (&candidate, &mut growing.trains[at])
                && (other.sa, other.tunnel, other.tos) == (arrival.sa, arrival.tunnel, arrival.tos)
                && let Some(train) = &mut other.train
                && train.take(bytes(parts, other.first), own, candidate)
            {
                parts.packets[other.last].next = arrival.first as u32;
                other.last = arrival.first;
                return;
            }
            if let Some(other) = growing.remove(at) {
                self.admit(now, other, parts);
            }
        }
        if candidate.is_none() {
            return self.admit(now, arrival, parts);
        }
        arrival.train = candidate.map(coalesce::Train::of);
        if self.growing.len == OPEN
            && let Some(oldest) = self.growing.remove(0)
        {
            self.admit(now, oldest, parts);
        }
        self.growing.push(arrival);
    }

    /// Lets a packet, or a train, in or not; and behind it packets that have waited for it.
    fn admit(&mut self, now: Instant, arrival: Arrival, parts: &mut Parts<'_>) {
        let judged = self.judge(now, &arrival, parts);
        let trained = arrival.train.filter(|train| train.count() > 1);
        if let (Ok(Judged::Split), Some(_)) = (&judged, &trained) {
            let mut next = Some(arrival.first);
            while let Some(at) = next {
                let behind = std::mem::take(&mut parts.packets[at].next) as usize;
                next = (at != arrival.last).then_some(behind);
                self.admit(now, Arrival { first: at, last: at, train: None, ..arrival }, parts);
            }
            return;
        }
        let goes_in = matches!(judged, Ok(Judged::In));
        let first_goes = goes_in || matches!(judged, Ok(Judged::Bare));
        let (mut at, mut role) = (arrival.first, Role::Alone);
        if let (true, Some(train)) = (goes_in, &trained) {
            role = Role::Leads(parts.heads.len() as u16);
            let head = train.head(bytes(parts, arrival.first));
            parts.heads.push(head);
        }
        if trained.is_some() || !goes_in {
            loop {
                parts.packets[at].role = role;
                parts.packets[at].done = !goes_in;
                if at == arrival.last {
                    break;
                }
                at = parts.packets[at].next as usize;
                role = if goes_in { Role::Follows } else { Role::Alone };
            }
            parts.packets[arrival.first].done = !first_goes;
        }
        if let Err(refusal) = judged {
            self.refuse(now, false, refusal, trained.map_or(1, |train| train.count() as u64));
        }
        if self.flows.releases() {
            self.release_inwards(now, arrival.first, parts);
        }
    }

    /// Lets in packets that have waited, behind the one of index `leader`.
    fn release_inwards(&mut self, now: Instant, leader: usize, parts: &mut Parts<'_>) {
        while let Some((len, pass)) = self.flows.release(&mut parts.slab[parts.annex.vacant()]) {
            if len == 0 {
                self.refuse(now, false, DropReason::QueueFull.into(), 1);
                continue;
            }
            let place = parts.annex.take(len);
            self.counters.rule(pass.rule).count_in(1, len as u64);
            self.counters.tunnel(pass.tunnel).count_in(1, len as u64);
            // It waited under its outside name.
            let waited = &mut parts.slab[place.clone()];
            match self.translator.inwards(now, &self.policy, pass.tunnel, waited) {
                Ok(Some(host)) => _ = rewrite(waited, Side::Destination, host),
                Ok(None) => {}
                Err(reason) => {
                    self.refuse(now, false, Refusal { tunnel: Some(pass.tunnel), ..reason.into() }, 1);
                    continue;
                }
            }
            parts.packets.push(Packet { start: place.start, len, ..Packet::default() });
            self.followed.push(leader as u32);
        }
    }

    fn judge(&mut self, now: Instant, arrival: &Arrival, parts: &mut Parts<'_>) -> Result<Judged, Refusal> {
        let tunnel = arrival.tunnel;
        let refusal = |reason: DropReason| Refusal { tunnel: Some(tunnel), ..reason.into() };
        let (count, bytes, rest) = match &arrival.train {
            Some(train) => (train.count() as u64, train.bytes() as u64, train.rest() as u32),
            None => (1, parts.packets[arrival.first].len as u64, 0),
        };

        // What is inside, and does it belong to this SA?
        let first = place(parts.packets, arrival.first);
        let inner = Inner::parse_leader(&parts.slab[first.clone()], rest).map_err(refusal)?;
        let flow = inner.flow();
        let refusal = |reason| Refusal { flow: Some(flow), ..refusal(reason) };
        let sa = arrival.sa.map(|place| self.sad.inbound(place).expect("a packet was just opened with it"));
        if sa.is_some_and(|sa| !carries(sa.child(), false, &inner)) {
            return Err(refusal(DropReason::Selector));
        }
        if inner.ttl() == 0 {
            return Err(refusal(DropReason::TtlExpired));
        }

        // What the way has done to it.
        let Ok(tos) = tunnel::decapsulate(inner.tos(), arrival.tos) else { return Err(refusal(DropReason::EcnDrop)) };
        let inner = if tos == inner.tos() {
            inner
        } else {
            each(parts, arrival, |packet| ip::set_tos(packet, tos));
            Inner::parse_leader(&parts.slab[first.clone()], rest).map_err(refusal)?
        };

        // May it go? Of the others of its train nothing counts but their payload: their headers are those of the first.
        let mut pieces: [&[u8]; coalesce::MAX_PACKETS];
        let mut others: &[&[u8]] = &[];
        if count > 1 {
            pieces = [&[]; coalesce::MAX_PACKETS];
            let headers = first.len() - inner.tcp().map_or(0, |segment| segment.payload().len());
            let mut at = arrival.first;
            for piece in pieces.iter_mut().take(count as usize - 1) {
                at = parts.packets[at].next as usize;
                *piece = parts.slab[place(parts.packets, at)].get(headers..).unwrap_or_default();
            }
            others = &pieces[..count as usize - 1];
        }
        let (syn, v6) = (inner.tcp().is_some_and(|segment| segment.flags() & tcp::SYN != 0), inner.is_v6());
        // The peer is never answered, but told if it was allowed and is not any more.
        let pass = match self.verdict(now, Origin::Tunnel(tunnel), &inner, others) {
            Verdict::Pass(pass) => pass,
            Verdict::Waits => return Ok(Judged::Waits),
            Verdict::Split(pass) if arrival.train.is_none_or(|train| train.count() == 1) => {
                return Err(Refusal { rule: Some(pass.rule), ..refusal(DropReason::HoldFull) });
            }
            Verdict::Split(_) => return Ok(Judged::Split),
            Verdict::Drop { reason, rule, .. } => return Err(Refusal { rule, ..refusal(reason) }),
        };
        let mut carried = (count, bytes);
        let host = self.translator.inwards(now, &self.policy, tunnel, &parts.slab[first.clone()]).map_err(refusal)?;
        if let Some(host) = host {
            each(parts, arrival, |packet| _ = rewrite(packet, Side::Destination, host));
        }
        if pass.bare {
            let len =
                tcp::shed_payload(&mut parts.slab[first.clone()]).ok_or_else(|| refusal(DropReason::BadTransport))?;
            parts.packets[arrival.first].len = len;
            carried = (1, len as u64);
        }
        if syn {
            tcp_options::strip(&mut parts.slab[first.clone()]);
            tcp::clamp_mss(&mut parts.slab[first], mtu::max_segment(self.tunnels.inner_mtu(tunnel), v6));
        }
        self.counters.rule(pass.rule).count_in(carried.0, carried.1);
        self.counters.tunnel(tunnel).count_in(carried.0, carried.1);
        if pass.opened {
            self.opened(now, tunnel, pass.rule, flow);
        }
        Ok(if pass.bare && count > 1 { Judged::Bare } else { Judged::In })
    }
}
