//! How we prove who we are and how a peer does (RFC 7296 §2.15). `prove` is the one place where our proof is made,
//! `check` the one place where a peer's becomes a [`PeerAuthenticated`]; one file per method beside them.

pub mod announce;
pub mod certificate;
pub mod check;
pub mod eap;
pub mod method;
mod name;
pub mod octets;
pub mod prove;
pub mod psk;

pub use announce::PeerSays;
pub use certificate::{Chain, Credential};
pub use check::{Failure, Shown, check};
pub use method::{LocalAuth, Means, PeerAuth, Secrets};
pub use octets::SignedOctets;
pub use prove::{Circumstances, prove};

use crate::event::IkeReason;
use crate::ike::limits;
use crate::time::Instant;
use crate::wire::ike::payload::Id;

/// Proof that a peer has authenticated: made by the methods in this folder alone, and needed for an established IKE SA.
#[derive(Debug)]
pub struct PeerAuthenticated {
    id: Id,
    means: Means,
    /// The certificates that it was proved with.
    chain: Option<Chain>,
    ends: Option<Instant>,
}

impl PeerAuthenticated {
    /// Only the methods have something that proves it.
    fn new(id: Id, means: Means) -> Self {
        Self { id, means, chain: None, ends: None }
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
    /// What has been revoked since does not count at all.
    pub fn judge(&mut self, before: &PeerAuth, now: &PeerAuth, at: Instant, unix_now: u64) {
        if self.ends.is_some() {
            return;
        }
        // Whom EAP has proved under other users or other authorities, it proves again.
        let counts = match self.means {
            Means::Eap(_) if before != now => None,
            Means::Signature(_) => match (now, &mut self.chain) {
                (PeerAuth::Certificate(trust), Some(chain)) => match chain.judge(trust, unix_now) {
                    Ok(()) => Some(self.means),
                    Err(IkeReason::CertificateRevoked) => {
                        self.ends = Some(at);
                        return;
                    }
                    Err(_) => None,
                },
                _ => None,
            },
            means => means.under(before.secrets(), now.secrets()),
        };
        match counts {
            Some(means) => self.means = means,
            None => self.ends = Some(at + limits::ANEW_TIME),
        }
    }

    /// How many seconds the certificates that it was proved with are valid for, if it was proved with any.
    pub fn valid_for(&self, unix_now: u64) -> Option<u64> {
        let left = self.chain.as_ref()?.not_after.saturating_sub(i64::try_from(unix_now).unwrap_or(i64::MAX));
        Some(u64::try_from(left).unwrap_or(0))
    }

    /// When it ends, if it does not count any more.
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// For the IKE SA that takes the place of this one. RFC 7296 §2.8.3: rekeying does not authenticate anew; who holds
    /// the old keys makes the new ones.
    pub fn inherited(&self) -> Self {
        Self { id: self.id.clone(), means: self.means, chain: self.chain.clone(), ends: self.ends }
    }
}
