//! What becomes of one captured flow, while the capture is read and afterwards.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::event::{DropReason, FlowKey};
use crate::ids::TunnelId;

/// Why a flow is incomplete.
pub(super) const NO_SYN: &str = "no-syn";

/// What becomes of one captured flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passes, all of it.
    Allowed,
    /// The capture does not hold enough of it to say.
    Incomplete,
    /// It does not pass, or not to its end.
    Refused,
}

/// A captured flow.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Its outcome.
    pub verdict: Outcome,
    /// Who talks to whom, as it was captured: the side that opened it first, where that was seen.
    pub flow: FlowKey,
    /// The outside address under which our end of it was judged, where it was captured under its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_as: Option<IpAddr>,
    /// The rule that allows it, or that comes nearest.
    pub rule: Option<String>,
    /// Its clause.
    pub clause: Option<String>,
    /// Why it is refused, or why nothing can be said.
    pub reason: Option<String>,
    /// The reason as a sentence.
    pub sentence: Option<String>,
    /// The number of the frame at which that was decided.
    pub frame: Option<usize>,
    /// Packets of both sides, up to then and after.
    pub packets: u64,
    /// Bytes of payload from the side that opened it.
    pub bytes_opener: u64,
    /// Bytes of payload from the other side.
    pub bytes_responder: u64,
    /// Whether it is known to speak what its rule demands.
    pub recognised: bool,
    /// What would have ended it if its rule did not only observe.
    pub observed: Option<String>,
    /// Packets that the gateway would drop without ending the flow, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// A flow while the capture is read.
pub(super) struct Flow {
    pub(super) judged: Judged,
    /// Whether its first packet was seen and let through.
    pub(super) opened: bool,
    /// The tunnel that carries it.
    pub(super) tunnel: TunnelId,
    /// Nothing more can change its outcome.
    pub(super) decided: bool,
    /// Packets that wait for what is missing in front of them.
    pub(super) waiting: usize,
}

impl Flow {
    pub(super) fn new(flow: FlowKey) -> Self {
        let judged = Judged {
            verdict: Outcome::Incomplete,
            flow,
            known_as: None,
            rule: None,
            clause: None,
            reason: None,
            sentence: None,
            frame: None,
            packets: 0,
            bytes_opener: 0,
            bytes_responder: 0,
            recognised: false,
            observed: None,
            dropped: BTreeMap::new(),
        };
        Self { judged, opened: false, tunnel: TunnelId(0), decided: false, waiting: 0 }
    }

    /// What became of it when the capture ends.
    pub(super) fn finish(mut self) -> Judged {
        if self.waiting > 0 && !self.decided {
            self.judged.verdict = Outcome::Incomplete;
            self.judged.reason = Some("gap".to_owned());
            self.judged.sentence =
                Some("a packet is missing in the capture, and what comes behind it waits".to_owned());
        }
        self.judged
    }

    pub(super) fn incomplete(&mut self, reason: &str, sentence: &str, frame: usize) {
        self.judged.verdict = Outcome::Incomplete;
        self.judged.reason = Some(reason.to_owned());
        self.judged.sentence = Some(sentence.to_owned());
        self.judged.frame = Some(frame);
        self.decided = true;
    }

    pub(super) fn refused(
        &mut self,
        reason: DropReason,
        ended: bool,
        rule: Option<(&str, &str)>,
        opens: bool,
        frame: usize,
    ) {
        if reason == DropReason::NoConnection && !self.opened && !opens {
            self.incomplete(NO_SYN, "its first packet is not in the capture", frame);
            return;
        }
        if self.opened && !ended {
            *self.judged.dropped.entry(reason.as_str()).or_default() += 1;
            return;
        }
        if let Some((name, clause)) = rule {
            self.judged.rule = Some(name.to_owned());
            self.judged.clause = Some(clause.to_owned()).filter(|clause| !clause.is_empty());
        }
        self.judged.verdict = Outcome::Refused;
        self.judged.reason = Some(reason.as_str().to_owned());
        self.judged.sentence = Some(reason.sentence().to_owned());
        self.judged.frame = Some(frame);
        self.decided = true;
    }
}
