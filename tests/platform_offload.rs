//! The kernel's offloads at the TUN device and at UDP sockets, in fresh namespaces: long packets both ways, messages of
//! many datagrams, and every step down when the kernel refuses.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;
mod refusal;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use platform_common::{add, bring_up, join, net, path, privileged, wait_until};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::{Sending, TunOffload};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::raw_esp::RawEsp;
use portcullis::platform::tun::Tun;
use portcullis::platform::udp::UdpSocket;
use portcullis::wire::vnet::Segments;
use refusal::{Refusal, refuse, without_checksums};

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A device with an address, in the namespace of the calling thread.
fn device(address: &str, offload: TunOffload) -> Tun {
    let tun = Tun::open("pc0", 1438, offload).unwrap();
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.index_of("pc0").unwrap();
    netlink.add_address(index, net(address)).unwrap();
    tun
}

/// Reads what the host sends until `wanted` says that it is that.
fn read_until(tun: &mut Tun, batch: &mut Batch, mut wanted: impl FnMut(&Batch) -> bool) {
    assert!(
        wait_until(|| {
            batch.clear();
            tun.read_batch(batch).unwrap();
            wanted(batch)
        }),
        "it did not come"
    );
}

#[test]
fn datagrams_that_the_host_sends_together_come_as_one_long_packet() {
    if !privileged("datagrams_that_the_host_sends_together_come_as_one_long_packet") {
        return;
    }
    Namespace::new()
        .unwrap()
        .run(|| {
            let mut tun = device("192.0.2.1/24", TunOffload::TcpAndUdp);
            if tun.offload() != TunOffload::TcpAndUdp {
                println!(
                    "NOT RUN: datagrams_that_the_host_sends_together_come_as_one_long_packet: no USO before Linux 6.2"
                );
                return;
            }
            // Sent by our own socket in one message: the kernel leaves the cutting to us.
            let mut socket = UdpSocket::bind("192.0.2.1".parse().unwrap(), 7000).unwrap();
            let mut out = Batch::new(16, 1400);
            for index in 0..9_u8 {
                add(
                    &mut out,
                    &vec![index; if index == 8 { 77 } else { 1400 }],
                    Some(path("192.0.2.1:7000", "192.0.2.2:9000", 0)),
                );
            }
            assert_eq!(socket.send_batch(&out, 0).sent, 9);
            assert_eq!(socket.sending(), Sending::Segments);
            let mut batch = Batch::with_trains(4, 2048);
            read_until(&mut tun, &mut batch, |batch| !batch.is_empty());
            let packet = batch.packets()[0];
            assert_eq!((packet.offload.segments, packet.offload.segment_len), (Segments::Udp, 1400));
            assert_eq!(packet.len, 28 + 8 * 1400 + 77);
            assert!(batch.is_full(), "what is to be cut is the last");
        })
        .unwrap();
}

/// Two hosts of one process: their TUN devices are joined by what a test does with the packets.
struct Wire {
    near: Tun,
    far: Tun,
    batch: Batch,
    /// The longest packet that came, and how many that were to be cut.
    longest: usize,
    long: usize,
}

impl Wire {
    /// Moves packets both ways as they are.
    fn pump(&mut self) {
        for way in [true, false] {
            let (from, to) = if way { (&mut self.near, &mut self.far) } else { (&mut self.far, &mut self.near) };
            self.batch.clear();
            from.read_batch(&mut self.batch).unwrap();
            for at in 0..self.batch.len() {
                self.longest = self.longest.max(self.batch.bytes(at).len());
                self.long += usize::from(self.batch.packets()[at].offload.segments != Segments::None);
            }
            let written = to.write_batch(&self.batch).unwrap();
            assert_eq!((written.refused, written.trains_refused), (0, 0));
        }
    }
}

