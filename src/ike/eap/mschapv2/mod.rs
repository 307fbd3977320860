//! EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2): a user and a password, both sides showing that they know it.
//!
//! ```text
//! peer                                          authenticator
//!                                          <--  Challenge (16 bytes, name)
//! Response (challenge, NT response, user)  -->
//!                                          <--  Success request (S=authenticator response)
//! Success response                         -->
//!                                          <--  EAP-Success
//! or, after the Response,                  <--  Failure request (E=691 R=0)
//! Failure response                         -->
//!                                          <--  EAP-Failure
//! ```
//! It stands on MD4 and single DES, whose whole key space can be searched: who sees the exchange learns the hash of the
//! password. Inside IKE only the other end of the IKE SA sees it, and our peer shows nothing before that end has proved
//! itself; all the same it is only used where the configuration gives a reason for it.
//!
//! Left out: retries (R=1) and the change of passwords (opcode 7).

mod legacy;
mod message;
mod peer;
mod server;
mod users;

pub use legacy::PasswordHash;
pub use peer::Peer;
pub use server::{Server, Step};
pub use users::Users;
