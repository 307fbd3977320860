//! The other side for a Cisco Adaptive Security Appliance: IKEv2 policies, IPsec proposals, an access list, a tunnel
//! group and a crypto map.
//!
//! The appliance picks a tunnel group by the peer's address and says of itself its address, so identities of other types
//! are told as left out. A crypto map has one PFS group; there are no extended sequence numbers.

use ipnet::Ipv4Net;
use zeroize::Zeroizing;

use super::{Page, View, access_list, group_number, is_address};
use crate::crypto::suite::{Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::config::Start;
use crate::policy::selector::TrafficSelector;

pub(super) fn print(view: &View<'_>) -> Page {
    let mut page = Page::new("!");
    let name = format!("PORTCULLIS-{}", view.tunnel.name.to_uppercase());
    page.note("`outside` stands for the interface that has the address below; numbers must be free.");
    page.note(format!("{}: {}", view.from(&["peer"]), view.here()));
    view.other_heads().into_iter().for_each(|note| page.note(note));
    page.line("!");
    ike(&mut page, view);
    let (proposals, group) = ipsec_proposals(&mut page, view, &name);
    access_list(&mut page, view, &name);
    tunnel_group(&mut page, view, &name);
    crypto_map(&mut page, view, &proposals, group, &name);
    identities(&mut page, view);
    if view.tunnel.start == Start::Disabled {
        page.missing("anything at all: `start = \"disabled\"` closes the tunnel to the peer");
    }
    page.without_ppk(view);
    page
}

const fn hash(mac: Mac) -> &'static str {
    match mac {
        Mac::HmacSha256 => "256",
        Mac::HmacSha384 => "384",
        Mac::HmacSha512 => "512",
    }
}

const fn prf(prf: PrfAlg) -> &'static str {
    match prf {
        PrfAlg::HmacSha256 => "256",
        PrfAlg::HmacSha384 => "384",
        PrfAlg::HmacSha512 => "512",
    }
}

/// The word for a cipher, the same for IKE and ESP.
const fn cipher(cipher: Cipher) -> Option<&'static str> {
    match cipher {
        Cipher::Aes256Gcm16 => Some("aes-gcm-256"),
        Cipher::Aes128Gcm16 => Some("aes-gcm"),
        Cipher::Aes256Cbc => Some("aes-256"),
        Cipher::ChaCha20Poly1305 => None,
    }
}

fn ike(page: &mut Page, view: &View<'_>) {
    let from = view.from(&["ike", "preset"]);
    page.note(format!("IKE: {from}"));
    let mut number = 0;
    for suite in &view.tunnel.ike {
        let Some(lines) = policy(view, *suite) else {
            page.left_out(format!("IKE suite {suite} ({from})"));
            continue;
        };
        number += 10;
        page.line(format!("crypto ikev2 policy {number}"));
        for line in lines {
            page.line(line);
        }
    }
    if number == 0 {
        page.missing("any of the IKE suites");
    }
    page.line("crypto ikev2 enable outside");
    page.line("!");
}

fn policy(view: &View<'_>, suite: IkeSuite) -> Option<Vec<String>> {
    if !suite.additional.is_empty() {
        return None;
    }
    let integrity = suite.mac.map_or_else(|| "null".to_owned(), |mac| format!("sha{}", hash(mac)));
    Some(vec![
        format!(" encryption {}", cipher(suite.cipher)?),
        format!(" integrity {integrity}"),
        format!(" group {}", group_number(suite.group)),
        format!(" prf sha{}", prf(suite.prf)),
        format!(" lifetime seconds {}", view.tunnel.ike_lifetime.hard.as_secs().max(120)),
    ])
}

/// Their names, and the PFS group that they share.
fn ipsec_proposals(page: &mut Page, view: &View<'_>, name: &str) -> (Vec<String>, Option<Group>) {
    let from = view.from(&["esp", "preset"]);
    page.note(format!("ESP: {from}"));
    let usable = |suite: &&EspSuite| !suite.esn && suite.additional.is_empty() && cipher(suite.cipher).is_some();
    let shared = view.tunnel.esp.iter().find(usable).and_then(|suite| suite.group);
    let mut proposals: Vec<String> = Vec::new();
    for suite in &view.tunnel.esp {
        let (Some(cipher), true) = (cipher(suite.cipher), usable(&suite)) else {
            page.left_out(format!("ESP suite {suite} ({from})"));
            continue;
        };
        if suite.group != shared {
            page.left_out(format!(
                "ESP suite {suite} ({from}): a crypto map has one PFS group, that of the first suite"
            ));
            continue;
        }
        let proposal = format!("{name}-{}", proposals.len() + 1);
        page.line(format!("crypto ipsec ikev2 ipsec-proposal {proposal}"));
        page.line(format!(" protocol esp encryption {cipher}"));
        let integrity = suite.mac.map_or_else(|| "null".to_owned(), |mac| format!("sha-{}", hash(mac)));
        page.line(format!(" protocol esp integrity {integrity}"));
        proposals.push(proposal);
    }
    if proposals.is_empty() {
        page.missing("any of the ESP suites");
    }
    page.line("!");
    (proposals, shared)
}

