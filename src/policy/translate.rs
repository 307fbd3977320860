//! Which host of ours is known to a peer under another address? One to one, or several hosts behind one address.
//!
//! Rules name the outside address, and nothing here allows anything: it says under which name a packet is judged, and to
//! whom one that was allowed is given. Which port a flow gets where several hosts share an address is kept in the data path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ahash::RandomState;
use ipnet::IpNet;

use super::classifier::masked;
use super::rule::{Rule, RuleDirection};
use crate::ids::TunnelId;

/// A `[[translate]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The tunnel whose peer knows the outside address.
    pub tunnel: TunnelId,
    /// Who is behind it.
    pub inside: Vec<IpNet>,
    /// What the peer and the rules call them.
    pub outside: IpAddr,
    /// Who of several gets what the peer opens.
    pub inbound: Option<IpAddr>,
}

impl Translation {
    /// The one host behind the outside address, if it is one.
    #[must_use]
    pub fn only(&self) -> Option<IpAddr> {
        match self.inside.as_slice() {
            [net] if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        }
    }

    /// Who gets what the peer opens.
    #[must_use]
    pub fn opened(&self) -> Option<IpAddr> {
        self.only().or(self.inbound)
    }

    /// Whether `host` is behind it.
    #[must_use]
    pub fn hides(&self, host: IpAddr) -> bool {
        self.inside.iter().any(|net| net.contains(&host))
    }
}

/// The place of a translation in its table.
pub type Place = usize;

type Map<K, V> = HashMap<K, V, RandomState>;

/// All translations, compiled.
#[derive(Debug)]
pub struct Translations {
    list: Vec<Translation>,
    /// By inside network.
    by_inside: Map<(u128, u8), Vec<Place>>,
    inside_lengths: Vec<(bool, u8)>,
    /// The networks behind the peer that a translation is for.
    remotes: HashSet<(Place, u128, u8), RandomState>,
    remote_lengths: Vec<(bool, u8)>,
    by_outside: Map<(TunnelId, IpAddr), Place>,
    outsides: HashSet<IpAddr, RandomState>,
    /// Those that stand for several hosts.
    shared: HashSet<IpAddr, RandomState>,
    /// Ports that the peer may open.
    services: HashSet<(Place, u8, u16), RandomState>,
}

impl Default for Translations {
    fn default() -> Self {
        Self::compile(Vec::new(), &[])
    }
}

