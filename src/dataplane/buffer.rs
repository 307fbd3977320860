//! Many packets in one slab: side by side with room in front for ESP and behind for trailer and ICV.
//!
//! Three kinds of trains meet here. What the TUN device gives is one long packet that is to be cut (`Packet::offload`); what
//! a UDP socket gives is equally long datagrams one behind the other (`Packet::segment`); what the TUN device is given is
//! packets that stay where they are and are tied together by a head (`Role`), so that they can also go one by one.

use std::net::SocketAddr;

use crate::wire::vnet::{self, Segments, VnetHeader};

/// Room for packets that waited and leave with a batch, beside what the batch takes in.
const ANNEX: usize = 128 << 10;
/// Packets that fit there if they are as short as can be.
const ADDED: usize = ANNEX / stride(40);
/// Room in front of each packet: outer headers, ESP header and IV are written there without moving the packet.
pub const HEADROOM: usize = 96;
/// Room behind each packet: padding, trailer and ICV.
pub const TAILROOM: usize = 64;
/// The longest packet that the kernel hands over to be cut.
pub const LONGEST: usize = 65_535;
/// Segments that one long packet may be cut into: a full one into pieces of 64 bytes.
pub const MAX_SEGMENTS: usize = 1024;
/// IPv6 and the longest TCP header.
pub const MAX_HEADERS: usize = 40 + 60;

/// Datagrams that a socket may give together: as many as Linux sends in one message at most (`UDP_MAX_SEGMENTS` since 6.9; it puts 64
/// together by itself). More are not one sender's: a device can claim 65,507 datagrams of a byte each, and each would have a descriptor.
pub const MAX_TOGETHER: usize = 128;

const LINE: usize = 64;

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

/// How a packet leaves by the TUN device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// By itself.
    #[default]
    Alone,
    /// With those that follow it, under the head of this number.
    Leads(u16),
    /// With the one that leads it.
    Follows,
}

/// One packet, or one train of equally long segments that one system call moved, within a slab.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet {
    /// First byte in the slab.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
    /// Length of each datagram but the last of those that lie here one behind the other; 0 if this is a single one.
    pub segment: u16,
    /// What the kernel said about a packet from the TUN device.
    pub offload: VnetHeader,
    /// Outer path, for datagrams of the underlay.
    pub path: Option<Path>,
    /// The lane of the SA that it was sealed with: datagrams of two lanes do not share a message.
    pub lane: u8,
    /// Set when a stage has dropped or consumed the packet; later stages pass it over.
    pub done: bool,
    /// Its part in a train for the TUN device.
    pub role: Role,
    /// The index of the next packet of its train; 0 behind the last.
    pub next: u32,
}

/// What stands in front of a train for the TUN device: the kernel's header, then IP and transport headers for all of it.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub(super) bytes: [u8; vnet::LEN + MAX_HEADERS],
    pub(super) len: usize,
}

impl Head {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Room at the end of a slab for packets that were not taken in with its batch.
#[derive(Debug)]
pub(super) struct Annex {
    begin: usize,
    end: usize,
    cursor: usize,
}

impl Annex {
    /// Where the next packet may lie, with room in front of it and behind it.
    pub(super) fn vacant(&self) -> std::ops::Range<usize> {
        let start = (self.cursor + HEADROOM).min(self.end);
        start..self.end.saturating_sub(TAILROOM).max(start)
    }

    /// Takes the first `len` bytes of it.
    pub(super) fn take(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.vacant().start;
        self.cursor += stride(len);
        start..start + len
    }
}

/// Everything of a batch, for stages that cut trains, tie them, and add packets.
pub(super) struct Parts<'a> {
    pub(super) packets: &'a mut Vec<Packet>,
    pub(super) slab: &'a mut [u8],
    pub(super) heads: &'a mut Vec<Head>,
    pub(super) annex: &'a mut Annex,
}

/// Moves packets that were put at the end of `packets` behind those that they are to follow. `added` names for each of them, in
/// their order, the one that it follows.
pub(super) fn put_in_order(packets: &mut [Packet], added: &[u32]) {
    let taken = packets.len().saturating_sub(added.len());
    for (index, leader) in added.iter().enumerate() {
        let before = added[..index].iter().filter(|other| *other <= leader).count();
        let place = *leader as usize + before + 1;
        let Some(behind) = packets.get_mut(place..=taken + index) else { continue };
        behind.rotate_right(1);
        // Nothing is tied to the first packet of a batch.
        for packet in packets.iter_mut().filter(|packet| packet.next as usize >= place) {
            packet.next += 1;
        }
    }
}

