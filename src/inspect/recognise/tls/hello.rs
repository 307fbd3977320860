//! ClientHello and ServerHello, letter by letter (RFC 8446 §4.1, RFC 5246 §7.4.1): the version, the suite, the server name.

use super::extension::{self, Set, Walk};
use super::server_name::{Allowed, ServerName};
use crate::event::DropReason;
use crate::policy::inspection::TlsLimits;

/// The longest hello: session tickets and key shares beyond the classical ones fit many times.
const LONGEST: u32 = 1 << 16;
const TLS12: u32 = 0x0303;
const TLS13: u32 = 0x0304;
/// RFC 8446 §4.1.3: the random of a ServerHello that is a HelloRetryRequest, the SHA-256 of "HelloRetryRequest".
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Suites that do not encrypt: those with NULL in their names (RFC 5246, 4279, 4785, 4492, 5487, 5489, 9150).
const NULL: [u16; 25] = [
    0x0000, 0x0001, 0x0002, 0x002c, 0x002d, 0x002e, 0x003b, 0x00b0, 0x00b1, 0x00b4, 0x00b5, 0x00b8, 0x00b9, 0xc001,
    0xc006, 0xc00b, 0xc010, 0xc015, 0xc039, 0xc03a, 0xc03b, 0xc0b4, 0xc0b5, 0x0082, 0x0083,
];

/// Which hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What stands at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Type,
    Length,
    Version,
    Random,
    SessionLength,
    Session,
    SuitesLength,
    Suites,
    CompressionsLength,
    Compressions,
    ExtensionsLength,
    ExtensionType,
    ExtensionLength,
    Extension,
    Done,
}

/// A hello as far as it was heard.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    side: Side,
    field: Field,
    /// Bytes of this field that are to come.
    left: u32,
    /// Its value so far, where it is a number.
    value: u32,
    /// Bytes of the message that are to come.
    message: u32,
    /// The extension, and how much of it was heard.
    extension: u32,
    at: u32,
    /// What it looks like, where anybody looks.
    walk: Option<Walk>,
    /// The extensions so far.
    said: Set,
    legacy: u32,
    suite: u16,
    /// Whether a version that the rule allows was named; `None`: none was named at all.
    versions: Option<bool>,
    name: ServerName,
    named: bool,
    retry: bool,
    compression: bool,
}

impl Hello {
    pub(super) fn of(side: Side) -> Self {
        Self {
            side,
            field: Field::Type,
            left: 1,
            value: 0,
            message: 0,
            extension: 0,
            at: 0,
            walk: None,
            said: Set::default(),
            legacy: 0,
            suite: 0,
            versions: None,
            name: ServerName::begin(),
            named: false,
            retry: true,
            compression: false,
        }
    }

    /// Whether nothing of it was heard.
    pub(super) fn is_new(&self) -> bool {
        self.field == Field::Type
    }

    pub(super) fn is_done(&self) -> bool {
        self.field == Field::Done
    }

    /// Whether a done ServerHello asks for another ClientHello.
    pub(super) fn is_retry(&self) -> bool {
        self.retry
    }

    /// Whether a done ClientHello announces data before the handshake is over.
    pub(super) fn has_early_data(&self) -> bool {
        self.said.has(extension::EARLY_DATA)
    }

    /// Which extensions stand in it.
    pub(super) fn said(&self) -> Set {
        self.said
    }

    /// Whether a done ServerHello answers a client that has asked for `asked`, and says nothing of another version.
    pub(super) fn answers(&self, asked: Set) -> bool {
        extension::answers(self.said, asked, self.versions.is_some(), self.retry)
    }

    /// Hears one byte.
    pub(super) fn byte(&mut self, limits: &TlsLimits, allowed: &Allowed<'_>, byte: u8) -> Result<(), DropReason> {
        if !matches!(self.field, Field::Type | Field::Length) {
            self.message = self.message.checked_sub(1).ok_or(DropReason::TlsHello)?;
        }
        self.value = self.value << 8 | u32::from(byte);
        self.left = self.left.saturating_sub(1);
        self.within(limits, allowed, byte)?;
        if self.left == 0 && self.field != Field::Done {
            self.end_of_field(limits, allowed)?;
            self.pass_empty(limits, allowed)?;
        }
        Ok(())
    }

