//! Identification payload (RFC 7296 §3.5).

use crate::wire::ike::numbers::IdType;

/// Who a peer says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// How `data` is meant.
    pub kind: IdType,
    /// The identity.
    pub data: Vec<u8>,
}
