//! `[tunnel.NAME]`: one peer, what we prove to each other, and what protects the packets.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{self, Auth};
use super::lifetime::{self, Lifetimes};
use super::{choice, find, name_holds, peering, ppk};
use crate::config::Agreement;
use crate::config::identity;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, Named, bounded, printable};
use crate::config::secrets::Sources;
use crate::crypto::preset::{PRESETS, Preset};
use crate::crypto::suite::{Cipher, EspSuite, IkeSuite};
use crate::crypto::written::SuiteError;
use crate::ike::config::{Peering, Ppk, Start};
use crate::policy::SelectorMode;
use crate::wire::ike::payload::Id;

/// RFC 4303 §3.4.3 asks for at least 32 and prefers 64; a fast path that reorders needs far more.
const REPLAY_WINDOW: u32 = 4096;
/// Child SAs with the same selectors: as many as there may be workers.
const MAX_LANES: i64 = 16;
/// Silence after which the peer is probed.
const LIVENESS: Duration = Duration::from_secs(30);

/// A tunnel that holds.
#[derive(Debug)]
pub(in crate::config) struct Tunnel {
    pub(in crate::config) name: String,
    pub(in crate::config) agreement: String,
    pub(in crate::config) lab: bool,
    pub(in crate::config) local: IpAddr,
    pub(in crate::config) peer: IpAddr,
    pub(in crate::config) peering: Peering,
    pub(in crate::config) local_id: Id,
    pub(in crate::config) peer_id: Id,
    pub(in crate::config) auth: Auth,
    pub(in crate::config) ike: Vec<IkeSuite>,
    pub(in crate::config) esp: Vec<EspSuite>,
    pub(in crate::config) start: Start,
    pub(in crate::config) force_encapsulation: bool,
    pub(in crate::config) fragmentation: bool,
    pub(in crate::config) ppk: Option<Arc<Ppk>>,
    pub(in crate::config) selectors: SelectorMode,
    pub(in crate::config) lanes: u8,
    pub(in crate::config) replay_window: u32,
    pub(in crate::config) liveness: Duration,
    pub(in crate::config) lifetimes: Lifetimes,
}

/// Checks one tunnel by itself.
pub(super) fn check(
    named: &Named<raw::Tunnel>,
    raw_agreements: &[Named<raw::Agreement>],
    agreements: &[Option<Agreement>],
    sources: Sources,
    problems: &mut Problems,
) -> Option<Tunnel> {
    let raw = &named.body;
    let name_holds = name_holds("a tunnel", &named.name, problems);
    let agreement = raw
        .agreement
        .as_ref()
        .and_then(|name| find("agreement", name, raw_agreements, problems))
        .and_then(|position| agreements.get(position)?.as_ref());
    let (local, peers) = peering::ends(raw, problems);
    let peer = peers.as_ref().and_then(|peers| peers.first().copied());
    let local_id = identity_of("local_id", raw.local_id.as_ref(), local, problems);
    let peer_id = identity_of("peer_id", raw.peer_id.as_ref(), peer, problems);
    let peering = peering::check(raw, peers, agreement, problems);
    let auth = auth::check(raw, [local_id.as_ref(), peer_id.as_ref()], sources, problems);
    let ppk = ppk::check(raw, auth.as_ref(), sources, problems);
    let suites = suites(named, agreement, problems);
    let opened_by_peer = auth.as_ref().is_some_and(|auth| auth.peer.is_eap());
    let start = match &raw.start {
        Some(start) if opened_by_peer && ["always", "on-demand"].contains(&start.get_ref().as_str()) => {
            problems
                .error(&start.span(), "a peer that proves itself by EAP opens the tunnel itself", "this start")
                .mend("RFC 7296 §2.16: the side that is called cannot prove itself by EAP; write \"manual\", or take it out");
            None
        }
        Some(start) => {
            let words = [
                ("always", Start::Always),
                ("on-demand", Start::OnDemand),
                ("manual", Start::Manual),
                ("disabled", Start::Disabled),
            ];
            choice("start", start, &words, problems)
        }
        None if opened_by_peer => Some(Start::Manual),
        None => Some(Start::Always),
    };
    let force_encapsulation = match &raw.encapsulation {
        Some(word) => choice("encapsulation", word, &[("auto", false), ("forced", true)], problems),
        None => Some(false),
    };
    let fragmentation = match &raw.fragmentation {
        Some(word) => choice("fragmentation", word, &[("on", true), ("off", false)], problems),
        None => Some(true),
    };
    let selectors = match &raw.selectors {
        Some(word) => {
            choice("selectors", word, &[("host", SelectorMode::Host), ("service", SelectorMode::Service)], problems)
        }
        None => Some(SelectorMode::Host),
    };
    let lanes = match &raw.lanes {
        Some(lanes) => bounded("lanes", lanes, 1..=MAX_LANES, problems),
        None => Some(1),
    };
    let replay_window = match &raw.replay_window {
        // RFC 4303 §2.2.1 makes the receiver guess the high bits of an extended number from its window: with no
        // window there is no guess, so zero ("no anti-replay") does not exist here.
        Some(window) => bounded("replay_window", window, 64..=65_536, problems),
        None => Some(REPLAY_WINDOW),
    };
    let liveness = match &raw.liveness {
        Some(seconds) => bounded("liveness", seconds, 5..=3600, problems).map(Duration::from_secs),
        None => Some(LIVENESS),
    };
    let lifetimes = lifetime::check(raw, problems);
    let (ike, esp) = suites?;
    let agreement = agreement?;
    name_holds.then_some(())?;
    Some(Tunnel {
        name: named.name.get_ref().clone(),
        agreement: agreement.name.clone(),
        lab: agreement.lab,
        local: local?,
        peer: peer?,
        peering: peering?,
        local_id: local_id?,
        peer_id: peer_id?,
        auth: auth?,
        ike,
        esp,
        start: start?,
        force_encapsulation: force_encapsulation?,
        fragmentation: fragmentation?,
        ppk: ppk?,
        selectors: selectors?,
        lanes: lanes?,
        replay_window: replay_window?,
        liveness: liveness?,
        lifetimes: lifetimes?,
    })
}

