//! How a rekeying went, from two looks at the gateway's status.

use std::fmt::Write as _;

use serde_json::Value;

use super::status::word;
use super::{duration, plain};
use crate::runtime::protocol::Status;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// New keys for the child SAs.
    pub children: bool,
    /// New keys for the IKE SA.
    pub ike: bool,
    /// The child SAs' new keys must come from a key exchange of their own.
    pub pfs: bool,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Everything that was asked for has new keys; the text says which.
    Done(String),
    /// It will not happen; the text says why.
    Refused(String),
    /// It is under way.
    NotYet,
}

/// What has become of the rekeying of `tunnel` between `before` and `now`.
#[must_use]
pub fn judge(tunnel: &str, wish: Wish, before: &Status, now: &Status) -> Word {
    let find = |status: &'_ Status| status.tunnels.iter().find(|of| of["name"] == tunnel).cloned();
    let (Some(before), Some(now)) = (find(before), find(now)) else {
        return Word::Refused(format!("tunnel {tunnel} is no longer configured"));
    };
    let refused = |of: &Value| of["rekeys"]["refused"].as_u64().unwrap_or(0);
    if refused(&now) > refused(&before) {
        return Word::Refused(why_refused(tunnel, wish, &now));
    }
    if now["ike"].is_null() {
        let why = now["why"].as_str().unwrap_or("it is down");
        return Word::Refused(plain(&format!("tunnel {tunnel} went down meanwhile: {why}")));
    }
    let new = current(&now);
    let known = before["children"].as_array().into_iter().flatten();
    let still = |child: &Value| known.clone().any(|old| old["spis"] == child["spis"]);
    if wish.children && (new.iter().any(still) || new.len() < current(&before).len())
        || wish.ike && now["ike"]["spis"] == before["ike"]["spis"]
    {
        return Word::NotYet;
    }
    if wish.pfs
        && let Some(without) = new.iter().find(|child| child["pfs"].is_null())
    {
        return Word::Refused(format!(
            "tunnel {tunnel}: rekeyed, but without PFS: both sides hold {} without a group, and the peer chose it",
            plain(&word(&without["suite"]))
        ));
    }
    Word::Done(done(tunnel, wish, &new, &now))
}

/// The child SAs that are not on their way out.
fn current(tunnel: &Value) -> Vec<Value> {
    let all = tunnel["children"].as_array().into_iter().flatten();
    all.filter(|child| child["replaced"] != true).cloned().collect()
}

fn done(tunnel: &str, wish: Wish, children: &[Value], now: &Value) -> String {
    let mut text = String::new();
    for child in children.iter().filter(|_| wish.children) {
        let keys = match child["pfs"].as_str() {
            Some(group) => format!("keys from a key exchange of its own (PFS, {group})"),
            None => "keys from the IKE SA (no PFS)".to_owned(),
        };
        let (inbound, outbound) = (word(&child["spis"][0]), word(&child["spis"][1]));
        let _ = writeln!(text, "tunnel {tunnel}: new child SA {inbound} {outbound}, {}, {keys}", word(&child["suite"]));
    }
    if wish.ike {
        let ike = &now["ike"];
        let (initiator, responder) = (word(&ike["spis"][0]), word(&ike["spis"][1]));
        let _ = writeln!(text, "tunnel {tunnel}: new IKE SA {initiator} {responder}, {}", word(&ike["suite"]));
    }
    text.lines().map(|line| plain(line) + "\n").collect()
}

