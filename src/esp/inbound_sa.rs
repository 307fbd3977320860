//! The receiving half of a child SA (RFC 4303 §3.4): replay check, opening, replay commit.
//!
//! What is not authenticated moves nothing but the count of forgeries.

use std::net::SocketAddr;
use std::ops::Range;

use super::esn;
use super::limits::{FORGERY_BUDGET, Meter, Notice, Notices};
use super::open::inner_len;
use super::replay::ReplayWindow;
use super::transform::Transform;
use crate::crypto::aead::Provider;
use crate::event::DropReason;
use crate::sa::child::{ChildSpec, Encapsulation, InboundSpec};
use crate::sa::spi::Spi;
use crate::time::Instant;

/// One direction from the peer to us.
pub struct InboundSa {
    spi: Spi,
    transform: Transform,
    window: ReplayWindow,
    meter: Meter,
    notices: Notices,
    forged: u64,
    child: ChildSpec,
}

/// An authenticated packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where the inner packet lies within the ESP packet, or why what was inside is none.
    pub inner: Result<Range<usize>, DropReason>,
    /// Whether its sequence number is the highest so far.
    pub newest: bool,
}

impl InboundSa {
    /// Takes an SA over from IKE.
    #[must_use]
    pub fn new(spec: InboundSpec, now: Instant) -> Self {
        Self::with(Provider::default(), spec, now)
    }

    /// The same with the AEADs of `provider`.
    #[must_use]
    pub fn with(provider: Provider, spec: InboundSpec, now: Instant) -> Self {
        let InboundSpec { spi, keys, child, replay_window } = spec;
        Self {
            spi,
            transform: Transform::new(provider, child.cipher, child.mac, child.esn, &keys),
            window: ReplayWindow::new(replay_window),
            meter: Meter::new(child.lifetime, now),
            notices: Notices::default(),
            forged: 0,
            child,
        }
    }

    /// Opens `packet`, whose header says number `sequence`, in place. `Err` means that nothing about it is proven;
    /// `Ok` that the peer sent it, whatever is inside.
    pub fn receive(&mut self, now: Instant, sequence: u32, packet: &mut [u8]) -> Result<Received, DropReason> {
        let sequence = self.sequence(sequence)?;
        self.window.check(sequence)?;
        // How long the inner packet is nobody knows yet; one byte is the least.
        if self.meter.admits(now, 1, 1).is_err() {
            self.notices.give(Notice::Hard);
            return Err(DropReason::HardLimit);
        }
        let plaintext = match self.transform.open(self.spi, sequence, packet) {
            Ok(plaintext) => plaintext,
            Err(reason) => {
                self.count_forgery(reason);
                return Err(reason);
            }
        };

        // RFC 4303 §3.4.3: the window is updated only once the integrity check has succeeded.
        let newest = self.window.commit(sequence);
        let inner = inner_len(packet.get(plaintext.clone()).unwrap_or_default());
        self.meter.add(1, inner.map_or(0, |len| len as u64));
        self.notices.give(Notice::First);
        if self.meter.past_soft(now) {
            self.notices.give(Notice::Soft);
        }
        Ok(Received { inner: inner.map(|len| plaintext.start..plaintext.start + len), newest })
    }

    fn sequence(&self, low: u32) -> Result<u64, DropReason> {
        if self.child.esn {
            // A number before the first or past the last is one that nobody has sent.
            esn::infer(self.window.top(), self.window.width(), low).ok_or(DropReason::TooOld)
        } else {
            Ok(u64::from(low))
        }
    }

    fn count_forgery(&mut self, reason: DropReason) {
        if reason == DropReason::Forged {
            self.forged += 1;
            if self.forged >= FORGERY_BUDGET {
                self.notices.give(Notice::ForgeryBudget);
            }
        }
    }

    /// Follows the peer to another address and port (RFC 7296 §2.23); true if it is another one.
    pub fn follow(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        match &mut self.child.encapsulation {
            Encapsulation::Udp { local, remote } if *remote != from => {
                (*remote, *local) = (from, to);
                true
            }
            _ => false,
        }
    }

    /// Expects the peer elsewhere from now on.
    pub fn redirect(&mut self, encapsulation: Encapsulation) {
        self.child.encapsulation = encapsulation;
    }

    /// Notices that time alone brings, for an SA that carries nothing.
    pub fn tick(&mut self, now: Instant) {
        if self.meter.past_soft(now) {
            self.notices.give(Notice::Soft);
        }
        if self.meter.expired(now) {
            self.notices.give(Notice::Hard);
        }
    }

    /// What IKE has to know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.poll()
    }

    /// Our SPI.
    #[must_use]
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// What both halves share.
    #[must_use]
    pub fn child(&self) -> &ChildSpec {
        &self.child
    }

    /// The highest sequence number received.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.window.top()
    }

    /// What it has carried.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}
