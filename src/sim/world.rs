//! The world of one seed: gateways, what is under way between them, and what is to happen when. One thread, one queue, no clock.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use super::attacker::Attacker;
use super::coverage::{Coverage, Stimulus};
use super::dice::Dice;
use super::gateway::{Gateway, Wanted, nanos, selectors};
use super::ledger::{Ledger, Violation};
use super::network::{Body, Frame};
use super::path::{Opened, Packet, Sealed};
use super::plan::{Act, Feature, Plan};
use super::settle::Settle;
use crate::event::Event;
use crate::ids::{ShapeId, TunnelId};
use crate::ike::api::{Input, Output};
use crate::sa::child::Encapsulation;
use crate::sa::event::SadEvent;
use crate::wire::ike::header::Header;

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
/// More than this in one seed is an exchange that never ends.
const MOST_STEPS: u64 = 400_000;
/// Messages that a trace remembers.
const REMEMBERED: usize = 60;

/// Longest line of a trace.
const LONGEST: usize = 300;

/// Whose frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A gateway's, as it sent it.
    Gateway,
    /// A gateway's, with a flipped bit.
    Damaged,
    /// The attacker's; whether these very bytes are on their way, or have come, from a gateway.
    Attacker {
        /// A copy, not a forgery.
        copy: bool,
    },
    /// The hostile peer's.
    Hostile,
}

/// What is to happen.
pub enum Action {
    /// A frame arrives at a gateway.
    Arrive {
        /// Which one.
        to: usize,
        /// What.
        frame: Frame,
        /// Whose.
        origin: Origin,
    },
    /// A gateway wanted to be woken.
    Wake(usize),
    /// The data path confirms.
    Confirm(usize),
    /// Packets come to the ends of a tunnel.
    Talk {
        /// Which tunnel.
        tunnel: usize,
        /// Which end.
        end: usize,
    },
    /// Something of the script.
    Act(Act),
    /// A gateway starts.
    Start(usize),
    /// A gateway goes on after it stood still.
    Resume(usize),
    /// The attacker's turn.
    Attack,
    /// All faults end.
    Heal,
    /// A look at what is there.
    Look,
}

struct Due {
    at: u64,
    number: u64,
    action: Action,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest: the heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// A line that is cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// Until when, there and back.
    pub until: [u64; 2],
}

/// The world.
pub struct World {
    /// What the seed decides.
    pub plan: Plan,
    /// Nanoseconds since the beginning.
    pub now: u64,
    queue: BinaryHeap<Due>,
    number: u64,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    pub(super) cuts: Vec<Cut>,
    /// The safety invariants.
    pub ledger: Ledger,
    /// What was reached.
    pub coverage: Coverage,
    pub(super) attacker: Attacker,
    pub(super) settle: Settle,
    line_dice: Dice,
    lag_dice: Dice,
    pub(super) hostile_dice: Dice,
    /// Whether faults have ended.
    pub healed: bool,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// IKE messages that gateways have sent.
    pub messages: u64,
    /// Things that have happened.
    pub steps: u64,
    /// Packets that found no SA, or met a hard limit, after their way was first there; and packets that were sealed.
    pub without_way: Vec<String>,
    pub(super) ways_seen: std::collections::BTreeSet<(u16, u16, usize)>,
    trace: VecDeque<String>,
    printer: Option<fn(&str)>,
    done: bool,
    look_for_secrets: bool,
}

impl World {
    /// Until the first negotiation has come to its end. Whether it succeeded on both sides.
    pub fn run_first_negotiation(&mut self) -> bool {
        while self.violation.is_none() && self.ledger.handshakes < 2 && self.ledger.failures == 0 {
            let Some(Due { at, action, .. }) = self.queue.pop() else { return false };
            self.now = self.now.max(at);
            self.act(action);
        }
        self.ledger.handshakes == 2
    }

