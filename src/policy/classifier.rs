//! The compiled table: as fast with a thousand rules as with one.
//!
//! Rules are disjoint, so at most one fits a flow and their order means nothing. Addresses are looked up in the manner
//! of tuple space search: one hash lookup for each distinct pair of prefix lengths, and a table of hosts has just one.

use std::collections::HashMap;
use std::net::IpAddr;

use ahash::RandomState;
use ipnet::IpNet;

use super::rule::{ICMP, ICMPV6, TCP, UDP};
use super::snapshot::Allowed;
use crate::ids::{RuleId, TunnelId};

/// A flow as seen from the gateway and not from its sender: who is on which side, and what is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The host on our side.
    pub local: IpAddr,
    /// The host on the peer's side.
    pub remote: IpAddr,
    /// Whether the side that opens is ours.
    pub opener_is_local: bool,
    /// IP protocol.
    pub protocol: u8,
    /// The port that is opened; 0 for echo.
    pub port: u16,
}

/// What the table holds for one combination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) allowed: Allowed,
    pub(super) enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    local: u128,
    remote: u128,
    rest: u64,
}

/// The lengths of a pair of prefixes of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lengths {
    v6: bool,
    local: u8,
    remote: u8,
}

/// The tables; the keys come from the configuration, so a fixed seed is no weakness.
#[derive(Debug)]
pub(super) struct Classifier {
    flows: HashMap<Key, Entry, RandomState>,
    pairs: HashMap<Key, Near, RandomState>,
    lengths: Vec<Lengths>,
    remotes: HashMap<(u128, u8), TunnelId, RandomState>,
    remote_lengths: Vec<(bool, u8)>,
}

/// The first rule between two networks for each kind of protocol: TCP, UDP, echo.
#[derive(Clone, Copy, Debug, Default)]
struct Near([Option<RuleId>; 3]);

impl Near {
    fn kind(protocol: u8) -> usize {
        match protocol {
            TCP => 0,
            UDP => 1,
            _ => 2,
        }
    }

    fn nearest(&self, protocol: u8) -> Option<RuleId> {
        self.0.get(Self::kind(protocol)).copied().flatten().or_else(|| self.0.iter().copied().flatten().next())
    }
}

impl Default for Classifier {
    fn default() -> Self {
        let seed = || RandomState::with_seeds(1, 2, 3, 4);
        Self {
            flows: HashMap::with_hasher(seed()),
            pairs: HashMap::with_hasher(seed()),
            lengths: Vec::new(),
            remotes: HashMap::with_hasher(seed()),
            remote_lengths: Vec::new(),
        }
    }
}

impl Classifier {
    /// Adds one combination of a rule. Both networks are of one family and have no host bits set.
    pub(super) fn insert(&mut self, local: IpNet, remote: IpNet, protocol: u8, port: u16, entry: Entry) {
        let lengths = Lengths { v6: local.network().is_ipv6(), local: local.prefix_len(), remote: remote.prefix_len() };
        if let Err(at) = self.lengths.binary_search_by(|other| lengths.cmp(other)) {
            self.lengths.insert(at, lengths);
        }
        let remote_length = (lengths.v6, lengths.remote);
        if let Err(at) = self.remote_lengths.binary_search_by(|other| remote_length.cmp(other)) {
            self.remote_lengths.insert(at, remote_length);
        }
        let opening = Opening {
            local: local.network(),
            remote: remote.network(),
            opener_is_local: entry.allowed.opener_is_local,
            protocol,
            port,
        };
        self.flows.insert(lengths.key(&opening), entry);
        let near = self.pairs.entry(lengths.pair_key(opening.local, opening.remote)).or_default();
        if let Some(slot) = near.0.get_mut(Near::kind(protocol)) {
            slot.get_or_insert(entry.allowed.rule);
        }
        self.remotes
            .entry((masked(opening.remote, lengths.remote), tag(remote_length)))
            .or_insert(entry.allowed.tunnel);
    }

    /// The one entry that fits.
    #[inline]
    pub(super) fn find(&self, opening: &Opening) -> Option<&Entry> {
        self.fitting(opening.local, opening.remote).find_map(|lengths| self.flows.get(&lengths.key(opening)))
    }

    /// A rule between the same hosts, one of the same protocol if there is one.
    pub(super) fn near(&self, local: IpAddr, remote: IpAddr, protocol: u8) -> Option<RuleId> {
        let pair = self.fitting(local, remote).find_map(|lengths| self.pairs.get(&lengths.pair_key(local, remote)));
        pair.and_then(|near| near.nearest(protocol))
    }

    /// The tunnel that protects a host on the peer's side.
    pub(super) fn protecting(&self, remote: IpAddr) -> Option<TunnelId> {
        let lengths = self.remote_lengths.iter().filter(|(v6, _)| *v6 == remote.is_ipv6());
        lengths.copied().find_map(|length| self.remotes.get(&(masked(remote, length.1), tag(length))).copied())
    }

    fn fitting(&self, local: IpAddr, remote: IpAddr) -> impl Iterator<Item = Lengths> + '_ {
        let v6 = local.is_ipv6();
        let one_family = v6 == remote.is_ipv6();
        self.lengths.iter().copied().filter(move |lengths| one_family && lengths.v6 == v6)
    }
}

impl Lengths {
    fn key(self, opening: &Opening) -> Key {
        let pair = self.pair_key(opening.local, opening.remote);
        let rest = u64::from(opening.port)
            | u64::from(opening.protocol) << 16
            | u64::from(opening.opener_is_local) << 24
            | pair.rest;
        Key { rest, ..pair }
    }

    fn pair_key(self, local: IpAddr, remote: IpAddr) -> Key {
        let rest = u64::from(self.local) << 32 | u64::from(self.remote) << 40 | u64::from(self.v6) << 48;
        Key { local: masked(local, self.local), remote: masked(remote, self.remote), rest }
    }
}

/// Length and family of a prefix in one byte: IPv6 has 129 lengths, IPv4 33.
fn tag((v6, length): (bool, u8)) -> u8 {
    if v6 { length } else { length + 160 }
}

/// The first `length` bits of an address.
pub(super) fn masked(address: IpAddr, length: u8) -> u128 {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            u128::from(address.to_bits() & mask)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            address.to_bits() & mask
        }
    }
}

/// Whether a packet of this protocol can open a flow: ICMP does so by an echo request alone.
pub(super) fn opened_port(protocol: u8, source_port: u16, destination_port: u16) -> Option<u16> {
    match (protocol, source_port, destination_port) {
        (ICMP, 8, 0) | (ICMPV6, 128, 0) => Some(0),
        (ICMP | ICMPV6, ..) => None,
        (_, _, port) => Some(port),
    }
}
