//! Routes of the main table, and the kernel's own answer to "which way?".

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::Netlink;

/// Our mark on the routes that we set (`rtm_protocol`); routes with another mark are none of our business.
pub const PROTOCOL: u8 = 0x9c;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sends packets on.
    Unicast,
    /// Refuses them with an ICMP error.
    Unreachable,
    /// Something else (local, broadcast, blackhole).
    Other,
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// By which link.
    pub device: Option<u32>,
    /// By which router.
    pub gateway: Option<IpAddr>,
    /// The lowest wins among routes of one destination.
    pub metric: u32,
    /// With which source address, for packets of this host.
    pub source: Option<IpAddr>,
    /// The path's MTU, where the route knows better than the link.
    pub mtu: Option<u32>,
    /// Who set it (`rtm_protocol`).
    pub protocol: u8,
}

impl Route {
    /// A route to `destination` by the link `device`, to be adorned.
    #[must_use]
    pub fn by_device(destination: IpNet, device: u32) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            device: Some(device),
            gateway: None,
            metric: 0,
            source: None,
            mtu: None,
            protocol: u8::from(RouteProtocol::Static),
        }
    }

    /// A route to `destination` by the router `gateway`.
    #[must_use]
    pub fn by_gateway(destination: IpNet, gateway: IpAddr) -> Self {
        Self { device: None, gateway: Some(gateway), ..Self::by_device(destination, 0) }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.destination.addr());
        header.destination_prefix_length = self.destination.prefix_len();
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::from(self.protocol);
        header.kind = match self.kind {
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Unicast | RouteKind::Other => RouteType::Unicast,
        };
        header.scope = match (self.kind, self.gateway) {
            (RouteKind::Unicast, None) if self.destination.addr().is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(self.destination.network().into()));
        attributes.push(RouteAttribute::Priority(self.metric));
        attributes.extend(self.device.map(RouteAttribute::Oif));
        attributes.extend(self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        message
    }

    fn of(message: &Message) -> Option<Self> {
        let Message::NewRoute(message) = message else { return None };
        let any: IpAddr = match message.header.address_family {
            AddressFamily::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let kind = match message.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Unreachable => RouteKind::Unreachable,
            _ => RouteKind::Other,
        };
        let protocol = u8::from(message.header.protocol);
        let mut route = Self {
            destination: IpNet::new(any, message.header.destination_prefix_length).ok()?,
            kind,
            device: None,
            gateway: None,
            metric: 0,
            source: None,
            mtu: None,
            protocol,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => {
                    route.destination = IpNet::new(ip(address)?, message.header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::Oif(index) => route.device = Some(*index),
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Metrics(metrics) => {
                    route.mtu =
                        metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
                }
                _ => {}
            }
        }
        // IPv6 hangs routes without a way on the loopback.
        if kind == RouteKind::Unreachable {
            route.device = None;
        }
        Some(route)
    }
}

impl Netlink {
    /// All routes of the main table, IPv4 first.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = match self.request(Message::GetRoute(message), NLM_F_DUMP) {
                Ok(answers) => answers,
                // A kernel without IPv6 has no routes of it.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => continue,
                Err(error) => return Err(error),
            };
            routes.extend(answers.iter().filter(|answer| in_main_table(answer)).filter_map(Route::of));
        }
        Ok(routes)
    }

    /// Sets a route, in place of one with the same destination and metric.
    pub fn replace_route(&mut self, route: &Route) -> io::Result<()> {
        self.request(Message::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, route: &Route) -> io::Result<()> {
        self.request(Message::DelRoute(route.message()), 0).map(drop)
    }

    /// The way the kernel would send a packet of this host to `destination`; `None` if it would refuse it.
    pub fn lookup(&mut self, destination: IpAddr) -> io::Result<Option<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        match self.request(Message::GetRoute(message), 0) {
            Ok(answers) => Ok(answers.iter().find_map(Route::of).filter(|route| route.kind != RouteKind::Unreachable)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn in_main_table(message: &Message) -> bool {
    let Message::NewRoute(message) = message else { return false };
    let table = message.attributes.iter().find_map(|a| if let RouteAttribute::Table(t) = a { Some(*t) } else { None });
    table.unwrap_or(u32::from(message.header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
