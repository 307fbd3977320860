//! ipsec.conf of strongSwan and libreswan: its syntax, and what its settings mean here.
//!
//! A section begins at the first column (`config setup`, `conn NAME`, `ca NAME`), its settings are indented. `left` is
//! taken for our side, which is how nearly everybody writes it. Pre-shared keys stand in another file, ipsec.secrets,
//! which is not read.

use std::net::IpAddr;

use super::peer::{self, Child, Connection, Losses, Traffic};
use super::proposal::{self, Purpose};
use super::swanctl::traffics;
use super::{Syntax, shown};

/// `also = ` may lead this far.
const MAX_ALSO: usize = 8;
/// More sections than this in one file are a mistake.
const MAX_SECTIONS: usize = 4096;
/// Settings of one connection, with what `also` brings along.
const MAX_SETTINGS: usize = 512;

const NO_TIME: &str = "this is no time: write seconds, or a number with s, m, h or d";
const NO_COUNTERPART: &str = "there is no such setting here";

/// `conn NAME` and the like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    kind: String,
    name: String,
    line: usize,
    settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    line: usize,
}

/// Reads the whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, Syntax> {
    let mut blocks: Vec<Block> = Vec::new();
    for (number, whole) in text.lines().enumerate() {
        let line = number + 1;
        let content = without_comment(whole).trim_end();
        let indented = content.starts_with([' ', '\t']);
        let words = content.trim_start();
        let column = content.chars().count() - words.chars().count() + 1;
        let wrong = |what| Syntax { line, column, what };
        if words.is_empty() {
            continue;
        }
        if !indented {
            let mut parts = words.split_whitespace();
            let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if !matches!(kind, "conn" | "config" | "ca" | "version" | "include") || name.is_empty() {
                return Err(wrong("a line that is not indented begins with conn, config, ca or include, and a name"));
            }
            if blocks.len() >= MAX_SECTIONS {
                return Err(wrong("too many sections"));
            }
            blocks.push(Block { kind: kind.to_owned(), name: name.to_owned(), line, settings: Vec::new() });
            continue;
        }
        let block = blocks.last_mut().ok_or_else(|| wrong("a setting stands before the first section"))?;
        let (key, value) = words.split_once('=').ok_or_else(|| wrong("a setting is written key=value"))?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let key = key.trim().to_ascii_lowercase();
        block.settings.push(Setting { key, value: value.to_owned(), line });
    }
    Ok(blocks)
}

/// A comment runs from a `#` at the beginning of a word, outside of quotes, to the end of the line.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut before) = (false, ' ');
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return line.get(..at).unwrap_or(line),
            _ => {}
        }
        before = c;
    }
    line
}

/// Every connection that can be carried over.
pub(super) fn peers(blocks: &[Block], losses: &mut Losses) -> Vec<Connection> {
    let mut found = Vec::new();
    for block in blocks {
        match (block.kind.as_str(), block.name.as_str()) {
            ("version", _) | ("conn", "%default") => {}
            ("conn", name) if is_part(block, name, blocks) => {}
            ("conn", _) => found.extend(connection(block, blocks, losses)),
            ("include", name) => losses.note(block.line, format!("include {}: other files are not read", shown(name))),
            ("config", _) => {
                for Setting { key, value, line } in &block.settings {
                    losses.setting(*line, key, value, "it is about the other daemon");
                }
            }
            (kind, name) => {
                losses.note(block.line, format!("{} {}: nothing here corresponds to it", shown(kind), shown(name)));
            }
        }
    }
    found
}

/// Whether a section only holds what others take from it with `also`.
fn is_part(block: &Block, name: &str, blocks: &[Block]) -> bool {
    let mut others = blocks.iter().flat_map(|other| &other.settings);
    let ends = block.settings.iter().any(|setting| matches!(setting.key.as_str(), "left" | "right"));
    !ends && others.any(|setting| setting.key == "also" && setting.value == name)
}

/// The settings of a connection: those of `%default`, then of what `also` names, then its own. The last one counts.
fn settings(block: &Block, blocks: &[Block], losses: &mut Losses) -> Vec<Setting> {
    let mut all = Vec::new();
    for default in blocks.iter().filter(|other| other.kind == "conn" && other.name == "%default") {
        gather(default, blocks, 0, &mut all, losses);
    }
    gather(block, blocks, 0, &mut all, losses);
    let mut last: Vec<Setting> = Vec::new();
    for setting in all {
        match last.iter_mut().find(|other| other.key == setting.key) {
            Some(other) => *other = setting,
            None => last.push(setting),
        }
    }
    last
}

