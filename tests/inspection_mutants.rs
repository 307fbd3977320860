//! Conversations of every protocol that is known, with one segment changed anywhere in them, before Wireshark's dissectors and the
//! recognisers: where the dissector finds no such protocol any more, the conversation does not go on.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod conversations;
mod lab_common;

use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use conversations::Turn;
use portcullis::entropy::{Entropy, SeededEntropy};
use portcullis::inspect::recognise::{Recogniser, Speaker};
use portcullis::lab::mq_dialect::{self, Dialect, Names};
use portcullis::lab::pcap::PcapWriter;
use portcullis::policy::inspection::{MqLimits, Wrapping};
use portcullis::policy::{Inspection, Service};

/// How many conversations of each protocol the ordinary run changes; `PORTCULLIS_MUTANTS=25000` changes more, `PORTCULLIS_SEED=n` others.
const MUTANTS: usize = 400;
/// Conversations in one capture.
const BATCH: usize = 5000;

/// One protocol, as its dissector shows it.
struct Protocol {
    service: Service,
    demands: Inspection,
    port: u16,
    conversations: Vec<Vec<Turn>>,
    /// So many turns are in the clear.
    turns: usize,
    options: &'static [&'static str],
    fields: &'static [&'static str],
    /// A frame that is shorter than this cannot be judged by itself: the next one goes on with it.
    shortest: usize,
    /// Nor can one that says that it is longer than it is.
    length: fn(usize, &[u8]) -> usize,
    /// Whether a frame of this turn is what it should be, by the values of `fields`.
    sound: fn(usize, bool, &[&str]) -> bool,
}

fn protocols() -> Vec<Protocol> {
    let mq = Dialect::all().flat_map(|dialect| {
        let names = Names::default();
        let talks = [mq_dialect::client(dialect, &names, 10), mq_dialect::sender(dialect, &names, 10)];
        talks.map(|mut said| {
            // Something behind the last segment, so that one that was cut short is missed.
            let heartbeat = mq_dialect::lone(dialect, 0x09, &[]);
            said.extend([heartbeat.clone(), mq_dialect::Said { by_opener: false, ..heartbeat }]);
            said
        })
    });
    let turns = |said: Vec<mq_dialect::Said>| said.into_iter().map(|said| (said.by_opener, said.bytes)).collect();
    vec![
        Protocol {
            service: Service::Mq,
            demands: Inspection::Mq(MqLimits { wrapping: Wrapping::Refused, ..MqLimits::default() }),
            port: 1414,
            conversations: mq.map(turns).collect(),
            turns: usize::MAX,
            options: &["-o", "mq.desegment:FALSE", "-o", "mq.reassembly:FALSE"],
            fields: &["mq.tsh.type"],
            shortest: 36,
            length: |_, _| 0,
            sound: |_, _, values| values[0].starts_with("0x"),
        },
        Protocol {
            service: Service::Sftp,
            demands: Inspection::of(Service::Sftp),
            port: 22,
            conversations: vec![conversations::ssh()],
            // What follows belongs to the method of the key exchange, which nobody looks into.
            turns: 5,
            options: &["-o", "ssh.desegment_buffers:FALSE"],
            fields: &["ssh.protocol", "ssh.message_code", "_ws.malformed"],
            shortest: 1,
            length: |turn, bytes| match bytes.first_chunk() {
                // RFC 4253 §6.
                Some(length) if turn > 1 => 4_usize.saturating_add(u32::from_be_bytes(*length) as usize),
                _ => 0,
            },
            sound: |turn, _, values| match turn {
                0 | 1 => values[0].starts_with("SSH-2.0-"),
                // RFC 4253 §7.1.
                2 | 3 => values[1] == "20" && values[2].is_empty(),
                // RFC 4253 §7.1: what is of no method, or the method of the key exchange, which has the numbers 30 to 49.
                _ => values[1].parse().is_ok_and(|code: u8| (1..5).contains(&code) || (30..50).contains(&code)),
            },
        },
        Protocol {
            service: Service::Smtp,
            demands: Inspection::of(Service::Smtp),
            port: 25,
            conversations: vec![conversations::mail(), conversations::mail_in_tls()],
            turns: 5,
            options: &["-o", "smtp.desegment_lines:FALSE"],
            fields: &["smtp.req.command", "smtp.response.code", "_ws.malformed"],
            shortest: 1,
            length: |_, _| 0,
            sound: |_, by_opener, values| {
                let mut all = values[usize::from(!by_opener)].split(',');
                // RFC 5321 §4.5.1 and §4.1.1, RFC 3207, RFC 4954, RFC 3030, of which tshark shows four letters; RFC 5321 §4.2.
                let known = [
                    "EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "QUIT", "STAR",
                    "AUTH", "BDAT",
                ];
                if by_opener {
                    all.all(|command| known.iter().any(|known| known.eq_ignore_ascii_case(command)))
                } else {
                    all.all(|code| code.len() == 3 && code.starts_with(['2', '3', '4', '5']))
                }
            },
        },
        Protocol {
            service: Service::Tls,
            demands: Inspection::of(Service::Tls),
            port: 443,
            conversations: vec![conversations::bare_tls(true), conversations::bare_tls(false), conversations::tls13()],
            turns: 2,
            options: &["-o", "tls.desegment_ssl_records:FALSE"],
            fields: &["tls.record.content_type", "tls.handshake.type", "_ws.malformed"],
            shortest: 5,
            length: |_, bytes| {
                5 + bytes.get(3..5).map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]))
            },
            sound: |turn, _, values| {
                let first = |values: &str| values.split(',').next().unwrap().to_owned();
                first(values[0]) == "22" && first(values[1]) == ["1", "2"][turn] && values[2].is_empty()
            },
        },
    ]
}

