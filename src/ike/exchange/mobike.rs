//! MOBIKE (RFC 4555): an IKE SA and its child SAs go on while the address of a side changes.
//!
//! ```text
//! Original initiator                                                   Original responder
//! HDR, SK {N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*)}             -->      from the new address
//!                                                                  <-- HDR, SK {N(NAT_DETECTION_*)}
//!                                                                  <-- HDR, SK {N(COOKIE2)}       does the way back work?
//! HDR, SK {N(COOKIE2)}                                             -->
//!                                                                           the child SAs follow
//!                                                                  <-- HDR, SK {N(NO_ADDITIONAL_ADDRESSES)}  from the new address
//! HDR, SK {}                                                       -->
//! HDR, SK {N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*)}             -->      to the new address
//! ```
//! Where a peer may move to is a matter of the agreement, which names addresses: to those that `peer` lists, and in a
//! laboratory anywhere.
//!
//! Left out: NO_NATS_ALLOWED is heeded and never sent; we have one address at a time and announce no further one.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::IkeReason;
use crate::ike::error::Refusal;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::limits;
use crate::ike::natd;
use crate::ike::path::Path;
use crate::ike::payloads::Sorted;
use crate::ike::state::Established;
use crate::ike::state::established::{Ongoing, Task};
use crate::ike::step::{Notice, Step};
use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Notify, Payload};

/// Data of a COOKIE2 (RFC 4555 §4.2.5: 8 to 64 octets, not to be guessed).
pub type Cookie = [u8; 16];

/// Which way a request about addresses went when it was first sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    path: Path,
    /// It was sent again by another way.
    strayed: bool,
}

impl Asked {
    fn by(path: Path) -> Self {
        Self { path, strayed: false }
    }

    /// Whether its answer says something about `path`.
    fn is_about(self, path: Path) -> bool {
        !self.strayed && self.path == path
    }
}

/// Our request goes out again, bit for bit as before (RFC 7296 §2.1), and by this way.
///
/// What it says of addresses, and what its first copy to arrive was answered with, may hold for another way than this one.
pub fn repeated(ongoing: &mut Option<Ongoing>, path: Path) {
    if let Some(Ongoing::UpdateAddresses(asked) | Ongoing::TellAddress(asked) | Ongoing::CheckRoute { asked, .. }) =
        ongoing
    {
        asked.strayed |= asked.path != path;
    }
}

/// What is under way about addresses when another IKE SA takes the place of this one: there it is asked again.
pub fn unfinished(ongoing: Option<&Ongoing>) -> Option<Task> {
    match ongoing? {
        Ongoing::UpdateAddresses(_) => Some(Task::UpdateAddresses),
        Ongoing::TellAddress(_) => Some(Task::TellAddress),
        Ongoing::CheckRoute { .. } => Some(Task::CheckRoute),
        _ => None,
    }
}

/// What says in IKE_AUTH that we take part (§3.1).
pub fn supported(core: &Core) -> Option<Payload> {
    core.tunnel.peering.mobike.then(|| Payload::Notify(Notify::error(NotifyType::MOBIKE_SUPPORTED)))
}

/// What the peer says of it in IKE_AUTH.
pub fn agree(core: &mut Core, message: &Sorted) {
    core.terms.mobike = core.tunnel.peering.mobike && message.notify(NotifyType::MOBIKE_SUPPORTED).is_some();
    note_addresses(core, message);
}

/// What a message of the peer says of its other addresses, one after the other; what is malformed is passed over.
fn others(message: &Sorted) -> impl Iterator<Item = IpAddr> + '_ {
    message.notifies.iter().filter_map(|notify| match notify.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => <[u8; 4]>::try_from(&*notify.data).ok().map(IpAddr::from),
        NotifyType::ADDITIONAL_IP6_ADDRESS => <[u8; 16]>::try_from(&*notify.data).ok().map(IpAddr::from),
        _ => None,
    })
}

