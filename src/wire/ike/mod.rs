//! The IKEv2 message codec (RFC 7296 §3, RFC 7383 §2.5): header, payload chain, and one file per payload.
//!
//! It knows the shape of messages and nothing of their meaning: which payloads an exchange needs, which version is
//! spoken and which critical payloads are refused is decided in `ike`. Reserved fields are ignored when read and zero
//! when written; numbers without a name are kept.

pub mod chain;
pub mod fuzz;
pub mod header;
pub mod limits;
pub mod malformed;
pub mod message;
pub mod numbers;
pub mod payload;
pub mod sealed;

#[cfg(test)]
mod tests;
