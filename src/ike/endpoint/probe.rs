//! For simulation: what stands in the table of IKE SAs, without keys. Nothing here changes anything.

use std::net::SocketAddr;

use super::Endpoint;
use crate::ids::{ShapeId, TunnelId};
use crate::ike::ike_sa::IkeSa;
use crate::ike::state::State;
use crate::ike::state::established::Ongoing;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

/// The state of an IKE SA and, if it is in use, which request of ours is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// `InitRequested`.
    InitRequested,
    /// `IntermediateRequested`.
    IntermediateRequested,
    /// `InitAnswered`.
    InitAnswered,
    /// `AuthRequested`.
    AuthRequested,
    /// `EapRequested`.
    EapRequested,
    /// `EapAnswered`.
    EapAnswered,
    /// `Established`, and nothing is under way.
    Idle,
    /// `Established`, and a child SA was asked for.
    ChildCreate,
    /// `Established`, and a child SA is being rekeyed.
    ChildRekey,
    /// `Established`, and the IKE SA is being rekeyed.
    IkeRekey,
    /// `Established`, and a child SA is being deleted.
    DeleteChild,
    /// `Established`, and the peer was asked whether it lives.
    Liveness,
    /// `Spare`.
    Spare,
    /// `Closing` after it was in use.
    Closing,
    /// `Closing` of one whose peer has not authenticated.
    Refused,
}

impl Phase {
    /// Whether the peer has authenticated, and the IKE SA carries something or may come to.
    #[must_use]
    pub const fn is_established(self) -> bool {
        matches!(
            self,
            Self::Idle | Self::ChildCreate | Self::ChildRekey | Self::IkeRekey | Self::DeleteChild | Self::Liveness
        )
    }
}

/// One child SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildProbe {
    /// For which selectors.
    pub shape: ShapeId,
    /// Our SPI.
    pub inbound: u32,
    /// The peer's SPI.
    pub outbound: u32,
    /// Whether it is neither on its way out nor replaced.
    pub current: bool,
}

/// One IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaProbe {
    /// Our SPI.
    pub own: IkeSpi,
    /// Both SPIs, the initiator's first.
    pub spis: [IkeSpi; 2],
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// Whether we opened it.
    pub initiator: bool,
    /// Its state.
    pub phase: Phase,
    /// Whether a postquantum preshared key is in its keys.
    pub uses_ppk: bool,
    /// Our end and the peer's.
    pub path: [SocketAddr; 2],
    /// The ID of our next request and of the peer's.
    pub next: [u32; 2],
    /// Its child SAs.
    pub children: Vec<ChildProbe>,
}

impl Endpoint {
    /// Every IKE SA.
    #[must_use]
    pub fn probe(&self) -> Vec<SaProbe> {
        self.sas.iter().map(|(own, sa)| probe(*own, sa)).collect()
    }

    /// The state of the IKE SA with our SPI `own`.
    #[must_use]
    pub fn phase(&self, own: IkeSpi) -> Option<Phase> {
        self.sas.get(&own).and_then(phase)
    }

    /// The ID of our next request and of the peer's, in the IKE SA with our SPI `own`.
    #[must_use]
    pub fn next_ids(&self, own: IkeSpi) -> Option<[u32; 2]> {
        let window = &self.sas.get(&own)?.core.window;
        Some([window.position(false), window.position(true)])
    }

    /// The states of the IKE SAs whose time has come.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<Phase> {
        let due = |sa: &&IkeSa| sa.deadline().is_some_and(|at| at <= now);
        self.sas.values().filter(due).filter_map(phase).collect()
    }

    /// Our SPI of an IKE SA that waits for the end of a collision, if there is one.
    #[must_use]
    pub fn spare(&self) -> Option<IkeSpi> {
        self.sas.iter().find(|(_, sa)| matches!(sa.state, State::Spare(_))).map(|(own, _)| *own)
    }

    /// How many IKE SAs there are in whatever state.
    #[must_use]
    pub fn table_len(&self) -> usize {
        self.sas.len()
    }
}

fn phase(sa: &IkeSa) -> Option<Phase> {
    Some(match &sa.state {
        State::InitRequested(_) => Phase::InitRequested,
        State::IntermediateRequested(_) => Phase::IntermediateRequested,
        State::InitAnswered(_) => Phase::InitAnswered,
        State::AuthRequested(_) => Phase::AuthRequested,
        State::EapRequested(_) => Phase::EapRequested,
        State::EapAnswered(_) => Phase::EapAnswered,
        State::Established(state) => match &state.ongoing {
            None => Phase::Idle,
            Some(Ongoing::ChildCreate(_)) => Phase::ChildCreate,
            Some(Ongoing::ChildRekey(_)) => Phase::ChildRekey,
            Some(Ongoing::IkeRekey(_)) => Phase::IkeRekey,
            Some(Ongoing::DeleteChild(_)) => Phase::DeleteChild,
            // Like that one they are answered by a message that changes no keys.
            Some(
                Ongoing::Liveness
                | Ongoing::AskMapping
                | Ongoing::UpdateAddresses(_)
                | Ongoing::TellAddress(_)
                | Ongoing::CheckRoute { .. },
            ) => Phase::Liveness,
        },
        State::Spare(_) => Phase::Spare,
        State::Closing(state) if state.was_established => Phase::Closing,
        State::Closing(_) => Phase::Refused,
        State::Ended => return None,
    })
}

fn probe(own: IkeSpi, sa: &IkeSa) -> SaProbe {
    let core = &sa.core;
    let children = match &sa.state {
        State::Established(state) => state
            .children
            .iter()
            .map(|child| ChildProbe {
                shape: child.agreed.shape,
                inbound: child.agreed.inbound.get(),
                outbound: child.agreed.outbound.get(),
                current: child.is_current(),
            })
            .collect(),
        _ => Vec::new(),
    };
    SaProbe {
        own,
        spis: [core.spis.initiator, core.spis.responder],
        tunnel: core.tunnel.id,
        initiator: core.initiator,
        phase: phase(sa).unwrap_or(Phase::Closing),
        uses_ppk: matches!(&sa.state, State::Established(state) if state.uses_ppk),
        path: [core.path.local, core.path.remote],
        next: [core.window.position(false), core.window.position(true)],
        children,
    }
}
