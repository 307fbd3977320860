//! Every mistake that a file can make: what is said, on which line, under which words, and how to mend it.

mod support;

use support::{Case, EXAMPLE, LAB};

/// Asserts that `text` is refused with `message`, that the label stands under `marked` on its line, and that the help
/// tells to `mend`.
#[track_caller]
fn refused(text: &str, message: &str, marked: &str, mend: &str) {
    let case = Case::new();
    let rendered = match case.load(text) {
        Ok(_) => panic!("it loads:\n{text}"),
        Err(refused) => refused.render(false),
    };
    shown(&rendered, message, marked, mend);
}

/// Asserts that `text` loads with a warning.
#[track_caller]
fn warned(text: &str, message: &str, marked: &str, mend: &str) {
    let case = Case::new();
    let loaded = case.load(text).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
    let rendered: String = loaded.warnings.iter().map(|warning| warning.render(false)).collect();
    shown(&rendered, message, marked, mend);
}

#[track_caller]
fn shown(rendered: &str, message: &str, marked: &str, mend: &str) {
    // Long messages are wrapped with a border at the left.
    let flat = |text: &str| text.split(['│', '\n', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let block = rendered
        .split_inclusive("\n\n")
        .flat_map(|block| block.split("\n  × "))
        .find(|block| flat(block).contains(&flat(message)))
        .unwrap_or_else(|| panic!("nothing says \"{message}\" in\n{rendered}"));
    assert!(flat(block).contains(&flat(mend)), "no way to mend it by \"{mend}\" in\n{block}");
    // Below a line of the file stands one with `·`, whose ─ and ┬ are under what is wrong.
    let lines: Vec<&str> = block.lines().collect();
    let under = lines.windows(2).any(|pair| {
        let (Some((_, line)), Some((_, marks))) = (pair[0].split_once(" │ "), pair[1].split_once(" · ")) else {
            return false;
        };
        let marks: Vec<char> = marks.chars().collect();
        let line: String = line
            .chars()
            .enumerate()
            .filter(|(i, _)| marks.get(*i).is_some_and(|c| "─┬▲".contains(*c)))
            .map(|(_, c)| c)
            .collect();
        line.contains(marked)
    });
    assert!(under, "nothing is marked under \"{marked}\" in\n{block}");
    assert!(block.contains("portcullis.toml:"), "no line and column in\n{block}");
}

fn example(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "the example has no {from:?}");
    EXAMPLE.replacen(from, to, 1)
}

fn lab(from: &str, to: &str) -> String {
    assert!(LAB.contains(from), "the lab example has no {from:?}");
    LAB.replacen(from, to, 1)
}

// The shape of the file.

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    refused(&example("clause = ", "clase = "), "unknown key `clase` in [[rule]]", "clase", "did you mean `clause`?");
    refused(
        &example("state_dir", "statedir"),
        "unknown key `statedir` in [gateway]",
        "statedir",
        "did you mean `state_dir`?",
    );
    refused(&example("secret = ", "secrt = "), "unknown key `secrt` in auth", "secrt", "did you mean `secret`?");
    refused(
        &example("[tunnel.cbp]", "[tunnels.cbp]"),
        "unknown key `tunnels` in the file",
        "tunnels",
        "did you mean `tunnel`?",
    );
    refused(
        &example("years", "wombats = 1\nyears"),
        "unknown key `wombats`",
        "wombats",
        "the keys of this table are kind, document",
    );
}

