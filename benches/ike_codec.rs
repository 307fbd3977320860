//! How long the codec takes for the messages of one handshake: IKE_SA_INIT as Cisco peers offer it, and the chain inside
//! IKE_AUTH. `cargo bench --bench ike_codec`.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::wire::ike::chain;
use portcullis::wire::ike::header::{Flags, Header};
use portcullis::wire::ike::message::Message;
use portcullis::wire::ike::numbers::{
    AuthMethod, Encr, Esn, ExchangeType, IdType, Integ, KeMethod, NotifyType, PayloadType, Prf, ProtocolId,
};
use portcullis::wire::ike::payload::{
    Auth, Id, Ke, Nonce, Notify, Payload, Proposal, Sa, Transform, Ts, TsRange, Vendor,
};

fn sa_init() -> Message {
    let aead = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: vec![
            Transform::encr(Encr::AES_GCM_16, Some(256)),
            Transform::prf(Prf::HMAC_SHA2_384),
            Transform::ke(KeMethod::ECP_384),
        ],
    };
    let cbc = Proposal {
        number: 2,
        transforms: vec![
            Transform::encr(Encr::AES_CBC, Some(256)),
            Transform::integ(Integ::HMAC_SHA2_512_256),
            Transform::integ(Integ::HMAC_SHA2_384_192),
            Transform::prf(Prf::HMAC_SHA2_512),
            Transform::prf(Prf::HMAC_SHA2_384),
            Transform::ke(KeMethod::ECP_256),
            Transform::ke(KeMethod::MODP_2048),
            Transform::ke(KeMethod::ECP_521),
        ],
        ..aead.clone()
    };
    Message {
        header: Header {
            initiator_spi: 0x0102_0304_0506_0708,
            responder_spi: 0,
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags { initiator: true, version: false, response: false },
            message_id: 0,
            length: 0,
        },
        payloads: vec![
            Payload::Sa(Sa { proposals: vec![aead, cbc] }),
            Payload::Ke(Ke { method: KeMethod::ECP_384, data: vec![0x5a; 96] }),
            Payload::Nonce(Nonce(vec![0xa5; 32])),
            Payload::Notify(Notify::status(NotifyType::NAT_DETECTION_SOURCE_IP, vec![1; 20])),
            Payload::Notify(Notify::status(NotifyType::NAT_DETECTION_DESTINATION_IP, vec![2; 20])),
            Payload::Notify(Notify::status(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())),
            Payload::Vendor(Vendor(b"FLEXVPN-SUPPORTED".to_vec())),
        ],
    }
}

fn auth_chain() -> Vec<Payload> {
    let host = |address: [u8; 4]| {
        let (start, end) = (Ipv4Addr::from(address), Ipv4Addr::from(address));
        Ts::ranges([TsRange::V4 { protocol: 6, start_port: 1414, end_port: 1414, start, end }])
    };
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: vec![0xc0, 0, 0, 1],
        transforms: vec![
            Transform::encr(Encr::AES_GCM_16, Some(256)),
            Transform::esn(Esn::YES),
            Transform::esn(Esn::NO),
        ],
    };
    vec![
        Payload::IdI(Id::new(IdType::IPV4_ADDR, vec![198, 51, 100, 10])),
        Payload::IdR(Id::new(IdType::IPV4_ADDR, vec![203, 0, 113, 5])),
        Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: vec![7; 48] }),
        Payload::Notify(Notify::status(NotifyType::INITIAL_CONTACT, Vec::new())),
        Payload::Sa(Sa { proposals: vec![proposal] }),
        Payload::TsI(host([192, 0, 2, 10])),
        Payload::TsR(host([203, 0, 113, 20])),
    ]
}

fn codec(criterion: &mut Criterion) {
    let message = sa_init();
    let datagram = message.encode();
    let mut group = criterion.benchmark_group("ike_sa_init");
    group.throughput(Throughput::Bytes(datagram.len() as u64));
    group.bench_function("decode header", |bencher| bencher.iter(|| Header::decode(black_box(&datagram))));
    group.bench_function("decode", |bencher| bencher.iter(|| Message::decode(black_box(&datagram))));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&message).encode()));
    group.finish();

    let payloads = auth_chain();
    let (first, bytes) = chain::encode(&payloads);
    let mut group = criterion.benchmark_group("ike_auth_chain");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("decode", |bencher| bencher.iter(|| chain::decode_inner(first, black_box(&bytes))));
    group.bench_function("encode", |bencher| bencher.iter(|| chain::encode(black_box(&payloads))));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
