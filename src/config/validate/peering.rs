//! Where the peer is and what it may ask for: `local`, `peer`, `fail_back`, `childless`, `mobike`, `request_address`,
//! `pool`, `dns`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::choice;
use super::tunnel::Tunnel;
use crate::config::Agreement;
use crate::config::problem::Problems;
use crate::config::raw::{self, At, Named, bounded};
use crate::ike::config::{Childless, Peering};

/// Head-ends of one peer. Each may cost ten seconds before the next one is tried.
const MOST_PEERS: usize = 8;
/// Name servers that fit any client.
const MOST_DNS: usize = 4;

/// The addresses of both sides; the peer's in order.
pub(super) fn ends(raw: &raw::Tunnel, problems: &mut Problems) -> (Option<IpAddr>, Option<Vec<IpAddr>>) {
    let local = raw.local.as_ref().and_then(|value| host(value, "local", problems));
    let Some(written) = &raw.peer else { return (local, None) };
    let mut peers: Vec<IpAddr> = Vec::new();
    let mut holds = true;
    for value in written.get_ref() {
        let Some(peer) = host(value, "peer", problems) else {
            holds = false;
            continue;
        };
        if peers.contains(&peer) {
            problems
                .error(&value.span(), "`peer` names this address twice", "again")
                .mend("take one of them out: the order says which head-end is preferred");
            holds = false;
        }
        if let (Some(local), Some(here)) = (local, &raw.local) {
            let (message, mend) = if local.is_ipv4() != peer.is_ipv4() {
                ("`local` and `peer` are of different address families", "write two IPv4 or two IPv6 addresses")
            } else if local == peer {
                ("`local` and `peer` are the same address", "`peer` is the other gateway's address")
            } else {
                peers.push(peer);
                continue;
            };
            problems.error(&value.span(), message, "the peer").also(&here.span(), "this gateway").mend(mend);
            holds = false;
        } else {
            peers.push(peer);
        }
    }
    if peers.len() > MOST_PEERS {
        problems
            .error(&written.span(), format!("`peer` names more than {MOST_PEERS} head-ends"), "this list")
            .mend("name fewer: they are tried one after the other");
        holds = false;
    }
    if holds { (local, Some(peers)) } else { (None, None) }
}

