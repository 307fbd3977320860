//! What `status` shows: IKE's own view of each tunnel, the workers' counters in sum and each, and what was refused, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::protocol::{Aead, LiveFlow, Status};
use super::provider::Race;
use crate::config::{Loaded, TunnelInfo};
use crate::dataplane::counters::{Counters, Traffic};
use crate::dataplane::drop::{Record, Untold};
use crate::dataplane::offload::Offloads;
use crate::event::{Event, InsideEnd};
use crate::ids::{RuleId, TunnelId};
use crate::ike::endpoint::Endpoint;
use crate::ike::status::TunnelStatus;
use crate::inspect::Live;
use crate::platform::clock;
use crate::time::Instant;
use crate::wire::rewrite::End;

/// Where the data path's counters are read, and what was read of them last.
pub(super) struct Stats {
    started: Instant,
    /// Of each worker.
    counters: Vec<Arc<Counters>>,
    heard: BTreeMap<TunnelId, Instant>,
    untold: Untold,
    race: Race,
}

impl Stats {
    pub(super) fn new(counters: Vec<Arc<Counters>>, race: Race) -> Self {
        Self { started: clock::now(), counters, heard: BTreeMap::new(), untold: Untold::default(), race }
    }

    /// The tunnels whose peer was heard from since the last call.
    pub(super) fn heard_from(&mut self, loaded: &Loaded) -> Vec<TunnelId> {
        let ids = loaded.tunnels.iter().map(|info| info.id);
        let heard = ids.filter_map(|id| Some((id, self.last_inbound(id)?)));
        let news = heard.filter(|(id, at)| self.heard.get(id) != Some(at)).collect::<Vec<_>>();
        self.heard.extend(news.iter().copied());
        news.into_iter().map(|(id, _)| id).collect()
    }

    /// What happened since the last call and was counted, but not told.
    pub(super) fn untold(&mut self) -> Option<Event> {
        let now = self.counters.iter().map(|counters| counters.untold()).fold(Untold::default(), Untold::and);
        let before = std::mem::replace(&mut self.untold, now);
        (now != before).then(|| Event::Unrecorded {
            opened: now.opened.wrapping_sub(before.opened),
            recognised: now.recognised.wrapping_sub(before.recognised),
            closed: now.closed.wrapping_sub(before.closed),
            refused: now.refused.wrapping_sub(before.refused),
        })
    }

