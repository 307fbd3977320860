//! Child SAs: what is offered and what is agreed (RFC 7296 §2.7, §2.9). Shared by IKE_AUTH (§1.2) and CREATE_CHILD_SA
//! (§1.3.1, §1.3.3). What becomes of it: `child_sa`.

use super::config::{ChildConfig, Childless};
use super::describe;
use super::error::Refusal;
use super::exchange::config;
use super::ike_sa::Core;
use super::lanes;
use super::negotiate::{self, Place};
use super::payloads::Sorted;
use super::step::Step;
use crate::crypto::suite::EspSuite;
use crate::event::IkeReason;
use crate::ids::ShapeId;
use crate::policy::narrow;
use crate::policy::selector::TrafficSelector;
use crate::sa::command::SadCommand;
use crate::sa::spi::Spi;
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
    /// The suites in the order of the proposals.
    pub suites: Vec<EspSuite>,
    /// What the child SA that is rekeyed covers, ours and the peer's: no less will do.
    in_use: Option<[Vec<TrafficSelector>; 2]>,
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
    /// As responder: what the peer asked for would have fitted another shape too.
    pub more: bool,
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
        Self::of(core, step, shape, place, core.tunnel.esp.clone())
    }

    /// An offer in place of `old`: its suite first, and its selectors as they are.
    pub fn in_place_of(core: &Core, step: &mut Step<'_>, old: &Agreed) -> Self {
        let suites = negotiate::in_use_first(&core.tunnel.esp, old.suite);
        let offer = Self::of(core, step, old.shape, Place::CreateChildSa, suites);
        Self { in_use: Some([old.local.clone(), old.remote.clone()]), ..offer }
    }

    fn of(core: &Core, step: &mut Step<'_>, shape: ShapeId, place: Place, suites: Vec<EspSuite>) -> Self {
        let class = core.tunnel.children.iter().find(|child| child.shape == shape).map(|child| child.spis);
        let inbound = step.esp.reserve(core.own_spi(), class.unwrap_or_default(), step.entropy);
        // The peer may send as soon as it has answered, and its packets may overtake the answer.
        step.out.sad(SadCommand::ExpectInbound(inbound));
        Self { shape, inbound, sa: negotiate::esp_offer(&suites, inbound, place), place, suites, in_use: None }
    }

    /// `SA, TSi, TSr` of a request; nothing if the shape is no longer configured.
    pub fn payloads(&self, core: &Core) -> Option<[Payload; 3]> {
        let config = configured(core, self.shape)?;
        // RFC 7296 §2.9.2: in a rekeying the proposed selectors "SHOULD be either the same as, or a superset of" those in
        // use. Some peers take nothing but the same.
        let (ts_i, ts_r) = match &self.in_use {
            Some([local, remote]) => (ts(local), ts(remote)),
            None => (ts(&[config.local]), ts(&[config.remote])),
        };
        Some([Payload::Sa(self.sa.clone()), Payload::TsI(ts_i), Payload::TsR(ts_r)])
    }

    /// As initiator: what the peer made of it.
    pub fn accept(&self, core: &Core, answer: &Sorted) -> Result<Agreed, Declined> {
        let (Some(sa), Some(ts_i), Some(ts_r)) = (&answer.sa, &answer.ts_i, &answer.ts_r) else {
            return Err(match answer.error() {
                Some(error) => self.refused(core, error),
                None if answer.notify(NotifyType::REDIRECT).is_some() => {
                    let detail = "the peer says REDIRECT";
                    Declined::new(IkeReason::Redirected, NotifyType::NO_PROPOSAL_CHOSEN, detail)
                }
                None => Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no SA, TSi or TSr"),
            });
        };
        let tunnel = &core.tunnel;
        let Some((suite, outbound)) = negotiate::accept_esp(sa, &self.suites, tunnel.lab, self.place) else {
            let detail = negotiate::compare(&self.sa, Some(sa));
            let reason = none_chosen(sa, &self.suites, tunnel.lab, self.place);
            return Err(Declined::new(reason, NotifyType::NO_PROPOSAL_CHOSEN, detail));
        };
        let local = TrafficSelector::from_entries(&ts_i.selectors);
        let remote = TrafficSelector::from_entries(&ts_r.selectors);
        let unacceptable = |detail| Declined::new(IkeReason::TsUnacceptable, NotifyType::TS_UNACCEPTABLE, detail);
        let config = configured(core, self.shape).ok_or_else(|| unacceptable("no longer configured".to_owned()))?;
        // RFC 7296 §2.9: the responder may narrow, never widen.
        if !narrow::is_subset(&local, &[config.local]) || !narrow::is_subset(&remote, &[config.remote]) {
            return Err(unacceptable(compare_selectors(core, Some(self.shape), &local, &remote)));
        }
        // RFC 7296 §2.9.2: "the new SA MUST NOT have narrower selectors than the original".
        if let Some([old_local, old_remote]) = &self.in_use
            && !(narrow::is_subset(old_local, &local) && narrow::is_subset(old_remote, &remote))
        {
            let detail = compare_selectors(core, Some(self.shape), &local, &remote);
            return Err(unacceptable(format!("narrower than what is in use; {detail}")));
        }
        Ok(Agreed { shape: self.shape, inbound: self.inbound, outbound, suite, local, remote, more: false })
    }

    /// The peer refused it with an error.
    fn refused(&self, core: &Core, error: &Notify) -> Declined {
        let above = configured(core, self.shape).is_some_and(|child| child.lane > 0);
        let (reason, detail) = match error.kind {
            // RFC 9611 §5.2: no further one for these selectors; what is there does.
            NotifyType::TS_MAX_QUEUE | NotifyType::NO_ADDITIONAL_SAS if above => (IkeReason::NoLane, String::new()),
            NotifyType::NO_PROPOSAL_CHOSEN => (IkeReason::NoProposalChosen, negotiate::compare(&self.sa, None)),
            NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => {
                (IkeReason::TsUnacceptable, compare_selectors(core, Some(self.shape), &[], &[]))
            }
            NotifyType::INTERNAL_ADDRESS_FAILURE | NotifyType::FAILED_CP_REQUIRED => {
                (IkeReason::AddressFailure, "see `request_address`".to_owned())
            }
            NotifyType::INVALID_KE_PAYLOAD => (IkeReason::InvalidKe, negotiate::compare(&self.sa, None)),
            _ => (IkeReason::PeerError, String::new()),
        };
        Declined { reason, notify: error.clone(), detail: format!("the peer says {}; {detail}", error.kind) }
    }
}

