//! The program, run step by step, beside what it is to mean; `tests/platform_sieve.rs` gives it to the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// What the kernel sees of a datagram.
struct Seen {
    source: IpAddr,
    /// From the UDP header on.
    bytes: Vec<u8>,
    random: u32,
}

/// A first request, or what else the closure makes of it, behind a marker or not.
fn request(source: IpAddr, marker: bool, change: impl FnOnce(&mut [u8])) -> Seen {
    let mut message = vec![0; 200];
    message[..8].fill(7);
    message[NEXT_PAYLOAD as usize] = 33;
    message[17] = 0x20;
    message[18] = 34;
    message[FLAGS as usize] = 0x08;
    change(&mut message);
    let front = if marker { 12 } else { 8 };
    Seen { source, bytes: [vec![0; front], message].concat(), random: 0 }
}

fn bare(_: &mut [u8]) {}

fn with_cookie(message: &mut [u8]) {
    message[NEXT_PAYLOAD as usize] = 41;
}

/// What the kernel does with a program: how much of the datagram it lets through. A load from beyond the end lets nothing.
fn run(program: &[Step], seen: &Seen) -> u32 {
    let network: Vec<u8> = match seen.source {
        IpAddr::V4(v4) => [vec![0x45; 12], v4.octets().to_vec(), vec![1; 4]].concat(),
        IpAddr::V6(v6) => [vec![0x60; 8], v6.octets().to_vec(), vec![1; 16]].concat(),
    };
    let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
    for _ in 0..=program.len() {
        let (code, yes, no, k) = program[at];
        at += 1;
        let mut skip = |holds: bool| at += usize::from(if holds { yes } else { no });
        let load = |bytes: &[u8], from: u32, len: usize| {
            let field = bytes.get(from as usize..).and_then(|bytes| bytes.get(..len))?;
            Some(field.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)))
        };
        match code {
            LOAD_LENGTH => a = seen.bytes.len() as u32,
            LOAD_WORD if k == RANDOM => a = seen.random,
            LOAD_WORD | LOAD_BYTE => {
                let len = if code == LOAD_WORD { 4 } else { 1 };
                let value = if k >= NETWORK { load(&network, k - NETWORK, len) } else { load(&seen.bytes, k, len) };
                match value {
                    Some(value) => a = value,
                    None => return NOTHING,
                }
            }
            KEEP => x = a,
            XOR_KEPT => a ^= x,
            IF_EQUAL => skip(a == k),
            IF_NOT_LESS => skip(a >= k),
            IF_ANY_BIT => skip(a & k != 0),
            GO_ON_AT => at += k as usize,
            ANSWER => return k,
            other => panic!("step {other:#x}"),
        }
    }
    panic!("a program does not go backwards");
}

fn passes(program: &[Step], seen: &Seen) -> bool {
    match run(program, seen) {
        ALL => true,
        NOTHING => false,
        other => panic!("a datagram cut to {other} bytes"),
    }
}

fn sieve(peers: &[(&str, [u8; 2])]) -> Sieve {
    let peers = peers.iter().map(|(peer, scarcity)| (peer.parse().unwrap(), *scarcity)).collect();
    Sieve { peers, between: [9, 9] }
}

const FAMILIES: [[&str; 3]; 2] =
    [["192.0.2.1", "192.0.2.9", "192.0.2.2"], ["2001:db8::1", "2001:db8:9::9", "2001:db8::2"]];

#[test]
fn strangers_first_requests_are_refused_and_everything_else_passes() {
    for ([peer, other, stranger], marker) in FAMILIES.iter().flat_map(|family| [(family, false), (family, true)]) {
        let program = program(&sieve(&[(peer, [0, 0]), (other, [0, 0])]), !peer.contains(':'), marker);
        let [peer, other, stranger] = [peer, other, stranger].map(|text| text.parse::<IpAddr>().unwrap());
        let does = |source, change: fn(&mut [u8])| passes(&program, &request(source, marker, change));
        assert!(does(peer, |_| {}) && does(other, |_| {}) && does(peer, with_cookie));
        assert!(!does(stranger, |_| {}) && !does(stranger, with_cookie), "{stranger}");
        // Nobody but a peer begins with anything.
        assert!(!does(stranger, |message| message[18] = 35));
        assert!(does(stranger, |message| message[FLAGS as usize] |= 0x20), "an answer");
        for byte in 8..16 {
            assert!(
                passes(&program, &request(stranger, marker, |message| message[byte] = 1)),
                "a message of an IKE SA whose peer has moved"
            );
        }
        let cut = |source, len: usize| {
            let mut seen = request(source, marker, |_| {});
            seen.bytes.truncate(len);
            passes(&program, &seen)
        };
        if marker {
            for byte in 8..12 {
                let mut esp = request(stranger, true, |_| {});
                esp.bytes[byte] = 1;
                assert!(passes(&program, &esp), "ESP");
            }
            assert!((8..40).all(|len| cut(stranger, len)), "keepalives and stubs are the data path's");
            assert!(!cut(stranger, 40));
        } else {
            assert!(!(8..36).any(|len| cut(peer, len)) && cut(peer, 36), "stubs are nothing here");
        }
    }
}

#[test]
fn a_scarce_kind_passes_by_chance_and_the_other_kind_has_its_own() {
    for ([peer, other, _], marker) in FAMILIES.iter().flat_map(|family| [(family, false), (family, true)]) {
        let program = program(&sieve(&[(peer, [3, 0]), (other, [0, 5])]), !peer.contains(':'), marker);
        let share = |source: &str, change: fn(&mut [u8])| {
            let mut seen = request(source.parse().unwrap(), marker, change);
            let throws = (0..1024_u32).filter(|random| {
                seen.random = random.wrapping_mul(0x9e37_79b1);
                passes(&program, &seen)
            });
            throws.count()
        };
        assert_eq!((share(peer, |_| {}), share(peer, with_cookie)), (1024 / 8, 1024));
        assert_eq!((share(other, |_| {}), share(other, with_cookie)), (1024, 1024 / 32));
    }
}

