//! Everybody but the daemon: what they read, what they answer, and in which order they send.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::ike::config::Config;
use portcullis::lab::topology::V4;
use portcullis::platform::clock;

use super::gauge;
use super::inside::Inside;
use super::packets::{self, Dice, ECHO, Ends, OPEN, OPEN_TOO};
use super::peer::Peer;
use super::probe::{Probe, Tally};
use super::wire::{AT_ONCE, Datagram, Way, Wire};

/// The peer whose tunnel must not suffer.
pub const STEADY: IpAddr = V4.gateway_b;
/// The peer that seals IKE messages that are none.
pub const HOSTILE: IpAddr = v4(203, 0, 113, 6);
/// A peer whose tunnel is down.
pub const DOWN: IpAddr = v4(203, 0, 113, 7);
/// A peer whose tunnel is disabled.
pub const DISABLED: IpAddr = v4(203, 0, 113, 8);
/// Nobody that the daemon knows.
pub const STRANGER: IpAddr = v4(203, 0, 113, 99);
/// Host A's port for the probe: one flow, opened before the table is full.
pub const PROBE: u16 = 45_001;

/// Bytes that may wait at the daemon's sockets before we wait for the daemon: far below what they hold.
const WAITING: u64 = 192 << 10;
/// Messages of the hostile peer before it negotiates anew: the daemon has long deleted its IKE SA.
const GARBAGE: usize = 40;
/// More flows than the daemon's table holds.
const FLOWS: usize = 66_500;
/// Packets that a child SA of the hostile peer may carry, and more.
pub const CHILD_PACKETS: usize = 1_000;
const SPENT: usize = 1_200;
/// More IKE messages than fit between the packet thread and the control thread.
const BURST: usize = 3_000;
/// How long the daemon's last work may take.
const SETTLE: Duration = Duration::from_millis(1200);
/// A port of the daemon's host that nobody listens on.
const CLOSED: u16 = 33_434;

pub const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

/// Everybody but the daemon.
pub struct World {
    pub wire: Wire,
    pub inside: Inside,
    pub steady: Peer,
    pub hostile: Peer,
    pub hostile_config: Arc<Config>,
    pub dice: Dice,
    pub pid: u32,
    /// An ESP packet that the daemon has had.
    pub old: Vec<u8>,
    /// An honest IKE_SA_INIT.
    pub init: Vec<u8>,
    pub turn: usize,
    pub turn_inside: usize,
    /// Datagrams made, and those of them that a peer with keys has sealed.
    pub made: u64,
    pub sealed: u64,
    pub renewals: u64,
    pub echoed: u64,
    pub heard: u64,
    pub cookies: u64,
    /// The daemon has ended.
    pub gone: bool,
}

impl World {
    /// Reads what the daemon sends, lets the peers answer, and echoes the probe.
    pub fn pump(&mut self) {
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
                    echoes.extend(inner.and_then(answer));
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
    pub fn wait(&mut self, waiting: u64) {
        loop {
            self.pump();
            match gauge::sockets(self.pid) {
                Ok(sockets) if sockets.waiting > waiting => std::thread::sleep(Duration::from_micros(300)),
                Ok(_) => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    /// Gives the daemon the time to end what it has begun, a round of its control loop included.
    pub fn settle(&mut self) {
        let end = Instant::now() + SETTLE;
        while Instant::now() < end {
            self.wait(0);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends `count` datagrams at the daemon, as fast as it reads them.
    pub fn flood(&mut self, count: u64) {
        let end = self.made + count;
        while self.made < end && !self.gone {
            let batch = (end - self.made).min(AT_ONCE as u64);
            for at in 0..batch {
                let datagram = self.datagram(at % 2 == 0);
                self.wire.push(&datagram);
            }
            self.made += batch;
            for _ in 0..4 {
                let packet = packets::outwards_for_a_reason(&mut self.dice, self.turn_inside);
                self.inside.send(&packet);
                self.turn_inside += 1;
            }
            let (header, packet) = packets::long_for_a_reason(self.turn_inside);
            self.inside.send_as(header, &packet);
            self.wait(WAITING);
            if self.hostile.garbage > GARBAGE {
                self.hostile = Peer::start(self.hostile_config.clone(), HOSTILE);
                self.renewals += 1;
            }
        }
    }

    /// Sends more on a child SA of the hostile peer than one may carry. The daemon asks for a new key in time, and nobody
    /// reads it before this is over.
    pub fn spend_a_child_sa(&mut self) {
        for sent in 0..SPENT {
            let Some(sealer) = self.hostile.sealer(false) else { return };
            let bytes = sealer.seal(&Ends::inwards(1024, OPEN).udp(&[]).into());
            self.wire.push(&Datagram { way: Way::Raw, from: HOSTILE, to_port: 0, tos: 0, bytes });
            self.made += 1;
            self.sealed += 1;
            if sent % AT_ONCE == 0 {
                self.wire.flush();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.wait(0);
    }

    /// Opens more flows than there is room for.
    pub fn fill_the_flow_table(&mut self) {
        for flow in 0..FLOWS {
            let to = if flow % 2 == 0 { OPEN } else { OPEN_TOO };
            let inner = Ends::inwards(1024 + (flow / 2) as u16, to).udp(&[]);
            let Some(sealer) = self.steady.sealer(false) else { return };
            let bytes = sealer.seal(&inner.into());
            self.wire.push(&Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos: 0, bytes });
            self.made += 1;
            self.sealed += 1;
            if flow % 256 == 0 {
                self.wait(WAITING);
            }
        }
    }

    /// Some IKE messages as long as can be, and many at once, faster than they can be answered. In this order: the first ones
    /// may bring the filter, which lets nothing of strangers pass, and of each peer everything until that is seen to flood.
    pub fn burst(&mut self) {
        for _ in 0..10 {
            for _ in 0..AT_ONCE {
                let bytes = vec![0; 9_600];
                self.wire.push(&Datagram { way: Way::Stranger, from: STRANGER, to_port: 4500, tos: 0, bytes });
            }
            self.made += AT_ONCE as u64;
            self.wait(0);
        }
        for _ in 0..BURST {
            let mut message = self.init.clone();
            let spi = self.dice.roll().to_be_bytes();
            message[..8].copy_from_slice(&spi);
            let bytes = [&[0; 4][..], &message].concat();
            self.wire.push(&Datagram { way: Way::NatT, from: DOWN, to_port: 4500, tos: 0, bytes });
        }
        self.made += BURST as u64;
        self.wait(0);
    }

    /// As many datagrams at the same rate to a port where nobody listens.
    pub fn control(&mut self, count: u64, took: Duration) {
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
            let due = took * (sent / AT_ONCE as u64) as u32 / (count / AT_ONCE as u64).max(1) as u32;
            while start.elapsed() < due {
                std::thread::sleep(Duration::from_micros(200));
                self.pump();
            }
        }
    }

    /// Lets the last numbers of a probe come home.
    pub fn tally(&mut self, probe: Probe) -> Tally {
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
