//! The barrier: which addresses may be reached and heard by the TUN alone, as ranges that neither overlap nor touch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::desired::Desired;

/// What the packet filter holds for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Barrier {
    /// Name of the only device by which packets from and to the ranges may pass. The device need not exist.
    pub tun: String,
    /// Protected IPv4 addresses, first and last of each range.
    pub v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Protected IPv6 addresses, first and last of each range.
    pub v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

impl Barrier {
    /// The barrier that belongs to what is desired.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for protected in &desired.protected {
            match protected.network {
                IpNet::V4(net) => v4.push((u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits()))),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self::from_ranges(desired.tun.clone(), v4, v6)
    }

    fn from_ranges(tun: String, v4: Vec<(u128, u128)>, v6: Vec<(u128, u128)>) -> Self {
        let narrow = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits).expect("it came from an IPv4 address"));
        Self {
            tun,
            v4: merged(v4).into_iter().map(|(first, last)| (narrow(first), narrow(last))).collect(),
            v6: merged(v6).into_iter().map(|(first, last)| (first.into(), last.into())).collect(),
        }
    }

    /// This barrier, grown by what `older` guards: what was protected once stays so until it is released.
    #[must_use]
    pub fn with(self, older: &Self) -> Self {
        let wide = |ranges: &[(Ipv4Addr, Ipv4Addr)]| -> Vec<_> {
            ranges.iter().map(|(first, last)| (u128::from(first.to_bits()), u128::from(last.to_bits()))).collect()
        };
        let bits = |ranges: &[(Ipv6Addr, Ipv6Addr)]| -> Vec<_> {
            ranges.iter().map(|(first, last)| (first.to_bits(), last.to_bits())).collect()
        };
        let v4 = [wide(&self.v4), wide(&older.v4)].concat();
        let v6 = [bits(&self.v6), bits(&older.v6)].concat();
        Self::from_ranges(self.tun, v4, v6)
    }

    /// Whether `address` lies behind the barrier.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.iter().any(|(first, last)| (*first..=*last).contains(&v4)),
            IpAddr::V6(v6) => self.v6.iter().any(|(first, last)| (*first..=*last).contains(&v6)),
        }
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::desired::Protected;
    use proptest::prelude::*;

    fn barrier(networks: &[IpNet]) -> Barrier {
        let protected = networks.iter().map(|net| Protected { network: *net, source: None, mtu: None }).collect();
        Barrier::of(&Desired { tun: "pc0".into(), mtu: 1400, protected })
    }

    #[test]
    fn a_barrier_only_grows() {
        let host = |text: &str| barrier(&[text.parse().unwrap()]);
        let both = host("203.0.113.1/32").with(&host("2001:db8::1/128")).with(&host("203.0.113.2/32"));
        assert_eq!(both.v4, [("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap())]);
        assert_eq!(both.v6, [("2001:db8::1".parse().unwrap(), "2001:db8::1".parse().unwrap())]);
        assert_eq!(both.clone().with(&host("203.0.113.2/32")), both);
    }

    #[test]
    fn neighbouring_hosts_become_one_range() {
        let networks = ["203.0.113.1/32", "203.0.113.3/32", "203.0.113.2/32", "203.0.113.0/30", "198.51.100.7/32"];
        let barrier = barrier(&networks.map(|text| text.parse().unwrap()));
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(barrier.v4, [(ip("198.51.100.7"), ip("198.51.100.7")), (ip("203.0.113.0"), ip("203.0.113.3"))]);
        assert!(barrier.v6.is_empty());
    }

    fn network() -> impl Strategy<Value = IpNet> {
        // Few distinct addresses, so that networks do meet.
        prop_oneof![
            (0_u32..64, 26_u8..=32).prop_map(|(low, len)| {
                IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(u32::MAX - 63 + low)), len).expect("a length for IPv4")
            }),
            (0_u128..64, 122_u8..=128).prop_map(|(low, len)| {
                IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX - 63 + low)), len).expect("a length for IPv6")
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_ranges_hold_exactly_the_networks(networks in proptest::collection::vec(network(), 0..12)) {
            let barrier = barrier(&networks);
            for low in 0..64_u32 {
                for address in [
                    IpAddr::V4(Ipv4Addr::from_bits(u32::MAX - 63 + low)),
                    IpAddr::V6(Ipv6Addr::from_bits(u128::MAX - 63 + u128::from(low))),
                ] {
                    let naive = networks.iter().any(|net| net.contains(&address));
                    prop_assert_eq!(barrier.contains(address), naive, "{}", address);
                }
            }
            for pair in barrier.v4.windows(2) {
                prop_assert!(u64::from(pair[0].1.to_bits()) + 1 < u64::from(pair[1].0.to_bits()));
            }
            for pair in barrier.v6.windows(2) {
                prop_assert!(pair[0].1.to_bits() < pair[1].0.to_bits() - 1);
            }
        }
    }
}
