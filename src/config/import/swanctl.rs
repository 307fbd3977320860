//! What the settings of swanctl.conf mean here.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::peer::{self, Child, Connection, Limit, Losses, Traffic};
use super::proposal::{self, Purpose};
use super::settings::{INCLUDE, REFERENCE, Section, Setting};
use super::shown;

const NO_COUNTERPART: &str = "there is no such setting here";
const TIME: &str = "this is no time: write seconds, or a number with s, m, h or d";
const JITTER: &str = "how much earlier renewal begins is chosen here: `rekey.jitter`";
const CERTIFICATES: &str = "this gateway is known by a pre-shared key";

/// A pre-shared key and for whom it is.
struct Key {
    line: usize,
    owners: Vec<Option<String>>,
    secret: Zeroizing<String>,
    used: bool,
}

/// Every connection that can be carried over.
pub(super) fn peers(root: &Section, losses: &mut Losses) -> Vec<Connection> {
    for setting in &root.settings {
        odd(setting, losses);
    }
    let mut keys = Vec::new();
    for section in &root.sections {
        match section.name.as_str() {
            "connections" => {}
            "secrets" => keys = secrets(section, losses),
            other => losses.note(section.line, format!("{}: nothing here corresponds to this section", shown(other))),
        }
    }
    let connections = root.section("connections");
    for setting in connections.iter().flat_map(|section| &section.settings) {
        odd(setting, losses);
    }
    let mut found = Vec::new();
    for section in connections.iter().flat_map(|section| &section.sections) {
        if let Some(mut peer) = connection(section, losses) {
            give_key(&mut peer, &mut keys, losses);
            found.push(peer);
        }
    }
    for key in keys.iter().filter(|key| !key.used) {
        losses.note(key.line, "this secret belongs to no connection that was carried over");
    }
    found
}

/// A setting that stands where none is expected; references and includes say so.
fn odd(setting: &Setting, losses: &mut Losses) {
    let Setting { key, value, line } = setting;
    match key.as_str() {
        INCLUDE => losses.note(*line, format!("include {}: other files are not read", shown(value))),
        REFERENCE => losses.note(*line, format!("settings of {} are not taken over from there", shown(value))),
        _ => losses.setting(*line, key, value, NO_COUNTERPART),
    }
}

fn secrets(section: &Section, losses: &mut Losses) -> Vec<Key> {
    // No value of this section is shown: whatever it is, it stands among secrets.
    let unknown =
        |line, name: &str, losses: &mut Losses| losses.note(line, format!("{}: {NO_COUNTERPART}", shown(name)));
    for Setting { key, line, .. } in &section.settings {
        unknown(*line, key, losses);
    }
    let mut keys = Vec::new();
    for entry in &section.sections {
        if !entry.name.starts_with("ike") {
            losses.note(entry.line, format!("{}: only pre-shared keys for IKE are used here", shown(&entry.name)));
            continue;
        }
        let mut key = Key { line: entry.line, owners: Vec::new(), secret: Zeroizing::default(), used: false };
        for Setting { key: name, value, line } in &entry.settings {
            match name.as_str() {
                "secret" => match peer::secret(value) {
                    Some(secret) => key.secret = secret,
                    None => losses.note(*line, "secret: this is neither text nor 0x.. nor 0s.."),
                },
                id if id.starts_with("id") => match peer::id(value) {
                    Ok(owner) => key.owners.push(owner),
                    Err(why) => losses.note(*line, format!("{}: {why}", shown(id))),
                },
                other => unknown(*line, other, losses),
            }
        }
        for inner in &entry.sections {
            unknown(inner.line, &inner.name, losses);
        }
        if key.secret.is_empty() {
            losses.note(entry.line, format!("{}: no secret stands here", shown(&entry.name)));
        } else {
            keys.push(key);
        }
    }
    keys
}

/// The key of which most owners are this connection's ends and no owner is somebody else.
fn give_key(peer: &mut Connection, keys: &mut [Key], losses: &mut Losses) {
    let ends = [(&peer.local_id, peer.local), (&peer.peer_id, peer.peer)];
    let ends = ends.map(|(id, address)| id.clone().or_else(|| address.map(|address| address.to_string())));
    let fits = |key: &&mut Key| key.owners.iter().all(|owner| owner.is_none() || ends.contains(owner));
    match keys.iter_mut().filter(fits).max_by_key(|key| key.owners.len()) {
        Some(key) => {
            key.used = true;
            peer.secret = Some(key.secret.clone());
        }
        None => losses.note(peer.line, format!("{}: the file has no secret for this connection", shown(&peer.name))),
    }
}

