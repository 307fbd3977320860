//! Portcullis and strongSwan prove themselves to each other by certificates, in both roles: every kind of key, RFC 7427 and the
//! methods before it, a chain, a revocation, and a key on one side with a certificate on the other.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::lab::capture::Seen;
use portcullis::lab::topology::V4;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

use interop::charon::{Charon, Side};
use interop::scene::{Opener, Ours, Scene, bring_up};

type Authority = CertifiedIssuer<'static, KeyPair>;

const US: &str = "a.example";
const PEER: &str = "b.example";
/// Of a large certificate: some 30 bytes each.
const FURTHER_NAMES: usize = 90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn key(self) -> KeyPair {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            Self::Rsa => {
                let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
                let made = Command::new("openssl").args(arguments).output().expect("openssl starts");
                KeyPair::from_pem(std::str::from_utf8(&made.stdout).unwrap()).unwrap()
            }
        }
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = Kind::P256.key();
    match above {
        Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
    }
}

/// A certificate with these names and its key in PEM.
fn issue(by: &Authority, names: &[String], serial: u64, kind: Kind) -> (String, String) {
    let key = kind.key();
    let mut params = params(&names[0]);
    params.serial_number = Some(SerialNumber::from(serial));
    params.subject_alt_names =
        names.iter().map(|name| rcgen::SanType::DnsName(name.as_str().try_into().unwrap())).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

fn list(by: &Authority, revoked: &[u64]) -> String {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2025, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(2040, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap().pem().unwrap()
}

/// What one case changes.
struct Case {
    kind: Kind,
    /// An authority between the root and the two sides.
    between: bool,
    /// The peer's serial number and the ones that are revoked.
    revoked: bool,
    /// charon knows RFC 7427.
    modern: bool,
    /// charon proves itself by the shared key, we by a certificate.
    asymmetric: bool,
    /// Certificates of several kilobytes: no datagram holds one.
    large: bool,
    /// charon holds ours against a list too, and it is on it.
    revoked_ours: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            kind: Kind::P256,
            between: false,
            revoked: false,
            modern: true,
            asymmetric: false,
            large: false,
            revoked_ours: false,
        }
    }
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, content).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// Both sides' files and configurations.
fn set(scene: &Scene, case: &Case) -> (Ours, Charon) {
    let root = authority("root", None);
    let between = case.between.then(|| authority("between", Some(&root)));
    let issuer = between.as_ref().unwrap_or(&root);
    let names = |name: &str| -> Vec<String> {
        let more =
            (0..if case.large { FURTHER_NAMES } else { 0 }).map(|number| format!("host-{number}.of-many.{name}"));
        std::iter::once(name.to_owned()).chain(more).collect()
    };
    let (ours, our_key) = issue(issuer, &names(US), 10, case.kind);
    let (theirs, their_key) = issue(issuer, &names(PEER), 11, case.kind);
    let chain = between.as_ref().map(CertifiedIssuer::pem).unwrap_or_default();
    let revoked: &[u64] = match (case.revoked, case.revoked_ours) {
        (true, _) => &[11],
        (_, true) => &[10],
        _ => &[],
    };
    let mut lists = vec![list(issuer, revoked)];
    lists.extend(between.is_some().then(|| list(&root, &[])));

    let folder = scene.folder();
    let file = |name: &str, content: &str| format!("\"file:{}\"", write(folder, name, content).display());
    let crl: Vec<_> = lists.iter().enumerate().map(|(at, list)| file(&format!("crl-{at}.pem"), list)).collect();
    let peer_auth = if case.asymmetric {
        format!("{{ method = \"psk\", secret = \"hex:{}\" }}", interop::PSK)
    } else {
        format!("{{ method = \"certificate\", ca = [{}], crl = [{}] }}", file("ca.pem", &root.pem()), crl.join(", "))
    };
    let auth = format!(
        "local_id = \"{US}\"\npeer_id = \"{PEER}\"\n\
         auth = {{ method = \"certificate\", certificate = {}, key = {} }}\npeer_auth = {peer_auth}",
        file("ours.pem", &format!("{ours}{chain}")),
        file("ours.key", &our_key),
    );
    let (here, there) = (V4.gateway_b, V4.gateway_a);
    let local = if case.asymmetric { "auth = psk" } else { "auth = pubkey\n certs = theirs.pem" };
    let revocation = if case.revoked_ours { "revocation = strict" } else { "" };
    let swanctl = format!(
        "connections {{ gw {{\n version = 2\n mobike = no\n local_addrs = {here}\n remote_addrs = {there}\n \
         proposals = aes256gcm16-prfsha384-ecp384\n unique = replace\n keyingtries = 1\n send_cert = always\n \
         local {{ {local}\n id = {PEER} }}\n remote {{ auth = pubkey\n id = {US}\n {revocation} }}\n \
         children {{ net {{ local_ts = {b}/32\n remote_ts = {a}/32\n esp_proposals = aes256gcm16-ecp384 }} }}\n}} }}\n\
         secrets {{ ike-gw {{ id-a = {PEER}\n id-b = {US}\n secret = 0x{psk} }} }}\n",
        a = V4.host_a,
        b = V4.host_b,
        psk = interop::PSK,
    );
    let root_pem = root.pem();
    let mut files = vec![
        ("x509/theirs.pem", theirs.as_str()),
        ("private/theirs.key", their_key.as_str()),
        ("x509ca/root.pem", root_pem.as_str()),
    ];
    if !chain.is_empty() {
        files.push(("x509ca/between.pem", chain.as_str()));
    }
    if case.revoked_ours {
        files.push(("x509crl/list.pem", lists[0].as_str()));
    }
    let settings = if case.modern { "" } else { "signature_authentication = no" };
    let charon = Charon::start_among(&scene.topology, Side::B, folder, &swanctl, &files, settings);
    (Ours { auth: Some(auth), ..Ours::default() }, charon)
}

