//! `portcullis policy explain --pcap`: captured flows are judged as live ones would be, from the built binary.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etherparse::PacketBuilder;
use portcullis::lab::mq_session::{self, Plan};
use portcullis::lab::pcap::PcapWriter;
use serde_json::Value;
use support::{Case, EXAMPLE, TRANSLATE};

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 10], 40_000);
const SERVER: [u8; 4] = [203, 0, 113, 20];
const SEGMENT: usize = 1400;

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

/// What was said: whether by the client, and the bytes.
type Said = Vec<(bool, Vec<u8>)>;

/// A TCP connection to `port` in which this is said, with its handshake and its end: IP packets.
fn connection(client: ([u8; 4], u16), port: u16, said: &Said) -> Vec<Vec<u8>> {
    let mut next = [1000_u32, 9000];
    let mut packets = Vec::new();
    let mut send = |from_client: bool, kind: &str, payload: &[u8]| {
        let (at, other) = if from_client { (0, 1) } else { (1, 0) };
        let ip = if from_client {
            PacketBuilder::ipv4(client.0, SERVER, 64)
        } else {
            PacketBuilder::ipv4(SERVER, client.0, 64)
        };
        let (source, destination) = if from_client { (client.1, port) } else { (port, client.1) };
        let tcp = ip.tcp(source, destination, next[at], 60_000);
        let tcp = match kind {
            "syn" => tcp.syn(),
            "syn-ack" => tcp.syn().ack(next[other]),
            "fin" => tcp.fin().ack(next[other]),
            _ => tcp.ack(next[other]),
        };
        let mut packet = Vec::new();
        tcp.write(&mut packet, payload).expect("memory does not fail");
        let counts = u32::from(kind.contains("syn") || kind == "fin") + u32::try_from(payload.len()).unwrap();
        next[at] = next[at].wrapping_add(counts);
        packets.push(packet);
    };
    send(true, "syn", &[]);
    send(false, "syn-ack", &[]);
    send(true, "ack", &[]);
    for (from_client, bytes) in said {
        for segment in bytes.chunks(SEGMENT) {
            send(*from_client, "data", segment);
            send(!*from_client, "ack", &[]);
        }
    }
    send(true, "fin", &[]);
    send(false, "fin", &[]);
    send(true, "ack", &[]);
    packets
}

/// What a faithful MQ client and queue manager say to each other, recorded between them.
fn mq_conversation() -> Said {
    let plan = Plan { puts: 3, gets: 2, message: 5000, heartbeat_every: 2 };
    let queue_manager = TcpListener::bind("127.0.0.1:0").unwrap();
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let (to_server, to_proxy) = (queue_manager.local_addr().unwrap(), between.local_addr().unwrap());
    let server = std::thread::spawn(move || mq_session::server(queue_manager.accept().unwrap().0, plan).unwrap());
    let said = Arc::new(Mutex::new(Said::new()));
    let recorder = std::thread::spawn({
        let said = said.clone();
        move || {
            let client = between.accept().unwrap().0;
            let server = TcpStream::connect(to_server).unwrap();
            let pass = |mut from: TcpStream, mut to: TcpStream, by_client: bool, said: Arc<Mutex<Said>>| {
                let mut room = [0; 16_384];
                while let Ok(count @ 1..) = from.read(&mut room) {
                    // Noted before it is passed on, so that an answer never stands before its question.
                    said.lock().unwrap().push((by_client, room[..count].to_vec()));
                    if to.write_all(&room[..count]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            };
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap(), said.clone());
            let answers = std::thread::spawn(move || pass(back.0, back.1, false, back.2));
            pass(client, server, true, said);
            answers.join().unwrap();
        }
    });
    mq_session::client(TcpStream::connect(to_proxy).unwrap(), plan).unwrap();
    server.join().unwrap();
    recorder.join().unwrap();
    Arc::try_unwrap(said).unwrap().into_inner().unwrap()
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[0; 12][..], &[0x08, 0x00], packet].concat()
}

