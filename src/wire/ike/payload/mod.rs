//! One file per payload of RFC 7296 §3 and RFC 7383: values that are decoded from, and encoded to, a payload body.

mod auth;
mod cert;
mod cp;
mod delete;
mod eap;
mod id;
mod ke;
mod nonce;
mod notify;
mod sa;
mod sk;
mod skf;
mod ts;
mod vendor;

pub use auth::Auth;
pub use cert::{Cert, CertReq};
pub use cp::{Attribute, Configuration};
pub use delete::Delete;
pub use eap::Eap;
pub use id::Id;
pub use ke::Ke;
pub use nonce::Nonce;
pub use notify::Notify;
pub use sa::{Proposal, Sa, Transform, TransformAttribute};
pub use sk::Encrypted;
pub use skf::EncryptedFragment;
pub use ts::{SelectorEntry, Ts, TsRange};
pub use vendor::Vendor;

use super::numbers::PayloadType;

/// One payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Security Association (§3.3).
    Sa(Sa),
    /// Key Exchange (§3.4).
    Ke(Ke),
    /// Identification of the initiator (§3.5).
    IdI(Id),
    /// Identification of the responder (§3.5).
    IdR(Id),
    /// Certificate (§3.6).
    Cert(Cert),
    /// Certificate Request (§3.7).
    CertReq(CertReq),
    /// Authentication (§3.8).
    Auth(Auth),
    /// Nonce (§3.9).
    Nonce(Nonce),
    /// Notify (§3.10).
    Notify(Notify),
    /// Delete (§3.11).
    Delete(Delete),
    /// Vendor ID (§3.12).
    Vendor(Vendor),
    /// Traffic Selectors of the initiator (§3.13).
    TsI(Ts),
    /// Traffic Selectors of the responder (§3.13).
    TsR(Ts),
    /// Encrypted and Authenticated (§3.14): always the last one.
    Sk(Encrypted),
    /// Encrypted and Authenticated Fragment (RFC 7383 §2.5): always the last one.
    Skf(EncryptedFragment),
    /// Configuration (§3.15).
    Cp(Configuration),
    /// Extensible Authentication Protocol (§3.16).
    Eap(Eap),
    /// A type this endpoint does not know. With the critical bit set, the message must be refused (§2.5).
    Unknown {
        /// The number.
        kind: PayloadType,
        /// The critical bit.
        critical: bool,
        /// The body, kept for those who look at captures.
        body: Vec<u8>,
    },
}
