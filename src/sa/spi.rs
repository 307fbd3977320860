//! The names of SAs, tunnels, rules and shapes.

use std::fmt;

/// An ESP SPI. RFC 4303 §2.1: 0 is for local use, 1 to 255 are reserved by IANA; neither can be held here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(u32);

impl Spi {
    /// The least that there is.
    pub const LEAST: Self = Self(256);

    /// `None` for 0 to 255.
    #[must_use]
    pub const fn new(spi: u32) -> Option<Self> {
        if spi > 255 { Some(Self(spi)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Which SPIs an SA may have: with several workers each has a class of its own, so that the SPI of a packet tells whose it
/// is. By default all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiClass {
    of: u32,
    rest: u32,
}

impl Default for SpiClass {
    fn default() -> Self {
        Self { of: 1, rest: 0 }
    }
}

impl SpiClass {
    /// The class of worker `worker` among `workers`.
    #[must_use]
    pub const fn of_worker(worker: u16, workers: u16) -> Self {
        let of = if workers == 0 { 1 } else { workers as u32 };
        Self { of, rest: worker as u32 % of }
    }

    /// The SPI of this class that `random` stands for; none for a few numbers at either end.
    #[must_use]
    pub const fn pick(self, random: u32) -> Option<Spi> {
        match (random - random % self.of).checked_add(self.rest) {
            Some(spi) => Spi::new(spi),
            None => None,
        }
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_class_has_the_spis_of_its_worker_and_no_others(random: u32, workers in 1_u16..=64, worker in 0_u16..64) {
            let worker = worker % workers;
            if let Some(spi) = SpiClass::of_worker(worker, workers).pick(random) {
                prop_assert_eq!(spi.get() % u32::from(workers), u32::from(worker));
                prop_assert!(spi.get().abs_diff(random) < u32::from(workers));
            } else {
                prop_assert!(!(256 + 64..=u32::MAX - 64).contains(&random));
            }
            prop_assert_eq!(SpiClass::default().pick(random), Spi::new(random));
        }
    }
}
