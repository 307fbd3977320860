//! The run: daemon and tunnel up, a warm-up that also fills what can be filled, the flood, the control, the verdict.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis::ike::config::Config;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{Topology, V4, V6};
use portcullis::platform::clock;
use portcullis::platform::netlink::Netlink;
use serde_json::Value;

use super::inside::{Inside, set_mtu};
use super::packets::{self, Content, Dice, ECHO, Ends, FIXED, OPEN, OPEN_TCP, OPEN_TOO};
use super::peer::{self, Peer};
use super::probe::{Probe, Tally};
use super::wire::{AT_ONCE, Datagram, Way, Wire};
use super::{gauge, reasons};

/// The peer whose tunnel must not suffer.
const STEADY: IpAddr = V4.gateway_b;
/// The peer that seals IKE messages that are none.
const HOSTILE: IpAddr = v4(203, 0, 113, 6);
/// A peer whose tunnel is down.
const DOWN: IpAddr = v4(203, 0, 113, 7);
/// Nobody that the daemon knows.
const STRANGER: IpAddr = v4(203, 0, 113, 99);
/// A host behind the hostile peer, and one behind the tunnel that is down.
const HOSTS: [IpAddr; 2] = [v4(10, 20, 0, 30), v4(10, 20, 0, 40)];

const PSK: &str = "8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33";
/// Bytes that may wait at the daemon's sockets before we wait for the daemon: far below what they hold.
const WAITING: u64 = 384 << 10;
/// Messages of the hostile peer before it negotiates anew: the daemon has long deleted its IKE SA.
const GARBAGE: usize = 40;
/// More flows than the daemon's table holds.
const FLOWS: usize = 66_500;
/// More IKE messages than fit between the packet thread and the control thread.
const BURST: usize = 3_000;
/// How long the daemon's last work may take.
const SETTLE: Duration = Duration::from_millis(1200);
/// A port of the daemon's host that nobody listens on.
const CLOSED: u16 = 33_434;
/// From this many datagrams on memory is held against its bound; a short run still warms up.
const FULL: u64 = 1_000_000;
/// How much the daemon may grow, in KiB.
const GROWTH: i64 = 1024;
/// Datagrams of the shortest warm-up: enough to open each flow that is needed before the table is full.
const WARM_UP: u64 = 3_000;
/// Host A's port for the probe: one flow, opened before the table is full.
const PROBE: u16 = 45_001;

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

/// The daemon's file, or with `peer` that peer's view of its own tunnel.
fn file(peer: Option<IpAddr>) -> String {
    let mut out = "[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n\n\
                   [agreement.lab]\nkind = \"lab\"\n\n"
        .to_owned();
    let tunnels = [
        ("steady", STEADY, "aes256gcm16-x25519", "forced"),
        ("hostile", HOSTILE, "aes256gcm16-x25519-esn", "auto"),
        ("down", DOWN, "aes256gcm16-x25519", "auto"),
    ];
    for (name, address, esp, encapsulation) in tunnels {
        let (local, remote, start) = match peer {
            Some(peer) if peer != address => continue,
            Some(_) => (address, V4.gateway_a, "always"),
            None => (V4.gateway_a, address, "manual"),
        };
        out += &format!(
            "[tunnel.{name}]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = \"{remote}\"\nstart = \"{start}\"\n\
             auth = {{ method = \"psk\", secret = \"hex:{PSK}\" }}\nike = [\"aes256gcm16-prfsha256-x25519\"]\n\
             esp = [\"{esp}\"]\nencapsulation = \"{encapsulation}\"\n\n"
        );
    }
    let a = V4.host_a;
    let rules = [
        ("probe", STEADY, a, V4.host_b, true, format!("service = \"udp\"\nudp = [{ECHO}]")),
        ("mq", STEADY, a, V4.host_b, true, "service = \"mq\"".into()),
        ("open", STEADY, V4.host_b, a, false, format!("service = \"udp\"\nudp = [{OPEN}, {OPEN_TOO}]")),
        ("tcp", STEADY, V4.host_b, a, false, format!("service = \"tcp\"\ntcp = [{OPEN_TCP}]")),
        ("echo", STEADY, V4.host_b, a, false, "service = \"echo\"".into()),
        ("open6", STEADY, V6.host_b, V6.host_a, false, format!("service = \"udp\"\nudp = [{OPEN}]")),
        ("other", HOSTILE, HOSTS[0], a, false, format!("service = \"udp\"\nudp = [{OPEN}]")),
        ("gone", DOWN, a, HOSTS[1], true, "service = \"mq\"".into()),
    ];
    for (name, owner, from, to, outwards, service) in rules {
        if peer.is_some_and(|peer| peer != owner) {
            continue;
        }
        let tunnel = tunnels.iter().find(|(_, address, ..)| *address == owner).map_or("", |(name, ..)| name);
        let direction = if outwards == peer.is_none() { "outbound" } else { "inbound" };
        out += &format!(
            "[[rule]]\nname = \"{name}\"\ntunnel = \"{tunnel}\"\nclause = \"lab\"\nfrom = [\"{from}\"]\n\
             to = [\"{to}\"]\ndirection = \"{direction}\"\n{service}\n\n"
        );
    }
    out
}

