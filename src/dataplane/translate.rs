//! Outside addresses: what leaves gets the name by which the peer and the rules know its host before it is judged; what comes
//! in gets its host's own address after it was.
//!
//! One to one nothing is remembered. Where several hosts share an address, `mappings` has the port of each. A packet that no
//! rule allows to open takes no port.

use super::counters::CounterWriter;
use super::mappings::{self, Mappings, Passing};
use super::outbound::Refusal;
use super::pipeline::Pipeline;
use crate::event::{DropReason, FlowKey};
use crate::ids::TunnelId;
use crate::policy::translate::{Place, Translation};
use crate::policy::{Classified, Snapshot};
use crate::time::Instant;
use crate::wire::icmp::{IcmpView, Quoted};
use crate::wire::ip::{self, Inner, Transport};
use crate::wire::rewrite::{End, Side, rewrite};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use ahash::RandomState;

/// Mappings looked at in one round of housekeeping.
const SWEEP: usize = 2048;

/// Who was made whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    inside: End,
    outside: End,
}

/// Translations at work.
pub struct Translator {
    mappings: Mappings,
    /// What was done to the packet that is on its way out.
    current: Option<Edit>,
}

/// One end of a packet, and what its port is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// A port of TCP or UDP.
    Port(u8, u16),
    /// The identifier of whoever asked.
    Asked(u8, u16),
    /// The identifier in an answer, which is that of the other side.
    Answered(u16),
    /// Neither.
    Bare,
}

impl Name {
    fn port(self) -> u16 {
        match self {
            Self::Port(_, port) | Self::Asked(_, port) | Self::Answered(port) => port,
            Self::Bare => 0,
        }
    }

    /// That of the local host in a packet.
    fn of(inner: &Inner<'_>, outbound: bool) -> Self {
        match inner.transport() {
            Transport::Tcp(segment) => {
                Self::Port(ip::TCP, if outbound { segment.source_port() } else { segment.destination_port() })
            }
            Transport::Udp(datagram) => {
                Self::Port(ip::UDP, if outbound { datagram.source_port() } else { datagram.destination_port() })
            }
            Transport::Icmp(message) if message.is_echo_request() || message.is_echo_reply() => {
                if message.is_echo_request() == outbound {
                    Self::Asked(inner.protocol(), message.identifier())
                } else {
                    Self::Answered(message.identifier())
                }
            }
            Transport::Icmp(_) | Transport::Other => Self::Bare,
        }
    }

    /// That of the local host in a packet that was quoted; `outbound` is the direction of that packet.
    fn of_quoted(quoted: &Quoted, outbound: bool) -> Option<Self> {
        let FlowKey { protocol, source_port, destination_port, .. } = quoted.flow;
        let identifier = (quoted.word >> 16) as u16;
        Some(match (protocol, source_port) {
            (ip::TCP | ip::UDP, _) => Self::Port(protocol, if outbound { source_port } else { destination_port }),
            (ip::ICMP, 8) | (ip::ICMPV6, 128) if outbound => Self::Asked(protocol, identifier),
            (ip::ICMP, 0) | (ip::ICMPV6, 129) if !outbound => Self::Asked(protocol, identifier),
            (ip::ICMP, 0 | 8) | (ip::ICMPV6, 128 | 129) => Self::Answered(identifier),
            _ => return None,
        })
    }
}

impl Pipeline {
    /// Gives a packet that leaves its outside name, unless it was judged under that already.
    #[inline]
    pub(super) fn outwards(&mut self, now: Instant, packet: &mut [u8]) -> Result<(), Refusal> {
        if self.assumed.is_some() {
            return Ok(());
        }
        self.translator.outwards(now, &self.policy, packet)
    }
}

impl Translator {
    /// Without mappings; `hash` must not be known to anybody.
    pub(super) fn new(hash: RandomState) -> Self {
        Self { mappings: Mappings::new(hash), current: None }
    }

    /// Another policy is in force. A mapping stays where its host is still behind the same outside address.
    pub(super) fn follow(&mut self, old: &Snapshot, new: &Snapshot) {
        let (old, new) = (old.translations(), new.translations());
        if new.list().iter().any(|translation| translation.only().is_none()) {
            self.mappings.make_room(mappings::CAPACITY);
        }
        if std::ptr::eq(old, new) {
            return;
        }
        self.mappings.follow(|place, protocol, inside, port| {
            let before = old.get(place)?;
            let place = new.of_outside(before.tunnel, before.outside)?;
            let translation = new.get(place)?;
            let stays = translation.only().is_none()
                && translation.hides(inside.address)
                && !new.is_service(place, protocol, port);
            stays.then_some(place)
        });
    }

