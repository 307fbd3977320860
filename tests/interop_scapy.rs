//! Raw ESP and extended sequence numbers, which strongSwan's userspace ESP lacks, proved against scapy's own ESP.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{Topology, V4, inner_networks};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

const PYTHON: &str = "/usr/bin/python3";

fn scapy(request: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/scapy_esp.py");
    let mut command = Command::new(PYTHON);
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("scapy: {error}"))
}

/// Two gateways of ours with raw ESP and ESN, a capture between them, and their keys.
struct Scene {
    topology: Topology,
    folder: tempfile::TempDir,
    capture: Option<Capture>,
    a: Gateway,
    b: Gateway,
}

impl Scene {
    fn set(name: &str) -> Option<Self> {
        let there = Command::new(PYTHON).args(["-c", "import scapy.layers.ipsec"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            lab_common::not_run(name, "python3-scapy is not installed");
            return None;
        }
        let topology = lab_common::topology(name)?;
        topology.cut_to_packets().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pcap = folder.path().join("underlay.pcap");
        let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), Some(&pcap)).unwrap();
        // One of them opens: two that open make two IKE SAs, and the table would have keys of both.
        let start = |side, place, local, peer, direction, begin| {
            let config = format!(
                "[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n\n\
                 [agreement.lab]\nkind = \"lab\"\n\n\
                 [tunnel.peer]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = \"{peer}\"\n\
                 auth = {{ method = \"psk\", secret = \"hex:{}\" }}\n\
                 ike = [\"aes256gcm16-prfsha384-ecp384\"]\nesp = [\"aes256gcm16-ecp384-esn\"]\nstart = \"{begin}\"\n\n\
                 [[rule]]\nname = \"mq\"\ntunnel = \"peer\"\nclause = \"lab\"\nfrom = [\"{}\"]\nto = [\"{}\"]\n\
                 service = \"mq\"\ndirection = \"{direction}\"\n",
                interop::PSK,
                V4.host_a,
                V4.host_b
            );
            let program = Path::new(env!("CARGO_BIN_EXE_portcullis"));
            let keys = folder.path().join("keys").join(side);
            Gateway::start(program, place, &folder.path().join(side), &config, Some(&keys)).unwrap()
        };
        let mut a = start("a", &topology.gateway_a, V4.gateway_a, V4.gateway_b, "outbound", "always");
        let mut b = start("b", &topology.gateway_b, V4.gateway_b, V4.gateway_a, "inbound", "manual");
        for gateway in [&mut a, &mut b] {
            let status = gateway.wait_until_up(Duration::from_secs(15));
            let status = status.unwrap_or_else(|| panic!("no tunnel:\n{}", gateway.log()));
            assert_eq!(status["tunnels"][0]["children"][0]["encapsulation"], "raw", "{status}");
        }
        Some(Self { topology, folder, capture: Some(capture), a, b })
    }

    /// SPI and key of every child SA, both directions, from gateway A's table.
    fn keys(&self) -> Vec<(String, String, String)> {
        let table = std::fs::read_to_string(self.folder.path().join("keys/a/esp_sa")).unwrap();
        let fields =
            |line: &str| -> Vec<String> { line.split(',').map(|field| field.trim_matches('"').into()).collect() };
        let bare = |text: &str| text.trim_start_matches("0x").to_owned();
        table.lines().map(fields).map(|row| (row[1].clone(), bare(&row[3]), bare(&row[5]))).collect()
    }
}

#[test]
fn scapy_opens_every_raw_esp_packet_that_we_seal_with_esn() {
    let Some(mut scene) = Scene::set("scapy_opens_every_raw_esp_packet_that_we_seal_with_esn") else { return };
    interop::transfer(&scene.topology.host_a, &scene.topology.host_b).unwrap();
    let seen = scene.capture.take().unwrap().stop().unwrap();
    assert_eq!((seen.packets(Seen::Plaintext), seen.lost), (0, 0));
    assert!(seen.flows.keys().any(|(_, _, protocol)| *protocol == 50), "ESP is raw: {seen:?}");
    let keys: serde_json::Map<_, _> = scene.keys().into_iter().map(|(_, spi, key)| (spi, key.into())).collect();
    let answer = scapy(&json!({ "op": "open", "pcap": scene.folder.path().join("underlay.pcap"), "keys": keys }));
    assert_eq!(answer["failed"], 0, "{answer}");
    let opened: u64 = answer["opened"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(opened, seen.packets(Seen::Esp), "{answer}");
    let sources: Vec<_> = answer["sources"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!([V4.host_a, V4.host_b].iter().all(|host| sources.contains(&host.to_string().as_str())), "{answer}");
}

#[test]
fn we_open_what_scapy_seals_with_esn_across_two_to_the_32() {
    let Some(scene) = Scene::set("we_open_what_scapy_seals_with_esn_across_two_to_the_32") else { return };
    let keys = scene.keys();
    let (_, spi, key) = keys.iter().find(|(source, _, _)| *source == V4.gateway_a.to_string()).unwrap();
    // High and low half of the sequence number, and the port by which the packet is known at the other end. The last two
    // are a repetition, and a packet whose high half is not what the receiver must infer (RFC 4303 appendix A2.2).
    let packets = [
        (0_u32, 0x0010_0000_u32, 50_001_u16),
        (0, 0xffff_fff0, 50_002),
        (1, 5, 50_003),
        (0, 0xffff_fff8, 50_004),
        (1, 5, 50_005),
        (0, 6, 50_006),
    ];
    let answer = scapy(&json!({
        "op": "seal",
        "spi": u32::from_str_radix(spi, 16).unwrap(),
        "key": key,
        "outer": [V4.gateway_a, V4.gateway_b],
        "inner": [V4.host_a, V4.host_b],
        "packets": packets,
    }));
    let mut arrived =
        scene.topology.host_b.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))).unwrap().unwrap();
    arrived.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let sender = scene.topology.underlay.run(|| -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        Ok(socket)
    });
    let sender = sender.unwrap().unwrap();
    for sealed in answer["sealed"].as_array().unwrap() {
        let bytes = hex::decode(sealed.as_str().unwrap()).unwrap();
        sender.send_to(&bytes, &std::net::SocketAddr::new(V4.gateway_b, 0).into()).unwrap();
        // In order: each is judged by what came before it.
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut ports = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match arrived.read(&mut buffer) {
            Ok(length) if length >= 24 => ports.push(u16::from_be_bytes([buffer[20], buffer[21]])),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ports, [50_001, 50_002, 50_003, 50_004], "{:?}\n{}", scene.b.status(), scene.b.log());
    let told = scene.b.status().unwrap();
    assert_eq!(told["drops"]["replayed"], 1, "{told}");
    assert_eq!(told["drops"]["forged"], 1, "{told}");
    assert!(scene.a.stop().unwrap().success());
}