fn identity_of(key: &str, value: Option<&At<String>>, default: Option<IpAddr>, problems: &mut Problems) -> Option<Id> {
    let Some(value) = value else { return default.map(identity::of_address) };
    match identity::parse(value.get_ref()) {
        Ok(id) => Some(id),
        Err(mend) => {
            problems.error(&value.span(), format!("`{key}` is not an identity"), "this value").mend(mend);
            None
        }
    }
}

type Suites = (Vec<IkeSuite>, Vec<EspSuite>);

fn suites(named: &Named<raw::Tunnel>, agreement: Option<&Agreement>, problems: &mut Problems) -> Option<Suites> {
    let raw = &named.body;
    if let Some(preset) = &raw.preset {
        for (key, list) in [("ike", &raw.ike), ("esp", &raw.esp)] {
            if let Some(list) = list {
                problems
                    .error(&list.span(), format!("`{key}` and `preset` exclude each other"), "this list")
                    .also(&preset.span(), "this preset has lists of its own")
                    .mend("keep one of them");
            }
        }
        let found = Preset::named(preset.get_ref());
        if found.is_none() {
            let known = PRESETS.map(|preset| preset.name);
            let noted = problems.error(
                &preset.span(),
                format!("there is no preset \"{}\"", printable(preset.get_ref())),
                "not a preset",
            );
            match raw::nearest(preset.get_ref(), known.iter().copied()) {
                Some(near) => noted.mend(format!("did you mean \"{near}\"?")),
                None => noted.mend(format!("the presets are {}", known.join(", "))),
            }
        }
        return found.map(|preset| (preset.ike_suites(), preset.esp_suites()));
    }
    let ike = list("ike", raw.ike.as_ref(), named, problems);
    let esp = list("esp", raw.esp.as_ref(), named, problems);
    if let Some(agreement) = agreement
        && !agreement.lab
    {
        let ike = ike.iter().flatten().map(|(span, suite): &(Span, IkeSuite)| (span, suite.cipher));
        let esp = esp.iter().flatten().map(|(span, suite): &(Span, EspSuite)| (span, suite.cipher));
        for (span, cipher) in ike.chain(esp) {
            aes256_only(span, cipher, &agreement.name, problems);
        }
    }
    Some((ike?.into_iter().map(|(_, suite)| suite).collect(), esp?.into_iter().map(|(_, suite)| suite).collect()))
}

fn list<T: FromStr<Err = SuiteError> + PartialEq>(
    key: &str,
    value: Option<&At<Vec<At<String>>>>,
    named: &Named<raw::Tunnel>,
    problems: &mut Problems,
) -> Option<Vec<(Span, T)>> {
    let Some(value) = value else {
        problems
            .error(
                &named.name.span(),
                format!("[tunnel.{}] has neither `{key}` nor `preset`", named.name.get_ref()),
                format!("`{key}` is missing here"),
            )
            .mend(match key {
                "ike" => "add ike = [\"aes256gcm16-prfsha384-ecp384\"], or a preset",
                _ => "add esp = [\"aes256gcm16-ecp384-esn\", \"aes256gcm16-ecp384\"], or a preset",
            });
        return None;
    };
    let mut suites: Vec<(Span, T)> = Vec::new();
    for text in value.get_ref() {
        match text.get_ref().parse() {
            Ok(suite) if suites.iter().any(|(_, other)| *other == suite) => problems
                .error(&text.span(), format!("`{key}` names this suite twice"), "again")
                .mend("take one of them out"),
            Ok(suite) => suites.push((text.span(), suite)),
            Err(error) => problems
                .error(&within(text, &error.at), format!("`{key}` has no such suite: {error}"), "here")
                .mend(match key {
                    "ike" => {
                        "write cipher-prf-group or cipher-hash-group, such as aes256gcm16-prfsha384-ecp384 or \
                              aes256-sha384-ecp384"
                    }
                    _ => "write cipher[-hash][-group][-esn], such as aes256gcm16-ecp384-esn or aes256-sha256-modp2048",
                }),
        }
    }
    (suites.len() == value.get_ref().len()).then_some(suites)
}

/// The place of some bytes of a string. With escapes in it the string is longer in the file than in itself; then the
/// whole string is the place.
fn within(text: &At<String>, bytes: &Span) -> Span {
    let whole = text.span();
    if whole.len() != text.get_ref().len() + 2 || bytes.end > text.get_ref().len() {
        return whole;
    }
    whole.start + 1 + bytes.start..whole.start + 1 + bytes.end
}

fn aes256_only(span: &Span, cipher: Cipher, agreement: &str, problems: &mut Problems) {
    if cipher.is_aes256() {
        return;
    }
    problems
        .error(
            span,
            format!("agreement `{agreement}` asks for AES 256 bit (CBP §2a), for IKE and for ESP"),
            "this suite is not AES-256",
        )
        .mend("use aes256gcm16 or aes256; other ciphers are for agreements of kind = \"lab\"");
}
