//! How often the daemon gave each reason to drop a packet: every one must occur.

use std::collections::BTreeMap;

use portcullis::event::DropReason;
use serde_json::Value;

/// How often the daemon gave each reason.
pub fn histogram(status: &Value) -> BTreeMap<DropReason, u64> {
    let count = |reason: DropReason| status["drops"][reason.as_str()].as_u64().unwrap_or(0);
    DropReason::ALL.iter().map(|reason| (*reason, count(*reason))).collect()
}

/// Reasons that should have occurred and did not. What an agreement closes is no packet's doing: `tests/system_agreement.rs`. Nobody
/// here has an outside address: `tests/esp_translate.rs`.
pub fn missing(histogram: &BTreeMap<DropReason, u64>) -> Vec<DropReason> {
    let of_translation =
        |reason| matches!(reason, DropReason::OutsideSource | DropReason::NoMapping | DropReason::NoOutsidePort);
    let missing =
        |(reason, count): &(&DropReason, &u64)| **count == 0 && !reason.is_of_agreement() && !of_translation(**reason);
    histogram.iter().filter(missing).map(|(reason, _)| *reason).collect()
}

/// Prints the histogram.
pub fn print(histogram: &BTreeMap<DropReason, u64>) {
    println!("drop reasons:");
    for (reason, count) in histogram {
        println!("  {:<20} {count:>10}", reason.as_str());
    }
}
