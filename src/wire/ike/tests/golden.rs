//! Bytes written by hand after the diagrams of RFC 7296 §3 and RFC 7383 §2.5, and the values that they stand for.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::ike::chain;
use crate::wire::ike::header::{Flags, HEADER_LEN, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{
    AuthMethod, CertEncoding, CfgType, Encr, Esn, ExchangeType, IdType, KeMethod, NotifyType, PayloadType, Prf,
    ProtocolId, TransformType, TsType,
};
use crate::wire::ike::payload::{
    Attribute, Auth, Cert, CertReq, Configuration, Delete, Eap, Encrypted, EncryptedFragment, Id, Ke, Nonce, Notify,
    Payload, Proposal, Sa, SelectorEntry, Transform, TransformAttribute, Ts, TsRange, Vendor,
};

/// Every payload that can stand open in a chain: its value, and its body on the wire.
pub(super) fn samples() -> Vec<(Payload, Vec<u8>)> {
    let gcm = Transform::encr(Encr::AES_GCM_16, Some(256));
    let odd = Transform {
        kind: TransformType(9),
        id: 0x1234,
        attributes: vec![
            TransformAttribute::Short { kind: 17, value: 0xbeef },
            TransformAttribute::Long { kind: 18, value: vec![7, 8, 9] },
        ],
    };
    let sa = Sa {
        proposals: vec![
            Proposal {
                number: 1,
                protocol: ProtocolId::ESP,
                spi: vec![0xc0, 0, 0, 1],
                transforms: vec![gcm, Transform::esn(Esn::YES)],
            },
            Proposal {
                number: 2,
                protocol: ProtocolId::IKE,
                spi: Vec::new(),
                transforms: vec![Transform::prf(Prf::HMAC_SHA2_384), Transform::ke(KeMethod::ECP_384), odd],
            },
        ],
    };
    #[rustfmt::skip]
    let sa_bytes = vec![
        2, 0, 0, 32, 1, 3, 4, 2, 0xc0, 0, 0, 1,
            3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0,
            0, 0, 0, 8, 5, 0, 0, 1,
        0, 0, 0, 43, 2, 1, 0, 3,
            3, 0, 0, 8, 2, 0, 0, 6,
            3, 0, 0, 8, 4, 0, 0, 20,
            0, 0, 0, 19, 9, 0, 0x12, 0x34, 0x80, 17, 0xbe, 0xef, 0, 18, 0, 3, 7, 8, 9,
    ];
    let ts = Ts {
        selectors: vec![
            SelectorEntry::Range(TsRange::V4 {
                protocol: 6,
                start_port: 1414,
                end_port: 1414,
                start: Ipv4Addr::new(192, 0, 2, 10),
                end: Ipv4Addr::new(192, 0, 2, 11),
            }),
            SelectorEntry::Unknown { kind: TsType(9), body: vec![1, 2] },
            SelectorEntry::Range(TsRange::V6 {
                protocol: 0,
                start_port: 0,
                end_port: 65535,
                start: Ipv6Addr::UNSPECIFIED,
                end: Ipv6Addr::from([0xff; 16]),
            }),
        ],
    };
    #[rustfmt::skip]
    let ts_bytes = vec![
        3, 0, 0, 0,
        7, 6, 0, 16, 5, 0x86, 5, 0x86, 192, 0, 2, 10, 192, 0, 2, 11,
        9, 0, 0, 6, 1, 2,
        8, 0, 0, 40, 0, 0, 0xff, 0xff,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    let id = Id::new(IdType::FQDN, b"gw.example".to_vec());
    let id_bytes = [&[2, 0, 0, 0][..], b"gw.example"].concat();
    let configuration = Configuration {
        kind: CfgType::REQUEST,
        attributes: vec![
            Attribute { kind: 1, value: Vec::new() },
            Attribute { kind: 0x7fff, value: vec![10, 0, 0, 1] },
        ],
    };
    let rekey = Notify { data: vec![0xaa], ..Notify::about_esp(NotifyType::REKEY_SA, 0x0102_0304) };
    vec![
        (Payload::Sa(sa), sa_bytes),
        (Payload::Ke(Ke { method: KeMethod::ECP_256, data: vec![4, 5] }), vec![0, 19, 0, 0, 4, 5]),
        (Payload::IdI(id.clone()), id_bytes.clone()),
        (Payload::IdR(id), id_bytes),
        (Payload::Cert(Cert { encoding: CertEncoding::X509_SIGNATURE, data: vec![0x30, 0] }), vec![4, 0x30, 0]),
        (
            Payload::CertReq(CertReq { encoding: CertEncoding(4), authorities: vec![1; 20] }),
            [&[4][..], &[1; 20]].concat(),
        ),
        (Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: vec![9, 8] }), vec![2, 0, 0, 0, 9, 8]),
        (Payload::Nonce(Nonce(vec![7; 32])), vec![7; 32]),
        (Payload::Notify(rekey), vec![3, 4, 0x40, 0x09, 1, 2, 3, 4, 0xaa]),
        (Payload::Notify(Notify::invalid_ke(KeMethod::ECP_384)), vec![0, 0, 0, 17, 0, 20]),
        (Payload::Delete(Delete::ike()), vec![1, 0, 0, 0]),
        (Payload::Delete(Delete::esp([1, 0xc000_0002])), vec![3, 4, 0, 2, 0, 0, 0, 1, 0xc0, 0, 0, 2]),
        (Payload::Vendor(Vendor(b"FLEXVPN-SUPPORTED".to_vec())), b"FLEXVPN-SUPPORTED".to_vec()),
        (Payload::TsI(ts.clone()), ts_bytes.clone()),
        (Payload::TsR(ts), ts_bytes),
        (Payload::Cp(configuration), vec![1, 0, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0, 4, 10, 0, 0, 1]),
        (Payload::Eap(Eap(vec![1, 2, 0, 4])), vec![1, 2, 0, 4]),
        (Payload::Unknown { kind: PayloadType(200), critical: true, body: vec![1] }, vec![1]),
        (Payload::Unknown { kind: PayloadType(49), critical: false, body: vec![] }, vec![]),
    ]
}

