//! Makes the kernel hold what `guard` desires, and lets go of it only when it is told to.
//!
//! The order leaves no gap: the barrier first, then the routes that refuse, then those into the TUN; whatever stands from a
//! run before is adopted. All of it survives this process, and routes of others are never touched: ours carry our mark.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use super::netlink::{Netlink, PROTOCOL, Route as KernelRoute, RouteKind};
use super::nft::{Dropped, Nft};
use crate::guard::barrier::Barrier;
use crate::guard::desired::Desired;
use crate::guard::routes::{Route, TUN_METRIC, Way, changes, routes};

/// Why the kernel does not hold what it should.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The packet filter refused.
    #[error("the barrier of packet filter rules cannot be {0} (nftables over netlink): {1}")]
    Barrier(&'static str, #[source] io::Error),
    /// The routing table refused.
    #[error("the route to {0} cannot be {1}: {2}")]
    Route(IpNet, &'static str, #[source] io::Error),
    /// A rule's own host is not here.
    #[error(
        "the route to {network} is to carry the source address {source_address}, but this host does not have that address"
    )]
    Source {
        /// The route's network.
        network: IpNet,
        /// The address that is missing.
        source_address: IpAddr,
    },
    /// What is to be released is in use.
    #[error("a gateway is running here: protected hosts are routed into its TUN; end it (SIGTERM), then release")]
    Running,
    /// Links, addresses or routes could not be read.
    #[error("links, addresses or routes cannot be read: {0}")]
    Read(#[source] io::Error),
}

/// What stands in the kernel on our behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the packet filter guards; `None` if our table does not exist.
    pub barrier: Option<Barrier>,
    /// Whether the table is exactly as we write it.
    pub whole: bool,
    /// What the barrier has dropped.
    pub dropped: Dropped,
    /// Our routes.
    pub routes: Vec<Route>,
}

/// What [`apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether the barrier was written.
    pub barrier: bool,
    /// How many routes were set or removed.
    pub routes: usize,
    /// Whether the TUN exists; without it there are no routes into it, and the others refuse.
    pub tun: bool,
    /// Whether more stands than was asked for: networks that no rule names any more, refused until they are released.
    pub retained: bool,
}

/// Makes the kernel hold what is desired. After an error the barrier and the routes that refuse may stand already: the host
/// is safe, not connected.
pub fn apply(desired: &Desired) -> Result<Applied, GuardError> {
    let mut netlink = Netlink::open().map_err(GuardError::Read)?;
    let mut nft = Nft::open().map_err(|error| GuardError::Barrier("opened", error))?;
    let found = nft.read().map_err(|error| GuardError::Barrier("read", error))?;
    let asked = Barrier::of(desired);
    let barrier = found.as_ref().map_or_else(|| asked.clone(), |found| asked.clone().with(&found.barrier));
    let retained = barrier != asked;
    let written = !found.is_some_and(|found| found.whole && found.barrier == barrier);
    if written {
        nft.replace(&barrier).map_err(|error| GuardError::Barrier("written", error))?;
    }
    let tun = netlink.link(&desired.tun).map_err(GuardError::Read)?.filter(|link| link.up).map(|link| link.index);
    let addresses = netlink.addresses().map_err(GuardError::Read)?;
    let is_here = |ip: IpAddr| addresses.iter().any(|address| address.network.addr() == ip);

    let mut wanted = routes(desired);
    wanted.retain(|route| route.way == Way::Unreachable || tun.is_some());
    let (ours, strangers) = our_routes(&mut netlink, tun)?;
    let changes = changes(&ours, &wanted);
    let mut count = 0;
    let mut refused = None;
    for route in &changes.set {
        match route.source.filter(|source| !is_here(*source)) {
            Some(source_address) => {
                refused = refused.or(Some(GuardError::Source { network: route.network, source_address }));
            }
            None => match netlink.replace_route(&to_kernel(route, tun)) {
                Ok(()) => count += 1,
                Err(error) => refused = refused.or(Some(GuardError::Route(route.network, "set", error))),
            },
        }
    }
    let stale = changes.remove.iter().map(|route| to_kernel(route, tun)).chain(strangers);
    for route in stale {
        delete(&mut netlink, &route)?;
        count += 1;
    }
    refused.map_or(Ok(Applied { barrier: written, routes: count, tun: tun.is_some(), retained }), Err)
}