    /// The beginning. `printer` hears of everything as it happens.
    #[must_use]
    pub fn new(plan: Plan, printer: Option<fn(&str)>) -> Self {
        let gateways = (0..plan.gateways()).map(|index| Gateway::new(&plan, index)).collect();
        let mut world = Self {
            now: 1000 * SECOND,
            queue: BinaryHeap::new(),
            number: 0,
            gateways,
            cuts: vec![Cut::default(); plan.tunnels.len()],
            ledger: Ledger::new(&plan),
            coverage: Coverage::default(),
            attacker: Attacker::new(&plan),
            settle: Settle::new(&plan),
            line_dice: Dice::new(plan.seed, 200),
            lag_dice: Dice::new(plan.seed, 201),
            hostile_dice: Dice::new(plan.seed, 202),
            healed: false,
            violation: None,
            messages: 0,
            steps: 0,
            without_way: Vec::new(),
            ways_seen: std::collections::BTreeSet::new(),
            trace: VecDeque::new(),
            printer,
            done: false,
            look_for_secrets: plan.seed.is_multiple_of(32),
            plan,
        };
        let begin = world.now;
        for index in 0..world.gateways.len() {
            world.at(begin, Action::Start(index));
        }
        for (tunnel, of) in world.plan.tunnels.clone().iter().enumerate() {
            for end in [0, 1] {
                world.at(begin + nanos(of.pace) / 2 * (end as u64 + 1), Action::Talk { tunnel, end });
            }
        }
        for (at, act) in world.plan.acts.clone() {
            world.at(begin + nanos(at), Action::Act(act));
        }
        if world.plan.has(Feature::Attacker) {
            world.at(begin + 10 * MILLI, Action::Attack);
        }
        world.at(begin + nanos(world.plan.faults_for), Action::Heal);
        world
    }

    /// Until everything has settled, or something did not hold.
    pub fn run(&mut self) {
        while self.violation.is_none() && !self.done {
            let Some(Due { at, action, .. }) = self.queue.pop() else {
                return self.fail("L5", "nothing is to happen any more");
            };
            self.now = self.now.max(at);
            self.steps += 1;
            if self.steps > MOST_STEPS {
                return self.fail("L5", format!("{MOST_STEPS} steps"));
            }
            self.act(action);
        }
    }

    pub(super) fn at(&mut self, at: u64, action: Action) {
        self.number += 1;
        self.queue.push(Due { at, number: self.number, action });
    }

    /// Everything has settled.
    pub(super) fn finish(&mut self) {
        self.done = true;
    }

