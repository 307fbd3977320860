//! The table against its oracle, and the sentences that an agreement relies on.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::event::{DropReason, FlowKey};
use crate::ids::{RuleId, ShapeId, TunnelId};

const CLIENT: &str = "192.0.2.10";
const SERVER: &str = "203.0.113.20";

fn networks(texts: &[&str]) -> Vec<IpNet> {
    let parse = |text: &&str| text.parse::<IpNet>().unwrap_or_else(|_| text.parse::<IpAddr>().unwrap().into());
    texts.iter().map(parse).collect()
}

fn rule(id: u16, name: &str, from: &[&str], to: &[&str], service: Service) -> Rule {
    Rule {
        id: RuleId(id),
        name: name.into(),
        tunnel: TunnelId(0),
        agreement: "cbp".into(),
        clause: "1a".into(),
        purposes: Vec::new(),
        from: networks(from),
        to: networks(to),
        service,
        ports: Vec::new(),
        direction: RuleDirection::Outbound,
        inspection: Inspection::of(service),
        mode: Mode::Enforce,
    }
}

fn inbound(rule: Rule) -> Rule {
    Rule { direction: RuleDirection::Inbound, ..rule }
}

fn tunnel(id: u16, selectors: SelectorMode) -> TunnelPolicy {
    TunnelPolicy { id: TunnelId(id), name: format!("tunnel{id}"), selectors, lanes: 1, enabled: true }
}

fn compile(rules: Vec<Rule>) -> Result<Snapshot, CompileError> {
    Snapshot::compile(rules, vec![tunnel(0, SelectorMode::Host), tunnel(1, SelectorMode::Service)], None)
}

fn key(protocol: u8, source: &str, source_port: u16, destination: &str, destination_port: u16) -> FlowKey {
    FlowKey {
        protocol,
        source: source.parse().unwrap(),
        source_port,
        destination: destination.parse().unwrap(),
        destination_port,
    }
}

fn shapes(policy: &Snapshot, tunnel: u16) -> Vec<String> {
    policy.shapes(TunnelId(tunnel)).iter().map(|shape| format!("{} <-> {}", shape.local, shape.remote)).collect()
}

#[test]
fn what_no_rule_allows_is_refused_in_both_directions() {
    let policy = compile(vec![rule(7, "mq", &[CLIENT], &[SERVER], Service::Mq)]).unwrap();
    let allowed = policy.classify(true, &key(6, CLIENT, 40000, SERVER, 1414));
    let Classified::Allow(Allowed { rule, opener_is_local: true, .. }) = allowed else { panic!("{allowed:?}") };
    assert_eq!(rule, RuleId(7));
    let near = Classified::NoRule { near: Some(RuleId(7)), tunnel: Some(TunnelId(0)) };
    assert_eq!(policy.classify(true, &key(6, CLIENT, 40000, SERVER, 23)), near);
    assert_eq!(policy.classify(true, &key(17, CLIENT, 40000, SERVER, 1414)), near);
    assert_eq!(policy.classify(false, &key(6, SERVER, 40000, CLIENT, 23)), near);
    let stranger = Classified::NoRule { near: None, tunnel: Some(TunnelId(0)) };
    assert_eq!(policy.classify(true, &key(6, "192.0.2.11", 40000, SERVER, 1414)), stranger);
    assert_eq!(policy.classify(true, &key(6, CLIENT, 40000, "203.0.113.21", 1414)), Classified::NotOurs);
    assert_eq!(policy.classify(true, &key(6, CLIENT, 40000, "2001:db8::1", 1414)), Classified::NotOurs);
    assert_eq!(Snapshot::empty().classify(true, &key(6, CLIENT, 40000, SERVER, 1414)), Classified::NotOurs);
}

