//! From worker to worker: a packet that was read by one and belongs to another (`steer`).
//!
//! Each two workers share a pair of rings in each direction, one of short notes and one of bytes, made once and written by one
//! worker each: no lock, and nothing is allocated for a packet. What finds its ring full is dropped and counted; a worker
//! waits for no other. Four things change hands:
//!
//! - what the TUN device gave to the wrong queue, not judged yet, long packets whole;
//! - a datagram whose SPI is another worker's: the kernel has put it together with others, or steers by nothing;
//! - an opened packet whose flow is another worker's, its SA's selectors checked: the peer has other lanes than we have;
//! - a judged packet on its way out, whose SA is another worker's: its own lane has none, and lane 0 carries it.
//!
//! The second worker never passes it on for the same reason, so that nothing wanders.

use rtrb::{Consumer, Producer, RingBuffer};

use super::buffer::{Batch, Packet, Path};
use super::pipeline::Pipeline;
use super::sad::{NoWay, OutboundPlace, carries};
use super::steer::{Ends, Steering};
use super::translate::Edit;
use crate::event::DropReason;
use crate::ids::TunnelId;
use crate::inspect::Pass;
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::ip::Inner;
use crate::wire::vnet::VnetHeader;

/// Packets on their way from one worker to another: sixteen batches.
const NOTES: usize = 1024;
/// Their bytes: eight of the longest packets, or what a socket gives at once. Memory only once it has been used.
const BYTES: usize = 512 << 10;

/// What changes hands, beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// From the TUN device, not judged.
    Unjudged(VnetHeader),
    /// From the underlay, not opened.
    Datagram(Path),
    /// Opened and found within its SA's selectors.
    Opened(Beside),
    /// On its way out by this right and not sealed.
    Judged(Right, VnetHeader),
}

/// By what right a packet goes out, in which lane, and under which name.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Right {
    pass: Pass,
    lane: u8,
    name: Option<Edit>,
}

/// What is known of an opened packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// The tunnel of its SA.
    pub(super) tunnel: TunnelId,
    /// The outer TOS byte.
    pub(super) tos: u8,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    what: What,
    len: usize,
}

struct Giver {
    notes: Producer<Note>,
    bytes: Producer<u8>,
}

struct Taker {
    notes: Consumer<Note>,
    bytes: Consumer<u8>,
}

/// One worker's ends of all rings.
pub struct Hands {
    pub(super) steering: Steering,
    givers: Vec<Option<Giver>>,
    takers: Vec<Taker>,
    /// Whose ring is looked at first.
    turn: usize,
    /// Whom to wake: a bit for each worker.
    given: u64,
    /// What is worked on was passed on by another worker.
    passed_on: bool,
    /// Neither other workers nor other lanes.
    pub(super) plain: bool,
    /// The worker by whose SA the packet in hand goes out, by which right, and in which lane.
    wanted: Option<(u16, Pass, u8)>,
    /// The lane by which the packet in hand goes out.
    pub(super) lane: u8,
    beside: Vec<Beside>,
}

/// What became of packets that other workers passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// Datagrams for the underlay.
    Outwards,
    /// Inner packets for the TUN device.
    Inwards,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            steering: Steering::ALONE,
            givers: Vec::new(),
            takers: Vec::new(),
            turn: 0,
            given: 0,
            passed_on: false,
            plain: true,
            wanted: None,
            lane: 0,
            beside: Vec::new(),
        }
    }
}

impl Hands {
    /// For each of `workers` its ends.
    #[must_use]
    pub fn crew(workers: u16) -> Vec<Self> {
        let steering = Steering::of(workers);
        let mut crew: Vec<Self> = (0..steering.workers())
            .map(|own| Self { steering: steering.seen_by(own), plain: workers <= 1, ..Self::default() })
            .collect();
        for from in 0..crew.len() {
            for to in 0..crew.len() {
                let ends = (from != to).then(|| (RingBuffer::new(NOTES), RingBuffer::new(BYTES)));
                let ends = ends.map(|((notes, noted), (bytes, read))| {
                    crew[to].takers.push(Taker { notes: noted, bytes: read });
                    Giver { notes, bytes }
                });
                crew[from].givers.push(ends);
            }
        }
        for hands in &mut crew {
            hands.beside.reserve(NOTES);
        }
        crew
    }

    /// Gives a copy of `bytes` to worker `to`; false if it has no room.
    fn give(&mut self, to: u16, what: What, bytes: &[u8]) -> bool {
        let Some(giver) = self.givers.get_mut(usize::from(to)).and_then(Option::as_mut) else { return false };
        // The bytes are there before the note says so.
        if giver.notes.slots() == 0 || giver.bytes.push_entire_slice(bytes).is_err() {
            return false;
        }
        let noted = giver.notes.push(Note { what, len: bytes.len() });
        debug_assert!(noted.is_ok(), "there was room for a note, and nobody else writes");
        self.given |= 1 << to;
        true
    }

