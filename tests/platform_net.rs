//! The kernel's side, in fresh namespaces: namespaces, links and routes, TUN, UDP with its error queue, raw ESP.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::io;
use std::net::UdpSocket as StdUdp;
use std::time::{Duration, Instant};

use platform_common::{net, privileged, wait_until};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::TunOffload;
use portcullis::platform::namespace::{Namespace, sysctl};
use portcullis::platform::netlink::{Netlink, Route, RouteKind};
use portcullis::platform::tun::{Tun, is_gone};

#[test]
fn a_namespace_is_empty_isolated_and_leaves_no_name() {
    if !privileged("a_namespace_is_empty_isolated_and_leaves_no_name") {
        return;
    }
    let inside = Namespace::new().unwrap();
    let links = inside.run(|| Netlink::open().unwrap().links().unwrap()).unwrap();
    assert!(links.iter().any(|link| link.name == "lo" && link.up));
    assert!(!links.iter().any(|link| link.name.starts_with("eth")));
    inside.set_sysctls(&[("net/ipv4/ip_forward", "1")]).unwrap();
    assert_eq!(inside.run(|| sysctl("net/ipv4/ip_forward").unwrap()).unwrap(), "1");
    let fresh = Namespace::new().unwrap();
    assert_eq!(fresh.run(|| sysctl("net/ipv4/ip_forward").unwrap()).unwrap(), "0");
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let child = inside
        .spawn(std::process::Command::new("readlink").arg("/proc/self/ns/net").stdout(std::process::Stdio::piped()));
    let output = child.unwrap().wait_with_output().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert!(theirs.starts_with("net:[") && theirs.trim() != own.to_str().unwrap());
}

#[test]
fn links_addresses_and_routes_are_set_read_back_and_deleted() {
    if !privileged("links_addresses_and_routes_are_set_read_back_and_deleted") {
        return;
    }
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    a.run(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_veth("one", "two", Some(b.fd())).unwrap();
        assert!(netlink.link("two").unwrap().is_none());
        let index = netlink.index_of("one").unwrap();
        netlink.rename(index, "uplink").unwrap();
        netlink.set_mtu(index, 1400).unwrap();
        netlink.add_address(index, net("198.51.100.1/24")).unwrap();
        netlink.add_address(index, net("2001:db8::1/64")).unwrap();
        netlink.add_address(index, net("2001:db8::1/64")).unwrap();
        netlink.set_up(index, true).unwrap();
        let link = netlink.link("uplink").unwrap().unwrap();
        assert_eq!((link.mtu, link.up), (1400, true));
        let addresses: Vec<_> = netlink.addresses().unwrap().into_iter().filter(|a| a.link == index).collect();
        assert!(addresses.iter().any(|a| a.network == net("198.51.100.1/24")), "{addresses:?}");
        assert!(addresses.iter().any(|a| a.network == net("2001:db8::1/64")), "{addresses:?}");

        for destination in ["203.0.113.0/24", "2001:db8:1::/48"] {
            let destination = net(destination);
            let v4 = destination.addr().is_ipv4();
            let mut route = Route::by_device(destination, index);
            route.metric = 1;
            route.mtu = Some(1280);
            route.protocol = 99;
            route.source = Some(if v4 { "198.51.100.1" } else { "2001:db8::1" }.parse().unwrap());
            netlink.replace_route(&route).unwrap();
            let mut last = route;
            (last.kind, last.device, last.metric, last.mtu, last.source) =
                (RouteKind::Unreachable, None, 4_000_000_000, None, None);
            netlink.replace_route(&last).unwrap();
            let routes = netlink.routes().unwrap();
            assert!(routes.contains(&route) && routes.contains(&last), "{routes:#?}");

            let host = if v4 { "203.0.113.20" } else { "2001:db8:1::20" }.parse().unwrap();
            assert_eq!(netlink.lookup(host).unwrap().unwrap().device, Some(index));
            route.mtu = Some(1300);
            netlink.replace_route(&route).unwrap();
            let same: Vec<_> = netlink
                .routes()
                .unwrap()
                .into_iter()
                .filter(|r| r.destination == destination && r.metric == 1)
                .collect();
            assert_eq!(same, [route]);
            netlink.delete_route(&route).unwrap();
            assert_eq!(netlink.lookup(host).unwrap(), None);
            netlink.delete_route(&last).unwrap();
            assert!(!netlink.routes().unwrap().iter().any(|r| r.destination == destination));
        }
        netlink.set_up(index, false).unwrap();
        netlink.move_link(index, b.fd()).unwrap();
        assert!(netlink.link("uplink").unwrap().is_none());
    })
    .unwrap();
    b.run(|| {
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.index_of("uplink").unwrap();
        netlink.delete_link(index).unwrap();
        assert!(netlink.link("two").unwrap().is_none(), "a veth goes with its peer");
    })
    .unwrap();
}

