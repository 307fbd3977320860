//! Child SAs: what is offered, what is agreed, and what is told to the data path. Shared by IKE_AUTH (RFC 7296 §1.2) and
//! CREATE_CHILD_SA (§1.3.1).

use super::api::KeyLog;
use super::config::ChildConfig;
use super::describe;
use super::error::Refusal;
use super::ike_sa::Core;
use super::keylog;
use super::keymat::ChildKeys;
use super::negotiate::{self, Place};
use super::payloads::Sorted;
use super::step::{Notice, Step};
use crate::crypto::suite::EspSuite;
use crate::event::{Event, IkeReason};
use crate::ids::ShapeId;
use crate::policy::narrow;
use crate::policy::selector::TrafficSelector;
use crate::sa::child::{ChildSpec, Encapsulation, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::{Notify, Payload, Proposal, Sa, Ts};

/// What we ask for.
#[derive(Debug)]
pub struct Offer {
    /// For which selectors.
    pub shape: ShapeId,
    /// Our SPI.
    pub inbound: Spi,
    /// The proposals.
    pub sa: Sa,
    /// Where.
    pub place: Place,
}

/// What was agreed.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// For which selectors.
    pub shape: ShapeId,
    /// Our SPI.
    pub inbound: Spi,
    /// The peer's SPI.
    pub outbound: Spi,
    /// The suite.
    pub suite: EspSuite,
    /// Our side, narrowed.
    pub local: Vec<TrafficSelector>,
    /// The peer's side, narrowed.
    pub remote: Vec<TrafficSelector>,
}

/// A child SA that was installed.
#[derive(Debug)]
pub struct ChildSa {
    /// What was agreed.
    pub agreed: Agreed,
    /// How it travels.
    pub encapsulation: Encapsulation,
    /// Since when.
    pub installed_at: Instant,
    /// It has a successor or is to go: its delete is queued or under way.
    pub leaving: bool,
    /// Whether its outbound half was installed.
    sends: bool,
}

/// A child SA that is not made. The IKE SA stays (RFC 7296 §1.2, §1.3).
#[derive(Debug)]
pub struct Declined {
    /// Why.
    pub reason: IkeReason,
    /// What the peer is told, if it asked.
    pub notify: Notify,
    /// What was offered against what.
    pub detail: String,
}

impl Declined {
    /// With an error that has no data.
    pub fn new(reason: IkeReason, notify: NotifyType, detail: impl Into<String>) -> Self {
        Self { reason, notify: Notify::error(notify), detail: detail.into() }
    }
}

/// A TS payload.
fn ts(selectors: &[TrafficSelector]) -> Ts {
    Ts::ranges(selectors.iter().filter_map(TrafficSelector::to_wire))
}

impl Offer {
    /// An offer with a fresh SPI.
    pub fn new(core: &Core, step: &mut Step<'_>, shape: ShapeId, place: Place) -> Self {
        let inbound = step.esp.reserve(core.own_spi(), step.entropy);
        Self { shape, inbound, sa: negotiate::esp_offer(&core.tunnel.esp, inbound, place), place }
    }

    /// `SA, TSi, TSr` of a request; nothing if the shape is no longer configured.
    pub fn payloads(&self, core: &Core) -> Option<[Payload; 3]> {
        let config = configured(core, self.shape)?;
        Some([Payload::Sa(self.sa.clone()), Payload::TsI(ts(&[config.local])), Payload::TsR(ts(&[config.remote]))])
    }

    /// As initiator: what the peer made of it.
    pub fn accept(&self, core: &Core, answer: &Sorted) -> Result<Agreed, Declined> {
        let (Some(sa), Some(ts_i), Some(ts_r)) = (&answer.sa, &answer.ts_i, &answer.ts_r) else {
            return Err(match answer.error() {
                Some(error) => self.refused(core, error),
                None => Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no SA, TSi or TSr"),
            });
        };
        let tunnel = &core.tunnel;
        let Some((suite, outbound)) = negotiate::accept_esp(sa, &tunnel.esp, tunnel.lab, self.place) else {
            let detail = negotiate::compare(&self.sa, Some(sa));
            return Err(Declined::new(IkeReason::NoProposalChosen, NotifyType::NO_PROPOSAL_CHOSEN, detail));
        };
        let local = TrafficSelector::from_entries(&ts_i.selectors);
        let remote = TrafficSelector::from_entries(&ts_r.selectors);
        let unacceptable = |detail| Declined::new(IkeReason::TsUnacceptable, NotifyType::TS_UNACCEPTABLE, detail);
        let config = configured(core, self.shape).ok_or_else(|| unacceptable("no longer configured".to_owned()))?;
        // RFC 7296 §2.9: the responder may narrow, never widen.
        if !narrow::is_subset(&local, &[config.local]) || !narrow::is_subset(&remote, &[config.remote]) {
            return Err(unacceptable(compare_selectors(core, Some(self.shape), &local, &remote)));
        }
        Ok(Agreed { shape: self.shape, inbound: self.inbound, outbound, suite, local, remote })
    }

    /// The peer refused it with an error.
    fn refused(&self, core: &Core, error: &Notify) -> Declined {
        let (reason, detail) = match error.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => (IkeReason::NoProposalChosen, negotiate::compare(&self.sa, None)),
            NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => {
                (IkeReason::TsUnacceptable, compare_selectors(core, Some(self.shape), &[], &[]))
            }
            NotifyType::INVALID_KE_PAYLOAD => (IkeReason::InvalidKe, negotiate::compare(&self.sa, None)),
            _ => (IkeReason::PeerError, String::new()),
        };
        Declined { reason, notify: error.clone(), detail: format!("the peer says {}; {detail}", error.kind) }
    }
}

