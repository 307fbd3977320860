//! The stages of the packet path one by one, in the order in which packets meet them: a long packet is cut, a segment is sealed,
//! opened, looked up in the replay window, tied into a train. What judging costs is in `policy`, the whole path in `path`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::dataplane::coalesce::{self, Candidate};
use portcullis::dataplane::segment::{Template, Train};
use portcullis::esp::replay::ReplayWindow;
use portcullis::wire::vnet::{Segments, VnetHeader};

/// Payload of a segment under an inner MTU of 1,438 with timestamps, and how many of them a long packet of the kernel has.
const SEGMENT: usize = 1386;
const SEGMENTS: usize = 44;
/// IPv4 and TCP with timestamps.
const HEADERS: usize = 52;

fn packet(index: usize, payload: usize) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new(0, 64, etherparse::ip_number::TCP, [192, 0, 2, 10], [203, 0, 113, 20])
        .expect("no payload is too long yet");
    ip.identification = index as u16;
    ip.dont_fragment = true;
    let mut tcp = etherparse::TcpHeader::new(40000, 1414, 1000 + (index * SEGMENT) as u32, 999);
    (tcp.ack, tcp.acknowledgment_number) = (true, 77);
    tcp.set_options(&[etherparse::TcpOptionElement::Timestamp(5, 6)]).expect("one option fits");
    let builder = etherparse::PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()));
    let mut bytes = Vec::new();
    builder.tcp_header(tcp).write(&mut bytes, &vec![7; payload]).expect("a vector takes all");
    bytes
}

fn cut(criterion: &mut Criterion) {
    let long = packet(0, SEGMENT * SEGMENTS);
    let offload = VnetHeader {
        needs_checksum: true,
        segments: Segments::Tcp4,
        header_len: HEADERS as u16,
        segment_len: SEGMENT as u16,
        checksum_start: 20,
        checksum_offset: 16,
    };
    let train = Train::plan(&long, &offload).expect("what the kernel hands over");
    let template = Template::new(&train, &long);
    let mut segment = packet(0, SEGMENT);
    let mut group = criterion.benchmark_group("segment");
    group.bench_function("plan and template of a train", |bencher| {
        bencher.iter(|| {
            let train = Train::plan(black_box(&long), black_box(&offload)).expect("as above");
            Template::new(&train, &long)
        });
    });
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    group.bench_function("headers and checksum of a segment", |bencher| {
        bencher.iter(|| template.write(black_box(7), black_box(&mut segment)));
    });
    group.finish();
}

fn tie(criterion: &mut Criterion) {
    let packets: Vec<_> = (0..SEGMENTS).map(|index| packet(index, SEGMENT)).collect();
    let mut group = criterion.benchmark_group("coalesce");
    group.bench_function("is it a candidate", |bencher| bencher.iter(|| Candidate::of(black_box(&packets[1]))));
    group.bench_function("is it the same flow", |bencher| {
        bencher.iter(|| coalesce::same_flow(black_box(&packets[0]), black_box(&packets[1])));
    });
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    group.bench_function("a train of 44, checksums verified", |bencher| {
        bencher.iter(|| {
            let mut train = coalesce::Train::of(Candidate::of(&packets[0]).expect("a plain segment"));
            for packet in &packets[1..] {
                let next = Candidate::of(black_box(packet)).expect("a plain segment");
                assert!(train.take(&packets[0], packet, &next));
            }
            train.head(&packets[0])
        });
    });
    group.finish();
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay window");
    for width in [128, 4096, 65_536] {
        group.bench_function(format!("next packet, {width} wide"), |bencher| {
            let mut window = ReplayWindow::new(width);
            let mut sequence = 0;
            bencher.iter(|| {
                sequence += 1;
                assert!(window.check(black_box(sequence)).is_ok());
                window.commit(sequence);
            });
        });
    }
    group.bench_function("a repeated packet, 4096 wide", |bencher| {
        let mut window = ReplayWindow::new(4096);
        for sequence in 1..=4096 {
            window.commit(sequence);
        }
        bencher.iter(|| assert!(window.check(black_box(2000)).is_err()));
    });
    group.finish();
}

criterion_group!(benches, cut, tie, replay);
criterion_main!(benches);
