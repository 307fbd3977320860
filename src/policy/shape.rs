//! Which child SAs do the rules ask for? One for each distinct shape, never a cross product that grants more.

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
}
