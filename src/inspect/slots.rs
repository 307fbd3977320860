//! A hash map of flows in room that is allocated once: places in a slab, chained from the heads of the buckets.
//!
//! Insertion and removal move nothing and leave no tombstones, so no packet ever waits for a rehash.

use ahash::RandomState;

use super::flow::{Flow, FlowId};
use crate::time::Instant;

/// No place.
const NONE: u32 = u32::MAX;

/// What one flow takes, with its place and its share of the buckets: this much for each flow that there is room for, whether
/// it is there or not. Who is heard has a listener besides (`stream`).
pub(super) const BYTES_PER_FLOW: usize = size_of::<Place>() + 2 * size_of::<u32>();

const _: () = assert!(BYTES_PER_FLOW <= 256, "docs/PERFORMANCE.md says so");

#[derive(Clone, Debug)]
struct Place {
    /// The next place in the same bucket, or the next free one.
    next: u32,
    flow: Option<Flow>,
}

/// The flows. Places are numbered from zero and stay where they are.
#[derive(Debug)]
pub(super) struct Slots {
    hasher: RandomState,
    /// The first place of each bucket; their number is a power of two.
    heads: Box<[u32]>,
    places: Box<[Place]>,
    free: u32,
    len: usize,
    cursor: usize,
}

impl Slots {
    pub(super) fn new(capacity: usize, [a, b, c, d]: [u64; 4]) -> Self {
        let capacity = u32::try_from(capacity.max(1)).unwrap_or(NONE).min(NONE - 1);
        let next_free = |place: u32| if place + 1 < capacity { place + 1 } else { NONE };
        Self {
            hasher: RandomState::with_seeds(a, b, c, d),
            heads: vec![NONE; (capacity as usize).next_power_of_two()].into(),
            places: (0..capacity).map(|place| Place { next: next_free(place), flow: None }).collect(),
            free: 0,
            len: 0,
            cursor: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.places.len()
    }

    /// The place of a flow.
    #[inline]
    pub(super) fn find(&self, id: &FlowId) -> Option<u32> {
        let mut place = self.heads[self.bucket(id)];
        while let Some(slot) = self.places.get(place as usize) {
            if slot.flow.as_ref().is_some_and(|flow| flow.id == *id) {
                return Some(place);
            }
            place = slot.next;
        }
        None
    }

    /// Every flow.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.places.iter().filter_map(|place| place.flow.as_ref())
    }

    /// The flow at a place.
    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Flow> {
        self.places.get_mut(place as usize).and_then(|slot| slot.flow.as_mut())
    }

    /// Takes a free place for a flow that is not there yet. Gives the flow back if there is none.
    #[expect(clippy::result_large_err, reason = "the caller tries again with the flow, or tells what it was")]
    pub(super) fn insert(&mut self, flow: Flow) -> Result<(), Flow> {
        let bucket = self.bucket(&flow.id);
        let place = self.free;
        let Some(slot) = self.places.get_mut(place as usize) else { return Err(flow) };
        self.free = slot.next;
        slot.next = std::mem::replace(&mut self.heads[bucket], place);
        slot.flow = Some(flow);
        self.len += 1;
        Ok(())
    }

    /// Ends the flow at a place.
    pub(super) fn remove(&mut self, place: u32) -> Option<Flow> {
        let slot = self.places.get_mut(place as usize)?;
        let flow = slot.flow.take()?;
        let next = std::mem::replace(&mut slot.next, self.free);
        self.free = place;
        self.len -= 1;
        let bucket = self.bucket(&flow.id);
        let mut link = &mut self.heads[bucket];
        while *link != place {
            link = &mut self.places[*link as usize].next;
        }
        *link = next;
        Some(flow)
    }

    /// Looks at the next `budget` places and ends the flows there that have expired, each of which goes to `gone`. Returns
    /// how many.
    pub(super) fn sweep(&mut self, now: Instant, budget: usize, mut gone: impl FnMut(Flow)) -> usize {
        let before = self.len;
        for _ in 0..budget.min(self.places.len()) {
            let place = self.cursor;
            self.cursor = if place + 1 < self.places.len() { place + 1 } else { 0 };
            if self.places[place].flow.as_ref().is_some_and(|flow| flow.expires <= now) {
                self.remove(place as u32).into_iter().for_each(&mut gone);
            }
        }
        before - self.len
    }

    fn bucket(&self, id: &FlowId) -> usize {
        self.hasher.hash_one(id) as usize & (self.heads.len() - 1)
    }
}
