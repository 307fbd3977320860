//! What a good file becomes: the endpoint's tunnels, the policy, what the guard protects, and numbers that stay.

mod support;

use std::time::Duration;

use portcullis::agreement::{Found, Ledger, Part};
use portcullis::config::{self, Basis, Loaded, identity};
use portcullis::ids::{RuleId, TunnelId};
use portcullis::ike::config::Start;
use portcullis::policy::{RuleDirection, Service};
use proptest::prelude::*;
use support::{Case, EXAMPLE, LAB, PSK};

fn load(text: &str) -> Loaded {
    Case::new().load(text).unwrap_or_else(|refused| panic!("{}", refused.render(false)))
}

#[test]
fn the_example_loads() {
    let loaded = load(EXAMPLE);
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.gateway.state_dir.to_str(), Some("/var/lib/portcullis"));
    assert_eq!(loaded.gateway.control_socket.to_str(), Some("/run/portcullis/control.sock"));
    assert_eq!((loaded.gateway.tun.as_str(), loaded.gateway.mtu), ("portcullis0", None));
    let agreement = loaded.agreement("cbp").unwrap();
    assert_eq!(
        (agreement.kind(), agreement.basis, agreement.years),
        ("agreement", Some(Basis::Acknowledgement), Some(3))
    );
    assert_eq!(agreement.date, Some(jiff::civil::date(2025, 3, 1)));
    assert!(agreement.missing().is_empty() && agreement.contacts.len() == 5);
    let term = agreement.term().unwrap();
    assert_eq!(
        (term.last_day(), term.zone.to_string(), term.grace_days),
        (jiff::civil::date(2028, 3, 1), "UTC".into(), 0)
    );

    let tunnel = &loaded.ike.tunnels[0];
    assert_eq!((tunnel.name.as_str(), tunnel.lab, tunnel.start), ("cbp", false, Start::Always));
    assert_eq!((tunnel.replay_window, tunnel.force_encapsulation), (4096, false));
    assert_eq!(identity::text(&tunnel.local_id), "198.51.100.10");
    assert_eq!(identity::text(&tunnel.peer_id), "203.0.113.5");
    assert_eq!(tunnel.local_auth.psk().unwrap().expose(), PSK.trim_end().as_bytes());
    assert_eq!(
        tunnel.ike.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384"]
    );
    assert_eq!(
        tunnel.esp.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384"]
    );
    let children: Vec<_> =
        tunnel.children.iter().map(|child| format!("{} <-> {}", child.local, child.remote)).collect();
    assert_eq!(children, ["192.0.2.10 <-> 203.0.113.20"]);
    assert!(loaded.tunnels[0].psk_bits.unwrap() >= 256);

    let rule = &loaded.policy.rules()[0];
    assert_eq!((rule.name.as_str(), rule.clause.as_str(), rule.agreement.as_str()), ("mq", "1a", "cbp"));
    assert_eq!(
        (rule.service, rule.effective_ports(), rule.direction),
        (Service::Mq, vec![1414], RuleDirection::Outbound)
    );
}

#[test]
fn a_lab_agreement_may_use_everything() {
    let loaded = load(LAB);
    let tunnel = &loaded.ike.tunnels[0];
    assert!(tunnel.lab && loaded.tunnels[0].kind == "lab" && tunnel.start == Start::Manual);
    assert_eq!(tunnel.children.len(), 2, "one child SA for each service");
    assert_eq!(loaded.policy.rules()[1].direction, RuleDirection::Inbound);
}

#[test]
fn optional_keys_are_taken_over() {
    let keys = "local_id = \"gw.example.com\"\npeer_id = \"keyid:636270\"\nencapsulation = \"forced\"\nreplay_window = 64\n\
                liveness = 5\nstart = \"on-demand\"\nauth =";
    let loaded = load(&EXAMPLE.replace("auth =", keys).replace("[agreement", "tun = \"tun7\"\nmtu = 1400\n[agreement"));
    let tunnel = &loaded.ike.tunnels[0];
    assert_eq!(identity::text(&tunnel.local_id), "gw.example.com");
    assert_eq!(identity::text(&tunnel.peer_id), "keyid:636270");
    assert!(tunnel.force_encapsulation);
    assert_eq!((tunnel.replay_window, tunnel.liveness, tunnel.start), (64, Duration::from_secs(5), Start::OnDemand));
    assert_eq!((loaded.gateway.tun.as_str(), loaded.gateway.mtu), ("tun7", Some(1400)));
}