/// Whether a whole conversation passes.
fn passes(protocol: &Protocol, turns: &[Turn]) -> bool {
    let mut recogniser = Recogniser::of(&protocol.demands, protocol.port).unwrap();
    turns.iter().all(|(by_opener, bytes)| {
        let speaker = if *by_opener { Speaker::Opener } else { Speaker::Responder };
        recogniser.hear(&protocol.demands, speaker, bytes).is_ok()
    }) && recogniser.settled()
}

/// Each turn as a frame; tshark's values of the last frame of each flow.
fn dissected(file: &Path, protocol: &Protocol, flows: &[Vec<Turn>]) -> Vec<String> {
    let mut pcap = PcapWriter::new(BufWriter::new(std::fs::File::create(file).unwrap())).unwrap();
    let mut clock = Duration::ZERO;
    for (number, turns) in flows.iter().enumerate() {
        // A host for each: tshark takes some ports for other protocols.
        let [_, a, b, c] = (number as u32).to_be_bytes();
        let ends = [([10, a, b, c], 51_414), ([192, 0, 2, 1], protocol.port)];
        let mut next = [1_u32, 1];
        for (by_opener, bytes) in turns {
            let (own, other) = if *by_opener { (0, 1) } else { (1, 0) };
            let frame = frame(ends[own], ends[other], next[own], next[other], bytes);
            next[own] += bytes.len() as u32;
            clock += Duration::from_micros(1);
            pcap.frame(&frame, frame.len(), clock).unwrap();
        }
    }
    pcap.finish().unwrap();
    let fields = protocol.fields.iter().flat_map(|field| ["-e", field]);
    let arguments: Vec<&str> =
        protocol.options.iter().copied().chain(["-T", "fields", "-E", "aggregator=,"]).chain(fields).collect();
    let told = lab_common::tshark(file, &arguments);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), flows.iter().map(Vec::len).sum::<usize>(), "a line for each frame");
    let mut next = 0;
    flows
        .iter()
        .map(|turns| {
            next += turns.len();
            lines[next - 1].to_owned()
        })
        .collect()
}

/// Ethernet, IPv4 and TCP around a segment of a connection that is under way.
fn frame(from: ([u8; 4], u16), to: ([u8; 4], u16), sequence: u32, acknowledged: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    out.extend(((40 + payload.len()) as u16).to_be_bytes());
    out.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    out.extend(from.0);
    out.extend(to.0);
    out.extend(from.1.to_be_bytes());
    out.extend(to.1.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(acknowledged.to_be_bytes());
    out.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    out
}

/// One segment, changed: bits flipped, bytes set, put in and taken out, cut, or another protocol's in its place.
fn mutant(honest: &[u8], strangers: &[Vec<u8>], random: &mut dyn Entropy) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    // Half of the changes are near the beginning, where most of what is judged stands.
    let reach = if random.below(2) == 0 { bytes.len().min(48) } else { bytes.len() } as u64;
    for _ in 0..=random.below(3) {
        let at = (random.below(reach) as usize).min(bytes.len().saturating_sub(1));
        let [value] = random.array();
        match random.below(9) {
            _ if bytes.is_empty() => bytes.push(value),
            0 | 1 => bytes[at] ^= 1 << (value & 7),
            2 => bytes.insert(at, value),
            3 => drop(bytes.remove(at)),
            4 => {
                let stranger = &strangers[random.below(strangers.len() as u64) as usize];
                let keep = [0, 0, 1, 4, 5, 8, 28][random.below(7) as usize].min(honest.len());
                bytes = [&honest[..keep], stranger].concat();
            }
            5 => bytes.truncate(at),
            6 => {
                let behind = bytes.split_off(at);
                bytes.extend(behind.iter().map(|byte| byte.wrapping_add(value)));
            }
            _ => bytes[at] = value,
        }
    }
    bytes
}

