//! Both gateways start together: whatever the order of their messages, one IKE SA is left, the same on both sides.

use super::choices::Choices;
use super::pair::*;
use crate::ike::api::Input;
use crate::ike::config::Start;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::ExchangeType;

fn both() -> Pair {
    let [mut a, mut b] = [tunnel(A), tunnel(B)];
    b.start = Start::Always;
    a.children = vec![child(A, 0), child(A, 1)];
    b.children = vec![child(B, 0), child(B, 1)];
    Pair::new(a, b)
}

#[test]
fn every_order_of_messages_ends_with_one_ike_sa() {
    let mut choices = Choices::default();
    let (mut runs, mut collisions) = (0, 0);
    loop {
        let mut pair = both();
        // Every datagram in flight may be the next to arrive; no timer ends meanwhile.
        let mut delivered = 0;
        while !pair.line.is_empty() && delivered < 12 {
            let index = choices.choose(pair.line.len());
            let datagram = pair.line.remove(index).unwrap();
            pair.deliver(&datagram);
            delivered += 1;
        }
        collisions += usize::from(pair.sides[A].ups() == 2);
        pair.run_secs(20);
        pair.assert_up(2);
        for side in [A, B] {
            assert!(pair.sides[side].ups() <= 2, "one of the two stays, and no third one is needed");
        }
        runs += 1;
        if !choices.advance() {
            break;
        }
    }
    assert!(runs > 50, "{runs}");
    assert!(collisions > 10, "both were established in {collisions} of {runs} runs");
}

#[test]
fn a_simultaneous_start_over_a_bad_line_ends_with_one_ike_sa() {
    for seed in 0..40 {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.start, b.start) = (Start::Always, Start::Always);
        (a.children, b.children) = (vec![child(A, 0), child(A, 1)], vec![child(B, 0), child(B, 1)]);
        let mut pair = Pair::seeded(seed, config(a), config(b));
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn crate::entropy::Entropy = entropy;
            if entropy.below(10) < 2 {
                return vec![];
            }
            let delay =
                |entropy: &mut dyn crate::entropy::Entropy| std::time::Duration::from_millis(entropy.below(700));
            (0..=entropy.below(2)).map(|_| (delay(entropy), datagram.clone())).collect()
        }));
        pair.run_secs(60);
        pair.meddle = None;
        pair.run_secs(60);
        pair.assert_up(2);
    }
}

/// A delayed delete of the loser, or none at all, leaves the winner alone.
#[test]
fn the_winner_carries_the_traffic_while_the_loser_leaves() {
    let mut pair = both();
    while let Some(datagram) = pair.line.pop_front() {
        if pair.sides[A].ups() == 2 && pair.sides[B].ups() == 2 {
            break;
        }
        pair.deliver(&datagram);
    }
    pair.run_secs(1);
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (2, 2), "both were made");
    let winner = pair.status(A).ike.unwrap().spis;
    assert_eq!(pair.status(B).ike.unwrap().spis, winner);
    let carrying = [A, B].map(|side| pair.sides[side].ways.clone());
    pair.run_secs(10);
    pair.assert_up(2);
    assert_eq!(pair.status(A).ike.unwrap().spis, winner);
    for side in [A, B] {
        for (shape, ways) in &carrying[side] {
            assert_eq!(pair.sides[side].ways.get(shape).and_then(|now| now.last()), ways.last(), "it stays there");
        }
    }
    pair.input(A, Input::Shutdown);
    pair.run_secs(5);
    pair.assert_empty(A);
}

/// The other one was kept from sending, because it was to go.
#[test]
fn if_the_winner_fails_its_proof_the_other_one_carries_the_traffic() {
    let mut kept_from_sending = 0;
    for (seed, victim) in (0..12).flat_map(|seed| [(seed, A), (seed, B)]) {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.start, b.start) = (Start::Always, Start::Always);
        (a.children, b.children) = (vec![child(A, 0), child(A, 1)], vec![child(B, 0), child(B, 1)]);
        let mut pair = Pair::seeded(seed, config(a), config(b));
        // The responder signs its IKE_SA_INIT response as it was sent.
        pair.meddle = Some(Box::new(move |datagram, _| {
            let mut datagram = datagram.clone();
            let header = Header::decode(&datagram.bytes).unwrap();
            if datagram.to == victim && header.exchange == ExchangeType::IKE_SA_INIT && header.flags.response {
                *datagram.bytes.last_mut().unwrap() ^= 1;
            }
            vec![(std::time::Duration::ZERO, datagram)]
        }));
        pair.run_secs(1);
        pair.meddle = None;
        let ups = [A, B].map(|side| pair.sides[side].ups());
        assert_eq!((ups[victim], ups[1 - victim]), (1, 2), "the victim does not believe what answers its own attempt");
        let winner = pair.sides[1 - victim].endpoint.probe();
        kept_from_sending += usize::from(winner.iter().any(|sa| sa.initiator));
        pair.run_secs(20);
        pair.assert_up(2);
        assert_eq!([A, B].map(|side| pair.sides[side].ups()), ups, "nobody has to open another one");
    }
    assert!(kept_from_sending > 0);
}
