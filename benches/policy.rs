//! What a packet pays for being judged: the table of rules, a live flow, the header checks, the checksum.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::event::FlowKey;
use portcullis::ids::{RuleId, TunnelId};
use portcullis::inspect::{FlowTable, Origin, Verdict};
use portcullis::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use portcullis::time::Instant;
use portcullis::wire::ip::Inner;
use portcullis::wire::{checksum, tcp};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

fn server(rule: u16) -> Ipv4Addr {
    let [high, low] = rule.to_be_bytes();
    Ipv4Addr::new(203, 0, high, low)
}

/// `count` rules, each to a host of its own.
fn policy(count: u16) -> Snapshot {
    let rules = (0..count).map(|n| Rule {
        id: RuleId(n),
        name: format!("rule{n}"),
        tunnel: TunnelId(0),
        agreement: "cbp".into(),
        clause: "1a".into(),
        purposes: Vec::new(),
        from: vec![IpAddr::from(CLIENT).into()],
        to: vec![IpAddr::from(server(n)).into()],
        service: Service::Mq,
        ports: Vec::new(),
        direction: RuleDirection::Outbound,
        inspection: Inspection::Uninspected,
        mode: Mode::Enforce,
    });
    let tunnel =
        TunnelPolicy { id: TunnelId(0), name: "cbp".into(), selectors: SelectorMode::Host, lanes: 1, enabled: true };
    Snapshot::compile(rules.collect(), vec![tunnel], None).expect("the rules are disjoint")
}

fn key(rule: u16, port: u16) -> FlowKey {
    FlowKey {
        protocol: 6,
        source: CLIENT.into(),
        source_port: 40000,
        destination: server(rule).into(),
        destination_port: port,
    }
}

fn segment(flags: u8, payload: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4(CLIENT.octets(), server(0).octets(), 64);
    builder.tcp(40000, 1414, 100, 1000).write(&mut packet, &vec![7; payload]).expect("a vector takes all");
    packet[33] = flags;
    packet
}

fn classify(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    for count in [1, 1000] {
        let policy = policy(count);
        let allowed = key(count / 2, 1414);
        group.bench_function(format!("allowed by one of {count}"), |b| {
            b.iter(|| policy.classify(true, black_box(&allowed)));
        });
        let refused = key(count / 2, 23);
        group.bench_function(format!("refused by {count}"), |b| {
            b.iter(|| policy.classify(true, black_box(&refused)));
        });
    }
    group.finish();
}

fn judge(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge");
    let policy = policy(1000);
    let mut table = FlowTable::new(65536, [1, 2, 3, 4]);
    let now = Instant::from_nanos(1);
    let tunnel = Origin::Tunnel(TunnelId(0));
    let answer = |flags: u8| {
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4(server(0).octets(), CLIENT.octets(), 64);
        builder.tcp(1414, 40000, 500, 1000).ack(101).write(&mut packet, &[]).expect("a vector takes all");
        packet[33] = flags;
        packet
    };
    let mut acknowledged = segment(tcp::ACK, 1400);
    acknowledged[24..28].copy_from_slice(&101_u32.to_be_bytes());
    acknowledged[28..32].copy_from_slice(&501_u32.to_be_bytes());
    let syn_ack = answer(tcp::SYN | tcp::ACK);
    for (origin, packet) in
        [(Origin::Tun, segment(tcp::SYN, 0)), (tunnel, syn_ack), (Origin::Tun, acknowledged.clone())]
    {
        let verdict = table.judge(now, origin, &Inner::parse(&packet).expect("well-formed"), &policy);
        assert!(matches!(verdict, Verdict::Pass(_)), "{verdict:?}");
    }
    group.bench_function("header check of 1400 bytes", |b| {
        b.iter(|| Inner::parse(black_box(&acknowledged)).is_ok());
    });
    let inner = Inner::parse(&acknowledged).expect("well-formed");
    group.bench_function("segment of a live flow", |b| {
        b.iter(|| table.judge(now, Origin::Tun, black_box(&inner), &policy));
    });
    let refused = segment(0x3f, 0);
    let inner = Inner::parse(&refused).expect("well-formed");
    group.bench_function("refused segment", |b| {
        b.iter(|| table.judge(now, tunnel, black_box(&inner), &policy));
    });
    group.finish();
}

/// A table that is full: what it takes, and what a segment of one of its flows costs when none of them is in any cache.
fn million(c: &mut Criterion) {
    const FLOWS: usize = 1 << 20;
    const PORTS: usize = 1 << 15;
    let policy = policy(64);
    let mut table = FlowTable::new(FLOWS, [1, 2, 3, 4]);
    let now = Instant::from_nanos(1);
    let mut packet = segment(tcp::SYN, 0);
    let aim = |packet: &mut Vec<u8>, flow: usize| {
        packet[16..20].copy_from_slice(&server((flow / PORTS) as u16).octets());
        packet[20..22].copy_from_slice(&(1024 + (flow % PORTS) as u16).to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    };
    for flow in 0..FLOWS {
        aim(&mut packet, flow);
        let verdict = table.judge(now, Origin::Tun, &Inner::parse(&packet).expect("well-formed"), &policy);
        assert!(matches!(verdict, Verdict::Pass(_)), "{verdict:?}");
    }
    assert_eq!(table.len(), FLOWS);
    let (each, heard) = FlowTable::bytes_per_flow();
    println!("a flow takes {each} bytes, {FLOWS} take {} MB; one that is heard {heard} more", (each * FLOWS) >> 20);
    let mut group = c.benchmark_group("flow table");
    let mut flow = 0;
    group.bench_function("segment of one flow of a million, any", |b| {
        b.iter(|| {
            // A step that meets all of them and is no neighbour of anybody.
            flow = (flow + 611_953) % FLOWS;
            aim(&mut packet, flow);
            table.judge(now, Origin::Tun, &Inner::parse(&packet).expect("well-formed"), &policy)
        });
    });
    group.bench_function("the same packet without the table", |b| {
        b.iter(|| {
            flow = (flow + 611_953) % FLOWS;
            aim(&mut packet, flow);
            Inner::parse(black_box(&packet)).is_ok()
        });
    });
    group.finish();
}

fn sum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for length in [64, 1400, 9000] {
        let bytes = vec![0x5a; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("{length} bytes"), |b| b.iter(|| checksum::checksum(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, classify, judge, million, sum);
criterion_main!(benches);
