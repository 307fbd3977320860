//! The line to change: ours, by file and line, or the peer's, in the words of what stands there.

use crate::config::Places;
use crate::crypto::provider::ALGORITHMS;
use crate::crypto::suite::{Cipher, EspSuite, IkeSuite};
use crate::ike::account::{Offered, Ours, Part};
use crate::report::peer_config::Device;
use crate::wire::ike::numbers::{Encr, KeMethod, TransformType};

use super::compare::{KINDS, fits, parts};

/// Where the tunnel stands in the file, if the file is at hand.
pub struct Here<'a> {
    /// The file.
    pub file: String,
    /// Its lines.
    pub places: &'a Places,
    /// The tunnel.
    pub tunnel: &'a str,
}

impl Here<'_> {
    /// `portcullis.toml:17: key = value`, or where the key would stand.
    #[must_use]
    pub fn line(&self, keys: &[&str], text: &str) -> String {
        let written = keys.iter().find_map(|key| Some((*key, self.places.tunnel_key(self.tunnel, key)?)));
        match (written, self.places.tunnel(self.tunnel)) {
            // Lists and a preset exclude each other.
            (Some(("preset", line)), _) => format!("{}:{line}: in place of `preset`: {text}", self.file),
            (Some((_, line)), _) => format!("{}:{line}: {text}", self.file),
            (None, Some(line)) => format!("{}:{line}: add to [tunnel.{}]: {text}", self.file, self.tunnel),
            (None, None) => format!("{}: {text}", self.file),
        }
    }
}

/// Our word for a transform, if we have one.
fn word(part: Part) -> Option<&'static str> {
    match part.kind {
        1 => Some(Cipher::from_encr(Encr(part.id), part.bits)?.word()),
        5 if part.id == 1 => Some("esn"),
        kind => {
            let wanted = (TransformType(kind), part.id);
            ALGORITHMS.iter().find(|row| row.choice.transform() == wanted).map(|row| row.word)
        }
    }
}

/// A suite of ours that their proposal holds: our transforms where they fit, theirs where they do not.
pub fn suite_for_theirs(ours: &Ours, near: &Offered, theirs: &Offered) -> Option<String> {
    let mut words: Vec<&'static str> = Vec::new();
    for kind in KINDS {
        let here = parts(near, kind);
        if fits(near, theirs, kind) {
            let kept = here.iter().find(|part| parts(theirs, kind).contains(part));
            words.extend(kept.and_then(|part| word(*part)));
            continue;
        }
        let there = parts(theirs, kind);
        match there.iter().find_map(|part| word(*part)) {
            Some(found) => words.push(found),
            // Something that has no word here must not be left out in silence.
            None if there.iter().any(|part| part.id != 0) => return None,
            None => {}
        }
    }
    let text = words.join("-");
    let (cipher, text) = if near.esp {
        let suite: EspSuite = text.parse().ok()?;
        (suite.cipher, suite.to_string())
    } else {
        let suite: IkeSuite = text.parse().ok()?;
        (suite.cipher, suite.to_string())
    };
    (ours.lab || cipher.is_aes256()).then_some(text)
}

/// One of our proposals as we write it.
pub fn written(offered: &Offered) -> Option<String> {
    let words: Option<Vec<&'static str>> =
        offered.parts.iter().filter(|part| part.id != 0).map(|part| word(*part)).collect();
    let text = words?.join("-");
    if offered.esp {
        text.parse::<EspSuite>().ok().map(|suite| suite.to_string())
    } else {
        text.parse::<IkeSuite>().ok().map(|suite| suite.to_string())
    }
}

/// The command at the peer that makes its `kind` of transform that of `ours`.
pub fn peer_transform(device: Device, ours: &Offered, kind: u8) -> Option<String> {
    let suite = written(ours)?;
    let own = parts(ours, kind).first().copied();
    match device {
        Device::Strongswan if ours.esp => Some(format!("connections.<name>.children.<name>.esp_proposals = {suite}")),
        Device::Strongswan => Some(format!("connections.<name>.proposals = {suite}")),
        Device::CiscoIosXe | Device::CiscoAsa => cisco(device == Device::CiscoAsa, ours, kind, own),
    }
}

