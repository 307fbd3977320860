//! IKE SAs that strangers have begun (RFC 7296 §2.6): how many there are, whose they are, and which request made which.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::limits;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

/// A keyed fingerprint of a first request and its way: the same one is a retransmission, another one is another peer's
/// or another attempt, even under the same SPI.
pub type Fingerprint = [u8; 32];

/// What a first request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go on.
    Open,
    /// Only with a cookie.
    Cookie,
    /// Only with a cookie, and the solution of a puzzle of this difficulty.
    Puzzle(u8),
    /// Not now, not even with a cookie.
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct HalfOpen {
    of_request: BTreeMap<Fingerprint, IkeSpi>,
    by_spi: BTreeMap<IkeSpi, (Fingerprint, IpAddr)>,
    of_source: BTreeMap<IpAddr, usize>,
    wary_until: Option<Instant>,
}

/// What counts as one source: an IPv4 address, or the /64 that an IPv6 host can take all its addresses from.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl HalfOpen {
    /// The IKE SA that this very request has made.
    pub fn find(&self, request: &Fingerprint) -> Option<IkeSpi> {
        self.of_request.get(request).copied()
    }

    /// Whether another one may begin; `puzzles`: from how many on they are posed.
    pub fn admit(&self, now: Instant, source: IpAddr, threshold: usize, puzzles: Option<usize>) -> Admission {
        let count = self.of_source.get(&source_of(source)).copied().unwrap_or(0);
        let all = self.by_spi.len();
        if all >= limits::MAX_HALF_OPEN || count >= limits::MAX_HALF_OPEN_PER_SOURCE {
            Admission::Full
        } else if let Some(above) = puzzles.and_then(|from| all.checked_sub(from)) {
            let bits = u8::try_from(above / limits::PUZZLE_STEP).unwrap_or(u8::MAX);
            let bits = bits.saturating_add(limits::PUZZLE_DIFFICULTY);
            Admission::Puzzle(bits.min(limits::MAX_PUZZLE_DIFFICULTY))
        } else if all >= threshold
            || count >= limits::COOKIE_THRESHOLD_PER_SOURCE
            || self.wary_until.is_some_and(|until| now < until)
        {
            Admission::Cookie
        } else {
            Admission::Open
        }
    }

    /// Somebody without a cookie has cost more than a first request may.
    pub fn be_wary(&mut self, now: Instant) {
        self.wary_until = Some(now + limits::WARY_TIME);
    }

    /// One has begun.
    pub fn insert(&mut self, spi: IkeSpi, request: Fingerprint, source: IpAddr) {
        self.of_request.insert(request, spi);
        self.by_spi.insert(spi, (request, source));
        *self.of_source.entry(source_of(source)).or_default() += 1;
    }

    /// It is no longer half open.
    pub fn remove(&mut self, spi: IkeSpi) {
        let Some((request, source)) = self.by_spi.remove(&spi) else { return };
        self.of_request.remove(&request);
        let source = source_of(source);
        if let Some(count) = self.of_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&source);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_spi.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn counters_return_to_zero_and_no_source_takes_it_all() {
        let mut table = HalfOpen::default();
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        for spi in 1..=5u8 {
            assert_ne!(table.admit(Instant::ZERO, here, 30, None), Admission::Full);
            table.insert(spi.into(), [spi; 32], here);
        }
        assert_eq!(table.admit(Instant::ZERO, here, 30, None), Admission::Full);
        assert_eq!(table.admit(Instant::ZERO, there, 30, None), Admission::Open);
        assert_eq!(table.admit(Instant::ZERO, there, 5, None), Admission::Cookie);
        assert_eq!(table.find(&[3; 32]), Some(3));
        for spi in 0..=9 {
            table.remove(spi);
            table.remove(spi);
        }
        assert_eq!((table.len(), table.of_request.len(), table.of_source.len()), (0, 0, 0));
    }

    #[test]
    fn the_addresses_of_one_64_are_one_source_and_those_of_another_are_not() {
        let mut table = HalfOpen::default();
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        for spi in 1..=5u8 {
            table.insert(spi.into(), [spi; 32], address(&format!("2001:db8:0:1::{spi}")));
        }
        let admit = |text: &str| table.admit(Instant::ZERO, address(text), 30, None);
        assert_eq!(admit("2001:db8:0:1:ffff::77"), Admission::Full);
        assert_eq!(admit("2001:db8:0:2::1"), Admission::Open);
        assert_eq!(admit("::ffff:192.0.2.1"), Admission::Open);
        for spi in 1..=5 {
            table.remove(spi);
        }
        assert!(table.of_source.is_empty());
    }

    #[test]
    fn puzzles_grow_with_the_load_up_to_a_bound_and_only_where_they_are_on() {
        let mut table = HalfOpen::default();
        let mut seen = Vec::new();
        for index in 0..u32::try_from(limits::MAX_HALF_OPEN).unwrap() {
            let source = IpAddr::from(Ipv4Addr::from_bits(index));
            assert!(matches!(table.admit(Instant::ZERO, source, 30, None), Admission::Open | Admission::Cookie));
            if let Admission::Puzzle(difficulty) =
                table.admit(Instant::ZERO, source, 30, Some(limits::PUZZLE_THRESHOLD))
            {
                seen.push(difficulty);
            }
            let mut request = [0; 32];
            request[..4].copy_from_slice(&index.to_be_bytes());
            table.insert(u64::from(index) + 1, request, source);
        }
        assert!(seen.is_sorted());
        assert_eq!((seen[0], *seen.last().unwrap()), (limits::PUZZLE_DIFFICULTY, limits::MAX_PUZZLE_DIFFICULTY));
        assert_eq!(
            table.admit(Instant::ZERO, Ipv4Addr::from_bits(99_999).into(), 30, Some(limits::PUZZLE_THRESHOLD)),
            Admission::Full
        );
    }

    #[test]
    fn who_has_cost_too_much_without_a_cookie_makes_everybody_bring_one_for_a_while() {
        let mut table = HalfOpen::default();
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        table.be_wary(Instant::ZERO);
        assert_eq!(table.admit(Instant::ZERO, here, 30, None), Admission::Cookie);
        assert_eq!(table.admit(Instant::ZERO + limits::WARY_TIME, here, 30, None), Admission::Open);
    }
}
