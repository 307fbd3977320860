//! `portcullis check`: what a configuration file means, for people and for scripts.

use std::fmt::Write as _;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::table::{pairs, table};
use crate::agreement::{Basis, Classification, Record};
use crate::config::{Loaded, Problem, TunnelInfo, identity, strength};
use crate::crypto::certificate::Revocation;
use crate::ike::config::{LocalAuth, PeerAuth, Start, TunnelConfig};
use crate::platform::host_check::Finding;
use crate::policy::{Inspection, Mode, Rule, Service, Translation};

/// What the file means. Warnings are rendered by themselves, with their lines of the file.
#[must_use]
pub fn check(loaded: &Loaded, warnings: usize, width: usize) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut out = format!(
        "{} holds: {}, {}, {}\n",
        loaded.path.display(),
        count(loaded.tunnels.len(), "tunnel"),
        count(loaded.policy.rules().len(), "rule"),
        count(warnings, "warning"),
    );
    for record in loaded.agreements.iter().filter(|record| !record.lab) {
        let _ = writeln!(out, "\nagreement {}", record.name);
        out.push_str(&pairs(&agreement(record)));
    }
    for (info, tunnel) in loaded.tunnels.iter().zip(&loaded.ike.tunnels) {
        let lab = if tunnel.lab { " (lab)" } else { "" };
        let _ = writeln!(out, "\ntunnel {}, agreement {}{lab}", info.name, info.agreement);
        out.push_str(&pairs(&[
            ("local", format!("{} as {}", info.local, identity::text(&tunnel.local_id))),
            ("peer", format!("{} as {}", peers(info), identity::text(&tunnel.peer_id))),
            ("start", start(tunnel.start).to_owned()),
            ("ike", list(&tunnel.ike)),
            ("esp", list(&tunnel.esp)),
            ("authentication", authentication(info, tunnel)),
            ("child SAs", children(tunnel)),
        ]));
    }
    let rows: Vec<_> = loaded.policy.rules().iter().map(|rule| rule_row(loaded, rule)).collect();
    let rules = table(["RULE", "TUNNEL", "CLAUSE", "OPENED BY", "TOWARDS", "SERVICE", "DIRECTION"], &rows, width);
    if !rules.is_empty() {
        let _ = write!(out, "\n{rules}everything else is refused, in both directions\n");
        for rule in loaded.policy.rules().iter().filter(|rule| rule.inspection != Inspection::of(rule.service)) {
            let _ = writeln!(out, "{} demands: {}", rule.name, rule.inspection);
        }
    }
    let rows: Vec<_> = loaded.policy.translations().list().iter().map(|of| translation_row(loaded, of)).collect();
    let translations = table(["OUTSIDE", "TUNNEL", "INSIDE", "CALLS GO TO"], &rows, width);
    if !translations.is_empty() {
        let _ = write!(out, "\n{translations}");
    }
    out
}

/// What is written down of an agreement.
fn agreement(record: &Record) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    rows.extend(record.document.clone().map(|title| ("document", title)));
    rows.extend(record.organisation.clone().map(|organisation| ("organisation", organisation)));
    if let Some(term) = record.term() {
        let grace =
            if term.grace_days == 0 { String::new() } else { format!(", then {} days of grace", term.grace_days) };
        let years = format!("{} years from {}", term.years, term.date);
        rows.push(("term", format!("{years}, through the end of {} in {}{grace}", term.last_day(), term.zone)));
    }
    rows.extend(record.termination.map(|day| ("last day", format!("{day}: notice has been given"))));
    rows.extend(record.classification.map(|class| ("classification", class.as_str().to_owned())));
    rows.extend(record.contacts.iter().map(|(role, contact)| (role.as_str(), contact.clone())));
    rows
}

/// The head-ends in order.
fn peers(info: &TunnelInfo) -> String {
    info.peers().map(|peer| peer.to_string()).collect::<Vec<_>>().join(", then ")
}

