//! Room for bytes that are kept: blocks of one size, taken from one piece of memory and given back to it.
//!
//! A run is a stretch of one end's stream that lies in a chain of blocks, behind the headers of the packet that brought it
//! if the packet itself waits. Nothing is allocated once as much has been used as there is.

/// Bytes of a block. Most of what is kept in the common case is the header of one message; a full packet takes six.
pub(super) const BLOCK: usize = 256;

/// No block, or no run.
const NONE: u32 = u32::MAX;

/// A stretch of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where it begins in the sequence space.
    pub(super) sequence: u32,
    /// How long it is.
    pub(super) len: u32,
    /// Bytes of headers in front of it: then it is a packet that waits.
    pub(super) headers: u16,
    /// Blocks.
    pub(super) blocks: u32,
    first: u32,
    last: u32,
    next: u32,
}

impl Run {
    pub(super) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.len)
    }

    /// All its bytes, headers and stream.
    pub(super) fn stored(&self) -> usize {
        usize::from(self.headers) + self.len as usize
    }
}

/// A run by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunId(u32);

/// Runs in an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }

    pub(super) fn first(self) -> Option<RunId> {
        (!self.is_empty()).then_some(RunId(self.head))
    }

    pub(super) fn last(self) -> Option<RunId> {
        (!self.is_empty()).then_some(RunId(self.tail))
    }
}

/// The room.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: Box<[u8]>,
    /// For each block that has ever been used: the next in its chain.
    links: Vec<u32>,
    free_block: u32,
    used: usize,
    runs: Vec<Run>,
    free_run: u32,
}

impl Pool {
    /// Room for `bytes`, rounded down to blocks. It is touched only as far as it is used.
    pub(super) fn new(bytes: usize) -> Self {
        let blocks = bytes / BLOCK;
        Self {
            bytes: vec![0; blocks * BLOCK].into(),
            links: Vec::with_capacity(blocks),
            free_block: NONE,
            used: 0,
            runs: Vec::with_capacity(blocks),
            free_run: NONE,
        }
    }

