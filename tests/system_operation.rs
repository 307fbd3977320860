//! How a gateway is operated: the three ways to start a tunnel, reload, counters, status of what is down, SIGTERM.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{V4, V6};
use portcullis::runtime::protocol::Request;
use serde_json::Value;
use system_common::{
    OTHER_KEY, PATIENCE, PORT, Pair, Setup, Side, Site, connect, drops, rule, site, tunnel, wait_until,
};

/// Attempts that nobody answers end by themselves.
const SHORT: Duration = Duration::from_millis(500);

fn target(port: u16) -> SocketAddr {
    SocketAddr::new(V4.host_b, port)
}

/// Both run; A's tunnel starts as `start` says, B waits to be called.
fn waiting(site: &Site, start: &str) -> Pair {
    let tunnel = [format!("start = \"{start}\""), "start = \"manual\"".into()];
    let setup = Setup { tunnel, ..Setup::default() };
    let mut pair = Pair { a: site.start(Side::A, &setup), b: site.start(Side::B, &setup) };
    for gateway in [&mut pair.a, &mut pair.b] {
        assert!(gateway.wait_for(PATIENCE, |_| true).is_some(), "{}", gateway.log());
    }
    pair
}

fn has_negotiated(gateway: &Gateway) -> bool {
    let tunnel = tunnel(gateway);
    tunnel["handshakes"] != 0 || tunnel["failures"] != 0 || tunnel["state"] == "connecting"
}

#[test]
fn an_on_demand_tunnel_comes_up_by_a_packet_that_a_rule_allows_and_by_no_other() {
    let Some(site) = site("an_on_demand_tunnel_comes_up_by_a_packet_that_a_rule_allows_and_by_no_other") else {
        return;
    };
    let mut pair = waiting(&site, "on-demand");
    assert_eq!(tunnel(&pair.a)["state"], "on-demand");

    // Another port, another protocol: refused, and no reason to negotiate.
    assert!(connect(&site.topology.host_a, target(23), SHORT).is_err());
    let datagrams = site.topology.host_a.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    datagrams.send_to(b"no rule", target(PORT)).unwrap();
    assert!(wait_until(|| drops(&pair.a, "no-rule") >= 2), "{}", pair.a.status().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!has_negotiated(&pair.a), "{}", tunnel(&pair.a));

    // The first segment is refused inwards while the tunnel comes up; the application tries again.
    let listener = site.topology.host_b.run(|| TcpListener::bind(target(PORT))).unwrap().unwrap();
    let mut first = None;
    assert!(wait_until(|| match connect(&site.topology.host_a, target(PORT), PATIENCE) {
        Ok(stream) => {
            first = Some(stream);
            true
        }
        Err(error) => {
            assert_eq!(error, ErrorKind::HostUnreachable);
            false
        }
    }));
    system_common::exchange(&first.unwrap(), &listener.accept().unwrap().0, 100_000, &|_| {});
    pair.wait_until_up();
    assert_eq!(tunnel(&pair.a)["handshakes"], 1);
    pair.stop();
}

#[test]
fn two_gateways_that_call_each_other_end_with_one_ike_sa_and_lose_nothing() {
    let Some(site) = site("two_gateways_that_call_each_other_end_with_one_ike_sa_and_lose_nothing") else { return };
    let setup = Setup::between(V4, &[V4, V6]).with_tunnel("start = \"manual\"");
    let mut pair = Pair { a: site.start(Side::A, &setup), b: site.start(Side::B, &setup) };
    for gateway in [&mut pair.a, &mut pair.b] {
        assert!(gateway.wait_for(PATIENCE, |_| true).is_some(), "{}", gateway.log());
    }
    std::thread::scope(|scope| {
        for gateway in [&pair.a, &pair.b] {
            scope.spawn(|| gateway.request(&Request::Up { tunnel: "t".into() }).unwrap());
        }
    });
    pair.wait_until_up();
    let mut live = [V4.host_b, V6.host_b].map(|host| Live::open_to(&site, (host, PORT).into()));
    let spis = |children: &Value, [own, other]: [usize; 2]| -> Vec<(Value, Value)> {
        let pairs = children.as_array().into_iter().flatten();
        let mut pairs: Vec<_> = pairs.map(|child| (child["spis"][own].clone(), child["spis"][other].clone())).collect();
        pairs.sort_by_key(|(own, _)| own.to_string());
        pairs
    };
    // One IKE SA, one child SA for each rule, and both sides name the same.
    let settled = || {
        let (a, b) = (tunnel(&pair.a), tunnel(&pair.b));
        let children = spis(&a["children"], [0, 1]);
        a["ike"]["spis"] == b["ike"]["spis"] && children.len() == 2 && children == spis(&b["children"], [1, 0])
    };
    assert!(
        wait_until(|| {
            live.iter_mut().for_each(Live::talk);
            settled()
        }),
        "{}\n{}\n{}",
        tunnel(&pair.a),
        tunnel(&pair.b),
        pair.logs()
    );
    live.iter_mut().for_each(Live::talk);
    for gateway in [&pair.a, &pair.b] {
        for reason in ["no-sa", "unknown-spi"] {
            assert_eq!(drops(gateway, reason), 0, "{reason}\n{}", pair.logs());
        }
    }
    pair.stop();
}

