//! The data path, fed by a peer that holds the keys: a list of packets, sealed or not, in and out, through one pipeline
//! with two child SAs. Nothing may pass that the rules, read from top to bottom, do not allow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis::crypto::aead::{AeadKey, TAG_LEN};
use portcullis::crypto::suite::Cipher;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::pipeline::{Pipeline, PipelineConfig};
use portcullis::event::FlowKey;
use portcullis::ids::{RuleId, TunnelId};
use portcullis::policy::spd::{self, Answer};
use portcullis::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use portcullis::sa::child::{ChildSpec, Encapsulation, EspKeys, InboundSpec, OutboundSpec};
use portcullis::sa::command::SadCommand;
use portcullis::sa::lifetime::Lifetime;
use portcullis::sa::spi::Spi;
use portcullis::secret::Secret;
use portcullis::time::Instant;
use portcullis::wire::esp::{NEXT_IPV4, NEXT_IPV6};
use portcullis::wire::ip::{self, Inner};
use portcullis::wire::tcp;

use super::inner_ip::mended;
use super::seeds::packets::packet;
use super::steps::{self, List};

/// Key and salt of every SA here, and the SPI of the first inbound and the first outbound one.
const KEYMAT: [u8; 36] = [0x42; 36];
const SPI_IN: u32 = 0x1000;
const SPI_OUT: u32 = 0x2000;
/// What an SA may carry.
const HARD_PACKETS: u64 = 20;
/// Packets of one input, so that an input takes bounded time.
const MAX_PACKETS: usize = 64;
/// How an input is laid out.
pub const LIST: List = List { prefix: 0, most: MAX_PACKETS };

/// Compiled once: it never changes.
static POLICY: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let tunnel =
        TunnelPolicy { id: TunnelId(0), name: "t".into(), selectors: SelectorMode::Host, lanes: 1, enabled: true };
    Arc::new(Snapshot::compile(rules(), vec![tunnel], None).expect("rules without overlap"))
});

/// Reads `data` as a list of (what, length, bytes) and lets each packet through the pipeline.
pub fn packets(data: &[u8]) {
    let _ = run(data);
}

/// Like [`packets`]; how many passed inwards and outwards.
#[must_use]
pub fn run(data: &[u8]) -> [usize; 2] {
    let mut gateway = Gateway::new();
    let mut rest = data;
    for _ in 0..MAX_PACKETS {
        let Some((what, bytes)) = steps::next(&mut rest) else { break };
        gateway.packet(what, bytes);
    }
    [gateway.passed.len(), gateway.sent.values().map(|sent| *sent as usize).sum()]
}

struct Gateway {
    pipeline: Pipeline,
    policy: Arc<Snapshot>,
    batch: Batch,
    key: AeadKey,
    /// The next sequence number of the peer, and those that have passed, for each child.
    next: [u64; 2],
    passed: BTreeSet<(u32, u64)>,
    /// How many packets have left by each outbound SA.
    sent: BTreeMap<[u8; 4], u64>,
    /// Flows that somebody has opened, as the opener sees them; echo by its identifier.
    opened: BTreeSet<Opened>,
    /// What the way has written into the outer header (RFC 6040).
    mark: u8,
    now: u64,
}

/// Protocol, and the two ends: the opener first.
type Opened = (u8, (IpAddr, u16), (IpAddr, u16));

impl Gateway {
    fn new() -> Self {
        let tunnel = TunnelId(0);
        let policy = Arc::clone(&POLICY);
        let config = PipelineConfig { flow_capacity: 64, hash_seed: [1, 2, 3, 4] };
        let mut pipeline = Pipeline::new(config, policy.clone());
        let limit = Lifetime {
            soft_packets: 10,
            hard_packets: HARD_PACKETS,
            soft_bytes: 1 << 20,
            hard_bytes: 1 << 21,
            soft_time: Duration::from_hours(1),
            hard_time: Duration::from_hours(2),
        };
        for (at, shape) in (0..).zip(policy.shapes(tunnel)) {
            let child = ChildSpec {
                tunnel,
                shape: shape.id,
                cipher: Cipher::Aes256Gcm16,
                mac: None,
                esn: at == 1,
                local: vec![shape.local],
                remote: vec![shape.remote],
                encapsulation: Encapsulation::Udp { local: here(), remote: there() },
                lifetime: limit,
            };
            let keys = || EspKeys { cipher: Secret::copy_of(&KEYMAT), mac: Secret::copy_of(&[]) };
            let inbound = Spi::new(SPI_IN + at).expect("not reserved");
            let spi = Spi::new(SPI_OUT + at).expect("not reserved");
            let install = InboundSpec { spi: inbound, keys: keys(), child: child.clone(), replay_window: 64 };
            pipeline.apply(Instant::ZERO, SadCommand::InstallInbound(Box::new(install)));
            let install = OutboundSpec { spi, inbound, keys: keys(), child };
            pipeline.apply(Instant::ZERO, SadCommand::InstallOutbound(Box::new(install)));
        }
        let key = AeadKey::new(Cipher::Aes256Gcm16, &KEYMAT);
        Self {
            pipeline,
            policy,
            batch: Batch::new(1, 1024),
            key,
            next: [1, 1],
            passed: BTreeSet::new(),
            sent: BTreeMap::new(),
            opened: BTreeSet::new(),
            mark: 0,
            now: 0,
        }
    }