/// A capture file; `kept` bytes of each frame.
fn capture(case: &Case, packets: &[Vec<u8>], kept: usize) -> PathBuf {
    let path = case.path("flows.pcap");
    let mut writer = PcapWriter::new(fs::File::create(&path).unwrap()).unwrap();
    for (number, packet) in (0..).zip(packets) {
        let frame = ethernet(packet);
        writer.frame(&frame[..frame.len().min(kept)], frame.len(), Duration::from_millis(number)).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// The exit code and the answer.
fn explain(arguments: &[&str]) -> (i32, Value) {
    let output = portcullis(&[&["policy", "explain", "--json"], arguments].concat());
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), answer)
}

fn by_service(service: &str, packets: &[Vec<u8>]) -> (i32, Value) {
    let case = Case::new();
    let file = capture(&case, packets, usize::MAX);
    explain(&["--service", service, "--pcap", file.to_str().unwrap()])
}

#[test]
fn a_faithful_mq_conversation_passes_without_any_configuration() {
    let said = mq_conversation();
    let (exit, answer) = by_service("mq", &connection(CLIENT, 1414, &said));
    assert_eq!((exit, &answer["verdict"]), (0, &"allowed".into()), "{answer}");
    let flow = &answer["flows"][0];
    let bytes = |by_client| said.iter().filter(|(by, _)| *by == by_client).map(|(_, bytes)| bytes.len()).sum::<usize>();
    assert_eq!((&flow["bytes_opener"], &flow["bytes_responder"]), (&bytes(true).into(), &bytes(false).into()));
    assert_eq!((&flow["rule"], &flow["dropped"]), (&"mq".into(), &serde_json::json!({})));
    // The port is whatever the capture has.
    assert_eq!(by_service("mq", &connection(CLIENT, 40_414, &said)).0, 0);
}

#[test]
fn what_is_not_mq_is_refused_with_the_reason_and_the_frame() {
    let ssh = vec![(true, b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec())];
    let (exit, answer) = by_service("mq", &connection(CLIENT, 1414, &ssh));
    let flow = &answer["flows"][0];
    assert_eq!((exit, &flow["verdict"], &flow["reason"]), (1, &"refused".into(), &"not-mq".into()), "{answer}");
    assert_eq!(flow["frame"], 4, "the first one that says something");
    assert!(flow["sentence"].as_str().unwrap().len() > 10);
    // The same flow is none of its business to a rule that looks at nothing.
    assert_eq!(by_service("tcp", &connection(CLIENT, 1414, &ssh)).0, 0);
}

#[test]
fn one_refused_flow_among_allowed_ones_makes_the_exit_code() {
    let mut packets = connection(CLIENT, 1414, &mq_conversation());
    packets.extend(connection((CLIENT.0, 40_001), 1414, &vec![(true, b"GET / HTTP/1.1\r\n".to_vec())]));
    let (exit, answer) = by_service("mq", &packets);
    let verdicts: Vec<_> = answer["flows"].as_array().unwrap().iter().map(|flow| flow["verdict"].clone()).collect();
    assert_eq!((exit, verdicts), (1, vec![Value::from("allowed"), "refused".into()]));
}

#[test]
fn a_flow_without_its_syn_is_incomplete_and_no_refusal() {
    let packets = connection(CLIENT, 1414, &mq_conversation());
    for missing in [1, 2, 3, 5] {
        let (exit, answer) = by_service("mq", &packets[missing..]);
        let flow = &answer["flows"][0];
        assert_eq!((exit, &flow["verdict"], &flow["reason"]), (0, &"incomplete".into(), &"no-syn".into()), "{answer}");
    }
    // A later connection between the same ports is another flow.
    let mut packets = packets[4..].to_vec();
    packets.extend(connection(CLIENT, 1414, &mq_conversation()));
    let (_, answer) = by_service("mq", &packets);
    let verdicts: Vec<_> = answer["flows"].as_array().unwrap().iter().map(|flow| flow["verdict"].clone()).collect();
    assert_eq!(verdicts, [Value::from("incomplete"), "allowed".into()]);
}

