//! Portcullis and strongSwan hold a tunnel with each other, in both roles.
//!
//! host A - gateway A (Portcullis) - underlay - gateway B (charon) - host B. Every case that ends with a tunnel moves a file
//! each way and compares digests; tshark decrypts IKE and ESP with the exported keys.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::topology::{V4, inner_networks};

use interop::charon::{Charon, Connection, Side};
use interop::scene::{Opener, Ours, Scene, bring_up};
use std::time::Duration;

/// The harness proves itself: what fails below this test is not the network's fault.
#[test]
fn two_strongswans_hold_a_tunnel_in_this_network() {
    let Some(topology) = interop::topology("two_strongswans_hold_a_tunnel_in_this_network") else { return };
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::default();
    let mirrored = Connection {
        local_ts: connection.remote_ts.clone(),
        remote_ts: connection.local_ts.clone(),
        ..connection.clone()
    };
    let a = Charon::start(&topology, Side::A, folder.path(), &mirrored);
    let b = Charon::start(&topology, Side::B, folder.path(), &connection);
    let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), None).unwrap();
    b.initiate().unwrap_or_else(|error| panic!("{error}\n{}\n{}", a.log(), b.log()));
    interop::transfer(&topology.gateway_a, &topology.gateway_b).unwrap();
    let seen = capture.stop().unwrap();
    assert_eq!((seen.packets(Seen::Plaintext), seen.lost), (0, 0), "{seen:?}");
    assert!(seen.packets(Seen::Esp) > 1000 && seen.packets(Seen::Ike) >= 4, "{seen:?}");
    assert!(a.sas().contains(&V4.gateway_b.to_string()));
}

/// A tunnel comes up, a file goes each way, tshark reads it all.
fn hold_a_tunnel(name: &str, opener: Opener, ours: &Ours, theirs: &Connection) {
    let Some(mut scene) = Scene::set(name) else { return };
    let charon = scene.charon(theirs);
    let mut gateway = scene.portcullis(ours, opener);
    let status = bring_up(opener, &mut gateway, &charon);
    assert_eq!(status["tunnels"][0]["ike"]["initiator"], opener == Opener::We, "{status}");
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    assert!(gateway.stop().unwrap().success());
    let seen = scene.seen();
    assert!(seen.packets(Seen::Esp) > 1000, "{seen:?}");
    scene.tshark_reads_everything();
}

macro_rules! both_roles {
    ($($we:ident, $peer:ident: $ours:expr, $theirs:expr;)*) => {
        $(
            #[test]
            fn $we() {
                hold_a_tunnel(stringify!($we), Opener::We, &$ours, &$theirs);
            }

            #[test]
            fn $peer() {
                hold_a_tunnel(stringify!($peer), Opener::Peer, &$ours, &$theirs);
            }
        )*
    };
}

both_roles! {
    aes_256_gcm_with_p384_opened_by_us, aes_256_gcm_with_p384_opened_by_strongswan:
        Ours::default(), Connection::default();
    aes_256_cbc_with_modp_2048_opened_by_us, aes_256_cbc_with_modp_2048_opened_by_strongswan:
        Ours { ike: "aes256-sha256-modp2048", esp: "aes256-sha256-modp2048", ..Ours::default() },
        Connection {
            ike: "aes256-sha256-modp2048".into(),
            esp: "aes256-sha256-modp2048".into(),
            ..Connection::default()
        };
    x25519_opened_by_us, x25519_opened_by_strongswan:
        Ours { ike: "aes256gcm16-prfsha256-x25519", esp: "aes256gcm16-x25519", ..Ours::default() },
        Connection {
            ike: "aes256gcm16-prfsha256-x25519".into(),
            esp: "aes256gcm16-x25519".into(),
            ..Connection::default()
        };
    forced_encapsulation_opened_by_us, forced_encapsulation_opened_by_strongswan:
        Ours { tunnel: "encapsulation = \"forced\"", ..Ours::default() },
        Connection { encap: true, ..Connection::default() };
    selectors_that_strongswan_narrows_for_us, selectors_that_we_narrow_for_strongswan:
        Ours {
            to: "10.20.0.0/24".into(),
            rule: "allow_network = \"the peer narrows it\"",
            ..Ours::default()
        },
        Connection { remote_ts: "192.0.2.0/24".into(), ..Connection::default() };
}

/// What `peer-config` prints is the whole swanctl.conf of the peer: it loads, the tunnel comes up, a file goes each way.
#[test]
fn strongswan_holds_a_tunnel_with_what_we_print_for_it() {
    let Some(mut scene) = Scene::set("strongswan_holds_a_tunnel_with_what_we_print_for_it") else { return };
    let ours = Ours {
        tunnel: "local_id = \"keyid:636270\"\npeer_id = \"moon.example.com\"\nencapsulation = \"forced\"\n\
                 child_lifetime = { time = 1800 }\nike_lifetime = 7200\nliveness = 20",
        ..Ours::default()
    };
    let mut gateway = scene.portcullis(&ours, Opener::We);
    let charon = scene.charon_as_told("peer", &scene.file());
    bring_up(Opener::We, &mut gateway, &charon);
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    assert!(charon.sas().contains("peer-1"), "the child has the name that was printed: {}", charon.sas());
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
    scene.tshark_reads_everything();
}