fn connection(section: &Section, losses: &mut Losses) -> Option<Connection> {
    let mut peer = Connection { name: section.name.clone(), line: section.line, ..Connection::default() };
    let (mut ike, mut over) = (Limit::default(), None);
    let mut fit = true;
    for Setting { key, value, line } in &section.settings {
        let mut no = |why: &str| losses.setting(*line, key, value, why);
        match (key.as_str(), value.as_str()) {
            ("version", "2")
            | ("mobike", "no")
            | ("unique", "replace")
            | ("keyingtries", "0")
            | ("dpd_timeout", _)
            | ("reauth_time", "0" | "0s")
            | ("local_port" | "remote_port", "500" | "0") => {}
            ("version", "0") => no("IKEv2 is spoken here, IKEv1 is not"),
            ("version", _) => {
                no("IKEv1 is not spoken here; the connection is left out");
                fit = false;
            }
            ("local_addrs", value) => address(value, &mut peer.local, no),
            ("remote_addrs", value) => address(value, &mut peer.peer, no),
            ("proposals", value) => peer.ike = proposal::suites(Purpose::Ike, value, *line, losses),
            ("encap", value) => peer.encapsulation = peer::yes(value),
            ("dpd_delay", value) => match peer::seconds(value) {
                Some(seconds @ 5..=3600) => peer.liveness = Some(seconds),
                _ => no("a peer that is silent is probed here after 5 to 3600 seconds"),
            },
            ("mobike", _) => no("a tunnel here is between two fixed addresses"),
            ("unique", _) => no("a peer that comes again replaces what it had"),
            ("keyingtries", _) => no("a tunnel here is tried until it is up"),
            ("rekey_time", value) => time(value, &mut ike.rekey, no),
            ("over_time", value) => time(value, &mut over, no),
            ("reauth_time", _) => no("an IKE SA is renewed here, not authenticated again"),
            ("rand_time", _) => no(JITTER),
            ("local_port" | "remote_port", _) => no("IKE begins at port 500 here"),
            ("send_cert" | "send_certreq", _) => no(CERTIFICATES),
            (REFERENCE | INCLUDE, _) => odd_again(key, value, *line, losses),
            _ => no(NO_COUNTERPART),
        }
    }
    ike.end = ike.rekey.zip(over).and_then(|(rekey, over)| rekey.checked_add(over));
    (peer.ike_time, peer.rekey_at) = (ike.end(), ike.percent());
    for inner in &section.sections {
        match inner.name.as_str() {
            "children" => {}
            name if name.starts_with("local") => fit &= end(inner, &mut peer.local_id, losses),
            name if name.starts_with("remote") => {
                fit &= end(inner, &mut peer.peer_id, losses);
                if peer.peer_id.is_none() && peer.peer.is_some() {
                    losses.note(inner.line, "any identity would do for the peer; here it must prove to be its address");
                }
            }
            other => losses.note(inner.line, format!("{}: nothing here corresponds to this section", shown(other))),
        }
    }
    for side in ["local", "remote"] {
        if fit && !section.sections.iter().any(|inner| inner.name.starts_with(side)) {
            losses.note(section.line, format!("{}: {side} does not say auth = psk; left out", shown(&section.name)));
            fit = false;
        }
    }
    let children = section.section("children");
    for inner in children.iter().flat_map(|children| &children.sections) {
        if let Some(child) = child(inner, &mut peer, losses) {
            peer.children.push(child);
        }
    }
    fit.then_some(peer)
}

fn odd_again(key: &str, value: &str, line: usize, losses: &mut Losses) {
    odd(&Setting { key: key.to_owned(), value: value.to_owned(), line }, losses);
}

fn time(value: &str, place: &mut Option<u64>, mut no: impl FnMut(&str)) {
    match peer::seconds(value) {
        Some(seconds) => *place = Some(seconds),
        None => no(TIME),
    }
}

fn count(value: &str, place: &mut Option<u64>, mut no: impl FnMut(&str)) {
    match value.parse() {
        Ok(number) => *place = Some(number),
        Err(_) => no("this is no number"),
    }
}

fn address(value: &str, place: &mut Option<IpAddr>, mut no: impl FnMut(&str)) {
    match peer::address(value) {
        Ok((address, more)) => {
            *place = Some(address);
            if more {
                no(peer::ONE_ADDRESS);
            }
        }
        Err(why) => no(why),
    }
}

