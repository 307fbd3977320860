//! The endpoint: one for all tunnels of a gateway. `demultiplex` brings a datagram to its IKE SA, `consequences` is what follows for
//! its connection, and `upkeep` what that wants next.

mod consequences;
mod demultiplex;
#[cfg(test)]
mod forge;
pub mod probe;
mod table;
mod upkeep;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::entropy::Entropy;
use crate::event::{DropReason, IkeReason};
use crate::ids::TunnelId;
use crate::ike::account::{Explained, Ours};
use crate::ike::api::{Input, Output};
use crate::ike::config::{Config, TunnelConfig};
use crate::ike::connection::Connection;
use crate::ike::cookie::CookieJar;
use crate::ike::crash::TokenMaker;
use crate::ike::exchange::mobike;
use crate::ike::expiry::Expiry;
use crate::ike::flood::{Flood, Sieve, Turn};
use crate::ike::half_open::HalfOpen;
use crate::ike::ike_sa::IkeSa;
use crate::ike::path::Path;
use crate::ike::refusals::Refusals;
use crate::ike::state::{Established, State};
use crate::ike::status::{self, TunnelStatus};
use crate::ike::step::{EspSpis, Outbox, Step};
use crate::ike::timer::{Agenda, Owner};
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use table::{Ends, Table};

/// All IKE SAs of a gateway, and what outlives them.
///
/// Contract: after each [`handle`](Self::handle) call [`poll_output`](Self::poll_output) until it gives
/// [`Output::Timeout`]; then sleep until that time or the next input. The same inputs at the same times with the same
/// entropy give the same outputs.
///
/// A new endpoint does nothing by itself: the first `handle` (say, [`Input::Timeout`]) starts the tunnels.
pub struct Endpoint {
    config: Arc<Config>,
    connections: BTreeMap<TunnelId, Connection>,
    ends: Ends,
    sas: Table,
    esp: EspSpis,
    half_open: HalfOpen,
    /// On port 4500, and on the other one.
    floods: [Flood; 2],
    cookies: CookieJar,
    fingerprint_key: Secret,
    tokens: Option<TokenMaker>,
    refusals: Refusals,
    agenda: Agenda,
    out: Outbox,
    entropy: Box<dyn Entropy>,
    shutting_down: bool,
    /// Tunnels whose agreement does not hold now, whether they are configured or not.
    gates: BTreeMap<TunnelId, DropReason>,
    now: Instant,
    unix_now: u64,
    expiry: Expiry,
}

impl Endpoint {
    /// An endpoint that has done nothing yet. `key_log` produces [`Output::KeyLog`].
    #[must_use]
    pub fn new(config: Arc<Config>, mut entropy: Box<dyn Entropy>, key_log: bool) -> Self {
        let cookies = CookieJar::new(&mut *entropy);
        let fingerprint_key = Secret::copy_of(&entropy.array::<32>());
        let connections: BTreeMap<_, _> =
            config.tunnels.iter().map(|tunnel| (tunnel.id, Connection::new(Arc::clone(tunnel)))).collect();
        let mut agenda = Agenda::default();
        for id in connections.keys() {
            agenda.set(Owner::Connection(*id), Some(Instant::ZERO));
        }
        Self {
            config,
            ends: Ends::of(&connections),
            connections,
            sas: Table::default(),
            esp: EspSpis::default(),
            half_open: HalfOpen::default(),
            floods: Default::default(),
            cookies,
            fingerprint_key,
            tokens: None,
            refusals: Refusals::default(),
            agenda,
            out: Outbox::new(key_log),
            entropy,
            shutting_down: false,
            gates: BTreeMap::new(),
            now: Instant::ZERO,
            unix_now: 0,
            expiry: Expiry::default(),
        }
    }

    /// What time of day it is, in seconds since 1970; it may jump. Only the dates of certificates are checked against it,
    /// and until it is known none of them is valid.
    pub fn set_time_of_day(&mut self, unix_now: u64) {
        self.unix_now = unix_now;
        self.expiry.look(unix_now, &self.config, &mut self.out);
    }

    /// From now on peers are given tokens that are made from `secret` (RFC 6290): after a restart with the same secret
    /// they learn at once that their IKE SA is gone.
    pub fn remember_by(&mut self, secret: Secret) {
        self.tokens = Some(TokenMaker::new(secret));
    }

