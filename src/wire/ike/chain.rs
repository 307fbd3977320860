//! A chain of payloads behind their generic headers (RFC 7296 §3.2).

use super::numbers::PayloadType;
use super::payload::Payload;

/// Why bytes are not an IKE message or payload chain. `Display` is one sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A field goes past the end.
    #[error(transparent)]
    Truncated(#[from] crate::wire::reader::Truncated),
    // The codec's owner adds one variant per reason.
}

/// Decodes the chain that starts with a payload of type `first`. `origin` is where `bytes` starts in the whole
/// message, for the ranges in SK and SKF.
pub fn decode(first: PayloadType, bytes: &[u8], origin: usize) -> Result<Vec<Payload>, Malformed> {
    todo!("{first} {bytes:?} {origin}")
}

/// Encodes `payloads` and gives the type of the first one.
#[must_use]
pub fn encode(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    todo!("{payloads:?}")
}
