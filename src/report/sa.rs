//! `portcullis sa` for people and for scripts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::duration;
use super::status::{lab_stamp, word};
use super::table::table;
use crate::runtime::protocol::Status;

/// The SAs of every tunnel.
#[must_use]
pub fn sa(status: &Status, width: usize) -> String {
    let mut out = String::new();
    for tunnel in &status.tunnels {
        if !out.is_empty() {
            out.push('\n');
        }
        let ike = &tunnel["ike"];
        let name = super::plain(&word(&tunnel["name"]));
        let _ = write!(out, "{name}{}: ", lab_stamp(tunnel));
        if ike.is_null() {
            let why = tunnel["why"].as_str().map(|why| format!(", {}", super::plain(why))).unwrap_or_default();
            let _ = writeln!(out, "no IKE SA ({}{why})", super::plain(&word(&tunnel["state"])));
        } else {
            out.push_str(&ike_sa(ike));
        }
        out.push_str(&rekeys(&tunnel["rekeys"]));
        let rows: Vec<_> = tunnel["children"].as_array().into_iter().flatten().map(child_row).collect();
        let heads = ["  CHILD IN", "OUT", "SUITE", "PFS", "VIA", "AGE", "REKEY IN", "LOCAL", "REMOTE"];
        out.push_str(&table(heads, &rows, width));
    }
    if out.is_empty() { "no tunnel is configured\n".to_owned() } else { out }
}

fn ike_sa(ike: &Value) -> String {
    let role = if ike["initiator"] == true { "initiator" } else { "responder" };
    let renewal = ike["rekey_in_s"].as_u64().map(|left| format!(", rekey in {}", duration(left))).unwrap_or_default();
    let text = format!(
        "{} with {} ({}), SPIs {} {}, {role}, up {}, negotiated in {} ms{renewal}\n",
        word(&ike["local"]),
        word(&ike["remote"]),
        word(&ike["peer_id"]),
        word(&ike["spis"][0]),
        word(&ike["spis"][1]),
        ike["age_s"].as_u64().map(duration).unwrap_or_default(),
        ike["handshake_ms"],
    );
    let proofs =
        format!("we proved ourselves by {}, the peer by {}", word(&ike["local_auth"]), word(&ike["peer_auth"]));
    let suite = word(&ike["suite"]);
    format!("{}\n  {}\n  {}\n", super::plain(text.trim_end()), super::plain(&suite), super::plain(&proofs))
}

/// How often keys were renewed, once they were.
fn rekeys(rekeys: &Value) -> String {
    let count = |key: &str| rekeys[key].as_u64().unwrap_or(0);
    let (child, ike, refused) = (count("child"), count("ike"), count("refused"));
    if child + ike + refused == 0 {
        return String::new();
    }
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let refused = if refused > 0 { format!(", refused {refused} times") } else { String::new() };
    format!("  rekeyed so far: {}, {}{refused}\n", plural(child, "child SA"), plural(ike, "IKE SA"))
}

fn child_row(child: &Value) -> [String; 9] {
    let list = |value: &Value| {
        let all: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        all.join(", ")
    };
    [
        format!("  {}", word(&child["spis"][0])),
        word(&child["spis"][1]),
        word(&child["suite"]),
        word(&child["pfs"]),
        word(&child["encapsulation"]),
        child["age_s"].as_u64().map(duration).unwrap_or_default(),
        if child["replaced"] == true {
            "replaced".to_owned()
        } else {
            child["rekey_in_s"].as_u64().map(duration).unwrap_or_default()
        },
        list(&child["local"]),
        list(&child["remote"]),
    ]
}

/// The SAs of every tunnel as one JSON array.
#[must_use]
pub fn json(status: &Status) -> Value {
    let sa_of = |tunnel: &Value| {
        let field = |key: &str| tunnel[key].clone();
        json!({
            "name": field("name"), "agreement": field("agreement"), "kind": field("kind"), "state": field("state"),
            "ike": field("ike"), "children": field("children"), "rekeys": field("rekeys"),
        })
    };
    status.tunnels.iter().map(sa_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sas_are_shown_under_their_tunnel() {
        let tunnel = json!({
            "name": "cbp", "agreement": "cbp", "kind": "agreement", "state": "up",
            "ike": {"spis": ["0a", "0b"], "initiator": true, "suite": "aes256gcm16-prfsha384-ecp384",
                    "local": "198.51.100.10:500", "remote": "203.0.113.5:500", "peer_id": "203.0.113.5",
                    "nat": "none", "age_s": 60, "handshake_ms": 12.5},
            "children": [{"spis": ["c1", "c2"], "suite": "aes256gcm16-esn", "local": ["192.0.2.10"],
                          "remote": ["203.0.113.20"], "encapsulation": "udp", "age_s": 60, "pfs": "ecp384",
                          "rekey_in_s": 2400, "replaced": false}],
            "rekeys": {"child": 12, "ike": 1, "refused": 0, "why": null}
        });
        let down =
            json!({"name": "x", "kind": "lab", "state": "down", "why": "no answer", "ike": null, "children": []});
        let status = Status {
            version: String::new(),
            pid: 1,
            uptime_s: 1,
            policy: String::new(),
            tun: String::new(),
            offloads: BTreeMap::default(),
            workers: Vec::new(),
            aead: crate::runtime::protocol::Aead::default(),
            tunnels: vec![tunnel, down],
            mappings: 0,
            rules: BTreeMap::new(),
            approver: None,
            ticket: None,
            refused: BTreeMap::new(),
            drops: BTreeMap::new(),
            ike_refused: BTreeMap::new(),
        };
        let text = sa(&status, 120);
        assert!(
            text.contains("cbp: 198.51.100.10:500 with 203.0.113.5:500 (203.0.113.5), SPIs 0a 0b, initiator"),
            "{text}"
        );
        assert!(text.contains("  c1        c2"), "{text}");
        assert!(text.contains("  rekeyed so far: 12 child SAs, 1 IKE SA\n"), "{text}");
        assert!(text.contains("ecp384  udp") && text.contains("40 min"), "{text}");
        assert!(text.contains("x (lab): no IKE SA (down, no answer)"), "{text}");
        assert_eq!(json(&status)[0]["children"][0]["spis"][1], "c2");
    }
}