impl Translations {
    /// Compiles `list` for what the `rules` allow. Of two that fit a packet the first one counts; `config` lets no such pair
    /// through.
    pub(super) fn compile(list: Vec<Translation>, rules: &[Rule]) -> Self {
        // What is looked up comes from the configuration, so a fixed seed is no weakness.
        let seed = || RandomState::with_seeds(5, 6, 7, 8);
        let (mut by_inside, mut remotes) = (Map::with_hasher(seed()), HashSet::with_hasher(seed()));
        let (mut by_outside, mut services) = (Map::with_hasher(seed()), HashSet::with_hasher(seed()));
        let (mut outsides, mut shared) = (HashSet::with_hasher(seed()), HashSet::with_hasher(seed()));
        let (mut inside_lengths, mut remote_lengths) = (BTreeSet::new(), BTreeSet::new());
        let key = |net: &IpNet| (masked(net.addr(), net.prefix_len()), tag(net.addr().is_ipv6(), net.prefix_len()));
        for (place, translation) in list.iter().enumerate() {
            for net in &translation.inside {
                inside_lengths.insert((net.addr().is_ipv6(), net.prefix_len()));
                by_inside.entry(key(net)).or_insert_with(Vec::new).push(place);
            }
            by_outside.entry((translation.tunnel, translation.outside)).or_insert(place);
            outsides.insert(translation.outside);
            if translation.only().is_none() {
                shared.insert(translation.outside);
            }
            let own = |rule: &&Rule| {
                rule.tunnel == translation.tunnel && rule.local().iter().any(|net| net.contains(&translation.outside))
            };
            for rule in rules.iter().filter(own) {
                for net in rule.remote() {
                    remote_lengths.insert((net.addr().is_ipv6(), net.prefix_len()));
                    let (bits, tag) = key(net);
                    remotes.insert((place, bits, tag));
                }
                if rule.direction == RuleDirection::Inbound {
                    let protocol = rule.service.protocol(translation.outside.is_ipv6());
                    services.extend(rule.effective_ports().into_iter().map(|port| (place, protocol, port)));
                }
            }
        }
        let longest_first = |lengths: BTreeSet<(bool, u8)>| lengths.into_iter().rev().collect();
        let (inside_lengths, remote_lengths) = (longest_first(inside_lengths), longest_first(remote_lengths));
        Self { list, by_inside, inside_lengths, remotes, remote_lengths, by_outside, outsides, shared, services }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Translation] {
        &self.list
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Translation> {
        self.list.get(place)
    }

    /// Under which translation a host of ours speaks with `remote`.
    #[must_use]
    pub fn of_inside(&self, host: IpAddr, remote: IpAddr) -> Option<Place> {
        let v6 = host.is_ipv6();
        let lengths = self.inside_lengths.iter().filter(|(of, _)| *of == v6);
        let mut places = lengths
            .filter_map(|(_, length)| self.by_inside.get(&(masked(host, *length), tag(v6, *length))))
            .flatten()
            .copied();
        places.find(|place| self.is_remote(*place, remote))
    }

    /// By which name `remote` knows a host of ours, if not by its own.
    #[must_use]
    pub fn outside_name(&self, host: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        self.get(self.of_inside(host, remote)?).map(|translation| translation.outside)
    }

    /// Whether several hosts have this outside address.
    #[must_use]
    pub fn is_shared(&self, outside: IpAddr) -> bool {
        !self.shared.is_empty() && self.shared.contains(&outside)
    }

    /// Which translation has this outside address in a tunnel.
    #[must_use]
    pub fn of_outside(&self, tunnel: TunnelId, outside: IpAddr) -> Option<Place> {
        self.by_outside.get(&(tunnel, outside)).copied()
    }

    /// Whether a host of ours that calls itself `host` towards `remote` uses a name that only the gateway gives.
    #[must_use]
    pub fn is_outside(&self, host: IpAddr, remote: IpAddr) -> bool {
        self.outsides.contains(&host)
            && self
                .list
                .iter()
                .enumerate()
                .any(|(place, translation)| translation.outside == host && self.is_remote(place, remote))
    }

    /// Whether the peer may open this port of the outside address.
    #[must_use]
    pub fn is_service(&self, place: Place, protocol: u8, port: u16) -> bool {
        self.services.contains(&(place, protocol, port))
    }

    fn is_remote(&self, place: Place, remote: IpAddr) -> bool {
        let v6 = remote.is_ipv6();
        let mut lengths = self.remote_lengths.iter().filter(|(of, _)| *of == v6);
        lengths.any(|(_, length)| self.remotes.contains(&(place, masked(remote, *length), tag(v6, *length))))
    }
}

/// Length and family of a prefix in one byte: IPv6 has 129 lengths, IPv4 33.
fn tag(v6: bool, length: u8) -> u8 {
    if v6 { length } else { length + 160 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RuleId;
    use crate::policy::{Inspection, Mode, Service};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rule(tunnel: u16, local: &str, remote: &str, direction: RuleDirection) -> Rule {
        let (local, remote) = (nets(&[local]), nets(&[remote]));
        let (from, to) = if direction == RuleDirection::Outbound { (local, remote) } else { (remote, local) };
        Rule {
            id: RuleId(0),
            name: "r".into(),
            tunnel: TunnelId(tunnel),
            agreement: "a".into(),
            clause: "1".into(),
            purposes: Vec::new(),
            from,
            to,
            service: Service::Mq,
            ports: Vec::new(),
            direction,
            inspection: Inspection::Uninspected,
            mode: Mode::Enforce,
        }
    }

    fn translation(tunnel: u16, inside: &[&str], outside: &str) -> Translation {
        Translation { tunnel: TunnelId(tunnel), inside: nets(inside), outside: ip(outside), inbound: None }
    }

    #[test]
    fn a_host_has_the_name_that_the_tunnel_of_its_partner_gives_it() {
        let rules = [
            rule(1, "192.0.2.10/32", "203.0.113.20/32", RuleDirection::Outbound),
            rule(2, "192.0.2.77/32", "198.51.100.0/28", RuleDirection::Inbound),
        ];
        let list = vec![
            translation(1, &["10.0.0.5/32"], "192.0.2.10"),
            translation(2, &["10.0.0.0/24", "10.1.0.1/32"], "192.0.2.77"),
        ];
        let all = Translations::compile(list, &rules);
        assert_eq!(all.of_inside(ip("10.0.0.5"), ip("203.0.113.20")), Some(0));
        assert_eq!(all.of_inside(ip("10.0.0.5"), ip("198.51.100.7")), Some(1));
        assert_eq!(all.of_inside(ip("10.1.0.1"), ip("198.51.100.7")), Some(1));
        assert_eq!(all.of_inside(ip("10.0.0.6"), ip("203.0.113.20")), None, "another host");
        assert_eq!(all.of_inside(ip("10.0.0.5"), ip("203.0.113.21")), None, "nobody's host");
        assert_eq!(all.of_outside(TunnelId(1), ip("192.0.2.10")), Some(0));
        assert_eq!(all.of_outside(TunnelId(2), ip("192.0.2.10")), None);
        assert!(all.is_outside(ip("192.0.2.10"), ip("203.0.113.20")));
        assert!(!all.is_outside(ip("192.0.2.10"), ip("198.51.100.7")), "another tunnel's name");
        assert!(all.is_service(1, 6, 1414) && !all.is_service(0, 6, 1414) && !all.is_service(1, 17, 1414));
        assert_eq!((all.list()[0].only(), all.list()[1].only()), (Some(ip("10.0.0.5")), None));
        assert!(Translations::default().is_empty());
    }
}
