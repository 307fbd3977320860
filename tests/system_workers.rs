//! Gateways with several workers and lanes, equal and unequal: many flows at once, in TCP and as numbered datagrams, arrive whole,
//! once and in their order, through new keys and a TUN device that is made anew; and every worker has its part.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::guard::routes::Way as RouteWay;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{Addresses, V4, V6};
use portcullis::platform::netlink::{Netlink, Route};
use serde_json::Value;
use system_common::{
    PATIENCE, Pair, Setup, Side, Site, Way, assert_nothing_in_clear, drops, exchange, rule, site, tunnel, wait_for,
    wait_until,
};

/// What the rules allow here.
const TCP: u16 = 7000;
const UDP: u16 = 2000;
/// Flows of datagrams at a time.
const FLOWS: usize = 12;
/// How many datagrams each of them sends, unless it is told to go on.
const EACH: u32 = 100;

/// Both gateways with so many workers and lanes.
fn setup(outer: Addresses, inner: Addresses, workers: [u16; 2], lanes: [u8; 2], more: &str) -> Setup {
    let mut setup = Setup { inner: Vec::new(), ..Setup::between(outer, &[]) };
    for side in [Side::A, Side::B] {
        let at = side as usize;
        setup.gateway[at] = format!("workers = {}\n", workers[at]);
        setup.tunnel[at] = format!("lanes = {}\n{more}\n", lanes[at]);
        setup.end[at] = rule(side, "streams", inner.host_a, inner.host_b, "service = \"tcp\"\ntcp = [7000]")
            + &rule(side, "numbers", inner.host_a, inner.host_b, "service = \"udp\"\nudp = [2000]");
    }
    // One opens the tunnel, so that there is one handshake.
    setup.tunnel[1].push_str("start = \"manual\"\n");
    setup
}

fn children(gateway: &Gateway) -> Vec<(u64, Value)> {
    let children = tunnel(gateway)["children"].as_array().unwrap().clone();
    let current = children.into_iter().filter(|of| of["replaced"] == false);
    current.map(|of| (of["lane"].as_u64().unwrap(), of["spis"].clone())).collect()
}

/// Waits until both have as many child SAs as both want.
fn wait_for_lanes(pair: &Pair, count: usize) {
    let there = wait_until(|| [&pair.a, &pair.b].iter().all(|gateway| children(gateway).len() == count));
    assert!(there, "{:?} {:?}\n{}", children(&pair.a), children(&pair.b), pair.logs());
}

/// Files each way over several connections at once.
fn streams(site: &Site, inner: Addresses, count: usize, size: usize) {
    let target = SocketAddr::new(inner.host_b, TCP);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().expect("a listener");
    std::thread::scope(|scope| {
        for _ in 0..count {
            let connect = || TcpStream::connect_timeout(&target, PATIENCE);
            let client = site.topology.host_a.run(connect).unwrap().expect("a connection through the tunnel");
            let server = listener.accept().expect("a client").0;
            scope.spawn(move || exchange(&client, &server, size, &|_: Way| {}));
        }
    });
}

/// Numbered datagrams on several flows, each of them answered; what arrived, there and back, flow by flow.
struct Seen {
    sent: Vec<u32>,
    there: Vec<Vec<u32>>,
    back: Vec<Vec<u32>>,
}

impl Seen {
    /// Everything arrived once and in order.
    fn assert_whole(&self, why: &dyn Fn() -> String) {
        for (flow, sent) in self.sent.iter().enumerate() {
            let all: Vec<u32> = (0..*sent).collect();
            for (way, seen) in [("there", &self.there[flow]), ("back", &self.back[flow])] {
                let first = all.iter().zip(seen).position(|(a, b)| a != b);
                assert!(
                    *seen == all,
                    "flow {flow} {way}: {} of {sent}, other from {first:?} on\n{}",
                    seen.len(),
                    why()
                );
            }
        }
    }
}