/// Where the peer can be reached too. §3.6: "The new list of addresses replaces the old information".
fn note_addresses(core: &mut Core, message: &Sorted) -> bool {
    let none = message.notify(NotifyType::NO_ADDITIONAL_ADDRESSES).is_some();
    if !core.terms.mobike || (!none && others(message).next().is_none()) {
        return false;
    }
    let mut elsewhere = Vec::new();
    for address in others(message) {
        if elsewhere.len() < limits::MAX_ADDITIONAL_ADDRESSES && !elsewhere.contains(&address) && fits(core, address) {
            elsewhere.push(address);
        }
    }
    core.terms.elsewhere = elsewhere;
    true
}

/// §3.9: a peer that has promised that nobody changes its addresses on the way is refused where somebody has.
pub fn keeps_promise(core: &Core, path: Path, message: &Sorted) -> Result<(), Refusal> {
    let promise = message.notify(NotifyType::NO_NATS_ALLOWED);
    if core.tunnel.peering.mobike && promise.is_some_and(|promise| promise.data != without_nat(path)) {
        let notify = Notify::error(NotifyType::UNEXPECTED_NAT_DETECTED);
        let detail = format!("{} to {}", NotifyType::UNEXPECTED_NAT_DETECTED, path.remote);
        return Err(Refusal::told(IkeReason::AddressRefused, notify).with(detail));
    }
    Ok(())
}

/// Whether it can be an address of the peer that is of use to us.
fn fits(core: &Core, address: IpAddr) -> bool {
    let selector = TrafficSelector::any(IpNet::from(address));
    // What is reached through the tunnel cannot be its end.
    let inside = core.tunnel.children.iter().any(|child| child.remote.intersect(&selector).is_some());
    address.is_ipv4() == core.path.local.is_ipv4() && allowed(core, address) && !inside
}

/// Whether the peer may be there.
fn allowed(core: &Core, address: IpAddr) -> bool {
    core.tunnel.lab || core.tunnel.is_peer(address)
}

// The side that moves.

/// Our own address is another one now.
pub fn moved(state: &mut Established, core: &mut Core, step: &mut Step<'_>, local: IpAddr) {
    if !core.terms.mobike || core.path.local.ip() == local {
        return;
    }
    core.path.local.set_ip(local);
    // §3.5: "If there are outstanding IKEv2 requests (requests for which the initiator has not yet received a reply), continues
    // retransmitting them using the addresses in the IKE_SA (the new addresses)."
    let task = if core.terms.opened { Task::UpdateAddresses } else { Task::TellAddress };
    first(state, task);
    if core.terms.opened {
        let path = core.path;
        state.follow(core, step, path);
    }
    state.proceed(core, step);
}

fn first(state: &mut Established, task: Task) {
    if !state.tasks.contains(&task) {
        state.tasks.push_front(task);
    }
}

/// §3.5: "In MOBIKE, the initiator decides what addresses are used in the IPsec SAs."
pub fn begin_update(state: &mut Established, core: &mut Core, step: &mut Step<'_>) -> Option<Ongoing> {
    let mut payloads = vec![Payload::Notify(Notify::error(NotifyType::UPDATE_SA_ADDRESSES))];
    let false_source = natd::false_source(core.tunnel.force_encapsulation, step.entropy);
    payloads.extend(natd::notifies(core.spis, core.path, false_source));
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &payloads)?;
    Some(Ongoing::UpdateAddresses(Asked::by(core.path)))
}

/// The peer has answered our update of the addresses.
pub fn updated(state: &mut Established, core: &mut Core, step: &mut Step<'_>, asked: Asked, answer: &Sorted) {
    if !asked.is_about(core.path) {
        // §3.5: "If an address change has occurred after the request was first sent, no MOBIKE processing is done for the reply
        // message because a new UPDATE_SA_ADDRESSES is going to be sent".
        return first(state, Task::UpdateAddresses);
    }
    if let Some(error) = answer.error() {
        let detail = format!("the peer says {} to {}", error.kind, core.path.local);
        step.notices.push(Notice::Declined {
            exchange: ExchangeType::INFORMATIONAL,
            reason: IkeReason::AddressRefused,
            detail,
        });
        return;
    }
    // The peer hashes its addresses as our request had them, by whatever way the answer came.
    let path = core.path;
    let nat = natd::detect(&answer.notifies, core.spis, path, core.tunnel.force_encapsulation);
    if nat.supported {
        core.nat = nat;
        state.seen_as = seen_as(answer);
    }
    state.follow(core, step, path);
}

