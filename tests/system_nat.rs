//! A NAT between the gateways, and one that changes its port in mid-flow (RFC 7296 §2.23, RFC 3948).
//!
//! The kernel's own NAT hides gateway A behind the underlay's address, in IPv4 and IPv6. For what a NAT has to be told to do, a
//! relay stands for it: each gateway finds the other at the relay's address. It may forget its mapping and take another
//! port; it keeps what passed, as an attacker on the path would.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::lab::topology::{V4, V6};
use portcullis::platform::namespace::Namespace;
use system_common::lab_common::{has_program, not_run};
use system_common::{PATIENCE, Pair, Setup, Side, Site, drops, site, tunnel, wait_for, wait_until};

const IKE: u16 = 500;
const NAT_T: u16 = 4500;
const TURN: Duration = Duration::from_millis(10);
/// Datagrams that the relay remembers.
const MEMORY: usize = 64;

/// What the relay does and has seen.
#[derive(Default)]
struct Shared {
    /// The socket towards gateway B for port 4500.
    outside: Mutex<Option<Arc<UdpSocket>>>,
    esp: Mutex<VecDeque<Vec<u8>>>,
    hold: AtomicBool,
    held: Mutex<Option<Vec<u8>>>,
    keepalives: AtomicU64,
    stop: AtomicBool,
}

/// The socket from which one direction is read.
type From = Box<dyn Fn() -> Arc<UdpSocket> + Send>;
/// What is done with its datagrams.
type Pass = Box<dyn Fn(&[u8]) + Send>;

struct Relay {
    place: Namespace,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

fn bind(place: &Namespace, address: IpAddr, port: u16) -> Arc<UdpSocket> {
    let socket = place.run(|| UdpSocket::bind((address, port))).unwrap().expect("a port of the relay");
    socket.set_read_timeout(Some(TURN)).unwrap();
    Arc::new(socket)
}

impl Relay {
    fn start(site: &Site) -> Self {
        let place = site.topology.underlay.try_clone().unwrap();
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        let (a, b) = (V4.gateway_a, V4.gateway_b);
        let plain = [bind(&place, V4.router_a, IKE), bind(&place, V4.router_b, 0)];
        let inside = bind(&place, V4.router_a, NAT_T);
        *shared.outside.lock().unwrap() = Some(bind(&place, V4.router_b, 0));
        let mut relay = |from: From, pass: Pass| {
            let stop = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop.stop.load(Ordering::Relaxed) {
                    if let Ok(length) = from().recv(&mut buffer) {
                        pass(&buffer[..length]);
                    }
                }
            }));
        };
        let fixed = |socket: &Arc<UdpSocket>| -> From {
            let socket = Arc::clone(socket);
            Box::new(move || Arc::clone(&socket))
        };
        let to = |socket: &Arc<UdpSocket>, target: SocketAddr| -> Pass {
            let socket = Arc::clone(socket);
            Box::new(move |bytes| drop(socket.send_to(bytes, target)))
        };
        relay(fixed(&plain[0]), to(&plain[1], (b, IKE).into()));
        relay(fixed(&plain[1]), to(&plain[0], (a, IKE).into()));
        let seen = Arc::clone(&shared);
        relay(
            fixed(&inside),
            Box::new(move |bytes| {
                if seen.passes(bytes) {
                    let _ = seen.outside().send_to(bytes, (b, NAT_T));
                }
            }),
        );
        let current = Arc::clone(&shared);
        relay(Box::new(move || current.outside()), to(&inside, (a, NAT_T).into()));
        Self { place, shared, threads }
    }

    /// The port at which gateway B finds gateway A.
    fn port(&self) -> u16 {
        self.shared.outside().local_addr().unwrap().port()
    }

    /// Forgets the mapping: what comes next has another port.
    fn rebind(&self) {
        let before = self.port();
        *self.shared.outside.lock().unwrap() = Some(bind(&self.place, V4.router_b, 0));
        assert_ne!(self.port(), before);
    }

    /// Keeps the next ESP packet of gateway A back, and gives it once it has come.
    fn hold_one(&self, then: impl FnOnce()) -> Vec<u8> {
        self.shared.hold.store(true, Ordering::SeqCst);
        then();
        self.shared.held.lock().unwrap().take().expect("a packet was held back")
    }

    /// The newest ESP packet of gateway A that passed.
    fn newest(&self) -> Vec<u8> {
        self.shared.esp.lock().unwrap().back().cloned().expect("ESP has passed")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn outside(&self) -> Arc<UdpSocket> {
        Arc::clone(self.outside.lock().unwrap().as_ref().expect("the relay has started"))
    }

    /// Looks at what gateway A sends to port 4500; false if it is kept back.
    fn passes(&self, bytes: &[u8]) -> bool {
        match bytes {
            [0xff] => {
                self.keepalives.fetch_add(1, Ordering::SeqCst);
            }
            [0, 0, 0, 0, ..] => {}
            esp => {
                if self.hold.swap(false, Ordering::SeqCst) {
                    *self.held.lock().unwrap() = Some(esp.to_vec());
                    return false;
                }
                let mut memory = self.esp.lock().unwrap();
                if memory.len() == MEMORY {
                    memory.pop_front();
                }
                memory.push_back(esp.to_vec());
            }
        }
        true
    }
}

