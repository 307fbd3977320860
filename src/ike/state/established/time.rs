//! What time brings to an IKE SA in use: retransmission, liveness, keepalives, renewal, the end.

use std::time::Duration;

use super::end::SILENT;
use super::{Established, Ongoing};
use crate::ike::children::Due;
use crate::ike::config::TunnelConfig;
use crate::ike::exchange::{followup, informational, mobike};
use crate::ike::ike_sa::Core;
use crate::ike::limits;
use crate::ike::state::{State, repeat};
use crate::ike::step::{Notice, Step};
use crate::ike::timer::earlier;
use crate::time::Instant;

impl Established {
    /// Time has passed.
    pub fn on_time(mut self: Box<Self>, core: &mut Core, step: &mut Step<'_>) -> State {
        let due = core.window.deadline().is_some_and(|at| at <= step.now);
        if due && core.window.transmissions() >= limits::TRANSMISSIONS_HERE {
            let home = *self.home.get_or_insert(core.path.remote.ip());
            let telling = matches!(self.ongoing, Some(Ongoing::TellAddress(_)));
            mobike::try_elsewhere(core, home, telling);
        }
        if due {
            mobike::repeated(&mut self.ongoing, core.path);
        }
        if !repeat(core, step) {
            return self.end(core, step, SILENT);
        }
        if core.window.is_exhausted() {
            return self.close(core, step, "the message IDs have run out");
        }
        if self.leaves_at.is_some_and(|at| at <= step.now) {
            return self.leave(core, step, "another IKE SA has its place");
        }
        if self.proof.ends().is_some_and(|at| at <= step.now) {
            return self.close(core, step, "what the peer had proved itself with is not accepted any more");
        }
        if self.expires_at <= step.now && self.leaves_soon() {
            // Sooner than it was to leave. Packets may be under way on child SAs that have not followed yet.
            return self.leave(core, step, "another IKE SA has its place");
        }
        if self.expires_at <= step.now {
            return self.close(core, step, "its lifetime has ended and the peer has not rekeyed it with us");
        }
        followup::expire(&mut self, step);
        self.renew(core, step);
        self.proceed(core, step);
        if self.leaves_at.is_none() && self.reauth_at <= step.now {
            // RFC 7296 §2.8.3: an IKE SA that is not rekeyed is replaced by one that is made from scratch.
            let pause = self.expires_at.since(step.now) / limits::REAUTHENTICATIONS;
            self.reauth_at = step.now + pause.max(limits::TEMPORARY_FAILURE_PAUSE);
            step.notices.push(Notice::Expires);
        }
        if self.liveness_at(core).is_some_and(|at| at <= step.now) {
            if self.tasks.is_empty() {
                self.ongoing = informational::begin_liveness(&mut self, core, step);
            }
            if self.ongoing.is_none() {
                // The window is taken, or something waits that asks the same: for the window, or for the end of the peer's
                // rekeying. Not again in this instant, in any case: a time that stays due never ends.
                self.last_inbound = step.now;
            }
        }
        if self.keepalive_at(core).is_some_and(|at| at <= step.now) {
            // RFC 3948 §2.3, §4: only the side behind the NAT keeps its mapping alive.
            step.out.keepalive(core.path);
            self.last_keepalive = step.now;
        }
        State::Established(self)
    }

    /// RFC 7296 §2.8: in IKEv2 "each end of the SA is responsible for enforcing its own lifetime policy on the SA and
    /// rekeying the SA when necessary".
    fn renew(&mut self, core: &mut Core, step: &mut Step<'_>) {
        self.children.forget_lingering(step);
        for (inbound, due) in self.children.due(step.now) {
            match due {
                Due::Rekey => self.rekey_child(core, step, inbound),
                Due::Anew => self.renew_from_scratch(core, step, inbound),
                Due::Expired => self.replace_child(core, step, inbound),
                Due::Patience => {
                    if let Some(inbound) = self.children.patience_ends(step.now, inbound) {
                        self.delete_child(inbound);
                        self.proceed(core, step);
                    }
                }
            }
        }
        if self.leaves_at.is_none() && self.rekey_at <= step.now {
            self.rekey_ike(core, step);
        }
    }

    fn liveness_at(&self, core: &Core) -> Option<Instant> {
        // A request that waits asks the same question.
        let interval = core.tunnel.liveness.max(Duration::from_secs(1));
        self.ongoing.is_none().then(|| self.last_inbound + interval)
    }

    fn keepalive_at(&self, core: &Core) -> Option<Instant> {
        core.nat.local.then(|| self.last_keepalive + limits::KEEPALIVE)
    }

    /// When [`on_time`](Self::on_time) is due.
    pub fn deadline(&self, core: &Core) -> Option<Instant> {
        let own = earlier(self.liveness_at(core), self.keepalive_at(core));
        let own = earlier(own, followup::deadline(self));
        let renewal = Some(self.rekey_at.min(self.reauth_at));
        let ends = earlier(self.leaves_at.or(renewal), Some(self.expires_at));
        earlier(earlier(own, ends), earlier(self.children.deadline(), core.window.deadline()))
    }

    /// After a reload: does what the peer has proved itself with count still? If not, the peer proves itself anew.
    pub fn judge(&mut self, before: &TunnelConfig, config: &TunnelConfig, step: &Step<'_>) {
        let stood = self.proof.ends().is_none();
        self.proof.judge(&before.peer_auth, &config.peer_auth, step.now, step.unix_now);
        if stood {
            self.heed_proof(step.now, step.unix_now);
        }
    }

    /// A proof that does not count any more lasts until another IKE SA has the place of this one, and not for long. One by
    /// certificates lasts no longer than they do.
    pub(super) fn heed_proof(&mut self, now: Instant, unix_now: u64) {
        if let Some(left) = self.proof.valid_for(unix_now).map(Duration::from_secs) {
            self.expires_at = self.expires_at.min(now + left);
            self.reauth_at = self.reauth_at.min(now + left.saturating_sub(limits::ANEW_TIME));
        }
        if let Some(ends) = self.proof.ends() {
            self.reauth_at = now;
            self.expires_at = self.expires_at.min(ends);
        }
    }

    /// Its twin has won, or it has a successor.
    pub fn leave_at(&mut self, at: Instant) {
        self.leaves_at.get_or_insert(at);
    }

    /// What it was to go for is gone itself.
    pub fn stay(&mut self, step: &mut Step<'_>) {
        self.leaves_at = None;
        self.children.stay(step);
    }

    /// Whether its twin has won or its successor is there, so that no new traffic goes by it.
    pub fn leaves_soon(&self) -> bool {
        self.leaves_at.is_some()
    }
}
