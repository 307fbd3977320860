//! Who runs on which processor, where that is asked for: each gateway and each host has one of its own, as far as there are as
//! many; with two or three the gateway and the host of one side share one, and the sides do not.

use std::io;
use std::sync::OnceLock;

use crate::platform::privileges;

/// What a bench in memory runs on, if it was told to stay there: decided once, before it starts threads.
static PROCESSORS: OnceLock<Vec<usize>> = OnceLock::new();

/// Binds the calling thread to the first processor, and has threads that a bench in memory starts go to one each. Gives all.
pub fn stay() -> io::Result<&'static [usize]> {
    let all = privileges::processors()?;
    if let Some(first) = all.first() {
        privileges::bind_to_processor(*first)?;
    }
    Ok(PROCESSORS.get_or_init(|| all))
}

/// Where threads go in turn; empty: where the kernel puts them.
pub(super) fn processors() -> &'static [usize] {
    PROCESSORS.get().map_or(&[], Vec::as_slice)
}

/// A processor for each end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pins {
    /// Gateway A's and gateway B's, all their threads.
    pub gateways: [usize; 2],
    /// Host A's, which is the generator's, and host B's, the receiver's.
    pub hosts: [usize; 2],
}

impl Pins {
    /// Chosen among those that this process may use; `None` if there is but one.
    pub fn here() -> io::Result<Option<Self>> {
        Ok(Self::among(&privileges::processors()?))
    }

    fn among(allowed: &[usize]) -> Option<Self> {
        match *allowed {
            [a, b, c, d, ..] => Some(Self { gateways: [a, b], hosts: [c, d] }),
            [a, b, ..] => Some(Self { gateways: [a, b], hosts: [a, b] }),
            _ => None,
        }
    }

    /// As it is shown.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { gateways: [a, b], hosts: [c, d] } = self;
        format!("gateway A on processor {a}, gateway B on {b}, host A on {c}, host B on {d}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_never_share_a_processor_and_with_four_nobody_does() {
        assert_eq!(Pins::among(&[]), None);
        assert_eq!(Pins::among(&[3]), None);
        assert_eq!(Pins::among(&[1, 5, 6]), Some(Pins { gateways: [1, 5], hosts: [1, 5] }));
        let four = Pins::among(&[2, 3, 4, 5, 6]).unwrap();
        assert_eq!(four.words(), "gateway A on processor 2, gateway B on 3, host A on 4, host B on 5");
    }
}
