//! Fragments in every order, twice, forged, too many and too few (RFC 7383 §2.6).

use proptest::prelude::*;

use super::*;
use crate::crypto::suite::{Additional, Cipher, Group, IkeSuite, Mac, PrfAlg};
use crate::entropy::SeededEntropy;
use crate::ike::keymat::{Nonces, Spis, ike_keys};
use crate::secret::Secret;
use crate::wire::ike::header::Flags;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::ExchangeType;

fn pair(mac: Option<Mac>) -> (Protection, Protection) {
    let cipher = if mac.is_some() { Cipher::Aes256Cbc } else { Cipher::Aes256Gcm16 };
    let suite =
        IkeSuite { cipher, mac, prf: PrfAlg::HmacSha256, group: Group::Curve25519, additional: Additional::NONE };
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
    let keys = ike_keys(suite, &Secret::copy_of(&[7; 32]), nonces, Spis { initiator: 3, responder: 4 });
    (Protection::new(suite, &keys, true), Protection::new(suite, &keys, false))
}

fn header(id: u32) -> Header {
    Header {
        initiator_spi: 3,
        responder_spi: 4,
        next_payload: PayloadType::NONE,
        major: 2,
        minor: 0,
        exchange: ExchangeType::IKE_AUTH,
        flags: Flags { initiator: true, version: false, response: false },
        message_id: id,
        length: 0,
    }
}

/// One side that seals and one that takes.
struct Line {
    from: Protection,
    to: Protection,
    fragments: Fragments,
    now: Instant,
}

type Taken = Result<Option<(PayloadType, Vec<u8>)>, IkeReason>;

impl Line {
    fn new() -> Self {
        let (from, to) = pair(None);
        Self { from, to, fragments: Fragments::new(true), now: Instant::from_nanos(1) }
    }

    fn fragment(&mut self, id: u32, number: u16, total: u16, piece: &[u8]) -> Vec<u8> {
        let number = FragmentNumber { number, total };
        self.from.seal_chain(&header(id), PayloadType::IDI, piece, Some(number), &mut SeededEntropy::new(1))
    }

    fn take(&mut self, datagram: &[u8]) -> Taken {
        let message = Message::decode(datagram).map_err(|_| IkeReason::Malformed)?;
        let Some(Payload::Skf(skf)) = message.payloads.last() else { panic!("a fragment") };
        let taken = self.fragments.take(self.now, &self.to, &message.header, datagram, skf);
        taken.map_err(|refusal| refusal.reason)
    }