    /// Blocks that are in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Blocks that there are.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() / BLOCK
    }

    /// How many blocks so many bytes take.
    pub(super) fn blocks_of(bytes: usize) -> usize {
        bytes.div_ceil(BLOCK)
    }

    /// Whether so many bytes can be stored.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        Self::blocks_of(bytes) <= self.size() - self.used
    }

    fn take_block(&mut self) -> Option<u32> {
        let block = self.free_block;
        if let Some(link) = self.links.get_mut(block as usize) {
            self.free_block = std::mem::replace(link, NONE);
        } else {
            if self.links.len() == self.size() {
                return None;
            }
            self.links.push(NONE);
        }
        self.used += 1;
        Some(if block == NONE { self.links.len() as u32 - 1 } else { block })
    }

    fn block_mut(&mut self, block: u32) -> &mut [u8] {
        let at = block as usize * BLOCK;
        self.bytes.get_mut(at..at + BLOCK).unwrap_or_default()
    }

    /// Stores `parts`, of which the first `headers` bytes are not of the stream. `None` if there is no room.
    pub(super) fn store<'a>(
        &mut self,
        sequence: u32,
        headers: usize,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<RunId> {
        let stored: usize = parts.clone().map(<[u8]>::len).sum();
        if stored == 0 || !self.has_room_for(stored) {
            return None;
        }
        let first = self.take_block()?;
        let run = Run { sequence, len: 0, headers: headers as u16, blocks: 1, first, last: first, next: NONE };
        let id = if let Some(old) = self.runs.get_mut(self.free_run as usize) {
            let id = std::mem::replace(&mut self.free_run, old.next);
            *old = run;
            id
        } else {
            self.runs.push(run);
            self.runs.len() as u32 - 1
        };
        // Filled from the very beginning: what is stored counts, of which the headers are then taken off.
        let mut filled = 0;
        for part in parts {
            filled = self.fill(id, filled, part);
        }
        if let Some(run) = self.runs.get_mut(id as usize) {
            run.len = (filled - headers) as u32;
        }
        Some(RunId(id))
    }

    /// Appends to a run, which must not be a packet. False, and no change, if there is no room.
    pub(super) fn append(&mut self, RunId(id): RunId, part: &[u8]) -> bool {
        let Some(run) = self.runs.get(id as usize) else { return false };
        let stored = run.stored();
        let more = Self::blocks_of(stored + part.len()) - run.blocks as usize;
        if more > self.size() - self.used {
            return false;
        }
        self.fill(id, stored, part);
        if let Some(run) = self.runs.get_mut(id as usize) {
            run.len += part.len() as u32;
        }
        true
    }

    /// Writes behind `filled` bytes; there is room. How many there are then.
    fn fill(&mut self, id: u32, mut filled: usize, mut part: &[u8]) -> usize {
        while !part.is_empty() {
            let Some(run) = self.runs.get(id as usize).copied() else { break };
            let within = filled - (run.blocks as usize - 1) * BLOCK;
            if within == BLOCK {
                let Some(block) = self.take_block() else { break };
                if let Some(link) = self.links.get_mut(run.last as usize) {
                    *link = block;
                }
                if let Some(run) = self.runs.get_mut(id as usize) {
                    run.last = block;
                    run.blocks += 1;
                }
                continue;
            }
            let (now, rest) = part.split_at(part.len().min(BLOCK - within));
            if let Some(room) = self.block_mut(run.last).get_mut(within..within + now.len()) {
                room.copy_from_slice(now);
            }
            filled += now.len();
            part = rest;
        }
        filled
    }

    pub(super) fn run(&self, RunId(id): RunId) -> Option<&Run> {
        self.runs.get(id as usize)
    }

    /// The bytes of a run from one offset to another, headers counted, in pieces.
    pub(super) fn range(&self, run: &Run, from: usize, to: usize) -> impl Iterator<Item = &[u8]> {
        let mut block = run.first;
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let begin = at;
                if begin >= to {
                    return None;
                }
                let this = block;
                block = *self.links.get(this as usize)?;
                at += BLOCK;
                if at > from {
                    let bytes = self.bytes.get(this as usize * BLOCK..(this as usize + 1) * BLOCK)?;
                    return bytes.get(from.saturating_sub(begin)..BLOCK.min(to - begin));
                }
            }
        })
    }

    /// The bytes of its headers, which all lie in its first block, and of what follows there.
    pub(super) fn front(&self, run: &Run) -> &[u8] {
        let at = run.first as usize * BLOCK;
        self.bytes.get(at..at + BLOCK.min(run.stored())).unwrap_or_default()
    }

    /// Gives a run back. It must be in no list.
    pub(super) fn free(&mut self, RunId(id): RunId) {
        let Some(run) = self.runs.get_mut(id as usize) else { return };
        let (first, last, blocks) = (run.first, run.last, run.blocks as usize);
        run.next = std::mem::replace(&mut self.free_run, id);
        if let Some(link) = self.links.get_mut(last as usize) {
            *link = std::mem::replace(&mut self.free_block, first);
        }
        self.used -= blocks;
    }

    /// Gives back the whole blocks at the front of a run of which the first `len` bytes are not needed any more; how many.
    pub(super) fn shorten(&mut self, RunId(id): RunId, len: u32) -> usize {
        let mut gone = 0;
        let mut left = len as usize;
        while left >= BLOCK {
            let Some(run) = self.runs.get_mut(id as usize).filter(|run| run.blocks > 1) else { break };
            let first = run.first;
            let Some(link) = self.links.get_mut(first as usize) else { break };
            run.first = std::mem::replace(link, self.free_block);
            run.blocks -= 1;
            run.sequence = run.sequence.wrapping_add(BLOCK as u32);
            run.len -= BLOCK as u32;
            self.free_block = first;
            self.used -= 1;
            gone += 1;
            left -= BLOCK;
        }
        gone
    }

    /// The runs of a list in their order.
    pub(super) fn iter(&self, list: &List) -> impl Iterator<Item = (RunId, &Run)> {
        let mut next = list.head;
        std::iter::from_fn(move || {
            let run = self.runs.get(next as usize)?;
            let id = std::mem::replace(&mut next, run.next);
            Some((RunId(id), run))
        })
    }

    /// Puts a run at the end of a list.
    pub(super) fn push(&mut self, list: &mut List, RunId(id): RunId) {
        if let Some(last) = self.runs.get_mut(list.tail as usize) {
            last.next = id;
        } else {
            list.head = id;
        }
        list.tail = id;
        if let Some(run) = self.runs.get_mut(id as usize) {
            run.next = NONE;
        }
    }

    /// Puts a run into a list that is ordered by `distance` of the beginnings from somewhere in front of all of them.
    pub(super) fn insert(&mut self, list: &mut List, RunId(id): RunId, distance: impl Fn(&Run) -> u32) {
        let Some(own) = self.runs.get(id as usize).map(&distance) else { return };
        let mut before = NONE;
        let mut at = list.head;
        while let Some(run) = self.runs.get(at as usize) {
            if distance(run) > own {
                break;
            }
            before = at;
            at = run.next;
        }
        if let Some(run) = self.runs.get_mut(id as usize) {
            run.next = at;
        }
        match self.runs.get_mut(before as usize) {
            Some(run) => run.next = id,
            None => list.head = id,
        }
        if at == NONE {
            list.tail = id;
        }
    }

    /// Takes the first run out of a list.
    pub(super) fn pop(&mut self, list: &mut List) -> Option<RunId> {
        let id = list.head;
        let run = self.runs.get(id as usize)?;
        list.head = run.next;
        if list.head == NONE {
            list.tail = NONE;
        }
        Some(RunId(id))
    }
}