#[test]
fn a_missing_key_is_named() {
    for (line, key) in [
        ("name = \"mq\"\n", "name"),
        ("tunnel = \"cbp\"\n", "tunnel"),
        ("clause = \"1a\"\n", "clause"),
        ("from = [\"192.0.2.10\"]\n", "from"),
        ("to = [\"203.0.113.20\"]\n", "to"),
        ("service = \"mq\"\n", "service"),
    ] {
        refused(&example(line, ""), &format!("[[rule]] has no `{key}`"), "[[rule]]", &format!("add `{key}`"));
    }
    refused(
        &example("peer = \"203.0.113.5\"\n", ""),
        "[tunnel.cbp] has no `peer`",
        "cbp",
        "add `peer`: the peer's address",
    );
    refused(
        &example("auth = { method = \"psk\", secret = \"file:PSK\" }\n", ""),
        "[tunnel.cbp] has no `auth`",
        "cbp",
        "file:",
    );
    refused(&example("years = 3\n", ""), "[agreement.cbp] has no `years`", "cbp", "how many years it holds");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    refused(&example("\"1a\"", "1"), "`clause` is not text", "1", "put it in quotes");
    refused(&example("years = 3", "years = \"3\""), "`years` is not a whole number", "\"3\"", "without quotes");
    refused(&example("2025-03-01", "\"2025-03-01\""), "`date` is not a date", "\"2025-03-01\"", "without quotes");
    refused(&example("[\"192.0.2.10\"]", "\"192.0.2.10\""), "`from` is not a list", "\"192.0.2.10\"", "in brackets");
    refused(
        &example("{ method = \"psk\", secret = \"file:PSK\" }", "\"psk\""),
        "`auth` is not a table",
        "\"",
        "{ key = value }",
    );
    refused(&example("[[rule]]", "[rule]"), "`rule` is not a list of tables", "rule", "[[rule]]");
    refused(&example("[\"192.0.2.10\"]", "[]"), "`from` is empty", "[]", "name at least one");
    refused(&example("\"1a\"", "\" \""), "`clause` is empty", "\" \"", "write plain text");
}

#[test]
fn what_is_not_toml_is_refused_where_it_goes_wrong() {
    refused(&example("[agreement.cbp]", "[agreement.cbp"), "this is not TOML", "", "docs/CONFIG.md");
    refused(
        &example("years = 3", "years = 3\nyears = 4"),
        "this is not TOML: duplicate key",
        "years",
        "docs/CONFIG.md",
    );
}

#[test]
fn several_errors_are_shown_in_one_run() {
    let text =
        example("clause = ", "clase = ").replace("years = 3", "years = 300").replace("203.0.113.5", "peer.example.com");
    let refused = Case::new().load(&text).unwrap_err();
    let messages: Vec<_> = refused.errors.iter().map(|error| error.message().to_owned()).collect();
    assert_eq!(messages, ["`years` is out of bounds", "`peer` is not an address", "unknown key `clase` in [[rule]]",]);
    assert_eq!(refused.errors[0].place(), Some((12, 9)));
    assert!(refused.to_string().ends_with("portcullis.toml:12:9: `years` is out of bounds (and 2 more)"), "{refused}");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let case = Case::new();
    let missing = portcullis::config::load(&case.path("missing.toml")).unwrap_err();
    assert!(missing.render(false).contains("No such file"), "{}", missing.render(false));
    std::fs::write(case.path("binary.toml"), b"a = \"\xff\"").unwrap();
    let binary = portcullis::config::load(&case.path("binary.toml")).unwrap_err();
    assert!(binary.to_string().contains("byte 5"), "{binary}");
}

// [gateway]

#[test]
fn gateway_values_are_checked() {
    refused(
        &example("\"/var/lib/portcullis\"", "\"var\""),
        "`state_dir` is not an absolute path",
        "\"var\"",
        "/var/lib/portcullis",
    );
    refused(&example("[agreement", "tun = \"lo\"\n[agreement"), "`tun` is not the name", "\"lo\"", "portcullis0");
    refused(&example("[agreement", "tun = \"a-name-of-16-char\"\n[agreement"), "`tun` is not the name", "16", "15");
    refused(&example("[agreement", "mtu = 100\n[agreement"), "`mtu` is out of bounds", "100", "from 576 to 9000");
    let long = format!("\"/{}\"", "x".repeat(107));
    refused(
        &example("\"/run/portcullis/control.sock\"", &long),
        "the path of the control socket is too long",
        "xxx",
        "107",
    );
}

#[test]
fn processors_are_there_and_there_is_one_for_each_worker() {
    let [first, ..] = support::processors()[..] else { panic!("we run somewhere") };
    let with = |lines: &str| example("[agreement", &format!("{lines}\n[agreement"));
    refused(
        &with("processors = [70000]"),
        "this process may not use a processor 70000",
        "70000",
        "those that it may use are",
    );
    refused(&with("processors = [-1]"), "this process may not use a processor -1", "-1", "those that it may use are");
    let twice = format!("workers = 2\nprocessors = [{first}, {first}]");
    refused(&with(&twice), "stands here twice", &first.to_string(), "a processor of its own");
    let few = format!("workers = 2\nprocessors = [{first}]");
    refused(&with(&few), "`processors` names 1 and `workers` are 2", "[", "as many processors as there are workers");
    refused(&with("processors = [\"0\"]"), "`processors` is not a whole number", "\"0\"", "without quotes");
    refused(&with("processors = \"all\""), "`processors` is not a list", "\"all\"", "[ .. ]");
    refused(&with("processors = []"), "`processors` is empty", "[]", "at least one");
    if support::processors().len() < 16 {
        refused(
            &with("workers = 16\nprocessors = \"auto\""),
            "there are 16 workers and",
            "\"auto\"",
            "make `workers` at most as many",
        );
    }
}

