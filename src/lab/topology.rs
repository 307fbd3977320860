//! Five network namespaces in a row, held by descriptors: nothing has a name, so nothing is left behind.
//!
//! ```text
//! host A ---- gateway A ---- underlay ---- gateway B ---- host B
//! 192.0.2.10  192.0.2.1      198.51.100.1  10.20.0.1      10.20.0.20
//!             198.51.100.10  203.0.113.1   203.0.113.5
//! ```
//!
//! Each gateway's default route is the underlay, and the underlay knows the way to both inner networks: whatever a
//! gateway lets out in clear arrives. Everything stands in IPv4 and IPv6.

use std::io;
use std::net::IpAddr;
use std::process::{Child, Command};

use ipnet::IpNet;

use crate::platform::namespace::Namespace;
use crate::platform::netlink::{Netlink, Route};
use crate::platform::packet::PacketRing;

/// Megabytes of frames that a capture may lag behind.
const RING_MEBIBYTES: usize = 32;

/// One address family's worth of addresses.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Host A.
    pub host_a: IpAddr,
    /// Gateway A towards its host.
    pub inside_a: IpAddr,
    /// Gateway A towards the underlay.
    pub gateway_a: IpAddr,
    /// The underlay towards gateway A.
    pub router_a: IpAddr,
    /// The underlay towards gateway B.
    pub router_b: IpAddr,
    /// Gateway B towards the underlay.
    pub gateway_b: IpAddr,
    /// Gateway B towards its host.
    pub inside_b: IpAddr,
    /// Host B.
    pub host_b: IpAddr,
    prefix: u8,
}

/// The addresses in IPv4.
pub const V4: Addresses = Addresses {
    host_a: v4(192, 0, 2, 10),
    inside_a: v4(192, 0, 2, 1),
    gateway_a: v4(198, 51, 100, 10),
    router_a: v4(198, 51, 100, 1),
    router_b: v4(203, 0, 113, 1),
    gateway_b: v4(203, 0, 113, 5),
    inside_b: v4(10, 20, 0, 1),
    host_b: v4(10, 20, 0, 20),
    prefix: 24,
};

/// The addresses in IPv6.
pub const V6: Addresses = Addresses {
    host_a: v6(0xa, 0x10),
    inside_a: v6(0xa, 1),
    gateway_a: v6(0x100, 0x10),
    router_a: v6(0x100, 1),
    router_b: v6(0x113, 1),
    gateway_b: v6(0x113, 5),
    inside_b: v6(0xb, 1),
    host_b: v6(0xb, 0x20),
    prefix: 64,
};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
}

/// Where host A is once it has moved (`hide_host_a`): gateway A and host A in a network that nobody outside knows.
const PRIVATE: [IpAddr; 2] = [v4(10, 10, 0, 1), v4(10, 10, 0, 10)];

/// Where the underlay finds the routers in front of gateway A and gateway B (`put_routers_between`).
pub const ROUTERS: [IpAddr; 2] = [v4(100, 64, 1, 2), v4(100, 64, 2, 2)];

/// The underlay's own addresses towards them.
const TOWARDS_ROUTERS: [IpAddr; 2] = [v4(100, 64, 1, 1), v4(100, 64, 2, 1)];

/// What makes a router of a namespace.
const ROUTING: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

/// The networks whose addresses must not be seen on the underlay.
#[must_use]
pub fn inner_networks() -> Vec<IpNet> {
    let known =
        [V4, V6].into_iter().flat_map(|family| [family.host_a, family.host_b].map(|host| net(host, family.prefix)));
    known.chain([net(PRIVATE[1], V4.prefix)]).collect()
}

/// The five namespaces.
pub struct Topology {
    /// The host behind gateway A.
    pub host_a: Namespace,
    /// Gateway A.
    pub gateway_a: Namespace,
    /// The network between the gateways.
    pub underlay: Namespace,
    /// Gateway B.
    pub gateway_b: Namespace,
    /// The host behind gateway B.
    pub host_b: Namespace,
    /// Host A's own address in IPv4.
    pub own_a: IpAddr,
}

