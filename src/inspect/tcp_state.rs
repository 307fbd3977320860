//! The states of a TCP connection as a gateway between its ends sees them (RFC 9293 §3.3.2).
//!
//! Held against them: which flags may come when and from which side, that nothing is acknowledged which was not sent,
//! that nothing is sent behind a FIN, and that a RST is one that its receiver would believe. Windows are not tracked:
//! how far ahead of the acknowledged a sender may be is left to the ends.

use std::time::Duration;

use crate::wire::tcp::{ACK, FIN, RST, SYN, TcpView, URG};

/// Flags that say nothing about the state of a connection are left out.
const MEANINGFUL: u8 = SYN | ACK | RST | FIN | URG;

/// Whether a segment with these flags can be legal in any state. Urgent data is not carried (RFC 6093 §5 advises
/// against it).
pub(super) fn flags_are_legal(flags: u8) -> bool {
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    matches!(flags & MEANINGFUL, SYN | SYN_ACK | RST | RST_ACK | FIN_ACK | ACK)
}

/// Whether a segment with these flags asks for a connection.
pub(super) fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The opener has sent SYN.
    SynSent,
    /// The responder has answered SYN and ACK.
    SynReceived,
    /// Both have acknowledged the other's SYN.
    Established,
    /// One has sent FIN.
    FinWait,
    /// One has sent FIN, and the other has acknowledged it.
    CloseWait,
    /// Both have sent FIN.
    LastAck,
    /// Both have acknowledged the other's FIN.
    TimeWait,
    /// One has sent RST.
    Closed,
}

/// What one side has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    /// Behind the highest sequence number that it sent.
    next: u32,
    /// The highest acknowledgement that it sent.
    acked: u32,
    /// Behind its FIN.
    fin: Option<u32>,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    phase: Phase,
    opener: Half,
    responder: Half,
    /// The sequence number of the opener's SYN, and of the responder's.
    initial: [u32; 2],
    /// What a responder acknowledged that remembers an older connection between these ports (RFC 9293 §3.10.7.4).
    challenge: Option<u32>,
}

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is legal, and the connection goes on from here.
    Pass,
    /// It is legal and changes nothing, so it keeps nothing alive either.
    Aside,
    /// It opens a new connection in the place of this one.
    Reopen,
    /// The wrong side wants to open.
    WrongDirection,
    /// It is not legal here.
    OutOfState,
}