    fn packet(&mut self, what: u8, bytes: &[u8]) {
        self.now += 1_000_000;
        self.mark = if what >> 4 >= 12 { what >> 4 & 3 } else { 0 };
        let child = u32::from(what >> 2 & 1);
        let bytes = match bytes.first().map(|first| first >> 4) {
            _ if what & 8 == 0 => bytes.to_vec(),
            Some(4 | 6) => mended(bytes),
            _ => made(bytes, what & 3 == 3),
        };
        match what & 3 {
            0 => {
                let passed = self.inbound(&bytes);
                assert!(!passed, "a datagram that nobody sealed has passed");
            }
            1 => {
                let next_header =
                    if bytes.first().is_some_and(|first| first >> 4 == 6) { NEXT_IPV6 } else { NEXT_IPV4 };
                let padding = (4 - (bytes.len() + 2) % 4) % 4;
                let trailer = [&[1, 2, 3][..padding], &[padding as u8, next_header]].concat();
                self.sealed(what, child, [bytes, trailer].concat());
            }
            2 => self.sealed(what, child, bytes),
            _ => self.outbound(&bytes),
        }
        self.drain();
    }

    /// Seals `plaintext` under a new sequence number, or one that was there before, and receives it.
    fn sealed(&mut self, what: u8, child: u32, mut plaintext: Vec<u8>) {
        let next = &mut self.next[child as usize];
        let sequence = match u64::from(what >> 4) {
            back @ 1..=7 => next.saturating_sub(back),
            8 => *next + 100,
            9 => *next + (1 << 31),
            _ => *next,
        };
        *next = (*next).max(sequence + 1);
        if let Ok(inner) = Inner::parse_padded(&plaintext) {
            opens(&self.policy, &mut self.opened, false, &inner);
        }
        let (spi, low) = ((SPI_IN + child).to_be_bytes(), (sequence as u32).to_be_bytes());
        // RFC 4106 §5: the SPI and the sequence number, 32 or 64 bits of it.
        let aad = if child == 1 { [&spi[..], &sequence.to_be_bytes()].concat() } else { [&spi[..], &low].concat() };
        let iv = sequence.to_be_bytes();
        let tag = self.key.seal(iv, &aad, &mut plaintext);
        if self.inbound(&[&spi[..], &low, &iv, &plaintext, &tag].concat()) {
            let v6 = self.batch.bytes(0)[0] >> 4 == 6;
            assert_eq!(
                v6,
                self.policy.shapes(TunnelId(0))[child as usize].local.start.is_ipv6(),
                "the other SA's packet"
            );
            assert!(self.passed.insert((child, sequence)), "sequence number {sequence} has passed twice");
            let carried = self.passed.iter().filter(|(of, _)| *of == child).count() as u64;
            assert!(carried <= HARD_PACKETS, "{carried} packets through an SA that may carry {HARD_PACKETS}");
        }
    }

    /// Whether the datagram has become an inner packet. One that has is one that the rules allow.
    fn inbound(&mut self, datagram: &[u8]) -> bool {
        let path = Path { local: here(), remote: there(), tos: self.mark };
        if !self.put(datagram, Some(path)) {
            return false;
        }
        self.pipeline.inbound(Instant::from_nanos(self.now), &mut self.batch);
        if self.batch.packets()[0].done {
            return false;
        }
        let inner = Inner::parse(self.batch.bytes(0)).expect("what passes is a packet");
        assert!(allowed(&self.policy, false, &inner), "let in: {:?}", inner.flow());
        assert!(known(&self.opened, &inner), "nobody has opened {:?}", inner.flow());
        true
    }

