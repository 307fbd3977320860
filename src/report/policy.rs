//! What `portcullis policy` shows: tests, differences, the flows of a capture.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::table::table;
use super::{bytes, duration, plain};
use crate::config::Loaded;
use crate::event::FlowKey;
use crate::inspect::replay::{Judged, Outcome, Replayed};
use crate::policy::difference::Change;
use crate::runtime::protocol::LiveFlow;

/// Every test and what became of it.
#[must_use]
pub fn tests(loaded: &Loaded, width: usize) -> String {
    if loaded.tests.is_empty() {
        return format!("{} has no [[test]]; docs/POLICY.md shows how one is written\n", loaded.path.display());
    }
    let rows: Vec<_> = loaded
        .tests
        .iter()
        .map(|test| {
            [
                if test.passed { "ok" } else { "FAILED" }.to_owned(),
                test.line.to_string(),
                test.flow.clone(),
                test.expect.to_owned(),
                test.got.to_owned(),
                test.rule.clone().unwrap_or_else(|| "-".to_owned()),
                test.clause.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let failed = loaded.tests.iter().filter(|test| !test.passed).count();
    let mut out = table(["", "LINE", "FLOW", "EXPECTED", "GOT", "RULE", "CLAUSE"], &rows, width);
    let _ = match failed {
        0 => writeln!(out, "{} passed", loaded.tests.len()),
        _ => writeln!(out, "{failed} of {} failed: this policy does not load", loaded.tests.len()),
    };
    out
}

/// The same as JSON.
#[must_use]
pub fn tests_json(loaded: &Loaded) -> Value {
    json!({
        "file": loaded.path, "policy": hex::encode(loaded.policy.digest()),
        "passed": loaded.tests.iter().all(|test| test.passed), "tests": loaded.tests,
    })
}

/// One of two policies.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Where it comes from.
    pub what: String,
    /// Its digest.
    pub policy: String,
    /// Who has approved it, if its file says so.
    pub approver: Option<String>,
    /// Where that is recorded.
    pub ticket: Option<String>,
}

/// Two policies and what differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The first.
    pub before: Side,
    /// The second.
    pub after: Side,
    /// What differs.
    pub changes: Vec<Change>,
}

/// What differs, a line for what goes and a line for what comes.
#[must_use]
pub fn difference(difference: &Difference) -> String {
    let mut out = String::new();
    for (sign, side) in [("---", &difference.before), ("+++", &difference.after)] {
        let approved = match (&side.approver, &side.ticket) {
            (Some(approver), Some(ticket)) => format!(", approved by {approver}, {ticket}"),
            _ => String::new(),
        };
        let _ = writeln!(out, "{sign} {} {}{}", side.policy, plain(&side.what), plain(&approved));
    }
    for change in &difference.changes {
        let _ = writeln!(out, "\n{} {}", change.kind(), plain(&change.about));
        for (sign, line) in [("-", &change.before), ("+", &change.after)] {
            if let Some(line) = line {
                let _ = writeln!(out, "{sign} {}", plain(line));
            }
        }
    }
    let _ = match difference.changes.len() {
        0 => writeln!(out, "they mean the same"),
        1 => writeln!(out, "\n1 change"),
        count => writeln!(out, "\n{count} changes"),
    };
    out
}

/// Live flows and by what right each lives.
#[must_use]
pub fn live(flows: &[LiveFlow], more: bool, width: usize) -> String {
    if flows.is_empty() {
        return "no flow lives between them; `policy explain` without --live says whether one would be allowed\n"
            .to_owned();
    }
    let rows: Vec<_> = flows
        .iter()
        .map(|live| {
            let said = match (live.service.as_str(), live.recognised) {
                ("uninspected", _) => "uninspected".to_owned(),
                (service, true) => service.to_owned(),
                (service, false) => format!("{service}, not recognised yet"),
            };
            [
                flow(&live.flow),
                live.state.clone(),
                said,
                live.rule.clone(),
                format!("{} of {}", live.clause, live.agreement),
                live.tunnel.clone(),
                bytes(live.bytes_out),
                bytes(live.bytes_in),
                format!("ends in {} of silence", duration(live.expires_in_s)),
            ]
        })
        .collect();
    let mut out = table(["FLOW", "STATE", "SPEAKS", "RULE", "CLAUSE", "TUNNEL", "OUT", "IN", ""], &rows, width);
    if more {
        out.push_str("and more: name the port\n");
    }
    out
}

/// The flows of a capture and what becomes of each.
#[must_use]
pub fn capture(replayed: &Replayed, width: usize) -> String {
    let rows: Vec<_> = replayed.flows.iter().map(row).collect();
    let mut out = table(["", "FLOW", "RULE", "CLAUSE", "OUT", "BACK", "REMARKS"], &rows, width);
    let count = |outcome| replayed.flows.iter().filter(|flow| flow.verdict == outcome).count();
    let _ = writeln!(
        out,
        "{} frames, {} flows: {} allowed, {} incomplete, {} refused",
        replayed.frames,
        replayed.flows.len(),
        count(Outcome::Allowed),
        count(Outcome::Incomplete),
        count(Outcome::Refused),
    );
    for (what, count) in &replayed.skipped {
        let _ = writeln!(out, "{count} frames passed over: {what}");
    }
    if replayed.unlisted > 0 {
        let _ = writeln!(out, "{} packets of further flows were not judged", replayed.unlisted);
    }
    if replayed.cut {
        out.push_str("the file is cut off or damaged: what comes after that was not read\n");
    }
    out
}

fn row(judged: &Judged) -> [String; 7] {
    let mut remarks = Vec::new();
    if let Some(outside) = judged.known_as {
        remarks.push(format!("judged as {outside}, its outside address"));
    }
    if let (Some(reason), Some(sentence)) = (&judged.reason, &judged.sentence) {
        let frame = judged.frame.map(|frame| format!(" at frame {frame}")).unwrap_or_default();
        remarks.push(format!("{reason}{frame}: {sentence}"));
    }
    remarks.extend(judged.dropped.iter().map(|(reason, count)| format!("{count} packets dropped: {reason}")));
    [
        match judged.verdict {
            Outcome::Allowed => "allowed",
            Outcome::Incomplete => "incomplete",
            Outcome::Refused => "REFUSED",
        }
        .to_owned(),
        flow(&judged.flow),
        judged.rule.clone().unwrap_or_else(|| "-".to_owned()),
        judged.clause.clone().filter(|clause| !clause.is_empty()).unwrap_or_else(|| "-".to_owned()),
        bytes(judged.bytes_opener),
        bytes(judged.bytes_responder),
        remarks.join("; "),
    ]
}

fn flow(key: &FlowKey) -> String {
    let value = serde_json::to_value(key).unwrap_or_default();
    super::event::flow(&value)
}
