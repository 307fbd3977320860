//! The endpoint: one for all tunnels of a gateway.

use std::sync::Arc;

use super::api::{Input, Output};
use super::config::Config;
use super::status::TunnelStatus;
use crate::entropy::Entropy;
use crate::time::Instant;

/// All IKE SAs of a gateway, and what outlives them.
///
/// Contract: after each [`handle`](Self::handle) call [`poll_output`](Self::poll_output) until it gives
/// [`Output::Timeout`]; then sleep until that time or the next input. The same inputs at the same times with the same
/// entropy give the same outputs.
pub struct Endpoint {
    _private: (),
}

impl Endpoint {
    /// An endpoint that has done nothing yet. `key_log` produces [`Output::KeyLog`].
    #[must_use]
    pub fn new(config: Arc<Config>, entropy: Box<dyn Entropy>, key_log: bool) -> Self {
        let _ = (config, entropy, key_log);
        todo!()
    }

    /// Takes over a changed configuration: tunnels that are gone or changed in what was negotiated are deleted, new
    /// ones started, the others left alone.
    pub fn reload(&mut self, now: Instant, config: Arc<Config>) {
        let _ = (now, config);
        todo!()
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let _ = (now, input);
        todo!()
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Output {
        todo!()
    }

    /// Every configured tunnel, also the one that is down and why.
    #[must_use]
    pub fn status(&self) -> Vec<TunnelStatus> {
        todo!()
    }
}
