//! How long may an inner packet be? From the path's MTU, the encapsulation and the cipher (RFC 4301 §8).
//!
//! Nothing is fragmented, neither inside nor outside: a packet that does not fit is answered inwards with the MTU that
//! would, whether it forbids fragments or not. Over a path below 1280 bytes and ESP's own, the inner MTU falls below
//! IPv6's minimum of 1280; such a path does not carry full-sized IPv6 packets.

use std::time::Duration;

use crate::esp::transform::PacketShape;
use crate::sa::child::Encapsulation;
use crate::time::Instant;
use crate::wire::esp::TRAILER_LEN;

/// What is assumed of a path until somebody says otherwise.
pub const DEFAULT_PATH_MTU: u16 = 1500;
/// No report brings an IPv4 path below this: what every host must accept (RFC 791 §3.1), and enough to work with.
pub const FLOOR_V4: u16 = 576;
/// No report brings an IPv6 path below this (RFC 8200 §5).
pub const FLOOR_V6: u16 = 1280;
/// RFC 1191 §6.3, RFC 8201 §4: ten minutes after a report, the path is tried with its full MTU again.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// A report is believed if it quotes one of the last packets sent: so many, however many lie in a long fat pipe.
pub const RECENT: u32 = 1 << 16;

/// What stands in front of ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Whether the outer packet is IPv6.
    pub v6: bool,
    /// Whether ESP travels in UDP.
    pub udp: bool,
}

impl Outer {
    /// As agreed for an SA.
    #[must_use]
    pub fn of(encapsulation: &Encapsulation) -> Self {
        match encapsulation {
            Encapsulation::Raw { remote, .. } => Self { v6: remote.is_ipv6(), udp: false },
            Encapsulation::Udp { remote, .. } => Self { v6: remote.is_ipv6(), udp: true },
        }
    }

    const fn len(self) -> usize {
        (if self.v6 { 40 } else { 20 }) + (if self.udp { 8 } else { 0 })
    }

    const fn floor(self) -> u16 {
        if self.v6 { FLOOR_V6 } else { FLOOR_V4 }
    }
}

/// The longest inner packet whose ESP packet fits `path_mtu`.
///
/// Payload and trailer come to a multiple of 16 with every cipher: AES-GCM is then spared its slow last step with less
/// than a block, and a full-sized packet has no padding.
#[must_use]
pub fn inner_mtu(path_mtu: u16, outer: Outer, shape: PacketShape) -> u16 {
    let room = usize::from(path_mtu).saturating_sub(outer.len() + shape.front() + shape.icv_len);
    (room / 16 * 16).saturating_sub(TRAILER_LEN) as u16
}

/// The largest TCP segment that fits `inner_mtu` with headers of 20 bytes and IPv4's 20 or IPv6's 40.
#[must_use]
pub const fn max_segment(inner_mtu: u16, v6: bool) -> u16 {
    inner_mtu.saturating_sub(if v6 { 60 } else { 40 })
}

/// What is known of the path to one tunnel's peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    link: u16,
    learned: Option<(u16, Instant)>,
}

impl Default for PathMtu {
    fn default() -> Self {
        Self { link: DEFAULT_PATH_MTU, learned: None }
    }
}

impl PathMtu {
    /// The MTU to be used now.
    #[must_use]
    pub fn get(&self) -> u16 {
        self.learned.map_or(self.link, |(mtu, _)| mtu.min(self.link))
    }

    /// Our own link's MTU, which no report can raise.
    pub fn set_link(&mut self, mtu: u16) {
        self.link = mtu;
    }

    /// A report that proved to be about a packet of ours; true if it changed anything.
    pub fn learn(&mut self, now: Instant, mtu: u32, outer: Outer) -> bool {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(outer.floor());
        let lower = mtu < self.get();
        if lower {
            self.learned = Some((mtu, now));
        }
        lower
    }

    /// Forgets what is too old; true if it changed anything.
    pub fn tick(&mut self, now: Instant) -> bool {
        let stale = self.learned.is_some_and(|(_, since)| now.since(since) >= FORGET_AFTER);
        if stale {
            self.learned = None;
        }
        stale
    }

    /// Forgets everything about a path that is no longer used.
    pub fn forget(&mut self) {
        self.learned = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::{Cipher, Mac};

    const V4_UDP: Outer = Outer { v6: false, udp: true };
    const V6_UDP: Outer = Outer { v6: true, udp: true };

    fn shapes() -> [PacketShape; 4] {
        [
            PacketShape::of(Cipher::Aes256Gcm16, None),
            PacketShape::of(Cipher::ChaCha20Poly1305, None),
            PacketShape::of(Cipher::Aes256Cbc, Some(Mac::HmacSha256)),
            PacketShape::of(Cipher::Aes256Cbc, Some(Mac::HmacSha512)),
        ]
    }

    #[test]
    fn an_ethernet_path_carries_1438_bytes_in_ninety_whole_blocks() {
        let gcm = PacketShape::of(Cipher::Aes256Gcm16, None);
        assert_eq!(inner_mtu(1500, V4_UDP, gcm), 1438);
        assert_eq!(inner_mtu(1500, V6_UDP, gcm), 1406);
        assert_eq!(inner_mtu(1500, Outer { v6: false, udp: false }, gcm), 1438);
        assert_eq!((max_segment(1438, false), max_segment(1438, true)), (1398, 1378));
    }

    #[test]
    fn a_packet_of_the_inner_mtu_fits_and_needs_no_padding() {
        for shape in shapes() {
            for outer in [V4_UDP, V6_UDP, Outer { v6: false, udp: false }, Outer { v6: true, udp: false }] {
                for path in 576..1600 {
                    let inner = usize::from(inner_mtu(path, outer, shape));
                    let sealed = outer.len() + shape.front() + inner + TRAILER_LEN + shape.icv_len;
                    assert!(sealed <= usize::from(path) && sealed + 16 > usize::from(path));
                    assert_eq!((inner + TRAILER_LEN) % 16, 0);
                }
            }
        }
        assert_eq!(inner_mtu(40, V6_UDP, shapes()[0]), 0, "an absurd path gives no wrap");
    }

    #[test]
    fn reports_only_lower_stop_at_the_floor_and_are_forgotten() {
        let start = Instant::from_nanos(5);
        let mut path = PathMtu::default();
        assert!(!path.learn(start, 9000, V4_UDP));
        assert!(path.learn(start, 1400, V4_UDP));
        assert!(!path.learn(start, 1450, V4_UDP), "a second report cannot raise it");
        assert!(path.learn(start, 68, V4_UDP));
        assert_eq!(path.get(), 576);
        assert!(!path.tick(start + Duration::from_secs(599)));
        assert!(path.tick(start + Duration::from_mins(10)));
        assert_eq!(path.get(), 1500);
        assert!(path.learn(start, 0, V6_UDP));
        assert_eq!(path.get(), 1280);
        path.set_link(1200);
        assert_eq!(path.get(), 1200);
    }
}
