//! IKE SAs and their connections: what follows when something happened to one, and what a connection wants next.

use std::net::IpAddr;
use std::sync::Arc;

use crate::entropy::Entropy;
use crate::event::{Event, IkeReason};
use crate::ids::{ShapeId, TunnelId};
use crate::ike::child_sa::receives_no_more;
use crate::ike::collision;
use crate::ike::config::TunnelConfig;
use crate::ike::connection::Connection;
use crate::ike::exchange::sa_init::{self, Beginning};
use crate::ike::heads;
use crate::ike::ike_sa::IkeSa;
use crate::ike::lanes;
use crate::ike::limits;
use crate::ike::state::established::Estate;
use crate::ike::state::{Established, Purpose, State};
use crate::ike::step::{Notice, Rival, Step};
use crate::ike::timer::{Owner, earlier};
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::ExchangeType;

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
        if matches!(sa.state, State::Ended) {
            self.esp.release_all(spi);
            self.agenda.set(Owner::IkeSa(spi), None);
        } else {
            self.insert(sa);
        }
        for sa in said.born {
            self.insert(sa);
        }
        self.settle(tunnel, spi, said.notices);
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

    /// The established IKE SAs of a tunnel, the best first: those that stay, by lowest SPIs of their handshakes.
    pub(super) fn established(&self, tunnel: TunnelId) -> Vec<IkeSpi> {
        let mut found: Vec<_> = self
            .sas
            .of(tunnel)
            .filter_map(|(spi, sa)| match &sa.state {
                State::Established(state) => Some((state.leaves_soon(), state.origin, spi)),
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
                let remote = sa.core.path.remote.ip();
                Some(Rival { own: spi, origin: state.origin, remote })
            })
            .collect()
    }

    /// What an IKE SA had to say.
    pub(super) fn settle(&mut self, tunnel: TunnelId, spi: IkeSpi, mut notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        self.of(tunnel, |connection, now, _| connection.accounts.follow(now, spi, &mut notices));
        for notice in notices {
            match notice {
                Notice::Heard(_) => {}
                Notice::Crashed => {
                    self.refusals.note(IkeReason::PeerRestarted);
                    self.of(tunnel, |connection, _, _| connection.at_once());
                }
                Notice::Authenticated { initial_contact } => self.authenticated(tunnel, spi, initial_contact),
                Notice::ChildUp { shape } => self.of(tunnel, |connection, now, _| connection.child_up(now, shape)),
                Notice::ChildDown { shape } => {
                    // With a successor in place nothing is lost.
                    if !self.has_child(tunnel, shape) {
                        self.of(tunnel, |connection, now, entropy| connection.child_down(now, shape, entropy));
                    }
                }
                Notice::ChildFailed { shape, exchange, reason, detail, pause } => {
                    let why = sentence(reason, &detail);
                    self.of(tunnel, |connection, now, entropy| {
                        connection.child_failed(now, shape, why, pause, entropy);
                    });
                    self.report_failure(tunnel, exchange, reason, detail);
                }
                Notice::LaneRefused { exchange, detail } => {
                    self.refusals.note(IkeReason::NoLane);
                    self.report_failure(tunnel, exchange, IkeReason::NoLane, detail);
                }
                Notice::ChildRekeyed => self.of(tunnel, |connection, _, _| connection.rekeyed(false)),
                Notice::IkeRekeyed => self.of(tunnel, |connection, _, _| connection.rekeyed(true)),
                Notice::RekeyFailed { reason, detail } => {
                    let why = sentence(reason, &detail);
                    self.of(tunnel, |connection, _, _| connection.rekey_failed(why));
                    self.report_failure(tunnel, ExchangeType::CREATE_CHILD_SA, reason, detail);
                }
                Notice::Bequest { heir, estate } => self.bequeath(tunnel, heir, *estate),
                Notice::Redundant { spare } => {
                    self.with_sa(spare, |sa, step| {
                        if let State::Spare(state) = &mut sa.state {
                            state.until = state.until.min(step.now + limits::REDUNDANT_GRACE);
                        }
                    });
                }
                Notice::Claim { replaced } => {
                    self.with_sa(replaced, |sa, step| {
                        if let State::Established(state) = &mut sa.state
                            && let Some(heir) = state.rival()
                        {
                            state.bequeath(&sa.core, step, heir);
                            let state = std::mem::replace(&mut sa.state, State::Ended);
                            sa.state = state.give_way(&mut sa.core, step);
                        }
                    });
                }
                Notice::Hearsay { text } => self.of(tunnel, |connection, _, _| connection.why = Some(text)),
                Notice::Declined { exchange, reason, detail } => self.declined(tunnel, exchange, reason, detail),
                Notice::ProofRefused => self.of(tunnel, |connection, _, _| connection.proof_refused()),
                Notice::Failed { exchange, reason, detail } => {
                    let why = sentence(reason, &detail);
                    let up = !self.established(tunnel).is_empty();
                    self.of(tunnel, |connection, now, entropy| connection.failed(now, why, up, entropy));
                    self.report_failure(tunnel, exchange, reason, detail);
                }
                Notice::Legacy { inbound } => {
                    let heir = self.established(tunnel).into_iter().find(|other| *other != spi);
                    self.esp.hand_over(spi, heir.unwrap_or(spi));
                    let (heir, until) = (heir.unwrap_or_default(), self.now + limits::LINGER);
                    let taken = self.with_sa(heir, |sa, _| match &mut sa.state {
                        State::Established(state) => {
                            state.children.linger(until, &inbound);
                            true
                        }
                        _ => false,
                    });
                    if taken != Some(true) {
                        let gone =
                            |step: &mut Step<'_>| inbound.into_iter().for_each(|spi| receives_no_more(step, spi));
                        self.step(tunnel, spi, gone);
                    }
                }
                Notice::HeadEnd { answers } => {
                    self.of(tunnel, |connection, now, _| connection.heads.heard(now, answers));
                }
                Notice::Expires => self.reauthenticate(tunnel),
                Notice::Down { reason, silent } => {
                    match self.established(tunnel).into_iter().find(|other| *other != spi) {
                        // What was to go in favour of it stays. With several head-ends that may be another one.
                        Some(left) => {
                            self.with_established(left, |state, _, _| state.stay());
                            let ends = self.sas.get(&left).map(|sa| (sa.core.path.remote.ip(), sa.core.terms.opened));
                            if let Some((remote, ours)) = ends {
                                self.settled(tunnel, remote, ours);
                            }
                        }
                        None => {
                            self.of(tunnel, |connection, now, entropy| connection.lost(now, &reason, silent, entropy));
                        }
                    }
                }
            }
        }
        self.tell_addresses(tunnel);
        self.tend(tunnel);
    }

    /// What hung on one IKE SA goes to another one.
    fn bequeath(&mut self, tunnel: TunnelId, heir: IkeSpi, estate: Estate) {
        let mut estate = Some(estate);
        self.with_sa(heir, |sa, step| match std::mem::replace(&mut sa.state, State::Ended) {
            State::Spare(spare) => {
                let Some(estate) = estate.take() else { return };
                sa.state = (*spare).inherit(&mut sa.core, step, estate);
            }
            other => sa.state = other,
        });
        // The peer has deleted it meanwhile: everything is gone.
        if let Some(estate) = estate {
            let Some(config) = self.connections.get(&tunnel).map(|of| Arc::clone(&of.config)) else { return };
            let reason = "the peer deleted both the IKE SA and the one that took its place";
            let ((), said) = self.step(tunnel, heir, |step| estate.dissolve(&config, step, reason));
            self.esp.release_all(heir);
            self.of(tunnel, |connection, now, entropy| connection.lost(now, reason, false, entropy));
            self.settle(tunnel, heir, said.notices);
        }
    }

    pub(super) fn of(&mut self, tunnel: TunnelId, act: impl FnOnce(&mut Connection, Instant, &mut dyn Entropy)) {
        if let Some(connection) = self.connections.get_mut(&tunnel) {
            act(connection, self.now, &mut *self.entropy);
        }
    }

    /// What a peer asked for was refused: told once in a while for each reason, for anybody can ask.
    pub(super) fn declined(&mut self, tunnel: TunnelId, exchange: ExchangeType, reason: IkeReason, detail: String) {
        self.refusals.note(reason);
        let up = !self.established(tunnel).is_empty();
        let Some(connection) = self.connections.get_mut(&tunnel) else { return };
        let why = (!up).then(|| sentence(reason, &detail));
        if connection.declined(self.now, reason, why) {
            self.report_failure(tunnel, exchange, reason, detail);
        }
    }

    pub(super) fn report_failure(
        &mut self,
        tunnel: TunnelId,
        exchange: ExchangeType,
        reason: IkeReason,
        detail: String,
    ) {
        let Some(connection) = self.connections.get(&tunnel) else { return };
        let tunnel = connection.config.name.clone();
        self.out.event(Event::NegotiationFailed { tunnel, exchange: exchange.to_string(), reason, detail });
    }

    /// A peer has authenticated: older IKE SAs with it may have to go (see `collision`).
    pub(super) fn authenticated(&mut self, tunnel: TunnelId, spi: IkeSpi, initial_contact: bool) {
        let Some(sa) = self.sas.get(&spi) else { return };
        let (opened_at, initiator, remote) = (sa.core.opened_at, sa.core.initiator, sa.core.path.remote.ip());
        self.of(tunnel, |connection, now, entropy| connection.authenticated(now, initiator, entropy));
        self.settled(tunnel, remote, initiator);
        if initial_contact {
            for rival in self.rivals(tunnel, spi).into_iter().filter(|rival| rival.origin.since < opened_at) {
                self.forget(rival, "the peer has restarted");
            }
        }
        self.part(tunnel, spi);
        for surplus in self.established(tunnel).into_iter().skip(limits::MAX_ESTABLISHED_PER_TUNNEL) {
            self.with_sa(surplus, |sa, step| sa.close(step, "too many IKE SAs with one peer"));
        }
        // Our own attempt that nobody has answered yet is not needed any more.
        let attempts: Vec<_> = self
            .sas
            .of(tunnel)
            .filter(|(other, sa)| *other != spi && matches!(sa.state, State::InitRequested(_)))
            .map(|(other, _)| other)
            .collect();
        for other in attempts {
            self.with_sa(other, |sa, step| sa.close(step, "the peer was first"));
        }
    }

    /// There is an IKE SA with the head-end at `remote`.
    pub(super) fn settled(&mut self, tunnel: TunnelId, remote: IpAddr, ours: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&tunnel) else { return };
        let config = Arc::clone(&connection.config);
        if let Some(place) = connection.heads.settled(now, &config, remote, ours) {
            self.out.event(Event::HeadEnd { tunnel: config.name.clone(), remote, place: place + 1 });
        }
    }

    /// Tells the inner addresses of a tunnel, if they are others than before.
    fn tell_addresses(&mut self, tunnel: TunnelId) {
        let terms = self.established(tunnel).first().and_then(|spi| Some(&self.sas.get(spi)?.core.terms));
        let (addresses, dns) = terms.map(|terms| (terms.assigned.clone(), terms.dns.clone())).unwrap_or_default();
        let Some(connection) = self.connections.get_mut(&tunnel) else { return };
        if connection.addresses != addresses {
            connection.addresses.clone_from(&addresses);
            let name = connection.config.name.clone();
            self.out.addresses(tunnel, addresses.clone());
            self.out.event(Event::InnerAddresses { tunnel: name, addresses, dns });
        }
    }

    /// Which of the IKE SAs of a tunnel go, now that the one with our SPI `spi` is authenticated.
    fn part(&mut self, tunnel: TunnelId, spi: IkeSpi) {
        let rivals = self.rivals(tunnel, spi);
        let Some(core) = self.sas.get(&spi).map(|sa| &sa.core) else { return };
        let loses = collision::loses(core, &rivals);
        // RFC 7296 §2.8.3: "Reauthentication is done by creating a new IKE SA from scratch [...] and finally deleting the
        // old IKE SA", which is for whoever made the new one to do, once the child SAs have followed.
        let grace = if core.initiator { limits::SUCCESSION_TIME } else { limits::REPLACED_GRACE };
        let initiator = core.initiator;
        let (older, twins): (Vec<_>, Vec<_>) = rivals.into_iter().partition(|rival| rival.is_older_than(core));
        let same = |rival: &Rival| rival.is_at_the_same_head_end(core);
        let twins: Vec<_> = twins.into_iter().filter(same).collect();
        // What another head-end has opened says nothing of what the first one has.
        let older: Vec<_> = older.into_iter().filter(|rival| initiator || same(rival)).collect();
        let now = self.now;
        if loses {
            self.with_established(spi, |state, _, _| state.leave_at(now + limits::TWIN_GRACE));
            return;
        }
        let twins = twins.into_iter().map(|twin| (twin, limits::TWIN_GRACE));
        for (rival, grace) in twins.chain(older.into_iter().map(|old| (old, grace))) {
            self.with_established(rival.own, |state, _, _| state.leave_at(now + grace));
        }
    }

    /// An IKE SA is to be opened beside the one in use, which has not been rekeyed and comes to its end.
    pub(super) fn reauthenticate(&mut self, tunnel: TunnelId) {
        let attempt = self.sas.of(tunnel).any(|(_, sa)| sa.state.is_attempt());
        let Some(connection) = self.connections.get(&tunnel) else { return };
        if attempt || self.shutting_down || !connection.accepts() {
            return;
        }
        let first = self.wanted(connection, tunnel).first().copied();
        let config = Arc::clone(&connection.config);
        let remote = self.established(tunnel).first().and_then(|spi| Some(self.sas.get(spi)?.core.path.remote.ip()));
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

    /// Ends an IKE SA of which the peer knows nothing any more.
    pub(super) fn forget(&mut self, rival: Rival, reason: &str) {
        self.with_sa(rival.own, |sa, step| {
            let state = std::mem::replace(&mut sa.state, State::Ended);
            if let State::Established(state) = state {
                sa.state = state.end(&mut sa.core, step, reason);
            }
        });
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
    notices: Vec<Notice>,
    born: Vec<IkeSa>,
}

/// Why a tunnel is not up.
fn sentence(reason: IkeReason, detail: &str) -> String {
    if detail.is_empty() { reason.sentence().to_owned() } else { format!("{}: {detail}", reason.sentence()) }
}