fn gather(block: &Block, blocks: &[Block], depth: usize, all: &mut Vec<Setting>, losses: &mut Losses) {
    for setting in block.settings.iter().filter(|setting| setting.key == "also") {
        let other = blocks.iter().find(|other| other.kind == "conn" && other.name == setting.value);
        match other {
            Some(other) if depth < MAX_ALSO => gather(other, blocks, depth + 1, all, losses),
            _ => losses.setting(setting.line, "also", &setting.value, "there is no such section in this file"),
        }
    }
    for setting in block.settings.iter().filter(|setting| setting.key != "also") {
        if all.len() < MAX_SETTINGS {
            all.push(setting.clone());
        }
    }
}

/// One side as it is being read.
#[derive(Default)]
struct End {
    address: Option<IpAddr>,
    id: Option<String>,
    subnets: Option<(String, usize)>,
    service: (Option<u8>, Option<u16>),
    psk: Option<bool>,
}

fn connection(block: &Block, blocks: &[Block], losses: &mut Losses) -> Option<Connection> {
    let mut peer =
        Connection { name: block.name.clone(), line: block.line, start: Some("manual"), ..Connection::default() };
    let (mut left, mut right) = (End::default(), End::default());
    let (mut fit, mut psk, mut pfs) = (true, None, None);
    for Setting { key, value, line } in &settings(block, blocks, losses) {
        let mut no = |why: &str| losses.setting(*line, key, value, why);
        if let Some(rest) = key.strip_prefix("left") {
            end(&mut left, rest, key, value, *line, losses);
            continue;
        }
        if let Some(rest) = key.strip_prefix("right") {
            end(&mut right, rest, key, value, *line, losses);
            continue;
        }
        match (key.as_str(), value.as_str()) {
            ("type", "tunnel")
            | ("keyexchange", "ikev2" | "ike")
            | ("ikev2", "insist" | "yes" | "propose")
            | ("mobike" | "compress" | "aggressive", "no")
            | ("dpdtimeout" | "dpdaction", _)
            | ("keyingtries", "0" | "%forever")
            | ("rekey", "yes")
            | ("forceencaps" | "encapsulation", "no" | "auto") => {}
            ("authby", "secret" | "psk") => psk = Some(true),
            ("authby", _) => psk = Some(false),
            ("ike", value) => peer.ike = proposal::suites(Purpose::Ike, value, *line, losses),
            ("esp" | "phase2alg", value) => peer.esp = proposal::suites(Purpose::Esp, value, *line, losses),
            ("pfs", value) => pfs = Some((peer::yes(value), *line)),
            ("auto", "start" | "up") => peer.start = Some("always"),
            ("auto", "route" | "ondemand" | "trap") => peer.start = Some("on-demand"),
            ("auto", "add") => peer.start = Some("manual"),
            ("auto", _) => {
                peer.start = Some("manual");
                no("the connection is not loaded there; here it waits for `portcullis up`");
            }
            ("forceencaps" | "encapsulation", _) => peer.encapsulation = true,
            ("dpddelay", value) => match peer::seconds(value) {
                Some(seconds @ 5..=3600) => peer.liveness = Some(seconds),
                _ => no("a peer that is silent is probed here after 5 to 3600 seconds"),
            },
            ("replay_window" | "replay-window", value) => match value.parse() {
                Ok(packets @ 64..=65_536) => peer.replay_window = Some(packets),
                _ => no("the window here has 64 to 65536 packets"),
            },
            ("keyexchange" | "ikev2", _) => {
                no("IKEv1 is not spoken here; the connection is left out");
                fit = false;
            }
            ("type", _) => {
                no("ESP is used in tunnel mode only here; the connection is left out");
                fit = false;
            }
            ("mobike", _) => no("a tunnel here is between two fixed addresses"),
            ("keyingtries", _) => no("a tunnel here is tried until it is up"),
            ("ikelifetime", value) => match peer::seconds(value) {
                Some(seconds) => peer.ike_time = Some(seconds),
                None => no(NO_TIME),
            },
            ("lifetime" | "keylife" | "salifetime", value) => match peer::seconds(value) {
                Some(seconds) => peer.child_time = Some(seconds),
                None => no(NO_TIME),
            },
            ("rekeymargin" | "margintime" | "rekeyfuzz", _) => {
                no("when renewal begins is said here by `rekey`, in percent of each limit");
            }
            _ => no(NO_COUNTERPART),
        }
    }
    if !(left.psk.or(psk) == Some(true) && right.psk.or(psk) == Some(true)) {
        let why = "only pre-shared keys (authby=secret) are carried over; the connection is left out";
        losses.note(block.line, format!("conn {}: {why}", shown(&block.name)));
        fit = false;
    }
    if let Some((wanted, line)) = pfs
        && peer.esp.iter().any(|suite| wanted != names_a_group(suite))
    {
        losses
            .note(line, "pfs: here the ESP suites say whether a rekey makes a new key exchange, and with which group");
    }
    (peer.local, peer.peer) = (left.address, right.address);
    (peer.local_id, peer.peer_id) = (left.id.clone(), right.id.clone());
    let sides = [left, right].map(|end| selectors(&end, block.line, losses));
    let [local, remote] = sides;
    if !local.is_empty() && !remote.is_empty() {
        peer.children.push(Child { name: block.name.clone(), line: block.line, local, remote });
    }
    fit.then_some(peer)
}

