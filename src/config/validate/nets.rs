//! Which networks of a file meet? Two of them do if one holds the other; looked up by length of prefix, so that a thousand
//! rules are not held against each other one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, each with what it stands for.
#[derive(Debug)]
pub(super) struct Nets<T> {
    by_start: BTreeMap<(IpAddr, u8), Vec<T>>,
    lengths: BTreeSet<(bool, u8)>,
}

impl<T> Default for Nets<T> {
    fn default() -> Self {
        Self { by_start: BTreeMap::new(), lengths: BTreeSet::new() }
    }
}

impl<T: Copy + Ord> Nets<T> {
    pub(super) fn insert(&mut self, net: IpNet, value: T) {
        let net = net.trunc();
        self.lengths.insert((net.addr().is_ipv6(), net.prefix_len()));
        self.by_start.entry((net.addr(), net.prefix_len())).or_default().push(value);
    }

    /// What stands for the networks that meet `net`, each once and in order.
    pub(super) fn meeting(&self, net: IpNet) -> BTreeSet<T> {
        let v6 = net.addr().is_ipv6();
        // Those that lie within it begin within it; those that hold it begin where it does, cut to their length.
        let within = self.by_start.range((net.network(), net.prefix_len())..=(net.broadcast(), u8::MAX));
        let holding = self.lengths.range((v6, 0)..(v6, net.prefix_len())).filter_map(|(_, length)| {
            let wider = IpNet::new(net.addr(), *length).ok()?.trunc();
            self.by_start.get(&(wider.addr(), *length))
        });
        within.map(|(_, values)| values).chain(holding).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network() -> impl Strategy<Value = IpNet> {
        // Few addresses at both ends of their families, so that networks meet and nothing lies beyond them.
        prop_oneof![
            (any::<bool>(), 0_u32..32, 0_u8..=32).prop_map(|(high, low, length)| {
                let bits = if high { u32::MAX - low } else { low };
                IpNet::new(IpAddr::V4(bits.into()), length).unwrap()
            }),
            (0_u128..32, 120_u8..=128).prop_map(|(low, length)| IpNet::new(IpAddr::V6(low.into()), length).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn those_that_meet_are_found_and_no_others(nets in prop::collection::vec(network(), 0..40), asked in network()) {
            let mut all = Nets::default();
            for (at, net) in nets.iter().enumerate() {
                all.insert(*net, at);
            }
            let asked = asked.trunc();
            let meets = |net: &IpNet| net.trunc().contains(&asked) || asked.contains(&net.trunc());
            let naive: BTreeSet<usize> =
                nets.iter().enumerate().filter(|(_, net)| meets(net)).map(|(at, _)| at).collect();
            prop_assert_eq!(all.meeting(asked), naive);
        }
    }
}
