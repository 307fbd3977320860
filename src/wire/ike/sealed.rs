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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ike::header::Flags;
    use crate::wire::ike::message::Message;
    use crate::wire::ike::numbers::ExchangeType;
    use crate::wire::ike::payload::{Encrypted, EncryptedFragment, Payload};

    const GCM: CipherShape = CipherShape { iv_len: 8, block_len: 1, icv_len: 16 };
    const CBC: CipherShape = CipherShape { iv_len: 16, block_len: 16, icv_len: 24 };

    fn header() -> Header {
        Header {
            initiator_spi: 1,
            responder_spi: 2,
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange: ExchangeType::IKE_AUTH,
            flags: Flags { initiator: true, version: false, response: false },
            message_id: 1,
            length: 0,
        }
    }

    #[test]
    fn an_aead_message_has_every_byte_where_the_rfc_puts_it() {
        let laid = lay_out(&header(), PayloadType::IDI, &[0xaa; 5], None, GCM).expect("short");
        assert_eq!(laid.bytes.len(), 28 + 4 + 8 + 6 + 16);
        assert_eq!(laid.parts.associated, 0..32);
        assert_eq!(laid.parts.iv, 32..40);
        assert_eq!(laid.parts.ciphertext, 40..46);
        assert_eq!(laid.parts.icv, 46..62);
        assert_eq!(laid.bytes[28..32], [35, 0, 0, 34]);
        assert_eq!(laid.bytes[40..46], [0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0]);
        let header = Header::decode(&laid.bytes).expect("long enough");
        assert_eq!((header.next_payload, header.length), (PayloadType::SK, 62));
    }

    #[test]
    fn a_cbc_message_is_padded_to_whole_blocks() {
        for (inner, padding) in [(0, 15), (14, 1), (15, 0), (16, 15), (31, 0)] {
            let laid = lay_out(&header(), PayloadType::IDI, &vec![1; inner], None, CBC).expect("short");
            assert_eq!(laid.parts.ciphertext.len(), inner + padding + 1);
            assert_eq!(usize::from(laid.bytes[laid.parts.ciphertext.end - 1]), padding);
        }
    }

    #[test]
    fn only_the_first_fragment_names_the_first_inner_payload() {
        for (number, announced) in [(1, PayloadType::IDI), (2, PayloadType::NONE)] {
            let fragment = FragmentNumber { number, total: 2 };
            let laid = lay_out(&header(), PayloadType::IDI, &[1, 2, 3], Some(fragment), GCM).expect("short");
            let message = Message::decode(&laid.bytes).expect("well-formed");
            let expected =
                EncryptedFragment { first_inner: announced, number, total: 2, content: 36..laid.bytes.len() };
            assert_eq!(message.payloads, [Payload::Skf(expected)]);
            assert_eq!(parts(&(36..laid.bytes.len()), GCM), Some(laid.parts));
        }
    }

    #[test]
    fn content_that_is_too_short_or_no_whole_block_has_no_parts() {
        assert_eq!(parts(&(32..32 + 8 + 16), GCM), None);
        assert_eq!(parts(&(32..32 + 8 + 1 + 16), GCM).map(|parts| parts.ciphertext), Some(40..41));
        assert_eq!(parts(&(32..40), GCM), None);
        assert_eq!(parts(&(32..32 + 16 + 15 + 24), CBC), None);
        assert_eq!(parts(&(32..32 + 16 + 16 + 24), CBC).map(|parts| parts.ciphertext), Some(48..64));
    }

    #[test]
    fn a_message_that_does_not_fit_the_length_field_is_refused() {
        let largest = 65_535 - 4 - 8 - 1 - 16;
        assert!(lay_out(&header(), PayloadType::IDI, &vec![0; largest], None, GCM).is_ok());
        let refused = lay_out(&header(), PayloadType::IDI, &vec![0; largest + 1], None, GCM);
        assert_eq!(refused.err(), Some(TooLong(65_536)));
    }

    #[test]
    fn padding_is_taken_off_by_its_length_alone() {
        assert_eq!(strip_padding(&[1, 2, 9, 9, 2]), Ok(&[1, 2][..]));
        assert_eq!(strip_padding(&[0]), Ok(&[][..]));
        assert_eq!(strip_padding(&[7, 7, 2]), Ok(&[][..]));
        assert_eq!(strip_padding(&[7, 3]), Err(Malformed::Padding { pad_length: 3, have: 2 }));
        assert_eq!(strip_padding(&[]), Err(Malformed::Padding { pad_length: 0, have: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_laid_out_is_found_again(
            inner in proptest::collection::vec(any::<u8>(), 0..600),
            cbc in any::<bool>(),
        ) {
            let shape = if cbc { CBC } else { GCM };
            let laid = lay_out(&header(), PayloadType::SA, &inner, None, shape).expect("short");
            let message = Message::decode(&laid.bytes).expect("well-formed");
            let content = 32..laid.bytes.len();
            prop_assert_eq!(message.payloads, [Payload::Sk(Encrypted { first_inner: PayloadType::SA, content: content.clone() })]);
            let found = parts(&content, shape).expect("long enough");
            prop_assert_eq!(&found, &laid.parts);
            prop_assert_eq!(strip_padding(&laid.bytes[found.ciphertext]), Ok(&inner[..]));
        }

        #[test]
        fn the_room_for_inner_bytes_is_exact(limit in 0..3000_usize, fragmented in any::<bool>(), cbc in any::<bool>()) {
            let shape = if cbc { CBC } else { GCM };
            let fragment = fragmented.then_some(FragmentNumber { number: 1, total: 1 });
            let len_of = |inner: usize| {
                lay_out(&header(), PayloadType::SA, &vec![0; inner], fragment, shape).expect("short").bytes.len()
            };
            let room = inner_room(limit, fragmented, shape);
            prop_assert!(room == 0 || len_of(room) <= limit);
            prop_assert!(len_of(room + 1) > limit);
        }
    }
}
