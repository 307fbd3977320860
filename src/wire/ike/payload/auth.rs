//! Authentication payload (RFC 7296 §3.8).

use crate::wire::ike::numbers::AuthMethod;

/// The proof that the sender knows its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How the proof was made.
    pub method: AuthMethod,
    /// The proof.
    pub data: Vec<u8>,
}
