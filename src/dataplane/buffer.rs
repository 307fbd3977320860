//! Many packets in one slab: equally spaced slots with room in front for ESP and behind for trailer and ICV.

use std::net::SocketAddr;

/// Room in front of each packet: outer headers, ESP header and IV are written there without moving the packet.
pub const HEADROOM: usize = 96;
/// Room behind each packet: padding, trailer and ICV.
pub const TAILROOM: usize = 64;

/// Where a datagram came from or goes to, beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Our address and port; port 0 for raw ESP.
    pub local: SocketAddr,
    /// The peer's address and port; port 0 for raw ESP.
    pub remote: SocketAddr,
    /// The outer TOS or traffic class byte.
    pub tos: u8,
}

/// One packet, or one train of equally long segments that one system call moved, within a slab.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet {
    /// First byte in the slab.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
    /// Length of each segment but the last; 0 if this is a single packet.
    pub segment: u16,
    /// Outer path, for datagrams of the underlay.
    pub path: Option<Path>,
    /// Set when a stage has dropped or consumed the packet; later stages pass it over.
    pub done: bool,
}

/// A slab of slots. Allocated once, refilled for ever.
pub struct Batch {
    slab: Box<[u8]>,
    stride: usize,
    packets: Vec<Packet>,
    slots: usize,
    /// Slots in use: as many as packets, until trains are split.
    filled: usize,
}

impl Batch {
    /// `slots` packets of at most `room` bytes each.
    #[must_use]
    pub fn new(slots: usize, room: usize) -> Self {
        // An odd number of cache lines a slot, so that slots do not meet in the same cache sets.
        let lines = (HEADROOM + room + TAILROOM).div_ceil(64) | 1;
        let stride = lines * 64;
        Self { slab: vec![0; stride * slots].into(), stride, packets: Vec::with_capacity(slots), slots, filled: 0 }
    }

    /// Forgets all packets; the slab stays.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.filled = 0;
    }

    /// How many packets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether every slot is taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled == self.slots
    }

    /// How many bytes one packet may have.
    #[must_use]
    pub fn room(&self) -> usize {
        self.stride - HEADROOM - TAILROOM
    }

    /// The slot for the next packet, to be filled and then taken by [`push`](Self::push); `None` when full.
    pub fn vacant(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.filled * self.stride + HEADROOM;
        let room = self.room();
        Some(&mut self.slab[start..start + room])
    }

    /// All vacant slots in order, for a call that fills several at once; each is then taken by [`push`](Self::push).
    pub fn vacant_slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (taken, room) = (self.packets.len(), self.room());
        self.slab.chunks_exact_mut(self.stride).skip(taken).map(move |slot| &mut slot[HEADROOM..HEADROOM + room])
    }

    /// Takes the first `len` bytes of the vacant slot as a packet.
    pub fn push(&mut self, len: usize, segment: u16, path: Option<Path>) {
        debug_assert!(!self.is_full() && len <= self.room());
        let start = self.filled * self.stride + HEADROOM;
        self.packets.push(Packet { start, len, segment, path, done: false });
        self.filled += 1;
    }

    /// Makes a packet of each segment of each train, in order; no byte is moved. For datagrams, which are whole as they
    /// are. Allocates only until the largest batch has been seen.
    pub fn split_trains(&mut self) {
        let mut at = 0;
        while let Some(&packet) = self.packets.get(at) {
            let segment = usize::from(packet.segment);
            if segment == 0 || segment >= packet.len {
                self.packets[at].segment = 0;
                at += 1;
                continue;
            }
            let cut = |from: usize| Packet {
                start: packet.start + from,
                len: segment.min(packet.len - from),
                segment: 0,
                ..packet
            };
            let count = packet.len.div_ceil(segment);
            self.packets.splice(at..=at, (0..count).map(|index| cut(index * segment)));
            at += count;
        }
    }

    /// The packets' descriptors.
    #[must_use]
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Descriptors and slab together, for stages that work in place.
    pub fn parts_mut(&mut self) -> (&mut [Packet], &mut [u8]) {
        (&mut self.packets, &mut self.slab)
    }

    /// The bytes of packet `index`.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        let packet = &self.packets[index];
        &self.slab[packet.start..packet.start + packet.len]
    }
}
