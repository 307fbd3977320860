//! One line of `portcullis monitor` for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::status::word;
use crate::event::{DropReason, IkeReason};

/// The sentence for an event as it came over the control socket. What is not known is shown as it came.
#[must_use]
pub fn sentence(line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return super::plain(line) };
    let time = event["time"].as_str().map(|time| format!("{time} ")).unwrap_or_default();
    let lab = super::status::lab_stamp(&event);
    let tunnel = event["tunnel"].as_str().map(|tunnel| format!("{tunnel}{lab}: ")).unwrap_or_default();
    let text = known(&event).unwrap_or_else(|| line.to_owned());
    super::plain(&format!("{time}{tunnel}{text}"))
}

fn known(event: &Value) -> Option<String> {
    let field = |key: &str| word(&event[key]);
    let spis = || format!("{} {}", word(&event["spis"][0]), word(&event["spis"][1]));
    let times = event["count"].as_u64().filter(|count| *count > 1).map(|n| format!(" ({n} times)")).unwrap_or_default();
    Some(match event["event"].as_str()? {
        "ike-up" => format!(
            "IKE SA {} with {} as {}, {}, by {} and the peer by {}, in {} ms",
            spis(),
            field("remote"),
            if event["initiator"] == true { "initiator" } else { "responder" },
            field("suite"),
            field("local_auth"),
            field("peer_auth"),
            event["handshake_ms"]
        ),
        "certificate-expires" => {
            let whose = if event["ours"] == true { "our certificate" } else { "the authority" };
            match event["days"].as_i64() {
                Some(0) => format!("{whose} {} has expired", field("subject")),
                Some(1) => format!("{whose} {} expires within a day", field("subject")),
                days => format!("{whose} {} expires in {} days", field("subject"), days.unwrap_or(0)),
            }
        }
        "old-secret-used" => {
            let who = match (event["ours"] == true, event["peers"] == true) {
                (true, true) => "both sides have",
                (true, false) => "this side has",
                _ => "the peer has",
            };
            format!("{who} used a pre-shared key for IKE SA {} that is to go: the rotation is not finished", spis())
        }
        "head-end" if event["place"] == 1 => format!("back to the first head-end {}", field("remote")),
        "head-end" => format!("head-end {} at {} is in use", event["place"], field("remote")),
        "inner-addresses" => {
            let all = |key: &str| {
                let list = event[key].as_array().into_iter().flatten();
                list.map(word).collect::<Vec<_>>().join(", ")
            };
            match (all("addresses"), all("dns")) {
                (addresses, _) if addresses.is_empty() => "no inner address".to_owned(),
                (addresses, dns) if dns.is_empty() => format!("inner address {addresses}"),
                (addresses, dns) => format!("inner address {addresses}, name servers {dns}"),
            }
        }
        "ike-down" => format!("IKE SA {} has ended: {}", spis(), field("reason")),
        "child-up" => format!(
            "child SA {} for {} <-> {}, {}, {}",
            spis(),
            field("local"),
            field("remote"),
            field("suite"),
            field("encapsulation")
        ),
        "ike-rekeyed" => format!(
            "IKE SA {} takes the place of {} {}, {}, as {}",
            spis(),
            word(&event["replaced"][0]),
            word(&event["replaced"][1]),
            field("suite"),
            if event["initiator"] == true { "initiator" } else { "responder" },
        ),
        "child-rekeyed" => {
            let pfs = event["pfs"].as_str().map_or("no PFS".to_owned(), |group| format!("PFS {group}"));
            format!("child SA {} takes the place of {}, {}, {pfs}", spis(), field("replaced"), field("suite"))
        }
        "child-down" => format!("child SA {} has ended: {}", spis(), field("reason")),
        "negotiation-failed" => {
            let detail = event["detail"].as_str().filter(|detail| !detail.is_empty());
            let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{} failed: {}{detail}", field("exchange"), ike_reason(&field("reason")))
        }
        "ike-refused" => {
            format!("IKE datagram from {} refused: {}{times}", field("remote"), ike_reason(&field("reason")))
        }
        "flood-filter-on" => format!(
            "a flood: {} first messages a second at port {}; the kernel refuses those that would be refused anyway",
            event["arriving"], event["port"]
        ),
        "flood-filter-off" => format!(
            "the flood at port {} is over; the kernel has refused {} first messages",
            event["port"], event["refused"]
        ),
        "flow-opened" => {
            let inside = inside(&event["inside"]);
            format!("opened {}{inside} by rule {}, clause {}", flow(&event["flow"]), field("rule"), field("clause"))
        }
        "flow-recognised" => {
            format!("recognised {} as {} by rule {}", flow(&event["flow"]), field("service"), field("rule"))
        }
        "flow-closed" => format!(
            "ended {} of rule {}, {}, {} out and {} in",
            flow(&event["flow"]),
            field("rule"),
            ended(&field("reason")),
            super::bytes(event["bytes_out"].as_u64().unwrap_or(0)),
            super::bytes(event["bytes_in"].as_u64().unwrap_or(0)),
        ),
        "unrecorded" => {
            let kinds = ["opened", "recognised", "closed", "refused"];
            let told = kinds.map(|kind| (kind, event[kind].as_u64().unwrap_or(0)));
            let told = told.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}"));
            format!("too much at once to tell it all: {} more", told.collect::<Vec<_>>().join(", "))
        }
        "policy-changed" => policy_changed(event),
        "missed" => format!("{} events were missed here: this monitor reads too slowly", event["count"]),
        "refused" => {
            let reason = field("reason");
            let sentence = DropReason::ALL.iter().find(|r| r.as_str() == reason).map_or("", |r| r.sentence());
            let way = if event["outbound"] == true { "outbound" } else { "inbound" };
            let rule = event["rule"].as_str().map(|rule| format!(", near rule {rule}")).unwrap_or_default();
            let inside = inside(&event["inside"]);
            format!("refused {way} {}{inside}: {reason}, {sentence}{rule}{times}", flow(&event["flow"]))
        }
        "agreement-state" if event["from"] == event["to"] => {
            format!("agreement {}: {} ({})", field("agreement"), field("cause"), field("by"))
        }
        "agreement-state" => format!(
            "agreement {} goes from {} to {}: {} ({})",
            field("agreement"),
            field("from"),
            field("to"),
            field("cause"),
            field("by")
        ),
        "agreement-gate" if event["passes"] == true => format!("traffic passes under agreement {}", field("agreement")),
        "agreement-gate" => {
            let reason = field("reason");
            let sentence = DropReason::ALL.iter().find(|r| r.as_str() == reason).map_or("", |r| r.sentence());
            format!("nothing passes under agreement {}: {reason}, {sentence}", field("agreement"))
        }
        "agreement-reminder" => {
            let what = match event["matter"].as_str()? {
                "expiry" => "ends its term",
                "termination" => "has its last day",
                _ => "is due for its yearly review",
            };
            let when = match event["days"].as_i64()? {
                days if days < 0 => "since".to_owned(),
                0 => "today,".to_owned(),
                1 => "tomorrow,".to_owned(),
                days => format!("in {days} days,"),
            };
            format!("agreement {} {what} {when} {}", field("agreement"), field("day"))
        }
        "agreement-changed" => {
            let parts: Vec<_> = event["parts"].as_array()?.iter().filter_map(Value::as_str).collect();
            format!("agreement {} was made for another {}: a renewal is due", field("agreement"), parts.join(", "))
        }
        "agreement-reviewed" => {
            let note = event["note"].as_str().map(|note| format!(": {note}")).unwrap_or_default();
            format!("agreement {} was reviewed on {} ({}){note}", field("agreement"), field("date"), field("by"))
        }
        "agreement-renewed" => format!(
            "agreement {} is renewed from {} through the end of {} ({})",
            field("agreement"),
            field("date"),
            field("last_day"),
            field("by")
        ),
        "agreement-clock-trusted" => {
            format!("the clock is believed again by {} ({})", field("authorisation"), field("by"))
        }
        "reloaded" => format!("configuration loaded again, policy {}", field("policy")),
        "reload-refused" => format!("configuration refused, the running one stays: {}", field("reason")),
        _ => return None,
    })
}

