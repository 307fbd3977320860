//! Any segments, any packets, any use of the slots.

use proptest::prelude::*;

use super::*;

fn any_flags() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK]), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn without_a_syn_of_the_opener_nothing_ever_passes(
        segments in prop::collection::vec((any::<bool>(), any_flags(), 0_u32..4, 0_u32..4, any::<bool>()), 1..40),
    ) {
        let mut gateway = Gateway::new();
        for (outbound, flags, sequence, acknowledgement, data) in segments {
            if outbound && flags & (SYN | ACK | RST | FIN) == SYN {
                continue;
            }
            let (origin, from, to) = if outbound { (Origin::Tun, 40000, 1414) } else { (PEER, 1414, 40000) };
            let payload: &[u8] = if data { b"x" } else { b"" };
            let verdict = gateway.tcp(origin, (from, to, flags, sequence, acknowledgement, payload));
            prop_assert!(matches!(verdict, Verdict::Drop { .. }), "{:?}", verdict);
        }
        prop_assert!(gateway.table.is_empty());
    }

    #[test]
    fn data_of_the_responder_passes_only_after_the_whole_handshake(
        segments in prop::collection::vec((any::<bool>(), any_flags(), 0_u32..4, 0_u32..4, any::<bool>()), 1..60),
    ) {
        let mut gateway = Gateway::new();
        let mut seen = Vec::new();
        for (outbound, flags, sequence, acknowledgement, data) in segments {
            let (origin, from, to) = if outbound { (Origin::Tun, 40000, 1414) } else { (PEER, 1414, 40000) };
            let payload: &[u8] = if data { b"x" } else { b"" };
            let verdict = gateway.tcp(origin, (from, to, flags, sequence, acknowledgement, payload));
            if !matches!(verdict, Verdict::Pass(_)) {
                continue;
            }
            if data && flags & RST == 0 {
                // Somewhere before stand, in this order, the SYN, its answer and the answer to that (which may be
                // this very segment of the opener).
                let mut wanted = [(true, SYN), (false, SYN | ACK), (true, ACK)].into_iter();
                let mut next = wanted.next();
                for (outbound, flags) in seen.iter().copied().chain([(outbound, flags & (SYN | ACK))]) {
                    if next == Some((outbound, flags)) {
                        next = wanted.next();
                    }
                }
                prop_assert_eq!(next, None);
            }
            seen.push((outbound, flags & (SYN | ACK)));
        }
    }

    #[test]
    fn the_slots_are_a_map_that_never_grows(
        steps in prop::collection::vec((0_u16..12, 0_u8..3, 0_u64..4), 1..200),
    ) {
        let mut slots = slots::Slots::new(8, [5, 6, 7, 8]);
        let opening = flow::FlowId::new(true, 17, (host(false, false), 1), (host(false, true), 5000)).opening(true);
        let allowed = compile(rules(), true, None).allows(&opening).unwrap();
        let mut model = std::collections::BTreeMap::new();
        let mut now = Instant::from_nanos(1);
        for (port, step, time) in steps {
            let id = |port| flow::FlowId::new(true, 17, (host(false, false), port), (host(false, true), 5000));
            match (step, slots.find(&id(port))) {
                (0, None) => {
                    let expires = now + Duration::from_nanos(time);
                    let flow = flow::Flow { id: id(port), allowed, generation: 1, kind: None, state: flow::State::Echo, bytes: [0; 2], expires };
                    prop_assert_eq!(slots.insert(flow).is_ok(), model.len() < 8);
                    if model.len() < 8 {
                        model.insert(port, expires);
                    }
                }
                (1, Some(place)) => {
                    slots.remove(place);
                    model.remove(&port);
                }
                (2, _) => {
                    now = now + Duration::from_nanos(1);
                    let before = model.len();
                    model.retain(|_, expires| *expires > now);
                    prop_assert_eq!(slots.sweep(now, 8, |_| {}), before - model.len());
                }
                _ => {}
            }
            prop_assert_eq!(slots.len(), model.len());
            for port in 0..12 {
                let found = slots.find(&id(port)).and_then(|place| slots.get_mut(place)).map(|flow| flow.expires);
                prop_assert_eq!(found, model.get(&port).copied());
            }
        }
    }

    #[test]
    fn no_packet_makes_it_panic(
        packets in prop::collection::vec((any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)), 1..20),
        v6 in any::<bool>(),
    ) {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b"data"));
        let mut error = vec![0; 1280];
        let router = host(v6, true);
        let length = build_error(&mut error, router, IcmpError::Prohibited, &Inner::parse(&ours).unwrap()).unwrap();
        error.truncate(length);
        for (which, changes) in packets {
            let mut packet = if which { ours.clone() } else { error.clone() };
            for (at, value) in changes {
                let at = at.index(packet.len());
                packet[at] = value;
            }
            if !v6 {
                packet[10..12].fill(0);
                let sum = crate::wire::checksum::checksum(&packet[..20]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            if let Ok(inner) = Inner::parse(&packet) {
                for origin in [Origin::Tun, PEER] {
                    let _ = gateway.table.judge(gateway.now, origin, &inner, &gateway.policy);
                }
            }
        }
        prop_assert!(gateway.table.len() <= 16);
    }
}