#[test]
fn without_offloads_every_packet_comes_by_itself_with_its_checksum() {
    if !privileged("without_offloads_every_packet_comes_by_itself_with_its_checksum") {
        return;
    }
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let near = a.run(|| device("192.0.2.1/24", TunOffload::None)).unwrap();
    let far = b.run(|| device("192.0.2.2/24", TunOffload::None)).unwrap();
    assert_eq!((near.offload(), far.offload()), (TunOffload::None, TunOffload::None));
    let mut wire = Wire { near, far, batch: Batch::with_trains(64, 2048), longest: 0, long: 0 };
    let listener = b.run(|| TcpListener::bind("192.0.2.2:1414").unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = a.run(|| TcpStream::connect("192.0.2.2:1414").unwrap()).unwrap();
        stream.write_all(&vec![0x5a; 300_000]).unwrap();
    });
    let mut server = None;
    let mut got = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while got.len() < 300_000 && Instant::now() < until {
        wire.pump();
        if server.is_none() {
            server = listener.accept().ok().map(|(stream, _)| stream);
            if let Some(stream) = &server {
                TcpStream::set_nonblocking(stream, true).unwrap();
            }
        }
        let mut bytes = [0; 16_384];
        if let Some(Ok(count)) = server.as_mut().map(|stream| stream.read(&mut bytes)) {
            got.extend_from_slice(&bytes[..count]);
        }
    }
    assert_eq!(got.len(), 300_000);
    client.join().unwrap();
    assert_eq!((wire.longest <= 1438, wire.long), (true, 0));
}

#[test]
fn a_message_of_many_datagrams_is_one_here_and_there() {
    if !privileged("a_message_of_many_datagrams_is_one_here_and_there") {
        return;
    }
    let (a, b) = neighbours();
    for (any, from, to) in [
        (ANY4, "192.0.2.1:4500", "192.0.2.2:4500"),
        ("::".parse().unwrap(), "[2001:db8::1]:4500", "[2001:db8::2]:4500"),
    ] {
        let mut near = a.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        let mut far = b.run(|| UdpSocket::bind(any, 4500).unwrap()).unwrap();
        far.enable_gro();
        assert!(far.gro());
        // Until the link knows its neighbour it holds few packets.
        let mut batch = Batch::new(64, 65_535);
        let mut out = Batch::new(256, 1500);
        add(&mut out, b"first", Some(path(from, to, 0)));
        assert_eq!(near.send_batch(&out, 0).sent, 1);
        assert!(wait_until(|| far.recv_batch(&mut batch).unwrap() == 1));
        out.clear();
        // Two runs of one length each with a shorter one behind them, one with another TOS, and more than a message takes.
        let mut expected = Vec::new();
        for index in 0..200_u32 {
            let len = if index == 40 || index == 79 { 500 } else { 1400 };
            let tos = if (80..90).contains(&index) { 0xb8 } else { 0 };
            let bytes: Vec<u8> = index.to_be_bytes().iter().copied().cycle().take(len).collect();
            add(&mut out, &bytes, Some(path(from, to, tos)));
            expected.push((bytes, tos));
        }
        let sent = near.send_batch(&out, 0);
        assert_eq!((sent.sent, sent.failed, sent.next), (200, 0, 200));
        assert_eq!(near.sending(), Sending::Segments);
        let mut got = Vec::new();
        let mut calls = 0;
        assert!(
            wait_until(|| {
                batch.clear();
                far.recv_batch(&mut batch).unwrap();
                calls += batch.len();
                batch.split_trains();
                for (at, packet) in batch.packets().iter().enumerate() {
                    got.push((batch.bytes(at).to_vec(), packet.path.unwrap().tos));
                }
                got.len() >= 200
            }),
            "{} came",
            got.len()
        );
        assert!(got == expected, "each as it was, in order, with its TOS");
        assert!(calls < 20, "{calls} messages");
    }
}

