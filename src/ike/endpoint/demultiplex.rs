//! The way of a datagram to its IKE SA: the SPIs of its header, or a stranger's first request (RFC 7296 §2.6, §2.21.4).

use std::sync::Arc;

use crate::crypto::suite::PrfAlg;
use crate::event::IkeReason;
use crate::ike::account::{self, Heard, Outcome, Said, Topic};
use crate::ike::connection::Connection;
use crate::ike::error::Refusal;
use crate::ike::exchange::sa_init::{self, FirstRequest};
use crate::ike::flood;
use crate::ike::half_open::{Admission, Fingerprint};
use crate::ike::ike_sa::Incoming;
use crate::ike::keymat::Spis;
use crate::ike::limits;
use crate::ike::path::{NAT_PORT, Path};
use crate::ike::puzzle::Puzzle;
use crate::ike::state::State;
use crate::wire::ike::header::{Header, IkeSpi};
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::payload::Notify;

use super::Endpoint;

impl Endpoint {
    pub(super) fn datagram(&mut self, path: Path, bytes: &[u8]) {
        if let Err(refusal) = self.demultiplex(path, bytes) {
            self.refusals.count(self.now, &mut self.out, path.remote, refusal.reason);
        }
    }

    pub(super) fn demultiplex(&mut self, path: Path, datagram: &[u8]) -> Result<(), Refusal> {
        let malformed = |_| Refusal::silent(IkeReason::Malformed);
        if datagram.len() > limits::MAX_DATAGRAM {
            return Err(Refusal::silent(IkeReason::Malformed));
        }
        let header = Header::decode(datagram).map_err(malformed)?;
        if flood::is_first(&header) {
            let peer = self.ends.tunnel(path).map(|_| path.remote.ip());
            let nat_t = path.local.port() == NAT_PORT;
            self.floods[usize::from(nat_t)].count(self.now, peer, flood::Kind::of(&header));
        }
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
            if self.sas.contains_key(&mirrored) {
                return Err(Refusal::silent(IkeReason::Reflected));
            }
            self.tell_of_crash(&incoming);
            return Err(Refusal::silent(IkeReason::UnknownIkeSpi));
        };
        if sa.core.initiator == header.flags.initiator {
            return Err(Refusal::silent(IkeReason::BadFlags));
        }
        self.with_sa(own, |sa, step| sa.handle(step, &incoming)).unwrap_or(Ok(()))
    }

    /// A protected request within an IKE SA that is not there: perhaps it was, before we started. RFC 6290 §4.5: the peer
    /// gets INVALID_IKE_SPI and the token that it knows.
    ///
    /// §9.2: a token of an IKE SA that stands must never leave in the clear. Neither SPI is one of ours here.
    fn tell_of_crash(&mut self, incoming: &Incoming<'_>) {
        let header = &incoming.header;
        let protected = [PayloadType::SK, PayloadType::SKF].contains(&header.next_payload);
        if header.flags.response || !protected || header.exchange == ExchangeType::IKE_SA_INIT || self.shutting_down {
            return;
        }
        let known = self.tunnel_of(incoming.path).is_some();
        let Some(tokens) = self.tokens.as_mut().filter(|_| known) else { return };
        let spis = Spis { initiator: header.initiator_spi, responder: header.responder_spi };
        let token = tokens.token(spis, !header.flags.initiator);
        let answer = sa_init::stateless_about(incoming, vec![Notify::error(NotifyType::INVALID_IKE_SPI), token]);
        let short = answer.len() * 100 <= incoming.datagram.len() * limits::MAX_AMPLIFICATION;
        if !short || !tokens.may_answer(self.now) {
            return;
        }
        // What the peer's answer to our rekeying makes will stand in a moment.
        let own = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        let coming = self.sas.values().any(|sa| matches!(&sa.state, State::Established(state) if state.makes(own)));
        if !coming {
            self.out.transmit(incoming.path, answer);
        }
    }

    /// RFC 7296 §2.5: a higher major version is answered with the one that we speak, unprotected and once per request.
    pub(super) fn wrong_version(&mut self, incoming: &Incoming<'_>) -> Refusal {
        let Header { flags, major, .. } = incoming.header;
        let ours = self.tunnel_of(incoming.path).is_some();
        if ours && major > 2 && !flags.response {
            let notify = Notify::status(NotifyType::INVALID_MAJOR_VERSION, Vec::new());
            self.out.transmit(incoming.path, sa_init::stateless(incoming, notify));
        }
        Refusal::silent(IkeReason::WrongVersion)
    }

    /// The tunnel between these addresses.
    pub(super) fn tunnel_of(&self, path: Path) -> Option<&Connection> {
        self.connections.get(&self.ends.tunnel(path)?)
    }

    /// A message that may open an IKE SA. No state is made before everything that can be checked has been.
    pub(super) fn first_request(&mut self, incoming: &Incoming<'_>) -> Result<(), Refusal> {
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
        if connection.closed().is_some() {
            return Err(Refusal::silent(IkeReason::AgreementClosed));
        }
        if self.shutting_down || !connection.accepts() {
            return Err(Refusal::silent(IkeReason::HeldDown));
        }
        if tunnel.local_auth.is_eap() {
            return Err(Refusal::silent(IkeReason::NotResponder));
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
        let reachable = self.check_cookie(incoming, &request)?;
        let spi = self.fresh_spi();
        let nonce = request.nonce.clone();
        let said = Said::in_clear(Some(&request.sa), Some(&request.ke), &request.notifies);
        let (answered, _) = self.step(tunnel.id, spi, |step| sa_init::answer(step, &tunnel, incoming, request, spi));
        let outcome = match &answered {
            Ok(_) => Outcome::Agreed,
            Err(refusal) => account::failed(refusal.reason, refusal.detail.as_deref().unwrap_or_default()),
        };
        let heard = Heard { topic: Topic::IkeSaInit, by_us: false, said, outcome };
        self.of(tunnel.id, |connection, now, _| connection.accounts.hear(now, spi, heard));
        match answered {
            Ok(sa) => {
                let answer = match &sa.state {
                    State::InitAnswered(state) => state.handshake.init_response.clone(),
                    _ => Vec::new(),
                };
                // Nobody is sent much more than was asked for before it has been seen to receive it.
                if !reachable && answer.len() * 100 > incoming.datagram.len() * limits::MAX_AMPLIFICATION {
                    self.half_open.be_wary(self.now);
                    return Err(self.ask(incoming, &nonce, None, IkeReason::CookieWanted));
                }
                self.out.transmit(incoming.path, answer);
                self.half_open.insert(spi, fingerprint, incoming.path.remote.ip());
                self.insert(sa);
                Ok(())
            }
            Err(refusal) => {
                if refusal.reason == IkeReason::InvalidKe && refusal.notify.is_none() && !reachable {
                    // A key agreement for nothing: the next one costs its sender a round trip.
                    self.half_open.be_wary(self.now);
                }
                if matches!(
                    refusal.reason,
                    IkeReason::NoProposalChosen | IkeReason::PostQuantumRequired | IkeReason::PpkRequired
                ) {
                    let detail = refusal.detail.clone().unwrap_or_default();
                    self.declined(tunnel.id, ExchangeType::IKE_SA_INIT, refusal.reason, detail);
                }
                Err(self.tell(incoming, refusal))
            }
        }
    }

    /// Sends what a refusal wants told, without state.
    pub(super) fn tell(&mut self, incoming: &Incoming<'_>, mut refusal: Refusal) -> Refusal {
        if let Some(notify) = refusal.notify.take() {
            self.out.transmit(incoming.path, sa_init::stateless(incoming, notify));
        }
        refusal
    }

    /// Whether a first request may cost us a key agreement; whether it has shown that its sender can be reached.
    pub(super) fn check_cookie(&mut self, incoming: &Incoming<'_>, request: &FirstRequest) -> Result<bool, Refusal> {
        let source = incoming.path.remote.ip();
        let threshold = self.config.cookie_threshold.unwrap_or(limits::COOKIE_THRESHOLD);
        let wanted = match self.half_open.admit(self.now, source, threshold, self.config.puzzles) {
            Admission::Open => return Ok(self.returned_cookie(incoming, request).is_some()),
            Admission::Cookie => None,
            Admission::Puzzle(difficulty) => Puzzle::pose(&request.sa, difficulty),
            Admission::Full => return Err(Refusal::silent(IkeReason::TooManyHalfOpen)),
        };
        let Some(posed) = self.returned_cookie(incoming, request) else {
            let reason = match (request.cookie(), wanted) {
                (Some(_), _) => IkeReason::BadCookie,
                (None, Some(_)) => IkeReason::PuzzleWanted,
                (None, None) => IkeReason::CookieWanted,
            };
            return Err(self.ask(incoming, &request.nonce, wanted, reason));
        };
        let Some(wanted) = wanted else { return Ok(true) };
        let posed = Puzzle::pose(&request.sa, posed).filter(|puzzle| puzzle.difficulty > 0);
        match (posed, request.cookie(), &request.solution) {
            (Some(posed), Some(cookie), Some(solution)) if posed.is_solved_by(cookie, solution) => Ok(true),
            // RFC 8019 §7.1.4: a request without a solution is served now and then, for peers that know no puzzles.
            (Some(_), _, None) if self.entropy.below(limits::UNSOLVED_SHARE) == 0 => Ok(true),
            (Some(_), _, Some(_)) => Err(self.ask(incoming, &request.nonce, Some(wanted), IkeReason::BadSolution)),
            _ => Err(self.ask(incoming, &request.nonce, Some(wanted), IkeReason::PuzzleWanted)),
        }
    }

    /// The difficulty that went with the cookie, if it is one of ours.
    fn returned_cookie(&mut self, incoming: &Incoming<'_>, request: &FirstRequest) -> Option<u8> {
        let (source, spi) = (incoming.path.remote.ip(), incoming.header.initiator_spi);
        self.cookies.knows(self.now, &mut *self.entropy, request.cookie()?, &request.nonce, source, spi)
    }

    /// Asks for a cookie, and for the solution of a puzzle.
    fn ask(&mut self, incoming: &Incoming<'_>, nonce: &[u8], puzzle: Option<Puzzle>, reason: IkeReason) -> Refusal {
        let (source, spi) = (incoming.path.remote.ip(), incoming.header.initiator_spi);
        let difficulty = puzzle.map_or(0, |puzzle| puzzle.difficulty);
        let cookie = self.cookies.bake(self.now, &mut *self.entropy, difficulty, nonce, source, spi);
        let mut notifies = vec![Notify::status(NotifyType::COOKIE, cookie)];
        notifies.extend(puzzle.map(Puzzle::notify));
        self.out.transmit(incoming.path, sa_init::stateless_with(incoming, notifies));
        Refusal::silent(reason)
    }

    pub(super) fn fingerprint(&self, incoming: &Incoming<'_>) -> Fingerprint {
        let way = format!("{} {}", incoming.path.local, incoming.path.remote);
        let hash = PrfAlg::HmacSha256.prf(self.fingerprint_key.expose(), &[incoming.datagram, way.as_bytes()]);
        hash.expose().try_into().expect("SHA-256 gives 32 bytes")
    }

    /// An IKE SPI that is not in use.
    pub(super) fn fresh_spi(&mut self) -> IkeSpi {
        loop {
            let spi = sa_init::fresh_spi(&mut *self.entropy);
            if !self.sas.contains_key(&spi) {
                return spi;
            }
        }
    }
}