#[test]
fn only_the_side_that_the_rule_names_may_open() {
    let wrong = Classified::WrongDirection { rule: RuleId(1), tunnel: TunnelId(0) };
    let policy = compile(vec![rule(1, "mq", &[CLIENT], &[SERVER], Service::Mq)]).unwrap();
    assert_eq!(policy.classify(false, &key(6, SERVER, 40000, CLIENT, 1414)), wrong);
    assert_eq!(policy.classify(false, &key(6, SERVER, 1414, CLIENT, 40000)), wrong);
    let policy = compile(vec![inbound(rule(1, "mq", &[SERVER], &[CLIENT], Service::Mq))]).unwrap();
    assert!(matches!(policy.classify(false, &key(6, SERVER, 40000, CLIENT, 1414)), Classified::Allow(_)));
    assert_eq!(policy.classify(true, &key(6, CLIENT, 40000, SERVER, 1414)), wrong);
}

#[test]
fn an_echo_rule_opens_with_a_request_and_with_nothing_else() {
    let policy = compile(vec![rule(1, "ping", &[CLIENT, "2001:db8::1"], &[SERVER, "2001:db8:1::1"], Service::Echo)]);
    let policy = policy.unwrap();
    assert!(matches!(policy.classify(true, &key(1, CLIENT, 8, SERVER, 0)), Classified::Allow(_)));
    assert!(matches!(policy.classify(true, &key(58, "2001:db8::1", 128, "2001:db8:1::1", 0)), Classified::Allow(_)));
    for (kind, code) in [(0, 0), (3, 1), (5, 0), (8, 1), (13, 0)] {
        let answer = policy.classify(true, &key(1, CLIENT, kind, SERVER, code));
        assert!(matches!(answer, Classified::NoRule { .. }), "{kind}/{code}: {answer:?}");
    }
    assert!(matches!(policy.classify(false, &key(1, SERVER, 8, CLIENT, 0)), Classified::WrongDirection { .. }));
}

#[test]
fn rules_that_allow_the_same_flow_are_refused_by_name() {
    let one = rule(1, "one", &["192.0.2.0/24"], &[SERVER], Service::Tls);
    let crossing = Rule { ports: vec![8443, 443], ..rule(2, "two", &[CLIENT], &["203.0.113.0/24"], Service::Tcp) };
    let error = compile(vec![one.clone(), crossing.clone()]).unwrap_err();
    let flow = format!("tls port 443 between {CLIENT}/32 and {SERVER}/32");
    assert_eq!(error, CompileError::Overlap { first: "one".into(), second: "two".into(), flow });
    assert!(compile(vec![one.clone(), Rule { ports: vec![8443], ..crossing.clone() }]).is_ok());
    // The same ports opened from the other side are other flows.
    let other_way = inbound(rule(3, "three", &[SERVER], &[CLIENT], Service::Tls));
    assert!(compile(vec![one.clone(), other_way]).is_ok());
    // Which tunnel a packet takes must not be a matter of chance either.
    let other_tunnel = Rule { tunnel: TunnelId(1), ..rule(4, "four", &[CLIENT], &[SERVER], Service::Tls) };
    assert!(matches!(compile(vec![one, other_tunnel]), Err(CompileError::Overlap { .. })));
    let itself = rule(5, "five", &["192.0.2.0/24", CLIENT], &[SERVER], Service::Tls);
    assert!(matches!(compile(vec![itself]), Err(CompileError::Overlap { .. })));
}

