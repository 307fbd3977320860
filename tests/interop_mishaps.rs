//! What befalls a tunnel with strongSwan: a NAT in front of either side, a side that vanishes or comes back from a restart, a
//! pre-shared key that is changed.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;
mod numbers;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use interop::charon::Charon;
use interop::named::{cut, logs, mq, net, ours, ours_with, peer, remote, theirs, theirs_with, tunnel};
use interop::scene::{Opener, Scene, bring_up};
use interop::{PSK, until};
use lab_common::{has_program, not_run};
use numbers::Numbers;
use portcullis::lab::capture::Seen;
use portcullis::lab::gateway::{Gateway, is_up};
use portcullis::lab::topology::{ROUTERS, V4, spawn_in};
use portcullis::platform::namespace::Namespace;
use portcullis::runtime::protocol::Request;

const PATIENCE: Duration = Duration::from_secs(20);
/// Five seconds of silence and ten transmissions of a question, the last of which wait eight seconds each.
const UNTIL_GONE: Duration = Duration::from_secs(70);
/// charon asks every second, and once again.
const IMPATIENT: &str = "retransmit_tries = 1\n retransmit_timeout = 1.0\n retransmit_base = 1.0";
/// The key that is to stay.
const NEW: &str = "d02c7b51fe83496ab4e5a90c7613f8d2854bc9e1702f6da3985ec410b7264f1a";

/// Our configuration with the tunnel opened by `opener`.
fn opened_by(opener: Opener, peer: &str, lines: &str) -> String {
    let (name, ends, service) = mq();
    let start = if opener == Opener::We { "always" } else { "manual" };
    ours(peer, &format!("start = \"{start}\"\n{lines}"), &[(name, &ends, service)])
}

fn transfer(scene: &Scene, gateway: &Gateway, charon: &Charon) {
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(gateway, charon)));
}

/// What leaves by this router has its address and any port; `behind` is who answers at its ports 500 and 4500.
fn translate(router: &Namespace, behind: Option<IpAddr>) {
    let forward = behind.map(|gateway| {
        format!(
            "chain from {{\n type nat hook prerouting priority dstnat\n \
             iifname \"outside\" udp dport {{ 500, 4500 }} dnat to {gateway}\n }}\n"
        )
    });
    let rules = format!(
        "table ip translate {{\n {} chain to {{\n type nat hook postrouting priority srcnat\n \
         oifname \"outside\" masquerade random\n }}\n }}\n",
        forward.unwrap_or_default()
    );
    let mut nft = Command::new("nft");
    nft.arg(rules).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let status = spawn_in(router, &mut nft).unwrap().wait().unwrap();
    assert!(status.success(), "nft takes the rules");
}

/// Neither gateway has an address that the underlay knows; the one that is called has two ports at its router.
fn behind_two_nats(name: &str, opener: Opener) {
    if !has_program("nft") {
        return not_run(name, "nft (Debian package nftables) is not installed");
    }
    let Some(mut scene) = Scene::set(name) else { return };
    let routers = scene.topology.put_routers_between().unwrap();
    scene.topology.cut_to_packets().unwrap();
    translate(&routers[0], (opener == Opener::Peer).then_some(V4.gateway_a));
    translate(&routers[1], (opener == Opener::We).then_some(V4.gateway_b));
    let swanctl = theirs("mobike = no\n encap = no", &net(""));
    let charon = scene.charon_with(&swanctl.replace(&V4.gateway_a.to_string(), &ROUTERS[0].to_string()), "");
    let mut gateway = scene.portcullis_with(&opened_by(opener, &format!("\"{}\"", ROUTERS[1]), ""));
    let status = bring_up(opener, &mut gateway, &charon);
    assert_eq!(tunnel(&status)["ike"]["nat"], "both", "{status}");
    assert_eq!(tunnel(&status)["children"][0]["encapsulation"], "udp", "{status}");
    let seen: SocketAddr = remote(&status).parse().unwrap();
    assert_eq!(seen.ip(), ROUTERS[1]);
    assert_eq!(seen.port() == 4500, opener == Opener::We, "the router of who calls has taken another port: {seen}");
    transfer(&scene, &gateway, &charon);
    // New keys from both sides, by the mappings that there are.
    for what in ["child", "ike"] {
        charon.rekey(what).unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
        let done = gateway.wait_for(PATIENCE, |status| tunnel(status)["rekeys"][what].as_u64() >= Some(1));
        assert!(done.is_some(), "{what}: {}", logs(&gateway, &charon));
    }
    transfer(&scene, &gateway, &charon);
    gateway.request(&Request::Rekey { tunnel: "peer".into(), children: true, ike: true, pfs: false }).unwrap();
    let both = |status: &serde_json::Value| {
        let rekeys = &tunnel(status)["rekeys"];
        rekeys["child"].as_u64() >= Some(2) && rekeys["ike"].as_u64() >= Some(2)
    };
    assert!(gateway.wait_for(PATIENCE, both).is_some(), "{}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
    assert_eq!(tunnel(&gateway.status().unwrap())["handshakes"], 1, "nothing was made anew");
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
}

#[test]
fn two_nats_opened_by_us() {
    behind_two_nats("two_nats_opened_by_us", Opener::We);
}

#[test]
fn two_nats_opened_by_strongswan() {
    behind_two_nats("two_nats_opened_by_strongswan", Opener::Peer);
}

/// How charon goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIGKILL.
    Killed,
    /// The line is cut, and a router says so with ICMP errors, which nobody is to believe (RFC 7296 §2.4).
    Cut,
}

