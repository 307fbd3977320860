//! What the file means: every value checked, every problem noted with its place, nothing stopped at the first.
//!
//! A value that was complained of becomes `None`, so that what depends on it is not complained of again.

mod agreement;
mod auth;
mod case;
mod certificate;
mod document;
mod eap;
mod gateway;
mod inspection;
mod lifetime;
mod nets;
mod overlap;
mod peering;
mod ppk;
mod rule;
mod translate;
mod tunnel;

use std::collections::BTreeMap;

use super::problem::Problems;
use super::raw::{self, At, Named, nearest, printable};
use super::secrets::Sources;
use super::{Agreement, GatewaySettings};

pub(super) use case::{Approval, Case};
pub(super) use rule::Rule;
pub(super) use translate::Translate;
pub(super) use tunnel::Tunnel;

/// A file that holds.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) gateway: GatewaySettings,
    pub(super) agreements: Vec<Agreement>,
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) rules: Vec<Rule>,
    pub(super) translations: Vec<Translate>,
    pub(super) cases: Vec<Case>,
    pub(super) approval: Option<Approval>,
}

/// Checks the file. `None` if anything was wrong; `problems` knows what.
pub(super) fn check(file: &raw::File, sources: Sources, problems: &mut Problems) -> Option<Checked> {
    let gateway = gateway::check(&file.gateway, problems);
    let agreements: Vec<_> = file.agreements.iter().map(|named| agreement::check(named, problems)).collect();
    let tunnels: Vec<_> = file
        .tunnels
        .iter()
        .map(|named| tunnel::check(named, &file.agreements, &agreements, sources, problems))
        .collect();
    peering::check_together(&file.tunnels, &tunnels, problems);
    let rules: Vec<_> =
        file.rules.iter().map(|(span, rule)| rule::check(span, rule, &file.tunnels, &tunnels, problems)).collect();
    unique("rule", file.rules.iter().filter_map(|(_, rule)| rule.name.as_ref()), problems);
    overlap::check(&file.rules, &rules, problems);
    document::check(&file.rules, &rules, &file.agreements, &tunnels, problems);
    rule::check_against_underlay(&file.rules, &rules, &file.tunnels, &tunnels, problems);
    let translations = translate::check(file, &tunnels, &rules, problems);
    for named in &file.tunnels {
        let name = named.name.get_ref();
        if !file.rules.iter().any(|(_, rule)| rule.tunnel.as_ref().is_some_and(|tunnel| tunnel.get_ref() == name)) {
            problems
                .warning(&named.name.span(), format!("tunnel `{name}` has no rule"), "nothing may pass through it")
                .mend("add a [[rule]] that names it, or take the tunnel out");
        }
    }
    let cases = case::check(&file.cases, problems);
    let approval = case::check_approval(file.approval.as_ref(), problems);
    if !problems.is_clean() {
        return None;
    }
    Some(Checked {
        gateway: gateway?,
        agreements: agreements.into_iter().collect::<Option<_>>()?,
        tunnels: tunnels.into_iter().collect::<Option<_>>()?,
        rules: rules.into_iter().collect::<Option<_>>()?,
        translations: translations.into_iter().collect::<Option<_>>()?,
        cases,
        approval,
    })
}

/// A name that status lines, events and the command line can carry.
fn name_holds(what: &str, name: &At<String>, problems: &mut Problems) -> bool {
    let text = name.get_ref();
    let holds = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !holds {
        problems
            .error(&name.span(), format!("`{}` cannot be the name of {what}", printable(text)), "this name")
            .mend("use up to 32 letters, digits, `-`, `_` and `.`, and begin with a letter or digit");
    }
    holds
}

/// Complains of every name that stands there twice.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a At<String>>, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, &At<String>> = BTreeMap::new();
    for name in names {
        if problems.is_flooded() {
            return;
        }
        if let Some(first) = seen.get(name.get_ref().as_str()) {
            problems
                .error(
                    &name.span(),
                    format!("two of the {what}s are called `{}`", printable(name.get_ref())),
                    "this one",
                )
                .also(&first.span(), "and this one")
                .mend("give one of them another name: counters and events are kept by name");
        } else {
            seen.insert(name.get_ref(), name);
        }
    }
}

/// Looks a name up; complains, with a suggestion, if there is none such.
fn find<T>(what: &str, name: &At<String>, all: &[Named<T>], problems: &mut Problems) -> Option<usize> {
    let position = all.iter().position(|named| named.name.get_ref() == name.get_ref());
    if position.is_none() {
        let noted = problems.error(
            &name.span(),
            format!("there is no {what} `{}`", printable(name.get_ref())),
            format!("no [{what}.{}] in this file", printable(name.get_ref())),
        );
        match nearest(name.get_ref(), all.iter().map(|named| named.name.get_ref().as_str())) {
            Some(near) => noted.mend(format!("did you mean `{near}`?")),
            None => noted.mend(format!("add a section [{what}.{}]", printable(name.get_ref()))),
        }
    }
    position
}

/// One of a few words; complains, with a suggestion, of any other.
fn choice<T: Copy>(key: &str, value: &At<String>, words: &[(&'static str, T)], problems: &mut Problems) -> Option<T> {
    let found = words.iter().find(|(word, _)| word == value.get_ref()).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let noted = problems.error(
            &value.span(),
            format!("`{key}` cannot be \"{}\"", printable(value.get_ref())),
            "not one of its words",
        );
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match nearest(value.get_ref(), words.iter().map(|(word, _)| *word)) {
            Some(near) => noted.mend(format!("did you mean \"{near}\"? It can be {}", all.join(", "))),
            None => noted.mend(format!("it can be {}", all.join(", "))),
        }
    }
    found
}
