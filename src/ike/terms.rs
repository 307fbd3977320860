//! What both sides have found out of each other beside keys and child SAs. An IKE SA that takes the place of another one
//! inherits it.

use std::net::IpAddr;

/// The terms of one IKE SA.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The peer answers IKE_AUTH without a child SA (RFC 6023 §3).
    pub childless: bool,
    /// Both sides may change their addresses (RFC 4555 §3.1).
    pub mobike: bool,
    /// Whether we have opened the first of all IKE SAs that took each other's place, whoever has rekeyed since. RFC 4555 §1.3
    /// calls that side the initiator.
    pub opened: bool,
    /// Whether the peer has chosen this head-end of the several that it has: it has opened the first of these IKE SAs when we
    /// had opened none with the same one.
    pub chosen: bool,
    /// Where else the peer can be reached (RFC 4555 §3.4).
    pub elsewhere: Vec<IpAddr>,
    /// Our inner addresses, as the peer gave them to us (RFC 7296 §3.15).
    pub assigned: Vec<IpAddr>,
    /// The name servers that go with them.
    pub dns: Vec<IpAddr>,
    /// The peer's inner addresses, as we gave them.
    pub leased: Vec<IpAddr>,
}
