//! The profiles for TAXII and AIS, edited as a company edits them, through a real tunnel and with real TLS: what their agreements allow
//! passes, and by the company's own file nothing else does. The gateway on the other side looks into nothing.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis::lab::gateway::{Gateway, write_private};
use portcullis::lab::topology::V4;
use system_common::programs::{Server, certificate, client, missing, server};
use system_common::{KEY, PATIENCE, PROGRAM, Pair, Setup, Side, Site, connect, drops, rule, site, wait_until};

/// A key as `portcullis genpsk` prints it.
const PSK: &str = "gC0B5yqZ0YkJp8VhXwQm3tR7uLfN1dEs9KoTaWzPi2c=";
/// What a company writes into the lines marked EDIT of every profile.
const EDITS: [(&str, &str); 4] = [
    ("organisation = \"\"", "organisation = \"Example Brokers\""),
    ("\ndate = \"\"", "\ndate = @TODAY@"),
    ("203.0.113.20", "10.20.0.20"),
    ("file:/etc/portcullis/", "file:@FOLDER@/"),
];

/// A profile as `init` prints it, with every line that is marked filled in. Contacts that nobody knows get the same desk.
fn edited(profile: &str) -> String {
    let printed = Command::new(PROGRAM).args(["init", "--profile", profile]).output().unwrap();
    let mut text = String::from_utf8(printed.stdout).unwrap();
    for (marked, filled) in EDITS {
        assert!(text.contains(marked), "{profile} has no line `{marked}`");
        text = text.replace(marked, filled);
    }
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let text = text.replace("@TODAY@", &today.yesterday().unwrap().to_string());
    let digest = format!("document_digest = \"sha256:{}\"", "5a".repeat(32));
    let text = text.replace("document_digest = \"\"", &digest);
    let filled = text.lines().map(|line| match line.strip_prefix("contacts.") {
        Some(rest) => format!("contacts.{}", rest.replacen("\"\"", "\"the partner's desk\"", 1)),
        None => line.to_owned(),
    });
    let text = filled.collect::<Vec<_>>().join("\n");
    let left: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && line.contains("= \"\"")).collect();
    assert!(left.is_empty(), "{left:?}");
    format!("[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n\n{text}\n")
}

