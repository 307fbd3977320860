//! The states of an agreement: which of them pass traffic, and the reason that the others give.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::DropReason;

/// Where an agreement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Written down, and not in force until the operator says so.
    Draft,
    /// In force.
    Active,
    /// Its term is over, and the days of grace are not.
    Grace,
    /// Its term is over.
    Expired,
    /// Stopped by the operator, for an incident.
    Suspended,
    /// What happened is being mended.
    Remediation,
    /// Evidence of remediation is there; the other organisation has not authorised the reconnection.
    AwaitingAuthorisation,
    /// Notice has been given; in force until its last day is over.
    Terminating,
    /// Over for good.
    Terminated,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Draft,
        Self::Active,
        Self::Grace,
        Self::Expired,
        Self::Suspended,
        Self::Remediation,
        Self::AwaitingAuthorisation,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The state as it stands in answers, events and on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Expired => "expired",
            Self::Suspended => "suspended",
            Self::Remediation => "remediation",
            Self::AwaitingAuthorisation => "awaiting-authorisation",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// Whether traffic passes, if nothing else stands in the way.
    #[must_use]
    pub const fn passes(self) -> bool {
        self.reason().is_none()
    }

    /// Why traffic does not pass.
    #[must_use]
    pub const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Active | Self::Grace | Self::Terminating => None,
            Self::Draft => Some(DropReason::AgreementDraft),
            Self::Expired => Some(DropReason::AgreementExpired),
            Self::Suspended => Some(DropReason::AgreementSuspended),
            Self::Remediation => Some(DropReason::AgreementRemediation),
            Self::AwaitingAuthorisation => Some(DropReason::AgreementAwaitingAuthorisation),
            Self::Terminated => Some(DropReason::AgreementTerminated),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn three_states_pass_traffic_and_each_of_the_others_has_a_reason_of_its_own() {
        let passing: Vec<_> = State::ALL.into_iter().filter(|state| state.passes()).collect();
        assert_eq!(passing, [State::Active, State::Grace, State::Terminating]);
        let reasons: BTreeSet<_> = State::ALL.into_iter().filter_map(State::reason).collect();
        assert_eq!(reasons.len(), 6);
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert!(state.reason().is_none_or(|reason| reason.as_str() == format!("agreement-{state}")));
        }
    }
}
