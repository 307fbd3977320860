//! Every event goes two ways: one line to the log, one JSON line to whoever listens with `portcullis monitor`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast;

use crate::config::Loaded;
use crate::event::Event;
use crate::platform::clock;

/// Events that a slow monitor may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Stamps events with time and agreement, and passes them on.
pub(super) struct Journal {
    listeners: broadcast::Sender<Arc<str>>,
    agreements: HashMap<String, (String, &'static str)>,
    kinds: HashMap<String, &'static str>,
    policy: String,
}

impl Journal {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let mut journal = Self {
            listeners: broadcast::channel(BACKLOG).0,
            agreements: HashMap::new(),
            kinds: HashMap::new(),
            policy: String::new(),
        };
        journal.follow(loaded);
        journal
    }

    /// Takes names from a configuration that was loaded.
    pub(super) fn follow(&mut self, loaded: &Loaded) {
        self.agreements =
            loaded.tunnels.iter().map(|info| (info.name.clone(), (info.agreement.clone(), info.kind))).collect();
        self.kinds = loaded.agreements.iter().map(|of| (of.name.clone(), of.kind())).collect();
        self.policy = hex::encode(loaded.policy.digest());
    }

    /// Where monitors subscribe.
    pub(super) fn listeners(&self) -> broadcast::Sender<Arc<str>> {
        self.listeners.clone()
    }

    /// Writes one event down.
    pub(super) fn publish(&self, event: &Event) {
        let mut value = match serde_json::to_value(event) {
            Ok(Value::Object(value)) => value,
            other => {
                tracing::error!(?other, "an event does not serialise");
                return;
            }
        };
        if let Some((agreement, kind)) =
            value.get("tunnel").and_then(Value::as_str).and_then(|name| self.agreements.get(name)).cloned()
        {
            value.insert("agreement".into(), agreement.into());
            value.insert("kind".into(), kind.into());
        } else if let Some(kind) =
            value.get("agreement").and_then(Value::as_str).and_then(|name| self.kinds.get(name)).copied()
        {
            value.insert("kind".into(), kind.into());
        }
        value.insert("policy".into(), self.policy.clone().into());
        value.insert("time".into(), clock::wall_rfc3339().into());
        let line = Value::Object(value).to_string();
        match event {
            Event::NegotiationFailed { .. }
            | Event::Refused { .. }
            | Event::IkeRefused { .. }
            | Event::FloodFilterOn { .. }
            | Event::IkeDown { .. }
            | Event::AgreementState { .. }
            | Event::AgreementGate { passes: false, .. }
            | Event::AgreementReminder { .. }
            | Event::AgreementChanged { .. }
            | Event::AgreementClockTrusted { .. }
            | Event::ReloadRefused { .. } => tracing::warn!(target: "event", "{line}"),
            _ => tracing::info!(target: "event", "{line}"),
        }
        // Nobody listening is no error.
        let _ = self.listeners.send(Arc::from(line + "\n"));
    }
}
