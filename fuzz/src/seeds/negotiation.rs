//! Seeds for what two sides agree about: selectors and rules, proposals, and messages in pieces.

use super::Seed;

/// A selector: what it is for (bit 3: it names ports; bit 7: IPv6), first and last port, first and last host.
const ALL: [u8; 5] = [0, 0, 0, 0, 3];
const HOST: [u8; 5] = [0, 0, 0, 1, 1];
const HTTP: [u8; 5] = [9, 4, 4, 1, 1];
const OPAQUE: [u8; 5] = [8, 6, 0, 0, 2];
const PING: [u8; 5] = [11, 2, 3, 2, 3];
const ALL_V6: [u8; 5] = [0x80, 0, 0, 0, 3];

/// Lists of selectors: what is offered for each side, our shapes, their other side; then rules, and packets.
fn lists(selectors: [&[[u8; 5]]; 4], rules: &[[u8; 7]], packets: &[[u8; 4]]) -> Vec<u8> {
    let counts = selectors.map(|list| list.len() as u8);
    let mut out = vec![counts[0] | counts[1] << 4, counts[2] | counts[3] << 4, rules.len() as u8];
    out.extend(selectors.concat().as_flattened());
    out.extend(rules.as_flattened());
    out.extend(packets.as_flattened());
    out
}

pub fn selectors() -> Vec<Seed> {
    // TCP to port 22 and 443 outwards, echo inwards, MQ between networks, the same for IPv6.
    let rules =
        [[0, 0, 1, 0, 0, 3, 0], [2, 2, 3, 0, 0, 0, 3], [3, 0x90, 0x92, 0, 0, 0, 1], [1, 0x40, 0x41, 0x42, 0, 4, 0]];
    let packets =
        [[1 | 0x40, 0x10, 4, 0], [1, 0x01, 0, 4], [3, 0x32, 0, 0], [1 | 0x40, 0x21, 4, 2], [2 | 0xc0, 0x10, 4, 2]];
    vec![
        ("narrowed", lists([&[HTTP, ALL], &[HOST, ALL], &[ALL, HOST], &[ALL, HOST]], &[], &[])),
        ("opaque", lists([&[OPAQUE, PING], &[ALL], &[ALL, PING], &[OPAQUE]], &[], &[])),
        ("families", lists([&[ALL_V6, ALL], &[ALL_V6], &[ALL, ALL_V6], &[ALL_V6, ALL_V6]], &[], &[])),
        ("rules", lists([&[], &[], &[], &[]], &rules, &packets)),
        ("overlap", lists([&[], &[], &[], &[]], &[rules[0], rules[0]], &packets)),
    ]
}

/// A suite: cipher and MAC, PRF or sequence numbers, group, key exchanges that follow.
const GCM: [u8; 4] = [0, 1, 4, 0];
const CBC: [u8; 4] = [5, 1, 4, 0];
const POST_QUANTUM: [u8; 4] = [0, 1, 5, 1];
const LAB: [u8; 4] = [2, 0, 5, 0];

/// What is negotiated: bit 0 a laboratory, bit 1 further key exchanges, bit 2 ESP, bit 3 in IKE_AUTH. Then the suites of both
/// sides, and transforms (type, which) in proposals (number, protocol and SPI).
fn offer(what: u8, suites: [&[[u8; 4]]; 2], proposals: &[(u8, u8, &[[u8; 2]])]) -> Vec<u8> {
    let mut out = vec![what, suites[0].len() as u8 | (suites[1].len() as u8) << 4];
    out.extend(suites.concat().as_flattened());
    for (number, protocol, transforms) in proposals {
        out.extend([number << 2, protocol | (transforms.len() as u8) << 4]);
        out.extend(transforms.as_flattened());
    }
    out
}

pub fn proposals() -> Vec<Seed> {
    // AES-GCM and AES-CBC, two PRFs, NONE and SHA-384, groups 20 and 31.
    let many: &[[u8; 2]] = &[[0, 0], [0, 1], [2, 0], [2, 1], [3, 0], [3, 2], [5, 1], [5, 2]];
    let both = [&[GCM, CBC][..], &[CBC, GCM]];
    vec![
        ("ike", offer(0, both, &[(1, 0, many)])),
        (
            "post_quantum",
            offer(2, [&[POST_QUANTUM, GCM], &[GCM, POST_QUANTUM]], &[(1, 0, &[[0, 0], [2, 1], [5, 2], [9, 1]])]),
        ),
        ("downgrade", offer(2, [&[POST_QUANTUM], &[GCM]], &[(1, 0, &[[0, 0], [2, 1], [5, 2], [9, 0]])])),
        ("lab", offer(1, [&[LAB], &[LAB, GCM]], &[(1, 0, &[[0, 0x60], [2, 0], [5, 2]])])),
        ("esp", offer(4, both, &[(1, 4, &[[0, 0], [3, 0], [5, 1], [7, 1]]), (2, 1, &[[0, 0]])])),
        ("esp_in_auth", offer(12, both, &[(1, 4, &[[0, 0], [5, 2], [7, 0]])])),
        (
            "unknown",
            offer(0, both, &[(1, 0, &[[0, 0xe0], [0, 0], [2, 1], [5, 1], [15, 3]]), (2, 0, &[[0, 0], [2, 1], [5, 1]])]),
        ),
    ]
}

/// A fragment: bits 3 to 5 how long; message and direction; its number; of how many.
const fn piece(length: u8, message: u8, number: u8, total: u8) -> [u8; 4] {
    [length << 3, message, number, total]
}

pub fn fragments() -> Vec<Seed> {
    let happen = |options: u8, things: &[[u8; 4]]| [&[options][..], things.as_flattened()].concat();
    let whole = [piece(4, 1, 2, 3), piece(4, 1, 1, 3), piece(4, 1, 1, 3), piece(4, 1, 3, 3)];
    let forged = [piece(5, 1, 1, 2), [4, 1, 2, 2], [4, 1, 0x12, 0x42], piece(5, 1, 2, 2)];
    let anew = [piece(2, 1, 1, 2), piece(2, 1, 1, 3), piece(2, 1, 2, 2), piece(2, 2, 1, 2), piece(2, 0x81, 1, 2)];
    let late = [piece(3, 1, 1, 2), [6, 0, 99, 0], piece(3, 1, 2, 2), [6, 0, 2, 1], piece(3, 1, 1, 2), [7, 1, 0, 0]];
    let long = [piece(7, 1, 1, 64), piece(7, 1, 2, 64), piece(7, 1, 3, 64), piece(0, 1, 65, 70)];
    let messages = [[5, 1, 90, 2], [13, 1, 90, 5], [5, 0x82, 30, 0], [13, 2, 200, 9]];
    vec![
        ("whole", happen(0, &whole)),
        ("whole_cbc", happen(1, &whole)),
        ("forged", happen(0, &forged)),
        ("forged_cbc", happen(1, &forged)),
        ("anew", happen(0, &anew)),
        ("late", happen(0, &late)),
        ("long", happen(0, &long)),
        ("messages", happen(0, &messages)),
        ("messages_cbc", happen(1, &messages)),
        ("not_negotiated", happen(0x80, &[whole[0], messages[0]])),
    ]
}
