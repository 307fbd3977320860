//! Vendor ID payload (RFC 7296 §3.12).

/// What a vendor says of itself; nothing depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor(pub Vec<u8>);