#[test]
fn rules_that_can_allow_nothing_are_refused() {
    let base = || rule(1, "r", &[CLIENT], &[SERVER], Service::Tcp);
    let bad_ports = |rule| matches!(compile(vec![rule]), Err(CompileError::BadPorts { .. }));
    assert!(bad_ports(base()));
    assert!(bad_ports(Rule { ports: vec![0], ..base() }));
    assert!(bad_ports(Rule { service: Service::Echo, ports: vec![7], ..base() }));
    let mq = || rule(1, "r", &[CLIENT], &[SERVER], Service::Mq);
    assert!(matches!(compile(vec![Rule { tunnel: TunnelId(9), ..mq() }]), Err(CompileError::UnknownTunnel { .. })));
    assert!(matches!(compile(vec![mq(), mq()]), Err(CompileError::DuplicateId { .. })));
    let families = rule(1, "r", &[CLIENT], &["2001:db8::1"], Service::Mq);
    assert!(matches!(compile(vec![families]), Err(CompileError::NoPair { .. })));
    for host in ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::1", "::", "ff02::1"] {
        let nowhere = rule(1, "r", &[CLIENT, "2001:db8::1"], &[host], Service::Mq);
        assert!(matches!(compile(vec![nowhere]), Err(CompileError::BadAddress { .. })), "{host}");
    }
    let many: Vec<_> = (1..=60000).collect();
    let large =
        Rule { ports: many, to: networks(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]), ..base() };
    assert!(matches!(compile(vec![large]), Err(CompileError::TooLarge { .. })));
}

#[test]
fn host_selectors_make_one_child_of_each_pair_of_hosts_and_no_cross_product() {
    let rules = vec![
        rule(1, "mq", &[CLIENT], &[SERVER], Service::Mq),
        rule(2, "sftp", &[CLIENT], &[SERVER], Service::Sftp),
        rule(3, "other", &["192.0.2.11"], &["203.0.113.21"], Service::Mq),
        inbound(rule(4, "back", &[SERVER], &[CLIENT], Service::Sftp)),
    ];
    let policy = compile(rules).unwrap();
    assert_eq!(shapes(&policy, 0), ["192.0.2.10 <-> 203.0.113.20", "192.0.2.11 <-> 203.0.113.21"]);
    assert_eq!(shapes(&policy, 1), [""; 0]);
}

#[test]
fn service_selectors_hold_the_port_on_the_side_that_is_opened_to() {
    let on = |rule| Rule { tunnel: TunnelId(1), ..rule };
    let rules = vec![
        on(rule(1, "smtp", &[CLIENT], &[SERVER], Service::Smtp)),
        on(inbound(rule(2, "mq", &[SERVER], &[CLIENT], Service::Mq))),
        on(rule(3, "ping", &["2001:db8::1"], &["2001:db8:1::1"], Service::Echo)),
    ];
    let expected = [
        "192.0.2.10 tcp <-> 203.0.113.20 tcp/25",
        "192.0.2.10 tcp <-> 203.0.113.20 tcp/465",
        "192.0.2.10 tcp <-> 203.0.113.20 tcp/587",
        "192.0.2.10 tcp/1414 <-> 203.0.113.20 tcp",
        "2001:db8::1 icmpv6 <-> 2001:db8:1::1 icmpv6",
    ];
    assert_eq!(shapes(&compile(rules).unwrap(), 1), expected);
}

#[test]
fn a_shape_keeps_its_number_across_a_reload_and_no_other_gets_it() {
    let tunnels = || vec![tunnel(0, SelectorMode::Host)];
    let mq = |id, host: &str| rule(id, host, &[host], &[SERVER], Service::Mq);
    let first = Snapshot::compile(vec![mq(1, "10.0.0.1"), mq(2, "10.0.0.2")], tunnels(), None).unwrap();
    let id = |policy: &Snapshot, host: &str| {
        let Classified::Allow(allowed) = policy.classify(true, &key(6, host, 9, SERVER, 1414)) else { panic!() };
        assert_eq!(policy.shape(allowed.shape).unwrap().local.start.to_string(), host);
        allowed.shape
    };
    let second = Snapshot::compile(vec![mq(2, "10.0.0.3"), mq(3, "10.0.0.2")], tunnels(), Some(&first)).unwrap();
    assert_eq!(id(&second, "10.0.0.2"), id(&first, "10.0.0.2"));
    assert_eq!(id(&second, "10.0.0.3"), ShapeId(2));
    assert_eq!((first.generation(), second.generation()), (1, 2));
}

