//! EAP against strongSwan in both roles: EAP-MSCHAPv2 and EAP-TLS, with TLS 1.2 and 1.3. The side that is called proves
//! itself by the preshared key.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use portcullis::lab::capture::Seen;
use portcullis::lab::topology::V4;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use interop::PSK;
use interop::charon::{Charon, Side};
use interop::scene::{Opener, Ours, Scene, bring_up};

const PASSWORD: &str = "correct horse battery";

/// The case, or why it cannot run.
fn scene(name: &str) -> Option<Scene> {
    for plugin in ["eap-mschapv2", "eap-tls"] {
        if !Path::new(&format!("/usr/lib/ipsec/plugins/libstrongswan-{plugin}.so")).exists() {
            lab_common::not_run(name, &format!("strongSwan has no plugin {plugin}"));
            return None;
        }
    }
    Scene::set(name)
}

/// charon as gateway B, with these lines for itself and for us.
fn charon(scene: &Scene, local: &str, remote: &str, secrets: &str, files: &[(&str, &str)], settings: &str) -> Charon {
    let (here, there) = (V4.gateway_b, V4.gateway_a);
    let text = format!(
        "connections {{ gw {{\n version = 2\n mobike = no\n local_addrs = {here}\n remote_addrs = {there}\n \
         proposals = aes256gcm16-prfsha384-ecp384\n unique = replace\n keyingtries = 1\n \
         local {{ {local}\n id = {here} }}\n remote {{ {remote}\n id = {there} }}\n \
         children {{ net {{ local_ts = {b}/32\n remote_ts = {a}/32\n esp_proposals = aes256gcm16-ecp384 }} }}\n}} }}\n\
         secrets {{ ike-gw {{ id-a = {here}\n id-b = {there}\n secret = 0x{PSK} }}\n {secrets} }}\n",
        a = V4.host_a,
        b = V4.host_b,
    );
    Charon::start_among(&scene.topology, Side::B, scene.folder(), &text, files, settings)
}

/// A file of ours, in a form for the configuration.
fn file(scene: &Scene, name: &str, content: &str) -> String {
    let path = scene.folder().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("file:{}", path.display())
}

fn by_key(which: &str) -> String {
    format!("{which} = {{ method = \"psk\", secret = \"hex:{PSK}\" }}")
}

/// Both are there: the tunnel comes up and a file goes each way.
fn hold(mut scene: Scene, opener: Opener, auth: String, charon: &Charon, method: &str) {
    let ours = Ours { auth: Some(auth), ..Ours::default() };
    let mut gateway = scene.portcullis(&ours, opener);
    let status = bring_up(opener, &mut gateway, charon);
    let ike = &status["tunnels"][0]["ike"];
    assert_eq!(ike["initiator"], opener == Opener::We, "{status}");
    let proof = if opener == Opener::We { &ike["local_auth"] } else { &ike["peer_auth"] };
    assert_eq!(proof, method, "{status}");
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    assert!(gateway.stop().unwrap().success());
    let seen = scene.seen();
    assert!(seen.packets(Seen::Esp) > 1000, "{seen:?}");
}

fn as_user(scene: &Scene, user: &str, password: &str) -> String {
    let password = file(scene, "password", password);
    format!(
        "auth = {{ method = \"eap-mschapv2\", user = \"{user}\", password = \"{password}\", allow_weak = \"a test\" }}\n{}",
        by_key("peer_auth")
    )
}

fn with_users(scene: &Scene) -> String {
    let users = file(scene, "users", &format!("alice = \"{PASSWORD}\"\nbob = \"another\"\n"));
    format!(
        "{}\npeer_auth = {{ method = \"eap-mschapv2\", users = \"{users}\", allow_weak = \"a test\", \
         ask_identity = true }}",
        by_key("auth")
    )
}

fn knows(user: &str, password: &str) -> String {
    format!("eap-user {{ id = {user}\n secret = \"{password}\" }}")
}

#[test]
fn we_are_a_user_of_strongswan() {
    let Some(scene) = scene("we_are_a_user_of_strongswan") else { return };
    let charon =
        charon(&scene, "auth = psk", "auth = eap-mschapv2\n eap_id = alice", &knows("alice", PASSWORD), &[], "");
    let auth = as_user(&scene, "alice", PASSWORD);
    hold(scene, Opener::We, auth, &charon, "eap-mschapv2");
}

/// With `%any` it asks for an EAP identity first.
#[test]
fn we_answer_when_strongswan_asks_who_we_are() {
    let Some(scene) = scene("we_answer_when_strongswan_asks_who_we_are") else { return };
    let charon =
        charon(&scene, "auth = psk", "auth = eap-mschapv2\n eap_id = %any", &knows("alice", PASSWORD), &[], "");
    let auth = as_user(&scene, "alice", PASSWORD);
    hold(scene, Opener::We, auth, &charon, "eap-mschapv2");
}

#[test]
fn strongswan_is_a_user_of_ours() {
    let Some(scene) = scene("strongswan_is_a_user_of_ours") else { return };
    let charon =
        charon(&scene, "auth = eap-mschapv2\n eap_id = alice", "auth = psk", &knows("alice", PASSWORD), &[], "");
    let auth = with_users(&scene);
    hold(scene, Opener::Peer, auth, &charon, "eap-mschapv2");
}

