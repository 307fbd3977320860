//! Pairs of SAs and inner packets for the tests of ESP and the data path.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; a helper may panic as a test may

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use portcullis::crypto::suite::{Cipher, Mac};
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::pipeline::{Pipeline, PipelineConfig};
use portcullis::event::DropReason;
use portcullis::ids::{RuleId, ShapeId, TunnelId};
use portcullis::policy::selector::TrafficSelector;
use portcullis::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use portcullis::sa::child::{ChildSpec, Encapsulation, EspKeys, InboundSpec, OutboundSpec};
use portcullis::sa::command::SadCommand;
use portcullis::sa::event::SadEvent;
use portcullis::sa::lifetime::Lifetime;
use portcullis::sa::spi::Spi;
use portcullis::secret::Secret;
use portcullis::time::Instant;

/// A time later than the clock's origin.
pub const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

/// No limit but that of the sequence number.
pub const ENDLESS: Lifetime = Lifetime {
    soft_packets: u64::MAX,
    hard_packets: u64::MAX,
    soft_bytes: u64::MAX,
    hard_bytes: u64::MAX,
    soft_time: Duration::MAX,
    hard_time: Duration::MAX,
};

/// One way to protect packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    pub cipher: Cipher,
    pub mac: Option<Mac>,
    pub esn: bool,
}

impl Suite {
    pub const GCM: Self = Self { cipher: Cipher::Aes256Gcm16, mac: None, esn: false };
    pub const GCM_ESN: Self = Self { cipher: Cipher::Aes256Gcm16, mac: None, esn: true };
    pub const CBC: Self = Self { cipher: Cipher::Aes256Cbc, mac: Some(Mac::HmacSha256), esn: false };

    /// Every suite that can be negotiated, with and without ESN.
    pub fn all() -> impl Iterator<Item = Self> {
        let ciphers = [
            (Cipher::Aes256Gcm16, None),
            (Cipher::Aes128Gcm16, None),
            (Cipher::ChaCha20Poly1305, None),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha256)),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha384)),
            (Cipher::Aes256Cbc, Some(Mac::HmacSha512)),
        ];
        ciphers.into_iter().flat_map(|(cipher, mac)| [false, true].map(|esn| Self { cipher, mac, esn }))
    }

    /// The same keys at every call.
    pub fn keys(self) -> EspKeys {
        let bytes = |len: usize, seed: u8| (0..len as u8).map(|at| at.wrapping_mul(7) ^ seed).collect::<Vec<u8>>();
        EspKeys {
            cipher: Secret::new(bytes(self.cipher.key_len(), 0x5A)),
            mac: Secret::new(bytes(self.mac.map_or(0, Mac::key_len), 0xC3)),
        }
    }
}

pub fn spi(number: u32) -> Spi {
    Spi::new(number).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Everything between two single hosts.
pub fn host(text: &str) -> TrafficSelector {
    let address = ip(text);
    TrafficSelector { protocol: 0, first_port: 0, last_port: u16::MAX, start: address, end: address }
}

/// An SA between 192.0.2.10 (ours) and 203.0.113.20 in UDP, without limits.
pub fn child(suite: Suite) -> ChildSpec {
    ChildSpec {
        tunnel: TunnelId(0),
        shape: ShapeId(0),
        cipher: suite.cipher,
        mac: suite.mac,
        esn: suite.esn,
        local: vec![host("192.0.2.10")],
        remote: vec![host("203.0.113.20")],
        encapsulation: Encapsulation::Udp { local: socket("198.51.100.1:4500"), remote: socket("198.51.100.2:4500") },
        lifetime: ENDLESS,
    }
}

/// `child` as the other end sees it.
pub fn mirrored(child: &ChildSpec) -> ChildSpec {
    let encapsulation = match child.encapsulation {
        Encapsulation::Raw { local, remote } => Encapsulation::Raw { local: remote, remote: local },
        Encapsulation::Udp { local, remote } => Encapsulation::Udp { local: remote, remote: local },
    };
    ChildSpec { local: child.remote.clone(), remote: child.local.clone(), encapsulation, ..child.clone() }
}

pub fn outbound(suite: Suite, child: ChildSpec) -> OutboundSpec {
    OutboundSpec { spi: spi(0xC0DE_0001), inbound: spi(0xC0DE_0002), keys: suite.keys(), child }
}

pub fn inbound(suite: Suite, child: ChildSpec, replay_window: u32) -> InboundSpec {
    InboundSpec { spi: spi(0xC0DE_0001), keys: suite.keys(), child, replay_window }
}

/// The one's complement checksum, computed as plainly as possible.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum::<u32>();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IP packet of either family around `payload`.
pub fn packet(source: &str, destination: &str, protocol: u8, tos: u8, payload: &[u8]) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            packet[2..4].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, protocol, 64];
            packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        _ => panic!("one family"),
    }
}