/// Removes everything: routes first, so that a protected host is refused rather than half open, then the barrier. Says whether
/// there was anything. Refused while a gateway runs: a route into a TUN of ours ends with the process that holds the TUN.
pub fn release() -> Result<bool, GuardError> {
    let mut netlink = Netlink::open().map_err(GuardError::Read)?;
    let mut any = false;
    let routes = marked_routes(&mut netlink)?;
    if routes.iter().any(|route| route.kind == RouteKind::Unicast && route.metric == TUN_METRIC) {
        return Err(GuardError::Running);
    }
    for route in routes {
        delete(&mut netlink, &route)?;
        any = true;
    }
    let mut nft = Nft::open().map_err(|error| GuardError::Barrier("opened", error))?;
    any |= nft.delete().map_err(|error| GuardError::Barrier("deleted", error))?;
    Ok(any)
}

/// What stands now, for `check` and `status`.
pub fn current(tun: &str) -> Result<Standing, GuardError> {
    let mut netlink = Netlink::open().map_err(GuardError::Read)?;
    let index = netlink.link(tun).map_err(GuardError::Read)?.map(|link| link.index);
    let (routes, _) = our_routes(&mut netlink, index)?;
    let mut nft = Nft::open().map_err(|error| GuardError::Barrier("opened", error))?;
    let found = nft.read().map_err(|error| GuardError::Barrier("read", error))?;
    Ok(match found {
        Some(found) => Standing { barrier: Some(found.barrier), whole: found.whole, dropped: found.dropped, routes },
        None => Standing { barrier: None, whole: false, dropped: Dropped::default(), routes },
    })
}

/// Every route with our mark.
fn marked_routes(netlink: &mut Netlink) -> Result<Vec<KernelRoute>, GuardError> {
    let mut routes = netlink.routes().map_err(GuardError::Read)?;
    routes.retain(|route| route.protocol == PROTOCOL);
    Ok(routes)
}

/// Our routes as `guard` knows them, and those with our mark that it does not know: into a device that is not the TUN.
fn our_routes(netlink: &mut Netlink, tun: Option<u32>) -> Result<(Vec<Route>, Vec<KernelRoute>), GuardError> {
    let (mut ours, mut strangers) = (Vec::new(), Vec::new());
    for found in marked_routes(netlink)? {
        let way = match found.kind {
            RouteKind::Unreachable => Some(Way::Unreachable),
            RouteKind::Unicast if found.device.is_some() && found.device == tun => Some(Way::Tun),
            _ => None,
        };
        let route = way.map(|way| Route { network: found.destination, way, source: found.source, mtu: found.mtu });
        match route.filter(|route| route.metric() == found.metric) {
            Some(route) => ours.push(route),
            None => strangers.push(found),
        }
    }
    Ok((ours, strangers))
}

fn to_kernel(route: &Route, tun: Option<u32>) -> KernelRoute {
    let (kind, device) = match route.way {
        Way::Tun => (RouteKind::Unicast, tun),
        Way::Unreachable => (RouteKind::Unreachable, None),
    };
    let (metric, protocol) = (route.metric(), PROTOCOL);
    let (source, mtu) = (route.source, route.mtu);
    KernelRoute { destination: route.network, kind, device, gateway: None, metric, source, mtu, protocol }
}

fn delete(netlink: &mut Netlink, route: &KernelRoute) -> Result<(), GuardError> {
    match netlink.delete_route(route) {
        // Gone with its device in the meantime.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(|error| GuardError::Route(route.destination, "removed", error)),
    }
}
