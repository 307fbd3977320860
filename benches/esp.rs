//! Sealing and opening with AES-256-GCM beside `ring` alone on the same buffers: what header, IV, padding, replay window
//! and counters add. `cargo bench --bench esp`.
//!
//! Both sides work through batches of 64 packets that lie side by side, as the data path does; making the packets that
//! are opened is not timed. First both take turns, and the best batch of each is compared; criterion's own figures follow.

#![allow(clippy::cast_precision_loss)] // nanoseconds of a batch

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::crypto::suite::Cipher;
use portcullis::esp::inbound_sa::InboundSa;
use portcullis::esp::outbound_sa::OutboundSa;
use portcullis::ids::{ShapeId, TunnelId};
use portcullis::sa::child::{ChildSpec, Encapsulation, EspKeys, InboundSpec, OutboundSpec};
use portcullis::sa::lifetime::Lifetime;
use portcullis::sa::spi::Spi;
use portcullis::secret::Secret;
use portcullis::time::Instant;
use portcullis::wire::esp::{EspHeader, TRAILER_LEN, padding_for};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

const BATCH: usize = 64;
const HEAD: usize = 96;
const SIZES: [usize; 4] = [64, 576, 1400, 9000];
const NOW: Instant = Instant::from_nanos(1);

fn sas() -> (OutboundSa, InboundSa) {
    let endless = Lifetime {
        soft_packets: u64::MAX,
        hard_packets: u64::MAX,
        soft_bytes: u64::MAX,
        hard_bytes: u64::MAX,
        soft_time: Duration::MAX,
        hard_time: Duration::MAX,
    };
    let child = ChildSpec {
        tunnel: TunnelId(0),
        shape: ShapeId(0),
        cipher: Cipher::Aes256Gcm16,
        mac: None,
        esn: true,
        local: Vec::new(),
        remote: Vec::new(),
        encapsulation: Encapsulation::Raw { local: [192, 0, 2, 1].into(), remote: [192, 0, 2, 2].into() },
        lifetime: endless,
    };
    let keys = || EspKeys { cipher: Secret::new(vec![7; 36]), mac: Secret::new(Vec::new()) };
    let spi = Spi::new(0x1000).expect("not reserved");
    let outbound = OutboundSpec { spi, inbound: spi, keys: keys(), child: child.clone() };
    let inbound = InboundSpec { spi, keys: keys(), child, replay_window: 4096 };
    (OutboundSa::new(outbound, NOW), InboundSa::new(inbound, NOW))
}

/// An IPv4 packet of `len` bytes in each of the batch's slots.
fn slots(len: usize) -> (Vec<u8>, usize) {
    let stride = ((HEAD + len + 64).div_ceil(64) | 1) * 64;
    let mut slab = vec![0x5A; stride * BATCH];
    for slot in slab.chunks_mut(stride) {
        fresh(slot, len);
    }
    (slab, stride)
}

fn fresh(slot: &mut [u8], len: usize) {
    slot[HEAD] = 0x45;
    slot[HEAD + 2..HEAD + 4].copy_from_slice(&(len as u16).to_be_bytes());
}

/// One way to seal and open a batch. `seal` works on fresh packets, `open` on what `seal` has made.
trait Work {
    fn seal(&mut self, slab: &mut [u8], stride: usize, len: usize);
    fn open(&mut self, slab: &mut [u8], stride: usize, len: usize);
}

/// `ring` alone, with the padding that ESP needs.
struct Ring {
    key: LessSafeKey,
    number: u64,
}

impl Work for Ring {
    fn seal(&mut self, slab: &mut [u8], stride: usize, len: usize) {
        let padded = padded(len);
        for (number, slot) in (self.number..).zip(slab.chunks_mut(stride)) {
            let packet = &mut slot[HEAD..HEAD + padded];
            let tag = self.key.seal_in_place_separate_tag(nonce(number), Aad::from([1; 12]), packet);
            slot[HEAD + padded..HEAD + padded + 16].copy_from_slice(tag.expect("short enough").as_ref());
        }
    }

