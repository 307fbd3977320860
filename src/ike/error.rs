//! Why a message goes no further, and what its sender is told (RFC 7296 §2.21).

use crate::event::IkeReason;
use crate::wire::ike::malformed::Malformed;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::Notify;

/// A message that is refused. The state it met is as it was before.
#[derive(Debug)]
pub struct Refusal {
    /// For the counter and the log.
    pub reason: IkeReason,
    /// What the sender is told, where the RFC wants it told; always inside SK once keys are known.
    pub notify: Option<Notify>,
    /// More for people, of bounded length and without raw bytes of the peer.
    pub detail: Option<String>,
}

impl Refusal {
    /// The sender hears nothing.
    pub fn silent(reason: IkeReason) -> Self {
        Self { reason, notify: None, detail: None }
    }

    /// The sender is told.
    pub fn told(reason: IkeReason, notify: Notify) -> Self {
        Self { reason, notify: Some(notify), detail: None }
    }

    /// The same with a detail.
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A payload that the exchange needs is not there.
    pub fn missing(kind: PayloadType) -> Self {
        Self::told(IkeReason::MissingPayload, Notify::error(NotifyType::INVALID_SYNTAX)).with(format!("no {kind}"))
    }

    /// A payload that must stand alone stands there twice.
    pub fn doubled(kind: PayloadType) -> Self {
        Self::told(IkeReason::Malformed, Notify::error(NotifyType::INVALID_SYNTAX)).with(format!("{kind} twice"))
    }

    /// RFC 7296 §2.5: an unknown payload with the critical bit is named in UNSUPPORTED_CRITICAL_PAYLOAD.
    pub fn critical(kind: PayloadType) -> Self {
        let notify = Notify::status(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
        Self::told(IkeReason::CriticalPayload, notify).with(format!("payload type {kind}"))
    }

    /// Whether both sides forget the IKE SA: RFC 7296 §2.21.3 says so of INVALID_SYNTAX inside an authenticated SA.
    pub fn is_fatal(&self) -> bool {
        self.notify.as_ref().is_some_and(|notify| notify.kind == NotifyType::INVALID_SYNTAX)
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::told(IkeReason::Malformed, Notify::error(NotifyType::INVALID_SYNTAX)).with(malformed.to_string())
    }
}
