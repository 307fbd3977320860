//! Seeds for the IKE codec of which every one is refused: each field cut off, each length and count that contradicts what is
//! there, and more of everything than a message may hold.

use portcullis::wire::ike::numbers::PayloadType;

use super::super::{ike, steps};
use super::Seed;

/// Bodies of payloads, by their type.
const BODIES: &[(PayloadType, &[&[u8]])] = &[
    (
        PayloadType::SA,
        &[
            &[],
            // The place among proposals; the length; the SPI; the number of transforms.
            &[5, 0, 0, 8, 1, 1, 0, 0],
            &[0],
            &[0, 0],
            &[0, 0, 0, 7, 1, 1, 0, 0],
            &[0, 0, 0, 9, 1, 1, 0, 0],
            &[0, 0, 0, 8, 1, 1, 4, 0],
            &[0, 0, 0, 8, 1, 1, 0, 1],
            &[2, 0, 0, 8, 1, 1, 0, 0],
            &[0, 0, 0, 8, 1, 1, 0, 0, 0],
            // The same of a transform.
            &[0, 0, 0, 9, 1, 1, 0, 1, 0],
            &[0, 0, 0, 16, 1, 1, 0, 1, 9, 0, 0, 8, 1, 0, 0, 12],
            &[0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 7, 1, 0, 0, 12],
            &[0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 9, 1, 0, 0, 12],
            &[0, 0, 0, 16, 1, 1, 0, 1, 3, 0, 0, 8, 1, 0, 0, 12],
            &[0, 0, 0, 17, 1, 1, 0, 1, 0, 0, 0, 8, 1, 0, 0, 12, 0],
            // Attributes.
            &[0, 0, 0, 17, 1, 1, 0, 1, 0, 0, 0, 9, 1, 0, 0, 12, 0x80],
            &[0, 0, 0, 18, 1, 1, 0, 1, 0, 0, 0, 10, 1, 0, 0, 12, 0x80, 14],
            &[0, 0, 0, 20, 1, 1, 0, 1, 0, 0, 0, 12, 1, 0, 0, 12, 0, 20, 0, 9],
        ],
    ),
    (PayloadType::KE, &[&[], &[0, 19], &[0, 19, 0]]),
    (PayloadType::IDI, &[&[], &[1], &[1, 0, 0]]),
    (PayloadType::IDR, &[&[]]),
    (PayloadType::CERT, &[&[]]),
    (PayloadType::CERTREQ, &[&[]]),
    (PayloadType::AUTH, &[&[], &[2], &[2, 0, 0]]),
    (PayloadType::NONCE, &[&[], &[5; 15]]),
    (PayloadType::NOTIFY, &[&[], &[0], &[0, 0], &[0, 0, 64], &[3, 4, 0, 11, 1, 2]]),
    (
        PayloadType::DELETE,
        &[
            &[],
            &[1],
            &[1, 0],
            &[1, 4, 0, 0],
            &[3, 0, 0, 0],
            &[2, 4, 0, 1],
            &[3, 4, 0, 2, 0, 0, 0, 1],
            &[9, 3, 0, 1, 1, 2, 3],
        ],
    ),
    (PayloadType::VENDOR, &[&[]]),
    (
        PayloadType::TSI,
        &[
            &[],
            &[1],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0],
            &[1, 0, 0, 0, 7],
            &[1, 0, 0, 0, 7, 0],
            &[1, 0, 0, 0, 7, 0, 0, 3],
            &[1, 0, 0, 0, 7, 0, 0, 16],
            &[1, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 0],
            &[1, 0, 0, 0, 9, 0, 0, 4, 1],
        ],
    ),
    (PayloadType::TSR, &[&[]]),
    (PayloadType::SK, &[&[0; 40]]),
    (PayloadType::CP, &[&[], &[1], &[1, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 1, 0], &[1, 0, 0, 0, 0, 1, 0, 9]]),
    (PayloadType::EAP, &[&[]]),
    (PayloadType::SKF, &[&[], &[0, 1], &[0, 0, 0, 1], &[0, 2, 0, 1], &[0, 1, 0, 2]]),
    (PayloadType::PS, &[&[]]),
];

/// A list of them, each of which is a chain.
pub(super) fn each() -> Vec<u8> {
    let mut list = Vec::new();
    steps::put(&mut list, ike::EACH, &[]);
    for (kind, bodies) in BODIES {
        bodies.iter().for_each(|body| steps::put(&mut list, kind.0, body));
    }
    list
}

/// Chains whose headers contradict what is there, and more than is allowed of everything that is counted.
pub(super) fn chains() -> Vec<Seed> {
    let listed = |times: usize, kind: PayloadType, body: &[u8]| {
        let mut list = Vec::new();
        (0..times).for_each(|_| steps::put(&mut list, kind.0, body));
        list
    };
    // Bodies of 255 bytes at most.
    let proposals: Vec<u8> = (1..32).flat_map(|at: u8| [if at == 31 { 0 } else { 2 }, 0, 0, 8, at, 1, 0, 0]).collect();
    let transforms: Vec<u8> = [0, 0, 0, 248, 1, 1, 0, 30]
        .into_iter()
        .chain((0..30).flat_map(|at| [if at == 29 { 0 } else { 3 }, 0, 0, 8, 1, 0, 0, 12]))
        .collect();
    let attributes: Vec<u8> =
        [0, 0, 0, 252, 1, 1, 0, 1, 0, 0, 0, 244, 1, 0, 0, 12].into_iter().chain([0x80, 14, 1, 0].repeat(59)).collect();
    let selectors: Vec<u8> = [62, 0, 0, 0].into_iter().chain([9, 0, 0, 4].repeat(62)).collect();
    let spis: Vec<u8> = [9, 1, 0, 250].into_iter().chain([7; 250]).collect();
    let configured: Vec<u8> = [1, 0, 0, 0].into_iter().chain([0, 1, 0, 0].repeat(62)).collect();
    vec![
        ("no_header", vec![41, 0, 0]),
        ("shorter_than_its_header", vec![41, 0, 0, 0, 3]),
        ("longer_than_there_is", vec![41, 0, 0, 0, 9]),
        ("bytes_behind", vec![0, 1]),
        ("encrypted_inside", vec![46, 0, 0, 0, 4]),
        ("encrypted_not_last", vec![46, 0, 0, 0, 4, 0]),
        ("fragment_inside", vec![53, 0, 0, 0, 8, 0, 1, 0, 2]),
        ("too_many_payloads", listed(130, PayloadType::VENDOR, &[])),
        ("too_many_proposals", listed(3, PayloadType::SA, &proposals)),
        ("too_many_transforms", listed(35, PayloadType::SA, &transforms)),
        ("too_many_attributes", listed(18, PayloadType::SA, &attributes)),
        ("too_many_selectors", listed(9, PayloadType::TSI, &selectors)),
        ("too_many_spis", listed(5, PayloadType::DELETE, &spis)),
        ("too_many_configured", listed(5, PayloadType::CP, &configured)),
    ]
}
