//! The kernel's offloads switched off one by one, on one side or on both, or refused by the kernel: files arrive as they were
//! sent, `status` says what is in use, and a TUN device that vanishes in mid-stream comes back with its offloads. What lies at
//! the device about long packets is dropped by name.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "hostile/inside.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod inside;
mod platform_common;
mod refusal;
mod system_common;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Instant;

use etherparse::PacketBuilder;
use inside::Inside;

use portcullis::dataplane::buffer::Path;
use portcullis::dataplane::offload::TunOffload;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{V4, V6};
use portcullis::platform::netlink::Netlink;
use portcullis::platform::tun::Tun;
use portcullis::wire::vnet::{Segments, VnetHeader};
use refusal::{Refusal, refuse, udp_sockets_of, without_checksums};
use system_common::{PATIENCE, Setup, Side, Way, assert_nothing_in_clear, drops, site, tunnel, wait_until};

/// Several hundred long packets.
const FILE: usize = 8 << 20;

fn in_use(gateway: &Gateway) -> [String; 5] {
    let status = gateway.status().expect("an answer on the control socket");
    ["tun", "tun_write", "udp_send", "esp_send", "udp_gro"]
        .map(|what| status["offloads"][what].as_str().unwrap_or("-").to_owned())
}

/// Packets of the tunnel, out and in.
fn packets(gateway: &Gateway) -> [u64; 2] {
    let tunnel = tunnel(gateway);
    ["packets_out", "packets_in"].map(|what| tunnel["counters"][what].as_u64().unwrap())
}

#[test]
fn files_cross_whole_whatever_offload_is_switched_off_on_either_side() {
    let Some(site) = site("files_cross_whole_whatever_offload_is_switched_off_on_either_side") else { return };
    let off = [
        ("", "", ["tso+uso", "tso+uso", "gso", "sendmmsg", "on"]),
        ("tun_offload = \"off\"", "", ["off", "off", "gso", "sendmmsg", "on"]),
        ("udp_send = \"sendmmsg\"", "udp_gro = \"off\"", ["tso+uso", "tso+uso", "sendmmsg", "sendmmsg", "on"]),
        ("udp_send = \"sendto\"", "tun_offload = \"off\"", ["tso+uso", "tso+uso", "sendto", "sendto", "on"]),
        ("udp_gro = \"off\"", "", ["tso+uso", "tso+uso", "gso", "sendmmsg", "off"]),
    ];
    for encapsulation in ["forced", "auto"] {
        for (a, b, expected) in &off {
            let setup = Setup { gateway: [(*a).to_owned(), (*b).to_owned()], ..Setup::between(V4, &[V4, V6]) };
            let pair = site.pair(&setup.with_tunnel(&format!("encapsulation = \"{encapsulation}\"")));
            let watch = site.watch();
            assert_eq!(in_use(&pair.a), *expected, "{a:?} {b:?}");
            for family in [V4, V6] {
                site.exchange(&family, FILE);
            }
            assert_nothing_in_clear(&watch.stop().unwrap());
            assert_nothing_lost(&pair.a, &pair.b);
            let [out, _] = packets(&pair.a);
            assert!(out as usize > 2 * FILE / 1438, "{out} packets");
            assert_eq!(in_use(&pair.a), *expected, "{a:?} {b:?}");
            pair.stop();
        }
    }
}

/// What one side has sent the other has got, packet for packet: nothing was lost, and trains are counted by what is in them.
fn assert_nothing_lost(a: &Gateway, b: &Gateway) {
    let all = || (packets(a), packets(b));
    assert!(
        wait_until(|| matches!(all(), ([out, into], [back, there]) if out == there && into == back)),
        "{:?}",
        all()
    );
    for gateway in [a, b] {
        for reason in ["send-failed", "bad-offload", "segment-size", "too-big", "too-long-datagram"] {
            assert_eq!(drops(gateway, reason), 0, "{reason}");
        }
    }
}

