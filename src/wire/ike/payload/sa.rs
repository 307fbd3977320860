//! Security Association payload (RFC 7296 §3.3).

use crate::wire::ike::numbers::{ProtocolId, TransformType};

/// The proposals, in the sender's order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sa {
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// One proposal (§3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its number, from 1.
    pub number: u8,
    /// What it is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty in IKE_SA_INIT, 8 bytes for an IKE rekey, 4 for ESP.
    pub spi: Vec<u8>,
    /// The transforms offered.
    pub transforms: Vec<Transform>,
}

/// One transform (§3.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// Its number within that type's registry.
    pub id: u16,
    /// Its attributes (§3.3.5).
    pub attributes: Vec<TransformAttribute>,
}

/// One transform attribute (§3.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformAttribute {
    /// Key Length (14), in bits.
    KeyLength(u16),
    /// An attribute in the short form that this endpoint does not know.
    Short {
        /// Its type, 15 bits.
        kind: u16,
        /// Its value.
        value: u16,
    },
    /// An attribute in the long form.
    Long {
        /// Its type, 15 bits.
        kind: u16,
        /// Its value.
        value: Vec<u8>,
    },
}