#[test]
fn lanes_are_shapes_with_the_same_selectors_and_change_neither_numbers_nor_what_is_allowed() {
    let rules = || vec![rule(1, "mq", &[CLIENT, "192.0.2.11"], &[SERVER], Service::Mq)];
    let with = |lanes, previous: Option<&Snapshot>| {
        Snapshot::compile(rules(), vec![TunnelPolicy { lanes, ..tunnel(0, SelectorMode::Host) }], previous).unwrap()
    };
    let one = with(1, None);
    let three = with(3, Some(&one));
    assert_eq!((one.shapes(TunnelId(0)).len(), three.shapes(TunnelId(0)).len()), (2, 6));
    // All of lane 0 come first: they are made first.
    let lanes: Vec<u8> = three.shapes(TunnelId(0)).iter().map(|shape| shape.lane).collect();
    assert_eq!(lanes, [0, 0, 1, 1, 2, 2]);
    for host in [CLIENT, "192.0.2.11"] {
        let flow = key(6, host, 9, SERVER, 1414);
        let Classified::Allow(before) = one.classify(true, &flow) else { panic!() };
        assert_eq!(three.classify(true, &flow), Classified::Allow(before));
        let all: Vec<ShapeId> = (0..4).map(|lane| three.lane_shape(before.shape, lane)).collect();
        assert_eq!((all[0], all[3]), (before.shape, before.shape), "there is no fourth lane");
        assert!(all[1] != all[2] && !all[1..3].contains(&before.shape));
        let of = |shape| three.shape(shape).map(|shape| (shape.local, shape.remote)).unwrap();
        assert!(all.iter().all(|shape| of(*shape) == of(before.shape)));
        assert_eq!(one.lane_shape(before.shape, 1), before.shape);
    }
    assert_eq!((one.lanes(TunnelId(0)), three.lanes(TunnelId(0)), three.lanes(TunnelId(7))), (1, 3, 1));
    assert_eq!(one.digest(), three.digest());
    // Numbers of lanes survive, and those that were given away are not given to others.
    let two = with(2, Some(&three));
    let kept = |policy: &Snapshot| policy.shapes(TunnelId(0)).iter().map(|shape| shape.id).take(4).collect::<Vec<_>>();
    assert_eq!(kept(&two), kept(&three));
}

#[test]
fn a_tunnel_that_is_switched_off_allows_nothing_and_still_protects() {
    let off = TunnelPolicy { enabled: false, ..tunnel(0, SelectorMode::Host) };
    let rules = vec![rule(1, "mq", &[CLIENT], &[SERVER], Service::Mq)];
    let policy = Snapshot::compile(rules, vec![off], None).unwrap();
    let answer = policy.classify(true, &key(6, CLIENT, 40000, SERVER, 1414));
    assert_eq!(
        answer,
        Classified::Disabled { rule: RuleId(1), tunnel: TunnelId(0), reason: DropReason::TunnelDisabled }
    );
    let opening = Opening {
        local: CLIENT.parse().unwrap(),
        remote: SERVER.parse().unwrap(),
        opener_is_local: true,
        protocol: 6,
        port: 1414,
    };
    assert_eq!(policy.allows(&opening), None);
    assert_eq!(policy.shapes(TunnelId(0)).len(), 1);
}

