//! Which algorithm? A table of what this endpoint can do (RFC 8221, 8247) over well-kept implementations: `ring` for
//! AEAD, `x25519-dalek` for group 31, `aws-lc-rs` for the NIST curves, `crypto-bigint` for MODP, `hmac` and `sha2`.

pub mod aead;
pub mod cbc_hmac;
mod ecp;
pub mod kex;
mod modp;
pub mod preset;
pub mod prf;
pub mod provider;
pub mod self_test;
pub mod suite;
pub mod written;
