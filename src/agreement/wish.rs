//! What the operator may want of an agreement, as it comes over the control socket.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;

/// More files than this are no evidence that anybody reads.
pub const MAX_EVIDENCE: usize = 64;
/// A reason, a reference, the name of a file.
const MAX_TEXT: usize = 256;

/// Something that the operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wish {
    /// Put a draft in force.
    Activate {
        /// The other organisation's word for it, or that by which `trust_clock` is asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authorisation: Option<String>,
        /// The highest time that was seen was wrong, and the clock is right: believe it again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        trust_clock: bool,
    },
    /// Record that it was reviewed today.
    Review {
        /// What was found, or where it is written down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A new term, and what the file says now as what was agreed.
    Renew {
        /// The day from which the new term runs; that of the file if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_day")]
        date: Option<Date>,
        /// The other organisation's word for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authorisation: Option<String>,
    },
    /// Stop everything now.
    Suspend {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The way back: remediation, evidence, authorisation.
    Resume {
        /// What shows that the incident is mended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        evidence: Vec<Evidence>,
        /// By what the other organisation has authorised the reconnection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authorisation: Option<String>,
    },
    /// Give notice, or end it.
    Terminate {
        /// When; in thirty days if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective: Option<Effective>,
    },
}

/// When an agreement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effective {
    /// At once.
    Now,
    /// At the end of this day.
    On(#[serde(deserialize_with = "day")] Date),
}

/// A day as it is written here, and in no other of the ways that ISO 8601 has.
fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = String::deserialize(deserializer)?;
    let day: Option<Date> = text.parse().ok().filter(|day: &Date| day.to_string() == text);
    day.ok_or_else(|| serde::de::Error::custom("a day is written as 2027-01-31"))
}

fn some_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    day(deserializer).map(Some)
}

/// A file that shows something: only its digest is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Its name, without its folder.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    pub(super) fn new<T>(why: impl Into<String>) -> Result<T, Self> {
        Err(Self(why.into()))
    }
}

impl Wish {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Activate { .. } => "activate",
            Self::Review { .. } => "review",
            Self::Renew { .. } => "renew",
            Self::Suspend { .. } => "suspend",
            Self::Resume { .. } => "resume",
            Self::Terminate { .. } => "terminate",
        }
    }

    /// Whether what it says can be kept and shown.
    pub(super) fn holds(&self) -> Result<(), Refusal> {
        let (texts, evidence): (Vec<&String>, &[Evidence]) = match self {
            Self::Activate { authorisation, .. } | Self::Renew { authorisation, .. } => {
                (authorisation.iter().collect(), &[])
            }
            Self::Review { note } => (note.iter().collect(), &[]),
            Self::Suspend { reason } => (reason.iter().collect(), &[]),
            Self::Resume { evidence, authorisation } => (authorisation.iter().collect(), evidence),
            Self::Terminate { .. } => (Vec::new(), &[]),
        };
        if evidence.len() > MAX_EVIDENCE {
            return Refusal::new(format!(
                "up to {MAX_EVIDENCE} files are taken as evidence at a time; put them in an archive"
            ));
        }
        for text in texts.into_iter().chain(evidence.iter().map(|evidence| &evidence.file)) {
            if text.trim().is_empty() || text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
                return Refusal::new(format!(
                    "a reason, a reference or a name is one line of 1 to {MAX_TEXT} characters"
                ));
            }
        }
        Ok(())
    }
}
