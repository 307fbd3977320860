//! What outlives an IKE SA: whether the tunnel is wanted, when it is tried again, the child SAs that the rules ask for,
//! what the last negotiation said, and counters that never fall.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::accounts::Accounts;
use super::backoff::Backoff;
use super::config::{Secrets, Start, TunnelConfig};
use super::heads::Heads;
use super::ike_sa::Core;
use super::limits;
use super::retransmit::jitter;
use super::state::Established;
use super::timer::earlier;
use crate::entropy::Entropy;
use crate::event::{DropReason, IkeReason};
use crate::ids::ShapeId;
use crate::time::Instant;

/// Why a tunnel is held.
const TAKEN_DOWN: &str = "taken down by the operator";

/// What is wanted of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Up with every child SA, again and again.
    Up,
    /// Up with the child SAs that packets asked for, once.
    Demand,
    /// Nothing by itself; the peer may open it.
    Idle,
    /// Down, and the peer is refused too.
    Held,
}

impl Goal {
    /// What the configuration asks for.
    fn of(start: Start) -> Self {
        match start {
            Start::Always => Self::Up,
            Start::OnDemand | Start::Manual => Self::Idle,
            Start::Disabled => Self::Held,
        }
    }
}

/// One tunnel.
pub struct Connection {
    /// Its configuration.
    pub config: Arc<TunnelConfig>,
    /// The inner addresses that the peer has given us, as they were told last.
    pub addresses: Vec<IpAddr>,
    /// Where the peer is.
    pub heads: Heads,
    goal: Goal,
    /// Its agreement does not hold now: whatever is wanted of it, it stays down, and the peer is refused too.
    closed: Option<DropReason>,
    retry: Backoff,
    children: BTreeMap<ShapeId, Backoff>,
    asked: Vec<ShapeId>,
    /// Which of our pre-shared keys the next attempt signs with.
    turn: usize,
    /// Whether the peer has refused the proof by one key, and there are others.
    next_key: bool,
    told: BTreeMap<IkeReason, Instant>,
    /// Why it is not up, in a sentence.
    pub why: Option<String>,
    /// Authenticated IKE SAs so far.
    pub handshakes: u64,
    /// Failed negotiations so far.
    pub failures: u64,
    /// What was rekeyed so far.
    pub rekeys: Rekeys,
    /// What was said in the last negotiations.
    pub accounts: Accounts,
}

/// How often keys were renewed, by whichever side began. The numbers never fall.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rekeys {
    /// Child SAs that took the place of others.
    pub child: u64,
    /// IKE SAs that took the place of others.
    pub ike: u64,
    /// Rekeyings of ours that the peer refused.
    pub refused: u64,
    /// Why the last one was refused, if none has succeeded since.
    pub why: Option<String>,
}

impl Connection {
    /// A tunnel as configured.
    pub fn new(config: Arc<TunnelConfig>) -> Self {
        Self {
            addresses: Vec::new(),
            heads: Heads::default(),
            goal: Goal::of(config.start),
            closed: None,
            config,
            retry: Backoff::default(),
            children: BTreeMap::new(),
            asked: Vec::new(),
            turn: 0,
            next_key: false,
            told: BTreeMap::new(),
            why: None,
            handshakes: 0,
            failures: 0,
            rekeys: Rekeys::default(),
            accounts: Accounts::default(),
        }
    }

    /// A changed configuration under the same name.
    pub fn reconfigure(&mut self, config: Arc<TunnelConfig>) {
        // What the operator holds down stays down; what is up stays up under `on-demand` and `manual`, but is not brought back.
        let by_operator = self.goal == Goal::Held && self.config.start != Start::Disabled;
        if config.start != self.config.start && !by_operator {
            self.goal = Goal::of(config.start);
            self.why = None;
        }
        self.asked.retain(|shape| config.children.iter().any(|child| child.shape == *shape));
        self.children.clear();
        self.retry = Backoff::default();
        if !self.config.negotiates_like(&config) {
            self.accounts.forget();
        }
        self.turn = 0;
        self.heads.follow(&self.config, &config);
        self.config = config;
    }

    /// The operator wants it up.
    pub fn up(&mut self) {
        self.goal = Goal::Up;
        self.retry = Backoff::default();
        self.children.clear();
    }

    /// The operator wants it down.
    pub fn down(&mut self) {
        self.goal = Goal::Held;
        self.asked.clear();
        self.why = Some(TAKEN_DOWN.to_owned());
    }