#[test]
fn what_the_kernel_refuses_goes_one_step_down_and_loses_nothing() {
    if !privileged("what_the_kernel_refuses_goes_one_step_down_and_loses_nothing") {
        return;
    }
    let (a, b) = neighbours();
    let mut far = b.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    let mut got = Batch::new(256, 2000);
    let mut receive = |count: usize| {
        got.clear();
        assert!(
            wait_until(|| {
                far.recv_batch(&mut got).unwrap();
                got.len() >= count
            }),
            "{} of {count}",
            got.len()
        );
        (0..got.len()).map(|at| got.bytes(at)[0]).collect::<Vec<_>>()
    };
    let mut out = Batch::new(256, 2000);
    // A socket that sends without checksums may not leave the cutting to the kernel.
    let mut near = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    without_checksums(near.as_fd());
    // Until the link knows its neighbour it holds few packets.
    add(&mut out, &[200; 10], Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
    assert_eq!(near.send_batch(&out, 0).sent, 1);
    assert_eq!(receive(1), [200]);
    out.clear();
    for index in 0..100_u8 {
        add(&mut out, &[index; 1000], Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
    }
    let sent = near.send_batch(&out, 0);
    assert_eq!((sent.sent, sent.failed, sent.next), (100, 0, 100));
    assert_eq!(near.sending(), Sending::Many, "not asked for again");
    assert_eq!(receive(100), (0..100).collect::<Vec<_>>());
    // The operator's steps.
    for step in [Sending::Many, Sending::Single] {
        near.limit_sending(step);
        assert_eq!(near.send_batch(&out, 0).sent, 100);
        assert_eq!(near.sending(), step);
        assert_eq!(receive(100), (0..100).collect::<Vec<_>>());
    }
    drop(near);

    // A datagram that is too long for the link is refused in any message: that is not the message's fault.
    let mut near = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    out.clear();
    for index in 0..30_u8 {
        let len = if index < 20 { 1600 } else { 900 };
        add(&mut out, &vec![index; len], Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
    }
    let sent = near.send_batch(&out, 0);
    assert_eq!((sent.sent, sent.failed, sent.errno, sent.next), (10, 20, Some(libc::EMSGSIZE), 30));
    assert_eq!(near.sending(), Sending::Segments);
    assert_eq!(receive(10), (20..30).collect::<Vec<_>>());
    let told = near.error_queue().unwrap().expect("the host says so");
    assert_eq!(told.mtu, Some(1500));
}

/// The call for many datagrams may not exist (ENOSYS), or be forbidden by a filter of system calls (EPERM).
#[test]
fn without_the_call_for_many_each_goes_by_its_own_and_none_is_lost() {
    if !privileged("without_the_call_for_many_each_goes_by_its_own_and_none_is_lost") {
        return;
    }
    for refusal in [Refusal::NO_SENDMMSG, Refusal::FORBIDDEN_SENDMMSG] {
        let (a, b) = neighbours();
        let mut far = b.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
        let mut far_raw = b.run(|| RawEsp::bind(ANY4).unwrap()).unwrap();
        let mut got = Batch::new(256, 2000);
        let mut numbers = |count: usize, receive: &mut dyn FnMut(&mut Batch)| {
            got.clear();
            let all = wait_until(|| {
                receive(&mut got);
                got.len() >= count
            });
            assert!(all, "{} of {count}", got.len());
            (0..got.len()).map(|at| *got.bytes(at).last().unwrap()).collect::<Vec<_>>()
        };
        a.run(|| {
            refuse(&[refusal]);
            let mut near = UdpSocket::bind(ANY4, 4500).unwrap();
            assert_eq!(near.sending(), Sending::Segments, "nobody knows yet");
            let udp = path("192.0.2.1:4500", "192.0.2.2:4500", 0);
            let mut out = Batch::new(256, 2000);
            // Until the link knows its neighbour it holds few packets.
            for count in [1, 100] {
                out.clear();
                for index in 0..count {
                    add(&mut out, &[index; 1000], Some(udp));
                }
                let sent = near.send_batch(&out, 0);
                assert_eq!((sent.sent, sent.failed, sent.next), (count.into(), 0, count.into()));
                assert_eq!(near.sending(), Sending::Single, "not asked for again");
                let expected: Vec<u8> = (0..count).collect();
                assert_eq!(
                    numbers(count.into(), &mut |batch| {
                        far.recv_batch(batch).unwrap();
                    }),
                    expected
                );
            }
            // What is refused for its own sake is told as before, and costs nobody else anything.
            out.clear();
            for index in 0..30_u8 {
                add(&mut out, &vec![index; if index % 3 == 0 { 1600 } else { 900 }], Some(udp));
            }
            let sent = near.send_batch(&out, 0);
            assert_eq!((sent.sent, sent.failed, sent.errno, sent.next), (20, 10, Some(libc::EMSGSIZE), 30));
            assert_eq!(
                numbers(20, &mut |batch| {
                    far.recv_batch(batch).unwrap();
                })
                .len(),
                20
            );
            // Raw ESP goes the same way down.
            let mut raw = RawEsp::bind(ANY4).unwrap();
            out.clear();
            for index in 0..50 {
                add(&mut out, &[index; 100], Some(path("192.0.2.1:0", "192.0.2.2:0", 0)));
            }
            let sent = raw.send_batch(&out, 0);
            assert_eq!((sent.sent, sent.failed, raw.sending()), (50, 0, Sending::Single));
            let expected: Vec<u8> = (0..50).collect();
            assert_eq!(
                numbers(50, &mut |batch| {
                    far_raw.recv_batch(batch).unwrap();
                }),
                expected
            );
        })
        .unwrap();
    }
}

#[test]
fn a_refused_datagram_is_no_reason_to_send_one_by_one() {
    if !privileged("a_refused_datagram_is_no_reason_to_send_one_by_one") {
        return;
    }
    let (a, b) = neighbours();
    let _far = b.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    let mut near = a.run(|| UdpSocket::bind(ANY4, 4500).unwrap()).unwrap();
    let mut out = Batch::new(8, 2000);
    // The very first ones are longer than the link: neither call takes them.
    for len in [1600, 1600, 900] {
        add(&mut out, &vec![1; len], Some(path("192.0.2.1:4500", "192.0.2.2:4500", 0)));
    }
    let sent = near.send_batch(&out, 0);
    assert_eq!((sent.sent, sent.failed, sent.errno), (1, 2, Some(libc::EMSGSIZE)));
    assert_eq!(near.sending(), Sending::Segments);
}

#[test]
fn a_kernel_without_gro_or_trains_at_the_device_says_so_and_all_goes_singly() {
    if !privileged("a_kernel_without_gro_or_trains_at_the_device_says_so_and_all_goes_singly") {
        return;
    }
    for (refusal, offload) in [
        (Refusal::NO_GRO, TunOffload::TcpAndUdp),
        (Refusal::NO_USO, TunOffload::Tcp),
        (Refusal::NO_TSO, TunOffload::None),
        (Refusal::NO_TUNSETOFFLOAD, TunOffload::None),
    ] {
        let place = Namespace::new().unwrap();
        place
            .run(|| {
                refuse(&[refusal]);
                let mut socket = UdpSocket::bind(ANY4, 4500).unwrap();
                socket.enable_gro();
                assert_eq!(socket.gro(), offload != TunOffload::TcpAndUdp);
                let tun = device("192.0.2.1/24", TunOffload::TcpAndUdp);
                assert_eq!(tun.offload(), offload);
                drop(tun);
                // Each of several queues has what all of them have.
                let queues = Tun::open_queues("pc1", 1438, TunOffload::TcpAndUdp, 3).unwrap();
                assert_eq!(queues.iter().map(Tun::offload).collect::<Vec<_>>(), [offload; 3]);
            })
            .unwrap();
    }
}

#[test]
fn a_kernel_without_the_header_in_front_of_packets_is_refused_in_words() {
    if !privileged("a_kernel_without_the_header_in_front_of_packets_is_refused_in_words") {
        return;
    }
    Namespace::new()
        .unwrap()
        .run(|| {
            refuse(&[Refusal::NO_VNET_HDR]);
            for queues in [1, 3] {
                let refused = Tun::open_queues("pc0", 1438, TunOffload::TcpAndUdp, queues);
                let error = refused.err().expect("there is no such device");
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                for part in ["IFF_VNET_HDR", "2.6.27", "pc0"] {
                    assert!(error.to_string().contains(part), "{error}");
                }
            }
        })
        .unwrap();
}

#[test]
fn a_device_of_several_queues_gives_every_packet_once() {
    if !privileged("a_device_of_several_queues_gives_every_packet_once") {
        return;
    }
    Namespace::new()
        .unwrap()
        .run(|| {
            let mut queues = Tun::open_queues("pc0", 1438, TunOffload::None, 3).unwrap();
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.index_of("pc0").unwrap();
            netlink.add_address(index, net("192.0.2.1/24")).unwrap();
            let mut seen = Vec::new();
            for port in 0..30_u16 {
                let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
                socket.send_to(&port.to_be_bytes(), ("192.0.2.2", 9000 + port)).unwrap();
            }
            let mut batch = Batch::with_trains(8, 2048);
            let all = wait_until(|| {
                for queue in &mut queues {
                    batch.clear();
                    queue.read_batch(&mut batch).unwrap();
                    seen.extend((0..batch.len()).map(|at| {
                        let bytes = batch.bytes(at);
                        u16::from_be_bytes(*bytes[bytes.len() - 2..].first_chunk().unwrap())
                    }));
                }
                seen.len() >= 30
            });
            assert!(all, "{seen:?}");
            seen.sort_unstable();
            assert_eq!(seen, (0..30).collect::<Vec<_>>());
        })
        .unwrap();
}

/// Two hosts on one link.
fn neighbours() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&a, &b, "link");
    bring_up(&a, "link", &["192.0.2.1/24", "2001:db8::1/64"]);
    bring_up(&b, "link", &["192.0.2.2/24", "2001:db8::2/64"]);
    (a, b)
}