const MASQUERADE: &str = "table inet translate {
    chain post {
        type nat hook postrouting priority srcnat
        oifname \"to-b\" masquerade random
    }
}
";

/// Gateway A sits behind a NAT of the kernel, B does not: only the source is rewritten, its port too.
#[test]
fn a_gateway_behind_a_masquerading_router_is_reached_in_both_families() {
    let name = "a_gateway_behind_a_masquerading_router_is_reached_in_both_families";
    if !has_program("nft") {
        return not_run(name, "nft (Debian package nftables) is not installed");
    }
    for outer in [V4, V6] {
        let Some(site) = site(name) else { return };
        let mut nft =
            site.topology.underlay.spawn(Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped())).unwrap();
        nft.stdin.take().unwrap().write_all(MASQUERADE.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());

        let mut setup = Setup::between(outer, &[V4, V6]);
        setup.peers[Side::B as usize] = outer.router_b;
        setup.tunnel = [
            "local_id = \"a.example\"\npeer_id = \"b.example\"".into(),
            "local_id = \"b.example\"\npeer_id = \"a.example\"\nstart = \"manual\"".into(),
        ];
        let pair = site.pair(&setup);
        assert_eq!(tunnel(&pair.a)["ike"]["nat"], "local", "{}", tunnel(&pair.a));
        assert_eq!(tunnel(&pair.b)["ike"]["nat"], "remote", "{}", tunnel(&pair.b));
        let seen: SocketAddr = remote(&pair, Side::B).parse().unwrap();
        assert_eq!(seen.ip(), outer.router_b);
        assert_ne!(seen.port(), NAT_T, "the NAT took another port");
        assert_eq!(remote(&pair, Side::A), SocketAddr::new(outer.gateway_b, NAT_T).to_string());
        for inner in [V4, V6] {
            site.exchange(&inner, 300_000);
        }
        pair.stop();
    }
}

/// Both gateways with the relay between them; B waits to be called, as it must.
fn behind_a_nat(site: &Site) -> (Relay, Pair) {
    let relay = Relay::start(site);
    let mut setup = Setup { peers: [V4.router_a, V4.router_b], ..Setup::default() };
    setup.tunnel = [
        "local_id = \"a.example\"\npeer_id = \"b.example\"".into(),
        "local_id = \"b.example\"\npeer_id = \"a.example\"\nstart = \"manual\"".into(),
    ];
    let pair = site.pair(&setup);
    assert_eq!(tunnel(&pair.b)["ike"]["nat"], "both", "{}", tunnel(&pair.b));
    assert_eq!(tunnel(&pair.a)["children"][0]["encapsulation"], "udp");
    (relay, pair)
}