fn access_list(page: &mut Page, view: &View<'_>, name: &str) {
    page.note("One child SA for each line. The same traffic must not be translated (NAT exemption).");
    for flow in &view.flows {
        page.line(format!("access-list {name} remark {}", view.rules(flow)));
        match entry(&flow.near, &flow.far) {
            Some(entry) => page.line(format!("access-list {name} extended {entry}")),
            None => page.missing(format!("selectors {} and {}", flow.near, flow.far)),
        }
    }
    if view.flows.is_empty() {
        page.missing("an access list: no rule names this tunnel");
    }
    page.line("!");
}

fn entry(near: &TrafficSelector, far: &TrafficSelector) -> Option<String> {
    let protocol = match near.protocol {
        0 => "ip",
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmp6",
        _ => return None,
    };
    access_list::permit(protocol, near, far, Ipv4Net::netmask)
}

fn tunnel_group(page: &mut Page, view: &View<'_>, name: &str) {
    let peer = view.there();
    page.note(format!("Key: {}", view.from(&["auth"])));
    page.line(format!("group-policy {name} internal"));
    page.line(format!("group-policy {name} attributes"));
    page.line(" vpn-tunnel-protocol ikev2");
    // Half an hour by default, after which an idle tunnel is deleted.
    page.line(" vpn-idle-timeout none");
    page.line(format!("tunnel-group {peer} type ipsec-l2l"));
    page.line(format!("tunnel-group {peer} general-attributes"));
    page.line(format!(" default-group-policy {name}"));
    page.line(format!("tunnel-group {peer} ipsec-attributes"));
    let key = view.key_text().filter(|_| view.with_secret);
    if view.with_secret && key.is_none() {
        page.missing("a key that is not text of at most 128 characters");
    }
    for side in ["remote", "local"] {
        match key {
            Some(key) => {
                let line = Zeroizing::new(format!(" ikev2 {side}-authentication pre-shared-key {key}"));
                page.line(line.as_str());
            }
            // As a comment: pasted as it is, the reference itself would become the key.
            None => page.line(format!(" ! ikev2 {side}-authentication pre-shared-key <{}>", view.reference())),
        }
    }
    page.line(format!(" isakmp keepalive threshold {} retry 5", view.tunnel.liveness.as_secs().clamp(10, 3600)));
    page.line("!");
}

fn crypto_map(page: &mut Page, view: &View<'_>, proposals: &[String], group: Option<Group>, name: &str) {
    let map = "crypto map outside_map 10";
    page.line(format!("{map} match address {name}"));
    page.line(format!("{map} set peer {}", view.there()));
    page.line(format!("{map} set ikev2 ipsec-proposal {}", proposals.join(" ")));
    if let Some(group) = group {
        page.line(format!("{map} set pfs group{}", group_number(group)));
    }
    if view.has("child_lifetime") {
        let seconds = view.tunnel.lifetime.hard_time.as_secs().max(120);
        page.line(format!("{map} set security-association lifetime seconds {seconds}"));
    }
    // 4,608,000 kilobytes by default: at 1 Gbit/s that is a rekey every 37 seconds.
    page.line(format!("{map} set security-association lifetime kilobytes unlimited"));
    page.line("crypto map outside_map interface outside");
}

/// It proves its address, so another `peer_id` refuses it; ours it does not look at beside a pre-shared key.
fn identities(page: &mut Page, view: &View<'_>) {
    let (own, other) = (&view.tunnel.peer_id, &view.tunnel.local_id);
    if !is_address(own, view.here()) {
        let (id, from) = (crate::config::identity::text(own), view.from(&["peer_id"]));
        page.missing(format!("identity {id} of the appliance ({from}): it is known by its address; take the line out"));
    }
    if !is_address(other, view.there()) {
        let (id, from) = (crate::config::identity::text(other), view.from(&["local_id"]));
        page.left_out(format!("identity {id} ({from}): the appliance finds the tunnel group by our address"));
    }
}
