//! Notify payload (RFC 7296 §3.10).

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::{KeMethod, NotifyType, ProtocolId};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// An error or a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The protocol of the SA that `spi` names, or `NONE`.
    pub protocol: ProtocolId,
    /// The SPI of the SA that it concerns; empty if it concerns the IKE SA or none.
    pub spi: Vec<u8>,
    /// What it says.
    pub kind: NotifyType,
    /// What goes with it.
    pub data: Vec<u8>,
}

impl Notify {
    /// A status notification (or any other) that concerns no SA.
    #[must_use]
    pub const fn status(kind: NotifyType, data: Vec<u8>) -> Self {
        // RFC 7296 §3.10: "If the SPI field is empty, this field MUST be sent as zero", said of the Protocol ID.
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data }
    }

    /// An error notification without data that concerns no SA but this one.
    #[must_use]
    pub const fn error(kind: NotifyType) -> Self {
        Self::status(kind, Vec::new())
    }

    /// A notification about one ESP SA: REKEY_SA, CHILD_SA_NOT_FOUND.
    #[must_use]
    pub fn about_esp(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// INVALID_KE_PAYLOAD with the method that is wanted (RFC 7296 §1.3).
    #[must_use]
    pub fn invalid_ke(wanted: KeMethod) -> Self {
        Self::status(NotifyType::INVALID_KE_PAYLOAD, wanted.0.to_be_bytes().to_vec())
    }

    /// The method that an INVALID_KE_PAYLOAD asks for.
    #[must_use]
    pub fn wanted_ke(&self) -> Option<KeMethod> {
        <[u8; 2]>::try_from(self.data.as_slice()).ok().map(|number| KeMethod(u16::from_be_bytes(number)))
    }

    /// The SPI, if it has the length of an ESP or AH SPI.
    #[must_use]
    pub fn esp_spi(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.spi.as_slice()).ok().map(u32::from_be_bytes)
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let protocol = ProtocolId(reader.u8()?);
        let spi_size = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        Ok(Self { protocol, spi, kind, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.protocol.0);
        writer.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        writer.u16(self.kind.0);
        writer.bytes(&self.spi);
        writer.bytes(&self.data);
    }
}
