//! Refusals by address, agreement, and the state of a connection.

use std::sync::Arc;

use portcullis::event::DropReason;
use portcullis::lab::mq_dialect::{self, Dialect, Names};
use portcullis::policy::{Inspection, Service, Snapshot, TunnelPolicy};
use portcullis::wire::tcp::{ACK, RST, SYN, URG};

use super::Counted;
use super::esp_support::{Options, Pair, TUNNEL, batch_of, drops, tcp, udp};

/// What both sides have counted.
pub fn counted(pair: &Pair) -> Counted {
    let mut all = drops(&pair.left);
    for (reason, count) in drops(&pair.right) {
        *all.entry(reason).or_default() += count;
    }
    all
}

/// A pair in whose MQ connections this is heard.
pub fn hearing(inspection: &Inspection) -> Pair {
    let mut pair = Pair::new(Options::default());
    for left in [true, false] {
        demand(&mut pair, left, inspection);
    }
    pair
}

/// From now on one side demands this of the rule for MQ.
fn demand(pair: &mut Pair, left: bool, inspection: &Inspection) {
    let before = pair.policies[usize::from(!left)].clone();
    let mut rules = before.rules().to_vec();
    rules[0].inspection = inspection.clone();
    follow(pair, left, Snapshot::compile(rules, before.tunnels().to_vec(), Some(&before)).unwrap());
}

fn follow(pair: &mut Pair, left: bool, policy: Snapshot) {
    let policy = Arc::new(policy);
    pair.policies[usize::from(!left)] = policy.clone();
    if left { &mut pair.left } else { &mut pair.right }.set_policy(policy);
}

/// The left side takes a packet from its host, whatever becomes of it.
fn sends(pair: &mut Pair, packet: &[u8]) {
    pair.left.outbound(pair.now, &mut batch_of(packet, None));
}

/// One packet of the left host, with a connection from port 5000 or without.
fn one(connected: bool, packet: &[u8]) -> Counted {
    let mut pair = Pair::new(Options::default());
    if connected {
        pair.connect(5000);
    }
    assert!(pair.rightwards(packet).is_err());
    counted(&pair)
}

pub fn to_nobodys_host(_: DropReason) -> Counted {
    one(false, &udp(("192.0.2.10", 9), ("198.18.0.1", 2000), 0, b"to somebody"))
}

pub fn through_a_disabled_tunnel(_: DropReason) -> Counted {
    let mut pair = Pair::new(Options::default());
    let before = pair.policies[0].clone();
    let off = before.tunnels().iter().map(|tunnel| TunnelPolicy { enabled: false, ..tunnel.clone() }).collect();
    follow(&mut pair, true, Snapshot::compile(before.rules().to_vec(), off, Some(&before)).unwrap());
    assert!(pair.rightwards(&tcp(5000, true, SYN, 100, 0, &[], &[])).is_err());
    counted(&pair)
}

/// A flow that runs, and one that would begin, in either direction.
pub fn under_a_closed_agreement(reason: DropReason) -> Counted {
    assert!(reason.is_of_agreement());
    let mut pair = Pair::new(Options::default());
    pair.connect(5000);
    let closed = pair.policies[0].gated(&[(TUNNEL, reason)].into());
    follow(&mut pair, true, closed);
    assert_eq!(pair.rightwards(&tcp(5000, true, ACK, 101, 501, &[], b"late")), Err(reason));
    assert_eq!(pair.rightwards(&tcp(5001, true, SYN, 100, 0, &[], &[])), Err(reason));
    assert_eq!(pair.leftwards(&udp(("203.0.113.20", 1), ("192.0.2.10", 3000), 0, b"news")), Err(reason));
    let counted = counted(&pair);
    assert_eq!(counted[&reason], 3);
    counted
}

pub fn urgent(_: DropReason) -> Counted {
    one(true, &tcp(5000, true, ACK | URG, 101, 501, &[], b"now"))
}

pub fn data_in_a_syn(_: DropReason) -> Counted {
    one(false, &tcp(5000, true, SYN, 100, 0, &[], b"early"))
}

pub fn broken_options(_: DropReason) -> Counted {
    one(false, &tcp(5000, true, SYN, 100, 0, &[3, 0, 0, 0], &[]))
}

