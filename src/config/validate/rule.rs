//! `[[rule]]`: who may open which service towards whom, and by which clause.

use std::net::IpAddr;

use ipnet::IpNet;

use super::nets::Nets;
use super::{choice, find, inspection, name_holds, tunnel};
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, Named, bounded, printable};
use crate::policy::document::Purpose;
use crate::policy::{Inspection, Mode, RuleDirection, Service};

/// More ports or hosts than this in one rule are a mistake.
const MAX_LIST: usize = 256;
/// A clause is "1a" or "3.11", not its text.
const MAX_CLAUSE: usize = 64;

/// A rule that holds, with its tunnel by position.
#[derive(Debug)]
pub(in crate::config) struct Rule {
    pub(in crate::config) name: String,
    pub(in crate::config) tunnel: usize,
    pub(in crate::config) clause: String,
    pub(in crate::config) purposes: Vec<&'static str>,
    pub(in crate::config) from: Vec<IpNet>,
    pub(in crate::config) to: Vec<IpNet>,
    pub(in crate::config) service: Service,
    pub(in crate::config) ports: Vec<u16>,
    pub(in crate::config) direction: RuleDirection,
    pub(in crate::config) inspection: Inspection,
    pub(in crate::config) mode: Mode,
}

impl Rule {
    /// The peer's side, and the key it was written under.
    pub(super) fn remote(&self) -> (&'static str, &[IpNet]) {
        match self.direction {
            RuleDirection::Outbound => ("to", &self.to),
            RuleDirection::Inbound => ("from", &self.from),
        }
    }

    /// Our side, and the key it was written under.
    pub(super) fn local(&self) -> (&'static str, &[IpNet]) {
        match self.direction {
            RuleDirection::Outbound => ("from", &self.from),
            RuleDirection::Inbound => ("to", &self.to),
        }
    }
}

/// Checks one rule by itself.
pub(super) fn check(
    span: &Span,
    raw: &raw::Rule,
    raw_tunnels: &[Named<raw::Tunnel>],
    tunnels: &[Option<tunnel::Tunnel>],
    problems: &mut Problems,
) -> Option<Rule> {
    let name = raw.name.as_ref().filter(|name| name_holds("a rule", name, problems));
    let tunnel = raw.tunnel.as_ref().and_then(|name| find("tunnel", name, raw_tunnels, problems));
    let under = tunnel.and_then(|position| tunnels.get(position)?.as_ref());
    let clause = raw.clause.as_ref().filter(|clause| {
        let holds = clause.get_ref().len() <= MAX_CLAUSE;
        if !holds {
            problems
                .error(&clause.span(), "`clause` is too long", "this text")
                .mend("name the clause, such as \"1a\"; its text is in the agreement");
        }
        holds
    });
    let service = service(raw, under, problems);
    let ports = service.and_then(|service| ports(service, raw, problems));
    let inspected = service.and_then(|service| inspection::check(service, raw, problems));
    let direction = match &raw.direction {
        Some(word) => {
            let words = [("outbound", RuleDirection::Outbound), ("inbound", RuleDirection::Inbound)];
            choice("direction", word, &words, problems)
        }
        None => Some(RuleDirection::Outbound),
    };
    let from = raw.from.as_ref().and_then(|list| hosts("from", list, raw.allow_network.as_ref(), problems));
    let to = raw.to.as_ref().and_then(|list| hosts("to", list, raw.allow_network.as_ref(), problems));
    if let (Some(from), Some(to)) = (&from, &to) {
        if let Some(reason) = &raw.allow_network
            && from.iter().chain(to).all(|net| net.prefix_len() == net.max_prefix_len())
        {
            problems
                .warning(&reason.span(), "`allow_network` is not needed: the rule names hosts only", "may be taken out")
                .mend("it is for rules that name networks");
        }
        sides_hold(raw, from, to, span, problems)?;
    }
    let (inspection, mode) = inspected?;
    Some(Rule {
        name: name?.get_ref().clone(),
        tunnel: tunnel?,
        clause: clause?.get_ref().clone(),
        purposes: purposes(raw),
        from: from?,
        to: to?,
        service: service?,
        ports: ports?,
        direction: direction?,
        inspection,
        mode,
    })
}

