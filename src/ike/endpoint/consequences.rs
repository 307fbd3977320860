//! What follows when an IKE SA says that something happened to it: to its connection, to other IKE SAs with the same peer, to
//! whoever watches.

use std::net::IpAddr;
use std::sync::Arc;

use crate::entropy::Entropy;
use crate::event::{Event, IkeReason};
use crate::ids::TunnelId;
use crate::ike::child_sa::receives_no_more;
use crate::ike::collision;
use crate::ike::connection::Connection;
use crate::ike::ike_sa::IkeSa;
use crate::ike::limits;
use crate::ike::state::State;
use crate::ike::state::established::Estate;
use crate::ike::step::{Notice, Rival, Step};
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::ExchangeType;

use super::Endpoint;

impl Endpoint {
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
                Notice::Expires => self.reauthenticate(tunnel, spi),
                Notice::Down { reason, silent } => {
                    match self.established(tunnel).into_iter().find(|other| *other != spi) {
                        // What was to go in favour of it stays. With several head-ends that may be another one.
                        Some(left) => {
                            self.with_established(left, |state, _, step| state.stay(step));
                            let ends = self.sas.get(&left).map(|sa| (sa.core.path.remote.ip(), sa.core.terms.chosen));
                            if let Some((remote, chosen)) = ends {
                                self.settled(tunnel, remote, chosen);
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
        let rivals = self.rivals(tunnel, spi);
        let Some(IkeSa { core, .. }) = self.sas.get(&spi) else { return };
        let (initiator, remote, heads) = (core.initiator, core.path.remote.ip(), core.tunnel.peers().count());
        let (loses, chosen) = (collision::loses(core, &rivals), collision::is_choice(core, &rivals));
        // A head-end speaks of itself: what another one has is not known to it.
        let speaks_of = |rival: &Rival| rival.is_older_than(core) && rival.is_at_the_same_head_end(core);
        let forgotten: Vec<_> = rivals.into_iter().filter(|rival| initial_contact && speaks_of(rival)).collect();
        self.of(tunnel, |connection, now, entropy| connection.authenticated(now, initiator, entropy));
        if chosen {
            self.with_sa(spi, |sa, _| sa.core.terms.chosen = true);
        }
        if !loses {
            self.settled(tunnel, remote, chosen);
        }
        for rival in forgotten {
            self.forget(rival, "the peer has restarted");
        }
        self.part(tunnel, spi, loses);
        // Each head-end may open its own.
        let most = limits::MAX_ESTABLISHED_PER_TUNNEL + heads - 1;
        for surplus in self.established(tunnel).into_iter().skip(most) {
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
    pub(super) fn settled(&mut self, tunnel: TunnelId, remote: IpAddr, chosen: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&tunnel) else { return };
        let config = Arc::clone(&connection.config);
        if let Some(place) = connection.heads.settled(now, &config, remote, chosen) {
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
    fn part(&mut self, tunnel: TunnelId, spi: IkeSpi, loses: bool) {
        let rivals = self.rivals(tunnel, spi);
        let Some(core) = self.sas.get(&spi).map(|sa| &sa.core) else { return };
        let now = self.now;
        if loses {
            self.with_established(spi, |state, _, _| state.leave_at(now + limits::TWIN_GRACE));
            return;
        }
        let going = rivals.into_iter().filter_map(|rival| Some((rival.own, rival.grace(core)?)));
        for (rival, grace) in going.collect::<Vec<_>>() {
            self.with_established(rival, |state, _, _| state.leave_at(now + grace));
        }
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
}

/// Why a tunnel is not up.
fn sentence(reason: IkeReason, detail: &str) -> String {
    if detail.is_empty() { reason.sentence().to_owned() } else { format!("{}: {detail}", reason.sentence()) }
}
