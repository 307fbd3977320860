//! How we prove who we are and how a peer does (RFC 7296 §2.15). `prove` is the one place where our proof is made,
//! `check` the one place where a peer's becomes a [`PeerAuthenticated`]; one file per method beside them.

pub mod check;
pub mod eap;
pub mod method;
pub mod octets;
pub mod prove;
pub mod psk;

pub use check::{Failure, Shown, check};
pub use method::{LocalAuth, Means, PeerAuth, Secrets};
pub use octets::SignedOctets;
pub use prove::{Circumstances, prove};

use crate::ike::limits;
use crate::time::Instant;
use crate::wire::ike::payload::Id;

/// Proof that a peer has authenticated: made by the methods in this folder alone, and needed for an established IKE SA.
#[derive(Debug)]
pub struct PeerAuthenticated {
    id: Id,
    means: Means,
    ends: Option<Instant>,
}

impl PeerAuthenticated {
    /// Only the methods have something that proves it.
    fn new(id: Id, means: Means) -> Self {
        Self { id, means, ends: None }
    }

    /// The identity that was proved.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// By what it was proved.
    pub fn means(&self) -> Means {
        self.means
    }

    /// After a reload: whether what was proved under `before` counts under `now` as well. If it does not, it counts for
    /// [`limits::ANEW_TIME`] more, so that a new IKE SA can take the place of this one without a gap.
    pub fn judge(&mut self, before: &PeerAuth, now: &PeerAuth, at: Instant) {
        if self.ends.is_some() {
            return;
        }
        // Whom EAP has proved under other users or other authorities, it proves again.
        let counts = match self.means {
            Means::Eap(_) if before != now => None,
            means => means.under(before.secrets(), now.secrets()),
        };
        match counts {
            Some(means) => self.means = means,
            None => self.ends = Some(at + limits::ANEW_TIME),
        }
    }

    /// When it ends, if it does not count any more.
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// For the IKE SA that takes the place of this one. RFC 7296 §2.8.3: rekeying does not authenticate anew; who holds
    /// the old keys makes the new ones.
    pub fn inherited(&self) -> Self {
        Self { id: self.id.clone(), means: self.means, ends: self.ends }
    }
}