impl Topology {
    /// Builds it. Root, or root of a user namespace, may.
    pub fn build() -> io::Result<Self> {
        let topology = Self {
            host_a: Namespace::new()?,
            gateway_a: Namespace::new()?,
            underlay: Namespace::new()?,
            gateway_b: Namespace::new()?,
            host_b: Namespace::new()?,
            own_a: V4.host_a,
        };
        for router in [&topology.gateway_a, &topology.underlay, &topology.gateway_b] {
            router.set_sysctls(ROUTING)?;
        }
        join((&topology.gateway_a, "inside"), (&topology.host_a, "eth0"))?;
        join((&topology.gateway_a, "outside"), (&topology.underlay, "to-a"))?;
        join((&topology.gateway_b, "outside"), (&topology.underlay, "to-b"))?;
        join((&topology.gateway_b, "inside"), (&topology.host_b, "eth0"))?;
        for family in [V4, V6] {
            topology.address(&family)?;
        }
        Ok(topology)
    }

    fn address(&self, family: &Addresses) -> io::Result<()> {
        let any = net(if family.host_a.is_ipv4() { v4(0, 0, 0, 0) } else { v6_any() }, 0);
        let a = net(family.host_a, family.prefix);
        let b = net(family.host_b, family.prefix);
        let give = |place: &Namespace, addresses: &[(&str, IpAddr)], routes: &[(IpNet, IpAddr)]| {
            give(place, family.prefix, addresses, routes)
        };
        give(&self.host_a, &[("eth0", family.host_a)], &[(any, family.inside_a)])?;
        give(
            &self.gateway_a,
            &[("inside", family.inside_a), ("outside", family.gateway_a)],
            &[(any, family.router_a)],
        )?;
        give(
            &self.underlay,
            &[("to-a", family.router_a), ("to-b", family.router_b)],
            &[(a, family.gateway_a), (b, family.gateway_b)],
        )?;
        give(
            &self.gateway_b,
            &[("inside", family.inside_b), ("outside", family.gateway_b)],
            &[(any, family.router_b)],
        )?;
        give(&self.host_b, &[("eth0", family.host_b)], &[(any, family.inside_b)])
    }

    /// Puts a router between each gateway and the underlay, in IPv4, and gives them, A's first. The underlay knows these routers
    /// and nothing behind them: what is to come back needs a router that translates, which is up to the caller.
    pub fn put_routers_between(&self) -> io::Result<[Namespace; 2]> {
        let [a, b] = [
            (&self.gateway_a, "to-a", V4.gateway_a, V4.router_a),
            (&self.gateway_b, "to-b", V4.gateway_b, V4.router_b),
        ];
        Ok([self.put_router(a, ROUTERS[0], TOWARDS_ROUTERS[0])?, self.put_router(b, ROUTERS[1], TOWARDS_ROUTERS[1])?])
    }

    fn put_router(
        &self,
        (gateway, name, address, inside): (&Namespace, &str, IpAddr, IpAddr),
        outside: IpAddr,
        towards: IpAddr,
    ) -> io::Result<Namespace> {
        let router = Namespace::new()?;
        router.set_sysctls(ROUTING)?;
        gateway.run(|| -> io::Result<()> {
            let mut netlink = Netlink::open()?;
            let direct = netlink.index_of("outside")?;
            netlink.delete_link(direct)
        })??;
        join((gateway, "outside"), (&router, "inside"))?;
        join((&router, "outside"), (&self.underlay, name))?;
        let any = net(v4(0, 0, 0, 0), 0);
        give(gateway, V4.prefix, &[("outside", address)], &[(any, inside)])?;
        give(&router, V4.prefix, &[("inside", inside), ("outside", outside)], &[(any, towards)])?;
        give(&self.underlay, V4.prefix, &[(name, towards)], &[])?;
        Ok(router)
    }

