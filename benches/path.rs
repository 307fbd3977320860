//! The whole data path in memory, a packet at a time within batches of 64 and in trains of 46: header checks, flow table,
//! SAD, replay window, AES-256-GCM, counters; with trains also cutting, checksums and tying together.
//! `cargo bench --bench path`.

#[path = "../tests/esp_support/mod.rs"]
mod esp_support;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use esp_support::{NOW, Options, Pair, TUNNEL, Tcp, policy, tcp, udp};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::Offloads;
use portcullis::lab::bench::packets::{SEGMENT, SEGMENTS, across, fill, fill_train};
use portcullis::lab::mq_dialect::{self, Dialect, Names};
use portcullis::policy::{Inspection, SelectorMode, Service, Snapshot, Translation};

const BATCH: usize = 64;
/// Lengths of inner packets.
const SIZES: [usize; 4] = [64, 576, 1400, 8900];

/// Flows that the packets of a batch belong to, in turn.
const FLOWS: u16 = 8;

fn path(criterion: &mut Criterion) {
    for len in SIZES {
        let mut group = criterion.benchmark_group(format!("path {len} bytes"));
        group.throughput(Throughput::Bytes(len as u64));
        for direction in ["outbound", "inbound"] {
            let mut pair = Pair::new(Options::default());
            pair.left.set_link_mtu(TUNNEL, 9216);
            let packets: Vec<_> = (0..FLOWS)
                .map(|flow| udp(("192.0.2.10", 1000 + flow), ("203.0.113.20", 2000), 0, &vec![0x33; len - 28]))
                .collect();
            let (mut out, mut inn) = (Batch::new(BATCH, 9216), Batch::new(BATCH, 9216));
            let mut best = Duration::MAX;
            group.bench_function(direction, |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(BATCH as u64);
                    let mut total = Duration::ZERO;
                    for _ in 0..rounds {
                        fill(&mut out, packets.iter().cycle().take(BATCH).map(Vec::as_slice));
                        let start = Clock::now();
                        pair.left.outbound(NOW, &mut out);
                        let mut took = start.elapsed();
                        if direction == "outbound" {
                            (total, best) = (total + took, best.min(took));
                            continue;
                        }
                        across(&out, &mut inn);
                        let start = Clock::now();
                        pair.right.inbound(NOW, &mut inn);
                        took = start.elapsed();
                        (total, best) = (total + took, best.min(took));
                    }
                    let nanos = total.as_nanos() * u128::from(iterations) / u128::from(rounds * BATCH as u64);
                    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
                });
            });
            // What it costs where nothing else disturbs, on a busy machine too.
            println!("path {len} bytes/{direction}: best batch {} ns a packet", best.as_nanos() / BATCH as u128);
            assert!(out.packets().iter().all(|packet| !packet.done), "everything passes");
        }
        group.finish();
    }
}

/// One TCP packet of 64 KiB, as the kernel hands it over, becomes 46 ESP packets, and they become one again. What the
/// kernel does before and behind is not timed.
fn trains(_: &mut Criterion) {
    const ROUNDS: usize = 4_000;
    let mut pair = Pair::new(Options::default());
    for side in [&mut pair.left, &mut pair.right] {
        side.set_offloads(Offloads::ALL);
    }
    pair.connect(5000);
    let long = tcp(5000, true, 0x10, 101, 501, &[], &vec![0x33; SEGMENT * SEGMENTS]);
    let (mut out, mut inn) = (Batch::with_trains(64, 9728), Batch::new(SEGMENTS, 2048));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        fill_train(&mut out, &long);
        let start = Clock::now();
        pair.left.outbound(NOW, &mut out);
        best[0] = best[0].min(start.elapsed());
        assert_eq!(out.len(), SEGMENTS);
        across(&out, &mut inn);
        let start = Clock::now();
        pair.right.inbound(NOW, &mut inn);
        best[1] = best[1].min(start.elapsed());
        assert!(inn.train(0).is_some_and(|(_, payloads)| payloads.count() == SEGMENTS));
    }
    let [outwards, inwards] = best.map(|best| best.as_nanos() / SEGMENTS as u128);
    println!("train of {SEGMENTS} segments, best, ns a segment: outbound {outwards}, inbound {inwards}");
}

