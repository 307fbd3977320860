//! Traffic selectors and the table of rules, against asking them of every point by itself.
//!
//! An input is three bytes (how many selectors are offered for each side, how many shapes and rules there are), then five for each
//! selector, seven for each rule, and four for each packet that is asked about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis::event::FlowKey;
use portcullis::ids::{RuleId, ShapeId, TunnelId};
use portcullis::policy::narrow::{Chosen, choose, is_subset, narrow};
use portcullis::policy::spd::{self, Answer};
use portcullis::policy::{
    Classified, Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TrafficSelector, TunnelPolicy,
};
use portcullis::wire::ike::payload::SelectorEntry;
use portcullis::wire::ip::{ICMP, ICMPV6, TCP, UDP};

/// Packets that are asked about.
const MOST_PACKETS: usize = 32;
/// Hosts of each family.
const HOSTS: u8 = 4;
/// What a selector or a packet may name; 50 has no ports that can be seen.
const PROTOCOLS: [u8; 6] = [0, TCP, UDP, ICMP, ICMPV6, 50];
const PORTS: [u16; 7] = [0, 1, 0x0800, 0x08ff, 8000, u16::MAX - 1, u16::MAX];

/// A packet, as one side of it is seen.
#[derive(Clone, Copy, Debug)]
struct Point {
    address: IpAddr,
    protocol: u8,
    /// `None`: it cannot be seen.
    port: Option<u16>,
}

/// Reads the lists, and asks.
pub fn lists(data: &[u8]) {
    let Some(([offered, shapes, rules], mut rest)) = data.split_first_chunk() else { return };
    let mut selectors =
        |count: u8| (0..count % 4).map_while(|_| take::<5>(&mut rest)).map(selector).collect::<Vec<TrafficSelector>>();
    let (local, remote) = (selectors(offered & 15), selectors(offered >> 4));
    let (ours, theirs) = (selectors(shapes & 15), selectors(shapes >> 4));
    local.first().into_iter().for_each(shown);
    meet(&local, &remote);
    narrowed(&local, &ours);
    chosen(&local, &remote, &ours, &theirs);
    table((0..rules % 7).map_while(|_| take::<7>(&mut rest)).collect(), rest);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(*bytes)
}

fn host(v6: bool, number: u8) -> IpAddr {
    let number = number % HOSTS;
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10 + u16::from(number)).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 16 + number).into()
    }
}

fn port(choice: u8) -> u16 {
    PORTS[usize::from(choice) % PORTS.len()]
}

fn selector([what, first, last, start, end]: [u8; 5]) -> TrafficSelector {
    let (first_port, last_port) = if what & 8 == 0 { (0, u16::MAX) } else { (port(first), port(last)) };
    let family = |bit| what & bit != 0;
    TrafficSelector {
        protocol: PROTOCOLS[usize::from(what & 7) % 6],
        first_port,
        last_port,
        start: host(family(0x80), start),
        end: host(family(0x80) != family(0x40), end),
    }
}

fn points() -> impl Iterator<Item = Point> {
    let addresses = [false, true].into_iter().flat_map(|v6| (0..HOSTS).map(move |number| host(v6, number)));
    let seen = |protocol: u8| PORTS.map(move |port| (protocol, Some(port)));
    let kinds = [TCP, UDP, ICMP].into_iter().flat_map(seen).chain([(50, None)]);
    addresses.flat_map(move |address| kinds.clone().map(move |(protocol, port)| Point { address, protocol, port }))
}

/// RFC 4301 §4.4.1.1, RFC 7296 §3.13.1.
fn holds(selector: &TrafficSelector, point: Point) -> bool {
    let TrafficSelector { protocol, first_port, last_port, start, end } = *selector;
    let ports = match point.port {
        _ if (first_port, last_port) == (0, u16::MAX) => true,
        None => (first_port, last_port) == (u16::MAX, 0),
        Some(port) => first_port <= port && port <= last_port,
    };
    let address = match (start, end, point.address) {
        (IpAddr::V4(start), IpAddr::V4(end), IpAddr::V4(address)) => start <= address && address <= end,
        (IpAddr::V6(start), IpAddr::V6(end), IpAddr::V6(address)) => start <= address && address <= end,
        _ => false,
    };
    ports && address && (protocol == 0 || protocol == point.protocol)
}

