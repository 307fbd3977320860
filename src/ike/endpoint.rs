//! The endpoint: one for all tunnels of a gateway. Here a datagram finds its IKE SA, and an IKE SA its tunnel.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::{Input, Output};
use super::collision;
use super::config::{Config, TunnelConfig};
use super::connection::{Connection, same_negotiation};
use super::cookie::CookieJar;
use super::error::Refusal;
use super::exchange::sa_init::{self, FirstRequest};
use super::half_open::{Admission, Fingerprint, HalfOpen};
use super::ike_sa::{IkeSa, Incoming};
use super::limits;
use super::path::Path;
use super::refusals::Refusals;
use super::state::{Established, State};
use super::status::{self, TunnelStatus};
use super::step::{EspSpis, Notice, Outbox, Rival, Step};
use super::timer::{Agenda, Owner};
use crate::crypto::suite::PrfAlg;
use crate::entropy::Entropy;
use crate::event::{Event, IkeReason};
use crate::ids::{ShapeId, TunnelId};
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::header::{Header, IkeSpi};
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::Notify;

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
    sas: BTreeMap<IkeSpi, IkeSa>,
    esp: EspSpis,
    half_open: HalfOpen,
    cookies: CookieJar,
    fingerprint_key: Secret,
    refusals: Refusals,
    agenda: Agenda,
    out: Outbox,
    entropy: Box<dyn Entropy>,
    shutting_down: bool,
    now: Instant,
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
            connections,
            sas: BTreeMap::new(),
            esp: EspSpis::default(),
            half_open: HalfOpen::default(),
            cookies,
            fingerprint_key,
            refusals: Refusals::default(),
            agenda,
            out: Outbox::new(key_log),
            entropy,
            shutting_down: false,
            now: Instant::ZERO,
        }
    }

    /// Takes over a changed configuration: tunnels that are gone or changed in what was negotiated are deleted, new
    /// ones started, the others left alone.
    pub fn reload(&mut self, now: Instant, config: Arc<Config>) {
        self.now = self.now.max(now);
        self.config = config;
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
            let keeps = same_negotiation(&connection.config, new);
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
                e.insert(Connection::new(new));
                self.tend(id);
            }
        }
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
            Input::Shutdown => {
                self.shutting_down = true;
                for id in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.close_tunnel(id, "the gateway shuts down");
                }
            }
            Input::Timeout => {}
        }
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
        let of = |tunnel: TunnelId| self.sas.values().filter(move |sa| sa.core.tunnel.id == tunnel);
        self.config
            .tunnels
            .iter()
            .filter_map(|tunnel| {
                let connection = self.connections.get(&tunnel.id)?;
                Some(status::of_tunnel(self.now, connection, of(tunnel.id)))
            })
            .collect()
    }

    /// Refused datagrams by reason, those above zero. They never fall.
    pub fn refused(&self) -> impl Iterator<Item = (IkeReason, u64)> + '_ {
        self.refusals.counters()
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

// The way of a datagram to its IKE SA.
impl Endpoint {
    fn datagram(&mut self, path: Path, bytes: &[u8]) {
        if let Err(refusal) = self.demultiplex(path, bytes) {
            self.refusals.count(self.now, &mut self.out, path.remote, refusal.reason);
        }
    }