// [agreement.NAME]

#[test]
fn agreement_values_are_checked() {
    refused(
        &example("\"acknowledgement\"", "\"acknowledgment\""),
        "`basis` cannot be \"acknowledgment\"",
        "\"ackn",
        "did you mean \"acknowledgement\"",
    );
    refused(&example("years = 3", "years = 0"), "`years` is out of bounds", "0", "from 1 to 10");
    refused(&lab("kind = \"lab\"", "kind = \"laboratory\""), "`kind` cannot be", "\"laboratory\"", "\"lab\"");
    refused(&example("2025-03-01", "2025-03-01T10:00:00"), "`date` is not a date", "2025-03-01T", "2025-03-01");
    refused(&example("2025-03-01", "2025-02-30"), "", "2025-02-30", "");
}

#[test]
fn a_name_must_fit_status_lines() {
    refused(
        &example("[tunnel.cbp]", "[tunnel.\"c b\"]"),
        "cannot be the name of a tunnel",
        "\"c b\"",
        "letters, digits",
    );
    refused(
        &example("name = \"mq\"", "name = \"-mq\""),
        "cannot be the name of a rule",
        "\"-mq\"",
        "begin with a letter",
    );
}

// [tunnel.NAME]

#[test]
fn an_unknown_agreement_or_tunnel_is_refused_with_a_suggestion() {
    refused(
        &example("agreement = \"cbp\"", "agreement = \"cpb\""),
        "there is no agreement `cpb`",
        "\"cpb\"",
        "did you mean `cbp`?",
    );
    refused(
        &example("agreement = \"cbp\"", "agreement = \"other\""),
        "there is no agreement `other`",
        "\"other\"",
        "add a section [agreement.other]",
    );
    refused(
        &example("tunnel = \"cbp\"", "tunnel = \"cpb\""),
        "there is no tunnel `cpb`",
        "\"cpb\"",
        "did you mean `cbp`?",
    );
}

#[test]
fn ends_of_a_tunnel_are_two_addresses_of_one_family() {
    refused(
        &example("203.0.113.5", "gw.example.com"),
        "`peer` is not an address",
        "\"gw.example.com\"",
        "names are not looked up",
    );
    refused(
        &example("203.0.113.5", "2001:db8::1"),
        "different address families",
        "\"2001:db8::1\"",
        "two IPv4 or two IPv6",
    );
    refused(
        &example("203.0.113.5", "198.51.100.10"),
        "are the same address",
        "\"198.51.100.10\"",
        "the other gateway's",
    );
    refused(
        &example("203.0.113.5", "224.0.0.1"),
        "`peer` is not the address of a host",
        "\"224.0.0.1\"",
        "one gateway",
    );
}

#[test]
fn two_tunnels_between_the_same_addresses_are_refused() {
    let second = "\n[tunnel.two]\nagreement = \"cbp\"\nlocal = \"198.51.100.10\"\npeer = \"203.0.113.5\"\n\
                  auth = { method = \"psk\", secret = \"file:PSK\" }\npreset = \"cisco-asa\"\n";
    refused(
        &format!("{EXAMPLE}{second}"),
        "tunnels `cbp` and `two` join the same two addresses",
        "\"203.0.113.5\"",
        "make one tunnel",
    );
}

#[test]
fn identities_are_checked() {
    refused(&example("auth =", "local_id = \"CN=gw\"\nauth ="), "`local_id` is not an identity", "\"CN=gw\"", "DER");
    refused(
        &example("auth =", "peer_id = \"@gw\"\nauth ="),
        "`peer_id` is not an identity",
        "\"@gw\"",
        "without the leading @",
    );
}

