//! Extensible Authentication Protocol payload (RFC 7296 §3.16): carried, not looked into.

/// One EAP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eap(pub Vec<u8>);
