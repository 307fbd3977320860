//! Rekeying with several key exchanges (RFC 9370 §2.2.4): CREATE_CHILD_SA, then IKE_FOLLOWUP_KE. ESP is on its way all the
//! time; none of it is lost.

use std::time::Duration;

use super::pair::*;
use crate::crypto::suite::{Additional, EspSuite, Group, IkeSuite};
use crate::entropy::Entropy;
use crate::event::{Event, IkeReason};
use crate::ike::api::Input;
use crate::ike::limits;
use crate::wire::ike::chain;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::{Ke, Notify, Payload};

fn two() -> Additional {
    let mut additional = Additional::one(Group::MlKem768);
    additional.put(3, Group::Ecp256);
    additional
}

/// Both sides with these key exchanges after the first one.
fn up_with(seed: u64, additional: Additional) -> Pair {
    let of = |side: usize| {
        let mut tunnel = tunnel(side);
        tunnel.ike = vec![IkeSuite { additional, ..X25519 }];
        tunnel.esp = vec![EspSuite { additional, ..ESP }];
        tunnel.children = vec![child(side, 0), child(side, 1)];
        config(tunnel)
    };
    let mut pair = Pair::seeded(seed, of(A), of(B));
    pair.run_secs(2);
    pair.assert_up(2);
    pair.trace.clear();
    pair
}

/// With one that costs little.
fn up(seed: u64) -> Pair {
    up_with(seed, Additional::one(Group::Ecp256))
}

fn exchanges(pair: &Pair, exchange: ExchangeType) -> usize {
    pair.trace.iter().filter(|datagram| datagram.header().exchange == exchange).count()
}

fn settles(pair: &mut Pair) {
    pair.talk(Duration::from_secs(9));
    pair.assert_up(2);
    pair.assert_no_loss();
    for side in [A, B] {
        assert_eq!(pair.sides[side].ups(), 1, "nobody has authenticated again");
        assert!(!pair.sides[side].events.iter().any(|event| matches!(event, Event::IkeDown { .. })));
        assert_eq!(pair.failed(side), []);
    }
    pair.run_secs(50);
    for side in [A, B] {
        pair.sides[side].endpoint.assert_tidy(1);
    }
}

/// ```text
/// HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}        -->
///                      <--  HDR, SK {SA, Nr, KEr, TSi, TSr, N(ADDITIONAL_KEY_EXCHANGE)}
/// HDR, SK {KEi(1), N(ADDITIONAL_KEY_EXCHANGE)}        -->
///                      <--  HDR, SK {KEr(1), N(ADDITIONAL_KEY_EXCHANGE)}
/// HDR, SK {KEi(2), N(ADDITIONAL_KEY_EXCHANGE)}        -->
///                      <--  HDR, SK {KEr(2)}
/// ```
#[test]
fn a_child_sa_is_rekeyed_with_every_key_exchange_of_its_suite() {
    for side in [A, B] {
        let mut pair = up_with(1, two());
        // The responder knows that its last answer has arrived once the child SA is used.
        pair.talk(Duration::from_secs(1));
        let old = pair.sides[A].inbound.keys().copied().collect::<Vec<_>>();
        pair.rekey(side, true, false);
        pair.talk(Duration::from_secs(1));
        assert!(exchanges(&pair, ExchangeType::CREATE_CHILD_SA) == 4);
        // Two children, two exchanges each, a request and a response; what is long takes two datagrams.
        assert!(exchanges(&pair, ExchangeType::IKE_FOLLOWUP_KE) >= 8);
        settles(&mut pair);
        assert!(pair.sides[A].inbound.keys().all(|spi| !old.contains(spi)));
        for child in pair.status(side).children {
            assert_eq!(child.pfs.as_deref(), Some("x25519-ke1_mlkem768-ke3_ecp256"));
        }
    }
}

#[test]
fn an_ike_sa_is_rekeyed_with_every_key_exchange_of_its_suite() {
    for side in [A, B] {
        let mut pair = up_with(1, two());
        let old = pair.status(A).ike.unwrap().spis;
        pair.rekey(side, false, true);
        pair.talk(Duration::from_secs(1));
        assert_eq!(exchanges(&pair, ExchangeType::CREATE_CHILD_SA), 2);
        assert!(exchanges(&pair, ExchangeType::IKE_FOLLOWUP_KE) >= 4);
        settles(&mut pair);
        let ike = pair.status(A).ike.unwrap();
        assert!(ike.spis != old && ike.suite.ends_with("-ke1_mlkem768-ke3_ecp256"), "{ike:?}");
        let line = |side: usize| pair.sides[side].key_log.iter().rfind(|line| !line.starts_with('"')).cloned();
        assert_eq!(line(A), line(B));
        assert!(line(A).unwrap().starts_with(&ike.spis[0]));
    }
}

