//! `[[test]]`: a flow in the agreement's words, and what must become of it; `[approval]`: who has approved the policy.

use std::net::IpAddr;

use super::choice;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, bounded, nearest, printable};
use crate::event::DropReason;
use crate::policy::Service;

/// More hosts than this in one test are a mistake; each is asked about with each of the other side.
const MAX_HOSTS: usize = 8;
/// Questions of all tests together: each is a packet through a flow table, and a reload waits for them.
const MAX_QUESTIONS: usize = 1 << 16;
/// The shortest beginning of a digest that names one policy.
const SHORT_DIGEST: usize = 16;

/// A test that can be run.
#[derive(Clone, Debug)]
pub(in crate::config) struct Case {
    pub(in crate::config) span: Span,
    pub(in crate::config) expect_span: Span,
    pub(in crate::config) from: Vec<IpAddr>,
    pub(in crate::config) to: Vec<IpAddr>,
    pub(in crate::config) service: Service,
    /// Empty for echo.
    pub(in crate::config) ports: Vec<u16>,
    /// None: it must be allowed.
    pub(in crate::config) expect: Option<DropReason>,
}

/// An approval with the places of what is held against the policy.
#[derive(Clone, Debug)]
pub(in crate::config) struct Approval {
    pub(in crate::config) approver: String,
    pub(in crate::config) ticket: String,
    pub(in crate::config) policy: Option<(Span, String)>,
    pub(in crate::config) span: Span,
}

/// Checks every test by itself.
pub(super) fn check(raw: &[(Span, raw::Case)], problems: &mut Problems) -> Vec<Case> {
    let cases: Vec<Case> = raw.iter().filter_map(|(span, case)| check_one(span, case, problems)).collect();
    let mut questions = 0_usize;
    for case in &cases {
        questions += case.from.len() * case.to.len() * case.ports.len().max(1);
        if questions > MAX_QUESTIONS {
            problems
                .error(&case.span, "there are too many tests", "from here on")
                .mend(format!("all of them together ask about up to {MAX_QUESTIONS} flows"));
            break;
        }
    }
    cases
}

fn check_one(span: &Span, raw: &raw::Case, problems: &mut Problems) -> Option<Case> {
    let from = raw.from.as_ref().and_then(|list| hosts("from", list, problems));
    let to = raw.to.as_ref().and_then(|list| hosts("to", list, problems));
    let asked = asked(span, raw, problems);
    let expect = raw.expect.as_ref().and_then(|word| expect(word, problems));
    let (from, to, (service, ports)) = (from?, to?, asked?);
    if from.iter().chain(&to).any(|host| host.is_ipv4() != from.first().is_some_and(IpAddr::is_ipv4)) {
        let place = raw.to.as_ref().map_or_else(|| span.clone(), At::span);
        problems
            .error(&place, "`from` and `to` mix IPv4 and IPv6", "these hosts")
            .mend("write one test for each address family");
        return None;
    }
    let expect_span = raw.expect.as_ref().map_or_else(|| span.clone(), At::span);
    Some(Case { span: span.clone(), expect_span, from, to, service, ports, expect: expect? })
}

fn hosts(key: &str, list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<Vec<IpAddr>> {
    if list.get_ref().len() > MAX_HOSTS {
        problems
            .error(&list.span(), format!("`{key}` is too long"), "this list")
            .mend(format!("a test takes up to {MAX_HOSTS} hosts; write several tests"));
        return None;
    }
    let mut hosts = Vec::new();
    for text in list.get_ref() {
        match text.get_ref().parse() {
            Ok(host) => hosts.push(host),
            Err(_) => problems
                .error(
                    &text.span(),
                    format!("`{key}`: \"{}\" is not an address", printable(text.get_ref())),
                    "this value",
                )
                .mend("write the address of a host, such as 192.0.2.10; the port goes into `port`"),
        }
    }
    (hosts.len() == list.get_ref().len()).then_some(hosts)
}

/// Which service, on which ports.
fn asked(span: &Span, raw: &raw::Case, problems: &mut Problems) -> Option<(Service, Vec<u16>)> {
    let port = match &raw.port {
        Some(port) => Some(bounded::<u16>("port", port, 1..=65_535, problems)?),
        None => None,
    };
    let service = match &raw.service {
        Some(word) => {
            let all =
                [Service::Mq, Service::Sftp, Service::Smtp, Service::Tls, Service::Tcp, Service::Udp, Service::Echo];
            choice("service", word, &all.map(|service| (service.as_str(), service)), problems)?
        }
        None => Service::Tcp,
    };
    match (service, port, &raw.port) {
        (Service::Echo, Some(_), Some(place)) => {
            problems.error(&place.span(), "echo has no port", "this port").mend("take `port` out");
            None
        }
        (Service::Echo, ..) => Some((service, Vec::new())),
        (_, Some(port), _) => Some((service, vec![port])),
        (Service::Tcp | Service::Udp, None, _) => {
            let place = raw.service.as_ref().map_or_else(|| span.clone(), At::span);
            problems
                .error(&place, "[[test]] names no port", "`service` or `port` is missing here")
                .mend("add `service`, such as \"mq\", or `port`, such as 23, or both");
            None
        }
        (_, None, _) => Some((service, service.default_ports().to_vec())),
    }
}

/// `allow`, or a reason.
#[expect(clippy::option_option, reason = "nothing, allowed, or refused with a reason")]
fn expect(word: &At<String>, problems: &mut Problems) -> Option<Option<DropReason>> {
    let text = word.get_ref();
    if text == "allow" {
        return Some(None);
    }
    if let Some(reason) = DropReason::ALL.iter().find(|reason| reason.as_str() == text) {
        return Some(Some(*reason));
    }
    let words = std::iter::once("allow").chain(DropReason::ALL.iter().map(|reason| reason.as_str()));
    let noted = problems.error(
        &word.span(),
        format!("`expect` cannot be \"{}\"", printable(text)),
        "neither \"allow\" nor a reason",
    );
    match nearest(text, words) {
        Some(near) => noted.mend(format!("did you mean \"{near}\"? docs/POLICY.md lists the reasons")),
        None => noted.mend("write \"allow\", or a reason such as \"no-rule\"; docs/POLICY.md lists them"),
    }
    None
}

/// Checks who has approved what.
pub(super) fn check_approval(raw: Option<&(Span, raw::Approval)>, problems: &mut Problems) -> Option<Approval> {
    let (span, raw) = raw?;
    let policy = match &raw.policy {
        Some(digest) => {
            let hexadecimal = digest.get_ref().bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hexadecimal || !(SHORT_DIGEST..=64).contains(&digest.get_ref().len()) {
                problems
                    .error(&digest.span(), "`policy` is no digest of a policy", "this value")
                    .mend("write what `portcullis policy diff` shows: 16 to 64 hexadecimal digits");
                return None;
            }
            Some((digest.span(), digest.get_ref().to_lowercase()))
        }
        None => None,
    };
    Some(Approval {
        approver: raw.approver.as_ref()?.get_ref().clone(),
        ticket: raw.ticket.as_ref()?.get_ref().clone(),
        policy,
        span: span.clone(),
    })
}