#[test]
fn packets_go_in_and_out_of_the_tun_and_its_deletion_is_told_apart() {
    if !privileged("packets_go_in_and_out_of_the_tun_and_its_deletion_is_told_apart") {
        return;
    }
    Namespace::new()
        .unwrap()
        .run(|| {
            let mut tun = Tun::open("pc0", 1438, TunOffload::TcpAndUdp).unwrap();
            assert_eq!(tun.name(), "pc0");
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.link("pc0").unwrap().unwrap();
            assert_eq!((link.mtu, link.up), (1438, true));
            tun.set_mtu(1400).unwrap();
            assert_eq!(netlink.link("pc0").unwrap().unwrap().mtu, 1400);
            netlink.add_address(link.index, net("192.0.2.1/24")).unwrap();

            // Out of the host, into the process.
            let socket = StdUdp::bind("192.0.2.1:7000").unwrap();
            let mut batch = Batch::new(4, 2048);
            assert_eq!(tun.read_batch(&mut batch).unwrap(), 0);
            for _ in 0..6 {
                socket.send_to(b"hello", "192.0.2.2:9000").unwrap();
            }
            assert_eq!(tun.read_batch(&mut batch).unwrap(), 4, "a full batch");
            assert_eq!(batch.len(), 4);
            assert_eq!(&batch.bytes(0)[28..], b"hello");
            assert_eq!(batch.bytes(0)[0] >> 4, 4);
            batch.clear();
            assert_eq!(tun.read_batch(&mut batch).unwrap(), 2);

            // And the other way.
            batch.clear();
            for _ in 0..2 {
                let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64).udp(9000, 7000);
                let mut packet = Vec::new();
                builder.write(&mut packet, b"hello").unwrap();
                batch.vacant().unwrap()[..packet.len()].copy_from_slice(&packet);
                batch.push(packet.len(), 0, None);
            }
            let written = tun.write_batch(&batch).unwrap();
            assert_eq!((written.written, written.refused), (2, 0));
            let mut bytes = [0; 64];
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let (length, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (&b"hello"[..], "192.0.2.2:9000".parse().unwrap()));

            // Down: packets are refused, the device is still there.
            netlink.set_up(link.index, false).unwrap();
            assert_eq!(tun.write_batch(&batch).unwrap().refused, 2);
            netlink.delete_link(link.index).unwrap();
            batch.clear();
            let error = tun.read_batch(&mut batch).unwrap_err();
            assert!(is_gone(&error), "{error:?}");
            batch.push(20, 0, None);
            let error = tun.write_batch(&batch).unwrap_err();
            assert!(is_gone(&error), "{error:?}");
            drop(tun);
            let again = Tun::open("pc0", 1438, TunOffload::TcpAndUdp).unwrap();
            assert_eq!(again.name(), "pc0");
            assert!(!is_gone(&io::Error::from_raw_os_error(libc::EIO)));
        })
        .unwrap();
}

/// As when the processor is taken away from whoever reads.
#[test]
fn thousands_of_packets_wait_until_the_tun_is_read() {
    if !privileged("thousands_of_packets_wait_until_the_tun_is_read") {
        return;
    }
    for queues in [1, 2] {
        let waited = Namespace::new().unwrap().run(|| {
            let mut tuns = Tun::open_queues("pc0", 1438, TunOffload::TcpAndUdp, queues).unwrap();
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.index_of("pc0").unwrap();
            netlink.add_address(index, net("192.0.2.1/24")).unwrap();
            let socket = StdUdp::bind("192.0.2.1:7000").unwrap();
            for _ in 0..4000 {
                socket.send_to(b"hello", "192.0.2.2:9000").unwrap();
            }
            let mut batch = Batch::new(64, 2048);
            let mut waited = 0;
            for tun in &mut tuns {
                loop {
                    batch.clear();
                    match tun.read_batch(&mut batch).unwrap() {
                        0 => break,
                        read => waited += read,
                    }
                }
            }
            waited
        });
        assert_eq!(waited.unwrap(), 4000, "{queues} queues");
    }
}

#[test]
fn the_kernel_says_nothing_on_the_tun_of_its_own_accord() {
    if !privileged("the_kernel_says_nothing_on_the_tun_of_its_own_accord") {
        return;
    }
    let namespace = Namespace::new().unwrap();
    // A router has more to say than a host: it joins the groups of routers.
    namespace.set_sysctls(&[("net/ipv6/conf/all/forwarding", "1"), ("net/ipv4/ip_forward", "1")]).unwrap();
    namespace
        .run(|| {
            let mut tun = Tun::open("pc0", 1438, TunOffload::TcpAndUdp).unwrap();
            let mut batch = Batch::new(16, 2048);
            let until = Instant::now() + Duration::from_millis(3500);
            while Instant::now() < until {
                tun.read_batch(&mut batch).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            let heard: Vec<&[u8]> = (0..batch.len()).map(|index| batch.bytes(index)).collect();
            assert!(heard.is_empty(), "{heard:02x?}");
            // A control: what the host does send is seen.
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.index_of("pc0").unwrap();
            netlink.add_address(index, net("2001:db8::1/64")).unwrap();
            StdUdp::bind("[2001:db8::1]:0").unwrap().send_to(b"x", "[2001:db8::2]:9").unwrap();
            assert!(wait_until(|| tun.read_batch(&mut batch).unwrap() > 0));
        })
        .unwrap();
}
