//! What peers do besides opening tunnels and renewing keys, with strongSwan: several children and selectors of ports, proving
//! anew, head-ends that fail and come back, addresses that change, inner addresses in both roles.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use portcullis::lab::gateway::is_up;
use portcullis::lab::topology::V4;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};
use portcullis::runtime::protocol::Request;
use serde_json::Value;

use interop::named::{child, cut, logs, mq, net, ours, peer, remote, theirs, tunnel};
use interop::scene::Scene;
use interop::transfer_to;

const PATIENCE: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Another address of gateway B.
fn second() -> IpAddr {
    ip("203.0.113.6")
}

fn with_outside(place: &Namespace, act: impl FnOnce(&mut Netlink, u32) -> std::io::Result<()> + Send) {
    let done = place.run(|| -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of("outside")?;
        act(&mut netlink, index)
    });
    done.unwrap().unwrap();
}

fn at(address: IpAddr) -> IpNet {
    IpNet::new(address, 24).unwrap()
}

/// Each pair, protocol and port is a child SA of its own, on both sides: all ours to ask for, or the first one charon's.
#[test]
fn several_children_with_protocol_and_port_selectors_carry_their_own_traffic() {
    for start in ["always", "manual"] {
        let name = "several_children_with_protocol_and_port_selectors_carry_their_own_traffic";
        let Some(scene) = Scene::set(name) else { return };
        let (host, other) = (format!("{}/32", V4.host_b), format!("{}/32[tcp]", V4.host_a));
        let children = [("net", "1414"), ("tls", "443")]
            .map(|(name, port)| child(name, &format!("{host}[tcp/{port}]"), &other, ""));
        let charon = scene.charon_with(&theirs("mobike = no", &children.concat()), "");
        let (name, ends, service) = mq();
        let rules = [(name, &*ends, service), ("tls", &*ends, "service = \"tls\"")];
        let lines = format!("selectors = \"service\"\nstart = \"{start}\"");
        let mut gateway = scene.portcullis_with(&ours(&peer(), &lines, &rules));
        if start == "manual" {
            charon.initiate().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
            gateway.request(&Request::Up { tunnel: "peer".into() }).unwrap();
        }
        let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
        assert_eq!(tunnel(&status)["ike"]["initiator"], start == "always", "{status}");
        let selectors: Vec<String> = tunnel(&status)["children"]
            .as_array()
            .unwrap()
            .iter()
            .map(|child| child["remote"][0].as_str().unwrap_or_default().to_owned())
            .collect();
        assert!(
            selectors.iter().any(|text| text.contains("1414")) && selectors.iter().any(|text| text.contains("443")),
            "{selectors:?}"
        );
        scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    }
}

