//! The IKE header (RFC 7296 §3.1). Which version is spoken and which flags belong to a message is decided in `ike`.

use super::malformed::Malformed;
use super::numbers::{ExchangeType, PayloadType};
use crate::wire::reader::{Reader, Truncated};
use crate::wire::writer::Writer;

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

const INITIATOR: u8 = 0x08;
const VERSION: u8 = 0x10;
const RESPONSE: u8 = 0x20;

impl Header {
    /// Decodes the first [`HEADER_LEN`] bytes of a datagram and looks at nothing behind them: enough to find the
    /// IKE SA, the version and the window before a single payload is read.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(datagram)).map_err(|_| Malformed::ShortHeader { have: datagram.len() })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let initiator_spi = reader.u64()?;
        let responder_spi = reader.u64()?;
        let next_payload = PayloadType(reader.u8()?);
        let version = reader.u8()?;
        let exchange = ExchangeType(reader.u8()?);
        let flags = reader.u8()?;
        Ok(Self {
            initiator_spi,
            responder_spi,
            next_payload,
            major: version >> 4,
            minor: version & 0x0f,
            exchange,
            // RFC 7296 §3.1: the other bits "MUST be cleared when sending and MUST be ignored on receipt".
            flags: Flags {
                initiator: flags & INITIATOR != 0,
                version: flags & VERSION != 0,
                response: flags & RESPONSE != 0,
            },
            message_id: reader.u32()?,
            length: reader.u32()?,
        })
    }

    /// Whether the length field is the length of the datagram that the header came in.
    pub fn check_length(&self, datagram: &[u8]) -> Result<(), Malformed> {
        if usize::try_from(self.length) == Ok(datagram.len()) {
            Ok(())
        } else {
            Err(Malformed::MessageLength { header: self.length, datagram: datagram.len() })
        }
    }

    /// Encodes the header as it stands, `next_payload` and `length` included.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let flags = [(self.flags.initiator, INITIATOR), (self.flags.version, VERSION), (self.flags.response, RESPONSE)];
        let flags = flags.into_iter().filter(|&(set, _)| set).fold(0, |bits, (_, bit)| bits | bit);
        let mut bytes = [0; HEADER_LEN];
        let mut fields = Writer::with_capacity(HEADER_LEN);
        fields.u64(self.initiator_spi);
        fields.u64(self.responder_spi);
        fields.u8(self.next_payload.0);
        fields.u8((self.major << 4) | (self.minor & 0x0f));
        fields.u8(self.exchange.0);
        fields.u8(flags);
        fields.u32(self.message_id);
        fields.u32(self.length);
        bytes.copy_from_slice(&fields.into_bytes());
        bytes
    }
}
