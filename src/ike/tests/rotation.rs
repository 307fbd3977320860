//! Pre-shared keys are changed while tunnels are up: first both sides learn the new key, then both forget the old one.

use std::time::Duration;

use super::pair::*;
use crate::event::{Event, IkeReason};
use crate::ike::config::{Start, TunnelConfig};
use crate::ike::limits;

const OLD: &[u8] = b"the key that is to go, long enough for it";
const NEW: &[u8] = b"the key that is to stay, long enough too";

fn with(side: usize, keys: &[&[u8]]) -> TunnelConfig {
    let mut tunnel = tunnel(side);
    set_psk(&mut tunnel, keys);
    tunnel
}

fn proofs(pair: &Pair, side: usize) -> [String; 2] {
    let ike = pair.status(side).ike.unwrap();
    [ike.local_auth, ike.peer_auth]
}

fn old_secret_events(pair: &Pair, side: usize) -> Vec<(bool, bool)> {
    let of = |event: &Event| match event {
        Event::OldSecretUsed { ours, peers, .. } => Some((*ours, *peers)),
        _ => None,
    };
    pair.sides[side].events.iter().filter_map(of).collect()
}

fn spis(pair: &Pair) -> [String; 2] {
    pair.status(A).ike.unwrap().spis
}

#[test]
fn a_whole_rotation_loses_no_packet_and_ends_with_the_new_key() {
    let mut pair = Pair::new(with(A, &[OLD]), with(B, &[OLD]));
    pair.run_secs(1);
    let first = spis(&pair);
    // Each side learns the new key, the sides one after the other; nothing is negotiated for it.
    for side in [A, B] {
        let sent = pair.sides[side].sent;
        pair.reload(side, with(side, &[NEW, OLD]));
        assert_eq!(pair.sides[side].sent, sent);
        pair.talk(Duration::from_millis(200));
        assert_eq!(spis(&pair), first);
        assert_eq!(proofs(&pair, side), ["psk (old key)", "psk (old key)"]);
    }
    // Each side forgets the old one.
    for side in [A, B] {
        pair.reload(side, with(side, &[NEW]));
        pair.talk(Duration::from_secs(19));
        pair.assert_up(1);
        assert_eq!(proofs(&pair, side), ["psk", "psk"]);
    }
    assert_ne!(spis(&pair), first);
    pair.assert_no_loss();
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (2, 2), "one proof anew is enough for both");
    assert!(pair.failed(A).is_empty() && pair.failed(B).is_empty());
    assert!(old_secret_events(&pair, A).is_empty(), "the old key was not old when it was used");
}

#[test]
fn the_responder_that_forgets_first_has_it_proved_anew_without_a_gap() {
    let mut pair = Pair::new(with(A, &[OLD]), with(B, &[NEW, OLD]));
    pair.run_secs(1);
    pair.reload(A, with(A, &[NEW, OLD]));
    pair.talk(Duration::from_millis(100));
    pair.reload(B, with(B, &[NEW]));
    pair.talk(Duration::from_secs(19));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(proofs(&pair, A), ["psk", "psk"]);
    assert!(!pair.status(A).ike.unwrap().initiator, "the side that has forgotten it begins");
}

#[test]
fn a_peer_that_has_the_old_key_only_is_taken_in_and_answered_with_it() {
    for (a, b, by_a, by_b) in [
        // We open: refused with the new key, the next attempt signs with the old one.
        (&[NEW, OLD][..], &[OLD][..], (true, true), None),
        // We are asked: the peer's proof by the old key is answered by the old key.
        (&[OLD], &[NEW, OLD], (false, false), Some((true, true))),
        // Both have both: the new one.
        (&[NEW, OLD], &[NEW, OLD], (false, false), None),
        // The order of the two differs: the opener's counts.
        (&[OLD, NEW], &[NEW, OLD], (false, false), Some((true, true))),
    ] {
        let mut pair = Pair::new(with(A, a), with(B, b));
        pair.run_secs(3);
        pair.assert_up(1);
        let expected = if by_a == (false, false) { vec![] } else { vec![by_a] };
        assert_eq!(old_secret_events(&pair, A), expected);
        assert_eq!(old_secret_events(&pair, B), by_b.into_iter().collect::<Vec<_>>());
        let refused = usize::from(by_a.0);
        assert_eq!(pair.failed(A).len(), refused, "one attempt with the new key, then the old one");
    }
}

#[test]
fn the_next_attempt_after_a_success_begins_with_the_first_key_again() {
    let mut pair = Pair::new(with(A, &[NEW, OLD]), with(B, &[OLD]));
    pair.run_secs(3);
    pair.assert_up(1);
    pair.reload(B, with(B, &[NEW]));
    pair.talk(Duration::from_secs(19));
    pair.assert_up(1);
    pair.assert_no_loss();
    assert_eq!(proofs(&pair, A), ["psk", "psk"]);
}

#[test]
fn a_withdrawn_key_that_nobody_replaces_ends_the_tunnel_after_a_minute() {
    let mut pair = Pair::new(with(A, &[OLD]), with(B, &[OLD]));
    pair.run_secs(1);
    let first = spis(&pair);
    pair.reload(B, with(B, &[NEW]));
    pair.run(limits::ANEW_TIME.saturating_sub(Duration::from_secs(5)));
    assert_eq!(spis(&pair), first, "the other side has time to follow");
    assert!(pair.failed(B).iter().all(|(_, reason, _)| *reason == IkeReason::AuthenticationFailed));
    assert!((4..=8).contains(&pair.failed(B).len()), "with pauses that grow: {}", pair.failed(B).len());
    // Rekeying does not prolong it.
    pair.rekey(A, false, true);
    pair.run_secs(10);
    assert!(pair.sides.iter().all(|side| side.inbound.is_empty() && side.outbound.is_empty()));
    let ended = pair.sides[B]
        .events
        .iter()
        .any(|event| matches!(event, Event::IkeDown { reason, .. } if reason.contains("is not accepted any more")));
    assert!(ended);
    // A key that comes back in this minute does not save what was withdrawn, but opens the tunnel again.
    pair.reload(B, with(B, &[NEW, OLD]));
    pair.run_secs(70);
    pair.assert_up(1);
}

#[test]
fn a_tunnel_that_is_opened_by_hand_is_proved_anew_as_well() {
    let manual = |side, keys: &[&[u8]]| TunnelConfig { start: Start::Manual, ..with(side, keys) };
    let mut pair = Pair::new(with(A, &[OLD]), manual(B, &[OLD]));
    pair.run_secs(1);
    let first = spis(&pair);
    pair.reload(A, with(A, &[NEW, OLD]));
    pair.reload(B, manual(B, &[NEW]));
    pair.run_secs(19);
    pair.assert_up(1);
    assert_ne!(spis(&pair), first);
}
