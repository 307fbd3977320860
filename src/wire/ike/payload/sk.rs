//! Encrypted and Authenticated payload (RFC 7296 §3.14), still closed.

use std::ops::Range;

use crate::wire::ike::numbers::PayloadType;

/// Where the closed content stands in its datagram. Opening it is `ike::protect`'s work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Type of the first payload inside.
    pub first_inner: PayloadType,
    /// IV, ciphertext and integrity checksum, as a range of the whole message.
    pub content: Range<usize>,
}
