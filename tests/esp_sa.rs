//! One SA against its mirror, against an independent AES-GCM, and against a peer that sends what it should not.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use std::collections::HashSet;
use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use esp_support::*;
use portcullis::crypto::aead::Provider;
use portcullis::crypto::suite::Cipher;
use portcullis::esp::inbound_sa::{InboundSa, Received};
use portcullis::esp::limits::Notice;
use portcullis::esp::outbound_sa::OutboundSa;
use portcullis::esp::transform::{PacketShape, Transform};
use portcullis::event::DropReason;
use portcullis::sa::child::EspKeys;
use portcullis::sa::lifetime::Lifetime;
use portcullis::secret::Secret;
use proptest::prelude::*;

const WINDOW: u32 = 4096;

fn sender(suite: Suite) -> OutboundSa {
    OutboundSa::new(outbound(suite, child(suite)), NOW)
}

fn receiver(suite: Suite) -> InboundSa {
    InboundSa::new(inbound(suite, mirrored(&child(suite)), WINDOW), NOW)
}

/// Seals `inner` under the sender's next number.
fn seal(sender: &mut OutboundSa, inner: &[u8]) -> Vec<u8> {
    let sequence = sender.reserve(NOW, 1, inner.len() as u64).unwrap();
    seal_as(sender, sequence, inner)
}

fn seal_as(sender: &OutboundSa, sequence: u64, inner: &[u8]) -> Vec<u8> {
    let (mut slab, place) = slab(inner);
    let sealed = sender.seal(sequence, &mut slab, place);
    slab[sealed].to_vec()
}

fn low(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[4..8].try_into().unwrap())
}

/// Opens a copy of `packet` and gives what was inside.
fn open(receiver: &mut InboundSa, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = packet.to_vec();
    let received = receiver.receive(NOW, low(&packet), &mut packet)?;
    received.inner.map(|place| packet[place].to_vec())
}

fn datagram(v6: bool, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    if v6 {
        udp(("2001:db8::10", 1000), ("2001:db8:1::20", 2000), 0, &payload)
    } else {
        udp(("192.0.2.10", 1000), ("203.0.113.20", 2000), 0, &payload)
    }
}

#[test]
fn every_suite_carries_both_families_in_every_length() {
    for suite in Suite::all() {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let shape = PacketShape::of(suite.cipher, suite.mac);
        for v6 in [false, true] {
            for len in (0..70).chain([575, 576, 1400, 1410, 8900, 8901]) {
                let inner = datagram(v6, len);
                let packet = seal(&mut sender, &inner);
                assert_eq!((packet.len() - shape.front() - shape.icv_len) % shape.align, 0, "{suite:?} {len}");
                if len > 40 {
                    assert!(!packet.windows(16).any(|part| part == &inner[inner.len() - 16..]), "clear text");
                }
                assert_eq!(open(&mut receiver, &packet), Ok(inner), "{suite:?} {len}");
            }
        }
    }
}

#[test]
fn an_independent_aes_gcm_opens_what_is_sealed_and_seals_what_is_opened() {
    for esn in [false, true] {
        let suite = Suite { esn, ..Suite::GCM };
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let keys = suite.keys();
        let (key, salt) = keys.cipher.expose().split_at(32);
        let oracle = Aes256Gcm::new(&Key::<Aes256Gcm>::try_from(key).unwrap());
        let nonce = |iv: &[u8]| Nonce::try_from([salt, iv].concat().as_slice()).unwrap();
        for number in 1..200u64 {
            let inner = datagram(number % 2 == 0, number as usize * 7);
            // RFC 4106 §5: the SPI and the 32-bit or the 64-bit sequence number.
            let sequence = if esn { number.to_be_bytes().to_vec() } else { (number as u32).to_be_bytes().to_vec() };
            let aad = [&0xC0DE_0001_u32.to_be_bytes()[..], &sequence].concat();

            let packet = seal(&mut sender, &inner);
            assert_eq!(packet[..8], [0xC0DE_0001_u32.to_be_bytes(), (number as u32).to_be_bytes()].concat());
            assert_eq!(packet[8..16], number.to_be_bytes(), "the IV is the 64-bit sequence number");
            let plain = oracle.decrypt(&nonce(&packet[8..16]), Payload { msg: &packet[16..], aad: &aad }).unwrap();
            let padding = plain.len() - inner.len() - 2;
            assert!(padding < 4);
            assert_eq!(plain[..inner.len()], inner);
            assert_eq!(plain[inner.len()..inner.len() + padding], [1, 2, 3][..padding]);
            assert_eq!(plain[inner.len() + padding..], [padding as u8, if number % 2 == 0 { 41 } else { 4 }]);

            // The other way round, with an IV of the peer's own choice.
            let iv = (number ^ 0xFEED_FACE_0000_0000).to_be_bytes();
            let sealed = oracle.encrypt(&nonce(&iv), Payload { msg: &plain, aad: &aad }).unwrap();
            let theirs = [&packet[..8], &iv, &sealed].concat();
            assert_eq!(open(&mut receiver, &theirs), Ok(inner));
        }
    }
}

