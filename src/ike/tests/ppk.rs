//! Postquantum preshared keys (RFC 8784): both sides, one, none; required and optional; the wrong one.

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::event::IkeReason;
use crate::ike::config::Ppk;
use crate::secret::Secret;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, NotifyType};
use crate::wire::ike::payload::Payload;

const NAME: &str = "ppk of both";
const KEY: &str = "a postquantum key";

#[expect(clippy::unnecessary_wraps, reason = "what `with` takes")]
fn ppk(id: &str, secret: &str, required: bool) -> Option<Arc<Ppk>> {
    let secret = Secret::copy_of(secret.as_bytes());
    Some(Arc::new(Ppk { id: id.as_bytes().to_vec(), secret, required }))
}

fn with(a: Option<Arc<Ppk>>, b: Option<Arc<Ppk>>) -> Pair {
    let [mut left, mut right] = [tunnel(A), tunnel(B)];
    (left.ppk, right.ppk) = (a, b);
    Pair::new(left, right)
}

/// Up after a second, and whether the PPK is in the keys.
fn up(a: Option<Arc<Ppk>>, b: Option<Arc<Ppk>>) -> bool {
    let mut pair = with(a, b);
    pair.run_secs(1);
    pair.assert_up(1);
    let [a, b] = [A, B].map(|side| pair.status(side).ike.unwrap().ppk);
    assert_eq!(a, b);
    a
}

#[test]
fn it_is_used_if_both_have_it_and_left_out_if_one_may_do_without() {
    for a in [true, false] {
        for b in [true, false] {
            assert!(up(ppk(NAME, KEY, a), ppk(NAME, KEY, b)), "{a} {b}");
        }
    }
    let ours = || ppk(NAME, KEY, false);
    assert!(!up(ours(), None));
    assert!(!up(None, ours()));
    assert!(!up(ours(), ppk("another name", KEY, false)), "NO_PPK_AUTH");
    assert!(!up(None, None));
}

#[test]
fn who_requires_it_has_no_ike_sa_without_and_says_why() {
    let ours = || ppk(NAME, KEY, true);
    let other = |required| ppk("another name", KEY, required);
    for (a, b, side, reason) in [
        (ours(), None, A, IkeReason::PpkRequired),
        (None, ours(), B, IkeReason::PpkRequired),
        (ours(), other(true), B, IkeReason::UnknownPpk),
        (ours(), other(false), B, IkeReason::UnknownPpk),
        (ppk(NAME, KEY, false), other(true), B, IkeReason::UnknownPpk),
        (ours(), ppk(NAME, "another key", true), B, IkeReason::AuthenticationFailed),
        (ppk(NAME, KEY, false), ppk(NAME, "another key", false), B, IkeReason::AuthenticationFailed),
    ] {
        let mut pair = with(a, b);
        pair.run_secs(2);
        assert_eq!((pair.sides[A].ups(), pair.sides[B].ups()), (0, 0), "{reason}");
        assert!(pair.refused(side, reason) > 0, "{reason}: {:?} {:?}", pair.failed(A), pair.failed(B));
        assert_eq!(pair.sides[A].inbound.len() + pair.sides[B].inbound.len(), 0);
        if side == A {
            pair.run_secs(60);
            assert_eq!(pair.failed(A)[0].1, reason);
        }
    }
}

#[test]
fn what_is_rekeyed_has_it_still() {
    let mut pair = with(ppk(NAME, KEY, true), ppk(NAME, KEY, true));
    pair.run_secs(1);
    let without = {
        let mut pair = with(None, None);
        pair.run_secs(1);
        pair.sides[A].outbound.values().next().unwrap().keys.cipher.expose().to_vec()
    };
    assert_ne!(pair.sides[A].outbound.values().next().unwrap().keys.cipher.expose(), without);
    for side in [A, B] {
        pair.rekey(side, true, true);
        pair.talk(Duration::from_secs(7));
        pair.assert_up(1);
        assert!(pair.status(A).ike.unwrap().ppk && pair.status(B).ike.unwrap().ppk);
    }
    pair.assert_no_loss();
}

/// Somebody takes USE_PPK out of IKE_SA_INIT: without an IKE SA where it is required, found out by AUTH where it is not.
#[test]
fn a_downgrade_is_refused_or_found_out() {
    for (required, to) in [(true, A), (true, B), (false, A), (false, B)] {
        let mut pair = with(ppk(NAME, KEY, required), ppk(NAME, KEY, required));
        let mut meddle = move |mut datagram: Datagram| {
            if datagram.to == to && datagram.header().exchange == ExchangeType::IKE_SA_INIT {
                let mut message = Message::decode(&datagram.bytes).unwrap();
                message.payloads.retain(
                    |payload| !matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::USE_PPK),
                );
                datagram.bytes = message.encode();
            }
            datagram
        };
        pair.line = std::mem::take(&mut pair.line).into_iter().map(&mut meddle).collect();
        pair.meddle = Some(Box::new(move |datagram, _| vec![(Duration::ZERO, meddle(datagram))]));
        pair.run_secs(5);
        // Who answers is satisfied before who asked has seen the answer.
        assert_eq!(pair.sides[A].ups(), 0);
        assert!(to == A && !required || pair.sides[B].ups() == 0);
        let reason = if required { IkeReason::PpkRequired } else { IkeReason::AuthenticationFailed };
        let failed = pair.failed(A).iter().any(|(_, why, _)| *why == reason);
        assert!(failed || pair.refused(A, reason) + pair.refused(B, reason) > 0, "{required} {to}");
    }
}