    fn demultiplex(&mut self, path: Path, datagram: &[u8]) -> Result<(), Refusal> {
        let malformed = |_| Refusal::silent(IkeReason::Malformed);
        if datagram.len() > limits::MAX_DATAGRAM {
            return Err(Refusal::silent(IkeReason::Malformed));
        }
        let header = Header::decode(datagram).map_err(malformed)?;
        header.check_length(datagram).map_err(malformed)?;
        let incoming = Incoming { header, datagram, path };
        if header.initiator_spi == 0 {
            // RFC 7296 §3.1: the initiator's SPI "MUST NOT be zero".
            return Err(Refusal::silent(IkeReason::Malformed));
        }
        if header.major != 2 {
            return Err(self.wrong_version(&incoming));
        }
        if header.responder_spi == 0 && !header.flags.response {
            return self.first_request(&incoming);
        }
        // The I flag says which of the SPIs is ours: that of the other side than the sender's.
        let own = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        let Some(sa) = self.sas.get(&own) else {
            let mirrored = if header.flags.initiator { header.initiator_spi } else { header.responder_spi };
            let reason = if self.sas.contains_key(&mirrored) { IkeReason::Reflected } else { IkeReason::UnknownIkeSpi };
            return Err(Refusal::silent(reason));
        };
        if sa.core.initiator == header.flags.initiator {
            return Err(Refusal::silent(IkeReason::BadFlags));
        }
        self.with_sa(own, |sa, step| sa.handle(step, &incoming)).unwrap_or(Ok(()))
    }

    /// RFC 7296 §2.5: a higher major version is answered with the one that we speak, unprotected and once per request.
    fn wrong_version(&mut self, incoming: &Incoming<'_>) -> Refusal {
        let Header { flags, major, .. } = incoming.header;
        let ours = self.tunnel_of(incoming.path).is_some();
        if ours && major > 2 && !flags.response {
            let notify = Notify::status(NotifyType::INVALID_MAJOR_VERSION, Vec::new());
            self.out.transmit(incoming.path, sa_init::stateless(incoming, notify));
        }
        Refusal::silent(IkeReason::WrongVersion)
    }

    /// The tunnel between these addresses.
    fn tunnel_of(&self, path: Path) -> Option<&Connection> {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        self.connections.values().find(|of| of.config.local == local && of.config.peer == remote)
    }

    /// A message that may open an IKE SA. No state is made before everything that can be checked has been.
    fn first_request(&mut self, incoming: &Incoming<'_>) -> Result<(), Refusal> {
        let header = &incoming.header;
        if header.exchange != ExchangeType::IKE_SA_INIT {
            return Err(Refusal::silent(IkeReason::UnexpectedExchange));
        }
        if !header.flags.initiator {
            return Err(Refusal::silent(IkeReason::BadFlags));
        }
        if header.message_id != 0 {
            return Err(Refusal::silent(IkeReason::OutsideWindow));
        }
        if self.sas.contains_key(&header.initiator_spi) {
            return Err(Refusal::silent(IkeReason::Reflected));
        }
        let Some(connection) = self.tunnel_of(incoming.path) else {
            return Err(Refusal::silent(IkeReason::UnknownPeer));
        };
        let tunnel = Arc::clone(&connection.config);
        if self.shutting_down || !connection.accepts() {
            return Err(Refusal::silent(IkeReason::HeldDown));
        }
        let fingerprint = self.fingerprint(incoming);
        if let Some(spi) = self.half_open.find(&fingerprint) {
            // RFC 7296 §2.1: a retransmitted request gets the same response again.
            let answer = self.sas.get(&spi).and_then(|sa| match &sa.state {
                State::InitAnswered(state) => Some(state.handshake.init_response.clone()),
                _ => None,
            });
            if let Some(answer) = answer {
                self.out.transmit(incoming.path, answer);
            }
            return Err(Refusal::silent(IkeReason::Retransmitted));
        }
        let request = FirstRequest::read(incoming).map_err(|refusal| self.tell(incoming, refusal))?;
        self.check_cookie(incoming, &request)?;
        let spi = self.fresh_spi();
        let rivals = self.rivals(tunnel.id, spi);
        let mut notices = Vec::new();
        let mut step = Step {
            now: self.now,
            entropy: &mut *self.entropy,
            out: &mut self.out,
            esp: &mut self.esp,
            rivals: &rivals,
            notices: &mut notices,
        };
        match sa_init::answer(&mut step, &tunnel, incoming, request, spi) {
            Ok(sa) => {
                self.half_open.insert(spi, fingerprint, incoming.path.remote.ip());
                self.agenda.set(Owner::IkeSa(spi), sa.deadline());
                self.sas.insert(spi, sa);
                Ok(())
            }
            Err(refusal) => {
                if refusal.reason == IkeReason::NoProposalChosen {
                    let detail = refusal.detail.clone().unwrap_or_default();
                    self.declined(tunnel.id, ExchangeType::IKE_SA_INIT, refusal.reason, detail);
                }
                Err(self.tell(incoming, refusal))
            }
        }
    }

