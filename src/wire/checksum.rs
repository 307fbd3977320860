//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and the pseudo headers of IPv4 and IPv6.
//!
//! The one's complement sum does not care in which byte order it is made (RFC 1071 §2 (B)): the loop adds words as the
//! machine reads them and turns the result round once at the end.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An unfinished sum, which may be continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed yet.
    pub const ZERO: Self = Self(0);

    /// The pseudo header of TCP and UDP over IPv4 (RFC 9293 §3.1).
    #[must_use]
    pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> Self {
        Self::ZERO
            .and(&source.octets())
            .and(&destination.octets())
            .add_u32(u32::from(protocol))
            .add_u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// The pseudo header of TCP, UDP and ICMPv6 over IPv6 (RFC 8200 §8.1).
    #[must_use]
    pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: usize) -> Self {
        Self::ZERO
            .and(&source.octets())
            .and(&destination.octets())
            .add_u32(u32::from(protocol))
            .add_u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// Adds `bytes`. Only the last piece of a sum may have an odd length.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(4);
        let mut sum = 0_u64;
        for word in &mut words {
            // A chunk has four bytes, so the default is never taken; 2^32 chunks would be needed to overflow.
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(word.try_into().unwrap_or_default())));
        }
        let mut tail = [0; 4];
        let rest = words.remainder();
        tail[..rest.len()].copy_from_slice(rest);
        Self(fold64(self.0).wrapping_add(fold64(sum)).wrapping_add(u64::from(u32::from_ne_bytes(tail))))
    }

    fn add_u32(self, value: u32) -> Self {
        self.and(&value.to_be_bytes())
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
