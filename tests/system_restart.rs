//! SIGKILL under a live conversation, restart, `down` and `up`, `release`: applications go on, and nothing leaks meanwhile.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis::guard::routes::Way as RouteWay;
use portcullis::lab::capture::Seen;
use portcullis::lab::mq_session::{self, Plan};
use portcullis::lab::topology::{Addresses, V4, V6};
use portcullis::platform::netlink::{Netlink, PROTOCOL};
use system_common::{
    PATIENCE, PORT, Setup, Side, Site, assert_nothing_in_clear, connect, drops, site, tunnel, wait_until,
};

const SHORT: Duration = Duration::from_millis(700);
/// Long enough to be hit in the middle.
const LONG: Plan = Plan { puts: 4_000, gets: 1, message: 2 << 20, heartbeat_every: 64 };
/// The conversation after the restart.
const AGAIN: Plan = Plan { puts: 4, gets: 4, message: 200_000, heartbeat_every: 2 };

fn target() -> SocketAddr {
    SocketAddr::new(V4.host_b, PORT)
}

/// The barrier is whole, both ways refuse: nothing but the TUN leads to host B, and there is none.
fn stands(site: &Site, side: Side, family: Addresses) -> bool {
    let standing = site.standing(side);
    let protected = if side == Side::A { family.host_b } else { family.host_a };
    standing.whole
        && standing.barrier.is_some_and(|barrier| barrier.contains(protected))
        && standing.routes.iter().any(|route| route.way == RouteWay::Unreachable)
        && standing.routes.iter().all(|route| route.way != RouteWay::Tun)
}

#[test]
fn an_mq_client_reconnects_after_sigkill_and_restart_and_nothing_is_seen_in_clear() {
    let Some(site) = site("an_mq_client_reconnects_after_sigkill_and_restart_and_nothing_is_seen_in_clear") else {
        return;
    };
    let setup = Setup::default();
    let mut pair = site.pair(&setup);
    let watch = site.watch();
    let listener = site.topology.host_b.run(|| TcpListener::bind(target())).unwrap().unwrap();
    let (killed, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    let (end, again) = std::thread::scope(|scope| {
        // The queue manager: every connection is a conversation of its own.
        let manager = scope.spawn(|| {
            let first = listener.accept().unwrap().0;
            std::thread::spawn(move || mq_session::server(first, LONG));
            mq_session::server(listener.accept().unwrap().0, AGAIN).expect("the second conversation")
        });
        // The application: it reconnects when its connection breaks.
        let client = scope.spawn(|| {
            let first = connect(&site.topology.host_a, target(), PATIENCE).expect("the first connection");
            opened.fetch_add(1, Ordering::SeqCst);
            let end = mq_session::client(first, LONG).expect_err("the conversation is cut off").kind();
            assert!(killed.load(Ordering::SeqCst), "broken before the kill: {end}");
            let second = connect(&site.topology.host_a, target(), PATIENCE).expect("the second connection");
            (end, mq_session::client(second, AGAIN).expect("the conversation is held again"))
        });
        assert!(wait_until(|| tunnel(&pair.a)["counters"]["bytes_out"].as_u64() > Some(3_000_000)), "{}", pair.logs());
        killed.store(true, Ordering::SeqCst);
        pair.a.kill().unwrap();
        assert!(stands(&site, Side::A, V4), "{:?}", site.standing(Side::A));
        pair.a = site.start(Side::A, &setup);
        pair.wait_until_up();
        let (end, again) = client.join().unwrap();
        assert!(again.agrees_with(&manager.join().unwrap()));
        (end, again)
    });
    // If what got lost was the queue manager's last answer, the client has nothing to send and waits in vain.
    assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::WouldBlock), "{end}");
    assert_eq!(again.got_bytes, 800_000);
    assert!(drops(&pair.a, "no-connection") > 0);
    let seen = watch.stop().unwrap();
    // The underlay here carries trains, and a train is one frame.
    assert!(seen.packets(Seen::Esp) > 50, "{:?}", seen.kinds);
    assert_nothing_in_clear(&seen);
    pair.stop();
}

