//! `policy explain`: may this connection be opened? The compiled policy of a file is asked, not the running gateway.

use std::io::Write;
use std::net::IpAddr;

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::words::{Protocol, Question};
use crate::config::{self, Loaded};
use crate::event::{DropReason, FlowKey};
use crate::ids::RuleId;
use crate::policy::{Classified, Service};
use crate::report;

/// Any port that a client might open from.
const EPHEMERAL: u16 = 49_152;
/// Types of echo requests (RFC 792, RFC 4443); a flow key has the type in the place of the source port.
const ECHO_REQUEST: u16 = 8;
const ECHO_REQUEST_V6: u16 = 128;

/// The answer; its fields are what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    /// `allowed` or `refused`.
    pub(crate) verdict: &'static str,
    /// The rule that allows it, or the one that comes nearest.
    pub(crate) rule: Option<String>,
    /// Its clause.
    pub(crate) clause: Option<String>,
    /// Its agreement.
    pub(crate) agreement: Option<String>,
    /// The kind of the agreement.
    pub(crate) kind: Option<&'static str>,
    /// The tunnel.
    pub(crate) tunnel: Option<String>,
    /// `outbound` or `inbound`, where it is allowed.
    pub(crate) direction: Option<&'static str>,
    /// The reason as it stands in counters and events, where it is refused.
    pub(crate) reason: Option<DropReason>,
}

/// Asks, prints, and ends with 0 if it is allowed.
pub(super) fn explain(question: &Question, out: &mut dyn Write) -> Result<Exit, Failure> {
    let key = flow(question)?;
    let loaded = config::load_rules(&question.file)?;
    let explained = answer(&loaded, &key);
    if question.json {
        let line = serde_json::to_string(&explained).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        out.write_all(text(&explained, &key).as_bytes())?;
    }
    Ok(if explained.verdict == "allowed" { Exit::Done } else { Exit::Refused })
}

fn flow(question: &Question) -> Result<FlowKey, Failure> {
    let (source, destination) = (question.from, question.to.address);
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Failure::Usage("--from and --to are of different address families".to_owned()));
    }
    let v6 = destination.is_ipv6();
    let (service, source_port, port) = match (question.protocol, question.to.port) {
        (Protocol::Tcp, Some(port)) => (Service::Tcp, EPHEMERAL, port),
        (Protocol::Udp, Some(port)) => (Service::Udp, EPHEMERAL, port),
        (Protocol::Echo, None) if v6 => (Service::Echo, ECHO_REQUEST_V6, 0),
        (Protocol::Echo, None) => (Service::Echo, ECHO_REQUEST, 0),
        (Protocol::Echo, Some(_)) => return Err(Failure::Usage("echo has no port: write --to IP".to_owned())),
        (_, None) => return Err(Failure::Usage("--to needs a port: write --to IP:PORT".to_owned())),
    };
    Ok(FlowKey { protocol: service.protocol(v6), source, source_port, destination, destination_port: port })
}

fn answer(loaded: &Loaded, key: &FlowKey) -> Explained {
    // Whether `from` is behind us is not asked: the rules know. Seen from either side, the answer that says most
    // counts, and that from our side if both say little.
    let both = [loaded.policy.classify(true, key), loaded.policy.classify(false, key)];
    let weight = |classified: &Classified| match classified {
        Classified::Allow(_) => 5,
        Classified::Disabled { .. } => 4,
        Classified::WrongDirection { .. } => 3,
        Classified::NoRule { near: Some(_), .. } => 2,
        Classified::NoRule { near: None, tunnel: Some(_) } => 1,
        Classified::NoRule { near: None, tunnel: None } | Classified::NotOurs => 0,
    };
    let best = if weight(&both[1]) > weight(&both[0]) { both[1] } else { both[0] };
    let (rule, reason) = match best {
        Classified::Allow(allowed) => (Some(allowed.rule), None),
        Classified::Disabled { rule, reason, .. } => (Some(rule), Some(reason)),
        Classified::WrongDirection { rule, .. } => (Some(rule), Some(DropReason::WrongDirection)),
        Classified::NoRule { near, .. } => (near, Some(DropReason::NoRule)),
        Classified::NotOurs => (None, Some(DropReason::NotOurs)),
    };
    explained(loaded, rule, reason)
}

fn explained(loaded: &Loaded, rule: Option<RuleId>, reason: Option<DropReason>) -> Explained {
    let rule = rule.and_then(|id| loaded.policy.rule(id));
    let tunnel = rule.and_then(|rule| loaded.tunnels.iter().find(|tunnel| tunnel.id == rule.tunnel));
    Explained {
        verdict: if reason.is_none() { "allowed" } else { "refused" },
        rule: rule.map(|rule| rule.name.clone()),
        clause: rule.map(|rule| rule.clause.clone()),
        agreement: rule.map(|rule| rule.agreement.clone()),
        kind: tunnel.map(|tunnel| tunnel.kind),
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
    let flow = format!("{} -> {}", key.source, end(key.destination, key.destination_port));
    let mut rows = vec![("flow", flow)];
    if let Some(reason) = explained.reason {
        rows.push(("reason", format!("{reason}: {}", reason.sentence())));
    }
    if let Some(rule) = &explained.rule {
        rows.push((if explained.reason.is_none() { "rule" } else { "nearest rule" }, rule.clone()));
    }
    if let (Some(clause), Some(agreement)) = (&explained.clause, &explained.agreement) {
        let lab = if explained.kind == Some("lab") { " (lab)" } else { "" };
        rows.push(("clause", format!("{clause} of agreement {agreement}{lab}")));
    }
    if let (Some(tunnel), direction) = (&explained.tunnel, explained.direction) {
        rows.push(("tunnel", format!("{tunnel}{}", direction.map(|way| format!(", {way}")).unwrap_or_default())));
    }
    format!("{}\n{}", explained.verdict, report::table::pairs(&rows))
}