/// What is said beside the question whether the peer lives.
///
/// §3.8: "When the initiator is behind a NAT [...], it SHOULD include these notifications in DPD messages and compare the received
/// NAT_DETECTION_DESTINATION_IP notifications with the value from the previous UPDATE_SA_ADDRESSES response".
pub fn about_mapping(core: &Core, step: &mut Step<'_>) -> Option<[Payload; 2]> {
    if !core.terms.mobike || !core.terms.opened || !core.nat.local {
        return None;
    }
    let false_source = natd::false_source(core.tunnel.force_encapsulation, step.entropy);
    Some(natd::notifies(core.spis, core.path, false_source))
}

/// The peer has answered it. §3.8: "If the values do not match, the IP address and/or port seen by the responder has changed, and
/// the initiator SHOULD send UPDATE_SA_ADDRESSES". What it saw before is not known in a new IKE SA: "harmless, however".
pub fn heard_of_mapping(state: &mut Established, answer: &Sorted) {
    let now = seen_as(answer);
    if now.is_some() && now != state.seen_as {
        first(state, Task::UpdateAddresses);
    }
}

fn seen_as(answer: &Sorted) -> Option<Vec<u8>> {
    answer.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).map(|hash| hash.data.clone())
}

/// §3.6: the original responder says where it can be reached now: "If the exchange initiator has only a single IP address, it is
/// placed in the IP header, and the message contains the NO_ADDITIONAL_ADDRESSES notification."
pub fn begin_telling(state: &mut Established, core: &mut Core, step: &mut Step<'_>) -> Option<Ongoing> {
    let payloads = [Payload::Notify(Notify::error(NotifyType::NO_ADDITIONAL_ADDRESSES))];
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &payloads)?;
    Some(Ongoing::TellAddress(Asked::by(core.path)))
}

/// The peer has answered that, by whatever way. §3.6: "If the request to update the addresses is retransmitted using several
/// different source addresses, a new INFORMATIONAL request MUST be sent." If our address is another one by now without that, either
/// we have moved again, which is told anyhow, or the peer has said so in its update.
pub fn told(state: &mut Established, asked: Asked) {
    if asked.strayed {
        first(state, Task::TellAddress);
    }
}

/// The peer does not answer where it was: the next transmissions go where it may be too, in turn (§3.5, path test). `telling`: they
/// say that we have moved.
pub fn try_elsewhere(core: &mut Core, home: IpAddr, telling: bool) -> bool {
    // §3.6, of a responder that has moved: "This is the only time the responder uses the additional address list received from the
    // initiator."
    let may = core.terms.mobike && (core.terms.opened || telling);
    if !may || core.terms.elsewhere.is_empty() {
        return false;
    }
    let ways: Vec<IpAddr> = std::iter::once(home).chain(core.terms.elsewhere.iter().copied()).collect();
    let at = ways.iter().position(|way| *way == core.path.remote.ip()).unwrap_or(0);
    let next = ways.get((at + 1) % ways.len()).copied().unwrap_or(home);
    core.path.remote.set_ip(next);
    true
}

/// The peer has answered where it was looked for: the original initiator says which addresses are used from now on.
pub fn found(state: &mut Established, core: &Core) {
    if core.terms.opened {
        first(state, Task::UpdateAddresses);
    }
}

// The other side.

