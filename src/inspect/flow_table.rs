//! The live flows and their verdicts: every inner packet of both directions is judged here.
//!
//! A flow is opened by the side that its rule names, and lives until it is closed, has been silent for too long, or has
//! said what its rule does not allow. Its verdict is believed as long as the policy has the generation that gave it. A new
//! SA does not end a flow.

use std::collections::VecDeque;

use super::case::{Case, Refusal};
use super::ear::{self, Ear};
use super::ending::{ENDINGS, answer, bury, speak, tell};
use super::flow::{Flow, FlowId, State};
use super::icmp;
use super::slots::Slots;
use super::stream::{self, Streams};
use super::tcp::{self, Connection, Step};
use super::verdict::{Cause, Ending, Origin, Pass, Verdict};
use crate::event::DropReason;
use crate::policy::{Classified, Snapshot};
use crate::time::Instant;
use crate::wire::icmp::IcmpView;
use crate::wire::ip::{Inner, Transport};
use crate::wire::tcp::TcpView;

/// How many places are looked at for an expired flow when there is no free one.
const LOOK_FOR_ROOM: usize = 64;
/// Flows at most in which something is heard: each has a listener of a kilobyte.
const VOICES: usize = 65_536;

/// The flows of one worker, in room that is allocated once.
#[derive(Debug)]
pub struct FlowTable {
    pub(super) flows: Slots,
    streams: Streams<Ear>,
    endings: VecDeque<Ending>,
    /// By what right packets leave that have waited.
    leaving: Option<Pass>,
    /// The place from which on flows have not been judged again since the policy changed.
    unjudged: Option<u32>,
}

/// What becomes of a packet that is not refused.
pub(super) enum Course {
    Goes(Pass),
    Waits,
    Splits(Pass),
}

impl FlowTable {
    /// Room for `capacity` flows; `hash_seed` must not be known to the peers.
    #[must_use]
    pub fn new(capacity: usize, hash_seed: [u64; 4]) -> Self {
        Self {
            flows: Slots::new(capacity, hash_seed),
            streams: Streams::new(capacity.min(VOICES), stream::KEPT_OF_ALL.min(capacity.saturating_mul(stream::KEPT))),
            endings: VecDeque::with_capacity(ENDINGS),
            leaving: None,
            unjudged: None,
        }
    }

    /// Believes TCP checksums without a look: for packets from captures.
    #[must_use]
    pub fn trusting_checksums(mut self) -> Self {
        self.streams.trust_checksums();
        self
    }

    /// Bytes that each flow takes for which there is room; and those that one takes besides in which something is heard.
    #[must_use]
    pub const fn bytes_per_flow() -> (usize, usize) {
        (super::slots::BYTES_PER_FLOW, Streams::<Ear>::voice_size())
    }

