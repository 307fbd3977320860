//! Each group agrees with itself, and refuses every value at and beyond its edges (RFC 6989 §2).

use super::*;
use crate::crypto::modp;
use crate::entropy::SeededEntropy;

const GROUPS: [Group; 7] =
    [Group::Modp2048, Group::Modp3072, Group::Modp4096, Group::Ecp256, Group::Ecp384, Group::Ecp521, Group::Curve25519];
const MODP: [Group; 3] = [Group::Modp2048, Group::Modp3072, Group::Modp4096];
const ECP: [Group; 3] = [Group::Ecp256, Group::Ecp384, Group::Ecp521];

fn pair(group: Group, seed: u64) -> KeyPair {
    KeyPair::generate(group, &mut SeededEntropy::new(seed))
}

fn refused(group: Group, peer: &[u8]) -> bool {
    pair(group, 3).agree(peer) == Err(BadPublicValue)
}

#[test]
fn both_sides_reach_the_same_secret_in_every_group() {
    for group in GROUPS {
        let (a, b) = (pair(group, 1), pair(group, 2));
        let (public_a, public_b) = (a.public().to_vec(), b.public().to_vec());
        assert_eq!(public_a.len(), group.public_len(), "{group:?}");
        assert_ne!(public_a, public_b, "{group:?}");
        let (secret_a, secret_b) = (a.agree(&public_b).expect("valid"), b.agree(&public_a).expect("valid"));
        assert_eq!(secret_a, secret_b, "{group:?}");
        assert_ne!(secret_a.expose().first_chunk::<16>(), public_a.first_chunk::<16>(), "{group:?}");
        let length = if ECP.contains(&group) { group.public_len() / 2 } else { group.public_len() };
        assert_eq!(secret_a.len(), length, "{group:?}");
    }
}

const KEM: [Group; 2] = [Group::MlKem768, Group::MlKem1024];

#[test]
fn an_answer_holds_the_secret_for_the_owner_of_the_key_alone() {
    for group in GROUPS.into_iter().chain(KEM) {
        let (ours, other) = (pair(group, 1), pair(group, 2));
        let (value, secret) = answer(group, ours.public(), &mut SeededEntropy::new(3)).expect("valid");
        assert_eq!(value.len(), group.answer_len(), "{group:?}");
        assert_eq!(ours.public().len(), group.public_len(), "{group:?}");
        assert_eq!(ours.agree(&value).expect("valid"), secret, "{group:?}");
        assert_ne!(other.agree(&value).expect("valid"), secret, "{group:?}");
    }
}

#[test]
fn every_changed_ciphertext_gives_another_secret_and_every_other_length_none() {
    for group in KEM {
        let public = pair(group, 1).public().to_vec();
        let (value, secret) = answer(group, &public, &mut SeededEntropy::new(3)).expect("valid");
        for at in (0..value.len()).step_by(97) {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert_ne!(pair(group, 1).agree(&changed).expect("FIPS 203 §7.3: implicit rejection"), secret);
        }
        for length in [0, 1, value.len() - 1, value.len() + 1] {
            let cut: Vec<u8> = value.iter().copied().cycle().take(length).collect();
            assert_eq!(pair(group, 1).agree(&cut), Err(BadPublicValue));
        }
        for length in [0, 1, public.len() - 1, public.len() + 1] {
            let cut: Vec<u8> = public.iter().copied().cycle().take(length).collect();
            assert!(answer(group, &cut, &mut SeededEntropy::new(3)).is_err());
        }
        // FIPS 203 §7.2: a coefficient that is not below 3329.
        let mut too_large = public.clone();
        (too_large[0], too_large[1]) = (0x01, 0x0d | (too_large[1] & 0xf0));
        assert!(answer(group, &too_large, &mut SeededEntropy::new(3)).is_err());
        (too_large[0], too_large[1]) = (0x00, 0x0d | (too_large[1] & 0xf0));
        assert!(answer(group, &too_large, &mut SeededEntropy::new(3)).is_ok());
        assert_eq!(pair(group, 7).public(), pair(group, 7).public());
    }
}

#[test]
fn a_seed_repeats_the_exchange() {
    for group in GROUPS {
        assert_eq!(pair(group, 7).public(), pair(group, 7).public(), "{group:?}");
        assert_ne!(pair(group, 7).public(), pair(group, 8).public(), "{group:?}");
    }
}

