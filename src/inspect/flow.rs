//! One live flow: its name, by what right it is open, and how long it may stay silent.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use super::ear::Kind;
use super::tcp::Connection;
use crate::policy::{Allowed, Opening};
use crate::time::Instant;
use crate::wire::ip;

/// UDP that nobody has answered yet.
const UDP_OPENED: Duration = Duration::from_secs(30);
/// UDP that was answered (RFC 4787 §4.3 asks for two minutes at least).
const UDP_ANSWERED: Duration = Duration::from_mins(2);
/// Between an echo request and its last reply.
const ECHO: Duration = Duration::from_secs(30);

/// Both ends of a flow as seen from the gateway: the two directions have one name. For echo the port of our side is the
/// identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowId {
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) protocol: u8,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
}

/// In as few words as there are: it is done for each packet.
impl Hash for FlowId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = u64::from(self.protocol) << 32 | u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        match (self.local, self.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                for address in [local, remote] {
                    state.write_u128(match address {
                        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                        IpAddr::V6(address) => address.to_bits(),
                    });
                }
            }
        }
        state.write_u64(rest);
    }
}

impl FlowId {
    /// The flow of a packet from `source` to `destination`, each with its port.
    pub(super) fn new(outbound: bool, protocol: u8, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let ((local, local_port), (remote, remote_port)) =
            if outbound { (source, destination) } else { (destination, source) };
        Self { local, remote, protocol, local_port, remote_port }
    }

    /// What the policy has to allow if our side, or the other one, has opened it.
    pub(super) fn opening(&self, opener_is_local: bool) -> Opening {
        let port = match self.protocol {
            ip::ICMP | ip::ICMPV6 => 0,
            _ if opener_is_local => self.remote_port,
            _ => self.local_port,
        };
        let Self { local, remote, protocol, .. } = *self;
        Opening { local, remote, opener_is_local, protocol, port }
    }
}

/// What a flow's packets are held against.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Tcp(Connection),
    Udp { answered: bool },
    Echo,
}

impl State {
    /// How long a flow in this state may be silent.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Tcp(connection) => connection.timeout(),
            Self::Udp { answered: false } => UDP_OPENED,
            Self::Udp { answered: true } => UDP_ANSWERED,
            Self::Echo => ECHO,
        }
    }
}

/// A live flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) id: FlowId,
    pub(super) allowed: Allowed,
    /// The generation of the policy that allowed it.
    pub(super) generation: u64,
    /// Which protocol is heard in it.
    pub(super) kind: Option<Kind>,
    pub(super) state: State,
    /// Bytes of inner packets that went out, and that came in.
    pub(super) bytes: [u64; 2],
    pub(super) expires: Instant,
}

impl Flow {
    /// A packet has passed: so many bytes.
    pub(super) fn touch(&mut self, now: Instant, outbound: bool, bytes: u64) {
        self.expires = now + self.state.timeout();
        self.bytes[usize::from(!outbound)] += bytes;
    }
}
