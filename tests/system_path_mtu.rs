//! The path's MTU in both directions: it falls in mid-flow, the routes follow, hosts are told, and lies are not believed
//! (RFC 1191, RFC 8201, RFC 4301 §8).
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use portcullis::crypto::suite::Cipher;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::mtu::{Outer, inner_mtu};
use portcullis::esp::transform::PacketShape;
use portcullis::guard::routes::Way as RouteWay;
use portcullis::lab::topology::{Addresses, V4, V6};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};
use portcullis::platform::packet::PacketRing;
use portcullis::platform::udp::UdpSocket as Prober;
use portcullis::wire::checksum::checksum;
use socket2::{Domain, Protocol, Socket, Type};
use system_common::{PATIENCE, Pair, Setup, Side, Site, Way, drops, rule, site, tunnel, wait_until};

const UDP_PORT: u16 = 7000;

/// The inner MTU over a path.
fn inner(path: u16, outside: Addresses, udp: bool) -> u32 {
    let outer = Outer { v6: outside.gateway_a.is_ipv6(), udp };
    u32::from(inner_mtu(path, outer, PacketShape::of(Cipher::Aes256Gcm16, None)))
}

/// From here on the underlay passes no packet above `mtu` to that gateway.
fn narrow(site: &Site, side: Side, outside: Addresses, mtu: u16) {
    let (link, gateway) = if side == Side::A { ("to-a", outside.gateway_a) } else { ("to-b", outside.gateway_b) };
    let set = || {
        let mut netlink = Netlink::open()?;
        let device = netlink.index_of(link)?;
        netlink.replace_route(&Route { mtu: Some(mtu.into()), ..Route::by_device(gateway.into(), device) })
    };
    site.topology.underlay.run(set).unwrap().expect("a route of the underlay");
}

/// The MTU of the routes into the TUN.
fn route_mtu(site: &Site, side: Side) -> Vec<Option<u32>> {
    site.standing(side).routes.iter().filter(|route| route.way == RouteWay::Tun).map(|route| route.mtu).collect()
}

fn with_udp(setup: Setup, inside: Addresses) -> Setup {
    let end = [Side::A, Side::B]
        .map(|side| rule(side, "u", inside.host_a, inside.host_b, &format!("service = \"udp\"\nudp = [{UDP_PORT}]")));
    Setup { end, ..setup }
}

/// The MTU that an ICMP error on its way to host A names.
fn told(ring: &mut PacketRing) -> Option<u32> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let mtu = ring.next(Duration::from_millis(50), |frame| {
            let packet = frame.bytes.get(14..)?;
            match (frame.bytes.get(12..14)?, packet.get(9)?, packet.get(6)?) {
                ([0x08, 0x00], 1, _) if packet.get(20..22)? == [3, 4] => {
                    Some(u32::from(u16::from_be_bytes(*packet.get(26..)?.first_chunk()?)))
                }
                ([0x86, 0xdd], _, 58) if *packet.get(40)? == 2 => {
                    Some(u32::from_be_bytes(*packet.get(44..)?.first_chunk()?))
                }
                _ => None,
            }
        });
        if let Some(Some(mtu)) = mtu.unwrap() {
            return Some(mtu);
        }
    }
    None
}

fn follows(test: &str, outside: Addresses, inside: Addresses, udp: bool, [there, back]: [u16; 2]) {
    let Some(site) = site(test) else { return };
    let mut setup = with_udp(Setup::between(outside, &[inside]), inside);
    if udp {
        setup = setup.with_tunnel("encapsulation = \"forced\"");
    }
    let pair = site.pair(&setup);
    for side in [Side::A, Side::B] {
        let wide = Some(inner(1500, outside, udp));
        assert!(wait_until(|| route_mtu(&site, side) == [wide]), "{:?}", route_mtu(&site, side));
    }

    // In the middle of each file the path in its direction becomes narrower, and the connection goes on.
    site.exchange_and(&inside, 2_000_000, |way| match way {
        Way::There => narrow(&site, Side::B, outside, there),
        Way::Back => narrow(&site, Side::A, outside, back),
    });
    let expected = [inner(there, outside, udp), inner(back, outside, udp)];
    for (side, expected) in [Side::A, Side::B].into_iter().zip(expected) {
        assert_eq!(route_mtu(&site, side), [Some(expected)], "{side:?}\n{}", pair.logs());
    }

    // A host that sends more is told what fits: one that has not heard of it yet, and forbids fragments.
    let mut ring = site.topology.host_a.run(|| PacketRing::open(1)).unwrap().unwrap();
    let mut from = site.topology.host_a.run(|| Prober::bind(inside.host_a, UDP_PORT)).unwrap().unwrap();
    let headers = if inside.host_a.is_ipv4() { 28 } else { 48 };
    let fits = expected[0] as usize - headers;
    let mut send = |length| {
        let mut batch = Batch::new(1, 2048);
        let path = Path { local: (inside.host_a, UDP_PORT).into(), remote: (inside.host_b, UDP_PORT).into(), tos: 0 };
        batch.vacant().unwrap()[..length].fill(7);
        batch.push(length, 0, Some(path));
        from.send_batch(&batch, 0);
    };
    send(fits + 1);
    assert_eq!(told(&mut ring), Some(expected[0]));

    // And what fits to the byte arrives.
    let to = site.topology.host_b.run(|| UdpSocket::bind((inside.host_b, UDP_PORT))).unwrap().unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    send(fits);
    let mut buffer = vec![0; 2000];
    let length = to.recv(&mut buffer).expect("a packet of the whole MTU arrives");
    assert_eq!(buffer[..length], vec![7; fits]);
    assert_eq!(drops(&pair.a, "send-failed"), 0);
    pair.stop();
}