/// A packet whose source is the point, or whose destination.
fn packet(point: Point, source: bool) -> FlowKey {
    let port = point.port.unwrap_or_default();
    // Type and code of ICMP are the same from both sides.
    let icmp = [ICMP, ICMPV6].contains(&point.protocol);
    let ports = match (icmp, source) {
        (true, _) => (port >> 8, port & 0xff),
        (false, true) => (port, 4500),
        (false, false) => (4500, port),
    };
    let (near, far) = (point.address, host(point.address.is_ipv6(), 0));
    let (from, to) = if source { (near, far) } else { (far, near) };
    FlowKey { protocol: point.protocol, source: from, source_port: ports.0, destination: to, destination_port: ports.1 }
}

/// In words: where it begins, and where it ends if that is elsewhere.
fn shown(one: &TrafficSelector) {
    let text = one.to_string();
    assert!(text.starts_with(&one.start.to_string()), "{text}");
    assert!(one.start == one.end || text.contains(['-', '/']), "{text}");
}

/// Two selectors hold in common what both hold.
fn meet(some: &[TrafficSelector], others: &[TrafficSelector]) {
    for one in some.iter().chain(others) {
        if one.is_valid() {
            assert!(one.covers(one) && one.intersect(one) == Some(*one));
            let range = one.to_wire().expect("one family");
            assert_eq!(TrafficSelector::from_entries(&[SelectorEntry::Range(range)]), [*one]);
            for point in points() {
                let expected = holds(one, point);
                assert_eq!(one.contains_source(&packet(point, true)), expected, "{one} and {point:?}");
                assert_eq!(one.contains_destination(&packet(point, false)), expected, "{one} and {point:?}");
            }
        }
        for other in some.iter().chain(others) {
            let common = one.intersect(other);
            assert_eq!(common, other.intersect(one));
            if !one.is_valid() || !other.is_valid() {
                assert_eq!(common, None, "of nothing");
                continue;
            }
            assert!(common.is_none_or(|common| common.is_valid() && one.covers(&common) && other.covers(&common)));
            let both = |point| holds(one, point) && holds(other, point);
            assert!(points().all(|point| common.is_some_and(|common| holds(&common, point)) == both(point)));
            if one.covers(other) {
                assert!(
                    points().all(|point| !holds(other, point) || holds(one, point)),
                    "{one} does not cover {other}"
                );
            }
        }
    }
}

/// RFC 7296 §2.9: what is left is in the offer and in what is allowed, and all of it.
fn narrowed(offered: &[TrafficSelector], allowed: &[TrafficSelector]) {
    let left = narrow(offered, allowed);
    assert!(left.is_empty() || is_subset(&left, offered) && is_subset(&left, allowed));
    let among = |list: &[TrafficSelector], point| list.iter().any(|one| one.is_valid() && holds(one, point));
    assert!(points().all(|point| among(&left, point) == (among(offered, point) && among(allowed, point))));
}

/// §2.9: the shape that holds the first selectors of both sides, else one that they meet, else any.
fn chosen(local: &[TrafficSelector], remote: &[TrafficSelector], ours: &[TrafficSelector], theirs: &[TrafficSelector]) {
    let shapes = || (0..).map(ShapeId).zip(ours.iter().zip(theirs)).map(|(id, (local, remote))| (id, *local, *remote));
    let meets = |offered: &[TrafficSelector], shape: &TrafficSelector| -> u8 {
        match offered.first() {
            Some(first) if shape.covers(first) => 2,
            Some(first) => u8::from(shape.intersect(first).is_some()),
            None => 0,
        }
    };
    let rank =
        |(_, own, peers): &(ShapeId, TrafficSelector, TrafficSelector)| meets(local, own).min(meets(remote, peers));
    let possible = |(_, own, peers): &(ShapeId, TrafficSelector, TrafficSelector)| {
        local.iter().any(|offer| offer.intersect(own).is_some())
            && remote.iter().any(|offer| offer.intersect(peers).is_some())
    };
    let best = shapes().filter(possible).map(|shape| rank(&shape)).max();
    let expected = shapes().filter(possible).find(|shape| Some(rank(shape)) == best);
    let expected = expected.map(|(shape, own, peers)| Chosen {
        shape,
        local: narrow(local, &[own]),
        remote: narrow(remote, &[peers]),
    });
    assert_eq!(choose(local, remote, shapes()), expected);
}

