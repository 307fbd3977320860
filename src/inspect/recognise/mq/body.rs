//! What stands in the body of an MQ segment, as far as the agreement speaks of it: INITIAL_DATA, and the names of queues and
//! queue managers in MQCONN, MQOPEN, MQPUT1, in the product's own way to open (SPI), and at the head of a message.

use super::super::Speaker;
use super::super::name::Heard;
use super::charset;
use super::segment::{Segment, Where, kind};
use crate::event::DropReason;
use crate::policy::inspection::{MqLimits, Names};

/// Before every call and reply: its length, completion code, reason and object handle.
const API: u32 = 16;
/// Into INITIAL_DATA: nothing behind the name of the queue manager is judged.
const INITIAL: u32 = 96;
/// An object descriptor as far as its names: ID, version, type, object, queue manager.
const OD: u32 = 12 + 48 + 48;
/// Where the transmission queue header stands in a message, behind the message header.
const XQH: u32 = 20;
/// The product's own verb for opening.
const SPI_OPEN: u32 = 12;
/// How far into it an object descriptor is looked for: it follows some 130 bytes of options.
const SPI_SEEN: u32 = 1024;
/// Objects that are opened, by type.
const QUEUE_MANAGER: u32 = 5;
/// What the names of administration begin with: the command queues of all platforms, and the channel for it.
const ADMINISTRATION: [&[u8]; 2] = [b"SYSTEM.ADMIN.", b"SYSTEM.COMMAND."];

/// What is made of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    /// Nothing, or nothing any more.
    #[default]
    Passed,
    Initial,
    Connect,
    /// An object descriptor stands behind the API header.
    Open,
    /// An object descriptor stands somewhere, if the verb is to open.
    Spi,
    /// A message, with a transmission queue header.
    Message,
}

/// A body as far as it was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    shape: Shape,
    /// The last four bytes.
    word: u32,
    /// Where the structure with the names begins, once it was found.
    names_at: Option<u32>,
    ebcdic: bool,
    /// The type of the object that is opened.
    object: u32,
    name: Heard,
    administration: Administration,
    /// The transmission size in INITIAL_DATA.
    transmission: Option<u32>,
}

/// How far a name agrees with those of administration.
#[derive(Clone, Copy, Debug, Default)]
struct Administration {
    len: u8,
    differs: [bool; 2],
}

impl Administration {
    /// Hears a letter of a name. `true`: it is one of administration.
    fn letter(&mut self, letter: u8) -> bool {
        let at = usize::from(self.len);
        self.len = self.len.saturating_add(1);
        ADMINISTRATION.iter().zip(&mut self.differs).any(|(known, differs)| {
            *differs |= known.get(at).is_some_and(|known| *known != letter);
            !*differs && at + 1 == known.len()
        })
    }
}

impl Body {
    /// The body of a segment whose header was heard.
    pub(super) fn of(segment: &Segment, here: &Where<'_>) -> Result<Self, DropReason> {
        let shape = match (segment.kind(), here.speaker) {
            (kind::INITIAL, _) => Shape::Initial,
            (kind::CONN, Speaker::Opener) => Shape::Connect,
            (kind::OPEN | kind::PUT1, Speaker::Opener) => Shape::Open,
            (kind::SPI, Speaker::Opener) => Shape::Spi,
            (kind::MESSAGE, _) => Shape::Message,
            _ => Shape::Passed,
        };
        let begins = segment.is_first_of_call();
        let shape = match shape {
            Shape::Passed | Shape::Initial => shape,
            // What is compressed cannot be read: where names are demanded it does not pass.
            _ if segment.is_compressed() && demands_names(here.limits) => return Err(DropReason::MqCompressed),
            _ if segment.is_compressed() => Shape::Passed,
            // These fit one segment, whatever its size: one that is not a first one would hide its names.
            _ if !begins && matches!(segment.kind(), kind::CONN | kind::OPEN) => return Err(DropReason::MqSegment),
            _ if !begins => Shape::Passed,
            shape => shape,
        };
        let body = Self { shape, ebcdic: segment.is_ebcdic(), name: Heard::begin(), ..Self::default() };
        // A structure that is cut short is no structure.
        let whole = match shape {
            Shape::Initial => 44,
            Shape::Connect => API + 48,
            Shape::Open => API + OD,
            _ => 0,
        };
        match segment.body_len() >= whole {
            true => Ok(body),
            false if here.first => Err(DropReason::NotMq),
            false => Err(DropReason::MqLength),
        }
    }

    /// The transmission size, once INITIAL_DATA has said it.
    pub(super) fn transmission(&self) -> Option<u32> {
        self.transmission
    }

    /// How far the body has to be heard.
    pub(super) fn until(&self) -> u32 {
        match self.shape {
            Shape::Passed => 0,
            Shape::Initial => INITIAL,
            Shape::Connect => API + 48,
            Shape::Open => API + OD,
            Shape::Spi => API + SPI_SEEN,
            Shape::Message => XQH + 8 + 48 + 48,
        }
    }

