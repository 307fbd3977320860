//! Two data paths that face each other in memory, with the keys and the policy of a lab agreement. No socket, no device: what is
//! timed here is ours alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::packets::{HOST_A, HOST_B, SEGMENT, SEGMENTS, TCP_PORT, UDP_PORT, across, fill, segment};
use crate::crypto::aead::Provider;
use crate::crypto::suite::Cipher;
use crate::dataplane::buffer::Batch;
use crate::dataplane::offload::Offloads;
use crate::dataplane::pipeline::{Pipeline, PipelineConfig};
use crate::ids::{RuleId, ShapeId, TunnelId};
use crate::inspect::Pass;
use crate::lab::mq_dialect::{self, Dialect, Names};
use crate::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use crate::runtime::provider;
use crate::sa::child::{ChildSpec, Encapsulation, EspKeys, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::lifetime::Lifetime;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;

/// The time of every packet: nothing here expires.
pub(super) const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

const TUNNEL: TunnelId = TunnelId(0);
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const CIPHER: Cipher = Cipher::Aes256Gcm16;

/// What is left out of the path, to see what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Nothing: as it carries traffic.
    Nothing,
    /// Encryption and integrity.
    Cipher,
    /// Policy and connection tracking.
    Judgement,
}

/// Two gateways.
pub(super) struct Facing {
    /// The side whose host opens connections.
    pub(super) left: Pipeline,
    /// The other one.
    pub(super) right: Pipeline,
}

impl Facing {
    /// Both with a policy of `rules` rules, of which the last allows what is sent here.
    pub(super) fn new(rules: usize, service: Service, without: Without) -> Self {
        let side = |left: bool| {
            let policy = policy(rules, service, left);
            let config = PipelineConfig { flow_capacity: 1 << 16, hash_seed: [1, 2, 3, 4] };
            let mut pipeline = Pipeline::new(config, policy.clone());
            let shape = policy
                .shapes(TUNNEL)
                .iter()
                .find(|shape| {
                    shape.remote.start == IpAddr::V4(if left { HOST_B } else { HOST_A })
                        && shape.local.start == IpAddr::V4(if left { HOST_A } else { HOST_B })
                })
                .expect("the last rule names these hosts");
            // With the cipher that a gateway would choose here.
            pipeline.set_provider(if without == Without::Cipher { Provider::Null } else { provider::fastest() });
            for command in install(shape.id, left) {
                pipeline.apply(NOW, command);
            }
            pipeline.set_link_mtu(TUNNEL, 9216);
            pipeline.set_offloads(Offloads::ALL);
            if without == Without::Judgement {
                let rule = RuleId(u16::try_from(rules - 1).expect("a thousand rules"));
                pipeline.assume_for_measurement(Pass {
                    tunnel: TUNNEL,
                    shape: shape.id,
                    rule,
                    opened: false,
                    bare: false,
                    recognised: false,
                    observed: None,
                });
            }
            pipeline
        };
        Self { left: side(true), right: side(false) }
    }

    /// Lets a TCP connection of host A's `port` come up through both.
    pub(super) fn connect(&mut self, port: u16) {
        self.carry(true, &segment(port, true, 0x02, (100, 0), &[]));
        self.carry(false, &segment(port, false, 0x12, (500, 101), &[]));
        self.carry(true, &segment(port, true, 0x10, (101, 501), &[]));
    }

    /// Lets the beginning of an MQ conversation pass over the connection of `port`: what is said over and over from then on.
    pub(super) fn converse(&mut self, port: u16) -> Talk {
        /// A message of two segments: the first is as long as segments are.
        const MESSAGE: usize = 48 << 10;
        self.connect(port);
        let mut talk = Talk { port, next: [101, 501], bulk: Vec::new(), len: 0, at: 0 };
        let dialect = Dialect { level: 13, little: false, ebcdic: false };
        for said in mq_dialect::client(dialect, &Names::default(), MESSAGE) {
            if said.bytes.len() > MESSAGE / 2 {
                talk.len = said.bytes.len();
                talk.bulk = said.bytes.repeat(2 + SEGMENT * SEGMENTS / talk.len);
                break;
            }
            for part in said.bytes.chunks(SEGMENT) {
                self.carry(said.by_opener, &talk.says(said.by_opener, part));
            }
        }
        talk
    }

