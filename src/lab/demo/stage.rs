//! What was seen in one state of the agreement, and what of it was promised.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::agreement::State;

/// What became of somebody who would begin a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// It went from end to end.
    Passed,
    /// It was refused, for the reason of the agreement that was counted, if one was.
    Refused(Option<String>),
}

/// What was seen in one state: before gateway A was killed, and after it was started again.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// The state that it must be.
    pub(super) state: State,
    /// The state that the gateway told.
    pub(super) told: [Option<String>; 2],
    /// What became of a new conversation.
    pub(super) tried: [Tried; 2],
    /// Nobody could connect while it was dead.
    pub(super) shut: bool,
    /// Whether the conversation ended that ran when the state began; `None`: none ran.
    pub(super) ended: Option<bool>,
}

impl Stage {
    /// Whether all of it was as promised.
    pub(super) fn as_promised(&self) -> bool {
        let wanted = match self.state.reason() {
            None => Tried::Passed,
            Some(reason) => Tried::Refused(Some(reason.as_str().to_owned())),
        };
        self.told.iter().all(|told| told.as_deref() == Some(self.state.as_str()))
            && self.tried.iter().all(|tried| *tried == wanted)
            && self.shut
            && self.ended != Some(false)
    }

    /// It for `--json`.
    pub(super) fn json(&self) -> Value {
        json!({
            "state": self.state,
            "told": self.told,
            "tried": self.tried.each_ref().map(tried),
            "shut_while_killed": self.shut,
            "running_ended": self.ended,
            "as_promised": self.as_promised(),
        })
    }

    /// It in a line.
    pub(super) fn line(&self) -> String {
        let [before, after] = &self.tried;
        let mut line = format!("{:<22}  a new conversation: {}", self.state.as_str(), tried(before));
        if before != after {
            let _ = write!(line, "; STARTED AGAIN: {}", tried(after));
        }
        let told = self.told.iter().map(|told| told.as_deref().unwrap_or("nothing"));
        for told in told.filter(|told| *told != self.state.as_str()) {
            let _ = write!(line, "; IT SAYS {told}");
        }
        if !self.shut {
            line += "; IT PASSES WHILE NO GATEWAY RUNS";
        }
        match self.ended {
            None => {}
            Some(true) => line += "; the one that ran has ended",
            Some(false) => line += "; THE ONE THAT RAN GOES ON",
        }
        line
    }

    /// What is promised of a state.
    #[cfg(test)]
    pub(super) fn promised(state: State) -> Self {
        let told = || Some(state.as_str().to_owned());
        let tried = state.reason().map_or(Tried::Passed, |reason| Tried::Refused(Some(reason.as_str().to_owned())));
        Self { state, told: [told(), told()], tried: [tried.clone(), tried], shut: true, ended: Some(true) }
    }
}

/// What was seen of the agreement's life.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// State by state.
    pub(super) stages: Vec<Stage>,
    /// Whether it was to go on living, so that it was not terminated.
    pub(super) goes_on: bool,
}

impl Life {
    /// Whether all of it was as promised.
    pub(super) fn as_promised(&self) -> bool {
        let lived = |state: State| self.stages.iter().any(|stage| stage.state == state);
        let wanted = |state: &State| !self.goes_on || !matches!(state, State::Terminating | State::Terminated);
        self.stages.iter().all(Stage::as_promised) && State::ALL.into_iter().filter(wanted).all(lived)
    }
}

/// What became of a new conversation, in a word.
fn tried(tried: &Tried) -> &str {
    match tried {
        Tried::Passed => "passes",
        Tried::Refused(Some(reason)) => reason,
        Tried::Refused(None) => "refused for no reason of the agreement",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_says_what_differs() {
        let line = Stage::promised(State::Suspended).line();
        assert_eq!(line, "suspended               a new conversation: agreement-suspended; the one that ran has ended");
        let mut odd = Stage::promised(State::Suspended);
        (odd.tried[1], odd.told[1], odd.shut, odd.ended) = (Tried::Passed, Some("active".into()), false, Some(false));
        let line = odd.line();
        for told in ["STARTED AGAIN: passes", "IT SAYS active", "IT PASSES WHILE NO GATEWAY RUNS", "GOES ON"] {
            assert!(line.contains(told), "{line}");
        }
    }
}
