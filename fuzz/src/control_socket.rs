//! The control socket: one JSON object a line, requests one way, answers the other.

use portcullis::runtime::protocol::{Answer, Request};
use portcullis::runtime::{MAX_LINE, parse_request};
use serde_json::{Map, Value};

/// One line as it comes off the socket, and once more as it is at the bound. What is a request must be the same request
/// when another parser reads it, and when it is written and read again.
pub fn line(data: &[u8]) {
    request(data);
    // A line that does not end: blanks are not a mistake in JSON, so only the bound refuses it.
    let open = data.trim_ascii_end();
    let mut endless = vec![b' '; MAX_LINE];
    let at = MAX_LINE - open.len().min(MAX_LINE);
    endless[at..].copy_from_slice(&open[..MAX_LINE - at]);
    assert!(parse_request(&endless).is_err(), "a line that never ended was taken");
    answer(data);
}

fn request(data: &[u8]) {
    match parse_request(data) {
        Ok(request) => {
            assert!(data.len() < MAX_LINE || data.ends_with(b"\n"), "a line that never ended was taken");
            let read: Value = serde_json::from_slice(data).expect("a request is one JSON value and nothing behind it");
            match &request {
                // What is left out may also be written as nothing.
                Request::Agreements { .. } | Request::Agreement { .. } => {
                    let written = serde_json::to_value(&request).expect("a request is JSON");
                    assert_eq!(bare(read), bare(written), "the request does not say what the line says");
                }
                _ => assert_eq!(read, Value::Object(said(&request)), "the request does not say what the line says"),
            }
            let mut written = serde_json::to_vec(&request).expect("a request is JSON");
            written.push(b'\n');
            assert_eq!(parse_request(&written), Ok(request), "a request changed on the way");
        }
        Err(sentence) => assert!(!sentence.is_empty(), "refused without a word"),
    }
}

/// Without members that say nothing.
fn bare(value: Value) -> Value {
    let nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(member, value)| (member, bare(value)));
            Value::Object(members.filter(|(_, value)| !nothing(value)).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(bare).collect()),
        // A digest and a day have one way to be written here, and several to be read.
        Value::String(text) => Value::String(text.to_lowercase()),
        other => other,
    }
}

/// The request as an object, member by member.
fn said(request: &Request) -> Map<String, Value> {
    let mut said = Map::new();
    let mut say = |member: &str, value: Value| drop(said.insert(member.to_owned(), value));
    let (op, tunnel) = match request {
        Request::Status {} => ("status", None),
        Request::Up { tunnel } => ("up", Some(tunnel)),
        Request::Down { tunnel } => ("down", Some(tunnel)),
        Request::Rekey { tunnel, children, ike, pfs } => {
            for (member, value) in [("children", children), ("ike", ike), ("pfs", pfs)] {
                say(member, Value::from(*value));
            }
            ("rekey", Some(tunnel))
        }
        Request::Explain { tunnel } => ("explain", Some(tunnel)),
        Request::Agreements { .. } => ("agreements", None),
        Request::Agreement { .. } => ("agreement", None),
        Request::Flows { from, to, port } => {
            say("from", Value::from(from.to_string()));
            say("to", Value::from(to.to_string()));
            if let Some(port) = port {
                say("port", Value::from(*port));
            }
            ("flows", None)
        }
        Request::Policy {} => ("policy", None),
        Request::Reload {} => ("reload", None),
        Request::Monitor {} => ("monitor", None),
    };
    say("op", Value::from(op));
    if let Some(tunnel) = tunnel {
        say("tunnel", Value::from(tunnel.as_str()));
    }
    said
}

/// What the client makes of the same line: an answer, or nothing.
fn answer(data: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Answer>(data) else { return };
    let written = serde_json::to_string(&answer).expect("an answer is JSON");
    assert!(!written.contains('\n'), "an answer is one line");
    let again: Answer = serde_json::from_str(&written).expect("and reads back");
    match (&answer, &again) {
        // Numbers with a point may lose their last bit on the way.
        (Answer::Status(answer), Answer::Status(again)) => {
            assert_eq!((&answer.rules, &answer.drops, answer.uptime_s), (&again.rules, &again.drops, again.uptime_s));
        }
        _ => assert_eq!(again, answer, "an answer changed on the way"),
    }
}
