//! Portcullis and strongSwan hold a tunnel with each other, in both roles.
//!
//! host A - gateway A (Portcullis) - underlay - gateway B (charon) - host B. Every case that ends with a tunnel moves a file
//! each way and compares digests; tshark decrypts IKE and ESP with the exported keys.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use portcullis::lab::capture::{Capture, Seen};
use portcullis::lab::topology::{V4, inner_networks};

use interop::charon::{Charon, Connection, Side};

/// The harness proves itself: what fails below this test is not the network's fault.
#[test]
fn two_strongswans_hold_a_tunnel_in_this_network() {
    let Some(topology) = interop::topology("two_strongswans_hold_a_tunnel_in_this_network") else { return };
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::default();
    let mirrored = Connection {
        local_ts: connection.remote_ts.clone(),
        remote_ts: connection.local_ts.clone(),
        ..connection.clone()
    };
    let a = Charon::start(&topology, Side::A, folder.path(), &mirrored);
    let b = Charon::start(&topology, Side::B, folder.path(), &connection);
    let capture = Capture::start(topology.watch_underlay().unwrap(), inner_networks(), None).unwrap();
    b.initiate().unwrap_or_else(|error| panic!("{error}\n{}\n{}", a.log(), b.log()));
    interop::transfer(&topology.gateway_a, &topology.gateway_b).unwrap();
    let seen = capture.stop().unwrap();
    assert_eq!((seen.packets(Seen::Plaintext), seen.lost), (0, 0), "{seen:?}");
    assert!(seen.packets(Seen::Esp) > 1000 && seen.packets(Seen::Ike) >= 4, "{seen:?}");
    assert!(a.sas().contains(&V4.gateway_b.to_string()));
}