    /// A byte in the middle of something.
    fn within(&mut self, limits: &TlsLimits, allowed: &Allowed<'_>, byte: u8) -> Result<(), DropReason> {
        match self.field {
            Field::Random => {
                let place = 31_u32.checked_sub(self.left).and_then(|place| RETRY.get(place as usize));
                self.retry &= place == Some(&byte);
                Ok(())
            }
            Field::Compressions => {
                self.compression |= byte == 0;
                Ok(())
            }
            Field::Extension => {
                let at = self.at;
                self.at += 1;
                if self.walk.as_mut().is_some_and(|walk| !walk.byte(byte, self.left)) {
                    return Err(DropReason::TlsHello);
                }
                match (self.extension, self.side) {
                    (extension::SERVER_NAME, Side::Client) => self.server_name(allowed, at, byte),
                    (extension::SUPPORTED_VERSIONS, _) => self.supported_versions(limits, at, byte),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn server_name(&mut self, allowed: &Allowed<'_>, at: u32, byte: u8) -> Result<(), DropReason> {
        let holds = match at {
            // One list with one host name: RFC 6066 §3 forbids two of a type, and there is only one type.
            1 => self.value & 0xffff == self.left,
            2 => byte == 0,
            4 => self.value & 0xffff == self.left && self.left > 0 && self.left < 256,
            _ => true,
        };
        if !holds {
            return Err(DropReason::TlsHello);
        }
        if at > 4 {
            self.name.letter(allowed, byte)?;
            if self.left == 0 {
                self.name.end(allowed)?;
                self.named = true;
            }
        }
        Ok(())
    }

    fn supported_versions(&mut self, limits: &TlsLimits, at: u32, byte: u8) -> Result<(), DropReason> {
        let value = self.value & 0xffff;
        match self.side {
            Side::Client if at == 0 => {
                let holds = u32::from(byte) == self.left && self.left > 0 && self.left.is_multiple_of(2);
                if holds { Ok(()) } else { Err(DropReason::TlsHello) }
            }
            Side::Client => {
                if at.is_multiple_of(2) {
                    self.versions = Some(self.versions == Some(true) || allows(limits, value));
                }
                if self.left == 0 && self.versions != Some(true) { Err(DropReason::TlsVersion) } else { Ok(()) }
            }
            Side::Server if at == 1 => {
                self.versions = Some(allows(limits, value) && value == TLS13);
                if self.versions == Some(true) { Ok(()) } else { Err(DropReason::TlsVersion) }
            }
            Side::Server => Ok(()),
        }
    }

    /// A field is over: what comes next?
    fn end_of_field(&mut self, limits: &TlsLimits, allowed: &Allowed<'_>) -> Result<(), DropReason> {
        let value = self.value;
        let client = self.side == Side::Client;
        match self.field {
            Field::Type => {
                let wanted = if client { 1 } else { 2 };
                self.next(value == wanted, Field::Length, 3)
            }
            Field::Length => {
                self.message = value;
                self.next(value <= LONGEST, Field::Version, 2)
            }
            Field::Version => {
                self.legacy = value;
                // RFC 8446 §4.1.2, §4.1.3: "legacy_version" is 0x0303 also in TLS 1.3. Less is an older version.
                if value != TLS12 {
                    return Err(DropReason::TlsVersion);
                }
                self.next(true, Field::Random, 32)
            }
            Field::Random => self.next(true, Field::SessionLength, 1),
            Field::SessionLength => self.next(value <= 32, Field::Session, value),
            Field::Session if client => self.next(true, Field::SuitesLength, 2),
            Field::Session => self.next(true, Field::Suites, 2),
            Field::SuitesLength => self.next(value > 0 && value.is_multiple_of(2), Field::Suites, value),
            Field::Suites if client => self.next(true, Field::CompressionsLength, 1),
            Field::Suites => {
                self.suite = u16::try_from(value & 0xffff).unwrap_or(0);
                judge_suite(limits, self.suite)?;
                self.next(true, Field::Compressions, 1)
            }
            Field::CompressionsLength => self.next(value > 0, Field::Compressions, value),
            Field::Compressions if !self.compression => Err(DropReason::TlsHello),
            Field::Extension if self.walk.as_ref().is_some_and(|walk| !walk.is_over()) => Err(DropReason::TlsHello),
            // RFC 5246 §7.4.1.2: a hello may end here, without extensions.
            Field::Compressions | Field::Extension if self.message == 0 => self.finish(limits, allowed),
            Field::Compressions => self.next(true, Field::ExtensionsLength, 2),
            Field::ExtensionsLength if value != self.message => Err(DropReason::TlsHello),
            Field::ExtensionsLength if value == 0 => self.finish(limits, allowed),
            Field::ExtensionsLength | Field::Extension => self.next(true, Field::ExtensionType, 2),
            Field::ExtensionType => {
                self.begin_extension(value)?;
                self.next(true, Field::ExtensionLength, 2)
            }
            Field::ExtensionLength => {
                let fits = value <= self.message
                    && match (self.extension, self.side) {
                        (extension::SERVER_NAME, Side::Client) => value > 5,
                        (extension::SUPPORTED_VERSIONS, Side::Client) => value > 2,
                        _ => value > 0 || self.walk.as_ref().is_none_or(Walk::is_over),
                    };
                self.at = 0;
                self.next(fits, Field::Extension, value)
            }
            Field::Done => Ok(()),
        }
    }

    fn begin_extension(&mut self, kind: u32) -> Result<(), DropReason> {
        self.extension = kind;
        self.walk = match self.side {
            Side::Client if matches!(kind, extension::ECH | extension::ESNI) => return Err(DropReason::TlsHiddenHello),
            Side::Client if kind == extension::QUIC => return Err(DropReason::TlsHello),
            Side::Client => extension::of_client(kind).map(Walk::through),
            Side::Server => {
                let pieces = extension::of_server(kind, self.retry).ok_or(DropReason::TlsHello)?;
                Some(Walk::through(pieces))
            }
        };
        // RFC 8446 §4.2.11: it "MUST be the last extension in the ClientHello"; §4.2: "There MUST NOT be more than one extension of the same
        // type in a given extension block".
        let behind_the_last = self.side == Side::Client && self.said.has(extension::PRE_SHARED_KEY);
        if behind_the_last || !self.said.add(kind) { Err(DropReason::TlsHello) } else { Ok(()) }
    }

    /// Fields without a byte end where they begin.
    fn pass_empty(&mut self, limits: &TlsLimits, allowed: &Allowed<'_>) -> Result<(), DropReason> {
        while self.left == 0 && self.field != Field::Done {
            self.end_of_field(limits, allowed)?;
        }
        Ok(())
    }

    fn next(&mut self, holds: bool, field: Field, left: u32) -> Result<(), DropReason> {
        // What is left of the message has room for the field.
        if !holds || (field != Field::Length && left > self.message && field != Field::Type) {
            return Err(DropReason::TlsHello);
        }
        (self.field, self.left, self.value) = (field, left, 0);
        Ok(())
    }

    /// The message is over: what was not said counts, too.
    fn finish(&mut self, limits: &TlsLimits, allowed: &Allowed<'_>) -> Result<(), DropReason> {
        // RFC 8446 §4.2.1: without supported_versions the version is TLS 1.2 or an earlier one.
        if self.versions.is_none() && !allows(limits, self.legacy) {
            return Err(DropReason::TlsVersion);
        }
        if self.side == Side::Client && !self.named && !allowed.is_any() {
            return Err(allowed.otherwise());
        }
        self.retry &= self.side == Side::Server;
        // RFC 8446 §4.1.3: implementations "MUST first examine the Random value", so this is a retry to a client, whatever else it
        // says; §4.1.4: its extensions "MUST contain "supported_versions"".
        if self.retry && self.versions != Some(true) {
            return Err(DropReason::TlsHello);
        }
        // RFC 8446 Appendix B.4: its suites "cannot be used for TLS 1.2", nor the others for TLS 1.3.
        if self.side == Side::Server && (self.versions == Some(true)) != is_of_tls13(self.suite) {
            return Err(DropReason::TlsSuite);
        }
        self.field = Field::Done;
        Ok(())
    }
}

fn allows(limits: &TlsLimits, version: u32) -> bool {
    match version {
        TLS12 => limits.tls12,
        TLS13 => limits.tls13,
        _ => false,
    }
}

/// Suites of TLS 1.3: those of RFC 8446 and 9150, and SM4.
fn is_of_tls13(suite: u16) -> bool {
    matches!(suite, 0x1301..=0x13ff | 0x00c6 | 0x00c7 | 0xc0b4 | 0xc0b5)
}

fn judge_suite(limits: &TlsLimits, suite: u16) -> Result<(), DropReason> {
    let holds = if limits.suites.is_empty() { !NULL.contains(&suite) } else { limits.suites.contains(&suite) };
    if holds { Ok(()) } else { Err(DropReason::TlsSuite) }
}
