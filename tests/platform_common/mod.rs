//! What the tests of the platform share.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};
use portcullis::platform::privileges::{Capability, has_capability};

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
