//! A TCP connection as somebody between its ends sees it, too simple to be wrong: the list of all that has passed, from
//! which everything is reckoned anew each time, with numbers that count from the SYNs and never wrap.

use std::time::Duration;

use portcullis::event::DropReason;
use portcullis::wire::tcp::{ACK, FIN, RST, SYN, URG};

/// What a segment says.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from_opener: bool,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    /// Bytes of payload.
    pub len: u32,
    /// The shift of its windows, if it offers one; `Err` if its options are broken.
    pub scale: Result<Option<u8>, ()>,
}

impl Segment {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What of a segment counts, once it has passed.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub from_opener: bool,
    pub at: i64,
    /// Bytes of payload.
    pub len: usize,
    pub end: i64,
    pub acknowledged: i64,
    window: u16,
    fin: bool,
}

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
enum Happened {
    Said(Said),
    /// A bare acknowledgement of an older connection, in the place of an answer.
    Challenged(i64),
    /// A RST; whether its receiver is known to believe it.
    Reset {
        from_opener: bool,
        believed: bool,
    },
}

/// A SYN.
#[derive(Clone, Copy, Debug)]
struct Hello {
    sequence: u32,
    window: i64,
    scale: Option<u8>,
}

impl Hello {
    fn of(segment: &Segment) -> Option<Self> {
        let window = i64::from(segment.window).max(1);
        Some(Self { sequence: segment.sequence, window, scale: segment.scale.ok()? })
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    asked: Hello,
    answered: Option<Hello>,
    happened: Vec<Happened>,
    /// We have ended it.
    ended: bool,
}

/// What is known of one end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Behind the last that it has sent.
    pub sent: i64,
    /// The most that it has acknowledged.
    pub acknowledged: i64,
    /// The largest window that it has offered.
    window: i64,
    /// As far as the other end lets it send.
    pub allowed: i64,
    /// Behind its FIN.
    fin: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Answered,
    Open,
    /// One has said that it is done; the other has acknowledged it, or not yet.
    OneDone(bool),
    /// Both have; both have acknowledged it, or not yet.
    BothDone(bool),
    Reset,
    Ended,
}

/// What a segment is.
#[derive(Clone, Copy, Debug)]
pub enum Judged {
    /// Legal, and now it has happened.
    Passes,
    /// Legal, and it changes nothing.
    Aside,
    /// Legal if what it carries is.
    Speaks(Said),
    /// The first of a new connection.
    Anew,
    Refused(DropReason),
}

/// Why these flags are never legal, if they are not.
pub fn illegal(flags: u8) -> Option<DropReason> {
    let kind = flags & (SYN | ACK | RST | FIN);
    let legal = [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK].contains(&kind);
    let urgent = flags & URG != 0;
    match (legal, urgent) {
        (true, false) => None,
        (true, true) if [SYN, ACK, FIN | ACK].contains(&kind) => Some(DropReason::UrgentData),
        _ => Some(DropReason::BadTcpFlags),
    }
}

/// The number that the wire shows as `wire` and that lies nearest to `near`.
fn nearest(wire: u32, zero: u32, near: i64) -> i64 {
    let shown = zero.wrapping_add(near.cast_unsigned() as u32);
    near + i64::from(wire.wrapping_sub(shown).cast_signed())
}

impl Connection {
    /// The one that a SYN asks for.
    pub fn asked(syn: &Segment) -> Result<Self, DropReason> {
        if syn.len > 0 {
            return Err(DropReason::DataInSyn);
        }
        let asked = Hello::of(syn).ok_or(DropReason::BadTcpOptions)?;
        Ok(Self { asked, answered: None, happened: Vec::new(), ended: false })
    }

    fn hello(&self, opener: bool) -> Option<Hello> {
        if opener { Some(self.asked) } else { self.answered }
    }

    /// The number on the wire for one of the opener's, or the responder's.
    pub fn wire(&self, opener: bool, number: i64) -> u32 {
        self.hello(opener).map_or(0, |hello| hello.sequence).wrapping_add(number.cast_unsigned() as u32)
    }

    fn read(&self, opener: bool, wire: u32) -> i64 {
        nearest(wire, self.hello(opener).map_or(0, |hello| hello.sequence), self.end(opener).sent)
    }

    fn said(&self, opener: bool) -> impl Iterator<Item = Said> {
        self.happened.iter().filter_map(move |happened| match happened {
            Happened::Said(said) if said.from_opener == opener => Some(*said),
            _ => None,
        })
    }

    /// The window that an end offers with `field`: shifted if both have said that theirs are.
    fn offered(&self, opener: bool, field: u16) -> i64 {
        let [own, other] = [opener, !opener].map(|opener| self.hello(opener).and_then(|hello| hello.scale));
        i64::from(field) << own.filter(|_| other.is_some()).unwrap_or(0)
    }

