//! What the fuzz target `ike_responder` does with its bytes: a responder meets messages, raw or sealed by a peer that
//! holds the keys. It stands here, compiled with the crate, so that the target is a line and the ordinary tests replay
//! its seeds.
//!
//! The first byte chooses; each further message starts with its own:
//! ```text
//! bits 0-1   0: raw datagram   1: sealed for a half-open IKE SA   2: sealed for an established one   3: time passes
//! bits 2-3   exchange          0: IKE_AUTH   1: CREATE_CHILD_SA   2: INFORMATIONAL   3: IKE_SA_INIT
//! bit 4      a response
//! bits 5-6   message ID        0: the next one   1: the one before   2: one later   3: far away
//! then       type of the first payload, length (2 bytes), that many bytes
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::api::{Input, Output};
use super::config::{ChildConfig, Config, Start, TunnelConfig};
use super::endpoint::Endpoint;
use crate::crypto::suite::{Cipher, EspSuite, Group, IkeSuite, PrfAlg};
use crate::entropy::SeededEntropy;
use crate::ids::{ShapeId, TunnelId};
use crate::policy::selector::TrafficSelector;
use crate::sa::command::SadCommand;
use crate::sa::lifetime::Lifetime;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::{ExchangeType, IdType, PayloadType};
use crate::wire::ike::payload::Id;
use crate::wire::reader::Reader;

/// Messages of one input; more add time and no new paths.
const MAX_MESSAGES: usize = 16;

const TUNNEL: TunnelId = TunnelId(0);

fn address(side: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, side).into()
}

/// One side of a lab tunnel with a known key.
fn tunnel(side: u8, start: Start) -> Config {
    let host = |side: u8| TrafficSelector {
        protocol: 0,
        first_port: 0,
        last_port: u16::MAX,
        start: Ipv4Addr::new(10, 0, 0, side).into(),
        end: Ipv4Addr::new(10, 0, 0, side).into(),
    };
    let id = |side: u8| Id { kind: IdType::IPV4_ADDR, data: vec![192, 0, 2, side] };
    let other = 3 - side;
    let child = ChildConfig { shape: ShapeId(0), local: host(side), remote: host(other) };
    let group = Group::Curve25519;
    let forever = Duration::from_hours(1);
    let tunnel = TunnelConfig {
        id: TUNNEL,
        name: "fuzz".to_owned(),
        local: address(side),
        peer: address(other),
        local_id: id(side),
        peer_id: id(other),
        psk: Secret::copy_of(b"known to the fuzzer"),
        ike: vec![IkeSuite { cipher: Cipher::Aes256Gcm16, mac: None, prf: PrfAlg::HmacSha256, group }],
        esp: vec![EspSuite { cipher: Cipher::Aes256Gcm16, mac: None, group: Some(group), esn: true }],
        lab: true,
        children: vec![child],
        start,
        force_encapsulation: false,
        replay_window: 64,
        liveness: Duration::from_secs(10),
        lifetime: Lifetime {
            soft_packets: u64::MAX,
            hard_packets: u64::MAX,
            soft_bytes: u64::MAX,
            hard_bytes: u64::MAX,
            soft_time: forever,
            hard_time: forever,
        },
    };
    Config { tunnels: vec![Arc::new(tunnel)], cookie_threshold: None }
}

/// A responder under test and the peer that holds the keys.
struct World {
    now: Instant,
    responder: Endpoint,
    peer: Endpoint,
    installed: usize,
}

impl World {
    fn new() -> Self {
        let endpoint =
            |side, start, seed| Endpoint::new(Arc::new(tunnel(side, start)), Box::new(SeededEntropy::new(seed)), false);
        let now = Instant::ZERO + Duration::from_secs(1);
        let (responder, peer) = (endpoint(1, Start::Manual, 1), endpoint(2, Start::Always, 2));
        Self { now, responder, peer, installed: 0 }
    }

    /// What the responder says, its bookkeeping checked on the way.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            match self.responder.poll_output() {
                Output::Transmit { bytes, .. } => sent.push(bytes),
                Output::Sad(SadCommand::InstallInbound(spec)) => {
                    self.installed += 1;
                    assert_eq!(spec.child.local.len(), 1, "one host was allowed");
                    assert!(spec.child.remote.iter().all(|selector| selector.start == selector.end));
                }
                Output::Sad(SadCommand::RemoveInbound(_)) => {
                    self.installed = self.installed.checked_sub(1).expect("only what was installed is removed");
                }
                Output::Timeout(at) => {
                    assert!(at.is_none_or(|at| at > self.now), "a timer that never ends");
                    return sent;
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let at = |side, port| (address(side), port).into();
        self.responder.handle(self.now, Input::Datagram { local: at(1, 500), remote: at(2, 500), bytes });
        self.drain()
    }

