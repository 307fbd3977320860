//! One test for each reason to refuse a message, with the sentence that the log gets.

use crate::wire::ike::chain;
use crate::wire::ike::header::HEADER_LEN;
use crate::wire::ike::limits::{
    MAX_CONFIG_ATTRIBUTES, MAX_DELETED_SPIS, MAX_PAYLOADS, MAX_PROPOSALS, MAX_SELECTORS, MAX_TRANSFORM_ATTRIBUTES,
    MAX_TRANSFORMS,
};
use crate::wire::ike::malformed::{Flaw, Malformed};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{PayloadType, ProtocolId, TsType};
use crate::wire::reader::Truncated;

/// What a chain of one payload with this body is refused for.
fn flaw(payload: PayloadType, body: &[u8]) -> Flaw {
    let [high, low] = u16::try_from(body.len() + 4).expect("a short body").to_be_bytes();
    match chain::decode_inner(payload, &[&[0, 0, high, low], body].concat()) {
        Err(Malformed::Payload { payload: named, flaw }) => {
            assert_eq!(named, payload);
            flaw
        }
        other => panic!("{other:?}"),
    }
}

fn header_saying(next_payload: u8, length: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[16] = next_payload;
    bytes[17] = 0x20;
    bytes[24..28].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn a_datagram_shorter_than_the_header() {
    let refused = Message::decode(&[0; 27]).expect_err("27 bytes");
    assert_eq!(refused, Malformed::ShortHeader { have: 27 });
    assert_eq!(refused.to_string(), "header: the datagram has 27 bytes, an IKE header has 28");
}

#[test]
fn a_length_field_that_is_not_the_datagram_s_length() {
    for length in [0, 27, 29, 0x8000_0000, u32::MAX] {
        let refused = Message::decode(&header_saying(0, length));
        assert_eq!(refused, Err(Malformed::MessageLength { header: length, datagram: 28 }));
    }
    assert_eq!(Message::decode(&header_saying(0, 28)).map(|message| message.payloads), Ok(Vec::new()));
}

#[test]
fn a_chain_that_ends_before_the_announced_payload() {
    for left in 0..4 {
        let bytes = [0, 0, 0, 4];
        let refused = chain::decode(PayloadType::NONCE, &bytes[..left], 0);
        assert_eq!(refused, Err(Malformed::NoPayloadHeader { payload: PayloadType::NONCE, left }));
    }
}

#[test]
fn a_payload_length_below_its_own_header() {
    for length in 0..4 {
        let refused = chain::decode(PayloadType::KE, &[0, 0, 0, length, 0, 0], 0);
        let length = u16::from(length);
        assert_eq!(refused, Err(Malformed::PayloadTooShort { payload: PayloadType::KE, length }));
    }
}

#[test]
fn a_payload_length_past_the_end() {
    let refused = chain::decode(PayloadType::SK, &[0, 0, 0, 9, 1, 2, 3, 4], 0).expect_err("one byte is missing");
    assert_eq!(refused, Malformed::PayloadTooLong { payload: PayloadType::SK, length: 9, left: 8 });
    assert_eq!(refused.to_string(), "SK payload: its length field says 9, only 8 bytes are left");
}

#[test]
fn bytes_behind_the_last_payload() {
    assert_eq!(chain::decode(PayloadType::NONE, &[0], 0), Err(Malformed::BytesAfterChain { left: 1 }));
    let refused = chain::decode(PayloadType::VENDOR, &[0, 0, 0, 4, 1, 2, 3], 0);
    assert_eq!(refused, Err(Malformed::BytesAfterChain { left: 3 }));
}

#[test]
fn bytes_behind_sk_or_skf() {
    let sk = [35, 0, 0, 5, 1, 0, 0, 0, 4];
    let refused = chain::decode(PayloadType::SK, &sk, 28);
    assert_eq!(refused, Err(Malformed::EncryptedNotLast { payload: PayloadType::SK, left: 4 }));
    let skf = [35, 0, 0, 8, 0, 1, 0, 1, 9];
    let refused = chain::decode(PayloadType::SKF, &skf, 28);
    assert_eq!(refused, Err(Malformed::EncryptedNotLast { payload: PayloadType::SKF, left: 1 }));
}

#[test]
fn sk_within_sk() {
    let refused = chain::decode_inner(PayloadType::VENDOR, &[46, 0, 0, 4, 0, 0, 0, 4]);
    assert_eq!(refused, Err(Malformed::NestedEncrypted { payload: PayloadType::SK }));
}

#[test]
fn more_payloads_than_a_message_may_have() {
    let mut bytes = [43, 0, 0, 4].repeat(MAX_PAYLOADS - 1);
    bytes.extend([0, 0, 0, 4]);
    assert_eq!(chain::decode(PayloadType::VENDOR, &bytes, 0).map(|payloads| payloads.len()), Ok(MAX_PAYLOADS));
    let bytes = [&[43, 0, 0, 4], &bytes[..]].concat();
    assert_eq!(chain::decode(PayloadType::VENDOR, &bytes, 0), Err(Malformed::TooManyPayloads));
}

#[test]
fn a_fixed_field_that_is_cut_off() {
    let cut = [
        (PayloadType::SA, 1),
        (PayloadType::KE, 3),
        (PayloadType::IDI, 3),
        (PayloadType::IDR, 0),
        (PayloadType::CERT, 0),
        (PayloadType::CERTREQ, 0),
        (PayloadType::AUTH, 3),
        (PayloadType::NOTIFY, 3),
        (PayloadType::DELETE, 3),
        (PayloadType::TSI, 3),
        (PayloadType::TSR, 0),
        (PayloadType::SKF, 3),
        (PayloadType::CP, 3),
    ];
    for (payload, len) in cut {
        assert!(matches!(flaw(payload, &[0, 0, 0][..len]), Flaw::Truncated(_)), "{payload}");
    }
}

#[test]
fn an_sa_without_proposals() {
    assert_eq!(flaw(PayloadType::SA, &[]), Flaw::NoProposal);
}

#[test]
fn a_last_substruc_of_another_kind_or_place() {
    let proposal = |last| [last, 0, 0, 8, 1, 1, 0, 0];
    assert_eq!(flaw(PayloadType::SA, &proposal(3)), Flaw::LastSubstruc { what: "proposal", value: 3 });
    assert_eq!(flaw(PayloadType::SA, &proposal(2)), Flaw::LastSubstrucPlace { what: "proposal" });
    let two = [proposal(0), proposal(0)].concat();
    assert_eq!(flaw(PayloadType::SA, &two), Flaw::LastSubstrucPlace { what: "proposal" });

    let with = |last| [0, 0, 0, 16, 1, 1, 0, 1, last, 0, 0, 8, 2, 0, 0, 5];
    assert_eq!(flaw(PayloadType::SA, &with(2)), Flaw::LastSubstruc { what: "transform", value: 2 });
    assert_eq!(flaw(PayloadType::SA, &with(3)), Flaw::LastSubstrucPlace { what: "transform" });
    let two = [0, 0, 0, 24, 1, 1, 0, 2, 0, 0, 0, 8, 2, 0, 0, 5, 0, 0, 0, 8, 2, 0, 0, 5];
    assert_eq!(flaw(PayloadType::SA, &two), Flaw::LastSubstrucPlace { what: "transform" });
}

#[test]
fn a_proposal_or_transform_shorter_than_its_header() {
    let refused = flaw(PayloadType::SA, &[0, 0, 0, 7, 1, 1, 0, 0]);
    assert_eq!(refused, Flaw::SubstructureTooShort { what: "proposal", length: 7 });
    let refused = flaw(PayloadType::SA, &[0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 0, 2, 0, 0, 5]);
    assert_eq!(refused, Flaw::SubstructureTooShort { what: "transform", length: 0 });
}

#[test]
fn an_spi_or_attribute_that_leaves_its_proposal() {
    let refused = flaw(PayloadType::SA, &[0, 0, 0, 8, 1, 3, 4, 0]);
    assert_eq!(refused, Flaw::Truncated(Truncated { needed: 4, left: 0 }));
    let long_form = [0, 0, 0, 20, 1, 1, 0, 1, 0, 0, 0, 12, 1, 0, 0, 20, 0, 14, 0, 2];
    assert_eq!(flaw(PayloadType::SA, &long_form), Flaw::Truncated(Truncated { needed: 2, left: 0 }));
}

#[test]
fn a_transform_count_that_is_not_the_number_of_transforms() {
    for said in [0, 2, 255] {
        let body = [0, 0, 0, 16, 1, 1, 0, said, 0, 0, 0, 8, 2, 0, 0, 5];
        assert_eq!(flaw(PayloadType::SA, &body), Flaw::TransformCount { said, counted: 1 });
    }
}

#[test]
fn a_nonce_shorter_than_16_or_longer_than_256_bytes() {
    assert_eq!(flaw(PayloadType::NONCE, &[1; 15]), Flaw::NonceLength { have: 15 });
    assert_eq!(flaw(PayloadType::NONCE, &[1; 257]), Flaw::NonceLength { have: 257 });
    for len in [16_usize, 256] {
        let bytes = [&[0, 0, (len / 256) as u8, (len % 256) as u8 + 4], &vec![1; len][..]].concat();
        assert!(chain::decode(PayloadType::NONCE, &bytes, 0).is_ok());
    }
}

#[test]
fn a_notify_whose_spi_leaves_the_payload() {
    assert_eq!(flaw(PayloadType::NOTIFY, &[3, 4, 0, 1, 9]), Flaw::Truncated(Truncated { needed: 4, left: 1 }));
}

#[test]
fn a_delete_whose_spis_do_not_belong_to_its_protocol() {
    for (protocol, spi_size) in [(1, 8), (2, 0), (3, 8), (3, 0)] {
        let body = [&[protocol, spi_size, 0, 1][..], &vec![0; usize::from(spi_size)]].concat();
        let expected = Flaw::DeleteSpiSize { protocol: ProtocolId(protocol), spi_size };
        assert_eq!(flaw(PayloadType::DELETE, &body), expected);
    }
}

#[test]
fn a_delete_whose_count_does_not_match_its_length() {
    let refused = flaw(PayloadType::DELETE, &[3, 4, 0, 2, 1, 2, 3, 4]);
    assert_eq!(refused, Flaw::DeleteCount { count: 2, spi_size: 4, have: 4 });
    assert_eq!(refused.to_string(), "2 SPIs of 4 bytes do not fill 4 bytes");
    let refused = flaw(PayloadType::DELETE, &[3, 4, 0, 0, 1, 2, 3, 4]);
    assert_eq!(refused, Flaw::DeleteCount { count: 0, spi_size: 4, have: 4 });
    let refused = flaw(PayloadType::DELETE, &[99, 0, 0xff, 0xff, 1]);
    assert_eq!(refused, Flaw::DeleteCount { count: 0xffff, spi_size: 0, have: 1 });
}

#[test]
fn ts_without_selectors_or_with_another_count() {
    assert_eq!(flaw(PayloadType::TSI, &[0, 0, 0, 0]), Flaw::NoSelector);
    let one = [7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
    let two = [&[1, 0, 0, 0], &one[..], &one[..]].concat();
    assert_eq!(flaw(PayloadType::TSI, &two), Flaw::SelectorCount { said: 1, left: 16 });
    let one_of_two = [&[2, 0, 0, 0], &one[..]].concat();
    assert!(matches!(flaw(PayloadType::TSR, &one_of_two), Flaw::Truncated(_)));
}

#[test]
fn a_selector_whose_length_does_not_belong_to_its_type() {
    for (kind, length) in [(7, 15), (7, 17), (7, 40), (8, 16), (8, 39), (9, 3), (9, 0)] {
        let mut body = vec![1, 0, 0, 0, kind, 0, 0, length];
        body.resize(64, 0);
        let expected = Flaw::SelectorLength { kind: TsType(kind), length: u16::from(length) };
        assert_eq!(flaw(PayloadType::TSR, &body), expected);
    }
}

#[test]
fn a_fragment_that_is_none_of_its_total() {
    for (number, total) in [(0, 0), (0, 5), (6, 5), (1, 0)] {
        let refused = chain::decode(PayloadType::SKF, &[0, 0, 0, 9, 0, number, 0, total, 1], 28);
        let flaw = Flaw::FragmentNumber { number: number.into(), total: total.into() };
        assert_eq!(refused, Err(Malformed::Payload { payload: PayloadType::SKF, flaw }));
    }
}

#[test]
fn more_of_a_counted_thing_than_a_message_may_hold() {
    let too_many = |what, limit| Flaw::TooMany { what, limit };

    let proposals = [2, 0, 0, 8, 1, 1, 0, 0].repeat(MAX_PROPOSALS + 1);
    assert_eq!(flaw(PayloadType::SA, &proposals), too_many("proposals", MAX_PROPOSALS));

    let full = |last| {
        [&[last, 0, 8, 0, 1, 1, 0, 255][..], &[3, 0, 0, 8, 1, 0, 0, 1].repeat(254), &[0, 0, 0, 8, 1, 0, 0, 1]].concat()
    };
    assert_eq!(flaw(PayloadType::SA, &full(2).repeat(5)), too_many("transforms", MAX_TRANSFORMS));

    let transform_len = u16::try_from(8 + 4 * (MAX_TRANSFORM_ATTRIBUTES + 1)).expect("fits").to_be_bytes();
    let proposal_len = u16::try_from(16 + 4 * (MAX_TRANSFORM_ATTRIBUTES + 1)).expect("fits").to_be_bytes();
    let head =
        [0, 0, proposal_len[0], proposal_len[1], 1, 1, 0, 1, 0, 0, transform_len[0], transform_len[1], 1, 0, 0, 20];
    let attributes = [&head[..], &[0, 18, 0, 0].repeat(MAX_TRANSFORM_ATTRIBUTES + 1)].concat();
    assert_eq!(flaw(PayloadType::SA, &attributes), too_many("transform attributes", MAX_TRANSFORM_ATTRIBUTES));

    let spis = [&[3, 4, 4, 1][..], &[0; 4].repeat(MAX_DELETED_SPIS + 1)].concat();
    assert_eq!(flaw(PayloadType::DELETE, &spis), too_many("deleted SPIs", MAX_DELETED_SPIS));

    let attributes = [&[1, 0, 0, 0][..], &[0, 1, 0, 0].repeat(MAX_CONFIG_ATTRIBUTES + 1)].concat();
    assert_eq!(flaw(PayloadType::CP, &attributes), too_many("configuration attributes", MAX_CONFIG_ATTRIBUTES));

    // One TS payload cannot hold that many, so the count goes over all payloads of the chain.
    let ts = [&[44, 0, 4, 4, 255, 0, 0, 0][..], &[9, 0, 0, 4].repeat(255)].concat();
    let flaw = too_many("traffic selectors", MAX_SELECTORS);
    let refused = chain::decode(PayloadType::TSI, &ts.repeat(3), 0);
    assert_eq!(refused, Err(Malformed::Payload { payload: PayloadType::TSI, flaw }));
}

#[test]
fn a_delete_of_the_ike_sa_may_say_any_count() {
    let decoded = chain::decode(PayloadType::DELETE, &[0, 0, 0, 8, 1, 0, 0, 1], 0);
    assert!(decoded.is_ok(), "{decoded:?}");
}