/// Whether two sequences of pieces have the same bytes, as far as the shorter one goes.
pub(super) fn same<'a, 'b>(mut one: impl Iterator<Item = &'a [u8]>, mut other: impl Iterator<Item = &'b [u8]>) -> bool {
    let (mut a, mut b): (&[u8], &[u8]) = (&[], &[]);
    loop {
        if a.is_empty() {
            let Some(next) = one.next() else { return true };
            a = next;
        }
        if b.is_empty() {
            let Some(next) = other.next() else { return true };
            b = next;
        }
        let len = a.len().min(b.len());
        let ((a_now, a_rest), (b_now, b_rest)) = (a.split_at(len), b.split_at(len));
        if a_now != b_now {
            return false;
        }
        (a, b) = (a_rest, b_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(pool: &Pool, id: RunId) -> Vec<u8> {
        let run = pool.run(id).unwrap();
        pool.range(run, 0, run.stored()).flatten().copied().collect()
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_again_and_every_block_comes_back(
            steps in prop::collection::vec((0_u8..4, prop::collection::vec(any::<u8>(), 1..900), any::<prop::sample::Index>()), 1..60),
        ) {
            let mut pool = Pool::new(32 * BLOCK);
            let mut model: Vec<(RunId, Vec<u8>)> = Vec::new();
            for (step, part, which) in steps {
                let used = pool.used();
                match step {
                    0 => {
                        let room = pool.has_room_for(part.len());
                        let halves = part.split_at(part.len() / 2);
                        let id = pool.store(7, 0, [halves.0, halves.1].into_iter());
                        prop_assert_eq!(id.is_some(), room);
                        model.extend(id.map(|id| (id, part)));
                    }
                    1 if !model.is_empty() => {
                        let at = which.index(model.len());
                        let (id, stored) = &mut model[at];
                        if pool.append(*id, &part) {
                            stored.extend(part);
                        } else {
                            prop_assert_eq!(pool.used(), used);
                        }
                    }
                    2 if !model.is_empty() => {
                        let (id, _) = model.swap_remove(which.index(model.len()));
                        pool.free(id);
                    }
                    3 if !model.is_empty() => {
                        let at = which.index(model.len());
                        let (id, stored) = &mut model[at];
                        let gone = pool.shorten(*id, stored.len() as u32 / 2);
                        stored.drain(..gone * BLOCK);
                    }
                    _ => {}
                }
                for (id, stored) in &model {
                    prop_assert_eq!(&bytes(&pool, *id), stored);
                    let run = pool.run(*id).unwrap();
                    let middle = stored.len() / 2;
                    let tail: Vec<u8> = pool.range(run, middle, stored.len()).flatten().copied().collect();
                    prop_assert_eq!(&tail, &stored[middle..]);
                }
                let blocks: usize = model.iter().map(|(_, stored)| Pool::blocks_of(stored.len())).sum();
                prop_assert_eq!(pool.used(), blocks);
            }
        }

        #[test]
        fn a_list_keeps_its_order(sequences in prop::collection::vec(0_u32..50, 1..30)) {
            let mut pool = Pool::new(64 * BLOCK);
            let mut list = List::default();
            for sequence in &sequences {
                let id = pool.store(*sequence, 0, [&[1_u8][..]].into_iter()).unwrap();
                pool.insert(&mut list, id, |run| run.sequence);
            }
            let mut sorted = sequences.clone();
            sorted.sort_unstable();
            let found: Vec<u32> = pool.iter(&list).map(|(_, run)| run.sequence).collect();
            prop_assert_eq!(found, sorted);
            while let Some(id) = pool.pop(&mut list) {
                pool.free(id);
            }
            prop_assert!(list.is_empty() && pool.used() == 0);
        }
    }

    #[test]
    fn pieces_are_compared_whatever_their_borders() {
        let pieces = |text: &'static str, at: usize| {
            let (a, b) = text.as_bytes().split_at(at);
            [a, b].into_iter()
        };
        assert!(same(pieces("abcdef", 2), pieces("abcdef", 4)));
        assert!(same(pieces("abcdef", 0), pieces("abc", 3)));
        assert!(!same(pieces("abcdef", 2), pieces("abcdeF", 4)));
    }
}
