//! `[[translate]]`: hosts of ours that a peer knows under another address.
//!
//! Rules name the outside address, so that the file says the same as the agreement; whoever writes a rule for the inside
//! address of a host is told. What the peer opens goes to one host, which has to be named where there are several.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::find;
use super::nets::Nets;
use super::rule::{self, Rule};
use super::tunnel::Tunnel;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, printable};
use crate::policy::RuleDirection;

/// More hosts than this behind one address are a network.
const MAX_INSIDE: usize = 256;

/// A translation that holds, with its tunnel by position.
#[derive(Debug)]
pub(in crate::config) struct Translate {
    pub(in crate::config) tunnel: usize,
    pub(in crate::config) inside: Vec<IpNet>,
    pub(in crate::config) outside: IpAddr,
    pub(in crate::config) inbound: Option<IpAddr>,
}

impl Translate {
    fn is_shared(&self) -> bool {
        self.inside.len() > 1 || self.inside.iter().any(|net| net.prefix_len() < net.max_prefix_len())
    }
}

/// Checks all of them, and against the rules.
pub(super) fn check(
    file: &raw::File,
    tunnels: &[Option<Tunnel>],
    rules: &[Option<Rule>],
    problems: &mut Problems,
) -> Vec<Option<Translate>> {
    let all: Vec<_> = file.translations.iter().map(|(_, raw)| check_one(raw, file, problems)).collect();
    if all.is_empty() {
        return all;
    }
    let held: Vec<_> = file.translations.iter().zip(&all).filter_map(|(raw, of)| Some((raw, of.as_ref()?))).collect();
    let rules = Rules::of(file, rules);
    beside_each_other(&held, &rules, problems);
    for ((span, raw), translate) in &held {
        let name = tunnels.get(translate.tunnel).and_then(Option::as_ref).map_or("", |tunnel| &tunnel.name);
        against_rules(&place(raw, span), translate, name, &rules, problems);
    }
    all
}

/// The rules that hold: those of each tunnel, and those whose partners have an address.
struct Rules<'a> {
    all: Vec<Ruled<'a>>,
    of_tunnel: BTreeMap<usize, Vec<usize>>,
    remotes: Nets<usize>,
}

impl<'a> Rules<'a> {
    fn of(file: &'a raw::File, rules: &'a [Option<Rule>]) -> Self {
        let all: Vec<_> = file.rules.iter().zip(rules).filter_map(|(raw, rule)| Some((raw, rule.as_ref()?))).collect();
        let (mut of_tunnel, mut remotes) = (BTreeMap::<_, Vec<_>>::new(), Nets::default());
        for (at, (_, rule)) in all.iter().enumerate() {
            of_tunnel.entry(rule.tunnel).or_default().push(at);
            rule.remote().1.iter().for_each(|net| remotes.insert(*net, at));
        }
        Self { all, of_tunnel, remotes }
    }

    fn of_tunnel(&self, tunnel: usize) -> impl Iterator<Item = Ruled<'a>> {
        self.of_tunnel.get(&tunnel).into_iter().flatten().filter_map(|at| self.all.get(*at).copied())
    }

    /// Those whose partners are among `nets`.
    fn towards(&self, nets: &[IpNet]) -> impl Iterator<Item = Ruled<'a>> {
        let found: BTreeSet<usize> = nets.iter().flat_map(|net| self.remotes.meeting(*net)).collect();
        found.into_iter().filter_map(|at| self.all.get(at).copied())
    }
}

fn place(raw: &raw::Translate, span: &Span) -> Span {
    raw.inside.as_ref().map_or_else(|| span.clone(), At::span)
}

