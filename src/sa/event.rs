//! What the data path tells IKE. None of these may be lost: they are sticky until they are read.

use std::net::SocketAddr;

use super::spi::Spi;
use crate::ids::{ShapeId, TunnelId};

/// Something that IKE has to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SadEvent {
    /// A packet that a rule allows has no SA to go by (RFC 4301 §5.1); at most one a second and shape.
    Acquire {
        /// The tunnel.
        tunnel: TunnelId,
        /// The selectors it needs.
        shape: ShapeId,
    },
    /// A soft limit was passed.
    SoftLimit {
        /// The inbound SPI that names the child SA.
        inbound: Spi,
    },
    /// A hard limit was reached: the SA carries nothing any more.
    HardLimit {
        /// The inbound SPI that names the child SA.
        inbound: Spi,
    },
    /// The first packet on this inbound SA has been authenticated.
    FirstInbound {
        /// Its SPI.
        inbound: Spi,
    },
    /// The newest authenticated packet came from another address (RFC 7296 §2.23).
    PeerMoved {
        /// The SA that it came by.
        inbound: Spi,
        /// From where.
        remote: SocketAddr,
        /// To which address of ours.
        local: SocketAddr,
    },
    /// Too many packets failed their integrity check: the key is due for renewal.
    ForgeryBudget {
        /// The SA.
        inbound: Spi,
    },
}