    /// Its agreement holds, or does not; whether that is news. What was wanted of the tunnel is wanted again once it holds.
    pub fn gate(&mut self, closed: Option<DropReason>) -> bool {
        if self.closed == closed {
            return false;
        }
        self.closed = closed;
        self.asked.clear();
        self.at_once();
        let held = self.goal == Goal::Held && self.config.start != Start::Disabled;
        self.why = match closed {
            Some(reason) => Some(reason.sentence().to_owned()),
            None => held.then(|| TAKEN_DOWN.to_owned()),
        };
        true
    }

    /// Why its agreement does not hold now.
    pub fn closed(&self) -> Option<DropReason> {
        self.closed
    }

    /// Whether the peer may open it.
    pub fn accepts(&self) -> bool {
        self.goal != Goal::Held && self.closed.is_none()
    }

    /// A packet that a rule allows has no SA. Packets do not open a `manual` tunnel nor one that is held down, but `up`
    /// a child SA that is missing is made.
    pub fn demand(&mut self, shape: ShapeId, up: bool) {
        if self.closed.is_some() {
            return;
        }
        match self.goal {
            Goal::Idle if up || self.config.start == Start::OnDemand => self.goal = Goal::Demand,
            Goal::Idle | Goal::Held => return,
            Goal::Up | Goal::Demand => {}
        }
        if !self.asked.contains(&shape) && self.config.children.iter().any(|child| child.shape == shape) {
            self.asked.push(shape);
        }
    }

    /// Whether an IKE SA is to be opened now.
    pub fn wants_ike_sa(&self, now: Instant) -> bool {
        self.is_wanted() && self.retry.is_due(now)
    }

    fn is_wanted(&self) -> bool {
        // A peer that proves itself by EAP is the one to open.
        let is_ours = !self.config.peer_auth.is_eap();
        is_ours
            && self.closed.is_none()
            && matches!(self.goal, Goal::Up | Goal::Demand)
            && !self.config.children.is_empty()
    }

    /// The child SAs that ought to be there, what a packet asked for first.
    pub fn wanted(&self) -> Vec<ShapeId> {
        let mut wanted = self.asked.clone();
        if self.goal == Goal::Up {
            let all = self.config.children.iter().map(|child| child.shape);
            wanted.extend(all.filter(|shape| !self.asked.contains(shape)));
        }
        wanted
    }

    /// Whether a child SA may be tried now.
    pub fn is_child_due(&self, now: Instant, shape: ShapeId) -> bool {
        self.children.get(&shape).is_none_or(|backoff| backoff.is_due(now))
    }

    /// When something becomes due. `up`: there is an IKE SA; `busy`: one is being negotiated.
    pub fn deadline(&self, up: bool, busy: bool, missing: &[ShapeId]) -> Option<Instant> {
        if up {
            let due = missing.iter().filter_map(|shape| self.children.get(shape)?.not_before);
            return due.fold(None, |first, at| earlier(first, Some(at)));
        }
        if self.is_wanted() && !busy { self.retry.not_before } else { None }
    }

    /// The peer has authenticated. If the IKE SA is the peer's, the peer is the first to make child SAs.
    pub fn authenticated(&mut self, now: Instant, initiator: bool, entropy: &mut dyn Entropy) {
        self.handshakes += 1;
        self.retry.succeeded(now);
        self.turn = 0;
        self.why = None;
        if !initiator {
            for child in &self.config.children {
                let not_before = now + jitter(limits::RESPONDER_PATIENCE, 25, entropy);
                self.children.entry(child.shape).or_default().not_before = Some(not_before);
            }
        }
    }

    /// The peer did not take our proof; the next attempt makes it with the next pre-shared key, and if there is one that it has
    /// not refused yet, soon.
    pub fn proof_refused(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let keys = self.config.local_auth.secrets().map_or(1, Secrets::count);
        self.next_key = !self.turn.is_multiple_of(keys);
    }

    /// Which of two IKE SAs is the better one: the lower rank.
    pub fn rank(&self, core: &Core, state: &Established) -> (bool, bool) {
        let several = !self.config.peering.others.is_empty();
        (state.leaves_soon(), several && core.path.remote.ip() != self.heads.in_use(&self.config))
    }