/// Rules that compile are read as they stand, from top to bottom, for each packet.
fn table(lines: Vec<[u8; 7]>, mut rest: &[u8]) {
    let rules: Vec<Rule> = (0..).zip(lines).map(|(number, line)| rule(number, line)).collect();
    let tunnels: Vec<TunnelPolicy> = (0..2).map(tunnel).collect();
    let Ok(policy) = Snapshot::compile(rules.clone(), tunnels.clone(), None) else { return };
    for _ in 0..MOST_PACKETS {
        let Some([what, hosts, from, to]) = take::<4>(&mut rest) else { break };
        let (v6, outbound) = (what & 0x80 != 0, what & 0x40 != 0);
        let protocol = PROTOCOLS[usize::from(what & 7) % 6];
        let echo = [ICMP, ICMPV6].contains(&protocol);
        let number = |choice: u8| {
            let numbers = if echo { [8, 128, 0, 3, 8] } else { OPENED };
            numbers[usize::from(choice) % numbers.len()]
        };
        let key = FlowKey {
            protocol,
            source: host(v6, hosts & 15),
            source_port: number(from),
            destination: host(v6, hosts >> 4),
            destination_port: if echo { u16::from(to & 1) } else { number(to) },
        };
        let classified = policy.classify(outbound, &key);
        assert_eq!(Answer::from(classified), spd::classify(&rules, &tunnels, outbound, &key), "{key:?}");
        let Classified::Allow(allowed) = classified else { continue };
        let fitting = |rule: &Rule| {
            let alone = spd::classify(std::slice::from_ref(rule), &tunnels, outbound, &key);
            alone == Answer::Allow(rule.id)
        };
        assert_eq!(rules.iter().filter(|rule| fitting(rule)).count(), 1, "two rules allow {key:?}");
        let shape = policy.shape(allowed.shape).expect("the shape of a rule");
        let (source, destination) = if outbound { (shape.local, shape.remote) } else { (shape.remote, shape.local) };
        assert!(source.contains_source(&key) && destination.contains_destination(&key), "not in its child SA: {key:?}");
        assert_eq!(shape.tunnel, allowed.tunnel);
    }
}

/// Ports that rules open.
const OPENED: [u16; 5] = [22, 443, 1414, 8443, 40_000];

fn tunnel(number: u16) -> TunnelPolicy {
    let selectors = if number == 0 { SelectorMode::Host } else { SelectorMode::Service };
    TunnelPolicy { id: TunnelId(number), name: format!("t{number}"), selectors, lanes: 1, enabled: true }
}

fn rule(number: u16, [what, from, to, more_from, more_to, ports, with]: [u8; 7]) -> Rule {
    let service = [Service::Tcp, Service::Udp, Service::Echo, Service::Mq, Service::Sftp, Service::Tls]
        [usize::from(what & 7) % 6];
    let network = |choice: u8| {
        let bits = if choice & 0x80 == 0 { 0 } else { choice >> 4 & 3 };
        let v6 = choice & 0x40 != 0;
        let length = if v6 { 128 - bits } else { 32 - bits };
        format!("{}/{length}", host(v6, choice & 7 & (0xff << bits))).parse().expect("a network")
    };
    let hosts = |one: u8, more: u8| match more {
        0 => vec![network(one)],
        more => vec![network(one), network(more)],
    };
    let opened = OPENED.iter().enumerate().filter(|(place, _)| ports & 1 << place != 0).map(|(_, port)| *port);
    Rule {
        id: RuleId(number),
        name: format!("rule {number}"),
        tunnel: TunnelId(u16::from(with & 1)),
        agreement: "lab".into(),
        clause: "1".into(),
        purposes: Vec::new(),
        from: hosts(from, more_from),
        to: hosts(to, more_to),
        service,
        ports: if service == Service::Echo { Vec::new() } else { opened.collect() },
        direction: if with & 2 == 0 { RuleDirection::Outbound } else { RuleDirection::Inbound },
        inspection: Inspection::of(service),
        mode: Mode::Enforce,
    }
}
