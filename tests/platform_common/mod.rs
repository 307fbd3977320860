//! What the tests of the platform share.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use ipnet::IpNet;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};
use portcullis::platform::privileges::{Capability, has_capability};
use portcullis::platform::tun::Tun;
use portcullis::wire::vnet::{Segments, VnetHeader};

/// Whether this process may make namespaces; says so by name if it may not.
pub fn privileged(test: &str) -> bool {
    let may = [Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin]
        .into_iter()
        .all(|capability| has_capability(capability).unwrap_or(false));
    if !may {
        println!("NOT RUN: {test}: needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN");
    }
    may
}

/// A network from its text.
pub fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// An address from its text.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Waits up to two seconds until `true`.
pub fn wait_until(is: impl FnMut() -> bool) -> bool {
    wait(Duration::from_secs(2), is)
}

/// Waits up to ten seconds until `true`.
pub fn wait_long_until(is: impl FnMut() -> bool) -> bool {
    wait(Duration::from_secs(10), is)
}

fn wait(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Appends a packet to a batch.
pub fn add(batch: &mut Batch, bytes: &[u8], path: Option<Path>) {
    batch.vacant().expect("a slot")[..bytes.len()].copy_from_slice(bytes);
    batch.push(bytes.len(), 0, path);
}

/// Lets a UDP datagram arrive at the host by its own device, by the path that the receiver sees; with a length, as many datagrams of
/// that length in one message, as a card that has put them together would say.
pub fn claim(device: &Tun, path: Path, payload: &[u8], each: Option<u16>) -> io::Result<()> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (path.remote, path.local) else { panic!("IPv4") };
    let said = each.map_or_else(VnetHeader::default, |segment_len| VnetHeader {
        needs_checksum: true,
        segments: Segments::Udp,
        header_len: 28,
        segment_len,
        checksum_start: 20,
        checksum_offset: 6,
    });
    let mut bytes = said.encode().to_vec();
    let ends = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64).udp(from.port(), to.port());
    ends.write(&mut bytes, payload).expect("it fits into a packet");
    File::from(device.as_fd().try_clone_to_owned()?).write_all(&bytes)
}

/// A path from its texts.
pub fn path(local: &str, remote: &str, tos: u8) -> Path {
    Path { local: local.parse().expect("an address"), remote: remote.parse().expect("an address"), tos }
}

/// Gives a device its addresses and brings it up.
pub fn bring_up(namespace: &Namespace, name: &str, addresses: &[&str]) {
    namespace
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let index = netlink.index_of(name).unwrap();
            for address in addresses {
                netlink.add_address(index, net(address)).unwrap();
            }
            netlink.set_up(index, true).unwrap();
        })
        .unwrap();
}

/// Joins two namespaces by a pair of veth devices called `name` on both sides.
pub fn join(a: &Namespace, b: &Namespace, name: &str) {
    let there: BorrowedFd<'_> = b.fd();
    a.run(|| Netlink::open().unwrap().add_veth(name, name, Some(there)).unwrap()).unwrap();
}

/// Sets a route by a router.
pub fn route(namespace: &Namespace, to: &str, by: &str) {
    namespace.run(|| Netlink::open().unwrap().replace_route(&Route::by_gateway(net(to), ip(by))).unwrap()).unwrap();
}
