//! Whose packet is it? With several workers each flow has one, and each SA has one: pure functions of the addresses, the same
//! for both directions and, where both gateways have as many lanes, the same lane at both ends.
//!
//! `lane = hash(flow) mod lanes of its tunnel`, `worker = (number of the tunnel + lane) mod workers`. The hash is the same in
//! both directions, and it has no key: both gateways must come to the same one, and what an inside host gains by choosing
//! its ports is that its own flows meet on one worker. An ICMP error belongs to the flow that it quotes, echo to its
//! identifier. The SPI of an SA tells its worker: `spi mod workers` (`sa::spi::SpiClass`).
//!
//! Which tunnel is asked by the address on the peer's side alone (`policy::Snapshot::protecting`): of two tunnels to one host
//! the answer is always the same one, so that both directions of a flow meet, even where its SA is another worker's.

use std::net::IpAddr;

use crate::event::FlowKey;
use crate::ids::TunnelId;
use crate::sa::spi::SpiClass;
use crate::wire::icmp::Quoted;
use crate::wire::{ip, ipv4, ipv6};

/// How many workers there are, and which one this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    workers: u16,
    own: u16,
}

impl Steering {
    /// One worker, to whom everything belongs.
    pub const ALONE: Self = Self { workers: 1, own: 0 };

    /// As seen by the first of `workers`.
    #[must_use]
    pub fn of(workers: u16) -> Self {
        Self { workers: workers.max(1), own: 0 }
    }

    /// As seen by worker `own`.
    #[must_use]
    pub fn seen_by(self, own: u16) -> Self {
        Self { own, ..self }
    }

    /// How many there are.
    #[must_use]
    pub fn workers(self) -> u16 {
        self.workers
    }

    /// Which one this is.
    #[must_use]
    pub fn own(self) -> u16 {
        self.own
    }

    /// Whether there is no other.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self.workers == 1
    }

    /// The worker of a lane: it has the lane's SAs and its flows.
    #[must_use]
    pub fn worker(self, tunnel: TunnelId, lane: u8) -> u16 {
        let place = (u32::from(tunnel.0) + u32::from(lane)) % u32::from(self.workers);
        place as u16
    }

    /// The SPIs of a lane.
    #[must_use]
    pub fn class(self, tunnel: TunnelId, lane: u8) -> SpiClass {
        SpiClass::of_worker(self.worker(tunnel, lane), self.workers)
    }

    /// The worker that has the inbound SA with this SPI, if any has.
    #[must_use]
    pub fn of_spi(self, spi: u32) -> u16 {
        (spi % u32::from(self.workers)) as u16
    }
}

/// What of a packet decides whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The address on the peer's side.
    pub remote: IpAddr,
    /// The address on our side, by its outside name if it has one.
    pub local: IpAddr,
    hash: u64,
}

impl Ends {
    /// Looks at an inner packet, or at a long one that is to be cut. `None` for what has no flow: whoever meets it drops it.
    #[must_use]
    pub fn of(packet: &[u8], outbound: bool) -> Option<Self> {
        Self::named(packet, outbound, |_, _| None)
    }

    /// The same, where an address of ours may have another name towards one of the peer's side: the flow is that of the name,
    /// because the other gateway sees no other.
    #[must_use]
    pub fn named(packet: &[u8], outbound: bool, name: impl Fn(IpAddr, IpAddr) -> Option<IpAddr>) -> Option<Self> {
        let v6 = packet.first()? >> 4 == 6;
        let whole = Quoted::parse(packet, v6)?;
        let flow = whole.flow;
        let is_icmp = matches!(flow.protocol, ip::ICMP | ip::ICMPV6);
        if is_icmp && quotes(flow.source_port, v6) {
            let header = if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
            let quoted = Quoted::parse(packet.get(header + 8..)?, v6)?;
            // It went the other way.
            return Some(Self::of_flow(&quoted.flow, quoted.word, !outbound, name));
        }
        Some(Self::of_flow(&flow, whole.word, outbound, name))
    }

    fn of_flow(flow: &FlowKey, word: u32, outbound: bool, name: impl Fn(IpAddr, IpAddr) -> Option<IpAddr>) -> Self {
        let (source, destination) = match flow.protocol {
            // Request and reply have one identifier, and types of their own.
            ip::ICMP | ip::ICMPV6 => (word >> 16, word >> 16),
            _ => (flow.source_port.into(), flow.destination_port.into()),
        };
        let ((local, near), (remote, far)) = if outbound {
            ((flow.source, source), (flow.destination, destination))
        } else {
            ((flow.destination, destination), (flow.source, source))
        };
        let local = name(local, remote).unwrap_or(local);
        // A sum does not know which side came first.
        let ends = endpoint(local, near).wrapping_add(endpoint(remote, far));
        Self { remote, local, hash: mix(ends ^ u64::from(flow.protocol)) }
    }

    /// Its lane among `lanes`.
    #[must_use]
    pub fn lane(&self, lanes: u8) -> u8 {
        ((self.hash >> 32) % u64::from(lanes.max(1))) as u8
    }
}

/// Whether an ICMP message of this type quotes a packet.
fn quotes(kind: u16, v6: bool) -> bool {
    if v6 { kind < 128 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) }
}