/// Where a gateway sends to.
fn remote(pair: &Pair, side: Side) -> String {
    let gateway = if side == Side::A { &pair.a } else { &pair.b };
    tunnel(gateway)["ike"]["remote"].as_str().unwrap_or_default().to_owned()
}

fn at(port: u16) -> String {
    SocketAddr::new(V4.router_b, port).to_string()
}

#[test]
fn a_nat_that_takes_another_port_in_mid_flow_is_followed() {
    let Some(site) = site("a_nat_that_takes_another_port_in_mid_flow_is_followed") else { return };
    let (relay, pair) = behind_a_nat(&site);
    assert!(wait_until(|| remote(&pair, Side::B) == at(relay.port())), "{}", tunnel(&pair.b));
    let ports = Mutex::new(vec![relay.port()]);
    // Only what A sends can tell B of the new port, so the change falls into the half in which A sends.
    let watch = |way| {
        if way == system_common::Way::There {
            relay.rebind();
            ports.lock().unwrap().push(relay.port());
        }
    };
    site.exchange_and(&V4, 1_500_000, watch);
    site.exchange_and(&V4, 1_500_000, watch);
    assert_eq!(ports.into_inner().unwrap().len(), 3);
    assert!(wait_until(|| remote(&pair, Side::B) == at(relay.port())), "{}", tunnel(&pair.b));
    assert_eq!(tunnel(&pair.b)["handshakes"], 1, "the tunnel was not made anew");
    assert_eq!(remote(&pair, Side::A), SocketAddr::new(V4.router_a, NAT_T).to_string());
    pair.stop();
}

#[test]
fn only_the_newest_authenticated_packet_moves_the_peer() {
    let Some(site) = site("only_the_newest_authenticated_packet_moves_the_peer") else { return };
    let (relay, pair) = behind_a_nat(&site);
    // One packet is late: authentic, never seen by B, and older than the newest.
    let late = relay.hold_one(|| site.exchange(&V4, 200_000));
    assert!(wait_until(|| remote(&pair, Side::B) == at(relay.port())));
    let attacker = bind(&relay.place, V4.router_b, 0);
    let send = |bytes: &[u8]| assert_eq!(attacker.send_to(bytes, (V4.gateway_b, NAT_T)).unwrap(), bytes.len());
    let received = || tunnel(&pair.b)["counters"]["packets_in"].as_u64().unwrap();

    send(&relay.newest());
    assert!(wait_until(|| drops(&pair.b, "replayed") == 1), "{}", pair.b.status().unwrap());
    let mut forged = relay.newest();
    // A sequence number that is still to come.
    forged[6] ^= 0x10;
    send(&forged);
    assert!(wait_until(|| drops(&pair.b, "forged") == 1), "{}", pair.b.status().unwrap());
    let before = received();
    send(&late);
    assert!(
        wait_until(|| received() == before + 1 || drops(&pair.b, "no-connection") == 1),
        "the late packet is taken"
    );
    assert_eq!(remote(&pair, Side::B), at(relay.port()));

    // The flow goes on by the relay, and nothing of it comes to the attacker.
    site.exchange(&V4, 200_000);
    assert_eq!(remote(&pair, Side::B), at(relay.port()));
    assert!(attacker.recv(&mut [0; 2048]).is_err(), "B answers the attacker");
    pair.stop();
}

#[test]
fn the_side_behind_the_nat_keeps_its_mapping_alive() {
    let Some(site) = site("the_side_behind_the_nat_keeps_its_mapping_alive") else { return };
    let (relay, pair) = behind_a_nat(&site);
    let seen = || relay.shared.keepalives.load(Ordering::SeqCst) > 0;
    assert!(wait_for(2 * PATIENCE, seen), "no keepalive\n{}", pair.logs());
    pair.stop();
}