#[test]
fn a_value_of_another_length_is_refused() {
    for group in GROUPS {
        let valid = pair(group, 4).public().to_vec();
        assert!(!refused(group, &valid), "{group:?}");
        assert!(refused(group, &[]), "{group:?}");
        assert!(refused(group, &valid[1..]), "{group:?}, first byte gone");
        assert!(refused(group, &valid[..valid.len() - 1]), "{group:?}, last byte gone");
        assert!(refused(group, &valid[..valid.len() / 2]), "{group:?}, half of it");
        for byte in [0, 2, 3, 4, 6, 7] {
            assert!(refused(group, &[&[byte], valid.as_slice()].concat()), "{group:?} after a {byte}");
        }
        assert!(refused(group, &[valid.as_slice(), &[0]].concat()), "{group:?} before a zero");
        assert!(refused(group, &valid.repeat(2)), "{group:?} twice");
        for other in GROUPS.into_iter().filter(|other| *other != group) {
            assert!(refused(group, pair(other, 4).public()), "{other:?} in {group:?}");
        }
    }
}

#[test]
fn zeros_and_ones_are_refused() {
    for group in GROUPS {
        assert!(refused(group, &vec![0; group.public_len()]), "{group:?}");
        // 2^255 - 1 without its top bit is 18 to X25519, a value like any other.
        if group != Group::Curve25519 {
            assert!(refused(group, &vec![0xff; group.public_len()]), "{group:?}");
        }
    }
}

#[test]
fn modp_takes_what_lies_between_one_and_the_prime_less_one() {
    for group in MODP {
        let prime = modp::tests::prime(group);
        let near = |offset: i16| {
            let mut value = prime.clone();
            let end = value.len() - 2;
            let low = i16::from_be_bytes([value[end], value[end + 1]]);
            value[end..].copy_from_slice(&low.wrapping_add(offset).to_be_bytes());
            value
        };
        let small = |number: u8| {
            let mut value = vec![0; prime.len()];
            *value.last_mut().expect("not empty") = number;
            value
        };
        assert!(refused(group, &small(0)), "{group:?}: 0");
        assert!(refused(group, &small(1)), "{group:?}: 1");
        assert!(!refused(group, &small(2)), "{group:?}: 2");
        assert!(!refused(group, &near(-2)), "{group:?}: p - 2");
        assert!(refused(group, &near(-1)), "{group:?}: p - 1");
        assert!(refused(group, &near(0)), "{group:?}: p");
        let mut above = prime.clone();
        let start = above.len() - 9;
        // The last 64 bits are ones: p + 1 carries into the ninth byte from the end.
        above[start] += 1;
        above[start + 1..].fill(0);
        assert!(refused(group, &above), "{group:?}: p + 1");
    }
}

#[test]
fn ecp_takes_points_of_its_curve_alone() {
    for group in ECP {
        let valid = pair(group, 4).public().to_vec();
        let half = valid.len() / 2;
        for at in [half - 1, valid.len() - 1, 1, half + 1] {
            let mut off = valid.clone();
            off[at] ^= 1;
            assert!(refused(group, &off), "{group:?}: byte {at} changed");
        }
        let (x, y) = valid.split_at(half);
        assert!(refused(group, &[y, x].concat()), "{group:?}: x and y exchanged");
        assert!(refused(group, &[x, &vec![0; half]].concat()), "{group:?}: y of zero");
        assert!(refused(group, &[&vec![0xff; half], y].concat()), "{group:?}: x beyond the prime");
        let mut one = vec![0; valid.len()];
        one[half - 1] = 1;
        one[valid.len() - 1] = 1;
        assert!(refused(group, &one), "{group:?}: (1, 1)");
    }
}

#[test]
fn a_coordinate_that_is_not_reduced_is_refused() {
    // x = 0 and x = p are the same element of the field, and P-256 has points with x = 0: y is the root of its b.
    let root = "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4";
    let prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let value = |x: &str| hex::decode(format!("{x}{root}")).expect("hexadecimal");
    assert!(!refused(Group::Ecp256, &value(&"00".repeat(32))), "the point itself is on the curve");
    assert!(refused(Group::Ecp256, &value(prime)));
}

#[test]
fn points_of_small_order_are_refused_by_x25519() {
    // The points of order 1, 2, 4 and 8 of the curve and of its twist, as u and as u + p where that fits.
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in small {
        let mut value = hex::decode(point).expect("hexadecimal");
        assert!(refused(Group::Curve25519, &value), "{point}");
        // RFC 7748 §5: the top bit is not looked at.
        value[31] |= 0x80;
        assert!(refused(Group::Curve25519, &value), "{point} with the top bit");
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_are_no_point_and_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..140)) {
        for group in ECP {
            proptest::prop_assert!(refused(group, &bytes), "{:?}", group);
            let whole: Vec<u8> = bytes.iter().copied().cycle().take(group.public_len()).collect();
            proptest::prop_assert!(refused(group, &whole), "{:?}", group);
        }
        proptest::prop_assert!(bytes.len() == 32 || refused(Group::Curve25519, &bytes));
    }
}
