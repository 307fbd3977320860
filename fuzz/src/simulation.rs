//! The deterministic simulation (docs/SIMULATION.md) with its seed, its features and further events out of the bytes: gateways with
//! real IKE endpoints over a network in memory, until they are at rest. Every invariant of the simulation must hold.
//!
//! Eight bytes of seed, five whose bits turn features off, one for how long faults last (0: as the seed says), one of switches; then
//! steps, each something that happens at some time beside what the seed has drawn, or in its place.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use portcullis::sim::Outcome;
use portcullis::sim::plan::{Act, Change, Feature, Plan};
use portcullis::sim::run_plan;

use super::steps::{self, List};

/// What an input looks like: what the plan is drawn from, then what happens besides.
pub const LIST: List = List { prefix: 15, most: 24 };

/// Only what the steps say happens, not what the seed has drawn. Lines are as they were drawn.
pub const ONLY_STEPS: u8 = 1;
/// The real `esp` runs beside the model.
pub const REAL_ESP: u8 = 2;
/// Every gateway asks for cookies from the first request on.
pub const COOKIES: u8 = 4;
/// Lines take a millisecond: what crosses on the way has to begin at the same time.
pub const NEAR: u8 = 8;
/// Lines take as long as any that a seed draws: nearly everything crosses.
pub const FAR: u8 = 16;

/// One input.
pub fn world(data: &[u8]) {
    let _ = run(data);
}

/// One input, and what became of it.
///
/// # Panics
///
/// If an invariant does not hold, with the command that shows the seed again.
pub fn run(data: &[u8]) -> Option<Outcome> {
    let (head, rest) = data.split_first_chunk::<15>()?;
    let seed = u64::from_le_bytes(*head.first_chunk()?);
    let bits = head[8..13].iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let off: BTreeSet<Feature> = Feature::ALL.into_iter().filter(|feature| bits >> *feature as u32 & 1 == 1).collect();
    let mut plan = Plan::draw(seed, &off);
    let changed = change(&mut plan, head[13], head[14], rest);
    let acts = plan.acts.clone();
    let outcome = run_plan(plan);
    if let Some(violation) = &outcome.violation {
        let mut command = format!("portcullis sim --seed {seed}");
        for feature in &off {
            let _ = write!(command, " --without {}", feature.name());
        }
        let also = if changed { format!(", with other events than that draws: {acts:?}") } else { String::new() };
        let trace = outcome.trace.join("\n");
        panic!("{} does not hold: {}\n{trace}\n{command}{also}", violation.invariant, violation.what);
    }
    Some(outcome)
}

/// Makes the plan another one than the seed alone does. Whether it is.
fn change(plan: &mut Plan, faults: u8, switches: u8, mut rest: &[u8]) -> bool {
    if (faults, switches) == (0, 0) && rest.is_empty() {
        return false;
    }
    if faults != 0 {
        // From half a second to a quarter of a minute.
        plan.faults_for = Duration::from_millis(500 + 60 * u64::from(faults));
        plan.acts.retain(|(at, _)| *at < plan.faults_for);
    }
    if switches & ONLY_STEPS != 0 {
        plan.acts.clear();
    }
    plan.real_esp |= switches & REAL_ESP != 0;
    if switches & COOKIES != 0 {
        plan.cookies.fill(Some(0));
    }
    for line in plan.tunnels.iter_mut().flat_map(|tunnel| &mut tunnel.lines) {
        match switches & (NEAR | FAR) {
            NEAR => line.delay = Duration::from_millis(1),
            FAR => line.delay = Duration::from_millis(150),
            _ => {}
        }
    }
    for _ in 0..LIST.most {
        let Some((what, with)) = steps::next(&mut rest) else { break };
        happens(plan, what, with);
    }
    true
}

/// One more thing happens: which, when, to whom, for how long or in which way. Everything that `Plan::draw` takes care of holds for
/// it as well.
fn happens(plan: &mut Plan, what: u8, with: &[u8]) {
    let byte = |index: usize| with.get(index).copied().unwrap_or(0);
    let share = u64::from(u16::from_le_bytes([byte(0), byte(1)]));
    let at = Duration::from_millis((plan.faults_for.as_millis() as u64 * share) >> 16);
    let (who, how) = (usize::from(byte(2)), byte(3));
    let lasts = Duration::from_millis(1 << (how & 15));
    let gateway = who % plan.gateways();
    let tunnel = who / 4 % plan.tunnels.len();
    let of = &plan.tunnels[tunnel];
    let end = of.ends[who % 2];
    let mut also = |feature: Feature, acts: &[(Duration, Act)]| {
        plan.features.insert(feature);
        plan.acts.extend_from_slice(acts);
    };
    match what % 10 {
        0 => {
            let ways = [[true, true], [true, false], [false, true]][usize::from(how >> 4) % 3];
            also(Feature::Partition, &[(at, Act::Partition { tunnel, ways, lasts })]);
        }
        1 => also(Feature::Crash, &[(at, Act::Crash { gateway, lasts })]),
        2 => also(Feature::Suspend, &[(at, Act::Suspend { gateway, lasts })]),
        3 => also(Feature::Jump, &[(at, Act::Jump { gateway, by: lasts * 100 })]),
        4 => {
            let change = [Change::Nothing, Change::Lifetimes, Change::FewerShapes, Change::Key];
            let change = change[usize::from(how) % 4];
            also(Feature::Reload, &[(at, Act::Reload { gateway, change })]);
        }
        5 => {
            // What is negotiated is changed on both sides.
            let change = [Change::Window, Change::Back][usize::from(how) % 2];
            let acts: Vec<_> = (0..plan.gateways())
                .map(|gateway| (at + lasts / 8 * gateway as u32, Act::Reload { gateway, change }))
                .collect();
            plan.features.insert(Feature::Reload);
            plan.acts.extend(acts);
        }
        6 => {
            // A head-end that opens the tunnel chooses itself, and the tunnel does not go back from there.
            let gateway = if of.second.is_some() { of.ends[0] } else { end };
            also(Feature::Operator, &[(at, Act::Down { gateway, tunnel }), (at + lasts, Act::Up { gateway, tunnel })]);
        }
        7 => {
            let [children, ike] = [[true, false], [false, true], [true, true]][usize::from(how) % 3];
            also(Feature::Renewal, &[(at, Act::Rekey { gateway: end, tunnel, children, ike })]);
        }
        // An address that is nobody's is one only for who may move.
        8 if plan.has(Feature::Mobike) && plan.nats[gateway].is_none() => {
            plan.acts.push((at, Act::Move { gateway, place: how % 4 }));
        }
        9 if plan.nats[gateway].is_some() => plan.acts.push((at, Act::Rebind { gateway })),
        _ => {}
    }
}
