//! Words of other gateways, and the sentences that are made of them.

use super::*;
use crate::config;
use crate::ike::account::Ours;

const FILE: &str = r#"
[gateway]
state_dir = "/tmp/x"
[agreement.lab]
kind = "lab"
[tunnel.cbp]
agreement = "lab"
local = "192.0.2.1"
peer = "198.51.100.1"
auth = { method = "psk", secret = "file:/k" }
ike = ["aes256gcm16-prfsha384-ecp384"]
esp = ["aes256gcm16-ecp384"]
[[rule]]
name = "mq"
tunnel = "cbp"
clause = "1a"
from = ["10.1.0.1"]
to = ["10.2.0.1"]
service = "mq"
direction = "outbound"
"#;

fn first(proposal: &str, device: Device) -> Finding {
    let path = std::path::Path::new("portcullis.toml");
    let loaded = config::load_text(path, FILE, None).unwrap();
    let places = config::places(FILE);
    let here = Here { file: "portcullis.toml".to_owned(), places: &places, tunnel: "cbp" };
    let pages = read_proposal(proposal).unwrap();
    let explained = Explained { tunnel: "cbp".to_owned(), ours: Ours::of(&loaded.ike.tunnels[0]), pages };
    let report = report(&explained, Source::Proposal, Some(&here), Some(device));
    assert!(report.text(true, 120).contains("UNAUTHENTICATED"));
    report.negotiations[0].clone()
}

#[test]
fn the_three_ways_of_writing_a_proposal_mean_the_same() {
    let written = words::read("aes256-sha256-modp2048").unwrap();
    let logged = words::read(
        "10[CFG] received proposals: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048\n10[CFG] configured \
         proposals: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
    )
    .unwrap();
    let shown = words::read(
        " IKEv2 proposal: P1\n     Encryption : AES-CBC-256\n     Integrity  : SHA256\n     PRF        : SHA256\n     DH Group   \
         : DH_GROUP_2048_MODP/Group 14\n",
    )
    .unwrap();
    let configured =
        words::read("crypto ikev2 proposal P1\n encryption aes-cbc-256\n integrity sha256\n prf sha256\n group 14\n")
            .unwrap();
    let sorted = |mut list: Vec<crate::ike::account::Offered>| {
        for offered in &mut list {
            offered.parts.sort_by_key(|part| part.kind);
        }
        list
    };
    let expected = sorted(written);
    assert_eq!(expected.len(), 1);
    assert_eq!(expected[0].parts.len(), 4);
    for other in [logged, shown, configured] {
        assert_eq!(sorted(other), expected);
    }
    let esp = words::read("ESP:AES_GCM_16_256/NO_EXT_SEQ, ESP:AES_CBC_128/HMAC_SHA1_96/ECP_256/EXT_SEQ").unwrap();
    assert!(esp.iter().all(|offered| offered.esp) && esp.len() == 2, "{esp:?}");
    assert!(words::read("aes256-wombat").unwrap_err().contains("wombat"));
    assert!(words::read("").is_err());
}

#[test]
fn each_mismatch_is_named_with_the_line_here_and_the_command_there() {
    for (proposal, differs, reason, ours, peer) in [
        (
            "aes256gcm16-prfsha384-modp2048",
            "group: ours 20 (ECP_384), theirs 14 (MODP_2048)",
            "same group on both sides",
            "portcullis.toml:11: ike = [.., \"aes256gcm16-prfsha384-modp2048\"]",
            "crypto ikev2 proposal <name>: group 20",
        ),
        (
            "aes256gcm16-prfsha256-ecp384",
            "PRF: ours PRF_HMAC_SHA2_384, theirs PRF_HMAC_SHA2_256",
            "same PRF on both sides",
            "portcullis.toml:11: ike = [.., \"aes256gcm16-prfsha256-ecp384\"]",
            "crypto ikev2 proposal <name>: prf sha384",
        ),
        (
            "aes256-sha384-ecp384",
            "encryption: ours AES_GCM_16-256, theirs AES_CBC-256",
            "the other CBC",
            "portcullis.toml:11: ike = [.., \"aes256-sha384-ecp384\"]",
            "crypto ikev2 proposal <name>: encryption aes-gcm-256",
        ),
        (
            "aes128gcm16-prfsha384-ecp384",
            "encryption: ours AES_GCM_16-256, theirs AES_GCM_16-128",
            "key length differs: ours 256 bits, theirs 128",
            "portcullis.toml:11: ike = [.., \"aes128gcm16-prfsha384-ecp384\"]",
            "crypto ikev2 proposal <name>: encryption aes-gcm-256",
        ),
        (
            "3des-sha1-modp1024",
            "encryption: ours AES_GCM_16-256, theirs 3DES",
            "GCM",
            "portcullis.toml:11: nothing: 3DES is not offered here",
            "encryption aes-gcm-256",
        ),
        (
            "ESP:AES_GCM_16_256/MODP_2048/NO_EXT_SEQ",
            "group of the child SA's own key exchange (PFS): ours 20 (ECP_384), theirs 14 (MODP_2048)",
            "PFS groups differ",
            "portcullis.toml:12: esp = [.., \"aes256gcm16-modp2048\"]",
            "crypto map <name> <number>: set pfs group20",
        ),
        (
            "ESP:AES_GCM_16_256/NO_EXT_SEQ",
            "theirs none",
            "the peer none",
            "esp = [.., \"aes256gcm16\"]",
            "set pfs group20",
        ),
    ] {
        let finding = first(proposal, Device::CiscoIosXe);
        let found = finding.differs.as_deref().unwrap_or_default();
        assert!(found.contains(differs), "{proposal}: {finding:#?}");
        assert!(finding.reason.contains(reason), "{proposal}: {finding:#?}");
        assert!(finding.change_ours.as_deref().unwrap_or_default().contains(ours), "{proposal}: {finding:#?}");
        assert!(finding.change_peer.as_deref().unwrap_or_default().contains(peer), "{proposal}: {finding:#?}");
    }
    let fits = first("aes256gcm16-prfsha384-ecp384", Device::CiscoIosXe);
    assert_eq!((fits.differs, fits.change_ours), (None, None));
    assert!(fits.reason.contains("no obstacle"));
}

#[test]
fn every_device_has_its_own_words() {
    let asked = |device| first("aes256-sha256-modp2048", device).change_peer.unwrap();
    assert_eq!(asked(Device::CiscoAsa), "crypto ikev2 policy <number>: encryption aes-gcm-256");
    assert_eq!(asked(Device::Strongswan), "connections.<name>.proposals = aes256gcm16-prfsha384-ecp384");
    let pfs = |device| first("ESP:AES_GCM_16_256/MODP_2048/NO_EXT_SEQ", device).change_peer.unwrap();
    assert_eq!(pfs(Device::CiscoAsa), "crypto map <name> <number> set pfs group20");
    assert!(pfs(Device::Strongswan).ends_with("esp_proposals = aes256gcm16-ecp384"));
}