#[test]
fn a_further_child_sa_is_made_with_every_key_exchange_too() {
    // The second shape of `up` was made by CREATE_CHILD_SA.
    let pair = up_with(1, two());
    let pfs: Vec<_> = pair.status(A).children.into_iter().map(|child| child.pfs).collect();
    assert_eq!(pfs, [None, Some("x25519-ke1_mlkem768-ke3_ecp256".to_owned())]);
}

#[test]
fn each_message_of_a_rekeying_may_be_lost_once() {
    for ike in [false, true] {
        let mut pair = up_with(1, two());
        pair.rekey(A, !ike, ike);
        pair.run_secs(1);
        let count = pair.trace.len();
        for lost in 0..count {
            let mut pair = up_with(1, two());
            let mut sent = 0;
            pair.meddle = Some(Box::new(move |datagram, _| {
                sent += 1;
                if sent == lost + 1 { vec![] } else { vec![(Duration::ZERO, datagram)] }
            }));
            pair.rekey(A, !ike, ike);
            pair.talk(Duration::from_secs(4));
            settles(&mut pair);
            assert!(pair.status(A).rekeys.ike + pair.status(A).rekeys.child > 0, "without datagram {lost}");
        }
    }
}

#[test]
fn two_rekeyings_at_once_end_with_one_result_whatever_the_order_of_their_messages() {
    for ike in [false, true] {
        let mut made = [0, 0];
        for seed in 0..40 {
            let mut pair = up(seed);
            pair.meddle = Some(Box::new(|datagram, entropy| {
                let entropy: &mut dyn Entropy = entropy;
                vec![(Duration::from_millis(entropy.below(60)), datagram)]
            }));
            pair.rekey(A, !ike, ike);
            pair.run(Duration::from_millis(seed % 4 * 25));
            pair.rekey(B, !ike, ike);
            settles(&mut pair);
            if ike {
                let initiator = pair.status(A).ike.unwrap().initiator;
                made[usize::from(!initiator)] += 1;
            }
        }
        assert!(!ike || (made[0] > 0 && made[1] > 0), "{made:?}");
    }
}

#[test]
fn two_rekeyings_at_once_over_a_line_that_loses_end_with_one_result() {
    for seed in 0..40 {
        let mut pair = up(seed);
        pair.meddle = Some(Box::new(|datagram, entropy| {
            let entropy: &mut dyn Entropy = entropy;
            let copies = [0, 1, 1, 1, 1, 1, 2][usize::try_from(entropy.below(7)).unwrap()];
            (0..copies).map(|_| (Duration::from_millis(entropy.below(300)), datagram.clone())).collect()
        }));
        for side in [A, B] {
            pair.rekey(side, seed % 3 != 0, seed % 3 != 1);
        }
        pair.run_secs(60);
        pair.meddle = None;
        pair.run_secs(120);
        pair.assert_up(2);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1), "seed {seed}");
        for side in [A, B] {
            pair.sides[side].endpoint.assert_tidy(1);
        }
    }
}

/// RFC 9370 §2.2.4: the responder waits 5 to 20 seconds, and says STATE_NOT_FOUND afterwards. The initiator begins again.
#[test]
fn a_series_that_is_not_carried_on_in_time_is_forgotten_and_begun_again() {
    for ike in [false, true] {
        let mut pair = up(1);
        pair.rekey(A, !ike, ike);
        // The answer to CREATE_CHILD_SA comes late, and the key exchange after it later than that.
        pair.pass_next(B);
        let mut late = pair.take(A);
        pair.line.clear();
        pair.meddle = Some(Box::new(|_, _| vec![]));
        pair.run(limits::FOLLOWUP_TIME + Duration::from_secs(1));
        pair.meddle = None;
        late.at = pair.now;
        pair.deliver(&late);
        pair.trace.clear();
        pair.talk(Duration::from_secs(14));
        assert!(pair.refused(B, IkeReason::StateNotFound) > 0);
        pair.assert_up(2);
        pair.assert_no_loss();
        assert!(pair.status(A).rekeys.ike + pair.status(A).rekeys.child > 0, "it was begun again");
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (1, 1));
    }
}