#[test]
fn each_refusal_of_the_kernel_costs_its_own_step_and_no_packet() {
    let Some(site) = site("each_refusal_of_the_kernel_costs_its_own_step_and_no_packet") else { return };
    let (forced, auto) = ("forced", "auto");
    let refusals = [
        (Refusal::NO_SENDMMSG, forced, ["tso+uso", "tso+uso", "sendto", "sendmmsg", "on"]),
        (Refusal::FORBIDDEN_SENDMMSG, forced, ["tso+uso", "tso+uso", "sendto", "sendmmsg", "on"]),
        // ESP without UDP has a ladder of its own: nobody has asked the other one.
        (Refusal::NO_SENDMMSG, auto, ["tso+uso", "tso+uso", "gso", "sendto", "on"]),
        (Refusal::FORBIDDEN_SENDMMSG, auto, ["tso+uso", "tso+uso", "gso", "sendto", "on"]),
        (Refusal::NO_GRO, forced, ["tso+uso", "tso+uso", "gso", "sendmmsg", "off"]),
        (Refusal::NO_USO, forced, ["tso", "tso", "gso", "sendmmsg", "on"]),
        (Refusal::NO_TSO, forced, ["off", "off", "gso", "sendmmsg", "on"]),
        // The device may not even be asked.
        (Refusal::NO_TUNSETOFFLOAD, forced, ["off", "off", "gso", "sendmmsg", "on"]),
        // Reading goes on as it was.
        (Refusal::NO_TRAINS_IN, forced, ["tso+uso", "off", "gso", "sendmmsg", "on"]),
    ];
    for (refusal, encapsulation, expected) in refusals {
        // Gateway A alone is refused something: it ends with the thread that starts it.
        let setup = Setup::default().with_tunnel(&format!("encapsulation = \"{encapsulation}\""));
        let b = site.start(Side::B, &setup);
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| {
                refuse(&[refusal]);
                let mut a = site.start(Side::A, &setup);
                assert!(a.wait_until_up(PATIENCE).is_some(), "{}", a.log());
                site.exchange(&V4, FILE);
                assert_eq!(in_use(&a), expected);
                assert_nothing_lost(&a, &b);
                assert!(a.stop().expect("it ends").success());
            });
            refused.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        assert!(b.stop().expect("it ends").success());
    }
}

#[test]
fn a_kernel_that_stops_cutting_messages_in_mid_stream_costs_one_step_and_no_packet() {
    let Some(site) = site("a_kernel_that_stops_cutting_messages_in_mid_stream_costs_one_step_and_no_packet") else {
        return;
    };
    let pair = site.pair(&Setup::default().with_tunnel("encapsulation = \"forced\""));
    assert_eq!(in_use(&pair.a)[2], "gso");
    site.exchange_and(&V4, FILE, |way| {
        if way == Way::There {
            let sockets = udp_sockets_of(pair.a.pid(), 4500).unwrap();
            assert!(!sockets.is_empty(), "it has port 4500");
            for socket in &sockets {
                without_checksums(socket.as_fd());
            }
        }
    });
    assert_eq!(in_use(&pair.a), ["tso+uso", "tso+uso", "sendmmsg", "sendmmsg", "on"]);
    assert_eq!(in_use(&pair.b), ["tso+uso", "tso+uso", "gso", "sendmmsg", "on"]);
    assert_nothing_lost(&pair.a, &pair.b);
    pair.stop();
}

/// Long packets that no kernel makes, put onto the device in mid-stream, each with what the kernel is to say of it.
fn lies() -> [(VnetHeader, Vec<u8>, &'static str); 4] {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (V4.host_a, V4.host_b) else { panic!("IPv4") };
    let long = |opens: bool| {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64).tcp(40_000, system_common::PORT, 1, 1000);
        let builder = if opens { builder.syn() } else { builder.ack(1) };
        builder.write(&mut packet, &[0x77; 3000]).unwrap();
        packet
    };
    let said = VnetHeader {
        needs_checksum: true,
        segments: Segments::Tcp4,
        header_len: 40,
        segment_len: 1000,
        checksum_start: 20,
        checksum_offset: 16,
    };
    let mut short = long(false);
    short.truncate(2000);
    [
        (VnetHeader { segment_len: 1, ..said }, long(false), "segment-size"),
        (VnetHeader { segment_len: 0, ..said }, long(false), "segment-size"),
        (said, long(true), "bad-offload"),
        (said, short, "bad-ip-header"),
    ]
}

