//! Lays out a message around an SK payload (RFC 7296 §3.14) or an SKF payload (RFC 7383 §2.5), so that the cipher can
//! work in place, and says where IV, ciphertext and integrity checksum stand in one that came in.
//!
//! ```text
//! | IKE header | [payloads] | SK header | IV | payloads, padding, pad length | ICV |
//! |<-------- associated data ---------->|    |<------- ciphertext ---------->|
//! |<--------------- covered by a separate integrity algorithm ------------>|
//! ```
//! The cipher itself is `ike::protect`'s work; which payloads go where is the exchange's.

use std::ops::Range;

use super::chain::PAYLOAD_HEADER_LEN;
use super::header::{HEADER_LEN, Header};
use super::malformed::Malformed;
use super::numbers::PayloadType;
use crate::wire::writer::Writer;

/// Length of the Fragment Number and Total Fragments fields.
const FRAGMENT_FIELDS_LEN: usize = 4;

/// What a cipher adds to its plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherShape {
    /// Length of the initialization vector.
    pub iv_len: usize,
    /// The ciphertext is a multiple of this; 1 for AEADs that need no alignment.
    pub block_len: usize,
    /// Length of the integrity checksum.
    pub icv_len: usize,
}

/// Which of several messages this one is (RFC 7383 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentNumber {
    /// Its number, from 1.
    pub number: u16,
    /// How many there are.
    pub total: u16,
}

/// A message whose ciphertext is still plain, and where its parts stand.
///
/// No `Debug`, because `bytes` may hold an identity or a key exchange in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsealed {
    /// The message. IV and ICV are zero.
    pub bytes: Vec<u8>,
    /// Where the parts stand.
    pub parts: SealedParts,
}

/// Where the parts of a protected message stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedParts {
    /// What an AEAD authenticates besides the ciphertext (RFC 5282 §5.1): everything before the IV.
    pub associated: Range<usize>,
    /// The initialization vector.
    pub iv: Range<usize>,
    /// Inner payloads, padding and pad length.
    pub ciphertext: Range<usize>,
    /// The integrity checksum. A separate integrity algorithm covers everything before it.
    pub icv: Range<usize>,
}

/// The message would not fit the 16-bit length of the SK payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an encrypted payload of {0} bytes does not fit its length field")]
pub struct TooLong(pub usize);

/// Lays out `header`, the generic header of SK (or of SKF if `fragment` is given), room for the IV, the `inner` chain
/// with the least padding that the cipher allows, and room for the ICV. `header.next_payload` and `header.length` are
/// computed here. `first_inner` is the type of the first payload in the whole inner chain.
pub fn lay_out(
    header: &Header,
    first_inner: PayloadType,
    inner: &[u8],
    fragment: Option<FragmentNumber>,
    shape: CipherShape,
) -> Result<Unsealed, TooLong> {
    let overhead = overhead(fragment.is_some());
    let padding = padding_len(inner.len(), shape.block_len);
    let ciphertext_len = inner.len().saturating_add(padding).saturating_add(1);
    let iv_start = HEADER_LEN + overhead;
    let iv = iv_start..iv_start.saturating_add(shape.iv_len);
    let ciphertext = iv.end..iv.end.saturating_add(ciphertext_len);
    let icv = ciphertext.end..ciphertext.end.saturating_add(shape.icv_len);
    let payload_len = icv.end.saturating_sub(HEADER_LEN);
    let length_field = u16::try_from(payload_len).map_err(|_| TooLong(payload_len))?;

    let kind = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
    let length = u32::from(length_field).saturating_add(HEADER_LEN as u32);
    let mut writer = Writer::with_capacity(icv.end);
    writer.bytes(&Header { next_payload: kind, length, ..*header }.encode());
    // RFC 7383 §2.5: the Next Payload field of every fragment but the first is zero.
    let announced = if fragment.is_none_or(|of| of.number == 1) { first_inner } else { PayloadType::NONE };
    writer.u8(announced.0);
    writer.u8(0);
    writer.u16(length_field);
    if let Some(FragmentNumber { number, total }) = fragment {
        writer.u16(number);
        writer.u16(total);
    }
    writer.zeros(shape.iv_len);
    writer.bytes(inner);
    // RFC 7296 §3.14: padding "MAY contain any value chosen by the sender".
    writer.zeros(padding);
    writer.u8(u8::try_from(padding).unwrap_or(u8::MAX));
    writer.zeros(shape.icv_len);
    let parts = SealedParts { associated: 0..iv_start, iv, ciphertext, icv };
    Ok(Unsealed { bytes: writer.into_bytes(), parts })
}

/// How many bytes of an inner chain fit into a message of at most `limit` bytes, for those who cut one into fragments.
#[must_use]
pub fn inner_room(limit: usize, fragmented: bool, shape: CipherShape) -> usize {
    let fixed =
        HEADER_LEN.saturating_add(overhead(fragmented)).saturating_add(shape.iv_len).saturating_add(shape.icv_len);
    let ciphertext = limit.saturating_sub(fixed);
    let whole_blocks = ciphertext.saturating_sub(ciphertext % shape.block_len.max(1));
    whole_blocks.saturating_sub(1)
}

/// Where the parts of a received message stand; `content` is that of [`Encrypted`](super::payload::Encrypted) or
/// [`EncryptedFragment`](super::payload::EncryptedFragment). `None` if it is too short for this cipher or its
/// ciphertext is not made of whole blocks.
#[must_use]
pub fn parts(content: &Range<usize>, shape: CipherShape) -> Option<SealedParts> {
    let iv = content.start..content.start.checked_add(shape.iv_len)?;
    let icv = content.end.checked_sub(shape.icv_len)?..content.end;
    let ciphertext_len = icv.start.checked_sub(iv.end)?;
    // The Pad Length field is always there.
    if ciphertext_len == 0 || !ciphertext_len.is_multiple_of(shape.block_len.max(1)) {
        return None;
    }
    Some(SealedParts { associated: 0..content.start, ciphertext: iv.end..icv.start, iv, icv })
}

/// Takes padding and Pad Length off decrypted and verified bytes. RFC 7296 §3.14: the recipient "MUST accept any
/// length that results in proper alignment", and looks at no padding byte.
pub fn strip_padding(plaintext: &[u8]) -> Result<&[u8], Malformed> {
    let (&pad_length, rest) = plaintext.split_last().ok_or(Malformed::Padding { pad_length: 0, have: 0 })?;
    let inner_len = rest
        .len()
        .checked_sub(usize::from(pad_length))
        .ok_or(Malformed::Padding { pad_length, have: plaintext.len() })?;
    Ok(rest.get(..inner_len).unwrap_or_default())
}

const fn overhead(fragmented: bool) -> usize {
    if fragmented { PAYLOAD_HEADER_LEN + FRAGMENT_FIELDS_LEN } else { PAYLOAD_HEADER_LEN }
}

/// The least padding after which `inner_len`, padding and the Pad Length byte fill whole blocks.
fn padding_len(inner_len: usize, block_len: usize) -> usize {
    let block_len = block_len.max(1);
    let last = inner_len.saturating_add(1) % block_len;
    if last == 0 { 0 } else { block_len - last }
}