/// `local { }` or `remote { }`. Whether the connection can be carried over.
fn end(section: &Section, id: &mut Option<String>, losses: &mut Losses) -> bool {
    let mut psk = false;
    for Setting { key, value, line } in &section.settings {
        match key.as_str() {
            "auth" if value == "psk" => psk = true,
            "auth" => {
                let why = "only pre-shared keys are carried over; the connection is left out";
                losses.setting(*line, key, value, why);
                return false;
            }
            "id" => match peer::id(value) {
                Ok(found) => *id = found,
                Err(why) => losses.setting(*line, key, value, &why),
            },
            _ => odd_again(key, value, *line, losses),
        }
    }
    if !psk {
        let why = "no auth = psk stands here, so certificates are meant; the connection is left out";
        losses.note(section.line, format!("{}: {why}", shown(&section.name)));
    }
    psk
}

fn child(section: &Section, peer: &mut Connection, losses: &mut Losses) -> Option<Child> {
    let mut child = Child { name: section.name.clone(), line: section.line, ..Child::default() };
    let mut fit = true;
    // What is not written is `dynamic`: the address of the gateway itself.
    let (mut local, mut remote) = ("dynamic", "dynamic");
    let (mut local_line, mut remote_line) = (section.line, section.line);
    let mut start = "manual";
    let (mut time, mut bytes, mut packets) = (Limit::default(), Limit::default(), Limit::default());
    for Setting { key, value, line } in &section.settings {
        let mut no = |why: &str| losses.setting(*line, key, value, why);
        match (key.as_str(), value.as_str()) {
            ("mode", "tunnel")
            | ("dpd_action", _)
            | ("policies", "yes")
            | ("close_action", "none" | "start" | "trap") => {}
            ("local_ts", value) => (local, local_line) = (value, *line),
            ("remote_ts", value) => (remote, remote_line) = (value, *line),
            ("esp_proposals", value) => {
                let suites = proposal::suites(Purpose::Esp, value, *line, losses);
                if !peer.esp.is_empty() && peer.esp != suites {
                    losses.note(*line, "ESP suites are those of the whole tunnel here: the lists were joined");
                }
                let new: Vec<_> = suites.into_iter().filter(|suite| !peer.esp.contains(suite)).collect();
                peer.esp.extend(new);
            }
            ("start_action", value) => {
                start = match value {
                    "" | "none" => "manual",
                    "trap" => "on-demand",
                    _ => "always",
                }
            }
            ("replay_window", value) => match value.parse() {
                Ok(packets @ 64..=65_536) => peer.replay_window = peer.replay_window.max(Some(packets)),
                _ => no("the window here has 64 to 65536 packets"),
            },
            ("ah_proposals", _) => no("AH is not spoken here"),
            ("mode", _) => {
                no("ESP is used in tunnel mode only here; the child is left out");
                fit = false;
            }
            ("rekey_time", value) => self::time(value, &mut time.rekey, no),
            ("life_time", value) => self::time(value, &mut time.end, no),
            ("rekey_bytes", value) => count(value, &mut bytes.rekey, no),
            ("life_bytes", value) => count(value, &mut bytes.end, no),
            ("rekey_packets", value) => count(value, &mut packets.rekey, no),
            ("life_packets", value) => count(value, &mut packets.end, no),
            ("rand_time" | "rand_bytes" | "rand_packets", _) => no(JITTER),
            (REFERENCE | INCLUDE, _) => odd_again(key, value, *line, losses),
            _ => no(NO_COUNTERPART),
        }
    }
    for inner in &section.sections {
        losses.note(inner.line, format!("{}: nothing here corresponds to this section", shown(&inner.name)));
    }
    // Limits are those of the whole tunnel: the least of its children's.
    for (place, limit) in [
        (&mut peer.child_time, time.end()),
        (&mut peer.child_bytes, bytes.end()),
        (&mut peer.child_packets, packets.end()),
        (&mut peer.rekey_at, time.percent()),
    ] {
        *place = place.iter().chain(&limit).min().copied();
    }
    // The tunnel is brought up as eagerly as its most eager child.
    let eager = |word: Option<&str>| ["manual", "on-demand", "always"].iter().position(|it| Some(*it) == word);
    peer.start = if eager(Some(start)) > eager(peer.start) { Some(start) } else { peer.start };
    child.local = traffics(local, peer.local, local_line, losses);
    child.remote = traffics(remote, peer.peer, remote_line, losses);
    (fit && !child.local.is_empty() && !child.remote.is_empty()).then_some(child)
}

/// A list of selectors; what cannot be read is told of and left out.
pub(super) fn traffics(value: &str, own: Option<IpAddr>, line: usize, losses: &mut Losses) -> Vec<Traffic> {
    let mut found = Vec::new();
    for text in value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match peer::traffic(text, own) {
            Ok(traffic) => found.push(traffic),
            Err(why) => losses.note(line, format!("selector {}: {why}", shown(text))),
        }
    }
    found
}
