//! One direction of a child SA, as IKE agreed it (RFC 4301 §4.4.2.1).

use std::net::{IpAddr, SocketAddr};

use super::lifetime::Lifetime;
use super::spi::Spi;
use crate::crypto::suite::{Cipher, Mac};
use crate::ids::{ShapeId, TunnelId};
use crate::policy::selector::TrafficSelector;
use crate::secret::Secret;

/// The keys of one direction (RFC 7296 §2.17).
#[derive(Debug)]
pub struct EspKeys {
    /// Encryption key, with the salt of an AEAD cipher behind it.
    pub cipher: Secret,
    /// Integrity key; empty with an AEAD cipher.
    pub mac: Secret,
}

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// IP protocol 50 between two addresses.
    Raw {
        /// Ours.
        local: IpAddr,
        /// The peer's.
        remote: IpAddr,
    },
    /// In UDP (RFC 3948).
    Udp {
        /// Ours, port 4500.
        local: SocketAddr,
        /// The peer's, whatever port its NAT gave it.
        remote: SocketAddr,
    },
}

/// What both directions of one child SA share.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// The tunnel it belongs to.
    pub tunnel: TunnelId,
    /// The selectors that it was asked for.
    pub shape: ShapeId,
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity, `None` with an AEAD cipher.
    pub mac: Option<Mac>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Our side, as narrowed.
    pub local: Vec<TrafficSelector>,
    /// The peer's side, as narrowed.
    pub remote: Vec<TrafficSelector>,
    /// Where its packets go and come from.
    pub encapsulation: Encapsulation,
    /// Its limits.
    pub lifetime: Lifetime,
}

/// The direction from the peer to us.
#[derive(Debug)]
pub struct InboundSpec {
    /// The SPI that we chose.
    pub spi: Spi,
    /// The keys.
    pub keys: EspKeys,
    /// The rest.
    pub child: ChildSpec,
    /// Width of the replay window in packets (RFC 4303 §3.4.3, RFC 6479).
    pub replay_window: u32,
}

/// The direction from us to the peer.
#[derive(Debug)]
pub struct OutboundSpec {
    /// The SPI that the peer chose.
    pub spi: Spi,
    /// The SPI of the inbound half: `(inbound, outbound)` name the child SA.
    pub inbound: Spi,
    /// The keys.
    pub keys: EspKeys,
    /// The rest.
    pub child: ChildSpec,
}
