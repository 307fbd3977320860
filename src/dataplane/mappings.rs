//! Which port of an outside address stands for which port of which host, where several hosts share the address: RFC 4787 for
//! UDP, RFC 5382 for TCP, RFC 5508 for the identifiers of echo.
//!
//! A mapping does not depend on the destination (RFC 4787 §4.1, REQ-1), keeps the host's own port where that is free, and is
//! never given to two (RFC 4787 §4.2.1). What may come back through it is not asked here: the flow table has judged before,
//! and is stricter. All room is allocated once, when a policy first needs it.

use std::time::Duration;

use ahash::RandomState;

use crate::policy::translate::Place;
use crate::time::Instant;
use crate::wire::ip;
use crate::wire::rewrite::End;
use crate::wire::tcp::{ACK, FIN, RST, SYN};

/// Mappings at a time, of all addresses together. Fewer than half of the ports that one address has, so that a free one is
/// found by chance; some 3 MB.
pub const CAPACITY: usize = 32_768;
/// Ports tried by chance before there is none: when all the mappings are of one protocol of one address, half of the ports are
/// taken, and 64 in a row once in 10^19.
const TRIES: u32 = 64;
/// How many places are looked at for an expired mapping when there is no free one.
const LOOK_FOR_ROOM: usize = 256;

/// RFC 5382 §5, REQ-5: "the established connection idle-timeout" is not less than two hours and four minutes.
const ESTABLISHED: Duration = Duration::from_mins(124);
/// The same: "the transitory connection idle-timeout" is not less than four minutes.
const TRANSITORY: Duration = Duration::from_mins(4);
/// RFC 4787 §4.3, REQ-5: not less than two minutes, and five or more are recommended.
const DATAGRAMS: Duration = Duration::from_mins(5);
/// RFC 5508 §3.2: not less than sixty seconds.
const ECHO: Duration = Duration::from_mins(1);

/// No place.
const NONE: u32 = u32::MAX;
/// The first port that is not one of the well-known.
const FIRST_HIGH: u16 = 1024;

/// Where a mapping stands.
pub type Slot = u32;

/// What a packet does to the connection that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// Whether it leaves.
    pub outbound: bool,
    /// The host behind the peer.
    pub remote: End,
    /// Its flags, if it is a TCP segment.
    pub flags: u8,
}

/// How long a mapping outlives its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// A connection that is being opened or closed.
    Transitory,
    /// One in use, or several.
    Established,
    Datagrams,
    Echo,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    place: Place,
    protocol: u8,
    inside: End,
    outside: u16,
    life: Life,
    /// Who was spoken with first; with several no one's end is the end.
    remote: Option<End>,
    several: bool,
    /// Which sides have sent FIN: ours, theirs.
    closed: [bool; 2],
    expires: Instant,
}

#[derive(Clone, Debug)]
struct Room {
    mapping: Option<Mapping>,
    /// The next in the same bucket of each index; in the first one also the next that is free.
    next: [u32; 2],
}

/// The mappings, found by either end.
pub struct Mappings {
    hash: RandomState,
    random: u64,
    rooms: Box<[Room]>,
    /// The first room of each bucket, by the inside and by the outside end.
    heads: [Box<[u32]>; 2],
    free: u32,
    len: usize,
    cursor: usize,
}

const INSIDE: usize = 0;
const OUTSIDE: usize = 1;

impl Mappings {
    /// An empty table without room. What `hash` gives must not be known to the hosts.
    #[must_use]
    pub fn new(hash: RandomState) -> Self {
        let random = hash.hash_one(0x6d61_7070) | 1;
        Self {
            hash,
            random,
            rooms: Box::default(),
            heads: [Box::default(), Box::default()],
            free: NONE,
            len: 0,
            cursor: 0,
        }
    }

