//! Our file, written from what was found in another gateway's.
//!
//! Where their file says nothing that ours needs, a gap is left that does not load. Where theirs lets more pass than a
//! rule here can say, the rule lets less pass.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::Format;
use super::peer::{Child, Connection, Losses, Traffic};
use super::proposal::{self, Purpose};

/// The agreement that every imported tunnel stands under.
const AGREEMENT: &str = "imported";

const HEAD: &str = "\
# The file that this was made from knows no agreement. Until the keys below are filled in and `kind` is taken out, this is a
# lab agreement: every cipher may be used. Under a real one only AES-256 suites load.
[agreement.imported]
kind = \"lab\"
# document = \"the title of the agreement\"
# organisation = \"the other organisation\"
# basis = \"acknowledgement\"
# date = 2025-03-01
# years = 3
";

/// Writes the file; whether it has no gaps comes with it.
pub(super) fn toml(
    peers: &[Connection],
    format: Format,
    with_secret: bool,
    losses: &mut Losses,
) -> (Zeroizing<String>, bool) {
    let from = match format {
        Format::Swanctl => "swanctl.conf",
        Format::Ipsec => "ipsec.conf",
    };
    let mut out =
        Zeroizing::new(format!("# Made by `portcullis import` from {from}; `portcullis check` shows it.\n\n{HEAD}"));
    let mut whole = true;
    let (mut tunnels, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for peer in peers {
        let name = unique(&peer.name, &mut tunnels);
        whole &= tunnel(&mut out, peer, &name, with_secret, losses);
        for child in &peer.children {
            write_rules(&mut out, child, &name, &mut rules, losses);
        }
    }
    (out, whole)
}

/// A name that our file takes: `name` itself where that is possible.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let plain: String = name.chars().map(fit).skip_while(|c| !c.is_ascii_alphanumeric()).take(32).collect();
    let plain = if plain.is_empty() { "peer".to_owned() } else { plain };
    let mut candidate = plain.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        let end = format!("-{number}");
        candidate = plain.chars().take(32 - end.len()).collect::<String>() + &end;
        number += 1;
    }
    candidate
}

/// TOML's basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out + "\""
}

fn list(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    format!("[{}]", words.into_iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(", "))
}

fn tunnel(out: &mut String, peer: &Connection, name: &str, with_secret: bool, losses: &mut Losses) -> bool {
    let mut whole = true;
    let _ = writeln!(out, "\n# line {}\n[tunnel.{}]\nagreement = \"{AGREEMENT}\"", peer.line, key(name));
    for (key, address, what) in
        [("local", peer.local, "this gateway's own address"), ("peer", peer.peer, "the peer's address")]
    {
        if let Some(address) = address {
            let _ = writeln!(out, "{key} = \"{address}\"");
        } else {
            let _ = writeln!(out, "{key} = \"\"  # write {what} here: the imported file does not say it");
            losses.note(peer.line, format!("tunnel {name}: `{key}` is left empty: write {what}"));
            whole = false;
        }
    }
    for (key, id) in [("local_id", &peer.local_id), ("peer_id", &peer.peer_id)] {
        if let Some(id) = id {
            let _ = writeln!(out, "{key} = {}", quoted(id));
        }
    }
    match &peer.secret {
        Some(secret) if with_secret => {
            let _ = writeln!(out, "auth = {{ method = \"psk\", secret = \"hex:{}\" }}", **secret);
        }
        secret => {
            let file = format!("/etc/portcullis/{name}.psk");
            let _ = writeln!(out, "auth = {{ method = \"psk\", secret = \"file:{file}\" }}");
            if secret.is_some() {
                let why = format!("the secret is not shown: put it into {file} (mode 600), or use --with-secret");
                losses.note(peer.line, format!("tunnel {name}: {why}"));
            }
        }
    }
    for (key, purpose, suites) in [("ike", Purpose::Ike, &peer.ike), ("esp", Purpose::Esp, &peer.esp)] {
        let preset = proposal::preset(purpose);
        if suites.is_empty() {
            losses.note(
                peer.line,
                format!("tunnel {name}: no usable `{key}` proposals; preset \"strongswan\" is offered"),
            );
        }
        let _ = writeln!(out, "{key} = {}", list(if suites.is_empty() { &preset } else { suites }));
    }
    if let Some(start) = peer.start.filter(|start| *start != "always") {
        let _ = writeln!(out, "start = \"{start}\"");
    }
    if peer.encapsulation {
        let _ = writeln!(out, "encapsulation = \"forced\"");
    }
    if let Some(seconds) = peer.liveness {
        let _ = writeln!(out, "liveness = {seconds}");
    }
    if let Some(packets) = peer.replay_window {
        let _ = writeln!(out, "replay_window = {packets}");
    }
    lifetimes(out, peer, name, losses);
    // One child SA for each protocol and port where every selector names a protocol, else one for each pair of hosts.
    let named = peer.children.iter().flat_map(pairs).map(|(near, far)| near.protocol.or(far.protocol).is_some());
    let named: BTreeSet<bool> = named.collect();
    if named == BTreeSet::from([true]) {
        let _ = writeln!(out, "selectors = \"service\"");
    } else if named.len() == 2 {
        losses.note(peer.line, format!("tunnel {name}: selectors with and without a protocol; here all have none"));
    }
    whole
}

