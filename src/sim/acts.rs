//! What happens to gateways beside messages: faults, operators, and the end of all faults.

use super::coverage::Stimulus;
use super::gateway::{config, nanos};
use super::hostile;
use super::plan::{Act, Change, Feature};
use super::world::{Action, MILLI, World};
use crate::ids::TunnelId;
use crate::ike::api::Input;
use crate::ike::config::Start;

fn id(tunnel: usize) -> TunnelId {
    TunnelId(u16::try_from(tunnel).unwrap_or(0))
}

impl World {
    pub(super) fn perform(&mut self, act: Act) {
        if self.healed {
            return;
        }
        self.note(|| format!("{act:?}"));
        match act {
            Act::Partition { tunnel, ways, lasts } => {
                for (way, _) in ways.into_iter().enumerate().filter(|(_, cut)| *cut) {
                    self.cuts[tunnel].until[way] = self.now + nanos(lasts);
                }
            }
            Act::Crash { gateway, lasts } => {
                let at = self.now + nanos(lasts);
                self.gateways[gateway].crash();
                self.gateways[gateway].down_until = at;
                self.at(at, Action::Start(gateway));
            }
            Act::Suspend { gateway, lasts } => {
                let at = self.now + nanos(lasts);
                self.gateways[gateway].sleeps_until = at;
                self.at(at, Action::Resume(gateway));
            }
            Act::Jump { gateway, by } => {
                self.gateways[gateway].skew += nanos(by);
                if self.is_awake(gateway) {
                    self.gateways[gateway].timeout = None;
                    self.input(gateway, Input::Timeout);
                }
            }
            Act::Reload { gateway, change } => self.reload(gateway, change),
            Act::Up { gateway, tunnel } => self.up(gateway, id(tunnel)),
            Act::Down { gateway, tunnel } => {
                if self.is_awake(gateway) {
                    self.meets(gateway, Some(id(tunnel)), Stimulus::Down);
                    self.gateways[gateway].held.insert(id(tunnel));
                    self.input(gateway, Input::Down(id(tunnel)));
                }
            }
            Act::Rekey { gateway, tunnel, children, ike } => {
                if self.is_awake(gateway) {
                    if children {
                        self.meets(gateway, Some(id(tunnel)), Stimulus::RekeyChild);
                    }
                    if ike {
                        self.meets(gateway, Some(id(tunnel)), Stimulus::RekeyIke);
                    }
                    self.input(gateway, Input::Rekey { tunnel: id(tunnel), children, ike });
                }
            }
            Act::Move { gateway, place } => self.relocate(gateway, place),
            Act::Rebind { gateway } => {
                if let Some(nat) = &mut self.gateways[gateway].nat {
                    nat.rebind();
                }
            }
        }
    }

    /// A gateway has another address, and only that.
    fn relocate(&mut self, gateway: usize, place: u8) {
        self.gateways[gateway].place = place;
        if self.is_awake(gateway) {
            self.tell_place(gateway);
        }
    }

    /// The endpoint hears where it is.
    pub(super) fn tell_place(&mut self, gateway: usize) {
        let place = self.gateways[gateway].place;
        // At home it may stand behind a NAT.
        let local = if place == 0 { self.plan.addresses(gateway)[0] } else { self.plan.public_address(gateway, place) };
        let Some(endpoint) = &self.gateways[gateway].endpoint else { return };
        let moved: Vec<_> =
            endpoint.mobile().filter(|(_, here, _)| *here != local).map(|(tunnel, ..)| tunnel).collect();
        for tunnel in moved {
            self.input(gateway, Input::Moved { tunnel, local });
        }
    }

    fn up(&mut self, gateway: usize, tunnel: TunnelId) {
        if self.is_awake(gateway) {
            self.meets(gateway, Some(tunnel), Stimulus::Up);
            self.gateways[gateway].held.remove(&tunnel);
            self.input(gateway, Input::Up(tunnel));
        }
    }

    fn reload(&mut self, gateway: usize, change: Change) {
        let next = if change == Change::Back {
            self.gateways[gateway].base.clone()
        } else {
            std::sync::Arc::new(config(&self.plan, gateway, change))
        };
        self.gateways[gateway].configs.push(next);
        self.gateways[gateway].behind = true;
        self.catch_up(gateway);
    }

    /// A gateway reads the configuration that it was told to read, as soon as it can.
    pub(super) fn catch_up(&mut self, gateway: usize) {
        if !self.is_awake(gateway) || !std::mem::take(&mut self.gateways[gateway].behind) {
            return;
        }
        self.meets(gateway, None, Stimulus::Reload);
        let of = &mut self.gateways[gateway];
        let now = of.clock(self.now);
        if let (Some(endpoint), Some(last)) = (&mut of.endpoint, of.configs.last()) {
            endpoint.reload(now, last.clone());
        }
        self.drain(gateway);
    }

    /// Faults end: what was cut is whole, what slept or was dead is there, and what was changed is as it was.
    pub(super) fn heal(&mut self) {
        self.note(|| "faults end".to_owned());
        self.healed = true;
        for cut in &mut self.cuts {
            cut.until = [0; 2];
        }
        for gateway in 0..self.gateways.len() {
            let of = &mut self.gateways[gateway];
            of.sleeps_until = self.now;
            of.down_until = self.now;
            if self.plan.has(Feature::Hostile) && gateway == hostile::GATEWAY {
                // What it said is its own doing: it starts anew.
                self.gateways[gateway].crash();
                let base = self.gateways[gateway].base.clone();
                self.gateways[gateway].configs.push(base);
            }
            if self.gateways[gateway].place != 0 {
                self.relocate(gateway, 0);
            }
            if self.gateways[gateway].endpoint.is_none() {
                self.start(gateway);
            } else {
                self.input(gateway, Input::Timeout);
            }
        }
        for gateway in 0..self.gateways.len() {
            self.catch_up(gateway);
            let of = &self.gateways[gateway];
            if of.configs.len() > 1 && !of.configs.last().is_some_and(|last| std::sync::Arc::ptr_eq(last, &of.base)) {
                self.reload(gateway, Change::Back);
            }
            for tunnel in self.gateways[gateway].held.clone() {
                self.up(gateway, tunnel);
            }
        }
        for (tunnel, of) in self.plan.tunnels.clone().iter().enumerate() {
            if !of.start.contains(&Start::Always) {
                self.up(of.ends[of.eap.unwrap_or(0)], id(tunnel));
            }
        }
        self.settle.healed(self.now);
        self.at(self.now + 100 * MILLI, Action::Look);
    }
}
