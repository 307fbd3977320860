//! The operating system's randomness: `getrandom(2)`, which waits until the pool is seeded and cannot run dry afterwards.

use crate::entropy::Entropy;

/// Random bytes from the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        // Without randomness no key and no nonce may be made: to go on would be worse than to end.
        getrandom::fill(out).expect("getrandom(2) does not fail once the machine is up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fills_differ_and_leave_no_byte_behind() {
        let (mut a, mut b) = ([0_u8; 256], [0_u8; 256]);
        OsEntropy.fill(&mut a);
        OsEntropy.fill(&mut b);
        assert_ne!(a, b);
        // 256 random bytes have more than 100 distinct values but for a chance below 2^-60.
        let distinct = a.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(distinct > 100, "{distinct} distinct bytes");
    }
}
