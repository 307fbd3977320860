//! `portcullis status` for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::table::table;
use super::{bytes, duration};
use crate::event::{DropReason, IkeReason};
use crate::runtime::protocol::Status;

/// Every tunnel, then the rules, then what was refused.
#[must_use]
pub fn status(status: &Status, width: usize) -> String {
    let policy = status.policy.get(..16).unwrap_or(&status.policy);
    let mut out = format!(
        "portcullis {}, process {}, up {}, device {}, policy {policy}\n",
        super::plain(&status.version),
        status.pid,
        duration(status.uptime_s),
        super::plain(&status.tun),
    );
    if let (Some(approver), Some(ticket)) = (&status.approver, &status.ticket) {
        let _ = writeln!(out, "approved by {}, {}", super::plain(approver), super::plain(ticket));
    }
    let offload = |what: &str| status.offloads.get(what).map_or("-", String::as_str);
    let _ = writeln!(
        out,
        "offloads: TUN out {}, in {}, sending by {}, raw ESP by {}, UDP GRO {}; AEADs of {}",
        super::plain(offload("tun")),
        super::plain(offload("tun_write")),
        super::plain(offload("udp_send")),
        super::plain(offload("esp_send")),
        super::plain(offload("udp_gro")),
        super::plain(&status.aead.provider),
    );
    if status.workers.len() > 1 {
        let row = |(number, worker): (usize, &BTreeMap<String, u64>)| {
            let count = |key: &str| worker.get(key).copied().unwrap_or(0).to_string();
            [number.to_string(), count("packets_out"), count("packets_in"), count("handed_over")]
        };
        let workers: Vec<_> = status.workers.iter().enumerate().map(row).collect();
        section(&mut out, &table(["WORKER", "PACKETS OUT", "PACKETS IN", "HANDED OVER"], &workers, width));
    }
    let tunnels: Vec<_> = status.tunnels.iter().map(tunnel_row).collect();
    section(
        &mut out,
        &table(["TUNNEL", "AGREEMENT", "STATE", "PEER", "SINCE", "OUT", "IN", "REMARKS"], &tunnels, width),
    );
    let rules: Vec<_> = status
        .rules
        .iter()
        .map(|(name, counters)| {
            let count = |key: &str| counters.get(key).copied().unwrap_or(0);
            [
                name.clone(),
                count("flows").to_string(),
                format!("{} packets, {}", count("packets_out"), bytes(count("bytes_out"))),
                format!("{} packets, {}", count("packets_in"), bytes(count("bytes_in"))),
                count("refused").to_string(),
            ]
        })
        .collect();
    section(&mut out, &table(["RULE", "FLOWS", "OUT", "IN", "REFUSED"], &rules, width));
    let refused: Vec<_> = status
        .refused
        .iter()
        .flat_map(|(rule, reasons)| reasons.iter().map(move |(reason, count)| (rule, reason, count)))
        .map(|(rule, reason, count)| [rule.clone(), count.to_string(), reason.clone(), sentence_of(reason).to_owned()])
        .collect();
    section(&mut out, &table(["REFUSED BY OR NEAR", "", "REASON", ""], &refused, width));
    section(&mut out, &reasons("DROPPED", &status.drops, |name| Some(sentence_of(name)), width));
    let sentence = |name: &str| IkeReason::ALL.iter().find(|r| r.as_str() == name).map(|r| r.sentence());
    section(&mut out, &reasons("IKE REFUSED", &status.ike_refused, sentence, width));
    out
}

/// The sentence of a reason for which packets are dropped.
fn sentence_of(name: &str) -> &'static str {
    DropReason::ALL.iter().find(|reason| reason.as_str() == name).map_or("", |reason| reason.sentence())
}

fn section(out: &mut String, table: &str) {
    if !table.is_empty() {
        out.push('\n');
        out.push_str(table);
    }
}

fn tunnel_row(tunnel: &Value) -> [String; 8] {
    let ike = &tunnel["ike"];
    let counters = &tunnel["counters"];
    let count = |key: &str| counters[key].as_u64().map_or_else(|| "-".to_owned(), bytes);
    let mut remarks = String::new();
    let mut remark = |text: String| {
        if !remarks.is_empty() {
            remarks.push_str("; ");
        }
        remarks.push_str(&text);
    };
    if let Some(why) = tunnel["why"].as_str() {
        remark(why.to_owned());
    }
    if let Some(seconds) = tunnel["retry_in_s"].as_u64() {
        remark(format!("next attempt in {}", duration(seconds)));
    }
    let missing: Vec<_> = tunnel["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !missing.is_empty() {
        remark(format!("no SA for {}", missing.join(", ")));
    }
    if let Some(why) = tunnel["rekeys"]["why"].as_str() {
        remark(format!("rekeying refused: {why}"));
    }
    if let Some(nat) = ike["nat"].as_str().filter(|nat| *nat != "none") {
        remark(format!("behind a NAT: {nat}"));
    }
    [
        word(&tunnel["name"]),
        format!("{}{}{}", word(&tunnel["agreement"]), lab_stamp(tunnel), standing(tunnel)),
        word(&tunnel["state"]),
        ike["remote"].as_str().or_else(|| tunnel["peer"].as_str()).unwrap_or("-").to_owned(),
        ike["age_s"].as_u64().map_or_else(|| "-".to_owned(), duration),
        count("bytes_out"),
        count("bytes_in"),
        remarks,
    ]
}

