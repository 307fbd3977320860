//! The IKE codec. What must hold for every input is written in `portcullis::wire::ike::fuzz` and here; and bytes become
//! inputs that get past the outermost length fields.

use portcullis::policy::TrafficSelector;
use portcullis::wire::ike::header::{HEADER_LEN, Header};
use portcullis::wire::ike::message::Message;
use portcullis::wire::ike::numbers::PayloadType;
use portcullis::wire::ike::payload::{Payload, Sa, Ts};
use portcullis::wire::ike::sealed::{self, CipherShape, FragmentNumber};
use portcullis::wire::ike::{chain, fuzz, limits};

use super::steps::{self, List};

/// How the payloads of an input stand in a list: behind the header of a message, or by themselves.
pub const BEHIND_HEADER: List = List { prefix: HEADER_LEN, most: 256 };
pub const BARE: List = List { prefix: 0, most: 256 };
/// The shapes of the ciphers that there are: AEAD, and CBC with each of the MACs.
const SHAPES: [CipherShape; 3] = [
    CipherShape { iv_len: 8, block_len: 1, icv_len: 16 },
    CipherShape { iv_len: 16, block_len: 16, icv_len: 16 },
    CipherShape { iv_len: 16, block_len: 16, icv_len: 32 },
];

/// A datagram as it is; once more with the length that the header should have had, because a mutation that changes the
/// length of the input would otherwise never reach the chain; and a header with the payloads that [`framed`] reads.
pub fn message(data: &[u8]) {
    one_message(data);
    let Some((header, list)) = data.split_first_chunk::<HEADER_LEN>() else { return };
    let mended = with_length(data.to_vec());
    if mended != data {
        one_message(&mended);
    }
    for chain in chains(list) {
        let (first, chain) = chain.split_first().expect("the first payload's type is always there");
        let mut built = [header.as_slice(), chain].concat();
        built[16] = *first;
        one_message(&with_length(built));
    }
}

fn with_length(mut datagram: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX).to_be_bytes();
    datagram[24..HEADER_LEN].copy_from_slice(&length);
    datagram
}

fn one_message(data: &[u8]) {
    if let Ok(header) = Header::decode(data) {
        assert_eq!(Header::decode(&header.encode()), Ok(header), "a header changed on the way");
    }
    let message = match fuzz::message(data) {
        Ok(message) => message,
        Err(malformed) => {
            assert!(!malformed.to_string().is_empty(), "refused without a word");
            return;
        }
    };
    assert_eq!(usize::try_from(message.header.length), Ok(data.len()), "a datagram of another length was taken");
    let encoded = Header::decode(&message.encode()).expect("a message has a header");
    let sent = Header { next_payload: encoded.next_payload, length: encoded.length, ..message.header };
    assert_eq!(encoded, sent, "the header changed on the way");
    bounded(&message.payloads);
    let closed = |payload: &&Payload| matches!(payload, Payload::Sk(_) | Payload::Skf(_));
    for payload in message.payloads.iter().filter(closed) {
        let (first, content) = match payload {
            Payload::Sk(sk) => (sk.first_inner, &sk.content),
            Payload::Skf(skf) => (skf.first_inner, &skf.content),
            _ => continue,
        };
        assert_eq!(content.end, data.len(), "something stands behind the encrypted payload");
        assert!(content.start >= HEADER_LEN + chain::PAYLOAD_HEADER_LEN && content.start <= content.end);
        for shape in SHAPES {
            let Some(parts) = sealed::parts(content, shape) else { continue };
            assert_eq!((parts.associated.end, parts.iv.len()), (content.start, shape.iv_len));
            assert_eq!([parts.iv.end, parts.ciphertext.end], [parts.ciphertext.start, parts.icv.start]);
            assert_eq!((parts.icv.end, parts.icv.len()), (data.len(), shape.icv_len));
            // As if the cipher had opened it.
            if let Ok(inner) = sealed::strip_padding(&data[parts.ciphertext.clone()]) {
                assert!(inner.len() < parts.ciphertext.len(), "padding without its length");
                if let Ok(payloads) = fuzz::inner_chain(&[&[first.0], inner].concat()) {
                    asked(&payloads);
                }
                laid_out_again(&message.header, inner, shape);
            }
        }
    }
}

/// What is laid out around a cipher is found again in the same places, and as much fits as is said to fit.
fn laid_out_again(header: &Header, inner: &[u8], shape: CipherShape) {
    for fragment in [None, Some(FragmentNumber { number: 2, total: 3 })] {
        let laid = sealed::lay_out(header, PayloadType::NOTIFY, inner, fragment, shape).expect("shorter than it came");
        let again = Message::decode(&laid.bytes).expect("what is laid out is a message");
        let content = match again.payloads.as_slice() {
            [Payload::Sk(sk)] => &sk.content,
            [Payload::Skf(skf)] => &skf.content,
            other => panic!("laid out as {other:?}"),
        };
        assert_eq!(sealed::parts(content, shape), Some(laid.parts.clone()));
        assert_eq!(sealed::strip_padding(&laid.bytes[laid.parts.ciphertext]), Ok(inner));
        assert!(sealed::inner_room(laid.bytes.len(), fragment.is_some(), shape) >= inner.len());
    }
}

