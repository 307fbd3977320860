//! The other side for strongSwan: a whole swanctl.conf.
//!
//! Its words for suites are ours. Identities are written with their type, because strongSwan guesses it otherwise.

use zeroize::Zeroizing;

use super::{Flow, Page, View, id_text, network, shown};
use crate::ike::config::Start;
use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

pub(super) fn print(view: &View<'_>) -> Page {
    let mut page = Page::new("#");
    let tunnel = view.tunnel;
    let name = section(&tunnel.name);
    page.line("connections {");
    page.line(format!("  {name} {{"));
    page.line("    version = 2");
    let here: Vec<_> = tunnel.peers().map(|peer| peer.to_string()).collect();
    page.line(format!("    local_addrs = {}  # {}", here.join(", "), view.from(&["peer"])));
    page.line(format!("    remote_addrs = {}  # {}", view.there(), view.from(&["local"])));
    let ike: Vec<_> = tunnel.ike.iter().map(ToString::to_string).collect();
    page.line(format!("    proposals = {}  # {}", ike.join(", "), view.from(&["ike", "preset"])));
    if tunnel.peering.mobike {
        page.line(format!("    mobike = yes  # {}", view.from(&["mobike"])));
    } else {
        page.line("    mobike = no  # both addresses are fixed");
    }
    if tunnel.peering.request_address {
        page.missing(format!("`pools`: the inner address that is asked for ({})", view.from(&["request_address"])));
    }
    if !tunnel.peering.pool.is_empty() {
        let any = tunnel.peering.pool.iter().map(|net| if net.addr().is_ipv4() { "0.0.0.0" } else { "::" });
        page.line(format!("    vips = {}  # {}", any.collect::<Vec<_>>().join(", "), view.from(&["pool"])));
    }
    page.line("    unique = replace  # a gateway that comes again replaces what it had");
    page.line("    keyingtries = 0  # until it is up");
    page.line(format!("    dpd_delay = {}s  # {}", tunnel.liveness.as_secs(), view.from(&["liveness"])));
    if view.has("ike_lifetime") || view.has("rekey") {
        let (soft, hard) = (tunnel.ike_lifetime.soft.as_secs(), tunnel.ike_lifetime.hard.as_secs());
        page.line(format!("    rekey_time = {soft}s  # {}", view.from(&["ike_lifetime", "rekey"])));
        page.line(format!("    over_time = {}s", hard.saturating_sub(soft)));
    }
    if tunnel.force_encapsulation {
        page.line(format!("    encap = yes  # {}", view.from(&["encapsulation"])));
    }
    if let Some(ppk) = &tunnel.ppk {
        let id = String::from_utf8_lossy(&ppk.id);
        page.line(format!("    ppk_id = \"{id}\"  # {}", view.from(&["ppk"])));
        page.line(format!("    ppk_required = {}", if ppk.required { "yes" } else { "no" }));
    }
    let (theirs, ours) = (method(tunnel.peer_auth.word()), method(tunnel.local_auth.word()));
    end(&mut page, "local", theirs, &tunnel.peer_id, &view.from(&["peer_id"]));
    end(&mut page, "remote", ours, &tunnel.local_id, &view.from(&["local_id"]));
    page.line("    children {");
    for (number, flow) in view.flows.iter().enumerate() {
        child(&mut page, view, flow, &format!("{name}-{}", number + 1));
    }
    page.line("    }");
    page.line("  }");
    page.line("}");
    page.line("");
    if tunnel.local_auth.psk().is_some() || tunnel.peer_auth.psk().is_some() || tunnel.ppk.is_some() {
        secrets(&mut page, view, &name);
    }
    if view.flows.is_empty() {
        page.missing("child SAs: no rule names this tunnel");
    }
    if tunnel.start == Start::Disabled {
        page.missing("anything at all: `start = \"disabled\"` closes the tunnel to the peer");
    }
    page
}

/// A name of a section has no dots.
fn section(name: &str) -> String {
    name.replace('.', "-")
}

/// The word for a method, as `LocalAuth::word` and `PeerAuth::word` name it.
fn method(word: &str) -> &'static str {
    match word {
        "pre-shared key" => "psk",
        "certificate" => "pubkey",
        _ => "eap",
    }
}

fn end(page: &mut Page, side: &str, method: &str, id: &Id, from: &str) {
    page.line(format!("    {side} {{"));
    page.line(format!("      auth = {method}"));
    match (method, side) {
        ("pubkey", "local") => page.missing("certs = .. with the peer's own certificate, and its key in private/"),
        ("pubkey", _) => page.missing("cacerts = .. with the authority of our certificate"),
        _ => {}
    }
    match identity(id) {
        Some(id) => page.line(format!("      id = {id}  # {from}")),
        None => page.missing(format!("the {side} identity ({from}) has no form in swanctl.conf")),
    }
    page.line("    }");
}

