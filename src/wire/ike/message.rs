//! A whole IKE message: header and outer payloads.

use super::chain::Malformed;
use super::header::Header;
use super::payload::Payload;

/// A decoded message. What stands inside SK or SKF is still closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The outer payloads.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Decodes one datagram (without the non-ESP marker).
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        todo!("{datagram:?}")
    }

    /// Encodes header and payloads; `header.length` and `header.next_payload` are computed here. For messages
    /// without SK or SKF: those are built by `ike::protect`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
}
