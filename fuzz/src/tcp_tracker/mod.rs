//! The flow table and the tracking of TCP against a model that is too simple to be wrong: a plain list of flows, each with
//! the list of what has passed in it (`model`).
//!
//! An input is a byte for the family and the numbers to begin with, and a list of steps: packets of eight flows from either
//! side, the time, the policy. After each of them the model and the table know the same flows in the same states. What
//! inspected flows carry is judged by the recogniser alone; but whatever passes, in whatever order, every receiver reads
//! something that it finds legal.

mod flow;
mod model;
mod other;
mod policies;
mod segment;
mod spoken;
mod told;

use std::time::Duration;

use portcullis::event::{DropReason, FlowKey};
use portcullis::ids::TunnelId;
use portcullis::inspect::{Cause, FlowTable, Origin, Pass, Reply, Verdict};
use portcullis::policy::spd::{self, Answer};
use portcullis::policy::{Rule, Snapshot};
use portcullis::time::Instant;
use portcullis::wire::ip::{self, Inner};

use self::flow::{Flow, Name, State};
use self::model::{Connection, Said};
use self::policies::{OPENED_AGAIN, POLICIES, kind};
use super::seeds::packets::host;
use super::steps::{self, List};

/// How an input is laid out.
pub const LIST: List = List { prefix: 1, most: 64 };
/// Flows that there is room for: fewer than there are.
const CAPACITY: usize = 4;
/// What is kept of one flow at most (docs/PERFORMANCE.md).
const KEPT: usize = 256 << 10;
const TUNNEL: TunnelId = TunnelId(0);
/// The connections: whether our side opens it, the port that is opened to, and the port of the opener.
const CONNECTIONS: [(bool, u16, u16); 8] = [
    (true, 80, 40_000),
    (true, 80, 40_001),
    (false, 8080, 40_000),
    (true, 22, 40_000),
    (true, 2222, 40_000),
    (false, 80, 40_000),
    (true, 23, 40_000),
    (true, 22, 40_001),
];
/// The port on which SSH is only listened to.
const OBSERVED: u16 = 2222;
/// As far as receivers remember what they were sent.
const MEMORY: i64 = 2048;

/// Reads `data` as such an input.
pub fn packets(data: &[u8]) {
    let _ = run(data);
}

/// Like [`packets`]; how many packets have passed, and how many bytes of inspected flows a receiver has read.
#[must_use]
pub fn run(data: &[u8]) -> [usize; 2] {
    let Some((options, mut rest)) = data.split_first() else { return [0; 2] };
    let mut world = World::new(*options);
    for _ in 0..LIST.most {
        let Some((what, bytes)) = steps::next(&mut rest) else { break };
        world.step(what, bytes);
    }
    world.finish()
}

/// What the model says of a packet.
enum Expected {
    Passes {
        opened: bool,
    },
    /// Legal if what it carries is; which flow.
    Speaks(usize, Said),
    Refused(DropReason),
}

/// One packet on its way.
struct Arrival {
    bytes: Vec<u8>,
    outbound: bool,
    origin: Origin,
    /// The payload of the rest of its train.
    rest: Vec<u8>,
    /// How long each of those is.
    piece: usize,
}

impl Arrival {
    fn len(&self) -> u64 {
        (self.bytes.len() + self.rest.len()) as u64
    }
}

struct World {
    table: FlowTable,
    policy: usize,
    /// The table was told of a policy and has not looked at all flows since.
    unjudged: bool,
    v6: bool,
    initial: u32,
    now: u64,
    flows: Vec<Flow>,
    /// Flows that have expired, of which nothing was told yet.
    dead: Vec<Flow>,
    /// What has to be told now.
    owed: Vec<(Cause, Flow)>,
    passed: usize,
    read: usize,
}

impl World {
    fn new(options: u8) -> Self {
        Self {
            table: FlowTable::new(CAPACITY, [1, 2, 3, 4]),
            policy: 0,
            unjudged: false,
            v6: options & 1 != 0,
            initial: [1000, u32::MAX - 5, 0x7fff_fff0, 0][usize::from(options >> 1 & 3)],
            now: 1,
            flows: Vec::new(),
            dead: Vec::new(),
            owed: Vec::new(),
            passed: 0,
            read: 0,
        }
    }