/// Everybody but the daemon.
struct World {
    wire: Wire,
    inside: Inside,
    steady: Peer,
    hostile: Peer,
    hostile_config: Arc<Config>,
    dice: Dice,
    pid: u32,
    /// An ESP packet that the daemon has had.
    old: Vec<u8>,
    /// An honest IKE_SA_INIT.
    init: Vec<u8>,
    turn: usize,
    turn_inside: usize,
    /// Datagrams made, and those of them that a peer with keys has sealed.
    made: u64,
    sealed: u64,
    renewals: u64,
    echoed: u64,
    heard: u64,
    cookies: u64,
}

impl World {
    /// Reads what the daemon sends, lets the peers answer, and echoes the probe.
    fn pump(&mut self) {
        let Self { wire, steady, hostile, echoed, heard, cookies, .. } = self;
        let mut echoes = Vec::new();
        wire.receive(|local, remote, bytes| {
            *heard += 1;
            let to = local.ip();
            let ike = match local.port() {
                4500 => bytes.strip_prefix(&[0; 4]),
                500 => Some(&*bytes),
                _ => None,
            };
            match ike {
                Some(message) if to == STEADY => steady.hear(local, remote, message),
                Some(message) if to == HOSTILE => hostile.hear(local, remote, message),
                Some(_) => *cookies += 1,
                None if to == STEADY => {
                    let inner = steady.open(bytes);
                    echoes.extend(inner.and_then(|inner| answer(inner)));
                }
                None => {}
            }
        });
        for inner in echoes {
            if let Some(sealer) = steady.sealer(false) {
                *echoed += 1;
                let bytes = sealer.seal(&inner.into());
                wire.push(&Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos: 0, bytes });
            }
        }
        let now = clock::now();
        for peer in [steady, hostile] {
            if peer.garbage == 0 {
                peer.tend(now);
            }
            for message in std::mem::take(&mut peer.outgoing) {
                let nat_t = message.local.port() == 4500;
                let bytes = if nat_t { [&[0; 4][..], &message.bytes].concat() } else { message.bytes };
                let way = if nat_t { Way::NatT } else { Way::Ike };
                let to_port = message.remote.port();
                wire.push(&Datagram { way, from: peer.address, to_port, tos: 0, bytes });
            }
        }
        wire.flush();
    }

    /// Waits until the daemon has read most of what lies at its sockets.
    fn wait(&mut self, waiting: u64) {
        loop {
            self.pump();
            if gauge::sockets(self.pid).unwrap().waiting <= waiting {
                return;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// Gives the daemon the time to end what it has begun, a round of its control loop included.
    fn settle(&mut self) {
        let end = Instant::now() + SETTLE;
        while Instant::now() < end {
            self.wait(0);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends `count` datagrams at the daemon, as fast as it reads them.
    fn flood(&mut self, count: u64) {
        let end = self.made + count;
        while self.made < end {
            let batch = (end - self.made).min(AT_ONCE as u64);
            for _ in 0..batch {
                let datagram = self.datagram();
                self.wire.push(&datagram);
            }
            self.made += batch;
            for _ in 0..4 {
                let packet = packets::outwards_for_a_reason(&mut self.dice, self.turn_inside);
                self.inside.send(&packet);
                self.turn_inside += 1;
            }
            self.wait(WAITING);
            if self.hostile.garbage > GARBAGE {
                self.hostile = Peer::start(self.hostile_config.clone(), HOSTILE);
                self.renewals += 1;
            }
        }
    }

    /// The next datagram: every other one is sealed by a peer that holds the keys.
    fn datagram(&mut self) -> Datagram {
        if self.dice.one_in(2)
            && let Some(datagram) = self.sealed_datagram()
        {
            self.sealed += 1;
            return datagram;
        }
        self.stranger()
    }

    fn sealed_datagram(&mut self) -> Option<Datagram> {
        let dice = &mut self.dice;
        match dice.below(64) {
            0 => {
                let message = self.hostile.seal_garbage(dice)?;
                let nat_t = dice.one_in(2);
                let bytes = if nat_t { [&[0; 4][..], &message].concat() } else { message };
                let (way, to_port) = if nat_t { (Way::NatT, 4500) } else { (Way::Ike, 500) };
                Some(Datagram { way, from: HOSTILE, to_port, tos: 0, bytes })
            }
            1..8 => {
                let sealer = self.hostile.sealer(false)?;
                let mut inner = packets::mutated(dice, true);
                if let Some(source) = inner.get_mut(12..16).filter(|_| dice.one_in(2)) {
                    source.copy_from_slice(&[10, 20, 0, 30]);
                    packets::mend(&mut inner);
                }
                let bytes = sealer.seal(&inner.into());
                Some(Datagram { way: Way::Raw, from: HOSTILE, to_port: 0, tos: 0, bytes })
            }
            8..28 => {
                let content = packets::sealed_for_a_reason(dice, self.turn);
                self.turn += 1;
                let tos = content.tos;
                let bytes = self.steady.sealer(false)?.seal(&content);
                self.old.clone_from(&bytes);
                Some(Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos, bytes })
            }
            _ => {
                let inner = packets::mutated(dice, true);
                let v6 = inner.first().is_some_and(|first| first >> 4 == 6) != dice.one_in(32);
                let next_header = dice.one_in(32).then(|| dice.byte());
                let content = Content { next_header, bad_padding: dice.one_in(64), tos: dice.byte() & 3, inner };
                let bytes = self.steady.sealer(v6)?.seal(&content);
                Some(Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos: content.tos, bytes })
            }
        }
    }

    /// A datagram that nobody has sealed, or not for this time, place or SA.
    fn stranger(&mut self) -> Datagram {
        let dice = &mut self.dice;
        let sealer = self.steady.sealer(false).expect("the steady peer is up");
        let (spi, last) = (sealer.spi().to_be_bytes(), sealer.last());
        let from = dice.pick(&[STEADY, HOSTILE, DOWN, STRANGER]);
        let way = if from == STRANGER { Way::Stranger } else { Way::NatT };
        let esp = |bytes| Datagram { way, from, to_port: 4500, tos: 0, bytes };
        let len = dice.below(200);
        let esp_with = |sequence: u32, rest: Vec<u8>| [&spi[..], &sequence.to_be_bytes(), &rest].concat();
        match dice.below(32) {
            // Neither IKE nor ESP.
            0 => esp(vec![7; dice.below(4)]),
            1 => esp(vec![0xff]),
            2 => esp(vec![9; 4 + dice.below(4)]),
            3 => esp(esp_with(last as u32 + 1, dice.bytes(len % 20))),
            4 => esp([&[0, 0, 0, dice.byte() | 1][..], &dice.bytes(len)].concat()),
            5 => esp([&[0x80 | dice.byte()][..], &dice.bytes(40 + len)].concat()),
            // A known SPI.
            6 => Datagram { way: Way::Raw, from, to_port: 0, tos: 0, bytes: esp_with(last as u32 + 1, dice.bytes(64)) },
            7 | 8 if !self.old.is_empty() => esp(self.old.clone()),
            9 => esp(esp_with((last as u32).saturating_sub(5000).max(1), dice.bytes(64))),
            10 => esp(esp_with(0, dice.bytes(64))),
            11 | 12 => esp(esp_with(last as u32 + 1 + u32::from(dice.word()), dice.bytes(24 + len))),
            13 => {
                let mut bytes = self.old.clone();
                if let Some(sequence) = bytes.get_mut(4..8) {
                    sequence.copy_from_slice(&(last as u32 + 7).to_be_bytes());
                }
                esp(bytes)
            }
            14 => Datagram { way: Way::Raw, from, to_port: 0, tos: 0, bytes: dice.bytes(len) },
            // Longer than anything that could be ours: few, for each comes in fragments.
            15 if dice.one_in(64) => {
                let len = if dice.one_in(2) { 12_000 } else { 9_000 };
                let start = dice.pick(&[[0, 0, 0, 0], spi, [0x55; 4]]);
                let mut bytes = vec![0x5a; len];
                bytes[..4].copy_from_slice(&start);
                Datagram { way: Way::Stranger, from: STRANGER, to_port: 4500, tos: 0, bytes }
            }
            // IKE of somebody who knows the format.
            16..=25 => self.unsealed_ike(from),
            // Noise.
            26 | 27 => Datagram { way, from, to_port: 500, tos: 0, bytes: dice.bytes(len) },
            _ => esp(dice.bytes(len)),
        }
    }

    /// A first message of IKE, more or less.
    fn unsealed_ike(&mut self, from: IpAddr) -> Datagram {
        let dice = &mut self.dice;
        let mut message = self.init.clone();
        if dice.one_in(2) {
            // Another negotiation, and an address that may have one.
            let spi = dice.roll().to_be_bytes();
            message[..8].copy_from_slice(&spi);
        }
        for _ in 0..dice.below(5) {
            let at = if dice.one_in(2) { dice.below(message.len()) } else { dice.below(40) };
            message[at] = dice.byte();
        }
        if dice.one_in(6) {
            message.truncate(dice.below(message.len()));
        } else if dice.one_in(3) {
            let len = (message.len() as u32).to_be_bytes();
            message[24..28].copy_from_slice(&len);
        }
        // The steady peer's true messages share its address; the others have none to lose.
        let from = if from == STEADY { DOWN } else { from };
        let nat_t = dice.one_in(2);
        let bytes = if nat_t { [&[0; 4][..], &message].concat() } else { message };
        let way = match (from == STRANGER, nat_t) {
            (true, _) => Way::Stranger,
            (_, true) => Way::NatT,
            _ => Way::Ike,
        };
        Datagram { way, from, to_port: if nat_t { 4500 } else { 500 }, tos: 0, bytes }
    }

    /// Opens more flows than there is room for.
    fn fill_the_flow_table(&mut self) {
        for flow in 0..FLOWS {
            let to = if flow % 2 == 0 { OPEN } else { OPEN_TOO };
            let inner = Ends::inwards(1024 + (flow / 2) as u16, to).udp(&[]);
            let bytes = self.steady.sealer(false).expect("it is up").seal(&inner.into());
            self.wire.push(&Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos: 0, bytes });
            self.made += 1;
            self.sealed += 1;
            if flow % 256 == 0 {
                self.wait(WAITING);
            }
        }
    }

    /// Many IKE messages at once, faster than they can be answered, and some as long as can be.
    fn burst(&mut self) {
        for _ in 0..BURST {
            let mut message = self.init.clone();
            let spi = self.dice.roll().to_be_bytes();
            message[..8].copy_from_slice(&spi);
            let bytes = [&[0; 4][..], &message].concat();
            self.wire.push(&Datagram { way: Way::NatT, from: DOWN, to_port: 4500, tos: 0, bytes });
        }
        self.made += BURST as u64;
        self.wait(0);
        for _ in 0..10 {
            for _ in 0..AT_ONCE {
                let bytes = vec![0; 9_600];
                self.wire.push(&Datagram { way: Way::Stranger, from: STRANGER, to_port: 4500, tos: 0, bytes });
            }
            self.made += AT_ONCE as u64;
            self.wait(0);
        }
    }

    /// As many datagrams at the same rate to a port where nobody listens.
    fn control(&mut self, count: u64, took: Duration) {
        let start = Instant::now();
        let mut sent = 0;
        while sent < count {
            for _ in 0..(count - sent).min(AT_ONCE as u64) {
                let len = 60 + self.dice.below(60);
                let bytes = self.dice.bytes(len);
                self.wire.push(&Datagram { way: Way::Stranger, from: STRANGER, to_port: CLOSED, tos: 0, bytes });
                sent += 1;
            }
            self.wire.flush();
            self.pump();
            let due = took.mul_f64(sent as f64 / count as f64);
            while start.elapsed() < due {
                std::thread::sleep(Duration::from_micros(200));
                self.pump();
            }
        }
    }

    /// Lets the last numbers of a probe come home.
    fn tally(&mut self, probe: Probe) -> Tally {
        probe.end();
        while !probe.is_over() {
            self.pump();
            std::thread::sleep(Duration::from_micros(500));
        }
        probe.tally().unwrap()
    }
}

/// The answer to a number of the probe.
fn answer(inner: &[u8]) -> Option<Vec<u8>> {
    let mut back = inner.to_vec();
    let ports: [u8; 4] = *inner.get(20..24)?.first_chunk()?;
    let [.., to_high, to_low] = ports;
    let asked = u16::from_be_bytes([ports[0], ports[1]]);
    if inner.first() != Some(&0x45)
        || inner.get(9) != Some(&17)
        || u16::from_be_bytes([to_high, to_low]) != ECHO
        || asked != PROBE
    {
        return None;
    }
    // Both checksums stay right when source and destination change places.
    back[12..16].copy_from_slice(inner.get(16..20)?);
    back[16..20].copy_from_slice(inner.get(12..16)?);
    back[20..22].copy_from_slice(&ports[2..]);
    back[22..24].copy_from_slice(&ports[..2]);
    Some(back)
}

/// Asks the kernel of the daemon to refuse what the daemon believes to fit: the link is narrower than it was.
fn narrow_the_link(topology: &Topology, world: &mut World) {
    set_mtu(&topology.gateway_a, "outside", 1280).unwrap();
    for _ in 0..8 {
        let packet = Ends::outwards(FIXED, ECHO).udp(&[0x77; 1380]);
        world.inside.send(&packet);
    }
    world.settle();
    set_mtu(&topology.gateway_a, "outside", 1500).unwrap();
}

fn tunnel_of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let all = status["tunnels"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|tunnel| tunnel["name"] == name).unwrap_or(&Value::Null)
}

