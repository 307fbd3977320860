//! The way out: a packet from the TUN device becomes an ESP packet for the underlay, where it lies (RFC 4301 §5.1).
//!
//! One long packet of many segments (`segment`) is judged once, takes one range of sequence numbers, and is cut here into
//! segments that are sealed one after the other.

use super::buffer::{Batch, Packet, Path, stride};
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
    flow: FlowKey,
}

impl Cleared {
    fn refusal(&self, reason: DropReason) -> Refusal {
        Refusal { reason, tunnel: Some(self.pass.tunnel), rule: Some(self.pass.rule), flow: Some(self.flow) }
    }
}

impl Pipeline {
    /// Seals what was read from the TUN device. Afterwards every packet that is not `done` is a datagram to send along
    /// its `path`; a long one has become its segments.
    pub fn outbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        let (packets, slab, _) = batch.all_mut();
        for index in 0..packets.len() {
            let packet = packets[index];
            if packet.done {
                continue;
            }
            if self.pass_on_unjudged(&packet, slab) {
                packets[index].done = true;
                continue;
            }
            if packet.offload.segments != Segments::None {
                debug_assert!(index + 1 == packets.len(), "what is to be cut is the last, and has the room behind it");
                self.send_train(now, packets, slab);
                return;
            }
            if let Err(refusal) = self.send(now, &mut packets[index], slab) {
                packets[index].done = true;
                if !self.pass_on_judged(&packets[index], VnetHeader::default(), slab) {
                    self.refuse(now, true, refusal, 1);
                }
            }
        }
    }

    fn send(&mut self, now: Instant, packet: &mut Packet, slab: &mut [u8]) -> Result<(), Refusal> {
        let place = packet.start..packet.start + packet.len;
        segment::complete(&mut slab[place.clone()], &packet.offload)?;
        self.outwards(now, &mut slab[place.clone()])?;
        let cleared = self.clear(now, &Inner::parse(&slab[place.clone()])?)?;
        if cleared.syn {
            tcp::clamp_mss(&mut slab[place.clone()], mtu::max_segment(cleared.fits, cleared.v6));
        }
        let sequence = self.reserve(now, &cleared, 1, packet.len as u64)?;
        let sa = self.sad.outbound(cleared.sa).expect("its place was just found");
        let sealed = sa.seal(sequence, slab, place);
        packet.start = sealed.start;
        packet.len = sealed.len();
        packet.path = Some(cleared.path);
        packet.lane = self.hands.lane;
        Ok(())
    }

    /// Cuts the last packet into its segments and seals each: judged once, numbered by one range.
    fn send_train(&mut self, now: Instant, packets: &mut Vec<Packet>, slab: &mut [u8]) {
        let Some(packet) = packets.last_mut() else { return };
        let place = packet.start..packet.start + packet.len;
        let train = match Train::plan(&slab[place.clone()], &packet.offload) {
            Ok(train) => train,
            Err(reason) => {
                packet.done = true;
                return self.refuse(now, true, reason.into(), 1);
            }
        };
        let count = train.count();
        match self.clear_train(now, &train, &mut slab[place]) {
            Ok((cleared, first)) => self.cut(&train, &cleared, first, packets, slab),
            Err(refusal) => {
                packet.done = true;
                let packet = *packet;
                train.restore(&mut slab[packet.start..packet.start + packet.len]);
                if !self.pass_on_judged(&packet, packet.offload, slab) {
                    self.refuse(now, true, refusal, count as u64);
                }
            }
        }
    }

    /// Whether a train may go, by what its first segment looks like; and the first of its sequence numbers.
    fn clear_train(&mut self, now: Instant, train: &Train, bytes: &mut [u8]) -> Result<(Cleared, u64), Refusal> {
        train.pretend_first(bytes);
        let leader = bytes.get_mut(..train.longest()).ok_or(DropReason::BadIpHeader)?;
        self.outwards(now, leader)?;
        let cleared = self.clear(now, &Inner::parse_leader(leader, train.rest() as u32)?)?;
        let first = self.reserve(now, &cleared, train.count() as u64, train.bytes() as u64)?;
        Ok((cleared, first))
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

    /// May it go, by which SA, and does it fit?
    fn clear(&mut self, now: Instant, inner: &Inner<'_>) -> Result<Cleared, Refusal> {
        let flow = inner.flow();
        if inner.ttl() == 0 {
            return Err(Refusal { flow: Some(flow), ..DropReason::TtlExpired.into() });
        }
        let pass = match self.verdict(now, Origin::Tun, inner) {
            Verdict::Pass(pass) => pass,
            Verdict::Drop { reason, tunnel, rule, reply } => {
                match reply {
                    Reply::None => {}
                    Reply::Reset => self.answer(now, inner, Answer::Reset),
                    Reply::Unreachable => self.answer(now, inner, Answer::Error(IcmpError::Prohibited)),
                }
                return Err(Refusal { reason, tunnel, rule, flow: Some(flow) });
            }
        };
        if pass.opened {
            self.opened(now, pass.tunnel, pass.rule, flow);
        }
        let refusal = |reason| Refusal { reason, tunnel: Some(pass.tunnel), rule: Some(pass.rule), flow: Some(flow) };

        // By which SA?
        let place = match self.way_out(now, &pass, inner) {
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
        Ok(Cleared { pass, sa: place, path, fits, syn, v6: inner.is_v6(), flow })
    }

    /// Numbers and counts what is about to be sealed.
    fn reserve(&mut self, now: Instant, cleared: &Cleared, count: u64, bytes: u64) -> Result<u64, Refusal> {
        let sa = self.sad.outbound(cleared.sa).expect("its place was just found");
        let reserved = sa.reserve(now, count, bytes);
        while let Some(notice) = sa.poll_notice() {
            self.events.push(notice_event(notice, sa.inbound()));
        }
        let sequence = reserved.map_err(|reason| cleared.refusal(reason))?;
        self.counters.rule(cleared.pass.rule).count_out(count, bytes);
        self.counters.tunnel(cleared.pass.tunnel).count_out(count, bytes);
        Ok(sequence)
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
