//! What the kernel should hold for us; `platform` applies the difference.

use std::net::IpAddr;

/// One remote host (or network, where a rule gives a reason) that must be reached through the tunnel or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protected {
    /// The network; a host has its full prefix length.
    pub network: ipnet::IpNet,
    /// The source address of the route, where the gateway itself is the local host of a rule.
    pub source: Option<IpAddr>,
}

/// Everything that stands in the kernel on our behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Name of the TUN device.
    pub tun: String,
    /// The routes' MTU by network is the smallest that its tunnel's path allows.
    pub mtu: u32,
    /// What is protected.
    pub protected: Vec<Protected>,
}
