//! What the kernel should hold for us; `platform` applies the difference.

use std::net::IpAddr;

/// One remote host (or network, where a rule gives a reason) that must be reached through the tunnel or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protected {
    /// The network; a host has its full prefix length.
    pub network: ipnet::IpNet,
    /// The source address of the route, where the gateway itself is the local host of a rule.
    pub source: Option<IpAddr>,
    /// What its tunnel's path allows inside; `None` takes [`Desired::mtu`].
    pub mtu: Option<u32>,
}

/// Everything that stands in the kernel on our behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Name of the TUN device.
    pub tun: String,
    /// The MTU of routes that have none of their own.
    pub mtu: u32,
    /// What is protected.
    pub protected: Vec<Protected>,
}