fn endpoint(address: IpAddr, port: u32) -> u64 {
    let (high, low) = match address {
        IpAddr::V4(address) => (0, u64::from(address.to_bits())),
        IpAddr::V6(address) => ((address.to_bits() >> 64) as u64, address.to_bits() as u64),
    };
    mix(mix(low ^ u64::from(port) << 32) ^ high)
}

/// Spreads every bit over all others (two rounds of multiply and shift).
const fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let number = (number ^ number >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    number ^ number >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const OURS: [u8; 4] = [192, 0, 2, 10];
    const THEIRS: [u8; 4] = [203, 0, 113, 20];

    fn packet(outbound: bool, tcp: bool, ours: u16, theirs: u16) -> Vec<u8> {
        let (source, destination) = if outbound { (OURS, THEIRS) } else { (THEIRS, OURS) };
        let (from, to) = if outbound { (ours, theirs) } else { (theirs, ours) };
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4(source, destination, 64);
        if tcp {
            builder.tcp(from, to, 1, 100).write(&mut bytes, b"payload").unwrap();
        } else {
            builder.udp(from, to).write(&mut bytes, b"payload").unwrap();
        }
        bytes
    }

    /// An error from `router` about `quoted`, towards its sender.
    fn error_about(quoted: &[u8], router: [u8; 4]) -> Vec<u8> {
        let sender = quoted[12..16].try_into().unwrap();
        let mut bytes = Vec::new();
        let kind = etherparse::icmpv4::DestUnreachableHeader::Host;
        let builder =
            PacketBuilder::ipv4(router, sender, 64).icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(kind));
        builder.write(&mut bytes, &quoted[..28]).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn both_directions_of_a_flow_and_errors_about_it_have_one_lane_and_one_remote(
            tcp: bool, ours: u16, theirs: u16, lanes in 1_u8..=16, router: [u8; 4],
        ) {
            let there = packet(true, tcp, ours, theirs);
            let back = packet(false, tcp, ours, theirs);
            let ends = Ends::of(&there, true).unwrap();
            prop_assert_eq!(ends.remote, IpAddr::from(THEIRS));
            prop_assert_eq!(Ends::of(&back, false), Some(ends));
            // What the other gateway calls outbound is inbound here: the lane is the same there.
            prop_assert_eq!(Ends::of(&there, false).unwrap().lane(lanes), ends.lane(lanes));
            prop_assert_eq!(Ends::of(&error_about(&there, router), false), Some(ends));
            prop_assert_eq!(Ends::of(&error_about(&back, router), true), Some(ends));
            prop_assert!(ends.lane(lanes) < lanes);
        }

        #[test]
        fn any_bytes_have_ends_or_none_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), outbound: bool) {
            if let Some(ends) = Ends::of(&bytes, outbound) {
                prop_assert!(ends.lane(3) < 3);
            }
        }

        #[test]
        fn an_sa_and_its_flows_have_one_worker(tunnel: u16, lane in 0_u8..16, workers in 1_u16..=16, random in 1000_u32..u32::MAX - 100) {
            let steering = Steering::of(workers);
            let spi = steering.class(TunnelId(tunnel), lane).pick(random).unwrap();
            prop_assert_eq!(steering.of_spi(spi.get()), steering.worker(TunnelId(tunnel), lane));
            prop_assert!(steering.worker(TunnelId(tunnel), lane) < workers);
        }
    }

    #[test]
    fn an_echo_belongs_to_its_identifier_both_ways() {
        let echo = |outbound: bool, id: u16| {
            let (source, destination) = if outbound { (OURS, THEIRS) } else { (THEIRS, OURS) };
            let header = etherparse::IcmpEchoHeader { id, seq: 3 };
            let builder = PacketBuilder::ipv4(source, destination, 64);
            let mut bytes = Vec::new();
            if outbound {
                builder.icmpv4_echo_request(header.id, header.seq).write(&mut bytes, b"x").unwrap();
            } else {
                builder.icmpv4_echo_reply(header.id, header.seq).write(&mut bytes, b"x").unwrap();
            }
            Ends::of(&bytes, outbound).unwrap()
        };
        assert_eq!(echo(true, 7), echo(false, 7));
        let lanes = (0..64).map(|id| echo(true, id).lane(4)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lanes.len(), 4, "identifiers spread over all lanes");
    }

    #[test]
    fn flows_spread_evenly_over_lanes() {
        for lanes in [2_u8, 3, 4, 16] {
            let mut counts = vec![0_u32; lanes.into()];
            for port in 0..4000_u16 {
                let ends = Ends::of(&packet(true, true, 32_768 + port, 1414), true).unwrap();
                counts[usize::from(ends.lane(lanes))] += 1;
            }
            let fair = 4000 / u32::from(lanes);
            assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 4 + 20), "{lanes}: {counts:?}");
        }
    }

    #[test]
    fn tunnels_and_lanes_are_dealt_out_in_turn() {
        let steering = Steering::of(3);
        let workers: Vec<u16> = (0..4).map(|tunnel| steering.worker(TunnelId(tunnel), 0)).collect();
        assert_eq!(workers, [0, 1, 2, 0]);
        assert_eq!((0..3).map(|lane| steering.worker(TunnelId(1), lane)).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(Steering::ALONE.worker(TunnelId(77), 5), 0);
        assert_eq!(steering.worker(TunnelId(u16::MAX), 15), steering.worker(TunnelId(0), 15 % 3));
    }
}
