//! What the kernel holds for us, in fresh namespaces: routes and barrier, with and without the TUN, adopted, replaced, released.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use platform_common::{add, bring_up, ip, join, net, privileged, route, wait_long_until, wait_until};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::TunOffload;
use portcullis::guard::desired::{Desired, Protected};
use portcullis::guard::routes::{LAST_METRIC, TUN_METRIC};
use portcullis::platform::guard::{self, Applied, GuardError};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, PROTOCOL, Route};
use portcullis::platform::nft::{Nft, dropping_forward_chains};
use portcullis::platform::tun::Tun;

const TUN: &str = "pc0";

/// `inside` — `gateway` — `outside`: the protected hosts are outside, and without us everything reaches everything.
struct Hosts {
    inside: Namespace,
    gateway: Namespace,
    outside: Namespace,
}

fn hosts() -> Hosts {
    let (inside, gateway, outside) = (Namespace::new().unwrap(), Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&inside, &gateway, "lan");
    join(&outside, &gateway, "wan");
    gateway.set_sysctls(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]).unwrap();
    bring_up(&inside, "lan", &["192.0.2.10/24", "2001:db8::10/64"]);
    bring_up(&gateway, "lan", &["192.0.2.1/24", "2001:db8::1/64"]);
    bring_up(&gateway, "wan", &["198.51.100.1/24", "2001:db8:1::1/64"]);
    bring_up(&outside, "wan", &["198.51.100.2/24", "2001:db8:1::2/64"]);
    bring_up(&outside, "lo", &["203.0.113.20/32", "2001:db8:2::20/128"]);
    for (namespace, by) in [(&inside, ["192.0.2.1", "2001:db8::1"]), (&outside, ["198.51.100.1", "2001:db8:1::1"])] {
        route(namespace, "0.0.0.0/0", by[0]);
        route(namespace, "::/0", by[1]);
    }
    for (to, by) in [("0.0.0.0/0", "198.51.100.2"), ("::/0", "2001:db8:1::2")] {
        route(&gateway, to, by);
    }
    Hosts { inside, gateway, outside }
}

fn desired(networks: &[&str]) -> Desired {
    let protected = networks.iter().map(|text| Protected { network: net(text), source: None, mtu: None }).collect();
    Desired { tun: TUN.into(), mtu: 1400, protected }
}

fn socket(namespace: &Namespace, address: &str) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

/// Whether a datagram gets from one socket to the other.
fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    to.set_nonblocking(true).unwrap();
    while to.recv(&mut [0; 64]).is_ok() {}
    to.set_nonblocking(false).unwrap();
    from.send_to(b"in the clear", to.local_addr().unwrap()).is_ok() && to.recv(&mut [0; 64]).is_ok()
}

/// Sockets of the protected host, of the gateway and of the host inside, for each IP version.
fn sockets(hosts: &Hosts) -> [[UdpSocket; 3]; 2] {
    [["203.0.113.20", "198.51.100.1", "192.0.2.10"], ["[2001:db8:2::20]", "[2001:db8:1::1]", "[2001:db8::10]"]].map(
        |[far, gateway, inside]| {
            [
                socket(&hosts.outside, &format!("{far}:7000")),
                socket(&hosts.gateway, &format!("{gateway}:7000")),
                socket(&hosts.inside, &format!("{inside}:7000")),
            ]
        },
    )
}

/// Waits for it: fresh links need a moment until they carry, and neighbours until they are known.
fn everything_passes(sockets: &[[UdpSocket; 3]; 2]) -> bool {
    let all = |[far, gateway, inside]: &[UdpSocket; 3]| {
        arrives(gateway, far) && arrives(inside, far) && arrives(far, gateway) && arrives(far, inside)
    };
    wait_long_until(|| sockets.iter().all(all))
}

fn nothing_passes(sockets: &[[UdpSocket; 3]; 2]) -> bool {
    !sockets.iter().any(|[far, gateway, inside]| {
        arrives(gateway, far) || arrives(inside, far) || arrives(far, gateway) || arrives(far, inside)
    })
}

