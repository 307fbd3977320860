//! Key Exchange payload (RFC 7296 §3.4).

use crate::wire::ike::numbers::KeMethod;

/// A public value of one key exchange method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ke {
    /// The method, once "DH group number".
    pub method: KeMethod,
    /// The public value.
    pub data: Vec<u8>,
}