    /// From now on the tunnels in `closed`, and no others, are closed by their agreements: their IKE SAs are deleted, no attempt
    /// is made, and the peer is refused. A tunnel that is not configured yet is closed when it is. Called before the first `handle`,
    /// it starts the others.
    pub fn gate(&mut self, now: Instant, closed: BTreeMap<TunnelId, DropReason>) {
        self.now = self.now.max(now);
        self.gates = closed;
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            let gate = self.gates.get(&id).copied();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if !connection.gate(gate) {
                continue;
            }
            match gate {
                Some(reason) => self.close_tunnel(id, reason.sentence()),
                None => self.agenda.set(Owner::Connection(id), Some(self.now)),
            }
        }
        self.keep_time();
    }

    /// Takes over a changed configuration: tunnels that are gone or changed in what was negotiated are deleted, new
    /// ones started, the others left alone.
    pub fn reload(&mut self, now: Instant, config: Arc<Config>) {
        self.now = self.now.max(now);
        self.config = config;
        self.expiry.look_again();
        let wanted: BTreeMap<TunnelId, Arc<TunnelConfig>> =
            self.config.tunnels.iter().map(|tunnel| (tunnel.id, Arc::clone(tunnel))).collect();
        let known: Vec<TunnelId> = self.connections.keys().copied().collect();
        for id in known {
            let Some(new) = wanted.get(&id) else {
                self.close_tunnel(id, "no longer configured");
                self.connections.remove(&id);
                self.agenda.set(Owner::Connection(id), None);
                continue;
            };
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let moved = |sa: &IkeSa| {
                let remote = sa.core.path.remote.ip();
                sa.core.tunnel.is_peer(remote) && !new.is_peer(remote)
            };
            let keeps = connection.config.negotiates_like(new) && !self.sas.of(id).any(|(_, sa)| moved(sa));
            connection.reconfigure(Arc::clone(new));
            if keeps {
                self.adopt(id, new);
            } else {
                self.close_tunnel(id, "its configuration has changed");
            }
            self.tend(id);
        }
        for (id, new) in wanted {
            if let std::collections::btree_map::Entry::Vacant(e) = self.connections.entry(id) {
                let gate = self.gates.get(&id).copied();
                e.insert(Connection::new(new)).gate(gate);
                self.tend(id);
            }
        }
        self.ends = Ends::of(&self.connections);
        self.keep_time();
    }

    /// Something happened.
    #[allow(clippy::needless_pass_by_value)] // an input is used up
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Datagram { local, remote, bytes } => self.datagram(Path { local, remote }, bytes),
            Input::Sad(event) => self.sad_event(event),
            Input::InboundSeen(tunnel) => {
                let now = self.now;
                for spi in self.established(tunnel) {
                    self.with_established(spi, |state, _, _| state.inbound_seen(now));
                }
            }
            Input::Up(tunnel) => {
                if let Some(connection) = self.connections.get_mut(&tunnel) {
                    connection.up();
                    self.tend(tunnel);
                }
            }
            Input::Down(tunnel) => {
                if let Some(connection) = self.connections.get_mut(&tunnel) {
                    connection.down();
                    self.close_tunnel(tunnel, "taken down by the operator");
                }
            }
            Input::Rekey { tunnel, children, ike } => {
                if let Some(spi) = self.established(tunnel).first().copied() {
                    self.with_established(spi, |state, core, step| {
                        if children {
                            state.rekey_children(core, step);
                        }
                        if ike {
                            state.rekey_ike(core, step);
                        }
                    });
                }
            }
            Input::Moved { tunnel, local } => {
                for spi in self.established(tunnel) {
                    self.with_established(spi, |state, core, step| mobike::moved(state, core, step, local));
                }
            }
            Input::Shutdown => {
                self.shutting_down = true;
                for id in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.close_tunnel(id, "the gateway shuts down");
                }
            }
            Input::Timeout => {}
        }
        self.keep_time();
    }

    /// Does what is due by now.
    fn keep_time(&mut self) {
        while let Some(owner) = self.agenda.take_due(self.now) {
            match owner {
                Owner::IkeSa(spi) => {
                    self.with_sa(spi, IkeSa::on_time);
                }
                Owner::Connection(tunnel) => self.tend(tunnel),
                Owner::Refusals => self.refusals.on_time(self.now, &mut self.out),
            }
        }
        self.agenda.set(Owner::Refusals, self.refusals.deadline());
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Output {
        self.out.pop().unwrap_or_else(|| Output::Timeout(self.agenda.next()))
    }

    /// Every configured tunnel, also the one that is down and why.
    #[must_use]
    pub fn status(&self) -> Vec<TunnelStatus> {
        let of = |tunnel: TunnelId| self.sas.of(tunnel).map(|(_, sa)| sa);
        self.config
            .tunnels
            .iter()
            .filter_map(|tunnel| {
                let connection = self.connections.get(&tunnel.id)?;
                Some(status::of_tunnel(self.now, connection, of(tunnel.id)))
            })
            .collect()
    }

    /// What was said in the last negotiations of a tunnel.
    #[must_use]
    pub fn explain(&self, tunnel: TunnelId) -> Option<Explained> {
        let connection = self.connections.get(&tunnel)?;
        Some(Explained {
            tunnel: connection.config.name.clone(),
            ours: Ours::of(&connection.config),
            pages: connection.accounts.pages(self.now),
        })
    }

    /// Refused datagrams by reason, those above zero. They never fall.
    pub fn refused(&self) -> impl Iterator<Item = (IkeReason, u64)> + '_ {
        self.refusals.counters()
    }

    /// The ends of every IKE SA that may move (RFC 4555): ours and the peer's.
    pub fn mobile(&self) -> impl Iterator<Item = (TunnelId, IpAddr, IpAddr)> + '_ {
        let up = |sa: &&IkeSa| sa.core.terms.mobike && matches!(sa.state, State::Established(_));
        let ends = |sa: &IkeSa| (sa.core.tunnel.id, sa.core.path.local.ip(), sa.core.path.remote.ip());
        self.sas.values().filter(up).map(ends)
    }

    /// Whether no IKE SA is left, not even one whose delete is still repeated: after [`Input::Shutdown`] the process
    /// may end.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.sas.is_empty()
    }

    /// IKE SAs that strangers have begun.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }
}

