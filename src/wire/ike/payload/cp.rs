//! Configuration payload (RFC 7296 §3.15).

use crate::wire::ike::numbers::CfgType;

/// What a peer asks for or hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Request, reply, set or acknowledgement.
    pub kind: CfgType,
    /// The attributes.
    pub attributes: Vec<Attribute>,
}

/// One configuration attribute (§3.15.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its type, 15 bits.
    pub kind: u16,
    /// Its value; empty in a request.
    pub value: Vec<u8>,
}
