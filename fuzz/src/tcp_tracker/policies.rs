//! The rules, and the policies that come and go.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::sync::LazyLock;

use portcullis::event::DropReason;
use portcullis::ids::RuleId;
use portcullis::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};

use super::super::seeds::packets::host;
use super::{OBSERVED, TUNNEL};

/// The policies: all rules; without those of port 80 and of UDP; port 80 inspected and port 22 not; the tunnel closed; and opened again.
pub(super) static POLICIES: LazyLock<[Snapshot; 5]> = LazyLock::new(|| {
    let tunnel = TunnelPolicy { id: TUNNEL, name: "t".into(), selectors: SelectorMode::Host, lanes: 1, enabled: true };
    let compile =
        |rules, before| Snapshot::compile(rules, vec![tunnel.clone()], before).expect("rules without overlap");
    let all = compile(rules(), None);
    let fewer = compile(rules().into_iter().filter(|rule| ![0, 4].contains(&rule.id.0)).collect(), Some(&all));
    let mut others = rules();
    others[0].inspection = Inspection::of(Service::Tls);
    others[2].inspection = Inspection::Uninspected;
    let others = compile(others, Some(&fewer));
    let closed = compile(rules(), Some(&others)).gated(&BTreeMap::from([(TUNNEL, DropReason::AgreementSuspended)]));
    let opened_again = closed.gated(&BTreeMap::new());
    [all, fewer, others, closed, opened_again]
});

/// The last of them: nothing that is older than the closing before it goes on.
pub(super) const OPENED_AGAIN: usize = 4;

fn rules() -> Vec<Rule> {
    let rule = |id, service, ports: &[u16], direction| {
        let [ours, theirs] = [true, false].map(|ours| vec![host(ours, false).into(), host(ours, true).into()]);
        let (from, to) = if direction == RuleDirection::Outbound { (ours, theirs) } else { (theirs, ours) };
        Rule {
            id: RuleId(id),
            name: format!("rule {id}"),
            tunnel: TUNNEL,
            agreement: "lab".into(),
            clause: "1".into(),
            purposes: Vec::new(),
            from,
            to,
            service,
            ports: ports.to_vec(),
            direction,
            inspection: Inspection::of(service),
            mode: if ports == [OBSERVED] { Mode::Observe } else { Mode::Enforce },
        }
    };
    vec![
        rule(0, Service::Tcp, &[80], RuleDirection::Outbound),
        rule(1, Service::Tcp, &[8080], RuleDirection::Inbound),
        rule(2, Service::Sftp, &[22], RuleDirection::Outbound),
        rule(3, Service::Sftp, &[OBSERVED], RuleDirection::Outbound),
        rule(4, Service::Udp, &[53], RuleDirection::Outbound),
        rule(5, Service::Echo, &[], RuleDirection::Outbound),
    ]
}

/// What is heard in the flows of a rule.
pub(super) fn kind(rule: &Rule) -> Option<Discriminant<Inspection>> {
    (!rule.inspection.is_uninspected()).then(|| discriminant(&rule.inspection))
}