    fn policy(&self) -> &'static Snapshot {
        &POLICIES[self.policy]
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        self.wait([1, 1000, 45_000, 130_000][usize::from(what >> 6)]);
        match what >> 4 & 3 {
            0 => self.segment(what, bytes, false),
            1 => self.segment(what, bytes, true),
            2 => self.other(what, bytes),
            _ => self.happens(bytes),
        }
        self.compare();
    }

    /// Time passes, in milliseconds.
    fn wait(&mut self, time: u64) {
        self.now += time * 1_000_000;
        let now = self.now;
        for flow in self.flows.extract_if(.., |flow| flow.expires <= now) {
            self.read += flow.is_read_well();
            // Of what we have ended was told then.
            if !flow.connection().is_some_and(Connection::is_ended) {
                self.dead.push(flow);
            }
        }
    }

    /// Something else than a packet.
    fn happens(&mut self, bytes: &[u8]) {
        let [kind, count] = [0, 1].map(|place| bytes.get(place).copied().unwrap_or_default());
        match kind % 5 {
            0 => self.wait(u64::from(count) * 1000),
            1 => self.wait(u64::from(count) * 64_000),
            2 => {
                self.policy = usize::from(count) % POLICIES.len();
                self.unjudged = true;
                self.table.policy_changed();
            }
            3 => self.end_disallowed(),
            _ => self.table.sweep(Instant::from_nanos(self.now), usize::from(count) % (CAPACITY + 1)),
        }
        self.hear_endings(None);
    }

    fn end_disallowed(&mut self) {
        while self.table.end_disallowed(Instant::from_nanos(self.now), self.policy()) {}
        if !std::mem::take(&mut self.unjudged) {
            return;
        }
        for at in (0..self.flows.len()).rev() {
            if let Err(reason) = self.judge_again(at) {
                self.end(at, Cause::Refused(reason));
            }
        }
    }

    /// The end of a flow, of which is to be told.
    fn end(&mut self, at: usize, cause: Cause) {
        let flow = self.flows.remove(at);
        self.read += flow.is_read_well();
        self.owed.push((cause, flow));
    }

    /// Whether a flow is still allowed; then the rule that allows it is this policy's.
    fn judge_again(&mut self, at: usize) -> Result<(), DropReason> {
        let flow = &self.flows[at];
        if self.policy().generation() == POLICIES[flow.policy].generation() {
            return Ok(());
        }
        let key = self.key(flow.opener_is_local, flow.name);
        let rule = self.allows(flow.opener_is_local, &key).ok_or_else(|| self.why_not(flow.opener_is_local, &key))?;
        if self.policy == OPENED_AGAIN {
            return Err(DropReason::AgreementSuspended);
        }
        let (policy, flow) = (self.policy, &mut self.flows[at]);
        let inspected = kind(rule);
        if matches!(flow.state, State::Tcp(_)) && inspected != flow.inspected {
            if inspected.is_some() {
                return Err(DropReason::InspectionChanged);
            }
            flow.inspected = None;
        }
        (flow.rule, flow.policy) = (rule.id, policy);
        Ok(())
    }

    /// The rule that lets a flow be opened like this.
    fn allows(&self, outbound: bool, key: &FlowKey) -> Option<&'static Rule> {
        let policy = self.policy();
        match spd::classify(policy.rules(), policy.tunnels(), outbound, key) {
            Answer::Allow(rule) if policy.gate(TUNNEL).is_none() => policy.rule(rule),
            _ => None,
        }
    }

    /// Why the sender of `key` does not open anything.
    fn why_not(&self, outbound: bool, key: &FlowKey) -> DropReason {
        let policy = self.policy();
        match spd::classify(policy.rules(), policy.tunnels(), outbound, key) {
            Answer::Allow(_) => policy.gate(TUNNEL).unwrap_or(DropReason::NoConnection),
            Answer::Disabled(_) => DropReason::TunnelDisabled,
            Answer::WrongDirection => DropReason::WrongDirection,
            Answer::NoRule => DropReason::NoRule,
            Answer::NotOurs => DropReason::NotOurs,
        }
    }

    /// The packet with which a flow would be opened from our side, or from the other.
    fn key(&self, outbound: bool, name: Name) -> FlowKey {
        let (local, remote) = ((host(true, self.v6), name.local), (host(false, self.v6), name.remote));
        let ((source, source_port), (destination, destination_port)) =
            if outbound { (local, remote) } else { (remote, local) };
        let (source_port, destination_port) = match name.protocol {
            ip::ICMP => (8, 0),
            ip::ICMPV6 => (128, 0),
            _ => (source_port, destination_port),
        };
        FlowKey { protocol: name.protocol, source, source_port, destination, destination_port }
    }

    /// Asks the table; and who leaves then.
    fn judge(&mut self, arrival: &Arrival) -> (Verdict, Vec<(Vec<u8>, Pass)>) {
        let policy = self.policy();
        let pieces: Vec<&[u8]> = arrival.rest.chunks(arrival.piece).collect();
        let inner = Inner::parse_leader(&arrival.bytes, arrival.rest.len() as u32).expect("a packet");
        let now = Instant::from_nanos(self.now);
        let verdict = match pieces[..] {
            [] => self.table.judge(now, arrival.origin, &inner, policy),
            _ => self.table.judge_train(now, arrival.origin, &inner, &pieces, policy),
        };
        let mut released = Vec::new();
        let mut room = [0; 2048];
        while let Some((len, pass)) = self.table.release(&mut room) {
            released.push((room[..len].to_vec(), pass));
        }
        assert!(!self.table.releases(), "a packet leaves by nobody's right");
        self.passed += usize::from(matches!(verdict, Verdict::Pass(_))) + released.len();
        (verdict, released)
    }

    /// The live flow of a packet; or why it is refused before anybody looks at it.
    fn live(&mut self, name: Name, arrival: &Arrival) -> Result<Option<usize>, DropReason> {
        // Whoever is looked for and has expired is forgotten at once.
        let Some(at) = self.find(name) else { return Ok(None) };
        if let Err(reason) = self.judge_again(at) {
            self.end(at, Cause::Refused(reason));
            return Err(reason);
        }
        match arrival.origin {
            Origin::Tunnel(tunnel) if tunnel != TUNNEL => Err(DropReason::Selector),
            _ => Ok(Some(at)),
        }
    }

    fn open(&mut self, name: Name, key: &FlowKey, arrival: &Arrival, state: Result<State, DropReason>) -> Expected {
        let Some(rule) = self.allows(arrival.outbound, key) else {
            return Expected::Refused(self.why_not(arrival.outbound, key));
        };
        if matches!(arrival.origin, Origin::Tunnel(tunnel) if tunnel != TUNNEL) {
            return Expected::Refused(DropReason::Selector);
        }
        let state = match state {
            Ok(state) => state,
            Err(reason) => return Expected::Refused(reason),
        };
        if self.flows.len() == CAPACITY {
            return Expected::Refused(DropReason::FlowTableFull);
        }
        let flow = Flow {
            name,
            opener_is_local: arrival.outbound,
            rule: rule.id,
            policy: self.policy,
            inspected: kind(rule),
            state,
            expires: 0,
            bytes: [0; 2],
            readers: Default::default(),
        };
        self.flows.push(flow);
        self.touch(self.flows.len() - 1, arrival, true);
        Expected::Passes { opened: true }
    }

    /// It has been heard of.
    fn touch(&mut self, at: usize, arrival: &Arrival, counts: bool) {
        let flow = &mut self.flows[at];
        let patience = match &flow.state {
            State::Tcp(connection) => connection.patience(),
            State::Udp { answered: false } | State::Echo => Duration::from_secs(30),
            State::Udp { answered: true } => Duration::from_mins(2),
        };
        flow.expires = self.now + patience.as_nanos() as u64;
        flow.bytes[usize::from(!arrival.outbound)] += if counts { arrival.len() } else { 0 };
    }
}

/// Holds a verdict against what the model says, where no bytes are to be heard.
fn as_expected(expected: &Expected, arrival: &Arrival, verdict: &Verdict) {
    match (expected, verdict) {
        (Expected::Passes { opened }, Verdict::Pass(pass)) => {
            assert_eq!(pass.opened, *opened, "opened");
            assert!(!pass.bare && !pass.recognised && pass.observed.is_none() && pass.tunnel == TUNNEL);
        }
        (Expected::Refused(expected), Verdict::Drop { reason, reply, .. }) => {
            // Half the sequence space away no order tells the two apart.
            let beside = [DropReason::OutOfState, DropReason::OutOfWindow];
            let either = beside.contains(reason) && beside.contains(expected);
            assert!(either || reason == expected, "refused for {reason:?} instead of {expected:?}");
            assert!(arrival.outbound || *reply == Reply::None, "the peer's side is answered");
        }
        (Expected::Passes { .. }, _) => panic!("{verdict:?} instead of passing"),
        (Expected::Refused(reason), _) => panic!("{verdict:?} instead of {reason:?}"),
        (Expected::Speaks(..), _) => unreachable!("judged elsewhere"),
    }
}
