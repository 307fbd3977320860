//! Everything that is kept, as one text: a line that says what it is, and JSON whose digest stands in that line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::clock::built;
use super::digest::Digest;
use super::entry::Entry;

/// The version of the format. A file of a later one is not read: it may say "suspended" in words that are not known here.
const FORMAT: u32 = 1;
/// A book of thousands of agreements is shorter.
pub(super) const MAX_LENGTH: usize = 64 << 20;

/// What is kept of all agreements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Counts up with each writing.
    pub(super) serial: u64,
    /// The highest time of day that was ever seen.
    pub(super) highest: Timestamp,
    /// The agreements, also those that the file does not name any more.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// What was kept does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin as such a file does.
    #[error("it is not a file of this kind")]
    Foreign,
    /// It was written by a later version.
    #[error("it has format {0}, which a later version has written")]
    Later(u32),
    /// Its digest is not the one that it names.
    #[error("its digest is wrong")]
    Digest,
    /// It reads well, and says something that cannot be.
    #[error("it says something that cannot be")]
    Nonsense,
}

impl Default for Book {
    fn default() -> Self {
        Self { serial: 0, highest: built(), entries: BTreeMap::new() }
    }
}

impl Book {
    /// How often it was written.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// As it is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal("agreements", self)
    }

    /// From what was kept.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        open("agreements", bytes)
    }
}

/// The head line, and the body behind it.
pub(super) fn seal<T: Serialize>(kind: &str, value: &T) -> Vec<u8> {
    seal_bytes(kind, &serde_json::to_vec(value).expect("names, days and words are JSON"))
}

/// The head line, and whatever this body is.
pub(super) fn seal_bytes(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("portcullis {kind} {FORMAT} {}\n", Digest::of(body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes.push(b'\n');
    bytes
}

/// The value, if the whole is as it was written.
pub(super) fn open<T: DeserializeOwned + Serialize>(kind: &str, bytes: &[u8]) -> Result<T, Damage> {
    let end = bytes.iter().take(200).position(|byte| *byte == b'\n').ok_or(Damage::Foreign)?;
    let (head, rest) = bytes.split_at_checked(end).ok_or(Damage::Foreign)?;
    let head = std::str::from_utf8(head).map_err(|_| Damage::Foreign)?;
    let mut words = head.split(' ');
    if (words.next(), words.next()) != (Some("portcullis"), Some(kind)) {
        return Err(Damage::Foreign);
    }
    match words.next().and_then(|format| format.parse().ok()) {
        Some(FORMAT) => {}
        Some(format) if format > FORMAT => return Err(Damage::Later(format)),
        _ => return Err(Damage::Foreign),
    }
    let digest: Digest = words.next().and_then(|digest| digest.parse().ok()).ok_or(Damage::Foreign)?;
    let body = rest.strip_prefix(b"\n").and_then(|body| body.strip_suffix(b"\n")).ok_or(Damage::Digest)?;
    if words.next().is_some() || Digest::of(body) != digest {
        return Err(Damage::Digest);
    }
    let value: T = serde_json::from_slice(body).map_err(|_| Damage::Nonsense)?;
    // One value has one text: whoever changes the file by hand and makes the digest right writes as we do, or not at all.
    if seal(kind, &value) == bytes { Ok(value) } else { Err(Damage::Nonsense) }
}
