//! What this host lacks to be a gateway: looked at by `check --host`, changed by nobody.
//!
//! Each finding has a name that stays, and a sentence that says how to mend it. Leaves out the rules of other firewalls
//! beyond the policy of their forward chains, and the old `iptables-legacy`, whose tables netlink does not show.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use super::namespace::sysctl;
use super::netlink::Netlink;
use super::nft::{Nft, dropping_forward_chains};
use super::privileges;
use super::tun::available;

/// No clock that stands before 2025 can be right: 55 years, 14 of them leap years, after the epoch.
const EARLIEST: Duration = Duration::from_hours((55 * 365 + 14) * 24);

/// What the configuration asks of the host.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Name of the TUN device.
    pub tun: String,
    /// Hosts behind the gateway speak IPv4.
    pub forward_v4: bool,
    /// Hosts behind the gateway speak IPv6.
    pub forward_v6: bool,
    /// Our ends of the tunnels.
    pub locals: Vec<IpAddr>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name: `privileges`, `tun`, `nftables`, `ip-forward`, `ipv6-forward`, `forward-policy`, `rp-filter`, `clock`,
    /// `addresses`, `udp-500`, `udp-4500`.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and how to mend it if it is not as it should be.
    pub sentence: String,
}

fn good(name: &'static str, sentence: impl Into<String>) -> Finding {
    Finding { name, ok: true, sentence: sentence.into() }
}

fn bad(name: &'static str, sentence: impl Into<String>) -> Finding {
    Finding { name, ok: false, sentence: sentence.into() }
}

/// Looks at everything.
#[must_use]
pub fn check(needs: &Needs) -> Vec<Finding> {
    let mut findings = vec![
        match privileges::check() {
            Ok(()) => good("privileges", "this process may set routes, rules and devices"),
            Err(missing) => bad("privileges", missing.to_string()),
        },
        tun(),
        match Nft::open().and_then(|mut nft| nft.read()) {
            Ok(_) => good("nftables", "the packet filter answers"),
            Err(error) => {
                bad("nftables", format!("the packet filter does not answer ({error}): load the module nf_tables"))
            }
        },
    ];
    if needs.forward_v4 {
        findings.push(forwarding("ip-forward", "net/ipv4/ip_forward"));
    }
    if needs.forward_v6 {
        findings.push(forwarding("ipv6-forward", "net/ipv6/conf/all/forwarding"));
    }
    if needs.forward_v4 || needs.forward_v6 {
        findings.push(forward_policy(&needs.tun));
    }
    findings.push(reverse_path());
    findings.push(clock(SystemTime::now()));
    findings.push(addresses(&needs.locals));
    findings.push(port("udp-500", 500));
    findings.push(port("udp-4500", 4500));
    findings
}

fn tun() -> Finding {
    match available() {
        Ok(()) => good("tun", "/dev/net/tun can be opened"),
        Err(error) => bad("tun", error.to_string()),
    }
}

fn forwarding(name: &'static str, key: &str) -> Finding {
    let dotted = key.replace('/', ".");
    match sysctl(key).as_deref() {
        Ok("0") => bad(name, format!("{dotted} is 0, so nothing is forwarded for the hosts behind: set it to 1")),
        Ok(_) => good(name, format!("{dotted} is on")),
        Err(error) => bad(name, format!("{dotted} cannot be read: {error}")),
    }
}

fn forward_policy(tun: &str) -> Finding {
    match dropping_forward_chains() {
        Ok(chains) if chains.is_empty() => good("forward-policy", "no forward chain drops by default"),
        Ok(chains) => {
            let names: Vec<String> =
                chains.iter().map(|found| format!("{} of table {}", found.chain, found.table)).collect();
            let names = names.join(", ");
            bad(
                "forward-policy",
                format!("chain {names} drops what no rule accepts: accept there what comes from and goes to {tun}"),
            )
        }
        Err(error) => bad("forward-policy", format!("the packet filter's chains cannot be read: {error}")),
    }
}

/// Strict filtering wants packets to come by the device by which answers would go. Into the TUN that is so by our routes;
/// with several uplinks a peer's datagrams may come by another.
fn reverse_path() -> Finding {
    let strict =
        ["all", "default"].iter().any(|of| sysctl(&format!("net/ipv4/conf/{of}/rp_filter")).is_ok_and(|v| v == "1"));
    let uplinks = Netlink::open().and_then(|mut netlink| netlink.routes()).map(|routes| {
        let defaults = routes.iter().filter(|route| route.destination.prefix_len() == 0);
        defaults
            .filter(|route| route.destination.addr().is_ipv4())
            .filter_map(|route| route.device)
            .collect::<BTreeSet<_>>()
            .len()
    });
    match (strict, uplinks) {
        (false, _) => good("rp-filter", "reverse-path filtering is not strict"),
        (true, Ok(0 | 1)) => good("rp-filter", "reverse-path filtering is strict, and there is one uplink"),
        (true, _) => bad(
            "rp-filter",
            "net.ipv4.conf.*.rp_filter is 1 and there are several uplinks, so a peer's datagrams may be dropped: set it to 2",
        ),
    }
}

fn clock(now: SystemTime) -> Finding {
    if now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since >= EARLIEST) {
        good("clock", "the clock is plausible")
    } else {
        bad(
            "clock",
            "the clock stands before 2025, so dates of agreements cannot be judged: set it, for example by NTP",
        )
    }
}

fn addresses(locals: &[IpAddr]) -> Finding {
    let here = match Netlink::open().and_then(|mut netlink| netlink.addresses()) {
        Ok(here) => here,
        Err(error) => return bad("addresses", format!("the host's addresses cannot be read: {error}")),
    };
    let missing: Vec<String> = locals
        .iter()
        .filter(|local| !local.is_unspecified() && !here.iter().any(|address| address.network.addr() == **local))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        good("addresses", "this host has the tunnels' local addresses")
    } else {
        let missing = missing.join(", ");
        bad(
            "addresses",
            format!("this host does not have {missing}: give it the address, or mend `local` of the tunnel"),
        )
    }
}

fn port(name: &'static str, port: u16) -> Finding {
    match UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))) {
        Ok(_) => good(name, format!("UDP port {port} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bad(
            name,
            format!(
                "UDP port {port} is taken: stop the other IKE daemon (if it is not this gateway that runs already)"
            ),
        ),
        Err(error) => bad(name, format!("UDP port {port} cannot be bound: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_project_is_not_believed() {
        assert!(!clock(SystemTime::UNIX_EPOCH).ok);
        assert!(!clock(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).ok);
        assert!(clock(SystemTime::UNIX_EPOCH + EARLIEST).ok);
    }
}
