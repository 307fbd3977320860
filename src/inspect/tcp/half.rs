//! What is known of one end of a connection: how far it has sent, acknowledged and may send (the rules of van Rooij's
//! "Real Stateful TCP Packet Filtering", as Linux keeps them), and how far its bytes have been heard.

use crate::wire::tcp::TcpView;
use crate::wire::tcp_options::SynOptions;

/// An acknowledgement may be this old even if no window has ever been so large: what is acknowledged late was sent in
/// good faith (Linux: `MAXACKWINCONST`).
const OLD_ACKNOWLEDGEMENT: u32 = 66_000;

/// So much of what an end says is passed over at a time: a quarter of the sequence space, so that what lies before it and
/// behind it can be told apart.
const LEAP: u64 = 1 << 30;

/// Whether `a` lies behind `b` in the sequence space (RFC 9293 §3.4).
pub(in crate::inspect) fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// What of a segment counts for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inspect) struct Facts {
    /// Behind all that it takes of the sequence space.
    pub(in crate::inspect) end: u32,
    pub(in crate::inspect) acknowledgement: u32,
    /// As it stands in the header.
    pub(in crate::inspect) window: u16,
    pub(in crate::inspect) fin: bool,
}

impl Facts {
    pub(in crate::inspect) fn of(segment: &TcpView<'_>) -> Self {
        Self {
            end: segment.sequence().wrapping_add(segment.sequence_len()),
            acknowledgement: segment.acknowledgement(),
            window: segment.window(),
            fin: segment.flags() & crate::wire::tcp::FIN != 0,
        }
    }
}

/// One end.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::inspect) struct Half {
    /// Behind the highest sequence number that it sent.
    pub(super) end: u32,
    /// The highest acknowledgement that it sent.
    pub(super) acked: u32,
    /// As far as the other end has ever allowed it to send.
    pub(super) reach: u32,
    /// The largest window that it has offered.
    pub(super) window: u32,
    /// Behind its FIN.
    pub(super) fin: Option<u32>,
    /// The next byte to be heard. Not kept up once nothing more is to be heard.
    pub(in crate::inspect) heard: u32,
    /// From here to `heard` nothing need be heard: whatever comes there, in whatever order, is legal.
    pub(in crate::inspect) free: u32,
    /// Nothing more of it need be heard.
    pub(in crate::inspect) free_for_ever: bool,
    /// Nothing from `free` on, that is: what lies before it was heard, and may still come again.
    pub(in crate::inspect) was_heard: bool,
    /// The latest timestamp of what was heard.
    pub(in crate::inspect) stamp: Option<u32>,
    /// Its windows are shifted by so many bits.
    pub(super) scale: u8,
    /// Whether bytes of it are kept, until they are acknowledged.
    pub(in crate::inspect) keeps: bool,
    /// Whether something lies behind a gap.
    pub(in crate::inspect) ahead: bool,
}

impl Half {
    /// The end that has sent a SYN at `initial` and offered `window`.
    pub(super) fn opened(initial: u32, window: u16, heard: bool) -> Self {
        let end = initial.wrapping_add(1);
        // RFC 7323 §2.2: the window field of a SYN is never scaled.
        let window = u32::from(window).max(1);
        Self { end, reach: end, window, heard: end, free: end, free_for_ever: !heard, ..Self::default() }
    }

    /// The end that has not spoken yet.
    pub(super) fn silent(acked: u32) -> Self {
        Self { acked, ..Self::default() }
    }

    /// RFC 7323 §2.2: "both sides must send Window Scale options in their SYN segments to enable window scaling in
    /// either direction."
    pub(super) fn agree(&mut self, own: SynOptions, other: SynOptions) {
        self.scale = own.scale.filter(|_| other.scale.is_some()).unwrap_or(0);
    }

    /// The highest acknowledgement that it sent.
    pub(in crate::inspect) fn acked(&self) -> u32 {
        self.acked
    }