/// A chain of one payload with this body.
fn chain_of(payload: &Payload, body: &[u8]) -> Vec<u8> {
    let critical = if payload.is_critical_unknown() { 0x80 } else { 0 };
    let [high, low] = u16::try_from(body.len() + 4).expect("a short body").to_be_bytes();
    [&[0, critical, high, low], body].concat()
}

#[test]
fn every_payload_encodes_to_the_bytes_of_the_rfc() {
    for (payload, body) in samples() {
        let expected = (payload.kind(), chain_of(&payload, &body));
        assert_eq!(chain::encode(std::slice::from_ref(&payload)), expected, "{payload:?}");
    }
}

#[test]
fn every_payload_decodes_from_the_bytes_of_the_rfc() {
    for (payload, body) in samples() {
        let bytes = chain_of(&payload, &body);
        assert_eq!(chain::decode_inner(payload.kind(), &bytes).as_deref(), Ok(&[payload][..]));
    }
}

#[test]
fn a_chain_of_all_payloads_goes_there_and_back() {
    let payloads: Vec<Payload> = samples().into_iter().map(|(payload, _)| payload).collect();
    let (first, bytes) = chain::encode(&payloads);
    assert_eq!(first, PayloadType::SA);
    assert_eq!(chain::decode_inner(first, &bytes), Ok(payloads));
}

#[rustfmt::skip]
const HEADER_BYTES: [u8; HEADER_LEN] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    46, 0x20, 35, 0x28, 0, 0, 0, 5, 0, 0, 0, 36,
];

fn header() -> Header {
    Header {
        initiator_spi: 0x0102_0304_0506_0708,
        responder_spi: 0x090a_0b0c_0d0e_0f10,
        next_payload: PayloadType::SK,
        major: 2,
        minor: 0,
        exchange: ExchangeType::IKE_AUTH,
        flags: Flags { initiator: true, version: false, response: true },
        message_id: 5,
        length: 36,
    }
}

#[test]
fn the_header_has_its_fields_where_the_rfc_puts_them() {
    assert_eq!(Header::decode(&HEADER_BYTES), Ok(header()));
    assert_eq!(header().encode(), HEADER_BYTES);
}

#[test]
fn reserved_bits_and_bytes_are_ignored() {
    let mut bytes = HEADER_BYTES;
    bytes[19] |= 0xc7;
    assert_eq!(Header::decode(&bytes), Ok(header()));

    for (payload, mut body) in samples() {
        let mut reserved_at = match payload.kind() {
            PayloadType::SA => vec![1, 13, 17],
            PayloadType::KE => vec![2, 3],
            PayloadType::AUTH | PayloadType::TSI | PayloadType::CP => vec![1, 2, 3],
            _ => Vec::new(),
        };
        for at in reserved_at.drain(..) {
            body[at] = 0xff;
        }
        let mut bytes = chain_of(&payload, &body);
        bytes[1] |= 0x7f;
        assert_eq!(chain::decode_inner(payload.kind(), &bytes).as_deref(), Ok(&[payload][..]));
    }
}

#[test]
fn the_critical_bit_of_a_known_payload_is_ignored_and_never_sent() {
    let bytes = [0, 0x80, 0, 5, 42];
    let decoded = chain::decode_inner(PayloadType::VENDOR, &bytes).expect("well-formed");
    assert_eq!(decoded, [Payload::Vendor(Vendor(vec![42]))]);
    assert_eq!(chain::encode(&decoded).1, [0, 0, 0, 5, 42]);
}

#[test]
fn an_sk_payload_says_where_its_content_stands() {
    let bytes = [&HEADER_BYTES[..], &[35, 0, 0, 8, 1, 2, 3, 4]].concat();
    let message = Message::decode(&bytes).expect("well-formed");
    assert_eq!(message.payloads, [Payload::Sk(Encrypted { first_inner: PayloadType::IDI, content: 32..36 })]);
}

#[test]
fn an_skf_payload_behind_another_says_where_its_content_stands() {
    let outer = [53, 0, 0, 5, 42, 35, 0, 0, 10, 0, 2, 0, 3, 1, 2];
    let payloads = chain::decode(PayloadType::VENDOR, &outer, 28).expect("well-formed");
    let fragment = EncryptedFragment { first_inner: PayloadType::IDI, number: 2, total: 3, content: 41..43 };
    assert_eq!(payloads, [Payload::Vendor(Vendor(vec![42])), Payload::Skf(fragment)]);
}

#[test]
fn a_message_fills_in_next_payload_and_length() {
    let payloads = vec![Payload::Notify(Notify::error(NotifyType::INVALID_SYNTAX))];
    let message = Message { header: Header { length: 0, ..header() }, payloads };
    let bytes = message.encode();
    assert_eq!(bytes.get(HEADER_LEN..), Some(&[0, 0, 0, 8, 0, 0, 0, 7][..]));
    let decoded = Message::decode(&bytes).expect("well-formed");
    assert_eq!(decoded.header, Header { next_payload: PayloadType::NOTIFY, ..header() });
}