    /// Fills `batch` with packets from one worker, all of one kind; how many bytes of notes found no room in it. `None` if
    /// nobody has given anything.
    fn take(&mut self, batch: &mut Batch) -> Option<(What, u64)> {
        let count = self.takers.len();
        let at = (0..count).map(|step| (self.turn + step) % count).find(|at| !self.takers[*at].notes.is_empty())?;
        self.turn = (at + 1) % count;
        let taker = &mut self.takers[at];
        let first = taker.notes.peek().ok()?.what;
        self.beside.clear();
        let mut lost = 0;
        while let Ok(Note { what, len }) = taker.notes.peek().copied() {
            let goes_along = match (first, what) {
                (What::Unjudged(_), What::Unjudged(_))
                | (What::Datagram(_), What::Datagram(_))
                | (What::Opened(_), What::Opened(_)) => true,
                (What::Judged(one, _), What::Judged(other, _)) => one == other,
                _ => false,
            };
            if !goes_along || batch.is_full() {
                break;
            }
            let long = matches!(what, What::Unjudged(_) | What::Judged(..));
            let room = if long { batch.vacant_for_train() } else { batch.vacant() };
            let Some(room) = room.and_then(|room| room.get_mut(..len)) else {
                if !batch.is_empty() {
                    break;
                }
                // It fits no batch at all.
                lost += 1;
                let _ = taker.notes.pop();
                let _ = taker.bytes.read_chunk(len).map(rtrb::chunks::ReadChunk::commit_all);
                continue;
            };
            if taker.bytes.pop_entire_slice(room).is_err() {
                break;
            }
            let _ = taker.notes.pop();
            match what {
                What::Unjudged(offload) | What::Judged(_, offload) => batch.push_from_tun(len, offload),
                What::Datagram(path) => batch.push(len, 0, Some(path)),
                What::Opened(beside) => {
                    batch.push(len, 0, None);
                    self.beside.push(beside);
                }
            }
        }
        Some((first, lost))
    }
}

impl Pipeline {
    /// The first of several workers, or one of the others: `hands` are its ends of the rings.
    #[must_use]
    pub fn with_hands(mut self, hands: Hands) -> Self {
        self.hands = hands;
        self.set_policy(self.policy.clone());
        self
    }

    /// Works on what other workers have passed on, a batch at a time: what is left of `batch` is to be sent, or to be written
    /// to the TUN device. `None` if there is nothing.
    pub fn take_handed(&mut self, now: Instant, batch: &mut Batch) -> Option<Handed> {
        if self.hands.steering.is_alone() {
            return None;
        }
        batch.clear();
        let (what, lost) = self.hands.take(batch)?;
        self.count_drops(DropReason::HandoverFull, lost);
        self.hands.passed_on = true;
        let handed = match what {
            What::Unjudged(_) => {
                self.outbound(now, batch);
                Handed::Outwards
            }
            What::Judged(Right { pass, lane, name }, _) => {
                self.hands.lane = lane;
                let before = self.assumed.replace(pass);
                self.translator.resume(name);
                self.outbound(now, batch);
                self.translator.resume(None);
                self.assumed = before;
                Handed::Outwards
            }
            What::Datagram(_) => {
                self.inbound(now, batch);
                Handed::Inwards
            }
            What::Opened(_) => {
                let beside = std::mem::take(&mut self.hands.beside);
                self.inbound_opened(now, batch, &beside);
                self.hands.beside = beside;
                Handed::Inwards
            }
        };
        self.hands.passed_on = false;
        Some(handed)
    }

    /// The next worker that has got something and is to be woken.
    pub fn poll_given(&mut self) -> Option<u16> {
        let next = self.hands.given.trailing_zeros();
        if next == u64::BITS {
            return None;
        }
        self.hands.given &= self.hands.given - 1;
        Some(next as u16)
    }

    fn give(&mut self, to: u16, what: What, bytes: &[u8]) -> bool {
        let given = self.hands.give(to, what, bytes);
        if given {
            self.counters.shared().handed_over.add(1);
        }
        given
    }

    /// The worker that a flow belongs to, if it is another one.
    fn owner(&self, packet: &[u8], outbound: bool) -> Option<u16> {
        let translations = self.policy.translations();
        let ends = if translations.is_empty() {
            Ends::of(packet, outbound)?
        } else {
            // An ICMP error goes the other way than what it quotes, and is named by that: whichever end is ours has the name.
            Ends::named(packet, outbound, |local, remote| translations.outside_name(local, remote))?
        };
        let tunnel = self.policy.protecting(ends.remote)?;
        // The ports of a shared address are given out by one worker.
        let lane = if translations.is_shared(ends.local) { 0 } else { ends.lane(self.policy.lanes(tunnel)) };
        let owner = self.hands.steering.worker(tunnel, lane);
        (owner != self.hands.steering.own()).then_some(owner)
    }