    /// Whether a segment of ours lies where `other` can use it: not further than its window, and not before all that it
    /// could still ask for (rules I and II).
    pub(super) fn may_send(&self, other: &Self, sequence: u32, end: u32) -> bool {
        !after(sequence, self.reach) && !after(self.end.wrapping_sub(other.window), end)
    }

    /// Whether an acknowledgement of ours is about what `other` has sent and may still wait to have acknowledged (rule
    /// IV; rule III is RFC 9293 §3.10.7.4: what acknowledges something not yet sent is dropped).
    pub(super) fn may_acknowledge(&self, other: &Self, acknowledgement: u32) -> bool {
        let oldest = other.end.wrapping_sub(self.window.max(OLD_ACKNOWLEDGEMENT));
        !after(oldest, acknowledgement)
    }

    /// Whether a segment of ours fits the FIN that we have sent: nothing stands in its place or behind it, and it is where it
    /// was. Or whether a first FIN stands behind all that we have sent.
    pub(super) fn agrees_on_its_end(&self, sequence: u32, facts: &Facts) -> bool {
        match (self.fin, facts.fin) {
            (None, false) => true,
            (None, true) => !after(self.end, facts.end),
            (Some(fin), true) => facts.end == fin,
            // An empty segment behind it is an acknowledgement.
            (Some(fin), false) => facts.end == sequence && !after(sequence, fin) || after(fin, facts.end),
        }
    }

    /// Takes what a segment of ours says.
    pub(super) fn sent(&mut self, other: &mut Self, facts: &Facts) {
        if after(facts.end, self.end) {
            self.end = facts.end;
            // No window is so large: it cannot come again.
            self.was_heard &= !(after(self.end, self.free) && self.end.wrapping_sub(self.free) > LEAP as u32);
        }
        if after(facts.acknowledgement, self.acked) {
            self.acked = facts.acknowledgement;
        }
        if facts.fin {
            self.fin = Some(facts.end);
        }
        let window = u32::from(facts.window) << self.scale;
        self.window = self.window.max(window);
        // A closed window is probed with one byte (RFC 9293 §3.8.6.1).
        let reach = facts.acknowledgement.wrapping_add(window.max(1));
        if after(reach, other.reach) {
            other.reach = reach;
        }
    }

    /// Whether nothing of it need be heard any more, nothing waits, and what was heard can be changed no more.
    pub(in crate::inspect) fn is_done(&self) -> bool {
        self.free_for_ever && !self.ahead && !self.keeps
    }

    /// The common case: bytes of which none need be heard, nor compared with what was.
    #[inline]
    pub(in crate::inspect) fn passes_unheard(&self, sequence: u32, len: u32) -> bool {
        if self.free_for_ever {
            return self.is_done() && !self.lies_before(sequence);
        }
        !self.ahead && !after(self.free, sequence) && !after(sequence.wrapping_add(len), self.heard)
    }

    /// Whether this is the place of something that was heard, although nothing more need be.
    pub(in crate::inspect) fn lies_before(&self, sequence: u32) -> bool {
        self.was_heard && after(self.free, sequence)
    }

    /// So much of what comes next need not be heard, as the listener tells; how much of that is passed over at once.
    pub(in crate::inspect) fn leap(&mut self, unheard: u64) -> u64 {
        if unheard == u64::MAX {
            self.free_for_ever = true;
            self.was_heard = true;
            return 0;
        }
        let leap = unheard.min(LEAP);
        if leap > 0 {
            self.heard = self.heard.wrapping_add(leap as u32);
            // What lay before it is far behind, or part of it.
            if self.heard.wrapping_sub(self.free) > LEAP as u32 {
                self.free = self.heard.wrapping_sub(leap as u32);
            }
        }
        leap
    }

    /// So many bytes were heard.
    pub(in crate::inspect) fn hears(&mut self, len: u32) {
        self.heard = self.heard.wrapping_add(len);
        self.free = self.heard;
    }
}
