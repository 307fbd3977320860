//! The way of IKE messages: our address and port, and the peer's.

use std::net::{IpAddr, SocketAddr};

/// The port of IKE (RFC 7296 §2).
pub const IKE_PORT: u16 = 500;
/// The port of IKE and ESP in UDP (RFC 3948 §2).
pub const NAT_PORT: u16 = 4500;

/// Both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Ours.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

impl Path {
    /// Between the same port of two addresses.
    pub fn between(local: IpAddr, remote: IpAddr, port: u16) -> Self {
        Self { local: SocketAddr::new(local, port), remote: SocketAddr::new(remote, port) }
    }

    /// RFC 7296 §2.23: once a NAT has been found, everything goes to and from port 4500.
    pub fn floated(self) -> Self {
        Self::between(self.local.ip(), self.remote.ip(), NAT_PORT)
    }
}