    /// Lets host B acknowledge all that it was told.
    pub(super) fn acknowledge(&mut self, talk: &mut Talk) {
        self.carry(false, &talk.says(false, &[]));
    }

    fn carry(&mut self, rightwards: bool, inner: &[u8]) {
        let (from, to) = if rightwards { (&mut self.left, &mut self.right) } else { (&mut self.right, &mut self.left) };
        let mut out = Batch::new(1, 2048);
        fill(&mut out, [inner]);
        from.outbound(NOW, &mut out);
        let mut inn = Batch::new(1, 2048);
        across(&out, &mut inn);
        to.inbound(NOW, &mut inn);
        debug_assert!(!inn.packets()[0].done, "the policy allows it");
    }
}

/// A connection in which one long segment of MQ follows the other.
pub(super) struct Talk {
    port: u16,
    /// The next sequence numbers of host A, and of host B.
    next: [u32; 2],
    /// As many times the segment as a train may touch.
    bulk: Vec<u8>,
    /// How long it is.
    len: usize,
    /// So much of it has been said.
    at: usize,
}

impl Talk {
    fn says(&mut self, by_opener: bool, bytes: &[u8]) -> Vec<u8> {
        let [own, other] = if by_opener { [0, 1] } else { [1, 0] };
        let packet = segment(self.port, by_opener, 0x10, (self.next[own], self.next[other]), bytes);
        self.next[own] = self.next[own].wrapping_add(bytes.len() as u32);
        packet
    }

    /// The next train: it begins wherever the last one ended.
    pub(super) fn train(&mut self) -> Vec<u8> {
        let bytes = self.bulk[self.at..self.at + SEGMENT * SEGMENTS].to_vec();
        self.at = (self.at + bytes.len()) % self.len;
        self.says(true, &bytes)
    }
}

fn policy(rules: usize, service: Service, left: bool) -> Arc<Snapshot> {
    let port = if service == Service::Udp { UDP_PORT } else { TCP_PORT };
    let rules: Vec<Rule> = (1..=rules)
        .rev()
        .zip(0_u16..)
        .map(|(left_over, id)| {
            // Rules of other hosts and ports in front, ours at the end.
            let others = u16::try_from(left_over - 1).expect("a thousand rules");
            let last = HOST_B.octets()[3] + (others % 200) as u8;
            let to = Ipv4Addr::new(203, 0, 113, last);
            Rule {
                id: RuleId(id),
                name: format!("rule{id}"),
                tunnel: TUNNEL,
                agreement: "lab".into(),
                clause: "1".into(),
                purposes: Vec::new(),
                from: vec![IpNet::from(IpAddr::V4(HOST_A))],
                to: vec![IpNet::from(IpAddr::V4(to))],
                service,
                ports: vec![port + others / 200],
                direction: if left { RuleDirection::Outbound } else { RuleDirection::Inbound },
                inspection: Inspection::of(service),
                mode: Mode::Enforce,
            }
        })
        .collect();
    let tunnel =
        TunnelPolicy { id: TUNNEL, name: "lab".into(), selectors: SelectorMode::Host, lanes: 1, enabled: true };
    Arc::new(Snapshot::compile(rules, vec![tunnel], None).expect("rules of different ports and hosts"))
}

fn install(shape: ShapeId, left: bool) -> [SadCommand; 2] {
    let host = |address: Ipv4Addr| crate::policy::selector::TrafficSelector {
        protocol: 0,
        first_port: 0,
        last_port: u16::MAX,
        start: address.into(),
        end: address.into(),
    };
    let outer = OUTER.map(|address| SocketAddr::new(address.into(), 4500));
    let ((local, remote), (here, there), (ours, theirs)) = if left {
        ((HOST_A, HOST_B), (outer[0], outer[1]), (0x1000, 0x2000))
    } else {
        ((HOST_B, HOST_A), (outer[1], outer[0]), (0x2000, 0x1000))
    };
    let spi = |number| Spi::new(number).expect("neither zero nor reserved");
    let keys = || EspKeys { cipher: Secret::new(vec![0x5a; CIPHER.key_len()]), mac: Secret::new(Vec::new()) };
    let child = ChildSpec {
        tunnel: TUNNEL,
        shape,
        cipher: CIPHER,
        mac: None,
        esn: true,
        local: vec![host(local)],
        remote: vec![host(remote)],
        encapsulation: Encapsulation::Udp { local: here, remote: there },
        lifetime: ENDLESS,
    };
    [
        SadCommand::InstallInbound(Box::new(InboundSpec {
            spi: spi(ours),
            keys: keys(),
            child: child.clone(),
            replay_window: 4096,
        })),
        SadCommand::InstallOutbound(Box::new(OutboundSpec {
            spi: spi(theirs),
            inbound: spi(ours),
            keys: keys(),
            child,
        })),
    ]
}