#[test]
fn workers_are_bound_to_the_processors_that_are_named_or_to_the_first_ones() {
    let all = support::processors();
    let load = |lines: &str| load(&EXAMPLE.replace("[agreement", &format!("{lines}\n[agreement"))).gateway.processors;
    assert_eq!(load(""), [] as [usize; 0]);
    assert_eq!(load("processors = \"auto\""), all[..1]);
    let last = all[all.len() - 1];
    assert_eq!(load(&format!("processors = [{last}]")), [last]);
    let workers = all.len().min(16);
    assert_eq!(load("workers = \"auto\"\nprocessors = \"auto\""), all[..workers]);
    // The order is theirs.
    let turned: Vec<usize> = all[..workers].iter().rev().copied().collect();
    assert_eq!(load(&format!("workers = {workers}\nprocessors = {turned:?}")), turned);
}

#[test]
fn without_esn_no_sequence_number_can_wrap() {
    let without = load(&EXAMPLE.replace("\"aes256gcm16-ecp384-esn\", ", ""));
    assert_eq!(without.ike.tunnels[0].lifetime.hard_packets, u64::from(u32::MAX));
    for loaded in [without, load(EXAMPLE)] {
        let lifetime = loaded.ike.tunnels[0].lifetime;
        assert!(lifetime.soft_packets < lifetime.hard_packets);
        assert!(lifetime.soft_bytes < lifetime.hard_bytes && lifetime.soft_time < lifetime.hard_time);
    }
}

#[test]
fn lifetimes_have_defaults_and_each_limit_can_be_written() {
    let lifetimes = |keys: &str| {
        let loaded = load(&EXAMPLE.replace("auth =", &format!("{keys}\nauth =")));
        let tunnel = &loaded.ike.tunnels[0];
        (tunnel.lifetime, tunnel.ike_lifetime, tunnel.jitter)
    };
    let (child, ike, jitter) = lifetimes("");
    assert_eq!((child.soft_time, child.hard_time), (Duration::from_mins(51), Duration::from_hours(1)));
    assert_eq!((child.soft_bytes, child.hard_bytes), (934_584_883_609, 1 << 40));
    assert_eq!((child.soft_packets, child.hard_packets), (3_650_722_200, u64::from(u32::MAX)));
    assert_eq!((ike.soft, ike.hard, jitter), (Duration::from_mins(1224), Duration::from_hours(24), 10));
    let (child, ike, jitter) = lifetimes(
        "child_lifetime = { time = 600, bytes = 1048576, packets = 1000 }\nike_lifetime = 1200\n\
         rekey = { at = 50, jitter = 0 }",
    );
    assert_eq!((child.soft_time, child.hard_time), (Duration::from_mins(5), Duration::from_mins(10)));
    assert_eq!((child.soft_bytes, child.hard_bytes), (524_288, 1_048_576));
    assert_eq!((child.soft_packets, child.hard_packets), (500, 1000));
    assert_eq!((ike.soft, ike.hard, jitter), (Duration::from_mins(10), Duration::from_mins(20), 0));
    let (child, ..) = lifetimes("child_lifetime = { packets = 1099511627776 }");
    assert_eq!((child.hard_packets, child.hard_time), (1 << 40, Duration::from_hours(1)));
}

