//! The other side for a Cisco router under IOS XE: IKEv2 proposals, policy, keyring and profile, transform sets, access
//! lists and a crypto map.
//!
//! A crypto map makes one child SA for each line of its access list, which is what our selectors are. Routers without
//! crypto maps take the same access list at a tunnel interface (IOS XE 16.12 and later); those lines come as comments.
//! A crypto map has one PFS group, so ESP suites with another one are left out. Extended sequence numbers exist on few
//! platforms and are left out.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use zeroize::Zeroizing;

use super::{Flow, Page, View, access_list, group_number, id_text};
use crate::crypto::suite::{Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::config::Start;
use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

pub(super) fn print(view: &View<'_>) -> Page {
    let mut page = Page::new("!");
    let name = format!("PORTCULLIS-{}", view.tunnel.name.to_uppercase());
    ike(&mut page, view, &name);
    keyring(&mut page, view, &name);
    profile(&mut page, view, &name);
    let (sets, group) = transform_sets(&mut page, view, &name);
    for v6 in [false, true] {
        let flows: Vec<_> = view.flows.iter().filter(|flow| flow.near.start.is_ipv6() == v6).collect();
        if flows.is_empty() {
            continue;
        }
        if v6 != view.here().is_ipv6() {
            page.missing("a crypto map does not carry IPv4 in IPv6 or IPv6 in IPv4");
            continue;
        }
        access_list(&mut page, view, &flows, &name, v6);
        crypto_map(&mut page, view, &sets, group, &name, v6);
    }
    if view.flows.is_empty() {
        page.missing("an access list: no rule names this tunnel");
    }
    if view.tunnel.start == Start::Disabled {
        page.missing("anything at all: `start = \"disabled\"` closes the tunnel to the peer");
    }
    page.without_ppk(view);
    page
}

const fn group(group: Group) -> Option<u16> {
    match group {
        Group::Curve25519 => None,
        known => Some(group_number(known)),
    }
}

const fn hash(mac: Mac) -> &'static str {
    match mac {
        Mac::HmacSha256 => "sha256",
        Mac::HmacSha384 => "sha384",
        Mac::HmacSha512 => "sha512",
    }
}

const fn prf(prf: PrfAlg) -> &'static str {
    match prf {
        PrfAlg::HmacSha256 => "sha256",
        PrfAlg::HmacSha384 => "sha384",
        PrfAlg::HmacSha512 => "sha512",
    }
}

/// One proposal for each suite: GCM and CBC do not stand in one.
fn ike(page: &mut Page, view: &View<'_>, name: &str) {
    page.note(format!("IKE: {}", view.from(&["ike", "preset"])));
    let mut proposals = Vec::new();
    for suite in &view.tunnel.ike {
        let Some(lines) = proposal(*suite) else {
            page.left_out(format!("IKE suite {suite} ({})", view.from(&["ike", "preset"])));
            continue;
        };
        let proposal = format!("{name}-{}", proposals.len() + 1);
        page.line(format!("crypto ikev2 proposal {proposal}"));
        for line in lines {
            page.line(line);
        }
        proposals.push(proposal);
    }
    if proposals.is_empty() {
        page.missing("any of the IKE suites");
    }
    page.line(format!("crypto ikev2 policy {name}"));
    page.line(format!(" match address local {}", view.here()));
    for proposal in proposals {
        page.line(format!(" proposal {proposal}"));
    }
    page.line("!");
}

fn proposal(suite: IkeSuite) -> Option<Vec<String>> {
    if !suite.additional.is_empty() {
        return None;
    }
    let cipher = match suite.cipher {
        Cipher::Aes256Gcm16 => "aes-gcm-256",
        Cipher::Aes128Gcm16 => "aes-gcm-128",
        Cipher::Aes256Cbc => "aes-cbc-256",
        Cipher::ChaCha20Poly1305 => return None,
    };
    let mut lines = vec![format!(" encryption {cipher}")];
    lines.extend(suite.mac.map(|mac| format!(" integrity {}", hash(mac))));
    lines.push(format!(" prf {}", prf(suite.prf)));
    lines.push(format!(" group {}", group(suite.group)?));
    Some(lines)
}

