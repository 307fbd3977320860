//! What the fuzz targets `ike_message` and `ike_inner_chain` do with their bytes. It stands here, compiled with the
//! crate, so that the targets are a line each and the ordinary tests replay their seeds.

use super::chain;
use super::message::Message;
use super::numbers::PayloadType;

/// Decodes a datagram. What decodes must encode to something that decodes to the same values.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else { return };
    let _ = format!("{message:?}");
    let closed = message.payloads.iter().any(|payload| matches!(payload.kind(), PayloadType::SK | PayloadType::SKF));
    if closed {
        return;
    }
    let encoded = message.encode();
    let again = Message::decode(&encoded).expect("what was encoded here decodes");
    assert_eq!(again.payloads, message.payloads, "payloads changed on the way");
    assert_eq!(again.encode(), encoded, "encoding is not stable");
}

/// Decodes a decrypted chain: the first byte is the type of its first payload.
pub fn inner_chain(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let payloads = match chain::decode_inner(PayloadType(first), bytes) {
        Ok(payloads) => payloads,
        Err(malformed) => {
            let _ = malformed.to_string();
            return;
        }
    };
    let (first, encoded) = chain::encode(&payloads);
    let again = chain::decode_inner(first, &encoded).expect("what was encoded here decodes");
    assert_eq!(again, payloads, "payloads changed on the way");
}