    /// What time alone brings.
    pub(super) fn tick(&mut self, now: Instant, counters: &CounterWriter) {
        self.mappings.sweep(now, SWEEP);
        counters.shared().mappings.set(self.mappings.len() as u64);
    }

    /// Gives a packet that leaves its host's outside name, if it has one towards its destination.
    #[inline]
    fn outwards(&mut self, now: Instant, policy: &Snapshot, packet: &mut [u8]) -> Result<(), Refusal> {
        if policy.translations().is_empty() {
            return Ok(());
        }
        self.current = None;
        // What cannot be read is refused for that in a moment.
        let Ok(inner) = Inner::parse(packet) else { return Ok(()) };
        if let Some(edit) = self.name(now, policy, &inner)? {
            // It was parsed: only a quote can be cut too short to be told of under another name.
            rewrite(packet, Side::Source, edit.outside).ok_or(DropReason::IcmpNoFlow)?;
            self.current = Some(edit);
        }
        Ok(())
    }

    /// What was done to the packet that is on its way out: another worker that goes on with it has to know.
    pub(super) fn current(&self) -> Option<Edit> {
        self.current
    }

    /// Goes on with packets to which this was done.
    pub(super) fn resume(&mut self, edit: Option<Edit>) {
        self.current = edit;
    }

    /// Gives the answer to the packet that is on its way out back to its host.
    pub(super) fn back(&self, answer: &mut [u8]) {
        if let Some(edit) = self.current {
            let told = rewrite(answer, Side::Destination, edit.inside);
            debug_assert!(told.is_some(), "what we answer we can read");
        }
    }

    /// The host that gets a packet which was allowed in; `None` if it has the address itself.
    #[inline]
    pub(super) fn inwards(
        &mut self,
        now: Instant,
        policy: &Snapshot,
        tunnel: TunnelId,
        packet: &[u8],
    ) -> Result<Option<End>, DropReason> {
        let translations = policy.translations();
        if translations.is_empty() {
            return Ok(None);
        }
        let inner = Inner::parse(packet)?;
        let Some(place) = translations.of_outside(tunnel, inner.destination()) else { return Ok(None) };
        let Some(translation) = translations.get(place) else { return Ok(None) };
        let error = inner.icmp().filter(IcmpView::quotes);
        let name = match error.map(|message| message.quoted()) {
            Some(quoted) => quoted.and_then(|quoted| Name::of_quoted(&quoted, true)).ok_or(DropReason::IcmpNoFlow)?,
            None => Name::of(&inner, false),
        };
        let (host, slot) = self.host(now, policy, (place, translation), name).ok_or(DropReason::NoMapping)?;
        if let Some(slot) = slot.filter(|_| error.is_none()) {
            let remote = End { address: inner.source(), port: far_port(&inner, false) };
            self.mappings.passed(now, slot, Passing { outbound: false, remote, flags: flags(&inner) });
        }
        Ok(Some(host))
    }

    /// The inside end of a flow whose names are those of the rules, for an event about it.
    pub(super) fn inside_of(
        &self,
        now: Instant,
        policy: &Snapshot,
        tunnel: Option<TunnelId>,
        flow: &FlowKey,
    ) -> Option<End> {
        let translations = policy.translations();
        if translations.is_empty() {
            return None;
        }
        if let Some(edit) = self.current.filter(|edit| edit.outside.address == flow.source) {
            return Some(edit.inside);
        }
        let place = translations.of_outside(tunnel?, flow.destination)?;
        let translation = translations.get(place)?;
        let name = match flow.protocol {
            ip::TCP | ip::UDP => Name::Port(flow.protocol, flow.destination_port),
            _ => Name::Bare,
        };
        self.host(now, policy, (place, translation), name).map(|(host, _)| host)
    }

    /// Whom an outside name stands for.
    fn host(
        &self,
        now: Instant,
        policy: &Snapshot,
        (place, translation): (Place, &Translation),
        name: Name,
    ) -> Option<(End, Option<mappings::Slot>)> {
        let itself = |host| (End { address: host, port: name.port() }, None);
        if let Some(host) = translation.only() {
            return Some(itself(host));
        }
        match name {
            Name::Port(protocol, port) if !policy.translations().is_service(place, protocol, port) => {
                let slot = self.mappings.of_outside(now, place, protocol, port)?;
                Some((self.mappings.ends(slot)?.0, Some(slot)))
            }
            Name::Asked(protocol, identifier) => {
                let slot = self.mappings.of_outside(now, place, protocol, identifier)?;
                Some((self.mappings.ends(slot)?.0, Some(slot)))
            }
            Name::Port(..) | Name::Answered(_) | Name::Bare => translation.inbound.map(itself),
        }
    }