/// A slab of packets. Allocated once, refilled for ever.
pub struct Batch {
    slab: Box<[u8]>,
    annex: Annex,
    packets: Vec<Packet>,
    heads: Vec<Head>,
    /// How many packets are taken in at most.
    slots: usize,
    /// How long one of them may be.
    room: usize,
    /// How long the last one may be: more than `room` where packets are to be cut.
    reach: usize,
    filled: usize,
    /// Where the next packet's room begins.
    cursor: usize,
    /// A packet that is to be cut takes all that is left.
    closed: bool,
}

/// The distance from one packet to the next: an odd number of cache lines, so that they do not meet in the same sets.
pub(super) const fn stride(len: usize) -> usize {
    ((HEADROOM + len + TAILROOM).div_ceil(LINE) | 1) * LINE
}

impl Default for Batch {
    /// No room at all, and no memory.
    fn default() -> Self {
        let annex = Annex { begin: 0, end: 0, cursor: 0 };
        let (packets, heads) = (Vec::new(), Vec::new());
        Self {
            slab: Box::default(),
            annex,
            packets,
            heads,
            slots: 0,
            room: 0,
            reach: 0,
            filled: 0,
            cursor: 0,
            closed: true,
        }
    }
}

impl Batch {
    /// `slots` packets of at most `room` bytes each.
    #[must_use]
    pub fn new(slots: usize, room: usize) -> Self {
        Self::with(slots, room, room, stride(room) * slots, slots)
    }

    /// As [`new`](Self::new), for packets of which the last may be one of any length that is to be cut into segments.
    #[must_use]
    pub fn with_trains(slots: usize, room: usize) -> Self {
        let cut = MAX_SEGMENTS * (stride(MAX_HEADERS) + 2 * LINE) + 2 * LONGEST;
        Self::with(slots, room, LONGEST, stride(room) * slots + cut, slots + MAX_SEGMENTS)
    }

    fn with(slots: usize, room: usize, reach: usize, bytes: usize, packets: usize) -> Self {
        Self {
            slab: vec![0; bytes + ANNEX].into(),
            annex: Annex { begin: bytes, end: bytes + ANNEX, cursor: bytes },
            packets: Vec::with_capacity(packets + ADDED),
            heads: Vec::with_capacity(slots),
            slots,
            room,
            reach,
            filled: 0,
            cursor: 0,
            closed: false,
        }
    }

    /// Forgets all packets; the slab stays.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.heads.clear();
        self.annex.cursor = self.annex.begin;
        self.filled = 0;
        self.cursor = 0;
        self.closed = false;
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

