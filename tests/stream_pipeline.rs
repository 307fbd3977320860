//! What is said inside a connection, through two data paths back to back: what waits leaves sealed on one side and in order on
//! the other, what is illegal ends the flow at both ends, and nothing of it costs more than its bound.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use std::sync::Arc;

use esp_support::*;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::drop::{Ending, Record};
use portcullis::dataplane::offload::Offloads;
use portcullis::event::DropReason;
use portcullis::ids::RuleId;
use portcullis::lab::mq_dialect::{self, Dialect, Names};
use portcullis::policy::{Inspection, Mode, Service, Snapshot};
use portcullis::wire::ip::Inner;
use portcullis::wire::tcp::{ACK, RST};

/// What a client says first.
fn hello() -> Vec<u8> {
    let dialect = Dialect { level: 13, little: false, ebcdic: false };
    mq_dialect::client(dialect, &Names::default(), 100)[0].bytes.clone()
}

/// A pair with an MQ connection of port 5000, whose bytes are heard.
fn pair(mode: Mode) -> Pair {
    let mut pair = Pair::new(Options::default());
    for (side, policy) in [(&mut pair.left, 0), (&mut pair.right, 1)] {
        let plain = pair.policies[policy].clone();
        let mut rules = plain.rules().to_vec();
        (rules[0].inspection, rules[0].mode) = (Inspection::of(Service::Mq), mode);
        let heard = Snapshot::compile(rules, plain.tunnels().to_vec(), Some(&plain)).unwrap();
        pair.policies[policy] = Arc::new(heard);
        side.set_policy(pair.policies[policy].clone());
        side.set_offloads(Offloads::ALL);
    }
    pair.connect(5000);
    for side in [&mut pair.left, &mut pair.right] {
        while side.poll_record().is_some() {}
    }
    pair
}

fn client(at: u32, payload: &[u8]) -> Vec<u8> {
    tcp(5000, true, ACK, 101 + at, 501, &[], payload)
}

/// Seals inner packets as one batch; the datagrams as the other side receives them.
fn seal(pair: &mut Pair, packets: &[Vec<u8>]) -> Vec<(Vec<u8>, Path)> {
    let mut batch = Batch::new(packets.len().max(1), 2000);
    for packet in packets {
        batch.vacant().unwrap()[..packet.len()].copy_from_slice(packet);
        batch.push(packet.len(), 0, None);
    }
    pair.left.outbound(pair.now, &mut batch);
    let sent = batch.packets().iter().enumerate().filter(|(_, packet)| !packet.done);
    sent.map(|(at, packet)| (batch.bytes(at).to_vec(), across(packet.path.unwrap()))).collect()
}

/// Opens datagrams as one batch; inner packets in the order in which they are written, trains taken apart.
fn open(pair: &mut Pair, datagrams: &[(Vec<u8>, Path)]) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(datagrams.len().max(1), 2048);
    for (bytes, path) in datagrams {
        batch.vacant().unwrap()[..bytes.len()].copy_from_slice(bytes);
        batch.push(bytes.len(), 0, Some(*path));
    }
    pair.right.inbound(pair.now, &mut batch);
    let kept = (0..batch.len()).filter(|at| !batch.packets()[*at].done);
    kept.map(|at| batch.bytes(at).to_vec()).collect()
}

fn records(pair: &mut Pair, left: bool) -> Vec<Record> {
    let side = if left { &mut pair.left } else { &mut pair.right };
    std::iter::from_fn(|| side.poll_record()).collect()
}

fn payload(packet: &[u8]) -> Vec<u8> {
    Inner::parse(packet).unwrap().tcp().unwrap().payload().to_vec()
}

#[test]
fn what_waited_leaves_sealed_right_behind_what_was_missing() {
    let mut pair = pair(Mode::Enforce);
    let hello = hello();
    let parts: Vec<Vec<u8>> = [(0, 40), (40, 90), (90, 200), (200, hello.len())]
        .into_iter()
        .map(|(from, to)| client(from as u32, &hello[from..to]))
        .collect();
    assert!(seal(&mut pair, &[parts[2].clone(), parts[1].clone()]).is_empty(), "both wait");
    // In the same batch something else stands behind what fills the gap.
    let other = allowed(50);
    let sent = seal(&mut pair, &[parts[0].clone(), other.clone(), parts[3].clone()]);
    let arrived = open(&mut pair, &sent);
    assert_eq!(arrived, [parts[0].clone(), parts[1].clone(), parts[2].clone(), other, parts[3].clone()]);
    assert!(drops(&pair.left).is_empty() && drops(&pair.right).is_empty());
    let rule = pair.left.counters().rule(RuleId(0)).unwrap();
    assert_eq!((rule.packets_out.get(), rule.refused.get()), (2 + 4, 0));
}