#[test]
fn the_example_of_rfc_7634_opens() {
    // RFC 7634, Appendix A: an ICMP echo request in ESP with ChaCha20-Poly1305.
    let packet = hex::decode(concat!(
        "01020304",
        "00000005",
        "1011121314151617",
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7",
        "2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        "76aaa8266b7fb0f7b11b369907e1ad43",
    ))
    .unwrap();
    let inner = hex::decode(concat!(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec1000073627",
        "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
    ))
    .unwrap();
    let mut key: Vec<u8> = (0x80..=0x9F).collect();
    key.extend([0xA0, 0xA1, 0xA2, 0xA3]);
    let keys = EspKeys { cipher: Secret::new(key), mac: Secret::new(Vec::new()) };
    let transform = Transform::new(Provider::Ring, Cipher::ChaCha20Poly1305, None, false, &keys);
    let mut bytes = packet.clone();
    let plain = transform.open(spi(0x0102_0304), 5, &mut bytes).unwrap();
    assert_eq!(bytes[plain.clone()][..inner.len()], inner);
    assert_eq!(bytes[plain][inner.len()..], [1, 2, 2, 4]);
}

#[test]
fn each_changed_bit_of_a_packet_is_noticed_and_moves_nothing() {
    for suite in Suite::all() {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let first = seal(&mut sender, &datagram(false, 10));
        let packet = seal(&mut sender, &datagram(false, 33));
        open(&mut receiver, &first).unwrap();
        // The SPI is not tried: it chooses the SA, and with an AEAD cipher the SA's own goes into the check.
        for bit in 32..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let reason = open(&mut receiver, &changed).unwrap_err();
            match bit / 8 {
                4..8 => assert!(
                    matches!(
                        reason,
                        DropReason::Forged | DropReason::Replayed | DropReason::ZeroSequence | DropReason::TooOld
                    ),
                    "{reason}"
                ),
                _ => assert_eq!(reason, DropReason::Forged, "{suite:?} bit {bit}"),
            }
            assert_eq!(receiver.top(), 1, "an unauthenticated packet moved the window");
        }
        assert!(open(&mut receiver, &packet).is_ok());
    }
}

#[test]
fn truncated_and_extended_packets_are_named() {
    for suite in Suite::all() {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let packet = seal(&mut sender, &datagram(true, 100));
        for len in 8..packet.len() {
            let reason = open(&mut receiver, &packet[..len]).unwrap_err();
            assert!(matches!(reason, DropReason::ShortEsp | DropReason::Forged), "{suite:?} {len}: {reason}");
            assert_eq!(reason == DropReason::ShortEsp, len < PacketShape::of(suite.cipher, suite.mac).shortest());
        }
        for more in 1..40 {
            assert_eq!(open(&mut receiver, &[packet.clone(), vec![0; more]].concat()), Err(DropReason::Forged));
        }
        assert!(open(&mut receiver, &packet).is_ok());
    }
}

#[test]
fn a_forged_packet_far_ahead_leaves_the_window_where_it_was() {
    for suite in [Suite::GCM, Suite::GCM_ESN] {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let old: Vec<_> = (0..100).map(|_| seal(&mut sender, &datagram(false, 4))).collect();
        open(&mut receiver, &old[99]).unwrap();
        let mut forged = old[99].clone();
        forged[4..8].copy_from_slice(&0x8000_0064_u32.to_be_bytes());
        assert_eq!(open(&mut receiver, &forged), Err(DropReason::Forged));
        assert_eq!(receiver.top(), 100);
        assert!(old[..99].iter().all(|packet| open(&mut receiver, packet).is_ok()));
        assert!(old.iter().all(|packet| open(&mut receiver, packet) == Err(DropReason::Replayed)));
    }
}

#[test]
fn sequence_number_zero_is_refused() {
    let sender = sender(Suite::GCM);
    assert_eq!(
        open(&mut receiver(Suite::GCM), &seal_as(&sender, 0, &datagram(false, 4))),
        Err(DropReason::ZeroSequence)
    );
    // With ESN the same bytes could be number 2^32 of a sender that is far ahead: zero it is only near the start.
    assert_eq!(
        open(&mut receiver(Suite::GCM_ESN), &seal_as(&sender, 0, &datagram(false, 4))),
        Err(DropReason::ZeroSequence)
    );
}

