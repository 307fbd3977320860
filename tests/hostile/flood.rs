//! The run: daemon and tunnel up, a warm-up that also fills what can be filled, the flood, the control, the verdict.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis::event::DropReason;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{Topology, V4, V6};
use portcullis::platform::netlink::Netlink;
use serde_json::Value;

use super::inside::{Inside, set_mtu};
use super::packets::{Dice, ECHO, Ends, FIXED, OPEN, OPEN_TCP, OPEN_TOO};
use super::peer::{self, Peer};
use super::probe::Probe;
use super::wire::Wire;
use super::world::{CHILD_PACKETS, DISABLED, DOWN, HOSTILE, PROBE, STEADY, STRANGER, World, v4};
use super::{gauge, reasons};

/// A host behind the hostile peer, and one behind the tunnel that is down.
const HOSTS: [IpAddr; 3] = [v4(10, 20, 0, 30), v4(10, 20, 0, 40), v4(10, 20, 0, 50)];

const PSK: &str = "8f1d6ab3c05e47921bd4f7a86e903c5512aa7e64d93fb0c81e5d2976ab40cf33";
/// From this many datagrams on memory is held against its bound; a short run still warms up.
const FULL: u64 = 1_000_000;
/// How much the daemon may grow, in KiB.
const GROWTH: i64 = 1024;
/// Datagrams of the shortest warm-up: enough to open each flow that is needed before the table is full.
const WARM_UP: u64 = 3_000;

