//! What `portcullis explain` reads: captures, IKE_SA_INIT messages, and proposals that somebody pasted.

use std::path::Path;
use std::sync::LazyLock;

use portcullis::config::{self, Loaded, Places};
use portcullis::event::IkeReason;
use portcullis::ike::account::{self, Explained, Ours, Outcome, Page, Said, Topic};
use portcullis::lab::pcap_reader;
use portcullis::policy::TrafficSelector;
use portcullis::report::explain::{Device, Here, Source, read_proposal, report};
use portcullis::wire::ike::fuzz;
use portcullis::wire::ike::payload::{Id, Payload};

use super::seeds::{EVERY, LAB, REAL};
use super::{ike, steps};

/// Made once: they never change.
static LOADED: LazyLock<[(Loaded, Places); 3]> = LazyLock::new(|| {
    [LAB, REAL, EVERY].map(|text| {
        let loaded = config::load_text(Path::new("explain"), text, None).expect("a seed that loads");
        (loaded, config::places(text))
    })
});

/// Whose words are used, and those of nobody.
const DEVICES: [Option<Device>; 4] = [None, Some(Device::CiscoIosXe), Some(Device::CiscoAsa), Some(Device::Strongswan)];
/// The first byte of what a gateway has written down of exchanges.
pub(super) const ACCOUNT: u8 = 0xe1;
/// Exchanges of one input.
const MAX_PAGES: usize = 64;

/// A capture, an IKE message, and a text: whatever it is, it is explained in words that a terminal may be shown. Behind
/// [`ACCOUNT`] and a byte for the tunnel and the device: what a gateway would have heard in exchanges of every kind, and what became of them.
pub fn anything(data: &[u8]) {
    if let Some(([ACCOUNT, which], list)) = data.split_first_chunk() {
        let mut rest = list;
        let heard = std::iter::from_fn(|| steps::next(&mut rest)).take(MAX_PAGES);
        let which = usize::from(*which);
        let devices = &DEVICES[which >> 2 & 3..][..1];
        explained(heard.filter_map(|(what, with)| exchange(what, with)).collect(), Source::Gateway, which & 3, devices);
        return;
    }
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
    explained(pages, Source::Capture, 0, &DEVICES[1..]);
}

/// One exchange: what it was about, how it ended, and the peer's payloads as [`ike::framed`] reads them.
fn exchange(what: u8, with: &[u8]) -> Option<Page> {
    const TOPICS: [Topic; 6] =
        [Topic::IkeSaInit, Topic::IkeAuth, Topic::FirstChild, Topic::Child, Topic::RekeyChild, Topic::RekeyIke];
    let (&end, list) = with.split_first()?;
    let payloads = fuzz::inner_chain(&ike::framed(list)).ok()?;
    let outcome = match end {
        0 => Outcome::Open,
        1 => Outcome::Agreed,
        end => {
            let reason = IkeReason::ALL[usize::from(end - 2) % IkeReason::ALL.len()];
            account::failed(reason, if what & 0x20 == 0 { "" } else { "in words" })
        }
    };
    Some(Page {
        topic: TOPICS[usize::from(what & 7) % TOPICS.len()],
        by_us: what & 8 != 0,
        authenticated: what & 16 != 0,
        ago_s: u64::from(what) * 1000,
        outcome,
        theirs: heard(&payloads),
    })
}

/// What is written down of a message; of a name what can be printed.
fn heard(payloads: &[Payload]) -> Said {
    let name = |id: &Id| id.data.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
    let (mut sa, mut ke, mut notifies) = (None, None, Vec::new());
    for payload in payloads {
        match payload {
            Payload::Sa(found) => sa = Some(found),
            Payload::Ke(found) => ke = Some(found),
            Payload::Notify(notify) => notifies.push(notify.clone()),
            _ => {}
        }
    }
    let mut said = Said::in_clear(sa, ke, &notifies);
    for payload in payloads {
        match payload {
            Payload::IdI(id) => said.identity = Some(name(id)),
            Payload::IdR(id) => said.asks_for = Some(name(id)),
            Payload::Auth(auth) => said.auth = Some(auth.method.0),
            Payload::TsI(ts) => said.initiator_selectors = TrafficSelector::from_entries(&ts.selectors),
            Payload::TsR(ts) => said.responder_selectors = TrafficSelector::from_entries(&ts.selectors),
            _ => {}
        }
    }
    said
}

fn page(message: &[u8]) -> Option<Page> {
    let (header, theirs) = account::read_init(message)?;
    let by_us = header.flags.response;
    Some(Page { topic: Topic::IkeSaInit, by_us, authenticated: false, ago_s: 0, outcome: Outcome::Open, theirs })
}

fn explained(pages: Vec<Page>, source: Source, tunnel: usize, devices: &[Option<Device>]) {
    if pages.is_empty() {
        return;
    }
    let mut tunnels = LOADED.iter().flat_map(|(loaded, places)| loaded.ike.tunnels.iter().map(move |of| (of, places)));
    let (tunnel, places) = tunnels.nth(tunnel).expect("there are four");
    let explained = Explained { tunnel: tunnel.name.clone(), ours: Ours::of(tunnel), pages };
    for device in devices {
        let here = device.map(|_| Here { file: "file".to_owned(), places, tunnel: &tunnel.name });
        let report = report(&explained, source, here.as_ref(), *device);
        assert_eq!(report.negotiations.len(), explained.pages.len());
        assert!(report.negotiations.iter().all(|finding| !finding.reason.is_empty()), "a finding without a reason");
        assert!(device.is_some() || report.negotiations.iter().all(|finding| finding.change_peer.is_none()));
        let (text, short) = (report.text(true, 80), report.text(false, 80));
        assert!(!(text.clone() + &short).chars().any(|c| c.is_control() && c != '\n'), "words that a terminal obeys");
        let hearsay = report.negotiations.iter().any(|finding| !finding.authenticated && !finding.rows.is_empty());
        assert!(!hearsay || text.contains("UNAUTHENTICATED"), "hearsay that is not called so");
        assert!(short.len() <= text.len() && !short.is_empty());
        assert!(serde_json::to_string(&report).is_ok());
    }
}
