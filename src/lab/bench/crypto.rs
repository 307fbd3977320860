//! `bench crypto`: what sealing and opening one packet costs, by algorithm, provider and size. Bare algorithms, without the
//! rest of ESP: no header, no replay window, no copy.

use std::hint::black_box;
use std::time::Duration;

use super::figure::Figure;
use crate::crypto::cbc_hmac::CbcHmacKey;
use crate::crypto::suite::Mac;
use crate::platform::clock;

/// Plaintexts, in bytes. 1408 is the longest multiple of 16 that a tunnel over Ethernet carries.
const SIZES: [usize; 4] = [64, 576, 1408, 9000];
/// Associated data: SPI and a 64-bit sequence number (RFC 4106 §5).
const AAD: [u8; 12] = [2; 12];
/// Packets in one sample.
const PACKETS: u32 = 32;
/// Fewest and most samples.
const SAMPLES: std::ops::RangeInclusive<usize> = 7..=2001;

/// One algorithm of one provider.
struct Candidate {
    algorithm: &'static str,
    provider: &'static str,
    key: Key,
}

enum Key {
    Ring(ring::aead::LessSafeKey),
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    Cbc(CbcHmacKey),
}

impl Key {
    fn ring(algorithm: &'static ring::aead::Algorithm) -> Self {
        let key = ring::aead::UnboundKey::new(algorithm, &[7; 32]).expect("a key of 32 bytes");
        Self::Ring(ring::aead::LessSafeKey::new(key))
    }

    fn aws_lc(algorithm: &'static aws_lc_rs::aead::Algorithm) -> Self {
        let key = aws_lc_rs::aead::UnboundKey::new(algorithm, &[7; 32]).expect("a key of 32 bytes");
        Self::AwsLc(aws_lc_rs::aead::LessSafeKey::new(key))
    }

    /// Encrypts in place and gives the checksum, in 16 bytes.
    fn seal(&self, nonce: u64, text: &mut [u8]) -> [u8; 16] {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&nonce.to_be_bytes());
        let mut tag = [0; 16];
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(bytes);
                let made = key.seal_in_place_separate_tag(nonce, Aad::from(AAD), text).expect("short enough");
                tag.copy_from_slice(made.as_ref());
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(bytes);
                let made = key.seal_in_place_separate_tag(nonce, Aad::from(AAD), text).expect("short enough");
                tag.copy_from_slice(made.as_ref());
            }
            Self::Cbc(key) => {
                let mut iv = [0; 16];
                iv[..12].copy_from_slice(&bytes);
                key.encrypt(&iv, text);
                tag.copy_from_slice(key.mac(&[&AAD, &iv, text]).as_bytes());
            }
        }
        tag
    }

    /// Decrypts in place what [`seal`](Self::seal) made.
    fn open(&self, nonce: u64, text: &mut [u8], tag: &[u8; 16]) -> bool {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&nonce.to_be_bytes());
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce, Tag};
                let nonce = Nonce::assume_unique_for_key(bytes);
                key.open_in_place_separate_tag(nonce, Aad::from(AAD), Tag::from(*tag), text, 0..).is_ok()
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(bytes);
                // Its detached form wants a place of its own for the plaintext.
                OPENED.with_borrow_mut(|opened| {
                    opened.resize(text.len(), 0);
                    key.open_separate_gather(nonce, Aad::from(AAD), text, tag, opened).is_ok()
                })
            }
            Self::Cbc(key) => {
                let mut iv = [0; 16];
                iv[..12].copy_from_slice(&bytes);
                let genuine = key.verify(&[&AAD, &iv, text], tag).is_ok();
                key.decrypt(&iv, text);
                genuine
            }
        }
    }
}

