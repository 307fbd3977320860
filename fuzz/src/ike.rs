//! The IKE codec. What must hold for every input is written in `portcullis::wire::ike::fuzz`; here bytes become inputs
//! that get past the outermost length fields.

use portcullis::wire::ike::fuzz;
use portcullis::wire::ike::header::HEADER_LEN;

/// A datagram as it is, and once more with the length that the header should have had: a mutation that changes the
/// length of the input would otherwise never reach the chain.
pub fn message(data: &[u8]) {
    fuzz::message(data);
    let mut mended = data.to_vec();
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(field) = mended.get_mut(24..HEADER_LEN) {
        field.copy_from_slice(&length);
        fuzz::message(&mended);
    }
}

/// A decrypted chain: the type of its first payload and the chain. The same bytes are then cut into payloads, with
/// generic headers that are right, so that the mutations behind them reach the bodies.
pub fn inner_chain(data: &[u8]) {
    fuzz::inner_chain(data);
    fuzz::inner_chain(&framed(data));
}

/// Reads `data` as a list of (type, length, body) and puts correct generic headers around the bodies.
#[must_use]
pub fn framed(data: &[u8]) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(([kind, length], more)) = rest.split_first_chunk() {
        let (body, more) = more.split_at(usize::from(*length).min(more.len()));
        parts.push((*kind, body));
        rest = more;
    }
    let mut bytes = vec![parts.first().map_or(0, |(kind, _)| *kind)];
    for (at, (_, body)) in parts.iter().enumerate() {
        let next = parts.get(at + 1).map_or(0, |(kind, _)| *kind);
        // A body has at most 255 bytes.
        let [high, low] = (body.len() as u16 + 4).to_be_bytes();
        bytes.extend([next, 0, high, low]);
        bytes.extend_from_slice(body);
    }
    bytes
}