#[test]
fn a_gate_closes_one_tunnel_with_its_reason_and_opens_again() {
    let rules = vec![
        rule(1, "mq", &[CLIENT], &[SERVER], Service::Mq),
        Rule { tunnel: TunnelId(1), ..rule(2, "files", &[CLIENT], &[SERVER], Service::Sftp) },
    ];
    let open = compile(rules).unwrap();
    let closed = open.gated(&[(TunnelId(1), DropReason::AgreementSuspended)].into());
    let ask = |policy: &Snapshot, port| policy.classify(true, &key(6, CLIENT, 40000, SERVER, port));
    let opening = |port| Opening {
        local: CLIENT.parse().unwrap(),
        remote: SERVER.parse().unwrap(),
        opener_is_local: true,
        protocol: 6,
        port,
    };
    let refused = Classified::Disabled { rule: RuleId(2), tunnel: TunnelId(1), reason: DropReason::AgreementSuspended };
    assert_eq!(ask(&closed, 22), refused);
    assert_eq!((closed.allows(&opening(22)), closed.gate(TunnelId(1))), (None, Some(DropReason::AgreementSuspended)));
    assert_eq!((ask(&closed, 1414), closed.gate(TunnelId(0))), (ask(&open, 1414), None));
    assert!(closed.allows(&opening(1414)).is_some());
    // Every live flow is judged again, and the rules are the same.
    assert_eq!((closed.generation(), closed.digest()), (open.generation() + 1, open.digest()));
    assert_eq!(closed.shapes(TunnelId(1)), open.shapes(TunnelId(1)));
    let again = closed.gated(&[].into());
    assert_eq!((ask(&again, 22), again.generation()), (ask(&open, 22), open.generation() + 2));
}

#[test]
fn the_digest_follows_the_meaning_of_the_rules_and_not_their_order() {
    let one = || rule(1, "one", &[CLIENT, "192.0.2.11"], &[SERVER], Service::Mq);
    let two = || rule(2, "two", &[CLIENT], &[SERVER], Service::Sftp);
    let digest = |rules| compile(rules).unwrap().digest();
    let turned = Rule { from: networks(&["192.0.2.11", CLIENT]), ..one() };
    assert_eq!(digest(vec![one(), two()]), digest(vec![two(), turned]));
    let changes = [
        Rule { clause: "1b".into(), ..two() },
        Rule { agreement: "ais".into(), ..two() },
        Rule { ports: vec![2222], ..two() },
        Rule { tunnel: TunnelId(1), ..two() },
        Rule { to: networks(&["203.0.113.21"]), ..two() },
        Rule { mode: Mode::Observe, ..two() },
        Rule { inspection: Inspection::Ssh(inspection::SshLimits { ciphers: inspection::Names::default() }), ..two() },
        inbound(two()),
    ];
    for change in changes {
        assert_ne!(digest(vec![one(), change.clone()]), digest(vec![one(), two()]), "{change:?}");
    }
}

/// A handful of networks that nest and touch each other.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u8..8, prop::sample::select(vec![29_u8, 30, 31, 32, 32, 32]))
        .prop_map(|(host, length)| IpNet::new(Ipv4Addr::new(10, 0, 0, host).into(), length).unwrap().trunc());
    let v6 = (0_u16..4, prop::sample::select(vec![126_u8, 128])).prop_map(|(host, length)| {
        IpNet::new(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into(), length).unwrap().trunc()
    });
    prop_oneof![4 => v4, 1 => v6]
}

prop_compose! {
    fn any_rule()(
        from in prop::collection::vec(network(), 1..3),
        to in prop::collection::vec(network(), 1..3),
        service in prop::sample::select(vec![Service::Tcp, Service::Udp, Service::Echo]),
        ports in prop::collection::vec(1_u16..5, 1..3),
        inbound in any::<bool>(),
        tunnel in 0_u16..2,
    ) -> Rule {
        Rule {
            id: RuleId(0),
            name: String::new(),
            tunnel: TunnelId(tunnel),
            agreement: "lab".into(),
            clause: "1".into(),
            purposes: Vec::new(),
            from,
            to,
            ports: if service == Service::Echo { Vec::new() } else { ports },
            service,
            direction: if inbound { RuleDirection::Inbound } else { RuleDirection::Outbound },
            inspection: Inspection::of(service),
            mode: Mode::Enforce,
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0_u8..8).prop_map(|host| Ipv4Addr::new(10, 0, 0, host).into()),
        1 => (0_u16..4).prop_map(|host| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into()),
    ]
}

