//! What the operator asks of a running gateway, and the file that is loaded again.

use std::net::IpAddr;

use super::RunError;
use super::admin_socket::Call;
use super::agreements;
use super::control_loop::ControlLoop;
use super::host::link_mtus;
use super::protocol::{Answer, InForce, Request};
use super::stats;
use super::worker::Command;
use crate::config::{self, Loaded};
use crate::event::Event;
use crate::ids::TunnelId;
use crate::ike::api::Input;
use crate::ike::config::Start;
use crate::platform::clock;
use crate::policy::difference;

/// Rules that an event about a changed policy names, of each kind; `policy diff` names them all.
const MOST_NAMED: usize = 64;
/// Live flows that one answer holds.
const MOST_FLOWS: usize = 256;
impl ControlLoop {
    /// What the operator asks for.
    pub(super) fn answer(&mut self, call: &Call) -> Result<Answer, RunError> {
        let done = Ok(Answer::Done { ok: true });
        match &call.request {
            Request::Status {} => {
                self.count_missed();
                let mut status = self.stats.status(&self.loaded, &self.endpoint, self.crew.lost());
                self.stamp(&mut status);
                Ok(Answer::Status(Box::new(status)))
            }
            Request::Agreements { name } => {
                let agreements = self.agreements.ledger.reports(name.as_deref());
                match name {
                    Some(name) if agreements.is_empty() => {
                        Ok(Answer::Refused { error: format!("no agreement is called `{name}`") })
                    }
                    _ => Ok(Answer::Agreements { agreements }),
                }
            }
            Request::Agreement { name, wish } => self.obey(name, wish, call.caller),
            Request::Up { tunnel } => self.about(tunnel, |this, id| {
                let mut tunnels = this.loaded.ike.tunnels.iter();
                if tunnels.any(|tunnel| tunnel.id == id && tunnel.start == Start::Disabled) {
                    return Err(format!("the file disables tunnel `{tunnel}`: change its `start`, then reload"));
                }
                if let Some(reason) = this.loaded.policy.gate(id) {
                    return Err(format!("tunnel `{tunnel}` stays down: {}", reason.sentence()));
                }
                Ok(Input::Up(id))
            }),
            Request::Down { tunnel } => self.about(tunnel, |_, id| Ok(Input::Down(id))),
            Request::Rekey { tunnel, children, ike, pfs } => self.about(tunnel, |this, id| {
                this.may_rekey(id, *pfs)?;
                Ok(Input::Rekey { tunnel: id, children: *children, ike: *ike })
            }),
            Request::Explain { tunnel } => {
                let info = self.loaded.tunnels.iter().find(|info| info.name == *tunnel);
                match info.and_then(|info| self.endpoint.explain(info.id)) {
                    Some(explained) => Ok(Answer::Explained(Box::new(explained))),
                    None => Ok(Answer::Refused { error: self.unknown(tunnel) }),
                }
            }
            Request::Flows { from, to, port } => self.flows(*from, *to, *port),
            Request::Policy {} => Ok(Answer::Policy(Box::new(self.in_force()))),
            Request::Reload {} => match self.reload() {
                Ok(()) => done,
                Err(error) => Ok(Answer::Refused { error }),
            },
            Request::Monitor {} => Ok(Answer::Refused { error: "monitor is answered by its connection".into() }),
        }
    }