    /// How many flows are alive, or have expired and were not yet swept away.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many flows there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.flows.capacity()
    }

    /// Bytes of streams that are kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.streams.kept()
    }

    /// Whether `packet` may go on.
    pub fn judge(&mut self, now: Instant, origin: Origin, packet: &Inner<'_>, policy: &Snapshot) -> Verdict {
        self.judge_train(now, origin, packet, &[], policy)
    }

    /// Whether a train may go on that `leader` leads, with `rest` as the payload of the others.
    ///
    /// Afterwards packets may leave that have waited ([`releases`](Self::releases)), and there may be something to tell
    /// ([`poll_ending`](Self::poll_ending)).
    pub fn judge_train(
        &mut self,
        now: Instant,
        origin: Origin,
        leader: &Inner<'_>,
        rest: &[&[u8]],
        policy: &Snapshot,
    ) -> Verdict {
        let case = Case { now, origin, packet: leader, rest, policy };
        let endings = self.endings.len();
        self.streams.discard_released();
        let judged = match leader.transport() {
            Transport::Tcp(segment) => self.judge_tcp(&case, &segment),
            Transport::Udp(_) => self.judge_udp(&case).map(Course::Goes),
            Transport::Icmp(message) if message.is_echo_request() => {
                self.judge_echo_request(&case, &message).map(Course::Goes)
            }
            Transport::Icmp(message) if message.is_echo_reply() => {
                self.judge_echo_reply(&case, &message).map(Course::Goes)
            }
            Transport::Icmp(message) => self.judge_icmp_error(&case, &message).map(Course::Goes),
            Transport::Other => Err(case.refuse_opening()),
        };
        match judged {
            Ok(Course::Goes(pass)) => Verdict::Pass(pass),
            Ok(Course::Waits) => Verdict::Waits,
            Ok(Course::Splits(pass)) => Verdict::Split(pass),
            Err(Refusal { reason, tunnel, rule }) => {
                let tunnel = match origin {
                    Origin::Tun => tunnel,
                    Origin::Tunnel(tunnel) => Some(tunnel),
                };
                let ended = self.endings.len() > endings;
                Verdict::Drop { reason, tunnel, rule, reply: case.reply(reason, ended) }
            }
        }
    }

    /// Whether packets that have waited leave now, behind the one that was judged last.
    #[inline]
    #[must_use]
    pub fn releases(&self) -> bool {
        self.streams.releases()
    }

    /// The next of them, into `out`: how long it is, and by what right it leaves. To be asked until there is none; one that
    /// does not fit is lost, with length zero.
    pub fn release(&mut self, out: &mut [u8]) -> Option<(usize, Pass)> {
        let len = self.streams.release(out)?;
        self.leaving.map(|pass| (len, pass))
    }

    /// The next flow that was ended. To be asked after each packet, [`sweep`](Self::sweep) and
    /// [`end_disallowed`](Self::end_disallowed) until there is none.
    #[inline]
    pub fn poll_ending(&mut self) -> Option<Ending> {
        self.endings.pop_front()
    }

    /// Looks at the next `budget` places of the table and ends the flows there that have expired. Our own side is told of
    /// connections.
    pub fn sweep(&mut self, now: Instant, budget: usize) {
        let Self { flows, streams, endings, .. } = self;
        flows.sweep(now, budget, |flow| bury(&flow, streams, endings, true));
    }

    /// The policy has changed: every flow is to be judged again.
    pub fn policy_changed(&mut self) {
        self.unjudged = Some(0);
    }

    /// Ends flows that the policy does not allow any more, as many as can be told of at a time; whether there may be more.
    /// None of them carries anything meanwhile: a packet that comes first has its flow judged.
    pub fn end_disallowed(&mut self, now: Instant, policy: &Snapshot) -> bool {
        while let Some(place) = self.unjudged {
            if place as usize >= self.flows.capacity() {
                self.unjudged = None;
                break;
            }
            if self.endings.len() == ENDINGS {
                return true;
            }
            let disallowed = self.flows.get_mut(place).is_some_and(|flow| {
                flow.generation != policy.generation()
                    && flow.expires > now
                    && Self::judge_again(flow, &mut self.streams, policy).is_err_and(|refusal| {
                        tell(flow, &mut self.endings, Some(Cause::Refused(refusal.reason)), (true, true));
                        true
                    })
            });
            if disallowed {
                self.remove(place);
            }
            self.unjudged = Some(place + 1);
        }
        false
    }

    fn remove(&mut self, place: u32) {
        if let Some(Flow { state: State::Tcp(connection), .. }) = self.flows.remove(place) {
            self.streams.forget(connection.voice);
        }
    }

    fn judge_tcp(&mut self, case: &Case<'_>, segment: &TcpView<'_>) -> Result<Course, Refusal> {
        tcp::flags_are_legal(segment.flags()).map_err(|reason| case.refuse(reason))?;
        let id = case.id();
        let Some(place) = self.live(case, &id)? else {
            if tcp::opens(segment.flags()) {
                return self.open(case, id, |heard| Connection::open(segment, heard).map(State::Tcp)).map(Course::Goes);
            }
            let ours = [true, false].iter().any(|local| case.policy.allows(&id.opening(*local)).is_some());
            return Err(if ours { case.refuse(DropReason::NoConnection) } else { case.refuse_opening() });
        };
        let Self { flows, streams, endings, leaving, .. } = self;
        let Some(flow) = flows.get_mut(place) else { return Err(case.refuse(DropReason::NoConnection)) };
        let from_opener = case.outbound() == flow.allowed.opener_is_local;
        let heard = flow.kind.is_some();
        let refusal = flow.refuse(DropReason::OutOfState);
        let State::Tcp(connection) = &mut flow.state else { return Err(refusal) };
        match connection.advance(from_opener, segment) {
            Ok(Step::Pass) => {
                streams.acknowledged(connection, from_opener);
                flow.touch(case.now, case.outbound(), case.bytes());
                Ok(Course::Goes(flow.pass(false)))
            }
            Ok(Step::Speaks) => {
                let course = speak(flow, streams, endings, case, segment);
                if streams.releases() {
                    *leaving = Some(flow.pass(false));
                }
                course
            }
            Ok(Step::Aside) => Ok(Course::Goes(flow.pass(false))),
            Ok(Step::Reopen) => {
                let opened = Connection::open(segment, heard).map_err(|reason| Refusal { reason, ..refusal })?;
                bury(flow, streams, endings, false);
                (flow.state, flow.bytes) = (State::Tcp(opened), [0; 2]);
                flow.touch(case.now, case.outbound(), case.bytes());
                Ok(Course::Goes(flow.pass(true)))
            }
            Err(reason) => {
                if connection.is_ended() {
                    answer(flow, endings, case, None);
                }
                Err(Refusal { reason, ..refusal })
            }
        }
    }

    fn judge_udp(&mut self, case: &Case<'_>) -> Result<Pass, Refusal> {
        let id = case.id();
        let place = self.live(case, &id)?;
        let Some(flow) = place.and_then(|place| self.flows.get_mut(place)) else {
            return self.open(case, id, |_| Ok(State::Udp { answered: false }));
        };
        if case.outbound() != flow.allowed.opener_is_local {
            flow.state = State::Udp { answered: true };
        }
        flow.touch(case.now, case.outbound(), case.bytes());
        Ok(flow.pass(false))
    }

    fn judge_echo_request(&mut self, case: &Case<'_>, message: &IcmpView<'_>) -> Result<Pass, Refusal> {
        let id = case.echo_id(message);
        let place = self.live(case, &id)?;
        let Some(flow) = place.and_then(|place| self.flows.get_mut(place)) else {
            return self.open(case, id, |_| Ok(State::Echo));
        };
        if case.outbound() != flow.allowed.opener_is_local {
            return Err(flow.refuse(DropReason::WrongDirection));
        }
        if message.code() != 0 {
            return Err(flow.refuse(DropReason::IcmpNotError));
        }
        flow.touch(case.now, case.outbound(), case.bytes());
        Ok(flow.pass(false))
    }

    fn judge_echo_reply(&mut self, case: &Case<'_>, message: &IcmpView<'_>) -> Result<Pass, Refusal> {
        let place = self.live(case, &case.echo_id(message))?;
        match place.and_then(|place| self.flows.get_mut(place)) {
            Some(flow) if case.outbound() != flow.allowed.opener_is_local && message.code() == 0 => {
                flow.touch(case.now, case.outbound(), case.bytes());
                Ok(flow.pass(false))
            }
            Some(flow) => Err(flow.refuse(DropReason::IcmpNotError)),
            // Nobody asked.
            None => Err(case.refuse(DropReason::IcmpNotError)),
        }
    }

    fn judge_icmp_error(&mut self, case: &Case<'_>, message: &IcmpView<'_>) -> Result<Pass, Refusal> {
        if !icmp::is_useful_error(message) {
            return Err(case.refuse(DropReason::IcmpNotError));
        }
        if !icmp::mtu_is_plausible(message) {
            return Err(case.refuse(DropReason::BadTransport));
        }
        // The error goes to the sender of what it quotes; it may come from any router on the way.
        let quoted = message.quoted().filter(|quoted| quoted.flow.source == case.packet.destination());
        let about = quoted.and_then(|quoted| icmp::about(&quoted, case.outbound()));
        let Some(about) = about else { return Err(case.refuse(DropReason::IcmpNoFlow)) };
        let place = self.live(case, &about.id)?;
        let Some(flow) = place.and_then(|place| self.flows.get_mut(place)) else {
            let near = Refusal::of_opening(case.policy, about.outbound, &about.key);
            return Err(Refusal { reason: DropReason::IcmpNoFlow, ..near });
        };
        let quoted_from_opener = about.outbound == flow.allowed.opener_is_local;
        let sent = match &flow.state {
            State::Tcp(connection) => connection.is_open() && connection.in_flight(quoted_from_opener, about.sequence),
            State::Udp { answered } => quoted_from_opener || *answered,
            State::Echo => true,
        };
        // An error neither keeps a flow alive nor ends it.
        if sent { Ok(flow.pass(false)) } else { Err(flow.refuse(DropReason::IcmpNoFlow)) }
    }

    /// The place of a live flow. A verdict of another generation is asked for again, and the flow ends if it is not
    /// allowed any more.
    fn live(&mut self, case: &Case<'_>, id: &FlowId) -> Result<Option<u32>, Refusal> {
        let Some(place) = self.flows.find(id) else { return Ok(None) };
        let Some(flow) = self.flows.get_mut(place) else { return Ok(None) };
        if flow.expires <= case.now {
            if let Some(flow) = self.flows.remove(place) {
                bury(&flow, &mut self.streams, &mut self.endings, false);
            }
            return Ok(None);
        }
        if flow.generation != case.policy.generation()
            && let Err(refusal) = Self::judge_again(flow, &mut self.streams, case.policy)
        {
            // The sender of this packet is answered, if it is ours.
            tell(flow, &mut self.endings, Some(Cause::Refused(refusal.reason)), (!case.outbound(), true));
            self.remove(place);
            return Err(refusal);
        }
        match case.origin {
            // RFC 4301 §5.2: a packet has to come by the SA that its flow belongs to.
            Origin::Tunnel(tunnel) if tunnel != flow.allowed.tunnel => Err(flow.refuse(DropReason::Selector)),
            _ => Ok(Some(place)),
        }
    }

    /// Whether a flow is allowed by another policy than the one that allowed it.
    fn judge_again(flow: &mut Flow, streams: &mut Streams<Ear>, policy: &Snapshot) -> Result<(), Refusal> {
        let opener_is_local = flow.allowed.opener_is_local;
        let Some(allowed) = policy.allows(&flow.id.opening(opener_is_local)) else {
            return Err(Refusal::of_opening(policy, opener_is_local, &flow.id.opener_key(opener_is_local)));
        };
        // Closed and opened again before anybody looked at this flow: it is over all the same.
        if let Some(reason) = policy.closed_since(flow.allowed.tunnel, flow.generation) {
            return Err(flow.refuse(reason));
        }
        if let State::Tcp(connection) = &mut flow.state {
            let kind = ear::kind(policy, allowed.rule);
            if kind != flow.kind {
                if kind.is_some() {
                    // What was said in it so far nobody has heard, or heard for something else.
                    return Err(Refusal::by(DropReason::InspectionChanged, allowed));
                }
                // Whoever waits has no packet to leave behind: this one may go the other way.
                streams.fall_silent(connection);
                flow.kind = None;
            }
        }
        flow.allowed = allowed;
        flow.generation = policy.generation();
        Ok(())
    }

    /// Opens the flow that the packet asks for, if the policy lets its sender do so.
    fn open(
        &mut self,
        case: &Case<'_>,
        id: FlowId,
        state: impl FnOnce(bool) -> Result<State, DropReason>,
    ) -> Result<Pass, Refusal> {
        let Classified::Allow(allowed) = case.policy.classify(case.outbound(), &case.packet.flow()) else {
            return Err(case.refuse_opening());
        };
        if let Origin::Tunnel(tunnel) = case.origin
            && tunnel != allowed.tunnel
        {
            return Err(Refusal::by(DropReason::Selector, allowed));
        }
        let kind = ear::kind(case.policy, allowed.rule);
        let state = state(kind.is_some()).map_err(|reason| Refusal::by(reason, allowed))?;
        let expires = case.now + state.timeout();
        let mut flow = Flow { id, allowed, generation: case.policy.generation(), kind, state, bytes: [0; 2], expires };
        flow.bytes[usize::from(!case.outbound())] = case.bytes();
        let pass = flow.pass(true);
        if let Err(flow) = self.flows.insert(flow) {
            // Only what has expired makes room: nobody can push out the flow of another.
            self.sweep(case.now, LOOK_FOR_ROOM);
            self.flows.insert(flow).map_err(|flow| flow.refuse(DropReason::FlowTableFull))?;
        }
        Ok(pass)
    }
}