#[test]
fn words_of_a_tunnel_are_checked() {
    for (line, message, marked, mend) in [
        ("start = \"allways\"", "`start` cannot be \"allways\"", "\"allways\"", "did you mean \"always\"?"),
        ("encapsulation = \"udp\"", "`encapsulation` cannot be", "\"udp\"", "\"auto\", \"forced\""),
        ("selectors = \"hosts\"", "`selectors` cannot be", "\"hosts\"", "did you mean \"host\"?"),
        ("replay_window = 0", "`replay_window` is out of bounds", "0", "from 64 to 65536"),
        ("liveness = 1", "`liveness` is out of bounds", "1", "from 5 to 3600"),
        ("ike_lifetime = 59", "`ike_lifetime` is out of bounds", "59", "from 60 to 2592000"),
        ("child_lifetime = { time = 1 }", "`time` is out of bounds", "1", "from 60 to 2592000"),
        ("child_lifetime = { bytes = 1 }", "`bytes` is out of bounds", "1", "from 1048576 to"),
        (
            "child_lifetime = { packets = 2199023255552 }",
            "`packets` is out of bounds",
            "2199023255552",
            "to 1099511627776",
        ),
        ("child_lifetime = { tyme = 600 }", "unknown key `tyme` in child_lifetime", "tyme", "did you mean `time`?"),
        ("child_lifetime = 3600", "`child_lifetime` is not a table", "3600", "{ key = value }"),
        ("rekey = { at = 100 }", "`at` is out of bounds", "100", "from 50 to 95"),
        ("rekey = { jitter = 51 }", "`jitter` is out of bounds", "51", "from 0 to 50"),
    ] {
        refused(&example("auth =", &format!("{line}\nauth =")), message, marked, mend);
    }
    refused(&example("method = \"psk\"", "method = \"eap\""), "`method` cannot be \"eap\"", "\"eap\"", "\"psk\"");
}

#[test]
fn suites_are_checked_word_by_word() {
    refused(
        &example("aes256-sha384-ecp384", "aes256-sha384-ecp38"),
        "`ecp38` is no algorithm known here; did you mean `ecp384`?",
        "ecp38",
        "cipher-hash-group",
    );
    refused(
        &example("\"aes256-sha384-ecp384\"", "\"aes256gcm16-prfsha384-ecp384\""),
        "`ike` names this suite twice",
        "\"aes256gcm16",
        "take one of them out",
    );
    refused(&example("esp = [", "# esp = ["), "has neither `esp` nor `preset`", "cbp", "or a preset");
    refused(
        &example("esp = [", "preset = \"cisco-asa\"\nesp = ["),
        "`esp` and `preset` exclude each other",
        "[\"aes256gcm16",
        "keep one",
    );
    let preset = |name: &str| {
        let text: Vec<_> =
            EXAMPLE.lines().filter(|line| !line.starts_with("ike =") && !line.starts_with("esp =")).collect();
        text.join("\n").replace("auth =", &format!("preset = \"{name}\"\nauth ="))
    };
    refused(
        &preset("cisco-ios"),
        "there is no preset \"cisco-ios\"",
        "\"cisco-ios\"",
        "did you mean \"cisco-ios-xe\"?",
    );
    assert!(Case::new().load(&preset("cisco-ios-xe")).is_ok());
}

#[test]
fn a_real_agreement_takes_aes_256_only_and_names_the_clause() {
    for (text, marked) in [
        (example("aes256-sha384-ecp384", "aes128gcm16-prfsha256-ecp256"), "\"aes128gcm16-prfsha256-ecp256\""),
        (example("aes256gcm16-ecp384-esn", "chacha20poly1305-ecp384"), "\"chacha20poly1305-ecp384\""),
    ] {
        refused(&text, "asks for AES 256 bit (CBP §2a)", marked, "kind = \"lab\"");
    }
    assert!(Case::new().load(&lab("aes256gcm16-ecp384", "aes128gcm16-curve25519")).is_ok());
}

// Secrets.

#[test]
fn secrets_are_followed_with_care() {
    let case = Case::new();
    case.secret("open", "gC0B5yqZ0YkJp8VhXwQm3tR7uLfN1dEs9KoTaWzPi2c=", 0o644);
    let open = format!("file:{}", case.path("open").display());
    refused(&example("file:PSK", &open), "can be read or written by others (mode 0644)", "\"file:", "chmod 600");
    refused(
        &example("file:PSK", "file:/nonexistent/psk"),
        "cannot read /nonexistent/psk",
        "\"file:/nonexistent/psk\"",
        "portcullis genpsk",
    );
    refused(
        &example("file:PSK", "credential:psk"),
        "$CREDENTIALS_DIRECTORY is not set",
        "\"credential:psk\"",
        "LoadCredential=psk",
    );
    refused(
        &example("file:PSK", "credential:../psk"),
        "not the name of a credential",
        "\"credential:../psk\"",
        "without a path",
    );
}

