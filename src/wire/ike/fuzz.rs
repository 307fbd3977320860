//! What the fuzz targets `ike_message` and `ike_inner_chain` do with their bytes. It stands here, compiled with the
//! crate, so that the targets are a line each and the ordinary tests replay their seeds.

use super::chain;
use super::malformed::Malformed;
use super::message::Message;
use super::numbers::PayloadType;
use super::payload::Payload;

/// Decodes a datagram. What decodes must encode to something that decodes to the same values.
pub fn message(data: &[u8]) -> Result<Message, Malformed> {
    let message = Message::decode(data)?;
    // Words for every byte take longer than all the rest.
    if data.len().is_multiple_of(16) {
        let _ = format!("{message:?}");
    }
    let closed = message.payloads.iter().any(|payload| matches!(payload.kind(), PayloadType::SK | PayloadType::SKF));
    if closed {
        return Ok(message);
    }
    let encoded = message.encode();
    let again = Message::decode(&encoded).expect("what was encoded here decodes");
    assert_eq!(again.payloads, message.payloads, "payloads changed on the way");
    assert_eq!(again.encode(), encoded, "encoding is not stable");
    Ok(message)
}

/// Decodes a decrypted chain: the first byte is the type of its first payload.
pub fn inner_chain(data: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let Some((&first, bytes)) = data.split_first() else { return Ok(Vec::new()) };
    let payloads = chain::decode_inner(PayloadType(first), bytes)?;
    let (first, encoded) = chain::encode(&payloads);
    let again = chain::decode_inner(first, &encoded).expect("what was encoded here decodes");
    assert_eq!(again, payloads, "payloads changed on the way");
    Ok(payloads)
}
