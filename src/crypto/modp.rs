//! The MODP groups 14, 15 and 16 (RFC 3526) over `crypto-bigint`: exponentiation in time that depends neither on the
//! exponent nor on the base. Slower than the curves, and here for peers that have nothing else.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, U2048, U3072, U4096, Uint};
use zeroize::{Zeroize, Zeroizing};

use super::kex::BadPublicValue;
use super::suite::Group;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// A private exponent.
pub(super) struct Private {
    group: Group,
    exponent: Zeroizing<U512>,
}

impl Private {
    /// An exponent of exactly [`exponent_bits`] bits.
    pub(super) fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        let drawn = &mut bytes[64 - exponent_bits(group) as usize / 8..];
        entropy.fill(drawn);
        // The highest bit is set, so that 2^x is far beyond the prime whatever was drawn.
        drawn[0] |= 0x80;
        Self { group, exponent: Zeroizing::new(U512::from_be_slice(&*bytes)) }
    }

    /// 2^x, padded to the length of the prime.
    pub(super) fn public(&self) -> Vec<u8> {
        match self.group {
            Group::Modp2048 => power(PRIME_2048, &Uint::from_u8(2), self),
            Group::Modp3072 => power(PRIME_3072, &Uint::from_u8(2), self),
            Group::Modp4096 => power(PRIME_4096, &Uint::from_u8(2), self),
            other => panic!("{other:?} is no MODP group"),
        }
    }

    /// `peer` has the length of the prime.
    pub(super) fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicValue> {
        match self.group {
            Group::Modp2048 => checked(PRIME_2048, peer).map(|peer| power(PRIME_2048, &peer, self)),
            Group::Modp3072 => checked(PRIME_3072, peer).map(|peer| power(PRIME_3072, &peer, self)),
            Group::Modp4096 => checked(PRIME_4096, peer).map(|peer| power(PRIME_4096, &peer, self)),
            other => panic!("{other:?} is no MODP group"),
        }
        .map(Secret::new)
    }
}

/// RFC 3526 §8 gives two estimates of each group's strength and asks for exponents of twice as many bits: 220 or 320,
/// 260 or 420, 300 or 480. These are the higher ones, up to a whole number of 64-bit words. A full-length exponent
/// would cost four to eight times as much and add nothing, for the best known attack on a shorter one (a square-root
/// search) is no easier than the one on the group.
const fn exponent_bits(group: Group) -> u32 {
    match group {
        Group::Modp2048 => 320,
        Group::Modp3072 => 448,
        _ => 512,
    }
}

/// RFC 6989 §2.1: for groups with a safe prime, as all of RFC 3526 are, the value must lie strictly between 1 and p - 1.
/// A value outside the subgroup of order (p - 1)/2 would tell its sender the last bit of an exponent that is never used
/// again. The value is no secret, so comparing it may take what time it likes. Its length is the prime's.
fn checked<const LIMBS: usize>(prime: Odd<Uint<LIMBS>>, peer: &[u8]) -> Result<Uint<LIMBS>, BadPublicValue> {
    let peer = Uint::from_be_slice(peer);
    let highest = prime.wrapping_sub(&Uint::from_u8(2));
    if peer < Uint::from_u8(2) || peer > highest { Err(BadPublicValue) } else { Ok(peer) }
}

/// `base ^ exponent mod prime`, big-endian and as long as the prime: RFC 7296 §2.14 keeps leading zeros.
fn power<const LIMBS: usize>(prime: Odd<Uint<LIMBS>>, base: &Uint<LIMBS>, private: &Private) -> Vec<u8> {
    let base = FixedMontyForm::new(base, &FixedMontyParams::new_vartime(prime));
    let mut result = base.pow_bounded_exp(&*private.exponent, exponent_bits(private.group));
    let mut number = Zeroizing::new(result.retrieve());
    result.zeroize();
    let mut bytes = Vec::with_capacity(Uint::<LIMBS>::BYTES);
    for limb in number.as_limbs().iter().rev() {
        bytes.extend_from_slice(&limb.0.to_be_bytes());
    }
    number.zeroize();
    bytes
}

/// RFC 3526 §3: 2^2048 - 2^1984 - 1 + 2^64 * ( [2^1918 pi] + 124476 ).
const PRIME_2048: Odd<U2048> = Odd::<U2048>::from_be_hex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AACAA68FFFFFFFFFFFFFFFF",
);

/// RFC 3526 §4: 2^3072 - 2^3008 - 1 + 2^64 * ( [2^2942 pi] + 1690314 ).
const PRIME_3072: Odd<U3072> = Odd::<U3072>::from_be_hex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
);

/// RFC 3526 §5: 2^4096 - 2^4032 - 1 + 2^64 * ( [2^3966 pi] + 240904 ).
const PRIME_4096: Odd<U4096> = Odd::<U4096>::from_be_hex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
     88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6\
     287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
);

#[cfg(test)]
pub(super) mod tests;
