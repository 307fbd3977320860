//! A model of the data path: numbered packets, sealed by a checksum under the SA's keys in place of a cipher, with everything
//! that IKE hears of - limits, first packets, packets without an SA, a peer that has moved. `dataplane` is the real one; this one
//! obeys the same commands and is small enough to be looked at after each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::event::FlowKey;
use crate::ids::{ShapeId, TunnelId};
use crate::sa::child::{Encapsulation, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;

const SECOND: u64 = 1_000_000_000;
/// As in `dataplane::held`.
const HELD_FOR: u64 = 5 * SECOND;
const EXPECTED_FOR: u64 = 60 * SECOND;
const HELD: usize = 4096;

/// An inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whose traffic it is.
    pub tunnel: TunnelId,
    /// By which rule.
    pub shape: ShapeId,
    /// Which gateway it came to first.
    pub sender: usize,
    /// Its number among those of this sender and shape.
    pub number: u32,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its length.
    pub len: u16,
}

/// The same under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esp {
    /// The receiver's SPI.
    pub spi: u32,
    /// The sequence number.
    pub sequence: u64,
    /// In place of an ICV.
    pub tag: u64,
    /// In place of ciphertext.
    pub packet: Packet,
}

/// What became of a packet on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is under way.
    Sent(Encapsulation, Esp),
    /// There is no SA for it.
    NoSa,
    /// The SA is at its hard limit.
    Spent,
}

/// What became of a packet on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is delivered.
    Delivered(Packet),
    /// No SA has this SPI.
    UnknownSpi,
    /// It waits for its SA.
    Held,
    /// It is not what the peer sealed.
    Forged,
    /// It has come before, or is older than the window.
    Replayed,
    /// It came in UDP where raw ESP was agreed on, or the other way round.
    WrongEncapsulation,
    /// It is not for this SA.
    OutsideSelectors,
}

struct Inbound {
    spec: InboundSpec,
    key: u64,
    highest: u64,
    seen: BTreeSet<u64>,
    used: Used,
    first: bool,
}

struct Outbound {
    spec: OutboundSpec,
    key: u64,
    sequence: u64,
    used: Used,
}

#[derive(Default)]
struct Used {
    packets: u64,
    bytes: u64,
    soft: bool,
    hard: bool,
}

impl Used {
    /// Counts one packet. Whether it may pass, and what is to be said.
    fn count(&mut self, limits: &crate::sa::lifetime::Lifetime, len: u16, inbound: Spi) -> (bool, Option<SadEvent>) {
        if self.packets >= limits.hard_packets || self.bytes >= limits.hard_bytes {
            let told = std::mem::replace(&mut self.hard, true);
            return (false, (!told).then_some(SadEvent::HardLimit { inbound }));
        }
        self.packets += 1;
        self.bytes += u64::from(len);
        let soft = self.packets >= limits.soft_packets || self.bytes >= limits.soft_bytes;
        let tell = soft && !self.soft;
        self.soft |= soft;
        (true, tell.then_some(SadEvent::SoftLimit { inbound }))
    }
}

/// A small keyed checksum: no peer without the key makes it, as far as this simulation goes.
fn tag(key: u64, esp: (u32, u64), packet: &Packet) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64 ^ u128::from(v6) as u64,
    };
    let parts = [
        u64::from(esp.0),
        esp.1,
        u64::from(packet.tunnel.0) << 32 | u64::from(packet.shape.0) << 16 | u64::from(packet.len),
        (packet.sender as u64) << 32 | u64::from(packet.number),
        address(packet.source),
        address(packet.destination),
    ];
    parts.iter().fold(key, |hash, part| mix(hash ^ part))
}

/// One round of SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Some bytes as one number.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = 0x51_7c_c1_b7_27_22_0a_95 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// The keys of one direction as one number.
pub(super) fn key_of(keys: &crate::sa::child::EspKeys) -> u64 {
    mix(digest(keys.cipher.expose()) ^ digest(keys.mac.expose()).rotate_left(17))
}

