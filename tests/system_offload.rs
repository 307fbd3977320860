//! The kernel's offloads switched off one by one, on one side or on both: files arrive as they were sent, `status` says what is
//! in use, and a TUN device that vanishes in mid-stream comes back with its offloads.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::time::Instant;

use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{V4, V6};
use portcullis::platform::netlink::Netlink;
use system_common::{PATIENCE, Setup, Side, Way, assert_nothing_in_clear, drops, site, tunnel, wait_until};

/// Several hundred long packets.
const FILE: usize = 8 << 20;

fn in_use(gateway: &Gateway) -> [String; 4] {
    let status = gateway.status().expect("an answer on the control socket");
    ["tun", "tun_write", "udp_send", "udp_gro"].map(|what| status["offloads"][what].as_str().unwrap_or("-").to_owned())
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
        ("", "", ["tso+uso", "tso+uso", "gso", "on"]),
        ("tun_offload = \"off\"", "", ["off", "off", "gso", "on"]),
        ("udp_send = \"sendmmsg\"", "udp_gro = \"off\"", ["tso+uso", "tso+uso", "sendmmsg", "on"]),
        ("udp_send = \"sendto\"", "tun_offload = \"off\"", ["tso+uso", "tso+uso", "sendto", "on"]),
        ("udp_gro = \"off\"", "", ["tso+uso", "tso+uso", "gso", "off"]),
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
            // What one side has sent the other has got, packet for packet: nothing was lost, and trains are counted by
            // what is in them.
            let all = || (packets(&pair.a), packets(&pair.b));
            assert!(wait_until(|| matches!(all(), ([out, into], [back, there]) if out == there && into == back)));
            let ([out, _], _) = all();
            assert!(out as usize > 2 * FILE / 1438, "{out} packets");
            for gateway in [&pair.a, &pair.b] {
                for reason in ["send-failed", "bad-offload", "segment-size", "too-big", "too-long-datagram"] {
                    assert_eq!(drops(gateway, reason), 0, "{reason}, {a:?} {b:?}");
                }
            }
            assert_eq!(in_use(&pair.a), *expected, "{a:?} {b:?}");
            pair.stop();
        }
    }
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
