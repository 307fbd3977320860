//! The cases of Ptacek and Newsham's "Insertion, Evasion, and Denial of Service: Eluding Network Intrusion Detection" (1998)
//! that concern TCP: what a monitor believes and an end does not, and what two ends make differently of the same segments. Each
//! ends in one of two ways: the segment does not pass, or the flow ends.

use super::*;

/// The word that is not to get through: its first byte is legal, what follows makes it not.
const GOOD: [u8; 4] = [3, 1, 1, 1];
const EVIL: [u8; 4] = [0, ILLEGAL, 0, 0];

/// What the receiver of `attack` reads if it takes everything that passes, in order of its choice.
fn passes(wire: &mut Wire, at: u32, bytes: &[u8]) -> bool {
    let (outcome, released) = wire.opener(at, bytes);
    outcome == Ok(Heard::Pass) || !released.is_empty()
}

#[test]
fn insertion_what_the_end_drops_does_not_count() {
    // A wrong checksum, then other bytes in the same place.
    let mut wire = Wire::new(1);
    let mut packet = wire.packet(true, ACK, OPENER, RESPONDER, &GOOD);
    packet[36] ^= 0xff;
    assert_ne!(wire.hand(true, &packet, &[]).0, Ok(Heard::Pass));
    assert!(!passes(&mut wire, 0, &EVIL));
    // A TTL that does not reach the end, a timestamp that the end does not take, data past its real window: whatever the
    // reason why it is dropped behind the gateway, it was heard, and must be the same when it is sent again.
    for settles_after in [0, 1, 100] {
        let mut wire = Wire::new(settles_after);
        assert!(passes(&mut wire, 0, &GOOD));
        assert_eq!(wire.opener(0, &EVIL), objection(DropReason::OverlapDiffers));
    }
    // A timestamp that is older than the last one of the flow.
    let mut wire = Wire::with(1, KEPT_OF_ALL, Some(50), false);
    assert!(passes(&mut wire, 0, &[0]));
    wire.stamp = Some(40);
    assert!(!passes(&mut wire, 1, &GOOD));
    // No ACK flag, no data: what has no ACK is no segment of a connection at all (`tcp::flags_are_legal`).
    assert_eq!(crate::inspect::tcp::flags_are_legal(PSH), Err(DropReason::BadTcpFlags));
    assert_eq!(crate::inspect::tcp::flags_are_legal(0), Err(DropReason::BadTcpFlags));
}

#[test]
fn insertion_a_reset_or_a_fin_that_the_end_does_not_take_ends_nothing() {
    let mut wire = Wire::new(1);
    assert!(passes(&mut wire, 0, &GOOD));
    let reset = |wire: &Wire, sequence: u32| {
        let mut packet = wire.packet(true, ACK, sequence, RESPONDER, b"");
        packet[33] = tcp::RST;
        packet
    };
    for sequence in [OPENER - 1, OPENER + 5, OPENER + 70_000] {
        let packet = reset(&wire, sequence);
        assert_eq!(wire.hand(true, &packet, &[]).0, Err(DropReason::ResetNotBelieved));
    }
    // One that the end may believe or not: the connection is heard on.
    let packet = reset(&wire, OPENER + 4);
    assert_eq!(wire.hand(true, &packet, &[]).0, Ok(Heard::Pass));
    assert!(!passes(&mut wire, 4, &[ILLEGAL]));
    // A FIN behind which the sender goes on.
    let mut wire = Wire::new(1);
    let fin = wire.packet(true, ACK | FIN, OPENER, RESPONDER, &GOOD);
    assert_eq!(wire.hand(true, &fin, &[]), PASS);
    assert_eq!(wire.opener(4, &[0]).0, Err(DropReason::OutOfState));
}

