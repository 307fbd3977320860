//! The way out: a packet from the TUN device becomes an ESP packet for the underlay, where it lies (RFC 4301 §5.1).
//!
//! Left out: trains of segments (`Packet::segment`). The reading edge hands in single packets; a train would be judged
//! once, take one range of sequence numbers, and be cut here into segments that are sealed one after the other.

use super::buffer::{Batch, Packet, Path};
use super::drop::Refused;
use super::mtu;
use super::pipeline::{Pipeline, notice_event};
use super::replies::Answer;
use super::sad::NoWay;
use super::tunnel;
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, TunnelId};
use crate::inspect::{Origin, Reply, Verdict};
use crate::sa::child::Encapsulation;
use crate::sa::event::SadEvent;
use crate::time::Instant;
use crate::wire::icmp::IcmpError;
use crate::wire::ip::Inner;
use crate::wire::tcp;

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

impl Pipeline {
    /// Seals what was read from the TUN device. Afterwards every packet that is not `done` is a datagram to send along
    /// its `path`.
    pub fn outbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        let (packets, slab) = batch.parts_mut();
        for packet in packets.iter_mut().filter(|packet| !packet.done) {
            if let Err(refusal) = self.send(now, packet, slab) {
                packet.done = true;
                self.refuse(now, true, refusal);
            }
        }
    }

    fn send(&mut self, now: Instant, packet: &mut Packet, slab: &mut [u8]) -> Result<(), Refusal> {
        debug_assert!(packet.segment == 0, "trains are cut before they come here");
        let place = packet.start..packet.start + packet.len;

        // What is it, and may it go?
        let inner = Inner::parse(&slab[place.clone()])?;
        let flow = inner.flow();
        if inner.ttl() == 0 {
            return Err(Refusal { flow: Some(flow), ..DropReason::TtlExpired.into() });
        }
        let pass = match self.flows.judge(now, Origin::Tun, &inner, &self.policy) {
            Verdict::Pass(pass) => pass,
            Verdict::Drop { reason, tunnel, rule, reply } => {
                match reply {
                    Reply::None => {}
                    Reply::Reset => self.answer(now, &inner, Answer::Reset),
                    Reply::Unreachable => self.answer(now, &inner, Answer::Error(IcmpError::Prohibited)),
                }
                return Err(Refusal { reason, tunnel, rule, flow: Some(flow) });
            }
        };
        if pass.opened {
            self.opened(pass.tunnel, pass.rule, flow);
        }
        let refusal = |reason| Refusal { reason, tunnel: Some(pass.tunnel), rule: Some(pass.rule), flow: Some(flow) };

        // By which SA?
        let way = match self.sad.find_outbound(pass.tunnel, pass.shape, &inner) {
            Ok(way) => way,
            Err(NoWay::Narrowed) => {
                self.answer(now, &inner, Answer::Error(IcmpError::Prohibited));
                return Err(refusal(DropReason::Selector));
            }
            Err(NoWay::NoSa) => {
                let lacking = self.sad.lacking(now, pass.tunnel, pass.shape);
                if lacking.ask {
                    self.events.push(SadEvent::Acquire { tunnel: pass.tunnel, shape: pass.shape });
                }
                if lacking.tell {
                    self.answer(now, &inner, Answer::Error(IcmpError::Unreachable));
                }
                return Err(refusal(DropReason::NoSa));
            }
        };
        let path_mtu = self.tunnels.path(pass.tunnel).get();
        let sa = self.sad.outbound(way).expect("its place was just found");

        // Does it fit?
        let encapsulation = sa.child().encapsulation;
        let fits = mtu::inner_mtu(path_mtu, mtu::Outer::of(&encapsulation), sa.shape());
        if packet.len > usize::from(fits) {
            self.answer(now, &inner, Answer::Error(IcmpError::TooBig { mtu: u32::from(fits) }));
            return Err(refusal(DropReason::TooBig));
        }
        let syn = inner.tcp().is_some_and(|segment| segment.flags() & tcp::SYN != 0);
        let (v6, tos) = (inner.is_v6(), inner.tos());
        if syn {
            tcp::clamp_mss(&mut slab[place.clone()], mtu::max_segment(fits, v6));
        }

        // Number it and seal it.
        let reserved = sa.reserve(now, 1, packet.len as u64);
        while let Some(notice) = sa.poll_notice() {
            self.events.push(notice_event(notice, sa.inbound()));
        }
        let sequence = reserved.map_err(refusal)?;
        let sealed = sa.seal(sequence, slab, place);

        self.counters.rule(pass.rule).count_out(packet.len);
        self.counters.tunnel(pass.tunnel).count_out(packet.len);
        packet.start = sealed.start;
        packet.len = sealed.len();
        packet.path = Some(outer_path(&encapsulation, tunnel::encapsulate(tos)));
        Ok(())
    }

    fn answer(&mut self, now: Instant, offending: &Inner<'_>, answer: Answer) {
        if self.replies.answer(now, offending, answer) {
            self.counters.shared().replies.add(1);
        }
    }

    /// Counts a packet that goes no further, and notes whose it was.
    pub(super) fn refuse(&mut self, now: Instant, outbound: bool, refusal: Refusal) {
        let Refusal { reason, tunnel, rule, flow } = refusal;
        self.counters.drop(reason, 1);
        if let Some(tunnel) = tunnel {
            self.counters.tunnel(tunnel).refused.add(1);
        }
        if let Some(rule) = rule {
            self.counters.rule(rule).refused.add(1);
        }
        if let Some(flow) = flow {
            self.records.refused(now, Refused { tunnel, rule, reason, outbound, flow, count: 1 });
        }
    }

    pub(super) fn opened(&mut self, tunnel: TunnelId, rule: RuleId, flow: FlowKey) {
        self.counters.rule(rule).flows.add(1);
        self.records.opened(tunnel, rule, flow);
    }
}

fn outer_path(encapsulation: &Encapsulation, tos: u8) -> Path {
    match *encapsulation {
        Encapsulation::Raw { local, remote } => Path { local: (local, 0).into(), remote: (remote, 0).into(), tos },
        Encapsulation::Udp { local, remote } => Path { local, remote, tos },
    }
}
