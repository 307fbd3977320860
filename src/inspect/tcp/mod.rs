//! The states of a TCP connection as a gateway between its ends sees them (RFC 9293 §3.3.2).
//!
//! Held against them: which flags may come when and from which side, that nothing is sent past a window or so long ago
//! that nobody could have asked for it again, that nothing is acknowledged which was not sent, that nothing is sent behind
//! a FIN, and that a RST is one that its receiver would believe. What is said in the connection is heard in `stream`.
//! Left out: simultaneous open (only one side may open), and connections whose SYN nobody saw.

mod half;

use std::time::Duration;

pub(super) use half::{Facts, Half, after};

use crate::event::DropReason;
use crate::wire::tcp::{ACK, FIN, RST, SYN, TcpView, URG};
use crate::wire::tcp_options::{self, SynOptions};

/// Flags that say nothing about the state of a connection are left out.
const MEANINGFUL: u8 = SYN | ACK | RST | FIN | URG;

/// Whether a segment with these flags can be legal in any state. Urgent data is not carried: where it stands in the
/// stream is a matter of opinion (RFC 6093 §3).
pub(super) fn flags_are_legal(flags: u8) -> Result<(), DropReason> {
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    match flags & MEANINGFUL {
        SYN | SYN_ACK | RST | RST_ACK | FIN_ACK | ACK => Ok(()),
        flags if matches!(flags & !URG, SYN | ACK | FIN_ACK) => Err(DropReason::UrgentData),
        _ => Err(DropReason::BadTcpFlags),
    }
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
    /// We have ended it: what either side still sends is answered with a RST.
    Ended,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    phase: Phase,
    pub(super) opener: Half,
    pub(super) responder: Half,
    /// The sequence number of the opener's SYN, and of the responder's.
    initial: [u32; 2],
    /// What a responder acknowledged that remembers an older connection between these ports (RFC 9293 §3.10.7.4).
    challenge: Option<u32>,
    /// The opener offers these.
    offers: SynOptions,
    /// Both send timestamps.
    pub(super) stamped: bool,
    /// The opener, or the responder, has sent a RST that its receiver may have believed.
    wounded: Option<bool>,
    /// What is said in it is known to be what it should be.
    pub(super) settled: bool,
    /// Where what is said in it is heard (`stream`), once something was said.
    pub(super) voice: Option<super::stream::VoiceId>,
}

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is legal, and the connection goes on from here.
    Pass,
    /// It is legal if what it carries is; then it is to be committed.
    Speaks,
    /// It is legal and changes nothing, so it keeps nothing alive either.
    Aside,
    /// It opens a new connection in the place of this one.
    Reopen,
}

impl Connection {
    /// The connection that a SYN asks for. `heard`: its bytes are to be heard.
    pub(super) fn open(syn: &TcpView<'_>, heard: bool) -> Result<Self, DropReason> {
        if syn.carried() > 0 {
            // RFC 7413, which is not carried.
            return Err(DropReason::DataInSyn);
        }
        let offers = tcp_options::of_syn(syn.options()).ok_or(DropReason::BadTcpOptions)?;
        let initial = syn.sequence();
        Ok(Self {
            phase: Phase::SynSent,
            opener: Half::opened(initial, syn.window(), heard),
            responder: Half::silent(initial),
            initial: [initial, 0],
            challenge: None,
            offers,
            stamped: false,
            wounded: None,
            settled: false,
            voice: None,
        })
    }

