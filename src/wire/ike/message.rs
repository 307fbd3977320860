//! A whole IKE message: header and outer payloads (RFC 7296 §3.1, §3.2).

use super::chain;
use super::header::{HEADER_LEN, Header};
use super::malformed::Malformed;
use super::payload::Payload;
use crate::wire::writer::Writer;

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
        Self::decode_after(Header::decode(datagram)?, datagram)
    }

    /// The second step of decoding, for those who looked at the header of this datagram first.
    pub fn decode_after(header: Header, datagram: &[u8]) -> Result<Self, Malformed> {
        header.check_length(datagram)?;
        let (_, chain) =
            datagram.split_at_checked(HEADER_LEN).ok_or(Malformed::ShortHeader { have: datagram.len() })?;
        let payloads = chain::decode(header.next_payload, chain, HEADER_LEN)?;
        Ok(Self { header, payloads })
    }

    /// Encodes header and payloads; `header.length` and `header.next_payload` are computed here. For messages
    /// without SK or SKF: those are built by `ike::protect` with [`sealed`](super::sealed).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1024);
        writer.zeros(HEADER_LEN);
        let first = chain::write(&self.payloads, &mut writer);
        let mut bytes = writer.into_bytes();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = Header { next_payload: first, length, ..self.header };
        if let Some(place) = bytes.first_chunk_mut() {
            *place = header.encode();
        }
        bytes
    }
}
