//! The live flows and their verdicts: every inner packet of both directions is judged here.
//!
//! A flow is opened by the side that its rule names, and lives until it is closed or has been silent for too long. Its
//! verdict is believed as long as the policy has the generation that gave it. A new SA does not end a flow.

use super::flow::{Flow, FlowId, State};
use super::icmp;
use super::slots::Slots;
use super::tcp_state::{self, Connection, Step};
use super::verdict::{Origin, Pass, Reply, Verdict};
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, TunnelId};
use crate::policy::{Allowed, Classified, Snapshot};
use crate::time::Instant;
use crate::wire::icmp::IcmpView;
use crate::wire::ip::{self, Inner, Transport};
use crate::wire::tcp::{ACK, RST, TcpView};

/// How many places are looked at for an expired flow when there is no free one.
const LOOK_FOR_ROOM: usize = 64;

/// The flows of one worker, in room that is allocated once.
#[derive(Debug)]
pub struct FlowTable {
    flows: Slots,
}

/// One packet and all that it is judged by.
struct Case<'a> {
    now: Instant,
    origin: Origin,
    packet: &'a Inner<'a>,
    key: FlowKey,
    policy: &'a Snapshot,
}

impl FlowTable {
    /// Room for `capacity` flows; `hash_seed` must not be known to the peers.
    #[must_use]
    pub fn new(capacity: usize, hash_seed: [u64; 4]) -> Self {
        Self { flows: Slots::new(capacity, hash_seed) }
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

    /// Whether `packet` may go on.
    pub fn judge(&mut self, now: Instant, origin: Origin, packet: &Inner<'_>, policy: &Snapshot) -> Verdict {
        let case = Case { now, origin, packet, key: packet.flow(), policy };
        let verdict = match packet.transport() {
            Transport::Tcp(segment) => self.judge_tcp(&case, &segment),
            Transport::Udp(_) => self.judge_udp(&case),
            Transport::Icmp(message) if message.is_echo_request() => self.judge_echo_request(&case, &message),
            Transport::Icmp(message) if message.is_echo_reply() => self.judge_echo_reply(&case, &message),
            Transport::Icmp(message) => self.judge_icmp_error(&case, &message),
            Transport::Other => Err(case.refuse_opening()),
        };
        match verdict {
            Ok(pass) => Verdict::Pass(pass),
            Err(Refusal { reason, tunnel, rule }) => {
                let tunnel = match origin {
                    Origin::Tun => tunnel,
                    Origin::Tunnel(tunnel) => Some(tunnel),
                };
                Verdict::Drop { reason, tunnel, rule, reply: case.reply(reason) }
            }
        }
    }

    /// Looks at the next `budget` places of the table and ends the flows there that have expired.
    pub fn sweep(&mut self, now: Instant, budget: usize) {
        self.flows.sweep(now, budget);
    }

    fn judge_tcp(&mut self, case: &Case<'_>, segment: &TcpView<'_>) -> Result<Pass, Refusal> {
        if !tcp_state::flags_are_legal(segment.flags()) {
            return Err(case.refuse(DropReason::BadTcpFlags));
        }
        let id = case.id();
        let Some(place) = self.live(case, &id)? else {
            if tcp_state::opens(segment.flags()) {
                let connection = || Connection::open(segment).map(State::Tcp).ok_or(DropReason::OutOfState);
                return self.open(case, id, connection);
            }
            let ours = [true, false].iter().any(|local| case.policy.allows(&id.opening(*local)).is_some());
            return Err(if ours { case.refuse(DropReason::NoConnection) } else { case.refuse_opening() });
        };
        let Some(flow) = self.flows.get_mut(place) else { return Err(case.refuse(DropReason::NoConnection)) };
        let from_opener = case.outbound() == flow.allowed.opener_is_local;
        let State::Tcp(connection) = &mut flow.state else { return Err(flow.refuse(DropReason::OutOfState)) };
        match connection.advance(from_opener, segment) {
            Step::Pass => flow.touch(case.now),
            Step::Aside => {}
            Step::Reopen => {
                let connection = Connection::open(segment).ok_or(DropReason::OutOfState);
                flow.state = State::Tcp(connection.map_err(|reason| flow.refuse(reason))?);
                flow.touch(case.now);
                return Ok(flow.pass(true));
            }
            Step::WrongDirection => return Err(flow.refuse(DropReason::WrongDirection)),
            Step::OutOfState => return Err(flow.refuse(DropReason::OutOfState)),
        }
        Ok(flow.pass(false))
    }

    fn judge_udp(&mut self, case: &Case<'_>) -> Result<Pass, Refusal> {
        let id = case.id();
        let place = self.live(case, &id)?;
        let Some(flow) = place.and_then(|place| self.flows.get_mut(place)) else {
            return self.open(case, id, || Ok(State::Udp { answered: false }));
        };
        if case.outbound() != flow.allowed.opener_is_local {
            flow.state = State::Udp { answered: true };
        }
        flow.touch(case.now);
        Ok(flow.pass(false))
    }

    fn judge_echo_request(&mut self, case: &Case<'_>, message: &IcmpView<'_>) -> Result<Pass, Refusal> {
        let id = case.echo_id(message);
        let place = self.live(case, &id)?;
        let Some(flow) = place.and_then(|place| self.flows.get_mut(place)) else {
            return self.open(case, id, || Ok(State::Echo));
        };
        if case.outbound() != flow.allowed.opener_is_local {
            return Err(flow.refuse(DropReason::WrongDirection));
        }
        if message.code() != 0 {
            return Err(flow.refuse(DropReason::IcmpNotError));
        }
        flow.touch(case.now);
        Ok(flow.pass(false))
    }

    fn judge_echo_reply(&mut self, case: &Case<'_>, message: &IcmpView<'_>) -> Result<Pass, Refusal> {
        let place = self.live(case, &case.echo_id(message))?;
        match place.and_then(|place| self.flows.get_mut(place)) {
            Some(flow) if case.outbound() != flow.allowed.opener_is_local && message.code() == 0 => {
                flow.touch(case.now);
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
            State::Tcp(connection) => connection.in_flight(quoted_from_opener, about.sequence),
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
            self.flows.remove(place);
            return Ok(None);
        }
        if flow.generation != case.policy.generation() {
            let opener_is_local = flow.allowed.opener_is_local;
            if let Some(allowed) = case.policy.allows(&id.opening(opener_is_local)) {
                flow.allowed = allowed;
                flow.generation = case.policy.generation();
            } else {
                self.flows.remove(place);
                return Err(Refusal::of_opening(case.policy, opener_is_local, &id.opener_key(opener_is_local)));
            }
        }
        match case.origin {
            // RFC 4301 §5.2: a packet has to come by the SA that its flow belongs to.
            Origin::Tunnel(tunnel) if tunnel != flow.allowed.tunnel => Err(flow.refuse(DropReason::Selector)),
            _ => Ok(Some(place)),
        }
    }

    /// Opens the flow that the packet asks for, if the policy lets its sender do so.
    fn open(
        &mut self,
        case: &Case<'_>,
        id: FlowId,
        state: impl FnOnce() -> Result<State, DropReason>,
    ) -> Result<Pass, Refusal> {
        let Classified::Allow(allowed) = case.policy.classify(case.outbound(), &case.key) else {
            return Err(case.refuse_opening());
        };
        if let Origin::Tunnel(tunnel) = case.origin
            && tunnel != allowed.tunnel
        {
            return Err(Refusal::by(DropReason::Selector, allowed));
        }
        let state = state().map_err(|reason| Refusal::by(reason, allowed))?;
        let expires = case.now + state.timeout();
        let flow = Flow { id, allowed, generation: case.policy.generation(), state, expires };
        let pass = flow.pass(true);
        let inserted = self.flows.insert(flow).or_else(|flow| {
            // Only what has expired makes room: nobody can push out the flow of another.
            self.flows.sweep(case.now, LOOK_FOR_ROOM);
            self.flows.insert(flow)
        });
        inserted.map(|()| pass).map_err(|flow| flow.refuse(DropReason::FlowTableFull))
    }
}

/// Why a packet goes no further, and what stands near.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    reason: DropReason,
    tunnel: Option<TunnelId>,
    rule: Option<RuleId>,
}

impl Refusal {
    fn by(reason: DropReason, allowed: Allowed) -> Self {
        Self { reason, tunnel: Some(allowed.tunnel), rule: Some(allowed.rule) }
    }

