//! Seeds for the IKE codec: each message of a handshake, and each chain that stands inside SK.

use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis::wire::ike::chain;
use portcullis::wire::ike::header::{Flags, Header};
use portcullis::wire::ike::message::Message;
use portcullis::wire::ike::numbers::{
    AuthMethod, CertEncoding, CfgType, Encr, Esn, ExchangeType, IdType, Integ, KeMethod, NotifyType, PayloadType, Prf,
    ProtocolId, TsType,
};
use portcullis::wire::ike::payload::{
    Attribute, Auth, Cert, CertReq, Configuration, Delete, Eap, Id, Ke, Nonce, Notify, Payload, Proposal, Sa,
    SelectorEntry, Transform, TransformAttribute, Ts, TsRange, Vendor,
};
use portcullis::wire::ike::sealed::{self, CipherShape, FragmentNumber};

use super::super::steps;
use super::{Seed, flaws};

fn header(exchange: ExchangeType, initiator: bool, response: bool, message_id: u32) -> Header {
    Header {
        initiator_spi: 0x0102_0304_0506_0708,
        responder_spi: if message_id == 0 && !response { 0 } else { 0x1112_1314_1516_1718 },
        next_payload: PayloadType::NONE,
        major: 2,
        minor: 0,
        exchange,
        flags: Flags { initiator, version: false, response },
        message_id,
        length: 0,
    }
}

fn ike_proposals() -> Sa {
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
            Transform::integ(Integ::HMAC_SHA2_256_128),
            Transform::prf(Prf::HMAC_SHA2_256),
            Transform::ke(KeMethod::MODP_2048),
        ],
        ..aead.clone()
    };
    Sa { proposals: vec![aead, cbc] }
}

fn esp_proposal() -> Sa {
    let mut odd = Transform::encr(Encr::AES_CBC, Some(256));
    odd.attributes.push(TransformAttribute::Short { kind: 20, value: 1 });
    odd.attributes.push(TransformAttribute::Long { kind: 21, value: vec![1, 2, 3] });
    let transforms =
        vec![Transform::encr(Encr::AES_GCM_16, Some(256)), odd, Transform::esn(Esn::YES), Transform::esn(Esn::NO)];
    Sa { proposals: vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![0xc0, 0, 0, 1], transforms }] }
}

pub(super) fn ts_v4(address: [u8; 4]) -> Ts {
    let address = Ipv4Addr::from(address);
    Ts::ranges([TsRange::V4 { protocol: 6, start_port: 1414, end_port: 1414, start: address, end: address }])
}

fn ts_mixed() -> Ts {
    let v6 = TsRange::V6 {
        protocol: 0,
        start_port: 0,
        end_port: 65535,
        start: Ipv6Addr::LOCALHOST,
        end: Ipv6Addr::LOCALHOST,
    };
    let mut ts = ts_v4([192, 0, 2, 10]);
    ts.selectors.push(SelectorEntry::Range(v6));
    ts.selectors.push(SelectorEntry::Unknown { kind: TsType(9), body: vec![1, 2, 3, 4] });
    ts
}

fn id(address: [u8; 4]) -> Id {
    Id::new(IdType::IPV4_ADDR, address.to_vec())
}

pub(super) fn ike_message() -> Vec<Seed> {
    let init = |response: bool, payloads: Vec<Payload>| {
        Message { header: header(ExchangeType::IKE_SA_INIT, !response, response, 0), payloads }.encode()
    };
    let nat = |kind, byte| Payload::Notify(Notify::status(kind, vec![byte; 20]));
    let request = vec![
        Payload::Sa(ike_proposals()),
        Payload::Ke(Ke { method: KeMethod::ECP_384, data: vec![0x5a; 96] }),
        Payload::Nonce(Nonce(vec![0xa5; 32])),
        nat(NotifyType::NAT_DETECTION_SOURCE_IP, 1),
        nat(NotifyType::NAT_DETECTION_DESTINATION_IP, 2),
        Payload::Vendor(Vendor(b"FLEXVPN-SUPPORTED".to_vec())),
    ];
    let with_cookie =
        [&[Payload::Notify(Notify::status(NotifyType::COOKIE, vec![3; 24]))], request.as_slice()].concat();
    let mut old = init(false, Vec::new());
    old[17] = 0x10;
    let gcm = CipherShape { iv_len: 8, block_len: 1, icv_len: 16 };
    let cbc = CipherShape { iv_len: 16, block_len: 16, icv_len: 24 };
    let sealed = |exchange, fragment, shape| {
        let header = header(exchange, true, false, 1);
        sealed::lay_out(&header, PayloadType::IDI, &[7; 40], fragment, shape).map(|laid| laid.bytes).unwrap_or_default()
    };
    let second_of_three = Some(FragmentNumber { number: 2, total: 3 });
    let first = |list: Vec<u8>| [&header(ExchangeType::IKE_SA_INIT, true, false, 0).encode()[..], &list].concat();
    let mut seeds = vec![
        ("sa_init_request", init(false, request)),
        ("sa_init_request_with_cookie", init(false, with_cookie)),
        ("sa_init_cookie", init(true, vec![Payload::Notify(Notify::status(NotifyType::COOKIE, vec![3; 24]))])),
        ("sa_init_invalid_ke", init(true, vec![Payload::Notify(Notify::invalid_ke(KeMethod::ECP_384))])),
        ("sa_init_refused", init(true, vec![Payload::Notify(Notify::error(NotifyType::NO_PROPOSAL_CHOSEN))])),
        ("version_1", old),
        ("auth_gcm", sealed(ExchangeType::IKE_AUTH, None, gcm)),
        ("auth_cbc", sealed(ExchangeType::IKE_AUTH, None, cbc)),
        ("auth_fragment", sealed(ExchangeType::IKE_AUTH, second_of_three, gcm)),
        ("informational", sealed(ExchangeType::INFORMATIONAL, None, gcm)),
        ("list", first(a_list())),
        ("flaws", first(flaws::each())),
    ];
    // What stands inside, as it is before it is encrypted.
    let inside = |(name, chain): (&'static str, Vec<u8>)| {
        let (first, inner) = chain.split_first().expect("the type of the first payload");
        let header = header(ExchangeType::INFORMATIONAL, true, false, 2);
        let laid = sealed::lay_out(&header, PayloadType(*first), inner, None, gcm).expect("short enough");
        (name, laid.bytes)
    };
    seeds.extend(chains().into_iter().map(inside));
    seeds
}