/// What a peer that holds the keys may put inside: each with the reason why it goes no further.
#[test]
fn what_an_authenticated_peer_hides_inside_is_named_and_spends_its_number() {
    let v4 = datagram(false, 10);
    let v6 = datagram(true, 10);
    let inside = |payload: &[u8], tail: &[u8]| [payload, tail].concat();
    let mut long = v4.clone();
    long[2..4].copy_from_slice(&200u16.to_be_bytes());
    let cases = [
        (inside(&v4, &[1, 2, 2, 4]), Ok(v4.clone())),
        (inside(&v6, &[1, 2, 2, 41]), Ok(v6.clone())),
        // RFC 4303 §2.7: bytes after the inner packet are traffic flow confidentiality padding.
        (inside(&v4, &[&[0xAA; 77][..], &[1, 1, 4]].concat()), Ok(v4.clone())),
        (inside(&v6, &[&[0xAA; 77][..], &[0, 41]].concat()), Ok(v6.clone())),
        (inside(&v4, &[1, 3, 2, 4]), Err(DropReason::BadPadding)),
        (inside(&v4, &[0, 0, 2, 4]), Err(DropReason::BadPadding)),
        (inside(&v4, &[255, 4]), Err(DropReason::BadPadding)),
        (inside(&v4, &[1, 2, 2, 6]), Err(DropReason::BadNextHeader)),
        (inside(&v4, &[1, 2, 2, 50]), Err(DropReason::BadNextHeader)),
        (inside(&[0; 30], &[0, 59]), Err(DropReason::Dummy)),
        (inside(&[], &[0, 59]), Err(DropReason::Dummy)),
        (inside(&v4, &[1, 2, 2, 41]), Err(DropReason::BadIpHeader)),
        (inside(&v6, &[1, 2, 2, 4]), Err(DropReason::BadIpHeader)),
        (inside(&long, &[1, 2, 2, 4]), Err(DropReason::BadIpHeader)),
        (inside(&[], &[0, 4]), Err(DropReason::BadIpHeader)),
        (inside(&[0x45], &[0, 4]), Err(DropReason::BadIpHeader)),
        (inside(&[0x60, 0, 0, 0], &[0, 41]), Err(DropReason::BadIpHeader)),
    ];
    let keys = Suite::GCM.keys();
    let (key, salt) = keys.cipher.expose().split_at(32);
    let oracle = Aes256Gcm::new(&Key::<Aes256Gcm>::try_from(key).unwrap());
    let mut receiver = receiver(Suite::GCM);
    for (number, (plain, expected)) in (1u32..).zip(cases) {
        let header = [0xC0DE_0001_u32.to_be_bytes(), number.to_be_bytes()].concat();
        let iv = u64::from(number).to_be_bytes();
        let nonce = Nonce::try_from([salt, &iv].concat().as_slice()).unwrap();
        let sealed = oracle.encrypt(&nonce, Payload { msg: &plain, aad: &header }).unwrap();
        let packet = [&header[..], &iv, &sealed].concat();
        assert_eq!(open(&mut receiver, &packet), expected, "case {number}");
        // RFC 4303 §3.4.3: it was authentic, so its number is spent.
        assert_eq!(open(&mut receiver, &packet), Err(DropReason::Replayed), "case {number}");
    }
}

#[test]
fn a_ciphertext_of_half_blocks_is_refused_after_its_checksum() {
    let mut sender = sender(Suite::CBC);
    let packet = seal(&mut sender, &datagram(false, 60));
    let keys = Suite::CBC.keys();
    let mac = portcullis::crypto::cbc_hmac::CbcHmacKey::new(
        portcullis::crypto::suite::Mac::HmacSha256,
        keys.cipher.expose(),
        keys.mac.expose(),
    );
    let body = &packet[..packet.len() - 16 - 5];
    let forged = [body, mac.mac(&[body]).as_bytes()].concat();
    assert_eq!(open(&mut receiver(Suite::CBC), &forged), Err(DropReason::BadPadding));
}