    /// Hears one byte of the body.
    pub(super) fn byte(&mut self, segment: &Segment, here: &Where<'_>, byte: u8) -> Result<(), DropReason> {
        let at = segment.body_at();
        self.word = self.word << 8 | u32::from(byte);
        match self.shape {
            Shape::Passed => Ok(()),
            Shape::Initial => self.initial(segment, here, at, byte),
            Shape::Connect => match at {
                API if charset::ascii(byte, self.ebcdic) == b'*' => Ok(()), // one of a group
                API..=u32::MAX => self.queue_manager(here, at + 1 == API + 48, byte),
                _ => Ok(()),
            },
            Shape::Open => {
                if at == API + 3 {
                    self.ebcdic = charset::spells(self.word, *b"OD  ").ok_or(DropReason::MqSegment)?;
                    self.names_at = Some(API);
                }
                self.descriptor(segment, here, at, byte)
            }
            Shape::Spi => {
                if at == API + 3 && segment.word(self.word) != SPI_OPEN {
                    self.shape = Shape::Passed;
                    return Ok(());
                }
                self.descriptor(segment, here, at, byte)?;
                // Whatever looks like a descriptor is judged as one, so that none can hide behind another.
                if at % 4 == 3
                    && at > API + 3
                    && let Some(ebcdic) = charset::spells(self.word, *b"OD  ")
                {
                    let (ebcdic, names_at) = (ebcdic, Some(at - 3));
                    *self = Self { ebcdic, names_at, name: Heard::begin(), shape: self.shape, ..Self::default() };
                }
                Ok(())
            }
            Shape::Message => self.message(here, at, byte),
        }
    }

    fn initial(&mut self, segment: &Segment, here: &Where<'_>, at: u32, byte: u8) -> Result<(), DropReason> {
        let wrong = if here.first { DropReason::NotMq } else { DropReason::MqSegment };
        let letter = charset::ascii(byte, self.ebcdic);
        let opening = here.first && here.speaker == Speaker::Opener;
        match at {
            0 => {
                self.ebcdic = byte == 0xc9;
                if charset::ascii(byte, self.ebcdic) == b'I' { Ok(()) } else { Err(wrong) }
            }
            1..=4 => {
                let legal = match b"ID  ".get(at as usize) {
                    Some(known) => *known == letter,
                    None => (1..=32).contains(&byte) && fits_level(segment.body_len(), byte),
                };
                if legal { Ok(()) } else { Err(wrong) }
            }
            15 => {
                self.transmission = Some(segment.word(self.word));
                Ok(())
            }
            24..=43 => {
                if opening {
                    let blank = letter == b' ' && at > 24;
                    let legal = blank || (charset::is_name(letter) && !self.name.is_over());
                    if !legal {
                        return Err(wrong);
                    }
                }
                self.named(&here.limits.channels, DropReason::MqChannel, at == 43, letter)
            }
            // The opener's is its own queue manager, or none; the responder's is the one that was connected to.
            48..=95 if here.speaker == Speaker::Responder => self.queue_manager(here, at == 95, byte),
            _ => Ok(()),
        }
    }

    /// A byte of an object descriptor, if one was found.
    fn descriptor(&mut self, segment: &Segment, here: &Where<'_>, at: u32, byte: u8) -> Result<(), DropReason> {
        let Some(offset) = self.names_at.and_then(|start| at.checked_sub(start)) else { return Ok(()) };
        match offset {
            11 => {
                self.object = segment.word(self.word);
                Ok(())
            }
            12..=59 if self.object == QUEUE_MANAGER => self.queue_manager(here, offset == 59, byte),
            12..=59 => self.queue(here, offset == 59, byte),
            60..=107 => self.queue_manager(here, offset == 107, byte),
            _ => Ok(()),
        }
    }

    /// A message between queue managers: where names are demanded, it says where it goes.
    fn message(&mut self, here: &Where<'_>, at: u32, byte: u8) -> Result<(), DropReason> {
        if at == 3 && charset::spells(self.word, *b"MSH ").is_none()
            || at == XQH + 3 && charset::spells(self.word, *b"XQH ").is_none()
        {
            self.shape = Shape::Passed;
            return if demands_names(here.limits) { Err(DropReason::MqQueue) } else { Ok(()) };
        }
        if at == XQH + 3 {
            self.ebcdic = charset::spells(self.word, *b"XQH ").unwrap_or(self.ebcdic);
        }
        match at {
            28..=75 => self.queue(here, at == 75, byte),
            76..=123 => self.queue_manager(here, at == 123, byte),
            _ => Ok(()),
        }
    }

    fn queue(&mut self, here: &Where<'_>, last: bool, byte: u8) -> Result<(), DropReason> {
        let letter = charset::ascii(byte, self.ebcdic);
        self.named(&here.limits.queues, DropReason::MqQueue, last, letter)
    }

    fn queue_manager(&mut self, here: &Where<'_>, last: bool, byte: u8) -> Result<(), DropReason> {
        let letter = charset::ascii(byte, self.ebcdic);
        self.named(&here.limits.queue_managers, DropReason::MqQueueManager, last, letter)
    }

    /// A letter of a padded field. The name is held against the list, and against those of administration.
    fn named(&mut self, names: &Names, reason: DropReason, last: bool, letter: u8) -> Result<(), DropReason> {
        if !self.name.is_over() && self.administration.letter(letter) {
            return Err(DropReason::MqAdministration);
        }
        let mut fits = self.name.padded(names, letter);
        if last {
            fits &= self.name.close(names);
            self.name = Heard::begin();
            self.administration = Administration::default();
        }
        if fits { Ok(()) } else { Err(reason) }
    }
}

/// Whether a rule names what is opened.
fn demands_names(limits: &MqLimits) -> bool {
    !limits.queues.is_any() || !limits.queue_managers.is_any()
}

/// The lengths of INITIAL_DATA, and the first level of formats and protocols (FAP) that has it.
const LENGTHS: [(u32, u8); 4] = [(44, 1), (102, 4), (208, 9), (240, 11)];

/// Whether INITIAL_DATA is as long as its level says, or as long as that of a later one, which may bring more than is known.
fn fits_level(length: u32, level: u8) -> bool {
    let least = LENGTHS.iter().rfind(|(_, since)| *since <= level).map_or(0, |(length, _)| *length);
    let known = LENGTHS.iter().any(|(known, _)| *known == length) || LENGTHS.iter().all(|(known, _)| *known <= length);
    length >= least && known
}
