//! What a rule demands of the bytes of its flows: which protocol, and what of it the agreement allows.
//!
//! Plain data, made when the configuration is loaded; `inspect::recognise` holds the bytes against it. Every list is bounded,
//! and an empty one demands nothing. Left out: what encryption hides (docs/POLICY.md).

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::rule::Service;
use super::suites;

/// More names than this stand in no list: each is one bit of what is remembered while a name is heard.
pub const MAX_NAMES: usize = 64;

/// Whether a flow that says something else is ended, or only told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The first illegal byte ends the flow.
    #[default]
    Enforce,
    /// The flow passes; what was wrong is counted and told.
    Observe,
}

impl Mode {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// What is demanded of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inspection {
    /// Nothing: its bytes are not looked at.
    #[default]
    Uninspected,
    /// IBM MQ, bare or in TLS.
    Mq(MqLimits),
    /// SSH 2.
    Ssh(SshLimits),
    /// Mail.
    Smtp(SmtpLimits),
    /// TLS.
    Tls(TlsLimits),
}

impl Inspection {
    /// What `service` demands where the rule says nothing more.
    #[must_use]
    pub fn of(service: Service) -> Self {
        match service {
            Service::Mq => Self::Mq(MqLimits::default()),
            Service::Sftp => Self::Ssh(SshLimits::default()),
            Service::Smtp => Self::Smtp(SmtpLimits::default()),
            Service::Tls => Self::Tls(TlsLimits::default()),
            Service::Tcp | Service::Udp | Service::Echo => Self::Uninspected,
        }
    }

    /// The protocol in a word, as `check`, `status` and events show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Uninspected => "uninspected",
            Self::Mq(_) => "mq",
            Self::Ssh(_) => "ssh",
            Self::Smtp(_) => "smtp",
            Self::Tls(_) => "tls",
        }
    }

    /// Whether nothing is looked at.
    #[must_use]
    pub const fn is_uninspected(&self) -> bool {
        matches!(self, Self::Uninspected)
    }
}

/// All that is demanded, in words of which the policy's digest is made and which `check` can show.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Uninspected => Ok(()),
            Self::Mq(mq) => {
                for (spoken, role) in [(mq.client, " client"), (mq.server, " server")] {
                    f.write_str(if spoken { role } else { "" })?;
                }
                mq.channels.write(f, "channels")?;
                mq.queue_managers.write(f, "queue-managers")?;
                mq.queues.write(f, "queues")?;
                write!(f, " tls {}{}", mq.wrapping.as_str(), mq.handshake)
            }
            Self::Ssh(ssh) => ssh.ciphers.write(f, "ciphers"),
            Self::Smtp(smtp) => write!(f, " tls {}{}", smtp.wrapping.as_str(), smtp.handshake),
            Self::Tls(tls) => write!(f, "{tls}"),
        }
    }
}

/// What is allowed of IBM MQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqLimits {
    /// Client channels: MQI calls.
    pub client: bool,
    /// Message channels between queue managers.
    pub server: bool,
    /// Channels by name.
    pub channels: Names,
    /// Queue managers by name.
    pub queue_managers: Names,
    /// Queues, and other objects that are opened, by name.
    pub queues: Names,
    /// Whether MQ comes in TLS.
    pub wrapping: Wrapping,
    /// What is demanded of the TLS.
    pub handshake: TlsLimits,
}

impl Default for MqLimits {
    fn default() -> Self {
        Self {
            client: true,
            server: true,
            channels: Names::default(),
            queue_managers: Names::default(),
            queues: Names::default(),
            wrapping: Wrapping::default(),
            handshake: TlsLimits::default(),
        }
    }
}

/// What is allowed of SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshLimits {
    /// The ciphers that may be agreed on.
    pub ciphers: Names,
}

impl SshLimits {
    /// The ciphers where a rule names none: AES-256.
    pub const CIPHERS: &'static [&'static str] = &["aes256-gcm@openssh.com", "aes256-ctr"];
}

impl Default for SshLimits {
    fn default() -> Self {
        Self { ciphers: Names::exact(Self::CIPHERS.iter().copied()) }
    }
}

/// What is allowed of mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmtpLimits {
    /// Whether mail goes in TLS: by STARTTLS, or on port 465 from the first byte.
    pub wrapping: Wrapping,
    /// What is demanded of the TLS.
    pub handshake: TlsLimits,
}

/// What is allowed of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsLimits {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
    /// The suites that may be agreed on, by their numbers at IANA; empty for every one that encrypts.
    pub suites: BTreeSet<u16>,
    /// The server names that may be asked for.
    pub names: Names,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self { tls12: true, tls13: true, suites: BTreeSet::new(), names: Names::default() }
    }
}

