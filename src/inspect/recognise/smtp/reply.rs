//! A mail server's answers (RFC 5321 §4.2): three digits, a hyphen on all lines but the last, CRLF.

use crate::event::DropReason;

/// RFC 5321 §4.5.3.1.5 gives a line 512 bytes; some servers list their extensions in longer ones.
const LINE: u16 = 2048;
/// RFC 5321 §3.8: what a server says unasked, before it goes away.
const GOODBYE: u16 = 421;
/// RFC 5321 §3.1, §4.3.2: how a server greets: it is ready, has no mail service, or goes away at once.
const GREETINGS: [u16; 3] = [220, 554, GOODBYE];

/// Which answers may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The first one.
    Greeting,
    /// That to a command.
    Any,
    /// Nobody has asked.
    Goodbye,
}

impl Expected {
    /// Whether an answer may begin with these digits; `unit` is 100, 10 or 1 by how many there are.
    fn allows(self, digits: u16, unit: u16) -> bool {
        let begins = |code: &u16| code / unit == digits;
        match self {
            Self::Greeting => GREETINGS.iter().any(begins),
            Self::Any => true,
            Self::Goodbye => begins(&GOODBYE),
        }
    }
}

/// An answer as far as it was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reply {
    /// How much of the line was heard.
    at: u16,
    code: u16,
    /// The code of the lines before, if this is not the first one.
    before: Option<u16>,
    last: bool,
    returned: bool,
}

impl Reply {
    /// Hears one byte. `Some`: an answer with this code is complete.
    pub(super) fn byte(&mut self, byte: u8, expected: Expected) -> Result<Option<u16>, DropReason> {
        let at = self.at;
        self.at += 1;
        let wrong = Err(DropReason::NotSmtp);
        match (at, byte) {
            (0..=2, b'0'..=b'9') => {
                self.code = self.code * 10 + u16::from(byte - b'0');
                // RFC 5321 §4.2.1: the first digit is 2 to 5, the second 0 to 5.
                let legal = match at {
                    0 => (2..=5).contains(&self.code),
                    1 => self.code % 10 <= 5,
                    _ => true,
                };
                let unit = [100, 10, 1][usize::from(at)];
                let same = self.before.is_none_or(|before| before / unit == self.code);
                if !legal || !same || !expected.allows(self.code, unit) {
                    return wrong;
                }
            }
            (3, b' ' | b'-') => self.last = byte == b' ',
            (3, b'\r') => {
                self.last = true;
                self.returned = true;
            }
            (4.., b'\r') if !self.returned => self.returned = true,
            (4.., b'\n') if self.returned => {
                let Self { code, last, .. } = *self;
                *self = Self { before: (!last).then_some(code), ..Self::default() };
                return Ok(last.then_some(code));
            }
            (4..LINE, b'\t' | b' '..=b'~' | 0x80..) if !self.returned => {}
            _ => return wrong,
        }
        Ok(None)
    }
}
