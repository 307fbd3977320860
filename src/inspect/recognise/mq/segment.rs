//! The header of an MQ segment: TSH, TSHC (28 bytes each) or TSHM (36 bytes, with a conversation and a request).

use super::super::Speaker;
use super::charset;
use crate::event::DropReason;
use crate::policy::inspection::MqLimits;

/// Length of a plain header.
const PLAIN: u32 = 28;
/// Length of a header with a conversation.
const MULTIPLEXED: u32 = 36;
/// The shortest first segment of a client: a header and the 44 bytes of INITIAL_DATA that every level has.
const FIRST: u32 = PLAIN + 44;

/// Segment types that are judged by more than their role.
pub(super) mod kind {
    pub(in super::super) const INITIAL: u8 = 0x01;
    pub(in super::super) const MESSAGE: u8 = 0x04;
    pub(in super::super) const STATUS: u8 = 0x05;
    pub(in super::super) const CONN: u8 = 0x81;
    pub(in super::super) const OPEN: u8 = 0x83;
    pub(in super::super) const PUT1: u8 = 0x87;
    pub(in super::super) const SPI: u8 = 0x8c;
    pub(in super::super) const SUB: u8 = 0x8e;
}

/// Control flags 1: the first segment of a call or message.
const FLAG_FIRST: u8 = 0x10;
/// Control flags 2: header or message compression.
const FLAG_COMPRESSED: u8 = 0x03;

/// Where a segment stands.
pub(super) struct Where<'a> {
    pub(super) limits: &'a MqLimits,
    pub(super) speaker: Speaker,
    /// Whether it is the first one of its side.
    pub(super) first: bool,
    /// How long it may be.
    pub(super) longest: u32,
}

/// One segment, as far as it was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// How many of its bytes were heard or passed over.
    at: u32,
    /// Its length; less than that while it is being heard.
    length: u32,
    multiplexed: bool,
    ebcdic: bool,
    little: bool,
    kind: u8,
    flags: [u8; 2],
    /// Whether the encoding has had a bit so far.
    encoding: bool,
}

/// Whether a segment can begin with this byte.
pub(super) fn can_begin(byte: u8) -> bool {
    matches!(byte, b'T' | 0xe3)
}

impl Segment {
    /// Whether nothing of it was heard.
    pub(super) fn is_new(&self) -> bool {
        self.at == 0
    }

    fn header_len(&self) -> u32 {
        if self.multiplexed { MULTIPLEXED } else { PLAIN }
    }

    /// Whether the next byte belongs to the header.
    pub(super) fn in_header(&self) -> bool {
        self.at < self.header_len()
    }

    /// The place in the body of the next byte.
    pub(super) fn body_at(&self) -> u32 {
        self.at.saturating_sub(self.header_len())
    }