/// Why there is no common suite.
fn none_chosen(theirs: &Sa, ours: &[EspSuite], lab: bool, place: Place) -> IkeReason {
    if negotiate::child_lacks_post_quantum(theirs, ours, lab, place) {
        IkeReason::PostQuantumRequired
    } else {
        IkeReason::NoProposalChosen
    }
}

/// The configured selectors of a shape.
pub fn configured(core: &Core, shape: ShapeId) -> Option<ChildConfig> {
    shapes(core).find(|child| child.shape == shape)
}

/// All of them, as they stand with the inner addresses that were given.
fn shapes(core: &Core) -> impl Iterator<Item = ChildConfig> + '_ {
    core.tunnel.children.iter().filter_map(|child| config::narrowed(&core.terms, &core.tunnel, *child))
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

/// As responder: the suite and selectors for what the peer asks, with the proposal that answers it. `covered` are the
/// shapes that have a child SA.
pub fn choose(
    core: &Core,
    step: &mut Step<'_>,
    request: &Sorted,
    covered: &[ShapeId],
    place: Place,
) -> Result<(Agreed, Proposal), Declined> {
    let (local, remote) = asked(request)?;
    let one_of_several = lanes::is_one_of_several(request);
    // Who says nothing of resources means lane 0.
    let within = |child: &ChildConfig| child.lane == 0 || one_of_several;
    let shapes = |only_missing: bool| {
        let wanted = shapes(core).filter(within);
        let wanted = wanted.filter(move |child| !only_missing || !covered.contains(&child.shape));
        wanted.map(|child| (child.shape, child.local, child.remote))
    };
    // A wide offer gets a shape that has no child SA yet.
    let narrowed = narrow::choose(&local, &remote, shapes(true)).or_else(|| {
        let again = narrow::choose(&local, &remote, shapes(false))?;
        (!one_of_several).then_some(again)
    });
    if narrowed.is_none() && one_of_several && narrow::choose(&local, &remote, shapes(false)).is_some() {
        return Err(Declined::new(IkeReason::NoLane, NotifyType::TS_MAX_QUEUE, "every lane of ours has its child SA"));
    }
    let (mut agreed, proposal) =
        take(core, step, request, place, narrowed, || compare_selectors(core, None, &local, &remote))?;
    let chosen = lanes::first(&core.tunnel, agreed.shape);
    let others = shapes(false).filter(|(shape, _, _)| lanes::first(&core.tunnel, *shape) != chosen);
    agreed.more = narrow::choose(&local, &remote, others).is_some();
    Ok((agreed, proposal))
}