/// Nothing new is begun while the peer's series is under way. What waits for its end asks the peer too, so that no probe goes
/// out; but a probe that stays due would keep the endpoint busy for ever.
#[test]
fn a_probe_that_is_due_while_a_task_waits_for_the_peers_series_is_put_off() {
    let mut pair = up(1);
    pair.rekey(A, false, true);
    pair.pass_next(B);
    pair.rekey(B, true, false);
    pair.line.clear();
    pair.meddle = Some(Box::new(|_, _| vec![]));
    // It never comes back from here, if what is due stays due.
    pair.run(Duration::from_secs(15));
    assert!(pair.sides[B].timeout.is_some_and(|at| at > pair.now));
}

/// A request to B with A's keys and the next message ID, and what B says.
fn answer_to(pair: &mut Pair, exchange: ExchangeType, payloads: &[Payload]) -> Vec<Payload> {
    let (first, inner) = chain::encode(payloads);
    let (path, bytes) = pair.sides[A].endpoint.forge(exchange, false, 0, first, &inner).unwrap();
    pair.input(B, Input::Datagram { local: path.remote, remote: path.local, bytes: &bytes });
    let answer = pair.take(A);
    pair.sides[A].endpoint.skip_request();
    pair.sides[A].endpoint.unseal(&answer.bytes).unwrap()
}

#[test]
fn a_key_exchange_that_follows_nothing_gets_state_not_found_and_changes_nothing() {
    let ke = Payload::Ke(Ke { method: Group::Ecp256.method(), data: vec![0; 64] });
    let link = Payload::Notify(Notify::status(NotifyType::ADDITIONAL_KEY_EXCHANGE, vec![1; 8]));
    let mut pair = up(1);
    for payloads in [vec![ke.clone(), link], vec![ke]] {
        let said = answer_to(&mut pair, ExchangeType::IKE_FOLLOWUP_KE, &payloads);
        assert_eq!(said, [Payload::Notify(Notify::error(NotifyType::STATE_NOT_FOUND))]);
    }
    assert_eq!(pair.refused(B, IkeReason::StateNotFound), 2);
    pair.rekey(B, true, true);
    pair.talk(Duration::from_secs(9));
    pair.assert_up(2);
    pair.assert_no_loss();
}

#[test]
fn what_the_peer_begins_and_never_carries_on_is_bounded_and_goes() {
    let mut pair = up(1);
    pair.meddle = Some(Box::new(|datagram, _| vec![(Duration::ZERO, datagram)]));
    let suites = [EspSuite { additional: Additional::one(Group::Ecp256), ..ESP }];
    let mut refused = 0;
    for number in 0..8u32 {
        let own = crate::sa::spi::Spi::new(5000 + number).unwrap();
        let keypair = crate::crypto::kex::KeyPair::generate(
            Group::Curve25519,
            &mut crate::entropy::SeededEntropy::new(u64::from(number)),
        );
        let ts = |network| crate::wire::ike::payload::Ts::ranges([selector(network).to_wire().unwrap()]);
        let payloads = [
            Payload::Sa(crate::ike::negotiate::esp_offer(&suites, own, crate::ike::negotiate::Place::CreateChildSa)),
            Payload::Nonce(crate::wire::ike::payload::Nonce(vec![9; 32])),
            Payload::Ke(Ke { method: Group::Curve25519.method(), data: keypair.public().to_vec() }),
            Payload::TsI(ts("10.0.1.1/32")),
            Payload::TsR(ts("10.1.1.1/32")),
        ];
        let said = answer_to(&mut pair, ExchangeType::CREATE_CHILD_SA, &payloads);
        let busy = Payload::Notify(Notify::error(NotifyType::TEMPORARY_FAILURE));
        refused += usize::from(said == [busy]);
    }
    assert_eq!(refused, 8 - limits::MAX_PENDING);
    assert_eq!(pair.sides[B].inbound.len(), 2, "nothing was made");
    pair.run(limits::FOLLOWUP_TIME + Duration::from_secs(1));
    pair.rekey(B, true, false);
    pair.talk(Duration::from_secs(9));
    pair.assert_up(2);
}

#[test]
fn a_rekeying_without_the_key_exchanges_that_are_required_is_named() {
    let mut pair = up(1);
    // A has dropped them from its suites, and B has ML-KEM in all of its own.
    let pq = Additional::one(Group::MlKem768);
    pair.sides[B].endpoint.prefer(&[IkeSuite { additional: pq, ..X25519 }]);
    pair.sides[A].endpoint.prefer(&[X25519]);
    pair.rekey(A, false, true);
    pair.run_secs(1);
    assert_eq!(pair.failed(B).last().unwrap().1, IkeReason::PostQuantumRequired);
    pair.assert_up(2);
}
