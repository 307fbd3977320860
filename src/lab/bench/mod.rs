//! `portcullis bench`: figures that somebody else can measure again.
//!
//! Every bench ends in one [`Outcome`]: what was measured, on what, by which command, and every sample. `--json` prints it;
//! `report::bench` makes tables of the same object, so a person and a script read the same figures.

mod cpu;
pub mod crypto;
pub mod ends;
pub mod figure;
pub mod fingerprint;
mod memory;
pub mod packets;
pub mod path;
pub mod peers;
pub mod pins;
pub mod progress;
pub mod remote;
pub mod rfc2544;
mod scaling;
pub mod search;
pub mod site;
mod stand;
pub mod stats;
pub mod tunnel;

use std::io;

use serde_json::{Map, Value, json};

use figure::Figures;

/// Why a bench has no outcome at all.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The system does not let us build or measure.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The other end would not.
    #[error("{0}")]
    Refused(String),
    /// What was to be measured does not work.
    #[error("{0}")]
    Failed(String),
}

impl BenchError {
    /// For `map_err`: a call of the system failed.
    pub fn system(what: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::System { what: what.into(), source }
    }
}

/// What a bench has found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which bench.
    pub bench: &'static str,
    /// How it was done: seconds, rounds, sizes, topology.
    pub plan: Map<String, Value>,
    /// The figures.
    pub figures: Figures,
    /// What else there is to show, by name.
    pub more: Map<String, Value>,
    /// What could not be measured, and why. Not empty: the bench has not done all of what was asked.
    pub failed: Vec<String>,
    load_before: Option<String>,
}

impl Outcome {
    /// An outcome to be filled. The machine's load is that of now.
    #[must_use]
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            plan: Map::new(),
            figures: Figures::default(),
            more: Map::new(),
            failed: Vec::new(),
            load_before: fingerprint::load(),
        }
    }

    /// Says how something was done.
    pub fn plan(&mut self, key: &str, value: impl Into<Value>) {
        self.plan.insert(key.to_owned(), value.into());
    }

    /// As `--json` shows it. Names of fields are stable.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut environment = fingerprint::environment();
        if let Some(load) = &self.load_before {
            environment["load_before"] = json!(load);
        }
        let mut shown = json!({
            "bench": self.bench,
            "command": fingerprint::command(),
            "environment": environment,
            "plan": self.plan,
            "figures": self.figures.json(),
            "failed": self.failed,
        });
        for (key, value) in &self.more {
            shown[key] = value.clone();
        }
        shown
    }
}
