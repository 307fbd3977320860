//! The liveness invariants: after all faults have ended every tunnel comes to rest, with one IKE SA and one child SA for each
//! pair of selectors, and stays there; packets pass; nothing is left over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gateway::nanos;
use super::plan::{Feature, Plan};
use super::world::{Action, MILLI, SECOND, World};
use crate::ids::ShapeId;
use crate::ike::api::Input;
use crate::ike::endpoint::probe::{ChildProbe, Phase, SaProbe};

/// So long may it take.
pub const SETTLES_WITHIN: Duration = Duration::from_mins(1);
/// As in `ike::limits`.
const HALF_OPEN_TIME: Duration = Duration::from_secs(30);
/// So long it has to last.
const LASTS: u64 = 10 * SECOND;
/// A rekeying may take so long.
const REKEYING: u64 = 5 * SECOND;
/// So long ago may a pair of selectors have been at rest last while others are: their renewals need not meet in one moment.
const IN_TURN: u64 = 2 * SECOND;
/// So long may an IKE SA that is not rekeyed in time, because the peer is never idle, stand beside the one that is opened in its place
/// (RFC 7296 §2.8.3): a handshake and `SUCCESSION_TIME` of `ike::limits`.
const SUCCESSION: u64 = 15 * SECOND;
/// Messages of one tunnel within a minute.
const BUSY: u64 = 3000;

/// What is known of the way to rest.
pub struct Settle {
    healed_at: u64,
    calm: Vec<Option<Calm>>,
    messages_then: u64,
    /// When each pair of selectors of each tunnel was seen with exactly one child SA, the same on both sides, and nothing under way.
    paired: BTreeMap<(usize, ShapeId), u64>,
    /// What was sealed: when, on which way, with which number.
    sealed: Vec<(u64, (u16, u16, usize), u32)>,
    keep_all: bool,
    /// When the last packet of each way has arrived.
    pub arrived: BTreeMap<(u16, u16, usize), u64>,
    ending: Option<u64>,
    /// How long it took.
    pub took: Option<u64>,
}

#[derive(Clone, Copy)]
struct Calm {
    since: u64,
    last: u64,
}

impl Settle {
    /// Nothing is known.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            healed_at: 0,
            calm: vec![None; plan.tunnels.len()],
            messages_then: 0,
            paired: BTreeMap::new(),
            sealed: Vec::new(),
            keep_all: plan.is_calm(),
            arrived: BTreeMap::new(),
            ending: None,
            took: None,
        }
    }

    /// Faults have ended.
    pub fn healed(&mut self, now: u64) {
        self.healed_at = now;
    }

    /// A packet is under way.
    pub fn sealed(&mut self, now: u64, way: (u16, u16, usize), number: u32, healed: bool) {
        if self.keep_all || healed {
            self.sealed.push((now, way, number));
        }
    }
}

/// Whether both have exactly one child SA for these selectors, the same one, and it is in use.
fn is_paired(a: &SaProbe, b: &SaProbe, shape: ShapeId) -> bool {
    let only = |sa: &SaProbe| {
        let mut of = sa.children.iter().filter(|child| child.shape == shape);
        of.next().filter(|child| child.current && of.next().is_none()).map(|child| (child.inbound, child.outbound))
    };
    let theirs = only(b).map(|(inbound, outbound)| (outbound, inbound));
    only(a).is_some_and(|ours| Some(ours) == theirs)
}