    /// Sends what a refusal wants told, without state.
    fn tell(&mut self, incoming: &Incoming<'_>, mut refusal: Refusal) -> Refusal {
        if let Some(notify) = refusal.notify.take() {
            self.out.transmit(incoming.path, sa_init::stateless(incoming, notify));
        }
        refusal
    }

    fn check_cookie(&mut self, incoming: &Incoming<'_>, request: &FirstRequest) -> Result<(), Refusal> {
        let source = incoming.path.remote.ip();
        let threshold = self.config.cookie_threshold.unwrap_or(limits::COOKIE_THRESHOLD);
        match self.half_open.admit(source, threshold) {
            Admission::Open => return Ok(()),
            Admission::Full => return Err(Refusal::silent(IkeReason::TooManyHalfOpen)),
            Admission::Cookie => {}
        }
        let spi = incoming.header.initiator_spi;
        let (now, nonce) = (self.now, &request.nonce);
        if let Some(cookie) = request.cookie()
            && self.cookies.knows(now, &mut *self.entropy, cookie, nonce, source, spi)
        {
            return Ok(());
        }
        let cookie = self.cookies.bake(now, &mut *self.entropy, nonce, source, spi);
        let reason = if request.cookie().is_some() { IkeReason::BadCookie } else { IkeReason::CookieWanted };
        Err(self.tell(incoming, Refusal::told(reason, Notify::status(NotifyType::COOKIE, cookie))))
    }

    fn fingerprint(&self, incoming: &Incoming<'_>) -> Fingerprint {
        let way = format!("{} {}", incoming.path.local, incoming.path.remote);
        let hash = PrfAlg::HmacSha256.prf(self.fingerprint_key.expose(), &[incoming.datagram, way.as_bytes()]);
        hash.expose().try_into().expect("SHA-256 gives 32 bytes")
    }

