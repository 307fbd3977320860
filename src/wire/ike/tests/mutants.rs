//! Every byte of a valid message cut off, every 16-bit place set to the lengths that break parsers: nothing panics,
//! and whatever still decodes encodes to the same values again.

use super::golden::samples;
use crate::wire::ike::fuzz;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};
use crate::wire::ike::payload::Payload;

fn message_of_everything() -> Vec<u8> {
    let header = Header {
        initiator_spi: 1,
        responder_spi: 2,
        next_payload: PayloadType::NONE,
        major: 2,
        minor: 0,
        exchange: ExchangeType::IKE_AUTH,
        flags: Flags { initiator: true, version: false, response: false },
        message_id: 1,
        length: 0,
    };
    let payloads: Vec<Payload> = samples().into_iter().map(|(payload, _)| payload).collect();
    Message { header, payloads }.encode()
}

/// Feeds a datagram whose header length is mended, so that the mutation behind it is reached, and its chain alone.
fn feed(mut bytes: Vec<u8>) {
    let _ = fuzz::message(&bytes);
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    if let Some(field) = bytes.get_mut(24..28) {
        field.copy_from_slice(&length);
    }
    let _ = fuzz::message(&bytes);
    if let Some((header, chain)) = bytes.split_at_checked(28) {
        let _ = fuzz::inner_chain(&[&header[16..17], chain].concat());
    }
}

#[test]
fn every_truncation_is_refused_or_consistent() {
    let bytes = message_of_everything();
    for len in 0..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        assert!(Message::decode(&cut).is_err(), "cut at {len}");
        cut.resize(len, 0);
        feed(cut);
    }
}

#[test]
fn every_16_bit_place_survives_the_lengths_that_break_parsers() {
    let bytes = message_of_everything();
    for at in 16..bytes.len() - 1 {
        let here = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        for value in [0, 1, 3, 4, 7, 8, here.wrapping_sub(1), here.wrapping_add(1), 0x7fff, 0x8000, 0xffff] {
            let mut mutant = bytes.clone();
            mutant[at..at + 2].copy_from_slice(&value.to_be_bytes());
            feed(mutant);
        }
    }
}

#[test]
fn every_payload_survives_being_called_another() {
    for (payload, _) in samples() {
        let (_, bytes) = crate::wire::ike::chain::encode(&[payload]);
        for kind in 0..=255 {
            let _ = fuzz::inner_chain(&[&[kind], &bytes[..]].concat());
        }
    }
}

#[test]
fn every_payload_may_be_dropped_doubled_or_moved() {
    let payloads: Vec<Payload> = samples().into_iter().map(|(payload, _)| payload).collect();
    for at in 0..payloads.len() {
        let mut dropped = payloads.clone();
        let moved = dropped.remove(at);
        let mut doubled = payloads.clone();
        doubled.insert(0, moved.clone());
        dropped.push(moved);
        for variant in [dropped, doubled] {
            let (first, bytes) = crate::wire::ike::chain::encode(&variant);
            assert_eq!(crate::wire::ike::chain::decode_inner(first, &bytes), Ok(variant));
        }
    }
}
