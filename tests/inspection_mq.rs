//! The recogniser of MQ against Wireshark's dissector: what the lab speaks in all dialects is MQ to both, and what is none to
//! the dissector never passes the recogniser.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use portcullis::entropy::{Entropy, SeededEntropy};
use portcullis::event::DropReason;
use portcullis::inspect::recognise::{Objection, Recogniser, Speaker};
use portcullis::lab::mq_dialect::{self, Dialect, Names, Said};
use portcullis::lab::pcap::PcapWriter;
use portcullis::policy::Inspection;
use portcullis::policy::inspection::{MqLimits, Wrapping};

mod lab_common;

/// How many mutants the ordinary run makes; `PORTCULLIS_MUTANTS=100000` makes more.
const MUTANTS: u64 = 4000;

/// One flow in a capture: a port, and what was said in frames of at most 64 KiB.
fn write(file: &Path, flows: &[Vec<(bool, Vec<u8>)>]) {
    let mut pcap = PcapWriter::new(BufWriter::new(std::fs::File::create(file).unwrap())).unwrap();
    let mut clock = Duration::ZERO;
    for (number, turns) in flows.iter().enumerate() {
        // A host for each: tshark takes some ports for other protocols.
        let [_, a, b, c] = (number as u32).to_be_bytes();
        let (host, port) = ([10, a, b, c], 51_414);
        let mut next = [1_u32, 1];
        for (by_opener, bytes) in turns {
            let (own, other) = if *by_opener { (0, 1) } else { (1, 0) };
            let ends = [(host, port), ([192, 0, 2, 1], 1414)];
            let frame = frame(ends[own], ends[other], next[own], next[other], bytes);
            next[own] += bytes.len() as u32;
            clock += Duration::from_micros(1);
            pcap.frame(&frame, frame.len(), clock).unwrap();
        }
    }
    pcap.finish().unwrap();
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

fn turns(said: &[Said]) -> Vec<(bool, Vec<u8>)> {
    said.iter().map(|said| (said.by_opener, said.bytes.clone())).collect()
}

/// Where and why the recogniser stops, counted over what that side said.
fn recognised(turns: &[(bool, Vec<u8>)]) -> Result<(), (bool, usize, DropReason)> {
    let demands = Inspection::Mq(MqLimits { wrapping: Wrapping::Refused, ..MqLimits::default() });
    let mut recogniser = Recogniser::of(&demands, 1414).unwrap();
    let mut said = [0, 0];
    for (by_opener, bytes) in turns {
        let speaker = if *by_opener { Speaker::Opener } else { Speaker::Responder };
        let count = &mut said[usize::from(*by_opener)];
        recogniser
            .hear(&demands, speaker, bytes)
            .map_err(|Objection { at, reason }| (*by_opener, *count + at, reason))?;
        *count += bytes.len();
    }
    Ok(())
}

fn missing(name: &str) -> bool {
    let missing = !lab_common::has_program("tshark");
    if missing {
        lab_common::not_run(name, "tshark is not installed");
    }
    missing
}

#[test]
fn tshark_calls_every_segment_of_every_dialect_well_formed() {
    if missing("tshark_calls_every_segment_of_every_dialect_well_formed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dialects.pcap");
    let names = Names::default();
    let mut flows = Vec::new();
    for dialect in Dialect::all() {
        for message in [10, 100_000] {
            flows.push(turns(&mq_dialect::client(dialect, &names, message)));
        }
        flows.push(turns(&mq_dialect::sender(dialect, &names, 500)));
        let mut begun = mq_dialect::client(dialect, &names, 0);
        begun.truncate(4);
        begun.extend([mq_dialect::put1(dialect, &names), mq_dialect::spi_open(dialect, &names)]);
        flows.push(turns(&begun));
    }
    for flow in &flows {
        assert_eq!(recognised(flow), Ok(()));
    }
    write(&file, &flows);
    let fields = [
        "-o",
        "mq.reassembly:FALSE",
        "-T",
        "fields",
        "-e",
        "mq.tsh.type",
        "-e",
        "mq.od.objname",
        "-e",
        "mq.id.channelname",
    ];
    let told = lab_common::tshark(&file, &fields);
    let kinds = told.lines().filter(|line| line.split('\t').next().is_some_and(|kind| kind.starts_with("0x"))).count();
    assert_eq!(kinds, flows.iter().map(Vec::len).sum::<usize>(), "a type for each segment");
    let named = |name: &str| told.matches(name).count();
    // The dissector reads the queue in each open, in its reply and behind the verb; and the channel in each INITIAL_DATA.
    assert!(named(names.queue) >= Dialect::all().count() * 6, "{}", named(names.queue));
    assert!(named(names.channel) >= Dialect::all().count() * 12, "{}", named(names.channel));
    assert_eq!(
        lab_common::tshark(&file, &["-o", "mq.reassembly:FALSE", "-Y", "_ws.malformed || tcp.analysis.flags"]),
        ""
    );
}

/// What tshark makes of each flow's last frame: whether it is MQ, and sound.
fn dissected(folder: &Path, flows: &[Vec<(bool, Vec<u8>)>]) -> Vec<bool> {
    let file = folder.join("mutants.pcap");
    write(&file, flows);
    // Each segment by itself: one that says that it is longer than it is would swallow what follows.
    let told = lab_common::tshark(
        &file,
        &[
            "-o",
            "mq.desegment:FALSE",
            "-o",
            "mq.reassembly:FALSE",
            "-T",
            "fields",
            "-e",
            "mq.tsh.type",
            "-e",
            "_ws.malformed",
        ],
    );
    let lines: Vec<&str> = told.lines().collect();
    let mut next = 0;
    flows
        .iter()
        .map(|turns| {
            next += turns.len();
            let mut columns = lines[next - 1].split('\t');
            let kind = columns.next().unwrap_or_default();
            kind.starts_with("0x") && columns.next().unwrap_or_default().is_empty()
        })
        .collect()
}

/// Bytes of a first segment, changed: flipped, set, put in, taken out, or the beginning of another protocol.
fn mutant(first: &[u8], strangers: &[Vec<u8>], random: &mut dyn Entropy) -> Vec<u8> {
    let mut bytes = first.to_vec();
    // Most changes are among what is judged.
    let head = bytes.len().min(72) as u64;
    for _ in 0..=random.below(3) {
        let at = random.below(head) as usize;
        let [value] = random.array();
        match random.below(8) {
            0 => bytes[at] ^= 1 << (value & 7),
            1 => bytes.insert(at, value),
            2 => drop(bytes.remove(at)),
            3 => {
                let stranger = &strangers[random.below(strangers.len() as u64) as usize];
                let keep = [0, 0, 1, 3, 4, 8, 28][random.below(7) as usize].min(stranger.len());
                bytes = [&first[..keep], &stranger[keep..]].concat();
                bytes.resize(first.len().max(bytes.len()), value);
            }
            4 => {
                let keep = random.below(28) as usize;
                bytes.truncate(keep);
                bytes.resize_with(first.len(), || {
                    let [byte] = random.array();
                    byte
                });
            }
            _ => bytes[at] = value,
        }
    }
    bytes
}

#[test]
fn what_is_no_mq_to_tshark_does_not_pass() {
    if missing("what_is_no_mq_to_tshark_does_not_pass") {
        return;
    }
    let mutants = std::env::var("PORTCULLIS_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTANTS);
    let strangers: Vec<Vec<u8>> = STRANGERS.iter().map(|bytes| [bytes, &[0x20; 300][..]].concat()).collect();
    let seed = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(41);
    let mut random = SeededEntropy::new(seed);
    let firsts: Vec<Vec<u8>> =
        Dialect::all().map(|dialect| mq_dialect::client(dialect, &Names::default(), 0).remove(0).bytes).collect();
    let flows: Vec<Vec<(bool, Vec<u8>)>> = (0..mutants)
        .map(|number| {
            let first = &firsts[number as usize % firsts.len()];
            let mut turns = vec![(true, mutant(first, &strangers, &mut random))];
            // A segment is judged where it ends.
            let length = turns[0].1.get(4..8).map_or(0, |length| u32::from_be_bytes(length.try_into().unwrap()));
            if length as usize > turns[0].1.len() && length <= 1024 {
                turns[0].1.resize(length as usize, 0);
            }
            turns
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let sound = dissected(folder.path(), &flows);
    let mut tally: BTreeMap<(bool, bool), u64> = BTreeMap::new();
    for (turns, sound) in flows.iter().zip(sound) {
        let passes = recognised(turns).is_ok();
        assert!(sound || !passes, "it is no MQ to tshark, and passes: {}", hex::encode(&turns[0].1));
        *tally.entry((sound, passes)).or_default() += 1;
    }
    println!("(to tshark, to the recogniser): {tally:?}");
    assert!(tally[&(false, false)] > mutants / 5, "{tally:?}");
    assert!(tally[&(true, true)] > mutants / 50, "{tally:?}");
}

/// Beginnings of other protocols, from their specifications.
const STRANGERS: [&[u8]; 12] = [
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0x55, 0x66],
    b"GET / HTTP/1.1\r\nHost: example.net\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"EHLO example.net\r\n",
    b"AMQP\x00\x00\x09\x01",
    &[0x10, 0x10, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 4, b'a', b'b', b'c', b'd'],
    b"CONNECT example.net:443 HTTP/1.1\r\n\r\n",
    b"USER anonymous\r\n",
    &[5, 1, 0],
    &[3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0],
    &[0x00, 0x00, 0x00, 0x85, 0xff, b'S', b'M', b'B', 0x72],
];