    /// Whether nothing more is taken in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.closed || self.filled == self.slots
    }

    /// How many bytes one packet may have.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// The room for the next packet, to be filled and then taken by [`push`](Self::push); `None` when full.
    pub fn vacant(&mut self) -> Option<&mut [u8]> {
        let room = self.room;
        self.vacant_up_to(room)
    }

    /// Likewise for a packet that may be one to be cut.
    pub fn vacant_for_train(&mut self) -> Option<&mut [u8]> {
        let reach = self.reach;
        self.vacant_up_to(reach)
    }

    fn vacant_up_to(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.cursor + HEADROOM;
        if self.is_full() { None } else { self.slab.get_mut(..self.annex.begin)?.get_mut(start..start + len) }
    }

    /// Room for `count` packets of any length at equal distances, for a call that fills several at once; each is then
    /// taken by [`push_slot`](Self::push_slot).
    pub fn vacant_slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (left, room) = (self.slots - self.filled, self.room);
        let slab = self.slab.get_mut(self.cursor..self.annex.begin);
        let slots = slab.unwrap_or_default().chunks_exact_mut(stride(room));
        slots.take(left).map(move |slot| &mut slot[HEADROOM..HEADROOM + room])
    }

    /// Takes the first `len` bytes of the vacant room as a packet.
    pub fn push(&mut self, len: usize, segment: u16, path: Option<Path>) {
        self.take(len, segment, path, stride(len));
    }

    /// Forgets the last packet.
    pub(super) fn pop(&mut self) {
        if self.packets.pop().is_some() {
            self.filled -= 1;
        }
    }

    /// Takes the first `len` bytes of the next of the [`vacant_slots`](Self::vacant_slots) as a packet.
    pub fn push_slot(&mut self, len: usize, segment: u16, path: Option<Path>) {
        self.take(len, segment, path, stride(self.room));
    }

    fn take(&mut self, len: usize, segment: u16, path: Option<Path>, distance: usize) {
        debug_assert!(!self.is_full() && len <= self.reach);
        let start = self.cursor + HEADROOM;
        self.packets.push(Packet { start, len, segment, path, ..Packet::default() });
        self.filled += 1;
        self.cursor += distance;
    }

    /// Takes the first `len` bytes of the vacant room as a packet from the TUN device. One that is to be cut is the last.
    pub fn push_from_tun(&mut self, len: usize, offload: VnetHeader) {
        self.push(len, 0, None);
        if let Some(packet) = self.packets.last_mut() {
            packet.offload = offload;
        }
        self.closed = offload.segments != Segments::None || len > self.room;
    }

    /// Makes a packet of each datagram of each train from a socket, in order; no byte is moved. What is said to be more than
    /// [`MAX_TOGETHER`] is done; says how many such there were. Allocates only until the largest batch has been seen.
    pub fn split_trains(&mut self) -> u64 {
        let mut refused = 0;
        let mut at = 0;
        while let Some(&packet) = self.packets.get(at) {
            let segment = usize::from(packet.segment);
            let single = packet.done || segment == 0 || segment >= packet.len;
            if single || packet.len.div_ceil(segment) > MAX_TOGETHER {
                refused += u64::from(!single);
                self.packets[at].done |= !single;
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
        refused
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

    /// Everything, for stages that cut trains, tie them, and add packets.
    pub(super) fn all_mut(&mut self) -> Parts<'_> {
        let Self { packets, slab, heads, annex, .. } = self;
        Parts { packets, slab, heads, annex }
    }

    /// The bytes of packet `index`.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        let packet = &self.packets[index];
        &self.slab[packet.start..packet.start + packet.len]
    }

    /// The train that packet `index` leads: its head, and the payload of each of its packets. `None` if it leads none.
    #[must_use]
    pub fn train(&self, index: usize) -> Option<(&Head, impl Iterator<Item = &[u8]>)> {
        let Role::Leads(head) = self.packets.get(index)?.role else { return None };
        let head = self.heads.get(usize::from(head))?;
        let headers = head.len - vnet::LEN;
        let mut at = Some(index);
        let payloads = std::iter::from_fn(move || {
            let index = at?;
            at = self.packets.get(index).map(|packet| packet.next as usize).filter(|next| *next > index);
            self.bytes(index).get(headers..)
        });
        Some((head, payloads))
    }
}