    fn outbound(&mut self, packet: &[u8]) {
        if !self.put(packet, None) {
            return;
        }
        if let Ok(inner) = Inner::parse(packet) {
            opens(&self.policy, &mut self.opened, true, &inner);
        }
        self.pipeline.outbound(Instant::from_nanos(self.now), &mut self.batch);
        if self.batch.packets()[0].done {
            return;
        }
        assert_eq!(self.batch.packets()[0].path.map(|path| path.remote), Some(there()));
        // It opens with the key that it was sealed with, and holds what the rules allow.
        let mut sealed = self.batch.bytes(0).to_vec();
        let body = sealed.split_off(16);
        let (body, tag) = body.split_at(body.len() - TAG_LEN);
        let iv: [u8; 8] = sealed[8..].try_into().expect("eight bytes");
        let aad = if sealed[..4] == (SPI_OUT + 1).to_be_bytes() {
            [&sealed[..4], &iv].concat()
        } else {
            sealed[..8].to_vec()
        };
        let mut plaintext = body.to_vec();
        let tag = tag.try_into().expect("sixteen bytes");
        self.key.open(iv, &aad, &mut plaintext, tag).expect("what is sent opens");
        let padding = usize::from(plaintext[plaintext.len() - 2]);
        let inner = Inner::parse(&plaintext[..plaintext.len() - 2 - padding]).expect("what is sent holds a packet");
        assert!(allowed(&self.policy, true, &inner), "let out: {:?}", inner.flow());
        assert!(known(&self.opened, &inner), "nobody has opened {:?}", inner.flow());
        let spi = sealed[..4].try_into().expect("four bytes");
        let sent = self.sent.entry(spi).or_default();
        *sent += 1;
        // RFC 4303 §3.3.3: the first packet has the number 1, and no number is used twice under one key.
        assert_eq!(u64::from(u32::from_be_bytes(sealed[4..8].try_into().expect("four bytes"))), *sent);
        assert!(*sent <= HARD_PACKETS, "{sent} packets through an SA that may carry {HARD_PACKETS}");
    }

    fn put(&mut self, bytes: &[u8], path: Option<Path>) -> bool {
        self.batch.clear();
        let slot = self.batch.vacant().expect("an empty batch");
        let Some(slot) = slot.get_mut(..bytes.len()) else { return false };
        slot.copy_from_slice(bytes);
        self.batch.push(bytes.len(), 0, path);
        true
    }

    fn drain(&mut self) {
        let replies = self.pipeline.replies();
        for at in 0..replies.len() {
            Inner::parse(replies.bytes(at)).expect("a reply is a packet");
        }
        replies.clear();
        while self.pipeline.poll_ike().is_some() {}
        while self.pipeline.poll_event().is_some() {}
        while self.pipeline.poll_record().is_some() {}
    }
}

/// A packet made of a few bytes: which flow (of those that the rules allow, and some that they do not, to either side),
/// TCP's flags or ICMP's type, and how far its numbers are from 1000; the rest is data.
fn made(bytes: &[u8], outbound: bool) -> Vec<u8> {
    let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let (v6, kind) = (at(0) & 8 != 0, if at(1) == 0 { tcp::SYN } else { at(1) });
    let number = |byte: u8| (1000 + i32::from(byte.cast_signed())).to_be_bytes();
    // The side behind the gateway has the first port where the packet leaves.
    let (service, client) = ([1414_u16, 22, 53, 23][usize::from(at(0) & 3)], 40000 + u16::from(at(0) >> 4 & 1));
    let ports = if at(0) & 4 == 0 { [client, service] } else { [service, client] }.map(u16::to_be_bytes).concat();
    let data = bytes.get(4..).unwrap_or_default();
    match at(0) >> 5 & 3 {
        0 | 1 => {
            let head =
                [&ports, &number(at(2))[..], &number(at(3)), &[0x50, kind, 0xff, 0xff, 0, 0, 0, 0], data].concat();
            packet(outbound, v6, ip::TCP, 16, head)
        }
        2 => {
            let length = (data.len() as u16 + 8).to_be_bytes();
            packet(outbound, v6, ip::UDP, 6, [&ports, &length[..], &[0, 0], data].concat())
        }
        _ => {
            let protocol = if v6 { ip::ICMPV6 } else { ip::ICMP };
            packet(outbound, v6, protocol, 2, [&[kind, 0, 0, 0, 0, at(2), 0, at(3)], data].concat())
        }
    }
}

