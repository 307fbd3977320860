//! Does it hold when everything goes wrong at once? Gateways with real IKE endpoints over a simulated network, driven by one
//! number: the same seed gives the same run, bit for bit. docs/SIMULATION.md says what is checked and how a failure is replayed.
//!
//! `plan` is what a seed decides, `world` what happens, `ledger` and `settle` what must hold. No clock, no thread, no I/O in
//! here but in `many`, which runs seeds side by side.

mod acts;
pub mod attacker;
pub mod coverage;
mod credentials;
mod dice;
pub mod gateway;
pub mod hostile;
pub mod ledger;
pub mod many;
pub mod network;
pub mod path;
pub mod plan;
pub mod real;
pub mod settle;
pub mod world;

use std::collections::BTreeSet;

use coverage::Coverage;
use ledger::Violation;
use plan::{Feature, Plan};
use world::World;

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
    /// What was on.
    pub features: BTreeSet<Feature>,
    /// The last things that happened, if something did not hold.
    pub trace: Vec<String>,
    /// What was reached.
    pub coverage: Coverage,
    /// IKE messages.
    pub messages: u64,
    /// Authenticated IKE SAs, counted at both ends.
    pub handshakes: u64,
    /// Rekeyed IKE SAs, and child SAs.
    pub rekeys: [u64; 2],
    /// How long it took to come to rest, in milliseconds.
    pub settled_ms: u64,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
}

/// Runs one seed without the features that are `off`.
#[must_use]
pub fn run(seed: u64, off: &BTreeSet<Feature>, printer: Option<fn(&str)>) -> Outcome {
    let plan = Plan::draw(seed, off);
    if printer.is_some() { run_once(World::new(plan, printer)) } else { run_plan(plan) }
}

/// Runs a plan, which may be another one than a seed draws.
#[must_use]
pub fn run_plan(plan: Plan) -> Outcome {
    let outcome = run_once(World::new(plan.clone(), None));
    if outcome.violation.is_none() {
        return outcome;
    }
    // The same once more, in words.
    let mut world = World::new(plan, None);
    world.remember();
    run_once(world)
}

fn run_once(mut world: World) -> Outcome {
    world.run();
    let trace = if world.violation.is_some() { world.trace().cloned().collect() } else { Vec::new() };
    Outcome {
        seed: world.plan.seed,
        features: world.plan.features.clone(),
        trace,
        messages: world.messages,
        handshakes: world.ledger.handshakes,
        rekeys: [world.ledger.ike_rekeys, world.ledger.child_rekeys],
        settled_ms: world.settle.took.unwrap_or(0) / 1_000_000,
        simulated_ms: (world.now - 1000 * world::SECOND) / 1_000_000,
        violation: world.violation,
        coverage: world.coverage,
    }
}

/// Whether the first handshake over a line that loses so many thousandths each way comes up, before its initiator has sent a
/// request ten times without an answer.
#[must_use]
pub fn handshake(seed: u64, loss: u64) -> bool {
    World::new(Plan::lossy(seed, loss), None).run_first_negotiation()
}

/// The same with fewer features, as long as the same invariant does not hold.
#[must_use]
pub fn shrink(failed: &Outcome, off: &BTreeSet<Feature>) -> (BTreeSet<Feature>, Outcome) {
    let (mut off, mut smallest) = (off.clone(), failed.clone());
    let invariant = failed.violation.as_ref().map(|violation| violation.invariant);
    for feature in failed.features.iter().rev() {
        let mut fewer = off.clone();
        fewer.insert(*feature);
        let outcome = run(failed.seed, &fewer, None);
        if outcome.violation.as_ref().map(|violation| violation.invariant) == invariant {
            (off, smallest) = (fewer, outcome);
        }
    }
    (off, smallest)
}
