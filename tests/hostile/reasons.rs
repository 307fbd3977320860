//! How often the daemon gave each reason to drop a packet: every one must occur.

use std::collections::BTreeMap;

use portcullis::event::DropReason;
use serde_json::Value;

/// How often the daemon gave each reason.
pub fn histogram(status: &Value) -> BTreeMap<DropReason, u64> {
    let count = |reason: DropReason| status["drops"][reason.as_str()].as_u64().unwrap_or(0);
    DropReason::ALL.iter().map(|reason| (*reason, count(*reason))).collect()
}

/// Reasons that should have occurred and did not.
pub fn missing(histogram: &BTreeMap<DropReason, u64>) -> Vec<DropReason> {
    let missing = |(reason, count): &(&DropReason, &u64)| **count == 0 && !is_elsewhere(**reason);
    histogram.iter().filter(missing).map(|(reason, _)| *reason).collect()
}

/// Reasons that nothing here can give: there is one worker, nobody has an outside address, no agreement is closed, and the rules
/// are of services that nobody looks into. Where they are reached: `tests/esp_workers.rs`, `esp_translate.rs`, `system_agreement.rs`,
/// `stream_pipeline.rs`, `system_inspection.rs`, `config_inspection.rs` and the tests beside `src/inspect`.
fn is_elsewhere(reason: DropReason) -> bool {
    use DropReason as R;
    reason.is_of_agreement()
        || matches!(reason, R::HandoverFull | R::OutsideSource | R::NoMapping | R::NoOutsidePort)
        // Connections that were answered.
        || matches!(reason, R::OutOfWindow | R::ResetNotBelieved)
        // Flows in which something is heard.
        || matches!(reason, R::BadTcpChecksum | R::StaleTimestamp | R::HoldFull | R::RetainFull | R::OverlapDiffers)
        || matches!(reason, R::FlowEnded | R::InspectionChanged | R::SpokeFirst)
        || matches!(reason, R::TlsRequired | R::TlsRefused | R::NotMq | R::MqSegment | R::MqLength | R::MqRole)
        || matches!(reason, R::MqChannel | R::MqQueueManager | R::MqQueue | R::MqAdministration | R::MqXa)
        || matches!(reason, R::MqCompressed | R::NotSsh | R::SshVersion | R::SshKexinit | R::SshCipher)
        || matches!(reason, R::NotSmtp | R::SmtpCommand | R::NotTls | R::TlsOldHello | R::TlsHello)
        || matches!(reason, R::TlsVersion | R::TlsSuite | R::TlsServerName | R::TlsHiddenHello)
}

/// Prints the histogram.
pub fn print(histogram: &BTreeMap<DropReason, u64>) {
    println!("drop reasons:");
    for (reason, count) in histogram {
        println!("  {:<20} {count:>10}", reason.as_str());
    }
}
