//! What `sim` prints: figures, and a failure with what came before it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::json;

use crate::sim::Outcome;
use crate::sim::many::Sum;
use crate::sim::plan::Feature;

/// A failure in one line.
#[must_use]
pub fn failure(outcome: &Outcome) -> String {
    let Some(violation) = &outcome.violation else { return format!("seed {}: all invariants hold", outcome.seed) };
    let what: String = violation.what.chars().take(600).collect();
    format!("seed {}: {} does not hold: {what}", outcome.seed, violation.invariant)
}

/// One seed, with its last messages if it failed, and how to see it again.
#[must_use]
pub fn one(outcome: &Outcome, off: &BTreeSet<Feature>) -> String {
    let mut text = String::new();
    for line in &outcome.trace {
        let _ = writeln!(text, "  {line}");
    }
    let features: Vec<_> = outcome.features.iter().map(|feature| feature.name()).collect();
    let _ = writeln!(text, "{}", failure(outcome));
    let _ = writeln!(
        text,
        "  features: {}\n  {} messages, {} handshakes, {} rekeyings; {:.1} s simulated, at rest after {:.1} s",
        features.join(" "),
        outcome.messages,
        outcome.handshakes / 2,
        outcome.rekeys.iter().sum::<u64>() / 2,
        seconds(outcome.simulated_ms),
        seconds(outcome.settled_ms)
    );
    if outcome.violation.is_some() {
        let without = off.iter().fold(String::new(), |words, feature| words + " --without " + feature.name());
        let _ = writeln!(text, "  again: portcullis sim --seed {}{without} --trace", outcome.seed);
    }
    text
}

/// All seeds.
#[must_use]
pub fn sum(sum: &Sum) -> String {
    format!(
        "{} seeds, {} failed; {} messages, {} handshakes, {} IKE and {} child rekeyings, {:.1} h simulated;\n\
         the slowest way to rest took {:.1} s (seed {})\n",
        sum.seeds,
        sum.failures.len(),
        sum.messages,
        sum.handshakes / 2,
        sum.rekeys[0] / 2,
        sum.rekeys[1] / 2,
        seconds(sum.simulated_ms) / 3600.0,
        seconds(sum.slowest.0),
        sum.slowest.1
    )
}

/// The same as one JSON object.
#[must_use]
pub fn json(sum: &Sum) -> String {
    let failures: Vec<_> = sum
        .failures
        .iter()
        .map(|outcome| {
            let violation = outcome.violation.as_ref();
            json!({
                "seed": outcome.seed,
                "invariant": violation.map(|violation| violation.invariant),
                "what": violation.map(|violation| violation.what.clone()),
            })
        })
        .collect();
    let cells = |table: &std::collections::BTreeMap<_, u64>| -> Vec<serde_json::Value> {
        table
            .iter()
            .map(|((phase, stimulus), count): (&(_, _), _)| {
                let (phase, stimulus): (&crate::ike::endpoint::probe::Phase, &crate::sim::coverage::Stimulus) =
                    (phase, stimulus);
                json!({ "state": format!("{phase:?}"), "event": format!("{stimulus:?}"), "count": count })
            })
            .collect()
    };
    json!({
        "seeds": sum.seeds,
        "failures": failures,
        "messages": sum.messages,
        "handshakes": sum.handshakes / 2,
        "ike_rekeyings": sum.rekeys[0] / 2,
        "child_rekeyings": sum.rekeys[1] / 2,
        "simulated_s": sum.simulated_ms / 1000,
        "slowest_settling_ms": sum.slowest.0,
        "slowest_seed": sum.slowest.1,
        "coverage": cells(&sum.coverage.honest),
    })
    .to_string()
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
