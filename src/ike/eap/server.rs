//! The authenticator of EAP (RFC 3748 §2): it asks, with one method, and a peer that cannot do it is refused.

use super::credentials::Authenticator;
use super::packet::{EapType, Packet};
use super::{Fault, Msk, mschapv2, tls};
use crate::entropy::Entropy;
use crate::ike::limits;

/// What comes of a response.
#[derive(Debug)]
pub enum Verdict {
    /// This goes to the peer.
    Ask(Vec<u8>),
    /// The peer has proved itself. This Success goes to it, and its AUTH is keyed with this key.
    Proven(Vec<u8>, Msk),
    /// It has not. This Failure goes to it.
    Refused(Vec<u8>, Fault),
}

/// One conversation.
pub struct Server {
    kind: EapType,
    identifier: u8,
    stage: Stage,
    rounds: u32,
}

enum Stage {
    /// The peer has been asked who it is.
    Asked(Begin),
    /// EAP-MSCHAPv2 has begun.
    MschapV2(mschapv2::Server),
    /// EAP-TLS has begun.
    Tls(tls::Server),
    /// Over, well or not: nothing more is taken.
    Spent,
}

/// What a method begins with.
struct Begin {
    authenticator: Authenticator,
    name: Vec<u8>,
    unix_now: u64,
}

impl Begin {
    /// The first request of the method, which will have this identifier.
    fn method(&self, identifier: u8, entropy: &mut dyn Entropy) -> Result<(Stage, Vec<u8>), Fault> {
        Ok(match &self.authenticator {
            Authenticator::MschapV2 { users, .. } => {
                let (method, data) = mschapv2::Server::begin(identifier, &self.name, users.clone(), entropy);
                (Stage::MschapV2(method), data)
            }
            Authenticator::Tls { identity, .. } => {
                let (method, data) = tls::Server::begin(identity, self.unix_now)?;
                (Stage::Tls(method), data)
            }
        })
    }
}

/// What a method makes of a response.
enum Turn {
    Ask(Stage, Vec<u8>),
    Done(Msk),
}

impl Server {
    /// Begins. RFC 7296 §3.16: "the responder SHOULD NOT send EAP Identity Requests", so the method comes first, unless
    /// the configuration says that the peer wants to be asked.
    /// `name` is who we say we are; `unix_now`: seconds since 1970, for certificates.
    pub fn begin(
        authenticator: &Authenticator,
        name: &[u8],
        unix_now: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Fault> {
        let [identifier] = entropy.array();
        let begin = Begin { authenticator: authenticator.clone(), name: name.to_vec(), unix_now };
        let (kind, (stage, data)) = if authenticator.asks_identity() {
            (EapType::IDENTITY, (Stage::Asked(begin), Vec::new()))
        } else {
            (authenticator.kind(), begin.method(identifier, entropy)?)
        };
        let asks = Packet::Request { identifier, kind, data: &data }.encode();
        Ok((Self { kind, identifier, stage, rounds: 0 }, asks))
    }

    /// A packet of the peer. After a verdict other than `Ask` nothing is taken any more.
    pub fn handle(&mut self, bytes: &[u8], entropy: &mut dyn Entropy) -> Verdict {
        let stage = std::mem::replace(&mut self.stage, Stage::Spent);
        let identifier = self.identifier;
        match self.respond(stage, bytes, entropy) {
            Ok(Turn::Ask(stage, data)) => {
                self.stage = stage;
                // RFC 3748 §4.1: a new request has a new identifier.
                self.identifier = identifier.wrapping_add(1);
                Verdict::Ask(Packet::Request { identifier: self.identifier, kind: self.kind, data: &data }.encode())
            }
            // RFC 3748 §4.2: the identifier of Success and Failure is that of the response they follow.
            Ok(Turn::Done(msk)) => Verdict::Proven(Packet::Success { identifier }.encode(), msk),
            Err(fault) => Verdict::Refused(Packet::Failure { identifier }.encode(), fault),
        }
    }

    fn respond(&mut self, stage: Stage, bytes: &[u8], entropy: &mut dyn Entropy) -> Result<Turn, Fault> {
        self.rounds += 1;
        if self.rounds > limits::MAX_EAP_ROUNDS {
            return Err(Fault::unexpected("EAP takes too many rounds"));
        }
        let Packet::Response { identifier, kind, data } = Packet::decode(bytes)? else {
            return Err(Fault::unexpected("an EAP packet that no peer sends"));
        };
        if identifier != self.identifier {
            return Err(Fault::unexpected("the EAP response is to another request"));
        }
        if kind == EapType::NAK {
            return Err(Fault::failed("the peer does not do the configured EAP method"));
        }
        if kind != self.kind {
            return Err(Fault::unexpected("the EAP response is of another type than the request"));
        }
        match stage {
            // Whatever it says it is, the method shows who it is.
            Stage::Asked(begin) => {
                let (stage, data) = begin.method(identifier.wrapping_add(1), entropy)?;
                self.kind = begin.authenticator.kind();
                Ok(Turn::Ask(stage, data))
            }
            Stage::MschapV2(method) => Ok(match method.response(data)? {
                mschapv2::Step::Ask(method, data) => Turn::Ask(Stage::MschapV2(method), data),
                mschapv2::Step::Done(msk) => Turn::Done(msk),
            }),
            Stage::Tls(method) => Ok(match method.response(data)? {
                tls::Step::Ask(method, data) => Turn::Ask(Stage::Tls(method), data),
                tls::Step::Done(msk) => Turn::Done(msk),
            }),
            Stage::Spent => Err(Fault::unexpected("an EAP packet after the end")),
        }
    }
}
