//! Sockets of the underlay between fresh namespaces: paths of datagrams, the error queue, raw ESP.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use platform_common::{add, bring_up, ip, join, path, privileged, route, wait_long_until};
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::raw_esp::RawEsp;
use portcullis::platform::udp::{Origin, PathReport, UdpSocket};

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Two hosts on one link, with two addresses of each IP version each.
fn neighbours() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&a, &b, "link");
    bring_up(&a, "link", &["192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "2001:db8::11/64"]);
    bring_up(&b, "link", &["192.0.2.2/24", "192.0.2.12/24", "2001:db8::2/64", "2001:db8::12/64"]);
    (a, b)
}

/// Two hosts with a router between them, whose second link takes `mtu`.
fn across_a_router(mtu: u32) -> (Namespace, Namespace, Namespace) {
    let (a, router, b) = (Namespace::new().unwrap(), Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&a, &router, "near");
    join(&b, &router, "far");
    router.set_sysctls(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]).unwrap();
    bring_up(&a, "near", &["192.0.2.1/24", "2001:db8::1/64"]);
    bring_up(&router, "near", &["192.0.2.254/24", "2001:db8::fe/64"]);
    bring_up(&router, "far", &["198.51.100.254/24", "2001:db8:1::fe/64"]);
    bring_up(&b, "far", &["198.51.100.2/24", "2001:db8:1::2/64"]);
    for namespace in [&router, &b] {
        namespace
            .run(|| {
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.index_of("far").unwrap();
                netlink.set_mtu(index, mtu).unwrap();
            })
            .unwrap();
    }
    for (to, by) in [("198.51.100.0/24", "192.0.2.254"), ("2001:db8:1::/64", "2001:db8::fe")] {
        route(&a, to, by);
    }
    for (to, by) in [("192.0.2.0/24", "198.51.100.254"), ("2001:db8::/64", "2001:db8:1::fe")] {
        route(&b, to, by);
    }
    (a, router, b)
}

fn paths(batch: &Batch) -> Vec<Path> {
    batch.packets().iter().filter_map(|packet| packet.path).collect()
}

fn sorted(mut paths: Vec<Path>) -> Vec<Path> {
    paths.sort_by_key(|path| (path.local, path.remote, path.tos));
    paths
}

fn receive(batch: &mut Batch, want: usize, mut read: impl FnMut(&mut Batch) -> io::Result<usize>) {
    assert!(
        wait_long_until(|| {
            read(batch).unwrap();
            batch.len() >= want
        }),
        "{} of {want} came",
        batch.len()
    );
}