/// The purposes that are known; `document` complains of the others.
fn purposes(raw: &raw::Rule) -> Vec<&'static str> {
    let words = raw.purpose.iter().flat_map(At::get_ref).filter_map(|word| Purpose::any(word.get_ref()));
    let mut words: Vec<_> = words.map(|purpose| purpose.word).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn service(raw: &raw::Rule, under: Option<&tunnel::Tunnel>, problems: &mut Problems) -> Option<Service> {
    let word = raw.service.as_ref()?;
    let all = [Service::Mq, Service::Sftp, Service::Smtp, Service::Tls, Service::Tcp, Service::Udp, Service::Echo];
    let service = choice("service", word, &all.map(|service| (service.as_str(), service)), problems)?;
    if let Some(tunnel) = under
        && service.is_lab()
        && !tunnel.lab
    {
        problems
            .error(
                &word.span(),
                format!("service \"{}\" is not for a real agreement", service.as_str()),
                format!("agreement `{}` is not of kind \"lab\"", tunnel.agreement),
            )
            .mend("an interconnection agreement authorises TCP services only: mq, sftp, smtp, tls, tcp");
        return None;
    }
    Some(service)
}

/// The ports that the rule names itself; empty for those of the service.
fn ports(service: Service, raw: &raw::Rule, problems: &mut Problems) -> Option<Vec<u16>> {
    let word = raw.service.as_ref()?;
    let (key, list, other_key, other) = match service {
        Service::Udp => ("udp", &raw.udp, "tcp", &raw.tcp),
        _ => ("tcp", &raw.tcp, "udp", &raw.udp),
    };
    let misplaced = match service {
        Service::Echo => [(key, list), (other_key, other)],
        _ => [(other_key, other), (other_key, &None)],
    };
    let mut holds = true;
    for (key, list) in misplaced {
        if let Some(list) = list {
            holds = false;
            problems
                .error(
                    &list.span(),
                    format!("`{key}` does not go with service \"{}\"", service.as_str()),
                    "these ports",
                )
                .also(&word.span(), "belong to another service")
                .mend(format!("take `{key}` out, or write another rule for it"));
        }
    }
    if !holds {
        return None;
    }
    let Some(list) = list else {
        if matches!(service, Service::Tcp | Service::Udp) {
            problems
                .error(
                    &word.span(),
                    format!("service \"{0}\" has no ports of its own, and `{0}` is missing", service.as_str()),
                    "this service",
                )
                .mend(format!("add {} = [ the ports ]", service.as_str()));
            return None;
        }
        return Some(Vec::new());
    };
    let mut ports = Vec::new();
    for port in list.get_ref() {
        match bounded(key, port, 1..=65_535, problems) {
            Some(number) if ports.contains(&number) => {
                problems.error(&port.span(), format!("`{key}` names port {number} twice"), "again").mend("take it out");
            }
            Some(number) => ports.push(number),
            None => {}
        }
    }
    short(key, list, problems)?;
    (ports.len() == list.get_ref().len()).then_some(ports)
}

fn short<T>(key: &str, list: &At<Vec<T>>, problems: &mut Problems) -> Option<()> {
    if list.get_ref().len() <= MAX_LIST {
        return Some(());
    }
    problems
        .error(&list.span(), format!("`{key}` is too long"), "this list")
        .mend(format!("a rule takes up to {MAX_LIST}; write several rules"));
    None
}

fn hosts(
    key: &str,
    list: &At<Vec<At<String>>>,
    allow_network: Option<&At<String>>,
    problems: &mut Problems,
) -> Option<Vec<IpNet>> {
    short(key, list, problems)?;
    let mut nets: Vec<IpNet> = Vec::new();
    for text in list.get_ref() {
        let Some(net) = host(key, text, allow_network.is_some(), problems) else { continue };
        if let Some(other) = nets.iter().find(|other| other.contains(&net) || net.contains(*other)) {
            problems
                .error(
                    &text.span(),
                    format!("`{key}` names {net} twice"),
                    format!("{other} stands in this list already"),
                )
                .mend("take one of them out");
            continue;
        }
        nets.push(net);
    }
    (nets.len() == list.get_ref().len()).then_some(nets)
}

