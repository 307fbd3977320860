//! `bench crypto`: what sealing and opening one packet costs, by algorithm, provider and size. Bare algorithms, without the
//! rest of ESP: no header, no replay window, no copy.

use std::hint::black_box;
use std::time::Duration;

use super::figure::Figure;
use crate::crypto::aead::{AeadKey, Provider, TAG_LEN};
use crate::crypto::cbc_hmac::CbcHmacKey;
use crate::crypto::suite::{Cipher, Mac};
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
    Aead(AeadKey),
    Cbc(CbcHmacKey),
}

impl Key {
    fn aead(cipher: Cipher, provider: Provider) -> Self {
        Self::Aead(AeadKey::with(provider, cipher, &vec![7; cipher.key_len()]))
    }

    /// Encrypts in place and gives the checksum, in 16 bytes.
    fn seal(&self, nonce: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        match self {
            Self::Aead(key) => key.seal(nonce.to_be_bytes(), &AAD, text),
            Self::Cbc(key) => {
                let iv = block(nonce);
                key.encrypt(&iv, text);
                key.mac(&[&AAD, &iv, text]).as_bytes().try_into().expect("half of SHA-256")
            }
        }
    }

    /// Decrypts in place what [`seal`](Self::seal) made.
    fn open(&self, nonce: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        match self {
            Self::Aead(key) => key.open(nonce.to_be_bytes(), &AAD, text, tag).is_ok(),
            Self::Cbc(key) => {
                let iv = block(nonce);
                let genuine = key.verify(&[&AAD, &iv, text], tag).is_ok();
                key.decrypt(&iv, text);
                genuine
            }
        }
    }
}

fn block(nonce: u64) -> [u8; 16] {
    u128::from(nonce).to_be_bytes()
}

fn candidates() -> Vec<Candidate> {
    let aeads = [("AES-256-GCM", Cipher::Aes256Gcm16), ("ChaCha20-Poly1305", Cipher::ChaCha20Poly1305)];
    let mut all: Vec<_> = aeads
        .into_iter()
        .flat_map(|(algorithm, cipher)| {
            Provider::ALL.map(|provider| Candidate {
                algorithm,
                provider: provider.name(),
                key: Key::aead(cipher, provider),
            })
        })
        .collect();
    let mac = Mac::HmacSha256;
    all.push(Candidate {
        algorithm: "AES-256-CBC with HMAC-SHA-256-128",
        provider: "aes, hmac",
        key: Key::Cbc(CbcHmacKey::new(mac, &[7; 32], &vec![9; mac.key_len()])),
    });
    all
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