#[test]
fn a_weak_key_is_refused_unless_there_is_a_reason() {
    let case = Case::new();
    case.secret("weak", "swordfish", 0o600);
    case.secret("medium", "x7Kp2QvL9sWz4NbT6yRd8u", 0o600);
    let with = |name: &str, more: &str| {
        example("auth =", &format!("{more}\nauth ="))
            .replace("file:PSK", &format!("file:{}", case.path(name).display()))
    };
    refused(&with("weak", ""), "the pre-shared key is too weak", "\"file:", "weak_psk = \"the reason\"");
    warned(&with("weak", "weak_psk = \"until May\""), "the pre-shared key is weak", "\"until May\"", "genpsk");
    warned(&with("medium", ""), "fewer than the 256 of the ciphers", "\"file:", "genpsk");
    warned(&with("medium", "weak_psk = \"old\""), "`weak_psk` is not needed", "\"old\"", "below 112 bits");
}

#[test]
fn an_inline_secret_is_never_shown() {
    for secret in [
        "hex:73776f7264666973682d73776f7264666973682d",
        "base64:c3dvcmRmaXNoLXN3b3JkZmlzaC0=",
        "HEX:73776f7264666973682d73776f7264666973682d",
        "swordfish-swordfish-swordfish",
    ] {
        for text in [
            example("file:PSK", secret),
            example("file:PSK", secret).replace("clause", "clase"),
            example("secret = \"file:PSK\"", &format!("secrt = \"{secret}\"")),
            example("secret = \"file:PSK\" }", &format!("secret = \"{secret} }}")),
            example("secret = \"file:PSK\" }", &format!("secret = '''\n{secret}''' }}")),
            example("auth = { method = \"psk\", secret = \"file:PSK\" }", &format!("psk = \"{secret}\"")),
        ] {
            let refused = Case::new().load(&text).unwrap_err();
            let rendered = format!("{}{refused}{refused:?}", refused.render(false));
            for part in ["73776f72", "c3dvcmR", "swordfish"] {
                assert!(!rendered.contains(part), "{secret} in\n{text}\nis shown in\n{rendered}");
            }
        }
    }
}

// [[rule]]

#[test]
fn a_service_of_the_lab_is_not_for_a_real_agreement() {
    refused(
        &example("service = \"mq\"", "service = \"udp\"\nudp = [53]"),
        "service \"udp\" is not for a real agreement",
        "\"udp\"",
        "mq, sftp, smtp, tls, tcp",
    );
    refused(
        &example("service = \"mq\"", "service = \"echo\""),
        "service \"echo\" is not for a real agreement",
        "\"echo\"",
        "TCP services only",
    );
    assert!(Case::new().load(LAB).is_ok());
}

#[test]
fn services_and_ports_must_fit() {
    refused(
        &example("\"mq\"\n", "\"mq\"\n").replace("service = \"mq\"", "service = \"ssh\""),
        "`service` cannot be \"ssh\"",
        "\"ssh\"",
        "\"sftp\"",
    );
    refused(
        &example("service = \"mq\"", "service = \"tcp\""),
        "service \"tcp\" has no ports of its own",
        "\"tcp\"",
        "add tcp = [",
    );
    refused(
        &example("service = \"mq\"", "service = \"mq\"\ntcp = [0]"),
        "`tcp` is out of bounds",
        "0",
        "from 1 to 65535",
    );
    refused(
        &example("service = \"mq\"", "service = \"mq\"\ntcp = [65536]"),
        "`tcp` is out of bounds",
        "65536",
        "from 1 to 65535",
    );
    refused(
        &example("service = \"mq\"", "service = \"mq\"\ntcp = [1414, 1414]"),
        "names port 1414 twice",
        "1414",
        "take it out",
    );
    refused(&example("service = \"mq\"", "service = \"mq\"\ntcp = []"), "`tcp` is empty", "[]", "at least one");
    refused(
        &example("service = \"mq\"", "service = \"mq\"\nudp = [1]"),
        "`udp` does not go with service \"mq\"",
        "[1]",
        "take `udp` out",
    );
    refused(
        &lab("service = \"echo\"", "service = \"echo\"\ntcp = [7]"),
        "`tcp` does not go with service \"echo\"",
        "[7]",
        "take `tcp` out",
    );
    refused(
        &example("service = \"mq\"", "service = \"mq\"\ndirection = \"out\""),
        "`direction` cannot be \"out\"",
        "\"out\"",
        "\"outbound\", \"inbound\"",
    );
}

