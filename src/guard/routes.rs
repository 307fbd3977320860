//! The routes of protected networks, and what must change to get from those that stand to those that should.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::Desired;

/// The metric of a route into the TUN: lower than anybody's. Zero would mean 1024 for IPv6.
pub const TUN_METRIC: u32 = 1;
/// The metric of a route that refuses: higher than anybody's, so that it speaks last.
pub const LAST_METRIC: u32 = 4_000_000_000;

/// Which way a route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Nowhere: an ICMP error for the sender.
    Unreachable,
    /// Into the tunnel.
    Tun,
}

/// One route of a protected network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub network: IpNet,
    /// Which way.
    pub way: Way,
    /// The source address of the gateway's own packets.
    pub source: Option<IpAddr>,
    /// What fits.
    pub mtu: Option<u32>,
}

impl Route {
    /// The metric that belongs to its way.
    #[must_use]
    pub const fn metric(&self) -> u32 {
        match self.way {
            Way::Tun => TUN_METRIC,
            Way::Unreachable => LAST_METRIC,
        }
    }
}

/// Two routes for each protected network. A network that is named twice gets the smaller MTU and the first source.
#[must_use]
pub fn routes(desired: &Desired) -> Vec<Route> {
    let mut networks: BTreeMap<IpNet, (Option<IpAddr>, u32)> = BTreeMap::new();
    for protected in &desired.protected {
        let mtu = protected.mtu.unwrap_or(desired.mtu);
        let entry = networks.entry(protected.network.trunc()).or_insert((protected.source, mtu));
        *entry = (entry.0.or(protected.source), entry.1.min(mtu));
    }
    let both = networks.into_iter().flat_map(|(network, (source, mtu))| {
        let mtu = (mtu > 0).then_some(mtu);
        [
            Route { network, way: Way::Unreachable, source: None, mtu: None },
            Route { network, way: Way::Tun, source, mtu },
        ]
    });
    let mut routes: Vec<Route> = both.collect();
    routes.sort_by_key(|route| (route.way, route.network));
    routes
}

/// What must change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be set, in this order: those that refuse come before those into the TUN.
    pub set: Vec<Route>,
    /// To be removed afterwards.
    pub remove: Vec<Route>,
}

/// From `current` to `wanted`. Setting a route replaces the one with its network and way. A route that refuses is never
/// removed: a network that no rule names any more stays refused until it is released.
#[must_use]
pub fn changes(current: &[Route], wanted: &[Route]) -> Changes {
    let standing: BTreeSet<_> =
        current.iter().map(|route| (route.network, route.way, route.source, route.mtu)).collect();
    let stands = |route: &&Route| standing.contains(&(route.network, route.way, route.source, route.mtu));
    let mut set: Vec<Route> = wanted.iter().filter(|route| !stands(route)).copied().collect();
    set.sort_by_key(|route| (route.way, route.network));
    let asked: BTreeSet<_> = wanted.iter().map(|route| (route.network, route.way)).collect();
    let into_tun = current.iter().filter(|route| route.way == Way::Tun);
    let remove = into_tun.filter(|route| !asked.contains(&(route.network, route.way))).copied().collect();
    Changes { set, remove }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::desired::Protected;

    fn desired(networks: &[&str]) -> Desired {
        let protect = |text: &&str| Protected { network: text.parse().unwrap(), source: None, mtu: None };
        Desired { tun: "pc0".into(), mtu: 1400, protected: networks.iter().map(protect).collect() }
    }

    #[test]
    fn each_network_has_a_way_in_and_a_last_word() {
        let routes = routes(&desired(&["203.0.113.20/32", "2001:db8::/32"]));
        let seen: Vec<_> = routes.iter().map(|r| (r.network.to_string(), r.way, r.metric(), r.mtu)).collect();
        assert_eq!(
            seen,
            [
                ("203.0.113.20/32".into(), Way::Unreachable, LAST_METRIC, None),
                ("2001:db8::/32".into(), Way::Unreachable, LAST_METRIC, None),
                ("203.0.113.20/32".into(), Way::Tun, TUN_METRIC, Some(1400)),
                ("2001:db8::/32".into(), Way::Tun, TUN_METRIC, Some(1400)),
            ]
        );
    }

    #[test]
    fn a_network_that_two_rules_name_gets_the_smaller_mtu_and_keeps_its_source() {
        let mut desired = desired(&["203.0.113.20/32", "203.0.113.20/32", "203.0.113.20/32"]);
        desired.protected[1].mtu = Some(1280);
        desired.protected[2].source = Some("192.0.2.1".parse().unwrap());
        let tun: Vec<Route> = routes(&desired).into_iter().filter(|route| route.way == Way::Tun).collect();
        assert_eq!(tun.len(), 1);
        assert_eq!((tun[0].mtu, tun[0].source), (Some(1280), desired.protected[2].source));
    }

    #[test]
    fn only_what_differs_is_changed_and_what_refuses_is_set_first() {
        let (before, after) = (routes(&desired(&["203.0.113.1/32", "203.0.113.2/32"])), {
            let mut after = desired(&["203.0.113.2/32", "203.0.113.3/32"]);
            after.protected[0].mtu = Some(1300);
            routes(&after)
        });
        let changes = changes(&before, &after);
        let names = |routes: &[Route]| routes.iter().map(|r| (r.network.to_string(), r.way)).collect::<Vec<_>>();
        assert_eq!(
            names(&changes.set),
            [
                ("203.0.113.3/32".into(), Way::Unreachable),
                ("203.0.113.2/32".into(), Way::Tun),
                ("203.0.113.3/32".into(), Way::Tun)
            ]
        );
        // The route that refuses stays, so that the host is not suddenly reached in clear.
        assert_eq!(names(&changes.remove), [("203.0.113.1/32".into(), Way::Tun)]);
        assert_eq!(super::changes(&after, &after), Changes::default());
    }
}