fn check_one(raw: &raw::Translate, file: &raw::File, problems: &mut Problems) -> Option<Translate> {
    let tunnel = raw.tunnel.as_ref().and_then(|name| find("tunnel", name, &file.tunnels, problems));
    let outside = raw.outside.as_ref().and_then(|text| host("outside", text, problems));
    let inside = raw.inside.as_ref().and_then(|list| inside(list, problems));
    let inbound = raw.inbound.as_ref().map(|text| host("inbound", text, problems));
    let (inside_at, outside_at) = (raw.inside.as_ref()?.span(), raw.outside.as_ref()?.span());
    let (inside, outside) = (inside?, outside?);
    if inside.iter().any(|net| net.addr().is_ipv4() != outside.is_ipv4()) {
        problems
            .error(&inside_at, "`inside` and `outside` are of different address families", "these hosts")
            .also(&outside_at, "and their name outside")
            .mend("IPv4 is not translated into IPv6: write one [[translate]] for each family");
        return None;
    }
    if inside.iter().any(|net| net.contains(&outside)) {
        problems
            .error(&inside_at, format!("`inside` holds the outside address {outside} itself"), "these hosts")
            .also(&outside_at, "is one of them")
            .mend("name the addresses that the hosts have themselves; a host that has the outside address needs no translation");
        return None;
    }
    let inbound = match (inbound, &raw.inbound) {
        (Some(Some(host)), Some(text)) if !inside.iter().any(|net| net.contains(&host)) => {
            problems
                .error(
                    &text.span(),
                    format!("`inbound` names {host}, which is not one of the hosts inside"),
                    "this host",
                )
                .also(&inside_at, "these are inside")
                .mend("name one of them");
            return None;
        }
        (Some(host), _) => Some(host?),
        _ => None,
    };
    Some(Translate { tunnel: tunnel?, inside, outside, inbound })
}

fn host(key: &str, text: &At<String>, problems: &mut Problems) -> Option<IpAddr> {
    let parsed = text.get_ref().parse::<IpAddr>().ok().filter(|address| rule::can_be_a_host((*address).into()));
    if parsed.is_none() {
        problems
            .error(
                &text.span(),
                format!("`{key}`: \"{}\" is not the address of a host", printable(text.get_ref())),
                "this value",
            )
            .mend("write one address, such as 192.0.2.10");
    }
    parsed
}