/// The address of one host in the underlay.
fn host(value: &At<String>, key: &str, problems: &mut Problems) -> Option<IpAddr> {
    let parsed: Result<IpAddr, _> = value.get_ref().parse();
    let (message, mend) = match parsed {
        Ok(address) if address.is_unspecified() || address.is_multicast() || is_broadcast(address) => {
            (format!("`{key}` is not the address of a host"), "write the address of one gateway".to_owned())
        }
        Ok(address) => return Some(address),
        Err(_) => (
            format!("`{key}` is not an address"),
            "write an IPv4 or IPv6 address, such as 203.0.113.5; names are not looked up, because whoever answers \
             the look-up would choose the peer"
                .to_owned(),
        ),
    };
    problems.error(&value.span(), message, "this value").mend(mend);
    None
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// Everything else.
pub(super) fn check(
    raw: &raw::Tunnel,
    peers: Option<Vec<IpAddr>>,
    agreement: Option<&Agreement>,
    problems: &mut Problems,
) -> Option<Peering> {
    let default = Peering::default();
    let several = raw.peer.as_ref().is_some_and(|peers| peers.get_ref().len() > 1);
    if let (true, None, Some(written)) = (several, &raw.peer_id, &raw.peer) {
        problems
            .error(&written.span(), "a peer with several addresses has no `peer_id`", "these are several")
            .mend("add `peer_id`: the identity that every head-end proves, such as \"gw.example.com\"");
        return None;
    }
    let fail_back = match &raw.fail_back {
        Some(seconds) => {
            if !several {
                problems
                    .warning(&seconds.span(), "`fail_back` has no meaning", "`peer` is one address")
                    .mend("take it out, or name several head-ends in `peer`");
            }
            if *seconds.get_ref() == 0 {
                Some(None)
            } else {
                bounded("fail_back", seconds, 5..=86_400, problems).map(|seconds| Some(Duration::from_secs(seconds)))
            }
        }
        None => Some(default.fail_back),
    };
    let childless = match &raw.childless {
        Some(word) => {
            let words = [("allow", Childless::Allow), ("prefer", Childless::Prefer), ("off", Childless::Off)];
            choice("childless", word, &words, problems)
        }
        None => Some(default.childless),
    };
    let is = |key: &Option<At<bool>>| key.as_ref().is_some_and(|key| *key.get_ref());
    let (pool, dns) = (pool(raw, problems), dns(raw, problems));
    if let (true, Some(asked), Some(pool)) = (is(&raw.request_address), &raw.request_address, &raw.pool) {
        problems
            .error(&asked.span(), "`request_address` and `pool` exclude each other", "asks the peer for an address")
            .also(&pool.span(), "has addresses for the peer")
            .mend("keep one of them: one side hands out, the other one asks");
    }
    if let (true, Some(mobike), false, Some(agreement)) = (is(&raw.mobike), &raw.mobike, several, agreement)
        && !agreement.lab
    {
        problems
            .error(
                &mobike.span(),
                format!("agreement `{}` names the peer's addresses, and `peer` is one of them", agreement.name),
                "there is nowhere to move to",
            )
            .mend(
                "take it out, or list in `peer` every address that the agreement names: the peer may move among them",
            );
        return None;
    }
    Some(Peering {
        others: peers?.split_off(1),
        fail_back: fail_back?,
        childless: childless?,
        mobike: is(&raw.mobike),
        request_address: is(&raw.request_address),
        pool: pool?,
        dns: dns?,
    })
}

fn pool(raw: &raw::Tunnel, problems: &mut Problems) -> Option<Vec<IpNet>> {
    let mut pool: Vec<IpNet> = Vec::new();
    let Some(written) = &raw.pool else { return Some(pool) };
    for text in written.get_ref() {
        let parsed = text.get_ref().parse::<IpNet>().or_else(|_| text.get_ref().parse::<IpAddr>().map(IpNet::from));
        let message = match parsed {
            Ok(net) if net.trunc() != net => "`pool` has bits beyond its length",
            Ok(net) if pool.iter().any(|other| other.addr().is_ipv4() == net.addr().is_ipv4()) => {
                "`pool` has two networks of one address family"
            }
            Ok(net) => {
                pool.push(net);
                continue;
            }
            Err(_) => "`pool` is not a network",
        };
        problems
            .error(&text.span(), message, "this value")
            .mend("write a network such as \"10.9.0.0/24\", or one of each address family in a list");
        return None;
    }
    Some(pool)
}

fn dns(raw: &raw::Tunnel, problems: &mut Problems) -> Option<Vec<IpAddr>> {
    let Some(written) = &raw.dns else { return Some(Vec::new()) };
    if raw.pool.is_none() {
        problems
            .error(&written.span(), "`dns` without `pool`", "name servers go with an address")
            .mend("add `pool`, or take `dns` out");
    }
    if written.get_ref().len() > MOST_DNS {
        problems
            .error(&written.span(), format!("`dns` names more than {MOST_DNS} servers"), "this list")
            .mend("name fewer");
    }
    let servers: Vec<_> = written.get_ref().iter().filter_map(|text| host(text, "dns", problems)).collect();
    (servers.len() == written.get_ref().len()).then_some(servers)
}

/// Checks the tunnels beside each other: a datagram must tell which tunnel it belongs to.
pub(super) fn check_together(raw: &[Named<raw::Tunnel>], tunnels: &[Option<Tunnel>], problems: &mut Problems) {
    let mut joined: BTreeMap<(IpAddr, IpAddr), (&Named<raw::Tunnel>, &Tunnel)> = BTreeMap::new();
    for (named, tunnel) in raw.iter().zip(tunnels) {
        let Some(tunnel) = tunnel else { continue };
        let first = tunnel.peers().find_map(|peer| joined.get(&(tunnel.local, peer)));
        if let Some((first, other)) = first
            && let (Some(here), Some(there)) = (&named.body.peer, &first.body.peer)
        {
            problems
                .error(
                    &here.span(),
                    format!("tunnels `{}` and `{}` join the same two addresses", other.name, tunnel.name),
                    "this peer",
                )
                .also(&there.span(), "is that of this tunnel too")
                .mend("make one tunnel of them: a tunnel takes any number of rules");
        }
        for peer in tunnel.peers() {
            joined.entry((tunnel.local, peer)).or_insert((named, tunnel));
        }
    }
}

impl Tunnel {
    /// Every address of the peer.
    pub(in crate::config) fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        std::iter::once(self.peer).chain(self.peering.others.iter().copied())
    }
}
