//! The sending half of a child SA (RFC 4303 §3.3): numbers packets, counts them, seals them.

use std::ops::Range;

use super::limits::{Meter, Notice, Notices};
use super::transform::{PacketShape, Transform};
use crate::crypto::aead::Provider;
use crate::event::DropReason;
use crate::sa::child::{ChildSpec, OutboundSpec};
use crate::sa::spi::Spi;
use crate::time::Instant;

/// One direction from us to the peer. Owned by one sender: its counter is a plain integer.
pub struct OutboundSa {
    spi: Spi,
    inbound: Spi,
    transform: Transform,
    /// The last sequence number given out. RFC 4303 §3.3.3: the first packet has number 1.
    last: u64,
    end: u64,
    meter: Meter,
    notices: Notices,
    child: ChildSpec,
}

impl OutboundSa {
    /// Takes an SA over from IKE.
    #[must_use]
    pub fn new(spec: OutboundSpec, now: Instant) -> Self {
        Self::with(Provider::default(), spec, now)
    }

    /// The same with the AEADs of `provider`.
    #[must_use]
    pub fn with(provider: Provider, spec: OutboundSpec, now: Instant) -> Self {
        let OutboundSpec { spi, inbound, keys, child } = spec;
        Self {
            spi,
            inbound,
            transform: Transform::new(provider, child.cipher, child.mac, child.esn, &keys),
            last: 0,
            end: if child.esn { u64::MAX } else { u64::from(u32::MAX) },
            meter: Meter::new(child.lifetime, now),
            notices: Notices::default(),
            child,
        }
    }

    /// Sets aside `count` sequence numbers for packets of `bytes` altogether and gives the first one.
    ///
    /// What is set aside is used at once or never: a number that is lost is a gap that the receiver tolerates, a number
    /// that is used twice is a broken key.
    pub fn reserve(&mut self, now: Instant, count: u64, bytes: u64) -> Result<u64, DropReason> {
        // RFC 4303 §3.3.3: "the sender ... MUST NOT send a packet on an SA if doing so would cause the sequence number
        // to cycle."
        if self.meter.admits(now, count, bytes).is_err() || count > self.end - self.last {
            self.notices.give(Notice::Hard);
            return Err(DropReason::HardLimit);
        }
        let first = self.last + 1;
        self.last += count;
        self.meter.add(count, bytes);
        if self.meter.past_soft(now) {
            self.notices.give(Notice::Soft);
        }
        Ok(first)
    }

    /// Seals the inner packet at `inner` of `slab` under a number from [`reserve`](Self::reserve).
    #[must_use]
    pub fn seal(&self, sequence: u64, slab: &mut [u8], inner: Range<usize>) -> Range<usize> {
        self.transform.seal(self.spi, sequence, slab, inner)
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

    /// Whether a packet that quotes `sequence` (its low half) may be among the last `recent` that were sent.
    #[must_use]
    pub fn sent_recently(&self, sequence: u32, recent: u32) -> bool {
        let age = (self.last as u32).wrapping_sub(sequence);
        u64::from(age) < self.last && age < recent
    }

    /// The peer's SPI.
    #[must_use]
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// The SPI of the other half.
    #[must_use]
    pub fn inbound(&self) -> Spi {
        self.inbound
    }

    /// What both halves share.
    #[must_use]
    pub fn child(&self) -> &ChildSpec {
        &self.child
    }

    /// Sends to another place from now on.
    pub fn redirect(&mut self, encapsulation: crate::sa::child::Encapsulation) {
        self.child.encapsulation = encapsulation;
    }

    /// How many bytes ESP adds.
    #[must_use]
    pub fn shape(&self) -> PacketShape {
        self.transform.shape()
    }

    /// What it has carried.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// For tests and simulation: continues as if `last` had been sent, so that 2^32 packets need not be.
    pub fn skip_to(&mut self, last: u64) {
        self.last = self.last.max(last.min(self.end));
    }
}