#[test]
fn lies_about_long_packets_are_dropped_by_name_and_disturb_nobody() {
    let Some(site) = site("lies_about_long_packets_are_dropped_by_name_and_disturb_nobody") else { return };
    let pair = site.pair(&Setup::default());
    let taken = Mutex::new(Vec::new());
    site.exchange_and(&V4, FILE, |_| {
        let mut inside = Inside::open(site.place(Side::A), "portcullis0").unwrap();
        for (header, packet, reason) in lies() {
            for _ in 0..20 {
                let sent = inside.sent;
                inside.send_as(header, &packet);
                if inside.sent > sent {
                    taken.lock().unwrap().push(reason);
                }
            }
        }
    });
    // What the kernel takes at all reaches us, or is dropped by the kernel itself.
    let taken = taken.into_inner().unwrap();
    let count = |reason: &str| taken.iter().filter(|taken| **taken == reason).count() as u64;
    assert!(count("segment-size") > 0 && count("bad-offload") > 0, "{taken:?}");
    for reason in ["segment-size", "bad-offload"] {
        assert!(wait_until(|| drops(&pair.a, reason) > 0), "{reason}: {}", pair.a.status().unwrap()["drops"]);
        assert!(drops(&pair.a, reason) <= count(reason));
    }
    for reason in ["send-failed", "too-big", "too-long-datagram", "no-connection", "out-of-state"] {
        assert_eq!(drops(&pair.a, reason), 0, "{reason}");
    }
    pair.stop();
}

#[test]
fn trains_of_datagrams_that_lie_are_dropped_by_name_and_disturb_nobody() {
    let Some(site) = site("trains_of_datagrams_that_lie_are_dropped_by_name_and_disturb_nobody") else { return };
    let pair = site.pair(&Setup::default().with_tunnel("encapsulation = \"forced\""));
    let remote = "10.99.0.2:4500".parse().unwrap();
    let path = Path { local: SocketAddr::new(V4.gateway_b, 4500), remote, tos: 0 };
    // A card of gateway B that puts together what nobody has sent.
    let device = site.place(Side::B).run(|| {
        let device = Tun::open("pc9", 1438, TunOffload::TcpAndUdp).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.index_of("pc9").unwrap();
        netlink.add_address(index, platform_common::net("10.99.0.1/24")).unwrap();
        device
    });
    let device = device.unwrap();
    let long = vec![0x44; 65_000];
    let lies: [(&[u8], Option<u16>, &str, u64); 3] = [
        (&long, None, "too-long-datagram", 1),
        (&[0x44; 1030], Some(100), "unknown-spi", 11),
        (&[0x44; 64], Some(1), "not-ike", 64),
    ];
    site.exchange_and(&V4, FILE, |_| {
        for (bytes, said, ..) in lies.iter().cycle().take(60) {
            platform_common::claim(&device, path, bytes, *said).unwrap();
        }
    });
    // A socket that was full took less.
    let most = |each: u64| 40 * each;
    for (_, _, reason, each) in lies {
        assert!(wait_until(|| drops(&pair.b, reason) > 0), "{reason}: {}", pair.b.status().unwrap()["drops"]);
        assert!(drops(&pair.b, reason) <= most(each), "{reason}");
    }
    for reason in ["send-failed", "forged", "segment-size", "no-connection", "out-of-state"] {
        assert_eq!(drops(&pair.b, reason), 0, "{reason}");
    }
    pair.stop();
}

#[test]
fn a_tun_that_vanishes_in_mid_stream_comes_back_with_its_offloads() {
    let Some(site) = site("a_tun_that_vanishes_in_mid_stream_comes_back_with_its_offloads") else { return };
    let pair = site.pair(&Setup::default());
    let before = in_use(&pair.a);
    let status = pair.a.status().expect("an answer on the control socket");
    let provider = status["aead"]["provider"].as_str().unwrap_or("-");
    // The race at start was run by both, and the better figure won it.
    let ns = |name: &str| status["aead"]["ns"][name].as_u64().unwrap();
    assert!(ns(provider) > 0 && ns(provider) == ns("ring").min(ns("aws-lc-rs")), "{}", status["aead"]);
    site.exchange_and(&V4, FILE, |way| {
        let side = if way == Way::There { Side::A } else { Side::B };
        let place = site.place(side);
        let index =
            || place.run(|| Netlink::open().unwrap().link("portcullis0").unwrap().map(|link| link.index)).unwrap();
        let old = index().expect("the device");
        place.run(|| Netlink::open().unwrap().delete_link(old).unwrap()).unwrap();
        let start = Instant::now();
        assert!(system_common::wait_for(PATIENCE, || index().is_some_and(|new| new != old)));
        println!("{side:?}: a new device after {:?}", start.elapsed());
    });
    assert_eq!((in_use(&pair.a), in_use(&pair.b)), (before.clone(), before));
    pair.stop();
}