/// The configured selectors of a shape.
pub fn configured(core: &Core, shape: ShapeId) -> Option<ChildConfig> {
    core.tunnel.children.iter().find(|child| child.shape == shape).copied()
}

/// Selectors side by side.
fn compare_selectors(
    core: &Core,
    shape: Option<ShapeId>,
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
) -> String {
    let ours: Vec<_> = core
        .tunnel
        .children
        .iter()
        .filter(|child| shape.is_none_or(|shape| child.shape == shape))
        .take(8)
        .map(|child| format!("{} === {}", child.local, child.remote))
        .collect();
    let ours = ours.join(" | ");
    if local.is_empty() && remote.is_empty() {
        return format!("ours: {ours}");
    }
    format!("ours: {ours}; theirs: {} === {}", describe::selectors(local), describe::selectors(remote))
}

/// As responder: the suite and selectors for what the peer asks, with the proposal that answers it.
pub fn choose(
    core: &Core,
    step: &mut Step<'_>,
    request: &Sorted,
    children: &[ChildSa],
    place: Place,
) -> Result<(Agreed, Proposal), Declined> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (&request.sa, &request.ts_i, &request.ts_r) else {
        return Err(Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no SA, TSi or TSr"));
    };
    let tunnel = &core.tunnel;
    let Some((chosen, outbound)) = negotiate::choose_esp(sa, &tunnel.esp, tunnel.lab, place) else {
        let ours = negotiate::esp_offer(&tunnel.esp, Spi::new(u32::MAX).expect("above 255"), place);
        let detail = negotiate::compare(&ours, Some(sa));
        return Err(Declined::new(IkeReason::NoProposalChosen, NotifyType::NO_PROPOSAL_CHOSEN, detail));
    };
    // The peer is the exchange's initiator: its side is TSi.
    let remote = TrafficSelector::from_entries(&ts_i.selectors);
    let local = TrafficSelector::from_entries(&ts_r.selectors);
    let shapes = |only_missing: bool| {
        let covered = move |shape| children.iter().any(|child| child.agreed.shape == shape && !child.leaving);
        let wanted = tunnel.children.iter().filter(move |child| !only_missing || !covered(child.shape));
        wanted.map(|child| (child.shape, child.local, child.remote))
    };
    // A wide offer gets a shape that has no child SA yet.
    let narrowed =
        narrow::choose(&local, &remote, shapes(true)).or_else(|| narrow::choose(&local, &remote, shapes(false)));
    let Some(narrow::Chosen { shape, local, remote }) = narrowed else {
        let detail = compare_selectors(core, None, &local, &remote);
        return Err(Declined::new(IkeReason::TsUnacceptable, NotifyType::TS_UNACCEPTABLE, detail));
    };
    let inbound = step.esp.reserve(core.own_spi(), step.entropy);
    let proposal = Proposal { spi: inbound.get().to_be_bytes().to_vec(), ..chosen.proposal };
    Ok((Agreed { shape, inbound, outbound, suite: chosen.suite, local, remote }, proposal))
}

impl Agreed {
    /// `SA, TSi, TSr` of a response.
    pub fn payloads(&self, proposal: Proposal) -> [Payload; 3] {
        [Payload::Sa(Sa { proposals: vec![proposal] }), Payload::TsI(ts(&self.remote)), Payload::TsR(ts(&self.local))]
    }

    /// The two halves of the SA for the data path. `initiator`: whether we began the exchange that made it.
    pub fn specs(self, core: &Core, step: &mut Step<'_>, keys: ChildKeys, initiator: bool) -> NewChild {
        let encapsulation = core.encapsulation();
        let mut lifetime = core.tunnel.lifetime;
        if !self.suite.esn {
            // RFC 4303 §3.3.3: without ESN the sequence number has 32 bits and never wraps.
            lifetime.hard_packets = lifetime.hard_packets.min(u64::from(u32::MAX));
        }
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
            child: ChildSa { agreed: self, encapsulation, installed_at: step.now, leaving: false, sends: false },
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
        if !receive_only {
            self.child.sends = true;
            step.out.sad(SadCommand::InstallOutbound(Box::new(self.outbound)));
        }
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
}

impl ChildSa {
    /// Our SPI and the peer's.
    pub fn spis(&self) -> [String; 2] {
        [self.agreed.inbound.to_string(), self.agreed.outbound.to_string()]
    }

    /// Whether it carries exactly the same traffic.
    pub fn is_twin(&self, other: &Self) -> bool {
        let of = |child: &Self| (child.agreed.shape, child.agreed.local.clone(), child.agreed.remote.clone());
        of(self) == of(other)
    }

    /// `udp` or `raw`.
    pub fn encapsulation_name(&self) -> &'static str {
        match self.encapsulation {
            Encapsulation::Raw { .. } => "raw",
            Encapsulation::Udp { .. } => "udp",
        }
    }

    /// Takes it out of the data path.
    pub fn remove(self, core: &Core, step: &mut Step<'_>, reason: &str) {
        let inbound = self.agreed.inbound;
        if self.sends {
            step.out.sad(SadCommand::RemoveOutbound { inbound });
        }
        step.out.sad(SadCommand::RemoveInbound(inbound));
        step.esp.release(inbound);
        let reason = reason.to_owned();
        step.out.event(Event::ChildDown { tunnel: core.tunnel.name.clone(), spis: self.spis(), reason });
        step.notices.push(Notice::ChildDown { shape: self.agreed.shape });
    }
}

/// What a request for a child SA must carry, beside what the place asks for.
pub fn require_child(request: &Sorted) -> Result<(), Refusal> {
    request.require(super::payloads::Required(&[PayloadType::SA, PayloadType::TSI, PayloadType::TSR]))
}