fn inside(list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<Vec<IpNet>> {
    if list.get_ref().len() > MAX_INSIDE {
        problems
            .error(&list.span(), "`inside` is too long", "this list")
            .mend(format!("name a network, such as \"10.1.0.0/24\", in place of more than {MAX_INSIDE} hosts"));
        return None;
    }
    let mut nets: Vec<IpNet> = Vec::new();
    for text in list.get_ref() {
        let word = text.get_ref();
        let parsed = word.parse::<IpAddr>().map(IpNet::from).or_else(|_| word.parse::<IpNet>());
        let message = match parsed {
            Ok(net) if net.trunc() != net => format!("`inside`: {net} is not a network, it has bits beyond its prefix"),
            Ok(net) if !rule::can_be_a_host(net) => format!("`inside`: {net} cannot be a host behind a gateway"),
            Ok(net) if nets.iter().any(|other| other.contains(&net) || net.contains(other)) => {
                format!("`inside` names {net} twice")
            }
            Ok(net) => {
                nets.push(net);
                continue;
            }
            Err(_) => format!("`inside`: \"{}\" is neither an address nor a network", printable(word)),
        };
        problems.error(&text.span(), message, "this value").mend("write the hosts' own addresses, such as 10.1.0.10");
    }
    (nets.len() == list.get_ref().len()).then_some(nets)
}

type Held<'a> = (&'a (Span, raw::Translate), &'a Translate);
type Ruled<'a> = (&'a (Span, raw::Rule), &'a Rule);

/// Whether a packet could have two names, or a name two meanings.
fn beside_each_other(held: &[Held<'_>], rules: &Rules<'_>, problems: &mut Problems) {
    // Behind whom the partners of each translation are.
    let partners = |of: &Translate| -> Vec<IpNet> {
        let own = rules.of_tunnel(of.tunnel).filter(|(_, rule)| of.is_named_by(rule));
        own.flat_map(|(_, rule)| rule.remote().1).copied().collect()
    };
    let remotes: Vec<Vec<IpNet>> = held.iter().map(|(_, of)| partners(of)).collect();
    let mut by_name: BTreeMap<(usize, IpAddr), &raw::Translate> = BTreeMap::new();
    let mut seen = Nets::default();
    for (at, ((span, raw), later)) in held.iter().enumerate() {
        let here = place(raw, span);
        let mut beside: Vec<usize> = later.inside.iter().flat_map(|net| seen.meeting(*net)).collect();
        beside.sort_unstable();
        beside.dedup();
        for before in beside {
            let ((other_span, other_raw), earlier) = held[before];
            let same_partner = || {
                let (ours, theirs) = (&remotes[at], &remotes[before]);
                ours.iter().any(|net| theirs.iter().any(|other| net.contains(other) || other.contains(net)))
            };
            if problems.is_flooded() || (earlier.tunnel != later.tunnel && !same_partner()) {
                continue;
            }
            problems
                .error(&here, "two translations have the same host inside", "this one")
                .also(&place(other_raw, other_span), "and this one")
                .mend("towards one partner a host has one outside address: take it out of one of them");
        }
        let twin = by_name.get(&(later.tunnel, later.outside));
        if let (Some(other), Some(outside)) = (twin, &raw.outside) {
            let noted = problems.error(
                &outside.span(),
                format!("two translations of one tunnel have the outside address {}", later.outside),
                "this one",
            );
            let noted = match &other.outside {
                Some(other) => noted.also(&other.span(), "and this one"),
                None => noted,
            };
            noted.mend("make one of them, with a list of hosts in `inside`");
        }
        by_name.entry((later.tunnel, later.outside)).or_insert(raw);
        for net in &later.inside {
            seen.insert(*net, at);
        }
    }
}

impl Translate {
    /// Whether a rule speaks of the outside address.
    fn is_named_by(&self, rule: &Rule) -> bool {
        rule.tunnel == self.tunnel && rule.local().1.iter().any(|net| net.contains(&self.outside))
    }
}

/// Whether the rules say what they mean.
fn against_rules(here: &Span, of: &Translate, tunnel: &str, rules: &Rules<'_>, problems: &mut Problems) {
    let meets = |net: &&IpNet| of.inside.iter().any(|inside| inside.contains(*net) || net.contains(inside));
    let list = |(span, raw): &(Span, raw::Rule), key: &str| {
        let list = if key == "to" { &raw.to } else { &raw.from };
        list.as_ref().map_or_else(|| span.clone(), At::span)
    };
    let mut named = false;
    for (raw, rule) in rules.of_tunnel(of.tunnel) {
        if problems.is_flooded() {
            return;
        }
        let (key, nets) = rule.local();
        if let Some(net) = nets.iter().find(meets) {
            problems
                .error(
                    &list(raw, key),
                    format!("rule `{}` names {net}, which the peer knows as {}", rule.name, of.outside),
                    "these hosts",
                )
                .also(here, "are translated")
                .mend(format!("name {}: rules name the outside address, as the agreement does", of.outside));
        }
        if !of.is_named_by(rule) {
            continue;
        }
        named = true;
        if rule.direction == RuleDirection::Inbound && of.is_shared() && of.inbound.is_none() {
            problems
                .error(
                    &list(raw, key),
                    format!(
                        "rule `{}` lets the peer connect to {}, and nothing says to which host",
                        rule.name, of.outside
                    ),
                    "this address",
                )
                .also(here, "several hosts are behind it")
                .mend("add `inbound` to that [[translate]]: the one of them that gets what the peer opens");
        }
    }
    for (raw, rule) in rules.towards(&of.inside) {
        let (key, nets) = rule.remote();
        let Some(net) = nets.iter().find(meets) else { continue };
        problems
            .error(
                &list(raw, key),
                format!("{net} is behind the peer in rule `{}`, and inside here", rule.name),
                "these hosts",
            )
            .also(here, "are ours")
            .mend("a host is on one side; what comes from it past the tunnel is dropped");
    }
    if !named {
        problems
            .warning(here, format!("no rule of tunnel `{tunnel}` names {}", of.outside), "these hosts cannot use it")
            .mend("add a [[rule]] for the outside address, or take the [[translate]] out");
    }
}