prop_compose! {
    fn any_key()(
        (source, destination) in (address(), address())
            .prop_filter("a packet has one family", |(source, destination)| source.is_ipv4() == destination.is_ipv4()),
        (protocol, source_port, destination_port) in prop_oneof![
            (prop::sample::select(vec![6_u8, 17, 47]), 1_u16..5, 1_u16..5),
            (prop::sample::select(vec![1_u8, 58]), prop::sample::select(vec![0_u16, 8, 128, 129]), 0_u16..2),
        ],
    ) -> FlowKey {
        FlowKey { protocol, source, source_port, destination, destination_port }
    }
}

fn numbered(rules: Vec<Rule>) -> Vec<Rule> {
    let number = |(id, rule)| Rule { id: RuleId(id), name: format!("rule{id}"), ..rule };
    (0_u16..).zip(rules).map(number).collect()
}

/// Drops each rule that cannot stand beside those before it.
fn compatible(rules: Vec<Rule>) -> Vec<Rule> {
    rules.into_iter().fold(Vec::new(), |mut kept, rule| {
        kept.push(rule);
        if compile(numbered(kept.clone())).is_err() {
            kept.pop();
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_compiled_table_answers_as_the_list_does(
        rules in prop::collection::vec(any_rule(), 0..8).prop_map(compatible).prop_map(numbered),
        enabled in any::<bool>(),
        keys in prop::collection::vec((any::<bool>(), any_key()), 64),
    ) {
        let off = TunnelPolicy { enabled, ..tunnel(1, SelectorMode::Service) };
        let tunnels = vec![tunnel(0, SelectorMode::Host), off];
        let policy = Snapshot::compile(rules.clone(), tunnels.clone(), None).unwrap();
        for (outbound, key) in keys {
            let classified = policy.classify(outbound, &key);
            prop_assert_eq!(spd::Answer::from(classified), spd::classify(&rules, &tunnels, outbound, &key), "{:?}", key);
            if let Classified::Allow(allowed) = classified {
                // Its child SA must carry it.
                let shape = policy.shape(allowed.shape).unwrap();
                let (source, destination) =
                    if outbound { (&shape.local, &shape.remote) } else { (&shape.remote, &shape.local) };
                prop_assert!(source.contains_source(&key) && destination.contains_destination(&key));
                prop_assert_eq!(shape.tunnel, allowed.tunnel);
            }
        }
    }

    #[test]
    fn a_table_compiles_exactly_if_no_flow_fits_two_rules(
        one in any_rule(),
        other in any_rule(),
    ) {
        let rules = numbered(vec![one, other]);
        let alone = |rule: &Rule| compile(vec![rule.clone()]).is_ok();
        prop_assume!(rules.iter().all(alone));
        let tunnels = [tunnel(0, SelectorMode::Host), tunnel(1, SelectorMode::Host)];
        let mut both = false;
        for outbound in [true, false] {
            for (source, destination) in (0..8).flat_map(|s| (0..8).map(move |d| (s, d))) {
                let hosts = |v6: bool| -> (IpAddr, IpAddr) {
                    let host = |n: u8| -> IpAddr {
                        if v6 { std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into() }
                        else { Ipv4Addr::new(10, 0, 0, n).into() }
                    };
                    (host(source), host(destination))
                };
                for v6 in [false, true] {
                    let (source, destination) = hosts(v6);
                    let opens = (1..5).flat_map(|port| [(6, 9, port), (17, 9, port)]).chain([(1, 8, 0), (58, 128, 0)]);
                    for (protocol, source_port, destination_port) in opens {
                        let key = FlowKey { protocol, source, source_port, destination, destination_port };
                        both |= rules.iter().all(|rule| {
                            let answer = spd::classify(std::slice::from_ref(rule), &tunnels, outbound, &key);
                            matches!(answer, spd::Answer::Allow(_))
                        });
                    }
                }
            }
        }
        let overlap = matches!(compile(rules), Err(CompileError::Overlap { .. }));
        prop_assert_eq!(overlap, both);
    }
}