#[test]
fn a_rule_names_hosts() {
    refused(
        &example("\"203.0.113.20\"", "\"203.0.113.16/28\""),
        "203.0.113.16/28 is a network",
        "\"203.0.113.16/28\"",
        "allow_network = \"the reason\"",
    );
    refused(
        &example("\"203.0.113.20\"", "\"203.0.113.20/28\""),
        "has bits beyond its prefix",
        "\"203.0.113.20/28\"",
        "write 203.0.113.16/28 for the network",
    );
    refused(
        &example("\"203.0.113.20\"", "\"mq.example.com\""),
        "is not an address",
        "\"mq.example.com\"",
        "names are not looked up",
    );
    for address in ["127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"] {
        refused(
            &example("203.0.113.20", address),
            "cannot be a host behind a gateway",
            address,
            "do not cross a tunnel",
        );
    }
    refused(
        &example("[\"203.0.113.20\"]", "[\"203.0.113.20\", \"203.0.113.20/32\"]"),
        "twice",
        "\"203.0.113.20/32\"",
        "take one of them out",
    );
    warned(
        &example("service", "allow_network = \"why not\"\nservice"),
        "`allow_network` is not needed",
        "\"why not\"",
        "name networks",
    );
    let network =
        example("\"203.0.113.20\"", "\"203.0.113.16/28\"").replace("service", "allow_network = \"a cluster\"\nservice");
    assert!(Case::new().load(&network).is_ok());
}

#[test]
fn a_rule_has_one_address_family_and_two_sides() {
    refused(
        &example("\"203.0.113.20\"", "\"2001:db8::20\""),
        "`from` and `to` mix IPv4 and IPv6",
        "[\"2001:db8::20\"]",
        "one rule for each",
    );
    refused(
        &example("\"203.0.113.20\"", "\"192.0.2.10\""),
        "stands on both sides of the rule",
        "[\"192.0.2.10\"]",
        "never reaches the gateway",
    );
}

#[test]
fn the_ends_of_a_tunnel_may_not_lie_behind_it() {
    refused(
        &example("\"203.0.113.20\"", "\"203.0.113.5\""),
        "the peer address 203.0.113.5 of tunnel `cbp` lies inside 203.0.113.5/32",
        "\"203.0.113.5\"",
        "name hosts behind the peer",
    );
    let network =
        example("\"203.0.113.20\"", "\"203.0.113.0/24\"").replace("service", "allow_network = \"all\"\nservice");
    refused(
        &network,
        "the peer address 203.0.113.5 of tunnel `cbp` lies inside 203.0.113.0/24",
        "\"203.0.113.0/24\"",
        "sent into the tunnel",
    );
    refused(
        &example("\"203.0.113.20\"", "\"198.51.100.10\""),
        "the own address 198.51.100.10",
        "\"198.51.100.10\"",
        "name hosts behind the peer",
    );
    let inbound = example("from = [\"192.0.2.10\"]", "direction = \"inbound\"\nfrom = [\"203.0.113.5\"]")
        .replace("to = [\"203.0.113.20\"]", "to = [\"192.0.2.10\"]");
    refused(&inbound, "the peer address 203.0.113.5", "\"203.0.113.5\"", "name hosts behind the peer");
}

#[test]
fn two_rules_may_not_allow_the_same_flow() {
    let rule = |name: &str, service: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\ntunnel = \"cbp\"\nclause = \"1a\"\nfrom = [\"192.0.2.10\"]\nto = [\"203.0.113.20\"]\n{service}\n"
        )
    };
    let with = |name: &str, service: &str| format!("{EXAMPLE}{}", rule(name, service));
    refused(
        &with("two", "service = \"tcp\"\ntcp = [1413, 1414]"),
        "rules `mq` and `two` overlap: 192.0.2.10/32 to port 1414 of 203.0.113.20/32",
        "\"two\"",
        "one clause",
    );
    refused(&with("mq", "service = \"sftp\""), "two of the rules are called `mq`", "\"mq\"", "another name");
    let turned = with("two", "service = \"sftp\"\ndirection = \"inbound\"");
    refused(&turned, "is behind the peer in rule", "\"two\"", "a host is on one side");
    assert!(Case::new().load(&with("two", "service = \"sftp\"")).is_ok());
}

