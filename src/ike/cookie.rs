//! Cookies (RFC 7296 §2.6): a flood of first messages from forged addresses finds no state to fill.
//!
//! The cookie says which secret made it, and holds a keyed hash over what the next message must repeat. Nothing is
//! stored per peer.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::limits;
use crate::crypto::suite::PrfAlg;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

/// Makes cookies and knows them again.
pub struct CookieJar {
    version: u8,
    current: Secret,
    previous: Option<Secret>,
    since: Instant,
}

impl CookieJar {
    /// A jar with a fresh secret.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            version: entropy.array::<1>()[0],
            current: Secret::copy_of(&entropy.array::<32>()),
            previous: None,
            since: Instant::ZERO,
        }
    }

    /// Renews the secret when its time has come. It is used from the first cookie on, so an idle endpoint does nothing.
    fn rotate(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let age = now.since(self.since);
        if age < limits::COOKIE_ROTATION {
            return;
        }
        let fresh = Secret::copy_of(&entropy.array::<32>());
        let old = std::mem::replace(&mut self.current, fresh);
        // RFC 7296 §2.6: the old secret is accepted for a while, so that a change does not hit a peer in between.
        self.previous = (age < limits::COOKIE_ROTATION * 2).then_some(old);
        self.version = self.version.wrapping_add(1);
        self.since = now;
    }

    /// The cookie for a first message. It says by itself how difficult the puzzle is that goes with it (RFC 8019
    /// §7.1.1.3); 0 for none.
    pub fn bake(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        difficulty: u8,
        nonce: &[u8],
        source: IpAddr,
        spi: IkeSpi,
    ) -> Vec<u8> {
        self.rotate(now, entropy);
        cookie([self.version, difficulty], &self.current, nonce, source, spi)
    }

    /// The difficulty of the puzzle that went with `presented`, if it is a cookie of ours for this first message.
    pub fn knows(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        presented: &[u8],
        nonce: &[u8],
        source: IpAddr,
        spi: IkeSpi,
    ) -> Option<u8> {
        self.rotate(now, entropy);
        let &[version, difficulty, ..] = presented else { return None };
        let secret = if version == self.version {
            Some(&self.current)
        } else if version == self.version.wrapping_sub(1) {
            self.previous.as_ref()
        } else {
            None
        };
        let known = cookie([version, difficulty], secret?, nonce, source, spi).ct_eq(presented);
        bool::from(known).then_some(difficulty)
    }
}

/// RFC 7296 §2.6: "Cookie = <VersionIDofSecret> | Hash(Ni | IPi | SPIi | <secret>)", with the hash keyed by the secret.
fn cookie(front: [u8; 2], secret: &Secret, nonce: &[u8], source: IpAddr, spi: IkeSpi) -> Vec<u8> {
    let address = match source {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    // The nonce alone has no fixed length; it goes last, so that no two inputs run together.
    let hash = PrfAlg::HmacSha256.prf(secret.expose(), &[&front, &address, &spi.to_be_bytes(), nonce]);
    let cookie: Vec<u8> = front.into_iter().chain(hash.expose().iter().copied()).collect();
    debug_assert!(cookie.len() <= limits::MAX_COOKIE);
    cookie
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_cookie_is_good_for_one_peer_one_spi_one_nonce_and_two_rotations() {
        let mut entropy = SeededEntropy::new(4);
        let entropy: &mut dyn Entropy = &mut entropy;
        let mut jar = CookieJar::new(entropy);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let there: IpAddr = "192.0.2.2".parse().unwrap();
        let start = Instant::ZERO + Duration::from_secs(1000);
        let cookie = jar.bake(start, entropy, 3, b"nonce", here, 7);
        assert!(cookie.len() <= 64);
        assert_eq!(jar.knows(start, entropy, &cookie, b"nonce", here, 7), Some(3));
        assert_eq!(jar.knows(start, entropy, &cookie, b"Nonce", here, 7), None);
        assert_eq!(jar.knows(start, entropy, &cookie, b"nonce", there, 7), None);
        assert_eq!(jar.knows(start, entropy, &cookie, b"nonce", here, 8), None);
        assert_eq!(jar.knows(start, entropy, b"", b"nonce", here, 7), None);
        for index in 0..cookie.len() {
            let mut forged = cookie.clone();
            forged[index] ^= 1;
            assert_eq!(jar.knows(start, entropy, &forged, b"nonce", here, 7), None);
        }
        let one_rotation = start + limits::COOKIE_ROTATION;
        assert_eq!(
            jar.knows(one_rotation, entropy, &cookie, b"nonce", here, 7),
            Some(3),
            "the previous secret still counts"
        );
        let two_rotations = one_rotation + limits::COOKIE_ROTATION;
        assert_eq!(jar.knows(two_rotations, entropy, &cookie, b"nonce", here, 7), None);
        let idle = two_rotations + limits::COOKIE_ROTATION * 5;
        let old = jar.bake(two_rotations, entropy, 3, b"nonce", here, 7);
        assert_eq!(
            jar.knows(idle, entropy, &old, b"nonce", here, 7),
            None,
            "an old secret is not kept over an idle hour"
        );
    }
}
