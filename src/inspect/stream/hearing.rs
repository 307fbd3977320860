//! One segment's bytes against what is kept of its flow, and to the flow's listener.

use super::pool::{BLOCK, List, Pool, same};
use super::{BITE, Heard, KEPT, Lane, Listener, QUARTERS_AHEAD, Voice, WAITING};
use crate::event::DropReason;
use crate::inspect::tcp::{Half, after};
use crate::wire::ip::Inner;
use crate::wire::tcp::TcpView;

/// The payload of a segment, or of a train of them.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) first: &'a [u8],
    pub(super) rest: &'a [&'a [u8]],
}

impl<'a> Payload<'a> {
    /// The bytes from an offset to the end of the piece in which it lies.
    fn from(self, mut offset: usize) -> Option<&'a [u8]> {
        for piece in std::iter::once(&self.first).chain(self.rest) {
            if offset < piece.len() {
                return piece.get(offset..);
            }
            offset -= piece.len();
        }
        None
    }

    /// The bytes from one offset to another, in pieces.
    fn range(self, from: usize, to: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        let pieces = std::iter::once(self.first).chain(self.rest.iter().copied());
        let placed = pieces.scan(0, |at, piece| {
            let begin = *at;
            *at += piece.len();
            Some((begin, piece))
        });
        placed.filter_map(move |(begin, piece)| {
            let cut = |at: usize| at.saturating_sub(begin).min(piece.len());
            piece.get(cut(from)..cut(to)).filter(|cut| !cut.is_empty())
        })
    }
}

/// Where one end's bytes are heard: everything that this touches.
pub(super) struct Hearing<'a, L: Listener> {
    pub(super) pool: &'a mut Pool,
    pub(super) released: &'a mut List,
    pub(super) voice: &'a mut Voice<L>,
    pub(super) sender: &'a mut Half,
    pub(super) receiver: &'a mut Half,
    pub(super) demands: &'a L::Demands,
    pub(super) from_opener: bool,
}

/// Why hearing stopped.
enum Trouble {
    /// There is no room to keep what was heard.
    NoRoom,
    /// It is not legal.
    Objection(DropReason),
}

