//! TLS 1.2 and 1.3: the two hellos, whichever records they are cut into, a HelloRetryRequest, and the frames of the records
//! until each side has begun to send data (RFC 8446 §4.1, §5.1; RFC 5246 §6.2). Behind that nothing can be seen.
//!
//! The server has the last word on version and suite, so they are judged in its hello; the client's shows the server name,
//! and whether a version that is allowed can be agreed on at all. Certificates are left out: TLS 1.3 hides them.

mod extension;
mod hello;
mod server_name;

use super::{FOR_EVER, Listener, Speaker};
use crate::event::DropReason;
use crate::policy::inspection::{Names, TlsLimits};
use extension::Set;
use hello::{Hello, Side};
use server_name::Allowed;

/// Record types (RFC 8446 §5.1).
mod content {
    pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(super) const ALERT: u8 = 21;
    pub(super) const HANDSHAKE: u8 = 22;
    pub(super) const DATA: u8 = 23;
}

/// RFC 8446 §5.1: a fragment "MUST NOT exceed 2^14 bytes".
const PLAIN: u16 = 1 << 14;
/// RFC 5246 §6.2.3: what is encrypted may be 2,048 bytes longer.
const SEALED: u16 = PLAIN + 2048;

/// What is remembered of a TLS flow.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    client: Direction,
    server: Direction,
    /// The hello that is being heard, or the last one that was: one speaks after the other.
    hello: Hello,
    /// Whose hello it is, or that both are done.
    turn: Turn,
    /// Whether there was a HelloRetryRequest: there is one at most (RFC 8446 §4.1.4).
    retried: bool,
    /// Whether the client sends data before the server has spoken.
    early: bool,
    /// The extensions of its last hello.
    asked: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Client,
    Server,
    Nobody,
}

/// The records of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    /// How much of the record's header was heard, up to five.
    at: u8,
    content: u8,
    /// The length of the record, then what is left of it.
    left: u16,
    /// Whether its data has begun: nothing is heard any more.
    open: bool,
    /// Whether the record holds a part of the hello.
    speaks: bool,
}

impl Tls {
    pub(super) fn new() -> Self {
        Self {
            client: Direction::default(),
            server: Direction::default(),
            hello: Hello::of(Side::Client),
            turn: Turn::Client,
            retried: false,
            early: false,
            asked: Set::default(),
        }
    }

    fn direction(&self, speaker: Speaker) -> &Direction {
        match speaker {
            Speaker::Opener => &self.client,
            Speaker::Responder => &self.server,
        }
    }

    fn direction_mut(&mut self, speaker: Speaker) -> &mut Direction {
        match speaker {
            Speaker::Opener => &mut self.client,
            Speaker::Responder => &mut self.server,
        }
    }

    /// Whether `speaker` has its hello before it.
    fn is_turn_of(&self, speaker: Speaker) -> bool {
        matches!((self.turn, speaker), (Turn::Client, Speaker::Opener) | (Turn::Server, Speaker::Responder))
    }

    /// Hears one byte. `channels` are those that an MQ rule names, which may stand in the place of the server's name.
    pub(super) fn hear(
        &mut self,
        limits: &TlsLimits,
        channels: &Names,
        speaker: Speaker,
        byte: u8,
    ) -> Result<(), DropReason> {
        if self.direction(speaker).at < 5 {
            return self.header(speaker, byte);
        }
        let allowed = Allowed { servers: &limits.names, channels };
        self.direction_mut(speaker).left = self.direction(speaker).left.saturating_sub(1);
        if self.direction(speaker).speaks {
            // A client has to wait behind its hello, and so has a server behind a retry, even where the record is longer.
            if self.hello.is_done() || !self.is_turn_of(speaker) {
                return Err(DropReason::TlsHello);
            }
            self.hello.byte(limits, &allowed, byte)?;
            if self.hello.is_done() {
                self.pass_turn(speaker)?;
            }
        }
        self.end_of_record(speaker);
        Ok(())
    }

    /// A hello is complete.
    fn pass_turn(&mut self, speaker: Speaker) -> Result<(), DropReason> {
        match speaker {
            Speaker::Opener => {
                self.early |= self.hello.has_early_data();
                self.asked = self.hello.said();
                self.turn = Turn::Server;
            }
            Speaker::Responder if !self.hello.answers(self.asked) => return Err(DropReason::TlsHello),
            // RFC 8446 §4.1.4: a second HelloRetryRequest ends the handshake.
            Speaker::Responder if self.hello.is_retry() && self.retried => return Err(DropReason::TlsHello),
            Speaker::Responder if self.hello.is_retry() => {
                self.retried = true;
                self.turn = Turn::Client;
            }
            Speaker::Responder => {
                self.turn = Turn::Nobody;
                // The rest of its flight may stand in the same record.
                self.server.speaks = false;
            }
        }
        Ok(())
    }

    fn end_of_record(&mut self, speaker: Speaker) {
        let direction = self.direction_mut(speaker);
        if direction.at == 5 && direction.left == 0 {
            direction.at = 0;
            direction.speaks = false;
        }
    }

