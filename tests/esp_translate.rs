//! Hosts behind an outside address, through two data paths back to back: the far side sees the outside name alone, the near
//! host its own alone, and every byte and checksum is the one that a host of that name would have sent.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use esp_support::*;
use portcullis::dataplane::buffer::{Batch, Role};
use portcullis::dataplane::drop::Record;
use portcullis::dataplane::offload::Offloads;
use portcullis::event::DropReason;
use portcullis::policy::{SelectorMode, Translation};
use portcullis::wire::icmp::{IcmpError, build_error};
use portcullis::wire::ip::Inner;
use portcullis::wire::rewrite::End;
use portcullis::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use portcullis::wire::vnet::{self, Segments, VnetHeader};
use proptest::prelude::*;

const HOST: &str = "10.1.0.10";
const SECOND: &str = "10.1.0.11";
const THIRD: &str = "10.2.0.99";
const OUTSIDE: &str = "192.0.2.10";
const FAR: &str = "203.0.113.20";
const HOST6: &str = "fd00::10";
const OUTSIDE6: &str = "2001:db8::10";
const FAR6: &str = "2001:db8:1::20";

fn translation(inside: &[&str], outside: &str, inbound: Option<&str>) -> Translation {
    let net = |text: &&str| text.parse().unwrap_or_else(|_| ip(text).into());
    let inside = inside.iter().map(net).collect();
    Translation { tunnel: TUNNEL, inside, outside: ip(outside), inbound: inbound.map(ip) }
}

/// The left side knows its hosts by other addresses than the right one.
fn pair(list: Vec<Translation>) -> Pair {
    let mut pair = Pair::new(Options::default());
    pair.left.set_policy(Arc::new(Arc::into_inner(policy(true, SelectorMode::Host)).unwrap().translating(list)));
    pair
}

fn one_to_one() -> Pair {
    pair(vec![translation(&[HOST], OUTSIDE, None), translation(&[HOST6], OUTSIDE6, None)])
}

/// Several hosts, of which the second one may be called.
fn shared() -> Pair {
    pair(vec![translation(&[HOST, SECOND, "10.2.0.0/24"], OUTSIDE, Some(SECOND))])
}

fn segment(
    source: (&str, u16),
    destination: (&str, u16),
    flags: u8,
    sequence: u32,
    ack: u32,
    payload: &[u8],
) -> Vec<u8> {
    Tcp { source, destination, flags, sequence, acknowledgement: ack, options: &[], payload }.build(0)
}

/// An echo message.
fn echo(source: &str, destination: &str, kind: u8, identifier: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1, 0xab, 0xcd]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(source, destination, 1, 0, &message)
}

/// The error that `from` sends about a packet.
fn error(from: &str, about: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 1280];
    let error = IcmpError::TooBig { mtu: 1300 };
    let len = build_error(&mut out, ip(from), error, &Inner::parse(about).unwrap()).unwrap();
    out.truncate(len);
    out
}

fn source(packet: &[u8]) -> (IpAddr, u16) {
    let flow = Inner::parse(packet).unwrap().flow();
    (flow.source, flow.source_port)
}

#[test]
fn one_host_is_known_by_its_outside_name_and_gets_what_is_meant_for_that() {
    let mut pair = one_to_one();
    for (inside, outside, far) in [(HOST, OUTSIDE, FAR), (HOST6, OUTSIDE6, FAR6)] {
        let mq = (far, 1414);
        let steps: [(bool, u8, u32, u32, &[u8]); 5] = [
            (true, SYN, 100, 0, b""),
            (false, SYN | ACK, 500, 101, b""),
            (true, ACK, 101, 501, b""),
            (true, ACK | PSH, 101, 501, b"TSH "),
            (false, ACK | PSH, 501, 105, b"odd"),
        ];
        for (rightwards, flags, sequence, ack, payload) in steps {
            let seen = |host| {
                let ends = if rightwards { [(host, 5000), mq] } else { [mq, (host, 5000)] };
                segment(ends[0], ends[1], flags, sequence, ack, payload)
            };
            let (sent, expected) = if rightwards { (inside, outside) } else { (outside, inside) };
            assert_eq!(pair.carry(rightwards, &seen(sent)), Ok(seen(expected)));
        }
        let ask = |host| udp((host, 1000), (far, 2000), 0, b"question");
        assert_eq!(pair.rightwards(&ask(inside)), Ok(ask(outside)));
        let answer = |host| udp((far, 2000), (host, 1000), 0, b"answer");
        assert_eq!(pair.leftwards(&answer(outside)), Ok(answer(inside)));
    }
    assert_eq!(pair.rightwards(&echo(HOST, FAR, 8, 77)), Ok(echo(OUTSIDE, FAR, 8, 77)));
    assert_eq!(pair.leftwards(&echo(FAR, OUTSIDE, 0, 77)), Ok(echo(FAR, HOST, 0, 77)));
    assert!(drops(&pair.left).is_empty() && drops(&pair.right).is_empty());
}