// What keeps a flood away from one of the two ports.
impl Endpoint {
    /// Whether it is time for [`judge_flood`](Self::judge_flood).
    #[must_use]
    pub fn is_flood_due(&self, now: Instant, nat_t: bool) -> bool {
        self.floods[usize::from(nat_t)].is_due(now)
    }

    /// Counts what did not come here: `refused` by the filter that the last sieve has become, `lost` because nobody had read
    /// what came before it.
    pub fn missed(&mut self, nat_t: bool, refused: u64, lost: u64) {
        self.refusals.note_many(IkeReason::RefusedInKernel, refused);
        self.refusals.note_many(IkeReason::SocketFull, lost);
        self.floods[usize::from(nat_t)].miss(refused, lost);
    }

    /// What becomes of the filter now.
    pub fn judge_flood(&mut self, now: Instant, nat_t: bool) -> Turn {
        self.floods[usize::from(nat_t)].judge(now, self.ends.peers())
    }

    /// The sieve in force has found no place: it is wanted again after the next window, if the flood goes on.
    pub fn drop_sieve(&mut self, nat_t: bool) {
        self.floods[usize::from(nat_t)].drop_sieve();
    }

    /// What the kernel is to let through, while there is a flood.
    #[must_use]
    pub fn sieve(&self, nat_t: bool) -> Option<&Sieve> {
        self.floods[usize::from(nat_t)].sieve()
    }
}

// What the data path says.
impl Endpoint {
    fn sad_event(&mut self, event: SadEvent) {
        match event {
            SadEvent::Acquire { tunnel, shape } => {
                let up = !self.established(tunnel).is_empty();
                if let Some(connection) = self.connections.get_mut(&tunnel) {
                    connection.demand(shape, up);
                    self.tend(tunnel);
                }
            }
            SadEvent::SoftLimit { inbound } | SadEvent::ForgeryBudget { inbound } => {
                self.with_child(inbound, |state, core, step| state.rekey_child(core, step, inbound));
            }
            SadEvent::HardLimit { inbound } => {
                self.with_child(inbound, |state, core, step| state.replace_child(core, step, inbound));
            }
            SadEvent::FirstInbound { inbound } => {
                self.with_child(inbound, |state, core, step| state.first_inbound(core, step, inbound));
            }
            SadEvent::PeerMoved { inbound, remote, local } => self.with_child(inbound, |state, core, step| {
                state.inbound_seen(step.now);
                // RFC 7296 §2.23: only if the peer is behind a NAT.
                let same = core.path.remote.ip() == remote.ip();
                if core.nat.remote && core.path.remote != remote && (same || !core.terms.mobike) {
                    state.follow(core, step, Path { local, remote });
                }
            }),
        }
    }

    fn with_child(
        &mut self,
        inbound: Spi,
        act: impl FnOnce(&mut Established, &mut super::ike_sa::Core, &mut Step<'_>),
    ) {
        if let Some(spi) = self.esp.owner(inbound) {
            self.with_established(spi, act);
        }
    }
}