#[test]
fn nobody_passes_where_there_is_no_peer_and_the_last_address_is_an_address() {
    let any = |v4: bool, sieve: &Sieve, source: &str| {
        passes(&program(sieve, v4, false), &request(source.parse().unwrap(), false, |_| {}))
    };
    for (v4, source) in [(true, "0.0.0.0"), (true, "255.255.255.255"), (false, "::"), (false, "ffff::")] {
        assert!(!any(v4, &Sieve::default(), source));
        assert!(any(v4, &sieve(&[(source, [0, 0])]), source));
    }
    let edges = sieve(&[("0.0.0.0", [0, 0]), ("0.0.0.1", [0, 0]), ("255.255.255.255", [0, 0])]);
    let each = ["0.0.0.0", "0.0.0.1", "0.0.0.2", "255.255.255.254", "255.255.255.255"].map(|of| any(true, &edges, of));
    assert_eq!(each, [true, true, false, false, true]);
}

#[test]
fn two_peers_with_one_number_do_not_suffer_by_one_another() {
    let both = [("2001:db8::1:0:0", [7, 0]), ("2001:db8::1", [0, 4])];
    let [first, second] = both.map(|(text, _)| text.parse::<IpAddr>().unwrap());
    assert_eq!(number(first), number(second));
    let program = program(&sieve(&both), false, false);
    for peer in [first, second] {
        let mut seen = request(peer, false, |_| {});
        seen.random = u32::MAX;
        assert!(passes(&program, &seen));
        let mut seen = request(peer, false, with_cookie);
        seen.random = u32::MAX;
        assert!(passes(&program, &seen));
    }
}

fn addresses(v4: bool, most: usize) -> impl Strategy<Value = BTreeMap<IpAddr, [u8; 2]>> {
    let address = any::<(u128, bool)>().prop_map(move |(bits, near)| {
        let bits = if near { bits & 0x3ff } else { bits };
        if v4 { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from_bits(bits)) }
    });
    let scarcity = [0..3_u8, 0..3_u8];
    proptest::collection::btree_map(address, scarcity, 0..most)
}

proptest! {
    #[test]
    fn a_few_peers_are_told_from_everybody(
        v4 in any::<bool>(),
        both in any::<bool>().prop_flat_map(|v4| (Just(v4), addresses(v4, RANGES), addresses(v4, 50))),
        marker in any::<bool>(),
        random in any::<u32>(),
        cookie in any::<bool>(),
    ) {
        let (family, peers, others) = both;
        // What is of the other family is nobody to this socket.
        let sieve = Sieve { peers, between: [9, 9] };
        if v4 != family {
            let program = program(&sieve, v4, marker);
            let source: IpAddr = if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let passed = passes(&program, &request(source, marker, bare));
            prop_assert!(!passed);
            return Ok(());
        }
        let program = program(&sieve, v4, marker);
        for source in sieve.peers.keys().chain(others.keys()) {
            let mut seen = request(*source, marker, if cookie { with_cookie } else { bare });
            seen.random = random;
            let kind = usize::from(cookie);
            let own = sieve.peers.iter().filter(|(peer, _)| number(**peer) == number(*source));
            let scarcity = own.map(|(_, scarcity)| scarcity[kind]).min();
            let expected = scarcity.is_some_and(|scarcity| random & ((1 << scarcity) - 1) == 0);
            prop_assert_eq!(passes(&program, &seen), expected, "{}", source);
        }
    }

    #[test]
    fn of_many_peers_none_is_refused_by_the_lack_of_room(
        (v4, peers) in any::<bool>().prop_flat_map(|v4| (Just(v4), addresses(v4, 1_000))),
    ) {
        let sieve = Sieve { peers: peers.keys().map(|peer| (*peer, [0, 0])).collect(), between: [0, 0] };
        let program = program(&sieve, v4, true);
        let ranges = ranges(&sieve, v4);
        prop_assert!(ranges.iter().filter(|(_, fate)| *fate != Fate::Refused).count() <= RANGES);
        prop_assert!(ranges.is_sorted_by(|a, b| a.0 < b.0));
        prop_assert!(program.len() < 4_096, "BPF_MAXINSNS");
        for peer in sieve.peers.keys() {
            let mut seen = request(*peer, true, |_| {});
            seen.random = u32::MAX;
            prop_assert!(passes(&program, &seen), "{}", peer);
        }
    }
}

#[test]
fn of_many_peers_the_widest_gaps_stay_closed_and_what_lies_between_is_scarce() {
    // A thousand neighbours at both ends of a wide gap, each second address a peer's.
    let near = (0..500_u32).map(|number| 0x0a00_0000 + 2 * number);
    let far = (0..500_u32).map(|number| 0xc000_0200 + 2 * number);
    let peers = near.chain(far).map(|bits| (Ipv4Addr::from_bits(bits).into(), [0, 0])).collect();
    let sieve = Sieve { peers, between: [4, 2] };
    let program = program(&sieve, true, false);
    let mut seen = request(Ipv4Addr::from_bits(0x5000_0000).into(), false, |_| {});
    assert!(!passes(&program, &seen), "the gap in the middle");
    seen.source = Ipv4Addr::from_bits(0x0a00_0002).into();
    let scarce = (0..64_u32).filter(|random| {
        seen.random = *random;
        passes(&program, &seen)
    });
    assert_eq!(scarce.count(), 64 / 16);
}
