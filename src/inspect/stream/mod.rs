//! Both ends' bytes in order, each once, for a listener that says where they stop being legal.
//!
//! What holds for every receiver, whatever it keeps of bytes that were sent twice:
//! - A byte is let through in its place only after it was heard, or if the listener need not hear it; while the service is
//!   not yet known nothing is let through behind a gap. It waits as a packet, [`WAITING`] bytes a flow at most, and leaves
//!   right behind the packet that fills the gap.
//! - Once the service is known, what lies behind a gap is let through and a copy kept, to be heard when the gap is filled;
//!   without room for the copy it is refused, and its sender will send it again.
//! - What was heard is kept until its receiver has acknowledged it. Sent again before that it must be the same; sent again
//!   after that it goes without its payload, so that the receiver acknowledges again and reads nothing. It is the same
//!   where nothing more is to be heard.
//! - Bytes that need not be heard are neither waited for nor kept: whatever they are, they are legal in their place, and what
//!   place that is the sequence numbers alone decide. The next byte to be heard is the one behind them, whether they have come
//!   or not. This is why a bulk transfer costs a comparison.
//!
//! Left out: putting off what one end says until the other has acknowledged. A listener hears both ends in the order in
//! which the gateway lets them through, which is the order of neither receiver to the byte.

mod hearing;
mod pool;
#[cfg(test)]
mod tests;

use self::hearing::{Hearing, Payload};
use self::pool::{BLOCK, List, Pool};
use super::tcp::{Connection, Facts, after};
use crate::event::DropReason;
use crate::wire::ip::Inner;
use crate::wire::tcp::{self, TcpView};
use crate::wire::tcp_options;

/// Bytes of packets that wait for a gap to be filled, for each flow: the first messages of every service fit.
pub(super) const WAITING: usize = 8 << 10;
/// Bytes that are kept of one flow: four windows without scaling.
pub(super) const KEPT: usize = 256 << 10;
/// Bytes that are kept of all flows, in a pool that is touched as far as it is used.
pub(super) const KEPT_OF_ALL: usize = 32 << 20;
/// The part of the pool, in quarters, that copies of what lies behind a gap may fill. The last quarter is for what comes in
/// order, which must be kept to pass.
const QUARTERS_AHEAD: usize = 3;
/// So many bytes are shown at a time: a message's header and not much of the body that need not be heard, nor kept.
const BITE: usize = 64;

/// Who hears what is said in one flow.
pub(super) trait Listener {
    /// What it demands of the bytes.
    type Demands;
    /// Bytes in order, each once.
    fn hear(&mut self, demands: &Self::Demands, from_opener: bool, bytes: &[u8]) -> Result<(), DropReason>;
    /// Whether the service is known.
    fn settled(&self) -> bool;
    /// How many of the next bytes need not be heard; `u64::MAX`: none, ever.
    fn unheard(&self, from_opener: bool) -> u64;
    /// So many of them have passed.
    fn skip(&mut self, from_opener: bool, len: u64);
}

/// One flow's listener and what is kept of the flow.
#[derive(Debug)]
struct Voice<L> {
    listener: L,
    /// The opener's, and the responder's.
    lanes: [Lane; 2],
    /// Blocks in use for it.
    blocks: usize,
}

/// What is kept of one end.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Heard and not yet acknowledged, in order.
    kept: List,
    /// Behind a gap, ordered by their beginnings: copies, and packets that wait.
    ahead: List,
    /// Bytes of packets that wait.
    waiting: usize,
}

/// A voice by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VoiceId(u32);

/// What becomes of a segment that carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes on; afterwards perhaps others that waited for it ([`Streams::release`]).
    Pass,
    /// It goes on without its payload.
    Bare,
    /// It waits.
    Waits,
    /// It is the first of a train that cannot be judged as one.
    Split,
    /// It goes no further.
    Refused(DropReason),
    /// Nothing of this flow goes any further.
    Objection(DropReason),
}

/// The voices of all flows.
#[derive(Debug)]
pub(super) struct Streams<L> {
    voices: Vec<Option<Voice<L>>>,
    vacant: Vec<u32>,
    capacity: usize,
    pool: Pool,
    /// Packets that have waited, and leave now.
    released: List,
    /// Whether TCP checksums are believed without a look.
    trusts_checksums: bool,
}

impl<L: Listener> Streams<L> {
    /// Room for `capacity` flows of which something is to be heard, and for `bytes` that are kept of them.
    pub(super) fn new(capacity: usize, bytes: usize) -> Self {
        Self {
            voices: Vec::with_capacity(capacity),
            vacant: Vec::with_capacity(capacity),
            capacity,
            pool: Pool::new(bytes),
            released: List::default(),
            trusts_checksums: false,
        }
    }

