//! What `portcullis explain` reads: captures, IKE_SA_INIT messages, and proposals that somebody pasted.

use std::path::Path;
use std::sync::LazyLock;

use portcullis::config::{self, Loaded, Places};
use portcullis::ike::account::{self, Explained, Ours, Outcome, Page, Topic};
use portcullis::lab::pcap_reader;
use portcullis::report::explain::{Device, Here, Source, read_proposal, report};

use super::seeds::LAB;

/// Made once: it never changes.
static LOADED: LazyLock<(Loaded, Places)> =
    LazyLock::new(|| (config::load_text(Path::new("lab"), LAB, None).expect("a seed that loads"), config::places(LAB)));

/// A capture, an IKE message, and a text: whatever it is, it is explained in words that a terminal may be shown.
pub fn anything(data: &[u8]) {
    let mut pages = Vec::new();
    if let Ok(found) = pcap_reader::ike_datagrams(data) {
        assert!(found.iter().map(|captured| captured.bytes.len()).sum::<usize>() <= data.len(), "more than there was");
        pages.extend(found.iter().filter_map(|captured| page(&captured.bytes)));
    }
    pages.extend(page(data));
    if let Ok(text) = std::str::from_utf8(data) {
        match read_proposal(text) {
            Ok(read) => {
                assert!(read.iter().all(|page| !page.theirs.proposals.is_empty()), "a page about nothing");
                pages.extend(read);
            }
            Err(sentence) => assert!(!sentence.chars().any(char::is_control), "an error that a terminal obeys"),
        }
    }
    explained(pages);
}

fn page(message: &[u8]) -> Option<Page> {
    let (header, theirs) = account::read_init(message)?;
    let by_us = header.flags.response;
    Some(Page { topic: Topic::IkeSaInit, by_us, authenticated: false, ago_s: 0, outcome: Outcome::Open, theirs })
}

fn explained(pages: Vec<Page>) {
    if pages.is_empty() {
        return;
    }
    let here = Here { file: "lab".to_owned(), places: &LOADED.1, tunnel: "lab" };
    let tunnel = LOADED.0.ike.tunnels.first().expect("a tunnel");
    let explained = Explained { tunnel: tunnel.name.clone(), ours: Ours::of(tunnel), pages };
    for device in [Device::CiscoIosXe, Device::CiscoAsa, Device::Strongswan] {
        let report = report(&explained, Source::Capture, Some(&here), Some(device));
        assert_eq!(report.negotiations.len(), explained.pages.len());
        assert!(report.negotiations.iter().all(|finding| !finding.reason.is_empty()), "a finding without a reason");
        let text = report.text(true, 80);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "words that a terminal obeys");
        assert!(text.contains("UNAUTHENTICATED"), "hearsay that is not called so");
        assert!(serde_json::to_string(&report).is_ok());
    }
}
