//! The network on which tunnels are measured: two gateways on one wire, a host behind each, all in namespaces that end with
//! the process.
//!
//! ```text
//! host A ------ gateway A ====== wire ====== gateway B ------ host B
//! 192.0.2.10    192.0.2.1                    10.20.0.1        10.20.0.20
//!               198.51.100.10                198.51.100.20
//! ```
//!
//! The wire can be one of four: `plain`, a veth pair as it is, over which the kernel hands on packets of 64 KiB uncut, which
//! flatters everybody who uses offloads; `card`, which cuts what is sent and puts together what arrives, as a network card
//! does; `none`, without any offload; `wan`, plain with 20 ms there and back and 0.1 % loss.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use ipnet::IpNet;

use super::BenchError;
use crate::lab::topology;
use crate::platform::ethtool;
use crate::platform::namespace::Namespace;
use crate::platform::netlink::{Netlink, Route};

pub(super) const HOST_A: IpAddr = v4(192, 0, 2, 10);
pub(super) const HOST_B: IpAddr = v4(10, 20, 0, 20);
pub(super) const GATEWAY_A: IpAddr = v4(198, 51, 100, 10);
pub(super) const GATEWAY_B: IpAddr = v4(198, 51, 100, 20);
const INSIDE_A: IpAddr = v4(192, 0, 2, 1);
const INSIDE_B: IpAddr = v4(10, 20, 0, 1);
/// The networks of host A and host B.
pub(super) const NETS: [&str; 2] = ["192.0.2.0/24", "10.20.0.0/24"];
/// The gateways' device on the wire.
pub(super) const WIRE: &str = "outside";

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// What the wire between the gateways is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Underlay {
    /// A veth pair as it is.
    Plain,
    /// Like a network card.
    Card,
    /// Without offloads.
    None,
    /// 20 ms and 0.1 % loss.
    Wan,
}

impl Underlay {
    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Card => "card",
            Self::None => "none",
            Self::Wan => "wan",
        }
    }

    /// What it is, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Plain => "veth with all its offloads",
            Self::Card => {
                "like a network card: tx-tcp-segmentation, tx-tcp6-segmentation and tx-udp-segmentation off, rx-gro on"
            }
            Self::None => "no offloads: as card, and tx-generic-segmentation and rx-gro off",
            Self::Wan => "veth with netem: 10 ms and 0.05 % loss each way",
        }
    }

    const fn switches(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Plain | Self::Wan => &[],
            Self::Card => &[
                ("tx-tcp-segmentation", false),
                ("tx-tcp6-segmentation", false),
                ("tx-udp-segmentation", false),
                ("rx-gro", true),
            ],
            Self::None => &[
                ("tx-tcp-segmentation", false),
                ("tx-tcp6-segmentation", false),
                ("tx-udp-segmentation", false),
                ("tx-generic-segmentation", false),
                ("rx-gro", false),
            ],
        }
    }
}

/// The four namespaces.
pub struct Site {
    /// The host behind gateway A.
    pub host_a: Namespace,
    /// Gateway A.
    pub gateway_a: Namespace,
    /// Gateway B.
    pub gateway_b: Namespace,
    /// The host behind gateway B.
    pub host_b: Namespace,
    /// MTU of the wire.
    pub wire_mtu: u32,
}

impl Site {
    /// Builds it with these MTUs of the wire and of the links to the hosts.
    pub fn build(underlay: Underlay, wire_mtu: u32, host_mtu: u32) -> Result<Self, BenchError> {
        let site = Self::links(wire_mtu, host_mtu).map_err(BenchError::system("the network of the bench"))?;
        site.shape(underlay)?;
        Ok(site)
    }

