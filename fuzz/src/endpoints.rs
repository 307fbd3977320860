//! How the two IKE endpoints of `responder` and `initiator` are configured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis::crypto::certificate::{Certificate, Revocation, Trust};
use portcullis::crypto::signature::SigningKey;
use portcullis::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use portcullis::ids::{ShapeId, TunnelId};
use portcullis::ike::config::{
    ChildConfig, Childless, Config, Credential, IkeLifetime, LocalAuth, PeerAuth, Peering, Ppk, Secrets, Start,
    TunnelConfig,
};
use portcullis::ike::eap::mschapv2::Users;
use portcullis::ike::eap::{Authenticator, Credentials};
use portcullis::policy::TrafficSelector;
use portcullis::sa::lifetime::Lifetime;
use portcullis::sa::spi::SpiClass;
use portcullis::secret::Secret;
use portcullis::wire::ike::numbers::IdType;
use portcullis::wire::ike::payload::Id;

pub const A: usize = 0;
pub const B: usize = 1;
/// 2030-01-01, for certificates.
pub const NOW: u64 = 1_893_456_000;

/// What the first two bytes of an input say.
#[derive(Clone, Copy)]
pub struct Mode {
    /// 1 cookies from the first request on, 2 encapsulation in UDP, 4 a suite that cannot be forged but is spoken, 8 a key
    /// exchange for each child SA, 16 A begins with another group than B has, 32 B begins as well, 64 both give tokens
    /// (RFC 6290), 128 puzzles where there are cookies.
    pub bits: u8,
    /// 1 a PPK, 2 A proves itself by EAP, 4 both (or B alone, with EAP) by certificates, 8 a further key exchange with
    /// ML-KEM, 16 addresses may change, 32 A asks for an inner address, 64 IKE SAs come without a child SA, 128 two lanes.
    pub features: u8,
}

/// A certificate of the one authority for this side, and its key.
fn credential(side: usize) -> Arc<Credential> {
    static BOTH: LazyLock<[Arc<Credential>; 2]> = LazyLock::new(|| {
        let read = |der: &[u8], key: &[u8]| {
            let certificate = Certificate::from_der(der).expect("a fixture");
            let key = SigningKey::from_pem(key).expect("a fixture");
            Arc::new(Credential::new(vec![certificate], key).expect("a certificate and its key"))
        };
        [
            read(include_bytes!("../fixtures/end_a.der"), include_bytes!("../fixtures/end_a.key")),
            read(include_bytes!("../fixtures/end_b.der"), include_bytes!("../fixtures/end_b.key")),
        ]
    });
    Arc::clone(&BOTH[side])
}

fn trust() -> PeerAuth {
    static TRUST: LazyLock<Arc<Trust>> = LazyLock::new(|| {
        let authority = Certificate::from_der(include_bytes!("../fixtures/end_authority.der")).expect("a fixture");
        Arc::new(Trust::new(vec![authority], Revocation::Off).expect("an authority"))
    });
    PeerAuth::Certificate(Arc::clone(&TRUST))
}

/// What a side proves itself with, and what it asks for. `hostile`: B has another key, and nothing else.
fn proofs(side: usize, features: u8, hostile: bool) -> (LocalAuth, PeerAuth) {
    let key: &[u8] = if hostile && side == B { b"another key" } else { b"a key that both sides know, long enough" };
    let psk = Secrets::one(Secret::copy_of(key));
    let (mut local, mut peer) = (LocalAuth::Psk(psk.clone()), PeerAuth::Psk(psk));
    if hostile && side == B {
        return (local, peer);
    }
    if features & 4 != 0 {
        (local, peer) = (LocalAuth::Certificate(credential(side)), trust());
    }
    let password = "correct horse battery staple";
    match (features & 2 != 0, side) {
        (true, A) => {
            let password = Arc::new(Secret::copy_of(password.as_bytes()));
            local = LocalAuth::Eap(Credentials::MschapV2 { user: "broker".into(), password });
        }
        (true, _) => {
            let mut users = Users::default();
            users.add("broker", password);
            peer = PeerAuth::Eap(Authenticator::MschapV2 { users: Arc::new(users), ask_identity: true });
        }
        _ => {}
    }
    (local, peer)
}

/// Where a side is.
pub fn address(side: usize, port: u16) -> SocketAddr {
    let address = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1)][side];
    SocketAddr::from((address, port))
}

