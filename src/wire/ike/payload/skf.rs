//! Encrypted and Authenticated Fragment payload (RFC 7383 §2.5), still closed.

use std::ops::Range;

use crate::wire::ike::numbers::PayloadType;

/// One fragment of an encrypted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedFragment {
    /// Type of the first payload inside: set in fragment 1, zero in the others.
    pub first_inner: PayloadType,
    /// This fragment's number, from 1.
    pub number: u16,
    /// How many fragments there are.
    pub total: u16,
    /// IV, ciphertext and integrity checksum, as a range of the whole message.
    pub content: Range<usize>,
}
