//! What `portcullis status` and `portcullis sa` show of IKE.

use std::net::SocketAddr;

use serde::Serialize;

use crate::ids::TunnelId;

/// One configured tunnel.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelStatus {
    /// Its number.
    #[serde(skip)]
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// `up`, `connecting`, `waiting` (for a retry), `on-demand`, `down`.
    pub state: &'static str,
    /// Why it is not up: the last failure, in a sentence.
    pub why: Option<String>,
    /// Seconds until the next attempt.
    pub retry_in_s: Option<u64>,
    /// Its IKE SA.
    pub ike: Option<IkeStatus>,
    /// Its child SAs.
    pub children: Vec<ChildStatus>,
    /// Selectors that the rules ask for and that no child SA covers.
    pub missing: Vec<String>,
    /// Counters that never fall: exchanges and failures by reason.
    pub handshakes: u64,
    /// Failed negotiations.
    pub failures: u64,
}

/// One IKE SA.
#[derive(Clone, Debug, Serialize)]
pub struct IkeStatus {
    /// SPIs in hexadecimal, initiator's first.
    pub spis: [String; 2],
    /// Whether we opened it.
    pub initiator: bool,
    /// Its suite.
    pub suite: String,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The identity that the peer proved.
    pub peer_id: String,
    /// `none`, `local`, `remote`, `both`: who is behind a NAT.
    pub nat: &'static str,
    /// Seconds since it was authenticated.
    pub age_s: u64,
    /// Milliseconds from the first message to authentication.
    pub handshake_ms: f64,
}

/// One child SA.
#[derive(Clone, Debug, Serialize)]
pub struct ChildStatus {
    /// Inbound and outbound SPI in hexadecimal.
    pub spis: [String; 2],
    /// Its suite.
    pub suite: String,
    /// Our side.
    pub local: Vec<String>,
    /// The peer's side.
    pub remote: Vec<String>,
    /// `udp` or `raw`.
    pub encapsulation: &'static str,
    /// Seconds since it was installed.
    pub age_s: u64,
}
