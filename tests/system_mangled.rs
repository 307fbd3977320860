//! A bad line between the gateways: three in ten ESP packets late, twice, or lost. TCP keeps its data and its order, what comes
//! twice is let in once, and keys are renewed in mid-stream all the same.
//!
//! A relay stands for the line: each gateway finds the other at its address, as behind a NAT. What it does is drawn from a seed.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use portcullis::lab::topology::V4;
use system_common::{Pair, Setup, Side, Site, drops, site, tunnel, wait_until};

const IKE: u16 = 500;
const NAT_T: u16 = 4500;
/// How long a late packet is kept if nothing comes after it.
const LATE: Duration = Duration::from_millis(5);
/// How many packets overtake a late one.
const OVERTAKEN: usize = 3;

/// What happens to ESP packets, in hundredths of them.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    late: u64,
    twice: u64,
    lost: u64,
}

/// What has happened to them, in one direction.
#[derive(Default)]
struct Happened {
    late: AtomicU64,
    twice: AtomicU64,
    lost: AtomicU64,
}

struct Relay {
    stop: Arc<AtomicBool>,
    /// Towards B, and towards A.
    happened: [Arc<Happened>; 2],
    threads: Vec<JoinHandle<()>>,
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn hundredth(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100
    }
}

impl Relay {
    fn start(site: &Site, line: Line, seed: u64) -> Self {
        let bind = |address: IpAddr, port: u16| {
            let socket = site.topology.underlay.run(|| UdpSocket::bind((address, port))).unwrap().unwrap();
            socket.set_read_timeout(Some(LATE)).unwrap();
            // Bursts of long packets must not be lost by the line itself.
            setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
            Arc::new(socket)
        };
        let (a, b): (SocketAddr, SocketAddr) = ((V4.gateway_a, 0).into(), (V4.gateway_b, 0).into());
        let mut relay = Self { stop: Arc::default(), happened: Default::default(), threads: Vec::new() };
        for port in [IKE, NAT_T] {
            let (inside, outside) = (bind(V4.router_a, port), bind(V4.router_b, 0));
            let line = if port == NAT_T { line } else { Line::default() };
            let ways = [(&inside, &outside, b, 0), (&outside, &inside, a, 1)];
            for (from, to, target, way) in ways {
                let (from, to, stop) = (Arc::clone(from), Arc::clone(to), Arc::clone(&relay.stop));
                let happened = Arc::clone(&relay.happened[way]);
                let draw = Draw(seed ^ (way as u64 + 1) << 32);
                let target = SocketAddr::new(target.ip(), port);
                let send = move |bytes: &[u8]| drop(to.send_to(bytes, target));
                relay.threads.push(std::thread::spawn(move || pass(&stop, &from, &send, line, draw, &happened)));
            }
        }
        relay
    }

    fn happened(&self, what: impl Fn(&Happened) -> &AtomicU64) -> [u64; 2] {
        self.happened.each_ref().map(|way| what(way).load(Ordering::SeqCst))
    }
}