fn ended(reason: &str) -> String {
    match DropReason::ALL.iter().find(|of| of.as_str() == reason) {
        Some(of) => format!("{reason}: {}", of.sentence()),
        None => reason.to_owned(),
    }
}

fn policy_changed(event: &Value) -> String {
    let digest = |key: &str| event[key].as_str().map(|digest| digest.get(..16).unwrap_or(digest).to_owned());
    let mut text = format!("policy {} is in force", digest("policy").unwrap_or_default());
    if let Some(previous) = digest("previous") {
        let _ = write!(text, " after {previous}");
        for kind in ["added", "removed", "changed"] {
            let list: Vec<_> = event[kind].as_array().into_iter().flatten().map(word).collect();
            if !list.is_empty() {
                let _ = write!(text, "; {kind}: {}", list.join(", "));
            }
        }
    }
    if let (Some(approver), Some(ticket)) = (event["approver"].as_str(), event["ticket"].as_str()) {
        let _ = write!(text, "; approved by {approver}, {ticket}");
    }
    text
}

fn ike_reason(name: &str) -> String {
    let sentence = IkeReason::ALL.iter().find(|reason| reason.as_str() == name).map(|reason| reason.sentence());
    sentence.unwrap_or(name).to_owned()
}

/// ` (inside 10.1.0.10 port 49152)`, where a host of ours is behind an outside address.
fn inside(end: &Value) -> String {
    match (end["address"].as_str(), end["port"].as_u64()) {
        (Some(address), Some(0) | None) => format!(" (inside {address})"),
        (Some(address), Some(port)) => format!(" (inside {address} port {port})"),
        _ => String::new(),
    }
}