/// charon goes without a word. What it had goes, and it is called again only if that is configured.
fn vanish(name: &str, way: Way, opener: Opener) {
    let Some(mut scene) = Scene::set(name) else { return };
    // Where the line is cut charon forgets us as well, and does not believe later that it is still connected.
    let swanctl = theirs("mobike = no\n unique = replace\n dpd_delay = 5s", &net("dpd_action = clear"));
    let mut charon = scene.charon_with(&swanctl, IMPATIENT);
    let mut gateway = scene.portcullis_with(&opened_by(opener, &peer(), "liveness = 5\nencapsulation = \"forced\""));
    bring_up(opener, &mut gateway, &charon);
    transfer(&scene, &gateway, &charon);
    let events = gateway.monitor().unwrap();
    match way {
        Way::Killed => charon.vanish(),
        Way::Cut => cut(&scene, V4.gateway_b, true),
    }
    let gone = events.find(UNTIL_GONE, |event| event["event"] == "ike-down");
    let gone = gone.unwrap_or_else(|| panic!("{way:?}: nothing is noticed: {}", gateway.log()));
    assert_eq!(gone["reason"], "the peer does not answer", "{way:?}");
    scene.transfer().expect_err("nothing passes");
    let status = gateway.status().unwrap();
    assert!(!is_up(&status) && tunnel(&status)["children"] == serde_json::json!([]), "{status}");
    // It comes back, and is silent.
    match way {
        Way::Killed => charon = scene.charon_with(&swanctl, IMPATIENT),
        Way::Cut => cut(&scene, V4.gateway_b, false),
    }
    if opener == Opener::Peer {
        std::thread::sleep(Duration::from_secs(3));
        assert!(!is_up(&gateway.status().unwrap()), "{way:?}: nobody asked us to call");
        let account = charon.initiate();
        assert!(account.is_ok(), "{way:?}: {account:?}\n{}", logs(&gateway, &charon));
    }
    assert!(gateway.wait_until_up(PATIENCE).is_some(), "{way:?}: {}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
    assert!(gateway.stop().unwrap().success());
    scene.seen();
}

#[test]
fn a_strongswan_that_vanishes_is_noticed_and_called_again_only_if_that_is_configured() {
    let name = "a_strongswan_that_vanishes_is_noticed_and_called_again_only_if_that_is_configured";
    if std::env::var_os("PORTCULLIS_VANISH").is_none() {
        return not_run(name, "it takes more than a minute of waiting: PORTCULLIS_VANISH=1 wants it");
    }
    std::thread::scope(|scope| {
        for way in [Way::Killed, Way::Cut] {
            for opener in [Opener::We, Opener::Peer] {
                scope.spawn(move || vanish(name, way, opener));
            }
        }
    });
}

/// charon asks whether we are there, gets no answer and forgets us; when we are back it has nothing against it.
#[test]
fn strongswan_misses_us_and_forgets_us() {
    let Some(scene) = Scene::set("strongswan_misses_us_and_forgets_us") else { return };
    let charon = scene.charon_with(&theirs("mobike = no\n dpd_delay = 1s", &net("dpd_action = clear")), IMPATIENT);
    let config = opened_by(Opener::We, &peer(), "encapsulation = \"forced\"");
    let mut gateway = scene.portcullis_with(&config);
    bring_up(Opener::We, &mut gateway, &charon);
    transfer(&scene, &gateway, &charon);
    // As long as we are there its questions are answered.
    let asked = until(PATIENCE, || charon.log().matches("sending DPD request").count() >= 2);
    assert!(asked && charon.sas().contains("ESTABLISHED"), "{}", logs(&gateway, &charon));
    gateway.kill().unwrap();
    assert!(until(PATIENCE, || !charon.sas().contains("gw: #")), "{}\n{}", charon.sas(), charon.log());
    let mut gateway = scene.portcullis_with(&config);
    assert!(gateway.wait_until_up(PATIENCE).is_some(), "{}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
}

/// The line is cut, and charon calls again before we have noticed anything: its INITIAL_CONTACT ends what we still hold.
#[test]
fn strongswan_misses_us_and_calls_again() {
    let Some(scene) = Scene::set("strongswan_misses_us_and_calls_again") else { return };
    let lines = "mobike = no\n dpd_delay = 1s\n keyingtries = 0\n unique = replace";
    let charon = scene.charon_with(&theirs(lines, &net("dpd_action = restart")), IMPATIENT);
    let mut gateway = scene.portcullis_with(&opened_by(Opener::Peer, &peer(), "encapsulation = \"forced\""));
    let before = bring_up(Opener::Peer, &mut gateway, &charon);
    transfer(&scene, &gateway, &charon);
    cut(&scene, V4.gateway_b, true);
    let calls = until(PATIENCE, || charon.sas().contains("CONNECTING"));
    assert!(calls, "{}", logs(&gateway, &charon));
    cut(&scene, V4.gateway_b, false);
    let again = gateway
        .wait_for(PATIENCE, |status| is_up(status) && tunnel(status)["ike"]["spis"] != tunnel(&before)["ike"]["spis"]);
    assert!(again.is_some(), "{}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
    let children = tunnel(&gateway.status().unwrap())["children"].as_array().unwrap().len();
    assert_eq!(children, 1, "{}", logs(&gateway, &charon));
}

/// We are killed and start again: our INITIAL_CONTACT ends what charon still holds.
#[test]
fn a_tunnel_survives_a_restart_of_ours() {
    let Some(scene) = Scene::set("a_tunnel_survives_a_restart_of_ours") else { return };
    let charon = scene.charon_with(&theirs("mobike = no\n unique = replace", &net("")), "");
    let config = opened_by(Opener::We, &peer(), "encapsulation = \"forced\"");
    let mut gateway = scene.portcullis_with(&config);
    bring_up(Opener::We, &mut gateway, &charon);
    transfer(&scene, &gateway, &charon);
    gateway.kill().unwrap();
    let mut gateway = scene.portcullis_with(&config);
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    let spi = tunnel(&status)["children"][0]["spis"][0].as_str().unwrap().to_owned();
    let alone = until(PATIENCE, || {
        let sas = charon.sas();
        sas.matches("gw: #").count() == 1 && sas.contains(&spi)
    });
    assert!(alone, "{}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
}

/// The key is changed on both sides, one after the other, under numbered datagrams.
fn rotate(name: &str, opener: Opener) {
    let Some(scene) = Scene::set(name) else { return };
    let (mq, ends, service) = mq();
    let start = if opener == Opener::We { "always" } else { "manual" };
    let lines = format!("encapsulation = \"forced\"\nstart = \"{start}\"");
    let rules = [(mq, &*ends, service), ("numbers", &*ends, "service = \"udp\"\nudp = [2000]")];
    let with = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| format!("\"hex:{key}\"")).collect();
        ours_with(&format!("[{}]", keys.join(", ")), &peer(), &lines, &rules)
    };
    let charon = scene.charon_with(&theirs("mobike = no", &net("")), "");
    let mut gateway = scene.portcullis_with(&with(&[PSK]));
    let first = bring_up(opener, &mut gateway, &charon);
    let spis = |status: &serde_json::Value| tunnel(status)["ike"]["spis"].clone();
    let topology = &scene.topology;
    let numbers = Numbers::start(&topology.host_a, V4.host_a, &topology.gateway_b, V4.host_b);
    scene.reload(&gateway, &with(&[NEW, PSK]));
    let status = gateway.status().unwrap();
    assert_eq!(spis(&status), spis(&first), "nothing is negotiated for it");
    assert_eq!(tunnel(&status)["ike"]["peer_auth"], "psk (old key)", "{status}");
    // charon has one key for us at a time; it uses the new one from the next IKE SA on.
    charon.reload_with(&theirs_with(NEW, "mobike = no", &net("")));
    scene.reload(&gateway, &with(&[NEW]));
    let anew = gateway.wait_for(PATIENCE, |status| {
        let one = tunnel(status)["children"].as_array().is_some_and(|all| all.len() == 1);
        is_up(status) && one && spis(status) != spis(&first) && tunnel(status)["ike"]["peer_auth"] == "psk"
    });
    assert!(anew.is_some(), "{}", logs(&gateway, &charon));
    let alone = until(PATIENCE, || charon.sas().matches("gw: #").count() == 1);
    assert!(alone, "{}", logs(&gateway, &charon));
    let tally = numbers.count();
    assert!(tally.is_whole(), "{tally:?}\n{}", logs(&gateway, &charon));
    transfer(&scene, &gateway, &charon);
    assert!(gateway.stop().unwrap().success());
}

#[test]
fn a_key_is_changed_without_a_cut_in_a_tunnel_that_we_opened() {
    rotate("a_key_is_changed_without_a_cut_in_a_tunnel_that_we_opened", Opener::We);
}

#[test]
fn a_key_is_changed_without_a_cut_in_a_tunnel_that_strongswan_opened() {
    rotate("a_key_is_changed_without_a_cut_in_a_tunnel_that_strongswan_opened", Opener::Peer);
}