#[test]
fn a_systemd_credential_is_followed() {
    // The variable belongs to a process of its own: setting it here would race with other tests.
    let case = Case::new();
    let file = case.file(&EXAMPLE.replace("file:PSK", "credential:psk"));
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check"])
        .arg(file)
        .env("CREDENTIALS_DIRECTORY", case.path("."))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn the_remote_side_of_every_rule_is_protected() {
    let text = EXAMPLE.replace("[\"203.0.113.20\"]", "[\"203.0.113.20\", \"203.0.113.21\"]");
    let inbound = "\n[[rule]]\nname = \"back\"\ntunnel = \"cbp\"\nclause = \"1a\"\nfrom = [\"203.0.113.22\"]\n\
                   to = [\"192.0.2.11\"]\nservice = \"sftp\"\ndirection = \"inbound\"\n";
    let loaded = load(&format!("{text}{inbound}"));
    let protected = |own: &[std::net::IpAddr]| {
        loaded.protected(own).iter().map(|p| (p.network.to_string(), p.source)).collect::<Vec<_>>()
    };
    let own = "192.0.2.11".parse().unwrap();
    assert_eq!(
        protected(&[own]),
        [("203.0.113.20/32".into(), None), ("203.0.113.21/32".into(), None), ("203.0.113.22/32".into(), Some(own))]
    );
    assert!(protected(&[]).iter().all(|(_, source)| source.is_none()));
}

#[test]
fn what_keeps_its_name_keeps_its_number() {
    let case = Case::new();
    let tunnel = |name: &str, peer: u8| {
        format!(
            "[tunnel.{name}]\nagreement = \"bench\"\nlocal = \"198.51.100.10\"\npeer = \"203.0.113.{peer}\"\n\
             auth = {{ method = \"psk\", secret = \"file:PSK\" }}\npreset = \"cisco-asa\"\n"
        )
    };
    let rule = |name: &str, tunnel: &str, host: u8| {
        format!(
            "[[rule]]\nname = \"{name}\"\ntunnel = \"{tunnel}\"\nclause = \"1\"\nfrom = [\"192.0.2.10\"]\n\
             to = [\"198.18.0.{host}\"]\nservice = \"mq\"\n"
        )
    };
    let agreement = "[agreement.bench]\nkind = \"lab\"\n";
    let before = [agreement, &tunnel("a", 1), &tunnel("b", 2), &rule("x", "a", 1), &rule("y", "b", 2)].concat();
    let after = [agreement, &tunnel("c", 3), &tunnel("b", 2), &rule("z", "c", 3), &rule("y", "b", 2)].concat();
    let first = case.load(&before).unwrap();
    let second = config::reload(&case.file(&after), &first).unwrap();
    let tunnels: Vec<_> = second.tunnels.iter().map(|tunnel| (tunnel.name.as_str(), tunnel.id)).collect();
    assert_eq!(tunnels, [("c", TunnelId(2)), ("b", TunnelId(1))], "the number of `a` is not given to `c` at once");
    let rules: Vec<_> = second.policy.rules().iter().map(|rule| (rule.name.as_str(), rule.id, rule.tunnel)).collect();
    assert_eq!(rules, [("z", RuleId(2), TunnelId(2)), ("y", RuleId(1), TunnelId(1))]);
    assert!(second.policy.generation() > first.policy.generation());
}

#[test]
fn the_rules_can_be_asked_without_reading_the_secret() {
    let case = Case::new();
    let file = case.file(&EXAMPLE.replace("file:PSK", "file:/nonexistent/psk"));
    assert_eq!(config::load_rules(&file).unwrap().policy.rules().len(), 1);
    assert!(config::load(&file).is_err());
}

#[test]
fn a_file_that_is_deep_long_or_repetitive_is_refused_in_time() {
    for depth in [100, 100_000] {
        config::fuzz(format!("a = {}", "[".repeat(depth)).as_bytes());
        config::fuzz(format!("a = {}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        config::fuzz(format!("a{} = 1", ".a".repeat(depth)).as_bytes());
        config::fuzz(format!("[a{}]", ".a".repeat(depth)).as_bytes());
    }
    let long = EXAMPLE.replace("file:PSK", &format!("hex:{}", "0123456789abcdef".repeat(50_000)));
    config::fuzz(long.as_bytes());
    let (head, rule) = EXAMPLE.split_at(EXAMPLE.find("[[rule]]").unwrap());
    config::fuzz(format!("{head}{}", rule.repeat(2000)).as_bytes());
}

/// A mutation of the examples: some bytes removed, doubled or replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, any::<u8>(), 0_u8..4), 1..6);
    (any::<bool>(), edits).prop_map(|(lab, edits)| {
        let mut bytes = if lab { LAB } else { EXAMPLE }.as_bytes().to_vec();
        for (at, len, byte, kind) in edits {
            let at = at.index(bytes.len());
            let end = (at + len).min(bytes.len());
            match kind {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                2 => bytes[at] = byte & 0x7f,
                _ => bytes.insert(at, b"\"[]{}=.#\n,'"[usize::from(byte) % 11]),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(bytes in mutated()) {
        config::fuzz(&bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_loaded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        config::fuzz(&bytes);
    }

    #[test]
    fn a_damaged_file_never_shows_its_inline_secret(bytes in mutated()) {
        // The secret itself stays whole: half a secret could not be told from other text.
        let text = String::from_utf8_lossy(&bytes).replace("file:PSK", "hex:5357304f52444649534820535730524446495348");
        let case = Case::new();
        if let Err(refused) = case.load(&text) {
            let shown = format!("{}{refused}{refused:?}", refused.render(false));
            prop_assert!(!shown.contains("5357304f"), "{}", refused.render(false));
        }
    }
}

#[test]
fn several_secrets_are_one_that_stays_and_others_that_go() {
    let several = "secret = [\"file:PSK\", \"hex:9d1f4c07b2e86a35f0c97e41d8235b6a1ce4907f\"]";
    let loaded = load(&EXAMPLE.replace("secret = \"file:PSK\"", several));
    let tunnel = &loaded.ike.tunnels[0];
    assert_eq!(tunnel.local_auth.psk().unwrap().expose(), PSK.trim_end().as_bytes());
    let lengths: Vec<_> = tunnel.peer_auth.secrets().unwrap().iter().map(|(_, secret)| secret.len()).collect();
    assert_eq!(lengths, [PSK.trim_end().len(), 20]);
    assert!(loaded.tunnels[0].psk_bits.unwrap() < 256, "the weakest counts");
}

#[test]
fn a_file_of_the_first_version_loads_and_its_agreement_is_in_force() {
    let later = |line: &&str| ["document_digest", "classification", "contacts"].iter().any(|key| line.starts_with(key));
    let first: String = EXAMPLE.split_inclusive('\n').filter(|line| !later(line)).collect();
    let loaded = load(&first);
    assert_eq!(loaded.warnings.len(), 1, "one warning for the whole record");
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let ledger = Ledger::open(Found::Nothing, loaded.subjects(), now, &mut Vec::new());
    assert!(ledger.closings().is_empty());
}

#[test]
fn each_significant_change_is_seen_in_its_part_and_no_other_change_is() {
    let baseline = |text: &str| load(text).subjects().remove(0).baseline;
    let agreed = baseline(EXAMPLE);
    let parts = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        agreed.differences(&baseline(&EXAMPLE.replacen(from, to, 1)))
    };
    assert_eq!(parts("peer = \"203.0.113.5\"", "peer = \"203.0.113.6\""), [Part::Peer]);
    assert_eq!(parts("auth =", "peer_id = \"gw.example.com\"\nauth ="), [Part::Peer]);
    assert_eq!(parts("to = [\"203.0.113.20\"]", "to = [\"203.0.113.21\"]"), [Part::EndPoint]);
    assert_eq!(parts("auth =", "local_id = \"gw.example.com\"\nauth ="), [Part::EndPoint]);
    assert_eq!(parts("\"aes256gcm16-ecp384-esn\", ", ""), [Part::Cipher]);
    assert_eq!(parts("service = \"mq\"", "service = \"tcp\"\ntcp = [1414, 1415]"), [Part::Port]);
    assert_eq!(parts("R. Roe", "M. Major"), [Part::Contact]);
    // A name, a clause, a lifetime: nothing of that was agreed.
    assert_eq!(parts("name = \"mq\"", "name = \"queue\""), []);
    assert_eq!(parts("auth =", "liveness = 60\nauth ="), []);
}