#[test]
fn a_manual_tunnel_comes_up_by_the_operator_alone() {
    let Some(site) = site("a_manual_tunnel_comes_up_by_the_operator_alone") else { return };
    let mut pair = waiting(&site, "manual");
    assert_eq!(tunnel(&pair.a)["state"], "down");
    // Even what a rule allows does not bring it up.
    assert_eq!(connect(&site.topology.host_a, target(PORT), PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    assert!(wait_until(|| drops(&pair.a, "no-sa") > 0));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!has_negotiated(&pair.a), "{}", tunnel(&pair.a));

    let up = site.portcullis(Side::A, &["up", "t"]);
    assert_eq!(up.status.code(), Some(0), "{up:?}");
    pair.wait_until_up();
    site.exchange(&V4, 100_000);
    pair.stop();
}

/// A connection that stays open, and what is said over it.
struct Live {
    client: TcpStream,
    server: TcpStream,
}

impl Live {
    fn open(site: &Site, port: u16) -> Self {
        Self::open_to(site, target(port))
    }

    fn open_to(site: &Site, target: SocketAddr) -> Self {
        let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
        let client = connect(&site.topology.host_a, target, PATIENCE).expect("a connection");
        let server = listener.accept().unwrap().0;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { client, server }
    }

    /// A few bytes each way.
    fn talk(&mut self) {
        let mut heard = [0; 5];
        self.client.write_all(b"there").unwrap();
        self.server.read_exact(&mut heard).expect("there");
        self.server.write_all(b"back!").unwrap();
        self.client.read_exact(&mut heard).expect("back");
        assert_eq!(&heard, b"back!");
    }
}

/// Rewrites both files with further rules and loads them again.
fn reload(site: &Site, setup: &Setup, end: impl Fn(Side) -> String) {
    for side in [Side::B, Side::A] {
        site.rewrite(side, &(setup.config(side) + &end(side)));
        let reload = site.portcullis(side, &["reload"]);
        assert_eq!(reload.status.code(), Some(0), "{reload:?}");
    }
}

#[test]
fn a_valid_reload_works_at_once_and_live_connections_go_on() {
    let Some(site) = site("a_valid_reload_works_at_once_and_live_connections_go_on") else { return };
    let setup = Setup::default();
    let pair = site.pair(&setup);
    let mut live = Live::open(&site, PORT);
    live.talk();
    assert!(connect(&site.topology.host_a, target(22), SHORT).is_err());
    let before = pair.a.status().unwrap();

    reload(&site, &setup, |side| rule(side, "files", V4.host_a, V4.host_b, "service = \"tcp\"\ntcp = [22]"));
    live.talk();
    let mut files = Live::open(&site, 22);
    files.talk();
    let after = pair.a.status().unwrap();
    assert_ne!(before["policy"], after["policy"]);
    assert_eq!(after["tunnels"][0]["handshakes"], before["tunnels"][0]["handshakes"], "the tunnel was left alone");

    // The rule is taken away again, by SIGHUP: its connection ends, the other one does not.
    for (side, gateway) in [(Side::A, &pair.a), (Side::B, &pair.b)] {
        site.rewrite(side, &setup.config(side));
        gateway.signal(Signal::SIGHUP).unwrap();
    }
    assert!(wait_until(|| pair.a.status().unwrap()["policy"] == before["policy"]), "{}", pair.logs());
    // Both ends are told at once, and nobody has to speak for that.
    for end in [&mut files.client, &mut files.server] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let ended = || pair.a.status().unwrap()["rules"].to_string();
    assert!(wait_until(|| ended().contains("flows_ended")), "{}", ended());
    live.talk();
    pair.stop();
}

#[test]
fn a_tunnel_that_the_file_disables_is_closed_to_both_sides_until_the_file_says_otherwise() {
    let test = "a_tunnel_that_the_file_disables_is_closed_to_both_sides_until_the_file_says_otherwise";
    let Some(site) = site(test) else { return };
    let watch = site.watch();
    let setup = Setup::default();
    let mut pair = site.pair(&setup);
    let mut live = Live::open(&site, PORT);
    live.talk();
    let mut disabled = setup.clone();
    disabled.tunnel[0] = "start = \"disabled\"".into();
    site.rewrite(Side::A, &disabled.config(Side::A));
    assert_eq!(site.portcullis(Side::A, &["reload"]).status.code(), Some(0));

    // From inside: refused by name, the open connection ended, and no packet brings it up.
    assert_eq!(connect(&site.topology.host_a, target(PORT), PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    let refused = drops(&pair.a, "tunnel-disabled");
    assert!(refused > 0, "{}", pair.a.status().unwrap());
    assert!(wait_until(|| live.client.write_all(b"still there?").is_err()), "the open connection was not ended");
    // From the peer, which calls again and again, and by the operator.
    let held = || pair.a.status().unwrap()["ike_refused"]["held-down"].as_u64() > Some(0);
    assert!(wait_until(held), "{}", pair.logs());
    let up = site.portcullis(Side::A, &["up", "t"]);
    assert_eq!(up.status.code(), Some(1), "{up:?}");
    assert!(String::from_utf8_lossy(&up.stderr).contains("disables tunnel `t`"), "{up:?}");
    let shown = tunnel(&pair.a);
    assert_eq!((&shown["state"], &shown["ike"]), (&"disabled".into(), &Value::Null), "{shown}");
    assert!(site.standing(Side::A).whole, "the hosts stay protected");

    site.rewrite(Side::A, &setup.config(Side::A));
    assert_eq!(site.portcullis(Side::A, &["reload"]).status.code(), Some(0));
    pair.wait_until_up();
    assert!(tunnel(&pair.a)["handshakes"].as_u64() > shown["handshakes"].as_u64());
    assert!(drops(&pair.a, "tunnel-disabled") >= refused);
    Live::open(&site, PORT).talk();
    pair.stop();
    system_common::assert_nothing_in_clear(&watch.stop().unwrap());
}

#[test]
fn an_invalid_reload_leaves_everything_as_it_was_and_says_why() {
    let Some(site) = site("an_invalid_reload_leaves_everything_as_it_was_and_says_why") else { return };
    let setup = Setup::default();
    let pair = site.pair(&setup);
    let mut live = Live::open(&site, PORT);
    let events = pair.a.monitor().unwrap();
    let (before, standing) = (pair.a.status().unwrap(), site.standing(Side::A));
    for (mistake, told) in [
        (setup.config(Side::A).replace("clause", "clase"), "clase"),
        (setup.config(Side::A).replace("service = \"tcp\"", "service = \"telnet\""), "telnet"),
        (setup.config(Side::A).replace("control.sock", "other.sock"), "restart"),
        (String::from("[gateway"), "portcullis.toml"),
    ] {
        site.rewrite(Side::A, &mistake);
        let reload = site.portcullis(Side::A, &["reload"]);
        let said = String::from_utf8_lossy(&reload.stderr);
        assert_eq!(reload.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{said}");
        let event = events.find(PATIENCE, |event| {
            event["event"] == "reload-refused" && event["reason"].as_str().is_some_and(|reason| reason.contains(told))
        });
        assert!(event.is_some(), "{:?}", events.so_far());
        live.talk();
        let after = pair.a.status().unwrap();
        for kept in ["policy", "tun"] {
            assert_eq!(after[kept], before[kept]);
        }
        for kept in ["state", "handshakes", "children"] {
            let strip = |status: &Value| match &status["tunnels"][0][kept] {
                Value::Array(children) => children.iter().map(|child| child["spis"].clone()).collect(),
                other => other.clone(),
            };
            assert_eq!(strip(&after), strip(&before), "{kept}");
        }
        let now = site.standing(Side::A);
        assert_eq!((now.barrier, now.routes), (standing.barrier.clone(), standing.routes.clone()));
    }
    pair.stop();
}

#[test]
fn counters_do_not_fall_when_the_tunnel_goes_down_and_up_or_the_file_is_loaded_again() {
    let Some(site) = site("counters_do_not_fall_when_the_tunnel_goes_down_and_up_or_the_file_is_loaded_again") else {
        return;
    };
    let setup = Setup::default();
    let mut pair = site.pair(&setup);
    let mut floor: Vec<(String, u64)> = Vec::new();
    let mut look = |pair: &Pair, what: &str| {
        let status = pair.a.status().unwrap();
        let now = counters(&status);
        for (name, before) in &floor {
            let value = now.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
            assert!(value >= Some(*before), "{what}: {name} fell from {before} to {value:?}\n{status}");
        }
        assert!(now.len() >= floor.len());
        floor = now;
    };
    site.exchange(&V4, 200_000);
    assert!(connect(&site.topology.host_a, target(23), SHORT).is_err());
    look(&pair, "at first");
    let bytes = pair.a.status().unwrap()["rules"]["mq"]["bytes_out"].as_u64().unwrap();
    assert!(bytes > 200_000);

    for round in 0..3 {
        assert!(site.portcullis(Side::A, &["down", "t"]).status.success());
        assert!(wait_until(|| tunnel(&pair.a)["children"] == serde_json::json!([])));
        look(&pair, "down");
        assert!(site.portcullis(Side::A, &["up", "t"]).status.success());
        pair.wait_until_up();
        look(&pair, "up");
        // The second rule takes the first one's place in the table.
        let more = if round % 2 == 0 {
            rule(Side::A, "a-first", V4.host_a, V4.host_b, "service = \"sftp\"")
        } else {
            String::new()
        };
        let (head, tail) =
            setup.config(Side::A).split_once("[[rule]]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        site.rewrite(Side::A, &format!("{head}{more}\n[[rule]]{tail}"));
        assert!(site.portcullis(Side::A, &["reload"]).status.success());
        look(&pair, "reload");
        site.exchange(&V4, 10_000);
        look(&pair, "more");
    }
    let end = pair.a.status().unwrap()["rules"]["mq"]["bytes_out"].as_u64().unwrap();
    assert!(end >= bytes + 30_000, "the rule's counter went on: {bytes} to {end}");
    pair.stop();
}

/// Every number that counts, by its path.
fn counters(status: &Value) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut add = |prefix: &str, value: &Value| {
        for (name, count) in value.as_object().into_iter().flatten() {
            if let Some(count) = count.as_u64() {
                found.push((format!("{prefix}.{name}"), count));
            }
        }
    };
    add("drops", &status["drops"]);
    add("ike_refused", &status["ike_refused"]);
    for (name, rule) in status["rules"].as_object().into_iter().flatten() {
        // A rule that is taken away takes its counters with it.
        if name == "mq" {
            add(&format!("rules.{name}"), rule);
        }
    }
    let tunnel = &status["tunnels"][0];
    add("tunnel", &tunnel["counters"]);
    for name in ["handshakes", "failures"] {
        found.push((name.into(), tunnel[name].as_u64().unwrap()));
    }
    found
}

#[test]
fn a_tunnel_that_is_down_says_why() {
    let Some(site) = site("a_tunnel_that_is_down_says_why") else { return };
    let mut setup = Setup { keys: [system_common::KEY, OTHER_KEY], ..Setup::default() };
    setup.tunnel[1] = "start = \"manual\"".into();
    let mut pair = Pair { a: site.start(Side::A, &setup), b: site.start(Side::B, &setup) };
    let failed = pair.a.wait_for(PATIENCE, |status| status["tunnels"][0]["failures"].as_u64() > Some(0));
    assert!(failed.is_some(), "{}", pair.logs());
    let shown = site.portcullis(Side::A, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let tunnel = &status["tunnels"][0];
    assert_eq!((&tunnel["name"], &tunnel["kind"], &tunnel["handshakes"]), (&"t".into(), &"lab".into(), &0.into()));
    assert!(tunnel["why"].as_str().is_some_and(|why| why.to_lowercase().contains("authenticat")), "{tunnel}");
    assert!(tunnel["ike"].is_null() && tunnel["children"] == serde_json::json!([]), "{tunnel}");
    assert_eq!(tunnel["missing"].as_array().map(Vec::len), Some(1), "{tunnel}");
    let text = site.portcullis(Side::A, &["status"]);
    assert!(String::from_utf8_lossy(&text.stdout).to_lowercase().contains("authenticat"), "{text:?}");
    assert!(pair.b.status().unwrap()["ike_refused"]["authentication-failed"].as_u64() > Some(0), "{}", pair.logs());
    assert_eq!(connect(&site.topology.host_a, target(PORT), PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    pair.stop();
}

#[test]
fn sigterm_tells_the_peer_and_ends_within_five_seconds() {
    let Some(site) = site("sigterm_tells_the_peer_and_ends_within_five_seconds") else { return };
    let mut setup = Setup::default();
    setup.tunnel[1] = "start = \"manual\"".into();
    let mut pair = site.pair(&setup);
    let events = pair.b.monitor().unwrap();
    let start = Instant::now();
    let end = pair.a.stop().unwrap();
    let took = start.elapsed();
    assert_eq!(end.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The peer knows already: it was told before the process ended, and does not wait for silence.
    assert!(wait_until(|| tunnel(&pair.b)["state"] == "down"), "{}", tunnel(&pair.b));
    let told = events.find(PATIENCE, |event| event["event"] == "ike-down").expect("an event");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("peer")), "{told}");

    // A peer that no longer answers keeps nobody from ending.
    pair.a = site.start(Side::A, &setup);
    pair.wait_until_up();
    pair.b.signal(Signal::SIGKILL).unwrap();
    assert!(wait_until(|| pair.b.status().is_err()));
    let start = Instant::now();
    assert_eq!(pair.a.stop().unwrap().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
