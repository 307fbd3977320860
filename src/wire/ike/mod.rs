//! The IKEv2 message codec (RFC 7296 §3, RFC 7383 §2.5): header, payload chain, and one file per payload.

pub mod chain;
pub mod header;
pub mod message;
pub mod numbers;
pub mod payload;
