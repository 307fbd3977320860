//! The Extensible Authentication Protocol (RFC 3748) inside IKE_AUTH (RFC 7296 §2.16), without I/O: packets in, packets
//! out, and at the end a key that both sides have, or none.
//!
//! ```text
//! peer (the initiator of IKE)                authenticator (its responder)
//!                              <--  Request of the method
//! Response of the method       -->
//!        .. as often as the method needs ..
//!                              <--  Success, or Failure
//! ```
//! `peer` and `server` are the two sides; a method of each stands in `mschapv2` and `tls`. What proves that a method has
//! run to its end is its key, an [`Msk`], which only a completed method makes: a Success that comes without it, however
//! early or late, has nothing to show (CVE-2021-45079, CVE-2015-8023).
//!
//! A conversation that met a [`Fault`] is spent: nothing that comes afterwards can end well. IKE delivers each message
//! once and in order, so nothing is silently discarded here as RFC 3748 §4.1 has it on bare links: it ends the attempt.
//!
//! Left out: several methods in a row, the expanded types, EAP_ONLY_AUTHENTICATION (RFC 5998), and servers behind RADIUS.

mod credentials;
pub mod mschapv2;
mod packet;
mod peer;
mod server;
pub mod tls;

pub use credentials::{Authenticator, Credentials};
pub use peer::{Peer, Reaction};
pub use server::{Server, Verdict};

use std::borrow::Cow;

use crate::event::IkeReason;
use crate::secret::Secret;

/// The master session key of a method that has run to its end (RFC 3748 §7.10): what both sides' AUTH is keyed with.
/// Made by the methods in this folder alone.
#[derive(Debug)]
pub struct Msk {
    key: Secret,
}

/// RFC 3748 §7.10: "at least 64 octets"; our methods make exactly so many.
const MSK_LEN: usize = 64;

impl Msk {
    fn new(key: Secret) -> Self {
        debug_assert_eq!(key.len(), MSK_LEN, "each method makes a key of this length");
        Self { key }
    }

    /// The key, as the shared secret of RFC 7296 §2.15.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.key
    }
}

/// Why a conversation has ended without a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For the counter.
    pub reason: IkeReason,
    /// For people; without bytes of the peer.
    pub detail: Cow<'static, str>,
    /// The other side has said so itself, by EAP-Failure.
    pub told: bool,
}

impl Fault {
    fn malformed(detail: &'static str) -> Self {
        Self { reason: IkeReason::EapMalformed, detail: detail.into(), told: false }
    }

    fn unexpected(detail: &'static str) -> Self {
        Self { reason: IkeReason::EapUnexpected, detail: detail.into(), told: false }
    }

    fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: IkeReason::EapFailed, detail: detail.into(), told: false }
    }
}

#[cfg(test)]
mod tests;