    /// Something does not hold.
    pub fn fail(&mut self, invariant: &'static str, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            self.note(|| format!("VIOLATION {invariant}: {what}"));
            self.violation = Some(Violation { invariant, what });
        }
    }

    pub(super) fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(Violation { invariant, what }) = checked {
            self.fail(invariant, what);
        }
    }

    /// For the trace.
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let since = self.now - 1000 * SECOND;
        let mut text = text();
        if text.len() > LONGEST && !text.starts_with("VIOLATION") {
            text = text.chars().take(LONGEST).collect();
        }
        let line = format!("{:>4}.{:06} {text}", since / SECOND, since % SECOND / 1000);
        if let Some(print) = self.printer {
            print(&line);
        }
        if self.trace.len() == REMEMBERED {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// The last things that happened.
    pub fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive { to, frame, origin } => self.arrive(to, frame, origin),
            Action::Wake(gateway) => self.wake(gateway),
            Action::Confirm(gateway) => self.confirm(gateway),
            Action::Talk { tunnel, end } => self.talk(tunnel, end),
            Action::Act(act) => self.perform(act),
            Action::Start(gateway) => self.start(gateway),
            Action::Resume(gateway) => self.resume(gateway),
            Action::Attack => self.attack(),
            Action::Heal => self.heal(),
            Action::Look => self.look(),
        }
    }

    pub(super) fn is_awake(&self, gateway: usize) -> bool {
        let of = &self.gateways[gateway];
        of.endpoint.is_some() && of.sleeps_until <= self.now
    }

    pub(super) fn start(&mut self, gateway: usize) {
        if self.gateways[gateway].endpoint.is_some() || self.gateways[gateway].down_until > self.now {
            return;
        }
        let plan = &self.plan;
        self.gateways[gateway].start(plan, gateway);
        self.note(|| format!("g{gateway} starts"));
        self.input(gateway, Input::Timeout);
    }

    fn wake(&mut self, gateway: usize) {
        if self.is_awake(gateway) && self.gateways[gateway].timeout.is_some_and(|at| at <= self.now) {
            let of = &self.gateways[gateway];
            let due = of.endpoint.as_ref().map(|endpoint| endpoint.due(of.clock(self.now))).unwrap_or_default();
            for phase in due {
                self.coverage.note(phase, Stimulus::Timer, true);
            }
            self.input(gateway, Input::Timeout);
        }
    }

    fn resume(&mut self, gateway: usize) {
        if self.is_awake(gateway) {
            self.note(|| format!("g{gateway} goes on"));
            self.input(gateway, Input::Timeout);
        }
    }

    /// Every state of a tunnel's IKE SAs meets something.
    pub(super) fn meets(&mut self, gateway: usize, tunnel: Option<TunnelId>, stimulus: Stimulus) {
        let Some(endpoint) = &self.gateways[gateway].endpoint else { return };
        for sa in endpoint.probe() {
            if tunnel.is_none_or(|tunnel| tunnel == sa.tunnel) {
                self.coverage.note(sa.phase, stimulus, true);
            }
        }
    }

    /// Something happens at a gateway, with everything that follows at once.
    pub(super) fn input(&mut self, gateway: usize, input: Input<'_>) {
        let now = self.gateways[gateway].clock(self.now);
        let Some(endpoint) = &mut self.gateways[gateway].endpoint else { return };
        endpoint.handle(now, input);
        self.drain(gateway);
        self.hear_data_path(gateway);
        self.count_tables(gateway);
    }

    fn hear_data_path(&mut self, gateway: usize) {
        while let Some(event) = self.gateways[gateway].path.events.pop_front() {
            let stimulus = Stimulus::of_sad(&event);
            match event {
                SadEvent::Acquire { tunnel, .. } => self.meets(gateway, Some(tunnel), stimulus),
                _ => self.meets(gateway, None, stimulus),
            }
            let now = self.gateways[gateway].clock(self.now);
            let Some(endpoint) = &mut self.gateways[gateway].endpoint else { return };
            endpoint.handle(now, Input::Sad(event));
            self.drain(gateway);
        }
    }

    /// S11: every table has its bound.
    fn count_tables(&mut self, gateway: usize) {
        let Some(endpoint) = &self.gateways[gateway].endpoint else { return };
        let (all, half_open) = (endpoint.table_len(), endpoint.half_open());
        // Half-open ones are bounded by source; a tunnel may have its established ones, their spares and those that close.
        if all > half_open + 40 * self.plan.tunnels.len() || half_open > 1000 {
            self.fail("S11", format!("gateway {gateway} has {all} IKE SAs, {half_open} of them half open"));
        }
    }

    /// Takes everything out of an endpoint.
    pub(super) fn drain(&mut self, gateway: usize) {
        loop {
            let of = &mut self.gateways[gateway];
            let Some(endpoint) = &mut of.endpoint else { return };
            match endpoint.poll_output() {
                Output::Timeout(at) => {
                    let at = at.map(|at| at.as_nanos().saturating_sub(of.skew));
                    if of.timeout != at {
                        of.timeout = at;
                        if let Some(at) = at {
                            if at <= self.now {
                                return self.fail("L5", format!("gateway {gateway} wants to be woken in the past"));
                            }
                            self.at(at, Action::Wake(gateway));
                        }
                    }
                    return;
                }
                Output::Transmit { local, remote, bytes } => {
                    let epoch = of.epoch;
                    let checked = self.ledger.transmit(gateway, epoch, &bytes);
                    let hostile = self.plan.has(Feature::Hostile) && gateway == super::hostile::GATEWAY;
                    if !hostile {
                        self.check(checked);
                    }
                    if self.look_for_secrets && self.ledger.shows_a_secret(&bytes) {
                        self.fail("S4", "a datagram shows a key");
                    }
                    self.messages += 1;
                    self.want(
                        gateway,
                        Wanted::Send(Frame { source: local, destination: remote, body: Body::Ike(bytes) }),
                    );
                }
                // No gateway of the simulation asks for an inner address.
                Output::Addresses { .. } => {}
                Output::Keepalive { local, remote } => {
                    self.want(
                        gateway,
                        Wanted::Send(Frame { source: local, destination: remote, body: Body::Keepalive }),
                    );
                }
                Output::Sad(command) => {
                    let tunnels = &self.plan.tunnels;
                    let peer = |tunnel: u16| {
                        let ends = tunnels[usize::from(tunnel)].ends;
                        if ends[0] == gateway { ends[1] } else { ends[0] }
                    };
                    let checked = self.ledger.command(gateway, peer, &command, &of.configs);
                    self.check(checked);
                    self.want(gateway, Wanted::Sad(command));
                }
                Output::Event(event) => self.event(gateway, &event),
                Output::KeyLog(line) => {
                    let checked = self.ledger.key_log(gateway, line);
                    self.check(checked);
                }
            }
        }
    }

    fn event(&mut self, gateway: usize, event: &Event) {
        if !matches!(event, Event::IkeRefused { .. }) || self.printer.is_some() {
            self.note(|| format!("g{gateway} {event:?}"));
        }
        let checked = self.ledger.event(gateway, event, &self.plan);
        self.check(checked);
    }

    /// Done at once, or after what the data path has to confirm before.
    fn want(&mut self, gateway: usize, wanted: Wanted) {
        let lag = nanos(self.plan.lag);
        let of = &mut self.gateways[gateway];
        let last = of.pending.back().map(|(at, _)| *at);
        let at = match &wanted {
            Wanted::Sad(_) if lag > 0 => self.now.max(last.unwrap_or(0)) + 1 + self.lag_dice.below(lag),
            _ => match last {
                Some(at) => at,
                None => return self.fulfil(gateway, wanted),
            },
        };
        of.pending.push_back((at, wanted));
        if last != Some(at) {
            self.at(at, Action::Confirm(gateway));
        }
    }

    fn confirm(&mut self, gateway: usize) {
        while self.gateways[gateway].pending.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, wanted)) = self.gateways[gateway].pending.pop_front() {
                self.fulfil(gateway, wanted);
            }
        }
        self.hear_data_path(gateway);
    }

    fn fulfil(&mut self, gateway: usize, wanted: Wanted) {
        match wanted {
            Wanted::Send(frame) => self.send(gateway, frame),
            Wanted::Sad(command) => {
                let now = self.now;
                let path = &mut self.gateways[gateway].path;
                if let Err(what) = path.apply(now, command) {
                    return self.fail("S3", format!("gateway {gateway}: {what}"));
                }
                let ready = self.gateways[gateway].path.release(now);
                for (local, remote, esp) in ready {
                    let frame = Frame { source: remote, destination: local, body: Body::Esp(esp) };
                    // It may have been damaged on its way: nobody has looked yet.
                    self.arrive_esp(gateway, &frame, Origin::Damaged);
                }
            }
        }
    }

    /// A gateway sends a frame.
    fn send(&mut self, gateway: usize, mut frame: Frame) {
        let mut origin = Origin::Gateway;
        if self.plan.has(Feature::Hostile) && gateway == super::hostile::GATEWAY && !self.healed {
            origin = self.corrupt_from_within(gateway, &mut frame);
        }
        if let Some(nat) = &mut self.gateways[gateway].nat {
            frame.source = nat.outwards(self.now, frame.source);
        }
        self.attacker.record(&frame);
        self.route(Some(gateway), &frame, origin);
    }

    /// The gateway with this address.
    pub(super) fn gateway_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.gateways.len()).find(|gateway| self.plan.addresses(*gateway)[1] == address.ip())
    }

    fn route(&mut self, from: Option<usize>, frame: &Frame, origin: Origin) {
        let Some(to) = self.gateway_at(frame.destination) else { return };
        let between =
            |of: &super::plan::TunnelPlan| of.ends.contains(&to) && from.is_none_or(|from| of.ends.contains(&from));
        let Some(tunnel) = self.plan.tunnels.iter().position(between) else { return };
        let way = usize::from(self.plan.tunnels[tunnel].ends[1] != to);
        let mut line = self.plan.tunnels[tunnel].lines[way];
        if self.healed {
            line = super::plan::Line { loss: 0, duplicate: 0, corrupt: 0, mtu: 65_535, ..line };
        }
        let mut fate = line.fate(&mut self.line_dice, frame.length());
        if self.cuts[tunnel].until[way] > self.now {
            fate.delays = [None; 2];
            fate.lost = Some("cut");
        }
        if let Body::Ike(bytes) = &frame.body {
            let (text, lost) = (describe(bytes), fate.lost);
            let origin = if origin == Origin::Gateway { String::new() } else { format!(" {origin:?}") };
            let (source, destination) = (frame.source, frame.destination);
            self.note(|| {
                format!(
                    "{source} > {destination} {text}{origin}{}",
                    lost.map_or(String::new(), |why| format!(" ({why})"))
                )
            });
        }
        for delay in fate.delays.into_iter().flatten() {
            let mut frame = frame.clone();
            let mut origin = origin;
            if let Some(bit) = fate.flipped {
                flip(&mut frame, bit);
                origin = Origin::Damaged;
            }
            self.at(self.now + delay.max(1), Action::Arrive { to, frame, origin });
        }
    }

    fn arrive(&mut self, to: usize, mut frame: Frame, origin: Origin) {
        if let Some(nat) = &mut self.gateways[to].nat {
            match nat.inwards(self.now, frame.destination) {
                Some(inside) => frame.destination = inside,
                None => return,
            }
        }
        if !self.is_awake(to) {
            return;
        }
        match &frame.body {
            Body::Ike(bytes) => self.arrive_ike(to, &frame, bytes, origin),
            Body::Esp(_) => self.arrive_esp(to, &frame, origin),
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
        let forged = matches!(origin, Origin::Damaged | Origin::Attacker { copy: false });
        if !(forged || stale) {
            return self.input(to, input);
        }
        // S13: what nobody with keys has made changes nothing that is established. Time may; so time goes first.
        self.input(to, Input::Timeout);
        let before = self.established(to);
        let sent = self.messages;
        self.input(to, input);
        if self.violation.is_none() && self.established(to) != before {
            let after = self.established(to);
            self.fail("S13", format!("a forged or old message changed gateway {to}: {before:?} became {after:?}"));
        }
        // L5: no storm.
        if self.messages - sent > 4 {
            self.fail("L5", format!("{} messages in answer to one that was forged", self.messages - sent));
        }
    }

    fn established(&self, gateway: usize) -> Vec<crate::ike::endpoint::probe::SaProbe> {
        let probe = self.gateways[gateway].endpoint.as_ref().map(crate::ike::endpoint::Endpoint::probe);
        probe.unwrap_or_default().into_iter().filter(|sa| sa.phase.is_established()).collect()
    }

    fn arrive_esp(&mut self, to: usize, frame: &Frame, origin: Origin) {
        let Body::Esp(esp) = frame.body else { return };
        let now = self.now;
        let opened = self.gateways[to].path.open(now, frame.destination, frame.source, esp);
        match opened {
            Opened::Delivered(packet) => {
                let ends = self.plan.tunnels[usize::from(packet.tunnel.0)].ends;
                let checked = self.ledger.delivered(to, &packet, ends);
                self.check(checked);
                self.settle.arrived.insert((packet.tunnel.0, packet.shape.0, packet.sender), now);
                let told = self.gateways[to].told.entry(packet.tunnel).or_insert(0);
                if now - *told >= SECOND {
                    *told = now;
                    self.input(to, Input::InboundSeen(packet.tunnel));
                }
            }
            Opened::Forged if origin == Origin::Gateway && !self.plan.has(Feature::Hostile) => {
                self.fail("S3", format!("gateway {to} cannot open ESP that its peer sealed under {:08x}", esp.spi));
            }
            Opened::OutsideSelectors if origin == Origin::Gateway && self.plan.is_calm() => {
                self.fail(
                    "S8",
                    format!("gateway {to} got a packet that its SA {:08x} does not carry: {esp:?}", esp.spi),
                );
            }
            _ => {}
        }
        self.hear_data_path(to);
    }

    /// A packet of each shape comes to one end of a tunnel.
    fn talk(&mut self, tunnel: usize, end: usize) {
        let of = self.plan.tunnels[tunnel].clone();
        self.at(self.now + nanos(of.pace), Action::Talk { tunnel, end });
        let (gateway, peer) = (of.ends[end], of.ends[1 - end]);
        if !self.is_awake(gateway) {
            return;
        }
        let _ = peer;
        for shape in 0..of.shapes {
            let id = u16::try_from(tunnel).unwrap_or(0);
            let narrow = if of.wide == Some(end) { 1 - end } else { end };
            let mut ends = selectors(&self.plan, tunnel, shape, narrow);
            if narrow != end {
                ends.reverse();
            }
            let way = (id, shape, gateway);
            let number = self.ledger.sent.entry(way).or_insert(0);
            let packet = Packet {
                tunnel: TunnelId(id),
                shape: ShapeId(shape),
                sender: gateway,
                number: *number,
                source: ends[0].start,
                destination: ends[1].start,
                len: 100,
            };
            *number += 1;
            let now = self.now;
            match self.gateways[gateway].path.seal(now, packet) {
                Sealed::Sent(encapsulation, esp) => {
                    self.ways_seen.insert(way);
                    let (source, destination) = match encapsulation {
                        Encapsulation::Raw { local, remote } => (SocketAddr::new(local, 0), SocketAddr::new(remote, 0)),
                        Encapsulation::Udp { local, remote } => (local, remote),
                    };
                    self.settle.sealed(now, way, packet.number, self.healed);
                    self.send(gateway, Frame { source, destination, body: Body::Esp(esp) });
                }
                lacking @ (Sealed::NoSa | Sealed::Spent) => {
                    if self.ways_seen.contains(&way) {
                        let seconds = (now - 1000 * SECOND) as f64 / 1e9;
                        self.without_way.push(format!("{lacking:?} for {way:?} at {seconds:.3}"));
                    }
                }
            }
        }
        self.hear_data_path(gateway);
    }
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
