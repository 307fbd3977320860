//! Properties: any value goes there and back, and any bytes either are refused or decode to values that do.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::ike::chain;
use crate::wire::ike::fuzz;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{
    AuthMethod, CertEncoding, CfgType, ExchangeType, IdType, KeMethod, NotifyType, PayloadType, ProtocolId,
    TransformType, TsType,
};
use crate::wire::ike::payload::{
    Attribute, Auth, Cert, CertReq, Configuration, Delete, Eap, Id, Ke, Nonce, Notify, Payload, Proposal, Sa,
    SelectorEntry, Transform, TransformAttribute, Ts, TsRange, Vendor,
};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = TransformAttribute> {
    prop_oneof![
        any::<u16>().prop_map(TransformAttribute::KeyLength),
        // Number 14 in the short form is `KeyLength`.
        (15..=0x7fff_u16, any::<u16>()).prop_map(|(kind, value)| TransformAttribute::Short { kind, value }),
        (0..=0x7fff_u16, bytes(20)).prop_map(|(kind, value)| TransformAttribute::Long { kind, value }),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    })
}

fn sa() -> impl Strategy<Value = Sa> {
    let proposal = (any::<u8>(), any::<u8>(), bytes(16), vec(transform(), 0..6)).prop_map(
        |(number, protocol, spi, transforms)| Proposal { number, protocol: ProtocolId(protocol), spi, transforms },
    );
    vec(proposal, 1..4).prop_map(|proposals| Sa { proposals })
}

fn ts() -> impl Strategy<Value = Ts> {
    let v4 =
        (any::<(u8, u16, u16)>(), any::<(u32, u32)>()).prop_map(|((protocol, start_port, end_port), (start, end))| {
            let (start, end) = (Ipv4Addr::from(start), Ipv4Addr::from(end));
            SelectorEntry::Range(TsRange::V4 { protocol, start_port, end_port, start, end })
        });
    let v6 = (any::<(u8, u16, u16)>(), any::<(u128, u128)>()).prop_map(
        |((protocol, start_port, end_port), (start, end))| {
            let (start, end) = (Ipv6Addr::from(start), Ipv6Addr::from(end));
            SelectorEntry::Range(TsRange::V6 { protocol, start_port, end_port, start, end })
        },
    );
    let unknown = (prop_oneof![0..7_u8, 9..=255_u8], bytes(24))
        .prop_map(|(kind, body)| SelectorEntry::Unknown { kind: TsType(kind), body });
    vec(prop_oneof![v4, v6, unknown], 1..5).prop_map(|selectors| Ts { selectors })
}

fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![
        Just(Delete::ike()),
        vec(any::<u32>(), 0..8).prop_map(Delete::esp),
        (4..=255_u8, 1..=20_u8).prop_flat_map(|(protocol, spi_size)| {
            vec(vec(any::<u8>(), usize::from(spi_size)), 0..4).prop_map(move |spis| Delete {
                protocol: ProtocolId(protocol),
                spi_size,
                spis,
            })
        }),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let id = || {
        (any::<u8>(), any::<[u8; 3]>(), bytes(40)).prop_map(|(kind, reserved, data)| Id {
            kind: IdType(kind),
            reserved,
            data,
        })
    };
    prop_oneof![
        sa().prop_map(Payload::Sa),
        (any::<u16>(), bytes(100)).prop_map(|(method, data)| Payload::Ke(Ke { method: KeMethod(method), data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), bytes(50))
            .prop_map(|(encoding, data)| Payload::Cert(Cert { encoding: CertEncoding(encoding), data })),
        (any::<u8>(), bytes(50)).prop_map(|(encoding, authorities)| {
            Payload::CertReq(CertReq { encoding: CertEncoding(encoding), authorities })
        }),
        (any::<u8>(), bytes(50)).prop_map(|(method, data)| Payload::Auth(Auth { method: AuthMethod(method), data })),
        vec(any::<u8>(), 16..=256).prop_map(|nonce| Payload::Nonce(Nonce(nonce))),
        (any::<u8>(), bytes(8), any::<u16>(), bytes(40)).prop_map(|(protocol, spi, kind, data)| {
            Payload::Notify(Notify { protocol: ProtocolId(protocol), spi, kind: NotifyType(kind), data })
        }),
        delete().prop_map(Payload::Delete),
        bytes(40).prop_map(|vendor| Payload::Vendor(Vendor(vendor))),
        ts().prop_map(Payload::TsI),
        ts().prop_map(Payload::TsR),
        (any::<u8>(), vec((0..=0x7fff_u16, bytes(16)), 0..4)).prop_map(|(kind, attributes)| {
            let attributes = attributes.into_iter().map(|(kind, value)| Attribute { kind, value }).collect();
            Payload::Cp(Configuration { kind: CfgType(kind), attributes })
        }),
        bytes(40).prop_map(|eap| Payload::Eap(Eap(eap))),
        (prop_oneof![1..33_u8, 54..=255_u8], any::<bool>(), bytes(40))
            .prop_map(|(kind, critical, body)| Payload::Unknown { kind: PayloadType(kind), critical, body }),
    ]
}

prop_compose! {
    fn header()(
        (initiator_spi, responder_spi) in any::<(u64, u64)>(),
        (major, minor) in (0..16_u8, 0..16_u8),
        exchange in any::<u8>(),
        (initiator, version, response) in any::<(bool, bool, bool)>(),
        message_id in any::<u32>(),
        (next_payload, length) in any::<(u8, u32)>(),
    ) -> Header {
        let flags = Flags { initiator, version, response };
        let (next_payload, exchange) = (PayloadType(next_payload), ExchangeType(exchange));
        Header { initiator_spi, responder_spi, next_payload, major, minor, exchange, flags, message_id, length }
    }
}

proptest! {
    #[test]
    fn any_header_goes_there_and_back(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn any_chain_goes_there_and_back(payloads in vec(payload(), 0..8)) {
        let (first, encoded) = chain::encode(&payloads);
        prop_assert_eq!(chain::decode_inner(first, &encoded), Ok(payloads));
    }

    #[test]
    fn any_message_goes_there_and_back(header in header(), payloads in vec(payload(), 0..4)) {
        let encoded = Message { header, payloads: payloads.clone() }.encode();
        let decoded = Message::decode(&encoded);
        let next_payload = payloads.first().map_or(PayloadType::NONE, Payload::kind);
        let length = u32::try_from(encoded.len()).expect("short");
        prop_assert_eq!(decoded, Ok(Message { header: Header { next_payload, length, ..header }, payloads }));
    }

    #[test]
    fn any_bytes_are_refused_or_stable(data in bytes(400)) {
        let _ = fuzz::message(&data);
        let _ = fuzz::inner_chain(&data);
    }

    #[test]
    fn a_valid_chain_with_some_bytes_changed_is_refused_or_stable(
        payloads in vec(payload(), 1..5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (first, mut encoded) = chain::encode(&payloads);
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        let _ = fuzz::inner_chain(&[&[first.0], &encoded[..]].concat());
    }
}
