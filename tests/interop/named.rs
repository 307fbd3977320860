//! Both sides' whole configurations for what a test changes freely: they know each other by name, wherever they are.

use std::net::IpAddr;

use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::V4;
use portcullis::platform::netlink::{Netlink, Route, RouteKind};
use serde_json::Value;

use super::PSK;
use super::charon::Charon;
use super::scene::Scene;

/// Our configuration, proved by the usual key: further lines of the tunnel, and the rules.
pub fn ours(peer: &str, tunnel: &str, rules: &[(&str, &str, &str)]) -> String {
    ours_with(&format!("\"hex:{PSK}\""), peer, tunnel, rules)
}

/// The same with another key, or several.
pub fn ours_with(secret: &str, peer: &str, tunnel: &str, rules: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n\n\
         [agreement.lab]\nkind = \"lab\"\n\n\
         [tunnel.peer]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = {peer}\n\
         local_id = \"a.example\"\npeer_id = \"b.example\"\n\
         auth = {{ method = \"psk\", secret = {secret} }}\n\
         ike = [\"aes256gcm16-prfsha384-ecp384\"]\nesp = [\"aes256gcm16-ecp384\"]\n{tunnel}\n",
        local = V4.gateway_a,
    );
    for (name, ends, service) in rules {
        let rule = format!("\n[[rule]]\nname = \"{name}\"\ntunnel = \"peer\"\nclause = \"lab\"\n{ends}\n{service}\n");
        text.push_str(&rule);
    }
    text
}

/// MQ from host A to host B.
pub fn mq() -> (&'static str, String, &'static str) {
    ("mq", format!("from = [\"{}\"]\nto = [\"{}\"]", V4.host_a, V4.host_b), "service = \"mq\"")
}

/// Where charon is.
pub fn peer() -> String {
    format!("\"{}\"", V4.gateway_b)
}

/// charon's configuration, proved by the usual key: further lines of the connection, and its children.
pub fn theirs(connection: &str, children: &str) -> String {
    theirs_with(PSK, connection, children)
}

/// The same with another key.
pub fn theirs_with(psk: &str, connection: &str, children: &str) -> String {
    format!(
        "connections {{ gw {{\n version = 2\n local_addrs = %any\n remote_addrs = {there}\n\
         proposals = aes256gcm16-prfsha384-ecp384\n encap = yes\n keyingtries = 1\n unique = never\n {connection}\n\
         local {{ auth = psk\n id = b.example }}\n remote {{ auth = psk\n id = a.example }}\n\
         children {{ {children} }}\n}} }}\n\
         secrets {{ ike-gw {{ id-a = a.example\n id-b = b.example\n secret = 0x{psk} }} }}\n",
        there = V4.gateway_a,
    )
}

/// One child SA of charon's, with further lines.
pub fn child(name: &str, local: &str, remote: &str, lines: &str) -> String {
    format!("{name} {{ local_ts = {local}\n remote_ts = {remote}\n esp_proposals = aes256gcm16-ecp384\n {lines} }}\n")
}

/// From host to host.
pub fn net(lines: &str) -> String {
    child("net", &format!("{}/32", V4.host_b), &format!("{}/32", V4.host_a), lines)
}

/// What both have to say.
pub fn logs(gateway: &Gateway, charon: &Charon) -> String {
    format!("{:?}\n{}\n{}\n{}", gateway.status(), gateway.log(), charon.sas(), charon.log())
}

/// The tunnel of a status.
pub fn tunnel(status: &Value) -> &Value {
    &status["tunnels"][0]
}

/// Where the peer is.
pub fn remote(status: &Value) -> String {
    tunnel(status)["ike"]["remote"].as_str().unwrap_or_default().to_owned()
}

/// Nothing reaches this address any more, and whoever sends there gets an ICMP error; or everything does again.
pub fn cut(scene: &Scene, address: IpAddr, is_cut: bool) {
    let route = Route { kind: RouteKind::Unreachable, device: None, ..Route::by_device(address.into(), 0) };
    let done = scene.topology.underlay.run(|| -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        if is_cut { netlink.replace_route(&route) } else { netlink.delete_route(&route) }
    });
    done.unwrap().unwrap();
}
