//! `portcullis import`: from the configuration of strongSwan or libreswan to ours.
//!
//! Two parsers of people's files (`settings` for swanctl.conf, `ipsec_conf`), what the settings mean (`swanctl`,
//! `ipsec_conf`), one picture of a peer (`peer`), and ours written from it (`write`). What has no counterpart here is
//! told with its line. Left out: other files that the file names, ipsec.secrets, and what only certificates need.

mod ipsec_conf;
mod peer;
mod proposal;
mod settings;
mod swanctl;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use zeroize::Zeroizing;

use super::ConfigError;
use super::raw::printable;

use peer::Losses;
pub use peer::Lost;

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// swanctl.conf: nested sections in braces.
    Swanctl,
    /// ipsec.conf: `conn NAME` and indented settings.
    Ipsec,
}

/// What came of it.
pub struct Imported {
    /// Our file. It holds secrets if they were asked for.
    pub toml: Zeroizing<String>,
    /// What could not be carried over, in the order of the file.
    pub lost: Vec<Lost>,
}

/// A file that cannot be read as what it is taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Syntax {
    /// The line, from one.
    pub line: usize,
    /// The column in characters, from one.
    pub column: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Reads a file of at most a mebibyte.
pub fn read(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    super::read(path).map(Zeroizing::new)
}

/// Reads the text of another gateway's configuration and writes ours.
pub fn import(text: &str, from: Option<Format>, with_secret: bool) -> Result<Imported, Syntax> {
    let mut losses = Losses::default();
    let format = from.unwrap_or_else(|| format_of(text));
    let peers = match format {
        Format::Swanctl => swanctl::peers(&settings::parse(text)?, &mut losses),
        Format::Ipsec => ipsec_conf::peers(&ipsec_conf::parse(text)?, &mut losses),
    };
    if peers.is_empty() {
        losses.note(1, "no connection in this file could be carried over");
    }
    let (toml, whole) = write::toml(&peers, format, with_secret, &mut losses);
    if whole && !peers.is_empty() {
        check(&toml, &mut losses);
    }
    Ok(Imported { toml, lost: losses.finish() })
}

/// Our own loader has the last word on what was written.
fn check(toml: &str, losses: &mut Losses) {
    if let Err(refused) = super::load_text(Path::new("imported.toml"), toml, None) {
        for error in &refused.errors {
            let mend = error.mend().unwrap_or_default();
            losses.note(0, format!("what was written does not load yet: {}; {mend}", error.message()));
        }
    }
}

/// ipsec.conf has lines that begin with a kind of section and its name; in swanctl.conf braces follow.
fn format_of(text: &str) -> Format {
    let begins = |line: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("conn" | "config" | "ca"))
            && words.next().is_some_and(|name| !name.starts_with('{'))
    };
    if text.lines().any(begins) { Format::Ipsec } else { Format::Swanctl }
}

/// A value as it may stand in a message.
fn shown(value: &str) -> String {
    printable(value)
}
