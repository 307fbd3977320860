//! Narrowing of traffic selectors (RFC 7296 §2.9), as responder and as initiator.

use super::selector::TrafficSelector;
use crate::ids::ShapeId;

/// What is common to what the peer offers and what the rules allow, in the order of the offer.
///
/// Empty means `TS_UNACCEPTABLE`.
#[must_use]
pub fn narrow(_offered: &[TrafficSelector], _allowed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    todo!()
}

/// The child SA that a responder makes of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which of our shapes it is.
    pub shape: ShapeId,
    /// Our side, narrowed.
    pub local: Vec<TrafficSelector>,
    /// The peer's side, narrowed.
    pub remote: Vec<TrafficSelector>,
}

/// As responder: which of `shapes` (number, our side, the peer's side) does the offer fit, and what is left of it?
///
/// The shape that holds the first selectors of both sides goes first, since they may be those of the packet that made
/// the initiator ask.
#[must_use]
pub fn choose(
    _offered_local: &[TrafficSelector],
    _offered_remote: &[TrafficSelector],
    _shapes: impl IntoIterator<Item = (ShapeId, TrafficSelector, TrafficSelector)>,
) -> Option<Chosen> {
    todo!()
}

/// As initiator: whether the answer is no wider than what was offered, and not empty.
#[must_use]
pub fn is_subset(_answer: &[TrafficSelector], _offered: &[TrafficSelector]) -> bool {
    todo!()
}