#[test]
fn a_protected_host_is_reached_by_the_tun_or_not_at_all() {
    if !privileged("a_protected_host_is_reached_by_the_tun_or_not_at_all") {
        return;
    }
    let hosts = hosts();
    let sockets = sockets(&hosts);
    assert!(everything_passes(&sockets), "the control: without us everything passes");
    let desired = desired(&["203.0.113.20/32", "2001:db8:2::/48"]);
    let apply = || hosts.gateway.run(|| guard::apply(&desired).unwrap()).unwrap();

    // Before the TUN exists.
    assert_eq!(apply(), Applied { barrier: true, routes: 2, tun: false, retained: false });
    assert!(nothing_passes(&sockets));
    let error = sockets[0][1].send_to(b"x", "203.0.113.20:7000").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "the unreachable route answers: {error}");

    // With the TUN the routes go in; what is in it comes to us and nobody else.
    let mut tun = hosts.gateway.run(|| Tun::open(TUN, 1438, TunOffload::TcpAndUdp).unwrap()).unwrap();
    assert_eq!(apply(), Applied { barrier: false, routes: 2, tun: true, retained: false });
    let mut batch = Batch::new(16, 2048);
    for [far, gateway, inside] in &sockets {
        for from in [gateway, inside] {
            batch.clear();
            assert!(!arrives(from, far));
            assert!(wait_until(|| tun.read_batch(&mut batch).unwrap() > 0), "the packet is in the TUN");
        }
        assert!(!arrives(far, gateway) && !arrives(far, inside), "what comes from outside in the clear is dropped");
    }
    // What comes out of the tunnel passes.
    batch.clear();
    let builder = etherparse::PacketBuilder::ipv4([203, 0, 113, 20], [192, 0, 2, 10], 64).udp(7000, 7000);
    let mut packet = Vec::new();
    builder.write(&mut packet, b"through the tunnel").unwrap();
    add(&mut batch, &packet, None);
    assert_eq!(tun.write_batch(&batch).unwrap().written, 1);
    let mut bytes = [0; 64];
    let (length, from) = sockets[0][2].recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..length], from), (&b"through the tunnel"[..], "203.0.113.20:7000".parse().unwrap()));

    // A more specific route of somebody else leads past the TUN: the barrier holds, and counts.
    let before = hosts.gateway.run(|| guard::current(TUN).unwrap().dropped).unwrap();
    for (to, by) in [("203.0.113.20/32", "198.51.100.2"), ("2001:db8:2::20/128", "2001:db8:1::2")] {
        route(&hosts.gateway, to, by); // metric 0, respectively longer
    }
    assert!(nothing_passes(&sockets));
    let after = hosts.gateway.run(|| guard::current(TUN).unwrap().dropped).unwrap();
    assert!(after.outbound >= before.outbound + 4, "{before:?} {after:?}");
    assert!(after.inbound >= before.inbound + 4, "{before:?} {after:?}");
    hosts
        .gateway
        .run(|| {
            for (to, by) in [("203.0.113.20/32", "198.51.100.2"), ("2001:db8:2::20/128", "2001:db8:1::2")] {
                Netlink::open().unwrap().delete_route(&Route::by_gateway(net(to), ip(by))).unwrap();
            }
        })
        .unwrap();

    // The TUN goes, as it does with the process: its routes go with it, the others take over.
    drop(tun);
    assert!(nothing_passes(&sockets));
    let routes = hosts.gateway.run(|| guard::current(TUN).unwrap().routes).unwrap();
    assert_eq!(routes.len(), 2);

    // Somebody flushes the routes too: the barrier alone.
    hosts
        .gateway
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            for route in netlink.routes().unwrap().into_iter().filter(|route| route.protocol == PROTOCOL) {
                netlink.delete_route(&route).unwrap();
            }
        })
        .unwrap();
    assert!(nothing_passes(&sockets));

    // A start adopts what it finds, and puts back what is missing.
    assert_eq!(apply(), Applied { barrier: false, routes: 2, tun: false, retained: false });
    assert_eq!(apply(), Applied { barrier: false, routes: 0, tun: false, retained: false });
    assert!(hosts.gateway.run(|| guard::release().unwrap()).unwrap());
    assert!(everything_passes(&sockets), "released: as before");
    assert!(!hosts.gateway.run(|| guard::release().unwrap()).unwrap());
    let left = hosts.gateway.run(|| guard::current(TUN).unwrap()).unwrap();
    assert_eq!((left.barrier, left.routes.len()), (None, 0));
    if let Ok(child) =
        hosts.gateway.spawn(Command::new("nft").args(["list", "ruleset"]).stdout(std::process::Stdio::piped()))
    {
        assert_eq!(String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout), "", "nft sees nothing left");
    }
}

