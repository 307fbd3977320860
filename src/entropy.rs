//! Randomness as an argument. The operating system's own source lives in `platform::entropy`.

use sha2::{Digest, Sha256};

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A number in `0..bound`; `bound` of zero gives zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(u64::from_ne_bytes(self.array())) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Repeatable bytes from a seed, for tests, fuzzing and simulation: SHA-256 in counter mode. Never for keys in use.
#[derive(Clone, Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0, block: [0; 32], used: 32 }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                let mut hash = Sha256::new();
                hash.update(self.seed.to_be_bytes());
                hash.update(self.counter.to_be_bytes());
                self.block.copy_from_slice(&hash.finalize());
                self.counter = self.counter.wrapping_add(1);
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let mut a = SeededEntropy::new(7);
        let mut b = SeededEntropy::new(7);
        let (a, b): (&mut dyn Entropy, &mut dyn Entropy) = (&mut a, &mut b);
        assert_eq!(a.array::<77>(), b.array::<77>());
        let mut c = SeededEntropy::new(8);
        let c: &mut dyn Entropy = &mut c;
        assert_ne!(c.array::<32>(), b.array::<32>());
        assert!((0..1000).all(|_| c.below(10) < 10));
        assert_eq!(c.below(0), 0);
    }
}
