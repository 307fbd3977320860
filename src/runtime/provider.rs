//! Whose AES is faster on this processor? A short race at start, on a packet of the usual length, decides whose code
//! protects packets; `status` shows its figures. Both give the same bytes (`crypto::aead`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::crypto::aead::{AeadKey, Provider};
use crate::crypto::suite::Cipher;
use crate::platform::clock;

/// Payload and trailer of a full packet under an MTU of 1,500.
const PACKET: usize = 1440;
/// Packets a lap. A lap takes some 30 µs, so that few of them meet an interrupt.
const LAP: u64 = 50;
/// Laps of each, in turn; the best one counts.
const LAPS: usize = 20;

/// Whose code a gateway would choose on this processor: one race for all measurements of a process.
#[must_use]
pub fn fastest() -> Provider {
    static FASTEST: LazyLock<Provider> = LazyLock::new(|| faster(&Race::run().ns));
    *FASTEST
}

/// Who won, and by how much.
#[derive(Clone, Debug)]
pub(super) struct Race {
    pub(super) winner: Provider,
    /// Nanoseconds to seal and open one packet.
    pub(super) ns: [(Provider, u64); Provider::ALL.len()],
}

impl Race {
    pub(super) fn run() -> Self {
        let mut best = Provider::ALL.map(|provider| (provider, u64::MAX));
        let keys = Provider::ALL.map(|provider| AeadKey::with(provider, Cipher::Aes256Gcm16, &[7; 36]));
        let mut packet = [0x45; PACKET];
        // The first lap of each is not for the record: it warms caches and the processor's wide registers.
        for lap in 0..=LAPS {
            for (key, (_, best)) in keys.iter().zip(&mut best) {
                let start = clock::now();
                for number in 0..LAP {
                    let tag = key.seal(number.to_be_bytes(), &[0; 12], &mut packet);
                    key.open(number.to_be_bytes(), &[0; 12], &mut packet, &tag).expect("sealed above");
                }
                let took = clock::now().as_nanos().saturating_sub(start.as_nanos()) / LAP;
                if lap > 0 {
                    *best = took.min(*best);
                }
            }
        }
        let winner = if cfg!(feature = "measure-without-cipher") { Provider::Null } else { faster(&best) };
        Self { winner, ns: best }
    }

    /// For `status`.
    pub(super) fn figures(&self) -> BTreeMap<String, u64> {
        self.ns.iter().map(|(provider, ns)| (provider.name().to_owned(), *ns)).collect()
    }
}

/// The first one on a tie.
fn faster(figures: &[(Provider, u64)]) -> Provider {
    figures.iter().min_by_key(|(_, ns)| *ns).map(|(provider, _)| *provider).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_one_wins_and_the_first_one_on_a_tie() {
        assert_eq!(faster(&[(Provider::Ring, 500), (Provider::AwsLc, 499)]), Provider::AwsLc);
        assert_eq!(faster(&[(Provider::Ring, 500), (Provider::AwsLc, 501)]), Provider::Ring);
        assert_eq!(faster(&[(Provider::Ring, 500), (Provider::AwsLc, 500)]), Provider::Ring);
    }

    #[test]
    fn every_provider_that_protects_runs_and_is_shown() {
        let race = Race::run();
        let figures = race.figures();
        assert_eq!(figures.keys().map(String::as_str).collect::<Vec<_>>(), ["aws-lc-rs", "ring"]);
        assert!(figures.values().all(|ns| *ns > 0 && *ns < u64::MAX));
    }
}