    /// The outside name for a packet that leaves.
    fn name(&mut self, now: Instant, policy: &Snapshot, inner: &Inner<'_>) -> Result<Option<Edit>, Refusal> {
        let translations = policy.translations();
        let error = inner.icmp().filter(IcmpView::quotes);
        if let Some(message) = error {
            // Told by the host, or by a router before it, of a packet that came in. RFC 5508 §4.2.2: the sender's name is
            // not to be seen outside either.
            let Some(quoted) = message.quoted() else { return Ok(None) };
            let FlowKey { source: remote, destination: host, .. } = quoted.flow;
            let Some(place) = translations.of_inside(host, remote) else { return Ok(None) };
            let Some(translation) = translations.get(place) else { return Ok(None) };
            let tunnel = Some(translation.tunnel);
            let unknown = || Refusal { tunnel, flow: Some(inner.flow()), ..DropReason::IcmpNoFlow.into() };
            let name = Name::of_quoted(&quoted, false).ok_or_else(unknown)?;
            let inside = End { address: host, port: name.port() };
            let port = self.known(now, policy, (place, translation), inside, name).ok_or_else(unknown)?.0;
            return Ok(Some(Edit { inside, outside: End { address: translation.outside, port } }));
        }
        let (host, remote) = (inner.source(), inner.destination());
        let Some(place) = translations.of_inside(host, remote) else {
            if translations.is_outside(host, remote) {
                return Err(Refusal { flow: Some(inner.flow()), ..DropReason::OutsideSource.into() });
            }
            return Ok(None);
        };
        let Some(translation) = translations.get(place) else { return Ok(None) };
        let name = Name::of(inner, true);
        let inside = End { address: host, port: name.port() };
        let edit = |port| Some(Edit { inside, outside: End { address: translation.outside, port } });
        let passing = Passing {
            outbound: true,
            remote: End { address: remote, port: far_port(inner, true) },
            flags: flags(inner),
        };
        if let Some((port, slot)) = self.known(now, policy, (place, translation), inside, name) {
            if let Some(slot) = slot {
                self.mappings.passed(now, slot, passing);
            }
            return Ok(edit(port));
        }
        let protocol = match name {
            Name::Port(protocol, _) | Name::Asked(protocol, _) => protocol,
            Name::Answered(_) | Name::Bare => inner.protocol(),
        };
        let tunnel = Some(translation.tunnel);
        let taken = || Refusal { tunnel, flow: Some(inner.flow()), ..DropReason::NoOutsidePort.into() };
        let kept = |port| translations.is_service(place, protocol, port);
        let port = self.mappings.free_port(now, place, protocol, inside.port, kept).ok_or_else(taken)?;
        // Whatever no rule lets open is judged under a port that is nobody's, so that it meets no flow of another host.
        let opens = match name {
            Name::Port(ip::TCP, _) => passing.flags & (SYN | ACK | RST | FIN) == SYN,
            Name::Port(..) | Name::Asked(..) => true,
            Name::Answered(_) | Name::Bare => false,
        };
        let key = FlowKey { source: translation.outside, ..inner.flow() };
        if opens && matches!(policy.classify(true, &key), Classified::Allow(_)) {
            let slot = self.mappings.insert(now, place, protocol, inside, port).ok_or_else(taken)?;
            self.mappings.passed(now, slot, passing);
        }
        Ok(edit(port))
    }

    /// The port that stands for a host's own already.
    fn known(
        &self,
        now: Instant,
        policy: &Snapshot,
        (place, translation): (Place, &Translation),
        inside: End,
        name: Name,
    ) -> Option<(u16, Option<mappings::Slot>)> {
        let opened = translation.opened() == Some(inside.address);
        let itself = Some((inside.port, None));
        match name {
            _ if translation.only().is_some() => itself,
            Name::Port(protocol, port) if opened && policy.translations().is_service(place, protocol, port) => itself,
            Name::Port(protocol, _) | Name::Asked(protocol, _) => {
                let slot = self.mappings.of_inside(now, place, protocol, inside)?;
                Some((self.mappings.ends(slot)?.1, Some(slot)))
            }
            Name::Answered(_) => itself.filter(|_| opened),
            Name::Bare => itself,
        }
    }
}

/// The port of the host behind the peer.
fn far_port(inner: &Inner<'_>, outbound: bool) -> u16 {
    match Name::of(inner, !outbound) {
        Name::Port(_, port) => port,
        _ => 0,
    }
}

/// TCP's flags; none for others.
fn flags(inner: &Inner<'_>) -> u8 {
    inner.tcp().map_or(0, |segment| segment.flags())
}
