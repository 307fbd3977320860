//! The peer's side of EAP-TLS, which is the client of TLS.

use std::sync::Arc;

use super::conversation::{Conversation, Turn};
use super::fragment::{self, Fragment};
use super::identity::ClientIdentity;
use crate::ike::eap::{Fault, Msk};

/// Where the peer stands. Each step consumes the one before.
pub enum Client {
    /// It waits for the start.
    Waiting {
        /// With what it will speak.
        identity: Arc<ClientIdentity>,
        /// Seconds since 1970.
        unix_now: u64,
    },
    /// TLS is under way.
    Speaking(Box<Conversation>),
    /// Both sides have proved themselves.
    Done(Msk),
}

impl Client {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new(identity: &Arc<ClientIdentity>, unix_now: u64) -> Self {
        Self::Waiting { identity: Arc::clone(identity), unix_now }
    }

    /// A request of this method: what it becomes, and the data of the response.
    pub fn request(self, data: &[u8]) -> Result<(Self, Vec<u8>), Fault> {
        match self {
            Self::Waiting { identity, unix_now } => {
                if !Fragment::decode(data)?.start {
                    return Err(Fault::unexpected("EAP-TLS does not begin with its start"));
                }
                let mut conversation = Conversation::new(identity.connect(unix_now)?);
                match conversation.begin() {
                    Turn::Say(data) => Ok((Self::Speaking(Box::new(conversation)), data)),
                    Turn::Silence => Err(Fault::failed("TLS has nothing to say")),
                }
            }
            Self::Speaking(mut conversation) => {
                let turn = conversation.hear(data)?;
                match turn {
                    Turn::Say(data) => Ok((Self::Speaking(conversation), data)),
                    // RFC 5216 §2.1.3: the peer answers the authenticator's last message with an empty response.
                    Turn::Silence if conversation.is_complete() => {
                        Ok((Self::Done(conversation.msk()?), fragment::acknowledgement()))
                    }
                    // TLS waits, or it has ended with the other side's alert: RFC 5216 §2.1.3 has the peer answer, and
                    // EAP-Failure follows.
                    Turn::Silence => Ok((Self::Speaking(conversation), fragment::acknowledgement())),
                }
            }
            Self::Done(_) => Err(Fault::unexpected("an EAP-TLS request after its end")),
        }
    }

    /// EAP says that all is well.
    pub fn success(self) -> Result<Msk, Fault> {
        match self {
            Self::Done(msk) => Ok(msk),
            Self::Speaking(conversation) => {
                Err(conversation.fault().unwrap_or(Fault::unexpected("EAP-Success before EAP-TLS has run to its end")))
            }
            Self::Waiting { .. } => Err(Fault::unexpected("EAP-Success before EAP-TLS has begun")),
        }
    }

    /// EAP says that it failed.
    #[must_use]
    pub fn failure(self) -> Fault {
        let told = Fault::failed("the authenticator ended EAP-TLS with EAP-Failure");
        match self {
            Self::Speaking(conversation) => conversation.fault().unwrap_or(told),
            _ => told,
        }
    }
}