    pub(super) fn trust_checksums(&mut self) {
        self.trusts_checksums = true;
    }

    /// Bytes of one flow's listener and the anchors of what is kept of it.
    pub(super) const fn voice_size() -> usize {
        size_of::<Option<Voice<L>>>()
    }

    /// Bytes that are kept now.
    pub(super) fn kept(&self) -> usize {
        self.pool.used() * BLOCK
    }

    /// Judges a segment that carries bytes and is legal otherwise. If it passes, its connection has gone on by it.
    ///
    /// `rest` is the payload of the rest of its train. `listener` is asked for one at the first byte of a flow.
    #[inline]
    pub(super) fn speak<'d>(
        &mut self,
        connection: &mut Connection,
        from_opener: bool,
        (inner, segment, rest): (&Inner<'_>, &TcpView<'_>, &[&[u8]]),
        demands: impl FnOnce() -> &'d L::Demands,
        listener: impl FnOnce() -> Option<L>,
    ) -> Heard
    where
        L::Demands: 'd,
    {
        let (sender, _) = connection.halves(from_opener);
        let heard = if sender.passes_unheard(segment.sequence(), segment.carried()) {
            Heard::Pass
        } else {
            self.hear(connection, from_opener, (inner, segment, rest), demands(), listener)
        };
        match heard {
            Heard::Pass => self.commit(connection, from_opener, &Facts::of(segment)),
            Heard::Bare => {
                let facts = Facts { end: segment.sequence(), fin: false, ..Facts::of(segment) };
                self.commit(connection, from_opener, &facts);
            }
            _ => {}
        }
        if self.releases() {
            self.commit_released(connection, from_opener);
        }
        heard
    }

    /// Takes what a segment says that passes, and gives up what it acknowledges.
    #[inline]
    pub(super) fn commit(&mut self, connection: &mut Connection, from_opener: bool, facts: &Facts) {
        connection.commit(from_opener, facts);
        self.acknowledged(connection, from_opener);
    }

    /// Gives up what the sender of a segment that has passed had acknowledged.
    #[inline]
    pub(super) fn acknowledged(&mut self, connection: &mut Connection, from_opener: bool) {
        let voice = connection.voice;
        let (sender, receiver) = connection.halves(from_opener);
        if !receiver.keeps {
            return;
        }
        let Some(voice) = voice.and_then(|VoiceId(id)| self.voices.get_mut(id as usize)?.as_mut()) else { return };
        let lane = &mut voice.lanes[usize::from(from_opener)];
        while let Some(id) = lane.kept.first() {
            let Some(run) = self.pool.run(id).copied() else { break };
            if after(run.end(), sender.acked()) {
                if after(sender.acked(), run.sequence) {
                    voice.blocks -= self.pool.shorten(id, sender.acked().wrapping_sub(run.sequence));
                }
                break;
            }
            voice.blocks -= run.blocks as usize;
            self.pool.pop(&mut lane.kept);
            self.pool.free(id);
        }
        receiver.keeps = !lane.kept.is_empty();
        if sender.is_done() && receiver.is_done() {
            self.forget(connection.voice.take());
        }
    }

    /// The next packet that has waited and leaves now, into `out`; how long it is. To be asked until there is none. A
    /// packet that does not fit is lost.
    pub(super) fn release(&mut self, out: &mut [u8]) -> Option<usize> {
        let id = self.pool.pop(&mut self.released)?;
        let run = *self.pool.run(id)?;
        let mut at = 0;
        for piece in self.pool.range(&run, 0, run.stored()) {
            if let Some(room) = out.get_mut(at..at + piece.len()) {
                room.copy_from_slice(piece);
                at += piece.len();
            }
        }
        self.pool.free(id);
        Some(if at == run.stored() { at } else { 0 })
    }

    /// What nobody has asked for by now is lost; it is kept until it is acknowledged, and passes when it is sent again.
    #[inline]
    pub(super) fn discard_released(&mut self) {
        if self.releases() {
            empty(&mut self.pool, &mut self.released);
        }
    }

    /// Whether packets leave now.
    #[inline]
    pub(super) fn releases(&self) -> bool {
        !self.released.is_empty()
    }

    /// Forgets a flow.
    pub(super) fn forget(&mut self, voice: Option<VoiceId>) {
        let Some(VoiceId(id)) = voice else { return };
        let Some(mut voice) = self.voices.get_mut(id as usize).and_then(Option::take) else { return };
        for lane in &mut voice.lanes {
            for list in [&mut lane.kept, &mut lane.ahead] {
                empty(&mut self.pool, list);
            }
        }
        self.vacant.push(id);
    }

    /// Nothing more of this flow need be heard. What waits is lost, and passes when it is sent again.
    pub(super) fn fall_silent(&mut self, connection: &mut Connection) {
        for opener in [true, false] {
            let (half, _) = connection.halves(opener);
            half.free_for_ever = true;
            (half.was_heard, half.keeps, half.ahead) = (false, false, false);
        }
        self.forget(connection.voice.take());
    }

    /// Nothing more of this flow need be heard: what waits of the sender of this segment leaves now.
    pub(super) fn hear_no_more(&mut self, connection: &mut Connection, from_opener: bool) {
        if let Some(VoiceId(id)) = connection.voice
            && let Some(Some(voice)) = self.voices.get_mut(id as usize)
        {
            let lane = &mut voice.lanes[usize::from(!from_opener)];
            let mut copies = List::default();
            while let Some(id) = self.pool.pop(&mut lane.ahead) {
                let waits = self.pool.run(id).is_some_and(|run| run.headers > 0);
                self.pool.push(if waits { &mut self.released } else { &mut copies }, id);
            }
            lane.ahead = copies;
        }
        self.fall_silent(connection);
        self.commit_released(connection, from_opener);
    }

    /// Packets that leave now count from now on.
    fn commit_released(&self, connection: &mut Connection, from_opener: bool) {
        for (_, run) in self.pool.iter(&self.released) {
            // It was parsed before it was stored, and its headers lie in one block.
            let front = self.pool.front(run);
            let ip_len = if front.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
            let Some(header) = front.get(ip_len..).and_then(|header| header.first_chunk::<20>()) else { continue };
            let fin = header[13] & tcp::FIN != 0;
            let facts = Facts {
                end: run.end().wrapping_add(u32::from(fin)),
                acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
                window: u16::from_be_bytes([header[14], header[15]]),
                fin,
            };
            connection.commit(from_opener, &facts);
        }
    }

    /// The uncommon cases.
    fn hear(
        &mut self,
        connection: &mut Connection,
        from_opener: bool,
        (inner, segment, rest): (&Inner<'_>, &TcpView<'_>, &[&[u8]]),
        demands: &L::Demands,
        listener: impl FnOnce() -> Option<L>,
    ) -> Heard {
        // Its receiver would not take it, but we would have heard it. (A train has been checked, or has no checksum yet.)
        if rest.is_empty() && !self.trusts_checksums && !tcp::checksum_holds(inner) {
            return Heard::Refused(DropReason::BadTcpChecksum);
        }
        let (sender, receiver) = connection.halves(from_opener);
        if sender.is_done() {
            // All of what was heard has been acknowledged.
            return if after(receiver.acked(), segment.sequence()) { Heard::Bare } else { Heard::Pass };
        }
        let stamp = if connection.stamped { tcp_options::timestamp(segment.options()) } else { None };
        let VoiceId(id) = match connection.voice {
            Some(id) => id,
            None => match listener().map(|listener| self.admit(listener)) {
                Some(Some(id)) => *connection.voice.insert(id),
                Some(None) => return Heard::Refused(DropReason::FlowTableFull),
                // There is nothing to be heard.
                None => {
                    self.hear_no_more(connection, from_opener);
                    return Heard::Pass;
                }
            },
        };
        let Some(Some(voice)) = self.voices.get_mut(id as usize) else {
            return Heard::Refused(DropReason::FlowTableFull);
        };
        let (sender, receiver) = connection.halves(from_opener);
        let (pool, released) = (&mut self.pool, &mut self.released);
        let mut hearing = Hearing { pool, released, voice, sender, receiver, demands, from_opener };
        hearing.leap();
        let heard = hearing.segment(inner, segment, Payload { first: segment.payload(), rest }, stamp);
        let (settled, over) = (hearing.is_settled(), hearing.is_over());
        connection.settled |= settled;
        match heard {
            Heard::Objection(_) => empty(&mut self.pool, &mut self.released),
            _ if over => self.forget(connection.voice.take()),
            _ => {}
        }
        heard
    }

    fn admit(&mut self, listener: L) -> Option<VoiceId> {
        let voice = Some(Voice { listener, lanes: [Lane::default(); 2], blocks: 0 });
        if let Some(id) = self.vacant.pop() {
            *self.voices.get_mut(id as usize)? = voice;
            return Some(VoiceId(id));
        }
        if self.voices.len() == self.capacity {
            return None;
        }
        self.voices.push(voice);
        Some(VoiceId(self.voices.len() as u32 - 1))
    }
}

fn empty(pool: &mut Pool, list: &mut List) {
    while let Some(id) = pool.pop(list) {
        pool.free(id);
    }
}
