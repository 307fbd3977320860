//! Nonce payload (RFC 7296 §3.9).

/// A nonce of 16 to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(pub Vec<u8>);
