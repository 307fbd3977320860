//! EAP in the configuration file: who may prove himself by it, with what, and who opens then.

mod support;

use portcullis::ike::config::Start;
use support::{Case, EXAMPLE};

const PSK: &str = "{ method = \"psk\", secret = \"file:PSK\" }";

/// The example with these lines for `auth`; `file:@/NAME` is a file of the case.
fn load(case: &Case, lines: &str) -> Result<portcullis::config::Loaded, String> {
    let folder = case.path("");
    let folder = folder.display().to_string();
    let text = EXAMPLE.replace(&format!("auth = {PSK}"), lines).replace("file:@/", &format!("file:{folder}/"));
    case.load(&text).map_err(|refused| refused.render(false).split_whitespace().collect::<Vec<_>>().join(" "))
}

fn case() -> Case {
    let case = Case::new();
    case.secret("password", "correct horse\n", 0o600);
    case.secret("users", "alice = \"correct horse\"\n", 0o600);
    case
}

const CLIENT: &str =
    "{ method = \"eap-mschapv2\", user = \"alice\", password = \"file:@/password\", allow_weak = \"x\" }";
const SERVER: &str = "{ method = \"eap-mschapv2\", users = \"file:@/users\", allow_weak = \"x\" }";

#[test]
fn a_client_opens_and_a_server_waits() {
    let case = case();
    let client = load(&case, &format!("auth = {CLIENT}\npeer_auth = {PSK}")).unwrap();
    let tunnel = &client.ike.tunnels[0];
    assert_eq!((tunnel.local_auth.is_eap(), tunnel.peer_auth.is_eap(), tunnel.start), (true, false, Start::Always));
    let server = load(&case, &format!("auth = {PSK}\npeer_auth = {SERVER}")).unwrap();
    let tunnel = &server.ike.tunnels[0];
    assert_eq!((tunnel.local_auth.is_eap(), tunnel.peer_auth.is_eap(), tunnel.start), (false, true, Start::Manual));
    for loaded in [client, server] {
        let warned: String = loaded.warnings.iter().map(|warning| warning.render(false)).collect();
        assert!(warned.contains("beside EAP"), "{warned}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_way_to_mend_it() {
    let case = case();
    case.secret("open", "alice = \"correct horse\"\n", 0o644);
    case.secret("odd", "alice = swordfish\n", 0o600);
    for (lines, said) in [
        (format!("auth = {CLIENT}"), "add peer_auth ="),
        (format!("auth = {CLIENT}\npeer_auth = {SERVER}"), "both sides cannot prove themselves by EAP"),
        (format!("auth = {PSK}\npeer_auth = {CLIENT}"), "`user` means nothing in `peer_auth`"),
        (format!("auth = {PSK}\npeer_auth = {SERVER}\nstart = \"always\""), "opens the tunnel itself"),
        (format!("auth = {PSK}\npeer_auth = {}", SERVER.replace(", allow_weak = \"x\"", "")), "MD4 and DES"),
        (
            format!("auth = {PSK}\npeer_auth = {}", SERVER.replace("/users", "/open")),
            "can be read or written by others",
        ),
        (format!("auth = {PSK}\npeer_auth = {}", SERVER.replace("/users", "/odd")), "line 1 of the file of users"),
        (format!("auth = {PSK}\npeer_auth = {}", SERVER.replace("file:@/users", "alice")), "begin it with `file:`"),
        (format!("auth = {}\npeer_auth = {PSK}", CLIENT.replace("user = \"alice\", ", "")), "this method needs `user`"),
        ("auth = { method = \"psk\" }".to_owned(), "this method needs `secret`"),
        ("auth = { method = \"eap-md5\" }".to_owned(), "eap-mschapv2"),
        (format!("auth = {PSK}\npeer_auth = {{ method = \"eap-tls\" }}"), "this method needs `certificate`"),
        (
            format!(
                "auth = {PSK}\npeer_auth = {{ method = \"eap-tls\", certificate = \"file:@/psk\", key = \"file:@/psk\", \
                 ca = \"file:@/psk\" }}"
            ),
            "-----BEGIN CERTIFICATE-----",
        ),
    ] {
        let refused = load(&case, &lines).map(drop).expect_err(&lines);
        assert!(refused.contains(said), "nothing says {said:?}:\n{refused}");
        assert!(!refused.contains("swordfish"), "{refused}");
    }
}

#[test]
fn eap_tls_takes_files_that_belong_together() {
    let case = Case::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["b.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    case.secret("cert.pem", &own.pem(), 0o644);
    case.secret("key.pem", &key.serialize_pem(), 0o600);
    case.secret("other.pem", &other.serialize_pem(), 0o600);
    case.secret("open.pem", &key.serialize_pem(), 0o644);
    let server = |key: &str, name: &str| {
        load(
            &case,
            &format!(
                "auth = {PSK}\npeer_auth = {{ method = \"eap-tls\", certificate = \"file:@/cert.pem\", \
                 key = \"file:@/{key}\", ca = [\"file:@/cert.pem\"]{name} }}"
            ),
        )
        .map(drop)
    };
    assert_eq!(server("key.pem", ""), Ok(()), "the name is the peer's address");
    assert_eq!(server("key.pem", ", name = \"a.example\""), Ok(()));
    assert!(server("key.pem", ", name = \"not a name\"").unwrap_err().contains("neither a host name nor an address"));
    assert!(server("other.pem", "").unwrap_err().contains("cannot be used"));
    let list = server("key.pem", ", name = \"a.example\", crl = [\"file:@/cert.pem\"]");
    assert!(list.unwrap_err().contains("no revocation list that is understood"));
    assert!(server("open.pem", "").unwrap_err().contains("can be read or written by others"));
}