fn keyring(page: &mut Page, view: &View<'_>, name: &str) {
    page.note(format!("Key: {}", view.from(&["auth"])));
    page.line(format!("crypto ikev2 keyring {name}"));
    page.line(format!(" peer {name}"));
    match view.there() {
        IpAddr::V4(address) => page.line(format!("  address {address} 255.255.255.255")),
        IpAddr::V6(address) => page.line(format!("  address {address}/128")),
    }
    if let Some(psk) = view.tunnel.peer_auth.psk().filter(|_| view.with_secret) {
        let key = match view.key_text() {
            Some(text) => Zeroizing::new(text.to_owned()),
            None => Zeroizing::new(format!("hex {}", hex::encode(psk.expose()))),
        };
        page.line(Zeroizing::new(format!("  pre-shared-key {}", *key)).as_str());
    } else {
        // As a comment: pasted as it is, the reference itself would become the key.
        page.line(format!("  ! pre-shared-key <{}>", view.reference()));
    }
    page.line("!");
}

fn profile(page: &mut Page, view: &View<'_>, name: &str) {
    let (own, other) = (&view.tunnel.peer_id, &view.tunnel.local_id);
    page.note(format!("Identities: {}; {}", view.from(&["peer_id"]), view.from(&["local_id"])));
    page.line(format!("crypto ikev2 profile {name}"));
    page.line(format!(" match address local {}", view.here()));
    match identity(other) {
        Some(("address", text)) if other.kind == IdType::IPV4_ADDR => {
            page.line(format!(" match identity remote address {text} 255.255.255.255"));
        }
        Some(("address", text)) => page.line(format!(" match identity remote address {text}/128")),
        Some((kind, text)) => page.line(format!(" match identity remote {kind} {text}")),
        None => page.missing(format!("our identity ({}) in `match identity remote`", view.from(&["local_id"]))),
    }
    match identity(own) {
        Some((kind, text)) => page.line(format!(" identity local {kind} {text}")),
        None => page.missing(format!("the peer's identity ({}) in `identity local`", view.from(&["peer_id"]))),
    }
    page.line(" authentication remote pre-share");
    page.line(" authentication local pre-share");
    page.line(format!(" keyring local {name}"));
    page.line(format!(" dpd {} 5 periodic", view.tunnel.liveness.as_secs().clamp(10, 3600)));
    if view.has("ike_lifetime") {
        // 120 to 86400 seconds.
        page.line(format!(" lifetime {}", view.tunnel.ike_lifetime.hard.as_secs().clamp(120, 86_400)));
    }
    page.line(" no config-exchange request");
    page.line("!");
}

/// The word before an identity, and the identity.
fn identity(id: &Id) -> Option<(&'static str, String)> {
    match id.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => Some(("address", crate::config::identity::text(id))),
        IdType::FQDN => Some(("fqdn", id_text(id)?.to_owned())),
        IdType::RFC822_ADDR => Some(("email", id_text(id)?.to_owned())),
        IdType::KEY_ID => Some(("key-id", id_text(id)?.to_owned())),
        _ => None,
    }
}

/// Their names, and the PFS group that they share.
fn transform_sets(page: &mut Page, view: &View<'_>, name: &str) -> (Vec<String>, Option<Group>) {
    let from = view.from(&["esp", "preset"]);
    page.note(format!("ESP: {from}"));
    let usable = |suite: &&EspSuite| !suite.esn && transforms(**suite).is_some();
    let shared = view.tunnel.esp.iter().find(usable).and_then(|suite| suite.group);
    let mut sets: Vec<String> = Vec::new();
    for suite in &view.tunnel.esp {
        if suite.esn {
            page.left_out(format!("ESP suite {suite} ({from}): extended sequence numbers exist on few platforms"));
            continue;
        }
        let Some(transforms) = transforms(*suite) else {
            page.left_out(format!("ESP suite {suite} ({from})"));
            continue;
        };
        if suite.group != shared {
            page.left_out(format!(
                "ESP suite {suite} ({from}): a crypto map has one PFS group, that of the first suite"
            ));
            continue;
        }
        let set = format!("{name}-{}", sets.len() + 1);
        page.line(format!("crypto ipsec transform-set {set} {transforms}"));
        page.line(" mode tunnel");
        sets.push(set);
    }
    if sets.is_empty() {
        page.missing("any of the ESP suites");
    }
    page.line("!");
    (sets, shared)
}