/// A tunnel under an agreement of kind `lab` must never be taken for a real one.
pub(super) fn lab_stamp(tunnel: &Value) -> &'static str {
    if tunnel["kind"] == "lab" { " (lab)" } else { "" }
}

/// How the agreement stands, if that is anything else than in force.
fn standing(tunnel: &Value) -> String {
    let state = tunnel["agreement_state"].as_str().filter(|state| *state != "active");
    state.map(|state| format!(", {state}")).unwrap_or_default()
}

pub(super) fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn reasons(
    heading: &str,
    counts: &BTreeMap<String, u64>,
    sentence: impl Fn(&str) -> Option<&'static str>,
    width: usize,
) -> String {
    let rows: Vec<_> = counts
        .iter()
        .map(|(name, count)| [count.to_string(), name.clone(), sentence(name).unwrap_or_default().to_owned()])
        .collect();
    let mut out = table([heading, "REASON", ""], &rows, width);
    if !out.is_empty() {
        let total: u64 = counts.values().fold(0, |sum, count| sum.saturating_add(*count));
        let _ = writeln!(out, "{total} in all");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> Status {
        Status {
            version: "0.1.0".into(),
            pid: 7,
            uptime_s: 3700,
            policy: "ab".repeat(32),
            approver: Some("J. Doe".into()),
            ticket: Some("CHG-7".into()),
            tun: "portcullis0".into(),
            offloads: [
                ("tun", "tso"),
                ("tun_write", "off"),
                ("udp_send", "gso"),
                ("esp_send", "sendmmsg"),
                ("udp_gro", "on"),
            ]
            .map(|(a, b)| (a.into(), b.into()))
            .into(),
            workers: Vec::new(),
            aead: crate::runtime::protocol::Aead { provider: "ring".into(), ns: BTreeMap::new() },
            tunnels: vec![
                json!({
                    "name": "cbp", "agreement": "cbp", "kind": "agreement", "state": "up", "why": null, "missing": [],
                    "ike": {"remote": "203.0.113.5:4500", "age_s": 61, "nat": "local"},
                    "children": [], "counters": {"bytes_out": 1_250_000, "bytes_in": 20}
                }),
                json!({
                    "name": "test", "agreement": "bench", "kind": "lab", "state": "waiting",
                    "why": "the peer did not answer", "retry_in_s": 8, "missing": ["192.0.2.1 <-> 192.0.2.2"],
                    "ike": null, "children": []
                }),
            ],
            mappings: 0,
            rules: [("mq".to_owned(), [("packets_out".to_owned(), 3)].into())].into(),
            refused: [("mq".to_owned(), [("wrong-direction".to_owned(), 9)].into())].into(),
            drops: [("no-rule".to_owned(), 5)].into(),
            ike_refused: BTreeMap::new(),
        }
    }

    #[test]
    fn every_tunnel_is_shown_also_the_one_that_is_down_and_why() {
        let text = status(&example(), 200);
        assert!(text.contains("up 1 h 1 min"), "{text}");
        assert!(
            text.contains("TUN out tso, in off, sending by gso, raw ESP by sendmmsg, UDP GRO on; AEADs of ring"),
            "{text}"
        );
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let cbp = line("cbp ");
        assert!(
            cbp.contains("203.0.113.5:4500") && cbp.contains("1.2 MB") && cbp.contains("behind a NAT: local"),
            "{cbp}"
        );
        let test = line("test");
        assert!(test.contains("bench (lab)") && test.contains("waiting"), "{test}");
        assert!(test.contains("the peer did not answer; next attempt in 8 s; no SA for 192.0.2.1"), "{test}");
        assert!(line("mq").contains("3 packets, 0 B"));
        assert!(line("5 ").contains("no rule allows it"));
        let refused = text.lines().find(|line| line.contains("wrong-direction")).unwrap();
        assert!(refused.starts_with("mq") && refused.contains(" 9 "), "{refused}");
        assert!(text.contains("approved by J. Doe, CHG-7"), "{text}");
        assert!(!text.contains("IKE REFUSED"), "what did not happen is not shown: {text}");
        assert!(!text.contains("WORKER"), "one worker is no news: {text}");
        let worker = |out: u64| [("packets_out".to_owned(), out), ("handed_over".to_owned(), 7)].into();
        let text = status(&Status { workers: vec![worker(11), worker(22)], ..example() }, 200);
        let second: Vec<&str> = text.lines().find(|line| line.starts_with("1 ")).unwrap().split_whitespace().collect();
        assert_eq!(second, ["1", "22", "0", "7"]);
    }
}
