//! What the endpoint needs to know of each tunnel. Built by `config`, replaced as a whole on reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::crypto::suite::{EspSuite, IkeSuite};
use crate::entropy::Entropy;
use crate::ids::{ShapeId, TunnelId};
use crate::policy::selector::TrafficSelector;
use crate::sa::lifetime::Lifetime;
use crate::sa::spi::SpiClass;
use crate::wire::ike::payload::Id;

pub use crate::ike::auth::{Credential, LocalAuth, PeerAuth, Secrets};
pub use crate::ike::ppk::Ppk;

/// All tunnels.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The tunnels, in the order of the file.
    pub tunnels: Vec<Arc<TunnelConfig>>,
    /// From how many half-open IKE SAs on a cookie is asked for (RFC 7296 §2.6); `None` for the default.
    pub cookie_threshold: Option<usize>,
    /// From how many half-open IKE SAs on a puzzle is posed (RFC 8019); `None` for never.
    pub puzzles: Option<usize>,
}

impl Config {
    /// `puzzles` where the operator wants them.
    pub const PUZZLES: Option<usize> = Some(super::limits::PUZZLE_THRESHOLD);
}

/// One tunnel.
#[derive(Debug)]
pub struct TunnelConfig {
    /// Its number.
    pub id: TunnelId,
    /// Its name, for events.
    pub name: String,
    /// Our address.
    pub local: IpAddr,
    /// The peer's address, or that of its first head-end.
    pub peer: IpAddr,
    /// What is agreed with the peer besides keys and selectors.
    pub peering: Peering,
    /// Who we say we are.
    pub local_id: Id,
    /// Who the peer must prove to be.
    pub peer_id: Id,
    /// What we prove ourselves with.
    pub local_auth: LocalAuth,
    /// What the peer has to prove itself with.
    pub peer_auth: PeerAuth,
    /// A postquantum preshared key, mixed into the keys (RFC 8784).
    pub ppk: Option<Arc<Ppk>>,
    /// IKE proposals in order of preference.
    pub ike: Vec<IkeSuite>,
    /// ESP proposals in order of preference.
    pub esp: Vec<EspSuite>,
    /// Whether suites below AES-256 may be chosen: only under an agreement of kind `lab`.
    pub lab: bool,
    /// The child SAs that the rules ask for.
    pub children: Vec<ChildConfig>,
    /// When to bring it up.
    pub start: Start,
    /// Whether long encrypted messages may go, and come, in fragments (RFC 7383).
    pub fragmentation: bool,
    /// Pretend to be behind a NAT, so that ESP travels in UDP.
    pub force_encapsulation: bool,
    /// Width of the replay window.
    pub replay_window: u32,
    /// Probe the peer after this long without a packet from it (RFC 7296 §2.4).
    pub liveness: Duration,
    /// Limits of a child SA.
    pub lifetime: Lifetime,
    /// Limits of the IKE SA.
    pub ike_lifetime: IkeLifetime,
    /// By how many percent at most an SA is renewed earlier than its soft limits say: two gateways with equal limits
    /// shall not begin at the same moment each time.
    pub jitter: u32,
}

impl TunnelConfig {
    /// For tests: the same once more.
    #[cfg(test)]
    pub(super) fn copied(&self) -> Self {
        Self {
            name: self.name.clone(),
            local_id: self.local_id.clone(),
            peer_id: self.peer_id.clone(),
            peering: self.peering.clone(),
            local_auth: self.local_auth.clone(),
            peer_auth: self.peer_auth.clone(),
            ppk: self.ppk.clone(),
            ike: self.ike.clone(),
            esp: self.esp.clone(),
            children: self.children.clone(),
            ..*self
        }
    }

