//! The world of one seed: gateways, what is under way between them, and what is to happen when. One thread, one queue, no clock.

mod outputs;
mod traffic;
mod transit;

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use super::attacker::Attacker;
use super::coverage::{Coverage, Stimulus};
use super::dice::Dice;
use super::gateway::{Gateway, nanos};
use super::ledger::{Ledger, Violation};
use super::network::Frame;
use super::plan::{Act, Feature, Plan};
use super::real::OnTheLine;
use super::settle::Settle;
use crate::ike::api::Input;

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
    /// A datagram of somebody who has guessed what it cannot know, behind the gateway's NAT.
    Guess {
        /// Which one.
        to: usize,
        /// What.
        frame: Frame,
    },
    /// A gateway wanted to be woken.
    Wake(usize),
    /// The data path confirms.
    Confirm(usize),
    /// Packets come to one end of a tunnel.
    Talk {
        /// Which tunnel.
        tunnel: usize,
        /// To which gateway of it.
        gateway: usize,
    },
    /// Something of the script.
    Act(Act),
    /// A gateway starts.
    Start(usize),
    /// A gateway goes on after it stood still.
    Resume(usize),
    /// A gateway looks whether its addresses are still its own.
    LookRound(usize),
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
    /// Bytes of responses among them.
    answered: usize,
    /// What the real `esp` has sealed.
    on_the_line: OnTheLine,
    /// Things that have happened.
    pub steps: u64,
    /// Packets that found no SA, or met a hard limit, after their way was first there; and packets that were sealed.
    pub without_way: Vec<String>,
    pub(super) ways_seen: BTreeSet<(u16, u16, usize)>,
    trace: VecDeque<String>,
    /// Whether anybody wants to know what happened: words cost more than most of what they tell of.
    tells: bool,
    printer: Option<fn(&str)>,
    done: bool,
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

    /// The beginning. `printer` hears of everything as it happens; without one nothing is put into words unless the world is to
    /// [`remember`](Self::remember).
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
            answered: 0,
            on_the_line: OnTheLine::default(),
            steps: 0,
            without_way: Vec::new(),
            ways_seen: BTreeSet::new(),
            trace: VecDeque::new(),
            tells: printer.is_some(),
            printer,
            done: false,
            plan,
        };
        let begin = world.now;
        for index in 0..world.gateways.len() {
            world.at(begin, Action::Start(index));
        }
        for tunnel in 0..world.plan.tunnels.len() {
            let of = &world.plan.tunnels[tunnel];
            let half = nanos(of.pace) / 2;
            for (number, gateway) in (1..).zip(of.gateways()) {
                world.at(begin + half * number, Action::Talk { tunnel, gateway });
            }
        }
        for (at, act) in std::mem::take(&mut world.plan.acts) {
            world.at(begin + nanos(at), Action::Act(act));
        }
        if world.plan.has(Feature::Attacker) {
            world.at(begin + 10 * MILLI, Action::Attack);
        }
        world.at(begin + nanos(world.plan.faults_for), Action::Heal);
        world
    }

    /// The last things that happen are remembered.
    pub fn remember(&mut self) {
        self.tells = true;
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
        if !self.tells {
            return;
        }
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
            Action::Guess { to, frame } => self.arrive_inside(to, &frame, Origin::Attacker { copy: false }),
            Action::Wake(gateway) => self.wake(gateway),
            Action::Confirm(gateway) => self.confirm(gateway),
            Action::Talk { tunnel, gateway } => self.talk(tunnel, gateway),
            Action::Act(act) => self.perform(act),
            Action::Start(gateway) => self.start(gateway),
            Action::Resume(gateway) => self.resume(gateway),
            Action::LookRound(gateway) => {
                if self.is_awake(gateway) {
                    self.tell_place(gateway);
                }
            }
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
            self.catch_up(gateway);
            if self.plan.has(Feature::Mobike) {
                self.tell_place(gateway);
            }
            self.input(gateway, Input::Timeout);
        }
    }
}