    /// The answer to `status`.
    pub(super) fn status(&self, loaded: &Loaded, endpoint: &Endpoint, lost: (u64, u64)) -> Status {
        let mut drops: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, count) in self.counters.iter().flat_map(|counters| counters.drops()) {
            *drops.entry(reason.as_str().to_owned()).or_default() += count;
        }
        if lost.0 > 0 {
            *drops.entry(crate::event::DropReason::QueueFull.as_str().to_owned()).or_default() += lost.0;
        }
        let infos: BTreeMap<TunnelId, &TunnelInfo> = loaded.tunnels.iter().map(|info| (info.id, info)).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: clock::now().since(self.started).as_secs(),
            policy: hex::encode(loaded.policy.digest()),
            approver: loaded.approval.as_ref().map(|approved| approved.approver.clone()),
            ticket: loaded.approval.as_ref().map(|approved| approved.ticket.clone()),
            tun: loaded.gateway.tun.clone(),
            offloads: offloads(least(self.counters.iter().map(|counters| counters.offloads()))),
            workers: self.counters.iter().enumerate().map(|(at, counters)| worker(loaded, at, counters)).collect(),
            aead: Aead { provider: self.race.winner.name().to_owned(), ns: self.race.figures() },
            tunnels: endpoint
                .status()
                .iter()
                .map(|tunnel| self.tunnel(infos.get(&tunnel.id).copied(), tunnel))
                .collect(),
            mappings: self.counters.iter().map(|counters| counters.mappings.get()).sum(),
            rules: loaded
                .policy
                .rules()
                .iter()
                .filter_map(|rule| Some((rule.name.clone(), self.sum(|counters| counters.rule(rule.id))?)))
                .collect(),
            refused: loaded
                .policy
                .rules()
                .iter()
                .map(|rule| (rule.name.clone(), self.reasons(rule.id)))
                .filter(|(_, reasons)| !reasons.is_empty())
                .collect(),
            drops,
            ike_refused: endpoint.refused().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect(),
        }
    }

    /// Why packets of a rule were refused, or of hosts that it is near to.
    fn reasons(&self, rule: RuleId) -> BTreeMap<String, u64> {
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for traffic in self.counters.iter().filter_map(|counters| counters.rule(rule)) {
            for (reason, count) in traffic.reasons.iter() {
                *reasons.entry(reason.as_str().to_owned()).or_default() += count;
            }
        }
        reasons
    }

    /// One tunnel: IKE's view, stamped with its agreement, with its counters beside it.
    fn tunnel(&self, info: Option<&TunnelInfo>, tunnel: &TunnelStatus) -> Value {
        let mut value = json!(tunnel);
        if let Some(info) = info {
            value["agreement"] = info.agreement.clone().into();
            value["kind"] = info.kind.into();
            value["local"] = info.local.to_string().into();
            value["peer"] = info.peer.to_string().into();
            if !info.others.is_empty() {
                value["peers"] = info.peers().map(|peer| peer.to_string()).collect::<Vec<_>>().into();
            }
        }
        if let Some(sum) = self.sum(|counters| counters.tunnel(tunnel.id)) {
            value["counters"] = json!(sum);
            value["last_inbound_s"] = self.last_inbound(tunnel.id).map(|at| clock::now().since(at).as_secs()).into();
        }
        value
    }

    /// What all workers have counted together; `None` if none has.
    fn sum(&self, of: impl Fn(&Counters) -> Option<Arc<Traffic>>) -> Option<BTreeMap<String, u64>> {
        let mut all = self.counters.iter().filter_map(|counters| of(counters)).map(|traffic| amounts(&traffic));
        let first = all.next()?;
        Some(all.fold(first, |mut sum, more| {
            for (name, count) in more {
                *sum.entry(name).or_default() += count;
            }
            sum
        }))
    }

    /// When a tunnel's peer was heard from last, by whichever worker.
    fn last_inbound(&self, tunnel: TunnelId) -> Option<Instant> {
        self.counters.iter().filter_map(|counters| counters.tunnel(tunnel)?.last_inbound()).max()
    }
}

/// What one worker has moved, and what it has passed on to others; and the processor that it is bound to, if it is.
fn worker(loaded: &Loaded, number: usize, counters: &Counters) -> BTreeMap<String, u64> {
    let of_tunnels = || loaded.tunnels.iter().filter_map(|info| counters.tunnel(info.id));
    let processor = loaded.gateway.processors.get(number).map(|processor| ("processor", *processor as u64));
    let counted = [
        ("packets_out", of_tunnels().map(|traffic| traffic.packets_out.get()).sum()),
        ("packets_in", of_tunnels().map(|traffic| traffic.packets_in.get()).sum()),
        ("handed_over", counters.handed_over.get()),
    ];
    counted.into_iter().chain(processor).map(|(name, count)| (name.to_owned(), count)).collect()
}

/// What all workers still use.
fn least(all: impl Iterator<Item = Offloads>) -> Offloads {
    all.fold(Offloads::ALL, |least, this| Offloads {
        tun: least.tun.min(this.tun),
        tun_write: least.tun_write.min(this.tun_write),
        sending: least.sending.min(this.sending),
        raw_sending: least.raw_sending.min(this.raw_sending),
        gro: least.gro && this.gro,
    })
}

fn offloads(in_use: Offloads) -> BTreeMap<String, String> {
    let gro = if in_use.gro { "on" } else { "off" };
    [
        ("tun", in_use.tun.name()),
        ("tun_write", in_use.tun_write.name()),
        ("udp_send", in_use.sending.name()),
        ("esp_send", in_use.raw_sending.name()),
        ("udp_gro", gro),
    ]
    .map(|(what, how)| (what.to_owned(), how.to_owned()))
    .into()
}

