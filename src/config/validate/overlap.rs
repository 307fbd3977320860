//! The rules beside each other: no flow may be allowed by two of them, and no host may be on both sides.
//!
//! A flow that two rules allow would stand under two clauses, and an order of the rules would carry a meaning.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::nets::Nets;
use super::rule::Rule;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At};
use crate::policy::Service;

/// Checks every rule against those before it that name the same hosts.
pub(super) fn check(raw: &[(Span, raw::Rule)], rules: &[Option<Rule>], problems: &mut Problems) {
    let all: Vec<_> = raw.iter().zip(rules).filter_map(|(raw, rule)| Some((raw, rule.as_ref()?))).collect();
    let (mut remotes, mut locals) = (Nets::default(), Nets::default());
    for (i, (later_raw, later)) in all.iter().enumerate() {
        let near = |nets: &Nets<usize>, side: &[IpNet]| -> BTreeSet<usize> {
            side.iter().flat_map(|net| nets.meeting(*net)).collect()
        };
        let (remote, local) = (later.remote().1, later.local().1);
        let mut beside = near(&remotes, remote);
        beside.append(&mut near(&remotes, local));
        beside.append(&mut near(&locals, remote));
        for (earlier_raw, earlier) in beside.into_iter().filter_map(|at| all.get(at)) {
            if problems.is_flooded() {
                return;
            }
            let (here, there) = (place(later_raw), place(earlier_raw));
            if let Some(flow) = shared(earlier, later) {
                problems
                    .error(&here, format!("rules `{}` and `{}` overlap: {flow}", earlier.name, later.name), "this rule")
                    .also(&there, "allows it too")
                    .mend("take what they share out of one of them: each flow stands under one clause");
            }
            for (a, b) in [(*earlier, *later), (*later, *earlier)] {
                if let Some(net) = meet(a.remote().1, b.local().1) {
                    problems
                        .error(
                            &here,
                            format!("{net} is behind the peer in rule `{}` and behind us in rule `{}`", a.name, b.name),
                            "this rule",
                        )
                        .also(&there, "and this one")
                        .mend("a host is on one side; `direction` says on which side `from` is");
                }
            }
        }
        for net in remote {
            remotes.insert(*net, i);
        }
        for net in local {
            locals.insert(*net, i);
        }
    }
}

fn place((span, rule): &(Span, raw::Rule)) -> Span {
    rule.name.as_ref().map_or_else(|| span.clone(), At::span)
}

/// A flow that both rules allow, in words.
fn shared(a: &Rule, b: &Rule) -> Option<String> {
    if a.direction != b.direction {
        return None;
    }
    let (from, to) = (meet(&a.from, &b.from)?, meet(&a.to, &b.to)?);
    let v6 = from.addr().is_ipv6();
    if a.service.protocol(v6) != b.service.protocol(v6) {
        return None;
    }
    if a.service == Service::Echo {
        return Some(format!("echo from {from} to {to}"));
    }
    let ports = ports(b);
    let port = ports_of(a).find(|port| ports.contains(port))?;
    Some(format!("{from} to port {port} of {to}"))
}

fn ports(rule: &Rule) -> Vec<u16> {
    ports_of(rule).collect()
}

fn ports_of(rule: &Rule) -> impl Iterator<Item = u16> {
    let ports = if rule.ports.is_empty() { rule.service.default_ports() } else { &rule.ports };
    ports.iter().copied()
}

/// What two lists of hosts have in common: the smaller of the first two networks that meet.
fn meet(a: &[IpNet], b: &[IpNet]) -> Option<IpNet> {
    a.iter().find_map(|x| {
        b.iter().find_map(|y| match (x.contains(y), y.contains(x)) {
            (true, _) => Some(*y),
            (_, true) => Some(*x),
            _ => None,
        })
    })
}
