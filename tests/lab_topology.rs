//! The network of the demo, without a gateway: what everything else is compared with.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::topology::{V4, V6, inner_networks};
use portcullis::lab::traffic::{Attempt, attempt};
use portcullis::lab::{mq_session, traffic};

mod lab_common;

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
        let plan = mq_session::Plan { puts: 4, gets: 4, message: 100_000, heartbeat_every: 2 };
        let listener = topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
        let server = std::thread::spawn(move || mq_session::server(listener.accept().unwrap().0, plan).unwrap());
        let client = topology.host_a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5))).unwrap();
        let client = mq_session::client(client.unwrap(), plan).unwrap();
        assert!(client.agrees_with(&server.join().unwrap()));
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