fn host(key: &str, text: &At<String>, networks: bool, problems: &mut Problems) -> Option<IpNet> {
    let word = text.get_ref();
    let parsed = word.parse::<IpAddr>().map(IpNet::from).or_else(|_| word.parse::<IpNet>());
    let (message, mend) = match parsed {
        Err(_) => (
            format!("`{key}`: \"{}\" is not an address", printable(word)),
            "write the address of a host, such as 192.0.2.10; names are not looked up".to_owned(),
        ),
        Ok(net) if net.trunc() != net => (
            format!("`{key}`: {net} is not a network, it has bits beyond its prefix"),
            format!("write {} for the network, or {} for the host", net.trunc(), net.addr()),
        ),
        Ok(net) if !can_be_a_host(net) => (
            format!("`{key}`: {net} cannot be a host behind a gateway"),
            "loopback, multicast, broadcast and unspecified addresses do not cross a tunnel".to_owned(),
        ),
        Ok(net) if net.prefix_len() < net.max_prefix_len() && !networks => (
            format!("`{key}`: {net} is a network, but a rule names hosts"),
            "write its hosts one by one, or say why it must be a network: allow_network = \"the reason\"".to_owned(),
        ),
        Ok(net) => return Some(net),
    };
    problems.error(&text.span(), message, "this value").mend(mend);
    None
}

pub(super) fn can_be_a_host(net: IpNet) -> bool {
    let no_host = |address: IpAddr| match address {
        IpAddr::V4(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some(),
    };
    !no_host(net.network()) && !no_host(net.broadcast()) && net.prefix_len() > 0
}

/// One address family in the whole rule, and nobody on both sides.
fn sides_hold(raw: &raw::Rule, from: &[IpNet], to: &[IpNet], span: &Span, problems: &mut Problems) -> Option<()> {
    let is_v4 = |net: &IpNet| net.addr().is_ipv4();
    let place = |value: &Option<At<Vec<At<String>>>>| value.as_ref().map_or_else(|| span.clone(), At::span);
    let (from_at, to_at) = (place(&raw.from), place(&raw.to));
    let first = from.first()?;
    if from.iter().chain(to).any(|net| is_v4(net) != is_v4(first)) {
        problems
            .error(&to_at, "`from` and `to` mix IPv4 and IPv6", "these hosts")
            .also(&from_at, "and these")
            .mend("write one rule for each address family");
        return None;
    }
    if let Some(net) = to.iter().find(|net| from.iter().any(|other| other.contains(*net) || net.contains(other))) {
        problems
            .error(&to_at, format!("{net} stands on both sides of the rule"), "in `to`")
            .also(&from_at, "and in `from`")
            .mend("a packet between two hosts of one side never reaches the gateway");
        return None;
    }
    Some(())
}

/// The datagrams of every tunnel must be able to leave: neither end of any tunnel may itself lie behind a tunnel.
pub(super) fn check_against_underlay(
    raw_rules: &[(Span, raw::Rule)],
    rules: &[Option<Rule>],
    raw_tunnels: &[Named<raw::Tunnel>],
    tunnels: &[Option<tunnel::Tunnel>],
    problems: &mut Problems,
) {
    let mut ends = Nets::default();
    for (at, tunnel) in tunnels.iter().enumerate() {
        let Some(tunnel) = tunnel else { continue };
        for (whose, address) in tunnel.peers().map(|peer| ("peer", peer)).chain([("own", tunnel.local)]) {
            ends.insert(address.into(), (at, whose, address));
        }
    }
    for ((_, raw), rule) in raw_rules.iter().zip(rules) {
        let Some(rule) = rule else { continue };
        let (key, nets) = rule.remote();
        let Some(list) = (if key == "to" { &raw.to } else { &raw.from }) else { continue };
        for (text, net) in list.get_ref().iter().zip(nets) {
            for (at, whose, address) in ends.meeting(*net) {
                if problems.is_flooded() {
                    return;
                }
                let (Some(named), Some(Some(tunnel))) = (raw_tunnels.get(at), tunnels.get(at)) else { continue };
                let message = format!("the {whose} address {address} of tunnel `{}` lies inside {net}", tunnel.name);
                let noted = problems.error(&text.span(), message, "this is to be reached through a tunnel");
                let written = if whose == "own" {
                    named.body.local.as_ref().map(At::span)
                } else {
                    named.body.peer.as_ref().map(At::span)
                };
                let noted = match written {
                    Some(written) => noted.also(&written, "and the tunnel itself would need this"),
                    None => noted,
                };
                noted.mend("the tunnel's own datagrams would be sent into the tunnel: name hosts behind the peer");
            }
        }
    }
}