/// How long keys live, where their file says it.
fn lifetimes(out: &mut String, peer: &Connection, name: &str, losses: &mut Losses) {
    let mut fit = |what: &str, value: Option<u64>, bounds: RangeInclusive<u64>| {
        let inside = value.map(|value| value.clamp(*bounds.start(), *bounds.end()));
        if inside != value {
            let bounds = format!("{} to {}", bounds.start(), bounds.end());
            losses.note(peer.line, format!("tunnel {name}: {what} is {bounds} here; the nearest was taken"));
        }
        inside
    };
    let time = 60..=2_592_000;
    let child = [
        ("time", fit("child_lifetime.time", peer.child_time, time.clone())),
        ("bytes", fit("child_lifetime.bytes", peer.child_bytes, 1 << 20..=1 << 51)),
        ("packets", fit("child_lifetime.packets", peer.child_packets, 1000..=1 << 40)),
    ];
    let child = child.iter().filter_map(|(key, value)| value.map(|value| format!("{key} = {value}")));
    let child = child.collect::<Vec<_>>().join(", ");
    if !child.is_empty() {
        let _ = writeln!(out, "child_lifetime = {{ {child} }}");
    }
    if let Some(seconds) = fit("ike_lifetime", peer.ike_time, time) {
        let _ = writeln!(out, "ike_lifetime = {seconds}");
    }
    if let Some(percent) = fit("rekey.at", peer.rekey_at, 50..=95) {
        let _ = writeln!(out, "rekey = {{ at = {percent} }}");
    }
}

/// A bare key of TOML has no dots.
fn key(name: &str) -> String {
    if name.contains('.') { quoted(name) } else { name.to_owned() }
}

fn pairs(child: &Child) -> impl Iterator<Item = (&Traffic, &Traffic)> {
    child.local.iter().flat_map(|near| child.remote.iter().map(move |far| (near, far)))
}

/// What a rule says of its service, and on which side `from` is.
struct Service {
    word: &'static str,
    ports: Option<u16>,
    inbound: bool,
}

/// One rule for each combination of protocol and ports that the child's selectors name.
fn write_rules(out: &mut String, child: &Child, tunnel: &str, taken: &mut BTreeSet<String>, losses: &mut Losses) {
    let kinds = |side: &[Traffic]| {
        let mut kinds: Vec<_> = side.iter().map(|it| (it.protocol, it.port, it.net.addr().is_ipv4())).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    let nets = |side: &[Traffic], kind: &(Option<u8>, Option<u16>, bool)| -> Vec<IpNet> {
        let is = |it: &&Traffic| (it.protocol, it.port, it.net.addr().is_ipv4()) == *kind;
        side.iter().filter(is).map(|it| it.net).collect()
    };
    for near in &kinds(&child.local) {
        for far in kinds(&child.remote).iter().filter(|far| far.2 == near.2) {
            let protocol = match (near.0, far.0) {
                (Some(near), Some(far)) if near != far => continue,
                (near, far) => near.or(far),
            };
            let Some(service) = service(protocol, near.1, far.1, child, losses) else { continue };
            let (local, remote) = (nets(&child.local, near), nets(&child.remote, far));
            let (from, to) = if service.inbound { (&remote, &local) } else { (&local, &remote) };
            let name = unique(&child.name, taken);
            let _ = writeln!(
                out,
                "\n# line {}\n[[rule]]\nname = {}\ntunnel = {}",
                child.line,
                quoted(&name),
                quoted(tunnel)
            );
            let _ = writeln!(out, "clause = \"none\"  # the clause of the agreement that allows it");
            let _ = writeln!(out, "from = {}\nto = {}\nservice = \"{}\"", hosts(from), hosts(to), service.word);
            if let Some(port) = service.ports {
                let _ = writeln!(out, "{} = [{port}]", if service.word == "udp" { "udp" } else { "tcp" });
            }
            if service.inbound {
                let _ = writeln!(out, "direction = \"inbound\"");
            }
            if from.iter().chain(to).any(|net| net.prefix_len() < net.max_prefix_len()) {
                let _ = writeln!(out, "allow_network = \"the selector of line {} is a network\"", child.line);
            }
        }
    }
}

fn hosts(nets: &[IpNet]) -> String {
    let shown = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    list(nets.iter().map(shown))
}

fn service(
    protocol: Option<u8>,
    near: Option<u16>,
    far: Option<u16>,
    child: &Child,
    losses: &mut Losses,
) -> Option<Service> {
    let mut lost = |what: &str| losses.note(child.line, format!("{}: {what}", super::shown(&child.name)));
    let less = "a rule here names a service; this one lets our side open MQ (TCP 1414) and is yours to change";
    let inbound = near.is_some() && far.is_none();
    if near.is_some() && far.is_some() {
        lost("ports on both sides: here the side that opens a connection may use any port of its own");
    }
    let port = if inbound { near } else { far };
    match (protocol, port) {
        (None, _) => {
            lost(&format!("every protocol may pass there; {less}"));
            Some(Service { word: "mq", ports: None, inbound: false })
        }
        (Some(6), None) => {
            lost(&format!("every port of TCP may be opened there; {less}"));
            Some(Service { word: "mq", ports: None, inbound: false })
        }
        (Some(6), Some(port)) => {
            let named = [(1414, "mq"), (22, "sftp"), (443, "tls")];
            let word = named.iter().find(|(known, _)| *known == port).map(|(_, word)| *word);
            Some(Service { word: word.unwrap_or("tcp"), ports: word.is_none().then_some(port), inbound })
        }
        (Some(17), Some(port)) => Some(Service { word: "udp", ports: Some(port), inbound }),
        (Some(17), None) => {
            lost("every port of UDP: a rule here names ports; left out");
            None
        }
        (Some(1 | 58), _) => {
            lost("ICMP both ways: the rule lets our side ask for echoes");
            Some(Service { word: "echo", ports: None, inbound: false })
        }
        (Some(_), _) => {
            lost("of protocols only TCP, UDP and ICMP echo pass here; left out");
            None
        }
    }
}
