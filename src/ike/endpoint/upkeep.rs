//! IKE SAs and their connections: how something happens to an IKE SA, and what a connection wants next. What follows of what an
//! IKE SA says then is in `consequences`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::ids::{ShapeId, TunnelId};
use crate::ike::config::TunnelConfig;
use crate::ike::connection::Connection;
use crate::ike::exchange::sa_init::{self, Beginning};
use crate::ike::heads;
use crate::ike::ike_sa::IkeSa;
use crate::ike::lanes;
use crate::ike::state::{Established, Purpose, State};
use crate::ike::step::{Notice, Rival, Step};
use crate::ike::timer::{Owner, earlier};
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

use super::Endpoint;

impl Endpoint {
    /// Lets something happen to an IKE SA, and draws the consequences.
    pub(super) fn with_sa<R>(&mut self, spi: IkeSpi, act: impl FnOnce(&mut IkeSa, &mut Step<'_>) -> R) -> Option<R> {
        let mut sa = self.sas.remove(&spi)?;
        let tunnel = sa.core.tunnel.id;
        let (result, said) = self.step(tunnel, spi, |step| act(&mut sa, step));
        if !sa.state.is_half_open() {
            self.half_open.remove(spi);
        }
        let ended = matches!(sa.state, State::Ended);
        if ended {
            self.agenda.set(Owner::IkeSa(spi), None);
        } else {
            self.insert(sa);
        }
        for sa in said.born {
            self.insert(sa);
        }
        self.settle(tunnel, spi, said.notices);
        if ended {
            // What it has left to another one is not its own any more.
            self.esp.release_all(spi);
        }
        Some(result)
    }

    /// One step of the IKE SA with our SPI `own`, which is not in the table meanwhile.
    pub(super) fn step<R>(&mut self, tunnel: TunnelId, own: IkeSpi, act: impl FnOnce(&mut Step<'_>) -> R) -> (R, Said) {
        let rivals = self.rivals(tunnel, own);
        let mut said = Said::default();
        let mut step = Step {
            now: self.now,
            unix_now: self.unix_now,
            entropy: &mut *self.entropy,
            out: &mut self.out,
            esp: &mut self.esp,
            rivals: &rivals,
            notices: &mut said.notices,
            born: &mut said.born,
            tokens: self.tokens.as_ref(),
        };
        (act(&mut step), said)
    }

    /// Puts an IKE SA in the table, under our SPI.
    pub(super) fn insert(&mut self, sa: IkeSa) {
        let own = sa.core.own_spi();
        self.agenda.set(Owner::IkeSa(own), sa.deadline());
        self.sas.insert(own, sa);
    }

    pub(super) fn with_established(
        &mut self,
        spi: IkeSpi,
        act: impl FnOnce(&mut Established, &mut crate::ike::ike_sa::Core, &mut Step<'_>),
    ) {
        self.with_sa(spi, |sa, step| {
            if let State::Established(state) = &mut sa.state {
                act(state, &mut sa.core, step);
            }
        });
    }

    /// The established IKE SAs of a tunnel, the best first: those that stay, of several head-ends those with the one in use, by
    /// lowest SPIs of their handshakes.
    pub(super) fn established(&self, tunnel: TunnelId) -> Vec<IkeSpi> {
        let connection = self.connections.get(&tunnel);
        let rank = |sa: &IkeSa, state: &Established| connection.map(|connection| connection.rank(&sa.core, state));
        let mut found: Vec<_> = self
            .sas
            .of(tunnel)
            .filter_map(|(spi, sa)| match &sa.state {
                State::Established(state) => Some((rank(sa, state), state.origin, spi)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, _, spi)| spi).collect()
    }

    pub(super) fn has_child(&self, tunnel: TunnelId, shape: ShapeId) -> bool {
        self.established(tunnel).iter().any(|spi| match &self.sas.get(spi).map(|sa| &sa.state) {
            Some(State::Established(state)) => state.has_child(shape),
            _ => false,
        })
    }

    pub(super) fn rivals(&self, tunnel: TunnelId, but: IkeSpi) -> Vec<Rival> {
        self.established(tunnel)
            .into_iter()
            .filter(|spi| *spi != but)
            .filter_map(|spi| {
                let sa = self.sas.get(&spi)?;
                let State::Established(state) = &sa.state else { return None };
                let (remote, chosen) = (sa.core.path.remote.ip(), sa.core.terms.chosen);
                Some(Rival { own: spi, origin: state.origin, remote, chosen, leaves: state.leaves_soon() })
            })
            .collect()
    }

    /// An IKE SA is to be opened beside this one, which has not been rekeyed and comes to its end.
    pub(super) fn reauthenticate(&mut self, tunnel: TunnelId, old: IkeSpi) {
        let attempt = self.sas.of(tunnel).any(|(_, sa)| sa.state.is_attempt());
        let Some(connection) = self.connections.get(&tunnel) else { return };
        if attempt || self.shutting_down || !connection.accepts() {
            return;
        }
        let first = self.wanted(connection, tunnel).first().copied();
        let config = Arc::clone(&connection.config);
        let remote = self.sas.get(&old).map(|sa| sa.core.path.remote.ip());
        let peer = remote.filter(|remote| config.is_peer(*remote)).unwrap_or(config.peer);
        self.begin(&config, peer, Purpose::Open, first);
    }

    /// The first head-end is asked whether it is there again, or the tunnel goes back to it. When to look again.
    fn look_back(&mut self, tunnel: TunnelId) -> Option<Instant> {
        let asks = |state: &State| state.is_attempt() || matches!(state, State::InitRequested(_));
        if self.sas.of(tunnel).any(|(_, sa)| asks(&sa.state)) {
            // Whatever comes of that is told.
            return None;
        }
        let now = self.now;
        let connection = self.connections.get_mut(&tunnel)?;
        let config = Arc::clone(&connection.config);
        let Some(wish) = connection.heads.due(now, &config) else { return connection.heads.deadline(&config) };
        let first = self.wanted(self.connections.get(&tunnel)?, tunnel).first().copied();
        match wish {
            heads::Wish::Probe => self.begin(&config, config.peer, Purpose::Probe, None),
            heads::Wish::Return => self.begin(&config, config.peer, Purpose::Open, first),
        }
        None
    }

    /// The child SAs that ought to be there: those that are wanted, and those that only an IKE SA still has that goes.
    fn wanted(&self, connection: &Connection, tunnel: TunnelId) -> Vec<ShapeId> {
        let mut wanted = connection.wanted();
        for (_, sa) in self.sas.of(tunnel) {
            let State::Established(state) = &sa.state else { continue };
            let covered = state.children.covered().into_iter().filter(|shape| !wanted.contains(shape));
            let covered: Vec<_> = covered.collect();
            wanted.extend(covered);
        }
        wanted
    }

    pub(super) fn close_tunnel(&mut self, tunnel: TunnelId, reason: &str) {
        let all: Vec<_> = self.sas.of(tunnel).map(|(spi, _)| spi).collect();
        for spi in all {
            self.with_sa(spi, |sa, step| sa.close(step, reason));
        }
    }

    /// After a reload: IKE SAs live on under the new configuration, child SAs whose selectors are gone do not.
    pub(super) fn adopt(&mut self, tunnel: TunnelId, config: &Arc<TunnelConfig>) {
        let all: Vec<_> = self.sas.of(tunnel).map(|(spi, _)| spi).collect();
        for spi in all {
            self.with_sa(spi, |sa, step| {
                let old = std::mem::replace(&mut sa.core.tunnel, Arc::clone(config));
                let stays = |shape: ShapeId| {
                    let before = old.children.iter().find(|child| child.shape == shape);
                    before.is_some_and(|before| config.children.contains(before))
                };
                if let State::Established(state) = &mut sa.state {
                    state.judge(&old, config, step);
                    let (before, now) = (old.local_auth.secrets(), config.local_auth.secrets());
                    sa.core.own_means = sa.core.own_means.map(|means| means.under(before, now).unwrap_or(means));
                    state.drop_children(&mut sa.core, step, |child| stays(child.agreed.shape));
                }
            });
        }
    }

    /// Brings a tunnel nearer to what is wanted of it, and sets the time of its next wish.
    pub(super) fn tend(&mut self, tunnel: TunnelId) {
        if self.shutting_down {
            return;
        }
        let Some(connection) = self.connections.get(&tunnel) else { return };
        let established = self.established(tunnel).first().copied();
        let attempt = self.sas.of(tunnel).any(|(_, sa)| sa.state.is_attempt());
        let wanted = self.wanted(connection, tunnel);
        if let Some(spi) = established {
            let has = |shape: &ShapeId| match self.sas.get(&spi) {
                Some(IkeSa { state: State::Established(state), core }) => {
                    state.has_child(*shape) || lanes::is_left_alone(&core.tunnel, &state.children, *shape)
                }
                _ => false,
            };
            let missing: Vec<_> = wanted.into_iter().filter(|shape| !has(shape)).collect();
            let (due, later): (Vec<_>, Vec<_>) =
                missing.into_iter().partition(|shape| connection.is_child_due(self.now, *shape));
            let deadline = connection.deadline(true, attempt, &later);
            for shape in due {
                self.with_established(spi, |state, core, step| state.want_child(core, step, shape));
            }
            let back = self.look_back(tunnel);
            self.agenda.set(Owner::Connection(tunnel), earlier(deadline, back));
            return;
        }
        if !attempt && connection.wants_ike_sa(self.now) {
            let config = Arc::clone(&connection.config);
            let peer = connection.heads.address(&config);
            self.begin(&config, peer, Purpose::Open, wanted.first().copied());
            self.agenda.set(Owner::Connection(tunnel), None);
            return;
        }
        let deadline = connection.deadline(false, attempt, &[]);
        self.agenda.set(Owner::Connection(tunnel), deadline);
    }

    /// Opens an IKE SA with the head-end at `peer`, or asks whether it is there.
    fn begin(&mut self, tunnel: &Arc<TunnelConfig>, peer: IpAddr, purpose: Purpose, first: Option<ShapeId>) {
        let spi = self.fresh_spi();
        let turn = self.connections.get(&tunnel.id).map_or(0, Connection::turn);
        let beginning = Beginning { peer, purpose, first, turn };
        let (begun, _) = self.step(tunnel.id, spi, |step| sa_init::begin(step, tunnel, spi, beginning));
        if let Some(sa) = begun {
            self.insert(sa);
        }
    }
}

/// What an IKE SA said in one step.
#[derive(Default)]
pub(super) struct Said {
    pub(super) notices: Vec<Notice>,
    pub(super) born: Vec<IkeSa>,
}