/// Trains of a host whose partner knows it by another address, out and back in: alone behind that address, with others, and for
/// comparison under its own name.
fn translated_trains(_: &mut Criterion) {
    const ROUNDS: usize = 4_000;
    const INSIDE: &str = "10.1.0.10";
    const OUTSIDE: &str = "192.0.2.10";
    let net = |host: &str| host.parse::<ipnet::IpNet>().expect("a network");
    let alone = vec![net("10.1.0.10/32")];
    let others = vec![net("10.1.0.10/32"), net("10.2.0.0/16")];
    for (what, inside) in [("under its own name", None), ("alone", Some(alone)), ("with others", Some(others))] {
        let mut pair = Pair::new(Options::default());
        let host = if inside.is_some() { INSIDE } else { OUTSIDE };
        if let Some(inside) = inside {
            let outside = OUTSIDE.parse().expect("an address");
            let policy = Arc::into_inner(policy(true, SelectorMode::Host)).expect("nobody else has it");
            let translation = Translation { tunnel: TUNNEL, inside, outside, inbound: None };
            pair.left.set_policy(Arc::new(policy.translating(vec![translation])));
        }
        for side in [&mut pair.left, &mut pair.right] {
            side.set_offloads(Offloads::ALL);
        }
        let from_host = |flags, sequence, acknowledgement, payload: &[u8]| {
            let (source, destination) = ((host, 5000), ("203.0.113.20", 1414));
            Tcp { source, destination, flags, sequence, acknowledgement, options: &[], payload }.build(0)
        };
        pair.rightwards(&from_host(0x02, 100, 0, &[])).expect("a SYN");
        pair.leftwards(&tcp(5000, false, 0x12, 500, 101, &[], &[])).expect("its answer");
        pair.rightwards(&from_host(0x10, 101, 501, &[])).expect("the handshake ends");
        let payload = vec![0x33; SEGMENT * SEGMENTS];
        let (there, back) = (from_host(0x10, 101, 501, &payload), tcp(5000, false, 0x10, 501, 101, &[], &payload));
        let (mut out, mut inn) = (Batch::with_trains(64, 9728), Batch::new(SEGMENTS, 2048));
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            fill_train(&mut out, &there);
            let start = Clock::now();
            pair.left.outbound(NOW, &mut out);
            best[0] = best[0].min(start.elapsed());
            assert!(out.len() == SEGMENTS && out.packets().iter().all(|packet| !packet.done), "{what}");
            fill_train(&mut out, &back);
            pair.right.outbound(NOW, &mut out);
            across(&out, &mut inn);
            let start = Clock::now();
            pair.left.inbound(NOW, &mut inn);
            best[1] = best[1].min(start.elapsed());
            assert!(inn.train(0).is_some_and(|(_, payloads)| payloads.count() == SEGMENTS), "{what}");
        }
        let [outwards, inwards] = best.map(|best| best.as_nanos() / SEGMENTS as u128);
        println!(
            "train of {SEGMENTS} segments of a host {what}, best, ns a segment: outbound {outwards}, inbound {inwards}"
        );
    }
}

/// A connection that is heard against one that is not, in turn: MQ messages of two megabytes, whose segments of 32 KB are
/// cut into trains without regard to where they begin.
fn heard_trains(_: &mut Criterion) {
    const ROUNDS: usize = 100;
    let mut best = [[Duration::MAX; 2]; 2];
    for _ in 0..ROUNDS {
        for (at, service) in [Service::Tcp, Service::Mq].into_iter().enumerate() {
            let [outwards, inwards] = message(service);
            best[at] = [best[at][0].min(outwards), best[at][1].min(inwards)];
        }
    }
    let [plain, heard] = best.map(|ways| ways.map(|way| way.as_nanos() as f64 / SEGMENTS as f64));
    for (at, way) in ["outbound", "inbound"].into_iter().enumerate() {
        let more = 100.0 * (heard[at] / plain[at] - 1.0);
        println!("train of MQ, best, ns a segment, {way}: {:.1}, heard {:.1}: {more:+.1} %", plain[at], heard[at]);
    }
}

