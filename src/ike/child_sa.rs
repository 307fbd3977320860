//! A child SA on its way to the data path, in it, and out of it (RFC 7296 §2.8): the inbound half is there before the
//! peer can use it, the outbound half when it may be used.

use std::time::Duration;

use super::api::KeyLog;
use super::child::Agreed;
use super::config::TunnelConfig;
use super::describe;
use super::ike_sa::Core;
use super::keylog;
use super::keymat::ChildKeys;
use super::limits;
use super::step::{Notice, Step};
use crate::crypto::suite::Group;
use crate::event::Event;
use crate::sa::child::{ChildSpec, Encapsulation, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::spi::Spi;
use crate::time::Instant;

/// The next thing that the clock brings: whatever has just come in is answered first.
const AT_ONCE: Duration = Duration::from_millis(1);

/// A child SA that was installed.
#[derive(Debug)]
pub struct ChildSa {
    /// What was agreed.
    pub agreed: Agreed,
    /// The group of its own key exchange, if it had one.
    pub pfs: Option<Group>,
    /// How it travels.
    pub encapsulation: Encapsulation,
    /// Since when.
    pub installed_at: Instant,
    /// It is to go: our delete is queued.
    pub leaving: bool,
    /// The child SA that it was made in place of.
    pub replaces: Option<Spi>,
    /// The child SA that was made in its place.
    pub replaced_by: Option<Spi>,
    /// Both sides have rekeyed at the same time, and this is the one that goes.
    pub redundant: bool,
    /// When we delete it, if the peer, whose part it is, has not.
    pub patience_ends: Option<Instant>,
    /// The peer has asked for it and may not have our answer yet: it has not used it, nor asked for anything else since.
    pub unheard: bool,
    /// Until when the peer may ask again for the answer that makes it.
    pub unproven_until: Instant,
    /// New keys are wanted as soon as the peer shows that it has this one.
    renewal_waits: bool,
    /// When it is rekeyed.
    pub rekey_at: Instant,
    /// When it is over.
    pub expires_at: Instant,
    /// The peer takes no rekeying of ours: when another one is made from scratch, if the peer has not rekeyed it.
    pub left_to_peer: Option<Instant>,
    outbound: Outbound,
}

/// The outbound half of a child SA.
#[derive(Debug)]
enum Outbound {
    /// Packets go by it.
    Installed,
    /// Packets go by the child SA that it replaces until the peer shows that it has the new one.
    Waits(Box<OutboundSpec>),
    /// Packets go by another IKE SA, in favour of which its own is about to go.
    Spare(Box<OutboundSpec>),
    /// Nothing goes by it.
    Never,
}

impl Agreed {
    /// The two halves of the SA for the data path. `initiator`: whether we began the exchange that made it; `pfs`: the
    /// group of that exchange, if it had one.
    pub fn specs(
        self,
        core: &Core,
        step: &mut Step<'_>,
        keys: ChildKeys,
        initiator: bool,
        pfs: Option<Group>,
    ) -> NewChild {
        let encapsulation = core.encapsulation();
        let mut lifetime = core.tunnel.lifetime;
        if !self.suite.esn {
            // RFC 4303 §3.3.3: without ESN the sequence number has 32 bits and never wraps.
            lifetime = lifetime.capped(u64::from(u32::MAX));
        }
        let lifetime = lifetime.brought_forward(core.tunnel.haste(step.entropy));
        let spec = ChildSpec {
            tunnel: core.tunnel.id,
            shape: self.shape,
            cipher: self.suite.cipher,
            mac: self.suite.mac,
            esn: self.suite.esn,
            local: self.local.clone(),
            remote: self.remote.clone(),
            encapsulation,
            lifetime,
        };
        let (to_peer, from_peer) =
            if initiator { (keys.initiator, keys.responder) } else { (keys.responder, keys.initiator) };
        let (here, there) = (core.path.local.ip(), core.path.remote.ip());
        let log = |source, destination, spi, keys| -> Option<KeyLog> {
            keylog::esp(self.suite, source, destination, spi, keys)
        };
        step.out.key_log(|| log(there, here, self.inbound, &from_peer));
        step.out.key_log(|| log(here, there, self.outbound, &to_peer));
        NewChild {
            inbound: InboundSpec {
                spi: self.inbound,
                keys: from_peer,
                child: spec.clone(),
                replay_window: core.tunnel.replay_window,
            },
            outbound: OutboundSpec { spi: self.outbound, inbound: self.inbound, keys: to_peer, child: spec },
            child: ChildSa {
                agreed: self,
                pfs,
                encapsulation,
                installed_at: step.now,
                leaving: false,
                replaces: None,
                replaced_by: None,
                redundant: false,
                patience_ends: None,
                unheard: false,
                unproven_until: step.now + limits::NEGOTIATION_TIME,
                renewal_waits: false,
                rekey_at: step.now + lifetime.soft_time,
                expires_at: step.now + lifetime.hard_time,
                left_to_peer: None,
                outbound: Outbound::Never,
            },
        }
    }
}

/// A child SA with its keys, on its way to the data path. RFC 7296 §2.8 and design: the inbound half is there before
/// the peer can use it, the outbound half after.
pub struct NewChild {
    inbound: InboundSpec,
    outbound: OutboundSpec,
    child: ChildSa,
}

impl NewChild {
    /// Receives from now on. What is sent after this waits until the data path has confirmed.
    pub fn install_inbound(self, step: &mut Step<'_>) -> HalfInstalled {
        step.out.sad(SadCommand::InstallInbound(Box::new(self.inbound)));
        HalfInstalled { outbound: self.outbound, child: self.child }
    }
}

/// A child SA that receives and does not send yet.
pub struct HalfInstalled {
    outbound: OutboundSpec,
    child: ChildSa,
}

impl HalfInstalled {
    /// Sends from now on, unless `receive_only`: the child of an IKE SA that is about to go must not take the traffic.
    pub fn install_outbound(mut self, core: &Core, step: &mut Step<'_>, receive_only: bool) -> ChildSa {
        let outbound = Box::new(self.outbound);
        self.child.outbound = if receive_only {
            Outbound::Spare(outbound)
        } else {
            step.out.sad(SadCommand::InstallOutbound(outbound));
            Outbound::Installed
        };
        let Agreed { shape, suite, local, remote, .. } = &self.child.agreed;
        step.out.event(Event::ChildUp {
            tunnel: core.tunnel.name.clone(),
            spis: self.child.spis(),
            suite: suite.to_string(),
            local: describe::selectors(local),
            remote: describe::selectors(remote),
            encapsulation: self.child.encapsulation_name().to_owned(),
        });
        step.notices.push(Notice::ChildUp { shape: *shape });
        self.child
    }

    /// Takes the place of `old`, as far as receiving goes. It sends once it is told to.
    pub fn in_place_of(mut self, core: &Core, step: &mut Step<'_>, old: Spi) -> ChildSa {
        self.child.outbound = Outbound::Waits(Box::new(self.outbound));
        self.child.replaces = Some(old);
        let Agreed { shape, suite, .. } = &self.child.agreed;
        step.out.event(Event::ChildRekeyed {
            tunnel: core.tunnel.name.clone(),
            spis: self.child.spis(),
            replaced: old.to_string(),
            suite: suite.to_string(),
            pfs: self.child.pfs_words(),
        });
        step.notices.push(Notice::ChildUp { shape: *shape });
        step.notices.push(Notice::ChildRekeyed);
        self.child
    }
}

impl ChildSa {
    /// Our SPI and the peer's.
    pub fn spis(&self) -> [String; 2] {
        [self.agreed.inbound.to_string(), self.agreed.outbound.to_string()]
    }

    /// The key exchanges that were made for it, if there were any.
    pub fn pfs_words(&self) -> Option<String> {
        self.pfs.map(|group| format!("{group}{}", self.agreed.suite.additional))
    }

    /// Whether it carries exactly the same traffic.
    pub fn is_twin(&self, other: &Self) -> bool {
        let of = |child: &Self| (child.agreed.shape, child.agreed.local.clone(), child.agreed.remote.clone());
        of(self) == of(other)
    }

    /// Whether it is neither on its way out nor replaced.
    pub fn is_current(&self) -> bool {
        !self.leaving && !self.redundant && self.replaced_by.is_none()
    }

    /// The peer does not take the selectors of our rekeying, and is to rekey itself.
    pub fn leave_to_peer(&mut self, now: Instant) {
        self.left_to_peer = Some(self.last_call(now));
        self.rekey_at = self.expires_at;
    }

    /// Until when something else has to take its place, if the peer does not take the rekeying that was due.
    pub fn last_call(&self, now: Instant) -> Instant {
        // What is left, by time, or by volume if it goes on at the same pace: a soft limit is half of its hard one at least.
        now + self.expires_at.since(now).min(now.since(self.installed_at) / limits::REFUSED_SHARE)
    }

    /// `udp` or `raw`.
    pub fn encapsulation_name(&self) -> &'static str {
        match self.encapsulation {
            Encapsulation::Raw { .. } => "raw",
            Encapsulation::Udp { .. } => "udp",
        }
    }

    /// The peer is elsewhere.
    pub fn redirect(&mut self, encapsulation: Encapsulation) {
        self.encapsulation = encapsulation;
        if let Outbound::Waits(spec) | Outbound::Spare(spec) = &mut self.outbound {
            spec.child.encapsulation = encapsulation;
        }
    }

    /// Whether the peer may not have the answer that makes it, although it asked for it: "not found" is no reason to forget it.
    ///
    /// The child SA of IKE_AUTH never is: a peer without that answer has no IKE SA either, and answers nothing.
    pub fn is_unproven(&self, now: Instant) -> bool {
        (self.waits() || self.unheard) && now < self.unproven_until
    }

    /// Puts its renewal off while the answer that makes it is probably still under way: there is no use in rekeying what the
    /// peer does not know yet. Whatever proves that the answer has come ends the wait at once, and so does the time in which
    /// answers come: what the peer says then is safe, because [`is_unproven`](Self::is_unproven) asks longer.
    pub fn puts_renewal_off(&mut self, now: Instant) -> bool {
        let arrives_by = self.installed_at + limits::ARRIVAL_TIME;
        self.renewal_waits = self.is_unproven(now) && now < arrives_by;
        if self.renewal_waits {
            self.rekey_at = arrives_by;
        }
        self.renewal_waits
    }

    /// The peer has the answer that makes it.
    pub fn arrived(&mut self, now: Instant) {
        self.unheard = false;
        if std::mem::take(&mut self.renewal_waits) {
            self.rekey_at = now + AT_ONCE;
        }
    }

    /// Whether nothing has shown yet that the peer has it.
    pub fn waits(&self) -> bool {
        matches!(self.outbound, Outbound::Waits(_))
    }

    /// Sends from now on, if it waited for the peer to show that it has it: it has.
    pub fn send(&mut self, step: &mut Step<'_>) {
        if !self.redundant && self.waits() {
            self.send_unheard(step);
            self.arrived(step.now);
        }
    }

    /// Sends from now on, because what it replaces does not any more, whether the peer has it or not.
    pub fn send_unheard(&mut self, step: &mut Step<'_>) {
        if self.redundant || !self.waits() {
            return;
        }
        if let Outbound::Waits(spec) = std::mem::replace(&mut self.outbound, Outbound::Installed) {
            step.out.sad(SadCommand::InstallOutbound(spec));
        }
        self.unheard = true;
    }

    /// Its IKE SA stays after all, because the other one is gone: sends from now on, if it was kept from that.
    pub fn stay(&mut self, step: &mut Step<'_>) {
        if self.leaving || self.redundant || !matches!(self.outbound, Outbound::Spare(_)) {
            return;
        }
        if let Outbound::Spare(spec) = std::mem::replace(&mut self.outbound, Outbound::Installed) {
            step.out.sad(SadCommand::InstallOutbound(spec));
        }
    }

    /// Nothing goes out by it any more, and its SPI is not in the table of child SAs. What is still under way to us is
    /// received until [`receives_no_more`] is called with the SPI that this gives.
    pub fn retire(self, tunnel: &TunnelConfig, step: &mut Step<'_>, reason: &str) -> Spi {
        let inbound = self.agreed.inbound;
        if matches!(self.outbound, Outbound::Installed) {
            step.out.sad(SadCommand::RemoveOutbound { inbound });
        }
        let reason = reason.to_owned();
        step.out.event(Event::ChildDown { tunnel: tunnel.name.clone(), spis: self.spis(), reason });
        step.notices.push(Notice::ChildDown { shape: self.agreed.shape });
        inbound
    }
}

/// Takes the inbound half of a child SA out of the data path.
pub fn receives_no_more(step: &mut Step<'_>, inbound: Spi) {
    step.out.sad(SadCommand::RemoveInbound(inbound));
    step.esp.release(inbound);
}
