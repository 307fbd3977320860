//! The way out: a packet from the TUN device becomes an ESP packet for the underlay, where it lies (RFC 4301 §5.1).
//!
//! One long packet of many segments (`segment`) is judged once, takes one range of sequence numbers, and is cut here into
//! segments that are sealed one after the other.

use super::buffer::{Batch, Packet, Parts, Path, stride};
use super::drop::Refused;
use super::mtu;
use super::pipeline::{Pipeline, notice_event};
use super::replies::Answer;
use super::sad::{NoWay, OutboundPlace};
use super::segment::{self, Template, Train};
use super::tunnel;
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, TunnelId};
use crate::inspect::{Origin, Pass, Reply, Verdict};
use crate::sa::child::Encapsulation;
use crate::sa::event::SadEvent;
use crate::time::Instant;
use crate::wire::icmp::IcmpError;
use crate::wire::ip::Inner;
use crate::wire::tcp;
use crate::wire::tcp_options;
use crate::wire::vnet::{Segments, VnetHeader};

/// Why a packet goes no further, and who it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    pub(super) tunnel: Option<TunnelId>,
    pub(super) rule: Option<RuleId>,
    /// `None` for what is no packet of a flow.
    pub(super) flow: Option<FlowKey>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, tunnel: None, rule: None, flow: None }
    }
}

/// A packet that may go, and how.
struct Cleared {
    pass: Pass,
    sa: OutboundPlace,
    path: Path,
    /// The longest packet that fits.
    fits: u16,
    syn: bool,
    v6: bool,
}

