//! The peer of EAP (RFC 3748 §2): it answers requests, and believes in a Success only with the method's key in its hand.

use super::credentials::Credentials;
use super::mschapv2::{self, PasswordHash};
use super::packet::{EapType, Packet};
use super::{Fault, Msk, tls};
use crate::entropy::Entropy;
use crate::ike::limits;

/// What comes of a packet.
#[derive(Debug)]
pub enum Reaction {
    /// This goes back.
    Answer(Vec<u8>),
    /// The method has run to its end, and the authenticator says so.
    Proven(Msk),
}

/// One conversation.
pub struct Peer {
    credentials: Credentials,
    unix_now: u64,
    stage: Stage,
    rounds: u32,
}

enum Stage {
    /// No method has begun.
    Fresh {
        /// Another method was offered, and ours asked for.
        refused_one: bool,
    },
    /// EAP-MSCHAPv2 has begun.
    MschapV2(mschapv2::Peer),
    /// EAP-TLS has begun.
    Tls(tls::Client),
    /// Over, well or not: nothing more is taken.
    Spent,
}

impl Peer {
    /// One that has heard nothing yet. `unix_now`: seconds since 1970, for certificates.
    #[must_use]
    pub fn new(credentials: &Credentials, unix_now: u64) -> Self {
        Self { credentials: credentials.clone(), unix_now, stage: Stage::Fresh { refused_one: false }, rounds: 0 }
    }

    /// A packet of the authenticator. After a fault nothing is taken any more.
    pub fn handle(&mut self, bytes: &[u8], entropy: &mut dyn Entropy) -> Result<Reaction, Fault> {
        let stage = std::mem::replace(&mut self.stage, Stage::Spent);
        self.rounds += 1;
        if self.rounds > limits::MAX_EAP_ROUNDS {
            return Err(Fault::unexpected("EAP takes too many rounds"));
        }
        match Packet::decode(bytes)? {
            Packet::Request { identifier, kind, data } => {
                let (stage, kind, data) = self.request(stage, kind, data, entropy)?;
                self.stage = stage;
                Ok(Reaction::Answer(Packet::Response { identifier, kind, data: &data }.encode()))
            }
            Packet::Response { .. } => Err(Fault::unexpected("an EAP response from the authenticator")),
            // RFC 3748 §4.2: "the peer MUST ... silently discard" a Success that comes before the method allows it. It
            // can only come from somebody who has nothing better to show.
            Packet::Success { .. } => match stage {
                Stage::MschapV2(method) => method.success().map(Reaction::Proven),
                Stage::Tls(method) => method.success().map(Reaction::Proven),
                Stage::Fresh { .. } => Err(Fault::unexpected("EAP-Success before any method")),
                Stage::Spent => Err(spent()),
            },
            Packet::Failure { .. } => {
                let fault = match stage {
                    Stage::MschapV2(method) => method.failure(),
                    Stage::Tls(method) => method.failure(),
                    Stage::Fresh { refused_one: true } => {
                        Fault::failed("the authenticator does not do the configured EAP method")
                    }
                    Stage::Fresh { refused_one: false } => {
                        Fault::failed("the authenticator refuses us before any method")
                    }
                    Stage::Spent => spent(),
                };
                Err(Fault { told: true, ..fault })
            }
        }
    }

    fn request(
        &self,
        stage: Stage,
        kind: EapType,
        data: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(Stage, EapType, Vec<u8>), Fault> {
        match (stage, kind) {
            (Stage::Spent, _) => Err(spent()),
            // RFC 3748 §5.2: "The peer MUST respond to a Notification Request with a Notification Response". Nobody here
            // reads what is shown.
            (stage, EapType::NOTIFICATION) => Ok((stage, kind, Vec::new())),
            // RFC 7296 §3.16: the responder should not ask, since IDi says it; "The initiator MAY, however, respond".
            (stage @ Stage::Fresh { .. }, EapType::IDENTITY) => {
                Ok((stage, kind, self.credentials.user().as_bytes().to_vec()))
            }
            (Stage::Fresh { .. }, kind) if kind == self.credentials.kind() => match &self.credentials {
                Credentials::MschapV2 { user, password } => {
                    let password = std::str::from_utf8(password.expose()).unwrap_or_default();
                    let method = mschapv2::Peer::new(user.as_bytes(), PasswordHash::of(password));
                    let (method, data) = method.request(data, entropy)?;
                    Ok((Stage::MschapV2(method), kind, data))
                }
                Credentials::Tls { identity, .. } => {
                    let (method, data) = tls::Client::new(identity, self.unix_now).request(data)?;
                    Ok((Stage::Tls(method), kind, data))
                }
            },
            // RFC 3748 §5.3.1: what is not done here is answered with a Nak that names what is. Once.
            (Stage::Fresh { refused_one: false }, kind) if kind.is_method() => {
                Ok((Stage::Fresh { refused_one: true }, EapType::NAK, vec![self.credentials.kind().0]))
            }
            (Stage::Fresh { .. }, _) => Err(Fault::failed("the authenticator insists on another EAP method")),
            (Stage::MschapV2(method), EapType::MSCHAPV2) => {
                let (method, data) = method.request(data, entropy)?;
                Ok((Stage::MschapV2(method), kind, data))
            }
            (Stage::Tls(method), EapType::TLS) => {
                let (method, data) = method.request(data)?;
                Ok((Stage::Tls(method), kind, data))
            }
            // RFC 3748 §2.1: within a method "an authenticator MUST NOT send a Request of a different Type".
            (Stage::MschapV2(_) | Stage::Tls(_), _) => Err(Fault::unexpected("another EAP type within a method")),
        }
    }
}

fn spent() -> Fault {
    Fault::unexpected("an EAP packet after the end")
}
