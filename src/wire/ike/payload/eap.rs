//! Extensible Authentication Protocol payload (RFC 7296 §3.16): carried, not looked into.

use crate::wire::writer::Writer;

/// One EAP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eap(pub Vec<u8>);

impl Eap {
    pub(super) fn decode(body: &[u8]) -> Self {
        Self(body.to_vec())
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }
}
