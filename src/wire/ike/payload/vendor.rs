//! Vendor ID payload (RFC 7296 §3.12).

use crate::wire::writer::Writer;

/// What a vendor says of itself; nothing depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor(pub Vec<u8>);

impl Vendor {
    pub(super) fn decode(body: &[u8]) -> Self {
        Self(body.to_vec())
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }
}
