//! Which reasons a flood cannot bring about, and why. Every other one must occur.

use std::collections::BTreeMap;

use portcullis::event::DropReason;
use serde_json::Value;

/// Reasons that a running daemon gives nobody in a day.
pub const OUT_OF_REACH: &[(DropReason, &str)] = &[(
    DropReason::HardLimit,
    "a child SA carries 2^32 - 1 packets (2^40 with ESN) or 2^46 bytes, or lives 8 hours: tests/esp_sa.rs does it with \
     small limits",
)];

/// How often the daemon gave each reason.
pub fn histogram(status: &Value) -> BTreeMap<DropReason, u64> {
    let count = |reason: DropReason| status["drops"][reason.as_str()].as_u64().unwrap_or(0);
    DropReason::ALL.iter().map(|reason| (*reason, count(*reason))).collect()
}

/// Reasons that should have occurred and did not.
pub fn missing(histogram: &BTreeMap<DropReason, u64>) -> Vec<DropReason> {
    let reachable = |reason: &DropReason| !OUT_OF_REACH.iter().any(|(out, _)| out == reason);
    histogram.iter().filter(|(reason, count)| **count == 0 && reachable(reason)).map(|(reason, _)| *reason).collect()
}

/// Prints the histogram, with the reason for each zero that is no fault.
pub fn print(histogram: &BTreeMap<DropReason, u64>) {
    println!("drop reasons:");
    for (reason, count) in histogram {
        let note = OUT_OF_REACH.iter().find(|(out, _)| out == reason).map_or("", |(_, why)| why);
        println!("  {:<20} {count:>10}  {note}", reason.as_str());
    }
}