#[cfg(test)]
impl Batch {
    /// Ties all packets together under a head of these bytes.
    pub(crate) fn tie(&mut self, bytes: &[u8]) {
        let mut head = Head { bytes: [0; vnet::LEN + MAX_HEADERS], len: bytes.len() };
        head.bytes[..bytes.len()].copy_from_slice(bytes);
        self.heads.push(head);
        let last = self.packets.len() - 1;
        for (index, packet) in self.packets.iter_mut().enumerate() {
            packet.role = if index == 0 { Role::Leads(0) } else { Role::Follows };
            packet.next = if index == last { 0 } else { index as u32 + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_apart_whatever_their_lengths() {
        let mut batch = Batch::new(4, 1500);
        for len in [40, 1500, 0, 700] {
            let slot = batch.vacant().unwrap();
            assert_eq!(slot.len(), 1500);
            slot[..len].fill(len as u8);
            batch.push(len, 0, None);
        }
        assert!(batch.is_full() && batch.vacant().is_none());
        for (index, len) in [40, 1500, 0, 700].into_iter().enumerate() {
            assert_eq!(batch.bytes(index), vec![len as u8; len]);
        }
        for pair in batch.packets().windows(2) {
            assert!(pair[1].start - (pair[0].start + pair[0].len) >= HEADROOM + TAILROOM);
        }
        assert!(batch.packets()[0].start >= HEADROOM);
    }

    #[test]
    fn packets_that_waited_follow_the_ones_that_they_waited_for_and_trains_stay_tied() {
        let mut batch = Batch::new(8, 100);
        for len in 0..5 {
            batch.vacant().unwrap();
            batch.push(len, 0, None);
        }
        let Parts { packets, annex, .. } = batch.all_mut();
        // 1, 3 and 4 are a train.
        (packets[1].role, packets[1].next) = (Role::Leads(0), 3);
        (packets[3].role, packets[3].next, packets[4].role) = (Role::Follows, 4, Role::Follows);
        for len in [10, 11, 12, 13] {
            let place = annex.take(len);
            packets.push(Packet { start: place.start, len, ..Packet::default() });
        }
        put_in_order(packets, &[4, 1, 1, 0]);
        let lens: Vec<usize> = packets.iter().map(|packet| packet.len).collect();
        assert_eq!(lens, [0, 13, 1, 11, 12, 2, 3, 4, 10]);
        let next: Vec<u32> = packets.iter().map(|packet| packet.next).collect();
        assert_eq!(next, [0, 0, 6, 0, 0, 0, 7, 0, 0]);
    }

    #[test]
    fn the_annex_is_bounded_and_free_again_once_the_batch_is() {
        let mut batch = Batch::new(2, 100);
        let fill = |batch: &mut Batch| {
            let Parts { annex, slab, .. } = batch.all_mut();
            let mut count = 0;
            while annex.vacant().len() >= 1400 {
                let place = annex.take(1400);
                assert!(slab.get(place.start - HEADROOM..place.end + TAILROOM).is_some());
                count += 1;
            }
            count
        };
        let count = fill(&mut batch);
        assert!(count > 60 && count * 1400 <= ANNEX, "{count}");
        assert!(batch.vacant().is_some());
        batch.clear();
        assert_eq!(fill(&mut batch), count);
    }

    #[test]
    fn slots_are_taken_where_they_were_offered() {
        let mut batch = Batch::new(3, 100);
        batch.push(10, 0, None);
        let places: Vec<*const u8> = batch.vacant_slots().map(|slot| slot.as_ptr()).collect();
        assert_eq!(places.len(), 2);
        for place in places {
            batch.push_slot(5, 0, None);
            let last = batch.packets().last().unwrap().start;
            assert_eq!(&raw const batch.slab[last], place);
        }
        assert!(batch.is_full());
    }

    #[test]
    fn what_a_socket_gives_together_is_parted_at_the_length_that_it_says() {
        // How long it is, the length that was said, how long the datagrams are.
        let cases: &[(usize, u16, &[usize])] = &[
            (1000, 0, &[1000]),
            (1000, 1000, &[1000]),
            (1000, 1001, &[1000]),
            (1000, u16::MAX, &[1000]),
            (1000, 999, &[999, 1]),
            (1000, 400, &[400, 400, 200]),
            (3, 1, &[1, 1, 1]),
            (0, 0, &[0]),
            (0, 7, &[0]),
            (MAX_TOGETHER, 1, &[1; MAX_TOGETHER]),
        ];
        for (len, said, expected) in cases {
            let mut batch = Batch::new(3, LONGEST);
            batch.push_slot(5, 0, None);
            batch.push_slot(*len, *said, None);
            batch.push_slot(6, 0, None);
            assert_eq!(batch.split_trains(), 0, "{len} of {said}");
            let lens: Vec<_> = batch.packets().iter().map(|packet| packet.len).collect();
            assert_eq!(lens, [&[5], *expected, &[6]].concat(), "{len} of {said}");
            let parts = &batch.packets()[1..=expected.len()];
            assert!(parts.iter().all(|packet| packet.segment == 0 && !packet.done));
            assert!(parts.windows(2).all(|pair| pair[0].start + pair[0].len == pair[1].start));
        }
        for (len, said) in [(MAX_TOGETHER + 1, 1), (65_507, 1), (65_507, 500)] {
            let mut batch = Batch::new(2, LONGEST);
            batch.push_slot(len, said, None);
            batch.push_slot(6, 0, None);
            assert_eq!(batch.split_trains(), 1, "{len} of {said}");
            let done: Vec<_> = batch.packets().iter().map(|packet| (packet.len, packet.done)).collect();
            assert_eq!(done, [(len, true), (6, false)], "{len} of {said}");
        }
    }

    #[test]
    fn a_packet_to_be_cut_is_the_last_and_has_room_for_every_segment() {
        let mut batch = Batch::with_trains(4, 1500);
        for _ in 0..3 {
            batch.push_from_tun(1500, VnetHeader::default());
        }
        assert_eq!(batch.vacant_for_train().unwrap().len(), LONGEST);
        let train = VnetHeader { segments: Segments::Tcp4, segment_len: 64, ..VnetHeader::default() };
        batch.push_from_tun(LONGEST, train);
        assert!(batch.is_full());
        let start = batch.packets()[3].start;
        assert!(start + MAX_SEGMENTS * stride(MAX_HEADERS + 64) < batch.slab.len());
    }
}