/// The company's gateway by its profile, whose key is in the file `key`, and its provider's by a file of its own.
fn pair(site: &Site, profile: &str, key: &str, ports: &str) -> Pair {
    let folder = site.folder(Side::A);
    fs::create_dir_all(&folder).unwrap();
    write_private(&folder.join(key), PSK).unwrap();
    let text = edited(profile);
    let path = folder.join("portcullis.toml");
    write_private(&path, &text.replace("@FOLDER@", &folder.to_string_lossy())).unwrap();
    let checked = Command::new(PROGRAM).args(["check", "--strict"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("0 warnings"), "{said}");

    let end = rule(Side::B, "web", V4.host_a, V4.host_b, &format!("service = \"tcp\"\ntcp = {ports}"));
    let setup = Setup { inner: Vec::new(), end: [String::new(), end], ..Setup::default() };
    // The bytes of the file are the key, and whoever calls is the company.
    let suites = "ike = [\"aes256gcm16-prfsha384-ecp384\"]\nesp = [\"aes256gcm16-ecp384-esn\"]";
    let provider = setup.config(Side::B).replace(KEY, &hex::encode(PSK));
    assert!(provider.contains(suites));
    let provider = provider.replace(suites, "preset = \"cnsa\"\nstart = \"manual\"");
    let start = |side, text: &str| {
        let mut gateway = Gateway::start(Path::new(PROGRAM), site.place(side), &site.folder(side), text, None).unwrap();
        assert!(gateway.wait_for(PATIENCE, |_| true).is_some(), "{}", gateway.log());
        gateway
    };
    let b = start(Side::B, &provider);
    Pair { a: start(Side::A, &text), b }
}

/// A TLS server that takes whatever any client may offer, on `port` of host B.
fn willing(site: &Site, port: u16) -> Server {
    let folder = site.folder(Side::B);
    let [certificate, key] = certificate(&folder);
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-www", "-min_protocol", "TLSv1", "-cipher", "ALL@SECLEVEL=0"]);
    command.args(["-accept", &format!("{}:{port}", V4.host_b), "-cert"]).arg(&certificate).arg("-key").arg(&key);
    server(site, port, &mut command)
}

/// A handshake of `s_client` from host A; whether it succeeds.
fn handshake(site: &Site, port: u16, arguments: &[&str]) -> bool {
    let target = format!("{}:{port}", V4.host_b);
    let arguments = [&["s_client", "-brief", "-connect", &target], arguments].concat();
    client(&site.topology.host_a, "openssl", &arguments, b"Q\n").status.success()
}

/// The same from host B itself, where no gateway is in the way.
fn handshake_nearby(site: &Site, port: u16, arguments: &[&str]) -> bool {
    let target = format!("{}:{port}", V4.host_b);
    let arguments = [&["s_client", "-brief", "-connect", &target], arguments].concat();
    client(&site.topology.host_b, "openssl", &arguments, b"Q\n").status.success()
}

/// What would succeed if no gateway were in the way is refused by the company's, for this reason.
#[track_caller]
fn stopped(site: &Site, pair: &Pair, port: u16, arguments: &[&str], reason: &str) {
    assert!(handshake_nearby(site, port, arguments), "{arguments:?} does not work at all");
    let before = drops(&pair.a, reason);
    assert!(!handshake(site, port, arguments), "{arguments:?} passes");
    assert!(wait_until(|| drops(&pair.a, reason) > before), "{arguments:?}: {reason}\n{}", pair.a.status().unwrap());
}

/// A page over HTTPS by curl.
#[track_caller]
fn fetched(site: &Site, pair: &Pair, name: &str, port: u16, arguments: &[&str]) {
    let (resolve, url) = (format!("{name}:{port}:{}", V4.host_b), format!("https://{name}:{port}/"));
    let arguments = [&["-sk", "--resolve", &resolve], arguments, &[&url]].concat();
    let page = client(&site.topology.host_a, "curl", &arguments, b"");
    assert!(page.status.success(), "{arguments:?} {}\n{}", String::from_utf8_lossy(&page.stderr), pair.logs());
    assert!(String::from_utf8_lossy(&page.stdout).contains("s_server"), "the page of s_server");
}

const OLD: [&str; 3] = ["-tls1_1", "-cipher", "ALL@SECLEVEL=0"];

#[test]
fn taxii_goes_over_tls_with_aes_256_on_its_one_port_and_nothing_else_does() {
    const NAME: &str = "taxii_goes_over_tls_with_aes_256_on_its_one_port_and_nothing_else_does";
    if missing(NAME, &["openssl", "curl"]) {
        return;
    }
    let Some(site) = site(NAME) else { return };
    let watch = site.watch();
    let mut pair = pair(&site, "taxii", "tic.psk", "[443, 8443]");
    pair.wait_until_up();
    let _server = willing(&site, 8443);
    fetched(&site, &pair, "taxii.example", 8443, &["--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"]);
    fetched(&site, &pair, "taxii.example", 8443, &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
    for reason in ["tls-suite", "tls-version", "not-tls"] {
        assert_eq!(drops(&pair.a, reason), 0, "{reason}");
    }
    stopped(&site, &pair, 8443, &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "tls-suite");
    stopped(&site, &pair, 8443, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "tls-suite");
    stopped(&site, &pair, 8443, &OLD, "tls-version");
    // Appendix A names one port, and the client opens.
    let target = SocketAddr::new(V4.host_b, 443);
    assert_eq!(connect(&site.topology.host_a, target, PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    assert!(drops(&pair.a, "no-rule") > 0);
    let _listener = site.topology.host_a.run(|| TcpListener::bind(SocketAddr::new(V4.host_a, 8443))).unwrap().unwrap();
    let back = SocketAddr::new(V4.host_a, 8443);
    assert!(connect(&site.topology.host_b, back, Duration::from_millis(500)).is_err());
    pair.stop();
    system_common::assert_nothing_in_clear(&watch.stop().unwrap());
}

#[test]
fn ais_is_opened_on_demand_under_its_own_name_with_no_old_tls_and_nothing_else_is() {
    const NAME: &str = "ais_is_opened_on_demand_under_its_own_name_with_no_old_tls_and_nothing_else_is";
    const SERVER: &str = "ais2.cisa.dhs.gov";
    if missing(NAME, &["openssl", "curl"]) {
        return;
    }
    let Some(site) = site(NAME) else { return };
    let watch = site.watch();
    let mut pair = pair(&site, "ais", "egress.psk", "[80, 443]");
    // §3.5: nothing is up before the company has something to do.
    assert!(system_common::tunnel(&pair.a)["ike"].is_null(), "{}", pair.a.status().unwrap());
    let _server = willing(&site, 443);
    fetched(&site, &pair, SERVER, 443, &["--tlsv1.3"]);
    pair.wait_until_up();
    fetched(&site, &pair, SERVER, 443, &["--tls-max", "1.2"]);
    for reason in ["tls-server-name", "tls-suite", "tls-version"] {
        assert_eq!(drops(&pair.a, reason), 0, "{reason}");
    }
    assert!(handshake(&site, 443, &["-servername", SERVER]));
    stopped(&site, &pair, 443, &["-servername", "ais3.cisa.dhs.gov"], "tls-server-name");
    stopped(&site, &pair, 443, &["-servername", "ais2.cisa.dhs.gov.example"], "tls-server-name");
    stopped(&site, &pair, 443, &["-noservername"], "tls-server-name");
    stopped(&site, &pair, 443, &[&["-servername", SERVER], &OLD[..]].concat(), "tls-version");
    let target = SocketAddr::new(V4.host_b, 80);
    assert_eq!(connect(&site.topology.host_a, target, PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    assert!(drops(&pair.a, "no-rule") > 0);
    pair.stop();
    system_common::assert_nothing_in_clear(&watch.stop().unwrap());
}
