//! What the kernel makes of a sieve against floods: real datagrams between namespaces, on a port of IKE and on one where ESP comes
//! too, in both families; and what it counts.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use platform_common::{add, bring_up, ip, join, privileged, wait_long_until, wait_until};
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::offload::Sending;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::udp::{Missed, Sieve, UdpSocket};

const FAMILIES: [[&str; 4]; 2] = [
    ["192.0.2.1", "192.0.2.7", "192.0.2.8", "192.0.2.2"],
    ["2001:db8::1", "2001:db8::7", "2001:db8::8", "2001:db8::2"],
];

/// One side with addresses of a peer, of another and of a stranger, and one with ours.
fn neighbours() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    join(&a, &b, "link");
    for (place, own) in [(&a, 0..3), (&b, 3..4)] {
        let prefixed = FAMILIES
            .iter()
            .zip([24, 64])
            .flat_map(|(all, prefix)| all[own.clone()].iter().map(move |address| format!("{address}/{prefix}")));
        let prefixed: Vec<String> = prefixed.collect();
        bring_up(place, "link", &prefixed.iter().map(String::as_str).collect::<Vec<_>>());
    }
    (a, b)
}

fn any(address: &str) -> IpAddr {
    if ip(address).is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// An IKE message, first byte `name` so that it is known again: responder's SPI, first payload, flags.
fn ike(name: u8, responder: u64, first: u8, flags: u8) -> Vec<u8> {
    let mut message = vec![name; 60];
    message[8..16].copy_from_slice(&responder.to_be_bytes());
    message[16..20].copy_from_slice(&[first, 0x20, 34, flags]);
    message
}

const SA: u8 = 33;
const NOTIFY: u8 = 41;

/// What comes, name by name, once `count` have come and a moment more.
fn heard(socket: &mut UdpSocket, skip: usize, count: usize) -> BTreeMap<u8, usize> {
    let mut names = BTreeMap::new();
    wait_long_until(|| {
        hear(socket, skip, &mut names);
        names.values().sum::<usize>() >= count
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    hear(socket, skip, &mut names);
    names
}

/// Adds what is there; a datagram's name is its byte number `skip`.
fn hear(socket: &mut UdpSocket, skip: usize, names: &mut BTreeMap<u8, usize>) {
    let mut batch = Batch::new(64, 200);
    while {
        batch.clear();
        socket.recv_batch(&mut batch).unwrap_or(0) > 0
    } {
        for at in 0..batch.len() {
            *names.entry(*batch.bytes(at).get(skip).unwrap_or(&0)).or_default() += 1;
        }
    }
}

/// A socket that sends from any address of its side.
struct Sender {
    socket: UdpSocket,
    to: IpAddr,
}

impl Sender {
    fn new(place: &Namespace, all: &[&str; 4], port: u16) -> Self {
        let mut socket = place.run(|| UdpSocket::bind(any(all[0]), port).unwrap()).unwrap();
        socket.limit_sending(Sending::Many);
        Self { socket, to: ip(all[3]) }
    }

    fn send(&mut self, from: &str, port: u16, datagrams: &[Vec<u8>]) {
        let mut batch = Batch::new(datagrams.len(), 200);
        let local = (ip(from), self.socket.local().port()).into();
        for bytes in datagrams {
            add(&mut batch, bytes, Some(Path { local, remote: (self.to, port).into(), tos: 0 }));
        }
        let sent = self.socket.send_batch(&batch, 0);
        assert_eq!(sent.sent, datagrams.len(), "{sent:?}");
    }
}

#[test]
fn the_kernel_refuses_first_requests_of_strangers_and_counts_them_and_takes_everything_else() {
    let name = "the_kernel_refuses_first_requests_of_strangers_and_counts_them_and_takes_everything_else";
    if !privileged(name) {
        return;
    }
    let (a, b) = neighbours();
    for (all, port) in FAMILIES.iter().flat_map(|all| [(all, 500), (all, 4500)]) {
        let [peer, other, stranger, _] = *all;
        let nat_t = port == 4500;
        let mut near = Sender::new(&a, all, port);
        // As the gateway has them: three that share port 4500, the first of which IKE comes to.
        let mut group = b.run(|| UdpSocket::bind_group(any(all[3]), port, if nat_t { 3 } else { 1 }).unwrap()).unwrap();
        if nat_t {
            group[0].enable_gro();
        }
        let far = &mut group[0];
        let skip = if nat_t { 4 } else { 0 };
        let wrapped = |message: Vec<u8>| if nat_t { [vec![0; 4], message].concat() } else { message };
        let sieve = Sieve { peers: [(ip(peer), [0, 0]), (ip(other), [0, 0])].into(), between: [0, 0] };
        assert!(far.open_up().is_err(), "there is no sieve yet");
        far.sift(&sieve, nat_t).unwrap();
        assert_eq!(far.missed(true).unwrap(), Missed::default());

        let refused = [ike(1, 0, SA, 8), ike(2, 0, NOTIFY, 8), ike(3, 0, SA, 0)].map(wrapped);
        near.send(stranger, port, &refused);
        near.send(stranger, port, &[ike(4, 77, 46, 8), ike(5, 0, SA, 0x20)].map(wrapped));
        near.send(peer, port, &[ike(6, 0, SA, 8), ike(7, 0, NOTIFY, 8)].map(wrapped));
        near.send(other, port, &[ike(8, 0, SA, 8)].map(wrapped));
        assert_eq!(heard(far, skip, 5), (4..=8).map(|name| (name, 1)).collect(), "{stranger} {port}");
        assert_eq!(far.missed(true).unwrap(), Missed { refused: 3, lost: 0 });
        if nat_t {
            // Three thousand and three: the first one's.
            let esp = [&3003_u32.to_be_bytes()[..], &[9; 60]].concat();
            near.send(stranger, port, &[esp, vec![0xff]]);
            assert_eq!(heard(far, skip, 2), [(9, 1), (0, 1)].into(), "ESP and a keepalive");
        }

        far.open_up().unwrap();
        near.send(stranger, port, &refused);
        assert_eq!(heard(far, skip, 3), (1..=3).map(|name| (name, 1)).collect());
        assert_eq!(far.missed(false).unwrap(), Missed::default());
    }
}

#[test]
fn of_a_flooded_name_the_kernel_lets_through_the_share_that_it_was_told() {
    if !privileged("of_a_flooded_name_the_kernel_lets_through_the_share_that_it_was_told") {
        return;
    }
    let (a, b) = neighbours();
    for all in &FAMILIES {
        let mut near = Sender::new(&a, all, 0);
        let mut far = b.run(|| UdpSocket::bind(any(all[3]), 500).unwrap()).unwrap();
        let sieve = Sieve { peers: [(ip(all[0]), [3, 0]), (ip(all[1]), [0, 0])].into(), between: [0, 0] };
        far.sift(&sieve, false).unwrap();
        // Until the neighbours know one another, only a handful of datagrams waits for that.
        for (name, from) in [1, 2].into_iter().zip(*all) {
            near.send(from, 500, &[ike(name, 77, 46, 8)]);
            assert_eq!(heard(&mut far, 0, 1), [(name, 1)].into(), "{from}");
        }
        let mut came = BTreeMap::new();
        for _ in 0..50 {
            let of = |name: u8, first: u8| vec![ike(name, 0, first, 8); 32];
            near.send(all[0], 500, &[of(1, SA), of(2, NOTIFY)].concat());
            near.send(all[1], 500, &of(3, SA));
            hear(&mut far, 0, &mut came);
        }
        let whole = wait_until(|| {
            hear(&mut far, 0, &mut came);
            came.get(&2) == Some(&1600) && came.get(&3) == Some(&1600)
        });
        assert!(whole, "{came:?} of {all:?}");
        // 200 of 1,600 on average; the standard deviation is 13.
        let through = came[&1];
        assert!((100..300).contains(&through), "{through}");
        assert_eq!(far.missed(true).unwrap(), Missed { refused: 1600 - through as u64, lost: 0 });
    }
}

#[test]
fn a_sieve_for_thousands_of_peers_is_taken_in_place_of_another_and_lets_each_of_them_through() {
    let name = "a_sieve_for_thousands_of_peers_is_taken_in_place_of_another_and_lets_each_of_them_through";
    if !privileged(name) {
        return;
    }
    let (a, b) = neighbours();
    for all in &FAMILIES {
        let mut near = Sender::new(&a, all, 0);
        let mut far = b.run(|| UdpSocket::bind(any(all[3]), 500).unwrap()).unwrap();
        let spread = |number: u32| -> IpAddr {
            let bits = number.wrapping_mul(0x9e37_79b1);
            if ip(all[0]).is_ipv4() {
                Ipv4Addr::from_bits(bits).into()
            } else {
                Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits)).into()
            }
        };
        // Of as many kinds as there can be.
        let mut peers: BTreeMap<IpAddr, [u8; 2]> =
            (1..5_000_u32).map(|number| (spread(number), [(number % 16) as u8, (number / 16 % 16) as u8])).collect();
        peers.extend([0, 1, 2].map(|at| (ip(all[at]), [0, 0])));
        let scarce = Sieve { peers: peers.clone(), between: [0, 0] };
        for _ in 0..3 {
            far.sift(&scarce, false).unwrap();
        }
        for scarcity in peers.values_mut() {
            *scarcity = [0, 0];
        }
        far.sift(&Sieve { peers, between: [0, 0] }, false).unwrap();
        for (name, from) in [1, 2, 3].into_iter().zip(*all) {
            near.send(from, 500, &[ike(name, 0, SA, 8)]);
        }
        assert_eq!(heard(&mut far, 0, 3), (1..=3).map(|name| (name, 1)).collect());
    }
}

#[test]
fn what_finds_the_queue_full_is_lost_and_not_refused() {
    if !privileged("what_finds_the_queue_full_is_lost_and_not_refused") {
        return;
    }
    let (a, b) = neighbours();
    let all = &FAMILIES[0];
    let mut near = Sender::new(&a, all, 0);
    let mut far = b.run(|| UdpSocket::bind(any(all[3]), 500).unwrap()).unwrap();
    near.send(all[0], 500, &[ike(1, 0, SA, 8)]);
    assert_eq!(heard(&mut far, 0, 1), [(1, 1)].into(), "the neighbours know one another");
    // Nobody reads: 16 MB hold less than 40,000.
    let many = vec![ike(1, 0, SA, 8); 64];
    let mut lost = 0;
    let full = (0..2_000).any(|_| {
        near.send(all[0], 500, &many);
        lost += far.missed(false).unwrap().lost;
        lost > 0
    });
    assert!(full);
    // With a sieve as well: the queue is as full as it was.
    far.sift(&Sieve { peers: [(ip(all[0]), [0, 0])].into(), between: [0, 0] }, false).unwrap();
    near.send(all[0], 500, &many);
    assert_eq!(far.missed(true).unwrap(), Missed { refused: 0, lost: 64 });
    hear(&mut far, 0, &mut BTreeMap::new());
    // It was full at the last look; from the next one on only the sieve can be meant.
    assert_eq!(far.missed(true).unwrap(), Missed::default());
    near.send(all[2], 500, &many);
    assert_eq!(far.missed(true).unwrap(), Missed { refused: 64, lost: 0 });
}
