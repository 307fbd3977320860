//! The table as a list, read from top to bottom: the slow and obvious oracle that the classifier is held against.

use std::net::IpAddr;

use super::rule::{Rule, Service, TunnelPolicy};
use super::snapshot::Classified;
use crate::event::FlowKey;
use crate::ids::RuleId;

/// An answer of the list, without what only compilation adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This rule allows it.
    Allow(RuleId),
    /// A rule would, but its tunnel is disabled.
    Disabled(RuleId),
    /// A rule allows it the other way round.
    WrongDirection,
    /// No rule allows it.
    NoRule,
    /// Nobody protects its destination.
    NotOurs,
}

impl From<Classified> for Answer {
    fn from(classified: Classified) -> Self {
        match classified {
            Classified::Allow(allowed) => Self::Allow(allowed.rule),
            Classified::Disabled { rule, .. } => Self::Disabled(rule),
            Classified::WrongDirection { .. } => Self::WrongDirection,
            Classified::NoRule { .. } => Self::NoRule,
            Classified::NotOurs => Self::NotOurs,
        }
    }
}

/// Reads the rules from top to bottom.
#[must_use]
pub fn classify(rules: &[Rule], tunnels: &[TunnelPolicy], outbound: bool, key: &FlowKey) -> Answer {
    let (opener, other) = (key.source, key.destination);
    for rule in rules {
        if rule.opener_is_local() == outbound && opens(rule, opener, other, key.destination_port, key) {
            let enabled = tunnels.iter().any(|tunnel| tunnel.id == rule.tunnel && tunnel.enabled);
            return if enabled { Answer::Allow(rule.id) } else { Answer::Disabled(rule.id) };
        }
    }
    for rule in rules.iter().filter(|rule| rule.opener_is_local() != outbound) {
        let ports = [key.source_port, key.destination_port];
        if ports.iter().any(|port| opens(rule, other, opener, *port, key)) {
            return Answer::WrongDirection;
        }
    }
    let protected = rules.iter().any(|rule| rule.remote().iter().any(|network| network.contains(&key.destination)));
    if outbound && !protected { Answer::NotOurs } else { Answer::NoRule }
}

fn opens(rule: &Rule, opener: IpAddr, other: IpAddr, port: u16, key: &FlowKey) -> bool {
    let hosts = rule.from.iter().any(|network| network.contains(&opener))
        && rule.to.iter().any(|network| network.contains(&other));
    let v6 = opener.is_ipv6();
    let service = match rule.service {
        Service::Echo => (key.source_port, key.destination_port) == (if v6 { 128 } else { 8 }, 0),
        _ => rule.effective_ports().contains(&port),
    };
    hosts && service && key.protocol == rule.service.protocol(v6)
}