thread_local! {
    static OPENED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn candidates() -> [Candidate; 5] {
    let candidate = |algorithm, provider, key| Candidate { algorithm, provider, key };
    let mac = Mac::HmacSha256;
    [
        candidate("AES-256-GCM", "ring", Key::ring(&ring::aead::AES_256_GCM)),
        candidate("AES-256-GCM", "aws-lc-rs", Key::aws_lc(&aws_lc_rs::aead::AES_256_GCM)),
        candidate("ChaCha20-Poly1305", "ring", Key::ring(&ring::aead::CHACHA20_POLY1305)),
        candidate("ChaCha20-Poly1305", "aws-lc-rs", Key::aws_lc(&aws_lc_rs::aead::CHACHA20_POLY1305)),
        candidate(
            "AES-256-CBC with HMAC-SHA-256-128",
            "aes, hmac",
            Key::Cbc(CbcHmacKey::new(mac, &[7; 32], &vec![9; mac.key_len()])),
        ),
    ]
}

/// How many figures there are, for whoever shows progress.
#[must_use]
pub fn variants() -> usize {
    candidates().len() * SIZES.len() * 2
}

/// Measures everything, `each` long for an algorithm, provider, size and direction; says before each what it is.
pub fn measure(each: Duration, mut say: impl FnMut(&str)) -> Vec<Figure> {
    let candidates = candidates();
    let mut figures = Vec::new();
    for sealing in [true, false] {
        for size in SIZES {
            for candidate in &candidates {
                let case = format!("{}-{size}", if sealing { "seal" } else { "open" });
                let subject = format!("{}, {}", candidate.algorithm, candidate.provider);
                say(&format!("{case}: {subject}"));
                let samples = samples(each, size, sealing, &candidate.key);
                let layer = format!("plaintexts of {} bytes", length(size, &candidate.key));
                let mut figure = Figure::new(&subject, "", &case, layer, "ns a packet").of(samples);
                if let Some(ns) = super::stats::median(&figure.samples) {
                    #[allow(clippy::cast_precision_loss, reason = "9,000 bytes at most")]
                    let bytes = length(size, &candidate.key) as f64;
                    figure.note(format!("{:.2} GB/s a core", bytes / ns));
                }
                figures.push(figure);
            }
        }
    }
    figures
}

/// CBC takes whole blocks.
fn length(size: usize, key: &Key) -> usize {
    if matches!(key, Key::Cbc(_)) { size.next_multiple_of(16) } else { size }
}

fn samples(each: Duration, size: usize, sealing: bool, key: &Key) -> Vec<f64> {
    let mut text = vec![0x45; length(size, key)];
    let mut samples = Vec::new();
    let end = clock::now() + each;
    let mut nonce = 0;
    while samples.len() < *SAMPLES.start() || (samples.len() < *SAMPLES.end() && clock::now() < end) {
        let took = if sealing {
            let began = clock::now();
            for _ in 0..PACKETS {
                nonce += 1;
                black_box(key.seal(nonce, black_box(&mut text)));
            }
            clock::now() - began
        } else {
            let mut sealed: Vec<_> = (0..PACKETS)
                .map(|_| {
                    nonce += 1;
                    let mut text = text.clone();
                    let tag = key.seal(nonce, &mut text);
                    (nonce, text, tag)
                })
                .collect();
            let began = clock::now();
            let genuine = sealed.iter_mut().all(|(nonce, text, tag)| key.open(*nonce, black_box(text), tag));
            let took = clock::now() - began;
            assert!(genuine, "it was sealed here");
            took
        };
        samples.push(took.as_secs_f64() * 1e9 / f64::from(PACKETS));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_providers_of_an_algorithm_make_the_same_bytes() {
        let candidates = candidates();
        for pair in candidates.chunks_exact(2) {
            for size in SIZES {
                let sealed = |candidate: &Candidate| {
                    let mut text = vec![0x45; size];
                    let tag = candidate.key.seal(9, &mut text);
                    (text, tag)
                };
                assert_eq!(sealed(&pair[0]), sealed(&pair[1]), "{}, {size} bytes", pair[0].algorithm);
            }
        }
    }

    #[test]
    fn what_was_changed_on_the_way_does_not_open() {
        for candidate in &candidates() {
            let mut text = vec![0x45; 64];
            let tag = candidate.key.seal(9, &mut text);
            assert!(candidate.key.open(9, &mut text.clone(), &tag), "{}", candidate.algorithm);
            text[5] ^= 1;
            assert!(!candidate.key.open(9, &mut text, &tag), "{}", candidate.algorithm);
        }
    }

    #[test]
    fn every_algorithm_has_a_figure_for_every_size_both_ways() {
        let mut said = 0;
        let figures = measure(Duration::ZERO, |_| said += 1);
        assert_eq!((figures.len(), said), (variants(), variants()));
        assert!(figures.iter().all(|figure| figure.samples.len() == 7 && figure.notes.len() == 1));
    }
}