#[test]
fn packets_that_the_capture_has_cut_make_their_flow_incomplete() {
    let case = Case::new();
    let file = capture(&case, &connection(CLIENT, 1414, &mq_conversation()), 96);
    let (exit, answer) = explain(&["--service", "mq", "--pcap", file.to_str().unwrap()]);
    let flow = &answer["flows"][0];
    assert_eq!((exit, &flow["verdict"], &flow["reason"]), (0, &"incomplete".into(), &"cut".into()), "{answer}");
}

#[test]
fn a_capture_is_judged_by_the_rules_of_a_file() {
    let case = Case::new();
    let file = case.file(EXAMPLE);
    let judged = |packets: &[Vec<u8>]| {
        let capture = capture(&case, packets, usize::MAX);
        explain(&["--file", file.to_str().unwrap(), "--pcap", capture.to_str().unwrap()])
    };
    let mq = connection(CLIENT, 1414, &mq_conversation());
    let (exit, answer) = judged(&mq);
    assert_eq!(
        (exit, &answer["flows"][0]["rule"], &answer["flows"][0]["clause"]),
        (0, &"mq".into(), &"1a".into()),
        "{answer}"
    );
    let nothing = Said::new();
    for (packets, reason) in [
        (connection(CLIENT, 23, &nothing), "no-rule"),
        (connection(([192, 0, 2, 99], 5), 1414, &nothing), "no-rule"),
        (connection(CLIENT, 1414, &vec![(true, b"\x16\x03\x01".to_vec()), (false, b"220 mail\r\n".to_vec())]), ""),
    ] {
        let (exit, answer) = judged(&packets);
        assert_eq!(exit, 1, "{answer}");
        if !reason.is_empty() {
            assert_eq!(answer["flows"][0]["reason"], reason);
        }
    }
    // Opened by the wrong side: the same packets with their sides changed.
    let turned: Vec<_> = mq
        .iter()
        .map(|packet| {
            let mut packet = packet.clone();
            let (source, destination) = (packet[12..16].to_vec(), packet[16..20].to_vec());
            packet[12..16].copy_from_slice(&destination);
            packet[16..20].copy_from_slice(&source);
            packet
        })
        .collect();
    let (exit, answer) = judged(&turned);
    assert_eq!((exit, &answer["flows"][0]["reason"]), (1, &"wrong-direction".into()));
}

