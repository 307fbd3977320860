//! One live flow: its name, by what right it is open, and how long it may stay silent.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
/// identifier. In whole words, because it is made, hashed and compared for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowId {
    local: [u64; 2],
    remote: [u64; 2],
    /// The families, the protocol and the ports.
    rest: u64,
}

/// Set in `rest` where our side's address is of IPv6, and where the other side's is.
const LOCAL_IS_V6: u64 = 1 << 40;
const REMOTE_IS_V6: u64 = 1 << 41;

#[inline]
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

fn address(v6: bool, [high, low]: [u64; 2]) -> IpAddr {
    if v6 {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    } else {
        Ipv4Addr::from_bits(low as u32).into()
    }
}

/// As few words as there are.
impl Hash for FlowId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { local, remote, rest } = *self;
        if rest & (LOCAL_IS_V6 | REMOTE_IS_V6) == 0 {
            state.write_u64(local[1] << 32 | remote[1]);
        } else {
            for word in [local[0], local[1], remote[0], remote[1]] {
                state.write_u64(word);
            }
        }
        state.write_u64(rest);
    }
}

impl FlowId {
    /// The flow of a packet from `source` to `destination`, each with its port.
    #[inline]
    pub(super) fn new(outbound: bool, protocol: u8, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let ((local, local_port), (remote, remote_port)) =
            if outbound { (source, destination) } else { (destination, source) };
        let local_family = if local.is_ipv6() { LOCAL_IS_V6 } else { 0 };
        let remote_family = if remote.is_ipv6() { REMOTE_IS_V6 } else { 0 };
        let ports = u64::from(local_port) << 16 | u64::from(remote_port);
        let rest = local_family | remote_family | u64::from(protocol) << 32 | ports;
        Self { local: words(local), remote: words(remote), rest }
    }

    /// Our side: its address and port.
    pub(super) fn local(&self) -> (IpAddr, u16) {
        (address(self.rest & LOCAL_IS_V6 != 0, self.local), (self.rest >> 16) as u16)
    }

    /// The other side.
    pub(super) fn remote(&self) -> (IpAddr, u16) {
        (address(self.rest & REMOTE_IS_V6 != 0, self.remote), self.rest as u16)
    }

    /// The IP protocol.
    pub(super) fn protocol(&self) -> u8 {
        (self.rest >> 32) as u8
    }

    /// What the policy has to allow if our side, or the other one, has opened it.
    pub(super) fn opening(&self, opener_is_local: bool) -> Opening {
        let ((local, local_port), (remote, remote_port)) = (self.local(), self.remote());
        let protocol = self.protocol();
        let port = match protocol {
            ip::ICMP | ip::ICMPV6 => 0,
            _ if opener_is_local => remote_port,
            _ => local_port,
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_tells_both_ends_and_the_two_directions_have_one(
            local: IpAddr, remote: IpAddr, protocol: u8, ports: (u16, u16),
        ) {
            let id = FlowId::new(true, protocol, (local, ports.0), (remote, ports.1));
            prop_assert_eq!((id.local(), id.remote(), id.protocol()), ((local, ports.0), (remote, ports.1), protocol));
            prop_assert_eq!(id, FlowId::new(false, protocol, (remote, ports.1), (local, ports.0)));
        }
    }

    #[test]
    fn addresses_of_two_families_with_the_same_bits_are_two() {
        let name = |host: &str| FlowId::new(true, ip::UDP, (host.parse().unwrap(), 1), (host.parse().unwrap(), 2));
        assert_ne!(name("192.0.2.1"), name("::192.0.2.1"));
        assert_ne!(name("192.0.2.1"), name("::ffff:192.0.2.1"));
    }
}
