//! Encrypted and Authenticated Fragment payload (RFC 7383 §2.5), still closed.

use std::ops::Range;

use crate::wire::ike::malformed::Flaw;
use crate::wire::ike::numbers::PayloadType;
use crate::wire::reader::Reader;

/// One fragment of an encrypted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedFragment {
    /// Type of the first payload inside: set in fragment 1, zero in the others.
    pub first_inner: PayloadType,
    /// This fragment's number, from 1.
    pub number: u16,
    /// How many fragments there are.
    pub total: u16,
    /// IV, ciphertext and integrity checksum, as a range of the whole message.
    pub content: Range<usize>,
}

impl EncryptedFragment {
    /// Decodes the fields before the closed content. `body` is everything behind the generic header and stands at
    /// `place` in the message.
    pub(in crate::wire::ike) fn decode(
        first_inner: PayloadType,
        body: &[u8],
        place: Range<usize>,
    ) -> Result<Self, Flaw> {
        let mut reader = Reader::new(body);
        let number = reader.u16()?;
        let total = reader.u16()?;
        // RFC 7383 §2.5: the Fragment Number starts from 1 and is never above the Total Fragments.
        if number == 0 || number > total {
            return Err(Flaw::FragmentNumber { number, total });
        }
        Ok(Self { first_inner, number, total, content: place.end.saturating_sub(reader.left())..place.end })
    }
}