/// What the sides prove themselves with.
fn authentication(info: &TunnelInfo, tunnel: &TunnelConfig) -> String {
    if tunnel.local_auth.is_eap() || tunnel.peer_auth.is_eap() {
        return format!("we by {}, the peer by {}", tunnel.local_auth.word(), tunnel.peer_auth.word());
    }
    if info.psk_bits.is_none() || tunnel.local_auth.secrets().is_none() || tunnel.peer_auth.secrets().is_none() {
        return format!("we by {}, the peer by {}", certificate(tunnel), authorities(tunnel));
    }
    let keys = tunnel.peer_auth.secrets().map_or(0, |secrets| secrets.iter().count());
    match (info.psk_bits, keys) {
        (Some(bits), 0 | 1) => format!("pre-shared key of about {bits} bits{}", judgement(bits)),
        (Some(bits), keys) => {
            format!("any of {keys} pre-shared keys, the weakest of about {bits} bits{}", judgement(bits))
        }
        (None, _) => String::new(),
    }
}

fn certificate(tunnel: &TunnelConfig) -> String {
    let LocalAuth::Certificate(credential) = &tunnel.local_auth else { return tunnel.local_auth.word().to_owned() };
    match credential.own() {
        Some(own) => {
            format!("certificate {} ({}), valid until {}", own.subject_text, own.key.kind.as_str(), day(own.not_after))
        }
        None => "certificate".to_owned(),
    }
}

fn authorities(tunnel: &TunnelConfig) -> String {
    let PeerAuth::Certificate(trust) = &tunnel.peer_auth else { return tunnel.peer_auth.word().to_owned() };
    let anchors =
        trust.anchors().iter().map(|anchor| format!("{}, valid until {}", anchor.subject_text, day(anchor.not_after)));
    let anchors: Vec<_> = anchors.collect();
    let revocation = match trust.revocation() {
        Revocation::HardFail => "hard-fail",
        Revocation::SoftFail => "soft-fail",
        Revocation::Off => "off",
    };
    format!(
        "a certificate of {}; revocation {revocation}, {} lists and responses",
        anchors.join(" or "),
        trust.verdicts()
    )
}

fn day(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

fn rule_row(loaded: &Loaded, rule: &Rule) -> [String; 7] {
    let tunnel = loaded.tunnels.iter().find(|tunnel| tunnel.id == rule.tunnel);
    [
        rule.name.clone(),
        tunnel.map(|tunnel| tunnel.name.clone()).unwrap_or_default(),
        clause(rule),
        nets(&rule.from),
        nets(&rule.to),
        service(rule),
        rule.direction.as_str().to_owned(),
    ]
}

/// The clause, and what the rule is for if it says so.
fn clause(rule: &Rule) -> String {
    if rule.purposes.is_empty() {
        rule.clause.clone()
    } else {
        format!("{}: {}", rule.clause, rule.purposes.join(", "))
    }
}

fn translation_row(loaded: &Loaded, translation: &Translation) -> [String; 4] {
    let tunnel = loaded.tunnels.iter().find(|tunnel| tunnel.id == translation.tunnel);
    [
        translation.outside.to_string(),
        tunnel.map(|tunnel| tunnel.name.clone()).unwrap_or_default(),
        nets(&translation.inside),
        translation.opened().map_or_else(|| "nobody".to_owned(), |host| host.to_string()),
    ]
}

fn service(rule: &Rule) -> String {
    let ports: Vec<_> = rule.effective_ports().iter().map(ToString::to_string).collect();
    let transport = if rule.service == Service::Udp { "udp" } else { "tcp" };
    let asked = match rule.service {
        Service::Echo => return "echo".to_owned(),
        Service::Tcp | Service::Udp => format!("{transport} {}", ports.join(", ")),
        named => format!("{} ({transport} {})", named.as_str(), ports.join(", ")),
    };
    match (rule.service, rule.mode) {
        (Service::Tcp, _) => format!("{asked}, {}", rule.inspection.as_str()),
        (_, Mode::Observe) => format!("{asked}, observed only"),
        (_, Mode::Enforce) => asked,
    }
}

/// Hosts without the length of their prefix.
fn nets(nets: &[IpNet]) -> String {
    let shown = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    nets.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn list<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const fn start(start: Start) -> &'static str {
    match start {
        Start::Always => "always",
        Start::OnDemand => "on-demand",
        Start::Manual => "manual",
        Start::Disabled => "disabled",
    }
}

const fn judgement(bits: u32) -> &'static str {
    if bits < strength::REFUSED_BELOW {
        ", weak"
    } else if bits < strength::WARNED_BELOW {
        ", below the 256 of the ciphers"
    } else {
        ""
    }
}

fn children(tunnel: &TunnelConfig) -> String {
    let all: Vec<_> = tunnel.children.iter().map(|child| format!("{} <-> {}", child.local, child.remote)).collect();
    if all.is_empty() { "none: no rule names this tunnel".to_owned() } else { all.join(", ") }
}