/// Payloads as a list of (type, length, body): a vendor ID, a status notify, a nonce, something unknown.
fn a_list() -> Vec<u8> {
    let mut list = Vec::new();
    steps::put(&mut list, PayloadType::VENDOR.0, &[1, 2, 3]);
    steps::put(&mut list, PayloadType::NOTIFY.0, &[0, 0, 0x40, 0x2e]);
    steps::put(&mut list, PayloadType::NONCE.0, &[5; 16]);
    steps::put(&mut list, 200, &[]);
    list
}

pub(super) fn ike_inner_chain() -> Vec<Seed> {
    [chains(), vec![("list", a_list()), ("flaws", flaws::each())], flaws::chains()].concat()
}

/// Chains of payloads behind the type of the first one.
fn chains() -> Vec<Seed> {
    let chain = |payloads: &[Payload]| {
        let (first, bytes) = chain::encode(payloads);
        [&[first.0], bytes.as_slice()].concat()
    };
    let auth = Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: vec![7; 48] });
    let notify = |kind| Payload::Notify(Notify::error(kind));
    let ke = Payload::Ke(Ke { method: KeMethod::CURVE25519, data: vec![9; 32] });
    vec![
        ("liveness", vec![0]),
        (
            "auth_request",
            chain(&[
                Payload::IdI(id([198, 51, 100, 10])),
                Payload::IdR(id([203, 0, 113, 5])),
                auth.clone(),
                notify(NotifyType::INITIAL_CONTACT),
                Payload::Sa(esp_proposal()),
                Payload::TsI(ts_v4([192, 0, 2, 10])),
                Payload::TsR(ts_mixed()),
            ]),
        ),
        (
            "auth_request_cisco",
            chain(&[
                Payload::Vendor(Vendor(vec![4; 16])),
                Payload::IdI(Id::new(IdType::FQDN, b"gw.example".to_vec())),
                auth.clone(),
                Payload::Cp(Configuration {
                    kind: CfgType::REQUEST,
                    attributes: vec![
                        Attribute { kind: 1, value: Vec::new() },
                        Attribute { kind: 7, value: vec![65; 9] },
                    ],
                }),
                Payload::Sa(esp_proposal()),
                Payload::TsI(ts_v4([192, 0, 2, 10])),
                Payload::TsR(ts_v4([203, 0, 113, 20])),
                notify(NotifyType::USE_TRANSPORT_MODE),
            ]),
        ),
        (
            "auth_response_child_refused",
            chain(&[Payload::IdR(id([203, 0, 113, 5])), auth, notify(NotifyType::TS_UNACCEPTABLE)]),
        ),
        (
            "certificates_and_eap",
            chain(&[
                Payload::Cert(Cert { encoding: CertEncoding::X509_SIGNATURE, data: vec![0x30, 0] }),
                Payload::CertReq(CertReq { encoding: CertEncoding::X509_SIGNATURE, authorities: vec![1; 20] }),
                Payload::Eap(Eap(vec![1, 2, 0, 4])),
            ]),
        ),
        (
            "child_rekey",
            chain(&[
                Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0xc000_0001)),
                Payload::Sa(esp_proposal()),
                Payload::Nonce(Nonce(vec![6; 32])),
                ke.clone(),
                Payload::TsI(ts_mixed()),
                Payload::TsR(ts_mixed()),
            ]),
        ),
        ("ike_rekey", chain(&[Payload::Sa(ike_proposals()), Payload::Nonce(Nonce(vec![6; 16])), ke])),
        ("delete_ike", chain(&[Payload::Delete(Delete::ike())])),
        ("delete_children", chain(&[Payload::Delete(Delete::esp([0xc000_0001, 0xc000_0002]))])),
        ("long_nonce", chain(&[Payload::Nonce(Nonce(vec![5; 257]))])),
        (
            "critical_unknown",
            chain(&[Payload::Unknown { kind: PayloadType(200), critical: true, body: vec![1, 2, 3] }]),
        ),
    ]
}
