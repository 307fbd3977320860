//! The authenticator's side: users and the hashes of their passwords.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::legacy::{CHALLENGE_LEN, Exchange, msk};
use super::message::{self, FromPeer};
use super::users::Users;
use crate::entropy::Entropy;
use crate::ike::eap::{Fault, Msk};

/// Where the authenticator stands. Each step consumes the one before.
pub enum Server {
    /// It has sent its challenge.
    Challenged {
        /// MS-CHAPv2-ID of it.
        id: u8,
        /// The challenge.
        challenge: [u8; CHALLENGE_LEN],
        /// What nobody's password hashes to.
        decoy: [u8; 16],
        /// Who may come.
        users: Arc<Users>,
    },
    /// The peer's proof was right, and it has been shown ours.
    Shown(Msk),
    /// The peer's proof was wrong, and it has been told.
    Refused,
}

/// What comes of a response.
pub enum Step {
    /// Another request, with this data.
    Ask(Server, Vec<u8>),
    /// Both have shown their proof.
    Done(Msk),
}

impl Server {
    /// The first request.
    pub fn begin(id: u8, name: &[u8], users: Arc<Users>, entropy: &mut dyn Entropy) -> (Self, Vec<u8>) {
        let (challenge, decoy) = (entropy.array(), entropy.array());
        let asks = message::challenge(id, &challenge, name);
        (Self::Challenged { id, challenge, decoy, users }, asks)
    }

    /// A response of this method.
    pub fn response(self, data: &[u8]) -> Result<Step, Fault> {
        match (self, FromPeer::decode(data)?) {
            (
                Self::Challenged { id, challenge, decoy, users },
                FromPeer::Response { id: echoed, challenge: of_peer, response, name },
            ) => {
                if echoed != id {
                    return Err(Fault::unexpected("the MSCHAPv2 response is to another challenge"));
                }
                // Whoever it is: the same work, and for a stranger the same answer as for a wrong password.
                let password = users.hash_of(name, decoy);
                let exchange = Exchange { authenticator_challenge: &challenge, peer_challenge: &of_peer, name };
                let right = bool::from(exchange.response(&password).ct_eq(&response));
                let shown = exchange.authenticator_response(&password, &response);
                let msk = msk(&password, &response);
                Ok(if right {
                    Step::Ask(Self::Shown(msk), message::success(id, &shown))
                } else {
                    Step::Ask(Self::Refused, message::failure(id, &challenge))
                })
            }
            // It comes out here alone: the proof was right, and the peer has seen ours.
            (Self::Shown(msk), FromPeer::Success) => Ok(Step::Done(msk)),
            (Self::Refused, FromPeer::Failure) => Err(Fault::failed("wrong user or password")),
            (Self::Shown(_), FromPeer::Failure) => Err(Fault::failed("the peer does not believe our proof")),
            _ => Err(Fault::unexpected("an MSCHAPv2 response out of its turn")),
        }
    }
}
