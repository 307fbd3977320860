//! Load, in figures: handshakes a second on one core, and the memory of ten thousand tunnels.
//!
//! `cargo bench --bench load` needs nothing but this machine. `tests/load` and `tests/flood` run the same program inside
//! network namespaces: `drive` opens IKE SAs with a responder that runs there, ours or another, and counts what each costs its
//! process; `flood` sends first messages under other people's names.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as Wall};

use portcullis::config::{self, Loaded};
use portcullis::dataplane::pipeline::{Pipeline, PipelineConfig};
use portcullis::entropy::SeededEntropy;
use portcullis::ids::TunnelId;
use portcullis::ike::api::{Input, Output};
use portcullis::ike::config::{Config, TunnelConfig};
use portcullis::ike::endpoint::Endpoint;
use portcullis::time::Instant;
use socket2::{Domain, Protocol, Socket, Type};

const P384: &str = "aes256gcm16-prfsha384-ecp384";
const X25519: &str = "aes256gcm16-prfsha256-x25519";
const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
/// How long each suite is measured.
const TIME: Duration = Duration::from_secs(3);
/// Tunnels in one process.
const TUNNELS: u32 = 10_000;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["drive", local, peer, seconds, pid, suite, secret] => drive([local, peer], seconds, pid, suite, secret),
        ["flood", source, to, rate, seconds, names] => flood(source, to, rate, seconds, names),
        ["handshakes"] => {
            handshakes();
            Ok(())
        }
        ["tunnels", count] => tunnels(count.parse().map_err(io::Error::other)?),
        _ => {
            handshakes();
            tunnels(TUNNELS)
        }
    }
}

fn load(text: &str) -> Loaded {
    config::load_text(Path::new("load.toml"), text, None).unwrap_or_else(|error| panic!("{error:?}"))
}

/// One tunnel of a configuration file.
fn tunnel(
    name: &str,
    [local, peer]: [&str; 2],
    suite: &str,
    secret: &str,
    [near, far]: [&str; 2],
    start: &str,
) -> String {
    format!(
        "[tunnel.{name}]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = \"{peer}\"\nauth = {{ method = \"psk\", secret = \"{secret}\" \
         }}\nike = [\"{suite}\"]\nesp = [\"aes256gcm16\"]\nstart = \"{start}\"\n[[rule]]\nname = \"{name}\"\ntunnel = \"{name}\"\nclause = \
         \"load\"\nfrom = [\"{near}\"]\nto = [\"{far}\"]\nservice = \"tcp\"\ntcp = [5201]\ndirection = \"outbound\"\n"
    )
}

const HEAD: &str = "[agreement.lab]\nkind = \"lab\"\n";
const SECRET: &str = "hex:6c6f6e6720656e6f75676820746f2062652061206b657920686572652e2e2e2e";

fn endpoint(text: &str, seed: u64) -> Endpoint {
    Endpoint::new(load(text).ike, Box::new(SeededEntropy::new(seed)), false)
}

/// What an endpoint wants to be sent.
fn sent(endpoint: &mut Endpoint) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let mut sent = Vec::new();
    loop {
        match endpoint.poll_output() {
            Output::Transmit { local, remote, bytes } => sent.push((local, remote, bytes)),
            Output::Timeout(_) => return sent,
            _ => {}
        }
    }
}

fn handshakes() {
    println!("handshakes on one core, both ends in this process, PSK, with the first child SA:");
    for (name, suite) in [("P-384", P384), ("X25519", X25519), ("X25519 + ML-KEM-768", HYBRID)] {
        let file = |ends, hosts, start| format!("{HEAD}{}", tunnel("t", ends, suite, SECRET, hosts, start));
        let [a, b] = ["192.0.2.1", "198.51.100.1"];
        let loaded =
            [file([a, b], ["10.1.0.1", "10.2.0.1"], "always"), file([b, a], ["10.2.0.1", "10.1.0.1"], "manual")]
                .map(|text| load(&text));
        let (mut count, mut cost) = (0_u64, [Duration::ZERO; 2]);
        let started = Wall::now();
        while started.elapsed() < TIME {
            let mut ends: Vec<Endpoint> = loaded
                .iter()
                .zip([2, 3])
                .map(|(loaded, salt)| {
                    Endpoint::new(loaded.ike.clone(), Box::new(SeededEntropy::new(count * 4 + salt)), false)
                })
                .collect();
            let now = Instant::ZERO + Duration::from_secs(1000);
            let mut line = VecDeque::new();
            let mut give = |ends: &mut Vec<Endpoint>, side: usize, input: Input<'_>, line: &mut VecDeque<_>| {
                let begun = Wall::now();
                ends[side].handle(now, input);
                line.extend(
                    sent(&mut ends[side]).into_iter().map(|(local, remote, bytes)| (1 - side, remote, local, bytes)),
                );
                cost[side] += begun.elapsed();
            };
            give(&mut ends, 0, Input::Timeout, &mut line);
            while let Some((to, local, remote, bytes)) = line.pop_front() {
                give(&mut ends, to, Input::Datagram { local, remote, bytes: &bytes }, &mut line);
            }
            assert!(ends.iter().all(|end| end.status()[0].state == "up"), "a handshake");
            count += 1;
        }
        let each = |cost: Duration| cost.as_secs_f64() * 1e6 / count as f64;
        println!(
            "  {name:20} {:8.0} /s    {:6.0} us as initiator, {:6.0} us as responder ({:.0} /s)",
            count as f64 / started.elapsed().as_secs_f64(),
            each(cost[0]),
            each(cost[1]),
            1e6 / each(cost[1])
        );
    }
}

