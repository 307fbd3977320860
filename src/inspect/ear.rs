//! What a rule demands of its flows, as the stream asks for it: the recognisers in the words of `stream`.

use std::mem::{Discriminant, discriminant};

use super::recognise::{Recogniser, Speaker};
use super::stream::Listener;
use crate::event::DropReason;
use crate::ids::RuleId;
use crate::policy::{Inspection, Mode, Snapshot};

/// Hears one flow.
pub(super) type Ear = Recogniser;

/// Which protocol is heard.
pub(super) type Kind = Discriminant<Inspection>;

fn speaker(from_opener: bool) -> Speaker {
    if from_opener { Speaker::Opener } else { Speaker::Responder }
}

impl Listener for Recogniser {
    type Demands = Inspection;

    fn hear(&mut self, demands: &Inspection, from_opener: bool, bytes: &[u8]) -> Result<(), DropReason> {
        Self::hear(self, demands, speaker(from_opener), bytes).map_err(|objection| objection.reason)
    }

    fn settled(&self) -> bool {
        Self::settled(self)
    }

    fn unheard(&self, from_opener: bool) -> u64 {
        Self::unheard(self, speaker(from_opener))
    }

    fn skip(&mut self, from_opener: bool, len: u64) {
        Self::skip(self, speaker(from_opener), len);
    }
}

/// Which protocol is heard in the flows of a rule; `None`: nothing is.
pub(super) fn kind(policy: &Snapshot, rule: RuleId) -> Option<Kind> {
    policy.rule(rule).map(|rule| &rule.inspection).filter(|demands| !demands.is_uninspected()).map(discriminant)
}

pub(super) fn demands(policy: &Snapshot, rule: RuleId) -> &Inspection {
    policy.rule(rule).map_or(&Inspection::Uninspected, |rule| &rule.inspection)
}

/// The listener for a flow of a rule that was opened to `port`.
pub(super) fn listener(policy: &Snapshot, rule: RuleId, port: u16) -> Option<Ear> {
    Recogniser::of(demands(policy, rule), port)
}

/// Whether a flow of this rule goes on that says something else.
pub(super) fn observes(policy: &Snapshot, rule: RuleId) -> bool {
    policy.rule(rule).is_some_and(|rule| rule.mode == Mode::Observe)
}
