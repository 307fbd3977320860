//! The NIST curves, groups 19, 20 and 21 (RFC 5903), by `aws-lc-rs`. Left out: compressed points, which IKEv2 does not have.

use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::kex::BadPublicValue;
use super::suite::Group;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// How often a private value may be drawn anew. One draw in 2^32 (P-256) fails by chance: whoever fails this often has an
/// entropy source that is stuck.
const DRAWS: usize = 16;

/// A private value.
pub(super) struct Private(PrivateKey);

impl Private {
    /// Draws values of the order's bit length until one lies in 1..order, so that all of them are equally likely.
    pub(super) fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        let (algorithm, top_bits) = curve(group);
        let mut bytes = Zeroizing::new(vec![0; coordinate_len(group)]);
        for _ in 0..DRAWS {
            entropy.fill(&mut bytes);
            bytes[0] &= top_bits;
            // Refuses zero and what is not below the order.
            if let Ok(private) = PrivateKey::from_private_key(algorithm, &bytes) {
                return Self(private);
            }
        }
        panic!("the entropy source repeats itself");
    }

    /// x and y, without the byte that says "uncompressed" (RFC 5903 §7).
    pub(super) fn public(&self) -> Vec<u8> {
        let public = self.0.compute_public_key().expect("a valid private value has a public one");
        public.as_ref().get(1..).expect("an uncompressed point").to_vec()
    }

    pub(super) fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        // RFC 6989 §2.3: the value must be a point of the curve; AWS-LC checks both coordinates and the equation. The
        // leading 4 also keeps its parser from taking the peer's bytes for another encoding.
        let mut point = Vec::with_capacity(1 + peer.len());
        point.push(4);
        point.extend_from_slice(peer);
        // RFC 5903 §7: the shared secret is the x value alone.
        agreement::agree(&self.0, UnparsedPublicKey::new(self.0.algorithm(), &point), BadPublicValue, |x| {
            Ok(Secret::copy_of(x))
        })
    }
}

/// Length of one coordinate, of the order, and of the shared secret.
pub(super) const fn coordinate_len(group: Group) -> usize {
    group.public_len() / 2
}

/// The curve, and which bits of a private value's first byte lie within its order's length.
fn curve(group: Group) -> (&'static Algorithm, u8) {
    match group {
        Group::Ecp256 => (&ECDH_P256, 0xff),
        Group::Ecp384 => (&ECDH_P384, 0xff),
        Group::Ecp521 => (&ECDH_P521, 0x01),
        other => panic!("{other:?} is no NIST curve"),
    }
}