#[test]
fn evasion_data_with_a_syn_and_before_the_handshake_is_refused() {
    let wire = Wire::new(1);
    for flags in [SYN, SYN | ACK] {
        let packet = wire.packet(flags == SYN, flags, 7, 9, &EVIL);
        let inner = Inner::parse(&packet).unwrap();
        assert_eq!(Connection::open(&inner.tcp().unwrap(), true).map(|_| ()), Err(DropReason::DataInSyn));
    }
    let syn = wire.packet(true, SYN, OPENER - 1, 0, b"");
    let mut early = Wire::new(1);
    early.connection = Connection::open(&Inner::parse(&syn).unwrap().tcp().unwrap(), true).unwrap();
    assert_eq!(early.opener(0, &GOOD).0, Err(DropReason::OutOfState));
    assert_eq!(early.say(false, RESPONDER, OPENER, &GOOD).0, Err(DropReason::OutOfState));
}

#[test]
fn evasion_segments_that_overlap_are_read_the_same_by_those_who_keep_the_old_and_who_keep_the_new() {
    // Old data on the left, on the right, in the middle, all of it; ahead of a gap or not; the later one longer or shorter.
    let overlaps: [(u32, usize); 6] = [(0, 4), (0, 2), (2, 2), (1, 2), (3, 4), (0, 6)];
    for settles_after in [0, 100] {
        for gap in [false, true] {
            for (at, len) in overlaps {
                let mut wire = Wire::new(settles_after);
                let begin = u32::from(gap);
                let _ = wire.opener(begin, &GOOD);
                let other = vec![0x55; len];
                assert_eq!(wire.opener(begin + at, &other), objection(DropReason::OverlapDiffers), "{gap} {at} {len}");
                // The same bytes are no attack.
                let mut wire = Wire::new(settles_after);
                let _ = wire.opener(begin, &GOOD);
                let whole = [&GOOD[..], &[0; 8]].concat();
                let (outcome, _) = wire.opener(begin + at, &whole[at as usize..at as usize + len]);
                assert!(!matches!(outcome, Ok(Heard::Objection(_))), "{outcome:?}");
            }
        }
    }
}

#[test]
fn evasion_what_was_heard_last_cannot_be_changed_when_nothing_more_is_to_be_heard() {
    let said = [0, 0, FINAL, 7, 7];
    for both in [false, true] {
        let prepared = || {
            let mut wire = Wire::new(1);
            if both {
                assert_eq!(wire.say(false, RESPONDER, OPENER, &[FINAL]), PASS);
            }
            assert_eq!(wire.opener(0, &said), PASS);
            wire
        };
        // The receiver has got none of it yet, or believes what comes last.
        for (at, other) in [(0, &[ILLEGAL][..]), (1, &[ILLEGAL, 0]), (2, &[ILLEGAL, 7, 7, 7])] {
            assert_eq!(prepared().opener(at, other), objection(DropReason::OverlapDiffers), "{both} {at}");
        }
        let mut wire = prepared();
        let first = wire.packet(true, ACK, OPENER, RESPONDER, &said[..2]);
        assert_eq!(wire.hand(true, &first, &[&[ILLEGAL]]), objection(DropReason::OverlapDiffers), "in a train");
        // The same bytes may come again, and what nobody hears may go on meanwhile.
        let mut wire = prepared();
        assert_eq!(wire.opener(0, &said), PASS);
        assert_eq!(wire.opener(5, &[ILLEGAL; 90]), PASS);
        wire.acknowledge(2);
        assert_eq!(wire.opener(1, &[0, ILLEGAL]), (Ok(Heard::Bare), Vec::new()));
        assert_eq!(wire.opener(2, &[FINAL, 7, 7, 9]), PASS);
        assert_eq!(wire.opener(2, &[ILLEGAL]), objection(DropReason::OverlapDiffers), "not yet acknowledged");
    }
}

