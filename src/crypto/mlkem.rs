//! ML-KEM-768 and -1024 (FIPS 203) as additional key exchanges (draft-ietf-ipsecme-ikev2-mlkem), by `ml-kem`: all that is
//! random comes in from outside, so that a seed repeats the exchange. `aws-lc-rs` is its oracle in the tests.
//!
//! The initiator's value is an encapsulation key, the responder's a ciphertext. Left out: ML-KEM-512, and ML-KEM without a
//! classical exchange before it.

use ml_kem::kem::{Decapsulate, KeyExport, KeyInit, TryKeyInit};
use ml_kem::{B32, DecapsulationKey768, DecapsulationKey1024, EncapsulationKey768, EncapsulationKey1024, Seed};
use zeroize::Zeroize;

use super::kex::BadPublicValue;
use super::suite::Group;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// A decapsulation key; it wipes itself.
pub(super) enum Private {
    MlKem768(Box<DecapsulationKey768>),
    MlKem1024(Box<DecapsulationKey1024>),
}

impl Private {
    /// FIPS 203 §7.1: from two random strings of 32 bytes, d and z. With the encapsulation key.
    pub(super) fn generate(group: Group, entropy: &mut dyn Entropy) -> (Self, Vec<u8>) {
        let mut seed = Seed::default();
        entropy.fill(&mut seed);
        let made = match group {
            Group::MlKem768 => {
                let key = DecapsulationKey768::new(&seed);
                let public = ml_kem::kem::Decapsulator::encapsulation_key(&key).to_bytes().to_vec();
                (Self::MlKem768(Box::new(key)), public)
            }
            Group::MlKem1024 => {
                let key = DecapsulationKey1024::new(&seed);
                let public = ml_kem::kem::Decapsulator::encapsulation_key(&key).to_bytes().to_vec();
                (Self::MlKem1024(Box::new(key)), public)
            }
            other => panic!("{other:?} is no ML-KEM"),
        };
        seed.zeroize();
        made
    }

    /// FIPS 203 §7.3. A ciphertext of the right length always gives a secret: if it is not of our key, one that nobody knows.
    pub(super) fn agree(&self, ciphertext: &[u8]) -> Result<Secret, BadPublicValue> {
        let mut shared = match self {
            Self::MlKem768(key) => key.decapsulate(ciphertext.try_into().map_err(|_| BadPublicValue)?),
            Self::MlKem1024(key) => key.decapsulate(ciphertext.try_into().map_err(|_| BadPublicValue)?),
        };
        let secret = Secret::copy_of(&shared);
        shared.zeroize();
        Ok(secret)
    }
}

/// The responder's half: a ciphertext for the owner of `public`, and the secret in it.
pub(super) fn answer(
    group: Group,
    public: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<(Vec<u8>, Secret), BadPublicValue> {
    let mut message = B32::default();
    entropy.fill(&mut message);
    // FIPS 203 §7.2: the key's length and the modulus check; a key that fails them must not be used.
    let (ciphertext, mut shared) = match group {
        Group::MlKem768 => {
            let key = EncapsulationKey768::new_from_slice(public).map_err(|_| BadPublicValue)?;
            let (ciphertext, shared) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), shared)
        }
        Group::MlKem1024 => {
            let key = EncapsulationKey1024::new_from_slice(public).map_err(|_| BadPublicValue)?;
            let (ciphertext, shared) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), shared)
        }
        other => panic!("{other:?} is no ML-KEM"),
    };
    message.zeroize();
    let secret = Secret::copy_of(&shared);
    shared.zeroize();
    Ok((ciphertext, secret))
}