    /// What is known of an end: the most of all that it said.
    pub fn end(&self, opener: bool) -> End {
        let (Some(hello), Some(_)) = (self.hello(opener), self.answered) else {
            let sent = i64::from(opener);
            return End { sent, acknowledged: 0, window: self.asked.window, allowed: sent, fin: None };
        };
        let mut end = End {
            sent: 1,
            // The responder has acknowledged the SYN with its own.
            acknowledged: i64::from(!opener),
            window: hello.window,
            allowed: 1 + if opener { self.answered.map_or(0, |hello| hello.window) } else { 0 },
            fin: None,
        };
        for said in self.said(opener) {
            end.sent = end.sent.max(said.end);
            end.acknowledged = end.acknowledged.max(said.acknowledged);
            end.window = end.window.max(self.offered(opener, said.window));
            end.fin = if said.fin { Some(said.end) } else { end.fin };
        }
        for said in self.said(!opener) {
            // A closed window is probed with one byte.
            end.allowed = end.allowed.max(said.acknowledged + self.offered(!opener, said.window).max(1));
        }
        end
    }

    fn phase(&self) -> Phase {
        let reset = self.happened.iter().any(|happened| matches!(happened, Happened::Reset { believed: true, .. }));
        if self.ended || reset {
            return if self.ended { Phase::Ended } else { Phase::Reset };
        }
        if self.answered.is_none() {
            return Phase::Asked;
        }
        if self.said(true).next().is_none() {
            return Phase::Answered;
        }
        let [opener, responder] = [true, false].map(|opener| self.end(opener));
        let acknowledged = |one: End, other: End| one.fin.map(|fin| other.acknowledged >= fin);
        match (acknowledged(opener, responder), acknowledged(responder, opener)) {
            (None, None) => Phase::Open,
            (Some(one), Some(other)) => Phase::BothDone(one && other),
            (Some(known), None) | (None, Some(known)) => Phase::OneDone(known),
        }
    }

    /// Who has sent a RST that its receiver may believe, and has said nothing since.
    fn wounded(&self) -> bool {
        let mut by = None;
        for happened in &self.happened {
            match happened {
                Happened::Reset { from_opener, believed: false } => by = Some(*from_opener),
                Happened::Said(said) if by == Some(said.from_opener) => by = None,
                _ => {}
            }
        }
        by.is_some()
    }

