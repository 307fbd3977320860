//! One line of the agreement: who may open which service towards whom.
//!
//! What a rule may name under which agreement (hosts or networks, lab services) is checked where the file and its line
//! are known, in `config`.

use ipnet::IpNet;

use super::inspection::{Inspection, Mode};
use crate::ids::{RuleId, TunnelId};

/// IP protocol numbers (IANA) that a rule can mean.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// A `[[rule]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number; a reload keeps the number of a rule that keeps its name.
    pub id: RuleId,
    /// Its name.
    pub name: String,
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The agreement that it stands in, by name.
    pub agreement: String,
    /// The clause that allows it.
    pub clause: String,
    /// What it is for, if it says so: words of [`Purpose`](super::document::Purpose), in ascending order.
    pub purposes: Vec<&'static str>,
    /// Who may open: the only side that does.
    pub from: Vec<IpNet>,
    /// Towards whom.
    pub to: Vec<IpNet>,
    /// What.
    pub service: Service,
    /// The ports of the side that is opened to; empty for those of the service.
    pub ports: Vec<u16>,
    /// On which side of the tunnel `from` is.
    pub direction: RuleDirection,
    /// What its flows have to speak.
    pub inspection: Inspection,
    /// Whether a flow that speaks something else is ended.
    pub mode: Mode,
}

impl Rule {
    /// The ports that count: those of the rule, else those of its service. In ascending order, each once.
    #[must_use]
    pub fn effective_ports(&self) -> Vec<u16> {
        let mut ports = if self.ports.is_empty() { self.service.default_ports().to_vec() } else { self.ports.clone() };
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether `from` is on our side.
    #[must_use]
    pub fn opener_is_local(&self) -> bool {
        self.direction == RuleDirection::Outbound
    }

    /// The networks of our side.
    #[must_use]
    pub fn local(&self) -> &[IpNet] {
        if self.opener_is_local() { &self.from } else { &self.to }
    }

    /// The networks of the peer's side.
    #[must_use]
    pub fn remote(&self) -> &[IpNet] {
        if self.opener_is_local() { &self.to } else { &self.from }
    }
}

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// IBM MQ channels: TCP 1414.
    Mq,
    /// SFTP: TCP 22.
    Sftp,
    /// Mail: TCP 25, 465 and 587.
    Smtp,
    /// TLS: TCP 443.
    Tls,
    /// TCP with the rule's ports.
    Tcp,
    /// UDP with the rule's ports; for lab agreements.
    Udp,
    /// ICMP and ICMPv6 echo; for lab agreements.
    Echo,
}

impl Service {
    /// The ports where a rule names none.
    #[must_use]
    pub const fn default_ports(self) -> &'static [u16] {
        match self {
            Self::Mq => &[1414],
            Self::Sftp => &[22],
            Self::Smtp => &[25, 465, 587],
            Self::Tls => &[443],
            Self::Tcp | Self::Udp | Self::Echo => &[],
        }
    }

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mq => "mq",
            Self::Sftp => "sftp",
            Self::Smtp => "smtp",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }

    /// The IP protocol, which for echo depends on the address family.
    #[must_use]
    pub const fn protocol(self, v6: bool) -> u8 {
        match self {
            Self::Mq | Self::Sftp | Self::Smtp | Self::Tls | Self::Tcp => TCP,
            Self::Udp => UDP,
            Self::Echo if v6 => ICMPV6,
            Self::Echo => ICMP,
        }
    }

    /// Whether it is allowed under agreements of kind `lab` alone.
    #[must_use]
    pub const fn is_lab(self) -> bool {
        matches!(self, Self::Udp | Self::Echo)
    }
}

/// Where `from` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleDirection {
    /// Behind us: connections are opened outwards.
    #[default]
    Outbound,
    /// Behind the peer: connections are opened inwards.
    Inbound,
}

impl RuleDirection {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// How the traffic selectors of a tunnel are cut from its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelectorMode {
    /// One child SA for each pair of hosts, any protocol; the table still enforces the ports.
    #[default]
    Host,
    /// One child SA for each pair of hosts, protocol and port.
    Service,
}

impl SelectorMode {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Service => "service",
        }
    }
}

/// What the policy needs to know of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPolicy {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// How its selectors are cut.
    pub selectors: SelectorMode,
    /// How many child SAs each pair of selectors has (RFC 9611); at least 1.
    pub lanes: u8,
    /// Whether the file lets its rules let anything through.
    pub enabled: bool,
}
