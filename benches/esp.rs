//! Sealing and opening with AES-256-GCM beside `ring` alone on the same buffers: what header, IV, padding, replay window
//! and counters add. `cargo bench --bench esp`.
//!
//! Both sides work through batches of 64 packets that lie side by side, as the data path does; making the packets that
//! are opened is not timed.

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
use portcullis::wire::esp::{TRAILER_LEN, padding_for};
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

/// Runs `timed` over whole batches until `iterations` packets have gone through, with `untimed` before each batch.
fn batches(iterations: u64, mut untimed: impl FnMut(), mut timed: impl FnMut()) -> Duration {
    let rounds = iterations.div_ceil(BATCH as u64);
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        untimed();
        let start = Clock::now();
        timed();
        total += start.elapsed();
    }
    share(total, iterations, rounds)
}

/// The part of `rounds` whole batches that `iterations` packets took.
fn share(total: Duration, iterations: u64, rounds: u64) -> Duration {
    let nanos = total.as_nanos() * u128::from(iterations) / u128::from(rounds * BATCH as u64);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn seal(criterion: &mut Criterion) {
    for len in SIZES {
        let mut group = criterion.benchmark_group(format!("seal {len} bytes"));
        group.throughput(Throughput::Bytes(len as u64));
        let (mut slab, stride) = slots(len);

        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
        let padded = len + padding_for(len, 4) + TRAILER_LEN;
        let mut number = 0u64;
        group.bench_function("ring", |bencher| {
            bencher.iter_custom(|iterations| {
                batches(
                    iterations,
                    || {},
                    || {
                        for slot in slab.chunks_mut(stride) {
                            number += 1;
                            let packet = &mut slot[HEAD..HEAD + padded];
                            let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from([1; 12]), packet);
                            let tag = tag.expect("short enough");
                            slot[HEAD + padded..HEAD + padded + 16].copy_from_slice(tag.as_ref());
                        }
                    },
                )
            });
        });

        let (mut outbound, _) = sas();
        let (mut slab, stride) = slots(len);
        let slab = std::cell::RefCell::new(&mut slab);
        group.bench_function("esp", |bencher| {
            bencher.iter_custom(|iterations| {
                let restore = || slab.borrow_mut().chunks_mut(stride).for_each(|slot| fresh(slot, len));
                batches(iterations, restore, || {
                    let slab = &mut **slab.borrow_mut();
                    for at in 0..BATCH {
                        let start = at * stride + HEAD;
                        let sequence = outbound.reserve(NOW, 1, len as u64).expect("endless");
                        black_box(outbound.seal(sequence, slab, start..start + len));
                    }
                })
            });
        });
        group.finish();
    }
}

fn open(criterion: &mut Criterion) {
    for len in SIZES {
        let mut group = criterion.benchmark_group(format!("open {len} bytes"));
        group.throughput(Throughput::Bytes(len as u64));

        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
        let padded = len + padding_for(len, 4) + TRAILER_LEN;
        let (mut slab, stride) = slots(len);
        let slab = std::cell::RefCell::new(&mut slab);
        group.bench_function("ring", |bencher| {
            bencher.iter_custom(|iterations| {
                let prepare = || {
                    for (number, slot) in (1..).zip(slab.borrow_mut().chunks_mut(stride)) {
                        fresh(slot, len);
                        let packet = &mut slot[HEAD..HEAD + padded];
                        let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from([1; 12]), packet);
                        let tag = tag.expect("short enough");
                        slot[HEAD + padded..HEAD + padded + 16].copy_from_slice(tag.as_ref());
                    }
                };
                batches(iterations, prepare, || {
                    for (number, slot) in (1..).zip(slab.borrow_mut().chunks_mut(stride)) {
                        let (packet, tag) = slot[HEAD..HEAD + padded + 16].split_last_chunk_mut::<16>().expect("long");
                        let aad = Aad::from([1; 12]);
                        let tag = Tag::from(*tag);
                        black_box(key.open_in_place_separate_tag(nonce(number), aad, tag, packet, 0..))
                            .expect("sealed above");
                    }
                })
            });
        });

        let (mut outbound, mut inbound) = sas();
        let (mut slab, stride) = slots(len);
        let slab = std::cell::RefCell::new(&mut slab);
        group.bench_function("esp", |bencher| {
            bencher.iter_custom(|iterations| {
                let prepare = || {
                    let slab = &mut **slab.borrow_mut();
                    for at in 0..BATCH {
                        let start = at * stride + HEAD;
                        fresh(&mut slab[at * stride..], len);
                        let sequence = outbound.reserve(NOW, 1, len as u64).expect("endless");
                        let _ = outbound.seal(sequence, slab, start..start + len);
                    }
                };
                batches(iterations, prepare, || {
                    let slab = &mut **slab.borrow_mut();
                    for slot in slab.chunks_mut(stride) {
                        let packet = &mut slot[HEAD - 16..HEAD + padded + 16];
                        let low = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                        let received = inbound.receive(NOW, low, packet).expect("sealed above");
                        black_box(received.inner).expect("an IPv4 packet");
                    }
                })
            });
        });
        group.finish();
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
    targets = seal, open
}
criterion_main!(benches);