#[test]
fn a_narrower_path_is_followed_both_ways_in_udp_over_ipv4() {
    follows("a_narrower_path_is_followed_both_ways_in_udp_over_ipv4", V4, V4, true, [1400, 1300]);
}

#[test]
fn a_narrower_path_is_followed_both_ways_in_raw_esp_over_ipv4() {
    follows("a_narrower_path_is_followed_both_ways_in_raw_esp_over_ipv4", V4, V6, false, [1400, 1360]);
}

#[test]
fn a_narrower_path_is_followed_both_ways_in_udp_over_ipv6() {
    follows("a_narrower_path_is_followed_both_ways_in_udp_over_ipv6", V6, V6, true, [1420, 1390]);
}

#[test]
fn a_narrower_path_is_followed_both_ways_in_raw_esp_over_ipv6() {
    follows("a_narrower_path_is_followed_both_ways_in_raw_esp_over_ipv6", V6, V4, false, [1400, 1280]);
}

/// RFC 792, RFC 1191 §4: "fragmentation needed", as if a router on the path had refused this ESP packet of gateway A.
fn report(udp: bool, spi: u32, sequence: u32, mtu: u16) -> Vec<u8> {
    let octets = |address| if let IpAddr::V4(v4) = address { v4.octets() } else { unreachable!("IPv4 only") };
    let mut quoted = vec![0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 63, if udp { 17 } else { 50 }, 0, 0];
    quoted.extend(octets(V4.gateway_a));
    quoted.extend(octets(V4.gateway_b));
    let sum = checksum(&quoted).to_be_bytes();
    quoted[10..12].copy_from_slice(&sum);
    if udp {
        quoted.extend([0x11, 0x94, 0x11, 0x94, 0x05, 0xc8, 0, 0]);
    }
    quoted.extend(spi.to_be_bytes());
    quoted.extend(sequence.to_be_bytes());
    quoted.extend([0x5a; 20]);
    let mut out = vec![3, 4, 0, 0, 0, 0];
    out.extend(mtu.to_be_bytes());
    out.extend(quoted);
    let sum = checksum(&out).to_be_bytes();
    out[2..4].copy_from_slice(&sum);
    out
}

fn lies(test: &str, udp: bool) {
    let Some(site) = site(test) else { return };
    let encapsulation = if udp { "encapsulation = \"forced\"" } else { "" };
    let mut setup = Setup::default().with_tunnel(encapsulation);
    // One side calls: there is one child SA, and no twin of it.
    setup.tunnel[1].push_str("start = \"manual\"");
    let pair = site.pair(&setup);
    site.exchange(&V4, 300_000);
    let spi = outbound_spi(&pair);
    let send = |place: &Namespace, message: &[u8]| {
        let socket = place.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))).unwrap().unwrap();
        socket.send_to(message, &SocketAddr::new(V4.gateway_a, 0).into()).unwrap();
    };
    let wide = vec![Some(inner(1500, V4, udp))];
    for (what, spi, sequence) in [
        ("an SPI that is not ours", spi ^ 0x0100, 1),
        ("no SPI", 0, 1),
        ("a sequence number that is still to come", spi, 0x0010_0000),
        ("sequence number zero", spi, 0),
    ] {
        send(&site.topology.underlay, &report(udp, spi, sequence, 700));
        site.exchange(&V4, 50_000);
        assert_eq!(route_mtu(&site, Side::A), wide, "{what}");
    }
    // The same message with a sequence number that was sent: it would have been heard. The floor holds.
    send(&site.topology.underlay, &report(udp, spi, 1, 68));
    let floor = vec![Some(inner(576, V4, udp))];
    assert!(wait_until(|| route_mtu(&site, Side::A) == floor), "{:?}\n{}", route_mtu(&site, Side::A), pair.logs());
    site.exchange(&V4, 50_000);
    pair.stop();
}

fn outbound_spi(pair: &Pair) -> u32 {
    let tunnel = tunnel(&pair.a);
    let text = tunnel["children"][0]["spis"][1].as_str().expect("an SPI");
    u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("in hexadecimal")
}

#[test]
fn a_report_that_quotes_no_packet_of_ours_changes_nothing_in_udp() {
    lies("a_report_that_quotes_no_packet_of_ours_changes_nothing_in_udp", true);
}

#[test]
fn a_report_that_quotes_no_packet_of_ours_changes_nothing_in_raw_esp() {
    lies("a_report_that_quotes_no_packet_of_ours_changes_nothing_in_raw_esp", false);
}