fn names_a_group(suite: &str) -> bool {
    suite.split('-').any(|word| ["modp", "ecp", "x25519"].iter().any(|group| word.starts_with(group)))
}

fn end(end: &mut End, rest: &str, key: &str, value: &str, line: usize, losses: &mut Losses) {
    let mut no = |why: &str| losses.setting(line, key, value, why);
    match (rest, value) {
        ("", "%defaultroute" | "%any") => no("write this gateway's and the peer's addresses"),
        ("", value) => match peer::address(value) {
            Ok((address, more)) => {
                end.address = Some(address);
                if more {
                    no(peer::ONE_ADDRESS);
                }
            }
            Err(why) => no(why),
        },
        ("id", value) => match peer::id(value) {
            Ok(Some(id)) => end.id = Some(id),
            Ok(None) => no("here each side must prove one identity: its address, if nothing else is written"),
            Err(why) => no(&why),
        },
        ("subnet" | "subnets", value) => {
            end.subnets = Some((value.trim_matches(['{', '}']).replace(char::is_whitespace, ","), line));
        }
        ("protoport", value) => match peer::protocol_and_port(value) {
            Ok(service) => end.service = service,
            Err(why) => no(why),
        },
        ("auth", "psk" | "secret") => end.psk = Some(true),
        ("auth", _) => {
            end.psk = Some(false);
            no("this gateway is known by a pre-shared key");
        }
        _ => no(NO_COUNTERPART),
    }
}

/// The selectors of one side; without `subnet` it is the gateway itself.
fn selectors(end: &End, line: usize, losses: &mut Losses) -> Vec<Traffic> {
    let (text, line) = match &end.subnets {
        Some((text, line)) => (text.as_str(), *line),
        None => ("dynamic", line),
    };
    let mut found = traffics(text, end.address, line, losses);
    for traffic in found.iter_mut().filter(|traffic| traffic.protocol.is_none()) {
        (traffic.protocol, traffic.port) = end.service;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_settings_comments_and_quotes_are_read_with_their_lines() {
        let blocks = parse("# top\nversion 2\nconn a # one\n\tleft = 192.0.2.1 # two\n  leftid=\"@a # b\"\n\nconn b\n");
        let blocks = blocks.unwrap();
        assert_eq!(
            blocks.iter().map(|block| (block.name.as_str(), block.line)).collect::<Vec<_>>(),
            [("2", 2), ("a", 3), ("b", 7)]
        );
        let settings: Vec<_> =
            blocks[1].settings.iter().map(|it| (it.key.as_str(), it.value.as_str(), it.line)).collect();
        assert_eq!(settings, [("left", "192.0.2.1", 4), ("leftid", "@a # b", 5)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        for (text, line, column) in [("\n left=1", 2, 2), ("conn a\n   left", 2, 4), ("con a", 1, 1), ("conn", 1, 1)] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        }
    }

    #[test]
    fn also_and_defaults_come_before_what_a_connection_says_itself() {
        let blocks = parse("conn %default\n a=1\n b=1\nconn x\n b=2\n c=2\n also=x\nconn y\n also=x\n c=3\n").unwrap();
        let mut losses = Losses::default();
        let settings = settings(&blocks[2], &blocks, &mut losses);
        let found: Vec<_> = settings.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
        assert_eq!(found, [("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(losses.finish().len(), 1, "a section that names itself ends somewhere");
    }
}
