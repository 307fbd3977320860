//! Configuration files: what loads keeps what docs/CONFIG.md promises, and what does not is refused in words that tell
//! no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use jiff::Timestamp;
use portcullis::config::{self, ConfigError, Loaded, Problem};
use portcullis::crypto::suite::Cipher;
use portcullis::ike::config::TunnelConfig;
use portcullis::policy::{Inspection, Rule, Service};

use super::steps::{self, Blind, List, Random};
use super::{config_followed, seeds};

/// What is reloaded over: another file, with tunnels and rules of which some may have the same names.
const BEFORE: &str = r#"
[agreement.lab]
kind = "lab"

[tunnel.gone]
agreement = "lab"
local = "198.51.100.1"
peer = "198.51.100.2"
auth = { method = "psk", secret = "file:/psk" }
preset = "cisco-ios-xe"

[tunnel.lab]
agreement = "lab"
local = "198.51.100.1"
peer = "198.51.100.3"
auth = { method = "psk", secret = "file:/psk" }
preset = "cisco-ios-xe"

[approval]
approver = "J. Doe"
ticket = "CHG-1"

[[rule]]
name = "gone"
tunnel = "gone"
clause = "1"
from = ["10.0.0.1"]
to = ["10.0.1.1"]
service = "mq"

[[rule]]
name = "dns"
tunnel = "lab"
clause = "1"
from = ["10.0.0.1"]
to = ["10.0.1.2"]
service = "mq"
"#;

/// A file of the seeds that loads, and the mark of an input that changes it.
const BASES: [&str; 3] = [seeds::REAL, seeds::LAB, seeds::EVERY];
const EDITED: u8 = 0;
/// The mark of one whose references are followed.
pub const FOLLOWED: u8 = 1;
/// How the changes stand in such an input: mark, which file, then (which line, value).
const EDITS: List = List { prefix: 2, most: 16 };

/// A file as it is; behind a mark one that loads with some of its values changed, or one whose references are followed.
pub fn file(data: &[u8]) {
    match data.split_first_chunk() {
        Some(([EDITED, base], edits)) => text(&edited(BASES[usize::from(*base) % BASES.len()], edits)),
        _ => match data.strip_prefix(&[FOLLOWED]) {
            Some(followed) => drop(config_followed::file(std::str::from_utf8(followed).unwrap_or_default())),
            None => text(std::str::from_utf8(data).unwrap_or_default()),
        },
    }
}