fn amounts(traffic: &Traffic) -> BTreeMap<String, u64> {
    [
        ("packets_out", &traffic.packets_out),
        ("bytes_out", &traffic.bytes_out),
        ("packets_in", &traffic.packets_in),
        ("bytes_in", &traffic.bytes_in),
        ("refused", &traffic.refused),
        ("flows", &traffic.flows),
        ("flows_ended", &traffic.ended),
        ("flows_observed", &traffic.observed),
    ]
    .map(|(name, tally)| (name.to_owned(), tally.get()))
    .into()
}

/// A live flow with names in place of numbers.
pub(super) fn live(loaded: &Loaded, live: &Live) -> LiveFlow {
    let tunnel = loaded.tunnels.iter().find(|info| info.id == live.tunnel);
    let rule = loaded.policy.rule(live.rule);
    LiveFlow {
        flow: live.flow,
        tunnel: tunnel.map(|info| info.name.clone()).unwrap_or_default(),
        agreement: tunnel.map(|info| info.agreement.clone()).unwrap_or_default(),
        rule: rule.map(|rule| rule.name.clone()).unwrap_or_default(),
        clause: rule.map(|rule| rule.clause.clone()).unwrap_or_default(),
        state: live.state.to_owned(),
        service: rule.map_or("", |rule| rule.inspection.as_str()).to_owned(),
        recognised: live.recognised,
        expires_in_s: live.expires_in.as_secs(),
        bytes_out: live.bytes_out,
        bytes_in: live.bytes_in,
    }
}

/// A record of the data path with names in place of numbers.
pub(super) fn event(loaded: &Loaded, record: &Record) -> Event {
    let tunnel = |id: TunnelId| loaded.tunnels.iter().find(|info| info.id == id).map(|info| info.name.clone());
    let end = |End { address, port }: End| InsideEnd { address, port };
    let rule = |id: RuleId| loaded.policy.rule(id).map(|rule| (rule.name.clone(), rule.clause.clone()));
    match *record {
        Record::FlowOpened { tunnel: id, rule: by, flow, inside } => {
            let (name, clause) = rule(by).unwrap_or_default();
            let inside = inside.map(end);
            Event::FlowOpened { tunnel: tunnel(id).unwrap_or_default(), rule: name, clause, flow, inside }
        }
        Record::FlowRecognised { tunnel: id, rule: by, flow } => {
            let service = loaded.policy.rule(by).map_or("", |rule| rule.service.as_str());
            let (name, clause) = rule(by).unwrap_or_default();
            Event::FlowRecognised {
                tunnel: tunnel(id).unwrap_or_default(),
                rule: name,
                clause,
                service: service.to_owned(),
                flow,
            }
        }
        Record::FlowClosed(closed) => {
            let (name, clause) = rule(closed.rule).unwrap_or_default();
            Event::FlowClosed {
                tunnel: tunnel(closed.tunnel).unwrap_or_default(),
                rule: name,
                clause,
                flow: closed.flow,
                reason: closed.end.as_str().to_owned(),
                bytes_out: closed.bytes_out,
                bytes_in: closed.bytes_in,
            }
        }
        Record::FlowObserved { tunnel: id, rule: by, reason, flow } => {
            let (name, clause) = rule(by).unwrap_or_default();
            Event::FlowObserved { tunnel: tunnel(id).unwrap_or_default(), rule: name, clause, reason, flow }
        }
        Record::Refused(refused) => Event::Refused {
            tunnel: refused.tunnel.and_then(tunnel),
            rule: refused.rule.and_then(rule).map(|(name, _)| name),
            reason: refused.reason,
            outbound: refused.outbound,
            flow: refused.flow,
            inside: refused.inside.map(end),
            count: refused.count,
        },
    }
}
