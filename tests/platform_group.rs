//! Several sockets for one port, and several raw ones: the SPI decides which gets what, and the hop limit tells who sent it.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::socket::{setsockopt, sockopt};
use platform_common::{add, bring_up, join, path, privileged, wait_long_until};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::Sending;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::raw_esp::RawEsp;
use portcullis::platform::udp::UdpSocket;

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const WORKERS: u16 = 3;

fn neighbours() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&a, &b, "link");
    bring_up(&a, "link", &["192.0.2.1/24", "2001:db8::1/64"]);
    bring_up(&b, "link", &["192.0.2.2/24", "2001:db8::2/64"]);
    (a, b)
}

/// Packets under many SPIs: each SPI with the same bytes behind it.
fn packets(from: &str, to: &str) -> Batch {
    let mut batch = Batch::new(64, 200);
    for spi in 1000_u32..1060 {
        let bytes = [&spi.to_be_bytes()[..], &[0x5a; 60]].concat();
        add(&mut batch, &bytes, Some(path(from, to, 0)));
    }
    batch
}

/// Reads from every socket until nothing comes any more; each SPI came once, to its own.
fn assert_each_its_own(count: usize, mut receive: impl FnMut(usize, &mut Batch)) {
    let mut seen = vec![Vec::new(); usize::from(WORKERS)];
    let mut batch = Batch::new(64, 200);
    let all = wait_long_until(|| {
        for (worker, seen) in seen.iter_mut().enumerate() {
            batch.clear();
            receive(worker, &mut batch);
            for at in 0..batch.len() {
                seen.push(u32::from_be_bytes(*batch.bytes(at).first_chunk().unwrap()));
            }
        }
        seen.iter().map(Vec::len).sum::<usize>() >= count
    });
    assert!(all, "{seen:?}");
    for (worker, seen) in seen.into_iter().enumerate() {
        let own: Vec<u32> = (1000..1060).filter(|spi| spi % u32::from(WORKERS) == worker as u32).collect();
        assert_eq!(seen, own, "worker {worker}");
    }
}

#[test]
fn a_group_of_sockets_shares_a_port_and_each_spi_has_its_own() {
    if !privileged("a_group_of_sockets_shares_a_port_and_each_spi_has_its_own") {
        return;
    }
    let (a, b) = neighbours();
    for (any, from, to) in
        [(ANY4, "192.0.2.1:4500", "192.0.2.2:4500"), (ANY6, "[2001:db8::1]:4500", "[2001:db8::2]:4500")]
    {
        let mut near = a.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut far = b.run(|| UdpSocket::bind_group(any, 4500, WORKERS).unwrap()).unwrap();
        near.limit_sending(Sending::Many);
        let batch = packets(from, to);
        assert_eq!(near.send_batch(&batch, 0).sent, 60);
        assert_each_its_own(60, |worker, batch| {
            far[worker].recv_batch(batch).unwrap();
        });
        // IKE behind its marker, a keepalive and a stub: the first one's.
        let mut others = Batch::new(4, 200);
        for bytes in [&[0, 0, 0, 0, 7, 7, 7, 7][..], &[0xFF], &[1, 2]] {
            add(&mut others, bytes, Some(path(from, to, 0)));
        }
        near.send_batch(&others, 0);
        let mut got = Batch::new(8, 200);
        assert!(wait_long_until(|| {
            far[0].recv_batch(&mut got).unwrap();
            got.len() >= 3
        }));
        // Who has the port alone does not let a group in, and a group lets nobody else in.
        let taken = b.run(|| UdpSocket::bind(any, 4500).err().map(|error| error.kind())).unwrap();
        assert_eq!(taken, Some(std::io::ErrorKind::AddrInUse));
        let taken = a.run(|| UdpSocket::bind_group(any, 4500, WORKERS).err().map(|error| error.kind())).unwrap();
        assert_eq!(taken, Some(std::io::ErrorKind::AddrInUse));
    }
}

#[test]
fn raw_sockets_get_the_spis_that_are_theirs() {
    if !privileged("raw_sockets_get_the_spis_that_are_theirs") {
        return;
    }
    let (a, b) = neighbours();
    for (any, from, to) in [(ANY4, "192.0.2.1:0", "192.0.2.2:0"), (ANY6, "[2001:db8::1]:0", "[2001:db8::2]:0")] {
        let mut near = a.run(|| RawEsp::bind(any).unwrap()).unwrap();
        let mut far = b.run(|| RawEsp::bind_group(any, WORKERS).unwrap()).unwrap();
        let batch = packets(from, to);
        assert_eq!(near.send_batch(&batch, 0).sent, 60);
        assert_each_its_own(60, |worker, batch| {
            far[worker].recv_batch(batch).unwrap();
        });
    }
}

/// What a network card or the peer's kernel would put together if nothing but the SPI were different.
#[test]
fn each_lane_has_messages_and_a_hop_limit_of_its_own() {
    if !privileged("each_lane_has_messages_and_a_hop_limit_of_its_own") {
        return;
    }
    let (a, b) = neighbours();
    let mut near = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    let mut far = b.run(|| UdpSocket::bind_group(ANY4, 4500, WORKERS).unwrap()).unwrap();
    assert_eq!(near.sending(), Sending::Segments);
    // Long trains, if it were not for the lanes: the kernel gives a whole message to the socket of its first datagram.
    let mut batch = packets("192.0.2.1:4500", "192.0.2.2:4500");
    for spi in 0..60_usize {
        batch.parts_mut().0[spi].lane = ((1000 + spi) % usize::from(WORKERS)) as u8;
    }
    assert_eq!(near.send_batch(&batch, 0).sent, 60);
    assert_each_its_own(60, |worker, batch| {
        far[worker].recv_batch(batch).unwrap();
    });
    drop(far);
    let far = b.run(|| std::net::UdpSocket::bind("192.0.2.2:4500").unwrap()).unwrap();
    setsockopt(&far, sockopt::Ipv4RecvTtl, &true).unwrap();
    far.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    for lane in 0..3 {
        let mut batch = Batch::new(1, 200);
        add(&mut batch, &[lane; 50], Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
        batch.parts_mut().0[0].lane = lane;
        assert_eq!(near.send_batch(&batch, 0).sent, 1);
        let mut bytes = [0; 100];
        let mut room = nix::cmsg_space!(libc::c_int);
        let mut vectors = [std::io::IoSliceMut::new(&mut bytes)];
        let fd = std::os::fd::AsRawFd::as_raw_fd(&far);
        let none = nix::sys::socket::MsgFlags::empty();
        let message = nix::sys::socket::recvmsg::<()>(fd, &mut vectors, Some(&mut room), none).unwrap();
        let ttl = message.cmsgs().unwrap().find_map(|control| match control {
            nix::sys::socket::ControlMessageOwned::Ipv4Ttl(ttl) => Some(ttl),
            _ => None,
        });
        assert_eq!(ttl, Some(64 - i32::from(lane)));
    }
}
