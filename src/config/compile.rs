//! From a checked file to what the other rooms take: the endpoint's tunnels, the policy, the names for people.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::validate::{Checked, Rule, Translate, Tunnel};
use super::{Loaded, TunnelInfo};
use crate::dataplane::steer::Steering;
use crate::ids::{RuleId, TunnelId};
use crate::ike::config::{ChildConfig, Config, Start, TunnelConfig};
use crate::policy::{self, CompileError, Snapshot, Translation, TunnelPolicy};

/// Compiles. What keeps its name keeps its number in `previous`.
pub(super) fn compile(path: &Path, checked: Checked, previous: Option<&Loaded>) -> Result<Loaded, CompileError> {
    let old_tunnels = previous.map(|loaded| loaded.tunnels.iter().map(|tunnel| (tunnel.name.as_str(), tunnel.id.0)));
    let tunnel_ids = number(checked.tunnels.iter().map(|tunnel| tunnel.name.as_str()), old_tunnels);
    let old_rules = previous.map(|loaded| loaded.policy.rules().iter().map(|rule| (rule.name.as_str(), rule.id.0)));
    let rule_ids = number(checked.rules.iter().map(|rule| rule.name.as_str()), old_rules);

    let policies = checked
        .tunnels
        .iter()
        .zip(&tunnel_ids)
        .map(|(tunnel, id)| TunnelPolicy {
            id: TunnelId(*id),
            name: tunnel.name.clone(),
            selectors: tunnel.selectors,
            lanes: tunnel.lanes,
            enabled: tunnel.start != Start::Disabled,
        })
        .collect();
    let rules = checked
        .rules
        .into_iter()
        .zip(rule_ids)
        .filter_map(|(rule, id)| {
            let (tunnel, tunnel_id) = (checked.tunnels.get(rule.tunnel)?, tunnel_ids.get(rule.tunnel)?);
            Some(compile_rule(rule, RuleId(id), tunnel, TunnelId(*tunnel_id)))
        })
        .collect();
    let translations = checked
        .translations
        .into_iter()
        .filter_map(|Translate { tunnel, inside, outside, inbound }| {
            Some(Translation { tunnel: TunnelId(*tunnel_ids.get(tunnel)?), inside, outside, inbound })
        })
        .collect();
    let policy = Snapshot::compile(rules, policies, previous.map(|loaded| &*loaded.policy))?.translating(translations);

    let steering = Steering::of(checked.gateway.workers);
    let mut infos = Vec::new();
    let mut configs = Vec::new();
    for (tunnel, id) in checked.tunnels.into_iter().zip(tunnel_ids) {
        let id = TunnelId(id);
        infos.push(TunnelInfo {
            id,
            name: tunnel.name.clone(),
            agreement: tunnel.agreement.clone(),
            kind: if tunnel.lab { "lab" } else { "agreement" },
            local: tunnel.local,
            peer: tunnel.peer,
            others: tunnel.peering.others.clone(),
            psk_bits: tunnel.auth.psk_bits,
        });
        let children = policy
            .shapes(id)
            .iter()
            .map(|shape| ChildConfig {
                lane: shape.lane,
                spis: steering.class(id, shape.lane),
                ..ChildConfig::new(shape.id, shape.local, shape.remote)
            })
            .collect();
        configs.push(Arc::new(compile_tunnel(tunnel, id, children)));
    }
    let puzzles = if checked.gateway.puzzles { Config::PUZZLES } else { None };
    Ok(Loaded {
        path: path.to_owned(),
        gateway: checked.gateway,
        agreements: checked.agreements,
        tunnels: infos,
        ike: Arc::new(Config { tunnels: configs, cookie_threshold: None, puzzles }),
        policy: Arc::new(policy),
        tests: Vec::new(),
        approval: None,
        warnings: Vec::new(),
        dated: Vec::new(),
    })
}

/// A number for each name: that of `old` where it had one, else the lowest that is free.
fn number<'a>(names: impl Iterator<Item = &'a str>, old: Option<impl Iterator<Item = (&'a str, u16)>>) -> Vec<u16> {
    let old: BTreeMap<&str, u16> = old.into_iter().flatten().collect();
    // A number that was in use is not given to another name in the same step, so that counters never change hands.
    let used: BTreeSet<u16> = old.values().copied().collect();
    let mut free = (0..=u16::MAX).filter(|id| !used.contains(id));
    names
        .map(|name| match old.get(name) {
            Some(id) => *id,
            None => free.next().expect("a file of 65,536 tunnels or rules is longer than `MAX_FILE` allows"),
        })
        .collect()
}

fn compile_rule(rule: Rule, id: RuleId, tunnel: &Tunnel, tunnel_id: TunnelId) -> policy::Rule {
    policy::Rule {
        id,
        name: rule.name,
        tunnel: tunnel_id,
        agreement: tunnel.agreement.clone(),
        clause: rule.clause,
        purposes: rule.purposes,
        from: rule.from,
        to: rule.to,
        service: rule.service,
        ports: rule.ports,
        direction: rule.direction,
        inspection: rule.inspection,
        mode: rule.mode,
    }
}

fn compile_tunnel(tunnel: Tunnel, id: TunnelId, children: Vec<ChildConfig>) -> TunnelConfig {
    // RFC 4303 §3.3.3: a sequence number never wraps. Where ESN is offered, what is negotiated decides, and the data path
    // holds an SA without ESN to 2^32 - 1 packets by itself.
    let most_packets = if tunnel.esp.iter().any(|suite| suite.esn) { u64::MAX } else { u32::MAX.into() };
    TunnelConfig {
        id,
        name: tunnel.name,
        local: tunnel.local,
        peer: tunnel.peer,
        peering: tunnel.peering,
        local_id: tunnel.local_id,
        peer_id: tunnel.peer_id,
        local_auth: tunnel.auth.local,
        peer_auth: tunnel.auth.peer,
        lifetime: tunnel.lifetimes.child.capped(most_packets),
        ike: tunnel.ike,
        esp: tunnel.esp,
        lab: tunnel.lab,
        children,
        start: tunnel.start,
        force_encapsulation: tunnel.force_encapsulation,
        ppk: tunnel.ppk,
        fragmentation: tunnel.fragmentation,
        replay_window: tunnel.replay_window,
        liveness: tunnel.liveness,
        ike_lifetime: tunnel.lifetimes.ike,
        jitter: tunnel.lifetimes.jitter,
    }
}
