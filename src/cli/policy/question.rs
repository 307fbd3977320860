//! `policy explain --from --to`: may this connection be opened? The first packet of the flow goes through a flow table with
//! the policy of a file; the running gateway is not asked.

use std::io::Write;
use std::net::IpAddr;

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::words::{Destination, Protocol, Question};
use crate::config::{self, Loaded};
use crate::event::{DropReason, FlowKey};
use crate::ids::RuleId;
use crate::inspect::{Verdict, probe};
use crate::policy::Service;
use crate::policy::document::Document;
use crate::report;

/// The answer; its fields are what `--json` prints.
#[derive(Debug, Serialize)]
struct Explained {
    /// `allowed` or `refused`.
    verdict: &'static str,
    /// The rule that allows it, or the one that comes nearest.
    rule: Option<String>,
    /// Its clause.
    clause: Option<String>,
    /// What the clause is about, where its document is known.
    about: Option<&'static str>,
    /// What it is for, if the rule says so.
    purposes: Vec<&'static str>,
    /// Its agreement.
    agreement: Option<String>,
    /// The kind of the agreement.
    kind: Option<&'static str>,
    /// By which address the peer knows the host that opens it, if not by its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_as: Option<IpAddr>,
    /// The tunnel.
    tunnel: Option<String>,
    /// `outbound` or `inbound`, where it is allowed.
    direction: Option<&'static str>,
    /// The reason as it stands in counters and events, where it is refused.
    reason: Option<DropReason>,
}

/// Asks, prints, and ends with 0 if it is allowed.
pub(super) fn explain(
    question: &Question,
    from: IpAddr,
    to: Destination,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut key = flow(question.protocol, from, to)?;
    let loaded = config::load_rules(&question.file)?;
    // A host of ours with an outside address is judged by that, and by nothing else.
    let known_as = loaded.policy.translations().outside_name(key.source, key.destination);
    key.source = known_as.unwrap_or(key.source);
    let (rule, reason) = match probe::ask(&loaded.policy, &key).0 {
        Verdict::Pass(pass) | Verdict::Split(pass) => (Some(pass.rule), None),
        // The first packet of a flow waits for nothing.
        Verdict::Waits => (None, None),
        Verdict::Drop { reason, rule, .. } => (rule, Some(reason)),
    };
    let explained = Explained { known_as, ..explained(&loaded, rule, reason) };
    if question.json {
        let line = serde_json::to_string(&explained).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        out.write_all(text(&explained, &key).as_bytes())?;
    }
    Ok(if explained.verdict == "allowed" { Exit::Done } else { Exit::Refused })
}

fn flow(protocol: Protocol, from: IpAddr, to: Destination) -> Result<FlowKey, Failure> {
    if from.is_ipv4() != to.address.is_ipv4() {
        return Err(Failure::Usage("--from and --to are of different address families".to_owned()));
    }
    let (service, port) = match (protocol, to.port) {
        (Protocol::Tcp, Some(port)) => (Service::Tcp, port),
        (Protocol::Udp, Some(port)) => (Service::Udp, port),
        (Protocol::Echo, None) => (Service::Echo, 0),
        (Protocol::Echo, Some(_)) => return Err(Failure::Usage("echo has no port: write --to IP".to_owned())),
        (_, None) => return Err(Failure::Usage("--to needs a port: write --to IP:PORT".to_owned())),
    };
    Ok(config::question(service, from, to.address, port))
}

fn explained(loaded: &Loaded, rule: Option<RuleId>, reason: Option<DropReason>) -> Explained {
    let rule = rule.and_then(|id| loaded.policy.rule(id));
    let tunnel = rule.and_then(|rule| loaded.tunnels.iter().find(|tunnel| tunnel.id == rule.tunnel));
    let document = rule.and_then(|rule| loaded.agreement(&rule.agreement)?.document.as_deref());
    let clause = rule.and_then(|rule| Document::titled(document?)?.clause(&rule.clause));
    Explained {
        verdict: if reason.is_none() { "allowed" } else { "refused" },
        rule: rule.map(|rule| rule.name.clone()),
        clause: rule.map(|rule| rule.clause.clone()),
        about: clause.map(|clause| clause.about),
        purposes: rule.map(|rule| rule.purposes.clone()).unwrap_or_default(),
        agreement: rule.map(|rule| rule.agreement.clone()),
        kind: tunnel.map(|tunnel| tunnel.kind),
        known_as: None,
        tunnel: tunnel.map(|tunnel| tunnel.name.clone()),
        direction: rule.filter(|_| reason.is_none()).map(|rule| rule.direction.as_str()),
        reason,
    }
}

fn text(explained: &Explained, key: &FlowKey) -> String {
    let end = |address: IpAddr, port: u16| match address {
        _ if port == 0 => address.to_string(),
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    };
    let as_known = explained.known_as.map(|_| " (its outside address)").unwrap_or_default();
    let flow = format!("{}{as_known} -> {}", key.source, end(key.destination, key.destination_port));
    let mut rows = vec![("flow", flow)];
    if let Some(reason) = explained.reason {
        rows.push(("reason", format!("{reason}: {}", reason.sentence())));
    }
    if let Some(rule) = &explained.rule {
        rows.push((if explained.reason.is_none() { "rule" } else { "nearest rule" }, rule.clone()));
    }
    if let (Some(clause), Some(agreement)) = (&explained.clause, &explained.agreement) {
        let lab = if explained.kind == Some("lab") { " (lab)" } else { "" };
        let about = explained.about.map(|about| format!(": {about}")).unwrap_or_default();
        rows.push(("clause", format!("{clause} of agreement {agreement}{lab}{about}")));
    }
    if !explained.purposes.is_empty() {
        rows.push(("purpose", explained.purposes.join(", ")));
    }
    if let (Some(tunnel), direction) = (&explained.tunnel, explained.direction) {
        rows.push(("tunnel", format!("{tunnel}{}", direction.map(|way| format!(", {way}")).unwrap_or_default())));
    }
    format!("{}\n{}", explained.verdict, report::table::pairs(&rows))
}
