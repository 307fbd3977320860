//! Seeds for the configuration whose references are followed: every file of `config_followed` is named where it fits, and where it
//! does not.

use super::super::config_file::FOLLOWED;
use super::Seed;

const HEAD: &str = r#"
[gateway]
state_dir = "/var/lib/portcullis"

[agreement.lab]
kind = "lab"
"#;

/// A tunnel, and a rule of it.
fn tunnel(number: usize, lines: &str) -> String {
    format!(
        "\n[tunnel.t{number}]\nagreement = \"lab\"\nlocal = \"198.51.100.10\"\npeer = \"203.0.113.{}\"\n{lines}\n\n\
         [[rule]]\nname = \"r{number}\"\ntunnel = \"t{number}\"\nclause = \"1\"\nfrom = [\"192.0.2.10\"]\n\
         to = [\"192.0.2.{}\"]\nservice = \"mq\"\n",
        number + 20,
        number + 100,
    )
}

fn psk(name: &str) -> String {
    format!("preset = \"cisco-ios-xe\"\nauth = {{ method = \"psk\", secret = \"file:{name}\" }}")
}

fn certified(local: &str, peer: &str) -> String {
    format!(
        "preset = \"cnsa\"\nlocal_id = \"a.example\"\npeer_id = \"b.example\"\n\
         auth = {{ method = \"certificate\", {local} }}\npeer_auth = {{ method = \"certificate\", {peer} }}"
    )
}

fn over_tls(ours: &str) -> String {
    format!(
        "preset = \"strongswan\"\nlocal_id = \"a.example\"\npeer_id = \"b.example\"\nauth = {{ method = \"eap-tls\", {ours} }}\n\
         peer_auth = {{ method = \"certificate\", ca = [\"file:@/authority.pem\"], revocation = \"off\" }}"
    )
}

fn served(with: &str) -> String {
    format!(
        "preset = \"strongswan\"\nstart = \"manual\"\nlocal_id = \"a.example\"\npeer_id = \"b.example\"\n\
         auth = {{ method = \"certificate\", certificate = \"file:@/own.pem\", key = \"file:@/own.key\" }}\npeer_auth = {{ {with} }}"
    )
}

pub(super) fn followed() -> Vec<Seed> {
    let own = "certificate = \"file:@/own.pem\", key = \"file:@/own.key\"";
    let peer = "ca = [\"file:@/authority.pem\"], revocation = \"off\"";
    let tls = "certificate = \"file:@/own.pem\", key = \"file:@/own.key\", ca = [\"file:@/authority.pem\"]";
    let users = |file: &str| {
        format!("method = \"eap-mschapv2\", users = \"file:@/{file}\", allow_weak = \"4b\", ask_identity = true")
    };
    let good = [
        psk("@/key"),
        format!("weak_psk = \"a test\"\n{}", psk("@/sentence")),
        format!("{}\nppk = {{ id = \"p\", secret = \"file:@/key-with-newline\" }}", psk("@/bytes")),
        certified(own, peer),
        certified(
            own,
            "ca = [\"file:@/ca.pem\"], crl = [\"file:@/list.pem\", \"file:@/list.der\"], ocsp = [\"file:@/response.der\"]",
        ),
        over_tls(tls),
        over_tls(&format!("{tls}, name = \"b.example\", user = \"a\", crl = [\"file:@/list.der\"]")),
        served(&users("users")),
        served(&format!("method = \"eap-tls\", {tls}, crl = [\"file:@/list.pem\"], ask_identity = true")),
    ];
    let keys = [
        "open",
        "word",
        "keyboard",
        "repeated",
        "steps",
        "sequence",
        "few-bytes",
        "empty",
        "newline",
        "long",
        "as-long-as-may-be",
        "none",
        "folder",
    ];
    let keys: Vec<String> = keys
        .iter()
        .flat_map(|name| [psk(&format!("@/{name}")), format!("weak_psk = \"a test\"\n{}", psk(&format!("@/{name}")))])
        .chain([psk("relative")])
        .collect();
    let several = [
        "secret = [\"file:@/key\", \"file:@/key-with-newline\"]",
        "secret = [\"file:@/key\", \"file:@/bytes\"]",
        "secret = [\"file:@/word\", \"file:@/none\"]",
        "secret = []",
    ];
    let several = several.map(|secret| format!("preset = \"cisco-ios-xe\"\nauth = {{ method = \"psk\", {secret} }}"));
    let ppk = ["word", "open", "none", "empty"]
        .map(|file| format!("{}\nppk = {{ id = \"p\", secret = \"file:@/{file}\" }}", psk("@/key")));
    let wrong = [
        ("own.pem", "other.key"),
        ("other.pem", "other.key"),
        ("damaged.pem", "own.key"),
        ("key", "own.key"),
        ("none", "none"),
        ("own.pem", "own.pem"),
        ("own.pem", "open"),
        ("both.pem", "both.pem"),
    ];
    let pair =
        |(certificate, key): (&str, &str)| format!("certificate = \"file:@/{certificate}\", key = \"file:@/{key}\"");
    let certificates: Vec<String> = wrong
        .iter()
        .map(|files| certified(&pair(*files), peer))
        .chain(wrong.iter().map(|files| over_tls(&format!("{}, ca = [\"file:@/authority.pem\"]", pair(*files)))))
        .chain(
            ["own.pem", "damaged.pem", "none", "key"]
                .map(|ca| certified(own, &format!("ca = [\"file:@/{ca}\"], revocation = \"off\""))),
        )
        .chain(["own.pem", "damaged.pem", "none"].map(|list| {
            certified(
                own,
                &format!("ca = [\"file:@/authority.pem\"], crl = [\"file:@/{list}\"], ocsp = [\"file:@/{list}\"]"),
            )
        }))
        .chain(["own.pem", "damaged.pem", "none"].map(|list| over_tls(&format!("{tls}, crl = [\"file:@/{list}\"]"))))
        .chain(["own.pem", "damaged.pem", "none", "key"].map(|ca| {
            over_tls(&format!("{}, ca = [\"file:@/{ca}\"], name = \"not a name\"", pair(("own.pem", "own.key"))))
        }))
        .collect();
    let lists =
        ["users-broken", "users-numbers", "users-empty", "users-none", "users-many", "users-bytes", "open", "none"];
    let lists: Vec<String> = lists
        .iter()
        .map(|file| served(&users(file)))
        .chain(["key", "word", "long", "none"].map(|password| {
            format!(
                "preset = \"strongswan\"\nlocal_id = \"a.example\"\npeer_id = \"b.example\"\n\
                 auth = {{ method = \"eap-mschapv2\", user = \"ali\", password = \"file:@/{password}\", allow_weak = \"4b\" }}\n\
                 peer_auth = {{ method = \"certificate\", {peer} }}"
            )
        }))
        .collect();
    let file = |tunnels: &[String]| {
        let tunnels: String = (0..).zip(tunnels).map(|(number, lines)| tunnel(number, lines)).collect();
        [&[FOLLOWED][..], HEAD.as_bytes(), tunnels.as_bytes()].concat()
    };
    vec![
        ("followed", file(&good)),
        ("followed_keys", file(&keys)),
        ("followed_weak_key", file(&[format!("weak_psk = \"a test\"\n{}", psk("@/word"))])),
        ("followed_several_keys", file(&several)),
        ("followed_postquantum_keys", file(&ppk)),
        ("followed_certificates", file(&certificates)),
        ("followed_users", file(&lists)),
    ]
}
