//! The capture that says "nothing in clear" is itself measured: frames forged by one library, counted by another.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pnet::datalink::{self, Channel, Config};
use pnet::packet::Packet as _;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::udp::MutableUdpPacket;
use pnet::util::MacAddr;
use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::topology::{V4, inner_networks};

mod lab_common;

const FRAMES: u64 = 200;

/// A UDP datagram in clear from host A to host B, as a broken gateway would let it out.
fn leaked_frame() -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (V4.host_a, V4.host_b) else { unreachable!("they are IPv4") };
    let mut frame = vec![0; 14 + 20 + 8 + 4];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).unwrap();
    ethernet.set_destination(MacAddr::broadcast());
    ethernet.set_source(MacAddr::new(2, 0, 0, 0, 0, 1));
    ethernet.set_ethertype(EtherTypes::Ipv4);
    let mut ip = MutableIpv4Packet::new(&mut frame[14..]).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(32);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
    ip.set_source(source);
    ip.set_destination(destination);
    let sum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    let mut udp = MutableUdpPacket::new(&mut frame[34..]).unwrap();
    udp.set_source(9999);
    udp.set_destination(1414);
    udp.set_length(12);
    frame
}

fn interface(name: &str) -> datalink::NetworkInterface {
    datalink::interfaces().into_iter().find(|interface| interface.name == name).unwrap()
}

#[test]
fn every_leaked_frame_is_counted_as_an_independent_sniffer_counts_it() {
    let Some(topology) = lab_common::topology("every_leaked_frame_is_counted") else { return };
    let config = Config { read_timeout: Some(Duration::from_millis(100)), ..Config::default() };
    let open = |name: &str| match datalink::channel(&interface(name), config).unwrap() {
        Channel::Ethernet(sender, receiver) => (sender, receiver),
        _ => panic!("not an Ethernet channel"),
    };
    let (mut sender, _) = topology.gateway_a.run(|| open("outside")).unwrap();
    let (_, mut sniffer) = topology.underlay.run(|| open("to-a")).unwrap();
    let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), None).unwrap();

    let frame = leaked_frame();
    let mut sniffed = 0;
    for _ in 0..FRAMES {
        sender.send_to(&frame, None).unwrap().unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    while sniffed < FRAMES && Instant::now() < end {
        let Ok(bytes) = sniffer.next() else { continue };
        let ip = EthernetPacket::new(bytes).and_then(|ethernet| Ipv4Packet::owned(ethernet.payload().to_vec()));
        sniffed += u64::from(ip.is_some_and(|ip| IpAddr::from(ip.get_source()) == V4.host_a));
    }
    let seen = capture.stop().unwrap();
    assert_eq!((sniffed, seen.packets(Seen::Plaintext), seen.lost), (FRAMES, FRAMES, 0), "{seen:?}");
    assert_eq!(seen.flows[&(V4.host_a, V4.host_b, 17)].packets, FRAMES);
}