#[test]
fn a_whole_conversation_passes_in_pieces_and_is_recognised_once_at_each_end() {
    for dialect in Dialect::all() {
        let mut pair = pair(Mode::Enforce);
        let (mut there, mut back) = (101, 501);
        for (turn, said) in mq_dialect::client(dialect, &Names::default(), 5000).iter().enumerate() {
            for piece in said.bytes.chunks(if turn < 3 { 1 } else { 1300 }) {
                if said.by_opener {
                    let packet = tcp(5000, true, ACK, there, back, &[], piece);
                    assert_eq!(pair.rightwards(&packet), Ok(packet), "{dialect:?} {turn}");
                    there += piece.len() as u32;
                } else {
                    let packet = tcp(5000, false, ACK, back, there, &[], piece);
                    assert_eq!(pair.leftwards(&packet), Ok(packet), "{dialect:?} {turn}");
                    back += piece.len() as u32;
                }
            }
        }
        for left in [true, false] {
            let told = records(&mut pair, left);
            let [Record::FlowRecognised { rule, .. }] = told[..] else { panic!("{told:?}") };
            assert_eq!(rule, RuleId(0));
        }
    }
}

#[test]
fn what_waited_on_its_way_in_is_written_right_behind_what_was_missing() {
    let hello = hello();
    // Through the left side in order, to the right side in another one, in one batch or several.
    for batches in [1, 4] {
        let mut pair = pair(Mode::Enforce);
        let parts: Vec<Vec<u8>> = (0..4)
            .map(|part| client(part * 60, &hello[part as usize * 60..(part as usize + 1) * 60]))
            .chain([client(240, &hello[240..])])
            .collect();
        let other = allowed(50);
        let sent = seal(&mut pair, &[&parts[..], std::slice::from_ref(&other)].concat());
        let order = [3, 1, 2, 0, 5, 4];
        let mixed: Vec<_> = order.iter().map(|at| sent[*at].clone()).collect();
        let mut arrived = Vec::new();
        for chunk in mixed.chunks(6 / batches) {
            arrived.extend(open(&mut pair, chunk));
        }
        let expected =
            [parts[0].clone(), parts[1].clone(), parts[2].clone(), parts[3].clone(), other, parts[4].clone()];
        assert_eq!(arrived, expected, "{batches}");
        assert!(drops(&pair.right).is_empty());
    }
}

#[test]
fn the_first_illegal_byte_ends_the_flow_at_both_ends() {
    for rightwards in [true, false] {
        let mut pair = pair(Mode::Enforce);
        let hello = hello();
        assert_eq!(pair.rightwards(&client(0, &hello)), Ok(client(0, &hello)));
        let next = 101 + hello.len() as u32;
        // The left side hears either end first.
        let outcome = if rightwards {
            seal_one(&mut pair.left, pair.now, &tcp(5000, true, ACK, next, 501, &[], b"GET / HTTP/1.1")).map(|_| ())
        } else {
            // The right side lets everything pass: it is told to observe, so that the left one is asked.
            let plain = pair.policies[1].clone();
            let mut rules = plain.rules().to_vec();
            rules[0].mode = Mode::Observe;
            let observing = Snapshot::compile(rules, plain.tunnels().to_vec(), Some(&plain)).unwrap();
            pair.right.set_policy(Arc::new(observing));
            pair.leftwards(&tcp(5000, false, ACK, 501, next, &[], b"HTTP/1.1 400")).map(|_| ())
        };
        let reason = outcome.unwrap_err();
        assert!([DropReason::MqSegment, DropReason::NotMq].contains(&reason), "{reason:?}");
        // To our own side: a RST at the very byte that it waits for.
        let answers = replies(&mut pair.left);
        assert_eq!(answers.len(), 1);
        let reset = Inner::parse(&answers[0]).unwrap().tcp().unwrap();
        assert_eq!((reset.flags() & RST, reset.sequence(), reset.destination_port()), (RST, 501, 5000));
        // To the peer's, sealed: it is let in there, and ends the flow.
        let departures = pair.left.departures();
        assert_eq!(departures.len(), 1);
        let (bytes, path) = (departures.bytes(0).to_vec(), departures.packets()[0].path.unwrap());
        departures.clear();
        let inner = open_one(&mut pair.right, pair.now, &bytes, across(path)).unwrap();
        let reset = Inner::parse(&inner).unwrap().tcp().unwrap();
        assert_eq!((reset.flags() & RST, reset.sequence(), reset.destination_port()), (RST, next, 1414));
        // It is told once, and counted.
        let closed =
            |record: &Record| matches!(record, Record::FlowClosed(closed) if closed.end == Ending::Refused(reason));
        assert_eq!(records(&mut pair, true).iter().filter(|record| closed(record)).count(), 1);
        assert_eq!(pair.left.counters().rule(RuleId(0)).unwrap().ended.get(), 1);
        // What comes afterwards is refused, and answered to whoever sends it.
        let late = seal_one(&mut pair.left, pair.now, &tcp(5000, true, ACK, next, 501, &[], b"late"));
        assert_eq!(late.unwrap_err(), DropReason::FlowEnded);
        assert_eq!((replies(&mut pair.left).len(), pair.left.departures().len()), (1, 0));
        // And may be tried again.
        assert!(pair.rightwards(&tcp(5000, true, 0x02, 90_000, 0, &[], &[])).is_ok());
    }
}