#[test]
fn a_capture_from_either_side_of_a_translation_is_judged_under_the_outside_address() {
    let case = Case::new();
    let judged = |text: &str, packets: &[Vec<u8>]| {
        let file = case.file(&format!("{EXAMPLE}{text}"));
        let capture = capture(&case, packets, usize::MAX);
        explain(&["--file", file.to_str().unwrap(), "--pcap", capture.to_str().unwrap()])
    };
    let said = mq_conversation();
    let inside = ([10, 1, 0, 10], 40_000);
    let outside = CLIENT;
    for (client, known_as) in [(inside, Some("192.0.2.10")), (outside, None)] {
        let (exit, answer) = judged(TRANSLATE, &connection(client, 1414, &said));
        let flow = &answer["flows"][0];
        assert_eq!((exit, &flow["verdict"], &flow["rule"]), (0, &"allowed".into(), &"mq".into()), "{answer}");
        assert_eq!((flow["known_as"].as_str(), &flow["recognised"]), (known_as, &true.into()), "{answer}");
        // The flow is shown as the capture has it.
        assert_eq!(flow["flow"]["source"], std::net::IpAddr::from(client.0).to_string());
        let (exit, answer) = judged(TRANSLATE, &connection(client, 23, &Said::new()));
        let flow = &answer["flows"][0];
        assert_eq!((exit, &flow["reason"], flow["known_as"].as_str()), (1, &"no-rule".into(), known_as), "{answer}");
    }
    // Another host has no outside address, and is refused under its own.
    let (exit, answer) = judged(TRANSLATE, &connection(([10, 1, 0, 11], 40_000), 1414, &said));
    assert_eq!((exit, answer["flows"][0]["known_as"].as_str()), (1, None), "{answer}");
    // Two hosts behind one address, from the same port.
    let shared = TRANSLATE.replace("\"10.1.0.10\"", "[\"10.1.0.10\", \"10.1.0.11\"]");
    let mut packets = connection(inside, 1414, &said);
    packets.extend(connection(([10, 1, 0, 11], 40_000), 1414, &said));
    packets.extend(connection((CLIENT.0, 41_000), 1414, &said));
    let (exit, answer) = judged(&shared, &packets);
    let flows = answer["flows"].as_array().unwrap();
    let told: Vec<_> = flows.iter().map(|flow| (flow["verdict"].as_str(), flow["known_as"].as_str())).collect();
    let behind = (Some("allowed"), Some("192.0.2.10"));
    assert_eq!((exit, told), (0, vec![behind, behind, (Some("allowed"), None)]), "{answer}");
    // Without a file nobody knows of names.
    assert_eq!(by_service("mq", &connection(inside, 1414, &said)).1["flows"][0]["known_as"], Value::Null);

    // People read it beside the flow.
    let file = case.file(&format!("{EXAMPLE}{TRANSLATE}"));
    let file = file.to_str().unwrap();
    let capture = capture(&case, &connection(inside, 1414, &said), usize::MAX);
    let output = portcullis(&["policy", "explain", "--file", file, "--pcap", capture.to_str().unwrap()]);
    let shown = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("tcp 10.1.0.10:40000 -> 203.0.113.20:1414") && shown.contains("192.0.2.10"), "{shown}");
}

#[test]
fn what_belongs_to_no_flow_is_counted_and_a_damaged_file_says_so() {
    let case = Case::new();
    let path = capture(&case, &connection(CLIENT, 1414, &mq_conversation()), usize::MAX);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (exit, answer) = explain(&["--service", "mq", "--pcap", path.to_str().unwrap()]);
    assert_eq!((exit, &answer["cut"]), (0, &true.into()));
    let mut udp = Vec::new();
    PacketBuilder::ipv4(CLIENT.0, SERVER, 64).udp(5353, 53).write(&mut udp, b"dns").unwrap();
    let mut broken = udp.clone();
    broken[0] = 0x41;
    let (exit, answer) = by_service("mq", &[udp, broken]);
    assert_eq!((exit, &answer["flows"], &answer["verdict"]), (0, &serde_json::json!([]), &Value::Null), "{answer}");
    assert_eq!(answer["skipped"], serde_json::json!({"not-tcp": 1, "bad-ip-header": 1}));
}