    /// The length of the body.
    pub(super) fn body_len(&self) -> u32 {
        self.length.saturating_sub(self.header_len())
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    pub(super) fn is_ebcdic(&self) -> bool {
        self.ebcdic
    }

    /// Whether it is the first one of its call or message.
    pub(super) fn is_first_of_call(&self) -> bool {
        self.flags[0] & FLAG_FIRST != 0
    }

    /// Whether its body cannot be read.
    pub(super) fn is_compressed(&self) -> bool {
        self.flags[1] & FLAG_COMPRESSED != 0
    }

    /// Adds a byte to a number in this segment's byte order: `bytes` are those so far, of four.
    pub(super) fn word(&self, bytes: u32) -> u32 {
        if self.little { bytes.swap_bytes() } else { bytes }
    }

    /// Whether all of it was heard or passed over.
    pub(super) fn is_complete(&self) -> bool {
        !self.in_header() && self.at >= self.length
    }

    /// How many bytes are to come that need not be heard, when the body is heard up to `until`.
    pub(super) fn unheard(&self, until: u32) -> u32 {
        if self.in_header() || self.body_at() < until { 0 } else { self.length.saturating_sub(self.at) }
    }

    /// Some of its bytes were heard, or passed over.
    pub(super) fn pass(&mut self, count: u32) {
        self.at = self.at.saturating_add(count).min(self.length);
    }

    /// Hears the whole header of a segment that is not the first of its side, if it is legal: how long it is. Whatever is not
    /// is heard byte by byte, and nothing has changed.
    pub(super) fn whole_header(&mut self, here: &Where<'_>, bytes: &[u8]) -> Option<u32> {
        if here.first || !self.is_new() {
            return None;
        }
        let (head, rest) = bytes.split_first_chunk::<12>()?;
        let (letters, length) = head.split_at(4);
        let ebcdic = match letters {
            b"TSH " | b"TSHC" | b"TSHM" => false,
            [0xe3, 0xe2, 0xc8, 0x40 | 0xc3 | 0xd4] => true,
            _ => return None,
        };
        let multiplexed = matches!(letters[3], b'M' | 0xd4);
        let fields = if multiplexed { rest.get(4..8)? } else { &head[8..] };
        let &[order @ 1..=2, kind, one, two] = fields else { return None };
        let length = u32::from_be_bytes(*length.first_chunk()?);
        let heard = Self {
            length,
            multiplexed,
            ebcdic,
            little: order == 2,
            kind,
            flags: [one, two],
            at: if multiplexed { MULTIPLEXED } else { PLAIN },
            encoding: false,
        };
        let legal = bytes.len() >= heard.at as usize
            && (heard.at..=here.longest).contains(&length)
            && heard.judge_kind(here).is_ok();
        legal.then(|| {
            *self = heard;
            self.at
        })
    }

    /// Hears one byte of the header.
    pub(super) fn header(&mut self, here: &Where<'_>, byte: u8) -> Result<(), DropReason> {
        let wrong = if here.first { DropReason::NotMq } else { DropReason::MqSegment };
        let legal = |holds: bool| if holds { Ok(()) } else { Err(wrong) };
        let opening = here.first && here.speaker == Speaker::Opener;
        match self.at {
            0 => {
                self.ebcdic = byte == 0xe3;
                legal(can_begin(byte))?;
            }
            1 => legal(charset::ascii(byte, self.ebcdic) == b'S')?,
            2 => legal(charset::ascii(byte, self.ebcdic) == b'H')?,
            3 => {
                let letter = charset::ascii(byte, self.ebcdic);
                self.multiplexed = letter == b'M';
                // A client opens with the plain header; a conversation can only follow.
                legal(letter == b' ' || (!opening && letter == b'M') || (!here.first && letter == b'C'))?;
            }
            4..=7 => self.length_byte(here, byte)?,
            8..=15 if self.multiplexed => {}
            at => match at - if self.multiplexed { MULTIPLEXED - PLAIN } else { 0 } {
                8 => {
                    self.little = byte == 2;
                    legal(byte == 1 || byte == 2)?;
                }
                9 => {
                    self.kind = byte;
                    self.judge_kind(here)?;
                }
                10 => {
                    self.flags[0] = byte;
                    legal(!opening || byte & 0x8e == 0)?;
                }
                11 => {
                    self.flags[1] = byte;
                    legal(!opening || byte & 0xf0 == 0)?;
                }
                // Only message channels have a unit of work here, and they open without one, too.
                12..=19 | 26..=27 => legal(!opening || byte == 0)?,
                20..=23 if opening => legal(self.encoding_byte(at - 20, byte))?,
                _ => {}
            },
        }
        self.at += 1;
        Ok(())
    }

    /// The length is big-endian whatever the byte order, and counts the header.
    fn length_byte(&mut self, here: &Where<'_>, byte: u8) -> Result<(), DropReason> {
        let wrong = if here.first { DropReason::NotMq } else { DropReason::MqLength };
        self.length = self.length << 8 | u32::from(byte);
        let missing = 7 - self.at;
        // What it is at least, whatever the bytes to come, and at last what it is.
        let least = u64::from(self.length) << (8 * missing);
        let shortest = if here.first && here.speaker == Speaker::Opener { FIRST } else { self.header_len() };
        let holds = least <= here.longest.into() && (missing > 0 || self.length >= shortest);
        if holds { Ok(()) } else { Err(wrong) }
    }

    /// The encoding is not zero and fits twelve bits, in the byte order of the segment.
    fn encoding_byte(&mut self, at: u32, byte: u8) -> bool {
        let place = if self.little { 3 - at } else { at };
        self.encoding |= byte != 0;
        let is_last = if self.little { at == 1 } else { at == 3 };
        let fits = match place {
            0 | 1 => byte == 0,
            2 => byte <= 0x0f,
            _ => true,
        };
        fits && (!is_last || self.encoding)
    }

    fn judge_kind(&self, here: &Where<'_>) -> Result<(), DropReason> {
        let MqLimits { client, server, queues, .. } = here.limits;
        let by_role = |allowed: bool| if allowed { Ok(()) } else { Err(DropReason::MqRole) };
        match (self.kind, here.speaker) {
            (kind::INITIAL, _) | (kind::STATUS, Speaker::Responder) if here.first => Ok(()),
            _ if here.first => Err(DropReason::NotMq),
            // INITIAL, STATUS, SECURITY, USERID, HEARTBEAT, CONAUTH, RENEGOTIATE, SOCKET_ACTION: what holds a channel up.
            (0x01 | 0x05 | 0x06 | 0x08..=0x0c, _) => Ok(()),
            // RESYNC, RESET, MESSAGE, PING: between queue managers.
            (0x02..=0x04 | 0x07, _) => by_role(*server),
            // ASYNC_MESSAGE, REQUEST_MSGS, NOTIFICATION: messages that a client asked for in advance.
            (0x0d..=0x0f, _) => by_role(*client),
            (kind::SUB, Speaker::Opener) if *client && !queues.is_any() => Err(DropReason::MqQueue),
            // The MQI: the client calls, the server replies.
            (0x81..=0x8f, Speaker::Opener) | (0x91..=0x9f, Speaker::Responder) => by_role(*client),
            (0xa1..=0xaa | 0xb1..=0xba, _) => Err(DropReason::MqXa),
            _ => Err(DropReason::MqSegment),
        }
    }
}
