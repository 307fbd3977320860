//! A chain of payloads behind their generic headers (RFC 7296 §3.2).

use super::limits::{Budget, MAX_PAYLOADS};
pub use super::malformed::Malformed;
use super::numbers::PayloadType;
use super::payload::{Encrypted, EncryptedFragment, Payload};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Length of a generic payload header.
pub const PAYLOAD_HEADER_LEN: usize = 4;

/// The C bit.
const CRITICAL: u8 = 0x80;

/// Decodes the outer chain, which starts with a payload of type `first`. `origin` is where `bytes` starts in the
/// whole message, for the ranges in SK and SKF.
pub fn decode(first: PayloadType, bytes: &[u8], origin: usize) -> Result<Vec<Payload>, Malformed> {
    let mut payloads = Vec::new();
    let mut budget = Budget::new();
    let mut reader = Reader::new(bytes);
    let mut kind = first;
    while kind != PayloadType::NONE {
        if payloads.len() == MAX_PAYLOADS {
            return Err(Malformed::TooManyPayloads);
        }
        let (next, critical, body) = split(kind, &mut reader)?;
        let body_end = origin.saturating_add(bytes.len().saturating_sub(reader.left()));
        let content = body_end.saturating_sub(body.len())..body_end;
        let closed = match kind {
            PayloadType::SK => Some(Payload::Sk(Encrypted { first_inner: next, content })),
            PayloadType::SKF => {
                let fragment = EncryptedFragment::decode(next, body, content);
                Some(Payload::Skf(fragment.map_err(|flaw| Malformed::Payload { payload: kind, flaw })?))
            }
            _ => None,
        };
        if let Some(closed) = closed {
            // RFC 7296 §3.14: "The Encrypted payload, if present in a message, MUST be the last payload in the
            // message." Its Next Payload field names what is inside, so the outer chain ends here.
            if !reader.is_empty() {
                return Err(Malformed::EncryptedNotLast { payload: kind, left: reader.left() });
            }
            payloads.push(closed);
            return Ok(payloads);
        }
        payloads.push(Payload::decode(kind, critical, body, &mut budget)?);
        kind = next;
    }
    if !reader.is_empty() {
        return Err(Malformed::BytesAfterChain { left: reader.left() });
    }
    Ok(payloads)
}

/// Decodes what was inside SK, padding already taken off. A further SK or SKF in there is refused.
pub fn decode_inner(first: PayloadType, bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let payloads = decode(first, bytes, 0)?;
    match payloads.last() {
        Some(last @ (Payload::Sk(_) | Payload::Skf(_))) => Err(Malformed::NestedEncrypted { payload: last.kind() }),
        _ => Ok(payloads),
    }
}

/// Takes the generic header and the body of the next payload.
fn split<'a>(kind: PayloadType, reader: &mut Reader<'a>) -> Result<(PayloadType, bool, &'a [u8]), Malformed> {
    let left = reader.left();
    let [next, flags, high, low] = reader.array().map_err(|_| Malformed::NoPayloadHeader { payload: kind, left })?;
    let length = u16::from_be_bytes([high, low]);
    let body_len = usize::from(length)
        .checked_sub(PAYLOAD_HEADER_LEN)
        .ok_or(Malformed::PayloadTooShort { payload: kind, length })?;
    let body = reader.take(body_len).map_err(|_| Malformed::PayloadTooLong { payload: kind, length, left })?;
    // RFC 7296 §3.2: the seven bits beside C are "RESERVED", ignored on receipt.
    Ok((PayloadType(next), flags & CRITICAL != 0, body))
}

/// Encodes `payloads` and gives the type of the first one. SK and SKF are left out: as values they say only where
/// their content stood; [`sealed`](super::sealed) builds them.
#[must_use]
pub fn encode(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    let mut writer = Writer::with_capacity(1024);
    let first = write(payloads, &mut writer);
    (first, writer.into_bytes())
}

/// Writes `payloads` behind what `writer` already holds and gives the type of the first one.
pub(super) fn write(payloads: &[Payload], writer: &mut Writer) -> PayloadType {
    let open = |payload: &&Payload| !matches!(payload, Payload::Sk(_) | Payload::Skf(_));
    let mut payloads = payloads.iter().filter(open).peekable();
    let first = payloads.peek().map_or(PayloadType::NONE, |payload| payload.kind());
    while let Some(payload) = payloads.next() {
        let next = payloads.peek().map_or(PayloadType::NONE, |payload| payload.kind());
        let start = writer.len();
        writer.u8(next.0);
        // RFC 7296 §3.2: the critical bit "MUST be set to zero for payload types defined in this document"; it is
        // only ever repeated for a payload that came in with it.
        writer.u8(if payload.is_critical_unknown() { CRITICAL } else { 0 });
        let length = writer.open_length(start);
        payload.write_body(writer);
        writer.close(length);
    }
    first
}