    /// The addresses of the peer's head-ends, in order of preference.
    pub fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        std::iter::once(self.peer).chain(self.peering.others.iter().copied())
    }

    /// Whether the peer has a head-end there.
    #[must_use]
    pub fn is_peer(&self, address: IpAddr) -> bool {
        self.peers().any(|peer| peer == address)
    }

    /// Whether both lead to the same negotiation, so that an IKE SA made under one may live under the other. Lifetimes are not
    /// negotiated: other ones hold from the next keys on. Where the peer is, each IKE SA knows for itself; what the peer has
    /// proved itself with is judged for each IKE SA (`PeerAuthenticated::judge`).
    pub(super) fn negotiates_like(&self, other: &Self) -> bool {
        let of = |peering: &Peering| Peering { others: Vec::new(), fail_back: None, ..peering.clone() };
        let (a, b) = (self, other);
        (a.local, &a.local_id, &a.peer_id, &a.ike, &a.esp, a.lab, a.force_encapsulation)
            == (b.local, &b.local_id, &b.peer_id, &b.ike, &b.esp, b.lab, b.force_encapsulation)
            && of(&a.peering) == of(&b.peering)
            && a.replay_window == b.replay_window
            && a.fragmentation == b.fragmentation
            && a.ppk == b.ppk
            && (a.start == Start::Disabled) == (b.start == Start::Disabled)
    }

    /// How many thousandths earlier than its soft limits say the next SA is renewed.
    pub fn haste(&self, entropy: &mut dyn Entropy) -> u32 {
        let most = u64::from(self.jitter.min(100)) * 10;
        u32::try_from(entropy.below(most + 1)).unwrap_or(0)
    }
}

/// What is agreed with a peer besides keys and selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// The head-ends after the first one, in order of preference.
    pub others: Vec<IpAddr>,
    /// How long the first head-end must have answered before the tunnel goes back to it; `None` for never.
    pub fail_back: Option<Duration>,
    /// Whether IKE SAs without a child SA are made (RFC 6023).
    pub childless: Childless,
    /// Whether either side may change its addresses (RFC 4555).
    pub mobike: bool,
    /// Whether an inner address is asked for (RFC 7296 §2.19).
    pub request_address: bool,
    /// From where the peer gets its inner addresses, one of each family at most.
    pub pool: Vec<IpNet>,
    /// The name servers that go with an inner address.
    pub dns: Vec<IpAddr>,
}

impl Default for Peering {
    fn default() -> Self {
        Self {
            others: Vec::new(),
            fail_back: Some(Duration::from_mins(1)),
            childless: Childless::default(),
            mobike: false,
            request_address: false,
            pool: Vec::new(),
            dns: Vec::new(),
        }
    }
}

/// What is done with IKE SAs that have no child SA (RFC 6023).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Childless {
    /// The peer may make one.
    #[default]
    Allow,
    /// We make one where the peer can, so that every child SA has an exchange of its own, with its own key exchange.
    Prefer,
    /// Neither.
    Off,
}

/// Limits of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IkeLifetime {
    /// Renewed after this long.
    pub soft: Duration,
    /// Over after this long.
    pub hard: Duration,
}

/// One child SA that the rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildConfig {
    /// Its number within the policy.
    pub shape: ShapeId,
    /// Our side.
    pub local: TrafficSelector,
    /// The peer's side.
    pub remote: TrafficSelector,
    /// Which of the child SAs with these selectors (RFC 9611).
    pub lane: u8,
    /// The SPIs on which it may receive.
    pub spis: SpiClass,
}

impl ChildConfig {
    /// The only one with its selectors.
    #[must_use]
    pub fn new(shape: ShapeId, local: TrafficSelector, remote: TrafficSelector) -> Self {
        Self { shape, local, remote, lane: 0, spis: SpiClass::default() }
    }
}

/// When a tunnel is brought up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At start, and again whenever it goes down.
    #[default]
    Always,
    /// When a packet matches a rule.
    OnDemand,
    /// When the operator says so.
    Manual,
    /// Never, and the peer is refused too.
    Disabled,
}