/// What was found on this machine.
#[must_use]
pub fn host(findings: &[Finding], width: usize) -> String {
    let row = |finding: &Finding| {
        [finding.name.to_owned(), if finding.ok { "ok" } else { "MISSING" }.to_owned(), finding.sentence.clone()]
    };
    format!("\n{}", table(["HOST", "", "FOUND"], &findings.iter().map(row).collect::<Vec<_>>(), width))
}

/// The same as JSON.
#[must_use]
pub fn host_json(findings: &[Finding]) -> Value {
    findings.iter().map(|f| json!({"name": f.name, "ok": f.ok, "sentence": f.sentence})).collect()
}

/// What the file means, as JSON.
#[must_use]
pub fn json(loaded: &Loaded, warnings: &[Problem]) -> Value {
    let tunnels: Vec<_> = loaded
        .tunnels
        .iter()
        .zip(&loaded.ike.tunnels)
        .map(|(info, tunnel)| {
            let strings = |all: Vec<String>| Value::from(all);
            json!({
                "name": info.name, "agreement": info.agreement, "kind": info.kind,
                "local": info.local, "peer": info.peer, "peers": info.peers().collect::<Vec<_>>(),
                "local_id": identity::text(&tunnel.local_id), "peer_id": identity::text(&tunnel.peer_id),
                "start": start(tunnel.start), "psk_bits": info.psk_bits,
                "ike": strings(tunnel.ike.iter().map(ToString::to_string).collect()),
                "esp": strings(tunnel.esp.iter().map(ToString::to_string).collect()),
                "children": tunnel.children.iter().map(|child| json!({
                    "local": child.local.to_string(), "remote": child.remote.to_string(),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let rules: Vec<_> = loaded
        .policy
        .rules()
        .iter()
        .map(|rule| {
            let tunnel = loaded.tunnels.iter().find(|tunnel| tunnel.id == rule.tunnel);
            json!({
                "name": rule.name, "tunnel": tunnel.map(|tunnel| &tunnel.name), "agreement": rule.agreement,
                "clause": rule.clause, "purpose": rule.purposes, "from": rule.from, "to": rule.to, "service": rule.service.as_str(),
                "ports": rule.effective_ports(), "direction": rule.direction.as_str(),
                "inspect": rule.mode.as_str(), "demands": rule.inspection.to_string(),
            })
        })
        .collect();
    let translations = loaded.policy.translations().list().iter().map(|of| {
        let tunnel = loaded.tunnels.iter().find(|tunnel| tunnel.id == of.tunnel);
        json!({
            "tunnel": tunnel.map(|tunnel| &tunnel.name), "outside": of.outside, "inside": of.inside, "inbound": of.opened(),
        })
    });
    json!({
        "file": loaded.path, "holds": true, "policy": hex::encode(loaded.policy.digest()),
        "tunnels": tunnels, "rules": rules, "translations": translations.collect::<Vec<_>>(),
        "agreements": loaded.agreements.iter().map(agreement_json).collect::<Vec<_>>(),
        "errors": [], "warnings": problems(warnings),
    })
}

fn agreement_json(record: &Record) -> Value {
    let contacts: serde_json::Map<_, _> =
        record.contacts.iter().map(|(role, text)| (role.as_str().to_owned(), Value::from(text.as_str()))).collect();
    json!({
        "name": record.name, "kind": record.kind(), "document": record.document,
        "document_digest": record.document_digest.map(|digest| digest.to_string()),
        "organisation": record.organisation, "contacts": contacts,
        "classification": record.classification.map(Classification::as_str),
        "basis": record.basis.map(Basis::as_str), "date": record.date.map(|day| day.to_string()),
        "years": record.years, "zone": record.zone.to_string(), "grace_days": record.grace_days,
        "last_day": record.term().map(|term| term.last_day().to_string()),
        "reviewed": record.reviewed.map(|day| day.to_string()),
        "termination": record.termination.map(|day| day.to_string()),
        "missing": record.missing().into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
    })
}

/// Errors or warnings as JSON.
#[must_use]
pub fn problems(all: &[Problem]) -> Value {
    all.iter()
        .map(|problem| {
            let place = problem.place();
            json!({
                "message": problem.message(), "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column), "mend": problem.mend(),
            })
        })
        .collect()
}
