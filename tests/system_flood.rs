//! A gateway under a short flood of first messages: the kernel is asked to refuse what would be refused anyway, an honest peer
//! comes through meanwhile, everything is counted, and after the flood every message is looked at again.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::lab::topology::V4;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::udp::UdpSocket;
use serde_json::Value;
use system_common::{PATIENCE, Setup, Side, site, wait_until};

/// Whose address is no peer's.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));
/// Datagrams of one turn: some thousands a second.
const STRANGERS: usize = 40;
const NAMED: usize = 10;

/// A first request, well formed as far as its header.
fn request(number: u64) -> Vec<u8> {
    let mut message = vec![0; 60];
    message[..8].copy_from_slice(&(number | 1).to_be_bytes());
    message[16..20].copy_from_slice(&[33, 0x20, 34, 8]);
    message[24..28].copy_from_slice(&60_u32.to_be_bytes());
    message
}

/// Sends first requests to port 500 of gateway B, most of them from a stranger and some in the peer's name, until it is told to
/// stop.
fn flood(socket: &mut UdpSocket, go_on: &AtomicBool, sent: &[AtomicU64; 2]) {
    let mut batch = Batch::new(STRANGERS + NAMED, 100);
    let mut number = 1_u64;
    while go_on.load(Ordering::Relaxed) {
        batch.clear();
        for at in 0..STRANGERS + NAMED {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let named = at >= STRANGERS;
            let from = if named { V4.gateway_a } else { STRANGER };
            let message = request(number);
            batch.vacant().unwrap()[..message.len()].copy_from_slice(&message);
            let local = (from, socket.local().port()).into();
            batch.push(message.len(), 0, Some(Path { local, remote: (V4.gateway_b, 500).into(), tos: 0 }));
        }
        let mut first = 0;
        // An answer of the closed port here may be told by any call.
        while first < batch.len() {
            first = socket.send_batch(&batch, first).next.max(first + 1);
        }
        sent[0].fetch_add(STRANGERS as u64, Ordering::Relaxed);
        sent[1].fetch_add(NAMED as u64, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn refused(status: &Value, reason: &str) -> u64 {
    status["ike_refused"][reason].as_u64().unwrap_or(0)
}

#[test]
fn a_flood_is_refused_in_the_kernel_while_an_honest_peer_comes_through_and_then_everything_is_looked_at_again() {
    let name =
        "a_flood_is_refused_in_the_kernel_while_an_honest_peer_comes_through_and_then_everything_is_looked_at_again";
    let Some(site) = site(name) else { return };
    let mut setup = Setup::default();
    // Only the peer opens the tunnel.
    setup.tunnel[Side::B as usize] = "start = \"manual\"\n".into();
    let mut b = site.start(Side::B, &setup);
    assert!(b.wait_for(PATIENCE, |_| true).is_some(), "{}", b.log());
    let place = site.place(Side::A);
    let mut socket = place
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.index_of("outside").unwrap();
            netlink.add_address(link, IpNet::new(STRANGER, 24).unwrap()).unwrap();
            UdpSocket::bind(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap()
        })
        .unwrap();
    let (go_on, sent) = (AtomicBool::new(true), [AtomicU64::new(0), AtomicU64::new(0)]);
    let events = b.monitor().unwrap();
    let is = |event: &Value, name: &str| event["event"] == name;
    let mut a = None;
    std::thread::scope(|scope| {
        let flooder = scope.spawn(|| flood(&mut socket, &go_on, &sent));
        let stop = Stop(&go_on);
        let on = events.find(PATIENCE, |event| is(event, "flood-filter-on"));
        assert!(on.is_some_and(|on| on["arriving"].as_u64() >= Some(1_000)), "{}", b.log());
        assert!(wait_until(|| refused(&b.status().unwrap(), "refused-in-kernel") > 1_000), "{:?}", b.status());
        // In the middle of it.
        let mut honest = site.start(Side::A, &setup);
        assert!(honest.wait_until_up(PATIENCE).is_some(), "{}\n{}", honest.log(), b.log());
        a = Some(honest);
        drop(stop);
        flooder.join().unwrap();
    });
    assert!(b.wait_until_up(PATIENCE).is_some(), "{}", b.log());
    let off = events.find(PATIENCE, |event| is(event, "flood-filter-off")).unwrap_or_else(|| panic!("{}", b.log()));
    let status = b.status().unwrap();
    let in_kernel = refused(&status, "refused-in-kernel");
    assert_eq!(off["refused"].as_u64(), Some(in_kernel), "{status}");
    // Every one of them has been counted by one name: in the peer's name came few enough for an answer each.
    let [strangers, named] = sent.map(AtomicU64::into_inner);
    let counted = refused(&status, "unknown-peer") + in_kernel;
    assert_eq!(refused(&status, "socket-full"), 0, "{status}");
    assert!((strangers..=strangers + named).contains(&counted), "{counted} of {strangers} and {named}: {status}");
    assert!(in_kernel * 2 > strangers, "{status}");
    // Nothing is hidden any more.
    let before = refused(&status, "unknown-peer");
    let mut batch = Batch::new(1, 100);
    let message = request(7);
    batch.vacant().unwrap()[..message.len()].copy_from_slice(&message);
    let local = (STRANGER, socket.local().port()).into();
    batch.push(message.len(), 0, Some(Path { local, remote: (V4.gateway_b, 500).into(), tos: 0 }));
    assert!(wait_until(|| socket.send_batch(&batch, 0).sent == 1));
    assert!(wait_until(|| refused(&b.status().unwrap(), "unknown-peer") == before + 1), "{:?}", b.status());
    for gateway in a.into_iter().chain([b]) {
        assert!(gateway.stop().unwrap().success());
    }
}

/// Ends the flood also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