/// Runs `meanwhile` beside the flows; they go on until it is over, and for `EACH` datagrams at least.
fn datagrams(site: &Site, inner: Addresses, meanwhile: impl FnOnce()) -> Seen {
    let bind = |place: &portcullis::platform::namespace::Namespace, at: SocketAddr| {
        let socket = place.run(|| UdpSocket::bind(at)).unwrap().expect("a socket");
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    };
    let target = SocketAddr::new(inner.host_b, UDP);
    let server = bind(&site.topology.host_b, target);
    let clients: Vec<_> = (0..FLOWS).map(|_| bind(&site.topology.host_a, SocketAddr::new(inner.host_a, 0))).collect();
    let ports: Vec<u16> = clients.iter().map(|client| client.local_addr().unwrap().port()).collect();
    let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
    let (going, over) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let far = scope.spawn(|| {
            let (mut seen, mut bytes) = (vec![Vec::new(); FLOWS], [0; 256]);
            loop {
                match server.recv_from(&mut bytes) {
                    Ok((len, from)) => {
                        let flow = ports.iter().position(|port| *port == from.port()).unwrap();
                        seen[flow].push(number(&bytes));
                        let _ = server.send_to(&bytes[..len], from);
                    }
                    Err(_) if !over.load(Ordering::SeqCst) => {}
                    Err(_) => return seen,
                }
            }
        });
        let near: Vec<_> = clients
            .iter()
            .map(|client| {
                let going = &going;
                scope.spawn(move || {
                    let (mut seen, mut bytes) = (Vec::new(), [0; 256]);
                    let mut packet = [0x4e; 200];
                    let mut next = 0_u32;
                    let mut take = |seen: &mut Vec<u32>| {
                        let taken = client.recv(&mut bytes).map(|_| seen.push(number(&bytes)));
                        taken.is_ok()
                    };
                    while next < EACH || going.load(Ordering::SeqCst) {
                        packet[..4].copy_from_slice(&next.to_be_bytes());
                        client.send_to(&packet, target).unwrap();
                        next += 1;
                        // As in any conversation the first answer is waited for: after it the kernel knows the flow's queue.
                        // From then on four are under way.
                        while seen.len() + if next == 1 { 1 } else { 4 } <= next as usize {
                            if !take(&mut seen) {
                                break;
                            }
                        }
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    while seen.len() < next as usize && take(&mut seen) {}
                    (next, seen)
                })
            })
            .collect();
        meanwhile();
        going.store(false, Ordering::SeqCst);
        let (sent, back) = near.into_iter().map(|thread| thread.join().unwrap()).unzip();
        over.store(true, Ordering::SeqCst);
        Seen { sent, there: far.join().unwrap(), back }
    })
}

/// What each worker has moved: out, in, passed on.
fn workers(gateway: &Gateway) -> Vec<[u64; 3]> {
    let status = gateway.status().expect("an answer on the control socket");
    let of = |worker: &Value| ["packets_out", "packets_in", "handed_over"].map(|what| worker[what].as_u64().unwrap());
    status["workers"].as_array().unwrap().iter().map(of).collect()
}

/// Connections until each worker of both has moved packets: the kernel spreads them by a hash that nobody can foresee.
fn streams_until_every_worker_moves(site: &Site, pair: &Pair, size: usize) {
    let before = [&pair.a, &pair.b].map(workers);
    let moved = wait_for(PATIENCE, || {
        streams(site, V4, 8, size);
        let now = [&pair.a, &pair.b].map(workers);
        now.iter().flatten().zip(before.iter().flatten()).all(|(now, then)| now[0] > then[0] + 10 && now[1] > then[1])
    });
    assert!(moved, "{before:?} {:?} {:?}\n{}", workers(&pair.a), workers(&pair.b), pair.logs());
}

fn assert_clean(pair: &Pair) {
    for gateway in [&pair.a, &pair.b] {
        for reason in ["send-failed", "handover-full", "queue-full", "unknown-spi", "selector", "no-connection"] {
            assert_eq!(drops(gateway, reason), 0, "{reason}\n{}", pair.logs());
        }
    }
}