#[test]
fn evasion_segments_in_the_wrong_order_and_of_one_byte_hide_nothing() {
    let word = [1, 0x20, 0, 2, 1, 1, ILLEGAL];
    // Every order of seven segments of a byte.
    let mut order: Vec<usize> = (0..word.len()).collect();
    let mut orders = 0;
    loop {
        for settles_after in [0, 2, 100] {
            let mut wire = Wire::new(settles_after);
            let mut ended = false;
            let mut arrived = vec![false; word.len()];
            for at in &order {
                let (outcome, released) = wire.opener(*at as u32, &word[*at..=*at]);
                ended |= matches!(outcome, Ok(Heard::Objection(_)));
                if ended {
                    break;
                }
                arrived[*at] |= outcome == Ok(Heard::Pass);
                for packet in released {
                    let inner = Inner::parse(&packet).unwrap();
                    arrived[(inner.tcp().unwrap().sequence() - OPENER) as usize] = true;
                }
            }
            assert!(ended, "{order:?}");
            assert!(arrived.contains(&false), "all of it has arrived: {order:?}");
        }
        orders += 1;
        // The next permutation.
        let Some(pivot) = (1..order.len()).rev().find(|at| order[at - 1] < order[*at]) else { break };
        let swap = (pivot..order.len()).rev().find(|at| order[*at] > order[pivot - 1]).unwrap();
        order.swap(pivot - 1, swap);
        order[pivot..].reverse();
    }
    assert_eq!(orders, 5040);
}

#[test]
fn evasion_an_acknowledgement_by_somebody_else_opens_no_second_try() {
    // Somebody near the receiver acknowledges what it has never got; then its sender says something else there.
    let mut wire = Wire::new(1);
    assert!(passes(&mut wire, 0, &GOOD));
    wire.acknowledge(4);
    assert_eq!(wire.opener(0, &EVIL), (Ok(Heard::Bare), Vec::new()));
    assert_eq!(wire.opener(2, &[0, ILLEGAL, 0, 0]), (Ok(Heard::Bare), Vec::new()));
    // Nothing is acknowledged that was not let through, so nothing more can be skipped like this.
    assert_eq!(wire.say(false, RESPONDER, OPENER + 5, b"").0, Err(DropReason::OutOfState));
    // Nor does it where nothing more is to be heard, whether of one end alone or of both.
    for both in [false, true] {
        let mut wire = Wire::new(1);
        if both {
            assert_eq!(wire.say(false, RESPONDER, OPENER, &[FINAL]), PASS);
        }
        assert_eq!(wire.say(true, OPENER, RESPONDER + u32::from(both), &[0, 0, FINAL]), PASS);
        assert_eq!(wire.opener(3, &[7; 50]), PASS);
        assert_eq!(wire.say(false, RESPONDER + u32::from(both), OPENER + 9, b"").0, Ok(Heard::Pass));
        assert_eq!(wire.connection.voice.is_none(), both);
        let mut changed = wire.packet(true, ACK, OPENER, RESPONDER, &[ILLEGAL, 0, FINAL]);
        assert_eq!(wire.hand(true, &changed, &[]), (Ok(Heard::Bare), Vec::new()));
        assert_eq!(wire.hand(true, &changed, &[&[7; 50]]), (Ok(Heard::Bare), Vec::new()));
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(wire.hand(true, &changed, &[]), refused(DropReason::BadTcpChecksum));
        // What was not heard may come again; and however much follows, it never seems to lie before what was.
        assert_eq!(wire.opener(3, &[8; 50]), PASS);
        let facts = |end, acknowledgement| Facts { end, acknowledgement, window: 65535, fin: false };
        for step in 1..16 {
            let end = OPENER + 53 + (step << 28);
            wire.connection.commit(true, &facts(end, RESPONDER));
            wire.connection.commit(false, &facts(RESPONDER, end));
            assert_eq!(wire.say(true, end - 50, RESPONDER, &[9; 60]), PASS, "{step}");
        }
    }
}

#[test]
fn evasion_what_lies_outside_the_window_is_not_held_for_later() {
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(65_536, &GOOD).0, Err(DropReason::OutOfWindow));
    assert_eq!(wire.streams.kept(), 0);
}
