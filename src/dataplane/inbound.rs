//! The way in: a datagram from the underlay becomes an inner packet for the TUN device, where it lies (RFC 4301 §5.2).
//!
//! Each datagram is opened by itself. Packets that continue one another are tied into a train first (`coalesce`) and judged
//! as one: what holds for the first one's addresses, ports and TOS holds for those that have the same.

use std::ops::Range;

use super::buffer::{Batch, Head, Packet, Role};
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

/// The parts of a batch.
struct Parts<'a> {
    packets: &'a mut [Packet],
    slab: &'a mut [u8],
    heads: &'a mut Vec<Head>,
}

impl Parts<'_> {
    fn place(&self, index: usize) -> Range<usize> {
        let packet = &self.packets[index];
        packet.start..packet.start + packet.len
    }

    /// Each packet of an arrival, in place.
    fn each(&mut self, arrival: &Arrival, mut act: impl FnMut(&mut [u8])) {
        let mut at = arrival.first;
        loop {
            let place = self.place(at);
            act(&mut self.slab[place]);
            if at == arrival.last {
                return;
            }
            at = self.packets[at].next as usize;
        }
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.slab[self.place(index)]
    }
}

impl Pipeline {
    /// Opens what came to UDP port 4500 and as raw ESP; each packet's `path` says which (port 0 is raw ESP). Afterwards
    /// every packet that is not `done` is an inner packet for the TUN device, by itself or with its train.
    pub fn inbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        batch.split_trains();
        let (packets, slab, heads) = batch.all_mut();
        let mut parts = Parts { packets, slab, heads };
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
        // Nothing is held back for a later batch.
        while let Some(arrival) = self.growing.remove(0) {
            self.admit(now, arrival, &mut parts);
        }
    }

    /// Lets in what other workers have opened; `beside` tells of each packet of `batch`.
    pub(super) fn inbound_opened(&mut self, now: Instant, batch: &mut Batch, beside: &[Beside]) {
        let (packets, slab, heads) = batch.all_mut();
        let mut parts = Parts { packets, slab, heads };
        for (index, &Beside { tunnel, tos }) in beside.iter().enumerate() {
            let arrival = Arrival { first: index, last: index, sa: None, tunnel, tos, train: None };
            self.gather(now, arrival, &mut parts);
        }
        while let Some(arrival) = self.growing.remove(0) {
            self.admit(now, arrival, &mut parts);
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
        if sa.expects_udp() != udp {
            return Err(refusal(DropReason::WrongEncapsulation));
        }

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
        let bytes = parts.bytes(arrival.first);
        let Coalescing { tcp, udp } = self.coalescing;
        let candidate = if tcp || udp { Candidate::of(bytes) } else { None };
        let candidate = candidate.filter(|candidate| if candidate.is_udp() { udp } else { tcp });
        let growing = &mut self.growing;
        let same = (0..growing.len)
            .rev()
            .find(|&at| growing.trains[at].is_some_and(|other| coalesce::same_flow(parts.bytes(other.first), bytes)));
        if let Some(at) = same {
            if let (Some(candidate), Some(other)) = (&candidate, &mut growing.trains[at])
                && (other.sa, other.tunnel, other.tos) == (arrival.sa, arrival.tunnel, arrival.tos)
                && let Some(train) = &mut other.train
                && train.take(parts.bytes(other.first), bytes, candidate)
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

    /// Lets a packet, or a train, in or not.
    fn admit(&mut self, now: Instant, arrival: Arrival, parts: &mut Parts<'_>) {
        let judged = self.judge(now, &arrival, parts);
        let trained = arrival.train.filter(|train| train.count() > 1);
        let (mut at, mut role) = (arrival.first, Role::Alone);
        if let (Ok(()), Some(train)) = (&judged, &trained) {
            role = Role::Leads(parts.heads.len() as u16);
            parts.heads.push(train.head(parts.bytes(arrival.first)));
        }
        if trained.is_some() || judged.is_err() {
            loop {
                parts.packets[at].role = role;
                parts.packets[at].done = judged.is_err();
                if at == arrival.last {
                    break;
                }
                at = parts.packets[at].next as usize;
                role = Role::Follows;
            }
        }
        if let Err(refusal) = judged {
            self.refuse(now, false, refusal, trained.map_or(1, |train| train.count() as u64));
        }
    }

    fn judge(&mut self, now: Instant, arrival: &Arrival, parts: &mut Parts<'_>) -> Result<(), Refusal> {
        let tunnel = arrival.tunnel;
        let refusal = |reason: DropReason| Refusal { tunnel: Some(tunnel), ..reason.into() };
        let (count, bytes, rest) = match &arrival.train {
            Some(train) => (train.count() as u64, train.bytes() as u64, train.rest() as u32),
            None => (1, parts.packets[arrival.first].len as u64, 0),
        };

        // What is inside, and does it belong to this SA?
        let place = parts.place(arrival.first);
        let inner = Inner::parse_leader(&parts.slab[place.clone()], rest).map_err(refusal)?;
        let flow = inner.flow();
        let refusal = |reason| Refusal { flow: Some(flow), ..refusal(reason) };
        let sa = arrival.sa.map(|place| self.sad.inbound(place).expect("a packet was just opened with it"));
        if sa.is_some_and(|sa| !carries(sa.child(), false, &inner)) {
            return Err(refusal(DropReason::Selector));
        }
        if inner.ttl() == 0 {
            return Err(refusal(DropReason::TtlExpired));
        }

        // May it go? The peer is never answered: what it sends is its own affair.
        let pass = match self.verdict(now, Origin::Tunnel(tunnel), &inner) {
            Verdict::Pass(pass) => pass,
            Verdict::Drop { reason, rule, .. } => return Err(Refusal { rule, ..refusal(reason) }),
        };
        let refusal = |reason| Refusal { rule: Some(pass.rule), ..refusal(reason) };

        // What the way has done to it.
        let Ok(tos) = tunnel::decapsulate(inner.tos(), arrival.tos) else { return Err(refusal(DropReason::EcnDrop)) };
        let syn = inner.tcp().is_some_and(|segment| segment.flags() & tcp::SYN != 0);
        let (old_tos, v6) = (inner.tos(), inner.is_v6());
        if tos != old_tos {
            parts.each(arrival, |packet| ip::set_tos(packet, tos));
        }
        let host = self.translator.inwards(now, &self.policy, tunnel, &parts.slab[place.clone()]).map_err(refusal)?;
        if let Some(host) = host {
            parts.each(arrival, |packet| _ = rewrite(packet, Side::Destination, host));
        }
        if syn {
            tcp::clamp_mss(&mut parts.slab[place], mtu::max_segment(self.tunnels.inner_mtu(tunnel), v6));
        }

        self.counters.rule(pass.rule).count_in(count, bytes);
        self.counters.tunnel(tunnel).count_in(count, bytes);
        if pass.opened {
            self.opened(now, tunnel, pass.rule, flow);
        }
        Ok(())
    }
}