    /// An IKE SPI that is not in use.
    fn fresh_spi(&mut self) -> IkeSpi {
        loop {
            let spi = sa_init::fresh_spi(&mut *self.entropy);
            if !self.sas.contains_key(&spi) {
                return spi;
            }
        }
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
            // Renewal by CREATE_CHILD_SA with REKEY_SA is not here yet; a successor of the same shape is made, then
            // the old one is deleted.
            SadEvent::SoftLimit { inbound } | SadEvent::HardLimit { inbound } | SadEvent::ForgeryBudget { inbound } => {
                self.with_child(inbound, |state, core, step| state.replace_child(core, step, inbound));
            }
            SadEvent::FirstInbound { inbound } => {
                self.with_child(inbound, |state, _, step| state.inbound_seen(step.now));
            }
            SadEvent::PeerMoved { inbound, remote, local } => self.with_child(inbound, |state, core, step| {
                state.inbound_seen(step.now);
                // RFC 7296 §2.23: only if the peer is behind a NAT.
                if core.nat.remote && core.path.remote != remote {
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

// For tests: a peer that holds the keys and says what no exchange would.
#[cfg(test)]
impl Endpoint {
    /// A message sealed with the keys of our first IKE SA; `offset` is added to the message ID that would be next. The
    /// window does not hear of it.
    pub(super) fn forge(
        &mut self,
        exchange: ExchangeType,
        response: bool,
        offset: i32,
        first: crate::wire::ike::numbers::PayloadType,
        inner: &[u8],
    ) -> Option<(Path, Vec<u8>)> {
        let (core, protection) = self.sas.values_mut().find_map(|sa| match &mut sa.state {
            State::Established(state) => Some((&sa.core, &mut state.protection)),
            State::AuthRequested(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::InitAnswered(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::Closing(state) => Some((&sa.core, &mut state.protection)),
            State::InitRequested(_) | State::Ended => None,
        })?;
        let id = core.window.position(response).wrapping_add_signed(offset);
        let header = core.header(exchange, response, id);
        Some((core.path, protection.seal_chain(&header, first, inner, None, &mut *self.entropy)))
    }

    /// What stands inside a message to our first IKE SA.
    pub(super) fn unseal(&self, datagram: &[u8]) -> Option<Vec<crate::wire::ike::payload::Payload>> {
        use crate::wire::ike::payload::Payload;
        let message = crate::wire::ike::message::Message::decode(datagram).ok()?;
        let Some(Payload::Sk(sk)) = message.payloads.last() else { return None };
        self.sas.values().find_map(|sa| {
            let protection = match &sa.state {
                State::Established(state) => &state.protection,
                State::AuthRequested(state) => &state.handshake.protection,
                State::InitAnswered(state) => &state.handshake.protection,
                State::Closing(state) => &state.protection,
                State::InitRequested(_) | State::Ended => return None,
            };
            let plain = protection.open(datagram, &sk.content).ok()?;
            plain.payloads(sk.first_inner).ok().map(super::protect::Verified::into_inner)
        })
    }
}

// IKE SAs and their connections.
impl Endpoint {
    /// Lets something happen to an IKE SA, and draws the consequences.
    fn with_sa<R>(&mut self, spi: IkeSpi, act: impl FnOnce(&mut IkeSa, &mut Step<'_>) -> R) -> Option<R> {
        let mut sa = self.sas.remove(&spi)?;
        let tunnel = sa.core.tunnel.id;
        let rivals = self.rivals(tunnel, spi);
        let mut notices = Vec::new();
        let mut step = Step {
            now: self.now,
            entropy: &mut *self.entropy,
            out: &mut self.out,
            esp: &mut self.esp,
            rivals: &rivals,
            notices: &mut notices,
        };
        let result = act(&mut sa, &mut step);
        if !sa.state.is_half_open() {
            self.half_open.remove(spi);
        }
        if matches!(sa.state, State::Ended) {
            self.esp.release_all(spi);
            self.agenda.set(Owner::IkeSa(spi), None);
        } else {
            self.agenda.set(Owner::IkeSa(spi), sa.deadline());
            self.sas.insert(spi, sa);
        }
        self.settle(tunnel, spi, notices);
        Some(result)
    }

    fn with_established(
        &mut self,
        spi: IkeSpi,
        act: impl FnOnce(&mut Established, &mut super::ike_sa::Core, &mut Step<'_>),
    ) {
        self.with_sa(spi, |sa, step| {
            if let State::Established(state) = &mut sa.state {
                act(state, &mut sa.core, step);
            }
        });
    }

    /// The established IKE SAs of a tunnel, the best first: those that stay, by lowest SPIs.
    fn established(&self, tunnel: TunnelId) -> Vec<IkeSpi> {
        let mut found: Vec<_> = self
            .sas
            .iter()
            .filter_map(|(spi, sa)| match &sa.state {
                State::Established(state) if sa.core.tunnel.id == tunnel => {
                    Some((state.leaves_soon(), sa.core.spis, *spi))
                }
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, _, spi)| spi).collect()
    }

    fn has_child(&self, tunnel: TunnelId, shape: ShapeId) -> bool {
        self.established(tunnel).iter().any(|spi| match &self.sas.get(spi).map(|sa| &sa.state) {
            Some(State::Established(state)) => state.has_child(shape),
            _ => false,
        })
    }

    fn rivals(&self, tunnel: TunnelId, but: IkeSpi) -> Vec<Rival> {
        self.established(tunnel)
            .into_iter()
            .filter(|spi| *spi != but)
            .filter_map(|spi| {
                let sa = self.sas.get(&spi)?;
                let State::Established(state) = &sa.state else { return None };
                Some(Rival { spis: sa.core.spis, established_at: state.established_at })
            })
            .collect()
    }

    /// What an IKE SA had to say.
    fn settle(&mut self, tunnel: TunnelId, spi: IkeSpi, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        for notice in notices {
            match notice {
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
                Notice::Hearsay { text } => self.of(tunnel, |connection, _, _| connection.why = Some(text)),
                Notice::Declined { exchange, reason, detail } => self.declined(tunnel, exchange, reason, detail),
                Notice::Failed { exchange, reason, detail } => {
                    let why = sentence(reason, &detail);
                    self.of(tunnel, |connection, now, entropy| connection.failed(now, why, entropy));
                    self.report_failure(tunnel, exchange, reason, detail);
                }
                Notice::Down { reason } => {
                    let alone = self.established(tunnel).iter().all(|other| *other == spi);
                    if alone {
                        self.of(tunnel, |connection, now, entropy| connection.lost(now, &reason, entropy));
                    }
                }
            }
        }
        self.tend(tunnel);
    }

    fn of(&mut self, tunnel: TunnelId, act: impl FnOnce(&mut Connection, Instant, &mut dyn Entropy)) {
        if let Some(connection) = self.connections.get_mut(&tunnel) {
            act(connection, self.now, &mut *self.entropy);
        }
    }

    /// What a peer asked for was refused: told once in a while for each reason, for anybody can ask.
    fn declined(&mut self, tunnel: TunnelId, exchange: ExchangeType, reason: IkeReason, detail: String) {
        self.refusals.note(reason);
        let up = !self.established(tunnel).is_empty();
        let Some(connection) = self.connections.get_mut(&tunnel) else { return };
        let why = (!up).then(|| sentence(reason, &detail));
        if connection.declined(self.now, reason, why) {
            self.report_failure(tunnel, exchange, reason, detail);
        }
    }

    fn report_failure(&mut self, tunnel: TunnelId, exchange: ExchangeType, reason: IkeReason, detail: String) {
        let Some(connection) = self.connections.get(&tunnel) else { return };
        let tunnel = connection.config.name.clone();
        self.out.event(Event::NegotiationFailed { tunnel, exchange: exchange.to_string(), reason, detail });
    }

    /// A peer has authenticated: older IKE SAs with it may have to go (see `collision`).
    fn authenticated(&mut self, tunnel: TunnelId, spi: IkeSpi, initial_contact: bool) {
        let Some(sa) = self.sas.get(&spi) else { return };
        let (own, opened_at, initiator) = (sa.core.spis, sa.core.opened_at, sa.core.initiator);
        self.of(tunnel, |connection, now, entropy| connection.authenticated(now, initiator, entropy));
        if initial_contact {
            for rival in self.rivals(tunnel, spi).into_iter().filter(|rival| rival.established_at < opened_at) {
                self.forget(rival, "the peer has restarted");
            }
        }
        let rivals = self.rivals(tunnel, spi);
        let leaves_at = self.now + limits::TWIN_GRACE;
        if collision::loses(own, &rivals) {
            self.with_established(spi, |state, _, _| state.leave_at(leaves_at));
        } else {
            for rival in rivals {
                let other = self.own_spi(rival);
                self.with_established(other, |state, _, _| state.leave_at(leaves_at));
            }
        }
        for surplus in self.established(tunnel).into_iter().skip(limits::MAX_ESTABLISHED_PER_TUNNEL) {
            self.with_sa(surplus, |sa, step| sa.close(step, "too many IKE SAs with one peer"));
        }
        // Our own attempt that nobody has answered yet is not needed any more.
        let attempts: Vec<_> = self
            .sas
            .iter()
            .filter(|(other, sa)| {
                **other != spi && sa.core.tunnel.id == tunnel && matches!(sa.state, State::InitRequested(_))
            })
            .map(|(other, _)| *other)
            .collect();
        for other in attempts {
            self.with_sa(other, |sa, step| sa.close(step, "the peer was first"));
        }
    }

    fn own_spi(&self, rival: Rival) -> IkeSpi {
        if self.sas.contains_key(&rival.spis.initiator) { rival.spis.initiator } else { rival.spis.responder }
    }

    /// Ends an IKE SA of which the peer knows nothing any more.
    fn forget(&mut self, rival: Rival, reason: &str) {
        let spi = self.own_spi(rival);
        self.with_sa(spi, |sa, step| {
            let state = std::mem::replace(&mut sa.state, State::Ended);
            if let State::Established(state) = state {
                sa.state = state.end(&mut sa.core, step, reason);
            }
        });
    }

    fn close_tunnel(&mut self, tunnel: TunnelId, reason: &str) {
        let all: Vec<_> = self.sas.iter().filter(|(_, sa)| sa.core.tunnel.id == tunnel).map(|(spi, _)| *spi).collect();
        for spi in all {
            self.with_sa(spi, |sa, step| sa.close(step, reason));
        }
    }

    /// After a reload: IKE SAs live on under the new configuration, child SAs whose selectors are gone do not.
    fn adopt(&mut self, tunnel: TunnelId, config: &Arc<TunnelConfig>) {
        let all: Vec<_> = self.sas.iter().filter(|(_, sa)| sa.core.tunnel.id == tunnel).map(|(spi, _)| *spi).collect();
        for spi in all {
            self.with_sa(spi, |sa, step| {
                let old = std::mem::replace(&mut sa.core.tunnel, Arc::clone(config));
                let stays = |shape: ShapeId| {
                    let before = old.children.iter().find(|child| child.shape == shape);
                    before.is_some_and(|before| config.children.contains(before))
                };
                if let State::Established(state) = &mut sa.state {
                    state.drop_children(&mut sa.core, step, |child| stays(child.agreed.shape));
                }
            });
        }
    }

    /// Brings a tunnel nearer to what is wanted of it, and sets the time of its next wish.
    fn tend(&mut self, tunnel: TunnelId) {
        if self.shutting_down {
            return;
        }
        let Some(connection) = self.connections.get(&tunnel) else { return };
        let established = self.established(tunnel).first().copied();
        let attempt = self.sas.values().any(|sa| sa.core.tunnel.id == tunnel && sa.state.is_attempt());
        let wanted = connection.wanted();
        if let Some(spi) = established {
            let has = |shape: &ShapeId| matches!(self.sas.get(&spi), Some(IkeSa { state: State::Established(state), .. }) if state.has_child(*shape));
            let missing: Vec<_> = wanted.into_iter().filter(|shape| !has(shape)).collect();
            let (due, later): (Vec<_>, Vec<_>) =
                missing.into_iter().partition(|shape| connection.is_child_due(self.now, *shape));
            let deadline = connection.deadline(true, attempt, &later);
            self.agenda.set(Owner::Connection(tunnel), deadline);
            for shape in due {
                self.with_established(spi, |state, core, step| state.want_child(core, step, shape));
            }
            return;
        }
        if !attempt && connection.wants_ike_sa(self.now) {
            let config = Arc::clone(&connection.config);
            self.begin(&config, wanted.first().copied());
            self.agenda.set(Owner::Connection(tunnel), None);
            return;
        }
        let deadline = connection.deadline(false, attempt, &[]);
        self.agenda.set(Owner::Connection(tunnel), deadline);
    }

    /// Opens an IKE SA.
    fn begin(&mut self, tunnel: &Arc<TunnelConfig>, first: Option<ShapeId>) {
        let spi = self.fresh_spi();
        let rivals = self.rivals(tunnel.id, spi);
        let mut notices = Vec::new();
        let mut step = Step {
            now: self.now,
            entropy: &mut *self.entropy,
            out: &mut self.out,
            esp: &mut self.esp,
            rivals: &rivals,
            notices: &mut notices,
        };
        if let Some(sa) = sa_init::begin(&mut step, tunnel, spi, first) {
            self.agenda.set(Owner::IkeSa(spi), sa.deadline());
            self.sas.insert(spi, sa);
        }
    }
}

/// Why a tunnel is not up.
fn sentence(reason: IkeReason, detail: &str) -> String {
    if detail.is_empty() { reason.sentence().to_owned() } else { format!("{}: {detail}", reason.sentence()) }
}