impl Pipeline {
    /// Seals what was read from the TUN device. Afterwards every packet that is not `done` is a datagram to send along
    /// its `path`; a long one has become its segments, and what has waited stands behind what it waited for.
    pub fn outbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        let mut parts = batch.all_mut();
        let mut at = 0;
        while let Some(packet) = parts.packets.get_mut(at) {
            if packet.done {
                at += 1;
                continue;
            }
            if self.pass_on_unjudged(packet, parts.slab) {
                packet.done = true;
                at += 1;
                continue;
            }
            if packet.offload.segments == Segments::None {
                match self.send(now, packet, parts.slab) {
                    Ok(leaves) => packet.done = !leaves,
                    Err(refusal) => {
                        packet.done = true;
                        if !self.pass_on_judged(packet, VnetHeader::default(), parts.slab) {
                            self.refuse(now, true, refusal, 1);
                        }
                    }
                }
                at += 1;
            } else {
                debug_assert!(
                    at + 1 == parts.packets.len(),
                    "what is to be cut is the last, and has the room behind it"
                );
                self.send_train(now, &mut parts);
                at = parts.packets.len();
            }
            if self.flows.releases() {
                at = self.release_outwards(now, at, &mut parts);
            }
        }
    }

    /// Whether it leaves; else it waits.
    fn send(&mut self, now: Instant, packet: &mut Packet, slab: &mut [u8]) -> Result<bool, Refusal> {
        let place = packet.start..packet.start + packet.len;
        segment::complete(&mut slab[place.clone()], &packet.offload)?;
        self.outwards(now, &mut slab[place.clone()])?;
        let inner = Inner::parse(&slab[place.clone()])?;
        let Some(pass) = self.may_go(now, &inner, &[])? else { return Ok(false) };
        if pass.bare {
            return self.send_bare(now, pass, packet, slab);
        }
        let cleared = self.clear(now, &inner, pass)?;
        self.leave(now, &cleared, packet, slab)?;
        Ok(true)
    }

    /// Sends the headers of a packet.
    fn send_bare(&mut self, now: Instant, pass: Pass, packet: &mut Packet, slab: &mut [u8]) -> Result<bool, Refusal> {
        let place = packet.start..packet.start + packet.len;
        let len = tcp::shed_payload(&mut slab[place.clone()]).ok_or(DropReason::BadTransport)?;
        let place = place.start..place.start + len;
        (packet.len, packet.offload) = (len, VnetHeader::default());
        let cleared = self.clear(now, &Inner::parse(&slab[place])?, pass)?;
        self.leave(now, &cleared, packet, slab)?;
        Ok(true)
    }

    /// Seals a packet that may go, where it lies.
    fn leave(&mut self, now: Instant, cleared: &Cleared, packet: &mut Packet, slab: &mut [u8]) -> Result<(), Refusal> {
        let place = packet.start..packet.start + packet.len;
        if cleared.syn {
            tcp_options::strip(&mut slab[place.clone()]);
            tcp::clamp_mss(&mut slab[place.clone()], mtu::max_segment(cleared.fits, cleared.v6));
        }
        let sequence = self.reserve(now, cleared, &slab[place.clone()], 1, place.len() as u64)?;
        let sa = self.sad.outbound(cleared.sa).expect("its place was just found");
        let sealed = sa.seal(sequence, slab, place);
        (packet.start, packet.len, packet.offload) = (sealed.start, sealed.len(), VnetHeader::default());
        (packet.path, packet.lane) = (Some(cleared.path), self.hands.lane);
        Ok(())
    }

    /// Sends packets that have waited, from place `at` on; where those behind them begin.
    fn release_outwards(&mut self, now: Instant, mut at: usize, parts: &mut Parts<'_>) -> usize {
        while let Some((len, pass)) = self.flows.release(&mut parts.slab[parts.annex.vacant()]) {
            if len == 0 {
                self.refuse(now, true, DropReason::QueueFull.into(), 1);
                continue;
            }
            let place = parts.annex.take(len);
            let left = match Inner::parse(&parts.slab[place.clone()]) {
                Ok(inner) => self.clear(now, &inner, pass),
                Err(reason) => Err(reason.into()),
            };
            let mut waited = Packet { start: place.start, len, ..Packet::default() };
            match left.and_then(|cleared| self.leave(now, &cleared, &mut waited, parts.slab)) {
                Ok(()) => {
                    parts.packets.insert(at, waited);
                    at += 1;
                }
                Err(_) if self.pass_on_judged(&waited, VnetHeader::default(), parts.slab) => {}
                Err(refusal) => self.refuse(now, true, refusal, 1),
            }
        }
        at
    }

    /// Cuts the last packet into its segments and seals each: judged once, numbered by one range.
    fn send_train(&mut self, now: Instant, parts: &mut Parts<'_>) {
        let Some(packet) = parts.packets.last_mut() else { return };
        let place = packet.start..packet.start + packet.len;
        let train = match Train::plan(&parts.slab[place.clone()], &packet.offload) {
            Ok(train) => train,
            Err(reason) => {
                packet.done = true;
                return self.refuse(now, true, reason.into(), 1);
            }
        };
        let count = train.count();
        match self.clear_train(now, &train, packet, parts.slab) {
            Ok(Some((cleared, first))) => self.cut(&train, &cleared, first, parts.packets, parts.slab),
            Ok(None) => {}
            Err(refusal) => {
                packet.done = true;
                let packet = *packet;
                // What lost its payload is a single packet by now.
                let long = packet.offload.segments != Segments::None;
                if long {
                    train.restore(&mut parts.slab[packet.start..packet.start + packet.len]);
                }
                if !self.pass_on_judged(&packet, packet.offload, parts.slab) {
                    self.refuse(now, true, refusal, count as u64);
                }
            }
        }
    }

    /// Whether a train may go, by what its first segment looks like and all of them carry; and the first of its sequence
    /// numbers. `None`: its headers have gone, or nothing.
    fn clear_train(
        &mut self,
        now: Instant,
        train: &Train,
        packet: &mut Packet,
        slab: &mut [u8],
    ) -> Result<Option<(Cleared, u64)>, Refusal> {
        let bytes = &mut slab[packet.start..packet.start + packet.len];
        train.pretend_first(bytes);
        let (leader, rest) = bytes.split_at_mut_checked(train.longest()).ok_or(DropReason::BadIpHeader)?;
        self.outwards(now, leader)?;
        let inner = Inner::parse_leader(leader, train.rest() as u32)?;
        let Some(pass) = self.may_go(now, &inner, &[&*rest])? else {
            packet.done = true;
            return Ok(None);
        };
        if pass.bare {
            packet.len = train.longest();
            self.send_bare(now, pass, packet, slab)?;
            return Ok(None);
        }
        let cleared = self.clear(now, &inner, pass)?;
        let first = self.reserve(now, &cleared, leader, train.count() as u64, train.bytes() as u64)?;
        Ok(Some((cleared, first)))
    }

    /// From the last segment to the first: each moves into free room behind those that are still to be moved.
    fn cut(&mut self, train: &Train, cleared: &Cleared, first: u64, packets: &mut Vec<Packet>, slab: &mut [u8]) {
        let Some(long) = packets.pop() else { return };
        let (count, header_len) = (train.count(), train.header_len());
        let template = Template::new(train, &slab[long.start..long.start + header_len]);
        let distance = stride(train.longest());
        let begin = packets.len();
        let lane = self.hands.lane;
        packets.resize(begin + count, Packet { path: Some(cleared.path), lane, ..Packet::default() });
        let sa = self.sad.outbound(cleared.sa).expect("its place was just found");
        for index in (0..count).rev() {
            let start = long.start + index * distance;
            let (from, len) = train.payload(index);
            let from = long.start + header_len + from;
            slab.copy_within(from..from + len, start + header_len);
            let place = start..start + header_len + len;
            template.write(index, &mut slab[place.clone()]);
            let sealed = sa.seal(first + index as u64, slab, place);
            let packet = &mut packets[begin + index];
            (packet.start, packet.len) = (sealed.start, sealed.len());
        }
    }

    /// May it go, or all of the train that it leads? `None`: it waits.
    fn may_go(&mut self, now: Instant, inner: &Inner<'_>, rest: &[&[u8]]) -> Result<Option<Pass>, Refusal> {
        if inner.ttl() == 0 {
            return Err(Refusal { flow: Some(inner.flow()), ..DropReason::TtlExpired.into() });
        }
        let pass = match self.verdict(now, Origin::Tun, inner, rest) {
            Verdict::Pass(pass) => pass,
            Verdict::Waits => return Ok(None),
            Verdict::Split(Pass { tunnel, rule, .. }) => {
                // Our own side sends in order but for what was lost, and that again in order.
                let reason = DropReason::HoldFull;
                return Err(Refusal { reason, tunnel: Some(tunnel), rule: Some(rule), flow: Some(inner.flow()) });
            }
            Verdict::Drop { reason, tunnel, rule, reply } => {
                match reply {
                    Reply::None => {}
                    Reply::Reset => self.answer(now, inner, Answer::Reset),
                    Reply::Unreachable => self.answer(now, inner, Answer::Error(IcmpError::Prohibited)),
                }
                return Err(Refusal { reason, tunnel, rule, flow: Some(inner.flow()) });
            }
        };
        if pass.opened {
            self.opened(now, pass.tunnel, pass.rule, inner.flow());
        }
        Ok(Some(pass))
    }

    /// By which SA does it go, and does it fit?
    fn clear(&mut self, now: Instant, inner: &Inner<'_>, pass: Pass) -> Result<Cleared, Refusal> {
        let Pass { tunnel, rule, .. } = pass;
        let refusal = |reason| Refusal { reason, tunnel: Some(tunnel), rule: Some(rule), flow: Some(inner.flow()) };

        // By which SA?
        let place = match self.way_out(now, pass, inner) {
            Ok(place) => place,
            Err(NoWay::Elsewhere) => return Err(refusal(DropReason::HandoverFull)),
            Err(NoWay::Narrowed) => {
                self.answer(now, inner, Answer::Error(IcmpError::Prohibited));
                return Err(refusal(DropReason::Selector));
            }
            Err(NoWay::NoSa) => {
                let lacking = self.sad.lacking(now, pass.tunnel, pass.shape);
                if lacking.ask {
                    self.events.push(SadEvent::Acquire { tunnel: pass.tunnel, shape: pass.shape });
                }
                if lacking.tell {
                    self.answer(now, inner, Answer::Error(IcmpError::Unreachable));
                }
                return Err(refusal(DropReason::NoSa));
            }
        };
        let path_mtu = self.tunnels.path(pass.tunnel).get();
        let sa = self.sad.outbound(place).expect("its place was just found");

        // Does it fit?
        let encapsulation = sa.child().encapsulation;
        let fits = mtu::inner_mtu(path_mtu, mtu::Outer::of(&encapsulation), sa.shape());
        if inner.bytes().len() > usize::from(fits) {
            self.answer(now, inner, Answer::Error(IcmpError::TooBig { mtu: u32::from(fits) }));
            return Err(refusal(DropReason::TooBig));
        }
        let syn = inner.tcp().is_some_and(|segment| segment.flags() & tcp::SYN != 0);
        let path = outer_path(&encapsulation, tunnel::encapsulate(inner.tos()));
        Ok(Cleared { pass, sa: place, path, fits, syn, v6: inner.is_v6() })
    }

    /// Numbers and counts what is about to be sealed: so many packets like the first of them, of so many bytes.
    fn reserve(
        &mut self,
        now: Instant,
        cleared: &Cleared,
        first: &[u8],
        count: u64,
        bytes: u64,
    ) -> Result<u64, Refusal> {
        let sa = self.sad.outbound(cleared.sa).expect("its place was just found");
        let reserved = sa.reserve(now, count, bytes);
        while let Some(notice) = sa.poll_notice() {
            self.events.push(notice_event(notice, sa.inbound()));
        }
        let Pass { tunnel, rule, .. } = cleared.pass;
        let sequence = reserved.map_err(|reason| {
            let flow = Inner::parse(first).ok().map(|inner| inner.flow());
            Refusal { reason, tunnel: Some(tunnel), rule: Some(rule), flow }
        })?;
        self.counters.rule(rule).count_out(count, bytes);
        self.counters.tunnel(tunnel).count_out(count, bytes);
        Ok(sequence)
    }

    /// Seals the last of the packets that the gateway made itself for the peer's side; it is not there any more if it has gone
    /// to the worker of its SA, or if the tunnel is down and nobody can be told.
    pub(super) fn depart(&mut self, now: Instant, pass: Pass) {
        let mut batch = std::mem::take(&mut self.departures.batch);
        let Parts { packets, slab, .. } = batch.all_mut();
        let sealed = packets.last_mut().is_some_and(|packet| {
            let Ok(inner) = Inner::parse(&slab[packet.start..packet.start + packet.len]) else { return false };
            let (v6, tos) = (inner.is_v6(), inner.tos());
            let gone = self.way_out(now, pass, &inner).is_ok_and(|sa| {
                let Some(spec) = self.sad.outbound(sa) else { return false };
                let path = outer_path(&spec.child().encapsulation, tunnel::encapsulate(tos));
                let cleared = Cleared { pass, sa, path, fits: u16::MAX, syn: false, v6 };
                self.leave(now, &cleared, packet, slab).is_ok()
            });
            if !gone {
                self.pass_on_judged(packet, VnetHeader::default(), slab);
            }
            gone
        });
        if !sealed {
            batch.pop();
        }
        self.departures.batch = batch;
    }

    fn answer(&mut self, now: Instant, offending: &Inner<'_>, answer: Answer) {
        if let Some(answer) = self.replies.answer(now, offending, answer) {
            self.translator.back(answer);
            self.counters.shared().replies.add(1);
        }
    }

    /// Counts packets that go no further, and notes whose they were.
    pub(super) fn refuse(&mut self, now: Instant, outbound: bool, refusal: Refusal, count: u64) {
        let Refusal { reason, tunnel, rule, flow } = refusal;
        self.counters.drop(reason, count);
        if let Some(tunnel) = tunnel {
            self.counters.tunnel(tunnel).refused.add(count);
        }
        if let Some(rule) = rule {
            self.counters.rule(rule).refuse(reason, count);
        }
        if let Some(flow) = flow {
            let inside = self.translator.inside_of(now, &self.policy, tunnel, &flow);
            self.records.refused(now, Refused { tunnel, rule, reason, outbound, flow, inside, count });
        }
    }

    pub(super) fn opened(&mut self, now: Instant, tunnel: TunnelId, rule: RuleId, flow: FlowKey) {
        self.counters.rule(rule).flows.add(1);
        let inside = self.translator.inside_of(now, &self.policy, Some(tunnel), &flow);
        self.records.opened(tunnel, rule, flow, inside);
    }
}

fn outer_path(encapsulation: &Encapsulation, tos: u8) -> Path {
    match *encapsulation {
        Encapsulation::Raw { local, remote } => Path { local: (local, 0).into(), remote: (remote, 0).into(), tos },
        Encapsulation::Udp { local, remote } => Path { local, remote, tos },
    }
}