fn hold_a_tunnel(name: &str, opener: Opener, case: &Case, words: &str) {
    let Some(mut scene) = Scene::set(name) else { return };
    let (ours, charon) = set(&scene, case);
    let mut gateway = scene.portcullis(&ours, opener);
    let status = bring_up(opener, &mut gateway, &charon);
    let ike = &status["tunnels"][0]["ike"];
    let by = |side: &str| ike[side].as_str().unwrap_or_default().to_owned();
    assert!(by("local_auth").contains(words), "{ike}");
    let theirs = if case.asymmetric { "psk" } else { "certificate" };
    assert!(by("peer_auth").contains(theirs), "{ike}");
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    let log = charon.log();
    for text in ["splitting IKE message", "reassembled fragmented IKE message"] {
        assert!(log.contains(text) || !case.large, "charon does not say \"{text}\":\n{log}");
    }
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
}

macro_rules! both_roles {
    ($($we:ident, $peer:ident: $case:expr, $words:expr;)*) => {
        $(
            #[test]
            fn $we() {
                hold_a_tunnel(stringify!($we), Opener::We, &$case, $words);
            }

            #[test]
            fn $peer() {
                hold_a_tunnel(stringify!($peer), Opener::Peer, &$case, $words);
            }
        )*
    };
}

both_roles! {
    rsa_certificates_opened_by_us, rsa_certificates_opened_by_strongswan:
        Case { kind: Kind::Rsa, ..Case::default() }, "RSA-PSS with SHA-256";
    p256_certificates_opened_by_us, p256_certificates_opened_by_strongswan:
        Case::default(), "ECDSA with SHA-256";
    p384_certificates_opened_by_us, p384_certificates_opened_by_strongswan:
        Case { kind: Kind::P384, ..Case::default() }, "ECDSA with SHA-384";
    ed25519_certificates_opened_by_us, ed25519_certificates_opened_by_strongswan:
        Case { kind: Kind::Ed25519, ..Case::default() }, "Ed25519";
    a_chain_with_an_authority_between_opened_by_us, a_chain_with_an_authority_between_opened_by_strongswan:
        Case { between: true, ..Case::default() }, "ECDSA with SHA-256";
    the_methods_of_rfc_4754_opened_by_us, the_methods_of_rfc_4754_opened_by_strongswan:
        Case { modern: false, ..Case::default() }, "ECDSA P-256";
    a_certificate_against_a_shared_key_opened_by_us, a_certificate_against_a_shared_key_opened_by_strongswan:
        Case { asymmetric: true, ..Case::default() }, "ECDSA with SHA-256";
    large_certificates_go_in_fragments_both_ways_opened_by_us,
    large_certificates_go_in_fragments_both_ways_opened_by_strongswan:
        Case { kind: Kind::Rsa, between: true, large: true, ..Case::default() }, "RSA-PSS with SHA-256";
}

/// No tunnel, and ours says why.
fn refused(name: &str, opener: Opener, case: &Case, why: &str) {
    let Some(mut scene) = Scene::set(name) else { return };
    let (ours, charon) = set(&scene, case);
    let mut gateway = scene.portcullis(&ours, opener);
    if opener == Opener::Peer {
        charon.initiate().expect_err("charon cannot open a tunnel");
    }
    let told = gateway.wait_for(Duration::from_secs(10), |status| {
        status["tunnels"][0]["why"].as_str().unwrap_or_default().contains(why)
    });
    assert!(told.is_some(), "{why} is not told: {:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log());
    assert_eq!(charon.log().contains("certificate was revoked"), case.revoked_ours, "{}", charon.log());
    scene.transfer().expect_err("nothing passes");
    assert!(gateway.stop().unwrap().success());
    assert_eq!(scene.seen().packets(Seen::Esp), 0);
}

#[test]
fn a_revoked_certificate_is_refused_when_we_open() {
    let case = Case { revoked: true, ..Case::default() };
    refused("a_revoked_certificate_is_refused_when_we_open", Opener::We, &case, "revoked");
}

#[test]
fn a_revoked_certificate_is_refused_when_strongswan_opens() {
    let case = Case { revoked: true, ..Case::default() };
    refused("a_revoked_certificate_is_refused_when_strongswan_opens", Opener::Peer, &case, "revoked");
}

#[test]
fn a_revoked_certificate_of_ours_is_refused_by_strongswan() {
    let name = "a_revoked_certificate_of_ours_is_refused_by_strongswan";
    let case = Case { revoked_ours: true, ..Case::default() };
    refused(name, Opener::We, &case, "AUTHENTICATION_FAILED");
}

/// Without RFC 7427 strongSwan signs with RSA and SHA-1, which is not accepted.
#[test]
fn rsa_with_sha1_is_refused_by_name() {
    let case = Case { kind: Kind::Rsa, modern: false, ..Case::default() };
    refused("rsa_with_sha1_is_refused_by_name", Opener::Peer, &case, "SHA-1");
}
