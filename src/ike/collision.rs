//! Both sides do the same at the same time: one of the two results has to go, and both sides must mean the same one.
//!
//! Two gateways that start together open two IKE SAs. RFC 7296 says nothing of this case. The rule here: of all IKE SAs
//! of a tunnel that overlap, the one with the lowest SPIs stays. Both sides know the SPIs, so both come to the same end
//! and may both send the delete.
//!
//! INITIAL_CONTACT (§2.4) is honoured only against an IKE SA that was established here before the first message of the
//! new one came in. In a simultaneous start the peer sends INITIAL_CONTACT before it has seen our IKE_AUTH, so its
//! IKE_SA_INIT reached us before our own IKE SA was established, and nothing is lost. A peer that has restarted comes
//! later than that.
//!
//! An IKE SA that was established before the first message of another one came in has no twin but a successor: whoever
//! opened the newer one authenticates anew (§2.8.3), and means the older one to go once its child SAs have followed.
//!
//! Of a peer with several head-ends each one opens, and closes, IKE SAs of its own, and knows nothing of the others': all of this
//! holds for each head-end by itself. Between them the peer's choice goes before ours (`Terms::chosen`): an IKE SA that a head-end
//! has opened of its own accord takes the place of what we have opened with another one, and is never ended in favour of that.
//!
//! Two that rekey the same SA together make two new ones (§2.8.1, §2.8.2). The four nonces decide: [`Lowest`].

use std::time::Duration;

use super::ike_sa::Core;
use super::keymat::{Nonces, Spis};
use super::limits;
use super::step::Rival;
use crate::time::Instant;

/// The handshake that an IKE SA comes from, however often it has been rekeyed since. Two sides may see a rekeying before and
/// after another handshake; the handshake that began it all they see alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The SPIs of the IKE SA that it made.
    pub spis: Spis,
    /// When it was over here.
    pub since: Instant,
}

/// Whether the IKE SA in `core` has to go in favour of one of `rivals`: its twins, for what is older it replaces, and what the peer
/// has chosen.
pub fn loses(core: &Core, rivals: &[Rival]) -> bool {
    let (here, elsewhere): (Vec<&Rival>, Vec<&Rival>) =
        rivals.iter().partition(|rival| rival.is_at_the_same_head_end(core));
    if here.iter().any(|twin| !twin.is_older_than(core) && twin.origin.spis < core.spis) {
        return true;
    }
    let mut stay = elsewhere.iter().filter(|rival| !rival.leaves);
    if core.initiator {
        !here.iter().any(|old| old.chosen) && stay.any(|rival| rival.chosen)
    } else {
        // What was to go in favour of another head-end's still is: the peer has made it anew and not chosen anything.
        here.iter().any(|old| old.leaves && !old.chosen) && stay.next().is_some()
    }
}

/// Whether the peer has chosen the head-end of the IKE SA in `core`: it has opened it, where we had opened none with the same one,
/// or we have opened it in place of what it had chosen.
pub fn is_choice(core: &Core, rivals: &[Rival]) -> bool {
    let mut here = rivals.iter().filter(|rival| rival.is_at_the_same_head_end(core));
    let several = !core.tunnel.peering.others.is_empty();
    several && if core.initiator { here.any(|old| old.chosen) } else { here.all(|old| old.chosen) }
}

impl Rival {
    /// Whether it was established before the first message of the IKE SA in `core`.
    pub fn is_older_than(&self, core: &Core) -> bool {
        self.origin.since < core.opened_at
    }

    /// How long it stays beside the IKE SA in `core`, which is new and stays; `None` if nothing follows for it.
    pub fn grace(&self, core: &Core) -> Option<Duration> {
        let older = self.is_older_than(core);
        if !self.is_at_the_same_head_end(core) {
            let goes = !self.chosen && (core.terms.chosen || core.initiator && older);
            return goes.then_some(limits::SUCCESSION_TIME);
        }
        // RFC 7296 §2.8.3: "Reauthentication is done by creating a new IKE SA from scratch [...] and finally deleting the
        // old IKE SA", which is for whoever made the new one to do, once the child SAs have followed.
        Some(match (older, core.initiator) {
            (false, _) => limits::TWIN_GRACE,
            (true, true) => limits::SUCCESSION_TIME,
            (true, false) => limits::REPLACED_GRACE,
        })
    }

    /// Whether it is with the same head-end of the peer. Others open, and close, IKE SAs of their own.
    pub fn is_at_the_same_head_end(&self, core: &Core) -> bool {
        core.tunnel.peering.others.is_empty() || self.remote == core.path.remote.ip()
    }
}

/// The lower nonce of one exchange.
///
/// RFC 7296 §2.8.1: "the SA created with the lowest of the four nonces used in the two exchanges SHOULD be closed by the
/// endpoint that created it". Lowest means octet by octet, and of two that agree as far as they go the shorter one: the
/// order of slices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lowest(Vec<u8>);

impl Lowest {
    /// Of one exchange.
    pub fn of(nonces: Nonces<'_>) -> Self {
        Self(nonces.initiator.min(nonces.responder).to_vec())
    }

    /// Whether the SA made with this nonce has to go in favour of the `other`.
    pub fn loses(&self, other: &Self) -> bool {
        self < other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_four_nonces_loses_and_a_prefix_is_lower() {
        let of = |initiator: &[u8], responder: &[u8]| Lowest::of(Nonces { initiator, responder });
        assert!(of(&[1, 0], &[9, 9]).loses(&of(&[1, 1], &[1, 2])));
        assert!(!of(&[1, 1], &[1, 2]).loses(&of(&[1, 0], &[9, 9])));
        assert!(of(&[5, 5], &[1]).loses(&of(&[1, 0], &[9, 9])), "the shorter of two that agree");
        assert!(of(&[0xff; 16], &[0x7f; 256]).loses(&of(&[0xff; 16], &[0x80; 16])), "octets have no sign");
        let same = of(&[3; 16], &[4; 16]);
        assert!(!same.loses(&same), "at least one of the two stays");
    }
}
