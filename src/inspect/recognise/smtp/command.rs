//! A mail client's commands (RFC 5321 §4.1), and what goes between them: answers to challenges, chunks, and the mail.

use crate::event::DropReason;
use crate::policy::inspection::Wrapping;

/// RFC 4954 §4.3 asks for 12,288 bytes in a line of AUTH; every other command is shorter.
const LINE: u16 = 12_290;
/// The longest word that begins a command.
const WORD: usize = 8;

/// The commands of RFC 5321 and of the extensions that clients use: AUTH (RFC 4954), STARTTLS (3207), BDAT (3030), ETRN (1985).
const WORDS: [(&[u8], Meaning); 15] = [
    (b"EHLO", Meaning::Hello),
    (b"HELO", Meaning::Hello),
    (b"STARTTLS", Meaning::StartTls),
    (b"AUTH", Meaning::Auth),
    (b"MAIL", Meaning::Mail),
    (b"RCPT", Meaning::Mail),
    (b"DATA", Meaning::Data),
    (b"BDAT", Meaning::Chunk),
    (b"ETRN", Meaning::Mail),
    (b"VRFY", Meaning::Mail),
    (b"EXPN", Meaning::Mail),
    (b"RSET", Meaning::Other),
    (b"NOOP", Meaning::Other),
    (b"HELP", Meaning::Other),
    (b"QUIT", Meaning::Other),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Hello,
    StartTls,
    Auth,
    /// Something that RFC 3207 lets a server that requires TLS refuse before it.
    Mail,
    Data,
    Chunk,
    /// Something that says nothing.
    Other,
}

/// A command that was heard to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Hello,
    StartTls,
    Auth,
    Data,
    Other,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// In the word of a command.
    #[default]
    Word,
    /// Behind the word.
    Arguments(Meaning),
    /// In the answer to a challenge.
    Response,
    /// Behind a CR.
    Return(Option<Meaning>),
    /// In a mail: how much of the CRLF, dot, CRLF that ends it was heard.
    Mail(u8),
    /// In a chunk.
    Bytes,
}

/// The client's side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commands {
    stage: Stage,
    /// How much of the line was heard.
    at: u16,
    word: [u8; WORD],
    /// The size of a chunk, then what is left of it.
    chunk: u64,
    /// Whether the size is over.
    sized: bool,
}

impl Commands {
    /// The next line answers a challenge.
    pub(super) fn expect_response(&mut self) {
        self.stage = Stage::Response;
    }

    /// A mail comes next, as if a line had just ended.
    pub(super) fn expect_mail(&mut self) {
        self.stage = Stage::Mail(2);
    }

    /// How many bytes of a chunk are to come.
    pub(super) fn unheard(&self) -> u64 {
        if self.stage == Stage::Bytes { self.chunk } else { 0 }
    }