/// A decrypted chain: the type of its first payload and the chain. The same bytes are then cut into payloads, with
/// generic headers that are right, so that the mutations behind them reach the bodies.
pub fn inner_chain(data: &[u8]) {
    for chain in [data.to_vec()].into_iter().chain(chains(data)) {
        match fuzz::inner_chain(&chain) {
            Ok(payloads) => {
                asked(&payloads);
                // Takes as long as all the rest.
                if data.len().is_multiple_of(4) {
                    in_a_message(payloads);
                }
            }
            Err(malformed) => assert!(!malformed.to_string().is_empty(), "refused without a word"),
        }
    }
}

/// The same payloads as a message has them that is not encrypted, and inside of one that is.
fn in_a_message(payloads: Vec<Payload>) {
    let header = Header::decode(&[0x2f; HEADER_LEN]).expect("as long as a header");
    let (first, inner) = chain::encode(&payloads);
    let message = Message { header, payloads };
    let again = fuzz::message(&message.encode()).expect("what was read can be said");
    assert_eq!(again.payloads, message.payloads, "payloads changed on the way");
    for (shape, total) in SHAPES.into_iter().zip([None, Some(1), None]) {
        let fragment = total.map(|total| FragmentNumber { number: 1, total });
        one_message(&sealed::lay_out(&header, first, &inner, fragment, shape).expect("shorter than it may be").bytes);
    }
}

fn asked(payloads: &[Payload]) {
    let closed = payloads.iter().any(|payload| matches!(payload, Payload::Sk(_) | Payload::Skf(_)));
    assert!(!closed, "an encrypted payload inside an encrypted payload");
    bounded(payloads);
    payloads.iter().for_each(ask);
}

/// No message holds more than `limits` says.
fn bounded(payloads: &[Payload]) {
    let sas = || {
        payloads
            .iter()
            .filter_map(|payload| if let Payload::Sa(Sa { proposals }) = payload { Some(proposals) } else { None })
    };
    let transforms = || sas().flatten().flat_map(|proposal| &proposal.transforms);
    let selectors = |payload: &Payload| match payload {
        Payload::TsI(ts) | Payload::TsR(ts) => ts.selectors.len(),
        _ => 0,
    };
    let deleted = |payload: &Payload| if let Payload::Delete(delete) = payload { delete.spis.len() } else { 0 };
    let configured = |payload: &Payload| if let Payload::Cp(cp) = payload { cp.attributes.len() } else { 0 };
    let counts = [
        (payloads.len(), limits::MAX_PAYLOADS),
        (sas().map(Vec::len).sum(), limits::MAX_PROPOSALS),
        (transforms().count(), limits::MAX_TRANSFORMS),
        (transforms().map(|transform| transform.attributes.len()).sum(), limits::MAX_TRANSFORM_ATTRIBUTES),
        (payloads.iter().map(selectors).sum(), limits::MAX_SELECTORS),
        (payloads.iter().map(deleted).sum(), limits::MAX_DELETED_SPIS),
        (payloads.iter().map(configured).sum(), limits::MAX_CONFIG_ATTRIBUTES),
    ];
    for (count, limit) in counts {
        assert!(count <= limit, "{count} where {limit} are the most");
    }
}

/// Asks a payload everything that the endpoint would ask it.
fn ask(payload: &Payload) {
    match payload {
        Payload::Sa(sa) => {
            assert!(!sa.proposals.is_empty(), "no proposal");
            for proposal in &sa.proposals {
                assert_eq!(proposal.esp_spi().is_some(), proposal.spi.len() == 4);
                assert_eq!(proposal.ike_spi().is_some(), proposal.spi.len() == 8);
                for transform in &proposal.transforms {
                    assert!(proposal.transforms_of(transform.kind).count() > 0);
                    assert!(transform.key_bits().is_none() || !transform.attributes.is_empty());
                    assert!(!transform.has_unknown_attribute() || !transform.attributes.is_empty());
                }
            }
        }
        Payload::Notify(notify) => {
            assert_eq!(notify.esp_spi().is_some(), notify.spi.len() == 4);
            assert_eq!(notify.wanted_ke().is_some(), notify.data.len() == 2);
        }
        Payload::Delete(delete) => assert!(delete.esp_spis().count() <= delete.spis.len()),
        Payload::TsI(ts) | Payload::TsR(ts) => selectors(ts),
        _ => {}
    }
}

/// What is understood of a TS payload can be said again.
fn selectors(ts: &Ts) {
    assert!(ts.known().count() <= ts.selectors.len());
    for selector in TrafficSelector::from_entries(&ts.selectors) {
        assert!(selector.is_valid() && selector.covers(&selector) && !selector.to_string().is_empty());
        let wire = selector.to_wire().expect("a valid selector is of one family");
        assert_eq!(TrafficSelector::from(wire), selector);
        assert!(ts.known().any(|range| *range == wire), "a selector that nobody wrote");
    }
}

/// A list that begins with a part of this type stands for a chain for each of its parts.
pub const EACH: u8 = 255;

/// The chains that a list stands for.
fn chains(list: &[u8]) -> Vec<Vec<u8>> {
    if list.first() != Some(&EACH) {
        return vec![framed(list)];
    }
    let mut rest = list;
    let mut one = |_| {
        let mut part = Vec::new();
        steps::next(&mut rest).map(|(kind, body)| {
            steps::put(&mut part, kind, body);
            framed(&part)
        })
    };
    (0..BARE.most).map_while(&mut one).collect()
}

/// Reads `data` as a list of (type, length, body) and puts correct generic headers around the bodies.
#[must_use]
pub fn framed(data: &[u8]) -> Vec<u8> {
    let mut rest = data;
    let parts: Vec<_> = std::iter::from_fn(|| steps::next(&mut rest)).collect();
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