    /// Why the sender of `key` may not open.
    fn of_opening(policy: &Snapshot, outbound: bool, key: &FlowKey) -> Self {
        let (reason, tunnel, rule) = match policy.classify(outbound, key) {
            // What could be opened is refused only if it did not open.
            Classified::Allow(allowed) => (DropReason::NoConnection, Some(allowed.tunnel), Some(allowed.rule)),
            Classified::Disabled { rule, tunnel, reason } => (reason, Some(tunnel), Some(rule)),
            Classified::WrongDirection { rule, tunnel } => (DropReason::WrongDirection, Some(tunnel), Some(rule)),
            Classified::NoRule { near, tunnel } => (DropReason::NoRule, tunnel, near),
            Classified::NotOurs => (DropReason::NotOurs, None, None),
        };
        Self { reason, tunnel, rule }
    }
}

impl Flow {
    fn pass(&self, opened: bool) -> Pass {
        let Allowed { rule, tunnel, shape, .. } = self.allowed;
        Pass { tunnel, shape, rule, opened }
    }

    fn refuse(&self, reason: DropReason) -> Refusal {
        Refusal::by(reason, self.allowed)
    }
}

impl FlowId {
    /// The packet with which the flow was opened.
    fn opener_key(&self, opener_is_local: bool) -> FlowKey {
        let echo = match self.protocol {
            ip::ICMP => Some((8, 0)),
            ip::ICMPV6 => Some((128, 0)),
            _ => None,
        };
        let (local, remote) = ((self.local, self.local_port), (self.remote, self.remote_port));
        let ((source, source_port), (destination, destination_port)) =
            if opener_is_local { (local, remote) } else { (remote, local) };
        let (source_port, destination_port) = echo.unwrap_or((source_port, destination_port));
        FlowKey { protocol: self.protocol, source, source_port, destination, destination_port }
    }
}

impl Case<'_> {
    fn outbound(&self) -> bool {
        self.origin == Origin::Tun
    }