    fn open(&mut self, slab: &mut [u8], stride: usize, len: usize) {
        let padded = padded(len);
        for (number, slot) in (self.number..).zip(slab.chunks_mut(stride)) {
            let (packet, tag) = slot[HEAD..HEAD + padded + 16].split_last_chunk_mut::<16>().expect("long enough");
            let tag = Tag::from(*tag);
            let opened = self.key.open_in_place_separate_tag(nonce(number), Aad::from([1; 12]), tag, packet, 0..);
            black_box(opened.expect("sealed above"));
        }
        self.number += BATCH as u64;
    }
}

impl Work for (OutboundSa, InboundSa) {
    fn seal(&mut self, slab: &mut [u8], stride: usize, len: usize) {
        for at in 0..BATCH {
            let start = at * stride + HEAD;
            let sequence = self.0.reserve(NOW, 1, len as u64).expect("endless");
            black_box(self.0.seal(sequence, slab, start..start + len));
        }
    }

    fn open(&mut self, slab: &mut [u8], stride: usize, len: usize) {
        let padded = padded(len);
        for slot in slab.chunks_mut(stride) {
            let packet = &mut slot[HEAD - 16..HEAD + padded + 16];
            let header = EspHeader::parse(packet).expect("sealed above");
            let received = self.1.receive(NOW, header.sequence, packet).expect("sealed above");
            black_box(received.inner).expect("an IPv4 packet");
        }
    }
}

fn ring() -> Ring {
    Ring { key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes")), number: 1 }
}

fn padded(len: usize) -> usize {
    len + padding_for(len, 4) + TRAILER_LEN
}

/// Seals a batch and opens it again; how long each took.
fn round(work: &mut dyn Work, slab: &mut [u8], stride: usize, len: usize) -> [Duration; 2] {
    slab.chunks_mut(stride).for_each(|slot| fresh(slot, len));
    let start = Clock::now();
    work.seal(slab, stride, len);
    let sealed = start.elapsed();
    let start = Clock::now();
    work.open(slab, stride, len);
    [sealed, start.elapsed()]
}

/// Both sides in turn, and the best batch of each: what they cost where nothing else disturbs, on a busy machine too.
fn side_by_side(_: &mut Criterion) {
    println!("best batch, ns a packet      seal: ring    esp   more      open: ring    esp   more");
    for len in SIZES {
        let (mut slab, stride) = slots(len);
        let mut works: [(Box<dyn Work>, [Duration; 2]); 2] =
            [(Box::new(ring()), [Duration::MAX; 2]), (Box::new(sas()), [Duration::MAX; 2])];
        for _ in 0..4000 {
            for (work, best) in &mut works {
                let times = round(work.as_mut(), &mut slab, stride, len);
                *best = [best[0].min(times[0]), best[1].min(times[1])];
            }
        }
        let nanos = |which: usize, what: usize| works[which].1[what].as_nanos() as f64 / BATCH as f64;
        let columns = [0, 1].map(|what| {
            let (ring, esp) = (nanos(0, what), nanos(1, what));
            format!("{ring:10.1} {esp:6.1} {:5.1} %", (esp / ring - 1.0) * 100.0)
        });
        println!("{len:>5} bytes               {}      {}", columns[0], columns[1]);
    }
}

fn beside_ring(criterion: &mut Criterion) {
    for (what, verb) in ["seal", "open"].into_iter().enumerate() {
        for len in SIZES {
            let mut group = criterion.benchmark_group(format!("{verb} {len} bytes"));
            group.throughput(Throughput::Bytes(len as u64));
            let (mut slab, stride) = slots(len);
            let works: [(&str, Box<dyn Work>); 2] = [("ring", Box::new(ring())), ("esp", Box::new(sas()))];
            for (name, mut work) in works {
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|iterations| {
                        let rounds = iterations.div_ceil(BATCH as u64);
                        let total: Duration =
                            (0..rounds).map(|_| round(work.as_mut(), &mut slab, stride, len)[what]).sum();
                        let nanos = total.as_nanos() * u128::from(iterations) / u128::from(rounds * BATCH as u64);
                        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
                    });
                });
            }
            group.finish();
        }
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = side_by_side, beside_ring
}
criterion_main!(benches);
