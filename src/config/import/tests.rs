//! Whole files of other gateways, and what becomes of them.

use proptest::prelude::*;

use super::*;

fn lost(text: &str) -> Vec<String> {
    let imported = import(text, None, true).unwrap();
    imported.lost.into_iter().map(|lost| format!("{}: {}", lost.line, lost.what)).collect()
}

const GOOD: &str = "connections {
  t {
    local_addrs = 192.0.2.1
    remote_addrs = 198.51.100.7
    proposals = aes256gcm16-prfsha384-ecp384
    local {
      auth = psk
    }
    remote {
      auth = psk
      id = 198.51.100.7
    }
    children {
      mq {
        local_ts = 10.1.0.9[tcp]
        remote_ts = 10.2.0.9[tcp/1414]
        esp_proposals = aes256gcm16-ecp384
        start_action = start
      }
    }
  }
}
secrets {
  ike {
    secret = 0x8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33
  }
}
";

#[test]
fn a_file_of_which_everything_is_carried_over_leaves_nothing_to_say() {
    assert_eq!(lost(GOOD), [""; 0]);
    let imported = import(GOOD, None, true).unwrap();
    assert!(imported.toml.contains("service = \"mq\"\n") && imported.toml.contains("selectors = \"service\""));
    // Without the secret there is one thing left to do, and it is not in the text.
    let imported = import(GOOD, None, false).unwrap();
    assert_eq!(imported.lost.len(), 1);
    assert!(!imported.toml.contains("8f1d6a"));
}

#[test]
fn what_would_weaken_the_tunnel_is_left_out_or_told() {
    for (from, to, line, what) in [
        ("local_addrs", "version = 1\n local_addrs", 3, "IKEv1 is not spoken"),
        ("auth = psk\n    }\n    remote", "auth = pubkey\n    }\n    remote", 7, "only pre-shared keys"),
        ("      id = 198.51.100.7\n", "", 9, "must prove to be its address"),
        ("[tcp/1414]", "[tcp]", 14, "every port of TCP"),
        ("10.2.0.9[", "0.0.0.0/0[", 16, "never everybody"),
        ("esp_proposals", "mode = transport\n esp_proposals", 17, "tunnel mode only"),
        ("esp_proposals", "ah_proposals", 17, "AH is not spoken here"),
        ("0x8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33", "\"swordfish\"", 0, "too weak"),
        ("198.51.100.7\n    prop", "gw.example.com\n    prop", 4, "not looked up"),
    ] {
        let changed = GOOD.replace(from, to);
        assert_ne!(changed, GOOD, "{from}");
        let lost = lost(&changed);
        let told = lost.iter().any(|lost| lost.starts_with(&format!("{line}: ")) && lost.contains(what));
        assert!(told, "{to}: {lost:?}");
        assert!(lost.iter().all(|lost| !lost.contains("swordfish")), "{lost:?}");
    }
}

#[test]
fn nothing_that_stands_among_secrets_is_shown() {
    for (from, to) in [
        ("  ike {\n    secret = 0x", "  ike {\n    secrt = swordfish\n    secret = 0x"),
        ("  ike {\n    secret = 0x", "  password = swordfish\n  ike {\n    secret = 0x"),
        ("  ike {\n    secret = 0x", "  ike {\n    inner {\n  x = swordfish\n }\n    secret = 0x"),
        ("  ike {\n", "  eap-a {\n    secret = swordfish\n  }\n  ike {\n"),
        ("connections {\n", "secret = swordfish\nconnections {\n"),
        ("    secret = 0x", "    secret = 0xswordfish"),
    ] {
        let changed = GOOD.replace(from, to);
        let lost = lost(&changed);
        assert!(changed != GOOD && !lost.is_empty(), "{to}");
        assert!(lost.iter().all(|lost| !lost.contains("swordfish")), "{lost:?}");
    }
}

#[test]
fn the_format_is_seen() {
    assert_eq!(format_of("# x\nconn a\n"), Format::Ipsec);
    assert_eq!(format_of("config setup\n"), Format::Ipsec);
    assert_eq!(format_of("connections {\n conn {\n }\n}\n"), Format::Swanctl);
    assert_eq!(format_of(""), Format::Swanctl);
}

#[test]
fn a_file_without_a_connection_says_so() {
    assert_eq!(lost(""), ["1: no connection in this file could be carried over"]);
}

fn pieces() -> impl Strategy<Value = String> {
    let words = [
        "connections",
        "secrets",
        "children",
        "local",
        "remote",
        "{",
        "}",
        "=",
        "\n",
        " ",
        "\"",
        "\\",
        "#",
        ":",
        ",",
        "auth = psk\n",
        "id = ",
        "@",
        "0x",
        "0s",
        "local_ts = ",
        "remote_addrs = ",
        "10.0.0.1",
        "[tcp/",
        "]",
        "ü",
        "conn ",
        "\tleft=",
        "\trightsubnet=",
        "also=",
        "esp=",
        "aes256",
        "-",
        "sha256",
        "modp2048",
        "include",
        "%default",
        "proposals = ",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat())
}

proptest! {
    /// Whatever people write: ours comes out, or a place where it is wrong.
    #[test]
    fn no_text_upsets_the_importer(text in pieces(), any in ".{0,80}") {
        for text in [&text, &any] {
            for format in [None, Some(Format::Swanctl), Some(Format::Ipsec)] {
                match import(text, format, true) {
                    Ok(imported) => prop_assert!(toml::de::DeTable::parse(&imported.toml).is_ok(), "{}", *imported.toml),
                    Err(error) => prop_assert!(error.line <= text.lines().count() + 1 && error.column > 0),
                }
            }
        }
    }
}
