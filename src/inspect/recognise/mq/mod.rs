//! IBM MQ: the first segment of each side byte for byte, then the segments for the life of the flow, and the names in them.
//!
//! There is no public specification; the layouts are those of Wireshark's dissector and of captures of real clients. The client
//! speaks first, or begins with TLS: then the server name may carry the channel's, and nothing inside is seen. User IDs and
//! passwords (the bodies of USERID and CONAUTH) are passed over and never touched. Left out: the content of messages, and
//! everything inside a compressed segment but its header.

mod body;
mod charset;
mod segment;

use super::tls::Tls;
use super::{Listener, Objection, Speaker};
use crate::event::DropReason;
use crate::policy::inspection::{MqLimits, Wrapping};
use body::Body;
use segment::{Segment, Where};

/// The first byte of a TLS handshake record, which no segment begins with.
const HANDSHAKE: u8 = 0x16;
/// The longest first segment: INITIAL_DATA has 240 bytes, and a header 36.
const FIRST: u32 = 1024;
/// The longest segment before both sides have said how long theirs may be.
const UNNEGOTIATED: u32 = 4096;
/// By how much a segment may be longer than was agreed: the exact rule of the product is not public.
const SLACK: u32 = 1024;
/// What is agreed counts as something between these: no product goes beyond, and a wrong word must not take the bound away.
const AGREED: std::ops::RangeInclusive<u32> = UNNEGOTIATED..=1 << 20;

/// What is remembered of an MQ flow.
#[derive(Clone, Debug)]
pub(super) enum Mq {
    /// Segments, as they are.
    Bare { opener: Side, responder: Side },
    /// Segments in TLS.
    Wrapped(Tls),
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    segment: Segment,
    body: Body,
    /// Whether its first segment is complete.
    begun: bool,
    /// The longest segment that it said it would take.
    transmission: Option<u32>,
}

impl Mq {
    pub(super) fn new() -> Self {
        Self::Bare { opener: Side::default(), responder: Side::default() }
    }

    fn side(&self, speaker: Speaker) -> Option<&Side> {
        match (self, speaker) {
            (Self::Bare { opener, .. }, Speaker::Opener) => Some(opener),
            (Self::Bare { responder, .. }, Speaker::Responder) => Some(responder),
            (Self::Wrapped(_), _) => None,
        }
    }

    /// The wrapping is decided by the opener's first byte.
    fn unwrap(&mut self, limits: &MqLimits, byte: u8) -> Result<(), DropReason> {
        match (byte == HANDSHAKE, limits.wrapping) {
            (true, Wrapping::Refused) => Err(DropReason::TlsRefused),
            (true, _) => {
                *self = Self::Wrapped(Tls::new());
                Ok(())
            }
            // Something else than MQ is called that, and not MQ in the clear.
            (false, Wrapping::Required) if segment::can_begin(byte) => Err(DropReason::TlsRequired),
            (false, _) => Ok(()),
        }
    }
}

impl Listener for Mq {
    type Limits = MqLimits;

    fn byte(&mut self, limits: &MqLimits, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        self.bytes(limits, speaker, &[byte]).map(drop).map_err(|objection| objection.reason)
    }

    fn bytes(&mut self, limits: &MqLimits, speaker: Speaker, bytes: &[u8]) -> Result<usize, Objection> {
        let Some(first) = bytes.first() else { return Ok(0) };
        let at_once = |reason| Objection { at: 0, reason };
        let silent = matches!(self, Self::Bare { opener, .. } if !opener.begun && opener.segment.is_new());
        if silent && speaker == Speaker::Opener {
            self.unwrap(limits, *first).map_err(at_once)?;
        }
        let (side, longest) = match self {
            Self::Wrapped(tls) => {
                let heard = tls.hear(&limits.handshake, &limits.channels, speaker, *first);
                return heard.map(|()| 1).map_err(at_once);
            }
            Self::Bare { opener, responder } => {
                let agreed = opener.transmission.zip(responder.transmission).map(|(one, other)| one.min(other));
                match speaker {
                    Speaker::Opener => (opener, agreed),
                    // The server answers a segment that it has received.
                    Speaker::Responder if !opener.begun => return Err(at_once(DropReason::SpokeFirst)),
                    Speaker::Responder => (responder, agreed),
                }
            }
        };
        let longest = match longest {
            _ if !side.begun => FIRST,
            None => UNNEGOTIATED,
            Some(agreed) => agreed.clamp(*AGREED.start(), *AGREED.end()) + SLACK,
        };
        let here = Where { limits, speaker, first: !side.begun, longest };
        side.bytes(&here, bytes)
    }

    fn unheard(&self, speaker: Speaker) -> u64 {
        match self {
            Self::Wrapped(tls) => tls.unheard(speaker),
            Self::Bare { .. } => self.side(speaker).map_or(0, |side| side.segment.unheard(side.body.until()).into()),
        }
    }

    fn skip(&mut self, speaker: Speaker, count: u64) {
        match (self, speaker) {
            (Self::Wrapped(tls), _) => tls.skip(speaker, count),
            (Self::Bare { opener: side, .. }, Speaker::Opener)
            | (Self::Bare { responder: side, .. }, Speaker::Responder) => {
                // A segment is shorter than 4 GiB, and so is what is left of it.
                side.segment.pass(u32::try_from(count).unwrap_or(u32::MAX));
                side.finish();
            }
        }
    }

    fn settled(&self) -> bool {
        match self {
            Self::Wrapped(tls) => tls.settled(),
            Self::Bare { opener, responder } => opener.begun && responder.begun,
        }
    }
}

impl Side {
    /// Hears what there is of a header, or one byte of a body.
    fn bytes(&mut self, here: &Where<'_>, bytes: &[u8]) -> Result<usize, Objection> {
        if let Some(len) = self.segment.whole_header(here, bytes) {
            let last = len as usize - 1;
            self.body = Body::of(&self.segment, here).map_err(|reason| Objection { at: last, reason })?;
            self.finish();
            return Ok(len as usize);
        }
        let mut heard = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let in_header = self.segment.in_header();
            if at > 0 && !in_header {
                break;
            }
            self.byte(here, in_header, *byte).map_err(|reason| Objection { at, reason })?;
            heard += 1;
        }
        self.finish();
        Ok(heard)
    }

    fn byte(&mut self, here: &Where<'_>, in_header: bool, byte: u8) -> Result<(), DropReason> {
        if in_header {
            self.segment.header(here, byte)?;
            if !self.segment.in_header() {
                self.body = Body::of(&self.segment, here)?;
            }
        } else {
            self.body.byte(&self.segment, here, byte)?;
            self.transmission = self.body.transmission().or(self.transmission);
            self.segment.pass(1);
        }
        Ok(())
    }

    /// The next segment begins where this one ends.
    fn finish(&mut self) {
        if self.segment.is_complete() {
            self.segment = Segment::default();
            self.body = Body::default();
            self.begun = true;
        }
    }
}