    /// Its state in a word.
    pub fn word(&self) -> &'static str {
        match self.phase() {
            Phase::Asked | Phase::Answered => "opening",
            Phase::Open => "open",
            Phase::OneDone(_) | Phase::BothDone(false) => "closing",
            Phase::BothDone(true) | Phase::Reset => "closed",
            Phase::Ended => "ended",
        }
    }

    /// How long it may be silent.
    pub fn patience(&self) -> Duration {
        let waited_for = [true, false].iter().any(|opener| self.end(*opener).sent > self.end(!*opener).acknowledged);
        Duration::from_secs(match self.phase() {
            Phase::Asked | Phase::OneDone(false) | Phase::BothDone(true) => 120,
            Phase::Answered | Phase::OneDone(true) => 60,
            Phase::Open if self.wounded() => 60,
            Phase::Open if waited_for => 300,
            Phase::Open => 7440,
            Phase::BothDone(false) => 30,
            Phase::Reset | Phase::Ended => 10,
        })
    }

    /// Whether its ends believe that it is there.
    pub fn is_open(&self) -> bool {
        !matches!(self.phase(), Phase::BothDone(true) | Phase::Reset | Phase::Ended)
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn end_it(&mut self) {
        self.ended = true;
    }

    /// A segment whose flags can be legal.
    pub fn judge(&mut self, segment: &Segment) -> Judged {
        if segment.has(RST) {
            self.reset(segment)
        } else if !segment.has(SYN) {
            self.segment(segment)
        } else if segment.has(ACK) {
            self.answer(segment)
        } else {
            self.ask(segment)
        }
    }

    fn ask(&self, segment: &Segment) -> Judged {
        if !segment.from_opener {
            return Judged::Refused(DropReason::WrongDirection);
        }
        if segment.len > 0 {
            return Judged::Refused(DropReason::DataInSyn);
        }
        let again = segment.sequence == self.asked.sequence;
        match self.phase() {
            Phase::Asked | Phase::Answered if again => Judged::Passes,
            Phase::Asked | Phase::BothDone(true) | Phase::Reset | Phase::Ended => Judged::Anew,
            _ if self.wounded() => Judged::Anew,
            _ => Judged::Aside,
        }
    }

    fn answer(&mut self, segment: &Segment) -> Judged {
        if segment.len > 0 {
            return Judged::Refused(DropReason::DataInSyn);
        }
        if segment.from_opener || segment.acknowledgement != self.asked.sequence.wrapping_add(1) {
            return Judged::Refused(DropReason::OutOfState);
        }
        match self.phase() {
            Phase::Asked | Phase::Answered => match Hello::of(segment) {
                Some(hello) => {
                    self.answered = Some(hello);
                    Judged::Passes
                }
                None => Judged::Refused(DropReason::BadTcpOptions),
            },
            Phase::Reset | Phase::Ended => Judged::Refused(DropReason::OutOfState),
            _ if self.answered.is_some_and(|hello| hello.sequence == segment.sequence) => Judged::Aside,
            _ => Judged::Refused(DropReason::OutOfState),
        }
    }

    fn segment(&mut self, segment: &Segment) -> Judged {
        let opener = segment.from_opener;
        let said = self.read_segment(segment);
        let bare = said.at == said.end;
        match self.phase() {
            Phase::Asked if !opener && bare => {
                self.happened.push(Happened::Challenged(said.acknowledged));
                return Judged::Aside;
            }
            Phase::Ended => return Judged::Refused(DropReason::FlowEnded),
            Phase::Asked | Phase::Reset => return Judged::Refused(DropReason::OutOfState),
            // The SYN of the responder is not acknowledged yet: it may say again what it knows, and no more.
            Phase::Answered if !opener => {
                return if bare { Judged::Aside } else { Judged::Refused(DropReason::OutOfState) };
            }
            Phase::Answered if said.acknowledged != 1 => return Judged::Refused(DropReason::OutOfState),
            _ => {}
        }
        let (sender, receiver) = (self.end(opener), self.end(!opener));
        let after_its_end = match sender.fin {
            None => said.fin && said.end < sender.sent,
            Some(fin) if said.fin => said.end != fin,
            Some(fin) => said.end > fin || said.end == fin && !bare,
        };
        if said.acknowledged > receiver.sent || after_its_end {
            return Judged::Refused(DropReason::OutOfState);
        }
        let too_far = said.at > sender.allowed;
        let too_old = said.end < sender.sent - receiver.window;
        let acknowledged_too_late = said.acknowledged < receiver.sent - sender.window.max(66_000);
        if too_far || too_old || acknowledged_too_late {
            return Judged::Refused(DropReason::OutOfWindow);
        }
        if segment.len > 0 {
            return Judged::Speaks(said);
        }
        self.passed(said);
        Judged::Passes
    }

    /// What a segment without SYN and RST says, in numbers that do not wrap.
    pub fn read_segment(&self, segment: &Segment) -> Said {
        let at = self.read(segment.from_opener, segment.sequence);
        Said {
            from_opener: segment.from_opener,
            at,
            len: segment.len as usize,
            end: at + i64::from(segment.len) + i64::from(segment.has(FIN)),
            acknowledged: self.read(!segment.from_opener, segment.acknowledgement),
            window: segment.window,
            fin: segment.has(FIN),
        }
    }

    /// It has passed.
    pub fn passed(&mut self, said: Said) {
        self.happened.push(Happened::Said(said));
    }

    /// It has passed without its payload.
    pub fn passed_bare(&mut self, said: Said) {
        self.passed(Said { end: said.at, fin: false, ..said });
    }

    fn reset(&mut self, segment: &Segment) -> Judged {
        let opener = segment.from_opener;
        let at = self.read(opener, segment.sequence);
        let (sender, receiver) = (self.end(opener), self.end(!opener));
        let challenged = self.happened.iter().rev().find_map(|happened| match happened {
            Happened::Challenged(number) => Some(*number),
            _ => None,
        });
        let believed = match self.phase() {
            Phase::Reset | Phase::Ended => return Judged::Aside,
            Phase::Asked if opener && challenged == Some(at) => return Judged::Aside,
            Phase::Asked if opener => at == 1,
            Phase::Asked => segment.has(ACK) && self.read(true, segment.acknowledgement) == 1,
            _ if at < receiver.acknowledged || at > sender.sent => false,
            _ => {
                let believed = at == receiver.acknowledged && sender.sent == receiver.acknowledged;
                self.happened.push(Happened::Reset { from_opener: opener, believed });
                return Judged::Passes;
            }
        };
        if believed {
            self.happened.push(Happened::Reset { from_opener: opener, believed });
            Judged::Passes
        } else {
            Judged::Refused(DropReason::ResetNotBelieved)
        }
    }

    /// Whether an end has sent a segment with this sequence number of which it does not know yet that it has arrived.
    pub fn in_flight(&self, opener: bool, sequence: u32) -> bool {
        let at = self.read(opener, sequence);
        (opener || self.phase() != Phase::Asked)
            && (self.end(!opener).acknowledged..=self.end(opener).sent).contains(&at)
    }
}
