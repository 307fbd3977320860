//! The agreements in the control loop: what time and the operator do to them, and in which order that reaches the disk, the
//! data path and IKE.
//!
//! What closes is closed in the data path first, then in IKE, then on the disk: nobody waits for a disk while bytes flow that must not.
//! What opens is on the disk first: nothing flows that a restart would not let flow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RunError;
use super::agreements;
use super::control_loop::ControlLoop;
use super::protocol::{Answer, Status};
use super::worker::Command;
use crate::agreement::{Ledger, Wish};
use crate::config::Loaded;
use crate::event::{DropReason, Event};
use crate::ids::TunnelId;
use crate::platform::clock;

/// Agreements under which nothing passes.
type Closed = BTreeMap<String, DropReason>;

/// What a reload brings.
pub(super) struct News {
    /// The tunnels that were closed before.
    pub(super) before: BTreeMap<TunnelId, DropReason>,
    /// What is to be told.
    pub(super) events: Vec<Event>,
}

impl ControlLoop {
    /// What time brings. Whatever opens by it alone (a clock that is right again, a day that has come) is no more than what
    /// stands on the disk already.
    pub(super) fn pass_time(&mut self) -> Result<(), RunError> {
        let mut news = Vec::new();
        self.agreements.ledger.pass_time(clock::wall(), &mut news);
        self.agreements.look_ahead();
        self.close(self.agreements.ledger.closings())?;
        // A refusal has been logged, and is tried again.
        let _ = self.agreements.write(false);
        self.tell(&news);
        Ok(())
    }

    /// What the operator wants of an agreement.
    pub(super) fn obey(&mut self, name: &str, wish: &Wish, caller: u32) -> Result<Answer, RunError> {
        let mut next = self.agreements.ledger.clone();
        let mut news = Vec::new();
        let by = format!("uid {caller}");
        if let Err(refusal) = next.obey(name, wish, &by, clock::wall(), &mut news) {
            return Ok(Answer::Refused { error: format!("agreement {name}: {refusal}") });
        }
        let (before, after) = (self.agreements.closed.clone(), next.closings());
        let opens = before.keys().any(|name| !after.contains_key(name));
        self.close(before.clone().into_iter().chain(after.clone()).collect())?;
        let previous: Ledger = std::mem::replace(&mut self.agreements.ledger, next);
        if let Err(error) = self.agreements.write(false) {
            if opens {
                self.agreements.ledger = previous;
                self.close(before)?;
                return Ok(Answer::Refused {
                    error: format!("nothing was changed: state_dir cannot be written: {error}"),
                });
            }
            self.tell(&news);
            return Ok(Answer::Refused {
                error: format!(
                    "agreement {name} is changed, but a restart would not know it: state_dir cannot be written: {error}"
                ),
            });
        }
        self.agreements.look_ahead();
        self.close(after)?;
        self.tell(&news);
        Ok(Answer::Agreements { agreements: self.agreements.ledger.reports(Some(name)) })
    }

    /// Takes over the agreements of a file that is about to be in force, and gates its policy.
    pub(super) fn follow_agreements(&mut self, next: &mut Loaded) -> Result<News, String> {
        let before = agreements::tunnels(&self.loaded, &self.agreements.closed);
        let mut events = Vec::new();
        let mut ledger = self.agreements.ledger.clone();
        ledger.follow(next.subjects(), clock::wall(), &mut events);
        let previous = std::mem::replace(&mut self.agreements.ledger, ledger);
        if let Err(error) = self.agreements.write(false) {
            self.agreements.ledger = previous;
            let reason = format!("state_dir cannot be written: {error}");
            self.journal.publish(&Event::ReloadRefused { reason: reason.clone() });
            return Err(reason);
        }
        self.agreements.look_ahead();
        let after = self.agreements.ledger.closings();
        events.extend(gates(&self.agreements.closed, &after));
        self.agreements.closed = after;
        next.policy = Arc::new(next.policy.gated(&agreements::tunnels(next, &self.agreements.closed)));
        Ok(News { before, events })
    }

    /// Closes these agreements and opens the others: after this no packet passes by the old ones.
    fn close(&mut self, closed: Closed) -> Result<(), RunError> {
        if closed == self.agreements.closed {
            return Ok(());
        }
        let told = gates(&self.agreements.closed, &closed);
        let tunnels = agreements::tunnels(&self.loaded, &closed);
        self.agreements.closed = closed;
        self.loaded.policy = Arc::new(self.loaded.policy.gated(&tunnels));
        self.crew.tell_all(|| Command::Policy(Arc::clone(&self.loaded.policy)))?;
        self.crew.confirmed()?;
        self.endpoint.set_time_of_day(clock::unix());
        self.endpoint.gate(clock::now(), tunnels);
        self.drain()?;
        self.tell(&told);
        Ok(())
    }

    fn tell(&self, news: &[Event]) {
        for event in news {
            self.journal.publish(event);
        }
    }

    /// Puts beside each tunnel how its agreement stands.
    pub(super) fn stamp(&self, status: &mut Status) {
        let states = self.agreements.ledger.states();
        for tunnel in &mut status.tunnels {
            let state = tunnel["agreement"].as_str().and_then(|name| states.get(name));
            if let Some(state) = state {
                tunnel["agreement_state"] = state.as_str().into();
            }
        }
    }
}

/// What is to be told of a change from one set of closed agreements to another.
pub(super) fn gates(before: &Closed, after: &Closed) -> Vec<Event> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed
        .map(|name| {
            let reason = after.get(name).copied();
            Event::AgreementGate { agreement: name.clone(), passes: reason.is_none(), reason }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_closes_or_has_another_reason_is_told_and_nothing_else() {
        let closed =
            |all: &[(&str, DropReason)]| all.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
        let before: Closed = closed(&[
            ("a", DropReason::AgreementDraft),
            ("b", DropReason::AgreementExpired),
            ("c", DropReason::AgreementClock),
        ]);
        let after: Closed = closed(&[
            ("a", DropReason::AgreementDraft),
            ("c", DropReason::AgreementSuspended),
            ("d", DropReason::AgreementSuspended),
        ]);
        let told = |name: &str, reason: Option<DropReason>| Event::AgreementGate {
            agreement: name.to_owned(),
            passes: reason.is_none(),
            reason,
        };
        let suspended = Some(DropReason::AgreementSuspended);
        assert_eq!(gates(&before, &after), [told("b", None), told("c", suspended), told("d", suspended)]);
    }
}
