//! Postquantum preshared keys (RFC 8784) with strongSwan in both roles, and ML-KEM (RFC 9370) with a strongSwan that has it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use std::process::Command;
use std::time::Duration;

use interop::charon::Connection;
use interop::scene::{Opener, Ours, Scene, bring_up};
use portcullis::lab::capture::Seen;

const KEY: &str = "4c6e3a91d75b02f8c1e6409b5a73d82f96ebc4170d53a8fe2b6917c0845ed3aa";
const OTHER: &str = "0b8d52e7613fa94c70d1e84b9a26c35f7e02d9b148f6c35a8e61b07d3c94f582";

fn ours(id: &str, key: &str, required: bool) -> Ours {
    let tunnel = format!("ppk = {{ id = \"{id}\", secret = \"hex:{key}\", required = {required} }}");
    Ours { tunnel: tunnel.leak(), ..Ours::default() }
}

fn theirs(id: &str, key: &str, required: bool) -> Connection {
    Connection {
        lines: format!("ppk_id = {id}\n ppk_required = {}", if required { "yes" } else { "no" }),
        secrets: format!("ppk-gw {{ id = {id}\n secret = 0x{key} }}"),
        ..Connection::default()
    }
}

/// A tunnel, rekeyings from both sides, and whether the PPK is in the keys.
fn hold_a_tunnel(name: &str, opener: Opener, ours: &Ours, theirs: &Connection, used: bool) {
    let Some(mut scene) = Scene::set(name) else { return };
    let charon = scene.charon(theirs);
    let mut gateway = scene.portcullis(ours, opener);
    let status = bring_up(opener, &mut gateway, &charon);
    assert_eq!(status["tunnels"][0]["ike"]["ppk"], used, "{status}");
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    // What comes from these keys has to be the same on both sides.
    assert!(charon.rekey("child").is_ok() && charon.rekey("ike").is_ok(), "{}", charon.log());
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    assert_eq!(charon.log().contains("using PPK for PPK_ID"), used, "{}", charon.log());
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
}

#[test]
fn a_required_ppk_is_used_opened_by_us() {
    let name = "a_required_ppk_is_used_opened_by_us";
    hold_a_tunnel(name, Opener::We, &ours("ppk-1", KEY, true), &theirs("ppk-1", KEY, true), true);
}

#[test]
fn a_required_ppk_is_used_opened_by_strongswan() {
    let name = "a_required_ppk_is_used_opened_by_strongswan";
    hold_a_tunnel(name, Opener::Peer, &ours("ppk-1", KEY, true), &theirs("ppk-1", KEY, true), true);
}

#[test]
fn an_optional_ppk_is_left_out_with_a_peer_that_has_none_or_another() {
    let name = "an_optional_ppk_is_left_out_with_a_peer_that_has_none_or_another";
    for opener in [Opener::We, Opener::Peer] {
        hold_a_tunnel(name, opener, &ours("ppk-1", KEY, false), &Connection::default(), false);
    }
    // charon, if it is called, takes no other name than its own, whatever else it is shown.
    hold_a_tunnel(name, Opener::Peer, &ours("ppk-1", KEY, false), &theirs("ppk-2", OTHER, false), false);
}

#[test]
fn a_required_ppk_that_strongswan_has_not_leaves_no_tunnel_and_is_named() {
    let name = "a_required_ppk_that_strongswan_has_not_leaves_no_tunnel_and_is_named";
    for opener in [Opener::We, Opener::Peer] {
        for (theirs, why) in [
            (Connection::default(), "ppk-required"),
            (theirs("ppk-2", OTHER, false), "unknown-ppk"),
            (theirs("ppk-1", OTHER, true), "authentication-failed"),
        ] {
            let Some(mut scene) = Scene::set(name) else { return };
            let charon = scene.charon(&theirs);
            let mut gateway = scene.portcullis(&ours("ppk-1", KEY, true), opener);
            if opener == Opener::Peer {
                charon.initiate().expect_err("charon cannot open a tunnel");
            }
            let told = gateway.wait_for(Duration::from_secs(10), |status| {
                let refused = status["ike_refused"].as_object();
                let failures = status["tunnels"][0]["failures"].as_u64().unwrap_or_default();
                // Where charon refuses us it is charon that knows why.
                refused.is_some_and(|reasons| reasons.contains_key(why)) || opener == Opener::We && failures > 0
            });
            let status = told.unwrap_or_else(|| panic!("{why}: {:?}\n{}", gateway.status(), charon.log()));
            assert_ne!(status["tunnels"][0]["state"], "up");
            scene.transfer().expect_err("nothing passes");
            assert!(gateway.stop().unwrap().success());
            assert_eq!(scene.seen().packets(Seen::Esp), 0);
        }
    }
}

/// strongSwan's version, if it is one that has ML-KEM.
fn has_ml_kem(name: &str) -> bool {
    let output = Command::new("swanctl").arg("--version").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("none");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or_default();
    if major < 6 {
        lab_common::not_run(name, &format!("it takes a strongSwan of version 6, and this is {version}"));
    }
    major >= 6
}

#[test]
fn ml_kem_follows_the_first_key_exchange_with_strongswan_6() {
    let name = "ml_kem_follows_the_first_key_exchange_with_strongswan_6";
    if !has_ml_kem(name) {
        return;
    }
    for kem in ["mlkem768", "mlkem1024"] {
        let ike: &str = format!("aes256gcm16-prfsha384-ecp384-ke1_{kem}").leak();
        let esp: &str = format!("aes256gcm16-ecp384-ke1_{kem}").leak();
        for opener in [Opener::We, Opener::Peer] {
            let ours = Ours { ike, esp, ..Ours::default() };
            let theirs = Connection { ike: ike.into(), esp: esp.into(), ..Connection::default() };
            hold_a_tunnel(name, opener, &ours, &theirs, false);
        }
    }
}