fn cisco(asa: bool, ours: &Offered, kind: u8, own: Option<Part>) -> Option<String> {
    let hash = |part: Part| match (part.kind, part.id) {
        (2, 5) | (3, 12) => Some("sha256"),
        (2, 6) | (3, 13) => Some("sha384"),
        (2, 7) | (3, 14) => Some("sha512"),
        _ => None,
    };
    let gcm = own.filter(|part| part.kind == 1).is_some_and(|part| Encr(part.id) == Encr::AES_GCM_16);
    let bits = own.and_then(|part| part.bits).unwrap_or(256);
    let group = own.filter(|part| part.kind == 4).map(|part| part.id);
    // Neither knows Curve25519.
    let group_known = group.is_none_or(|id| KeMethod(id) != KeMethod::CURVE25519);
    let mode = match (asa, ours.esp) {
        (false, false) => "crypto ikev2 proposal <name>",
        (true, false) => "crypto ikev2 policy <number>",
        (false, true) => "crypto ipsec transform-set <name>",
        (true, true) => "crypto ipsec ikev2 ipsec-proposal <name>",
    };
    let integ = parts(ours, 3).first().copied().and_then(hash);
    let line = match (kind, ours.esp, asa) {
        (4, true, _) => {
            let pfs = match group {
                Some(id) if group_known => format!("set pfs group{id}"),
                Some(_) => return None,
                None => "no set pfs".to_owned(),
            };
            return Some(format!("crypto map <name> <number>{} {pfs}", if asa { "" } else { ":" }));
        }
        (1 | 3, true, false) => {
            let cipher = parts(ours, 1).first().copied()?;
            let bits = cipher.bits?;
            return Some(match (Encr(cipher.id), integ) {
                (Encr::AES_GCM_16, _) => format!("{mode} esp-gcm {bits}"),
                (Encr::AES_CBC, Some(hash)) => format!("{mode} esp-aes {bits} esp-{hash}-hmac"),
                _ => return None,
            });
        }
        (1, true, true) => format!("protocol esp encryption aes{}-{bits}", if gcm { "-gcm" } else { "" }),
        (3, true, true) => {
            let hash = integ.map_or("null".to_owned(), |hash| hash.replace("sha", "sha-"));
            format!("protocol esp integrity {hash}")
        }
        (1, false, _) if own.is_some_and(|part| ![Encr::AES_GCM_16, Encr::AES_CBC].contains(&Encr(part.id))) => {
            return None;
        }
        (1, false, true) => format!("encryption aes{}-{bits}", if gcm { "-gcm" } else { "" }),
        (1, false, false) => format!("encryption aes-{}-{bits}", if gcm { "gcm" } else { "cbc" }),
        (2, false, _) => format!("prf {}", hash(own?)?),
        (3, false, true) => format!("integrity {}", integ.unwrap_or("null")),
        (3, false, false) => match integ {
            Some(hash) => format!("integrity {hash}"),
            None => "no integrity".to_owned(),
        },
        (4, false, _) if group_known => format!("group {}", group?),
        _ => return None,
    };
    Some(format!("{mode}: {line}"))
}

/// The command at the peer about who is who, or about the key. `mine`: our identity is what it has wrong.
pub fn peer_identity(device: Device, ours: &Ours, mine: bool) -> String {
    let id = if mine { &ours.local_id } else { &ours.peer_id };
    let address = id.parse::<std::net::IpAddr>().is_ok();
    let kind = if address { "address" } else { "fqdn" };
    match (device, mine) {
        (Device::Strongswan, true) => format!("connections.<name>.remote.id = {id}"),
        (Device::Strongswan, false) => format!("connections.<name>.local.id = {id}"),
        (Device::CiscoIosXe, true) => format!("crypto ikev2 profile <name>: match identity remote {kind} {id}"),
        (Device::CiscoIosXe, false) => format!("crypto ikev2 profile <name>: identity local {kind} {id}"),
        (Device::CiscoAsa, true) => format!("tunnel-group {id} type ipsec-l2l"),
        (Device::CiscoAsa, false) if address => "crypto isakmp identity address".to_owned(),
        (Device::CiscoAsa, false) => format!("crypto isakmp identity key-id {id}"),
    }
}

/// Where the peer keeps the key.
pub fn peer_key(device: Device) -> &'static str {
    match device {
        Device::Strongswan => "secrets.ike-<name>.secret = ...",
        Device::CiscoIosXe => "crypto ikev2 keyring <name>, peer <name>: pre-shared-key ...",
        Device::CiscoAsa => "tunnel-group <address> ipsec-attributes: ikev2 remote-authentication pre-shared-key ...",
    }
}

/// Where the peer writes selectors.
pub fn peer_selectors(device: Device, near: &str, far: &str) -> String {
    match device {
        Device::Strongswan => format!("connections.<name>.children.<name>: local_ts = {near}, remote_ts = {far}"),
        Device::CiscoIosXe => format!("ip access-list extended <name>: permit ip {near} {far}"),
        Device::CiscoAsa => format!("access-list <name> extended permit ip {near} {far}"),
    }
}