#[test]
fn the_peers_side_is_told_only_if_that_is_wanted() {
    let mut pair = pair(Mode::Enforce);
    pair.left.set_reset_remote(false);
    assert!(pair.rightwards(&client(0, b"SSH-2.0-OpenSSH_9.7\r\n")).is_err());
    assert_eq!((replies(&mut pair.left).len(), pair.left.departures().len()), (1, 0));
}

#[test]
fn a_rule_that_observes_lets_pass_and_says_so_once() {
    let mut pair = pair(Mode::Observe);
    let ssh = client(0, b"SSH-2.0-OpenSSH_9.7\r\n");
    assert_eq!(pair.rightwards(&ssh), Ok(ssh));
    let more = client(21, &[0xff; 500]);
    assert_eq!(pair.rightwards(&more), Ok(more));
    for left in [true, false] {
        let told = records(&mut pair, left);
        let [Record::FlowObserved { reason, rule, .. }] = told[..] else { panic!("{told:?}") };
        assert_eq!((reason, rule), (DropReason::NotMq, RuleId(0)));
    }
    assert_eq!(pair.left.counters().rule(RuleId(0)).unwrap().observed.get(), 1);
    assert!(drops(&pair.left).is_empty());
}

#[test]
fn a_new_policy_resets_live_flows_in_both_directions_before_another_packet() {
    let mut pair = pair(Mode::Enforce);
    let hello = hello();
    pair.rightwards(&client(0, &hello)).unwrap();
    let plain = pair.policies[0].clone();
    let without: Vec<_> = plain.rules()[1..].to_vec();
    pair.left.set_policy(Arc::new(Snapshot::compile(without, plain.tunnels().to_vec(), Some(&plain)).unwrap()));
    while pair.left.end_disallowed(pair.now) {}
    let answers = replies(&mut pair.left);
    let reset = Inner::parse(&answers[0]).unwrap().tcp().unwrap();
    assert_eq!((answers.len(), reset.flags() & RST, reset.sequence()), (1, RST, 501));
    let departures = pair.left.departures();
    assert_eq!(departures.len(), 1);
    let (bytes, path) = (departures.bytes(0).to_vec(), departures.packets()[0].path.unwrap());
    let inner = open_one(&mut pair.right, pair.now, &bytes, across(path)).unwrap();
    assert_eq!(Inner::parse(&inner).unwrap().tcp().unwrap().sequence(), 101 + hello.len() as u32);
    let told = records(&mut pair, true);
    let refused = Ending::Refused(DropReason::NoRule);
    assert!(
        told.iter().any(|record| matches!(record, Record::FlowClosed(closed) if closed.end == refused)),
        "{told:?}"
    );
    assert_eq!(pair.left.flows(), 0);
}

#[test]
fn what_was_acknowledged_crosses_without_its_payload() {
    let mut pair = pair(Mode::Enforce);
    let hello = hello();
    pair.rightwards(&client(0, &hello)).unwrap();
    pair.leftwards(&tcp(5000, false, ACK, 501, 101 + hello.len() as u32, &[], &[])).unwrap();
    let (datagram, path) = seal_one(&mut pair.left, pair.now, &client(0, &hello)).unwrap();
    let arrived = open_one(&mut pair.right, pair.now, &datagram, across(path)).unwrap();
    assert_eq!((payload(&arrived).len(), arrived.len()), (0, 40));
}

#[test]
fn syns_leave_without_what_is_not_carried_in_both_directions() {
    let mut pair = pair(Mode::Enforce);
    let offers = [30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 34, 2, 1, 3, 3, 7, 1, 1];
    let arrived = pair.rightwards(&tcp(6000, true, 0x02, 100, 0, &offers, &[])).unwrap();
    let options = Inner::parse(&arrived).unwrap().tcp().unwrap().options().to_vec();
    assert_eq!(options, [&[1; 15][..], &[3, 3, 7, 1, 1]].concat());
    let answered = pair.leftwards(&tcp(6000, false, 0x12, 500, 101, &offers, &[])).unwrap();
    let inner = Inner::parse(&answered).unwrap();
    assert_eq!(inner.tcp().unwrap().options(), options);
    assert!(portcullis::wire::tcp::checksum_holds(&inner));
}