/// The rules: something each side may open, of every transport, in both families.
fn rules() -> Vec<Rule> {
    let rule = |id, from: &str, to: &str, service, ports: &[u16], direction| Rule {
        id: RuleId(id),
        name: format!("rule {id}"),
        tunnel: TunnelId(0),
        agreement: "lab".into(),
        clause: "1a".into(),
        purposes: Vec::new(),
        from: vec![from.parse().expect("a host")],
        to: vec![to.parse().expect("a host")],
        service,
        ports: ports.to_vec(),
        direction,
        inspection: Inspection::Uninspected,
        mode: Mode::Enforce,
    };
    let (ours, theirs) = ("192.0.2.10/32", "203.0.113.20/32");
    let (ours6, theirs6) = ("2001:db8:1::10/128", "2001:db8:2::20/128");
    vec![
        rule(0, ours, theirs, Service::Mq, &[], RuleDirection::Outbound),
        rule(1, ours, theirs, Service::Echo, &[], RuleDirection::Outbound),
        rule(2, theirs, ours, Service::Udp, &[53], RuleDirection::Inbound),
        rule(3, theirs6, ours6, Service::Sftp, &[], RuleDirection::Inbound),
        rule(4, ours6, theirs6, Service::Udp, &[53], RuleDirection::Outbound),
    ]
}

/// Whether the rules allow `inner` as the first packet of a flow, as an answer, or as an error about either.
fn allowed(policy: &Snapshot, outbound: bool, inner: &Inner<'_>) -> bool {
    let opens = |outbound, key: &FlowKey| {
        matches!(spd::classify(policy.rules(), policy.tunnels(), outbound, key), Answer::Allow(_))
    };
    let flow = inner.flow();
    if let Some(message) = inner.icmp() {
        if let Some(quoted) = message.quotes().then(|| message.quoted()).flatten() {
            return opens(!outbound, &request(&quoted.flow)) || opens(outbound, &request(&reversed(&quoted.flow)));
        }
        if message.is_echo_reply() {
            return opens(!outbound, &request(&reversed(&flow)));
        }
    }
    opens(outbound, &flow) || opens(!outbound, &reversed(&flow))
}

/// Remembers the flow that `inner` opens, if it may open one. Whether it arrives is another matter: its side has tried.
fn opens(policy: &Snapshot, opened: &mut BTreeSet<Opened>, outbound: bool, inner: &Inner<'_>) {
    let may_open = inner.tcp().is_none_or(|segment| segment.flags() & (tcp::SYN | tcp::ACK) == tcp::SYN);
    let answer = spd::classify(policy.rules(), policy.tunnels(), outbound, &inner.flow());
    if may_open && matches!(answer, Answer::Allow(_)) {
        opened.insert(ends(&inner.flow(), inner.icmp().map(|message| message.identifier())));
    }
}

/// Whether `inner` belongs to a flow that somebody has opened, or is an error about one.
fn known(opened: &BTreeSet<Opened>, inner: &Inner<'_>) -> bool {
    let (flow, identifier) = match inner.icmp() {
        Some(message) if message.quotes() => {
            let Some(quoted) = message.quoted() else { return false };
            let echo = matches!(quoted.flow.protocol, ip::ICMP | ip::ICMPV6);
            (quoted.flow, echo.then_some((quoted.word >> 16) as u16))
        }
        message => (inner.flow(), message.map(|message| message.identifier())),
    };
    opened.contains(&ends(&flow, identifier)) || opened.contains(&ends(&reversed(&flow), identifier))
}

fn ends(flow: &FlowKey, identifier: Option<u16>) -> Opened {
    let (source, destination) = identifier.map_or((flow.source_port, flow.destination_port), |of| (of, 0));
    (flow.protocol, (flow.source, source), (flow.destination, destination))
}

fn reversed(flow: &FlowKey) -> FlowKey {
    FlowKey {
        protocol: flow.protocol,
        source: flow.destination,
        source_port: flow.destination_port,
        destination: flow.source,
        destination_port: flow.source_port,
    }
}

/// A flow of echo replies stands for the requests that they answer: type and code are its ports.
fn request(flow: &FlowKey) -> FlowKey {
    match flow.protocol {
        1 => FlowKey { source_port: 8, destination_port: 0, ..*flow },
        58 => FlowKey { source_port: 128, destination_port: 0, ..*flow },
        _ => *flow,
    }
}

fn here() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 10], 4500))
}

fn there() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 5], 4500))
}
