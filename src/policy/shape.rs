//! Which child SAs do the rules ask for? One for each distinct shape, never a cross product that grants more.
//!
//! Where a tunnel has several lanes, each pair of selectors is as many shapes, which differ in nothing but their number:
//! child SAs with the same selectors for several workers (RFC 9611). Lane 0 is the one that carries everything while the
//! others are not there. What may pass is the same however many there are.

use std::collections::HashMap;

use ipnet::IpNet;

use super::rule::{Rule, SelectorMode, Service};
use super::selector::TrafficSelector;
use crate::ids::{ShapeId, TunnelId};

/// A pair of selectors that the rules of one tunnel ask for: one child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its number; a reload keeps the number of a shape that stays.
    pub id: ShapeId,
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Our side.
    pub local: TrafficSelector,
    /// The peer's side.
    pub remote: TrafficSelector,
    /// Which of the child SAs with these selectors.
    pub lane: u8,
}

/// What makes a shape the same across a reload.
pub(super) type ShapeKey = (TunnelId, TrafficSelector, TrafficSelector, u8);

/// The selectors of the child SA for one pair of networks and one port of `rule`.
pub(super) fn selectors(
    rule: &Rule,
    mode: SelectorMode,
    local: IpNet,
    remote: IpNet,
    port: u16,
) -> (TrafficSelector, TrafficSelector) {
    let protocol = rule.service.protocol(local.network().is_ipv6());
    match (mode, rule.service) {
        (SelectorMode::Host, _) => (TrafficSelector::any(local), TrafficSelector::any(remote)),
        // Answers are of another type than requests, and errors of yet another: types are not cut apart.
        (SelectorMode::Service, Service::Echo) => {
            (TrafficSelector::protocol(local, protocol), TrafficSelector::protocol(remote, protocol))
        }
        (SelectorMode::Service, _) if rule.opener_is_local() => {
            (TrafficSelector::protocol(local, protocol), TrafficSelector::port(remote, protocol, port))
        }
        (SelectorMode::Service, _) => {
            (TrafficSelector::port(local, protocol, port), TrafficSelector::protocol(remote, protocol))
        }
    }
}

/// Gives out the numbers of shapes: the old one to a shape that was there before, else one that nobody has.
#[derive(Debug, Default)]
pub(super) struct ShapeNumbers {
    old: HashMap<ShapeKey, ShapeId>,
    taken: std::collections::BTreeSet<u16>,
    given: HashMap<ShapeKey, ShapeId>,
    next: u16,
    shapes: Vec<Shape>,
}

impl ShapeNumbers {
    /// Starts from the shapes of the policy before.
    pub(super) fn after(previous: &[Shape]) -> Self {
        Self {
            old: previous
                .iter()
                .map(|shape| ((shape.tunnel, shape.local, shape.remote, shape.lane), shape.id))
                .collect(),
            taken: previous.iter().map(|shape| shape.id.0).collect(),
            ..Self::default()
        }
    }

    /// The number of a shape; `None` when there are no more.
    pub(super) fn number(&mut self, key: ShapeKey) -> Option<ShapeId> {
        if let Some(id) = self.given.get(&key) {
            return Some(*id);
        }
        let id = match self.old.get(&key) {
            Some(id) => *id,
            None => self.fresh()?,
        };
        self.given.insert(key, id);
        let (tunnel, local, remote, lane) = key;
        self.shapes.push(Shape { id, tunnel, local, remote, lane });
        Some(id)
    }

    /// The least number that no shape has, now or in the policy before: an SA of that one may still be alive.
    fn fresh(&mut self) -> Option<ShapeId> {
        while self.taken.contains(&self.next) {
            self.next = self.next.checked_add(1)?;
        }
        self.taken.insert(self.next);
        Some(ShapeId(self.next))
    }

    /// The shapes by tunnel, each tunnel's in the order in which its rules ask for them, lane after lane.
    pub(super) fn into_shapes(mut self) -> Vec<Shape> {
        self.shapes.sort_by_key(|shape| (shape.tunnel, shape.lane));
        self.shapes
    }
}