#[test]
fn what_the_far_side_opens_reaches_the_one_host_or_the_one_that_is_named() {
    for (mut pair, host, other) in [(one_to_one(), HOST, SECOND), (shared(), SECOND, HOST)] {
        let call = |host| udp((FAR, 7000), (host, 3000), 0, b"call");
        assert_eq!(pair.leftwards(&call(OUTSIDE)), Ok(call(host)));
        let answer = |host| udp((host, 3000), (FAR, 7000), 0, b"answer");
        assert_eq!(pair.rightwards(&answer(host)), Ok(answer(OUTSIDE)));
        // The port is that host's alone.
        assert!(pair.rightwards(&answer(other)).is_err());
    }
}

#[test]
fn errors_are_rewritten_with_the_packet_that_they_quote() {
    for mut pair in [one_to_one(), shared()] {
        // Of a far router, about what we sent.
        let sent = |host| udp((host, 1000), (FAR, 2000), 0, &[0x77; 300]);
        pair.rightwards(&sent(HOST)).unwrap();
        let told = error("203.0.113.1", &sent(OUTSIDE));
        assert_eq!(pair.leftwards(&told), Ok(error("203.0.113.1", &sent(HOST))));
        // Of our host, and of a router before it, about what came in: neither is seen outside.
        let came = |host| udp((FAR, 2000), (host, 1000), 0, &[0x78; 300]);
        pair.leftwards(&came(OUTSIDE)).unwrap();
        for from in [HOST, "10.1.0.1"] {
            assert_eq!(pair.rightwards(&error(from, &came(HOST))), Ok(error(OUTSIDE, &came(OUTSIDE))));
        }
        // About nothing that ever passed.
        let other = error(HOST, &udp((FAR, 2000), (HOST, 1001), 0, b"?"));
        assert_eq!(pair.rightwards(&other), Err(DropReason::IcmpNoFlow));
        // Echo is quoted too.
        pair.rightwards(&echo(HOST, FAR, 8, 9)).unwrap();
        let told = error("203.0.113.1", &echo(OUTSIDE, FAR, 8, 9));
        assert_eq!(pair.leftwards(&told), Ok(error("203.0.113.1", &echo(HOST, FAR, 8, 9))));
    }
}

#[test]
fn what_the_gateway_answers_speaks_of_the_inside_address() {
    for mut pair in [one_to_one(), shared()] {
        let refused = [
            (udp((HOST, 1000), (FAR, 53), 0, b"no rule"), DropReason::NoRule),
            (udp((HOST, 1000), (FAR, 2000), 0, &[1; 1500]), DropReason::TooBig),
            (echo(HOST, FAR, 8, 3), DropReason::NoSa),
        ];
        for (packet, reason) in refused {
            if reason == DropReason::NoSa {
                for command in install(&pair.policies[0].clone(), &pair.options, true, 0) {
                    if let portcullis::sa::command::SadCommand::InstallOutbound(spec) = command {
                        pair.left.apply(
                            pair.now,
                            portcullis::sa::command::SadCommand::RemoveOutbound { inbound: spec.inbound },
                        );
                    }
                }
                // The first one only asks for an SA.
                let _ = pair.rightwards(&packet);
                pair.now = pair.now + Duration::from_secs(3);
                replies(&mut pair.left);
            }
            assert_eq!(pair.rightwards(&packet), Err(reason));
            let answers = replies(&mut pair.left);
            let [answer] = answers.as_slice() else { panic!("{reason}: {}", answers.len()) };
            let inner = Inner::parse(answer).unwrap();
            assert_eq!(inner.destination(), ip(HOST));
            let message = inner.icmp().unwrap();
            assert_eq!(message.quoted().unwrap().flow, Inner::parse(&packet).unwrap().flow());
            assert_eq!(message.body()[..], packet[..message.body().len()], "{reason}: it quotes what the host sent");
            assert_eq!(checksum(inner.payload()), 0);
        }
        // A connection that nobody knows is reset, by its own name.
        let stray = segment((HOST, 6000), (FAR, 1414), ACK, 1, 77, b"");
        assert_eq!(pair.rightwards(&stray), Err(DropReason::NoConnection));
        let answers = replies(&mut pair.left);
        let reset = Inner::parse(&answers[0]).unwrap();
        assert_eq!(reset.tcp().unwrap().flags() & RST, RST);
        let flow = reset.flow();
        assert_eq!((flow.destination, flow.destination_port, flow.source), (ip(HOST), 6000, ip(FAR)));
    }
}

