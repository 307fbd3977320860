//! `sim`: gateways over a network that exists in memory alone, driven by a number.

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZero;

use super::exit::{Exit, Failure};
use crate::report;
use crate::sim::plan::Feature;
use crate::sim::{self, many};

/// What the operator asked for.
pub(super) struct Wish {
    /// The seed, or the first of many.
    pub(super) seed: u64,
    /// How many.
    pub(super) seeds: u64,
    /// Features that are off.
    pub(super) without: Vec<String>,
    /// Print everything that happens.
    pub(super) trace: bool,
    /// Print which states met which events.
    pub(super) coverage: bool,
    /// Print one JSON object.
    pub(super) json: bool,
    /// Do not look for the smallest failure.
    pub(super) no_shrink: bool,
}

fn features(names: &[String]) -> Result<BTreeSet<Feature>, Failure> {
    names
        .iter()
        .map(|name| {
            let known = Feature::ALL.into_iter().find(|feature| feature.name() == name);
            known.ok_or_else(|| {
                let all: Vec<_> = Feature::ALL.into_iter().map(Feature::name).collect();
                Failure::Usage(format!("--without: there is no feature {name}; there are {}", all.join(", ")))
            })
        })
        .collect()
}

/// Runs the seeds.
pub(super) fn sim(wish: &Wish, out: &mut dyn Write) -> Result<Exit, Failure> {
    let off = features(&wish.without)?;
    if wish.trace {
        let outcome = sim::run(wish.seed, &off, Some(|line| eprintln!("{line}")));
        out.write_all(report::sim::one(&outcome, &off).as_bytes())?;
        return Ok(if outcome.violation.is_some() { Exit::Differs } else { Exit::Done });
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let progress = |done: u64, failed: Option<&sim::Outcome>| {
        if let Some(failed) = failed {
            eprintln!("{}", report::sim::failure(failed));
        }
        if done.is_multiple_of(1000) {
            eprintln!("{done} of {} seeds", wish.seeds);
        }
    };
    let sum = many::run_many(wish.seed, wish.seeds, threads, &off, &progress);
    if wish.json {
        writeln!(out, "{}", report::sim::json(&sum))?;
    } else {
        out.write_all(report::sim::sum(&sum).as_bytes())?;
        if wish.coverage {
            write!(out, "{}", sum.coverage)?;
        }
        // The first failure, as small as it gets.
        if let Some(failed) = sum.failures.first() {
            let panicked = failed.violation.as_ref().is_some_and(|violation| violation.invariant == "panic");
            let (off, smallest) =
                if wish.no_shrink || panicked { (off, failed.clone()) } else { sim::shrink(failed, &off) };
            out.write_all(report::sim::one(&smallest, &off).as_bytes())?;
        }
    }
    Ok(if sum.failures.is_empty() { Exit::Done } else { Exit::Differs })
}
