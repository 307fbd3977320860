//! What each algorithm costs: sealing and opening a packet of 1400 bytes, and one side of a key exchange in every group
//! (making a value, and agreeing on the secret). `cargo bench --bench crypto`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::crypto::aead::{AeadKey, Provider};
use portcullis::crypto::cbc_hmac::CbcHmacKey;
use portcullis::crypto::kex::KeyPair;
use portcullis::crypto::provider::{ALGORITHMS, Choice};
use portcullis::crypto::self_test;
use portcullis::crypto::suite::{Cipher, Mac};
use portcullis::entropy::SeededEntropy;

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet of 1400 bytes");
    group.throughput(Throughput::Bytes(1400));
    let aeads = [Cipher::Aes256Gcm16, Cipher::Aes128Gcm16, Cipher::ChaCha20Poly1305];
    for (cipher, provider) in aeads.into_iter().flat_map(|cipher| Provider::ALL.map(|provider| (cipher, provider))) {
        let key = AeadKey::with(provider, cipher, &vec![7; cipher.key_len()]);
        let cipher = format!("{cipher}, {}", provider.name());
        let mut packet = [0x45; 1400];
        group.bench_function(format!("seal {cipher}"), |bencher| {
            bencher.iter(|| black_box(key.seal([1; 8], &[2; 8], black_box(&mut packet))));
        });
        let mut sealed = [0x45; 1400];
        let tag = key.seal([1; 8], &[2; 8], &mut sealed);
        group.bench_function(format!("open {cipher}, a copy included"), |bencher| {
            bencher.iter(|| {
                let mut packet = black_box(sealed);
                key.open([1; 8], &[2; 8], &mut packet, &tag).expect("sealed above");
                packet
            });
        });
    }
    for mac in [Mac::HmacSha256, Mac::HmacSha384, Mac::HmacSha512] {
        let key = CbcHmacKey::new(mac, &[7; 32], &vec![9; mac.key_len()]);
        let mut packet = [0x45; 1392];
        group.bench_function(format!("seal aes256-{mac}"), |bencher| {
            bencher.iter(|| {
                key.encrypt(&[1; 16], black_box(&mut packet));
                black_box(key.mac(&[&[2; 24], &packet]))
            });
        });
        group.bench_function(format!("open aes256-{mac}"), |bencher| {
            bencher.iter(|| {
                black_box(key.mac(&[&[2; 24], &packet]));
                key.decrypt(&[1; 16], black_box(&mut packet));
            });
        });
    }
    group.finish();
}

fn exchanges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key exchange");
    group.sample_size(20);
    for row in &ALGORITHMS {
        let Choice::Group(method) = row.choice else { continue };
        let mut entropy = SeededEntropy::new(1);
        let peer = KeyPair::generate(method, &mut entropy).public().to_vec();
        group.bench_function(format!("{method}, generate"), |bencher| {
            bencher.iter(|| KeyPair::generate(method, &mut entropy));
        });
        let mut entropy = SeededEntropy::new(2);
        group.bench_function(format!("{method}, agree"), |bencher| {
            bencher.iter_batched(
                || KeyPair::generate(method, &mut entropy),
                |pair| pair.agree(black_box(&peer)).expect("valid"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn start(criterion: &mut Criterion) {
    criterion.bench_function("self-test at start", |bencher| bencher.iter(|| self_test::run().expect("passes")));
}

criterion_group!(benches, packets, exchanges, start);
criterion_main!(benches);
