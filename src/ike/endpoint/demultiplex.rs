//! The way of a datagram to its IKE SA: the SPIs of its header, or a stranger's first request (RFC 7296 §2.6, §2.21.4).

use std::sync::Arc;

use crate::crypto::suite::PrfAlg;
use crate::event::IkeReason;
use crate::ike::account::{self, Heard, Outcome, Said, Topic};
use crate::ike::connection::Connection;
use crate::ike::error::Refusal;
use crate::ike::exchange::sa_init::{self, FirstRequest};
use crate::ike::half_open::{Admission, Fingerprint};
use crate::ike::ike_sa::Incoming;
use crate::ike::limits;
use crate::ike::path::Path;
use crate::ike::state::State;
use crate::wire::ike::header::{Header, IkeSpi};
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
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
        let (local, remote) = (path.local.ip(), path.remote.ip());
        self.connections.values().find(|of| of.config.local == local && of.config.is_peer(remote))
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
        self.check_cookie(incoming, &request)?;
        let spi = self.fresh_spi();
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
                self.half_open.insert(spi, fingerprint, incoming.path.remote.ip());
                self.insert(sa);
                Ok(())
            }
            Err(refusal) => {
                if matches!(refusal.reason, IkeReason::NoProposalChosen | IkeReason::PostQuantumRequired) {
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

    pub(super) fn check_cookie(&mut self, incoming: &Incoming<'_>, request: &FirstRequest) -> Result<(), Refusal> {
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
