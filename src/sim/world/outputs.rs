//! What a gateway hears of its operators, its clock and its data path, and what it wants done: messages, changes of the SAD,
//! events.

use super::{Action, Origin, SECOND, World};
use crate::event::Event;
use crate::ids::TunnelId;
use crate::ike::api::{Input, Output};
use crate::ike::endpoint::Endpoint;
use crate::sa::child::{ChildSpec, Encapsulation};
use crate::sa::event::SadEvent;
use crate::sim::coverage::Stimulus;
use crate::sim::gateway::{Wanted, nanos};
use crate::sim::hostile;
use crate::sim::network::{Body, Frame};
use crate::sim::plan::Feature;
use crate::wire::ike::header::Header;

impl World {
    /// Every state of a tunnel's IKE SAs meets something.
    pub(in crate::sim) fn meets(&mut self, gateway: usize, tunnel: Option<TunnelId>, stimulus: Stimulus) {
        let Some(endpoint) = &self.gateways[gateway].endpoint else { return };
        for sa in endpoint.probe() {
            if tunnel.is_none_or(|tunnel| tunnel == sa.tunnel) {
                self.coverage.note(sa.phase, stimulus, true);
            }
        }
    }

    /// Something happens at a gateway, with everything that follows at once.
    pub(in crate::sim) fn input(&mut self, gateway: usize, input: Input<'_>) {
        let now = self.gateways[gateway].clock(self.now);
        let Some(endpoint) = &mut self.gateways[gateway].endpoint else { return };
        endpoint.handle(now, input);
        self.drain(gateway);
        self.hear_data_path(gateway);
        self.count_tables(gateway);
    }

    pub(super) fn hear_data_path(&mut self, gateway: usize) {
        while let Some(event) = self.gateways[gateway].path.events.pop_front() {
            let stimulus = Stimulus::of_sad(&event);
            match event {
                SadEvent::Acquire { tunnel, .. } => self.meets(gateway, Some(tunnel), stimulus),
                _ => self.meets(gateway, None, stimulus),
            }
            let now = self.gateways[gateway].clock(self.now);
            let Some(endpoint) = &mut self.gateways[gateway].endpoint else { return };
            endpoint.handle(now, Input::Sad(event));
            self.drain(gateway);
        }
    }

    /// S11: every table has its bound.
    fn count_tables(&mut self, gateway: usize) {
        let Some(endpoint) = &self.gateways[gateway].endpoint else { return };
        let (all, half_open) = (endpoint.table_len(), endpoint.half_open());
        // Half-open ones are bounded by source; a tunnel may have its established ones, their spares and those that close.
        if all > half_open + 40 * self.plan.tunnels.len() || half_open > 1000 {
            self.fail("S11", format!("gateway {gateway} has {all} IKE SAs, {half_open} of them half open"));
        }
        // What is there for a moment only would hardly ever meet anybody.
        if self.plan.has(Feature::Attacker) && !self.healed {
            let spare = self.gateways[gateway].endpoint.as_ref().and_then(Endpoint::spare);
            if spare.is_some() && self.hostile_dice.chance(300) {
                self.guess(gateway, spare);
            }
        }
    }