#[test]
fn with_equal_lanes_every_worker_carries_flows_and_each_flow_arrives_whole_and_in_order() {
    let Some(site) = site("with_equal_lanes_every_worker_carries_flows_and_each_flow_arrives_whole_and_in_order")
    else {
        return;
    };
    for (outer, inner, more) in [(V4, V4, "encapsulation = \"forced\""), (V4, V6, ""), (V6, V4, "")] {
        let pair = site.pair(&setup(outer, inner, [2, 2], [2, 2], more));
        wait_for_lanes(&pair, 2);
        let watch = site.watch();
        let seen = datagrams(&site, inner, || streams(&site, inner, 6, 1 << 20));
        seen.assert_whole(&|| format!("{:?} {:?}\n{}", workers(&pair.a), workers(&pair.b), pair.logs()));
        assert_nothing_in_clear(&watch.stop().unwrap());
        for gateway in [&pair.a, &pair.b] {
            let each = workers(gateway);
            assert_eq!(each.len(), 2);
            assert!(each.iter().all(|[out, into, _]| *out > 100 && *into > 100), "{each:?}");
            // What is passed on is the beginning of flows: the kernel learns where they belong.
            let all: u64 = each.iter().map(|[out, into, _]| out + into).sum();
            let passed_on: u64 = each.iter().map(|[_, _, passed_on]| passed_on).sum();
            assert!(passed_on * 5 < all, "{passed_on} of {all}: {each:?}");
        }
        assert_clean(&pair);
        pair.stop();
    }
}

#[test]
fn unequal_workers_and_lanes_cost_more_and_lose_nothing() {
    let Some(site) = site("unequal_workers_and_lanes_cost_more_and_lose_nothing") else { return };
    let cases = [
        ([2, 1], [2, 1], 1, "encapsulation = \"forced\""),
        ([1, 2], [2, 3], 2, ""),
        ([3, 2], [2, 1], 1, ""),
        ([2, 2], [1, 2], 1, ""),
    ];
    for (workers_of, lanes, count, more) in cases {
        let pair = site.pair(&setup(V4, V4, workers_of, lanes, more));
        wait_for_lanes(&pair, count);
        let seen = datagrams(&site, V4, || streams(&site, V4, 3, 512 << 10));
        let told =
            || format!("{workers_of:?} {lanes:?} {:?} {:?}\n{}", workers(&pair.a), workers(&pair.b), pair.logs());
        seen.assert_whole(&told);
        assert_clean(&pair);
        pair.stop();
    }
}

#[test]
fn new_keys_under_load_lose_nothing_in_any_lane() {
    let Some(site) = site("new_keys_under_load_lose_nothing_in_any_lane") else { return };
    let pair = site.pair(&setup(V4, V4, [2, 2], [2, 2], "child_lifetime = { packets = 1000 }"));
    wait_for_lanes(&pair, 2);
    let seen = datagrams(&site, V4, || {
        let by_itself = wait_for(PATIENCE, || tunnel(&pair.a)["rekeys"]["child"].as_u64() >= Some(2));
        assert!(by_itself, "{}\n{}", tunnel(&pair.a), pair.logs());
        for side in [Side::A, Side::B] {
            let output = site.portcullis(side, &["rekey", "t"]);
            assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), pair.logs());
        }
    });
    seen.assert_whole(&|| format!("{:?} {:?}\n{}", workers(&pair.a), workers(&pair.b), pair.logs()));
    // Equal lanes meet as before.
    let equal = wait_until(|| {
        let [a, b] = [&pair.a, &pair.b].map(|gateway| {
            let mut all = children(gateway);
            all.sort_by_key(|(lane, _)| *lane);
            all
        });
        a.len() == 2 && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && a.1[0] == b.1[1] && a.1[1] == b.1[0])
    });
    assert!(equal, "{:?} {:?}\n{}", children(&pair.a), children(&pair.b), pair.logs());
    assert_clean(&pair);
    pair.stop();
}

/// Where each packet thread of a gateway may run, in the order of their names.
fn bound(gateway: &Gateway) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let threads = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        name.starts_with("packets").then_some((name, list))
    });
    let mut threads: Vec<_> = threads.collect();
    threads.sort_unstable();
    threads.into_iter().map(|(_, list)| list).collect()
}