/// The transport checksum over the pseudo header of `packet`, an IP packet from [`packet`].
fn transport_checksum(packet: &[u8]) -> u16 {
    let (addresses, protocol, payload) = if packet[0] >> 4 == 4 {
        (&packet[12..20], packet[9], &packet[20..])
    } else {
        (&packet[8..40], packet[6], &packet[40..])
    };
    let mut all = addresses.to_vec();
    all.extend((payload.len() as u32).to_be_bytes());
    all.extend(u32::from(protocol).to_be_bytes());
    all.extend(payload);
    checksum(&all)
}

/// A TCP segment with the given flags, sequence numbers, options and payload.
pub struct Tcp<'a> {
    pub source: (&'a str, u16),
    pub destination: (&'a str, u16),
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub options: &'a [u8],
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    pub fn build(&self, tos: u8) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.1.to_be_bytes());
        segment.extend(self.destination.1.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        segment.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags]);
        segment.extend([0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend(self.options);
        segment.extend(self.payload);
        let mut whole = packet(self.source.0, self.destination.0, 6, tos, &segment);
        let at = whole.len() - segment.len();
        let sum = transport_checksum(&whole);
        whole[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
        whole
    }
}

/// A UDP datagram.
pub fn udp(source: (&str, u16), destination: (&str, u16), tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let mut whole = packet(source.0, destination.0, 17, tos, &datagram);
    let at = whole.len() - datagram.len();
    let sum = transport_checksum(&whole);
    whole[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    whole
}

/// Room for one packet with head and tail.
pub fn slab(inner: &[u8]) -> (Vec<u8>, std::ops::Range<usize>) {
    let mut slab = vec![0xEE; 96 + inner.len() + 64];
    slab[96..96 + inner.len()].copy_from_slice(inner);
    (slab, 96..96 + inner.len())
}

/// Two gateways that face each other: hosts 192.0.2.10 and 2001:db8::10 behind the left one, 203.0.113.20 and
/// 2001:db8:1::20 behind the right one. The left hosts may open MQ, UDP 2000 and echo; the right ones UDP 3000.
pub struct Pair {
    pub left: Pipeline,
    pub right: Pipeline,
    pub now: Instant,
    pub policies: [Arc<Snapshot>; 2],
    pub options: Options,
}

/// What the pair agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub suite: Suite,
    pub outer_v6: bool,
    pub raw: bool,
    pub selectors: SelectorMode,
    pub lifetime: Lifetime,
}

impl Default for Options {
    fn default() -> Self {
        Self { suite: Suite::GCM_ESN, outer_v6: false, raw: false, selectors: SelectorMode::Host, lifetime: ENDLESS }
    }
}

pub const TUNNEL: TunnelId = TunnelId(0);
pub const LEFT: u32 = 0x1000;
pub const RIGHT: u32 = 0x2000;

/// The policy of one side.
pub fn policy(left: bool, selectors: SelectorMode) -> Arc<Snapshot> {
    policy_of_lanes(left, selectors, 1)
}

/// The same with more lanes.
pub fn policy_of_lanes(left: bool, selectors: SelectorMode, lanes: u8) -> Arc<Snapshot> {
    let net = |text: &str| IpNet::from(ip(text));
    let (ours, theirs) =
        (vec![net("192.0.2.10"), net("2001:db8::10")], vec![net("203.0.113.20"), net("2001:db8:1::20")]);
    let services =
        [(Service::Mq, 1414, true), (Service::Udp, 2000, true), (Service::Udp, 3000, false), (Service::Echo, 0, true)];
    let rules = (0u16..).zip(services).map(|(id, (service, port, by_left))| Rule {
        id: RuleId(id),
        name: format!("rule{id}"),
        tunnel: TUNNEL,
        agreement: "lab".into(),
        clause: "1".into(),
        purposes: Vec::new(),
        from: if by_left { ours.clone() } else { theirs.clone() },
        to: if by_left { theirs.clone() } else { ours.clone() },
        service,
        ports: if port == 0 { Vec::new() } else { vec![port] },
        direction: if by_left == left { RuleDirection::Outbound } else { RuleDirection::Inbound },
        inspection: Inspection::Uninspected,
        mode: Mode::Enforce,
    });
    let tunnel = TunnelPolicy { id: TUNNEL, name: "lab".into(), selectors, lanes, enabled: true };
    Arc::new(Snapshot::compile(rules.collect(), vec![tunnel], None).unwrap())
}

/// The underlay's two ends for a choice of family and encapsulation, the left one's view.
pub fn underlay(options: &Options) -> Encapsulation {
    let (local, remote) = if options.outer_v6 {
        (ip("2001:db8:f::1"), ip("2001:db8:f::2"))
    } else {
        (ip("198.51.100.1"), ip("198.51.100.2"))
    };
    if options.raw {
        Encapsulation::Raw { local, remote }
    } else {
        Encapsulation::Udp { local: (local, 4500).into(), remote: (remote, 4500).into() }
    }
}

/// The two halves of each child SA, `number` apart from other generations, as commands for each side.
pub fn install(policy: &Snapshot, options: &Options, left: bool, number: u32) -> Vec<SadCommand> {
    let mut commands = Vec::new();
    for (index, shape) in (number..).zip(policy.shapes(TUNNEL)) {
        // The left side's number of a shape names the pair's SPIs on both sides: both compile the same list.
        let spis = (spi(LEFT + index), spi(RIGHT + index));
        let (ours, theirs) = if left { spis } else { (spis.1, spis.0) };
        let here = underlay(options);
        let spec = ChildSpec {
            shape: shape.id,
            local: vec![shape.local],
            remote: vec![shape.remote],
            encapsulation: here,
            lifetime: options.lifetime,
            ..child(options.suite)
        };
        let spec = if left { spec } else { ChildSpec { encapsulation: mirrored(&spec).encapsulation, ..spec } };
        commands.push(SadCommand::InstallInbound(Box::new(InboundSpec {
            spi: ours,
            keys: options.suite.keys(),
            child: spec.clone(),
            replay_window: 4096,
        })));
        commands.push(SadCommand::InstallOutbound(Box::new(OutboundSpec {
            spi: theirs,
            inbound: ours,
            keys: options.suite.keys(),
            child: spec,
        })));
    }
    commands
}

impl Pair {
    pub fn new(options: Options) -> Self {
        let policies = [policy(true, options.selectors), policy(false, options.selectors)];
        let config = PipelineConfig { flow_capacity: 4096, hash_seed: [1, 2, 3, 4] };
        let side = |at: usize| {
            let mut pipeline = Pipeline::new(config, policies[at].clone());
            for command in install(&policies[at], &options, at == 0, 0) {
                pipeline.apply(NOW, command);
            }
            pipeline
        };
        Self { left: side(0), right: side(1), now: NOW, policies: policies.clone(), options }
    }

    /// Sends `inner` from one side to the other; what the other side writes to its TUN device, or why it does not.
    pub fn carry(&mut self, rightwards: bool, inner: &[u8]) -> Result<Vec<u8>, DropReason> {
        let (from, to) = if rightwards { (&mut self.left, &mut self.right) } else { (&mut self.right, &mut self.left) };
        let (datagram, path) = seal_one(from, self.now, inner)?;
        open_one(to, self.now, &datagram, across(path))
    }

    pub fn rightwards(&mut self, inner: &[u8]) -> Result<Vec<u8>, DropReason> {
        self.carry(true, inner)
    }

    pub fn leftwards(&mut self, inner: &[u8]) -> Result<Vec<u8>, DropReason> {
        self.carry(false, inner)
    }

    /// Opens an MQ connection from left to right.
    pub fn connect(&mut self, port: u16) {
        self.rightwards(&tcp(port, true, 0x02, 100, 0, &[], &[])).unwrap();
        self.leftwards(&tcp(port, false, 0x12, 500, 101, &[], &[])).unwrap();
        self.rightwards(&tcp(port, true, 0x10, 101, 501, &[], &[])).unwrap();
    }
}

/// A segment of the MQ connection from the left host's `port`, or back.
pub fn tcp(
    port: u16,
    rightwards: bool,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let ends = (("192.0.2.10", port), ("203.0.113.20", 1414));
    let (source, destination) = if rightwards { ends } else { (ends.1, ends.0) };
    Tcp { source, destination, flags, sequence, acknowledgement, options, payload }.build(0)
}

/// A datagram that the left host may send.
pub fn allowed(len: usize) -> Vec<u8> {
    udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &vec![0x77; len])
}