const ENDLESS: Lifetime = Lifetime {
    soft_packets: u64::MAX,
    hard_packets: u64::MAX,
    soft_bytes: u64::MAX,
    hard_bytes: u64::MAX,
    soft_time: Duration::MAX,
    hard_time: Duration::MAX,
};

#[cfg(test)]
mod tests {
    use super::super::packets::{datagram, fill_train, train};
    use super::*;

    fn through(facing: &mut Facing, packet: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut inn) = (Batch::new(1, 9216), Batch::new(1, 9216));
        fill(&mut out, [packet]);
        facing.left.outbound(NOW, &mut out);
        let sealed = out.bytes(0).to_vec();
        across(&out, &mut inn);
        facing.right.inbound(NOW, &mut inn);
        (!inn.packets()[0].done && sealed.len() > packet.len()).then(|| inn.bytes(0).to_vec())
    }

    #[test]
    fn packets_come_out_as_they_went_in_whatever_is_left_out() {
        for without in [Without::Nothing, Without::Cipher, Without::Judgement] {
            for rules in [1, 1000] {
                let mut facing = Facing::new(rules, Service::Udp, without);
                let packet = datagram(4000, 576);
                assert_eq!(through(&mut facing, &packet), Some(packet), "{without:?}, {rules} rules");
            }
        }
    }

    #[test]
    fn a_train_becomes_datagrams_and_a_train_again() {
        for without in [Without::Nothing, Without::Cipher, Without::Judgement] {
            let mut facing = Facing::new(1, Service::Tcp, without);
            if without != Without::Judgement {
                facing.connect(5000);
            }
            let (mut out, mut inn) = (Batch::with_trains(64, 9728), Batch::new(SEGMENTS, 2048));
            fill_train(&mut out, &train(5000));
            facing.left.outbound(NOW, &mut out);
            assert_eq!(out.len(), SEGMENTS, "{without:?}");
            across(&out, &mut inn);
            facing.right.inbound(NOW, &mut inn);
            assert!(inn.train(0).is_some_and(|(_, payloads)| payloads.count() == SEGMENTS), "{without:?}");
        }
    }

    #[test]
    fn what_the_policy_does_not_allow_passes_only_when_nobody_asks_it() {
        let mut stranger = datagram(4000, 100);
        stranger[22..24].copy_from_slice(&9_u16.to_be_bytes());
        assert_eq!(through(&mut Facing::new(1, Service::Udp, Without::Nothing), &stranger), None);
        assert_eq!(through(&mut Facing::new(1, Service::Udp, Without::Cipher), &stranger), None);
        assert!(through(&mut Facing::new(1, Service::Udp, Without::Judgement), &stranger).is_some());
    }

    #[test]
    fn without_a_cipher_the_packet_is_there_to_read_and_just_as_long() {
        let inner = datagram(4000, 100);
        let sealed = |without| {
            let mut out = Batch::new(1, 2048);
            fill(&mut out, [inner.as_slice()]);
            Facing::new(1, Service::Udp, without).left.outbound(NOW, &mut out);
            out.bytes(0).to_vec()
        };
        let (sealed, open) = (sealed(Without::Nothing), sealed(Without::Cipher));
        let shows = |bytes: &[u8]| bytes.windows(inner.len()).any(|window| window == inner);
        assert_eq!((sealed.len(), shows(&sealed), shows(&open)), (open.len(), false, true));
    }
}
