//! EAP-TLS: TLS 1.2 (RFC 5216) or 1.3 (RFC 9190) in EAP packets, a certificate on both sides.
//!
//! ```text
//! peer                                authenticator
//!                                <--  Start
//! ClientHello                    -->
//!                                <--  ServerHello .. CertificateRequest .. Finished
//! Certificate .. Finished        -->
//!                                <--  (1.2) ChangeCipherSpec, Finished   (1.3) one byte of zero
//! empty response                 -->
//!                                <--  EAP-Success
//! ```
//! `fragment` cuts what does not fit one packet, `conversation` hands whole flights to `rustls`, which does I/O through
//! buffers alone; `client` and `server` know whose turn it is. No session is resumed: each proof is made anew.
//!
//! TLS draws its randomness from the provider (`ring`), not from the endpoint's: that cannot be passed in. What differs
//! with it is bytes, not the course of the conversation.
//!
//! Left out: CRLs and OCSP inside TLS, privacy (§2.1.4 of RFC 5216), resumption, raw keys.

mod client;
mod conversation;
mod fragment;
mod identity;
mod server;

pub use client::Client;
pub use identity::{ClientIdentity, Refused, ServerIdentity};
pub use server::{Server, Step};

/// For tests: certificates.
#[cfg(test)]
pub(in crate::ike) mod testing;