/// As responder: the same for what is to take the place of `old`.
pub fn choose_in_place_of(
    core: &Core,
    step: &mut Step<'_>,
    request: &Sorted,
    old: &Agreed,
) -> Result<(Agreed, Proposal), Declined> {
    let (local, remote) = asked(request)?;
    let shape = configured(core, old.shape).map(|child| (child.shape, child.local, child.remote));
    let narrowed = narrow::choose(&local, &remote, shape).filter(|chosen| {
        // RFC 7296 §2.9.2: "The responder MUST NOT narrow down the Traffic Selectors narrower than the scope currently
        // in use."
        narrow::is_subset(&old.local, &chosen.local) && narrow::is_subset(&old.remote, &chosen.remote)
    });
    take(core, step, request, Place::CreateChildSa, narrowed, || {
        compare_selectors(core, Some(old.shape), &local, &remote)
    })
}

/// The selectors of a request, ours first. The peer is the exchange's initiator: its side is TSi.
fn asked(request: &Sorted) -> Result<(Vec<TrafficSelector>, Vec<TrafficSelector>), Declined> {
    let (Some(ts_i), Some(ts_r)) = (&request.ts_i, &request.ts_r) else {
        return Err(Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no TSi or TSr"));
    };
    Ok((TrafficSelector::from_entries(&ts_r.selectors), TrafficSelector::from_entries(&ts_i.selectors)))
}

fn take(
    core: &Core,
    step: &mut Step<'_>,
    request: &Sorted,
    place: Place,
    narrowed: Option<narrow::Chosen>,
    compare: impl FnOnce() -> String,
) -> Result<(Agreed, Proposal), Declined> {
    let Some(sa) = &request.sa else {
        return Err(Declined::new(IkeReason::MissingPayload, NotifyType::INVALID_SYNTAX, "no SA"));
    };
    let tunnel = &core.tunnel;
    let Some((chosen, outbound)) = negotiate::choose_esp(sa, &tunnel.esp, tunnel.lab, place) else {
        let ours = negotiate::esp_offer(&tunnel.esp, Spi::new(u32::MAX).expect("above 255"), place);
        let detail = negotiate::compare(&ours, Some(sa));
        let reason = none_chosen(sa, &tunnel.esp, tunnel.lab, place);
        return Err(Declined::new(reason, NotifyType::NO_PROPOSAL_CHOSEN, detail));
    };
    let Some(narrow::Chosen { shape, local, remote }) = narrowed else {
        return Err(Declined::new(IkeReason::TsUnacceptable, NotifyType::TS_UNACCEPTABLE, compare()));
    };
    let class = tunnel.children.iter().find(|child| child.shape == shape).map(|child| child.spis);
    let inbound = step.esp.reserve(core.own_spi(), class.unwrap_or_default(), step.entropy);
    let proposal = Proposal { spi: inbound.get().to_be_bytes().to_vec(), ..chosen.proposal };
    Ok((Agreed { shape, inbound, outbound, suite: chosen.suite, local, remote, more: false }, proposal))
}

impl Agreed {
    /// `SA` of a response.
    pub fn proposal(proposal: Proposal) -> Payload {
        Payload::Sa(Sa { proposals: vec![proposal] })
    }

    /// `TSi, TSr, [N(ADDITIONAL_TS_POSSIBLE)]` of a response.
    pub fn selectors(&self) -> impl Iterator<Item = Payload> {
        // RFC 7296 §2.9: "there may be several subsets that are acceptable but their union is not. In this case, the
        // responder arbitrarily chooses one of them, and MAY include an ADDITIONAL_TS_POSSIBLE notification".
        let more = self.more.then(|| Payload::Notify(Notify::error(NotifyType::ADDITIONAL_TS_POSSIBLE)));
        [Payload::TsI(ts(&self.remote)), Payload::TsR(ts(&self.local))].into_iter().chain(more)
    }
}

/// RFC 6023 §3: an IKE_AUTH request without SA, TSi and TSr asks for no child SA.
pub fn is_childless(core: &Core, request: &Sorted) -> bool {
    let none = request.sa.is_none() && request.ts_i.is_none() && request.ts_r.is_none();
    none && core.tunnel.peering.childless != Childless::Off
}

/// What a request for a child SA must carry, beside what the place asks for.
pub fn require_child(request: &Sorted) -> Result<(), Refusal> {
    request.require(super::payloads::Required(&[PayloadType::SA, PayloadType::TSI, PayloadType::TSR]))
}

/// What a request of IKE_AUTH must carry: all of it, or nothing (RFC 6023 §3).
pub fn require_or_none(core: &Core, request: &Sorted) -> Result<(), Refusal> {
    if is_childless(core, request) { Ok(()) } else { require_child(request) }
}
