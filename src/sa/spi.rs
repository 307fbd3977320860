//! The names of SAs, tunnels, rules and shapes.

use std::fmt;

/// An ESP SPI. RFC 4303 §2.1: 0 is for local use, 1 to 255 are reserved by IANA; neither can be held here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(u32);

impl Spi {
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