/// The data path of one gateway.
#[derive(Default)]
pub struct DataPath {
    inbound: BTreeMap<Spi, Inbound>,
    outbound: BTreeMap<Spi, Outbound>,
    ways: BTreeMap<(TunnelId, ShapeId), Vec<Spi>>,
    expected: BTreeMap<Spi, u64>,
    held: VecDeque<(u64, SocketAddr, SocketAddr, Esp)>,
    asked: BTreeMap<(TunnelId, ShapeId), u64>,
    /// What IKE has to hear.
    pub events: VecDeque<SadEvent>,
}

impl DataPath {
    /// Changes the SAD. An `Err` says what IKE must never ask for.
    pub fn apply(&mut self, now: u64, command: SadCommand) -> Result<(), &'static str> {
        match command {
            SadCommand::ExpectInbound(spi) => {
                self.expected.insert(spi, now);
            }
            SadCommand::InstallInbound(spec) => {
                self.expected.remove(&spec.spi);
                let key = key_of(&spec.keys);
                let fresh =
                    Inbound { spec: *spec, key, highest: 0, seen: BTreeSet::new(), used: Used::default(), first: true };
                if self.inbound.insert(fresh.spec.spi, fresh).is_some() {
                    return Err("an inbound SPI was installed twice");
                }
            }
            SadCommand::InstallOutbound(spec) => {
                if !self.inbound.contains_key(&spec.inbound) {
                    return Err("an outbound SA was installed without its inbound half");
                }
                let key = key_of(&spec.keys);
                self.ways.entry((spec.child.tunnel, spec.child.shape)).or_default().push(spec.inbound);
                let fresh = Outbound { spec: *spec, key, sequence: 0, used: Used::default() };
                if self.outbound.insert(fresh.spec.inbound, fresh).is_some() {
                    return Err("an outbound SA was installed twice");
                }
            }
            SadCommand::RemoveInbound(spi) => {
                if self.inbound.remove(&spi).is_none() {
                    return Err("an inbound SA was removed that was not installed");
                }
                if self.outbound.contains_key(&spi) {
                    return Err("an inbound SA was removed while its outbound half is in use");
                }
            }
            SadCommand::RemoveOutbound { inbound } => {
                self.outbound.remove(&inbound);
                self.ways.values_mut().for_each(|ways| ways.retain(|of| *of != inbound));
                self.ways.retain(|_, ways| !ways.is_empty());
            }
            SadCommand::Redirect { inbound, encapsulation, .. } => {
                for spi in inbound {
                    let halves = (self.outbound.get_mut(&spi), self.inbound.get_mut(&spi));
                    let of = (halves.0.map(|out| &mut out.spec.child), halves.1.map(|sa| &mut sa.spec.child));
                    for child in [of.0, of.1].into_iter().flatten() {
                        child.encapsulation = encapsulation;
                    }
                }
            }
        }
        Ok(())
    }

    /// Seals a packet with the newest SA of its shape.
    pub fn seal(&mut self, now: u64, packet: Packet) -> Sealed {
        let way = (packet.tunnel, packet.shape);
        let newest = self.ways.get(&way).and_then(|ways| ways.last());
        let Some(out) = newest.and_then(|inbound| self.outbound.get_mut(inbound)) else {
            let asked = self.asked.entry(way).or_insert(0);
            if *asked == 0 || now.saturating_sub(*asked) >= SECOND {
                *asked = now.max(1);
                self.events.push_back(SadEvent::Acquire { tunnel: way.0, shape: way.1 });
            }
            return Sealed::NoSa;
        };
        let (passes, event) = out.used.count(&out.spec.child.lifetime, packet.len, out.spec.inbound);
        self.events.extend(event);
        if !passes {
            return Sealed::Spent;
        }
        out.sequence += 1;
        let spi = out.spec.spi.get();
        let tag = tag(out.key, (spi, out.sequence), &packet);
        Sealed::Sent(out.spec.child.encapsulation, Esp { spi, sequence: out.sequence, tag, packet })
    }

    /// Opens what has come in.
    pub fn open(&mut self, now: u64, local: SocketAddr, remote: SocketAddr, esp: Esp) -> Opened {
        let Some(sa) = Spi::new(esp.spi).and_then(|spi| self.inbound.get_mut(&spi)) else {
            let waits = Spi::new(esp.spi).and_then(|spi| self.expected.get(&spi));
            if waits.is_some_and(|since| now.saturating_sub(*since) < EXPECTED_FOR) && self.held.len() < HELD {
                self.held.push_back((now, local, remote, esp));
                return Opened::Held;
            }
            return Opened::UnknownSpi;
        };
        // A gateway takes either form (RFC 7296 §2.23). Here both are held to what they agreed on: a disagreement is to show.
        // Raw ESP has no port.
        if matches!(sa.spec.child.encapsulation, Encapsulation::Udp { .. }) == (remote.port() == 0) {
            return Opened::WrongEncapsulation;
        }
        let window = u64::from(sa.spec.replay_window.max(1));
        let too_old = esp.sequence + window <= sa.highest;
        if too_old || sa.seen.contains(&esp.sequence) {
            return Opened::Replayed;
        }
        if tag(sa.key, (esp.spi, esp.sequence), &esp.packet) != esp.tag {
            return Opened::Forged;
        }
        sa.seen.insert(esp.sequence);
        let newest = esp.sequence > sa.highest;
        sa.highest = sa.highest.max(esp.sequence);
        while sa.seen.first().is_some_and(|oldest| oldest + window <= sa.highest) {
            sa.seen.pop_first();
        }
        let inbound = sa.spec.spi;
        let (passes, event) = sa.used.count(&sa.spec.child.lifetime, esp.packet.len, inbound);
        self.events.extend(event);
        if std::mem::take(&mut sa.first) {
            self.events.push_back(SadEvent::FirstInbound { inbound });
        }
        // RFC 7296 §2.23: a peer behind a NAT is where its newest authenticated packet came from.
        if newest && matches!(sa.spec.child.encapsulation, Encapsulation::Udp { remote: of, .. } if of != remote) {
            self.events.push_back(SadEvent::PeerMoved { inbound, remote, local });
        }
        let key = FlowKey {
            protocol: 17,
            source: esp.packet.source,
            source_port: 1,
            destination: esp.packet.destination,
            destination_port: 1,
        };
        let child = &sa.spec.child;
        // RFC 4301 §5.2: what comes out must match the selectors of the SA it came by.
        let fits = child.remote.iter().any(|of| of.contains_source(&key))
            && child.local.iter().any(|of| of.contains_destination(&key));
        if !fits || !passes {
            return Opened::OutsideSelectors;
        }
        Opened::Delivered(esp.packet)
    }

    /// What was held for an SA that is there now, in order.
    pub fn release(&mut self, now: u64) -> Vec<(SocketAddr, SocketAddr, Esp)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let inbound = &self.inbound;
        let is_there = |esp: &Esp| Spi::new(esp.spi).is_some_and(|spi| inbound.contains_key(&spi));
        let mut ready = Vec::new();
        self.held.retain(|(since, local, remote, esp)| {
            let there = is_there(esp);
            if there {
                ready.push((*local, *remote, *esp));
            }
            !there && now.saturating_sub(*since) < HELD_FOR
        });
        ready
    }

    /// How many SAs there are, inbound and outbound.
    #[must_use]
    pub fn len(&self) -> [usize; 2] {
        [self.inbound.len(), self.outbound.len()]
    }

    /// Whether there is no SA.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty()
    }

    /// Whether packets of this shape have an SA.
    #[must_use]
    pub fn has_way(&self, tunnel: TunnelId, shape: ShapeId) -> bool {
        self.ways.contains_key(&(tunnel, shape))
    }
}