#[test]
fn what_is_no_capture_is_a_usage_error_with_a_sentence() {
    let case = Case::new();
    let path = case.path("no.pcap");
    for content in [&b""[..], b"GIF89a.............."] {
        fs::write(&path, content).unwrap();
        let output = portcullis(&["policy", "explain", "--service", "mq", "--pcap", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("capture") | said.contains("pcap"), "{said}");
    }
    for arguments in [&["--service", "mq"][..], &["--service", "ftp", "--pcap", "x"], &["--from", "192.0.2.1"]] {
        assert_eq!(portcullis(&[&["policy", "explain"], arguments].concat()).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_answer_for_people_names_each_flow_and_what_became_of_it() {
    let case = Case::new();
    let file = capture(&case, &connection(CLIENT, 1414, &vec![(true, b"EHLO x\r\n".to_vec())]), usize::MAX);
    let output = portcullis(&["policy", "explain", "--service", "mq", "--pcap", file.to_str().unwrap()]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("REFUSED") && shown.contains("tcp 192.0.2.10:40000 -> 203.0.113.20:1414"), "{shown}");
    assert!(shown.contains("1 flows: 0 allowed, 0 incomplete, 1 refused"), "{shown}");
}

/// What a gateway answers that is asked for its flows, and what it was asked.
fn live(answer: &'static str, more: &[&str]) -> (Output, String) {
    let case = Case::new();
    let socket = case.path("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let gateway = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream.try_clone().unwrap()), &mut request).unwrap();
        writeln!(stream, "{answer}").unwrap();
        request.trim_end().to_owned()
    });
    let arguments =
        [&["policy", "explain", "--live", "--from", "192.0.2.10", "--socket", socket.to_str().unwrap()], more].concat();
    (portcullis(&arguments), gateway.join().unwrap())
}

#[test]
fn a_live_flow_is_explained_by_the_running_gateway() {
    let flow = r#"{"flows":[{"flow":{"protocol":6,"source":"192.0.2.10","source_port":40000,"destination":"203.0.113.20","destination_port":1414},"tunnel":"cbp","agreement":"cbp","rule":"mq","clause":"1a","state":"open","service":"mq","recognised":true,"expires_in_s":7440,"bytes_out":1500,"bytes_in":20}],"more":false}"#;
    let (output, asked) = live(flow, &["--to", "203.0.113.20:1414"]);
    assert_eq!(asked, r#"{"op":"flows","from":"192.0.2.10","to":"203.0.113.20","port":1414}"#);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for words in ["tcp 192.0.2.10:40000 -> 203.0.113.20:1414", "open", "mq", "1a of cbp", "1.5 kB", "2 h 4 min"] {
        assert!(shown.contains(words), "no {words} in {shown}");
    }
    let (output, _) = live(flow, &["--to", "203.0.113.20", "--json"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), flow);
}

#[test]
fn that_no_flow_lives_there_is_1() {
    let (output, asked) = live(r#"{"flows":[],"more":false}"#, &["--to", "203.0.113.20"]);
    assert_eq!(
        (output.status.code(), asked.as_str()),
        (Some(1), r#"{"op":"flows","from":"192.0.2.10","to":"203.0.113.20"}"#)
    );
}

#[test]
fn checksums_that_the_network_card_would_have_completed_are_no_reason_to_refuse() {
    let mut packets = connection(CLIENT, 1414, &mq_conversation());
    for packet in packets.iter_mut().filter(|packet| packet[12..16] == CLIENT.0) {
        packet[36..38].copy_from_slice(&[0xde, 0xad]);
    }
    let (exit, answer) = by_service("mq", &packets);
    assert_eq!((exit, &answer["verdict"]), (0, &"allowed".into()), "{answer}");
    assert!(answer["mended"].as_u64().unwrap() > 10 && answer["flows"][0]["recognised"] == true, "{answer}");
}

#[test]
fn a_packet_that_the_capture_has_missed_makes_its_flow_incomplete() {
    let said = vec![(true, b"EHLO a.example\r\n".to_vec()), (true, b"MAIL FROM:<a@example>\r\n".to_vec())];
    let mut mail = vec![(false, b"220 mail.example\r\n".to_vec())];
    mail.extend(said);
    let mut packets = connection(CLIENT, 25, &mail);
    // The greeting is there, the client's first line is not.
    packets.remove(5);
    let (exit, answer) = by_service("smtp", &packets);
    let flow = &answer["flows"][0];
    assert_eq!((exit, &flow["verdict"], &flow["reason"]), (0, &"incomplete".into(), &"gap".into()), "{answer}");
}

#[test]
fn segments_out_of_order_and_sent_twice_are_read_as_their_receiver_reads_them() {
    let mut packets = connection(CLIENT, 1414, &mq_conversation());
    // The first two bytes of the conversation change places with what follows, and everything is sent twice.
    let doubled: Vec<_> = packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    assert_eq!(by_service("mq", &doubled).0, 0);
    packets.swap(3, 5);
    let (exit, answer) = by_service("mq", &packets);
    assert_eq!(exit, 0, "{answer}");
}
