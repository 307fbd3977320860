//! Several head-ends of one peer, in order of preference: which one is tried next, which one is in use, and when the tunnel
//! goes back to the first (`peer = ["a", "b"]`).
//!
//! Going back costs nothing: while another head-end carries the tunnel the first one is asked with an IKE_SA_INIT now and
//! then. Whoever answers that is not authenticated, so its answer moves nothing. Once it has answered for long enough an IKE
//! SA is opened with it beside the one in use, which goes when the new one has its child SAs (RFC 7296 §2.8.3).
//!
//! A head-end that opens an IKE SA itself, where we have opened none with it, is the peer's choice: the peer knows which of its
//! head-ends is in order. What we have opened with another one goes in its favour, and for as long as it stands the first
//! one is not asked. What the peer has opened with several head-ends is the peer's to close (`ike::collision`).

use std::net::IpAddr;
use std::time::Duration;

use super::config::TunnelConfig;
use super::limits;
use super::timer::earlier;
use crate::time::Instant;

/// The head-ends of one peer.
#[derive(Debug, Default)]
pub struct Heads {
    /// Which one is tried next.
    next: usize,
    /// Which one is in use, or was last.
    in_use: usize,
    /// When the first one is asked again, if another one is in use.
    probe_at: Option<Instant>,
    /// Since when the first one has answered every time.
    answers_since: Option<Instant>,
}

/// What is to be done about the first head-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is asked whether it is there.
    Probe,
    /// The tunnel goes back to it.
    Return,
}

impl Heads {
    /// Where the next attempt goes.
    pub fn address(&self, config: &TunnelConfig) -> IpAddr {
        config.peers().nth(self.next).unwrap_or(config.peer)
    }

    /// Where the IKE SA in use is, or was last.
    pub fn in_use(&self, config: &TunnelConfig) -> IpAddr {
        config.peers().nth(self.in_use).unwrap_or(config.peer)
    }

    /// An attempt came to nothing. Whether every head-end has had its turn.
    pub fn failed(&mut self, config: &TunnelConfig) -> bool {
        self.next = (self.next + 1) % config.peers().count();
        self.next == 0
    }

    /// The IKE SA has ended, `silent` if its head-end did not answer any more. Whether another one may be tried at once.
    pub fn lost(&mut self, config: &TunnelConfig, silent: bool) -> bool {
        (self.probe_at, self.answers_since) = (None, None);
        self.next = if silent { (self.in_use + 1) % config.peers().count() } else { 0 };
        silent && config.peers().count() > 1
    }

    /// There is an IKE SA with `remote`, which the peer has `chosen` or we have. The place of its head-end, if it is another
    /// one than before.
    pub fn settled(&mut self, now: Instant, config: &TunnelConfig, remote: IpAddr, chosen: bool) -> Option<usize> {
        let place = config.peers().position(|peer| peer == remote)?;
        let before = std::mem::replace(&mut self.in_use, place);
        (self.next, self.answers_since) = (0, None);
        self.probe_at = config.peering.fail_back.filter(|_| !chosen && place > 0).map(|after| now + pause(after));
        (before != place).then_some(place)
    }

    /// Another list: what is in use stays in use.
    pub fn follow(&mut self, old: &TunnelConfig, new: &TunnelConfig) {
        let in_use = old.peers().nth(self.in_use);
        let place = new.peers().position(|peer| Some(peer) == in_use).unwrap_or(0);
        (self.next, self.in_use, self.answers_since) = (0, place, None);
        self.probe_at = self.probe_at.filter(|_| place > 0);
    }

    /// What is due.
    pub fn due(&mut self, now: Instant, config: &TunnelConfig) -> Option<Wish> {
        let after = config.peering.fail_back?;
        if self.answers_since.is_some_and(|since| since + after <= now) {
            // If it comes to nothing the first head-end has to show again that it is well.
            self.answers_since = None;
            self.probe_at = Some(now + after.max(limits::RETRY_MAX));
            return Some(Wish::Return);
        }
        self.probe_at.filter(|at| *at <= now)?;
        self.probe_at = Some(now + pause(after));
        Some(Wish::Probe)
    }

    /// The first head-end was asked, and has answered or not.
    pub fn heard(&mut self, now: Instant, answers: bool) {
        if !answers {
            self.answers_since = None;
        } else if self.probe_at.is_some() {
            self.answers_since.get_or_insert(now);
        }
    }

    /// When something is due.
    pub fn deadline(&self, config: &TunnelConfig) -> Option<Instant> {
        let after = config.peering.fail_back?;
        earlier(self.probe_at, self.answers_since.map(|since| since + after))
    }
}

/// Between two questions to the first head-end: at least two answers are wanted.
fn pause(fail_back: Duration) -> Duration {
    limits::PROBE_PAUSE.min(fail_back / 2)
}
