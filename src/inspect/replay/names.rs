//! Under which name a captured packet is judged: a capture may be made on either side of a translation, and rules know the outside.
//!
//! A packet that bears the inside address of a host of ours becomes the one that the peer sees; one that bears the outside address is
//! that already. Where several hosts share an address each gets a port of its own here, which need not be the one that the gateway
//! gave it: no rule looks at the port of who opens.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::policy::translate::{Place, Translation, Translations};
use crate::wire::icmp::{IcmpView, Quoted};
use crate::wire::ip::{self, Inner, Transport};
use crate::wire::rewrite::{End, Side, rewrite};

/// Ends of hosts that share an address; a capture with more of them is judged with the ports as they are.
const SHARED: usize = 65_536;

/// What the hosts behind shared addresses are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    ports: HashMap<(Place, u8, End), u16>,
    taken: HashSet<(Place, u8, u16)>,
}

/// What bears the inside address in a packet.
struct Found {
    place: Place,
    side: Side,
    protocol: u8,
    inside: End,
}

impl Names {
    /// Writes the packet that the peer sees into `room`: how long it is, and the outside address. `None`: `packet` is that already.
    pub(super) fn outside(
        &mut self,
        translations: &Translations,
        packet: &Inner<'_>,
        room: &mut [u8],
    ) -> Option<(usize, IpAddr)> {
        if translations.is_empty() {
            return None;
        }
        let found = find(translations, packet)?;
        let translation = translations.get(found.place)?;
        let port = self.port(translations, translation, &found);
        let bytes = packet.bytes();
        let named = room.get_mut(..bytes.len())?;
        named.copy_from_slice(bytes);
        rewrite(named, found.side, End { address: translation.outside, port })?;
        Some((bytes.len(), translation.outside))
    }

    fn port(&mut self, translations: &Translations, translation: &Translation, found: &Found) -> u16 {
        let Found { place, protocol, inside, .. } = *found;
        let own = inside.port;
        let opened = translation.opened() == Some(inside.address) && translations.is_service(place, protocol, own);
        if translation.only().is_some() || opened {
            return own;
        }
        if let Some(port) = self.ports.get(&(place, protocol, inside)) {
            return *port;
        }
        let free = |port: &u16| {
            *port != 0
                && !translations.is_service(place, protocol, *port)
                && !self.taken.contains(&(place, protocol, *port))
        };
        let port = (own..=u16::MAX).chain(0..own).find(free).filter(|_| self.ports.len() < SHARED);
        let Some(port) = port else { return own };
        self.taken.insert((place, protocol, port));
        self.ports.insert((place, protocol, inside), port);
        port
    }
}

/// Whether a packet bears the inside address of a host of ours, and as which end.
fn find(translations: &Translations, packet: &Inner<'_>) -> Option<Found> {
    if let Some(message) = packet.icmp().filter(IcmpView::quotes) {
        // It speaks of a packet that went the other way.
        let Quoted { flow, word } = message.quoted()?;
        let identifier = (word >> 16) as u16;
        let port = |port| if matches!(flow.protocol, ip::ICMP | ip::ICMPV6) { identifier } else { port };
        let ends = [
            (Side::Source, flow.destination, flow.source, port(flow.destination_port)),
            (Side::Destination, flow.source, flow.destination, port(flow.source_port)),
        ];
        return ends.into_iter().find_map(|(side, host, remote, port)| {
            let place = translations.of_inside(host, remote)?;
            Some(Found { place, side, protocol: flow.protocol, inside: End { address: host, port } })
        });
    }
    let (source_port, destination_port) = match packet.transport() {
        Transport::Tcp(segment) => (segment.source_port(), segment.destination_port()),
        Transport::Udp(datagram) => (datagram.source_port(), datagram.destination_port()),
        Transport::Icmp(message) => (message.identifier(), message.identifier()),
        Transport::Other => (0, 0),
    };
    let (source, destination) = (packet.source(), packet.destination());
    let ends =
        [(Side::Source, source, destination, source_port), (Side::Destination, destination, source, destination_port)];
    ends.into_iter().find_map(|(side, host, remote, port)| {
        let place = translations.of_inside(host, remote)?;
        Some(Found { place, side, protocol: packet.protocol(), inside: End { address: host, port } })
    })
}