pub fn acknowledges_what_was_not_sent(_: DropReason) -> Counted {
    one(true, &tcp(5000, true, ACK, 101, 502, &[], &[]))
}

pub fn behind_the_window(_: DropReason) -> Counted {
    one(true, &tcp(5000, true, ACK, 101 + 65_536, 501, &[], b"far"))
}

pub fn a_blind_reset(_: DropReason) -> Counted {
    one(true, &tcp(5000, true, RST, 7_000_000, 0, &[], &[]))
}

/// What a client of MQ says first.
fn hello() -> Vec<u8> {
    let dialect = Dialect { level: 13, little: false, ebcdic: false };
    mq_dialect::client(dialect, &Names::default(), 100)[0].bytes.clone()
}

fn hearing_mq() -> Pair {
    let mut pair = hearing(&Inspection::of(Service::Mq));
    pair.connect(5000);
    pair
}

fn client(at: usize, payload: &[u8]) -> Vec<u8> {
    tcp(5000, true, ACK, 101 + at as u32, 501, &[], payload)
}

pub fn a_wrong_checksum(_: DropReason) -> Counted {
    let mut pair = hearing_mq();
    let mut packet = client(0, &hello());
    *packet.last_mut().unwrap() ^= 1;
    sends(&mut pair, &packet);
    counted(&pair)
}

pub fn a_stale_timestamp(_: DropReason) -> Counted {
    let stamped = |stamp: u32| {
        let [a, b, c, d] = stamp.to_be_bytes();
        [8, 10, a, b, c, d, 0, 0, 0, 1, 1, 1]
    };
    let mut pair = hearing(&Inspection::of(Service::Mq));
    pair.rightwards(&tcp(5000, true, SYN, 100, 0, &stamped(1000), &[])).unwrap();
    pair.leftwards(&tcp(5000, false, SYN | ACK, 500, 101, &stamped(7), &[])).unwrap();
    pair.rightwards(&tcp(5000, true, ACK, 101, 501, &stamped(1000), &[])).unwrap();
    let hello = hello();
    pair.rightwards(&tcp(5000, true, ACK, 101, 501, &stamped(1001), &hello[..100])).unwrap();
    sends(&mut pair, &tcp(5000, true, ACK, 201, 501, &stamped(1000), &hello[100..]));
    counted(&pair)
}

pub fn more_than_may_wait(_: DropReason) -> Counted {
    let mut pair = hearing_mq();
    for at in 0..20 {
        sends(&mut pair, &client(1 + at * 1000, &[0; 1000]));
    }
    counted(&pair)
}

pub fn more_than_is_kept(_: DropReason) -> Counted {
    let mut pair = hearing_mq();
    let said = mq_dialect::client(Dialect { level: 13, little: false, ebcdic: false }, &Names::default(), 100);
    let (first, answer) = (&said[0].bytes, &said[1].bytes);
    pair.rightwards(&client(0, first)).unwrap();
    pair.leftwards(&tcp(5000, false, ACK, 501, 101 + first.len() as u32, &[], answer)).unwrap();
    // Known for what it is; from here on what stands behind a gap passes, and a copy of it is kept.
    for at in (1..60_000).step_by(50) {
        sends(&mut pair, &client(first.len() + at, &[0; 50]));
    }
    counted(&pair)
}

pub fn again_and_different(_: DropReason) -> Counted {
    let mut pair = hearing_mq();
    let hello = hello();
    pair.rightwards(&client(0, &hello[..100])).unwrap();
    sends(&mut pair, &client(50, &[0xff; 20]));
    counted(&pair)
}

pub fn a_rule_that_demands_something_else(_: DropReason) -> Counted {
    let mut all = Counted::new();
    for before in [Inspection::Uninspected, Inspection::of(Service::Mq)] {
        let mut pair = hearing(&before);
        pair.connect(5000);
        demand(&mut pair, true, &Inspection::of(Service::Sftp));
        assert_eq!(pair.rightwards(&client(0, b"SSH-2.0-x\r\n")), Err(DropReason::InspectionChanged));
        // It is ended, and may be opened again by the new rule.
        assert_eq!(pair.left.flows(), 0);
        all.extend(counted(&pair));
        assert!(
            super::esp_support::seal_one(&mut pair.left, pair.now, &tcp(5000, true, SYN, 900, 0, &[], &[])).is_ok()
        );
    }
    all
}