#[test]
fn cbc_initialisation_vectors_never_repeat_and_are_no_counter() {
    let mut sender = sender(Suite::CBC);
    let ivs: Vec<[u8; 16]> =
        (0..2000).map(|_| seal(&mut sender, &datagram(false, 4))[8..24].try_into().unwrap()).collect();
    assert_eq!(ivs.iter().collect::<HashSet<_>>().len(), ivs.len());
    // Neighbours differ in about half their bits.
    let distance = |pair: &[[u8; 16]]| (u128::from_be_bytes(pair[0]) ^ u128::from_be_bytes(pair[1])).count_ones();
    assert!(ivs.windows(2).all(|pair| distance(pair) > 24));
    // Another SA with other keys has others, under the same numbers.
    let mut keys = Suite::CBC.keys();
    keys.cipher = Secret::new(vec![9; 32]);
    let mut other =
        OutboundSa::new(portcullis::sa::child::OutboundSpec { keys, ..outbound(Suite::CBC, child(Suite::CBC)) }, NOW);
    assert_ne!(seal(&mut other, &datagram(false, 4))[8..24], ivs[0]);
}

#[test]
fn esn_runs_across_two_to_the_32_with_reorder_and_loss() {
    for suite in Suite::all().filter(|suite| suite.esn) {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let border = 1u64 << 32;
        // Get near the border in steps that a receiver can follow: less than 2^32 less the window each.
        for skip in [1, border / 2, border - 3000] {
            sender.skip_to(skip);
            open(&mut receiver, &seal(&mut sender, &datagram(false, 9))).unwrap();
        }
        let packets: Vec<_> = (0..6000).map(|_| seal(&mut sender, &datagram(false, 9))).collect();
        // Blocks of 997 in reverse order, every seventh packet lost.
        let mut expected = 0;
        for block in packets.chunks(997) {
            for packet in block.iter().rev().enumerate().filter(|(at, _)| at % 7 != 3).map(|(_, packet)| packet) {
                assert!(open(&mut receiver, packet).is_ok(), "{suite:?} {}", low(packet));
                assert_eq!(open(&mut receiver, packet), Err(DropReason::Replayed));
                expected += 1;
            }
        }
        assert_eq!(receiver.meter().packets(), expected + 3);
        assert!(receiver.top() > border + 2000);
        // A loss of almost 2^32 packets is survived, and of more is not, without harm.
        sender.skip_to(receiver.top() + border - u64::from(WINDOW) - 2);
        open(&mut receiver, &seal(&mut sender, &datagram(false, 9))).unwrap();
        let top = receiver.top();
        sender.skip_to(top + border + 5);
        assert_eq!(open(&mut receiver, &seal(&mut sender, &datagram(false, 9))), Err(DropReason::Forged));
        assert_eq!(receiver.top(), top);
    }
}

#[test]
fn without_esn_the_last_number_is_sent_and_no_other_after_it() {
    let mut sender = sender(Suite::GCM);
    sender.skip_to(u64::from(u32::MAX) - 2);
    assert_eq!(sender.reserve(NOW, 2, 100), Ok(u64::from(u32::MAX) - 1));
    assert_eq!(sender.poll_notice(), None);
    for _ in 0..3 {
        assert_eq!(sender.reserve(NOW, 1, 100), Err(DropReason::HardLimit));
    }
    assert_eq!(sender.poll_notice(), Some(Notice::Hard));
    assert_eq!(sender.poll_notice(), None);
    let mut sender = self::sender(Suite::GCM_ESN);
    sender.skip_to(u64::MAX - 1);
    assert_eq!(sender.reserve(NOW, 1, 100), Ok(u64::MAX));
    assert_eq!(sender.reserve(NOW, 1, 100), Err(DropReason::HardLimit));
}

#[test]
fn a_range_that_does_not_fit_before_the_wrap_takes_no_number() {
    let mut sender = sender(Suite::GCM);
    sender.skip_to(u64::from(u32::MAX) - 10);
    assert_eq!(sender.reserve(NOW, 11, 0), Err(DropReason::HardLimit));
    assert_eq!(sender.reserve(NOW, 10, 0), Ok(u64::from(u32::MAX) - 9));
}

