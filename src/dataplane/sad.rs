//! The security association database (RFC 4301 §4.4.2): inbound SAs by SPI, outbound ones by tunnel and shape.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;

use crate::crypto::aead::Provider;
use crate::esp::inbound_sa::InboundSa;
use crate::esp::outbound_sa::OutboundSa;
use crate::event::FlowKey;
use crate::ids::{ShapeId, TunnelId};
use crate::sa::child::{ChildSpec, Encapsulation, InboundSpec, OutboundSpec};
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::icmp::IcmpView;
use crate::wire::ip::Inner;

/// At most one `Acquire` for a shape in this time.
const ACQUIRE_EVERY: Duration = Duration::from_secs(1);

/// So long after the first packet that lacked an SA its senders hear nothing: an ICMP error would end the very connection
/// whose SYN brings the tunnel up, where a SYN sent again a second later finds it there.
const PATIENCE: Duration = Duration::from_secs(2);
/// A want that nobody has repeated for so long is over.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// All SAs of one worker.
pub struct Sad {
    inbound: Vec<Option<Box<InboundSa>>>,
    /// Places of `inbound` that are empty.
    free: Vec<usize>,
    by_spi: HashMap<Spi, usize, RandomState>,
    outbound: Vec<Ways>,
    by_shape: HashMap<(TunnelId, ShapeId), usize, RandomState>,
    /// The ways of the outbound SA that is paired with an inbound one.
    by_pair: HashMap<Spi, usize, RandomState>,
    /// How many outbound SAs there are.
    sealing: usize,
    /// Whose AEADs the next SAs use.
    pub(super) provider: Provider,
}

/// The outbound SAs of one shape.
struct Ways {
    tunnel: TunnelId,
    /// Newest last.
    sas: Vec<OutboundSa>,
    want: Option<Want>,
}

/// Packets lack an SA.
struct Want {
    first: Instant,
    last: Instant,
    asked: Instant,
}

/// What to do about a packet that lacks an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Whether it is time to ask IKE for one (RFC 4301 §5.1, step 3a).
    pub ask: bool,
    /// Whether the sender is told that its destination is unreachable.
    pub tell: bool,
}

/// Why there is no outbound SA for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The shape has none.
    NoSa,
    /// Another worker has it.
    Elsewhere,
    /// It has some, but the peer narrowed them so that the packet does not fit in.
    Narrowed,
}

/// Where an SA stands; good until the next change of the SAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundPlace {
    ways: usize,
    at: usize,
}

impl Sad {
    /// An empty one; `hash` must not be known to the peers.
    #[must_use]
    pub fn new(hash: &RandomState) -> Self {
        Self {
            inbound: Vec::new(),
            free: Vec::new(),
            by_spi: HashMap::with_hasher(hash.clone()),
            outbound: Vec::new(),
            by_shape: HashMap::with_hasher(hash.clone()),
            by_pair: HashMap::with_hasher(hash.clone()),
            sealing: 0,
            provider: Provider::default(),
        }
    }

