//! What `check --host` finds in hosts that lack something.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::net::UdpSocket;

use platform_common::{bring_up, ip, join, net, privileged};
use portcullis::platform::host_check::{Finding, Needs, check};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};

fn names(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| !finding.ok).map(|finding| finding.name).collect()
}

#[test]
fn the_host_check_names_what_is_missing_and_how_to_mend_it() {
    if !privileged("the_host_check_names_what_is_missing_and_how_to_mend_it") {
        return;
    }
    let (host, other) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let needs = Needs {
        tun: "pc0".into(),
        forward_v4: true,
        forward_v6: true,
        locals: vec![ip("198.51.100.1"), ip("2001:db8::1")],
    };
    host.set_sysctls(&[("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0")]).unwrap();
    let found = host.run(|| check(&needs)).unwrap();
    assert_eq!(names(&found), ["ip-forward", "ipv6-forward", "addresses"], "{found:#?}");
    let sentence = &found.iter().find(|finding| finding.name == "addresses").unwrap().sentence;
    assert!(sentence.contains("198.51.100.1, 2001:db8::1"), "{sentence}");

    join(&host, &other, "wan");
    join(&host, &other, "wan2");
    bring_up(&host, "wan", &["198.51.100.1/24", "2001:db8::1/64"]);
    bring_up(&other, "wan", &[]);
    bring_up(&host, "wan2", &["198.51.101.1/24"]);
    let settings =
        [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"), ("net/ipv4/conf/all/rp_filter", "1")];
    host.set_sysctls(&settings).unwrap();
    assert_eq!(names(&host.run(|| check(&needs)).unwrap()), [""; 0]);

    host.run(|| {
        let mut netlink = Netlink::open().unwrap();
        for (name, metric) in [("wan", 5), ("wan2", 6)] {
            let mut route = Route::by_device(net("0.0.0.0/0"), netlink.index_of(name).unwrap());
            route.metric = metric;
            netlink.replace_route(&route).unwrap();
        }
        let _ike = UdpSocket::bind("198.51.100.1:500").unwrap();
        assert_eq!(names(&check(&needs)), ["rp-filter", "udp-500"]);
    })
    .unwrap();
}