/// Runs it all; what is not as it must be.
pub fn run(count: u64, seed: u64) -> Vec<String> {
    let topology = Topology::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    topology
        .gateway_b
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.index_of("outside").unwrap();
            for address in [HOSTILE, DOWN, STRANGER] {
                netlink.add_address(link, IpNet::new(address, 24).unwrap()).unwrap();
            }
        })
        .unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_portcullis"));
    let place = folder.path().join("daemon");
    let mut daemon = Gateway::start(program, &topology.gateway_a, &place, &file(None), None).unwrap();
    let status = daemon.wait_for(Duration::from_secs(20), |_| true);
    let status = status.unwrap_or_else(|| panic!("the daemon does not start:\n{}", daemon.log()));
    let config = |peer: IpAddr| {
        let path = folder.path().join(format!("{peer}.toml"));
        std::fs::write(&path, file(Some(peer)).replace("@FOLDER@", &folder.path().to_string_lossy())).unwrap();
        peer::read(&path)
    };
    let (steady_config, hostile_config) = (config(STEADY), config(HOSTILE));
    let mut world = World {
        wire: Wire::open(&topology.gateway_b).unwrap(),
        inside: Inside::open(&topology.gateway_a, status["tun"].as_str().unwrap_or_default()).unwrap(),
        steady: Peer::start(steady_config, STEADY),
        hostile: Peer::start(hostile_config.clone(), HOSTILE),
        hostile_config,
        dice: Dice::new(seed),
        pid: daemon.pid(),
        old: Vec::new(),
        init: Vec::new(),
        turn: 0,
        turn_inside: 0,
        made: 0,
        sealed: 0,
        renewals: 0,
        echoed: 0,
        heard: 0,
        cookies: 0,
    };
    world.init.clone_from(&world.steady.first);
    let patience = Instant::now() + Duration::from_secs(20);
    while !(world.steady.is_up(2) && world.hostile.is_up(1)) {
        assert!(Instant::now() < patience, "no tunnel:\n{}\n{:?}", daemon.log(), daemon.status());
        world.pump();
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("tunnels up; {count} datagrams, seed {seed}");
    world.settle();
    let (read_before, sent_before) = (gauge::datagrams_read(world.pid).unwrap(), world.wire.sent.udp);

    // Everything that can be filled is filled once, so that what grows later grows without end.
    let warm_up = (count / 20).max(WARM_UP);
    let probe = Probe::start(&topology.host_a, PROBE, 0).unwrap();
    let start = Instant::now();
    world.flood(warm_up);
    world.fill_the_flow_table();
    world.burst();
    narrow_the_link(&topology, &mut world);
    let warmed = world.tally(probe);
    world.settle();
    println!("warm-up: {} datagrams in {:.1} s", world.made, start.elapsed().as_secs_f64());

    let pid = world.pid;
    let memory_before = gauge::memory(pid).unwrap();
    let lost_before = gauge::sockets(pid).unwrap().lost;
    let rest = count.saturating_sub(warm_up);
    let probe = Probe::start(&topology.host_a, PROBE, 1 << 32).unwrap();
    let start = Instant::now();
    world.flood(rest);
    let took = start.elapsed();
    let flooded = world.tally(probe);
    world.settle();
    let memory_after = gauge::memory(pid).unwrap();
    let sockets = gauge::sockets(pid).unwrap();
    let read = gauge::datagrams_read(pid).unwrap() - read_before;
    let sent = world.wire.sent;
    let sent_udp = sent.udp - sent_before;
    let status = daemon.status().unwrap_or_default();

    let probe = Probe::start(&topology.host_a, PROBE, 2 << 32).unwrap();
    world.control(rest, took);
    let controlled = world.tally(probe);

    let histogram = reasons::histogram(&status);
    let rate = rest as f64 / took.as_secs_f64();
    reasons::print(&histogram);
    println!("IKE refusals: {}", status["ike_refused"]);
    println!(
        "flood: {rest} datagrams in {:.1} s, {rate:.0} a second; {} of all {} were sealed with the keys",
        took.as_secs_f64(),
        world.sealed,
        world.made
    );
    println!(
        "sent {} in UDP and {} raw ({} that our own kernel refused); the daemon read {read} in UDP; {} found its sockets \
         full, {} of them in the flood",
        sent_udp,
        sent.raw,
        sent.refused,
        sockets.lost,
        sockets.lost - lost_before
    );
    println!("from the inside: {} packets ({} refused by the kernel)", world.inside.sent, world.inside.refused);
    println!(
        "answers: {} datagrams, {} of them to strangers; the hostile peer negotiated {} times anew",
        world.heard, world.cookies, world.renewals
    );
    for (name, tally) in [("warm-up", warmed), ("flood", flooded), ("control", controlled)] {
        println!("probe, {name}: {} sent, {} lost, slowest {:?}", tally.sent, tally.lost, tally.slowest);
    }
    let growth = memory_after.0 - memory_before.0;
    println!(
        "memory: {} KiB after the warm-up, {} KiB after the flood: {growth:+} KiB ({:+} KiB of it anonymous)",
        memory_before.0,
        memory_after.0,
        memory_after.1 - memory_before.1
    );

    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let missing = reasons::missing(&histogram);
    must(missing.is_empty(), format!("reasons that never occurred: {missing:?}"));
    must(
        flooded.lost <= controlled.lost,
        format!("the probe lost {} in the flood and {} in the control", flooded.lost, controlled.lost),
    );
    must(flooded.sent > 0 && controlled.sent > 0, "the probe did not run".into());
    must(count < FULL || growth < GROWTH, format!("the daemon grew by {growth} KiB"));
    let unaccounted = sent_udp.saturating_sub(read + sockets.lost);
    must(unaccounted == 0, format!("{unaccounted} datagrams never reached the daemon's sockets"));
    let steady = tunnel_of(&status, "steady");
    must(steady["state"] == "up", format!("the tunnel is not up: {steady}"));
    must(steady["handshakes"] == 1, format!("the tunnel did not live through it: {steady}"));
    let log = daemon.log();
    must(!log.contains("panicked"), "something panicked".into());
    if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
        println!("{line}");
    }
    let end = daemon.stop().unwrap();
    must(end.success(), format!("the daemon ended with {end}"));
    faults
}