#[test]
fn the_barrier_is_replaced_without_a_gap_and_its_counters_go_on() {
    if !privileged("the_barrier_is_replaced_without_a_gap_and_its_counters_go_on") {
        return;
    }
    let hosts = hosts();
    let [[far, gateway, inside], _] = sockets(&hosts);
    // No routes of ours in the way: the barrier is alone.
    let few = desired(&["203.0.113.20/32"]);
    let many: Vec<String> =
        (0..2000).map(|n| format!("203.{}.{}.20/32", n / 200, n % 200)).chain(["203.0.113.20/32".into()]).collect();
    let many = desired(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let barriers = [few, many].map(|desired| portcullis::guard::barrier::Barrier::of(&desired));
    let write = |barrier| hosts.gateway.run(|| Nft::open().unwrap().replace(barrier).unwrap()).unwrap();
    assert!(
        wait_long_until(|| arrives(&gateway, &far) && arrives(&far, &inside) && arrives(&inside, &far)),
        "the control"
    );
    write(&barriers[0]);
    let (stop, sent, leaked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (from, to) in [(&gateway, &far), (&inside, &far), (&far, &inside)] {
            scope.spawn(|| {
                let target: SocketAddr = to.local_addr().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let _ = from.send_to(b"leak?", target);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..40 {
            write(&barriers[(round + 1) % 2]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    for socket in [&far, &inside] {
        while socket.recv(&mut [0; 64]).is_ok() {
            leaked.fetch_add(1, Ordering::Relaxed);
        }
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 1000, "the control: packets were sent all the time ({sent})");
    assert_eq!(leaked.load(Ordering::Relaxed), 0, "of {sent}");
    let dropped = hosts.gateway.run(|| Nft::open().unwrap().read().unwrap().unwrap().dropped).unwrap();
    // Between reading the old counters and writing the new ones a few are not counted; they were dropped all the same.
    assert!(dropped.inbound + dropped.outbound > sent as u64 / 4, "{dropped:?} of {sent}");
}

#[test]
fn the_table_is_read_back_as_it_was_written_and_one_that_was_meddled_with_is_not_whole() {
    if !privileged("the_table_is_read_back_as_it_was_written_and_one_that_was_meddled_with_is_not_whole") {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let mut networks = vec!["0.0.0.0/32".to_owned(), "255.255.255.0/24".into(), "10.0.0.0/8".into(), "::/128".into()];
    networks.extend(["ffff::/16".to_owned(), "2001:db8::/32".into(), "fe80::1/128".into()]);
    networks.extend((0..3000).map(|n| format!("198.18.{}.{}/32", n / 100, n % 100 * 2)));
    networks.extend((0..1000).map(|n| format!("2001:db9::{n:x}:1/128")));
    let desired = desired(&networks.iter().map(String::as_str).collect::<Vec<_>>());
    let barrier = portcullis::guard::barrier::Barrier::of(&desired);
    namespace
        .run(|| {
            let mut nft = Nft::open().unwrap();
            assert_eq!(nft.read().unwrap(), None);
            assert!(!nft.delete().unwrap());
            nft.replace(&barrier).unwrap();
            let standing = nft.read().unwrap().unwrap();
            assert!(standing.whole);
            assert_eq!(standing.barrier, barrier);
            assert_eq!(dropping_forward_chains().unwrap(), []);

            let run = |words: &str| Command::new("nft").args(words.split(' ')).output();
            match run("list table inet portcullis") {
                Err(_) => println!("NOT RUN: comparison with nft: the command is not there"),
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
                    assert!(text.contains("10.0.0.0/8") && text.contains("2001:db8::/32"), "{text:.2000}");
                    assert!(text.contains("255.255.255.0"), "{text:.2000}");
                    let rule = r#"ip saddr @protected4 iifname != "pc0" counter packets 0 bytes 0 drop"#;
                    assert!(text.contains(rule), "{}", &text[text.len() - 1500..]);
                    for meddling in [
                        "flush chain inet portcullis to-protected",
                        "add rule inet portcullis from-protected accept",
                        "insert rule inet portcullis made-here accept",
                        "delete chain inet portcullis from-protected",
                        "add table inet portcullis { flags dormant; }",
                    ] {
                        if meddling.starts_with("delete chain") {
                            run("flush chain inet portcullis from-protected").unwrap();
                        }
                        assert!(run(meddling).unwrap().status.success(), "{meddling}");
                        assert!(!nft.read().unwrap().unwrap().whole, "{meddling}");
                        nft.replace(&barrier).unwrap();
                        assert!(nft.read().unwrap().unwrap().whole, "mended after {meddling}");
                    }
                    assert!(run("delete element inet portcullis protected4 { 10.0.0.0/8 }").unwrap().status.success());
                    assert_ne!(nft.read().unwrap().unwrap().barrier, barrier);
                    assert!(run("add table ip filter").unwrap().status.success());
                    let chain = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
                    assert!(run(chain).unwrap().status.success());
                    let found = dropping_forward_chains().unwrap();
                    assert_eq!(
                        found.iter().map(|c| (&*c.table, &*c.chain)).collect::<Vec<_>>(),
                        [("filter", "FORWARD")]
                    );
                }
            }
            // A process that ended while it wrote.
            assert!(run("add table inet portcullis-interim").is_err() || !nft.read().unwrap().unwrap().whole);
            nft.replace(&barrier).unwrap();
            assert!(nft.read().unwrap().unwrap().whole);
            assert!(nft.delete().unwrap());
            assert_eq!(nft.read().unwrap(), None);
        })
        .unwrap();
}

#[test]
fn routes_carry_their_source_and_mtu_and_others_are_left_alone() {
    if !privileged("routes_carry_their_source_and_mtu_and_others_are_left_alone") {
        return;
    }
    let hosts = hosts();
    hosts
        .gateway
        .run(|| {
            let tun = Tun::open(TUN, 1438, TunOffload::TcpAndUdp).unwrap();
            let mut netlink = Netlink::open().unwrap();
            let foreign = Route::by_gateway(net("203.0.113.99/32"), ip("198.51.100.2"));
            netlink.replace_route(&foreign).unwrap();
            // The kernel's own come and go with the state of the links.
            let others = |netlink: &mut Netlink| {
                let routes = netlink.routes().unwrap();
                routes.into_iter().filter(|route| route.protocol != 2).collect::<Vec<_>>()
            };
            let before = others(&mut netlink);
            assert!(before.iter().any(|route| route.destination == foreign.destination));
            let mut desired = desired(&["203.0.113.20/32", "203.0.113.21/32", "2001:db8:2::20/128"]);
            desired.protected[0].source = Some(ip("192.0.2.1"));
            desired.protected[0].mtu = Some(1300);
            desired.protected[2].source = Some(ip("2001:db8::1"));
            guard::apply(&desired).unwrap();
            let find = |netlink: &mut Netlink, to: &str, metric| {
                let routes = netlink.routes().unwrap();
                routes.into_iter().find(|r| r.destination == net(to) && r.metric == metric)
            };
            let one = find(&mut netlink, "203.0.113.20/32", TUN_METRIC).unwrap();
            assert_eq!((one.source, one.mtu), (Some(ip("192.0.2.1")), Some(1300)));
            let two = find(&mut netlink, "203.0.113.21/32", TUN_METRIC).unwrap();
            assert_eq!((two.source, two.mtu), (None, Some(1400)));
            let six = find(&mut netlink, "2001:db8:2::20/128", TUN_METRIC).unwrap();
            assert_eq!((six.source, six.mtu), (Some(ip("2001:db8::1")), Some(1400)));
            assert!(find(&mut netlink, "203.0.113.20/32", LAST_METRIC).is_some());
            let way = netlink.lookup(ip("203.0.113.20")).unwrap().unwrap();
            assert_eq!(way.source, Some(ip("192.0.2.1")));

            // The path's MTU falls; one host is named by no rule any more, and stays refused until it is released.
            desired.protected[0].mtu = Some(1280);
            desired.protected.remove(1);
            let applied = guard::apply(&desired).unwrap();
            assert_eq!((applied.routes, applied.retained), (2, true));
            assert!(find(&mut netlink, "203.0.113.21/32", LAST_METRIC).is_some());
            let standing = guard::current(TUN).unwrap().barrier.unwrap();
            assert!(standing.contains(ip("203.0.113.21")) && standing.contains(ip("203.0.113.20")));
            assert_eq!(find(&mut netlink, "203.0.113.20/32", TUN_METRIC).unwrap().mtu, Some(1280));
            assert_eq!(find(&mut netlink, "203.0.113.21/32", TUN_METRIC), None);

            // An address that this host does not have: named, and the host stays refused.
            desired.protected[0].source = Some(ip("192.0.2.77"));
            let error = guard::apply(&desired).unwrap_err();
            assert!(matches!(error, GuardError::Source { source_address, .. } if source_address == ip("192.0.2.77")));
            assert!(error.to_string().contains("192.0.2.77"), "{error}");

            // Whoever holds the TUN goes first.
            assert!(matches!(guard::release(), Err(GuardError::Running)));
            drop(tun);
            assert!(guard::release().unwrap());
            assert_eq!(others(&mut netlink), before);
        })
        .unwrap();
}
