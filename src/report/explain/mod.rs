//! `portcullis explain`: ours against theirs, the first thing that differs, why it failed in one sentence, and the line
//! to change.
//!
//! `compare` finds what differs, `mend` the line, `finding` the sentence, `words` reads a proposal as other gateways
//! print it. What nobody has authenticated is called so wherever it is shown.

mod compare;
mod finding;
mod mend;
mod words;

use std::fmt::Write as _;

use serde::Serialize;

use super::{duration, plain, table};
use crate::ike::account::{Explained, Outcome, Page, Said, Topic};

pub use super::peer_config::Device;
pub use finding::{Finding, Row};
pub use mend::Here;

/// Where what the peer said comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The running gateway took part.
    Gateway,
    /// A capture.
    Capture,
    /// A proposal that somebody pasted.
    Proposal,
}

/// Everything that can be said.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The tunnel.
    pub tunnel: String,
    /// Where what the peer said comes from.
    pub source: Source,
    /// One for each negotiation, the newest first.
    pub negotiations: Vec<Finding>,
}

/// Judges what was negotiated.
#[must_use]
pub fn report(explained: &Explained, source: Source, here: Option<&Here<'_>>, device: Option<Device>) -> Report {
    let findings = explained.pages.iter().map(|page| finding::judge(explained, page, here, device));
    Report { tunnel: explained.tunnel.clone(), source, negotiations: findings.collect() }
}

/// The proposals in a text: swanctl's words, what Cisco's `show crypto ikev2 proposal` prints, charon's log. As pages of
/// an exchange that the peer began; the error is a sentence.
pub fn read_proposal(text: &str) -> Result<Vec<Page>, String> {
    let offered = words::read(text)?;
    let mut pages = Vec::new();
    for (topic, esp) in [(Topic::IkeSaInit, false), (Topic::Child, true)] {
        let proposals: Vec<_> = offered.iter().filter(|offered| offered.esp == esp).cloned().collect();
        if !proposals.is_empty() {
            let theirs = Said { proposals, ..Said::default() };
            pages.push(Page { topic, by_us: false, authenticated: false, ago_s: 0, outcome: Outcome::Open, theirs });
        }
    }
    Ok(pages)
}

impl Report {
    /// The negotiations that matter now: those that failed and were not made good since, or the last ones that succeeded.
    fn relevant(&self) -> Vec<&Finding> {
        let newest = |finding: &&Finding| {
            let same = |other: &&Finding| other.topic == finding.topic;
            self.negotiations.iter().find(same).is_some_and(|first| std::ptr::eq(first, *finding))
        };
        let newest: Vec<_> = self.negotiations.iter().filter(newest).collect();
        let failed: Vec<_> = newest.iter().copied().filter(|finding| finding.outcome == "failed").collect();
        if failed.is_empty() { newest } else { failed }
    }

    /// For people; `all`: also what was made good since.
    #[must_use]
    pub fn text(&self, all: bool, width: usize) -> String {
        let shown: Vec<&Finding> = if all { self.negotiations.iter().collect() } else { self.relevant() };
        let mut out = String::new();
        if shown.is_empty() {
            let _ = writeln!(out, "tunnel {}: nothing has been negotiated yet", plain(&self.tunnel));
        }
        for (index, finding) in shown.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out.push_str(&self.one(finding, width));
        }
        out
    }

    fn one(&self, finding: &Finding, width: usize) -> String {
        let asked = match (self.source, finding.by_us) {
            (Source::Proposal, _) => "a proposal of the peer".to_owned(),
            (_, true) => "we asked".to_owned(),
            (_, false) => "the peer asked".to_owned(),
        };
        let ago = match self.source {
            Source::Gateway => format!(", {} ago", duration(finding.ago_s)),
            Source::Capture | Source::Proposal => String::new(),
        };
        let outcome = match &finding.code {
            Some(code) => format!("{} ({code})", finding.outcome),
            None => finding.outcome.to_owned(),
        };
        let mut out = format!("tunnel {}: {}, {asked}{ago}: {outcome}\n", plain(&self.tunnel), finding.exchange);
        let peer = if finding.authenticated { "THE PEER" } else { "THE PEER (UNAUTHENTICATED) SAYS" };
        let rows: Vec<[String; 4]> = finding
            .rows
            .iter()
            .map(|row| {
                let mark = if row.same { "" } else { "!=" };
                [format!("  {}", row.what), row.ours.clone(), mark.to_owned(), row.theirs.clone()]
            })
            .collect();
        out.push_str(&table::table(["", "OURS", "", peer], &rows, width));
        let mut pairs = Vec::new();
        if let Some(differs) = &finding.differs {
            pairs.push(("differs", differs.clone()));
        }
        pairs.push(("reason", finding.reason.clone()));
        pairs.extend(finding.change_ours.iter().map(|line| ("change here", line.clone())));
        pairs.extend(finding.change_peer.iter().map(|line| ("or at the peer", line.clone())));
        out.push_str(&table::pairs(&pairs));
        out
    }
}

#[cfg(test)]
mod tests;
