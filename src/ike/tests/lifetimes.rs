//! Keys that grow old by themselves: when they are renewed, with which spread, and what a bad line does to that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::pair::*;
use crate::entropy::Entropy;
use crate::ike::api::Input;
use crate::ike::config::{IkeLifetime, TunnelConfig};
use crate::sa::event::SadEvent;
use crate::sa::lifetime::Lifetime;

fn aging(side: usize, child: u64, ike: u64) -> TunnelConfig {
    let mut tunnel = tunnel(side);
    let secs = Duration::from_secs;
    tunnel.lifetime = Lifetime { soft_time: secs(child), hard_time: secs(child * 5 / 4), ..tunnel.lifetime };
    tunnel.ike_lifetime = IkeLifetime { soft: secs(ike), hard: secs(ike * 5 / 4) };
    tunnel
}

#[test]
fn keys_are_renewed_by_time_for_as_long_as_one_likes_and_no_packet_is_lost() {
    let mut pair = Pair::new(aging(A, 60, 300), aging(B, 60, 300));
    pair.run_secs(1);
    pair.talk(Duration::from_mins(30));
    let rekeys = pair.status(A).rekeys;
    assert!((25..=40).contains(&rekeys.child), "{rekeys:?}");
    assert!((5..=8).contains(&rekeys.ike), "{rekeys:?}");
    pair.talk(Duration::from_secs(6));
    pair.assert_no_loss();
    assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    assert_eq!((pair.failed(A), pair.failed(B)), (vec![], vec![]));
}

#[test]
fn two_with_equal_limits_begin_at_different_times() {
    let mut times = BTreeSet::new();
    for seed in 0..20 {
        let pair = {
            let mut pair = Pair::seeded(seed, config(aging(A, 1000, 5000)), config(aging(B, 1000, 5000)));
            pair.run_secs(1);
            pair
        };
        for side in [A, B] {
            let status = pair.status(side);
            let (child, ike) = (status.children[0].rekey_in_s, status.ike.unwrap().rekey_in_s);
            assert!((898..=1000).contains(&child) && (4498..=5000).contains(&ike), "{child} {ike}");
            assert!((1249..=1250).contains(&status.children[0].expires_in_s));
            times.insert(child);
        }
    }
    assert!(times.len() > 10, "{times:?}");
}

#[test]
fn limits_in_the_data_path_bring_a_rekeying_too() {
    for event in [|inbound| SadEvent::SoftLimit { inbound }, |inbound| SadEvent::ForgeryBudget { inbound }] {
        let mut pair = Pair::new(tunnel(A), tunnel(B));
        pair.run_secs(1);
        let old = *pair.sides[A].inbound.keys().next().unwrap();
        pair.input(A, Input::Sad(event(old)));
        pair.input(A, Input::Sad(event(old)));
        pair.talk(Duration::from_secs(6));
        pair.assert_up(1);
        pair.assert_no_loss();
        assert!(!pair.sides[A].inbound.contains_key(&old));
        assert_eq!((pair.status(A).rekeys.child, pair.status(B).rekeys.child), (1, 1));
    }
}

/// Loss, delay, disorder and doubling, with both sides rekeying everything all the time: once the line is good again there is
/// one IKE SA, one child SA for each shape, and nothing else.
#[test]
fn rekeying_over_a_bad_line_ends_with_one_of_each() {
    for seed in 0..60 {
        let both = |side| {
            let mut tunnel = aging(side, 7, 17);
            tunnel.lifetime.hard_time = Duration::from_mins(10);
            tunnel.ike_lifetime.hard = Duration::from_mins(10);
            // With none both begin together each time.
            tunnel.jitter = if seed % 3 == 0 { 0 } else { 60 };
            tunnel.children = vec![child(side, 0), child(side, 1)];
            config(tunnel)
        };
        let mut pair = Pair::seeded(seed, both(A), both(B));
        pair.meddle = Some(Box::new(move |datagram, entropy| {
            let entropy: &mut dyn Entropy = entropy;
            if entropy.below(100) < seed % 30 {
                return vec![];
            }
            let delay = |entropy: &mut dyn Entropy| Duration::from_millis(entropy.below(400));
            (0..=entropy.below(2)).map(|_| (delay(entropy), datagram.clone())).collect()
        }));
        pair.run_secs(240);
        pair.meddle = None;
        pair.run_secs(60);
        // Whatever is just being rekeyed comes to its end, and nothing new begins.
        for side in [A, B] {
            pair.sides[side].endpoint.stop_renewing();
        }
        pair.run_secs(100);
        pair.assert_up(2);
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
            assert!(pair.status(side).rekeys.ike >= 5, "{:?}", pair.status(side).rekeys);
        }
    }
}

/// IKE messages are lost, late, doubled and in disorder; ESP is not. Both sides rekey all the time, and there is always an SA on
/// which a packet can go.
#[test]
fn no_packet_is_without_an_sa_however_bad_the_line_is_for_ike() {
    for seed in 0..24 {
        let both = |side| {
            let mut tunnel = aging(side, 9, 23);
            tunnel.lifetime.hard_time = Duration::from_mins(10);
            tunnel.ike_lifetime.hard = Duration::from_mins(10);
            tunnel.jitter = 60;
            config(tunnel)
        };
        let mut pair = Pair::seeded(seed, both(A), both(B));
        pair.run_secs(1);
        pair.assert_up(1);
        pair.meddle = Some(Box::new(move |datagram, entropy| {
            let entropy: &mut dyn Entropy = entropy;
            if entropy.below(100) < seed {
                return vec![];
            }
            let delay = |entropy: &mut dyn Entropy| Duration::from_millis(entropy.below(300));
            (0..=entropy.below(2)).map(|_| (delay(entropy), datagram.clone())).collect()
        }));
        pair.talk(Duration::from_mins(3));
        pair.meddle = None;
        pair.talk(Duration::from_secs(20));
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "seed {seed}");
        for side in [A, B] {
            assert!(pair.sides[side].lost.is_empty(), "seed {seed}: {:?}", pair.sides[side].lost);
            assert!(pair.status(side).rekeys.child >= 10);
        }
    }
}
