//! Which algorithm? A table of what this endpoint can do (RFC 8221, 8247) over well-kept implementations: `ring` for
//! AEAD, `x25519-dalek` for group 31, `aws-lc-rs` for the NIST curves, `crypto-bigint` for MODP, `ml-kem`, `hmac` and `sha2`.

pub mod aead;
pub mod cbc_hmac;
pub mod certificate;
mod ecp;
pub mod kex;
mod mlkem;
mod modp;
pub mod preset;
pub mod prf;
pub mod provider;
pub mod self_test;
pub mod signature;
pub mod suite;
pub mod written;

/// Keys are neither copied nor printed nor stored. `Claim<_>` has one implementation for every type and a second one
/// for types that do what they must not: with both the compiler cannot choose, and the crate does not build.
#[cfg(test)]
const _: () = {
    macro_rules! no_key_is {
        ($check:ident: $forbidden:path) => {
            #[expect(dead_code, reason = "it is enough that it compiles")]
            fn $check() {
                trait Claim<Guess> {
                    fn holds() {}
                }
                struct Forbidden;
                impl<T> Claim<()> for T {}
                impl<T: $forbidden> Claim<Forbidden> for T {}
                <aead::AeadKey as Claim<_>>::holds();
                <cbc_hmac::CbcHmacKey as Claim<_>>::holds();
                <kex::KeyPair as Claim<_>>::holds();
                <signature::SigningKey as Claim<_>>::holds();
            }
        };
    }
    no_key_is!(copied: Clone);
    no_key_is!(printed: std::fmt::Debug);
    no_key_is!(shown: std::fmt::Display);
    no_key_is!(stored: serde::Serialize);
};
