//! How a peer proves who it is (RFC 7296 §2.15). One file per method; each ends in a [`PeerAuthenticated`].

pub mod psk;

use crate::wire::ike::payload::Id;

/// Proof that a peer has authenticated: made by the methods in this folder alone, and needed for an established IKE SA.
#[derive(Debug)]
pub struct PeerAuthenticated {
    id: Id,
}

impl PeerAuthenticated {
    /// The identity that was proved.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// For the IKE SA that takes the place of this one. RFC 7296 §2.8.3: rekeying does not authenticate anew; who holds
    /// the old keys makes the new ones.
    pub fn inherited(&self) -> Self {
        Self { id: self.id.clone() }
    }
}
