//! Nonce payload (RFC 7296 §3.9).

use crate::wire::ike::malformed::Flaw;
use crate::wire::writer::Writer;

const MIN_LEN: usize = 16;
const MAX_LEN: usize = 256;

/// A nonce of 16 to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(pub Vec<u8>);

impl Nonce {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Flaw> {
        // RFC 7296 §3.9: "The size of the Nonce Data MUST be between 16 and 256 octets, inclusive."
        if (MIN_LEN..=MAX_LEN).contains(&body.len()) {
            Ok(Self(body.to_vec()))
        } else {
            Err(Flaw::NonceLength { have: body.len() })
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }
}