impl World {
    /// Why a tunnel is not at rest.
    fn unrest(&mut self, tunnel: usize, probes: &[Vec<SaProbe>]) -> Option<String> {
        let (now, settle, of) = (self.now, &mut self.settle, &self.plan.tunnels[tunnel]);
        let own = |gateway: usize| probes[gateway].iter().filter(move |sa| usize::from(sa.tunnel.0) == tunnel);
        // Which of its head-ends the peer is seen at.
        let at = own(of.ends[0]).next().map(|sa| self.plan.peer_of(of.ends[0], tunnel, sa.path[1].ip()));
        let ends = [of.ends[0], at.unwrap_or(of.ends[1])];
        let sas = ends.map(|gateway| own(gateway).collect::<Vec<_>>());
        let show = || format!("t{tunnel}: g{} has {:?}; g{} has {:?}", ends[0], sas[0], ends[1], sas[1]);
        let ([a], [b]) = (&sas[0][..], &sas[1][..]) else { return Some(show()) };
        if let Some(idle) = of.gateways().find(|gateway| !ends.contains(gateway) && own(*gateway).next().is_some()) {
            return Some(format!("t{tunnel}: g{idle} has what nobody uses; {}", show()));
        }
        if of.second.is_some_and(|head| head.fail_back.is_some() && ends[1] == head.gateway) {
            return Some(format!("t{tunnel} does not go back to its first head-end; {}", show()));
        }
        if !a.phase.is_established() || !b.phase.is_established() || a.spis != b.spis || a.initiator == b.initiator {
            return Some(show());
        }
        for shape in (0..of.shapes).map(ShapeId).filter(|shape| is_paired(a, b, *shape)) {
            settle.paired.insert((tunnel, shape), now);
        }
        let patience = if of.shapes > 1 { IN_TURN } else { 0 };
        let at_rest = |shape| settle.paired.get(&(tunnel, shape)).is_some_and(|at| at + patience >= now);
        let known = |child: &ChildProbe| child.shape.0 < of.shapes;
        if !(0..of.shapes).map(ShapeId).all(at_rest) || !a.children.iter().chain(&b.children).all(known) {
            return Some(show());
        }
        // L2: what looks well on both sides may be out of reach of each other.
        let patience = 3 * nanos(of.pace) + 2 * SECOND;
        let id = u16::try_from(tunnel).unwrap_or(0);
        let ways = (0..of.shapes).flat_map(|shape| ends.map(|gateway| (id, shape, gateway)));
        let silent = ways.into_iter().find(|way| settle.arrived.get(way).is_none_or(|at| at + patience < now));
        silent.map(|way| format!("no packet passes on {way:?}; {}", show()))
    }

    pub(super) fn look(&mut self) {
        self.at(self.now + 100 * MILLI, Action::Look);
        if let Some(since) = self.settle.ending {
            return self.look_at_the_end(since);
        }
        let probes: Vec<Vec<SaProbe>> = self
            .gateways
            .iter()
            .map(|gateway| gateway.endpoint.as_ref().map(crate::ike::endpoint::Endpoint::probe).unwrap_or_default())
            .collect();
        let now = self.now;
        let mut all = true;
        let mut rested_since = 0;
        for tunnel in 0..self.plan.tunnels.len() {
            let unrest = self.unrest(tunnel, &probes);
            // Whoever gives a handshake up, because the peer's was faster, does not say so: the peer forgets it in its time.
            let given_up = |sa: &SaProbe| usize::from(sa.tunnel.0) == tunnel && sa.phase == Phase::InitAnswered;
            let patience = if probes.iter().flatten().any(given_up) { HALF_OPEN_TIME } else { Duration::ZERO };
            let deadline = self.settle.healed_at + nanos(SETTLES_WITHIN + self.plan.blindness(tunnel) + patience);
            let renews = |of: &Vec<SaProbe>| {
                let own: Vec<_> = of.iter().filter(|sa| usize::from(sa.tunnel.0) == tunnel).collect();
                own.len() > 1 && own.iter().any(|sa| sa.phase.is_established())
            };
            let renewal = if probes.iter().any(renews) { SUCCESSION } else { REKEYING };
            let calm = &mut self.settle.calm[tunnel];
            match &unrest {
                None => {
                    let calm = calm.get_or_insert(Calm { since: now, last: now });
                    calm.last = now;
                    rested_since = rested_since.max(calm.since);
                    all &= now - calm.since >= LASTS;
                }
                Some(why) => {
                    all = false;
                    if calm.is_none_or(|calm| now - calm.last > renewal) {
                        *calm = None;
                        if now > deadline {
                            // L1
                            let why = why.clone();
                            return self.fail(
                                "L1",
                                format!(
                                    "not at rest {} s after faults ended: {why}",
                                    (now - self.settle.healed_at) / SECOND
                                ),
                            );
                        }
                    }
                }
            }
        }
        if self.settle.messages_then == 0 || !all && self.settle.calm.iter().any(Option::is_none) {
            self.settle.messages_then = self.messages.max(1);
        }
        if all {
            self.settle.took = Some(rested_since - self.settle.healed_at);
            self.at_rest(rested_since, &probes);
        }
    }