/// In quotes, because `#` would begin a comment.
fn identity(id: &Id) -> Option<String> {
    let text = crate::config::identity::text(id);
    match id.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => Some(text),
        IdType::FQDN => Some(format!("\"@{}\"", id_text(id)?)),
        IdType::RFC822_ADDR => Some(format!("\"@@{}\"", id_text(id)?)),
        IdType::KEY_ID => Some(format!("\"@#{}\"", hex::encode(&id.data))),
        IdType::DER_ASN1_DN => Some(format!("\"asn1dn:#{}\"", hex::encode(&id.data))),
        IdType::DER_ASN1_GN => Some(format!("\"asn1gn:#{}\"", hex::encode(&id.data))),
        _ => None,
    }
}

fn child(page: &mut Page, view: &View<'_>, flow: &Flow<'_>, name: &str) {
    let (Some(near), Some(far)) = (selector(&flow.near), selector(&flow.far)) else {
        return page.missing(format!("selectors {} and {}: not networks", flow.near, flow.far));
    };
    let esp: Vec<_> = view.tunnel.esp.iter().map(ToString::to_string).collect();
    // One of the two has to begin. Ours does, if it begins at all before there is something to send.
    let (start, why) = match view.tunnel.start {
        Start::Always => ("none", "the other side brings it up, and again whenever it goes down"),
        Start::OnDemand => ("trap", "the first packet brings it up"),
        Start::Manual | Start::Disabled => ("none", "brought up by hand"),
    };
    page.line(format!("      {name} {{  # {}", view.rules(flow)));
    page.line(format!("        local_ts = {near}"));
    page.line(format!("        remote_ts = {far}"));
    page.line(format!("        esp_proposals = {}  # {}", esp.join(", "), view.from(&["esp", "preset"])));
    page.line(format!("        replay_window = {}  # {}", view.tunnel.replay_window, view.from(&["replay_window"])));
    if view.has("child_lifetime") || view.has("rekey") {
        let life = &view.tunnel.lifetime;
        let from = view.from(&["child_lifetime", "rekey"]);
        for (what, soft, hard, unit) in [
            ("time", life.soft_time.as_secs(), life.hard_time.as_secs(), "s"),
            ("bytes", life.soft_bytes, life.hard_bytes, ""),
            ("packets", life.soft_packets, life.hard_packets, ""),
        ] {
            page.line(format!("        rekey_{what} = {soft}{unit}  # {from}"));
            page.line(format!("        life_{what} = {hard}{unit}"));
        }
    }
    page.line(format!("        start_action = {start}  # {}; {why}", view.from(&["start"])));
    page.line("      }");
}

fn selector(selector: &TrafficSelector) -> Option<String> {
    let net = network(selector)?;
    let protocol = match selector.protocol {
        0 => return Some(shown(net)),
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    };
    match (selector.any_port(), selector.first_port == selector.last_port) {
        (true, _) => Some(format!("{}[{protocol}]", shown(net))),
        (false, true) => Some(format!("{}[{protocol}/{}]", shown(net), selector.first_port)),
        (false, false) => Some(format!("{}[{protocol}/{}-{}]", shown(net), selector.first_port, selector.last_port)),
    }
}

fn secrets(page: &mut Page, view: &View<'_>, name: &str) {
    page.line("secrets {");
    page.line(format!("  ike-{name} {{  # {}", view.from(&["auth"])));
    for (key, id) in [("id-local", &view.tunnel.peer_id), ("id-remote", &view.tunnel.local_id)] {
        if let Some(id) = identity(id) {
            page.line(format!("    {key} = {id}"));
        }
    }
    if let Some(psk) = view.tunnel.peer_auth.psk().filter(|_| view.with_secret) {
        let key = Zeroizing::new(hex::encode(psk.expose()));
        page.line(Zeroizing::new(format!("    secret = 0x{}", *key)).as_str());
    } else {
        page.line(format!("    # secret = \"{}\"", view.reference()));
    }
    page.line("  }");
    if let Some(ppk) = &view.tunnel.ppk {
        page.line(format!("  ppk-{name} {{  # {}", view.from(&["ppk"])));
        page.line(format!("    id = \"{}\"", String::from_utf8_lossy(&ppk.id)));
        if view.with_secret {
            let key = Zeroizing::new(hex::encode(ppk.secret.expose()));
            page.line(Zeroizing::new(format!("    secret = 0x{}", *key)).as_str());
        } else {
            page.line("    # secret = the key that `ppk` names");
        }
        page.line("  }");
    }
    page.line("}");
}