    /// Which of our pre-shared keys the next attempt signs with.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// A negotiation failed. `up`: the tunnel has an IKE SA, and was to have a newer one.
    pub fn failed(&mut self, now: Instant, why: String, up: bool, entropy: &mut dyn Entropy) {
        self.failures += 1;
        if up {
            return;
        }
        self.why = Some(why);
        if !self.heads.failed(&self.config) {
            // The next head-end, at once.
            return;
        }
        if std::mem::take(&mut self.next_key) {
            self.retry.not_before = Some(now + jitter(limits::RETRY_FIRST, 25, entropy));
            return;
        }
        self.retry.failed(now, entropy);
        if self.goal == Goal::Demand {
            // The next packet asks again.
            self.goal = Goal::Idle;
            self.asked.clear();
        }
    }

    /// Something that the peer asked for was refused; `why` the tunnel is not up, if it is not. Whether it is worth an
    /// event.
    pub fn declined(&mut self, now: Instant, reason: IkeReason, why: Option<String>) -> bool {
        self.failures += 1;
        if why.is_some() {
            self.why = why;
        }
        let told = self.told.get(&reason);
        let again = told.is_none_or(|told| now.since(*told) >= limits::REFUSAL_WINDOW);
        if again {
            self.told.insert(reason, now);
        }
        again
    }

    /// An IKE SA that was up has ended, `silent` if the peer did not answer any more.
    pub fn lost(&mut self, now: Instant, why: &str, silent: bool, entropy: &mut dyn Entropy) {
        if self.goal != Goal::Held && self.closed.is_none() {
            self.why = Some(why.to_owned());
        }
        for backoff in self.children.values_mut() {
            backoff.not_before = None;
        }
        if !self.heads.lost(&self.config, silent) {
            self.retry.failed(now, entropy);
        }
        if self.goal == Goal::Demand {
            self.goal = Goal::Idle;
            self.asked.clear();
            self.retry = Backoff::default();
        }
    }

    /// The next attempt does not wait.
    pub fn at_once(&mut self) {
        self.retry = Backoff::default();
        self.children.clear();
    }

    /// An SA took the place of another one.
    pub fn rekeyed(&mut self, ike: bool) {
        *(if ike { &mut self.rekeys.ike } else { &mut self.rekeys.child }) += 1;
        self.rekeys.why = None;
        if ike {
            // RFC 7296 §2.25: who hears TEMPORARY_FAILURE "MUST wait so that the sender may complete whatever operation caused
            // the temporary condition", and mostly it was this one.
            self.children.values_mut().for_each(Backoff::peer_is_free);
        }
    }

    /// The peer refused a rekeying.
    pub fn rekey_failed(&mut self, why: String) {
        self.failures += 1;
        self.rekeys.refused += 1;
        self.rekeys.why = Some(why);
    }

    /// A child SA is there.
    pub fn child_up(&mut self, now: Instant, shape: ShapeId) {
        self.children.entry(shape).or_default().succeeded(now);
        let others_wait = self.children.values().any(|backoff| backoff.not_before.is_some() && backoff.failures > 0);
        if !others_wait {
            self.why = None;
        }
    }

    /// A child SA is gone: not at once again, for the peer may be in a bad temper.
    pub fn child_down(&mut self, now: Instant, shape: ShapeId, entropy: &mut dyn Entropy) {
        self.children.entry(shape).or_default().failed(now, entropy);
        if self.goal == Goal::Demand {
            self.asked.retain(|asked| *asked != shape);
        }
    }

    /// A child SA was refused.
    pub fn child_failed(
        &mut self,
        now: Instant,
        shape: ShapeId,
        why: String,
        pause: Option<Duration>,
        entropy: &mut dyn Entropy,
    ) {
        self.failures += 1;
        self.why = Some(why);
        let backoff = self.children.entry(shape).or_default();
        backoff.failed(now, entropy);
        if let Some(pause) = pause {
            backoff.put_off(now + jitter(pause, 25, entropy));
        }
    }

    /// For `status`: the word for a tunnel that is not up, and the time of the next attempt.
    pub fn idle_state(&self) -> (&'static str, Option<Instant>) {
        match self.goal {
            _ if self.closed.is_some() => ("closed", None),
            Goal::Up | Goal::Demand => ("waiting", self.retry.not_before),
            Goal::Idle if self.config.start == Start::OnDemand => ("on-demand", None),
            Goal::Held if self.config.start == Start::Disabled => ("disabled", None),
            Goal::Idle | Goal::Held => ("down", None),
        }
    }
}
