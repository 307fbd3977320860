//! The authenticator's side of EAP-TLS, which is the server of TLS.

use super::conversation::{Conversation, Turn};
use super::fragment;
use super::identity::ServerIdentity;
use crate::ike::eap::{Fault, Msk};

/// TLS is under way.
pub struct Server {
    conversation: Box<Conversation>,
}

/// What comes of a response.
pub enum Step {
    /// Another request, with this data.
    Ask(Server, Vec<u8>),
    /// Both sides have proved themselves.
    Done(Msk),
}

impl Server {
    /// The first request.
    pub fn begin(identity: &ServerIdentity, unix_now: u64) -> Result<(Self, Vec<u8>), Fault> {
        let conversation = Box::new(Conversation::new(identity.accept(unix_now)?));
        Ok((Self { conversation }, fragment::start()))
    }

    /// A response of this method.
    pub fn response(mut self, data: &[u8]) -> Result<Step, Fault> {
        match self.conversation.hear(data)? {
            Turn::Say(data) => Ok(Step::Ask(self, data)),
            Turn::Silence if self.conversation.is_complete() => self.conversation.msk().map(Step::Done),
            Turn::Silence => {
                let silent = Fault::unexpected("the peer has nothing to say before EAP-TLS has run to its end");
                Err(self.conversation.fault().unwrap_or(silent))
            }
        }
    }
}
