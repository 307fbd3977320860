//! The most that 64 KiB can make the decoder build: counted, not timed.

use crate::wire::ike::chain;
use crate::wire::ike::limits::{
    MAX_DELETED_SPIS, MAX_PAYLOADS, MAX_SELECTORS, MAX_TRANSFORM_ATTRIBUTES, MAX_TRANSFORMS,
};
use crate::wire::ike::numbers::PayloadType;
use crate::wire::ike::payload::{Payload, SelectorEntry, TransformAttribute};

/// Values with a size of their own, and bytes copied, in all of `payloads`.
fn weigh(payloads: &[Payload]) -> (usize, usize) {
    let mut values = payloads.len();
    let mut bytes = 0;
    for payload in payloads {
        match payload {
            Payload::Sa(sa) => {
                for proposal in &sa.proposals {
                    values += 1 + proposal.transforms.len();
                    bytes += proposal.spi.len();
                    for attribute in proposal.transforms.iter().flat_map(|transform| &transform.attributes) {
                        values += 1;
                        if let TransformAttribute::Long { value, .. } = attribute {
                            bytes += value.len();
                        }
                    }
                }
            }
            Payload::TsI(ts) | Payload::TsR(ts) => {
                values += ts.selectors.len();
                for selector in &ts.selectors {
                    if let SelectorEntry::Unknown { body, .. } = selector {
                        bytes += body.len();
                    }
                }
            }
            Payload::Delete(delete) => {
                values += delete.spis.len();
                bytes += delete.spis.iter().map(Vec::len).sum::<usize>();
            }
            Payload::Vendor(vendor) => bytes += vendor.0.len(),
            Payload::Unknown { body, .. } => bytes += body.len(),
            other => panic!("no worst case holds a {}", other.kind()),
        }
    }
    (values, bytes)
}

/// A chain of `kind` with these bodies.
fn chain_of(kind: PayloadType, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        let next = if at + 1 == bodies.len() { PayloadType::NONE } else { kind };
        let [high, low] = u16::try_from(body.len() + 4).expect("short").to_be_bytes();
        bytes.extend([next.0, 0, high, low]);
        bytes.extend(body);
    }
    bytes
}

#[test]
fn the_worst_messages_of_64_kib_stay_within_the_limits() {
    let transform = |last| [last, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0];
    let proposal = |last| {
        let transforms = [&transform(3).repeat(254)[..], &transform(0)].concat();
        let [high, low] = u16::try_from(transforms.len() + 8).expect("short").to_be_bytes();
        [&[last, 0, high, low, 1, 1, 0, 255], &transforms[..]].concat()
    };
    let sa = [proposal(2), proposal(2), proposal(2), proposal(0)].concat();
    let ts = [&[255, 0, 0, 0][..], &[9, 0, 0, 4].repeat(255)].concat();
    let delete = [&[3, 4, 4, 0][..], &[1, 2, 3, 4].repeat(MAX_DELETED_SPIS)].concat();
    let worst = [
        (PayloadType::SA, chain_of(PayloadType::SA, &[sa])),
        (PayloadType::TSI, chain_of(PayloadType::TSI, &[ts.clone(), ts])),
        (PayloadType::DELETE, chain_of(PayloadType::DELETE, &[delete])),
        (PayloadType::VENDOR, chain_of(PayloadType::VENDOR, &vec![vec![0; 500]; MAX_PAYLOADS])),
        (PayloadType(250), chain_of(PayloadType(250), &[vec![0; 65_531]])),
    ];
    for (kind, chain) in worst {
        assert!(chain.len() <= 65_535);
        let payloads = chain::decode(kind, &chain, 0).expect("at the limit, not above");
        let (values, bytes) = weigh(&payloads);
        assert!(values <= MAX_PAYLOADS + MAX_TRANSFORMS + MAX_TRANSFORM_ATTRIBUTES + MAX_SELECTORS, "{kind}: {values}");
        assert!(bytes <= chain.len(), "{kind}: {bytes} bytes copied out of {}", chain.len());
    }
}

#[test]
fn a_count_or_length_field_alone_builds_nothing() {
    // Counts and lengths at their maximum with nothing behind them.
    let bodies: [(PayloadType, &[u8]); 6] = [
        (PayloadType::DELETE, &[99, 0, 0xff, 0xff]),
        (PayloadType::DELETE, &[3, 4, 0xff, 0xff]),
        (PayloadType::TSI, &[255, 0, 0, 0]),
        (PayloadType::SA, &[0, 0, 0xff, 0xff, 1, 1, 255, 255]),
        (PayloadType::NOTIFY, &[3, 255, 0, 1]),
        (PayloadType::CP, &[1, 0, 0, 0, 0, 1, 0xff, 0xff]),
    ];
    for (kind, body) in bodies {
        if let Ok(payloads) = chain::decode(kind, &chain_of(kind, &[body.to_vec()]), 0) {
            assert_eq!(weigh(&payloads), (1, 0), "{kind}");
        }
    }
}