#[test]
fn hosts_that_share_an_address_keep_their_ports_while_these_are_free() {
    let mut pair = shared();
    let ask = |host, port| udp((host, port), (FAR, 2000), 0, b"question");
    assert_eq!(pair.rightwards(&ask(HOST, 1000)), Ok(ask(OUTSIDE, 1000)));
    assert_eq!(pair.rightwards(&ask(THIRD, 1001)), Ok(ask(OUTSIDE, 1001)));
    let moved = pair.rightwards(&ask(SECOND, 1000)).unwrap();
    let (address, port) = source(&moved);
    assert_eq!(address, ip(OUTSIDE));
    assert!(port != 1000 && port % 2 == 0 && port < 1024, "{port}");
    assert_eq!(moved, ask(OUTSIDE, port));
    // The same port again, and each host its own answers.
    assert_eq!(pair.rightwards(&ask(SECOND, 1000)), Ok(ask(OUTSIDE, port)));
    let answer = |host, port| udp((FAR, 2000), (host, port), 0, b"answer");
    assert_eq!(pair.leftwards(&answer(OUTSIDE, port)), Ok(answer(SECOND, 1000)));
    assert_eq!(pair.leftwards(&answer(OUTSIDE, 1000)), Ok(answer(HOST, 1000)));
    assert_eq!(pair.leftwards(&answer(OUTSIDE, 1001)), Ok(answer(THIRD, 1001)));
    // Identifiers of echo likewise, and in quotes.
    assert_eq!(pair.rightwards(&echo(HOST, FAR, 8, 7)), Ok(echo(OUTSIDE, FAR, 8, 7)));
    let asked = pair.rightwards(&echo(SECOND, FAR, 8, 7)).unwrap();
    let identifier = Inner::parse(&asked).unwrap().icmp().unwrap().identifier();
    assert_ne!(identifier, 7);
    assert_eq!(asked, echo(OUTSIDE, FAR, 8, identifier));
    assert_eq!(pair.leftwards(&echo(FAR, OUTSIDE, 0, identifier)), Ok(echo(FAR, SECOND, 0, 7)));
    let told = error("203.0.113.1", &echo(OUTSIDE, FAR, 8, identifier));
    assert_eq!(pair.leftwards(&told), Ok(error("203.0.113.1", &echo(SECOND, FAR, 8, 7))));
}

#[test]
fn a_stray_segment_meets_no_connection_of_another_host() {
    let mut pair = shared();
    let (near, mq) = ((HOST, 5000), (FAR, 1414));
    pair.rightwards(&segment(near, mq, SYN, 100, 0, b"")).unwrap();
    pair.leftwards(&segment(mq, (OUTSIDE, 5000), SYN | ACK, 500, 101, b"")).unwrap();
    pair.rightwards(&segment(near, mq, ACK, 101, 501, b"")).unwrap();
    for flags in [ACK, RST, ACK | FIN] {
        let stray = segment((SECOND, 5000), mq, flags, 101, 501, b"");
        assert_eq!(pair.rightwards(&stray), Err(DropReason::NoConnection));
    }
    let data = segment(near, mq, ACK | PSH, 101, 501, b"still here");
    assert!(pair.rightwards(&data).is_ok());
}

