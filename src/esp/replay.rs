//! Has this sequence number been seen? A ring of 64-bit blocks (RFC 6479) over 64-bit sequence numbers.
//!
//! `check` before the packet is opened, `commit` after: what is not authenticated moves nothing.

use crate::event::DropReason;

/// Narrowest window.
pub const MIN_WIDTH: u32 = 64;
/// Widest window.
pub const MAX_WIDTH: u32 = 65_536;

/// The last `width` sequence numbers up to the highest one seen.
pub struct ReplayWindow {
    blocks: Box<[u64]>,
    width: u64,
    top: u64,
}

impl ReplayWindow {
    /// A window of `width` packets, brought into [`MIN_WIDTH`]..=[`MAX_WIDTH`].
    #[must_use]
    pub fn new(width: u32) -> Self {
        let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
        // One block more than the width needs: the block being entered is cleared as a whole (RFC 6479 §2).
        let blocks = (width.div_ceil(64) as usize + 1).next_power_of_two();
        Self { blocks: vec![0; blocks].into(), width: u64::from(width), top: 0 }
    }

    /// The highest sequence number committed; 0 before the first.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// How many sequence numbers the window holds.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Whether a packet with this number may still come.
    pub fn check(&self, sequence: u64) -> Result<(), DropReason> {
        if sequence == 0 {
            // RFC 4303 §3.3.3: the first packet sent on an SA has the number 1.
            return Err(DropReason::ZeroSequence);
        }
        if sequence > self.top {
            return Ok(());
        }
        if self.top - sequence >= self.width {
            return Err(DropReason::TooOld);
        }
        let (block, bit) = self.place(sequence);
        if self.blocks[block] & bit == 0 { Ok(()) } else { Err(DropReason::Replayed) }
    }

    /// Marks an authenticated packet as seen; true if it is the newest. Call only after [`check`](Self::check).
    pub fn commit(&mut self, sequence: u64) -> bool {
        let newest = sequence > self.top;
        if newest {
            // Whatever lies between the old top's block and the new one has not been seen.
            let (old, new) = (self.top / 64, sequence / 64);
            for block in 1..=(new - old).min(self.blocks.len() as u64) {
                let at = (old + block) as usize & (self.blocks.len() - 1);
                self.blocks[at] = 0;
            }
            self.top = sequence;
        }
        let (block, bit) = self.place(sequence);
        self.blocks[block] |= bit;
        newest
    }

    fn place(&self, sequence: u64) -> (usize, u64) {
        ((sequence / 64) as usize & (self.blocks.len() - 1), 1 << (sequence % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// What the window must do, said as simply as possible.
    #[derive(Default)]
    struct Oracle {
        seen: HashSet<u64>,
        top: u64,
    }

    impl Oracle {
        fn check(&self, sequence: u64, width: u64) -> Result<(), DropReason> {
            match sequence {
                0 => Err(DropReason::ZeroSequence),
                _ if u128::from(sequence) + u128::from(width) <= u128::from(self.top) => Err(DropReason::TooOld),
                _ if self.seen.contains(&sequence) => Err(DropReason::Replayed),
                _ => Ok(()),
            }
        }
    }

    fn agrees(width: u32, sequences: impl IntoIterator<Item = u64>) {
        let mut window = ReplayWindow::new(width);
        let mut oracle = Oracle::default();
        for sequence in sequences {
            let expected = oracle.check(sequence, window.width());
            assert_eq!(window.check(sequence), expected, "width {width}, sequence {sequence}, top {}", oracle.top);
            if expected.is_ok() {
                assert_eq!(window.commit(sequence), sequence > oracle.top);
                oracle.seen.insert(sequence);
                oracle.top = oracle.top.max(sequence);
            }
        }
    }

    #[test]
    fn both_edges_of_the_window_are_exact_for_every_kind_of_width() {
        for width in [64, 65, 100, 127, 128, 129, 1000, 1024, 4096, 8192, 65_535, 65_536] {
            let w = u64::from(width);
            let base = 3 * w + 17;
            let around = [base, base - w, base - w + 1, base - w + 1, base - w + 2, base, base + 1, base + 1];
            agrees(width, around.into_iter().chain([base - w + 1, base - w + 2, base + 63, base + 64, base + 65]));
            agrees(width, (1..=3 * w).chain((1..=3 * w).rev()));
            agrees(width, (1..=3 * w).rev());
        }
    }

    #[test]
    fn a_jump_over_the_whole_ring_forgets_everything() {
        let far = 1u64 << 40;
        agrees(64, (1..200).chain([far, far - 63, far - 64, far - 1, far, far - 1, far + 128, far + 65, far + 64]));
        agrees(128, [u64::MAX - 1, u64::MAX, u64::MAX - 127, u64::MAX - 128, u64::MAX]);
    }

    #[test]
    fn a_check_alone_changes_nothing() {
        let mut window = ReplayWindow::new(64);
        window.commit(1000);
        let (blocks, top) = (window.blocks.clone(), window.top);
        for sequence in [1, 999, 1000, 1001, 1 << 31, u64::MAX] {
            let _ = window.check(sequence);
        }
        assert_eq!((window.blocks, window.top), (blocks, top));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set_of_all_numbers_seen(
            width in prop_oneof![64u32..300, Just(4096u32)],
            start in prop_oneof![Just(0u64), 1u64..1 << 33],
            steps in prop::collection::vec((-700i64..700, any::<bool>()), 1..400),
        ) {
            let mut at = start;
            let mut sequences = Vec::new();
            for (step, stay) in steps {
                let next = at.saturating_add_signed(step);
                sequences.push(next);
                if !stay { at = next; }
            }
            agrees(width, sequences);
        }
    }
}