/// The connection of an application that has not noticed the restart.
fn reset_after_restart(test: &str, family: Addresses) {
    let Some(site) = site(test) else { return };
    let setup = Setup::between(family, &[family]);
    let mut pair = site.pair(&setup);
    let target = SocketAddr::new(family.host_b, PORT);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let mut client = connect(&site.topology.host_a, target, PATIENCE).unwrap();
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"before").unwrap();
    server.read_exact(&mut [0; 6]).unwrap();

    pair.a.kill().unwrap();
    assert!(stands(&site, Side::A, family), "{:?}", site.standing(Side::A));
    pair.a = site.start(Side::A, &setup);
    pair.wait_until_up();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // The first segment may be the one before, sent again: its acknowledgement was lost with the gateway.
    let end = client.write_all(b"after").and_then(|()| client.read(&mut [0; 8])).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(drops(&pair.a, "no-connection"), 1, "the very first segment");
    // A segment from the peer's side is not answered: its host finds out by itself.
    server.write_all(b"hello?").unwrap();
    assert!(wait_until(|| drops(&pair.a, "no-connection") > 1));
    let client = connect(&site.topology.host_a, target, PATIENCE).unwrap();
    system_common::exchange(&client, &listener.accept().unwrap().0, 100_000, &|_| {});
    pair.stop();
}

#[test]
fn the_first_segment_after_a_restart_is_answered_with_a_reset() {
    reset_after_restart("the_first_segment_after_a_restart_is_answered_with_a_reset", V4);
}

#[test]
fn the_first_segment_after_a_restart_is_answered_with_a_reset_in_ipv6() {
    reset_after_restart("the_first_segment_after_a_restart_is_answered_with_a_reset_in_ipv6", V6);
}

#[test]
fn down_refuses_up_carries_again_and_the_barrier_stands_all_the_while() {
    let Some(site) = site("down_refuses_up_carries_again_and_the_barrier_stands_all_the_while") else { return };
    let mut pair = site.pair(&Setup::default());
    let watch = site.watch();
    site.exchange(&V4, 100_000);

    let down = site.portcullis(Side::A, &["down", "t"]);
    assert_eq!(down.status.code(), Some(0), "{down:?}");
    let gone = |gateway: &portcullis::lab::gateway::Gateway| tunnel(gateway)["children"] == serde_json::json!([]);
    assert!(wait_until(|| gone(&pair.a) && gone(&pair.b)), "{}\n{}", tunnel(&pair.a), tunnel(&pair.b));
    assert_eq!(tunnel(&pair.a)["state"], "down");
    assert!(tunnel(&pair.a)["why"].as_str().is_some_and(|why| why.contains("operator")), "{}", tunnel(&pair.a));
    // The host hears at once that there is no way.
    assert_eq!(refused(&site), ErrorKind::HostUnreachable);
    assert!(drops(&pair.a, "no-sa") > 0);
    let standing = site.standing(Side::A);
    assert!(standing.whole && standing.routes.len() == 2, "{standing:?}");
    // B keeps trying, and is refused.
    assert!(wait_until(|| pair.a.status().unwrap()["ike_refused"]["held-down"].as_u64() > Some(0)), "{}", pair.logs());

    let up = site.portcullis(Side::A, &["up", "t"]);
    assert_eq!(up.status.code(), Some(0), "{up:?}");
    pair.wait_until_up();
    site.exchange(&V4, 100_000);
    pair.stop();
    assert_nothing_in_clear(&watch.stop().unwrap());
}