/// Where it is once it has moved.
pub fn moved(side: usize) -> IpAddr {
    [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(198, 51, 100, 7)][side].into()
}

/// The configuration of a side. `hostile`: B has another key.
pub fn configuration(side: usize, mode: Mode, hostile: bool) -> Config {
    let cookie_threshold = (mode.bits & 1 != 0).then_some(0);
    let puzzles = (mode.bits & 0x81 == 0x81).then_some(0);
    Config { tunnels: vec![Arc::new(tunnel(side, mode, hostile))], cookie_threshold, puzzles }
}

fn peering(side: usize, features: u8) -> Peering {
    let asks = features & 32 != 0;
    let inner = |prefix: &str| prefix.parse().expect("a network");
    Peering {
        childless: if features & 64 == 0 { Childless::Allow } else { Childless::Prefer },
        mobike: features & 16 != 0,
        request_address: asks && side == A,
        pool: if asks && side == B { vec![inner("10.0.0.1/32")] } else { Vec::new() },
        dns: if side == B { vec![Ipv4Addr::new(10, 1, 0, 53).into()] } else { Vec::new() },
        ..Peering::default()
    }
}

/// The tunnel of a side.
pub fn tunnel(side: usize, mode: Mode, hostile: bool) -> TunnelConfig {
    let Mode { bits: mode, features } = mode;
    let ip = |side: usize| -> IpAddr { address(side, 0).ip() };
    let id = |side: usize| Id::new(IdType::FQDN, [&b"a.example"[..], b"b.example"][side].to_vec());
    let host = |side: usize, number: u8| {
        let host: IpAddr = Ipv4Addr::new(10, side as u8, number, 1).into();
        TrafficSelector { protocol: 0, first_port: 0, last_port: u16::MAX, start: host, end: host }
    };
    let child = |number: u8| ChildConfig::new(ShapeId(number.into()), host(side, number), host(1 - side, number));
    let (cipher, mac) =
        if mode & 4 == 0 { (Cipher::Aes256Gcm16, None) } else { (Cipher::Aes256Cbc, Some(Mac::HmacSha256)) };
    // ECP is the fastest of the groups here: its arithmetic is not slowed down by what counts the edges.
    let additional = if features & 8 == 0 { Additional::NONE } else { Additional::one(Group::MlKem768) };
    let suite = |group| IkeSuite { cipher, mac, prf: PrfAlg::HmacSha256, group, additional };
    let (local_auth, peer_auth) = proofs(side, features, hostile);
    let mut children = vec![child(0), child(1)];
    if features & 128 != 0 {
        children[1] = ChildConfig { shape: ShapeId(1), lane: 1, spis: SpiClass::of_worker(1, 2), ..child(0) };
    }
    let ppk = Ppk { id: b"ppk".to_vec(), secret: Secret::copy_of(b"a postquantum key"), required: true };
    TunnelConfig {
        id: TunnelId(1),
        name: "t".into(),
        local: ip(side),
        peer: ip(1 - side),
        peering: peering(side, features),
        local_id: id(side),
        peer_id: id(1 - side),
        local_auth,
        peer_auth,
        ike: if side == A && mode & 16 != 0 {
            vec![suite(Group::Ecp384), suite(Group::Ecp256)]
        } else {
            vec![suite(Group::Ecp256)]
        },
        esp: vec![EspSuite {
            cipher,
            mac,
            group: (mode & 8 != 0).then_some(Group::Ecp256),
            additional: if mode & 8 == 0 { Additional::NONE } else { additional },
            esn: mode & 4 == 0,
        }],
        lab: true,
        children,
        start: if side == A || mode & 32 != 0 { Start::Always } else { Start::Manual },
        ppk: (features & 1 != 0).then(|| Arc::new(ppk)),
        fragmentation: true,
        force_encapsulation: mode & 2 != 0,
        replay_window: 64,
        liveness: Duration::from_secs(10),
        lifetime: Lifetime {
            soft_packets: 1 << 30,
            hard_packets: 1 << 32,
            soft_bytes: u64::MAX,
            hard_bytes: u64::MAX,
            soft_time: Duration::from_mins(50),
            hard_time: Duration::from_hours(1),
        },
        ike_lifetime: IkeLifetime { soft: Duration::from_hours(1), hard: Duration::from_hours(2) },
        jitter: 10,
    }
}