/// A conversation of MQ over a rule for `service`: the best full train, outbound and inbound.
fn message(service: Service) -> [Duration; 2] {
    let mut pair = Pair::new(Options::default());
    for (side, at) in [(&mut pair.left, 0), (&mut pair.right, 1)] {
        let plain = pair.policies[at].clone();
        let mut rules = plain.rules().to_vec();
        rules[0].inspection = Inspection::of(service);
        let heard = Snapshot::compile(rules, plain.tunnels().to_vec(), Some(&plain)).expect("as before");
        side.set_policy(Arc::new(heard));
        side.set_offloads(Offloads::ALL);
    }
    pair.connect(5000);
    let (mut out, mut inn) = (Batch::with_trains(64, 9728), Batch::new(SEGMENTS, 2048));
    let mut best = [Duration::MAX; 2];
    let (mut there, mut back) = (101_u32, 501_u32);
    let turns = mq_dialect::client(Dialect { level: 13, little: false, ebcdic: false }, &Names::default(), 2 << 20);
    for turn in turns.chunk_by(|one, other| one.by_opener == other.by_opener) {
        let said: Vec<u8> = turn.iter().flat_map(|segment| segment.bytes.clone()).collect();
        for part in said.chunks(SEGMENT * if turn[0].by_opener { SEGMENTS } else { 1 }) {
            if !turn[0].by_opener {
                pair.leftwards(&tcp(5000, false, 0x10, back, there, &[], part)).expect("it is MQ");
                back = back.wrapping_add(part.len() as u32);
                pair.rightwards(&tcp(5000, true, 0x10, there, back, &[], &[])).expect("an acknowledgement");
                continue;
            }
            let long = tcp(5000, true, 0x10, there, back, &[], part);
            there = there.wrapping_add(part.len() as u32);
            if part.len() > SEGMENT {
                fill_train(&mut out, &long);
            } else {
                fill(&mut out, [&*long]);
            }
            let start = Clock::now();
            pair.left.outbound(NOW, &mut out);
            let outwards = start.elapsed();
            assert!(out.packets().iter().all(|packet| !packet.done), "it is MQ");
            across(&out, &mut inn);
            let start = Clock::now();
            pair.right.inbound(NOW, &mut inn);
            if out.len() == SEGMENTS {
                best = [best[0].min(outwards), best[1].min(start.elapsed())];
            }
            pair.leftwards(&tcp(5000, false, 0x10, back, there, &[], &[])).expect("an acknowledgement");
        }
    }
    best
}

/// One worker for both directions, against a worker for each. The second is an upper bound: the two share nothing here,
/// where in earnest each half of a flow would have to read the other's state through atomics.
fn workers(_: &mut Criterion) {
    const LEN: usize = 1400;
    const ROUNDS: usize = 2_000;
    let packet = udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &vec![0x33; LEN - 28]);
    let work = |rounds: usize| {
        let mut pair = Pair::new(Options::default());
        pair.left.set_link_mtu(TUNNEL, 9216);
        let mut out = Batch::new(BATCH, 9216);
        let start = Clock::now();
        for _ in 0..rounds {
            fill(&mut out, [packet.as_slice(); BATCH]);
            pair.left.outbound(NOW, &mut out);
        }
        start.elapsed()
    };
    let mut ratios: Vec<f64> = (0..9)
        .map(|_| {
            let one = work(2 * ROUNDS);
            let start = Clock::now();
            std::thread::scope(|scope| {
                let half = scope.spawn(|| work(ROUNDS));
                work(ROUNDS);
                half.join().expect("the second worker ends");
            });
            one.as_secs_f64() / start.elapsed().as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("a worker a direction, sharing nothing, is {:.2} times one worker for both", ratios[ratios.len() / 2]);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = trains, translated_trains, heard_trains, path, workers
}
criterion_main!(benches);
