//! What is configured under each agreement, as facts by part: from them `agreement` sees that something is not as it was
//! agreed. Keys are no part of an agreement: they may be rotated.

use super::{Agreement, Loaded, identity};
use crate::agreement::{Baseline, Part, Subject};

/// The agreements, each with its parts.
pub(super) fn subjects(loaded: &Loaded) -> Vec<Subject> {
    let subject =
        |record: &Agreement| Subject { record: record.clone(), baseline: Baseline::of(facts(loaded, record)) };
    loaded.agreements.iter().map(subject).collect()
}

fn facts(loaded: &Loaded, record: &Agreement) -> Vec<(Part, String)> {
    let mut facts = Vec::new();
    let mut fact = |part, text: String| facts.push((part, text));
    for (info, tunnel) in loaded.tunnels.iter().zip(&loaded.ike.tunnels) {
        if info.agreement != record.name {
            continue;
        }
        for peer in info.peers() {
            fact(Part::Peer, peer.to_string());
        }
        fact(Part::Peer, identity::text(&tunnel.peer_id));
        fact(Part::EndPoint, info.local.to_string());
        fact(Part::EndPoint, identity::text(&tunnel.local_id));
        for suite in &tunnel.ike {
            fact(Part::Cipher, format!("ike {suite}"));
        }
        for suite in &tunnel.esp {
            fact(Part::Cipher, format!("esp {suite}"));
        }
        fact(Part::Cipher, format!("we by {}, the peer by {}", tunnel.local_auth.word(), tunnel.peer_auth.word()));
    }
    for rule in loaded.policy.rules().iter().filter(|rule| rule.agreement == record.name) {
        for (word, networks) in [("from", &rule.from), ("to", &rule.to)] {
            for network in networks {
                fact(Part::EndPoint, format!("{word} {network}"));
            }
        }
        let ports: Vec<_> = rule.effective_ports().iter().map(ToString::to_string).collect();
        let (service, direction) = (rule.service.as_str(), rule.direction.as_str());
        let inspected =
            if rule.inspection.is_uninspected() { "uninspected".to_owned() } else { rule.inspection.to_string() };
        fact(Part::Port, format!("{service} {direction} {} {} {inspected}", ports.join(" "), rule.mode.as_str()));
    }
    for (role, contact) in &record.contacts {
        fact(Part::Contact, format!("{} {contact}", role.as_str()));
    }
    facts
}