/// How host A's attempt to connect ends.
/// Somebody deletes the TUN, and the kernel takes no IPv6 on the new one: the IPv4 half works again at once, the IPv6 half as soon
/// as the kernel lets it.
#[test]
fn a_tun_that_was_deleted_comes_back_also_when_a_route_into_it_is_refused() {
    let Some(site) = site("a_tun_that_was_deleted_comes_back_also_when_a_route_into_it_is_refused") else { return };
    let watch = site.watch();
    let mut setup = Setup::between(V4, &[V4, V6]);
    // One of them opens: two that open make two IKE SAs, of which one goes.
    setup.tunnel[1] = "start = \"manual\"".into();
    let pair = site.pair(&setup);
    site.exchange(&V6, 100_000);
    let gateway = site.place(Side::A);
    let into_tun = |family: Addresses| {
        let routes = site.standing(Side::A).routes;
        routes.iter().any(|route| route.way == RouteWay::Tun && route.network.contains(&family.host_b))
    };
    assert!(into_tun(V4) && into_tun(V6));

    gateway.set_sysctls(&[("net/ipv6/conf/default/disable_ipv6", "1")]).unwrap();
    gateway
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let tun = netlink.link("portcullis0").unwrap().unwrap();
            netlink.delete_link(tun.index).unwrap();
        })
        .unwrap();
    assert!(wait_until(|| into_tun(V4)), "{}", pair.logs());
    site.exchange(&V4, 100_000);
    assert!(!into_tun(V6));
    let refused = connect(&site.topology.host_a, SocketAddr::new(V6.host_b, PORT), PATIENCE).unwrap_err();
    assert_eq!(refused, ErrorKind::NetworkUnreachable, "by the route that is left");

    gateway.set_sysctls(&[("net/ipv6/conf/portcullis0/disable_ipv6", "0")]).unwrap();
    assert!(wait_until(|| into_tun(V6)), "{}", pair.logs());
    site.exchange(&V6, 100_000);
    assert_eq!(tunnel(&pair.a)["handshakes"], 1, "the tunnel never went down");
    pair.stop();
    assert_nothing_in_clear(&watch.stop().unwrap());
}

fn refused(site: &Site) -> ErrorKind {
    connect(&site.topology.host_a, target(), PATIENCE).expect_err("there is no way")
}

#[test]
fn the_barrier_outlives_the_gateway_and_release_leaves_nothing() {
    let Some(site) = site("the_barrier_outlives_the_gateway_and_release_leaves_nothing") else { return };
    let watch = site.watch();
    let pair = site.pair(&Setup::default());
    let early = site.portcullis(Side::A, &["release"]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(String::from_utf8_lossy(&early.stderr).contains("a gateway is running here"), "{early:?}");
    assert!(site.standing(Side::A).whole, "nothing was released");
    pair.stop();
    for side in [Side::A, Side::B] {
        assert!(stands(&site, side, V4), "{side:?} {:?}", site.standing(side));
    }
    assert_eq!(refused(&site), ErrorKind::HostUnreachable);
    assert_nothing_in_clear(&watch.stop().unwrap());

    for (side, words) in [(Side::A, "released:"), (Side::B, "released:"), (Side::A, "nothing to release")] {
        let release = site.portcullis(side, &["release"]);
        assert_eq!(release.status.code(), Some(0), "{release:?}");
        assert!(String::from_utf8_lossy(&release.stdout).starts_with(words), "{release:?}");
    }
    for side in [Side::A, Side::B] {
        let standing = site.standing(side);
        assert!(standing.barrier.is_none() && standing.routes.is_empty(), "{standing:?}");
        let routes = site.place(side).run(|| Netlink::open().unwrap().routes().unwrap()).unwrap();
        assert!(routes.iter().all(|route| route.protocol != PROTOCOL), "{routes:?}");
    }
    // What was protected is reachable in clear again: it was Portcullis that kept it from the underlay.
    let watch = site.watch();
    let listener = site.topology.host_b.run(|| TcpListener::bind(target())).unwrap().unwrap();
    let client: TcpStream = connect(&site.topology.host_a, target(), SHORT).expect("in clear");
    system_common::exchange(&client, &listener.accept().unwrap().0, 10_000, &|_| {});
    assert!(watch.stop().unwrap().packets(Seen::Plaintext) > 0);
}