/// The daemon's file, or with `peer` that peer's view of its own tunnel.
fn file(peer: Option<IpAddr>) -> String {
    let mut out = "[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n\n\
                   [agreement.lab]\nkind = \"lab\"\n\n"
        .to_owned();
    let tunnels = [
        ("steady", STEADY, "aes256gcm16-x25519", "forced"),
        ("hostile", HOSTILE, "aes256gcm16-x25519-esn", "auto"),
        ("down", DOWN, "aes256gcm16-x25519", "auto"),
        ("disabled", DISABLED, "aes256gcm16-x25519", "auto"),
    ];
    for (name, address, esp, encapsulation) in tunnels {
        let (local, remote, start) = match peer {
            Some(peer) if peer != address => continue,
            Some(_) => (address, V4.gateway_a, "always"),
            None if address == DISABLED => (V4.gateway_a, address, "disabled"),
            None => (V4.gateway_a, address, "manual"),
        };
        let _ = writeln!(
            out,
            "[tunnel.{name}]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = \"{remote}\"\nstart = \"{start}\"\n\
             auth = {{ method = \"psk\", secret = \"hex:{PSK}\" }}\nike = [\"aes256gcm16-prfsha256-x25519\"]\n\
             esp = [\"{esp}\"]\nencapsulation = \"{encapsulation}\"\n"
        );
        if peer.is_none() && address == HOSTILE {
            let _ = writeln!(out, "child_lifetime = {{ packets = {CHILD_PACKETS} }}\n");
        }
    }
    let a = V4.host_a;
    let rules = [
        ("probe", STEADY, a, V4.host_b, true, format!("service = \"udp\"\nudp = [{ECHO}]")),
        ("mq", STEADY, a, V4.host_b, true, "service = \"tcp\"\ntcp = [1414]".into()),
        ("open", STEADY, V4.host_b, a, false, format!("service = \"udp\"\nudp = [{OPEN}, {OPEN_TOO}]")),
        ("tcp", STEADY, V4.host_b, a, false, format!("service = \"tcp\"\ntcp = [{OPEN_TCP}]")),
        ("echo", STEADY, V4.host_b, a, false, "service = \"echo\"".into()),
        ("open6", STEADY, V6.host_b, V6.host_a, false, format!("service = \"udp\"\nudp = [{OPEN}]")),
        ("other", HOSTILE, HOSTS[0], a, false, format!("service = \"udp\"\nudp = [{OPEN}]")),
        ("gone", DOWN, a, HOSTS[1], true, "service = \"mq\"".into()),
        ("disabled", DISABLED, a, HOSTS[2], true, "service = \"mq\"".into()),
    ];
    for (name, owner, from, to, outwards, service) in rules {
        if peer.is_some_and(|peer| peer != owner) {
            continue;
        }
        let tunnel = tunnels.iter().find(|(_, address, ..)| *address == owner).map_or("", |(name, ..)| name);
        let direction = if outwards == peer.is_none() { "outbound" } else { "inbound" };
        let _ = writeln!(
            out,
            "[[rule]]\nname = \"{name}\"\ntunnel = \"{tunnel}\"\nclause = \"lab\"\nfrom = [\"{from}\"]\n\
             to = [\"{to}\"]\ndirection = \"{direction}\"\n{service}\n"
        );
    }
    out
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

/// A counter of all tunnels together.
fn carried(status: &Value, name: &str) -> u64 {
    let all = status["tunnels"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(|tunnel| tunnel["counters"][name].as_u64()).sum()
}

fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
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
    let tun = status["tun"].as_str().unwrap_or_default().to_owned();
    let mut world = World {
        wire: Wire::open(&topology.gateway_b).unwrap(),
        inside: Inside::open(&topology.gateway_a, &tun).unwrap(),
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
        gone: false,
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
    world.spend_a_child_sa();
    // In peace: in a flood the kernel's filter would take most of it away.
    world.burst();
    world.flood(warm_up);
    world.fill_the_flow_table();
    narrow_the_link(&topology, &mut world);
    let warmed = world.tally(probe);
    world.settle();
    println!("warm-up: {} datagrams in {:.1} s", world.made, start.elapsed().as_secs_f64());

    if world.gone {
        return vec![format!("the daemon has ended in the warm-up; its last words:\n{}", last_words(&daemon.log()))];
    }
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
    if world.gone {
        return vec![format!("the daemon has ended; its last words:\n{}", last_words(&daemon.log()))];
    }
    let memory_after = gauge::memory(pid).unwrap();
    let sockets = gauge::sockets(pid).unwrap();
    let read = gauge::datagrams_read(pid).unwrap() - read_before;
    let sent = world.wire.sent;
    let sent_udp = sent.udp - sent_before;
    let packets_read = gauge::packets_read(pid, &tun).unwrap();
    let status = daemon.status().unwrap_or_default();

    let probe = Probe::start(&topology.host_a, PROBE, 2 << 32).unwrap();
    world.control(rest, took);
    let controlled = world.tally(probe);

    let histogram = reasons::histogram(&status);
    let rate = u128::from(rest) * 1_000_000 / took.as_micros().max(1);
    reasons::print(&histogram);
    println!("IKE refusals: {}", status["ike_refused"]);
    println!(
        "flood: {rest} datagrams in {:.1} s, {rate} a second; {} of all {} were sealed with the keys",
        took.as_secs_f64(),
        world.sealed,
        world.made
    );
    // The kernel's counter of a socket has both: what its filter refused, and what found no room.
    let filtered = status["ike_refused"]["refused-in-kernel"].as_u64().unwrap_or(0);
    let full = sockets.lost.saturating_sub(filtered);
    println!(
        "sent {} in UDP and {} raw ({} that our own kernel refused); the daemon read {read} in UDP; {} did not come to it, \
         {} of them in the flood: {filtered} by its filter, {full} found a socket full",
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
    let lost = sockets.lost;
    must(filtered <= lost, format!("the filter is said to have refused {filtered}, and {lost} did not come at all"));
    // What the data path read is what it passed and what it dropped. IKE that found a queue full was not for it, and what
    // could not be sent had passed before.
    let come = sent.data + packets_read;
    let passed = ["packets_in", "packets_out"].map(|name| carried(&status, name));
    let dropped: u64 = histogram.values().sum();
    let beside = histogram[&DropReason::QueueFull] + histogram[&DropReason::SendFailed];
    let gone = passed[0] + passed[1] + dropped - beside;
    println!(
        "ledger: {} datagrams and {packets_read} packets came; {} were let in, {} let out, {} dropped by name",
        sent.data,
        passed[0],
        passed[1],
        dropped - beside
    );
    // A datagram that found its socket full never came. What the filter refuses is not for the data path.
    let closes = gone <= come && come - gone <= full;
    must(closes, format!("{come} packets came to the data path, and {gone} have a name"));
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