    /// One honest message of the peer to the responder, and the answers back. Whether there was one.
    fn honest_round(&mut self) -> bool {
        self.peer.handle(self.now, Input::Timeout);
        let mut asked = Vec::new();
        loop {
            match self.peer.poll_output() {
                Output::Transmit { bytes, .. } => asked.push(bytes),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        let went = !asked.is_empty();
        for bytes in asked {
            for answer in self.tell(&bytes) {
                let at = |side| (address(side), 500).into();
                let input = Input::Datagram { local: at(2), remote: at(1), bytes: &answer };
                self.peer.handle(self.now, input);
            }
        }
        went
    }
}

/// Feeds a responder. It must not panic, must not establish anything by itself, and must keep its tables bounded.
pub fn responder(data: &[u8]) {
    let mut world = World::new();
    let mut reader = Reader::new(data);
    let mut rounds = 0;
    for _ in 0..MAX_MESSAGES {
        let (Ok(choice), Ok(first), Ok(len)) = (reader.u8(), reader.u8(), reader.u16()) else { break };
        let bytes = reader.take(usize::from(len).min(reader.left())).unwrap_or_default();
        let wanted_rounds = match choice & 3 {
            0 => {
                world.tell(bytes);
                continue;
            }
            3 => {
                world.now = world.now + Duration::from_millis(u64::from(first) * 100);
                world.responder.handle(world.now, Input::Timeout);
                world.drain();
                continue;
            }
            half_open_or_established => half_open_or_established,
        };
        while rounds < wanted_rounds && world.honest_round() {
            // After the first one IKE_AUTH waits in the peer's outbox and the responder is half open.
            rounds += 1;
        }
        let exchange = match choice >> 2 & 3 {
            0 => ExchangeType::IKE_AUTH,
            1 => ExchangeType::CREATE_CHILD_SA,
            2 => ExchangeType::INFORMATIONAL,
            _ => ExchangeType::IKE_SA_INIT,
        };
        // The true IKE_AUTH, not sent yet, has taken a number.
        let taken = if rounds == 1 { -1 } else { 0 };
        let offset = [0, -1, 1, 1000][usize::from(choice >> 5 & 3)] + taken;
        let sealed = world.peer.forge(exchange, choice & 16 != 0, offset, PayloadType(first), bytes);
        if let Some((_, datagram)) = sealed {
            world.tell(&datagram);
        }
    }
    assert!(world.responder.half_open() <= super::limits::MAX_HALF_OPEN_PER_SOURCE);
    assert!(world.installed <= 2 + super::limits::SPARE_CHILDREN);
    let _ = format!("{:?}", world.responder.status());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::wire::ike::chain;
    use crate::wire::ike::payload::{Delete, Payload};

    #[test]
    fn the_honest_rounds_reach_an_established_ike_sa() {
        let mut world = World::new();
        assert!(world.honest_round());
        assert_eq!(world.responder.half_open(), 1);
        assert!(world.honest_round());
        assert_eq!(world.installed, 1);
    }

    #[test]
    fn a_sealed_delete_reaches_the_established_ike_sa() {
        let (first, inner) = chain::encode(&[Payload::Delete(Delete::ike())]);
        let mut data = vec![0x02 | 2 << 2, first.0, 0, inner.len() as u8];
        data.extend(inner);
        responder(&data);
    }

    #[test]
    fn random_inputs_do_no_harm() {
        let mut entropy = SeededEntropy::new(11);
        let entropy: &mut dyn Entropy = &mut entropy;
        for _ in 0..300 {
            let mut data = Vec::new();
            for _ in 0..6 {
                let [choice, first] = entropy.array::<2>();
                let len = entropy.below(60) as u8;
                data.extend([choice, 33 + first % 17, 0, len]);
                let mut bytes = vec![0; usize::from(len)];
                entropy.fill(&mut bytes);
                data.extend(bytes);
            }
            responder(&data);
        }
    }
}
