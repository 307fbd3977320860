//! What the tests of the platform share.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::time::{Duration, Instant};

use ipnet::IpNet;
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

/// Waits up to two seconds until `true`.
pub fn wait_until(mut is: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