    /// Something that the operator wants of one tunnel.
    fn about(
        &mut self,
        name: &str,
        wish: impl FnOnce(&Self, TunnelId) -> Result<Input<'static>, String>,
    ) -> Result<Answer, RunError> {
        let Some(id) = self.loaded.tunnels.iter().find(|info| info.name == name).map(|info| info.id) else {
            return Ok(Answer::Refused { error: self.unknown(name) });
        };
        match wish(self, id) {
            Ok(input) => {
                self.input(input)?;
                Ok(Answer::Done { ok: true })
            }
            Err(error) => Ok(Answer::Refused { error }),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.loaded.tunnels.iter().map(|info| info.name.as_str()).collect();
        format!("no tunnel is called `{name}`; there is {}", names.join(", "))
    }

    /// Whether a tunnel has anything to rekey.
    fn may_rekey(&self, id: TunnelId, pfs: bool) -> Result<(), String> {
        let status = self.endpoint.status().into_iter().find(|of| of.id == id);
        let Some(status) = status.filter(|of| of.state == "up") else {
            return Err("the tunnel is not up: there are no keys to renew".to_owned());
        };
        let of_config = self.loaded.ike.tunnels.iter().find(|of| of.id == id);
        if pfs && !of_config.is_some_and(|of| of.esp.iter().any(|suite| suite.group.is_some())) {
            let name = status.name;
            return Err(format!("no suite in `esp` of tunnel {name} has a group: there is no PFS to verify"));
        }
        Ok(())
    }

    /// Loads the file again. An invalid file, or a host that refuses the change, leaves everything as it is.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let attempt = config::reload(&self.file, &self.loaded).map_err(|error| error.to_string()).and_then(|next| {
            if next.gateway == self.loaded.gateway {
                Ok(next)
            } else {
                Err("[gateway] cannot change while the gateway runs: restart it".to_owned())
            }
        });
        let attempt = attempt.and_then(|next| {
            // What becomes protected is protected before the policy lets anything through.
            self.host.protect(&next).map_err(|error| error.to_string())?;
            Ok(next)
        });
        let mut next = match attempt {
            Ok(next) => next,
            Err(reason) => {
                self.journal.publish(&Event::ReloadRefused { reason: reason.clone() });
                return Err(reason);
            }
        };
        for warning in next.warnings_at(clock::wall()) {
            tracing::warn!("{}", warning.located(&next.path));
        }
        let news = self.follow_agreements(&mut next)?;
        self.crew.tell_all(|| Command::Policy(next.policy.clone())).map_err(|error| error.to_string())?;
        for (tunnel, mtu) in link_mtus(&next) {
            self.crew.tell_all(|| Command::LinkMtu(tunnel, mtu)).map_err(|error| error.to_string())?;
        }
        // What either file closes stays closed until the endpoint knows the new one.
        let closed = agreements::tunnels(&next, &self.agreements.closed);
        let either = closed.clone().into_iter().chain(news.before).collect();
        self.endpoint.gate(clock::now(), either);
        self.endpoint.reload(clock::now(), next.ike.clone());
        self.endpoint.gate(clock::now(), closed);
        self.journal.follow(&next);
        let policy = hex::encode(next.policy.digest());
        let before = std::mem::replace(&mut self.loaded, next);
        if before.policy.digest() != self.loaded.policy.digest() || before.approval != self.loaded.approval {
            self.tell_policy(Some(&before));
        }
        self.journal.publish(&Event::Reloaded { policy });
        for event in &news.events {
            self.journal.publish(event);
        }
        Ok(())
    }

    /// The live flows between two hosts, as their workers have them.
    fn flows(&mut self, from: IpAddr, to: IpAddr, port: Option<u16>) -> Result<Answer, RunError> {
        let (found, live) = std::sync::mpsc::sync_channel(MOST_FLOWS + 1);
        self.crew.tell_all(|| Command::Look { from, to, port, found: found.clone() })?;
        self.crew.confirmed()?;
        let flows: Vec<_> = live.try_iter().map(|live| stats::live(&self.loaded, &live)).collect();
        let more = flows.len() > MOST_FLOWS;
        Ok(Answer::Flows { flows: flows.into_iter().take(MOST_FLOWS).collect(), more })
    }

    /// The policy in force, for whoever wants to see what another one would change.
    fn in_force(&self) -> InForce {
        let approved = self.loaded.approval.as_ref();
        InForce {
            policy: hex::encode(self.loaded.policy.digest()),
            canonical: self.loaded.policy.canonical_text(),
            approver: approved.map(|approved| approved.approver.clone()),
            ticket: approved.map(|approved| approved.ticket.clone()),
        }
    }

    /// Writes down that another policy is in force, what it changes and who has approved it.
    pub(super) fn tell_policy(&self, before: Option<&Loaded>) {
        let changes = before.map_or_else(Vec::new, |before| {
            difference::between(&before.policy.canonical_text(), &self.loaded.policy.canonical_text())
        });
        let named = |kind: &str| {
            let all = || changes.iter().filter(|change| change.kind() == kind);
            let mut named: Vec<String> = all().take(MOST_NAMED).map(|change| change.about.clone()).collect();
            let more = all().count() - named.len();
            if more > 0 {
                named.push(format!("and {more} more"));
            }
            named
        };
        let InForce { approver, ticket, .. } = self.in_force();
        self.journal.publish(&Event::PolicyChanged {
            previous: before.map(|before| hex::encode(before.policy.digest())),
            approver,
            ticket,
            added: named("added"),
            removed: named("removed"),
            changed: named("changed"),
        });
    }
}