#[test]
fn each_worker_stays_on_the_processor_that_it_is_given() {
    let Some(site) = site("each_worker_stays_on_the_processor_that_it_is_given") else { return };
    let all = portcullis::platform::privileges::processors().unwrap();
    let turned: Vec<usize> = all.iter().take(2).rev().copied().collect();
    let gateway = [
        format!("workers = {}\nprocessors = {turned:?}\n", turned.len()),
        "workers = 1\nprocessors = \"auto\"\n".to_owned(),
    ];
    let setup = Setup { gateway, ..Setup::default() };
    let pair = site.pair(&setup);
    let named = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(wait_until(|| bound(&pair.a) == named(&turned)), "{:?}", bound(&pair.a));
    assert!(wait_until(|| bound(&pair.b) == named(&all[..1])), "{:?}", bound(&pair.b));
    let shown = pair.a.status().unwrap()["workers"].clone();
    let shown = shown.as_array().unwrap().iter().map(|worker| worker["processor"].as_u64().unwrap() as usize);
    assert_eq!(shown.collect::<Vec<_>>(), turned);
    site.exchange(&V4, 1 << 20);
    // A bench binds gateways that run already: every thread of theirs.
    portcullis::platform::privileges::bind_process(pair.a.pid(), all[0]).unwrap();
    assert_eq!(bound(&pair.a), vec![all[0].to_string(); turned.len()]);
    site.exchange(&V4, 1 << 20);
    pair.stop();
}

#[test]
fn a_tun_that_vanishes_comes_back_with_all_its_queues() {
    let Some(site) = site("a_tun_that_vanishes_comes_back_with_all_its_queues") else { return };
    let pair = site.pair(&setup(V4, V4, [2, 2], [2, 2], ""));
    wait_for_lanes(&pair, 2);
    let place = site.place(Side::A);
    let index = || place.run(|| Netlink::open().unwrap().link("portcullis0").unwrap().map(|link| link.index)).unwrap();
    for _ in 0..3 {
        let old = index().expect("the device");
        place.run(|| Netlink::open().unwrap().delete_link(old).unwrap()).unwrap();
        assert!(wait_for(PATIENCE, || index().is_some_and(|new| new != old)));
    }
    // Routes and barrier are back, and each worker has a queue of the new one.
    streams_until_every_worker_moves(&site, &pair, 256 << 10);
    pair.stop();
}

/// The MTU of the routes into the TUN.
fn route_mtu(site: &Site, side: Side) -> Vec<Option<u32>> {
    site.standing(side).routes.iter().filter(|route| route.way == RouteWay::Tun).map(|route| route.mtu).collect()
}

/// Reports of a narrow path come to any of the sockets that share a port: whoever has sent what they quote hears of it.
#[test]
fn every_worker_learns_of_a_path_that_becomes_narrow() {
    for more in ["encapsulation = \"forced\"", ""] {
        // A network of its own each time: hosts remember what they were told.
        let Some(site) = site("every_worker_learns_of_a_path_that_becomes_narrow") else { return };
        let pair = site.pair(&setup(V4, V4, [3, 2], [3, 3], more));
        wait_for_lanes(&pair, 3);
        let set = || {
            let mut netlink = Netlink::open()?;
            let device = netlink.index_of("to-b")?;
            netlink.replace_route(&Route { mtu: Some(1300), ..Route::by_device(V4.gateway_b.into(), device) })
        };
        let wide = route_mtu(&site, Side::A);
        site.topology.underlay.run(set).unwrap().expect("a route of the underlay");
        // Connections of every lane: each of them has long packets to send.
        streams_until_every_worker_moves(&site, &pair, 128 << 10);
        let narrow = wait_until(|| route_mtu(&site, Side::A).iter().all(|mtu| mtu.is_some_and(|mtu| mtu < 1300)));
        assert!(narrow, "{wide:?} {:?}\n{}", route_mtu(&site, Side::A), pair.logs());
        pair.stop();
    }
}