#[test]
fn what_no_rule_lets_open_takes_no_port() {
    let mut pair = shared();
    for port in 1000..1500 {
        assert_eq!(pair.rightwards(&udp((HOST, port), (FAR, 53), 0, b"scan")), Err(DropReason::NoRule));
        assert_eq!(pair.rightwards(&segment((HOST, port), (FAR, 1414), ACK, 1, 1, b"")), Err(DropReason::NoConnection));
    }
    pair.left.tick(pair.now);
    assert_eq!(pair.left.counters().mappings.get(), 0);
    pair.rightwards(&udp((HOST, 1000), (FAR, 2000), 0, b"allowed")).unwrap();
    pair.left.tick(pair.now);
    assert_eq!(pair.left.counters().mappings.get(), 1);
    pair.left.tick(pair.now + Duration::from_mins(6));
    (0..32).for_each(|_| pair.left.tick(pair.now + Duration::from_mins(6)));
    assert_eq!(pair.left.counters().mappings.get(), 0, "five minutes of silence");
}

#[test]
fn the_outside_name_is_the_gateways_alone_and_ports_have_an_end() {
    let mut pair = shared();
    let spoofed = udp((OUTSIDE, 1000), (FAR, 2000), 0, b"as if");
    assert_eq!(pair.rightwards(&spoofed), Err(DropReason::OutsideSource));
    // A host that is not inside has no name there.
    assert_eq!(pair.rightwards(&udp(("10.9.0.1", 1000), (FAR, 2000), 0, b"?")), Err(DropReason::NoRule));
    // More than there may be: every one so far was opened, and the flow table is smaller than the table of ports.
    let mut reasons: HashMap<DropReason, u32> = HashMap::new();
    for host in 1..=2_u8 {
        for port in 1..20_000_u16 {
            let source = format!("10.2.0.{host}");
            if let Err(reason) = pair.rightwards(&udp((&source, port), (FAR, 2000), 0, b"")) {
                *reasons.entry(reason).or_default() += 1;
            }
        }
    }
    let (full, ports) = (reasons[&DropReason::FlowTableFull], reasons[&DropReason::NoOutsidePort]);
    assert_eq!((full, ports), (32_768 - 4096, 2 * 19_999 - 32_768), "{reasons:?}");
}

#[test]
fn a_reload_keeps_the_ports_of_those_who_are_still_behind_the_address() {
    let mut pair = shared();
    let ask = |host, port| udp((host, port), (FAR, 2000), 0, b"question");
    pair.rightwards(&ask(HOST, 1000)).unwrap();
    let (_, port) = source(&pair.rightwards(&ask(SECOND, 1000)).unwrap());
    let (_, third) = source(&pair.rightwards(&ask(THIRD, 1000)).unwrap());
    // Another one comes first in the file, and the third host goes.
    let list = vec![translation(&[HOST6], OUTSIDE6, None), translation(&[HOST, SECOND, THIRD], OUTSIDE, None)];
    let changed = Arc::into_inner(policy(true, SelectorMode::Host)).unwrap().translating(list);
    pair.left.set_policy(Arc::new(changed));
    let answer = |host, port| udp((FAR, 2000), (host, port), 0, b"answer");
    assert_eq!(pair.leftwards(&answer(OUTSIDE, port)), Ok(answer(SECOND, 1000)));
    assert_eq!(pair.leftwards(&answer(OUTSIDE, third)), Ok(answer(THIRD, 1000)));
    let without = Arc::into_inner(policy(true, SelectorMode::Host)).unwrap();
    pair.left.set_policy(Arc::new(without.translating(vec![translation(&[HOST, SECOND], OUTSIDE, None)])));
    assert_eq!(pair.leftwards(&answer(OUTSIDE, port)), Ok(answer(SECOND, 1000)));
    assert_eq!(pair.leftwards(&answer(OUTSIDE, third)), Err(DropReason::NoMapping));
}