fn why_refused(tunnel: &str, wish: Wish, now: &Value) -> String {
    let why = now["rekeys"]["why"].as_str().unwrap_or("the peer refused");
    let mut text = plain(&format!("tunnel {tunnel}: {why}"));
    let about_keys = ["NO_PROPOSAL_CHOSEN", "INVALID_KE_PAYLOAD"].iter().any(|word| why.contains(word));
    if wish.children && about_keys {
        let left = current(now).iter().filter_map(|child| child["expires_in_s"].as_u64()).min();
        let left = left.map(duration).unwrap_or_default();
        let _ = write!(
            text,
            "\n  The peer refuses our PFS. The tunnel carries traffic for another {left}, and not after that: make the groups \
             in `esp` those of the peer, or leave them out on both sides"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn status(ike: &str, children: &[(&str, Option<&str>, bool)], refused: u64, why: Option<&str>) -> Status {
        let children: Vec<_> = children
            .iter()
            .map(|(spi, pfs, replaced)| {
                json!({"spis": [spi, "ff"], "suite": "aes256gcm16-ecp384", "pfs": pfs, "replaced": replaced,
                       "expires_in_s": 540})
            })
            .collect();
        let tunnel = json!({
            "name": "cbp", "children": children, "ike": {"spis": [ike, "0b"], "suite": "aes256gcm16-prfsha384-ecp384"},
            "rekeys": {"refused": refused, "why": why},
        });
        Status {
            version: String::new(),
            pid: 1,
            uptime_s: 1,
            policy: String::new(),
            tun: String::new(),
            offloads: BTreeMap::new(),
            workers: Vec::new(),
            aead: crate::runtime::protocol::Aead::default(),
            tunnels: vec![tunnel],
            mappings: 0,
            rules: BTreeMap::new(),
            approver: None,
            ticket: None,
            refused: BTreeMap::new(),
            drops: BTreeMap::new(),
            ike_refused: BTreeMap::new(),
        }
    }

    const BOTH: Wish = Wish { children: true, ike: true, pfs: false };
    const PFS: Wish = Wish { children: true, ike: false, pfs: true };

    #[test]
    fn it_is_done_when_everything_asked_for_is_new() {
        let before = status("0a", &[("c1", None, false)], 0, None);
        assert_eq!(judge("cbp", BOTH, &before, &before), Word::NotYet);
        let half = status("0a", &[("c1", None, true), ("c2", Some("ecp384"), false)], 0, None);
        assert_eq!(judge("cbp", BOTH, &before, &half), Word::NotYet);
        let Word::Done(text) = judge("cbp", PFS, &before, &half) else { panic!("the old one is on its way out") };
        assert!(text.contains("new child SA c2 ff") && text.contains("PFS, ecp384"), "{text}");
        let all = status("0c", &[("c2", None, false)], 0, None);
        let Word::Done(text) = judge("cbp", BOTH, &before, &all) else { panic!("all is new") };
        assert!(text.contains("no PFS") && text.contains("new IKE SA 0c 0b"), "{text}");
        assert!(matches!(judge("x", BOTH, &before, &all), Word::Refused(_)));
    }

    #[test]
    fn a_refusal_says_what_the_peer_said_how_long_it_goes_on_and_what_to_change() {
        let before = status("0a", &[("c1", None, false)], 3, None);
        let why = "no proposal of the peer is one of ours: the peer says NO_PROPOSAL_CHOSEN; ours: ESP ..";
        let after = status("0a", &[("c1", None, false)], 4, Some(why));
        let Word::Refused(text) = judge("cbp", PFS, &before, &after) else { panic!("it was refused") };
        assert!(text.contains("NO_PROPOSAL_CHOSEN") && text.contains("9 min") && text.contains("`esp`"), "{text}");
        let without = status("0a", &[("c2", None, false)], 3, None);
        let Word::Refused(text) = judge("cbp", PFS, &before, &without) else { panic!("there is no PFS") };
        assert!(text.contains("without PFS"), "{text}");
        let mut down = status("0a", &[], 3, None);
        down.tunnels[0]["ike"] = Value::Null;
        down.tunnels[0]["why"] = "the peer does not answer".into();
        assert!(matches!(judge("cbp", BOTH, &before, &down), Word::Refused(text) if text.contains("does not answer")));
    }
}
