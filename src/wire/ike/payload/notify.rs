//! Notify payload (RFC 7296 §3.10).

use crate::wire::ike::numbers::{NotifyType, ProtocolId};

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