#[test]
fn a_conversation_in_which_the_dissector_finds_its_protocol_no_more_does_not_go_on() {
    const NAME: &str = "a_conversation_in_which_the_dissector_finds_its_protocol_no_more_does_not_go_on";
    if !lab_common::has_program("tshark") {
        return lab_common::not_run(NAME, "tshark is not installed");
    }
    let mutants = std::env::var("PORTCULLIS_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTANTS);
    let seed = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(43);
    let protocols = protocols();
    let strangers: Vec<Vec<u8>> = protocols
        .iter()
        .flat_map(|protocol| protocol.conversations[0].iter().take(3).map(|(_, bytes)| bytes.clone()))
        .chain(
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"AMQP\0\0\x09\x01", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c"]
                .map(<[u8]>::to_vec),
        )
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for protocol in &protocols {
        for conversation in &protocol.conversations {
            assert!(passes(protocol, conversation), "{:?}", protocol.service);
        }
        // What is honest is sound, frame by frame: else what is changed would say nothing.
        let honest: Vec<(usize, Vec<Turn>)> = protocol
            .conversations
            .iter()
            .flat_map(|turns| (0..turns.len().min(protocol.turns)).map(|last| (last, turns[..=last].to_vec())))
            .collect();
        let flows: Vec<Vec<Turn>> = honest.iter().map(|(_, turns)| turns.clone()).collect();
        let shown = dissected(&folder.path().join("honest.pcap"), protocol, &flows);
        for ((last, turns), line) in honest.iter().zip(shown) {
            let values: Vec<&str> = line.split('\t').collect();
            assert!((protocol.sound)(*last, turns[*last].0, &values), "{:?} turn {last}: {values:?}", protocol.service);
        }
        let mut random = SeededEntropy::new(seed);
        let (mut unsound, mut stopped, mut misses) = (0, 0, Vec::new());
        for begun in (0..mutants).step_by(BATCH) {
            let (mut flows, mut verdicts) = (Vec::new(), Vec::new());
            for number in begun..mutants.min(begun + BATCH) {
                let honest = &protocol.conversations[number % protocol.conversations.len()];
                let turn = (&mut random as &mut dyn Entropy).below(honest.len().min(protocol.turns) as u64) as usize;
                let mut turns = honest.clone();
                turns[turn].1 = mutant(&honest[turn].1, &strangers, &mut random);
                verdicts.push((turn, turns[turn].0, passes(protocol, &turns)));
                turns.truncate(turn + 1);
                flows.push(turns);
            }
            let shown = dissected(&folder.path().join("mutants.pcap"), protocol, &flows);
            for (((turn, by_opener, passes), line), flow) in verdicts.into_iter().zip(shown).zip(&flows) {
                let values: Vec<&str> = line.split('\t').collect();
                let bytes = &flow[turn].1;
                let whole = bytes.len() >= protocol.shortest.max((protocol.length)(turn, bytes));
                let sound = !whole || (protocol.sound)(turn, by_opener, &values);
                unsound += usize::from(!sound);
                stopped += usize::from(!passes);
                if passes && !sound {
                    misses.push(format!("turn {turn}, {values:?}: {}", hex::encode(&flow[turn].1)));
                }
            }
        }
        println!("{:?}: {mutants} changed, {stopped} stopped; {unsound} are none to tshark", protocol.service);
        all.extend(misses.into_iter().map(|miss| format!("{:?}: {miss}", protocol.service)));
        assert!(unsound > mutants / 20, "{:?}: the dissector refuses only {unsound}", protocol.service);
        assert!(mutants - stopped > mutants / 100, "{:?}: everything is stopped", protocol.service);
    }
    assert!(all.is_empty(), "{} pass:\n{}", all.len(), all[..all.len().min(40)].join("\n"));
}
