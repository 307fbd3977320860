//! Several child SAs with the same selectors, one for each worker (RFC 9611).
//!
//! Lane 0 is made first and carries everything while the others are not there; its request says N(SA_RESOURCE_INFO), and
//! only a peer that says the same is asked for more. Each of those says it again. The peer takes the first lane that has no
//! child SA: both sides make them in order, so that equal numbers meet; where they do not, everything works and costs more.
//! A peer that wants no further one answers TS_MAX_QUEUE, and is not asked for that lane again in this IKE SA.
//!
//! Left out: the Resource Identifier of the peer's notification, which is there for people who look for a fault (§5.1). Not
//! said: anything in a rekeying, where the new child SA has the resource of the old one.

use std::collections::BTreeSet;

use super::children::Children;
use super::config::{ChildConfig, TunnelConfig};
use super::payloads::Sorted;
use crate::ids::ShapeId;
use crate::wire::ike::numbers::NotifyType;
use crate::wire::ike::payload::{Notify, Payload};

/// What the peer has said.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Whether it makes several at all; not known before the first.
    takes_part: Option<bool>,
    /// Lanes of ours that it does not want.
    refused: BTreeSet<ShapeId>,
}

impl Lanes {
    /// What the request or answer that made a child SA says; true if it has just become clear that there will be no others.
    pub fn hear(&mut self, takes_part: bool) -> bool {
        let news = self.takes_part != Some(takes_part);
        self.takes_part = Some(takes_part);
        news && !takes_part
    }

    /// The peer wants no further one.
    pub fn refuse(&mut self, shape: ShapeId) {
        self.refused.insert(shape);
    }

    /// Another IKE SA: the peer may think otherwise by now.
    pub fn ask_again(&mut self) {
        self.refused.clear();
    }
}

fn lane(tunnel: &TunnelConfig, shape: ShapeId) -> Option<&ChildConfig> {
    tunnel.children.iter().find(|child| child.shape == shape)
}

/// Whether the tunnel has more than one lane.
pub fn are_several(tunnel: &TunnelConfig) -> bool {
    tunnel.children.iter().any(|child| child.lane > 0)
}

/// Whether it is one of a lane above 0.
pub fn is_above(tunnel: &TunnelConfig, shape: ShapeId) -> bool {
    lane(tunnel, shape).is_some_and(|child| child.lane > 0)
}

/// The shape of lane 0 with the same selectors.
pub fn first(tunnel: &TunnelConfig, shape: ShapeId) -> ShapeId {
    let Some(of) = lane(tunnel, shape).filter(|child| child.lane > 0) else { return shape };
    let same = |child: &&ChildConfig| child.lane == 0 && (child.local, child.remote) == (of.local, of.remote);
    tunnel.children.iter().find(same).map_or(shape, |child| child.shape)
}

/// Whether a message says N(SA_RESOURCE_INFO).
pub fn is_one_of_several(message: &Sorted) -> bool {
    message.notify(NotifyType::SA_RESOURCE_INFO).is_some()
}

/// N(SA_RESOURCE_INFO) of a request, where it is to be said. Not for lane 0 while it has a child SA, which is to be made anew
/// beside the old one: who took that for a further lane would put it elsewhere, or say that there is none.
pub fn announced(tunnel: &TunnelConfig, children: &Children, shape: ShapeId) -> Option<Payload> {
    let again = !is_above(tunnel, shape) && children.iter().any(|child| child.agreed.shape == shape);
    (are_several(tunnel) && !again).then(|| info(tunnel, shape))
}

/// N(SA_RESOURCE_INFO) of a response.
pub fn answered(tunnel: &TunnelConfig, request: &Sorted, shape: ShapeId) -> Option<Payload> {
    (are_several(tunnel) && is_one_of_several(request)).then(|| info(tunnel, shape))
}

/// RFC 9611 §5.1 leaves it empty or lets it name the resource: here the lane's number, and nothing for the one that carries
/// everything.
fn info(tunnel: &TunnelConfig, shape: ShapeId) -> Payload {
    let lane = lane(tunnel, shape).map_or(0, |child| child.lane);
    let data = if lane == 0 { Vec::new() } else { u32::from(lane).to_be_bytes().to_vec() };
    Payload::Notify(Notify::status(NotifyType::SA_RESOURCE_INFO, data))
}

/// Whether a lane without a child SA stays without: lane 0 is to be there first, and the peer must want more.
pub fn is_left_alone(tunnel: &TunnelConfig, children: &Children, shape: ShapeId) -> bool {
    let Lanes { takes_part, refused } = &children.lanes;
    is_above(tunnel, shape)
        && (*takes_part == Some(false)
            || refused.contains(&shape)
            || !children.covered().contains(&first(tunnel, shape)))
}
