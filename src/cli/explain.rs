//! `explain`: the last negotiations of a tunnel, from the running gateway, from a capture, or against a pasted proposal.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::words::Negotiation;
use crate::config::{self, Loaded, Places};
use crate::ike::account::{self, Explained, Ours, Outcome, Page, Said, Topic};
use crate::lab::pcap_reader::{self, Captured};
use crate::report;
use crate::report::explain::{Device, Here, Source, read_proposal};
use crate::runtime::protocol::{Answer, Request};

/// Longest proposal on standard input.
const MAX_TEXT: u64 = 64 * 1024;

/// Asks, compares, prints.
pub(super) fn explain(socket: Option<PathBuf>, about: &Negotiation, out: &mut dyn Write) -> Result<Exit, Failure> {
    let file = config::load_with_places(&about.file, false);
    let (explained, source, file) = if let Some(text) = &about.proposal {
        let (loaded, places) = file?;
        let pages = read_proposal(&proposal(text)?).map_err(Failure::Usage)?;
        (from_file(&loaded, about, pages)?, Source::Proposal, Some((loaded, places)))
    } else if let Some(capture) = &about.pcap {
        let (loaded, places) = file?;
        let pages = captured(&loaded, about, capture)?;
        (from_file(&loaded, about, pages)?, Source::Capture, Some((loaded, places)))
    } else {
        // Without the file there are no lines to name, and the rest is said all the same.
        (from_gateway(socket, &about.name)?, Source::Gateway, file.ok())
    };
    let here =
        file.as_ref().map(|(_, places)| Here { file: about.file.display().to_string(), places, tunnel: &about.name });
    let device =
        about.device.map(Device::from).or_else(|| preset(file.as_ref().map(|(_, places)| places), &about.name));
    let report = report::explain::report(&explained, source, here.as_ref(), device);
    if about.json {
        let line = serde_json::to_string(&report).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        out.write_all(report.text(about.all || source != Source::Gateway, report::width()).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn proposal(text: &str) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    let input = std::io::stdin().take(MAX_TEXT).read_to_string(&mut read);
    input.map_err(|error| Failure::system("cannot read the proposal from standard input", error))?;
    Ok(read)
}

/// The device that a preset is for.
fn preset(places: Option<&Places>, tunnel: &str) -> Option<Device> {
    match places?.preset(tunnel)? {
        "cisco-ios-xe" => Some(Device::CiscoIosXe),
        "cisco-asa" => Some(Device::CiscoAsa),
        "strongswan" => Some(Device::Strongswan),
        _ => None,
    }
}

fn from_gateway(socket: Option<PathBuf>, tunnel: &str) -> Result<Explained, Failure> {
    match Client::connect(socket)?.ask(&Request::Explain { tunnel: tunnel.to_owned() })? {
        (Answer::Explained(explained), _) => Ok(*explained),
        _ => Err(Failure::Refused("the gateway answers something else".to_owned())),
    }
}

fn from_file(loaded: &Loaded, about: &Negotiation, pages: Vec<Page>) -> Result<Explained, Failure> {
    let tunnel = loaded.ike.tunnels.iter().find(|tunnel| tunnel.name == about.name).ok_or_else(|| {
        let known: Vec<_> = loaded.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
        let name = report::plain(&about.name);
        Failure::Usage(format!(
            "there is no tunnel {name} in {}; there are {}",
            loaded.path.display(),
            known.join(", ")
        ))
    })?;
    Ok(Explained { tunnel: about.name.clone(), ours: Ours::of(tunnel), pages })
}

/// The last IKE_SA_INIT of either side in a capture, as far as it concerns the tunnel.
fn captured(loaded: &Loaded, about: &Negotiation, capture: &Path) -> Result<Vec<Page>, Failure> {
    let file = super::read_capture(capture)?;
    let found = pcap_reader::ike_datagrams(&file).map_err(Failure::Usage)?;
    let ends = loaded.tunnels.iter().find(|tunnel| tunnel.name == about.name).map(|of| (of.local, of.peer));
    let pages = pages(&found, ends);
    if pages.is_empty() {
        return Err(Failure::Usage(format!("{} holds no IKE_SA_INIT of this tunnel", capture.display())));
    }
    Ok(pages)
}

/// One page for requests of the peer, one for answers to ours.
fn pages(found: &[Captured], ends: Option<(IpAddr, IpAddr)>) -> Vec<Page> {
    let of_peer = |captured: &&Captured| ends.is_some_and(|(_, peer)| captured.source.ip() == peer);
    // Behind a NAT the addresses are others: then everything counts that we have not sent.
    let any = found.iter().any(|captured| of_peer(&captured));
    let from_peer = found.iter().filter(|captured| {
        if any { of_peer(captured) } else { ends.is_none_or(|(local, _)| captured.source.ip() != local) }
    });
    let mut asked: Option<Page> = None;
    let mut answered: Option<Page> = None;
    for (header, said) in from_peer.filter_map(|captured| account::read_init(&captured.bytes)) {
        let by_us = header.flags.response;
        let outcome = outcome(&said, by_us);
        let page = Page { topic: Topic::IkeSaInit, by_us, authenticated: false, ago_s: 0, outcome, theirs: said };
        *(if by_us { &mut answered } else { &mut asked }) = Some(page);
    }
    answered.into_iter().chain(asked).collect()
}

/// What an answer says of itself.
fn outcome(said: &Said, by_us: bool) -> Outcome {
    use crate::event::IkeReason;
    use crate::wire::ike::numbers::NotifyType;
    let has = |kind: NotifyType| said.errors.contains(&kind.0);
    let failed = |reason: IkeReason| account::failed(reason, "");
    match by_us {
        true if has(NotifyType::NO_PROPOSAL_CHOSEN) => failed(IkeReason::NoProposalChosen),
        true if has(NotifyType::INVALID_KE_PAYLOAD) => failed(IkeReason::InvalidKe),
        true if !said.errors.is_empty() => failed(IkeReason::PeerError),
        true if !said.proposals.is_empty() => Outcome::Agreed,
        _ => Outcome::Open,
    }
}
