//! The server name that a client asks for (RFC 6066 §3), held against the names that a rule pins, and against the channels
//! of MQ, whose clients write the channel's name in its place.
//!
//! A channel is spelt like this: capitals as small letters, digits as they are, every other character as two hexadecimal
//! digits and a hyphen; behind it stands `.chl.mq.ibm.com`.

use super::super::name::Heard;
use crate::event::DropReason;
use crate::policy::inspection::Names;

/// What follows the channel.
const SUFFIX: &[u8] = b".chl.mq.ibm.com";
/// Channels for administration: `SYSTEM.ADMIN.` as it is spelt here.
const ADMINISTRATION: &[u8] = b"system2e-admin2e-";

/// A server name as far as it was heard.
#[derive(Clone, Debug)]
pub(super) struct ServerName {
    pinned: Heard,
    is_pinned: bool,
    channel: Heard,
    is_channel: bool,
    /// How much of the suffix was heard, behind the channel.
    suffix: u8,
    len: u8,
    is_administration: bool,
}

/// The names that a rule allows: of servers, and of channels of MQ.
pub(super) struct Allowed<'a> {
    pub(super) servers: &'a Names,
    pub(super) channels: &'a Names,
}

impl Allowed<'_> {
    /// Whether a client has to ask for a name at all.
    pub(super) fn is_any(&self) -> bool {
        self.servers.is_any() && self.channels.is_any()
    }

    /// What is wrong if the name is none of these, or is not there.
    pub(super) fn otherwise(&self) -> DropReason {
        if self.channels.is_any() { DropReason::TlsServerName } else { DropReason::MqChannel }
    }
}

impl ServerName {
    pub(super) fn begin() -> Self {
        Self {
            pinned: Heard::begin(),
            is_pinned: true,
            channel: Heard::begin(),
            is_channel: true,
            suffix: 0,
            len: 0,
            is_administration: true,
        }
    }

    /// Hears a letter; it is an error if the name can be none of those any more.
    pub(super) fn letter(&mut self, allowed: &Allowed<'_>, letter: u8) -> Result<(), DropReason> {
        // RFC 6066 §3: DNS hostnames are case-insensitive.
        let letter = letter.to_ascii_lowercase();
        let at = usize::from(self.len);
        self.len = self.len.saturating_add(1);
        self.is_administration &= ADMINISTRATION.get(at).is_none_or(|known| *known == letter);
        if self.is_administration && at + 1 == ADMINISTRATION.len() {
            return Err(DropReason::MqAdministration);
        }
        self.is_pinned = self.is_pinned && self.pinned.letter_as(allowed.servers, letter, lower);
        self.is_channel = self.is_channel
            && if self.suffix == 0 && letter != b'.' {
                self.channel.letter_as(allowed.channels, letter, |text, at| spelt(text).nth(at))
            } else {
                let fits = SUFFIX.get(usize::from(self.suffix)) == Some(&letter);
                let ends = self.suffix > 0 || self.channel.end_as(allowed.channels, |text| spelt(text).count());
                self.suffix = self.suffix.saturating_add(1);
                fits && ends
            };
        self.judge(allowed)
    }

    /// The name is over.
    pub(super) fn end(&mut self, allowed: &Allowed<'_>) -> Result<(), DropReason> {
        self.is_pinned = self.is_pinned && self.pinned.end(allowed.servers);
        self.is_channel = self.is_channel && usize::from(self.suffix) == SUFFIX.len();
        self.judge(allowed)
    }

    fn judge(&self, allowed: &Allowed<'_>) -> Result<(), DropReason> {
        let pinned = !allowed.servers.is_any() && self.is_pinned;
        let channel = !allowed.channels.is_any() && self.is_channel;
        if allowed.is_any() || pinned || channel { Ok(()) } else { Err(allowed.otherwise()) }
    }
}

fn lower(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).map(u8::to_ascii_lowercase)
}

/// The letters with which a channel's name is spelt.
fn spelt(channel: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    channel.iter().flat_map(move |letter| {
        let letters = match letter {
            b'A'..=b'Z' => [Some(letter.to_ascii_lowercase()), None, None],
            b'0'..=b'9' => [Some(*letter), None, None],
            other => [Some(digit(other >> 4)), Some(digit(other & 0x0f)), Some(b'-')],
        };
        letters.into_iter().flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(servers: &[&str], channels: &[&str], name: &str) -> Result<(), (usize, DropReason)> {
        let (servers, channels) =
            (Names::exact(servers.iter().copied()), Names::generic(channels.iter().copied()).unwrap());
        let allowed = Allowed { servers: &servers, channels: &channels };
        let mut heard = ServerName::begin();
        for (at, letter) in name.bytes().enumerate() {
            heard.letter(&allowed, letter).map_err(|reason| (at, reason))?;
        }
        heard.end(&allowed).map_err(|reason| (name.len(), reason))
    }

    #[test]
    fn channels_are_spelt_as_the_product_spells_them() {
        let spelt = |text: &str| String::from_utf8(spelt(text.as_bytes()).collect()).unwrap();
        assert_eq!(spelt("TO.QMGR1"), "to2e-qmgr1");
        assert_eq!(spelt("to.qmgr1"), "74-6f-2e-71-6d-67-72-1");
    }

    #[test]
    fn a_server_name_is_held_against_channels_and_pinned_names() {
        let channel = DropReason::MqChannel;
        let name = "to2e-qmgr1.chl.mq.ibm.com";
        assert_eq!(heard(&[], &["TO.QMGR1"], name), Ok(()));
        assert_eq!(heard(&[], &["TO.*"], name), Ok(()));
        assert_eq!(heard(&[], &["TO.*"], "TO2E-QMGR1.CHL.MQ.IBM.COM"), Ok(()));
        assert_eq!(heard(&[], &["TO.QMGR2"], name), Err((9, channel)));
        assert_eq!(heard(&[], &["to.qmgr1"], name), Err((0, channel)), "the case of a channel counts");
        assert_eq!(heard(&[], &["TO.QMGR"], name), Err((9, channel)));
        assert_eq!(heard(&[], &["TO.QMGR1"], "to2e-qmgr1.chl.mq.ibm.co"), Err((24, channel)));
        assert_eq!(heard(&[], &["TO.QMGR1"], "to2e-qmgr1.chl.mq.ibm.comx"), Err((25, channel)));
        assert_eq!(heard(&[], &["TO.QMGR1"], "mq.example"), Err((0, channel)));
        assert_eq!(heard(&["mq.example"], &["TO.QMGR1"], "mq.example"), Ok(()));
        assert_eq!(heard(&["mq.example"], &["TO.QMGR1"], name), Ok(()));
        assert_eq!(heard(&["mq.example"], &[], "MQ.example"), Ok(()));
        assert_eq!(heard(&["mq.example"], &[], "mq.exampl"), Err((9, DropReason::TlsServerName)));
        assert_eq!(heard(&["mq.example"], &[], "mq.example.net"), Err((10, DropReason::TlsServerName)));
        assert_eq!(heard(&[], &[], "anything"), Ok(()));
        let admin = "system2e-admin2e-svrconn.chl.mq.ibm.com";
        assert_eq!(heard(&[], &[], admin), Err((16, DropReason::MqAdministration)));
    }
}