    fn links(wire_mtu: u32, host_mtu: u32) -> io::Result<Self> {
        let site = Self {
            host_a: Namespace::new()?,
            gateway_a: Namespace::new()?,
            gateway_b: Namespace::new()?,
            host_b: Namespace::new()?,
            wire_mtu,
        };
        for gateway in [&site.gateway_a, &site.gateway_b] {
            gateway.set_sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv4/conf/all/rp_filter", "0"),
                ("net/ipv4/conf/default/rp_filter", "0"),
                ("net/ipv4/conf/all/send_redirects", "0"),
                ("net/ipv4/conf/default/send_redirects", "0"),
            ])?;
        }
        topology::join((&site.gateway_a, "inside"), (&site.host_a, "eth0"))?;
        topology::join((&site.gateway_b, "inside"), (&site.host_b, "eth0"))?;
        topology::join((&site.gateway_a, WIRE), (&site.gateway_b, WIRE))?;
        let any = IpNet::new(v4(0, 0, 0, 0), 0).map_err(io::Error::other)?;
        let give = |place: &Namespace, links: &[(&str, IpAddr, u32)], router: IpAddr| {
            place.run(|| -> io::Result<()> {
                let mut netlink = Netlink::open()?;
                for (name, address, mtu) in links {
                    let index = netlink.index_of(name)?;
                    netlink.set_mtu(index, *mtu)?;
                    netlink.add_address(index, IpNet::new(*address, 24).map_err(io::Error::other)?)?;
                }
                netlink.replace_route(&Route::by_gateway(any, router))
            })?
        };
        give(&site.host_a, &[("eth0", HOST_A, host_mtu)], INSIDE_A)?;
        give(&site.host_b, &[("eth0", HOST_B, host_mtu)], INSIDE_B)?;
        give(&site.gateway_a, &[("inside", INSIDE_A, host_mtu), (WIRE, GATEWAY_A, wire_mtu)], GATEWAY_B)?;
        give(&site.gateway_b, &[("inside", INSIDE_B, host_mtu), (WIRE, GATEWAY_B, wire_mtu)], GATEWAY_A)?;
        Ok(site)
    }

    fn shape(&self, underlay: Underlay) -> Result<(), BenchError> {
        for gateway in [&self.gateway_a, &self.gateway_b] {
            gateway
                .run(|| ethtool::set_offloads(WIRE, underlay.switches()))
                .and_then(|done| done)
                .map_err(BenchError::system("the offloads of the wire"))?;
            if underlay == Underlay::Wan {
                delay(gateway)?;
            }
        }
        Ok(())
    }

    /// Every offload of gateway A's end of the wire, as it is now.
    pub fn offloads(&self) -> io::Result<BTreeMap<String, bool>> {
        self.gateway_a.run(|| ethtool::offloads(WIRE))?
    }
}

/// Those of a wire's offloads that tell the underlays apart, in words.
pub(super) fn told_apart(offloads: &BTreeMap<String, bool>) -> Vec<String> {
    let told = Underlay::None.switches().iter().map(|(name, _)| *name);
    told.map(|name| format!("{name} {}", if offloads.get(name) == Some(&true) { "on" } else { "off" })).collect()
}

/// The kernel's queueing discipline for bad networks, set by the one tool that knows it.
fn delay(gateway: &Namespace) -> Result<(), BenchError> {
    let mut command = Command::new("tc");
    command.args(["qdisc", "add", "dev", WIRE, "root", "netem", "delay", "10ms", "loss", "0.05%", "limit", "100000"]);
    command.stdin(Stdio::null());
    let output = gateway.run(move || command.output()).and_then(|output| output);
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(BenchError::Refused(format!(
            "the underlay wan: this kernel has no netem (CONFIG_NET_SCH_NETEM): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(error) => {
            Err(BenchError::Refused(format!("the underlay wan: tc cannot be run (package iproute2): {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn hosts_reach_one_another_and_the_wire_has_the_offloads_that_were_asked_for() {
        for underlay in [Underlay::Plain, Underlay::Card, Underlay::None] {
            let site = match Site::build(underlay, 1600, 1500) {
                Ok(site) => site,
                Err(BenchError::System { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => return,
                Err(error) => panic!("{error}"),
            };
            let listener = site.host_b.run(|| TcpListener::bind((HOST_B, 5201))).unwrap().unwrap();
            let target = (HOST_B, 5201).into();
            site.host_a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5))).unwrap().unwrap();
            drop(listener);
            let offloads = site.offloads().unwrap();
            let on = |name: &str| offloads[name];
            assert_eq!(on("tx-udp-segmentation"), underlay == Underlay::Plain, "{offloads:?}");
            assert_eq!(on("rx-gro"), underlay == Underlay::Card, "{offloads:?}");
            assert!(told_apart(&offloads).contains(&format!("rx-gro {}", if on("rx-gro") { "on" } else { "off" })));
        }
    }
}