/// The path as the other end of the wire sees it.
pub fn across(path: Path) -> Path {
    Path { local: path.remote, remote: path.local, tos: path.tos }
}

/// A batch with one packet in it.
pub fn batch_of(bytes: &[u8], path: Option<Path>) -> Batch {
    let mut batch = Batch::new(4, 9216);
    batch.vacant().unwrap()[..bytes.len()].copy_from_slice(bytes);
    batch.push(bytes.len(), 0, path);
    batch
}

/// What a pipeline has dropped so far, by reason.
pub fn drops(pipeline: &Pipeline) -> BTreeMap<DropReason, u64> {
    pipeline.counters().drops().collect()
}

/// The one reason that was counted between two looks.
fn new_reason(before: &BTreeMap<DropReason, u64>, after: &BTreeMap<DropReason, u64>) -> DropReason {
    let grown: Vec<_> = after
        .iter()
        .filter(|(reason, count)| before.get(reason).unwrap_or(&0) != *count)
        .map(|(reason, _)| *reason)
        .collect();
    assert_eq!(grown.len(), 1, "one packet, one reason: {grown:?}");
    grown[0]
}

/// Sends one inner packet out.
pub fn seal_one(pipeline: &mut Pipeline, now: Instant, inner: &[u8]) -> Result<(Vec<u8>, Path), DropReason> {
    let before = drops(pipeline);
    let mut batch = batch_of(inner, None);
    pipeline.outbound(now, &mut batch);
    if batch.packets()[0].done {
        return Err(new_reason(&before, &drops(pipeline)));
    }
    Ok((batch.bytes(0).to_vec(), batch.packets()[0].path.unwrap()))
}

/// Takes one datagram in.
pub fn open_one(pipeline: &mut Pipeline, now: Instant, datagram: &[u8], path: Path) -> Result<Vec<u8>, DropReason> {
    let before = drops(pipeline);
    let mut batch = batch_of(datagram, Some(path));
    pipeline.inbound(now, &mut batch);
    if batch.packets()[0].done {
        return Err(new_reason(&before, &drops(pipeline)));
    }
    Ok(batch.bytes(0).to_vec())
}

/// What waits to be written to the TUN device.
pub fn replies(pipeline: &mut Pipeline) -> Vec<Vec<u8>> {
    let batch = pipeline.replies();
    let all = (0..batch.len()).map(|at| batch.bytes(at).to_vec()).collect();
    batch.clear();
    all
}

/// Every event that waits.
pub fn events(pipeline: &mut Pipeline) -> Vec<SadEvent> {
    std::iter::from_fn(|| pipeline.poll_event()).collect()
}
