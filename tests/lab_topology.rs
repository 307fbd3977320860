//! The network of the demo, without a gateway: what everything else is compared with.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::mq_session::{Plan, Tally};
use portcullis::lab::topology::{Topology, V4, V6, inner_networks};
use portcullis::lab::traffic::{Attempt, attempt};
use portcullis::lab::{mq_session, traffic};

mod lab_common;

/// An MQ conversation from host A to `target` on host B; both ends must have seen the same.
fn converse(topology: &Topology, target: SocketAddr, plan: Plan) -> Tally {
    let listener = topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let server = std::thread::spawn(move || mq_session::server(listener.accept().unwrap().0, plan).unwrap());
    let client = topology.host_a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5))).unwrap();
    let client = mq_session::client(client.unwrap(), plan).unwrap();
    assert!(client.agrees_with(&server.join().unwrap()));
    client
}

#[test]
fn without_a_gateway_everything_arrives_and_the_underlay_shows_it_in_clear() {
    let Some(topology) = lab_common::topology("without_a_gateway_everything_arrives") else { return };
    let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), None).unwrap();
    for each in Attempt::ALL {
        let outcome = attempt(&topology, each).unwrap();
        assert!(outcome.arrived, "{}: {outcome:?}", each.name());
    }
    for address in [V4.host_b, V6.host_b] {
        let target = SocketAddr::new(address, traffic::MQ_PORT);
        let plan = Plan { puts: 4, gets: 4, message: 100_000, heartbeat_every: 2 };
        converse(&topology, target, plan);
    }
    let seen = capture.stop().unwrap();
    assert_eq!(seen.lost, 0);
    assert!(seen.packets(Seen::Plaintext) > 50, "{seen:?}");
    assert_eq!(seen.packets(Seen::Esp) + seen.packets(Seen::Ike), 0);
    assert!(
        seen.flows
            .keys()
            .any(|(source, destination, protocol)| { (*source, *destination, *protocol) == (V6.host_a, V6.host_b, 6) })
    );
}

/// Wireshark's dissector is the oracle: it was written from IBM's own traffic.
#[test]
fn tshark_takes_every_segment_of_the_conversation_for_mq_and_none_for_malformed() {
    const NAME: &str = "tshark_takes_every_segment_of_the_conversation_for_mq_and_none_for_malformed";
    if !lab_common::has_program("tshark") {
        return lab_common::not_run(NAME, "tshark is not installed");
    }
    let Some(topology) = lab_common::topology(NAME) else { return };
    topology.cut_to_packets().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mq.pcap");
    let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), Some(&file)).unwrap();
    let plan = Plan { puts: 3, gets: 3, message: 100_000, heartbeat_every: 2 };
    let tally = converse(&topology, SocketAddr::new(V4.host_b, traffic::MQ_PORT), plan);
    assert_eq!(capture.stop().unwrap().lost, 0);

    // Without reassembly each segment stands alone; its type is told once a segment.
    let types = lab_common::tshark(&file, &["-o", "mq.reassembly:FALSE", "-T", "fields", "-e", "mq.tsh.type"]);
    let types: Vec<_> = types.split([',', '\n']).filter(|kind| !kind.is_empty()).collect();
    assert_eq!(types.len() as u64, tally.segments, "tshark finds every segment: {types:?}");
    for kind in [
        "0x01", "0x08", "0x0a", "0x81", "0x91", "0x83", "0x93", "0x86", "0x96", "0x09", "0x85", "0x95", "0x84", "0x82",
        "0x92",
    ] {
        assert!(types.contains(&kind), "{kind} is missing: {types:?}");
    }
    assert_eq!(lab_common::tshark(&file, &["-Y", "_ws.malformed || tcp.analysis.lost_segment"]), "");
    // Reassembled, the dissector reads inside the calls.
    let names = lab_common::tshark(&file, &["-Y", "mq.od.objname", "-T", "fields", "-e", "mq.od.objname"]);
    assert!(names.contains("CBP.DECLARATIONS"), "{names}");
    let channels = lab_common::tshark(&file, &["-Y", "mq.id.channelname", "-T", "fields", "-e", "mq.id.channelname"]);
    assert!(channels.contains("DEMO.SVRCONN"), "{channels}");
    let lengths = lab_common::tshark(&file, &["-Y", "mq.put.length", "-T", "fields", "-e", "mq.put.length"]);
    assert!(lengths.matches("100000").count() >= 6, "{lengths}");
}