/// No tunnel: both ends say why, nothing passes, nothing is seen in clear.
fn hold_no_tunnel(name: &str, opener: Opener, ours: &Ours, theirs: &Connection, why: &str) {
    let Some(mut scene) = Scene::set(name) else { return };
    let charon = scene.charon(theirs);
    let mut gateway = scene.portcullis(ours, opener);
    if opener == Opener::Peer {
        charon.initiate().expect_err("charon cannot open a tunnel");
    }
    let refused = gateway.wait_for(Duration::from_secs(10), |status| {
        let told = status["tunnels"][0]["why"].as_str().unwrap_or_default().contains(why);
        told || status["ike_refused"].as_object().is_some_and(|reasons| reasons.keys().any(|reason| reason == why))
    });
    let status = refused
        .unwrap_or_else(|| panic!("{why} is not told: {:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log()));
    assert_ne!(status["tunnels"][0]["state"], "up");
    scene.transfer().expect_err("nothing passes");
    assert!(gateway.stop().unwrap().success());
    assert_eq!(scene.seen().packets(Seen::Esp), 0);
}

fn other_key() -> Connection {
    Connection { psk: "00".repeat(32), ..Connection::default() }
}

fn other_proposal() -> Connection {
    Connection { ike: "aes128gcm16-prfsha256-ecp256".into(), ..Connection::default() }
}

#[test]
fn a_wrong_key_is_refused_when_we_open() {
    let name = "a_wrong_key_is_refused_when_we_open";
    hold_no_tunnel(name, Opener::We, &Ours::default(), &other_key(), "AUTHENTICATION_FAILED");
}

#[test]
fn a_wrong_key_is_refused_when_strongswan_opens() {
    let name = "a_wrong_key_is_refused_when_strongswan_opens";
    hold_no_tunnel(name, Opener::Peer, &Ours::default(), &other_key(), "authentication-failed");
}

#[test]
fn no_common_proposal_is_told_when_we_open() {
    let name = "no_common_proposal_is_told_when_we_open";
    hold_no_tunnel(name, Opener::We, &Ours::default(), &other_proposal(), "NO_PROPOSAL_CHOSEN");
}

#[test]
fn no_common_proposal_is_told_when_strongswan_opens() {
    let name = "no_common_proposal_is_told_when_strongswan_opens";
    hold_no_tunnel(name, Opener::Peer, &Ours::default(), &other_proposal(), "no-proposal-chosen");
}

/// RFC 7296 §1.2: the IKE SA is kept when only its first child is refused; ours tries the child again.
#[test]
fn the_ike_sa_survives_a_refused_first_child_and_the_child_comes_later() {
    let name = "the_ike_sa_survives_a_refused_first_child_and_the_child_comes_later";
    let Some(scene) = Scene::set(name) else { return };
    let charon = scene.charon(&Connection { local_ts: "10.20.0.99/32".into(), ..Connection::default() });
    let mut gateway = scene.portcullis(&Ours::default(), Opener::We);
    let alone = gateway.wait_for(Duration::from_secs(10), |status| {
        let tunnel = &status["tunnels"][0];
        tunnel["ike"].is_object() && tunnel["children"].as_array().is_some_and(Vec::is_empty)
    });
    let spis =
        alone.unwrap_or_else(|| panic!("{}\n{}", gateway.log(), charon.log()))["tunnels"][0]["ike"]["spis"].clone();
    charon.reload(&Connection::default());
    let status = gateway.wait_until_up(Duration::from_secs(40));
    let status = status.unwrap_or_else(|| panic!("{}\n{}", gateway.log(), charon.log()));
    assert_eq!(status["tunnels"][0]["ike"]["spis"], spis, "it is still the same IKE SA");
    scene.transfer().unwrap();
}

#[test]
fn a_tunnel_that_strongswan_deletes_comes_back() {
    let Some(scene) = Scene::set("a_tunnel_that_strongswan_deletes_comes_back") else { return };
    let charon = scene.charon(&Connection::default());
    let mut gateway = scene.portcullis(&Ours::default(), Opener::We);
    let first = bring_up(Opener::We, &mut gateway, &charon);
    scene.transfer().unwrap();
    // The child alone, then all of it.
    for delete in [Charon::terminate_child, Charon::terminate_ike] {
        let before = gateway.status().unwrap()["tunnels"][0]["children"][0]["spis"].clone();
        delete(&charon).unwrap();
        let status = gateway.wait_for(Duration::from_secs(20), |status| {
            portcullis::lab::gateway::is_up(status) && status["tunnels"][0]["children"][0]["spis"] != before
        });
        assert!(status.is_some(), "{:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log());
        scene.transfer().unwrap();
    }
    let last = gateway.status().unwrap();
    assert_ne!(last["tunnels"][0]["ike"]["spis"], first["tunnels"][0]["ike"]["spis"]);
}

/// strongSwan is killed without a word and comes back: its INITIAL_CONTACT ends what we still held.
#[test]
fn a_tunnel_survives_a_restart_of_strongswan() {
    let Some(scene) = Scene::set("a_tunnel_survives_a_restart_of_strongswan") else { return };
    let charon = scene.charon(&Connection::default());
    let mut gateway = scene.portcullis(&Ours::default(), Opener::We);
    bring_up(Opener::We, &mut gateway, &charon);
    scene.transfer().unwrap();
    charon.kill();
    let charon = scene.charon(&Connection::default());
    charon.initiate().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    let status = gateway.wait_for(Duration::from_secs(10), |status| {
        portcullis::lab::gateway::is_up(status) && status["tunnels"][0]["ike"]["initiator"] == false
    });
    assert!(status.is_some(), "{:?}\n{}", gateway.status(), gateway.log());
    scene.transfer().unwrap();
}