/// What a request of the peer changes, and what we answer.
pub fn answer(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    incoming: &Incoming<'_>,
    request: &Sorted,
) -> Vec<Payload> {
    let mut payloads = Vec::new();
    if !core.terms.mobike {
        return payloads;
    }
    // §3.7: COOKIE2 "is copied as is from the request to the response".
    payloads.extend(request.notify(NotifyType::COOKIE2).map(|cookie| Payload::Notify(cookie.clone())));
    let asks_nat = request.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some();
    let changes = [NotifyType::UPDATE_SA_ADDRESSES, NotifyType::NO_ADDITIONAL_ADDRESSES];
    let changes = changes.iter().any(|kind| request.notify(*kind).is_some()) || others(request).next().is_some();
    if changes && let Err(refusal) = keeps_promise(core, incoming.path, request) {
        let (reason, detail) = (refusal.reason, refusal.detail.unwrap_or_default());
        step.notices.push(Notice::Declined { exchange: ExchangeType::INFORMATIONAL, reason, detail });
        payloads.extend(refusal.notify.map(Payload::Notify));
        return payloads;
    }
    let told = note_addresses(core, request);
    if core.terms.opened {
        let there = incoming.path.remote.ip();
        if told && there != core.path.remote.ip() && fits(core, there) {
            // The responder speaks from another address: it has left the old one. §3.4: the address that the list comes from
            // belongs to it without being named.
            core.path = incoming.path;
            first(state, Task::UpdateAddresses);
        }
    } else if request.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some() {
        let path = incoming.path;
        if path.remote.ip() != core.path.remote.ip() && !allowed(core, path.remote.ip()) {
            let notify = NotifyType::UNACCEPTABLE_ADDRESSES;
            let (reason, detail) = (IkeReason::AddressRefused, format!("{notify} to {}", path.remote));
            step.notices.push(Notice::Declined { exchange: ExchangeType::INFORMATIONAL, reason, detail });
            payloads.push(Payload::Notify(Notify::error(notify)));
            return payloads;
        }
        core.path = path;
        core.nat = natd::detect(&request.notifies, core.spis, path, core.tunnel.force_encapsulation);
        // §3.5: the child SAs follow once the peer has shown that it hears us there.
        first(state, Task::CheckRoute);
    }
    if asks_nat {
        let false_source = natd::false_source(core.tunnel.force_encapsulation, step.entropy);
        payloads.extend(natd::notifies(core.spis, incoming.path, false_source));
    }
    payloads
}

/// RFC 4555 §4.2.6: source address, destination address, source port, destination port, as the sender of a packet that came by
/// `path` had them.
fn without_nat(path: Path) -> Vec<u8> {
    let mut data = Vec::new();
    for end in [path.remote, path.local] {
        match end.ip() {
            IpAddr::V4(v4) => data.extend(v4.octets()),
            IpAddr::V6(v6) => data.extend(v6.octets()),
        }
    }
    for end in [path.remote, path.local] {
        data.extend(end.port().to_be_bytes());
    }
    data
}

/// §3.7, return routability: only who is where it says to be can give the cookie back.
pub fn begin_check(state: &mut Established, core: &mut Core, step: &mut Step<'_>) -> Option<Ongoing> {
    let cookie: Cookie = step.entropy.array();
    let payloads = [Payload::Notify(Notify::status(NotifyType::COOKIE2, cookie.to_vec()))];
    core.request(step, &mut state.protection, ExchangeType::INFORMATIONAL, &payloads)?;
    Some(Ongoing::CheckRoute { cookie, asked: Asked::by(core.path) })
}

/// The answer to it. Whether the peer may be believed.
pub fn checked(
    state: &mut Established,
    core: &mut Core,
    step: &mut Step<'_>,
    (cookie, asked): (Cookie, Asked),
    answer: &Sorted,
) -> bool {
    if answer.notify(NotifyType::COOKIE2).is_none_or(|given| given.data != cookie) {
        return false;
    }
    if asked.is_about(core.path) {
        let path = core.path;
        state.follow(core, step, path);
    } else {
        // §3.7: of a request that went to several addresses the response "does not tell which address is the working one".
        first(state, Task::CheckRoute);
    }
    true
}
