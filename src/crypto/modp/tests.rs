//! The primes, made again from pi, and the arithmetic at its edges.

use crypto_bigint::Uint;

use super::*;
use crate::entropy::SeededEntropy;

/// The prime of a MODP group.
pub(in crate::crypto) fn prime(group: Group) -> Vec<u8> {
    match group {
        Group::Modp2048 => bytes(&PRIME_2048),
        Group::Modp3072 => bytes(&PRIME_3072),
        Group::Modp4096 => bytes(&PRIME_4096),
        other => panic!("{other:?} is no MODP group"),
    }
}

fn bytes<const LIMBS: usize>(number: &Uint<LIMBS>) -> Vec<u8> {
    number.as_limbs().iter().rev().flat_map(|limb| limb.0.to_be_bytes()).collect()
}

#[test]
fn the_primes_are_those_that_rfc_3526_makes_from_pi() {
    for (group, k) in [(Group::Modp2048, 124_476), (Group::Modp3072, 1_690_314), (Group::Modp4096, 240_904)] {
        // 2^n - 2^(n-64) sets the first 64 bits. 2^64 * m - 1 is m - 1 in the middle, and sets the last 64.
        let prime = prime(group);
        let middle = prime.strip_prefix(&[0xff; 8]).and_then(|rest| rest.strip_suffix(&[0xff; 8])).expect("64 ones");
        // The two bits of pi before the point and n - 130 behind it.
        assert_eq!(middle, plus(pi(middle.len()), k - 1), "{group:?}");
    }
}

/// The first bytes of pi, two bits before the point: Machin's 16 arctan(1/5) - 4 arctan(1/239), with 64 bits to spare for
/// what each division drops.
fn pi(len: usize) -> Vec<u8> {
    let mut sum = vec![0; (len + 8) / 4];
    arctan(&mut sum, 16, 5, true);
    arctan(&mut sum, 4, 239, false);
    let mut bytes: Vec<u8> = sum.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// Adds (or takes away) `factor` * arctan(1/x): factor/x - factor/(3 x^3) + factor/(5 x^5) - ...
fn arctan(sum: &mut [u32], factor: u32, x: u32, mut add: bool) {
    let mut power = vec![0; sum.len()];
    // One is 2^30 in the first word; 16 of them would not fit, 16/5 does.
    let first = u64::from(factor) << 30;
    let (high, mut rest) = (first / u64::from(x), first % u64::from(x));
    power[0] = u32::try_from(high).expect("less than four");
    for word in &mut power[1..] {
        let value = (rest << 32) / u64::from(x);
        rest = (rest << 32) % u64::from(x);
        *word = value as u32;
    }
    for n in (1..).step_by(2) {
        if power.iter().all(|word| *word == 0) {
            break;
        }
        let term = divided(&power, n);
        let mut carry = false;
        for (sum, term) in sum.iter_mut().zip(&term).rev() {
            (*sum, carry) = if add { sum.carrying_add(*term, carry) } else { sum.borrowing_sub(*term, carry) };
        }
        add = !add;
        power = divided(&power, x * x);
    }
}

fn divided(number: &[u32], by: u32) -> Vec<u32> {
    let mut rest = 0;
    let digit = |word: &u32| {
        let value = (rest << 32) | u64::from(*word);
        rest = value % u64::from(by);
        (value / u64::from(by)) as u32
    };
    number.iter().map(digit).collect()
}

fn plus(mut number: Vec<u8>, addend: u32) -> Vec<u8> {
    let mut carry = u64::from(addend);
    for byte in number.iter_mut().rev() {
        carry += u64::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
    number
}

#[test]
fn the_primes_are_safe_and_two_generates_the_large_subgroup() {
    fn check<const LIMBS: usize>(prime: Odd<Uint<LIMBS>>) {
        let half = prime.shr(1);
        let one = Uint::from_u8(1);
        let power = |base: u8, exponent: &Uint<LIMBS>, modulus| {
            FixedMontyForm::new(&Uint::from_u8(base), &FixedMontyParams::new_vartime(modulus)).pow(exponent).retrieve()
        };
        // Fermat's test of (p - 1)/2, and 2 as an element of that order; together they make p prime (Pocklington).
        let half_odd = Odd::new(half).expect("p is 3 modulo 4");
        assert_eq!(power(3, &half.wrapping_sub(&one), half_odd), one);
        assert_eq!(power(2, &half, prime), one);
    }
    check(PRIME_2048);
    check(PRIME_3072);
    check(PRIME_4096);
}

#[test]
fn an_exponent_has_its_whole_length_even_from_entropy_that_is_zero() {
    struct Zero;
    impl Entropy for Zero {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    for (group, bits) in [(Group::Modp2048, 320), (Group::Modp3072, 448), (Group::Modp4096, 512)] {
        assert_eq!(Private::generate(group, &mut Zero).exponent.bits(), bits);
        assert_eq!(Private::generate(group, &mut SeededEntropy::new(1)).exponent.bits(), bits);
    }
}

#[test]
fn leading_zeros_are_kept() {
    for group in [Group::Modp2048, Group::Modp3072, Group::Modp4096] {
        let private = Private { group, exponent: Zeroizing::new(U512::from_u8(8)) };
        let mut expected = vec![0; group.public_len()];
        expected[group.public_len() - 2] = 1;
        assert_eq!(private.public(), expected, "2^8 in {group:?}");
        let mut three = vec![0; group.public_len()];
        three[group.public_len() - 1] = 3;
        expected[group.public_len() - 2..].copy_from_slice(&6561_u16.to_be_bytes());
        assert_eq!(private.agree(&three).expect("valid").expose(), expected, "3^8 in {group:?}");
    }
}
