//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and the pseudo headers of IPv4 and IPv6.
//!
//! The one's complement sum does not care in which byte order it is made (RFC 1071 §2 (B)): the loop adds words as the
//! machine reads them and turns the result round once at the end.

use std::net::IpAddr;

/// An unfinished sum, which may be continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed yet.
    pub const ZERO: Self = Self(0);

    /// The pseudo header of TCP and UDP over IPv4 (RFC 9293 §3.1), and of TCP, UDP and ICMPv6 over IPv6 (RFC 8200
    /// §8.1). `None` if the addresses are of two families.
    #[must_use]
    pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Option<Self> {
        let addresses = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Self::ZERO.and(&source.octets()).and(&destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Self::ZERO.and(&source.octets()).and(&destination.octets())
            }
            _ => return None,
        };
        let length = u32::try_from(length).ok()?;
        Some(addresses.and(&u32::from(protocol).to_be_bytes()).and(&length.to_be_bytes()))
    }

    /// Adds `bytes`. Only the last piece of a sum may have an odd length.
    #[inline]
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let (blocks, bytes) = bytes.as_chunks::<64>();
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = if blocks.is_empty() { 0 } else { sum_of(blocks) };
        for word in words {
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
        if !rest.is_empty() {
            let mut tail = [0; 4];
            tail[..rest.len()].copy_from_slice(rest);
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(tail)));
        }
        Self(fold64(self.0).wrapping_add(fold64(sum)))
    }

    /// The sum as sixteen bits in host order, not complemented.
    #[must_use]
    pub fn fold(self) -> u16 {
        let sum = fold64(self.0);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be((sum + (sum >> 16)) as u16)
    }

    /// The checksum that belongs into a header whose checksum field was zero while it was summed.
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether the sum over a header with its checksum in place is right.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The sum of whole blocks, not folded: 2^32 words would be needed to overflow.
fn sum_of(blocks: &[[u8; 64]]) -> u64 {
    // Eight sums side by side, which the compiler keeps in vector registers.
    let mut lanes = [[0_u64; 2]; 8];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            let word = u64::from_ne_bytes(*word);
            lane[0] = lane[0].wrapping_add(word & 0xffff_ffff);
            lane[1] = lane[1].wrapping_add(word >> 32);
        }
    }
    lanes.iter().flatten().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

/// Thirty-three bits at most, so that what is added afterwards cannot overflow.
fn fold64(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// The checksum of `bytes`, in which the checksum field is zero.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::ZERO.and(bytes).finish()
}

/// The checksum after one 16-bit word of what it covers has changed.
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    // RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m')
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(((sum >> 16) + (sum & 0xffff)) as u16)
}

/// What the replacement of some words does to every checksum that covers them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// Nothing is replaced.
    pub const NONE: Self = Self(0);

    /// `new` in place of `old`: as long, of an even length, and at an even distance from where the sum begins.
    #[must_use]
    pub fn and(self, old: &[u8], new: &[u8]) -> Self {
        debug_assert!(old.len() == new.len() && old.len().is_multiple_of(2));
        let words = |bytes: &[u8], turn: u16| -> u64 {
            bytes.as_chunks::<2>().0.iter().map(|word| u64::from(u16::from_be_bytes(*word) ^ turn)).sum()
        };
        Self(self.0 + words(old, 0xffff) + words(new, 0))
    }

    /// Both changes.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum afterwards.
    #[must_use]
    pub fn mend(self, checksum: u16) -> u16 {
        // RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m')
        let mut sum = u64::from(!checksum) + self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::checksum::Sum16BitWords;
    use proptest::prelude::*;

    #[test]
    fn a_known_sum_comes_out() {
        // The example of RFC 1071 §3.
        assert_eq!(Sum::ZERO.and(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn the_largest_packet_of_ones_does_not_overflow() {
        let ones = vec![0xff; 65535];
        assert_eq!(
            Sum::ZERO.and(&ones).fold(),
            Sum16BitWords::new().add_slice(&ones).ones_complement().to_be() ^ 0xffff
        );
        let sum = (0..1000).fold(Sum::ZERO, |sum, _| sum.and(&ones[..65534]));
        assert_eq!(sum.fold(), 0xffff);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_etherparse(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let theirs = Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
            prop_assert_eq!(checksum(&bytes), theirs);
        }

        #[test]
        fn a_sum_in_pieces_is_the_sum_of_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..100) {
            let (one, other) = bytes.split_at((cut * 2).min(bytes.len()));
            prop_assert_eq!(Sum::ZERO.and(one).and(other).fold(), Sum::ZERO.and(&bytes).fold());
        }

        #[test]
        fn a_change_of_many_words_is_as_good_as_a_new_sum(
            before in prop::collection::vec(any::<u8>(), 40), after in prop::collection::vec(any::<u8>(), 20),
        ) {
            let mut bytes = [&[0x45, 0], before.as_slice()].concat();
            let old = checksum(&bytes);
            let (one, other) = after.split_at(12);
            let change = Change::NONE.and(&bytes[4..16], one).with(Change::NONE.and(&bytes[20..28], other));
            bytes[4..16].copy_from_slice(one);
            bytes[20..28].copy_from_slice(other);
            prop_assert_eq!(change.mend(old), checksum(&bytes));
        }

        #[test]
        fn an_update_is_as_good_as_a_new_sum(mut words in prop::collection::vec(any::<u16>(), 2..20), new: u16) {
            let bytes = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
            // A header is never all zeros.
            words[0] = 0x4500;
            let before = checksum(&bytes(&words));
            let old = std::mem::replace(&mut words[1], new);
            prop_assert_eq!(update(before, old, new), checksum(&bytes(&words)));
        }
    }
}
