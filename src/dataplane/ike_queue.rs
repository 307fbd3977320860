//! IKE datagrams that came to port 4500 among the ESP: copied, bounded, and carried to the control thread by the worker.

use super::buffer::Path;

/// Datagrams held at a time.
const DATAGRAMS: usize = 256;
/// Their bytes altogether: sixteen of the longest that UDP carries, or hundreds of ordinary ones.
const BYTES: usize = 1 << 20;

/// First in, first out; empties as a whole.
pub struct IkeQueue {
    bytes: Vec<u8>,
    entries: Vec<(Path, std::ops::Range<usize>)>,
    read: usize,
}

impl Default for IkeQueue {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(BYTES), entries: Vec::with_capacity(DATAGRAMS), read: 0 }
    }
}

impl IkeQueue {
    /// Takes a copy of `datagram`; false if there is no room.
    pub fn push(&mut self, path: Path, datagram: &[u8]) -> bool {
        if self.entries.len() == DATAGRAMS || self.bytes.len() + datagram.len() > BYTES {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.entries.push((path, start..self.bytes.len()));
        true
    }

    /// The oldest datagram. After the last one the room is free again.
    pub fn poll(&mut self) -> Option<(Path, &[u8])> {
        let Some((path, range)) = self.entries.get(self.read).cloned() else {
            self.entries.clear();
            self.bytes.clear();
            self.read = 0;
            return None;
        };
        self.read += 1;
        Some((path, &self.bytes[range]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_in_order_and_a_full_queue_says_so() {
        let path = Path { local: ([192, 0, 2, 1], 4500).into(), remote: ([192, 0, 2, 2], 4500).into(), tos: 0 };
        let mut queue = IkeQueue::default();
        for round in 0..3u8 {
            assert!(queue.push(path, &[round; 3]) && queue.push(path, &[]));
            assert_eq!(queue.poll(), Some((path, &[round; 3][..])));
            assert_eq!(queue.poll(), Some((path, &[][..])));
            assert_eq!(queue.poll(), None);
        }
        assert_eq!((0..1000).filter(|_| queue.push(path, &[7; 10])).count(), DATAGRAMS);
        while queue.poll().is_some() {}
        let longest = vec![7; 65_507];
        assert_eq!((0..1000).filter(|_| queue.push(path, &longest)).count(), BYTES / 65_507);
    }
}