    /// A packet from the TUN device whose flow belongs to another worker goes there; whether it has gone, or found no room.
    pub(super) fn pass_on_unjudged(&mut self, packet: &Packet, slab: &[u8]) -> bool {
        // What was found for the packet before is not for this one.
        self.hands.wanted = None;
        if self.hands.steering.is_alone() || self.hands.passed_on {
            return false;
        }
        let Some(bytes) = slab.get(packet.start..packet.start + packet.len) else { return false };
        let Some(to) = self.owner(bytes, true) else { return false };
        if !self.give(to, What::Unjudged(packet.offload), bytes) {
            self.counters.drop(DropReason::HandoverFull, 1);
        }
        true
    }

    /// A datagram for an SA that is not here goes to the worker of its SPI.
    pub(super) fn pass_on_datagram(&mut self, spi: Spi, path: Path, datagram: &[u8]) -> Result<bool, DropReason> {
        let to = self.hands.steering.of_spi(spi.get());
        if to == self.hands.steering.own() {
            return Ok(false);
        }
        if self.give(to, What::Datagram(path), datagram) { Ok(true) } else { Err(DropReason::HandoverFull) }
    }

    /// An opened packet of another worker's flow goes there, if it is within the selectors of the SA at `place`; whether it
    /// has gone, or found no room. What is not is dropped here, by name.
    pub(super) fn pass_on_opened(&mut self, place: Option<usize>, tos: u8, packet: &Packet, slab: &[u8]) -> bool {
        if self.hands.steering.is_alone() {
            return false;
        }
        let Some(bytes) = slab.get(packet.start..packet.start + packet.len) else { return false };
        let Some(to) = self.owner(bytes, false) else { return false };
        let Ok(inner) = Inner::parse(bytes) else { return false };
        let Some(sa) = place.and_then(|place| self.sad.inbound(place)) else { return false };
        let beside = Beside { tunnel: sa.child().tunnel, tos };
        if !carries(sa.child(), false, &inner) {
            return false;
        }
        if !self.give(to, What::Opened(beside), bytes) {
            self.counters.drop(DropReason::HandoverFull, 1);
        }
        true
    }

    /// The SA by which a judged packet goes out: that of its lane, or that of lane 0 while there is none. Either may be
    /// another worker's; then [`pass_on_judged`](Self::pass_on_judged) does the rest.
    pub(super) fn way_out(&mut self, now: Instant, pass: Pass, inner: &Inner<'_>) -> Result<OutboundPlace, NoWay> {
        let Pass { tunnel, shape, .. } = pass;
        if self.hands.plain || self.hands.passed_on && self.assumed.is_some() {
            return self.sad.find_outbound(tunnel, shape, inner);
        }
        let steering = self.hands.steering;
        let lanes = self.policy.lanes(tunnel);
        let translations = self.policy.translations();
        let lane_of = |ends: Ends| if translations.is_shared(ends.local) { 0 } else { ends.lane(lanes) };
        let lane = if lanes > 1 { Ends::of(inner.bytes(), true).map_or(0, lane_of) } else { 0 };
        let mut ways = [(lane, self.policy.lane_shape(shape, lane)), (0, shape)].into_iter();
        let wanted = ways.find_map(|(lane, shape)| {
            let worker = steering.worker(tunnel, lane);
            if worker != steering.own() {
                return Some(Err((worker, shape, lane)));
            }
            match self.sad.find_outbound(tunnel, shape, inner) {
                Err(NoWay::NoSa) if lane > 0 => {
                    if self.sad.lacking(now, tunnel, shape).ask {
                        self.events.push(SadEvent::Acquire { tunnel, shape });
                    }
                    None
                }
                found => {
                    self.hands.lane = lane;
                    Some(Ok(found))
                }
            }
        });
        match wanted {
            Some(Ok(found)) => found,
            Some(Err((worker, shape, lane))) => {
                self.hands.wanted = Some((worker, Pass { shape, opened: false, ..pass }, lane));
                Err(NoWay::Elsewhere)
            }
            None => Err(NoWay::NoSa),
        }
    }

    /// A packet that [`way_out`](Self::way_out) has just found another worker for goes there; false if there is none, or it
    /// has no room.
    pub(super) fn pass_on_judged(&mut self, packet: &Packet, offload: VnetHeader, slab: &[u8]) -> bool {
        let Some((to, pass, lane)) = self.hands.wanted.take() else { return false };
        let Some(bytes) = slab.get(packet.start..packet.start + packet.len) else { return false };
        let name = self.translator.current();
        self.give(to, What::Judged(Right { pass, lane, name }, offload), bytes)
    }
}
