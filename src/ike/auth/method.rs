//! What a tunnel is configured to prove itself with, and what it asks of its peer. The two need not be of one kind.

use std::fmt;
use std::sync::Arc;

use super::certificate::Credential;
use crate::crypto::certificate::Trust;
use crate::ike::eap::{Authenticator, Credentials};
use crate::secret::Secret;

/// What we prove ourselves with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAuth {
    /// One of these keys, the first one at first.
    Psk(Secrets),
    /// Our certificate and its key.
    Certificate(Arc<Credential>),
    /// EAP, which only an initiator can do.
    Eap(Credentials),
}

/// What the peer has to prove itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAuth {
    /// Any of these keys.
    Psk(Secrets),
    /// A certificate of these authorities.
    Certificate(Arc<Trust>),
    /// EAP, which only an initiator can do.
    Eap(Authenticator),
}

impl LocalAuth {
    /// In words, for `explain`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Psk(_) => "pre-shared key",
            Self::Certificate(_) => "certificate",
            Self::Eap(method) => method.name(),
        }
    }
}

impl PeerAuth {
    /// In words, for `explain`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Psk(_) => "pre-shared key",
            Self::Certificate(_) => "certificate",
            Self::Eap(method) => method.name(),
        }
    }
}

/// What a proof was made with, for status and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A pre-shared key, by its place in the configuration: 0 is the one that is to stay.
    Psk(usize),
    /// A signature with a certificate, by this method or algorithm.
    Signature(&'static str),
    /// EAP, by this method.
    Eap(&'static str),
}

impl Means {
    /// Whether it is on its way out.
    #[must_use]
    pub fn is_old(self) -> bool {
        matches!(self, Self::Psk(place) if place > 0)
    }

    /// In the words of another configuration; `None` if it has no word for it.
    #[must_use]
    pub fn under(self, before: Option<&Secrets>, now: Option<&Secrets>) -> Option<Self> {
        match self {
            Self::Psk(place) => now?.place_of(before?.of_turn(place).1).map(Self::Psk),
            Self::Signature(_) | Self::Eap(_) => Some(self),
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk(0) => f.write_str("psk"),
            Self::Psk(_) => f.write_str("psk (old key)"),
            Self::Signature(algorithm) => write!(f, "certificate, {algorithm}"),
            Self::Eap(method) => f.write_str(method),
        }
    }
}

/// Pre-shared keys, the one that is to stay first; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// One key.
    #[must_use]
    pub fn one(secret: Secret) -> Self {
        Self(Arc::from([secret]))
    }

    /// Several keys, in order of preference; `None` without any.
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Option<Self> {
        (!secrets.is_empty()).then(|| Self(secrets.into()))
    }

    /// The key that is to stay.
    #[must_use]
    pub fn first(&self) -> &Secret {
        self.0.first().expect("never none")
    }

    /// The key of the `turn`th attempt, beginning with 0, and its place.
    #[must_use]
    pub fn of_turn(&self, turn: usize) -> (usize, &Secret) {
        let place = turn % self.0.len().max(1);
        (place, self.0.get(place).unwrap_or_else(|| self.first()))
    }

    /// How many there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// The place of a key.
    #[must_use]
    pub fn place_of(&self, wanted: &Secret) -> Option<usize> {
        self.iter().find(|(_, secret)| *secret == wanted).map(|(place, _)| place)
    }

    /// All of them with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Secret)> {
        self.0.iter().enumerate()
    }
}

macro_rules! secrets_of {
    ($($auth:ident)*) => {$(
        impl $auth {
            /// The pre-shared keys, if it is by one of them.
            #[must_use]
            pub fn secrets(&self) -> Option<&Secrets> {
                match self {
                    Self::Psk(secrets) => Some(secrets),
                    Self::Certificate(_) | Self::Eap(_) => None,
                }
            }

            /// The pre-shared key that is to stay, if there is one.
            #[must_use]
            pub fn psk(&self) -> Option<&Secret> {
                self.secrets().map(Secrets::first)
            }

            /// Whether it is by EAP: then only the side that proves itself so opens the IKE SA.
            #[must_use]
            pub fn is_eap(&self) -> bool {
                matches!(self, Self::Eap(_))
            }
        }
    )*};
}

secrets_of!(LocalAuth PeerAuth);