#[test]
fn each_datagram_keeps_its_own_path_and_replies_leave_from_the_address_that_was_asked() {
    if !privileged("each_datagram_keeps_its_own_path_and_replies_leave_from_the_address_that_was_asked") {
        return;
    }
    let (a, b) = neighbours();
    for (any, ours, theirs) in [
        (ANY4, ["192.0.2.1", "192.0.2.11"], ["192.0.2.2", "192.0.2.12"]),
        (ANY6, ["[2001:db8::1]", "[2001:db8::11]"], ["[2001:db8::2]", "[2001:db8::12]"]),
    ] {
        let mut near = a.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut far = b.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut batch = Batch::new(200, 1600);
        let mut expected = Vec::new();
        for index in 0..150_u8 {
            let (from, to) = (ours[usize::from(index % 2)], theirs[usize::from(index / 2 % 2)]);
            let path = path(&format!("{from}:4500"), &format!("{to}:4500"), index & 0xfc);
            add(&mut batch, &[index; 100], Some(path));
            expected.push((vec![index; 100], from.to_owned(), to.to_owned(), index & 0xfc));
        }
        // A packet that is done, and one of the other IP version, are passed over.
        add(&mut batch, b"done", Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
        batch.parts_mut().0[150].done = true;
        let other = if any.is_ipv4() { ("[::1]:1", "[::1]:1") } else { ("127.0.0.1:1", "127.0.0.1:1") };
        add(&mut batch, b"other", Some(path(other.0, other.1, 0)));
        let sent = near.send_batch(&batch, 0);
        assert_eq!((sent.sent, sent.failed, sent.next, sent.is_blocked(batch.len())), (150, 0, 152, false));

        let mut got = Batch::new(200, 1600);
        receive(&mut got, 150, |batch| far.recv_batch(batch));
        assert_eq!(got.len(), 150);
        // The two far addresses are resolved one after the other, so datagrams to one may overtake those to the other.
        let mut order: Vec<usize> = (0..150).collect();
        order.sort_by_key(|index| got.bytes(*index)[0]);
        for (index, (bytes, from, to, tos)) in order.into_iter().zip(&expected) {
            assert_eq!(got.bytes(index), bytes);
            let expected = path(&format!("{to}:4500"), &format!("{from}:4500"), *tos);
            assert_eq!(got.packets()[index].path, Some(expected), "datagram {index}");
        }
        let mut replies = Batch::new(200, 1600);
        for packet in got.packets() {
            add(&mut replies, b"reply", packet.path);
        }
        let asked = paths(&replies);
        assert_eq!(far.send_batch(&replies, 0).sent, 150);
        let mut back = Batch::new(200, 1600);
        receive(&mut back, 150, |batch| near.recv_batch(batch));
        // Seen from here local and remote change places, and nothing else.
        let answered: Vec<Path> = paths(&back)
            .into_iter()
            .map(|path| Path { local: path.remote, remote: path.local, tos: path.tos })
            .collect();
        assert_eq!(sorted(answered), sorted(asked));
    }
}

#[test]
fn a_train_of_segments_leaves_as_datagrams_and_one_too_long_comes_out_done() {
    if !privileged("a_train_of_segments_leaves_as_datagrams_and_one_too_long_comes_out_done") {
        return;
    }
    let (a, b) = neighbours();
    let mut near = a.run(|| UdpSocket::bind(ANY4, 500).unwrap()).unwrap();
    let mut far = b.run(|| UdpSocket::bind(ip("192.0.2.2"), 500).unwrap()).unwrap();
    let to = path("0.0.0.0:500", "192.0.2.2:500", 0);
    let mut batch = Batch::new(4, 4000);
    add(&mut batch, &[7; 1000 * 3 + 10], Some(to));
    batch.parts_mut().0[0].segment = 1000;
    add(&mut batch, &[8; 1400], Some(to));
    assert_eq!(near.send_batch(&batch, 0).sent, 2);
    let mut got = Batch::new(8, 1200);
    receive(&mut got, 5, |batch| far.recv_batch(batch));
    let lengths: Vec<usize> = got.packets().iter().map(|packet| packet.len).collect();
    assert_eq!(lengths[..4], [1000, 1000, 1000, 10]);
    assert!(got.packets()[4].done && got.packets()[..4].iter().all(|packet| !packet.done));
    assert_eq!(far.truncated(), 1);
    assert_eq!(got.packets()[0].path.unwrap().remote, "192.0.2.1:500".parse().unwrap());
}

fn report(mut read: impl FnMut() -> Option<PathReport>) -> PathReport {
    let mut found = None;
    assert!(
        wait_long_until(|| {
            found = found.or_else(&mut read);
            found.is_some()
        }),
        "no report came"
    );
    found.unwrap()
}

#[test]
fn a_routers_word_about_the_mtu_comes_with_what_it_quotes() {
    if !privileged("a_routers_word_about_the_mtu_comes_with_what_it_quotes") {
        return;
    }
    let (a, _router, b) = across_a_router(1300);
    for (any, from, to, router, kind) in [
        (ANY4, "192.0.2.1:4500", "198.51.100.2:4500", "192.0.2.254", (3, 4)),
        (ANY6, "[2001:db8::1]:4500", "[2001:db8:1::2]:4500", "2001:db8::fe", (2, 0)),
    ] {
        let mut socket = a.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut far = b.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut batch = Batch::new(4, 2000);
        let esp: Vec<u8> = (0..1400_u32).map(|n| n as u8).collect();
        add(&mut batch, &esp, Some(path(from, to, 0)));
        // Fits the first link, not the second.
        assert_eq!(socket.send_batch(&batch, 0).sent, 1);
        let told = report(|| socket.error_queue().unwrap());
        assert_eq!((told.mtu, told.errno), (Some(1300), libc::EMSGSIZE));
        assert_eq!(told.origin, Origin::Icmp { kind: kind.0, code: kind.1 });
        assert_eq!(told.offender, Some(ip(router)));
        assert_eq!(told.remote, Some(to.parse().unwrap()));
        assert_eq!(told.quoted(), &esp[..told.quoted().len()]);
        assert!(told.quoted().len() >= 8, "SPI and sequence number");
        assert!(socket.error_queue().unwrap().is_none());

        // The kernel does not take the router's word: the next long one leaves again, and a short one arrives.
        assert_eq!(socket.send_batch(&batch, 0).sent, 1);
        report(|| socket.error_queue().unwrap());
        batch.clear();
        add(&mut batch, &esp[..1200], Some(path(from, to, 0)));
        assert_eq!(socket.send_batch(&batch, 0).sent, 1);
        let mut got = Batch::new(4, 2000);
        receive(&mut got, 1, |batch| far.recv_batch(batch));
        assert_eq!(got.bytes(0), &esp[..1200]);

        // Longer than our own link: refused here, the rest of the batch goes out.
        batch.clear();
        add(&mut batch, &vec![1; 1600], Some(path(from, to, 0)));
        add(&mut batch, b"small", Some(path(from, to, 0)));
        let sent = socket.send_batch(&batch, 0);
        assert_eq!((sent.sent, sent.failed, sent.errno), (1, 1, Some(libc::EMSGSIZE)));
        let told = report(|| socket.error_queue().unwrap());
        assert_eq!((told.origin, told.mtu), (Origin::Local, Some(1500)));
    }
}

#[test]
fn an_icmp_error_costs_no_datagram_of_another_peer() {
    if !privileged("an_icmp_error_costs_no_datagram_of_another_peer") {
        return;
    }
    let (a, b) = neighbours();
    let mut near = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    let mut far = b.run(|| UdpSocket::bind(ip("192.0.2.2"), 4500).unwrap()).unwrap();
    let closed = path("192.0.2.1:4500", "192.0.2.12:9", 0);
    let open = path("192.0.2.1:4500", "192.0.2.2:4500", 0);
    let mut batch = Batch::new(32, 200);
    for _ in 0..8 {
        add(&mut batch, b"nobody is there", Some(closed));
        add(&mut batch, b"somebody is there", Some(open));
    }
    let mut sent = 0;
    for _ in 0..4 {
        let fate = near.send_batch(&batch, 0);
        assert_eq!((fate.failed, fate.next), (0, batch.len()));
        sent += fate.sent;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(sent, 64);
    let mut got = Batch::new(64, 200);
    receive(&mut got, 32, |batch| far.recv_batch(batch));
    let told = report(|| near.error_queue().unwrap());
    assert_eq!((told.errno, told.mtu), (libc::ECONNREFUSED, None));
    assert_eq!(told.quoted(), b"nobody is there");
    assert_eq!(told.remote, Some(closed.remote));
    assert_eq!(near.recv_batch(&mut got).unwrap(), 0);
}

#[test]
fn esp_without_udp_goes_both_ways_and_its_error_queue_quotes_the_spi() {
    if !privileged("esp_without_udp_goes_both_ways_and_its_error_queue_quotes_the_spi") {
        return;
    }
    let (a, _router, b) = across_a_router(1300);
    for (any, from, to) in [(ANY4, "192.0.2.1:0", "198.51.100.2:0"), (ANY6, "[2001:db8::1]:0", "[2001:db8:1::2]:0")] {
        let mut near = a.run(|| RawEsp::bind(any).unwrap()).unwrap();
        let mut far = b.run(|| RawEsp::bind(any).unwrap()).unwrap();
        let mut batch = Batch::new(100, 2000);
        for index in 0..70_u8 {
            add(&mut batch, &[0xc0 | (index & 15); 500], Some(path(from, to, index & 0xfc)));
        }
        assert_eq!(near.send_batch(&batch, 0).sent, 70);
        let mut got = Batch::new(100, 2000);
        receive(&mut got, 70, |batch| far.recv_batch(batch));
        for index in 0..70_u8 {
            assert_eq!(got.bytes(usize::from(index)), [0xc0 | (index & 15); 500]);
            assert_eq!(got.packets()[usize::from(index)].path, Some(path(to, from, index & 0xfc)));
        }
        assert_eq!(far.send_batch(&got, 0).sent, 70);
        let mut back = Batch::new(100, 2000);
        receive(&mut back, 70, |batch| near.recv_batch(batch));

        batch.clear();
        let esp: Vec<u8> = (0..1400_u32).map(|n| n as u8).collect();
        add(&mut batch, &esp, Some(path(from, to, 0)));
        assert_eq!(near.send_batch(&batch, 0).sent, 1);
        let told = report(|| near.error_queue().unwrap());
        assert_eq!(told.mtu, Some(1300));
        assert_eq!(told.quoted()[..8], esp[..8]);
        assert_eq!(told.remote.unwrap().ip(), path(from, to, 0).remote.ip());
    }
}

#[test]
fn what_the_kernel_has_no_room_for_is_left_in_the_batch() {
    if !privileged("what_the_kernel_has_no_room_for_is_left_in_the_batch") {
        return;
    }
    let (a, b) = neighbours();
    let mut socket = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    // Nobody answers for this neighbour: datagrams wait for it in the socket's send buffer, until that is full.
    let mut batch = Batch::new(64, 1500);
    for _ in 0..64 {
        add(&mut batch, &[0; 1400], Some(path("192.0.2.1:4500", "192.0.2.99:4500", 0)));
    }
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::SndBuf, &20_000).unwrap();
    let fate = socket.send_batch(&batch, 0);
    assert!(fate.is_blocked(64) && fate.next == fate.sent && fate.sent > 0, "{fate:?}");
    assert_eq!(fate.failed, 0);
    drop(b);
}