    /// Everything stands. What else has to hold?
    fn at_rest(&mut self, since: u64, probes: &[Vec<SaProbe>]) {
        let now = self.now;
        // S14: a postquantum key that both sides have is in use.
        for (number, of) in self.plan.tunnels.iter().enumerate() {
            let ends = probes.iter().flatten().filter(|sa| usize::from(sa.tunnel.0) == number);
            if of.ppk.iter().all(Option::is_some) && ends.into_iter().any(|sa| !sa.uses_ppk) {
                return self
                    .fail("S14", format!("t{number} is at rest without the postquantum key that both sides have"));
            }
        }
        // L5: nobody talks without end.
        let minutes = (now - since) as f64 / 60e9;
        let said = (self.messages - self.settle.messages_then) as f64 / minutes / self.plan.tunnels.len() as f64;
        if said > BUSY as f64 {
            return self.fail("L5", format!("{said:.0} messages a minute and tunnel at rest"));
        }
        // L3: nothing is half open.
        for gateway in 0..self.gateways.len() {
            let half_open =
                self.gateways[gateway].endpoint.as_ref().map_or(0, crate::ike::endpoint::Endpoint::half_open);
            if half_open > 0 {
                return self.fail("L3", format!("gateway {gateway} has {half_open} half-open IKE SAs"));
            }
        }
        // L4: where nothing was lost on the line, nothing was lost.
        if self.plan.is_calm() {
            if let Some(lacking) = self.without_way.first() {
                let (lacking, count) = (lacking.clone(), self.without_way.len());
                return self.fail("L4", format!("{count} packets had no SA after there was one, first {lacking}"));
            }
            let late = now - 2 * SECOND;
            let lost: Vec<_> = self
                .settle
                .sealed
                .iter()
                .filter(|(at, way, number)| *at < late && !self.ledger.has(*way, *number))
                .collect();
            if let Some((at, way, number)) = lost.first() {
                let seconds = (at - 1000 * SECOND) as f64 / 1e9;
                let text =
                    format!("{} packets were lost, first {way:?} number {number} sealed at {seconds:.3}", lost.len());
                return self.fail("L4", text);
            }
        }
        if !self.plan.seed.is_multiple_of(4) || self.plan.has(Feature::Lag) {
            return self.finish();
        }
        self.settle.ending = Some(now);
        for gateway in 0..self.gateways.len() {
            self.input(gateway, Input::Shutdown);
        }
    }

    /// L3: five seconds after the end nothing is left.
    fn look_at_the_end(&mut self, since: u64) {
        if self.now - since < 5 * SECOND {
            return;
        }
        for gateway in 0..self.gateways.len() {
            let of = &self.gateways[gateway];
            let quiet = of.endpoint.as_ref().is_none_or(crate::ike::endpoint::Endpoint::is_quiet);
            if !quiet || !of.path.is_empty() {
                let what = format!("gateway {gateway} is not quiet after its end: {:?} SAs", of.path.len());
                return self.fail("L3", what);
            }
        }
        self.finish();
    }
}
