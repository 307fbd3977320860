//! The peer's side: a user with a password.

use subtle::ConstantTimeEq;

use super::legacy::{CHALLENGE_LEN, Exchange, PasswordHash, msk};
use super::message::{self, FromServer};
use crate::entropy::Entropy;
use crate::ike::eap::{Fault, Msk};

/// Where the peer stands. Each step consumes the one before.
pub enum Peer {
    /// It waits for the challenge.
    Waiting {
        /// Who it is.
        user: Vec<u8>,
        /// What it knows.
        password: PasswordHash,
    },
    /// It has shown its proof, and waits for the other side's.
    Shown {
        /// What the authenticator has to show.
        expected: [u8; 20],
        /// What comes out then.
        msk: Msk,
    },
    /// Both have shown their proof.
    Done(Msk),
    /// The proof was refused.
    Refused(Fault),
}

impl Peer {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new(user: &[u8], password: PasswordHash) -> Self {
        Self::Waiting { user: user.to_vec(), password }
    }

    /// A request of this method: what it becomes, and the data of the response.
    pub fn request(self, data: &[u8], entropy: &mut dyn Entropy) -> Result<(Self, Vec<u8>), Fault> {
        match (self, FromServer::decode(data)?) {
            (Self::Waiting { user, password }, FromServer::Challenge { id, challenge }) => {
                let own = entropy.array::<CHALLENGE_LEN>();
                let exchange = Exchange { authenticator_challenge: &challenge, peer_challenge: &own, name: &user };
                let response = exchange.response(&password);
                let expected = exchange.authenticator_response(&password, &response);
                let answer = message::response(id, &own, &response, &user);
                Ok((Self::Shown { expected, msk: msk(&password, &response) }, answer))
            }
            (Self::Shown { expected, msk }, FromServer::Success { shown: Some(shown) }) => {
                // RFC 2759 §5: the peer verifies the authenticator response, and ends the connection if it is wrong.
                if !bool::from(shown.ct_eq(&expected)) {
                    return Err(Fault::failed("the authenticator does not know the password"));
                }
                Ok((Self::Done(msk), message::success_response()))
            }
            (Self::Shown { .. }, FromServer::Success { shown: None }) => {
                Err(Fault::malformed("the authenticator's proof is not 40 hexadecimal digits"))
            }
            (Self::Shown { .. }, FromServer::Failure { error }) => {
                Ok((Self::Refused(Fault::failed(meaning(error))), message::failure_response()))
            }
            _ => Err(Fault::unexpected("an MSCHAPv2 request out of its turn")),
        }
    }

    /// EAP says that all is well.
    pub fn success(self) -> Result<Msk, Fault> {
        match self {
            Self::Done(msk) => Ok(msk),
            Self::Refused(fault) => Err(fault),
            Self::Waiting { .. } | Self::Shown { .. } => {
                Err(Fault::unexpected("EAP-Success before MSCHAPv2 has run to its end"))
            }
        }
    }

    /// EAP says that it failed.
    #[must_use]
    pub fn failure(self) -> Fault {
        match self {
            Self::Refused(fault) => fault,
            _ => Fault::failed("the authenticator ended MSCHAPv2 with EAP-Failure"),
        }
    }
}

/// RFC 2759 §6.
fn meaning(error: Option<u32>) -> &'static str {
    match error {
        Some(646) => "the authenticator says: not at this time of day",
        Some(647) => "the authenticator says: the account is disabled",
        Some(648) => "the authenticator says: the password has expired",
        Some(649) => "the authenticator says: this user may not dial in",
        Some(691) => "the authenticator says: wrong user or password",
        _ => "the authenticator refuses user or password",
    }
}