/// Whether `a` lies behind `b` in the sequence space (RFC 9293 §3.4).
fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl Connection {
    /// The connection that a SYN asks for. `None` if the SYN carries data (RFC 7413, which is not carried).
    pub(super) fn open(syn: &TcpView<'_>) -> Option<Self> {
        let initial = syn.sequence();
        syn.payload().is_empty().then_some(Self {
            phase: Phase::SynSent,
            opener: Half { next: initial.wrapping_add(1), ..Half::default() },
            responder: Half { acked: initial, ..Half::default() },
            initial: [initial, 0],
            challenge: None,
        })
    }

    /// How long the connection may be silent.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(match self.phase {
            Phase::SynSent | Phase::FinWait | Phase::TimeWait => 120,
            Phase::SynReceived | Phase::CloseWait => 60,
            // RFC 5382 §5, REQ-5: 2 hours and 4 minutes at least.
            Phase::Established => 7440,
            Phase::LastAck => 30,
            Phase::Closed => 10,
        })
    }

    /// Holds a segment with legal flags against the connection.
    pub(super) fn advance(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Step {
        match segment.flags() & (SYN | ACK | RST) {
            flags if flags & RST != 0 => self.reset(from_opener, segment),
            SYN => self.syn(from_opener, segment),
            flags if flags & SYN != 0 => self.syn_ack(from_opener, segment),
            _ => self.ack(from_opener, segment),
        }
    }

    fn syn(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Step {
        if !from_opener {
            return Step::WrongDirection;
        }
        if !segment.payload().is_empty() {
            return Step::OutOfState;
        }
        let again = segment.sequence() == self.initial[0];
        match self.phase {
            Phase::SynSent | Phase::SynReceived if again => Step::Pass,
            Phase::SynSent | Phase::TimeWait | Phase::Closed => Step::Reopen,
            // The opener may have forgotten a connection that the responder remembers. RFC 9293 §3.10.7.4: the
            // responder then sends a challenge ACK, and the opener's RST to that ends the old connection.
            _ => Step::Aside,
        }
    }

    fn syn_ack(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Step {
        let ours = segment.acknowledgement() == self.initial[0].wrapping_add(1);
        if from_opener || !ours || !segment.payload().is_empty() {
            return Step::OutOfState;
        }
        let initial = segment.sequence();
        match self.phase {
            Phase::SynSent | Phase::SynReceived => {
                self.phase = Phase::SynReceived;
                self.initial[1] = initial;
                self.responder = Half { next: initial.wrapping_add(1), acked: segment.acknowledgement(), fin: None };
                self.opener.acked = initial;
                Step::Pass
            }
            // The opener's acknowledgement was lost, so the responder says it again.
            _ if initial == self.initial[1] && self.phase != Phase::Closed => Step::Aside,
            _ => Step::OutOfState,
        }
    }

    fn ack(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Step {
        let bare = segment.sequence_len() == 0;
        match self.phase {
            Phase::SynSent if !from_opener && bare => {
                self.challenge = Some(segment.acknowledgement());
                return Step::Aside;
            }
            Phase::SynSent | Phase::Closed => return Step::OutOfState,
            // The responder may not speak before the opener has acknowledged its SYN.
            Phase::SynReceived if !from_opener => return if bare { Step::Aside } else { Step::OutOfState },
            Phase::SynReceived if segment.acknowledgement() != self.responder.next => return Step::OutOfState,
            _ => {}
        }
        let (sender, receiver) = self.halves(from_opener);
        let end = segment.sequence().wrapping_add(segment.sequence_len());
        // RFC 9293 §3.10.7.4: what acknowledges something not yet sent is dropped.
        if after(segment.acknowledgement(), receiver.next) || sender.fin.is_some_and(|fin| after(end, fin)) {
            return Step::OutOfState;
        }
        if after(end, sender.next) {
            sender.next = end;
        }
        if after(segment.acknowledgement(), sender.acked) {
            sender.acked = segment.acknowledgement();
        }
        if segment.flags() & FIN != 0 {
            sender.fin = Some(end);
        }
        self.phase = self.phase_of_fins();
        Step::Pass
    }

    /// The phase of a synchronised connection.
    fn phase_of_fins(&self) -> Phase {
        let acked = |half: &Half, other: &Half| half.fin.is_some_and(|fin| !after(fin, other.acked));
        let acked = [acked(&self.opener, &self.responder), acked(&self.responder, &self.opener)];
        match (self.opener.fin, self.responder.fin) {
            (None, None) => Phase::Established,
            (Some(_), Some(_)) if acked == [true, true] => Phase::TimeWait,
            (Some(_), Some(_)) => Phase::LastAck,
            _ if acked.contains(&true) => Phase::CloseWait,
            _ => Phase::FinWait,
        }
    }

    fn reset(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Step {
        let sequence = segment.sequence();
        let plausible = match self.phase {
            // It is believed by nobody any more, and harms nobody.
            Phase::Closed => return Step::Aside,
            Phase::SynSent if from_opener => {
                if self.challenge == Some(sequence) {
                    // It ends an older connection; the SYN will be sent again.
                    return Step::Aside;
                }
                sequence == self.opener.next
            }
            // RFC 9293 §3.10.7.3: in SYN-SENT a reset is acceptable if its ACK acknowledges the SYN.
            Phase::SynSent => segment.flags() & ACK != 0 && segment.acknowledgement() == self.opener.next,
            _ => self.in_flight(from_opener, sequence),
        };
        if plausible {
            self.phase = Phase::Closed;
            Step::Pass
        } else {
            Step::OutOfState
        }
    }

    /// Whether a sequence number lies between what the other side has acknowledged and what this side has sent: there
    /// stand the resets that a receiver believes (RFC 5961 §3.2), and the segments that an ICMP error can be about
    /// (RFC 5927 §4.1).
    pub(super) fn in_flight(&self, from_opener: bool, sequence: u32) -> bool {
        let (sender, receiver) =
            if from_opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) };
        let known = from_opener || self.phase != Phase::SynSent;
        known && !after(receiver.acked, sequence) && !after(sequence, sender.next)
    }

    /// The sender's half and the receiver's.
    fn halves(&mut self, from_opener: bool) -> (&mut Half, &mut Half) {
        if from_opener { (&mut self.opener, &mut self.responder) } else { (&mut self.responder, &mut self.opener) }
    }
}