/// Resident memory that is not a file.
fn resident() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024)
}

fn host(front: u8, number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(front, b, c, d).to_string()
}

/// Ten thousand peers, one after the other; each is gone before the next one comes.
fn tunnels(count: u32) -> io::Result<()> {
    let here = "192.0.2.1";
    let begun = Wall::now();
    let before = resident()?;
    // Each from a file of its own: a file of so many would be longer than any that is read.
    let mut tunnels = Vec::new();
    for number in 1..=count {
        let (peer, far, near) = (host(100, number), host(11, number), host(10, number));
        let text =
            format!("{HEAD}{}", tunnel(&format!("t{number}"), [here, &peer], X25519, SECRET, [&near, &far], "manual"));
        let one = Arc::into_inner(load(&text).ike).expect("nobody else has it").tunnels.remove(0);
        let one = Arc::into_inner(one).expect("nobody else has it");
        tunnels.push(Arc::new(TunnelConfig { id: TunnelId(u16::try_from(number).map_err(io::Error::other)?), ..one }));
    }
    println!("{count} tunnels: configured after {:.1} s", begun.elapsed().as_secs_f64());
    let configured = resident()?;
    let policy = load(HEAD).policy;
    let loaded = Arc::new(Config { tunnels, cookie_threshold: None, puzzles: None });
    let mut gateway = Endpoint::new(loaded, Box::new(SeededEntropy::new(1)), false);
    let mut pipeline = Pipeline::new(PipelineConfig { flow_capacity: 65_536, hash_seed: [1; 4] }, policy);
    let now = Instant::ZERO + Duration::from_secs(1000);
    gateway.handle(now, Input::Timeout);
    let idle = resident()?;
    let begun = Wall::now();
    let mut commands = 0_u64;
    for number in 1..=count {
        let (peer, far, near) = (host(100, number), host(11, number), host(10, number));
        let text = format!("{HEAD}{}", tunnel("t", [&peer, here], X25519, SECRET, [&far, &near], "always"));
        let mut other = endpoint(&text, u64::from(number) + 7);
        other.handle(now, Input::Timeout);
        let mut asked: VecDeque<_> = sent(&mut other).into();
        while let Some((local, remote, bytes)) = asked.pop_front() {
            gateway.handle(now, Input::Datagram { local: remote, remote: local, bytes: &bytes });
            loop {
                match gateway.poll_output() {
                    Output::Transmit { local, remote, bytes } => {
                        other.handle(now, Input::Datagram { local: remote, remote: local, bytes: &bytes });
                        asked.extend(sent(&mut other));
                    }
                    Output::Sad(command) => {
                        commands += 1;
                        pipeline.apply(now, command);
                    }
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
        if number.is_power_of_two() || number == count {
            let full = resident()?;
            println!(
                "  {number:6} up after {:6.1} s: {:6.2} KiB a tunnel for keys and states",
                begun.elapsed().as_secs_f64(),
                full.saturating_sub(idle) as f64 / 1024.0 / f64::from(number)
            );
        }
    }
    let up = gateway.status().iter().filter(|tunnel| tunnel.state == "up").count();
    assert_eq!(up, count as usize, "every tunnel is up");
    let full = resident()?;
    let each = |bytes: u64| bytes as f64 / 1024.0 / f64::from(count);
    println!(
        "  {up} up, {commands} changes of the SAD; a tunnel takes {:.2} KiB ({:.2} of configuration, {:.2} of keys and states), rules \
         and flows not counted; bound 32 KiB: {}",
        each(configured.saturating_sub(before) + full.saturating_sub(idle)),
        each(configured.saturating_sub(before)),
        each(full.saturating_sub(idle)),
        if each(configured.saturating_sub(before) + full.saturating_sub(idle)) < 32.0 { "held" } else { "NOT HELD" }
    );
    Ok(())
}

/// Seconds of processor time that a process has used.
fn processor_time(pid: &str) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

/// Opens one IKE SA after the other with a responder that runs as `pid`.
fn drive([local, peer]: [&str; 2], seconds: &str, pid: &str, suite: &str, secret: &str) -> io::Result<()> {
    let seconds = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let secret = std::fs::read(secret).map(|bytes| format!("hex:{}", hex::encode(bytes.trim_ascii_end())))?;
    let text = format!("{HEAD}{}", tunnel("t", [local, peer], suite, &secret, ["10.81.1.2", "10.81.2.2"], "always"));
    let loaded = load(&text);
    // Port 4500 for those who see, or feign, a NAT (RFC 7296 §2.23), with the marker of RFC 3948 §2.2.
    let sockets = [(500, 0), (4500, 4)].map(|(port, marker)| Ok((UdpSocket::bind((local, port))?, port, marker)));
    let sockets: Vec<(UdpSocket, u16, usize)> = sockets.into_iter().collect::<io::Result<_>>()?;
    for (socket, _, _) in &sockets {
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    }
    let epoch = Wall::now();
    let now = || Instant::ZERO + Duration::from_secs(1000) + epoch.elapsed();
    let (mut count, mut lost, mut worst) = (0_u64, 0_u64, Duration::ZERO);
    let used = processor_time(pid)?;
    while epoch.elapsed() < seconds {
        let begun = Wall::now();
        let seed = u64::from_be_bytes(std::array::from_fn(|at| begun.elapsed().as_nanos().to_be_bytes()[8 + at]))
            ^ (count << 20)
            ^ u64::from(std::process::id());
        let mut end = Endpoint::new(loaded.ike.clone(), Box::new(SeededEntropy::new(seed)), false);
        end.handle(now(), Input::Timeout);
        let mut room = [0; 4096];
        let mut floated = 0;
        loop {
            for (from, remote, bytes) in sent(&mut end) {
                floated = usize::from(from.port() == 4500);
                let (socket, _, marker) = &sockets[floated];
                socket.send_to(&[&[0; 4][..*marker], &bytes].concat(), remote)?;
            }
            let (socket, port, marker) = &sockets[floated];
            if end.status()[0].state == "up" {
                count += 1;
                worst = worst.max(begun.elapsed());
                break;
            }
            if let Ok((length, remote)) = socket.recv_from(&mut room) {
                let local = SocketAddr::new(local.parse().map_err(io::Error::other)?, *port);
                let bytes = room[..length].get(*marker..).unwrap_or_default();
                end.handle(now(), Input::Datagram { local, remote, bytes });
            } else {
                end.handle(now(), Input::Timeout);
                lost += 1;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                break;
            }
        }
    }
    let used = processor_time(pid)? - used;
    println!(
        "{count} handshakes in {:.1} s, {:.0} us of the responder's processor time each: {:.0} /s on one core (longest {:.0} ms, {lost} \
         timeouts)",
        epoch.elapsed().as_secs_f64(),
        used * 1e6 / count.max(1) as f64,
        count as f64 / used.max(1e-9),
        worst.as_secs_f64() * 1e3
    );
    Ok(())
}

/// The checksum of an IPv4 header.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

/// First messages with fresh SPIs, `rate` a second: under the name of the peer (`peer`), of anybody (`random`), or of the
/// peer each tenth time (`mixed`).
fn flood(source: &str, to: &str, rate: &str, seconds: &str, names: &str) -> io::Result<()> {
    let peer: Ipv4Addr = source.parse().map_err(io::Error::other)?;
    let to: SocketAddrV4 = to.parse().map_err(io::Error::other)?;
    let rate: u64 = rate.parse().map_err(io::Error::other)?;
    let seconds = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let target = to.ip().to_string();
    let text = format!("{HEAD}{}", tunnel("t", [source, &target], P384, SECRET, ["10.81.1.2", "10.81.2.2"], "always"));
    let mut end = endpoint(&text, 99);
    end.handle(Instant::ZERO + Duration::from_secs(1), Input::Timeout);
    let (_, _, request) = sent(&mut end).remove(0);
    let length = u16::try_from(28 + request.len()).map_err(io::Error::other)?;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(peer.octets());
    packet.extend(to.ip().octets());
    for word in [500, to.port(), length - 20, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(&request);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
    socket.set_header_included_v4(true)?;
    socket.set_send_buffer_size(4 << 20)?;
    let address = SocketAddr::from((*to.ip(), 0)).into();
    let begun = Wall::now();
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut count, mut refused) = (0_u64, 0_u64);
    while begun.elapsed() < seconds {
        // As many as are due by now, and then a nap: a burst is a millisecond's worth.
        let due = u64::try_from(begun.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        while count < due {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            let spoofed = match names {
                "peer" => peer,
                "mixed" if count % 10 == 0 => peer,
                // 11.0.0.0 to 110.255.255.255: no kernel throws those away as impossible.
                _ => Ipv4Addr::from_bits(number as u32 & 0x00ff_ffff | (11 + (number >> 40) as u32 % 100) << 24),
            };
            packet[10..12].fill(0);
            packet[12..16].copy_from_slice(&spoofed.octets());
            let sum = checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet[28..36].copy_from_slice(&(number | 1).to_be_bytes());
            if socket.send_to(&packet, &address).is_err() {
                refused += 1;
            }
            count += 1;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    println!(
        "{count} sent in {:.1} s ({:.0} /s), {refused} refused here",
        begun.elapsed().as_secs_f64(),
        count as f64 / begun.elapsed().as_secs_f64()
    );
    Ok(())
}
