//! `auth` and `peer_auth` with certificates: files that fit together load, and every other combination is told apart.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use portcullis::config::Loaded;
use portcullis::crypto::certificate::Revocation;
use portcullis::ike::config::{LocalAuth, PeerAuth};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use support::{Case, EXAMPLE};

/// A directory with an authority (`ca`), our certificate (`own`, `own.key`) and somebody else's key (`other.key`).
fn case() -> Case {
    let case = Case::new();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "own");
    params.subject_alt_names = vec![SanType::DnsName("gw.example.com".try_into().unwrap())];
    case.secret("ca", &authority.pem(), 0o644);
    case.secret("own", &params.signed_by(&key, &authority).unwrap().pem(), 0o644);
    case.secret("own.key", &key.serialize_pem(), 0o600);
    case.secret("open.key", &key.serialize_pem(), 0o644);
    case.secret("other.key", &KeyPair::generate().unwrap().serialize_pem(), 0o600);
    case
}

fn load(case: &Case, ids: &str, certificate: &str, key: &str, peer: &str) -> Result<Loaded, String> {
    let file = |name: &str| format!("\"file:{}\"", case.path(name).display());
    let (ca, own) = (file("ca"), file("own"));
    let auth = format!(
        "{ids}\nauth = {{ method = \"certificate\", certificate = {}, key = {} }}\n{}",
        file(certificate),
        file(key),
        peer.replace("CA", &ca).replace("OWN", &own),
    );
    let text = EXAMPLE.replace("auth = { method = \"psk\", secret = \"file:PSK\" }", &auth);
    case.load(&text).map_err(|refused| refused.render(false).split_whitespace().collect::<Vec<_>>().join(" "))
}

const IDS: &str = "local_id = \"gw.example.com\"\npeer_id = \"peer.example.com\"";
const PEER: &str = "peer_auth = { method = \"certificate\", ca = CA, revocation = \"soft-fail\" }";

#[test]
fn a_certificate_with_its_key_loads() {
    let loaded = load(&case(), IDS, "own", "own.key", PEER).unwrap();
    let tunnel = &loaded.ike.tunnels[0];
    let (LocalAuth::Certificate(own), PeerAuth::Certificate(trust)) = (&tunnel.local_auth, &tunnel.peer_auth) else {
        panic!("{tunnel:?}")
    };
    assert_eq!(own.own().unwrap().hosts, ["gw.example.com"]);
    assert_eq!((trust.anchors().len(), trust.revocation()), (1, Revocation::SoftFail));
    assert_eq!(loaded.tunnels[0].psk_bits, None);
    // The other direction by a pre-shared key.
    let psk = "peer_auth = { method = \"psk\", secret = \"hex:9d1f4c07b2e86a35f0c97e41d8235b6a1ce4907f\" }";
    assert!(load(&case(), IDS, "own", "own.key", psk).is_ok());
}

#[test]
fn what_does_not_fit_together_is_refused_in_words() {
    let case = case();
    for (ids, certificate, key, peer, message) in [
        (IDS, "own", "other.key", PEER, "is not that of the certificate"),
        (IDS, "own", "open.key", PEER, "can be read or written by others"),
        (IDS, "own", "ca", PEER, "can be read or written by others"),
        (IDS, "own.key", "own.key", PEER, "there is no certificate in PEM"),
        (IDS, "missing", "own.key", PEER, "cannot read"),
        ("", "own", "own.key", PEER, "set `local_id` to what it carries: gw.example.com"),
        (IDS, "own", "own.key", "", "add peer_auth = { method = \"certificate\""),
        (IDS, "own", "own.key", "peer_auth = { method = \"certificate\", ca = CA }", "no revocation list is named"),
        (IDS, "own", "own.key", "peer_auth = { method = \"certificate\" }", "this method needs `ca`"),
        (IDS, "own", "own.key", &PEER.replace("CA", "OWN"), "is not the certificate of an authority"),
        (IDS, "own", "own.key", &PEER.replace("soft-fail", "softfail"), "did you mean \"soft-fail\"?"),
        (IDS, "own", "own.key", &PEER.replace("ca =", "crl = CA, ca ="), "no certificate revocation list"),
        (IDS, "own", "own.key", &PEER.replace("ca =", "key = CA, ca ="), "`key` means nothing in `peer_auth`"),
        (
            "local_id = \"gw.example.com\"\npeer_id = \"keyid:00\"",
            "own",
            "own.key",
            PEER,
            "no certificate carries an identity such as this `peer_id`",
        ),
    ] {
        let refused = load(&case, ids, certificate, key, peer).err().unwrap_or_else(|| panic!("loads: {message}"));
        let flat = refused.replace("│ ", "");
        assert!(flat.contains(message), "{message}: {flat}");
    }
}
