//! Delete payload (RFC 7296 §3.11).

use crate::wire::ike::numbers::ProtocolId;

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