    fn send(&mut self, id: u32, number: u16, total: u16, piece: &[u8]) -> Taken {
        let datagram = self.fragment(id, number, total, piece);
        self.take(&datagram)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `take` gives")]
fn whole(text: &[u8]) -> Taken {
    Ok(Some((PayloadType::IDI, text.to_vec())))
}

#[test]
fn pieces_are_put_together_in_the_order_of_their_numbers() {
    let mut line = Line::new();
    assert_eq!(line.send(1, 3, 3, b"three"), Ok(None));
    assert_eq!(line.send(1, 1, 3, b"one"), Ok(None));
    assert_eq!(line.send(1, 1, 3, b"one"), Err(IkeReason::Retransmitted));
    assert_eq!(line.send(1, 2, 3, b"two"), whole(b"onetwothree"));
    assert!(line.fragments.requests.is_none(), "nothing is left");
    assert_eq!(line.send(1, 1, 1, b"alone"), whole(b"alone"));
}

/// RFC 7383 §2.6.1.
#[test]
fn a_larger_total_begins_anew_and_a_smaller_one_is_dropped() {
    let mut line = Line::new();
    assert_eq!(line.send(1, 1, 2, b"wide"), Ok(None));
    assert_eq!(line.send(1, 1, 3, b"n"), Ok(None));
    assert_eq!(line.send(1, 2, 2, b"wide"), Err(IkeReason::Fragment));
    assert_eq!(line.send(1, 2, 3, b"e"), Ok(None));
    assert_eq!(line.send(1, 3, 3, b"w"), whole(b"new"));
}

#[test]
fn the_next_message_takes_the_place_of_one_that_never_became_whole() {
    let mut line = Line::new();
    assert_eq!(line.send(1, 1, 9, b"old"), Ok(None));
    assert_eq!(line.send(2, 2, 2, b"w"), Ok(None));
    assert_eq!(line.send(2, 1, 2, b"ne"), whole(b"new"));
}

#[test]
fn what_is_forged_is_neither_kept_nor_makes_anything_go() {
    let mut line = Line::new();
    let pieces = [line.fragment(1, 1, 2, b"the first"), line.fragment(1, 2, 2, b" and the second")];
    let larger = line.fragment(1, 1, 40, b"larger");
    let other = line.fragment(2, 1, 2, b"of the next message");
    assert_eq!(line.take(&pieces[0]), Ok(None));
    for good in [&pieces[1], &larger, &other] {
        for bit in 0..good.len() * 8 {
            let mut forged = good.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            // Some bits make it no fragment at all, or one that is there.
            let fragment =
                Message::decode(&forged).is_ok_and(|message| matches!(message.payloads.last(), Some(Payload::Skf(_))));
            if fragment {
                assert!(line.take(&forged).is_err(), "bit {bit}");
            }
            let kept = line.fragments.requests.as_ref().unwrap();
            assert_eq!((kept.id, kept.total, kept.missing, kept.length), (1, 2, 1, 9), "bit {bit}");
        }
    }
    assert_eq!(line.take(&pieces[1]), whole(b"the first and the second"));
}

#[test]
fn pieces_are_bounded_in_number_length_and_time() {
    let mut line = Line::new();
    assert_eq!(line.send(1, 1, 65, b""), Err(IkeReason::Fragment));
    assert_eq!(line.send(1, 1, u16::MAX, b""), Err(IkeReason::Fragment));
    assert_eq!(line.send(1, 1, 64, b""), Ok(None));
    let long = vec![0; limits::MAX_REASSEMBLED / 2];
    assert_eq!(line.send(1, 2, 64, &long), Ok(None));
    assert_eq!(line.send(1, 3, 64, &long), Ok(None));
    assert_eq!(line.send(1, 4, 64, b"x"), Err(IkeReason::Fragment));
    assert!(line.fragments.requests.is_none(), "it would never become whole");

    assert_eq!(line.send(2, 1, 2, b"too "), Ok(None));
    assert_eq!(line.fragments.deadline(), Some(line.now + limits::REASSEMBLY_TIME));
    line.now = line.now + limits::REASSEMBLY_TIME;
    assert_eq!(line.send(2, 2, 2, b"late"), Ok(None), "a new beginning");
    assert_eq!(line.send(2, 1, 2, b"too "), whole(b"too late"));
    assert_eq!(line.send(3, 1, 2, b""), Ok(None));
    line.fragments.on_time(line.now);
    assert!(line.fragments.requests.is_some());
    line.fragments.on_time(line.now + limits::REASSEMBLY_TIME);
    assert!(line.fragments.requests.is_none() && line.fragments.deadline().is_none());
}

#[test]
fn fragments_that_were_not_negotiated_are_refused() {
    let mut line = Line::new();
    line.fragments = Fragments::new(false);
    assert_eq!(line.send(1, 1, 1, b"x"), Err(IkeReason::Fragment));
}

proptest! {
    #[test]
    fn what_is_cut_is_no_longer_than_the_limit_and_comes_together_again(
        inner in proptest::collection::vec(any::<u8>(), 0..5000),
        limit in 200..1500_usize,
        cbc in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (mut from, to) = pair(cbc.then_some(Mac::HmacSha384));
        let entropy: &mut dyn Entropy = &mut SeededEntropy::new(seed);
        let mut fragments = Fragments::new(true);
        let mut cut = fragments.cut(&mut from, &header(1), (PayloadType::IDI, &inner), limit, entropy);
        prop_assert!(cut.iter().all(|datagram| datagram.len() <= limit));
        if cut.len() == 1 {
            return Ok(());
        }
        let mut found = None;
        while !cut.is_empty() {
            let next = usize::try_from(entropy.below(cut.len() as u64)).unwrap();
            let datagram = cut.remove(next);
            let message = Message::decode(&datagram).unwrap();
            let Some(Payload::Skf(skf)) = message.payloads.last() else { panic!("a fragment") };
            let taken = fragments.take(Instant::from_nanos(1), &to, &message.header, &datagram, skf).unwrap();
            prop_assert!(found.is_none());
            found = taken;
        }
        prop_assert_eq!(found, Some((PayloadType::IDI, inner)));
    }
}
