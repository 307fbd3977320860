//! A file each way through the tunnel, for every pairing of IPv4 and IPv6, raw ESP and ESP in UDP.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use portcullis::lab::capture::Seen;
use portcullis::lab::topology::{Addresses, V4, V6};
use system_common::{Setup, assert_nothing_in_clear, site, tunnel};

const SIZE: usize = 3_000_000;

/// `outside` between the gateways, `inside` between the hosts.
fn carries(test: &str, outside: Addresses, inside: Addresses, udp: bool) {
    let Some(site) = site(test) else { return };
    let mut setup = Setup::between(outside, &[inside]);
    if udp {
        setup = setup.with_tunnel("encapsulation = \"forced\"");
    }
    let watch = site.watch();
    let pair = site.pair(&setup);
    site.exchange(&inside, SIZE);
    for gateway in [&pair.a, &pair.b] {
        let tunnel = tunnel(gateway);
        let way = if udp { "udp" } else { "raw" };
        assert_eq!(tunnel["children"][0]["encapsulation"], way, "{tunnel}");
        for counter in ["bytes_out", "bytes_in"] {
            assert!(tunnel["counters"][counter].as_u64() >= Some(SIZE as u64), "{tunnel}");
        }
    }
    pair.stop();
    let seen = watch.stop().unwrap();
    assert_nothing_in_clear(&seen);
    let protocol = if udp { 17 } else { 50 };
    for (source, destination) in [(outside.gateway_a, outside.gateway_b), (outside.gateway_b, outside.gateway_a)] {
        let count = seen.flows.get(&(source, destination, protocol)).copied().unwrap_or_default();
        assert!(count.bytes > SIZE as u64, "{source} to {destination}: {count:?}");
    }
    assert!(seen.packets(Seen::Ike) >= 4, "{:?}", seen.kinds);
}

#[test]
fn ipv4_in_ipv4_raw_esp() {
    carries("ipv4_in_ipv4_raw_esp", V4, V4, false);
}

#[test]
fn ipv4_in_ipv4_udp() {
    carries("ipv4_in_ipv4_udp", V4, V4, true);
}

#[test]
fn ipv6_in_ipv4_raw_esp() {
    carries("ipv6_in_ipv4_raw_esp", V4, V6, false);
}

#[test]
fn ipv6_in_ipv4_udp() {
    carries("ipv6_in_ipv4_udp", V4, V6, true);
}

#[test]
fn ipv4_in_ipv6_raw_esp() {
    carries("ipv4_in_ipv6_raw_esp", V6, V4, false);
}

#[test]
fn ipv4_in_ipv6_udp() {
    carries("ipv4_in_ipv6_udp", V6, V4, true);
}

#[test]
fn ipv6_in_ipv6_raw_esp() {
    carries("ipv6_in_ipv6_raw_esp", V6, V6, false);
}

#[test]
fn ipv6_in_ipv6_udp() {
    carries("ipv6_in_ipv6_udp", V6, V6, true);
}

#[test]
fn both_families_share_one_tunnel() {
    let Some(site) = site("both_families_share_one_tunnel") else { return };
    let pair = site.pair(&Setup::between(V4, &[V4, V6]));
    site.exchange(&V4, SIZE);
    site.exchange(&V6, SIZE);
    let tunnel = tunnel(&pair.a);
    assert!(tunnel["children"].as_array().map(Vec::len) >= Some(2), "{tunnel}");
    pair.stop();
}