    fn id(&self) -> FlowId {
        let FlowKey { protocol, source, source_port, destination, destination_port } = self.key;
        FlowId::new(self.outbound(), protocol, (source, source_port), (destination, destination_port))
    }

    fn echo_id(&self, message: &IcmpView<'_>) -> FlowId {
        let FlowKey { protocol, source, destination, .. } = self.key;
        icmp::echo(self.outbound(), protocol, message.identifier(), source, destination)
    }

    /// The answer of the table to a packet that would open a flow.
    fn refuse_opening(&self) -> Refusal {
        Refusal::of_opening(self.policy, self.outbound(), &self.key)
    }

    /// A refusal for another reason than the table's, with the rule that the table finds nearest.
    fn refuse(&self, reason: DropReason) -> Refusal {
        Refusal { reason, ..self.refuse_opening() }
    }

    /// What our own side is told: it should fail at once and not wait for a timeout.
    fn reply(&self, reason: DropReason) -> Reply {
        let tcp = self.packet.tcp();
        let reset = tcp.is_some_and(|segment| segment.flags() & RST != 0);
        let midstream = tcp.is_some_and(|segment| segment.flags() & ACK != 0);
        let error = self.packet.icmp().is_some_and(|message| !message.is_echo_request());
        match reason {
            _ if !self.outbound() || reset || error => Reply::None,
            DropReason::NoConnection => Reply::Reset,
            reason if reason.is_of_policy() => {
                // An established connection takes an ICMP error for a passing trouble (RFC 1122 §4.2.3.9).
                if midstream { Reply::Reset } else { Reply::Unreachable }
            }
            _ => Reply::None,
        }
    }
}
