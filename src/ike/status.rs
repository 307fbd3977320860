//! What `portcullis status` and `portcullis sa` show of IKE.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::connection::{Connection, Rekeys};
use super::describe;
use super::ike_sa::{Core, IkeSa};
use super::state::{Established, State};
use crate::ids::TunnelId;
use crate::time::Instant;

/// One configured tunnel.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelStatus {
    /// Its number.
    #[serde(skip)]
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// `up`, `connecting`, `waiting` (for a retry), `on-demand`, `down`, `disabled`, `closed` (by its agreement).
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
    /// Renewed keys.
    pub rekeys: Rekeys,
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
    /// Whether a postquantum preshared key is in its keys (RFC 8784).
    pub ppk: bool,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The identity that the peer proved.
    pub peer_id: String,
    /// What we proved ourselves with.
    pub local_auth: String,
    /// What the peer proved itself with.
    pub peer_auth: String,
    /// `none`, `local`, `remote`, `both`: who is behind a NAT.
    pub nat: &'static str,
    /// The inner addresses that the peer has given us.
    pub inner_addresses: Vec<IpAddr>,
    /// The name servers that it has named.
    pub dns: Vec<IpAddr>,
    /// The inner addresses that we have given the peer.
    pub leased: Vec<IpAddr>,
    /// Seconds since it has its keys.
    pub age_s: u64,
    /// Milliseconds from the first message to authentication.
    pub handshake_ms: f64,
    /// Seconds until it is rekeyed.
    pub rekey_in_s: u64,
    /// Seconds until it ends, if it is not rekeyed.
    pub expires_in_s: u64,
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
    /// Which of the child SAs with these selectors: always 0 where `lanes` is 1.
    pub lane: u8,
    /// `udp` or `raw`.
    pub encapsulation: &'static str,
    /// Seconds since it was installed.
    pub age_s: u64,
    /// The group of its own key exchange: `null` if its keys come from the IKE SA alone, as those of the first one do.
    pub pfs: Option<String>,
    /// Whether another one has taken its place, so that it is on its way out.
    pub replaced: bool,
    /// Seconds until it is rekeyed; limits by bytes and packets may come before.
    pub rekey_in_s: u64,
    /// Seconds until it ends, if it is not rekeyed.
    pub expires_in_s: u64,
}

/// One tunnel with its IKE SAs.
pub(super) fn of_tunnel<'a>(
    now: Instant,
    connection: &Connection,
    sas: impl Iterator<Item = &'a IkeSa>,
) -> TunnelStatus {
    let mut best: Option<(&Core, &Established)> = None;
    let mut children = Vec::new();
    let mut attempt = false;
    for sa in sas {
        attempt |= sa.state.is_attempt();
        let State::Established(state) = &sa.state else { continue };
        children.extend(state.children.iter().map(|child| ChildStatus {
            spis: child.spis(),
            suite: child.agreed.suite.to_string(),
            local: child.agreed.local.iter().map(ToString::to_string).collect(),
            remote: child.agreed.remote.iter().map(ToString::to_string).collect(),
            lane: sa.core.tunnel.children.iter().find(|of| of.shape == child.agreed.shape).map_or(0, |of| of.lane),
            encapsulation: child.encapsulation_name(),
            age_s: now.since(child.installed_at).as_secs(),
            pfs: child.pfs_words(),
            replaced: !child.is_current(),
            rekey_in_s: child.rekey_at.since(now).as_secs(),
            expires_in_s: child.expires_at.since(now).as_secs(),
        }));
        if best.is_none_or(|(core, other)| connection.rank(&sa.core, state) < connection.rank(core, other)) {
            best = Some((&sa.core, state));
        }
    }
    let config = &connection.config;
    let has = |shape| best.is_some_and(|(_, state)| state.children.iter().any(|child| child.agreed.shape == shape));
    let missing = config.children.iter().filter(|child| child.lane == 0 && !has(child.shape));
    let (idle, retry_at) = connection.idle_state();
    let (state, retry_at) = match (best, attempt) {
        (Some(_), _) if !children.is_empty() => ("up", None),
        (Some(_), _) | (None, true) => ("connecting", None),
        (None, false) => (idle, retry_at),
    };
    TunnelStatus {
        id: config.id,
        name: config.name.clone(),
        state,
        why: connection.why.clone(),
        retry_in_s: retry_at.map(|at| at.since(now).as_secs()),
        ike: best.map(|(core, state)| ike_status(now, core, state)),
        children,
        missing: missing.map(|child| format!("{} === {}", child.local, child.remote)).collect(),
        handshakes: connection.handshakes,
        failures: connection.failures,
        rekeys: connection.rekeys.clone(),
    }
}

fn ike_status(now: Instant, core: &Core, state: &Established) -> IkeStatus {
    IkeStatus {
        spis: core.spis.to_hex(),
        initiator: core.initiator,
        suite: state.suite.to_string(),
        ppk: state.uses_ppk,
        local: core.path.local,
        remote: core.path.remote,
        peer_id: describe::identity(state.proof.id()),
        local_auth: core.own_means.map(|means| means.to_string()).unwrap_or_default(),
        peer_auth: state.proof.means().to_string(),
        nat: core.nat.as_str(),
        inner_addresses: core.terms.assigned.clone(),
        dns: core.terms.dns.clone(),
        leased: core.terms.leased.clone(),
        age_s: now.since(state.established_at).as_secs(),
        handshake_ms: (state.handshake_time.as_secs_f64() * 1e6).round() / 1e3,
        rekey_in_s: state.rekey_at.since(now).as_secs(),
        expires_in_s: state.expires_at.since(now).as_secs(),
    }
}