    /// Makes room for `capacity`, once.
    pub fn make_room(&mut self, capacity: usize) {
        if !self.rooms.is_empty() {
            return;
        }
        let last = capacity.saturating_sub(1);
        let next_free = |at: usize| if at < last { at as u32 + 1 } else { NONE };
        self.rooms = (0..capacity).map(|at| Room { mapping: None, next: [next_free(at), NONE] }).collect();
        self.heads = std::array::from_fn(|_| vec![NONE; capacity.next_power_of_two()].into());
        self.free = if capacity == 0 { NONE } else { 0 };
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The mapping of a port of ours.
    #[must_use]
    pub fn of_inside(&self, now: Instant, place: Place, protocol: u8, inside: End) -> Option<Slot> {
        let head = self.bucket(INSIDE, &(place, protocol, inside));
        self.find(now, INSIDE, head, |of| (of.place, of.protocol, of.inside) == (place, protocol, inside))
    }

    /// The mapping of a port of the outside address.
    #[must_use]
    pub fn of_outside(&self, now: Instant, place: Place, protocol: u8, port: u16) -> Option<Slot> {
        let head = self.bucket(OUTSIDE, &(place, protocol, port));
        self.find(now, OUTSIDE, head, |of| (of.place, of.protocol, of.outside) == (place, protocol, port))
    }

    /// Both ends of a mapping: the host's, and the port that stands for it.
    #[must_use]
    pub fn ends(&self, slot: Slot) -> Option<(End, u16)> {
        self.rooms.get(slot as usize)?.mapping.as_ref().map(|mapping| (mapping.inside, mapping.outside))
    }

    /// A port of the outside address that stands for nobody, and is not one that is `kept`: `wanted` if that is possible.
    pub fn free_port(
        &mut self,
        now: Instant,
        place: Place,
        protocol: u8,
        wanted: u16,
        kept: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let is_free = |this: &Self, port| this.of_outside(now, place, protocol, port).is_none() && !kept(port);
        // RFC 4787 §4.2.1: "Port preservation" where it does no harm.
        if is_free(self, wanted) {
            return Some(wanted);
        }
        for attempt in 0..TRIES {
            let random = self.chance();
            let port = match protocol {
                ip::TCP | ip::UDP => {
                    // RFC 4787 §4.2.1, REQ-3: a well-known port for one of those; §4.2.2, REQ-4: an even one for an even one.
                    let low = wanted < FIRST_HIGH && attempt < TRIES / 2;
                    let (first, span) = if low { (1, FIRST_HIGH - 1) } else { (FIRST_HIGH, u16::MAX - FIRST_HIGH + 1) };
                    let port = first + random % span;
                    if protocol == ip::UDP { (port & !1 | wanted & 1).max(first) } else { port }
                }
                _ => random,
            };
            if is_free(self, port) {
                return Some(port);
            }
        }
        None
    }

    /// Lets `port` stand for a host's own. `None` if there is no room.
    pub fn insert(&mut self, now: Instant, place: Place, protocol: u8, inside: End, port: u16) -> Option<Slot> {
        // An expired one that nobody has swept away still stands there.
        let by_inside = self.bucket(INSIDE, &(place, protocol, inside));
        let stale = self.walk(INSIDE, by_inside, |of| (of.place, of.protocol, of.inside) == (place, protocol, inside));
        if let Some(slot) = stale {
            self.remove(slot);
        }
        let by_outside = self.bucket(OUTSIDE, &(place, protocol, port));
        let stale = self.walk(OUTSIDE, by_outside, |of| (of.place, of.protocol, of.outside) == (place, protocol, port));
        if let Some(slot) = stale {
            self.remove(slot);
        }
        if self.free == NONE {
            self.sweep(now, LOOK_FOR_ROOM);
        }
        let slot = self.free;
        let room = self.rooms.get_mut(slot as usize)?;
        self.free = room.next[INSIDE];
        let life = match protocol {
            ip::TCP => Life::Transitory,
            ip::UDP => Life::Datagrams,
            _ => Life::Echo,
        };
        self.link(
            slot,
            Mapping {
                place,
                protocol,
                inside,
                outside: port,
                life,
                remote: None,
                several: false,
                closed: [false; 2],
                expires: now + life.time(),
            },
        );
        self.len += 1;
        Some(slot)
    }

    /// A packet has passed through a mapping. RFC 4787 §4.3, REQ-6: those that leave keep it; here those that come do too,
    /// because only what belongs to a live flow gets so far.
    pub fn passed(&mut self, now: Instant, slot: Slot, passing: Passing) {
        let Some(mapping) = self.rooms.get_mut(slot as usize).and_then(|room| room.mapping.as_mut()) else { return };
        if mapping.protocol == ip::TCP {
            mapping.follow(passing);
        }
        mapping.expires = now + mapping.life.time();
    }

    /// Looks at the next `budget` places and ends the mappings there that have expired.
    pub fn sweep(&mut self, now: Instant, budget: usize) {
        for _ in 0..budget.min(self.rooms.len()) {
            let slot = self.cursor;
            self.cursor = if slot + 1 < self.rooms.len() { slot + 1 } else { 0 };
            if self.rooms[slot].mapping.as_ref().is_some_and(|mapping| mapping.expires <= now) {
                self.remove(slot as u32);
            }
        }
    }

    /// Another policy is in force: `moved` says where a translation stands now, and whether it still has this mapping.
    pub fn follow(&mut self, moved: impl Fn(Place, u8, End, u16) -> Option<Place>) {
        for slot in 0..self.rooms.len() as u32 {
            let Some(mapping) = self.rooms[slot as usize].mapping else { continue };
            match moved(mapping.place, mapping.protocol, mapping.inside, mapping.outside) {
                None => self.remove(slot),
                Some(place) if place == mapping.place => {}
                Some(place) => {
                    self.unlink(slot);
                    self.link(slot, Mapping { place, ..mapping });
                }
            }
        }
    }

    fn find(&self, now: Instant, index: usize, bucket: usize, is: impl Fn(&Mapping) -> bool) -> Option<Slot> {
        self.walk(index, bucket, |mapping| is(mapping) && mapping.expires > now)
    }

    fn walk(&self, index: usize, bucket: usize, is: impl Fn(&Mapping) -> bool) -> Option<Slot> {
        let mut slot = *self.heads[index].get(bucket)?;
        while let Some(room) = self.rooms.get(slot as usize) {
            if room.mapping.as_ref().is_some_and(&is) {
                return Some(slot);
            }
            slot = room.next[index];
        }
        None
    }

    fn remove(&mut self, slot: Slot) {
        self.unlink(slot);
        let room = &mut self.rooms[slot as usize];
        (room.mapping, room.next[INSIDE]) = (None, self.free);
        self.free = slot;
        self.len -= 1;
    }

    /// Puts a mapping into an empty room.
    fn link(&mut self, slot: Slot, mapping: Mapping) {
        let buckets = self.buckets(&mapping);
        let room = &mut self.rooms[slot as usize];
        for (index, bucket) in buckets.into_iter().enumerate() {
            room.next[index] = std::mem::replace(&mut self.heads[index][bucket], slot);
        }
        room.mapping = Some(mapping);
    }

    /// Takes a mapping out of both chains.
    fn unlink(&mut self, slot: Slot) {
        let Room { mapping: Some(mapping), next } = self.rooms[slot as usize].clone() else { return };
        for (index, bucket) in self.buckets(&mapping).into_iter().enumerate() {
            let mut link = &mut self.heads[index][bucket];
            while *link != slot {
                link = &mut self.rooms[*link as usize].next[index];
            }
            *link = next[index];
        }
    }

    fn buckets(&self, mapping: &Mapping) -> [usize; 2] {
        let Mapping { place, protocol, inside, outside, .. } = *mapping;
        [self.bucket(INSIDE, &(place, protocol, inside)), self.bucket(OUTSIDE, &(place, protocol, outside))]
    }

    fn bucket(&self, index: usize, key: &impl std::hash::Hash) -> usize {
        self.hash.hash_one(key) as usize & self.heads[index].len().wrapping_sub(1)
    }

    /// Marsaglia's xorshift: whoever guesses a port gains nothing that the flow table would let pass.
    fn chance(&mut self) -> u16 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u16
    }
}

impl Life {
    fn time(self) -> Duration {
        match self {
            Self::Transitory => TRANSITORY,
            Self::Established => ESTABLISHED,
            Self::Datagrams => DATAGRAMS,
            Self::Echo => ECHO,
        }
    }
}

impl Mapping {
    fn follow(&mut self, Passing { outbound, remote, flags }: Passing) {
        let first = *self.remote.get_or_insert(remote);
        let ended = self.closed == [true; 2];
        if first != remote {
            if ended {
                // Nobody speaks with the first one any more.
                (self.remote, self.closed) = (Some(remote), [false; 2]);
            } else {
                self.several = true;
            }
        }
        if self.several {
            self.life = Life::Established;
            return;
        }
        match flags & (SYN | ACK | RST | FIN) {
            SYN => (self.closed, self.life) = ([false; 2], Life::Transitory),
            set if set & RST != 0 => (self.closed, self.life) = ([true; 2], Life::Transitory),
            set if set & FIN != 0 => {
                self.closed[usize::from(!outbound)] = true;
                if self.closed == [true; 2] {
                    self.life = Life::Transitory;
                }
            }
            set if set & SYN == 0 && self.closed != [true; 2] => self.life = Life::Established,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