    /// Its state in a word for people.
    pub(super) const fn as_str(&self) -> &'static str {
        match self.phase {
            Phase::SynSent | Phase::SynReceived => "opening",
            Phase::Established => "open",
            Phase::FinWait | Phase::CloseWait | Phase::LastAck => "closing",
            Phase::TimeWait | Phase::Closed => "closed",
            Phase::Ended => "ended",
        }
    }

    /// How long the connection may be silent.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(match self.phase {
            Phase::SynSent | Phase::FinWait | Phase::TimeWait => 120,
            Phase::SynReceived | Phase::CloseWait => 60,
            // An end that has gone is not heard of again, one that has not speaks soon.
            Phase::Established if self.wounded.is_some() => 60,
            // Unacknowledged data is sent again before long, or never.
            Phase::Established if self.is_waited_for() => 300,
            // RFC 5382 §5, REQ-5: 2 hours and 4 minutes at least.
            Phase::Established => 7440,
            Phase::LastAck => 30,
            Phase::Closed | Phase::Ended => 10,
        })
    }

    /// Whether one end waits for an acknowledgement.
    fn is_waited_for(&self) -> bool {
        after(self.opener.end, self.responder.acked) || after(self.responder.end, self.opener.acked)
    }

    /// Whether both ends believe that it is open, so that its end is news to them.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::TimeWait | Phase::Closed | Phase::Ended)
    }

    /// Whether both have acknowledged the other's SYN, and not both the other's FIN.
    pub(super) fn is_synchronised(&self) -> bool {
        matches!(self.phase, Phase::Established | Phase::FinWait | Phase::CloseWait | Phase::LastAck)
    }

    /// Whether we have ended it.
    pub(super) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// Holds a segment with legal flags against the connection.
    pub(super) fn advance(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Result<Step, DropReason> {
        match segment.flags() & (SYN | ACK | RST) {
            flags if flags & RST != 0 => self.reset(from_opener, segment),
            SYN => self.syn(from_opener, segment),
            flags if flags & SYN != 0 => self.syn_ack(from_opener, segment),
            _ => self.ack(from_opener, segment),
        }
    }

    fn syn(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Result<Step, DropReason> {
        if !from_opener {
            return Err(DropReason::WrongDirection);
        }
        if segment.carried() > 0 {
            return Err(DropReason::DataInSyn);
        }
        let again = segment.sequence() == self.initial[0];
        Ok(match self.phase {
            Phase::SynSent | Phase::SynReceived if again => Step::Pass,
            Phase::SynSent | Phase::TimeWait | Phase::Closed | Phase::Ended => Step::Reopen,
            _ if self.wounded.is_some() => Step::Reopen,
            // The opener may have forgotten a connection that the responder remembers. RFC 9293 §3.10.7.4: the
            // responder then sends a challenge ACK, and the opener's RST to that ends the old connection.
            _ => Step::Aside,
        })
    }

    fn syn_ack(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Result<Step, DropReason> {
        let ours = segment.acknowledgement() == self.initial[0].wrapping_add(1);
        if segment.carried() > 0 {
            return Err(DropReason::DataInSyn);
        }
        if from_opener || !ours {
            return Err(DropReason::OutOfState);
        }
        let initial = segment.sequence();
        match self.phase {
            Phase::SynSent | Phase::SynReceived => {
                let offers = tcp_options::of_syn(segment.options()).ok_or(DropReason::BadTcpOptions)?;
                self.phase = Phase::SynReceived;
                self.initial[1] = initial;
                self.responder = Half::opened(initial, segment.window(), !self.opener.free_for_ever);
                self.responder.acked = segment.acknowledgement();
                self.opener.acked = initial;
                self.opener.reach = segment.acknowledgement().wrapping_add(self.responder.window);
                self.opener.agree(self.offers, offers);
                self.responder.agree(offers, self.offers);
                self.stamped = self.offers.timestamps && offers.timestamps;
                Ok(Step::Pass)
            }
            Phase::Closed | Phase::Ended => Err(DropReason::OutOfState),
            // The opener's acknowledgement was lost, so the responder says it again.
            _ if initial == self.initial[1] => Ok(Step::Aside),
            _ => Err(DropReason::OutOfState),
        }
    }

    fn ack(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Result<Step, DropReason> {
        let facts = Facts::of(segment);
        let bare = segment.sequence_len() == 0;
        match self.phase {
            Phase::SynSent if !from_opener && bare => {
                self.challenge = Some(segment.acknowledgement());
                return Ok(Step::Aside);
            }
            Phase::Ended => return Err(DropReason::FlowEnded),
            Phase::SynSent | Phase::Closed => return Err(DropReason::OutOfState),
            // The responder may not speak before the opener has acknowledged its SYN.
            Phase::SynReceived if !from_opener => {
                return if bare { Ok(Step::Aside) } else { Err(DropReason::OutOfState) };
            }
            Phase::SynReceived if segment.acknowledgement() != self.responder.end => {
                return Err(DropReason::OutOfState);
            }
            _ => {}
        }
        let (sender, receiver) =
            if from_opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) };
        // RFC 9293 §3.10.7.4: what acknowledges something not yet sent is dropped (rule III).
        if after(segment.acknowledgement(), receiver.end) || !sender.agrees_on_its_end(segment.sequence(), &facts) {
            return Err(DropReason::OutOfState);
        }
        if !sender.may_send(receiver, segment.sequence(), facts.end)
            || !sender.may_acknowledge(receiver, segment.acknowledgement())
        {
            return Err(DropReason::OutOfWindow);
        }
        if segment.carried() > 0 {
            return Ok(Step::Speaks);
        }
        self.commit(from_opener, &facts);
        Ok(Step::Pass)
    }

    /// Takes what a segment says that passes.
    pub(super) fn commit(&mut self, from_opener: bool, facts: &Facts) {
        let (sender, receiver) = self.halves(from_opener);
        sender.sent(receiver, facts);
        // Who goes on speaking has not sent it: a RST that somebody else made up.
        self.wounded = self.wounded.filter(|by_opener| *by_opener != from_opener);
        self.phase = self.phase_of_fins();
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

    fn reset(&mut self, from_opener: bool, segment: &TcpView<'_>) -> Result<Step, DropReason> {
        let sequence = segment.sequence();
        let exact = match self.phase {
            // It is believed by nobody any more, and harms nobody.
            Phase::Closed | Phase::Ended => return Ok(Step::Aside),
            Phase::SynSent if from_opener => {
                if self.challenge == Some(sequence) {
                    // It ends an older connection; the SYN will be sent again.
                    return Ok(Step::Aside);
                }
                sequence == self.opener.end
            }
            // RFC 9293 §3.10.7.3: in SYN-SENT a reset is acceptable if its ACK acknowledges the SYN.
            Phase::SynSent => segment.flags() & ACK != 0 && segment.acknowledgement() == self.opener.end,
            _ if !self.in_flight(from_opener, sequence) => false,
            _ => {
                let (sender, receiver) = self.halves(from_opener);
                // RFC 5961 §3.2: only the very next sequence number ends a connection at once; what else lies in the
                // window is asked about with a challenge ACK. Which one is next its receiver alone knows, if there are
                // bytes on their way: so the connection stays, but not for long.
                if sequence != receiver.acked || sender.end != receiver.acked {
                    self.wounded = Some(from_opener);
                    return Ok(Step::Pass);
                }
                true
            }
        };
        if !exact {
            return Err(DropReason::ResetNotBelieved);
        }
        self.phase = Phase::Closed;
        Ok(Step::Pass)
    }

    /// Whether a sequence number lies between what the other side has acknowledged and what this side has sent: there
    /// stand the resets that a receiver may believe (RFC 5961 §3.2), and the segments that an ICMP error can be about
    /// (RFC 5927 §4.1).
    pub(super) fn in_flight(&self, from_opener: bool, sequence: u32) -> bool {
        let (sender, receiver) =
            if from_opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) };
        let known = from_opener || self.phase != Phase::SynSent;
        // Counted from what was acknowledged, so that nothing far away seems to lie on both sides.
        known && sequence.wrapping_sub(receiver.acked) <= sender.end.wrapping_sub(receiver.acked)
    }

    /// The sequence number of a RST that seems to come from one end, and what it acknowledges: the next of all that
    /// was let through.
    pub(super) fn reset_from(&self, opener: bool) -> (u32, u32) {
        let (sender, receiver) = if opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) };
        (sender.end, receiver.end)
    }

    /// The sender's half and the receiver's.
    pub(super) fn halves(&mut self, from_opener: bool) -> (&mut Half, &mut Half) {
        if from_opener { (&mut self.opener, &mut self.responder) } else { (&mut self.responder, &mut self.opener) }
    }
}
