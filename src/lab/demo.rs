//! `portcullis demo`: two gateways, a host behind each, and everything the agreement does not allow.

use std::path::PathBuf;

/// What the operator asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Print one JSON object instead of the table.
    pub json: bool,
    /// Leave everything standing until Ctrl-C.
    pub keep: bool,
    /// Where captures and key tables go.
    pub pcap: Option<PathBuf>,
}

/// Why the demo could not be shown at all. A demo that ran and differed from its promise is `Ok(false)`.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The system does not let us build the network.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A gateway did not do what the demo needs.
    #[error("{0}")]
    Gateway(String),
}

/// Builds the network, runs the control and the demo, prints the table. `Ok(true)`: all was as promised.
/// Call it before the process has started any thread: an ordinary user is moved into a user namespace first.
pub fn run(_options: Options) -> Result<bool, DemoError> {
    Err(DemoError::Gateway("the demo is not built yet".into()))
}
