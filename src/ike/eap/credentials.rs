//! What a tunnel is configured with for EAP: what we show as a peer, and what we ask for as an authenticator.

use std::sync::Arc;

use super::mschapv2::Users;
use super::packet::EapType;
use super::tls::{ClientIdentity, ServerIdentity};
use crate::secret::Secret;

/// What we prove ourselves with, as the initiator of IKE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// EAP-MSCHAPv2.
    MschapV2 {
        /// Who we are.
        user: String,
        /// The NT hash comes from it. Text in UTF-8.
        password: Arc<Secret>,
    },
    /// EAP-TLS.
    Tls {
        /// What we say when we are asked who we are; the certificate says it again.
        user: String,
        /// Certificate, key, and whom we speak with.
        identity: Arc<ClientIdentity>,
    },
}

/// What we ask of a peer, as the responder of IKE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authenticator {
    /// EAP-MSCHAPv2.
    MschapV2 {
        /// Who may come.
        users: Arc<Users>,
        /// Whether the peer is asked who it is before the method begins.
        ask_identity: bool,
    },
    /// EAP-TLS.
    Tls {
        /// Our certificate and key, and whom we speak with.
        identity: Arc<ServerIdentity>,
        /// Whether the peer is asked who it is before the method begins.
        ask_identity: bool,
    },
}

impl Credentials {
    /// The method in the words of the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        name(self.kind())
    }

    /// The method as RFC 3748 numbers it.
    pub(super) fn kind(&self) -> EapType {
        match self {
            Self::MschapV2 { .. } => EapType::MSCHAPV2,
            Self::Tls { .. } => EapType::TLS,
        }
    }

    /// What an Identity request is answered with.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::MschapV2 { user, .. } | Self::Tls { user, .. } => user,
        }
    }
}

impl Authenticator {
    /// The method in the words of the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        name(self.kind())
    }

    /// The method as RFC 3748 numbers it.
    pub(super) fn kind(&self) -> EapType {
        match self {
            Self::MschapV2 { .. } => EapType::MSCHAPV2,
            Self::Tls { .. } => EapType::TLS,
        }
    }

    /// Whether the peer is asked who it is before the method begins.
    pub(super) fn asks_identity(&self) -> bool {
        match self {
            Self::MschapV2 { ask_identity, .. } | Self::Tls { ask_identity, .. } => *ask_identity,
        }
    }
}

fn name(kind: EapType) -> &'static str {
    if kind == EapType::TLS { "eap-tls" } else { "eap-mschapv2" }
}