    /// A byte of a record's header.
    fn header(&mut self, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        let at = self.direction(speaker).at;
        let legal = match at {
            0 => {
                self.judge_content(speaker, byte)?;
                self.direction_mut(speaker).content = byte;
                true
            }
            1 => byte == 3,
            // RFC 8446 §5.1: "legacy_record_version" is 0x0303, or 0x0301 before an initial ClientHello.
            2 => (1..=3).contains(&byte),
            _ => {
                let direction = self.direction_mut(speaker);
                direction.left = direction.left << 8 | u16::from(byte);
                let sealed = direction.content == content::DATA || self.turn == Turn::Nobody;
                let longest = if sealed { SEALED } else { PLAIN };
                self.length_holds(speaker, at, longest)
            }
        };
        if !legal {
            return Err(DropReason::NotTls);
        }
        self.direction_mut(speaker).at = at + 1;
        if at == 4 {
            self.begin_record(speaker);
        }
        Ok(())
    }

    fn length_holds(&self, speaker: Speaker, at: u8, longest: u16) -> bool {
        let Direction { left, content, .. } = *self.direction(speaker);
        if at == 3 {
            return u32::from(left) << 8 <= u32::from(longest);
        }
        let clear = self.turn != Turn::Nobody;
        let exact = match content {
            // In the clear both are of a fixed length (RFC 8446 §5, §6).
            content::CHANGE_CIPHER_SPEC if clear => left == 1,
            content::ALERT if clear => left == 2,
            // RFC 8446 §5.1: zero-length fragments are for application data alone.
            content::DATA => true,
            _ => left > 0,
        };
        exact && left <= longest
    }

    /// Which record may begin here?
    fn judge_content(&self, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        let legal = match (self.turn, speaker) {
            (Turn::Client, Speaker::Opener) if !self.retried => {
                // RFC 6101 Appendix E: the old hello has its length in front, with the highest bit set.
                if byte >= 0x80 && self.hello.is_new() {
                    return Err(DropReason::TlsOldHello);
                }
                byte == content::HANDSHAKE
            }
            // Behind a retry, in the middle mode of RFC 8446 Appendix D.4.
            (Turn::Client, Speaker::Opener) => match byte {
                content::HANDSHAKE => true,
                content::CHANGE_CIPHER_SPEC | content::ALERT => self.hello_is_whole(),
                // Early data that was on its way when it was refused.
                content::DATA => self.early && self.hello_is_whole(),
                _ => false,
            },
            (Turn::Client, Speaker::Responder) => {
                // Behind a retry the server waits, but for the one byte of the middle mode and an alert.
                let aside = matches!(byte, content::CHANGE_CIPHER_SPEC | content::ALERT);
                if self.retried && aside { true } else { return Err(DropReason::SpokeFirst) }
            }
            (Turn::Server, Speaker::Responder) => match byte {
                content::HANDSHAKE => true,
                content::ALERT => self.hello_is_whole(),
                _ => false,
            },
            (Turn::Server, Speaker::Opener) => match byte {
                content::ALERT => true,
                // In the middle mode early data follows it.
                content::CHANGE_CIPHER_SPEC | content::DATA => self.early,
                _ => false,
            },
            (Turn::Nobody, _) => {
                matches!(byte, content::CHANGE_CIPHER_SPEC | content::ALERT | content::HANDSHAKE | content::DATA)
            }
        };
        if legal { Ok(()) } else { Err(DropReason::NotTls) }
    }

    /// Whether no hello has been begun and not finished: its records follow one another.
    fn hello_is_whole(&self) -> bool {
        self.hello.is_done()
    }

    fn begin_record(&mut self, speaker: Speaker) {
        let content = self.direction(speaker).content;
        let speaks = content == content::HANDSHAKE && self.is_turn_of(speaker);
        if speaks && self.hello.is_done() {
            self.hello = Hello::of(if speaker == Speaker::Opener { Side::Client } else { Side::Server });
        }
        let settled = self.settled();
        let direction = self.direction_mut(speaker);
        direction.speaks = speaks;
        direction.open = settled && content == content::DATA;
        self.end_of_record(speaker);
    }
}

impl Listener for Tls {
    type Limits = TlsLimits;

    fn byte(&mut self, limits: &TlsLimits, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        self.hear(limits, &Names::default(), speaker, byte)
    }

    fn unheard(&self, speaker: Speaker) -> u64 {
        let direction = self.direction(speaker);
        match direction {
            Direction { open: true, .. } => FOR_EVER,
            Direction { at: 5, speaks: false, left, .. } => u64::from(*left),
            _ => 0,
        }
    }

    fn skip(&mut self, speaker: Speaker, count: u64) {
        let direction = self.direction_mut(speaker);
        if direction.open {
            return;
        }
        // No more than what is unheard, which fits.
        direction.left = direction.left.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
        self.end_of_record(speaker);
    }

    fn settled(&self) -> bool {
        self.turn == Turn::Nobody
    }
}