/// `base` with other values for some of its keys. A value of one, two or four bytes is a number, any other is text; the
/// value `~` takes the line out, `+` in front of it puts one of [`LINES`] there, and `*` makes a list of suites.
fn edited(base: &str, mut edits: &[u8]) -> String {
    let mut lines: Vec<String> = base.lines().map(str::to_owned).collect();
    for (which, value) in std::iter::from_fn(|| steps::next(&mut edits)).take(EDITS.most) {
        let at = usize::from(which) % lines.len();
        let key = lines[at].split('=').next().unwrap_or_default().trim().to_owned();
        let value = match *value {
            [number] => number.cast_signed().to_string(),
            [b'+', line] => {
                lines.insert(at, LINES[usize::from(line) % LINES.len()].to_owned());
                continue;
            }
            [b'*', ref suites @ ..] => {
                let suites: Vec<String> = suites.chunks_exact(3).map(suite).collect();
                format!("[\"{}\"]", suites.join("\", \""))
            }
            [high, low] => u16::from_be_bytes([high, low]).to_string(),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).to_string(),
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        if value == "126" {
            lines.remove(at);
        } else if lines[at].contains('=') {
            lines[at] = format!("{key} = {value}");
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

/// A suite of one of each kind of words.
fn suite(of: &[u8]) -> String {
    const CIPHERS: [&str; 4] = ["aes256gcm16", "aes256", "aes128gcm16", "chacha20poly1305"];
    const HASHES: [&str; 7] = ["", "-sha256", "-sha384", "-sha512", "-prfsha256", "-prfsha384", "-prfsha512"];
    const GROUPS: [&str; 8] = ["", "-ecp256", "-ecp384", "-ecp521", "-x25519", "-modp2048", "-modp3072", "-modp4096"];
    let word = |place: usize, words: &[&'static str]| words[usize::from(of[place] & 0x7f) % words.len()];
    let esn = if of[2] & 0x80 == 0 { "" } else { "-esn" };
    [word(0, &CIPHERS), word(1, &HASHES), word(2, &GROUPS), esn].concat()
}

/// One file: loaded, loaded over itself, and loaded over another one; or refused.
fn text(text: &str) {
    let secret = only_secret(text);
    match load(text, None) {
        Ok(loaded) => {
            shown(&loaded.warnings, secret.as_deref());
            promised(&loaded);
            // What was loaded once can be loaded again over itself, and nothing changes.
            let again = load(text, Some(&loaded)).expect("it was loaded a moment ago");
            assert_eq!((&again.tunnels, again.policy.rules()), (&loaded.tunnels, loaded.policy.rules()));
            assert_eq!(again.policy.digest(), loaded.policy.digest(), "the same policy, another digest");
            assert_eq!(again.subjects(), loaded.subjects(), "the same agreements, another baseline");
            placed(text, &loaded);
            on_days(&loaded, secret.as_deref());
            reloaded(text, &loaded);
        }
        Err(refused) => {
            assert!(!refused.errors.is_empty() && !refused.to_string().is_empty(), "refused without a word");
            shown(&refused.errors, secret.as_deref());
            shown(&refused.warnings, secret.as_deref());
            in_one_line(&refused);
        }
    }
}

/// What a log and a terminal are told of a file that does not load.
fn in_one_line(refused: &ConfigError) {
    let line = refused.to_string();
    assert!(line.starts_with("fuzz.toml") && !line.chars().any(char::is_control), "{line:?}");
    let more = refused.errors.len() > 1;
    assert!(!more || line.contains(&(refused.errors.len() - 1).to_string()), "{line:?} of {}", refused.errors.len());
    assert!(refused.render(false).contains(refused.errors[0].message().split(' ').next().unwrap_or_default()));
    let strict = ConfigError::of_warnings(Path::new("fuzz.toml"), refused.warnings.clone());
    assert_eq!(strict.errors.len(), refused.warnings.len());
}

/// Whatever the day, all that is warned of on every day is warned of, and more; in words that a person can read.
fn on_days(loaded: &Loaded, secret: Option<&str>) {
    for seconds in [0, 1_600_000_000, 1_760_000_000, 1_900_000_000, 40_000_000_000] {
        let now = Timestamp::from_second(seconds).expect("a day");
        let warnings: Vec<Problem> = loaded.warnings_at(now).cloned().collect();
        assert!(warnings.len() >= loaded.warnings.len());
        shown(&warnings[loaded.warnings.len()..], secret);
    }
}

/// What stands somewhere stands on a line of the file.
fn placed(text: &str, loaded: &Loaded) {
    let (places, lines) = (config::places(text), text.lines().count());
    let on_a_line = |line: Option<usize>| assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{line:?}");
    for tunnel in &loaded.tunnels {
        on_a_line(places.tunnel(&tunnel.name));
        on_a_line(places.tunnel_key(&tunnel.name, "local"));
        places.rules_of(&tunnel.name).for_each(|line| on_a_line(Some(line)));
        assert!(places.preset(&tunnel.name).is_none_or(|preset| text.contains(preset)));
        let _ = places.reference(&tunnel.name);
    }
    loaded.policy.rules().iter().for_each(|rule| on_a_line(places.rule(&rule.name)));
}

fn load(text: &str, previous: Option<&Loaded>) -> Result<Loaded, ConfigError> {
    config::load_text(Path::new("fuzz.toml"), text, previous)
}

/// An inline key of the file, if there is one that stands there only once and so is nothing else as well.
fn only_secret(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (_, behind) = lower.split_once("hex:")?;
    let digits: String = behind.chars().take_while(char::is_ascii_hexdigit).take(16).collect();
    (digits.len() == 16 && lower.matches(&digits).count() == 1).then_some(digits)
}

/// A person can read each problem, and nobody can read the secret in it. More than a few are not made into pictures.
pub(super) fn shown(problems: &[Problem], secret: Option<&str>) {
    for (at, problem) in problems.iter().enumerate() {
        let text = if at < 2 { problem.render(false) } else { problem.message().to_owned() };
        assert!(!text.is_empty() && !problem.message().is_empty(), "a problem without a word");
        assert!(at > 0 || problem.render(true).len() >= text.len(), "colour takes something away");
        let place = problem.place().map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        assert_eq!(problem.located(Path::new("f")), format!("f{place}: {}", problem.message()));
        assert!(problem.place().is_none_or(|(line, column)| line > 0 && column > 0));
        assert!(problem.mend().is_none_or(|mend| !mend.is_empty() && !mend.chars().any(char::is_control)));
        assert!(!problem.message().chars().any(char::is_control), "a problem of more than one line");
        if let Some(secret) = secret {
            assert!(!text.to_ascii_lowercase().contains(secret), "the secret is shown:\n{text}");
        }
    }
}

/// docs/CONFIG.md, read once more.
pub(super) fn promised(loaded: &Loaded) {
    let gateway = &loaded.gateway;
    assert!(gateway.state_dir.is_absolute() && gateway.control_socket.is_absolute());
    assert!(gateway.control_socket.as_os_str().len() <= 107 && gateway.tun.len() <= 15 && !gateway.tun.is_empty());
    assert!(gateway.mtu.is_none_or(|mtu| (576..=9000).contains(&mtu)), "MTU {:?}", gateway.mtu);
    assert_eq!(loaded.tunnels.len(), loaded.ike.tunnels.len());
    for (info, tunnel) in loaded.tunnels.iter().zip(&loaded.ike.tunnels) {
        let agreement = loaded.agreement(&info.agreement).expect("a tunnel stands under an agreement");
        assert_eq!((info.id, info.kind, tunnel.lab), (tunnel.id, agreement.kind(), agreement.lab));
        if !agreement.lab {
            assert!(agreement.document.is_some() && agreement.date.is_some() && agreement.years.is_some());
        }
        tunnel_holds(tunnel, loaded);
        let weak = loaded.warnings.iter().any(|warning| warning.message().contains("weak"));
        let bits = info.psk_bits.unwrap_or(u32::MAX);
        assert!(bits >= 112 || weak, "a key of {bits} bits without a word");
    }
    let mut names = BTreeSet::new();
    for rule in loaded.policy.rules() {
        assert!(names.insert(&rule.name), "two rules of one name");
        rule_holds(rule, loaded);
    }
    // An address of our own gives its route a source, and takes no network out.
    let local = || loaded.policy.rules().iter().flat_map(Rule::local);
    let own: Vec<_> = local().map(|net| net.trunc().addr()).collect();
    let one_host = local().any(|net| net.prefix_len() == net.max_prefix_len());
    let with_source = loaded.protected(&own);
    assert!(with_source.iter().all(|entry| entry.source.is_none_or(|source| own.contains(&source))));
    assert!(!one_host || with_source.iter().any(|entry| entry.source.is_some()));
    let protected = loaded.protected(&[]);
    assert_eq!(protected.len(), with_source.len());
    let remote = loaded.policy.rules().iter().flat_map(Rule::remote);
    for network in remote {
        assert!(protected.iter().any(|entry| entry.network == *network), "{network} is not kept from leaking");
    }
}

fn tunnel_holds(tunnel: &TunnelConfig, loaded: &Loaded) {
    assert!(tunnel.local != tunnel.peer && tunnel.local.is_ipv4() == tunnel.peer.is_ipv4());
    assert!(!tunnel.peer.is_multicast() && !tunnel.peer.is_unspecified());
    assert!(!tunnel.ike.is_empty() && !tunnel.esp.is_empty(), "nothing protects it");
    assert!(tunnel.local_auth.psk().is_none_or(|psk| !psk.is_empty()), "no key proves anything");
    assert!(tunnel.peer_auth.psk().is_none_or(|psk| !psk.is_empty()), "no key proves anything");
    assert!(!tunnel.local_id.data.is_empty() && !tunnel.peer_id.data.is_empty(), "an identity of nobody");
    let ciphers = || tunnel.ike.iter().map(|suite| suite.cipher).chain(tunnel.esp.iter().map(|suite| suite.cipher));
    assert!(tunnel.lab || ciphers().all(Cipher::is_aes256), "CBP §2a asks for AES 256 bit");
    let has_mac = tunnel.esp.iter().all(|suite| suite.cipher.is_aead() != suite.mac.is_some());
    assert!(has_mac && tunnel.ike.iter().all(|suite| suite.cipher.is_aead() != suite.mac.is_some()));
    // RFC 4303 §3.4.3, and the bound of the ring.
    assert!((64..=65_536).contains(&tunnel.replay_window), "a window of {}", tunnel.replay_window);
    assert!((5..=3600).contains(&tunnel.liveness.as_secs()));
    assert_eq!(tunnel.children.len(), loaded.policy.shapes(tunnel.id).len(), "{}", tunnel.name);
    assert!(tunnel.lifetime.soft_packets < tunnel.lifetime.hard_packets);
}

fn rule_holds(rule: &Rule, loaded: &Loaded) {
    let tunnel = loaded.tunnels.iter().find(|tunnel| tunnel.id == rule.tunnel).expect("a rule has a tunnel");
    assert_eq!(rule.agreement, tunnel.agreement);
    assert!(!rule.service.is_lab() || tunnel.kind == "lab", "a service that no agreement authorises");
    let uninspected = matches!(rule.service, Service::Tcp | Service::Udp | Service::Echo);
    assert_eq!(rule.inspection.is_uninspected(), uninspected, "a named service is looked at");
    if let Inspection::Mq(mq) = &rule.inspection {
        assert!(mq.client || mq.server, "a role is left");
        let queues = mq.queues.as_slice();
        assert!(queues.iter().all(|name| name.text.len() <= 48 && !name.text.starts_with(b"SYSTEM.ADMIN.")));
    }
    assert!(!rule.from.is_empty() && !rule.to.is_empty() && !rule.ports.contains(&0));
    for net in rule.from.iter().chain(&rule.to) {
        assert!(net.prefix_len() > 0 && !net.network().is_multicast() && !net.network().is_loopback(), "{net}");
        assert_eq!(net.trunc(), *net);
    }
    let both = rule.from.iter().any(|from| rule.to.iter().any(|to| from.contains(to) || to.contains(from)));
    assert!(!both, "a host on both sides of {}", rule.name);
    for net in rule.remote() {
        let inside = loaded.tunnels.iter().any(|tunnel| net.contains(&tunnel.peer) || net.contains(&tunnel.local));
        assert!(!inside, "the tunnel itself would go through the tunnel");
    }
}

/// Over another file: what has a name that was there keeps its number, and nothing else gets a number that was there.
fn reloaded(text: &str, alone: &Loaded) {
    static OLD: OnceLock<Loaded> = OnceLock::new();
    let old = OLD.get_or_init(|| load(BEFORE, None).expect("a file that loads"));
    let new = load(text, Some(old)).expect("it was loaded a moment ago");
    assert_eq!(new.policy.digest(), alone.policy.digest(), "what was there before changes the policy");
    let numbers = |loaded: &Loaded| -> [BTreeMap<String, u16>; 2] {
        [
            loaded.tunnels.iter().map(|tunnel| (tunnel.name.clone(), tunnel.id.0)).collect(),
            loaded.policy.rules().iter().map(|rule| (rule.name.clone(), rule.id.0)).collect(),
        ]
    };
    for (old, new) in numbers(old).iter().zip(&numbers(&new)) {
        for (name, number) in new {
            let before = old.iter().find(|(_, other)| *other == number).map(|(name, _)| name);
            match old.get(name) {
                Some(kept) => assert_eq!(kept, number, "`{name}` has changed its number"),
                None => assert_eq!(before, None, "`{name}` has the number of another"),
            }
        }
    }
}

/// Lines that may stand in a file, to be put somewhere.
const LINES: &[&str] = &[
    "[gateway]",
    "state_dir = \"/s\"",
    "control_socket = \"/c\"",
    "tun = \"tun0\"",
    "mtu = 1400",
    "[agreement.a]",
    "kind = \"lab\"",
    "document = \"D\"",
    "organisation = \"O\"",
    "basis = \"latest-signature\"",
    "date = 2025-03-01",
    "years = 3",
    "document_digest = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"",
    "classification = \"unclassified\"",
    "zone = \"-05:00\"",
    "grace_days = 30",
    "reviewed = 2026-03-01",
    "termination = 2027-03-01",
    "activation = \"operator\"",
    "contacts = { primary = \"P\", incident = \"I\" }",
    "[tunnel.t]",
    "agreement = \"a\"",
    "local = \"198.51.100.10\"",
    "peer = \"203.0.113.5\"",
    "local_id = \"keyid:00ff\"",
    "peer_id = \"vpn@example.com\"",
    "auth = { method = \"psk\", secret = \"credential:psk\" }",
    "weak_psk = \"reason\"",
    "preset = \"cisco-ios-xe\"",
    "ike = [\"aes128gcm16-prfsha256-x25519\"]",
    "esp = [\"aes128gcm16-esn\"]",
    "start = \"manual\"",
    "encapsulation = \"forced\"",
    "selectors = \"service\"",
    "replay_window = 64",
    "liveness = 30",
    "[[rule]]",
    "name = \"r\"",
    "tunnel = \"t\"",
    "clause = \"1a\"",
    "from = [\"192.0.2.10\", \"192.0.2.0/24\"]",
    "to = [\"203.0.113.20\"]",
    "service = \"tcp\"",
    "tcp = [22, 443]",
    "udp = [53]",
    "direction = \"inbound\"",
    "allow_network = \"reason\"",
    "inspect = \"observe\"",
    "roles = [\"client\"]",
    "channels = [\"CBP.*\"]",
    "queue_managers = [\"QM1\"]",
    "queues = [\"CBP.IN\", \"REPLY.*\"]",
    "tls = \"required\"",
    "tls_versions = [\"1.2\"]",
    "ciphers = [\"aes256\"]",
    "sni = [\"mq.example\"]",
];

/// Changes a file line by line: what is a key and what is a section stays so more often than with blind changes.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, blind: Blind<'_>) -> usize {
    let mut random = Random::new(seed);
    if size >= EDITS.prefix && data[0] == EDITED {
        return steps::mutate(data, size, max_size, seed, EDITS, blind);
    }
    let Ok(text) = std::str::from_utf8(&data[..size]) else { return blind(data, size, max_size) };
    if random.below(3) == 0 {
        return blind(data, size, max_size);
    }
    let mut lines: Vec<Vec<u8>> = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..=random.below(3) {
        let (at, to) = (random.below(lines.len()), random.below(lines.len() + 1));
        match random.below(8) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => {
                let line = lines[at].clone();
                lines.insert(to, line);
            }
            2 => {
                let other = random.below(lines.len());
                lines.swap(at, other);
            }
            3 | 4 => lines.insert(to, LINES[random.below(LINES.len())].into()),
            // A number becomes another one.
            5 => {
                let digits: Vec<usize> = (0..lines[at].len()).filter(|i| lines[at][*i].is_ascii_digit()).collect();
                if let Some(place) = digits.get(random.below(digits.len())) {
                    lines[at][*place] = b'0' + random.below(10) as u8;
                }
            }
            _ => {
                let mut room = [0; 512];
                let len = lines[at].len().min(512);
                room[..len].copy_from_slice(&lines[at][..len]);
                let len = blind(&mut room, len, 512);
                lines[at] = room[..len.min(512)].to_vec();
            }
        }
    }
    let made = lines.join(&b'\n');
    let size = made.len().min(max_size);
    data[..size].copy_from_slice(&made[..size]);
    size
}