    /// How many SAs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_spi.len() + self.sealing
    }

    /// How many shapes outbound SAs are kept or wanted for.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.outbound.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Receives with this SA from now on. An old one of the same shape stays until it is removed.
    pub fn install_inbound(&mut self, spec: InboundSpec, now: Instant) {
        let sa = Box::new(InboundSa::with(self.provider, spec, now));
        let spi = sa.spi();
        let place = self.by_spi.get(&spi).copied().or_else(|| self.free.pop());
        let place = place.unwrap_or_else(|| {
            self.inbound.push(None);
            self.inbound.len() - 1
        });
        self.inbound[place] = Some(sa);
        self.by_spi.insert(spi, place);
    }

    /// Sends with this SA from now on, in place of older ones of the same shape.
    pub fn install_outbound(&mut self, spec: OutboundSpec, now: Instant) {
        let at = self.ways(spec.child.tunnel, spec.child.shape);
        self.by_pair.insert(spec.inbound, at);
        self.sealing += 1;
        self.outbound[at].sas.push(OutboundSa::with(self.provider, spec, now));
        self.outbound[at].want = None;
    }

    /// Forgets an inbound SA.
    pub fn remove_inbound(&mut self, spi: Spi) {
        if let Some(place) = self.by_spi.remove(&spi) {
            self.inbound[place] = None;
            self.free.push(place);
        }
    }

    /// Forgets the outbound half of the child SA whose inbound half is `inbound`.
    pub fn remove_outbound(&mut self, inbound: Spi) {
        let Some(at) = self.by_pair.remove(&inbound) else { return };
        let sas = &mut self.outbound[at].sas;
        let before = sas.len();
        sas.retain(|sa| sa.inbound() != inbound);
        self.sealing -= before - sas.len();
    }

    /// Lets the SAs with these inbound halves travel another way.
    pub fn redirect(&mut self, inbound: &[Spi], encapsulation: Encapsulation) {
        for spi in inbound {
            let pair = self.by_pair.get(spi).map(|at| &mut self.outbound[*at].sas);
            for sa in pair.into_iter().flatten().filter(|sa| sa.inbound() == *spi) {
                sa.redirect(encapsulation);
            }
            if let Some(sa) = self.by_spi.get(spi).and_then(|at| self.inbound.get_mut(*at)?.as_mut()) {
                sa.redirect(encapsulation);
            }
        }
    }

    /// Makes room for a shape, so that no packet has to.
    pub fn expect_shape(&mut self, tunnel: TunnelId, shape: ShapeId) {
        self.ways(tunnel, shape);
    }

    fn ways(&mut self, tunnel: TunnelId, shape: ShapeId) -> usize {
        *self.by_shape.entry((tunnel, shape)).or_insert_with(|| {
            self.outbound.push(Ways { tunnel, sas: Vec::with_capacity(2), want: None });
            self.outbound.len() - 1
        })
    }

    /// The place of the inbound SA with this SPI.
    #[must_use]
    pub fn find_inbound(&self, spi: Spi) -> Option<usize> {
        self.by_spi.get(&spi).copied()
    }

    /// The inbound SA at a place from [`find_inbound`](Self::find_inbound).
    pub fn inbound(&mut self, place: usize) -> Option<&mut InboundSa> {
        self.inbound.get_mut(place)?.as_deref_mut()
    }

    /// The place of the newest outbound SA of this shape that carries `inner`.
    pub fn find_outbound(&self, tunnel: TunnelId, shape: ShapeId, inner: &Inner<'_>) -> Result<OutboundPlace, NoWay> {
        let ways = *self.by_shape.get(&(tunnel, shape)).ok_or(NoWay::NoSa)?;
        let sas = &self.outbound[ways].sas;
        match sas.iter().rposition(|sa| carries(sa.child(), true, inner)) {
            Some(at) => Ok(OutboundPlace { ways, at }),
            None if sas.is_empty() => Err(NoWay::NoSa),
            None => Err(NoWay::Narrowed),
        }
    }

    /// The outbound SA at a place from [`find_outbound`](Self::find_outbound).
    pub fn outbound(&mut self, place: OutboundPlace) -> Option<&mut OutboundSa> {
        self.outbound.get_mut(place.ways)?.sas.get_mut(place.at)
    }

    /// The outbound SAs of a tunnel, any order.
    pub fn outbound_of(&self, tunnel: TunnelId) -> impl Iterator<Item = &OutboundSa> {
        self.outbound.iter().filter(move |ways| ways.tunnel == tunnel).flat_map(|ways| &ways.sas)
    }

    /// The outbound SA that sends to `remote` under `spi` (SPIs of different peers may be equal).
    #[must_use]
    pub fn outbound_by_spi(&self, remote: IpAddr, spi: Spi) -> Option<&OutboundSa> {
        let sends_there = |sa: &&OutboundSa| match sa.child().encapsulation {
            Encapsulation::Raw { remote: to, .. } => to == remote,
            Encapsulation::Udp { remote: to, .. } => to.ip() == remote,
        };
        let all = self.outbound.iter().flat_map(|ways| &ways.sas);
        all.filter(|sa| sa.spi() == spi).find(sends_there)
    }

    /// Every SA, for what time alone brings.
    pub fn all_mut(&mut self) -> (impl Iterator<Item = &mut InboundSa>, impl Iterator<Item = &mut OutboundSa>) {
        (
            self.inbound.iter_mut().filter_map(Option::as_deref_mut),
            self.outbound.iter_mut().flat_map(|ways| &mut ways.sas),
        )
    }

    /// A packet lacks an SA of this shape.
    pub fn lacking(&mut self, now: Instant, tunnel: TunnelId, shape: ShapeId) -> Lacking {
        let at = self.ways(tunnel, shape);
        let want = &mut self.outbound[at].want;
        let Some(want) = want.as_mut().filter(|want| now.since(want.last) < FORGOTTEN) else {
            *want = Some(Want { first: now, last: now, asked: now });
            return Lacking { ask: true, tell: false };
        };
        want.last = now;
        let ask = now.since(want.asked) >= ACQUIRE_EVERY;
        if ask {
            want.asked = now;
        }
        Lacking { ask, tell: now.since(want.first) >= PATIENCE }
    }
}

/// Whether a packet belongs to the selectors of an SA, as narrowed: both addresses, the protocol and both ports
/// (RFC 4301 §5.2, step 4, for what comes in; the same for what goes out).
///
/// An ICMP error comes from anywhere on the way, so that its own addresses and type say nothing. It belongs to the SA if
/// the packet that it quotes went the other way by the same selectors (RFC 4301 §6.2); that this packet belongs to a live
/// flow is for `inspect` to see.
#[must_use]
pub fn carries(child: &ChildSpec, outbound: bool, inner: &Inner<'_>) -> bool {
    let inside = |outbound: bool, flow: &FlowKey| {
        let (source, destination) =
            if outbound { (&child.local, &child.remote) } else { (&child.remote, &child.local) };
        source.iter().any(|side| side.contains_source(flow))
            && destination.iter().any(|side| side.contains_destination(flow))
    };
    if inside(outbound, &inner.flow()) {
        return true;
    }
    let quoted = inner.icmp().filter(IcmpView::quotes).and_then(|message| message.quoted());
    quoted.is_some_and(|quoted| inside(!outbound, &quoted.flow))
}