#[test]
fn records_name_both_ends_of_a_translation() {
    let mut pair = shared();
    pair.rightwards(&udp((HOST, 1000), (FAR, 2000), 0, b"")).unwrap();
    pair.rightwards(&udp((SECOND, 1000), (FAR, 53), 0, b"")).unwrap_err();
    pair.leftwards(&udp((FAR, 7000), (OUTSIDE, 3000), 0, b"")).unwrap();
    let records: Vec<_> = std::iter::from_fn(|| pair.left.poll_record()).collect();
    let [
        Record::FlowOpened { flow, inside, .. },
        Record::Refused(refused),
        Record::FlowOpened { flow: called, inside: who, .. },
    ] = records[..]
    else {
        panic!("{records:?}")
    };
    let end = |address, port| Some(End { address: ip(address), port });
    assert_eq!((flow.source, flow.source_port, inside), (ip(OUTSIDE), 1000, end(HOST, 1000)));
    assert_eq!(
        (refused.reason, refused.flow.source, refused.inside),
        (DropReason::NoRule, ip(OUTSIDE), end(SECOND, 1000))
    );
    assert_eq!((called.destination, who), (ip(OUTSIDE), end(SECOND, 3000)));
}

/// Packets to the TUN device of a side, trains put together.
fn written(batch: &Batch) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    for (at, packet) in batch.packets().iter().enumerate() {
        if packet.done || packet.role == Role::Follows {
            continue;
        }
        let Some((head, payloads)) = batch.train(at) else {
            written.push(batch.bytes(at).to_vec());
            continue;
        };
        let mut bytes = head.bytes()[vnet::LEN..].to_vec();
        payloads.for_each(|payload| bytes.extend(payload));
        written.push(bytes);
    }
    written
}

/// A long packet from one side to the other: what is written there, and the single packets of the train.
fn long(pair: &mut Pair, rightwards: bool, packet: &[u8], udp: bool) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let said = VnetHeader {
        needs_checksum: true,
        segments: if udp { Segments::Udp } else { Segments::Tcp4 },
        header_len: 0,
        segment_len: 1000,
        checksum_start: 20,
        checksum_offset: if udp { 6 } else { 16 },
    };
    let (from, to) = if rightwards { (&mut pair.left, &mut pair.right) } else { (&mut pair.right, &mut pair.left) };
    let mut out = Batch::with_trains(4, 9216);
    out.vacant_for_train().unwrap()[..packet.len()].copy_from_slice(packet);
    out.push_from_tun(packet.len(), said);
    from.outbound(pair.now, &mut out);
    let mut inn = Batch::new(64, 2048);
    for at in 0..out.len() {
        let sent = out.packets()[at];
        assert!(!sent.done);
        inn.vacant().unwrap()[..sent.len].copy_from_slice(out.bytes(at));
        inn.push(sent.len, 0, Some(across(sent.path.unwrap())));
    }
    to.inbound(pair.now, &mut inn);
    let single = (0..inn.len()).filter(|at| !inn.packets()[*at].done).map(|at| inn.bytes(at).to_vec()).collect();
    (written(&inn), single)
}

#[test]
fn trains_are_translated_as_one_and_each_of_their_packets_is_right_by_itself() {
    for make in [one_to_one as fn() -> Pair, shared] {
        let mut pair = make();
        for side in [&mut pair.left, &mut pair.right] {
            side.set_offloads(Offloads::ALL);
        }
        let (near, mq) = ((HOST, 5000), (FAR, 1414));
        pair.rightwards(&segment(near, mq, SYN, 100, 0, b"")).unwrap();
        pair.leftwards(&segment(mq, (OUTSIDE, 5000), SYN | ACK, 500, 101, b"")).unwrap();
        pair.rightwards(&segment(near, mq, ACK, 101, 501, b"")).unwrap();
        let payload: Vec<u8> = (0..20_300_usize).map(|at| (at / 7) as u8).collect();
        for (rightwards, sent, seen) in [(true, HOST, OUTSIDE), (false, OUTSIDE, HOST)] {
            let ends = |host| if rightwards { [(host, 5000), mq] } else { [mq, (host, 5000)] };
            let (sequence, ack) = if rightwards { (101, 501) } else { (501, 101 + 20_300) };
            let of = |host, from: usize, payload: &[u8], flags| {
                let [source, destination] = ends(host);
                segment(source, destination, flags, sequence + from as u32, ack, payload)
            };
            let (arrived, single) = long(&mut pair, rightwards, &of(sent, 0, &payload, ACK | PSH), false);
            assert_eq!((arrived.len(), single.len()), (1, 21));
            let without = |bytes: &[u8]| [&bytes[..4], &bytes[6..10], &bytes[12..36], &bytes[38..]].concat();
            assert_eq!(without(&arrived[0]), without(&of(seen, 0, &payload, ACK | PSH)));
            for (at, (one, part)) in single.iter().zip(payload.chunks(1000)).enumerate() {
                let flags = if at == 20 { ACK | PSH } else { ACK };
                let mut expected = of(seen, at * 1000, part, flags);
                // Segments count their identification up.
                expected[4..6].copy_from_slice(&one[4..6]);
                expected[10..12].fill(0);
                let sum = checksum(&expected[..20]);
                expected[10..12].copy_from_slice(&sum.to_be_bytes());
                assert_eq!(*one, expected, "segment {at}");
            }
        }
        let datagrams = udp((HOST, 1000), (FAR, 2000), 0, &payload[..5500]);
        let (arrived, single) = long(&mut pair, true, &datagrams, true);
        assert_eq!((arrived.len(), single.len()), (1, 6));
        assert!(single.iter().all(|one| source(one) == (ip(OUTSIDE), 1000)));
        assert!(drops(&pair.left).is_empty() && drops(&pair.right).is_empty());
    }
}

