//! The IKE header (RFC 7296 §3.1).

use super::numbers::{ExchangeType, PayloadType};

/// Length of the header on the wire.
pub const HEADER_LEN: usize = 28;

/// An IKE SPI; zero stands for "not yet known" in the responder's place of a first request.
pub type IkeSpi = u64;

/// The header's flags (RFC 7296 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// "I": set by the original initiator of the IKE SA.
    pub initiator: bool,
    /// "V": a higher major version could be spoken.
    pub version: bool,
    /// "R": this message is a response.
    pub response: bool,
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The initiator's SPI.
    pub initiator_spi: IkeSpi,
    /// The responder's SPI.
    pub responder_spi: IkeSpi,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Major version; 2.
    pub major: u8,
    /// Minor version; 0.
    pub minor: u8,
    /// The exchange.
    pub exchange: ExchangeType,
    /// The flags.
    pub flags: Flags,
    /// The message ID.
    pub message_id: u32,
    /// Length of the whole message, header included.
    pub length: u32,
}
