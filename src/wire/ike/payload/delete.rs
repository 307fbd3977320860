//! Delete payload (RFC 7296 §3.11).

use crate::wire::ike::limits::Budget;
use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::ProtocolId;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The SAs that the sender has removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Which protocol they belong to.
    pub protocol: ProtocolId,
    /// Length of one SPI: 0 for IKE, 4 for ESP and AH.
    pub spi_size: u8,
    /// The SPIs; none for IKE, where the header names the SA.
    pub spis: Vec<Vec<u8>>,
}

impl Delete {
    /// Deletes the IKE SA that the message belongs to.
    #[must_use]
    pub const fn ike() -> Self {
        Self { protocol: ProtocolId::IKE, spi_size: 0, spis: Vec::new() }
    }

    /// Deletes the ESP SAs on which the sender receives under these SPIs.
    #[must_use]
    pub fn esp(spis: impl IntoIterator<Item = u32>) -> Self {
        let spis = spis.into_iter().map(|spi| spi.to_be_bytes().to_vec()).collect();
        Self { protocol: ProtocolId::ESP, spi_size: 4, spis }
    }

    /// The SPIs of the ESP SAs that are deleted; none if the payload is about another protocol.
    pub fn esp_spis(&self) -> impl Iterator<Item = u32> + '_ {
        let spis = if self.protocol == ProtocolId::ESP { self.spis.as_slice() } else { &[] };
        spis.iter().filter_map(|spi| <[u8; 4]>::try_from(spi.as_slice()).ok()).map(u32::from_be_bytes)
    }

    pub(super) fn decode(body: &[u8], budget: &mut Budget) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let protocol = ProtocolId(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u16()?;
        // RFC 7296 §3.11: the SPI Size "MUST be zero for IKE (SPI is in message header) or four for AH and ESP".
        match (protocol, spi_size) {
            (ProtocolId::IKE, 0) | (ProtocolId::AH | ProtocolId::ESP, 4) => {}
            (ProtocolId::IKE | ProtocolId::AH | ProtocolId::ESP, _) => {
                return Err(Flaw::DeleteSpiSize { protocol, spi_size });
            }
            _ => {}
        }
        let have = reader.left();
        if usize::from(count).saturating_mul(usize::from(spi_size)) != have {
            return Err(Flaw::DeleteCount { count, spi_size, have });
        }
        // With SPIs of no length the count says nothing: some peers put 1 there for the IKE SA.
        let mut spis = Vec::new();
        while !reader.is_empty() {
            budget.deleted_spi()?;
            spis.push(reader.take(usize::from(spi_size))?.to_vec());
        }
        Ok(Self { protocol, spi_size, spis })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.protocol.0);
        writer.u8(self.spi_size);
        writer.u16(u16::try_from(self.spis.len()).unwrap_or(u16::MAX));
        for spi in &self.spis {
            writer.bytes(spi);
        }
    }
}