impl<L: Listener> Hearing<'_, L> {
    fn lane(&mut self) -> &mut Lane {
        &mut self.voice.lanes[usize::from(!self.from_opener)]
    }

    pub(super) fn segment(
        &mut self,
        inner: &Inner<'_>,
        segment: &TcpView<'_>,
        payload: Payload<'_>,
        stamp: Option<u32>,
    ) -> Heard {
        // What could not be heard when its gap was filled, for want of room.
        if self.sender.ahead
            && let Err(trouble) = self.catch_up()
            && let Trouble::Objection(reason) = trouble
        {
            return Heard::Objection(reason);
        }
        let begin = segment.sequence();
        let end = begin.wrapping_add(segment.carried());
        if self.sender.free_for_ever {
            if self.sender.lies_before(begin) && after(self.receiver.acked(), begin) {
                return Heard::Bare;
            }
            // What was heard before may not have arrived: until it is acknowledged, what is sent again decides what is read.
            let differs = self.differs(begin, end, payload);
            return if differs { Heard::Objection(DropReason::OverlapDiffers) } else { Heard::Pass };
        }
        // RFC 7323 §5: a segment with an older timestamp than the last is one that was sent long ago. Refused only where it
        // would be heard, and never a bare acknowledgement.
        if let (Some(stamp), Some(last)) = (stamp, self.sender.stamp)
            && after(last, stamp)
        {
            return Heard::Refused(DropReason::StaleTimestamp);
        }
        if after(self.receiver.acked(), begin) {
            return Heard::Bare;
        }
        if self.differs(begin, end, payload) {
            return Heard::Objection(DropReason::OverlapDiffers);
        }
        if after(begin, self.sender.heard) {
            return self.behind_a_gap(inner, (begin, end), payload);
        }
        if after(end, self.sender.heard) {
            while !self.sender.free_for_ever && after(end, self.sender.heard) {
                let known = self.sender.heard.wrapping_sub(begin) as usize;
                let Some(piece) = payload.from(known) else { break };
                match self.take_in(piece) {
                    Ok(()) => {}
                    Err(Trouble::NoRoom) => return Heard::Refused(DropReason::RetainFull),
                    Err(Trouble::Objection(reason)) => return Heard::Objection(reason),
                }
            }
            self.sender.stamp = stamp.or(self.sender.stamp);
            if self.sender.ahead
                && let Err(Trouble::Objection(reason)) = self.catch_up()
            {
                return Heard::Objection(reason);
            }
        }
        Heard::Pass
    }

    /// Whether a segment has other bytes than what is kept of the same place.
    fn differs(&mut self, begin: u32, end: u32, payload: Payload<'_>) -> bool {
        let lane = *self.lane();
        let again = after(self.sender.heard, begin);
        let kept = if again { lane.kept } else { List::default() };
        self.pool.iter(&kept).chain(self.pool.iter(&lane.ahead)).any(|(_, run)| {
            let from = if after(run.sequence, begin) { run.sequence } else { begin };
            let to = if after(run.end(), end) { end } else { run.end() };
            if !after(to, from) {
                return false;
            }
            let place = |of: u32, at: u32| at.wrapping_sub(of) as usize;
            let headers = usize::from(run.headers);
            let ours = self.pool.range(run, headers + place(run.sequence, from), headers + place(run.sequence, to));
            !same(ours, payload.range(place(begin, from), place(begin, to)))
        })
    }

    /// A segment that begins later than the next byte to be heard.
    fn behind_a_gap(&mut self, inner: &Inner<'_>, (begin, end): (u32, u32), payload: Payload<'_>) -> Heard {
        let lane = *self.lane();
        let settled = self.voice.listener.settled();
        if !settled && !payload.rest.is_empty() {
            return Heard::Split;
        }
        let known = self.pool.iter(&lane.ahead).any(|(_, run)| !after(run.sequence, begin) && !after(end, run.end()));
        if known {
            return if settled { Heard::Pass } else { Heard::Waits };
        }
        let full = if settled { DropReason::RetainFull } else { DropReason::HoldFull };
        let headers = inner.bytes().len() - payload.first.len();
        // A copy of what is to be heard, or the whole packet.
        let stored = if settled { end.wrapping_sub(begin) as usize } else { inner.bytes().len() };
        let blocks = Pool::blocks_of(stored);
        if (!settled && lane.waiting + stored > WAITING)
            || self.voice.blocks + blocks > KEPT / BLOCK
            || self.pool.used() + blocks > self.pool.size() / 4 * QUARTERS_AHEAD
        {
            return Heard::Refused(full);
        }
        let run = if settled {
            self.pool.store(begin, 0, payload.range(0, usize::MAX))
        } else {
            self.pool.store(begin, headers, std::iter::once(inner.bytes()))
        };
        let Some(run) = run else { return Heard::Refused(full) };
        self.voice.blocks += blocks;
        // In front of all of them, and of what was heard of the first.
        let front = self.sender.heard.wrapping_sub(1 << 30);
        let lane = &mut self.voice.lanes[usize::from(!self.from_opener)];
        self.pool.insert(&mut lane.ahead, run, |run| run.sequence.wrapping_sub(front));
        self.sender.ahead = true;
        if settled {
            return Heard::Pass;
        }
        lane.waiting += stored;
        Heard::Waits
    }

    /// Hears bytes of which the first is the next to be heard.
    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() && !self.sender.free_for_ever {
            let (bite, rest) = bytes.split_at(bytes.len().min(BITE));
            self.keep(bite)?;
            self.voice.listener.hear(self.demands, self.from_opener, bite).map_err(Trouble::Objection)?;
            self.sender.hears(bite.len() as u32);
            let before = self.sender.heard;
            self.leap();
            // What need not be heard is passed over, here as well.
            bytes = rest.get(self.sender.heard.wrapping_sub(before) as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// Passes over what need not be heard of either end. The listener knows that it comes, and not yet what it is.
    pub(super) fn leap(&mut self) {
        for (half, opener) in [(&mut *self.sender, self.from_opener), (&mut *self.receiver, !self.from_opener)] {
            let leap = if half.free_for_ever { 0 } else { half.leap(self.voice.listener.unheard(opener)) };
            if leap > 0 {
                self.voice.listener.skip(opener, leap);
            }
        }
    }

    /// Keeps what is about to be heard, as far as it is not acknowledged yet.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let mut at = self.sender.heard;
        let acked = self.receiver.acked();
        let known = if after(acked, at) { bytes.len().min(acked.wrapping_sub(at) as usize) } else { 0 };
        let bytes = &bytes[known..];
        if bytes.is_empty() {
            return Ok(());
        }
        at = at.wrapping_add(known as u32);
        let lane = &mut self.voice.lanes[usize::from(!self.from_opener)];
        let last = lane.kept.last();
        let continues = last.filter(|id| self.pool.run(*id).is_some_and(|run| run.end() == at));
        let before = self.pool.used();
        if self.voice.blocks + Pool::blocks_of(bytes.len()) > KEPT / BLOCK {
            return Err(Trouble::NoRoom);
        }
        if let Some(id) = continues {
            if !self.pool.append(id, bytes) {
                return Err(Trouble::NoRoom);
            }
        } else {
            let id = self.pool.store(at, 0, std::iter::once(bytes)).ok_or(Trouble::NoRoom)?;
            self.pool.push(&mut lane.kept, id);
        }
        self.voice.blocks += self.pool.used() - before;
        self.sender.keeps = true;
        Ok(())
    }

    /// Hears what lies behind a gap that is filled; packets that have waited leave.
    fn catch_up(&mut self) -> Result<(), Trouble> {
        loop {
            let ahead = self.lane().ahead;
            let Some(id) = ahead.first() else { break };
            let Some(run) = self.pool.run(id).copied() else { break };
            if !self.sender.free_for_ever && after(run.sequence, self.sender.heard) {
                break;
            }
            let headers = usize::from(run.headers);
            while !self.sender.free_for_ever && after(run.end(), self.sender.heard) {
                let from = headers + self.sender.heard.wrapping_sub(run.sequence) as usize;
                let mut piece = [0; BLOCK];
                let Some(bytes) = self.pool.range(&run, from, run.stored()).next() else { break };
                let len = bytes.len();
                piece[..len].copy_from_slice(bytes);
                self.take_in(&piece[..len])?;
            }
            self.voice.blocks -= run.blocks as usize;
            let lane = &mut self.voice.lanes[usize::from(!self.from_opener)];
            self.pool.pop(&mut lane.ahead);
            if headers > 0 {
                lane.waiting -= run.stored();
                self.pool.push(self.released, id);
            } else {
                self.pool.free(id);
            }
        }
        self.sender.ahead = !self.lane().ahead.is_empty();
        Ok(())
    }

    /// Whether the service is known.
    pub(super) fn is_settled(&self) -> bool {
        self.voice.listener.settled()
    }

    /// Whether nothing is left to be heard of either end, nor to be compared with what was.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_done() && self.receiver.is_done()
    }
}