    /// Takes everything out of an endpoint.
    pub(in crate::sim) fn drain(&mut self, gateway: usize) {
        loop {
            let of = &mut self.gateways[gateway];
            let Some(endpoint) = &mut of.endpoint else { return };
            match endpoint.poll_output() {
                Output::Timeout(at) => {
                    let at = at.map(|at| at.as_nanos().saturating_sub(of.skew));
                    if of.timeout != at {
                        of.timeout = at;
                        if let Some(at) = at {
                            if at <= self.now {
                                return self.fail("L5", format!("gateway {gateway} wants to be woken in the past"));
                            }
                            self.at(at, Action::Wake(gateway));
                        }
                    }
                    return;
                }
                Output::Transmit { local, remote, bytes } => {
                    let epoch = of.epoch;
                    let checked = self.ledger.transmit(gateway, epoch, &bytes);
                    let hostile = self.plan.has(Feature::Hostile) && gateway == hostile::GATEWAY;
                    if !hostile {
                        self.check(checked);
                    }
                    if self.ledger.looks && self.ledger.shows_a_secret(&bytes) {
                        self.fail("S4", "a datagram shows a key");
                    }
                    self.messages += 1;
                    if Header::decode(&bytes).is_ok_and(|header| header.flags.response) {
                        self.answered += bytes.len();
                    }
                    self.want(
                        gateway,
                        Wanted::Send(Frame { source: local, destination: remote, body: Body::Ike(bytes) }),
                    );
                }
                // No gateway of the simulation asks for an inner address.
                Output::Addresses { .. } => {}
                Output::Keepalive { local, remote } => {
                    self.want(
                        gateway,
                        Wanted::Send(Frame { source: local, destination: remote, body: Body::Keepalive }),
                    );
                }
                Output::Sad(command) => {
                    let plan = &self.plan;
                    let peer = |spec: &ChildSpec| {
                        let remote = match spec.encapsulation {
                            Encapsulation::Raw { remote, .. } => remote,
                            Encapsulation::Udp { remote, .. } => remote.ip(),
                        };
                        plan.peer_of(gateway, usize::from(spec.tunnel.0), remote)
                    };
                    let checked = self.ledger.command(gateway, peer, &command, &of.configs);
                    self.check(checked);
                    self.want(gateway, Wanted::Sad(command));
                }
                Output::Event(event) => self.event(gateway, &event),
                Output::KeyLog(line) => {
                    let checked = self.ledger.key_log(gateway, line);
                    self.check(checked);
                }
            }
        }
    }

    fn event(&mut self, gateway: usize, event: &Event) {
        if !matches!(event, Event::IkeRefused { .. }) || self.printer.is_some() {
            self.note(|| format!("g{gateway} {event:?}"));
        }
        if matches!(event, Event::IkeUp { .. }) && self.plan.has(Feature::Mobike) {
            // It may have moved while the IKE SA came up.
            self.at(self.now + SECOND, Action::LookRound(gateway));
        }
        let checked = self.ledger.event(gateway, event, &self.plan);
        self.check(checked);
    }

    /// Done at once, or after what the data path has to confirm before.
    fn want(&mut self, gateway: usize, wanted: Wanted) {
        let lag = nanos(self.plan.lag);
        let of = &mut self.gateways[gateway];
        let last = of.pending.back().map(|(at, _)| *at);
        let at = match &wanted {
            Wanted::Sad(_) if lag > 0 => self.now.max(last.unwrap_or(0)) + 1 + self.lag_dice.below(lag),
            _ => match last {
                Some(at) => at,
                None => return self.fulfil(gateway, wanted),
            },
        };
        of.pending.push_back((at, wanted));
        if last != Some(at) {
            self.at(at, Action::Confirm(gateway));
        }
    }

    pub(super) fn confirm(&mut self, gateway: usize) {
        while self.gateways[gateway].pending.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, wanted)) = self.gateways[gateway].pending.pop_front() {
                self.fulfil(gateway, wanted);
            }
        }
        self.hear_data_path(gateway);
    }

    fn fulfil(&mut self, gateway: usize, wanted: Wanted) {
        match wanted {
            Wanted::Send(frame) => self.send(gateway, frame),
            Wanted::Sad(command) => {
                let now = self.now;
                let of = &mut self.gateways[gateway];
                if let Some(real) = &mut of.real {
                    real.apply(&command);
                }
                if let Err(what) = of.path.apply(now, command) {
                    return self.fail("S3", format!("gateway {gateway}: {what}"));
                }
                let ready = self.gateways[gateway].path.release(now);
                for (local, remote, esp) in ready {
                    let frame = Frame { source: remote, destination: local, body: Body::Esp(esp) };
                    // It may have been damaged on its way: nobody has looked yet.
                    self.arrive_esp(gateway, &frame, Origin::Damaged);
                }
            }
        }
    }
}