fn transforms(suite: EspSuite) -> Option<String> {
    if !suite.additional.is_empty() {
        return None;
    }
    if let Some(wanted) = suite.group {
        group(wanted)?;
    }
    match (suite.cipher, suite.mac) {
        (Cipher::Aes256Gcm16, _) => Some("esp-gcm 256".to_owned()),
        (Cipher::Aes128Gcm16, _) => Some("esp-gcm 128".to_owned()),
        (Cipher::Aes256Cbc, Some(mac)) => Some(format!("esp-aes 256 esp-{}-hmac", hash(mac))),
        (Cipher::Aes256Cbc, None) | (Cipher::ChaCha20Poly1305, _) => None,
    }
}

fn access_list(page: &mut Page, view: &View<'_>, flows: &[&Flow<'_>], name: &str, v6: bool) {
    page.note("One child SA for each line.");
    page.line(if v6 { format!("ipv6 access-list {name}") } else { format!("ip access-list extended {name}") });
    for flow in flows {
        page.line(format!(" remark {}", view.rules(flow)));
        match entry(&flow.near, &flow.far) {
            Some(entry) => page.line(format!(" {entry}")),
            None => page.missing(format!("selectors {} and {}", flow.near, flow.far)),
        }
    }
    page.line("!");
}

fn entry(near: &TrafficSelector, far: &TrafficSelector) -> Option<String> {
    let v6 = near.start.is_ipv6();
    let protocol = match near.protocol {
        0 if v6 => "ipv6",
        0 => "ip",
        1 | 58 => "icmp",
        6 => "tcp",
        17 => "udp",
        _ => return None,
    };
    access_list::permit(protocol, near, far, Ipv4Net::hostmask)
}

fn crypto_map(page: &mut Page, view: &View<'_>, sets: &[String], group: Option<Group>, name: &str, v6: bool) {
    let sets = sets.join(" ");
    page.note("The number must be free, if there is a crypto map already.");
    page.line(format!("crypto map {}PORTCULLIS 10 ipsec-isakmp", if v6 { "ipv6 " } else { "" }));
    page.line(format!(" set peer {}", view.there()));
    settings(page, view, &sets, group, name);
    page.line(format!(" match address {name}"));
    page.line("!");
    view.other_heads().into_iter().for_each(|note| page.note(note));
    page.note(format!("The interface that has {}:", view.here()));
    page.line("interface <name of the interface>");
    page.line(if v6 { " ipv6 crypto map PORTCULLIS" } else { " crypto map PORTCULLIS" });
    page.line("!");
    if v6 {
        return;
    }
    page.note("Where there are no crypto maps, this in place of the crypto map (IOS XE 16.12 and later):");
    let mut profile = Page::new("!");
    settings(&mut profile, view, &sets, group, name);
    page.note(format!("crypto ipsec profile {name}"));
    for line in profile.body.lines() {
        page.note(line);
    }
    for line in [
        "interface Tunnel<number>".to_owned(),
        " ip unnumbered <name of the interface>".to_owned(),
        format!(" tunnel source {}", view.here()),
        " tunnel mode ipsec ipv4".to_owned(),
        format!(" tunnel destination {}", view.there()),
        format!(" tunnel protection ipsec policy ipv4 {name}"),
        format!(" tunnel protection ipsec profile {name}"),
    ] {
        page.note(line);
    }
}

/// What a crypto map and an IPsec profile have in common.
fn settings(page: &mut Page, view: &View<'_>, sets: &str, pfs: Option<Group>, name: &str) {
    page.line(format!(" set transform-set {sets}"));
    if let Some(number) = pfs.and_then(group) {
        page.line(format!(" set pfs group{number}"));
    }
    page.line(format!(" set ikev2-profile {name}"));
    if view.has("child_lifetime") {
        let seconds = view.tunnel.lifetime.hard_time.as_secs().clamp(120, 2_592_000);
        page.line(format!(" set security-association lifetime seconds {seconds}"));
    }
    // 4,608,000 kilobytes by default: at 1 Gbit/s that is a rekey every 37 seconds.
    page.line(" set security-association lifetime kilobytes disable");
}