/// `tcp 192.0.2.10:49152 -> 203.0.113.20:1414`.
pub(super) fn flow(flow: &Value) -> String {
    let (protocol, ports) = match flow["protocol"].as_u64() {
        Some(6) => ("tcp".to_owned(), true),
        Some(17) => ("udp".to_owned(), true),
        Some(1 | 58) => ("icmp".to_owned(), false),
        Some(other) => (format!("protocol {other}"), false),
        None => ("-".to_owned(), false),
    };
    let end = |address: &Value, port: &Value| match address.as_str() {
        Some(address) if ports && address.contains(':') => format!("[{address}]:{port}"),
        Some(address) if ports => format!("{address}:{port}"),
        Some(address) => address.to_owned(),
        None => "-".to_owned(),
    };
    let source = end(&flow["source"], &flow["source_port"]);
    let destination = end(&flow["destination"], &flow["destination_port"]);
    format!("{protocol} {source} -> {destination}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, FlowKey, InsideEnd};

    #[test]
    fn a_refusal_is_a_sentence() {
        let event = Event::Refused {
            tunnel: Some("cbp".into()),
            rule: Some("mq".into()),
            reason: DropReason::NoRule,
            outbound: true,
            flow: FlowKey {
                protocol: 6,
                source: "2001:db8::1".parse().unwrap(),
                source_port: 5000,
                destination: "2001:db8::2".parse().unwrap(),
                destination_port: 23,
            },
            inside: Some(InsideEnd { address: "fd00::1".parse().unwrap(), port: 5001 }),
            count: 4,
        };
        assert_eq!(
            sentence(&serde_json::to_string(&event).unwrap()),
            "cbp: refused outbound tcp [2001:db8::1]:5000 -> [2001:db8::2]:23 (inside fd00::1 port 5001): no-rule, no rule allows \
             it, near rule mq (4 times)"
        );
    }

    #[test]
    fn another_policy_is_told_with_what_it_changes_and_who_has_approved_it() {
        let event = Event::PolicyChanged {
            previous: Some("ab".repeat(32)),
            approver: Some("J. Doe".into()),
            ticket: Some("CHG-7".into()),
            added: vec!["rule files".into()],
            removed: Vec::new(),
            changed: vec!["rule mq".into(), "tunnel cbp".into()],
        };
        let mut line = serde_json::to_value(&event).unwrap();
        line["policy"] = "cd".repeat(32).into();
        assert_eq!(
            sentence(&line.to_string()),
            "policy cdcdcdcdcdcdcdcd is in force after abababababababab; added: rule files; changed: rule mq, tunnel cbp; approved by \
             J. Doe, CHG-7"
        );
    }

    #[test]
    fn what_was_not_told_one_by_one_is_told_in_numbers() {
        let event = Event::Unrecorded { opened: 7, recognised: 0, closed: 2, refused: 0 };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(sentence(&line), "too much at once to tell it all: 7 opened, 2 closed more");
    }

    #[test]
    fn a_flow_that_is_over_is_told_with_what_it_has_carried() {
        let line = r#"{"event":"flow-closed","tunnel":"cbp","rule":"mq","clause":"1a","flow":{"protocol":6,"source":"192.0.2.10","source_port":1,"destination":"203.0.113.20","destination_port":1414},"reason":"expired","bytes_out":1500,"bytes_in":20}"#;
        assert_eq!(
            sentence(line),
            "cbp: ended tcp 192.0.2.10:1 -> 203.0.113.20:1414 of rule mq, expired, 1.5 kB out and 20 B in"
        );
    }

    #[test]
    fn what_is_not_known_is_shown_as_it_came_but_cannot_move_the_cursor() {
        assert_eq!(sentence(r#"{"event":"new","a":1}"#), r#"{"event":"new","a":1}"#);
        assert!(!sentence("\x1b[2J").contains('\x1b'));
    }
}