/// strongSwan proves itself anew by a new IKE SA, before it ends the old one or after.
#[test]
fn strongswan_proves_itself_anew_and_the_tunnel_goes_on() {
    for (first, overlap) in [("make_before_break = yes", true), ("make_before_break = no", false)] {
        let Some(scene) = Scene::set("strongswan_proves_itself_anew_and_the_tunnel_goes_on") else { return };
        let (name, ends, service) = mq();
        let mut gateway = scene.portcullis_with(&ours(
            &peer(),
            "encapsulation = \"forced\"\nstart = \"manual\"",
            &[(name, &ends, service)],
        ));
        let lifetimes = "mobike = no\n reauth_time = 4s\n rand_time = 0s\n over_time = 20s\n rekey_time = 0s";
        let charon = scene.charon_with(&theirs(lifetimes, &net("")), first);
        charon.initiate().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
        gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
        if overlap {
            // Packets all the while: no transfer fails.
            for _ in 0..6 {
                scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        let again =
            gateway.wait_for(PATIENCE, |status| tunnel(status)["handshakes"].as_u64() >= Some(2) && is_up(status));
        let status = again.unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
        assert_eq!(tunnel(&status)["ike"]["initiator"], false);
        scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    }
}

/// The first head-end is unreachable at start, comes back, and gets the tunnel back.
#[test]
fn a_tunnel_goes_to_the_second_head_end_and_back_to_the_first() {
    let Some(scene) = Scene::set("a_tunnel_goes_to_the_second_head_end_and_back_to_the_first") else { return };
    with_outside(&scene.topology.gateway_b, |netlink, link| netlink.add_address(link, at(second())));
    cut(&scene, V4.gateway_b, true);
    let charon = scene.charon_with(&theirs("mobike = no", &net("")), "");
    let peers = format!("[\"{}\", \"{}\"]", V4.gateway_b, second());
    let (name, ends, service) = mq();
    let rules = [(name, &*ends, service)];
    let mut gateway = scene.portcullis_with(&ours(&peers, "encapsulation = \"forced\"\nfail_back = 5", &rules));
    let events = gateway.monitor().unwrap();
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    assert_eq!(remote(&status), format!("{}:4500", second()), "{status}");
    assert_eq!(tunnel(&status)["peers"][1], second().to_string());
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    cut(&scene, V4.gateway_b, false);
    let first = format!("{}:4500", V4.gateway_b);
    // Packets all the while: no transfer fails.
    let mut rounds = 0;
    while remote(&gateway.status().unwrap()) != first {
        scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
        std::thread::sleep(Duration::from_millis(300));
        rounds += 1;
        assert!(rounds < 60, "{}", logs(&gateway, &charon));
    }
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    let back = events.find(Duration::from_secs(2), |event| event["event"] == "head-end" && event["place"] == 1);
    assert!(back.is_some(), "{:?}", events.so_far());
    let one =
        gateway.wait_for(PATIENCE, |status| tunnel(status)["children"].as_array().is_some_and(|all| all.len() == 1));
    assert!(one.is_some(), "the old one has gone: {}", logs(&gateway, &charon));
}

fn movable() -> (String, String) {
    let (name, ends, service) = mq();
    let tunnel = "encapsulation = \"forced\"\nmobike = true\nliveness = 5";
    (
        ours(&peer(), tunnel, &[(name, &ends, service)]),
        theirs("mobike = yes", &net("")).replace(&V4.gateway_a.to_string(), "%any"),
    )
}

/// Our address changes: charon is told, tries the way back, and follows.
#[test]
fn our_address_changes_and_the_tunnel_stays() {
    let Some(scene) = Scene::set("our_address_changes_and_the_tunnel_stays") else { return };
    scene
        .topology
        .gateway_a
        .set_sysctls(&[
            ("net/ipv4/conf/all/promote_secondaries", "1"),
            ("net/ipv4/conf/outside/promote_secondaries", "1"),
        ])
        .unwrap();
    let (ours, theirs) = movable();
    let charon = scene.charon_with(&theirs, "");
    let mut gateway = scene.portcullis_with(&ours);
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    let spis = tunnel(&status)["ike"]["spis"].clone();
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    let new = ip("198.51.100.11");
    with_outside(&scene.topology.gateway_a, |netlink, link| {
        netlink.add_address(link, at(new))?;
        netlink.delete_address(link, at(V4.gateway_a))?;
        netlink.replace_route(&Route::by_gateway("0.0.0.0/0".parse().unwrap(), V4.router_a))
    });
    let moved = gateway.wait_for(PATIENCE, |status| tunnel(status)["ike"]["local"] == format!("{new}:4500"));
    assert!(moved.is_some(), "{}", logs(&gateway, &charon));
    let follows = interop::until(PATIENCE, || charon.sas().contains(&new.to_string()));
    assert!(follows, "{}\n{}", charon.sas(), logs(&gateway, &charon));
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    assert_eq!(tunnel(&gateway.status().unwrap())["ike"]["spis"], spis, "it is the same IKE SA");
}

/// charon's address changes: we look for it where it said that it may be, and tell it so.
#[test]
fn the_peers_address_changes_and_the_tunnel_stays() {
    let Some(scene) = Scene::set("the_peers_address_changes_and_the_tunnel_stays") else { return };
    let settings = [("net/ipv4/conf/all/promote_secondaries", "1"), ("net/ipv4/conf/outside/promote_secondaries", "1")];
    scene.topology.gateway_b.set_sysctls(&settings).unwrap();
    with_outside(&scene.topology.gateway_b, |netlink, link| netlink.add_address(link, at(second())));
    let (ours, theirs) = movable();
    let charon = scene.charon_with(&theirs, "");
    let mut gateway = scene.portcullis_with(&ours);
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    let spis = tunnel(&status)["ike"]["spis"].clone();
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    with_outside(&scene.topology.gateway_b, |netlink, link| {
        netlink.delete_address(link, at(V4.gateway_b))?;
        netlink.replace_route(&Route::by_gateway("0.0.0.0/0".parse().unwrap(), V4.router_b))
    });
    let moved = gateway.wait_for(Duration::from_secs(40), |status| remote(status) == format!("{}:4500", second()));
    assert!(moved.is_some(), "{}", logs(&gateway, &charon));
    let passes = interop::until(PATIENCE, || scene.transfer().is_ok());
    assert!(passes, "{}\n{}", charon.sas(), logs(&gateway, &charon));
    assert_eq!(tunnel(&gateway.status().unwrap())["ike"]["spis"], spis, "it is the same IKE SA");
}

/// We ask charon for an inner address: it is that of the TUN device, and the gateway itself talks from it.
#[test]
fn an_inner_address_from_strongswan_is_ours_to_use() {
    let Some(scene) = Scene::set("an_inner_address_from_strongswan_is_ours_to_use") else { return };
    let pools = "pools { inner { addrs = 10.66.0.0/24\n dns = 10.66.0.53 } }\n";
    let swanctl =
        theirs("mobike = no\n pools = inner", &child("net", &format!("{}/32", V4.host_b), "dynamic", "")) + pools;
    let charon = scene.charon_with(&swanctl, "");
    let ends = format!("from = [\"10.66.0.0/24\"]\nto = [\"{}\"]\nallow_network = \"the peer narrows it\"", V4.host_b);
    let tunnel_lines = "encapsulation = \"forced\"\nrequest_address = true";
    let mut gateway = scene.portcullis_with(&ours(&peer(), tunnel_lines, &[("mq", &ends, "service = \"mq\"")]));
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    let ike = &tunnel(&status)["ike"];
    assert_eq!(
        (&ike["inner_addresses"][0], &ike["dns"][0]),
        (&Value::from("10.66.0.1"), &Value::from("10.66.0.53")),
        "{status}"
    );
    assert_eq!(tunnel(&status)["children"][0]["local"][0], "10.66.0.1");
    let done = transfer_to(&scene.topology.gateway_a, &scene.topology.gateway_b, V4.host_b);
    done.unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    assert!(gateway.stop().unwrap().success());
}

/// charon asks us for one.
#[test]
fn an_inner_address_from_us_is_strongswans_to_use() {
    let Some(scene) = Scene::set("an_inner_address_from_us_is_strongswans_to_use") else { return };
    let swanctl = theirs("mobike = no\n vips = 0.0.0.0", &child("net", "dynamic", &format!("{}/32", V4.host_a), ""));
    let ends = format!("from = [\"{}\"]\nto = [\"10.77.0.0/24\"]\nallow_network = \"a pool\"", V4.host_a);
    let lines = "encapsulation = \"forced\"\nstart = \"manual\"\npool = \"10.77.0.0/24\"\ndns = \"10.77.0.53\"";
    let mut gateway = scene.portcullis_with(&ours(&peer(), lines, &[("mq", &ends, "service = \"mq\"")]));
    let charon = scene.charon_with(&swanctl, "");
    charon.initiate().unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
    let status = gateway.wait_until_up(PATIENCE).unwrap_or_else(|| panic!("{}", logs(&gateway, &charon)));
    assert_eq!(tunnel(&status)["ike"]["leased"][0], "10.77.0.1", "{status}");
    assert_eq!(tunnel(&status)["children"][0]["remote"][0], "10.77.0.1");
    let done = transfer_to(&scene.topology.host_a, &scene.topology.gateway_b, ip("10.77.0.1"));
    done.unwrap_or_else(|error| panic!("{error}\n{}", logs(&gateway, &charon)));
}
