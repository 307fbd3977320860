//! Narrowing of traffic selectors (RFC 7296 §2.9), as responder and as initiator.

use super::selector::TrafficSelector;
use crate::ids::ShapeId;

/// What is common to what the peer offers and what the rules allow, in the order of the offer.
///
/// Empty means TS_UNACCEPTABLE.
#[must_use]
pub fn narrow(offered: &[TrafficSelector], allowed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut common: Vec<TrafficSelector> = Vec::new();
    for (offer, allow) in offered.iter().flat_map(|offer| allowed.iter().map(move |allow| (offer, allow))) {
        if let Some(both) = offer.intersect(allow)
            && !common.iter().any(|wider| wider.covers(&both))
        {
            // The first one stays in front even where a wider one follows: it is the packet's.
            common.push(both);
        }
    }
    common
}

/// The child SA that a responder makes of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which of our shapes it is.
    pub shape: ShapeId,
    /// Our side, narrowed.
    pub local: Vec<TrafficSelector>,
    /// The peer's side, narrowed.
    pub remote: Vec<TrafficSelector>,
}

/// As responder: which of `shapes` (number, our side, the peer's side) does the offer fit, and what is left of it?
///
/// The shape that holds the first selectors of both sides goes first, since they may be those of the packet that made
/// the initiator ask; then the first shape with which there is anything in common. One child SA is one shape: shapes
/// are not joined, for the product of two would grant what neither does.
#[must_use]
pub fn choose(
    offered_local: &[TrafficSelector],
    offered_remote: &[TrafficSelector],
    shapes: impl IntoIterator<Item = (ShapeId, TrafficSelector, TrafficSelector)>,
) -> Option<Chosen> {
    let mut second = None;
    let mut fallback = None;
    for (shape, local, remote) in shapes {
        let chosen =
            Chosen { shape, local: narrow(offered_local, &[local]), remote: narrow(offered_remote, &[remote]) };
        if chosen.local.is_empty() || chosen.remote.is_empty() {
            continue;
        }
        let first = |offered: &[TrafficSelector], ours: &TrafficSelector| {
            let first = offered.first();
            (first.is_some_and(|first| ours.covers(first)), first.is_some_and(|first| ours.intersect(first).is_some()))
        };
        // RFC 7296 §2.9: the first selectors of TSi and TSr are very specific ones, with the addresses of the packet
        // that triggered the request; the responder's subset should hold them.
        match (first(offered_local, &local), first(offered_remote, &remote)) {
            ((true, _), (true, _)) => return Some(chosen),
            ((_, true), (_, true)) => second = second.or(Some(chosen)),
            _ => fallback = fallback.or(Some(chosen)),
        }
    }
    second.or(fallback)
}

/// As initiator: whether the answer is no wider than what was offered, and not empty.
#[must_use]
pub fn is_subset(answer: &[TrafficSelector], offered: &[TrafficSelector]) -> bool {
    !answer.is_empty() && answer.iter().all(|part| offered.iter().any(|offer| offer.covers(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(text: &str) -> TrafficSelector {
        let (network, rest) = text.split_once(' ').unwrap_or((text, "0/0-65535"));
        let (protocol, ports) = rest.split_once('/').unwrap();
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        TrafficSelector {
            protocol: protocol.parse().unwrap(),
            first_port: first.parse().unwrap(),
            last_port: last.parse().unwrap(),
            ..TrafficSelector::any(network.parse().unwrap())
        }
    }

    #[test]
    fn a_wide_offer_is_narrowed_to_what_the_rules_allow() {
        let allowed = selector("203.0.113.20/32 6/1414");
        assert_eq!(narrow(&[selector("0.0.0.0/0")], &[allowed]), [allowed]);
        assert_eq!(narrow(&[selector("::/0")], &[allowed]), []);
        assert_eq!(narrow(&[], &[allowed]), []);
    }

    #[test]
    fn the_selector_of_the_triggering_packet_stays_in_front() {
        let packet = selector("203.0.113.20/32 6/1414");
        let host = selector("203.0.113.20/32");
        assert_eq!(narrow(&[packet, selector("203.0.113.0/24")], &[host]), [packet, host]);
        assert_eq!(narrow(&[host, packet], &[host]), [host]);
    }

    #[test]
    fn the_shape_of_the_triggering_packet_is_chosen_before_an_earlier_one() {
        let shapes =
            [1_u16, 2].map(|n| (ShapeId(n), selector(&format!("192.0.2.{n}/32")), selector("203.0.113.20/32")));
        let wide = selector("0.0.0.0/0");
        let packet = [selector("192.0.2.2/32 6/40000"), wide];
        let chosen = choose(&packet, &[wide], shapes).unwrap();
        assert_eq!(chosen.shape, ShapeId(2));
        assert_eq!(chosen.local[0], packet[0]);
        assert_eq!(choose(&[wide], &[wide], shapes).unwrap().shape, ShapeId(1));
        let elsewhere = [selector("198.51.100.7/32"), wide];
        assert_eq!(choose(&elsewhere, &[wide], shapes).unwrap().shape, ShapeId(1));
        assert_eq!(choose(&elsewhere[..1], &[wide], shapes), None);
    }

    #[test]
    fn an_answer_is_accepted_if_it_is_within_the_offer() {
        let offered = [selector("192.0.2.10/32 6/22"), selector("192.0.2.10/32")];
        assert!(is_subset(&offered, &offered));
        assert!(is_subset(&[selector("192.0.2.10/32 6/1414")], &offered));
        assert!(!is_subset(&[], &offered));
        assert!(!is_subset(&[selector("192.0.2.0/24")], &offered));
        assert!(!is_subset(&[offered[0], selector("192.0.2.11/32")], &offered));
    }

    fn any_selector() -> impl Strategy<Value = TrafficSelector> {
        let ends = (0_u32..16, 0_u32..16, 0_u16..8, 0_u16..8, prop::sample::select(vec![0_u8, 6, 17]));
        ends.prop_map(|(a, b, p, q, protocol)| TrafficSelector {
            protocol,
            first_port: p.min(q),
            last_port: p.max(q),
            start: std::net::Ipv4Addr::from(a.min(b)).into(),
            end: std::net::Ipv4Addr::from(a.max(b)).into(),
        })
    }

    proptest! {
        #[test]
        fn narrowing_holds_exactly_the_points_that_both_sides_hold(
            offered in prop::collection::vec(any_selector(), 0..4),
            allowed in prop::collection::vec(any_selector(), 0..4),
            address in 0_u32..16,
            port in 0_u16..8,
            protocol in prop::sample::select(vec![6_u8, 17]),
        ) {
            let key = crate::event::FlowKey {
                protocol,
                source: std::net::Ipv4Addr::from(address).into(),
                source_port: port,
                destination: std::net::Ipv4Addr::from(0).into(),
                destination_port: 0,
            };
            let holds = |set: &[TrafficSelector]| set.iter().any(|selector| selector.contains_source(&key));
            prop_assert_eq!(holds(&narrow(&offered, &allowed)), holds(&offered) && holds(&allowed));
        }

        #[test]
        fn what_is_narrowed_is_within_both_sides(
            offered in prop::collection::vec(any_selector(), 1..4),
            allowed in prop::collection::vec(any_selector(), 1..4),
        ) {
            let common = narrow(&offered, &allowed);
            prop_assert!(common.is_empty() || is_subset(&common, &offered) && is_subset(&common, &allowed));
        }
    }
}
