//! A whole handshake in memory: IKE_SA_INIT and IKE_AUTH between two endpoints, keys for both sides included.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use portcullis::entropy::SeededEntropy;
use portcullis::ids::{ShapeId, TunnelId};
use portcullis::ike::api::{Input, Output};
use portcullis::ike::config::{
    ChildConfig, Config, IkeLifetime, LocalAuth, PeerAuth, Peering, Secrets, Start, TunnelConfig,
};
use portcullis::ike::endpoint::Endpoint;
use portcullis::policy::selector::TrafficSelector;
use portcullis::sa::lifetime::Lifetime;
use portcullis::secret::Secret;
use portcullis::time::Instant;
use portcullis::wire::ike::numbers::IdType;
use portcullis::wire::ike::payload::Id;

fn address(side: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, side).into()
}

fn psk() -> Secrets {
    Secrets::one(Secret::copy_of(b"thirty-two bytes known to both.."))
}

fn endpoint(side: u8, suite: IkeSuite) -> Endpoint {
    let host = |side: u8| {
        let host = Ipv4Addr::new(10, 0, 0, side).into();
        TrafficSelector { protocol: 0, first_port: 0, last_port: u16::MAX, start: host, end: host }
    };
    let id = |side: u8| Id::new(IdType::IPV4_ADDR, vec![192, 0, 2, side]);
    let other = 3 - side;
    let limit = u64::MAX;
    let time = Duration::from_hours(1);
    let tunnel = TunnelConfig {
        id: TunnelId(0),
        name: "bench".to_owned(),
        local: address(side),
        peer: address(other),
        peering: Peering::default(),
        local_id: id(side),
        peer_id: id(other),
        local_auth: LocalAuth::Psk(psk()),
        peer_auth: PeerAuth::Psk(psk()),
        ike: vec![suite],
        esp: vec![EspSuite {
            cipher: Cipher::Aes256Gcm16,
            mac: None,
            group: None,
            additional: Additional::NONE,
            esn: true,
        }],
        lab: true,
        children: vec![ChildConfig::new(ShapeId(0), host(side), host(other))],
        start: if side == 1 { Start::Always } else { Start::Manual },
        ppk: None,
        fragmentation: true,
        force_encapsulation: false,
        replay_window: 4096,
        liveness: Duration::from_secs(30),
        lifetime: Lifetime {
            soft_packets: limit,
            hard_packets: limit,
            soft_bytes: limit,
            hard_bytes: limit,
            soft_time: time,
            hard_time: time,
        },
        ike_lifetime: IkeLifetime { soft: time, hard: time },
        jitter: 0,
    };
    let config = Config { tunnels: vec![Arc::new(tunnel)], cookie_threshold: None, puzzles: None };
    Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(u64::from(side))), false)
}

/// Hands what `from` says to `to`. How many datagrams that were.
fn carry(from: &mut Endpoint, sender: u8, to: &mut Endpoint, now: Instant) -> usize {
    let mut count = 0;
    loop {
        match from.poll_output() {
            Output::Transmit { bytes, .. } => {
                let local = SocketAddr::new(address(3 - sender), 500);
                let remote = SocketAddr::new(address(sender), 500);
                to.handle(now, Input::Datagram { local, remote, bytes: &bytes });
                count += 1;
            }
            Output::Timeout(_) => return count,
            _ => {}
        }
    }
}

fn handshake((mut initiator, mut responder): (Endpoint, Endpoint)) -> (Endpoint, Endpoint) {
    let now = Instant::ZERO + Duration::from_secs(1);
    initiator.handle(now, Input::Timeout);
    while carry(&mut initiator, 1, &mut responder, now) + carry(&mut responder, 2, &mut initiator, now) > 0 {}
    (initiator, responder)
}

fn handshakes(criterion: &mut Criterion) {
    let gcm =
        |prf, group| IkeSuite { cipher: Cipher::Aes256Gcm16, mac: None, prf, group, additional: Additional::NONE };
    let cbc = IkeSuite {
        cipher: Cipher::Aes256Cbc,
        mac: Some(Mac::HmacSha256),
        prf: PrfAlg::HmacSha256,
        group: Group::Modp2048,
        additional: Additional::NONE,
    };
    let pq = IkeSuite { additional: Additional::one(Group::MlKem768), ..gcm(PrfAlg::HmacSha256, Group::Curve25519) };
    let mut group = criterion.benchmark_group("handshake, both sides");
    for (name, suite) in [
        ("aes256gcm16-prfsha384-ecp384", gcm(PrfAlg::HmacSha384, Group::Ecp384)),
        ("aes256gcm16-prfsha256-x25519", gcm(PrfAlg::HmacSha256, Group::Curve25519)),
        ("aes256gcm16-prfsha256-x25519-ke1_mlkem768", pq),
        ("aes256-sha256-modp2048", cbc),
    ] {
        let (initiator, responder) = handshake((endpoint(1, suite), endpoint(2, suite)));
        for side in [initiator, responder] {
            assert_eq!(side.status()[0].state, "up", "{name}");
        }
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| (endpoint(1, suite), endpoint(2, suite)), handshake, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