/// Something that a host sends.
#[derive(Clone, Copy, Debug)]
enum Said {
    Datagram { host: u8, port: u16 },
    Echo { host: u8, identifier: u16 },
    Connect { host: u8, port: u16 },
}

fn said() -> impl Strategy<Value = Said> {
    // Few ports, so that they are wanted by several.
    (0_u8..3, 0_u8..6, prop::sample::select(vec![1_u16, 80, 1023, 1024, 3000, 40_000, 40_001, 65_535])).prop_map(
        |(kind, host, port)| match kind {
            0 => Said::Datagram { host, port },
            1 => Said::Echo { host, identifier: port },
            _ => Said::Connect { host, port },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The far side answers whatever it gets; each answer comes to the host and port that asked, and no two of them ever had
    /// one name at a time.
    #[test]
    fn answers_come_to_whom_they_are_for(all in prop::collection::vec((said(), 0_u64..90), 1..60)) {
        let mut pair = pair(vec![translation(&["10.2.0.0/24"], OUTSIDE, Some("10.2.0.0"))]);
        // Who has a name, and since when nothing was heard.
        let mut names: HashMap<(u8, u16), ((u8, u16), portcullis::time::Instant)> = HashMap::new();
        for (said, pause) in all {
            pair.now = pair.now + Duration::from_secs(pause);
            let address = |host: u8| format!("10.2.0.{host}");
            let (protocol, host, port) = match said {
                Said::Datagram { host, port } => (17, host, port),
                Said::Echo { host, identifier } => (1, host, identifier),
                Said::Connect { host, port } => (6, host, port),
            };
            let of = |host: &str, port| match protocol {
                17 => udp((host, port), (FAR, 2000), 0, b"question"),
                1 => echo(host, FAR, 8, port),
                _ => segment((host, port), (FAR, 1414), SYN, 100, 0, b""),
            };
            let back = |host: &str, port| match protocol {
                17 => udp((FAR, 2000), (host, port), 0, b"answer"),
                1 => echo(FAR, host, 0, port),
                _ => segment((FAR, 1414), (host, port), SYN | ACK, 500, 101, b""),
            };
            let came = pair.rightwards(&of(&address(host), port)).unwrap();
            let inner = Inner::parse(&came).unwrap();
            let name = inner.icmp().map_or(inner.flow().source_port, |message| message.identifier());
            prop_assert_eq!(&came, &of(OUTSIDE, name));
            let idle = Duration::from_secs(match protocol { 17 => 300, 1 => 60, _ => 240 });
            if let Some((who, since)) = names.get(&(protocol, name)) {
                prop_assert!(*who == (host, port) || pair.now.since(*since) >= idle, "{who:?} has {name} still");
            }
            names.insert((protocol, name), ((host, port), pair.now));
            prop_assert_eq!(pair.leftwards(&back(OUTSIDE, name)), Ok(back(&address(host), port)));
        }
    }
}