impl fmt::Display for TlsLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (allowed, version) in [(self.tls12, " 1.2"), (self.tls13, " 1.3")] {
            f.write_str(if allowed { version } else { "" })?;
        }
        if !self.suites.is_empty() {
            f.write_str(" suites")?;
            self.suites.iter().try_for_each(|suite| write!(f, " {}", suites::name(*suite)))?;
        }
        self.names.write(f, "sni")
    }
}

/// Whether a conversation may, must or must not be wrapped in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrapping {
    /// It may.
    #[default]
    Allowed,
    /// It must.
    Required,
    /// It must not.
    Refused,
}

impl Wrapping {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Required => "required",
            Self::Refused => "refused",
        }
    }
}

/// A list of names, [`MAX_NAMES`] at most; empty for any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

/// One name of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its bytes, without the `*`.
    pub text: Box<[u8]>,
    /// Whether anything may follow: it was written with a `*` at its end.
    pub open: bool,
}

impl Names {
    /// A list of names in which a `*` at the end stands for any ending. `None`: there are too many.
    #[must_use]
    pub fn generic<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let name = |text: &str| match text.strip_suffix('*') {
            Some(start) => Name { text: start.as_bytes().into(), open: true },
            None => Name { text: text.as_bytes().into(), open: false },
        };
        // In an order of its own, so that the digest does not depend on how the list was written.
        let names: BTreeSet<_> = names.into_iter().map(name).collect();
        (names.len() <= MAX_NAMES).then(|| Self(names.into_iter().collect()))
    }

    /// A list of names as they are; what is more than [`MAX_NAMES`] is left out.
    #[must_use]
    pub fn exact<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: BTreeSet<_> =
            names.into_iter().map(|text| Name { text: text.as_bytes().into(), open: false }).collect();
        Self(names.into_iter().take(MAX_NAMES).collect())
    }

    /// Whether any name will do.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in their own order.
    #[must_use]
    pub fn as_slice(&self) -> &[Name] {
        &self.0
    }

    /// Whether `name` is one of them, or any will do.
    #[must_use]
    pub fn allow(&self, name: &[u8]) -> bool {
        self.is_any() || self.0.iter().any(|known| known.is(name))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        if self.is_any() {
            return Ok(());
        }
        write!(f, " {word}")?;
        self.0.iter().try_for_each(|name| {
            f.write_char(' ')?;
            name.text.iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))?;
            f.write_str(if name.open { "*" } else { "" })
        })
    }
}

impl Name {
    /// Whether `name` is this one.
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        if self.open { name.starts_with(&self.text) } else { *name == *self.text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_ending_and_an_empty_list_for_anything() {
        let names = Names::generic(["CBP.*", "REPLY"]).unwrap();
        for (name, allowed) in [("CBP.A", true), ("CBP.", true), ("CBP", false), ("REPLY", true), ("REPLY.A", false)] {
            assert_eq!(names.allow(name.as_bytes()), allowed, "{name}");
        }
        assert!(Names::default().allow(b"anything"));
        assert!(Names::generic((0..65).map(|_| "A")).is_some(), "the same name is one name");
        let many: Vec<_> = (0..65).map(|number| format!("Q{number}")).collect();
        assert_eq!(Names::generic(many.iter().map(String::as_str)), None);
    }

    #[test]
    fn the_text_names_every_demand_in_an_order_of_its_own() {
        let list = |names: &[&str]| Names::generic(names.iter().copied()).unwrap();
        let mq = |channels: &[&str]| {
            Inspection::Mq(MqLimits {
                server: false,
                channels: list(channels),
                queues: list(&["Q*"]),
                wrapping: Wrapping::Required,
                ..MqLimits::default()
            })
        };
        assert_eq!(mq(&["B", "A"]).to_string(), "mq client channels A B queues Q* tls required 1.2 1.3");
        assert_eq!(mq(&["B", "A"]), mq(&["A", "B"]));
        assert_eq!(Inspection::of(Service::Sftp).to_string(), "ssh ciphers aes256-ctr aes256-gcm@openssh.com");
        assert_eq!(Inspection::of(Service::Tcp).to_string(), "uninspected");
        let tls =
            TlsLimits { tls12: false, suites: [0x1302].into(), names: list(&["a.example"]), ..TlsLimits::default() };
        assert_eq!(Inspection::Tls(tls).to_string(), "tls 1.3 suites TLS_AES_256_GCM_SHA384 sni a.example");
    }
}