    /// Takes host A's address in IPv4 away and gives it a private one, which the underlay would find all the same: whoever is to
    /// reach it under its old address needs a gateway that translates.
    pub fn hide_host_a(&mut self) -> io::Result<()> {
        let [router, host] = PRIVATE;
        let network = |address| IpNet::new(address, V4.prefix).map_err(io::Error::other);
        self.gateway_a.run(|| {
            let mut netlink = Netlink::open()?;
            let link = netlink.index_of("inside")?;
            netlink.add_address(link, network(router)?)
        })??;
        self.host_a.run(|| {
            let mut netlink = Netlink::open()?;
            let link = netlink.index_of("eth0")?;
            netlink.delete_address(link, network(V4.host_a)?)?;
            netlink.add_address(link, network(host)?)?;
            netlink.replace_route(&Route::by_gateway(net(v4(0, 0, 0, 0), 0), router))
        })??;
        self.underlay
            .run(|| Netlink::open()?.replace_route(&Route::by_gateway(net(host, V4.prefix), V4.gateway_a)))??;
        self.own_a = host;
        Ok(())
    }

    /// Has every link carry packets of its MTU and no longer ones, as real wires do: slower, for captures that are read.
    pub fn cut_to_packets(&self) -> io::Result<()> {
        for place in [&self.host_a, &self.gateway_a, &self.underlay, &self.gateway_b, &self.host_b] {
            place.run(|| -> io::Result<()> {
                let mut netlink = Netlink::open()?;
                let links = netlink.links()?;
                links.iter().try_for_each(|link| netlink.without_segmentation_offload(link.index))
            })??;
        }
        Ok(())
    }

    /// A ring that sees every frame that a gateway sends to the underlay, once.
    pub fn watch_underlay(&self) -> io::Result<PacketRing> {
        self.underlay.run(|| PacketRing::open(RING_MEBIBYTES))?
    }
}

/// Addresses of the links of `place`, each in a network of its own, and routes to networks by routers.
fn give(place: &Namespace, prefix: u8, addresses: &[(&str, IpAddr)], routes: &[(IpNet, IpAddr)]) -> io::Result<()> {
    place.run(|| -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        for (link, address) in addresses {
            let index = netlink.index_of(link)?;
            netlink.add_address(index, IpNet::new(*address, prefix).map_err(io::Error::other)?)?;
        }
        for (destination, router) in routes {
            netlink.replace_route(&Route::by_gateway(*destination, *router))?;
        }
        Ok(())
    })?
}

/// Starts `command` in `place` from the calling thread, so that a child that dies with its parent dies with this thread
/// and not with a passing one.
pub fn spawn_in(place: &Namespace, command: &mut Command) -> io::Result<Child> {
    let home = Namespace::current()?;
    place.enter()?;
    let child = command.spawn();
    home.enter()?;
    child
}

/// A veth pair between two namespaces, both ends up and silent.
pub(super) fn join((near, near_name): (&Namespace, &str), (far, far_name): (&Namespace, &str)) -> io::Result<()> {
    near.run(|| -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        netlink.add_veth(near_name, far_name, Some(far.fd()))?;
        raise(&mut netlink, near_name, 1)
    })??;
    far.run(|| raise(&mut Netlink::open()?, far_name, 2))?
}

fn raise(netlink: &mut Netlink, name: &str, end: u16) -> io::Result<()> {
    let index = netlink.index_of(name)?;
    netlink.without_generated_addresses(index)?;
    netlink.set_up(index, true)?;
    // A router asks for its neighbours from a link-local address; one that we give needs no second of waiting.
    let link_local = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, end);
    netlink.add_address(index, IpNet::new(link_local.into(), 64).map_err(io::Error::other)?)
}

fn net(address: IpAddr, prefix: u8) -> IpNet {
    IpNet::new(address, prefix).expect("the prefixes of this file fit their families").trunc()
}

const fn v6_any() -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
}
