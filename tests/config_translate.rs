//! `[[translate]]`: what loads, and every mistake with its line and a way to mend it. And files of a thousand tunnels.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::fmt::Write as _;

use portcullis::policy::Classified;
use support::{Case, EXAMPLE, TRANSLATE};

/// The example, with a translation changed like this.
fn translated(from: &str, to: &str) -> String {
    assert!(TRANSLATE.contains(from), "the translation has no {from:?}");
    format!("{EXAMPLE}{}", TRANSLATE.replacen(from, to, 1))
}

/// Asserts that a file is refused in these words, on the line with `marked`.
#[track_caller]
fn refused(text: &str, message: &str, marked: &str, mend: &str) {
    let refused = Case::new().load(text).map(|_| ()).expect_err(text);
    let problem = refused.errors.iter().find(|problem| problem.to_string().contains(message));
    let problem = problem.unwrap_or_else(|| panic!("nothing says \"{message}\":\n{}", refused.render(false)));
    assert!(problem.mend().is_some_and(|help| help.contains(mend)), "{}", problem.render(false));
    let (line, _) = problem.place().expect("a place");
    assert!(text.lines().nth(line - 1).unwrap().contains(marked), "{}", problem.render(false));
}

#[test]
fn a_host_behind_another_address_loads_and_is_part_of_the_policy() {
    let plain = Case::new().load(EXAMPLE).unwrap();
    let loaded = Case::new().load(&translated("10.1", "10.1")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [translation] = loaded.policy.translations().list() else { panic!("one") };
    assert_eq!(translation.only(), Some("10.1.0.10".parse().unwrap()));
    assert_eq!(translation.tunnel, loaded.tunnels[0].id);
    assert_ne!(plain.policy.digest(), loaded.policy.digest());
    // What is negotiated and routed knows nothing of it.
    assert_eq!(plain.policy.shapes(loaded.tunnels[0].id), loaded.policy.shapes(loaded.tunnels[0].id));
    assert_eq!(plain.protected(&[]), loaded.protected(&[]));
    let flow = |source: &str| portcullis::event::FlowKey {
        protocol: 6,
        source: source.parse().unwrap(),
        source_port: 40_000,
        destination: "203.0.113.20".parse().unwrap(),
        destination_port: 1414,
    };
    assert!(matches!(loaded.policy.classify(true, &flow("192.0.2.10")), Classified::Allow(_)));
    assert!(matches!(loaded.policy.classify(true, &flow("10.1.0.10")), Classified::NoRule { .. }));
}

#[test]
fn several_hosts_may_share_an_address_and_one_of_them_gets_what_the_peer_opens() {
    let shared = translated("\"10.1.0.10\"", "[\"10.1.0.10\", \"10.2.0.0/24\"]");
    assert!(Case::new().load(&shared).unwrap().policy.translations().list()[0].only().is_none());
    let inbound = shared.replacen(
        "from = [\"192.0.2.10\"]\nto = [\"203.0.113.20\"]",
        "from = [\"203.0.113.20\"]\nto = [\"192.0.2.10\"]\ndirection = \"inbound\"",
        1,
    );
    refused(
        &inbound,
        "rule `mq` lets the peer connect to 192.0.2.10, and nothing says to which host",
        "to = [",
        "`inbound`",
    );
    let named = format!("{inbound}inbound = \"10.2.0.7\"\n");
    let loaded = Case::new().load(&named).unwrap();
    assert_eq!(loaded.policy.translations().list()[0].opened(), Some("10.2.0.7".parse().unwrap()));
    refused(
        &format!("{inbound}inbound = \"10.3.0.7\"\n"),
        "`inbound` names 10.3.0.7, which is not one of the hosts inside",
        "inbound = \"10.3",
        "name one of them",
    );
}

#[test]
fn every_mistake_has_its_line_and_a_way_to_mend_it() {
    refused(&translated("\"cbp\"", "\"cbq\""), "there is no tunnel `cbq`", "cbq", "did you mean `cbp`?");
    refused(&translated("inside", "insides"), "unknown key `insides` in [[translate]]", "insides", "`inside`");
    refused(
        &translated("outside = \"192.0.2.10\"\n", ""),
        "[[translate]] has no `outside`",
        "translate",
        "add `outside`",
    );
    refused(
        &translated("10.1.0.10", "host"),
        "`inside`: \"host\" is neither an address nor a network",
        "host",
        "10.1.0.10",
    );
    refused(&translated("10.1.0.10", "10.1.0.10/24"), "it has bits beyond its prefix", "10.1.0.10/24", "own addresses");
    refused(&translated("10.1.0.10", "127.0.0.1"), "cannot be a host behind a gateway", "127.0.0.1", "own addresses");
    refused(
        &translated("\"10.1.0.10\"", "[\"10.1.0.10\", \"10.1.0.0/24\"]"),
        "names 10.1.0.0/24 twice",
        "10.1.0.0/24",
        "",
    );
    refused(
        &translated("192.0.2.10", "192.0.2.0/24"),
        "`outside`: \"192.0.2.0/24\" is not the address of a host",
        "/24",
        "one",
    );
    refused(&translated("10.1.0.10", "2001:db8::5"), "of different address families", "2001:db8::5", "each family");
    refused(
        &translated("10.1.0.10", "192.0.2.10"),
        "holds the outside address 192.0.2.10 itself",
        "inside",
        "needs no",
    );
    let twice = format!("{}{TRANSLATE}", translated("10.1.0.10", "10.1.0.9"));
    refused(&twice, "two translations of one tunnel have the outside address 192.0.2.10", "outside", "list of hosts");
    let two_names = format!("{}{}", translated("10.1", "10.1"), TRANSLATE.replace("192.0.2.10", "192.0.2.11"));
    refused(&two_names, "two translations have the same host inside", "inside", "one outside address");
}

#[test]
fn rules_name_the_outside_address() {
    let inside =
        translated("10.1", "10.1").replacen("from = [\"192.0.2.10\"]", "from = [\"192.0.2.10\", \"10.1.0.10\"]", 1);
    refused(&inside, "rule `mq` names 10.1.0.10/32, which the peer knows as 192.0.2.10", "from = [", "name 192.0.2.10");
    let other_side = translated("10.1.0.10", "203.0.113.20");
    refused(&other_side, "203.0.113.20/32 is behind the peer in rule `mq`, and inside here", "to = [", "on one side");
    let loaded = Case::new().load(&translated("192.0.2.10", "192.0.2.11")).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["no rule of tunnel `cbp` names 192.0.2.11"]);
}