    /// Passes over bytes of a chunk.
    pub(super) fn skip(&mut self, count: u64) {
        if self.stage == Stage::Bytes {
            self.chunk = self.chunk.saturating_sub(count);
            if self.chunk == 0 {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        *self = Self::default();
    }

    /// Hears one byte. `Some`: something that is answered is complete.
    pub(super) fn byte(&mut self, wrapping: Wrapping, byte: u8) -> Result<Option<Heard>, DropReason> {
        let wrong = Err(DropReason::SmtpCommand);
        if !matches!(self.stage, Stage::Mail(_)) {
            self.at += 1;
            if self.at > LINE {
                return wrong;
            }
        }
        match self.stage {
            Stage::Word => self.word(wrapping, byte).map(|()| None),
            Stage::Arguments(meaning) => match byte {
                b'\r' => {
                    self.stage = Stage::Return(Some(meaning));
                    Ok(None)
                }
                b'\t' | b' '..=b'~' | 0x80.. => self.argument(meaning, byte).map(|()| None),
                _ => wrong,
            },
            // RFC 4954 §4: base64, or "*" to give up.
            Stage::Response => match byte {
                b'\r' => {
                    self.stage = Stage::Return(None);
                    Ok(None)
                }
                b'+' | b'/' | b'=' | b'*' => Ok(None),
                _ if byte.is_ascii_alphanumeric() => Ok(None),
                _ => wrong,
            },
            Stage::Return(meaning) if byte == b'\n' => Ok(Some(self.end_of_line(meaning))),
            Stage::Return(_) => wrong,
            Stage::Mail(heard) => self.mail(heard, byte),
            // Passed over before it comes here.
            Stage::Bytes => Ok(None),
        }
    }

    fn word(&mut self, wrapping: Wrapping, byte: u8) -> Result<(), DropReason> {
        let at = usize::from(self.at) - 1;
        let letter = byte.to_ascii_uppercase();
        let before = self.word.get(..at).unwrap_or_default();
        if letter.is_ascii_alphabetic() {
            let begins = |word: &&(&[u8], Meaning)| word.0.starts_with(before) && word.0.get(at) == Some(&letter);
            let Some((word, meaning)) = WORDS.iter().find(begins) else { return Err(DropReason::SmtpCommand) };
            let is_whole = word.len() == at + 1;
            if is_whole {
                judge(wrapping, *meaning)?;
            }
            if let Some(slot) = self.word.get_mut(at) {
                *slot = letter;
            }
            return Ok(());
        }
        let Some((_, meaning)) = WORDS.iter().find(|(word, _)| *word == before) else {
            return Err(DropReason::SmtpCommand);
        };
        self.stage = match byte {
            b'\r' => Stage::Return(Some(*meaning)),
            b' ' => Stage::Arguments(*meaning),
            _ => return Err(DropReason::SmtpCommand),
        };
        // A chunk has a size (RFC 3030 §2).
        if *meaning == Meaning::Chunk && byte == b'\r' { Err(DropReason::SmtpCommand) } else { Ok(()) }
    }

    /// The size of a chunk is what stands first behind the word.
    fn argument(&mut self, meaning: Meaning, byte: u8) -> Result<(), DropReason> {
        if meaning != Meaning::Chunk || self.sized {
            return Ok(());
        }
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                self.chunk = self.chunk.checked_mul(10).and_then(|size| size.checked_add(digit)).unwrap_or(u64::MAX);
                // No chunk is longer than 2^40 bytes: a wrong size must not switch the recogniser off for good.
                if self.chunk > 1 << 40 { Err(DropReason::SmtpCommand) } else { Ok(()) }
            }
            b' ' => {
                self.sized = true;
                Ok(())
            }
            _ => Err(DropReason::SmtpCommand),
        }
    }

    fn end_of_line(&mut self, meaning: Option<Meaning>) -> Heard {
        let chunk = self.chunk;
        self.begin();
        match meaning {
            Some(Meaning::Hello) => Heard::Hello,
            Some(Meaning::StartTls) => Heard::StartTls,
            Some(Meaning::Auth) | None => Heard::Auth,
            Some(Meaning::Data) => Heard::Data,
            Some(Meaning::Chunk) => {
                if chunk > 0 {
                    (self.stage, self.chunk) = (Stage::Bytes, chunk);
                }
                Heard::Other
            }
            Some(Meaning::Mail | Meaning::Other) => Heard::Other,
        }
    }

    /// RFC 5321 §4.1.1.4: the mail ends with CRLF, a dot, CRLF. A line that ends in another way before a dot is what servers
    /// disagree about, so it is refused.
    fn mail(&mut self, heard: u8, byte: u8) -> Result<Option<Heard>, DropReason> {
        // 1 is behind a CR, 2 to 4 behind the CRLF, the dot and the second CR of the end.
        const BARE: u8 = 5; // behind an LF without a CR
        let next = match (heard, byte) {
            (2, b'.') => 3,
            (3, b'\r') => 4,
            (4, b'\n') => {
                self.begin();
                return Ok(Some(Heard::Other));
            }
            (BARE, b'.') | (3, b'\n') => return Err(DropReason::SmtpCommand),
            (1, b'\n') => 2,
            (_, b'\n') => BARE,
            (_, b'\r') => 1,
            _ => 0,
        };
        self.stage = Stage::Mail(next);
        Ok(None)
    }
}

/// Whether a command may be given in the clear.
fn judge(wrapping: Wrapping, meaning: Meaning) -> Result<(), DropReason> {
    match (wrapping, meaning) {
        // RFC 3207 §4: "other than NOOP, EHLO, STARTTLS, or QUIT"; HELO, RSET and HELP say no more.
        (Wrapping::Required, Meaning::Mail | Meaning::Auth | Meaning::Data | Meaning::Chunk) => {
            Err(DropReason::TlsRequired)
        }
        (Wrapping::Refused, Meaning::StartTls) => Err(DropReason::TlsRefused),
        _ => Ok(()),
    }
}
