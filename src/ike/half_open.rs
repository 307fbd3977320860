//! IKE SAs that strangers have begun (RFC 7296 §2.6): how many there are, whose they are, and which request made which.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::limits;
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
    /// Not now, not even with a cookie.
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct HalfOpen {
    of_request: BTreeMap<Fingerprint, IkeSpi>,
    by_spi: BTreeMap<IkeSpi, (Fingerprint, IpAddr)>,
    of_source: BTreeMap<IpAddr, usize>,
}

impl HalfOpen {
    /// The IKE SA that this very request has made.
    pub fn find(&self, request: &Fingerprint) -> Option<IkeSpi> {
        self.of_request.get(request).copied()
    }

    /// Whether another one may begin.
    pub fn admit(&self, source: IpAddr, threshold: usize) -> Admission {
        let count = self.of_source.get(&source).copied().unwrap_or(0);
        if self.by_spi.len() >= limits::MAX_HALF_OPEN || count >= limits::MAX_HALF_OPEN_PER_SOURCE {
            Admission::Full
        } else if self.by_spi.len() >= threshold || count >= limits::COOKIE_THRESHOLD_PER_SOURCE {
            Admission::Cookie
        } else {
            Admission::Open
        }
    }

    /// One has begun.
    pub fn insert(&mut self, spi: IkeSpi, request: Fingerprint, source: IpAddr) {
        self.of_request.insert(request, spi);
        self.by_spi.insert(spi, (request, source));
        *self.of_source.entry(source).or_default() += 1;
    }

    /// It is no longer half open.
    pub fn remove(&mut self, spi: IkeSpi) {
        let Some((request, source)) = self.by_spi.remove(&spi) else { return };
        self.of_request.remove(&request);
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
    use super::*;

    #[test]
    fn counters_return_to_zero_and_no_source_takes_it_all() {
        let mut table = HalfOpen::default();
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        for spi in 1..=5u8 {
            assert_ne!(table.admit(here, 30), Admission::Full);
            table.insert(spi.into(), [spi; 32], here);
        }
        assert_eq!(table.admit(here, 30), Admission::Full);
        assert_eq!(table.admit(there, 30), Admission::Open);
        assert_eq!(table.admit(there, 5), Admission::Cookie);
        assert_eq!(table.find(&[3; 32]), Some(3));
        for spi in 0..=9 {
            table.remove(spi);
            table.remove(spi);
        }
        assert_eq!((table.len(), table.of_request.len(), table.of_source.len()), (0, 0, 0));
    }
}
