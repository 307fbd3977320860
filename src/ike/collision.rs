//! Two gateways that start together open two IKE SAs; one of them has to go, and both sides must mean the same one.
//!
//! RFC 7296 says nothing of this case. The rule here: of all IKE SAs of a tunnel that overlap, the one with the lowest
//! SPIs stays. Both sides know the SPIs, so both come to the same end and may both send the delete.
//!
//! INITIAL_CONTACT (§2.4) is honoured only against an IKE SA that was established here before the first message of the
//! new one came in. In a simultaneous start the peer sends INITIAL_CONTACT before it has seen our IKE_AUTH, so its
//! IKE_SA_INIT reached us before our own IKE SA was established, and nothing is lost. A peer that has restarted comes
//! later than that.

use super::ike_sa::Core;
use super::keymat::Spis;
use super::step::Rival;

/// Whether the IKE SA with `own` SPIs has to go in favour of one of `rivals`.
pub fn loses(own: Spis, rivals: &[Rival]) -> bool {
    rivals.iter().any(|rival| rival.spis < own)
}

impl Rival {
    /// Whether it was established before the first message of the IKE SA in `core`.
    pub fn is_older_than(&self, core: &Core) -> bool {
        self.established_at < core.opened_at
    }
}