#[test]
fn soft_limits_are_told_once_and_hard_limits_stop_both_directions() {
    let second = Duration::from_secs(1);
    let limits = [
        Lifetime { soft_packets: 3, hard_packets: 5, ..ENDLESS },
        Lifetime { soft_bytes: 300, hard_bytes: 500, ..ENDLESS },
        Lifetime { soft_time: 3 * second, hard_time: 5 * second, ..ENDLESS },
    ];
    for lifetime in limits {
        let limited = || portcullis::sa::child::ChildSpec { lifetime, ..child(Suite::GCM) };
        let mut free = sender(Suite::GCM);
        let mut sender = OutboundSa::new(outbound(Suite::GCM, limited()), NOW);
        let mut receiver = InboundSa::new(inbound(Suite::GCM, limited(), WINDOW), NOW);
        let inner = datagram(false, 72);
        assert_eq!(inner.len(), 100);
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for step in 0..10 {
            let now = NOW + second * step;
            let result = sender.reserve(now, 1, 100);
            sent.push((result.is_ok(), sender.poll_notice()));
            assert!(result.is_ok() || result == Err(DropReason::HardLimit));
            let mut packet = seal(&mut free, &inner);
            let result = receiver.receive(now, low(&packet), &mut packet);
            assert!(matches!(result, Ok(Received { inner: Ok(_), .. }) | Err(DropReason::HardLimit)));
            let notices: Vec<_> = std::iter::from_fn(|| receiver.poll_notice()).collect();
            got.push((result.is_ok(), notices.into_iter().find(|notice| *notice != Notice::First)));
        }
        let carried = |list: &[(bool, Option<Notice>)]| list.iter().filter(|(ok, _)| *ok).count();
        let told = |list: &[(bool, Option<Notice>)]| list.iter().filter_map(|(_, notice)| *notice).collect::<Vec<_>>();
        assert_eq!((carried(&sent), told(&sent)), (5, vec![Notice::Soft, Notice::Hard]), "{lifetime:?}");
        assert_eq!((carried(&got), told(&got)), (5, vec![Notice::Soft, Notice::Hard]), "{lifetime:?}");
    }
}

#[test]
fn the_first_authenticated_packet_is_told_once() {
    let (mut sender, mut receiver) = (sender(Suite::GCM), receiver(Suite::GCM));
    let packet = seal(&mut sender, &datagram(false, 1));
    let mut forged = packet.clone();
    *forged.last_mut().unwrap() ^= 1;
    open(&mut receiver, &forged).unwrap_err();
    assert_eq!(receiver.poll_notice(), None);
    open(&mut receiver, &packet).unwrap();
    assert_eq!(receiver.poll_notice(), Some(Notice::First));
    open(&mut receiver, &seal(&mut sender, &datagram(false, 1))).unwrap();
    assert_eq!(receiver.poll_notice(), None);
}

#[test]
fn only_numbers_that_were_sent_recently_count_as_sent() {
    let mut sender = sender(Suite::GCM_ESN);
    assert!(!sender.sent_recently(0, 1000) && !sender.sent_recently(1, 1000));
    sender.skip_to(10);
    let recent: Vec<_> = (0..20).filter(|&number| sender.sent_recently(number, 5)).collect();
    assert_eq!(recent, [6, 7, 8, 9, 10]);
    assert_eq!(
        (0..20).filter(|&number| sender.sent_recently(number, 1000)).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    sender.skip_to((1 << 32) + 1);
    let recent: Vec<_> = [u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, u32::MAX, 0, 1, 2]
        .into_iter()
        .filter(|&number| sender.sent_recently(number, 5))
        .collect();
    assert_eq!(recent, [u32::MAX - 2, u32::MAX - 1, u32::MAX, 0, 1]);
}

proptest! {
    /// Whatever the network does with packets, each one that was sent is delivered at most once, and exactly once if it
    /// comes within the window.
    #[test]
    fn a_hostile_network_delivers_nothing_twice_and_nothing_of_its_own(
        suite in prop::sample::select(vec![Suite::GCM, Suite::GCM_ESN, Suite::CBC]),
        start in prop_oneof![Just(0u64), Just((1u64 << 32) - 200)],
        moves in prop::collection::vec((0usize..100, any::<u8>(), any::<u16>()), 1..300),
    ) {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        if suite.esn && start > 0 {
            sender.skip_to(start / 2);
            open(&mut receiver, &seal(&mut sender, &datagram(false, 1))).unwrap();
            sender.skip_to(start);
        }
        let packets: Vec<_> = (0..100).map(|at| seal(&mut sender, &datagram(false, at))).collect();
        let mut delivered = HashSet::new();
        for (which, what, at) in moves {
            let mut packet = packets[which].clone();
            if what < 64 {
                let at = usize::from(at) % (packet.len() - 4) + 4;
                packet[at] ^= what | 1;
                prop_assert!(open(&mut receiver, &packet).is_err());
            } else {
                let fresh = delivered.insert(which);
                let expected = if fresh { Ok(datagram(false, which)) } else { Err(DropReason::Replayed) };
                prop_assert_eq!(open(&mut receiver, &packet), expected);
            }
        }
    }

    /// Arbitrary bytes behind a valid header are refused without a panic, with every suite.
    #[test]
    fn arbitrary_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 8..200)) {
        for suite in Suite::all() {
            let mut receiver = receiver(suite);
            prop_assert!(open(&mut receiver, &bytes).is_err());
            prop_assert_eq!(receiver.top(), 0);
        }
    }
}