fn pass(stop: &AtomicBool, from: &UdpSocket, send: &dyn Fn(&[u8]), line: Line, mut draw: Draw, happened: &Happened) {
    let mut buffer = vec![0; 65_536];
    // What is late, how many have yet to overtake it, and until when it waits for them.
    let mut waiting: Vec<(Vec<u8>, usize, Instant)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let received = from.recv(&mut buffer).map(|len| &buffer[..len]);
        if let Ok(bytes) = received {
            for (_, left, _) in &mut waiting {
                *left = left.saturating_sub(1);
            }
            let is_esp = bytes.len() > 4 && bytes[..4] != [0; 4];
            let fate = if is_esp { draw.hundredth() } else { 100 };
            let count = |tally: &AtomicU64| {
                tally.fetch_add(1, Ordering::SeqCst);
            };
            if fate < line.late {
                count(&happened.late);
                waiting.push((bytes.to_vec(), OVERTAKEN, Instant::now() + LATE));
            } else if fate < line.late + line.twice {
                count(&happened.twice);
                send(bytes);
                send(bytes);
            } else if fate < line.late + line.twice + line.lost {
                count(&happened.lost);
            } else {
                send(bytes);
            }
        }
        let now = Instant::now();
        waiting.retain(|(bytes, left, until)| {
            let stays = *left > 0 && *until > now;
            if !stays {
                send(bytes);
            }
            stays
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Both gateways with the line between them.
fn over(site: &Site, line: Line, seed: u64) -> (Relay, Pair) {
    let relay = Relay::start(site, line, seed);
    let mut setup = Setup { peers: [V4.router_a, V4.router_b], ..Setup::default() };
    setup.tunnel = [
        "local_id = \"a.example\"\npeer_id = \"b.example\"\nliveness = 60".into(),
        "local_id = \"b.example\"\npeer_id = \"a.example\"\nliveness = 60\nstart = \"manual\"".into(),
    ];
    let pair = site.pair(&setup);
    (relay, pair)
}

/// Packets of the tunnel that A and B have sent.
fn sent(pair: &Pair) -> [u64; 2] {
    [&pair.a, &pair.b].map(|gateway| tunnel(gateway)["counters"]["packets_out"].as_u64().unwrap())
}

/// Whether B and A have let in what reached them, `came`, and have known again what came once more.
fn took(pair: &Pair, came: [u64; 2], again: [u64; 2]) -> bool {
    [&pair.b, &pair.a].iter().zip(came).zip(again).all(|((gateway, came), again)| {
        let let_in = tunnel(gateway)["counters"]["packets_in"].as_u64().unwrap();
        // What comes late to a host that has closed its end is answered by a reset; then the connection is over for the
        // gateway, too, in both directions. And an acknowledgement that is later than the window is wide is of no use to anybody.
        let over = drops(gateway, "out-of-state") + drops(gateway, "out-of-window");
        over < 20 && (let_in..=let_in + over).contains(&came) && drops(gateway, "replayed") == again
    })
}

fn state(pair: &Pair) -> String {
    let one = |gateway| format!("{} {}", tunnel(gateway)["counters"], gateway.status().unwrap()["drops"]);
    format!("sent {:?}, A {}, B {}", sent(pair), one(&pair.a), one(&pair.b))
}

#[test]
fn late_packets_are_let_in_and_nothing_is_lost() {
    let Some(site) = site("late_packets_are_let_in_and_nothing_is_lost") else { return };
    let (relay, pair) = over(&site, Line { late: 30, ..Line::default() }, 1);
    site.exchange(&V4, 2_000_000);
    let late = relay.happened(|way| &way.late);
    assert!(late.iter().all(|count| *count > 100), "{late:?}");
    assert!(wait_until(|| took(&pair, sent(&pair), [0, 0])), "{}", state(&pair));
    assert_eq!([&pair.a, &pair.b].map(|gateway| drops(gateway, "too-old")), [0, 0]);
    pair.stop();
}

#[test]
fn what_comes_twice_is_let_in_once_and_counted() {
    let Some(site) = site("what_comes_twice_is_let_in_once_and_counted") else { return };
    let (relay, pair) = over(&site, Line { twice: 30, ..Line::default() }, 2);
    site.exchange(&V4, 2_000_000);
    let twice = || relay.happened(|way| &way.twice);
    assert!(wait_until(|| took(&pair, sent(&pair), twice())), "{:?} twice, {}", twice(), state(&pair));
    assert!(twice().iter().all(|count| *count > 100), "{:?}", twice());
    pair.stop();
}

#[test]
fn tcp_keeps_its_data_where_three_in_ten_packets_are_late_twice_or_lost_while_keys_are_renewed() {
    let name = "tcp_keeps_its_data_where_three_in_ten_packets_are_late_twice_or_lost_while_keys_are_renewed";
    let Some(site) = site(name) else { return };
    let (relay, pair) = over(&site, Line { late: 10, twice: 10, lost: 10 }, 3);
    site.exchange_and(&V4, 200_000, |_| {
        let output = site.portcullis(Side::A, &["rekey", "t", "--child"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(tunnel(&pair.a)["rekeys"]["child"], 2, "{}", tunnel(&pair.a));
    assert!(relay.happened(|way| &way.lost).iter().sum::<u64>() > 10);
    // What the line lost is missing, and nothing else: both gateways let in what reached them, each packet once.
    let took_all = || {
        let (sent, lost) = (sent(&pair), relay.happened(|way| &way.lost));
        took(&pair, [sent[0] - lost[0], sent[1] - lost[1]], relay.happened(|way| &way.twice))
    };
    assert!(wait_until(took_all), "{:?} lost, {}", relay.happened(|way| &way.lost), state(&pair));
    pair.stop();
}