#[test]
fn towards_different_partners_a_host_may_have_different_names() {
    let other = EXAMPLE
        .split_once("[tunnel.cbp]")
        .map(|(_, rest)| format!("[tunnel.two]{rest}"))
        .unwrap()
        .replace("\"203.0.113.5\"", "\"203.0.113.6\"")
        .replace("tunnel = \"cbp\"", "tunnel = \"two\"")
        .replace("name = \"mq\"", "name = \"mq-two\"")
        .replace("192.0.2.10", "192.0.2.77")
        .replace("203.0.113.20", "203.0.113.30");
    let translate = TRANSLATE.replace("cbp", "two").replace("192.0.2.10", "192.0.2.77");
    let both = format!("{EXAMPLE}{other}{TRANSLATE}{translate}");
    assert_eq!(Case::new().load(&both).unwrap().policy.translations().list().len(), 2);
    // The same partner behind both: then nothing says which name it is.
    let same = both.replace("203.0.113.30", "203.0.113.20");
    refused(&same, "two translations have the same host inside", "inside", "one outside address");
}

/// Each tunnel with a key, a rule and a translation of its own: whatever compares each with each shows here, long before an
/// operator meets it.
#[test]
fn a_file_of_a_thousand_tunnels_loads_and_loads_again_over_itself() {
    let mut text = "[agreement.lab]\nkind = \"lab\"\n".to_owned();
    for number in 0..1000_u32 {
        let (high, low) = (number / 250, number % 250 + 1);
        let key = format!("{:064x}", u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        write!(
            text,
            "[tunnel.t{number}]\nagreement = \"lab\"\nlocal = \"198.51.100.10\"\npeer = \"203.0.{high}.{low}\"\nweak_psk = \"a \
             test\"\nauth = {{ method = \"psk\", secret = \"hex:{key}\" }}\nike = [\"aes256gcm16-prfsha384-ecp384\"]\nesp = \
             [\"aes256gcm16\"]\n[[rule]]\nname = \"r{number}\"\ntunnel = \"t{number}\"\nclause = \"1\"\nfrom = [\"192.0.2.10\"]\n\
             to = [\"10.9.{high}.{low}\"]\nservice = \"mq\"\n[[translate]]\ntunnel = \"t{number}\"\ninside = \"10.1.0.10\"\noutside = \
             \"192.0.2.10\"\n"
        )
        .unwrap();
    }
    let case = Case::new();
    let path = case.file(&text);
    let loaded = portcullis::config::load(&path).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!((loaded.tunnels.len(), loaded.policy.rules().len()), (1000, 1000));
    let again = portcullis::config::reload(&path, &loaded).unwrap();
    assert_eq!(again.tunnels, loaded.tunnels);
}