#[test]
fn a_tunnel_without_rules_is_warned_of() {
    let text = &EXAMPLE[..EXAMPLE.find("[[rule]]").unwrap()];
    warned(text, "tunnel `cbp` has no rule", "cbp", "add a [[rule]]");
}

#[test]
fn a_rotation_is_one_of_different_keys_and_has_an_end() {
    let with = |list: &str| example("secret = \"file:PSK\"", &format!("secret = {list}"));
    refused(&with("[\"file:PSK\", \"file:PSK\"]"), "`secret` names the same key twice", "\"file:", "keep one of them");
    refused(&with("[]"), "`secret` is empty", "*", "name at least one");
    let five = "[\"file:PSK\", \"hex:00\", \"hex:01\", \"hex:02\", \"hex:03\"]";
    refused(&with(five), "`secret` names too many keys", "***", "4 at most");
    refused(&with("[\"file:PSK\", \"hex:00\"]"), "the pre-shared key is too weak", "***", "genpsk");
}

// The record of an agreement.

#[test]
fn what_an_agreement_cannot_say_is_refused() {
    let digest = "sha256:9f2c4d1e8b7a60535c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273";
    refused(&example(digest, "sha256:9f2c"), "`document_digest` cannot be \"sha256:9f2c\"", "sha256:9f2c", "sha256sum");
    refused(
        &example("sensitive-but-unclassified", "secret"),
        "no agreement has provisions for what is Confidential, or higher",
        "\"secret\"",
        "may not cross",
    );
    refused(
        &example("sensitive-but-unclassified", "sensitive-unclassified"),
        "`classification` cannot be",
        "\"sensitive-unclassified\"",
        "did you mean \"sensitive-but-unclassified\"?",
    );
    refused(
        &example("years = 3", "years = 3\nzone = \"EST\""),
        "`zone` cannot be \"EST\": it is neither UTC nor an offset",
        "\"EST\"",
        "-05:00",
    );
    refused(&example("years = 3", "years = 3\ngrace_days = 91"), "`grace_days` is out of bounds", "91", "0 to 90");
    refused(&example("security-officer", "isso"), "unknown key `isso` in contacts", "isso", "security-officer");
    refused(
        &example("years = 3", "years = 3\nactivation = \"me\""),
        "`activation` cannot be \"me\"",
        "\"me\"",
        "\"file\", \"operator\"",
    );
}

#[test]
fn a_record_that_is_not_complete_is_warned_of_and_loads() {
    let text =
        example("classification = \"sensitive-but-unclassified\"\n", "").replace("security-officer = \"R. Roe\", ", "");
    let message =
        "the record of agreement `cbp` is not complete: it has no `classification`, `contacts.security-officer`";
    warned(&text, message, "cbp", "its information system security officer");
    assert!(Case::new().load(LAB).unwrap().warnings.is_empty(), "nobody is called in a laboratory");
}

#[test]
fn a_day_that_has_not_come_or_is_over_is_warned_of_on_the_days_on_which_it_counts() {
    let text = example("years = 3", "years = 3\ntermination = 2026-12-31");
    let loaded = Case::new().load(&text).unwrap();
    let warned = |now: &str| {
        let warnings = loaded.warnings_at(now.parse().unwrap());
        warnings.map(|warning| warning.message().to_owned()).collect::<Vec<_>>().join("; ")
    };
    assert!(warned("2025-02-28T23:59:59Z").contains("begins in the future: nothing passes under it before 2025-03-01"));
    assert_eq!(warned("2025-03-01T00:00:00Z"), "");
    assert_eq!(warned("2026-12-31T23:59:59Z"), "");
    assert!(warned("2027-01-01T00:00:00Z").contains("ended with 2026-12-31: notice was given"));
    assert!(warned("2028-03-02T00:00:00Z").contains("the term of agreement `cbp` ended with 2028-03-01"));
    let rendered: Vec<_> =
        loaded.warnings_at("2025-01-01T00:00:00Z".parse().unwrap()).map(|w| w.render(false)).collect();
    shown(&rendered.concat(), "begins in the future", "2025-03-01", "latest signature");
}
