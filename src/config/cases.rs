//! The tests of the file against its policy, and the approval against its digest: what a policy has to pass before it is
//! taken over. A policy that fails one of its tests does not load, and whatever is in force stays in force.

use serde::Serialize;

use super::Loaded;
use super::problem::Problems;
use super::validate::{Approval, Case};
use crate::event::FlowKey;
use crate::inspect::{Verdict, probe};
use crate::policy::{Service, Snapshot};

/// Who has approved the policy, and where that is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// Who.
    pub approver: String,
    /// Where.
    pub ticket: String,
    /// Whether the file names the digest of the policy that was approved.
    pub by_digest: bool,
}

/// One `[[test]]` and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The line on which it begins.
    pub line: usize,
    /// The flow in words: the first one that is not as it must be, else the first one.
    pub flow: String,
    /// `allow`, or the reason for which it must be refused.
    pub expect: &'static str,
    /// `allow`, or the reason for which it is.
    pub got: &'static str,
    /// The rule that allows it, or that comes nearest.
    pub rule: Option<String>,
    /// Its clause.
    pub clause: Option<String>,
    /// Whether every flow of the test is as it must be.
    pub passed: bool,
}

/// Runs every test.
pub(super) fn run(cases: &[Case], policy: &Snapshot, text: &str) -> Vec<Tested> {
    cases.iter().map(|case| run_one(case, policy, text)).collect()
}

fn run_one(case: &Case, policy: &Snapshot, text: &str) -> Tested {
    let line = text.get(..case.span.start).map_or(0, |before| before.matches('\n').count()) + 1;
    let ports = if case.ports.is_empty() { &[0][..] } else { &case.ports };
    let mut told = None;
    for (from, to, port) in case
        .from
        .iter()
        .flat_map(|from| case.to.iter().flat_map(move |to| ports.iter().map(move |port| (from, to, port))))
    {
        let flow = question(case.service, *from, *to, *port);
        let tested = judge(case, policy, &flow, line);
        let failed = !tested.passed;
        if failed || told.is_none() {
            told = Some(tested);
        }
        if failed {
            break;
        }
    }
    told.expect("a test that was checked has hosts on both sides")
}

/// The flow that a client of `service` would open.
pub(crate) fn question(service: Service, from: std::net::IpAddr, to: std::net::IpAddr, port: u16) -> FlowKey {
    let v6 = to.is_ipv6();
    let (source_port, destination_port) = match service {
        Service::Echo if v6 => (probe::ECHO_REQUEST_V6, 0),
        Service::Echo => (probe::ECHO_REQUEST, 0),
        _ => (probe::EPHEMERAL, port),
    };
    FlowKey { protocol: service.protocol(v6), source: from, source_port, destination: to, destination_port }
}

fn judge(case: &Case, policy: &Snapshot, flow: &FlowKey, line: usize) -> Tested {
    const ALLOW: &str = "allow";
    let (got, rule) = match probe::ask(policy, flow).0 {
        Verdict::Pass(pass) | Verdict::Split(pass) => (None, Some(pass.rule)),
        // The first packet of a flow waits for nothing.
        Verdict::Waits => (None, None),
        Verdict::Drop { reason, rule, .. } => (Some(reason), rule),
    };
    let rule = rule.and_then(|id| policy.rule(id));
    let port = if flow.destination_port == 0 { String::new() } else { format!(" port {}", flow.destination_port) };
    Tested {
        line,
        flow: format!("{} from {} to {}{port}", case.service.as_str(), flow.source, flow.destination),
        expect: case.expect.map_or(ALLOW, |reason| reason.as_str()),
        got: got.map_or(ALLOW, |reason| reason.as_str()),
        rule: rule.map(|rule| rule.name.clone()),
        clause: rule.map(|rule| rule.clause.clone()),
        passed: got == case.expect,
    }
}

/// A policy whose tests fail is no policy.
pub(super) fn complain(cases: &[Case], tested: &[Tested], problems: &mut Problems) {
    for (case, tested) in cases.iter().zip(tested).filter(|(_, tested)| !tested.passed) {
        let by = tested.rule.as_ref().map(|rule| format!(" (rule `{rule}`)")).unwrap_or_default();
        let becomes = if tested.got == "allow" {
            format!("{} is allowed{by}", tested.flow)
        } else {
            format!("{} is refused, {}{by}", tested.flow, tested.got)
        };
        problems
            .error(
                &case.expect_span,
                format!("a test of this file fails: {becomes}"),
                format!("expected {}", tested.expect),
            )
            .mend("change the rules, or the test if it is the agreement that has changed");
    }
}

/// Holds the approval against the policy: one that names another policy's digest approves nothing.
pub(super) fn approve(
    approval: Option<Approval>,
    policy: &Snapshot,
    previous: Option<&Loaded>,
    problems: &mut Problems,
) -> Option<Approved> {
    let approval = approval?;
    let digest = hex::encode(policy.digest());
    if let Some((span, approved)) = &approval.policy
        && !digest.starts_with(approved)
    {
        problems
            .error(span, "this policy is not the one that was approved", format!("the file's policy is {digest}"))
            .mend(format!(
                "look at the difference with `portcullis policy diff`, have it approved, then write policy = \"{}\"",
                digest.get(..16).unwrap_or(&digest)
            ));
    }
    let approved =
        Approved { approver: approval.approver, ticket: approval.ticket, by_digest: approval.policy.is_some() };
    let stale = previous.is_some_and(|previous| {
        previous.policy.digest() != policy.digest() && previous.approval.as_ref() == Some(&approved)
    });
    if stale && !approved.by_digest {
        problems
            .warning(
                &approval.span,
                "the policy has changed and its approval has not",
                "this approval was for the policy before",
            )
            .mend("name who has approved the change, and where that is recorded");
    }
    Some(approved)
}