#[test]
fn a_wrong_password_of_ours_is_refused_by_strongswan() {
    let name = "a_wrong_password_of_ours_is_refused_by_strongswan";
    let Some(scene) = scene(name) else { return };
    let charon =
        charon(&scene, "auth = psk", "auth = eap-mschapv2\n eap_id = alice", &knows("alice", PASSWORD), &[], "");
    let ours = Ours { auth: Some(as_user(&scene, "alice", "wrong")), ..Ours::default() };
    let mut gateway = scene.portcullis(&ours, Opener::We);
    let told = gateway.wait_for(Duration::from_secs(10), |status| {
        status["tunnels"][0]["why"].as_str().unwrap_or_default().contains("user or password")
    });
    assert!(told.is_some(), "{:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log());
}

#[test]
fn a_wrong_password_and_a_stranger_of_strongswan_are_refused_alike() {
    for (user, password) in [("alice", "wrong"), ("mallory", PASSWORD)] {
        let name = "a_wrong_password_and_a_stranger_of_strongswan_are_refused_alike";
        let Some(scene) = scene(name) else { return };
        let local = format!("auth = eap-mschapv2\n eap_id = {user}");
        let charon = charon(&scene, &local, "auth = psk", &knows(user, password), &[], "");
        let ours = Ours { auth: Some(with_users(&scene)), ..Ours::default() };
        let mut gateway = scene.portcullis(&ours, Opener::Peer);
        charon.initiate().expect_err("charon cannot open a tunnel");
        assert!(
            charon.log().contains("EAP-MS-CHAPv2 failed with error ERROR_AUTHENTICATION_FAILURE"),
            "{}",
            charon.log()
        );
        let refused = gateway.wait_for(Duration::from_secs(5), |status| status["ike_refused"]["eap-failed"] == 1);
        assert!(refused.is_some(), "{:?}\n{}", gateway.status(), gateway.log());
    }
}

/// An authority and a certificate with its key for each gateway, for both uses.
struct Certificates {
    authority: String,
    a: [String; 2],
    b: [String; 2],
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let sign = |address: std::net::IpAddr| {
        let mut params = CertificateParams::new(vec![address.to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, address.to_string());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        [params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem()]
    };
    Certificates { authority, a: sign(V4.gateway_a), b: sign(V4.gateway_b) }
}

/// charon and the lines of ours, for EAP-TLS of at most this version.
fn with_tls(scene: &Scene, opener: Opener, newest: &str) -> (Charon, String) {
    let Certificates { authority, a: [own, key], b: [theirs, their_key] } = certificates();
    let files = [("x509/own.pem", &*theirs), ("private/own.pem", &*their_key), ("x509ca/ca.pem", &*authority)];
    let settings = format!("tls {{\n version_max = {newest}\n }}");
    let (local, remote) = match opener {
        Opener::We => ("auth = psk", "auth = eap-tls"),
        Opener::Peer => ("auth = eap-tls", "auth = psk"),
    };
    let charon = charon(scene, local, remote, "", &files, &settings);
    let tls = format!(
        "{{ method = \"eap-tls\", certificate = \"{}\", key = \"{}\", ca = \"{}\" }}",
        file(scene, "own.pem", &own),
        file(scene, "key.pem", &key),
        file(scene, "ca.pem", &authority),
    );
    let auth = match opener {
        Opener::We => format!("auth = {tls}\n{}", by_key("peer_auth")),
        Opener::Peer => format!("{}\npeer_auth = {tls}", by_key("auth")),
    };
    (charon, auth)
}

/// Up to 5.9.8 strongSwan ends EAP-TLS with TLS 1.3 without the commitment message of RFC 9190 §2.5, and its client dies of
/// ours; its default is TLS 1.2 for that reason.
fn has_rfc_9190(name: &str) -> bool {
    let output = std::process::Command::new("/usr/sbin/swanctl").arg("--version").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let version = said.lines().find(|line| line.starts_with("strongSwan")).unwrap_or_default();
    let numbers: Vec<u32> =
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).take(3).collect();
    if numbers.as_slice() > [5, 9, 8].as_slice() {
        return true;
    }
    lab_common::not_run(name, &format!("{} has no RFC 9190", version.trim()));
    false
}

fn hold_by_tls(name: &str, opener: Opener, newest: &str) {
    let Some(scene) = scene(name) else { return };
    let (charon, auth) = with_tls(&scene, opener, newest);
    hold(scene, opener, auth, &charon, "eap-tls");
}

#[test]
fn we_are_a_client_of_strongswan_by_tls_1_2() {
    hold_by_tls("we_are_a_client_of_strongswan_by_tls_1_2", Opener::We, "1.2");
}

#[test]
fn strongswan_is_a_client_of_ours_by_tls_1_2() {
    hold_by_tls("strongswan_is_a_client_of_ours_by_tls_1_2", Opener::Peer, "1.2");
}

#[test]
fn we_are_a_client_of_strongswan_by_tls_1_3() {
    let name = "we_are_a_client_of_strongswan_by_tls_1_3";
    if has_rfc_9190(name) {
        return hold_by_tls(name, Opener::We, "1.3");
    }
    // What can be tested all the same: its Success comes before TLS 1.3 has been committed to: we do not believe it.
    let Some(scene) = scene(name) else { return };
    let (charon, auth) = with_tls(&scene, Opener::We, "1.3");
    let ours = Ours { auth: Some(auth), ..Ours::default() };
    let mut gateway = scene.portcullis(&ours, Opener::We);
    let told = gateway.wait_for(Duration::from_secs(10), |status| {
        status["tunnels"][0]["why"].as_str().unwrap_or_default().contains("EAP-Success before EAP-TLS")
    });
    assert!(told.is_some(), "{:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log());
}

#[test]
fn strongswan_is_a_client_of_ours_by_tls_1_3() {
    let name = "strongswan_is_a_client_of_ours_by_tls_1_3";
    if has_rfc_9190(name) {
        hold_by_tls(name, Opener::Peer, "1.3");
    }
}
