//! Two hosts, a gateway's flow table between them, and what it lets through.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::event::DropReason;
use crate::ids::{RuleId, TunnelId};
use crate::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use crate::time::Instant;
use crate::wire::icmp::{IcmpError, build_error};
use crate::wire::ip::Inner;
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};

const PEER: Origin = Origin::Tunnel(TunnelId(0));

/// The hosts: one behind us, one behind the peer.
const HOSTS: [[&str; 2]; 2] = [["192.0.2.10", "203.0.113.20"], ["2001:db8::10", "2001:db8:1::20"]];

fn rule(id: u16, service: Service, ports: &[u16], direction: RuleDirection) -> Rule {
    let local = vec![host(false, false).into(), host(true, false).into()];
    let remote = vec![host(false, true).into(), host(true, true).into()];
    let (from, to) = if direction == RuleDirection::Outbound { (local, remote) } else { (remote, local) };
    Rule {
        id: RuleId(id),
        name: format!("rule{id}"),
        tunnel: TunnelId(0),
        agreement: "lab".into(),
        clause: "1".into(),
        purposes: Vec::new(),
        from,
        to,
        service,
        ports: ports.to_vec(),
        direction,
        inspection: Inspection::Uninspected,
        mode: Mode::Enforce,
    }
}

fn host(v6: bool, remote: bool) -> IpAddr {
    HOSTS[usize::from(v6)][usize::from(remote)].parse().unwrap()
}

/// MQ outwards, SFTP inwards, and UDP and echo outwards.
fn rules() -> Vec<Rule> {
    vec![
        rule(1, Service::Mq, &[], RuleDirection::Outbound),
        rule(2, Service::Sftp, &[], RuleDirection::Inbound),
        rule(3, Service::Udp, &[5000], RuleDirection::Outbound),
        rule(4, Service::Echo, &[], RuleDirection::Outbound),
    ]
}

fn compile(rules: Vec<Rule>, enabled: bool, previous: Option<&Snapshot>) -> Snapshot {
    let tunnel =
        |id| TunnelPolicy { id: TunnelId(id), name: "t".into(), selectors: SelectorMode::Host, lanes: 1, enabled };
    Snapshot::compile(rules, vec![tunnel(0), tunnel(1)], previous).unwrap()
}

struct Gateway {
    table: FlowTable,
    policy: Snapshot,
    now: Instant,
    v6: bool,
    /// What every segment offers.
    window: u16,
}

/// A TCP segment without its addresses: source port, destination port, flags, sequence, acknowledgement, payload.
type Segment = (u16, u16, u8, u32, u32, &'static [u8]);

impl Gateway {
    fn new() -> Self {
        let (table, policy) = (FlowTable::new(16, [1, 2, 3, 4]), compile(rules(), true, None));
        Self { table, policy, now: Instant::from_nanos(1), v6: false, window: 1000 }
    }

    fn ip(&self, origin: Origin) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        let from_remote = origin != Origin::Tun;
        let octets = |remote| (host(false, remote), host(true, remote));
        match (octets(from_remote), octets(!from_remote)) {
            ((_, IpAddr::V6(source)), (_, IpAddr::V6(destination))) if self.v6 => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
            }
            ((IpAddr::V4(source), _), (IpAddr::V4(destination), _)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
            }
            _ => unreachable!(),
        }
    }

    fn judge(&mut self, origin: Origin, packet: &[u8]) -> Verdict {
        self.table.judge(self.now, origin, &Inner::parse(packet).unwrap(), &self.policy)
    }

    fn segment(&self, origin: Origin, (from, to, flags, sequence, acknowledgement, payload): Segment) -> Vec<u8> {
        let mut packet = Vec::new();
        self.ip(origin).tcp(from, to, sequence, self.window).write(&mut packet, payload).unwrap();
        let at = if self.v6 { 40 } else { 20 };
        packet[at + 8..at + 12].copy_from_slice(&acknowledgement.to_be_bytes());
        packet[at + 13] = flags;
        mend(&mut packet, at);
        packet
    }

    /// A segment with options, which fill whole words.
    fn syn(&self, origin: Origin, segment: Segment, options: &[u8]) -> Vec<u8> {
        let mut packet = self.segment(origin, segment);
        let at = if self.v6 { 40 } else { 20 };
        packet.splice(at + 20..at + 20, options.iter().copied());
        packet[at + 12] = ((20 + options.len()) / 4 * 16) as u8;
        let length = packet.len();
        if self.v6 {
            packet[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        } else {
            packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = crate::wire::checksum::checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        mend(&mut packet, at);
        packet
    }

    fn tcp(&mut self, origin: Origin, segment: Segment) -> Verdict {
        let packet = self.segment(origin, segment);
        self.judge(origin, &packet)
    }

    fn datagram(&self, origin: Origin, from: u16, to: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        self.ip(origin).udp(from, to).write(&mut packet, b"hello").unwrap();
        packet
    }

    fn udp(&mut self, origin: Origin, from: u16, to: u16) -> Verdict {
        let packet = self.datagram(origin, from, to);
        self.judge(origin, &packet)
    }

    fn icmp(&mut self, origin: Origin, kind: u8, code: u8, word: [u8; 4]) -> Verdict {
        let mut packet = Vec::new();
        if self.v6 {
            self.ip(origin).icmpv6_raw(kind, code, word).write(&mut packet, b"body").unwrap();
        } else {
            self.ip(origin).icmpv4_raw(kind, code, word).write(&mut packet, b"body").unwrap();
        }
        self.judge(origin, &packet)
    }

    /// The error `kind` about `quoted`, sent by `router` from the side of `origin`.
    fn error(&mut self, origin: Origin, router: &str, (kind, code, word): (u8, u8, u32), quoted: &[u8]) -> Verdict {
        let quoted = Inner::parse(quoted).unwrap();
        let mut out = [0; 1280];
        let length = build_error(&mut out, router.parse().unwrap(), IcmpError::Prohibited, &quoted).unwrap();
        let at = if self.v6 { 40 } else { 20 };
        (out[at], out[at + 1]) = (kind, code);
        out[at + 4..at + 8].copy_from_slice(&word.to_be_bytes());
        self.judge(origin, &out[..length])
    }

    /// Opens an MQ connection: the client's next sequence number is 101, the server's 501.
    fn establish(&mut self) {
        assert!(self.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).opened());
        self.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
        self.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    }

    fn pass_time(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }
}

/// Makes the TCP checksum right; the IP header is `at` bytes long.
fn mend(packet: &mut [u8], at: usize) {
    packet[at + 16..at + 18].fill(0);
    let sum = {
        let inner = Inner::parse(packet).unwrap();
        let pseudo = crate::wire::checksum::Sum::pseudo(inner.source(), inner.destination(), 6, inner.payload().len());
        pseudo.unwrap().and(inner.payload()).finish()
    };
    packet[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
}

impl Verdict {
    #[track_caller]
    fn passed(self) {
        assert!(matches!(self, Verdict::Pass(_)), "{self:?}");
    }

    #[track_caller]
    fn opened(self) -> bool {
        let Verdict::Pass(pass) = self else { panic!("{self:?}") };
        pass.opened
    }

    #[track_caller]
    fn reason(self) -> DropReason {
        let Verdict::Drop { reason, .. } = self else { panic!("{self:?}") };
        reason
    }

    #[track_caller]
    fn dropped(self, reason: DropReason, rule: Option<u16>, reply: Reply) {
        let expected = Verdict::Drop { reason, tunnel: Some(TunnelId(0)), rule: rule.map(RuleId), reply };
        assert_eq!(self, expected);
    }
}

#[test]
fn a_connection_opens_carries_data_and_closes_in_both_families() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK | PSH, 101, 501, b"TSH ")).passed();
        gateway.tcp(PEER, (1414, 40000, ACK | PSH, 501, 105, b"answer")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 105, 507, b"")).passed();
        gateway.tcp(PEER, (1414, 40000, ACK, 507, 106, b"still here")).passed();
        gateway.tcp(PEER, (1414, 40000, FIN | ACK, 517, 106, b"")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 106, 518, b"")).passed();
        assert_eq!(gateway.table.len(), 1);
        // TIME-WAIT: the last acknowledgement may be needed again, and then it is over.
        gateway.tcp(PEER, (1414, 40000, FIN | ACK, 517, 106, b"")).passed();
        gateway.pass_time(121);
        gateway.table.sweep(gateway.now, 16);
        assert!(gateway.table.is_empty());
    }
}

#[test]
fn an_inbound_rule_lets_the_peer_open_and_nobody_else() {
    let mut gateway = Gateway::new();
    assert!(gateway.tcp(PEER, (50000, 22, SYN, 1, 0, b"")).opened());
    gateway.tcp(Origin::Tun, (22, 50000, SYN | ACK, 9, 2, b"")).passed();
    gateway.tcp(PEER, (50000, 22, ACK, 2, 10, b"SSH-2.0-")).passed();
    let wrong = DropReason::WrongDirection;
    gateway.tcp(Origin::Tun, (40000, 22, SYN, 1, 0, b"")).dropped(wrong, Some(2), Reply::Unreachable);
    gateway.tcp(PEER, (50000, 1414, SYN, 1, 0, b"")).dropped(wrong, Some(1), Reply::None);
    // On a live connection, too.
    gateway.tcp(Origin::Tun, (22, 50000, SYN, 77, 0, b"")).dropped(wrong, Some(2), Reply::Unreachable);
}

#[test]
fn what_no_rule_allows_is_told_to_our_own_side_and_never_to_the_peers() {
    let mut gateway = Gateway::new();
    let no_rule = DropReason::NoRule;
    gateway.tcp(Origin::Tun, (40000, 23, SYN, 1, 0, b"")).dropped(no_rule, Some(1), Reply::Unreachable);
    gateway.tcp(Origin::Tun, (40000, 23, ACK, 1, 1, b"")).dropped(no_rule, Some(1), Reply::Reset);
    gateway.tcp(Origin::Tun, (40000, 23, RST, 1, 0, b"")).dropped(no_rule, Some(1), Reply::None);
    gateway.tcp(PEER, (40000, 23, SYN, 1, 0, b"")).dropped(no_rule, Some(1), Reply::None);
    gateway.udp(Origin::Tun, 40000, 53).dropped(no_rule, Some(3), Reply::Unreachable);
    gateway.icmp(PEER, 8, 0, [0, 1, 0, 1]).dropped(DropReason::WrongDirection, Some(4), Reply::None);
    assert!(gateway.table.is_empty());
}

#[test]
fn a_destination_that_no_tunnel_protects_is_not_ours() {
    let mut gateway = Gateway::new();
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 10], [8, 8, 8, 8], 64).udp(1, 53).write(&mut packet, b"").unwrap();
    let expected = Verdict::Drop { reason: DropReason::NotOurs, tunnel: None, rule: None, reply: Reply::Unreachable };
    assert_eq!(gateway.judge(Origin::Tun, &packet), expected);
}

#[test]
fn a_segment_of_an_unknown_connection_is_reset_if_it_is_ours() {
    let mut gateway = Gateway::new();
    let unknown = DropReason::NoConnection;
    // The client and, by the inbound rule, the server on our side.
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1, 1, b"data")).dropped(unknown, Some(1), Reply::Reset);
    gateway.tcp(Origin::Tun, (22, 50000, ACK, 1, 1, b"data")).dropped(unknown, Some(2), Reply::Reset);
    gateway.tcp(Origin::Tun, (40000, 1414, RST | ACK, 1, 1, b"")).dropped(unknown, Some(1), Reply::None);
    gateway.tcp(PEER, (1414, 40000, ACK, 1, 1, b"data")).dropped(unknown, Some(1), Reply::None);
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 1, 1, b"")).dropped(unknown, Some(1), Reply::None);
    assert!(gateway.table.is_empty());
}

#[test]
fn flags_that_are_never_legal_are_refused_on_a_live_connection_too() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let bad = [0, FIN, PSH, SYN | FIN, SYN | RST, FIN | PSH | URG, SYN | ACK | FIN, RST | FIN | ACK, RST | URG, URG];
    for flags in bad {
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, flags, 101, 501, b"")).reason(), DropReason::BadTcpFlags);
    }
    for flags in [ACK | URG, SYN | URG, FIN | ACK | URG] {
        assert_eq!(gateway.tcp(PEER, (1414, 40000, flags, 501, 101, b"")).reason(), DropReason::UrgentData);
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK | PSH | 0xc0, 101, 501, b"")).passed();
}

#[test]
fn nothing_passes_before_the_handshake_is_complete() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let out = DropReason::OutOfState;
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"early")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"early")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 100, b"")).reason(), out, "wrong acknowledgement");
    let with_data = gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"data"));
    assert_eq!(with_data.reason(), DropReason::DataInSyn);
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, SYN | ACK, 100, 101, b"")).reason(), out);
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"early")).reason(), out);
    for acknowledgement in [500, 777] {
        let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, acknowledgement, b""));
        assert_eq!(verdict.reason(), out, "{acknowledgement}");
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"data with the acknowledgement")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 130, b"now")).passed();
}

#[test]
fn data_in_a_syn_opens_nothing() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"fast open")).dropped(
        DropReason::DataInSyn,
        Some(1),
        Reply::None,
    );
    assert!(gateway.table.is_empty());
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let again = gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"fast open"));
    assert_eq!(again.reason(), DropReason::DataInSyn);
}

#[test]
fn retransmissions_of_the_handshake_pass() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert!(!gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).opened());
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 101, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, SYN | ACK, 501, 101, b"")).reason(), DropReason::OutOfState);
}

#[test]
fn nothing_is_acknowledged_that_was_not_sent_and_nothing_sent_behind_a_fin() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let out = DropReason::OutOfState;
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 102, b"")).reason(), out);
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"bye")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"bye")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 105, 501, b"more")).reason(), out);
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 105, b"")).passed();
}

#[test]
fn sequence_numbers_wrap() {
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, u32::MAX, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, u32::MAX - 2, 0, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 0, u32::MAX - 1, b"abc")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, u32::MAX - 1, 3, b"abcdef")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 3, 0, b"")).passed();
}

#[test]
fn a_reset_ends_a_connection_only_if_its_receiver_would_believe_it() {
    let (out, unbelieved) = (DropReason::OutOfState, DropReason::ResetNotBelieved);
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert_eq!(gateway.tcp(PEER, (1414, 40000, RST, 0, 0, b"")).reason(), unbelieved, "no acknowledgement");
    assert_eq!(gateway.tcp(PEER, (1414, 40000, RST | ACK, 0, 100, b"")).reason(), unbelieved);
    gateway.tcp(PEER, (1414, 40000, RST | ACK, 0, 101, b"")).passed();
    // The same ports may try again at once.
    assert!(gateway.tcp(Origin::Tun, (40000, 1414, SYN, 900, 0, b"")).opened());

    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"0123456789")).passed();
    for sequence in [500, 512, 600, 0] {
        assert_eq!(gateway.tcp(PEER, (1414, 40000, RST, sequence, 0, b"")).reason(), unbelieved, "{sequence}");
    }
    // RFC 5961: in the window, but perhaps not the next number. It is let through, and the connection stays for the
    // challenge ACK that may answer it.
    for sequence in [501, 505, 511] {
        gateway.tcp(PEER, (1414, 40000, RST, sequence, 0, b"")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    }
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 511, b"alive")).passed();
    gateway.tcp(PEER, (1414, 40000, RST, 511, 0, b"")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 106, 511, b"")).reason(), out);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 511, 101, b"")).reason(), out);
    gateway.pass_time(11);
    assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 511, 101, b"")).reason(), DropReason::NoConnection);
}

#[test]
fn half_the_sequence_space_away_is_not_in_flight() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let far = 101 + (1 << 31);
    for sequence in [far - 1, far, far + 1] {
        let verdict = gateway.tcp(Origin::Tun, (40000, 1414, RST, sequence, 0, b""));
        assert_eq!(verdict.reason(), DropReason::ResetNotBelieved, "{sequence}");
        let quoted = gateway.segment(Origin::Tun, (40000, 1414, ACK, sequence, 501, b""));
        let verdict = gateway.error(PEER, "203.0.113.1", (3, 1, 0), &quoted);
        assert_eq!(verdict.reason(), DropReason::IcmpNoFlow, "{sequence}");
    }
}

#[test]
fn a_reset_that_may_have_been_believed_shortens_the_connections_life_unless_its_sender_goes_on() {
    let wounded = |goes_on: bool| {
        let mut gateway = Gateway::new();
        gateway.establish();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"on its way")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, RST, 111, 0, b"")).passed();
        if goes_on {
            gateway.tcp(PEER, (1414, 40000, ACK, 501, 111, b"")).passed();
            gateway.tcp(Origin::Tun, (40000, 1414, ACK, 111, 501, b"")).passed();
        }
        gateway
    };
    for (goes_on, lives) in [(false, 0), (true, 1)] {
        let mut gateway = wounded(goes_on);
        gateway.pass_time(60);
        gateway.table.sweep(gateway.now, 16);
        assert_eq!(gateway.table.len(), lives);
    }
    // Its ports are free for a new one.
    assert!(wounded(false).tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    assert!(!wounded(true).tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
}

#[test]
fn nothing_passes_that_lies_outside_the_window() {
    for v6 in [false, true] {
        let out = DropReason::OutOfWindow;
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        // Both ends have offered 1000 bytes.
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, &[7; 900])).passed();
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1102, 501, b"x")).reason(), out, "behind the window");
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1101, 501, b"x")).passed();
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 1101, b"")).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 2000, 501, &[7; 101])).passed();
        // Sent again, as long as it may still be asked for; and a probe of a silent connection.
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1100, 501, b"x")).passed();
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1099, 501, b"x")).reason(), out, "long ago");
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1100, 501, b"")).reason(), out, "likewise");
        // What is acknowledged is what is on its way, or was not long ago.
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
        let old = 2101_u32.wrapping_sub(66_001);
        assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, old, b"")).reason(), out);
        assert_eq!(gateway.tcp(PEER, (1414, 40000, ACK, 501, 2102, b"")).reason(), DropReason::OutOfState);
    }
}

#[test]
fn windows_are_scaled_only_if_both_syns_say_so() {
    let scaled = |opener: bool, responder: bool| {
        let mut gateway = Gateway::new();
        let options = |scales: bool| if scales { &[3, 3, 7, 0][..] } else { &[][..] };
        let syn = gateway.syn(Origin::Tun, (40000, 1414, SYN, 100, 0, b""), options(opener));
        gateway.judge(Origin::Tun, &syn).passed();
        let answer = gateway.syn(PEER, (1414, 40000, SYN | ACK, 500, 101, b""), options(responder));
        gateway.judge(PEER, &answer).passed();
        gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
        // The window of the SYN is not scaled, that of the first acknowledgement is.
        assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1102, 501, b"x")).reason(), DropReason::OutOfWindow);
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
        let far = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101 + 128_000, 501, b"x"));
        let further = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 102 + 128_000, 501, b"x"));
        assert_eq!(further.reason(), DropReason::OutOfWindow);
        matches!(far, Verdict::Pass(_))
    };
    assert_eq!(
        [(true, true), (true, false), (false, true), (false, false)].map(|(a, b)| scaled(a, b)),
        [true, false, false, false]
    );
}

#[test]
fn a_closed_window_is_probed_with_one_byte() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.window = 0;
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, &[7; 1000])).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 1101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1101, 501, b"?")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, ACK, 1103, 501, b"?")).reason(), DropReason::OutOfWindow);
}

#[test]
fn a_syn_with_broken_options_opens_nothing_and_answers_nothing() {
    let mut gateway = Gateway::new();
    let broken = [3, 0, 0, 0];
    let syn = gateway.syn(Origin::Tun, (40000, 1414, SYN, 100, 0, b""), &broken);
    assert_eq!(gateway.judge(Origin::Tun, &syn).reason(), DropReason::BadTcpOptions);
    assert!(gateway.table.is_empty());
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    let answer = gateway.syn(PEER, (1414, 40000, SYN | ACK, 500, 101, b""), &broken);
    assert_eq!(gateway.judge(PEER, &answer).reason(), DropReason::BadTcpOptions);
}

#[test]
fn what_was_not_acknowledged_is_waited_for_five_minutes() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"unanswered")).passed();
    gateway.pass_time(300);
    gateway.table.sweep(gateway.now, 16);
    assert!(gateway.table.is_empty());
}

#[test]
fn our_own_side_is_told_of_a_connection_that_was_silent_for_too_long() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        gateway.pass_time(7440);
        gateway.table.sweep(gateway.now, 16);
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.cause, ending.rule), (Some(Cause::Expired), RuleId(1)));
        let (client, server) = ((host(v6, false), 40000), (host(v6, true), 1414));
        let reset = Reset { from: server, to: client, sequence: 501, acknowledgement: 101 };
        assert_eq!((ending.local, ending.remote), (Some(reset), None));
        assert_eq!(gateway.table.poll_ending(), None);
        // Nobody is told of one that had ended already, or that never stood.
        gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
        gateway.pass_time(120);
        gateway.table.sweep(gateway.now, 16);
        assert!(gateway.table.is_empty());
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.cause, ending.local, ending.remote), (Some(Cause::Expired), None, None));
    }
}

#[test]
fn a_connection_that_was_closed_is_told_once_with_what_it_has_carried() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"0123456789")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 111, b"01234")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 111, 506, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, FIN | ACK, 506, 112, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 112, 507, b"")).passed();
    gateway.pass_time(120);
    gateway.table.sweep(gateway.now, 16);
    let ending = gateway.table.poll_ending().unwrap();
    assert_eq!((ending.cause, ending.bytes), (Some(Cause::Closed), [5 * 40 + 10, 3 * 40 + 5]));
    assert_eq!((ending.local, ending.remote, gateway.table.poll_ending()), (None, None, None));
}

#[test]
fn a_change_of_the_rules_tells_both_ends_of_each_flow_at_once() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"answer")).passed();
        gateway.udp(Origin::Tun, 9, 5000).passed();
        assert!(!gateway.table.end_disallowed(gateway.now, &gateway.policy), "nothing has changed");
        gateway.policy = compile(rules(), false, Some(&gateway.policy));
        gateway.table.policy_changed();
        assert!(!gateway.table.end_disallowed(gateway.now, &gateway.policy));
        assert!(gateway.table.is_empty());
        let mut endings: Vec<_> = std::iter::from_fn(|| gateway.table.poll_ending()).collect();
        endings.sort_by_key(|ending| ending.rule);
        let [tcp, udp] = endings[..] else { panic!("{endings:?}") };
        let disabled = Cause::Refused(DropReason::TunnelDisabled);
        assert_eq!((tcp.cause, udp.cause), (Some(disabled), Some(disabled)));
        let (client, server) = ((host(v6, false), 40000), (host(v6, true), 1414));
        let to_client = Reset { from: server, to: client, sequence: 507, acknowledgement: 101 };
        let to_server = Reset { from: client, to: server, sequence: 101, acknowledgement: 507 };
        assert_eq!((tcp.local, tcp.remote), (Some(to_client), Some(to_server)));
        assert_eq!((udp.local, udp.remote), (None, None));
        let flow = tcp.flow;
        assert_eq!((flow.source, flow.source_port, flow.destination_port), (client.0, 40000, 1414));
    }
}

#[test]
fn the_sender_that_meets_a_change_first_is_answered_and_the_other_end_told() {
    for outbound in [true, false] {
        let mut gateway = Gateway::new();
        gateway.establish();
        gateway.policy = compile(rules(), false, Some(&gateway.policy));
        let verdict = if outbound {
            gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"late"))
        } else {
            gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"late"))
        };
        let reply = if outbound { Reply::Reset } else { Reply::None };
        verdict.dropped(DropReason::TunnelDisabled, Some(1), reply);
        let ending = gateway.table.poll_ending().unwrap();
        assert_eq!((ending.local.is_some(), ending.remote.is_some()), (!outbound, true));
        assert!(gateway.table.is_empty());
    }
}

#[test]
fn more_flows_than_can_be_told_at_once_end_in_several_steps_and_none_carries_anything_meanwhile() {
    let mut gateway = Gateway { table: FlowTable::new(300, [1, 2, 3, 4]), ..Gateway::new() };
    for port in 1..=200 {
        gateway.tcp(Origin::Tun, (port, 1414, SYN, 100, 0, b"")).passed();
    }
    gateway.policy = compile(rules(), false, Some(&gateway.policy));
    gateway.table.policy_changed();
    let mut told = 0;
    loop {
        let more = gateway.table.end_disallowed(gateway.now, &gateway.policy);
        told += std::iter::from_fn(|| gateway.table.poll_ending()).count();
        let late = gateway.tcp(PEER, (1414, 200, SYN | ACK, 500, 101, b""));
        assert_ne!(late.reason(), DropReason::OutOfState);
        if !more {
            break;
        }
    }
    told += std::iter::from_fn(|| gateway.table.poll_ending()).count();
    assert_eq!((told, gateway.table.len()), (200, 0));
}

#[test]
fn an_opener_that_forgot_its_connection_can_end_it_and_open_it_again() {
    // The gateway remembers the connection: SYN, challenge ACK, RST, SYN.
    let mut gateway = Gateway::new();
    gateway.establish();
    assert!(!gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 101, 0, b"")).passed();
    assert!(gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).opened());
    // The gateway has forgotten it too, the server alone remembers it.
    let mut gateway = Gateway::new();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    assert_eq!(gateway.tcp(Origin::Tun, (40000, 1414, RST, 102, 0, b"")).reason(), DropReason::ResetNotBelieved);
    gateway.tcp(Origin::Tun, (40000, 1414, RST, 101, 0, b"")).passed();
    gateway.tcp(Origin::Tun, (40000, 1414, SYN, 9000, 0, b"")).passed();
    gateway.tcp(PEER, (1414, 40000, SYN | ACK, 500, 9001, b"")).passed();
}

#[test]
fn each_state_has_its_own_patience() {
    let outlives = |prepare: fn(&mut Gateway), seconds: u64| {
        [seconds - 1, seconds].map(|silence| {
            let mut gateway = Gateway::new();
            prepare(&mut gateway);
            gateway.pass_time(silence);
            gateway.table.sweep(gateway.now, 16);
            gateway.table.len()
        })
    };
    let open = |gateway: &mut Gateway| gateway.tcp(Origin::Tun, (40000, 1414, SYN, 100, 0, b"")).passed();
    assert_eq!(outlives(open, 120), [1, 0]);
    assert_eq!(outlives(Gateway::establish, 7440), [1, 0]);
    let half_closed = |gateway: &mut Gateway| {
        gateway.establish();
        gateway.tcp(Origin::Tun, (40000, 1414, FIN | ACK, 101, 501, b"")).passed();
    };
    assert_eq!(outlives(half_closed, 120), [1, 0]);
    assert_eq!(outlives(|gateway| gateway.udp(Origin::Tun, 9, 5000).passed(), 30), [1, 0]);
    let answered = |gateway: &mut Gateway| {
        gateway.udp(Origin::Tun, 9, 5000).passed();
        gateway.udp(PEER, 5000, 9).passed();
    };
    assert_eq!(outlives(answered, 120), [1, 0]);
}

#[test]
fn an_expired_flow_is_over_even_before_it_is_swept() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.pass_time(7440);
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    verdict.dropped(DropReason::NoConnection, Some(1), Reply::Reset);
    assert!(gateway.table.is_empty());
}

#[test]
fn a_full_table_takes_no_new_flow_and_keeps_the_old_ones() {
    let mut gateway = Gateway::new();
    gateway.establish();
    for port in 1..16 {
        assert!(gateway.udp(Origin::Tun, port, 5000).opened());
    }
    gateway.udp(Origin::Tun, 99, 5000).dropped(DropReason::FlowTableFull, Some(3), Reply::None);
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    assert_eq!(gateway.table.len(), 16);
    // What has expired makes room.
    gateway.pass_time(30);
    assert!(gateway.udp(Origin::Tun, 99, 5000).opened());
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    assert_eq!(gateway.table.len(), 2);
}

#[test]
fn a_change_of_the_rules_ends_the_flows_that_they_no_longer_allow() {
    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.policy = compile(rules(), true, Some(&gateway.policy));
    gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b"")).passed();
    let without = rules().into_iter().skip(1).collect();
    gateway.policy = compile(without, true, Some(&gateway.policy));
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    verdict.dropped(DropReason::NoRule, Some(2), Reply::Reset);
    assert!(gateway.table.is_empty());

    let mut gateway = Gateway::new();
    gateway.establish();
    gateway.policy = compile(rules(), false, Some(&gateway.policy));
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).dropped(DropReason::TunnelDisabled, Some(1), Reply::None);
    let verdict = gateway.tcp(Origin::Tun, (40001, 1414, SYN, 1, 0, b""));
    verdict.dropped(DropReason::TunnelDisabled, Some(1), Reply::Unreachable);
}

#[test]
fn a_changed_rule_takes_its_flows_along() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let mut moved = rules();
    moved[0].id = RuleId(9);
    gateway.policy = compile(moved, true, Some(&gateway.policy));
    let verdict = gateway.tcp(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    let Verdict::Pass(Pass { rule, opened: false, .. }) = verdict else { panic!("{verdict:?}") };
    assert_eq!(rule, RuleId(9));
}

#[test]
fn what_waited_in_a_flow_that_nobody_listens_to_any_more_leaves_behind_no_other_packet() {
    let mut listening = rules();
    listening[0].inspection = Inspection::of(Service::Mq);
    let mut gateway = Gateway { policy: compile(listening, true, None), ..Gateway::new() };
    gateway.establish();
    let later = (40000, 1414, ACK, 111, 501, &b"later"[..]);
    assert_eq!(gateway.tcp(Origin::Tun, later), Verdict::Waits);
    gateway.policy = compile(rules(), true, Some(&gateway.policy));
    gateway.tcp(PEER, (1414, 40000, ACK, 501, 101, b"")).passed();
    assert!(!gateway.table.releases(), "what our side has sent goes to our side");
    assert_eq!(gateway.table.kept(), 0);
    gateway.tcp(Origin::Tun, later).passed();
}

#[test]
fn a_flow_comes_by_its_own_tunnel_or_not_at_all() {
    let mut gateway = Gateway::new();
    let other = Origin::Tunnel(TunnelId(1));
    gateway.establish();
    let verdict = gateway.tcp(other, (1414, 40000, ACK, 501, 101, b""));
    assert_eq!(verdict.reason(), DropReason::Selector);
    let Verdict::Drop { tunnel, .. } = verdict else { panic!() };
    assert_eq!(tunnel, Some(TunnelId(1)));
    assert_eq!(gateway.tcp(other, (50000, 22, SYN, 1, 0, b"")).reason(), DropReason::Selector);
    assert_eq!(gateway.table.len(), 1);
}

#[test]
fn udp_answers_pass_only_to_a_question() {
    let mut gateway = Gateway::new();
    gateway.udp(PEER, 5000, 40000).dropped(DropReason::WrongDirection, Some(3), Reply::None);
    assert!(gateway.udp(Origin::Tun, 40000, 5000).opened());
    gateway.udp(PEER, 5000, 40000).passed();
    assert!(!gateway.udp(Origin::Tun, 40000, 5000).opened());
    gateway.udp(PEER, 5000, 40001).dropped(DropReason::WrongDirection, Some(3), Reply::None);
}

#[test]
fn echo_replies_pass_only_to_a_request() {
    for (v6, request, reply) in [(false, 8, 0), (true, 128, 129)] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        assert_eq!(gateway.icmp(PEER, reply, 0, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
        assert!(gateway.icmp(Origin::Tun, request, 0, [0, 7, 0, 1]).opened());
        gateway.icmp(PEER, reply, 0, [0, 7, 0, 1]).passed();
        assert!(!gateway.icmp(Origin::Tun, request, 0, [0, 7, 0, 2]).opened());
        assert_eq!(gateway.icmp(PEER, reply, 0, [0, 8, 0, 1]).reason(), DropReason::IcmpNotError, "identifier");
        assert_eq!(gateway.icmp(PEER, request, 0, [0, 7, 0, 1]).reason(), DropReason::WrongDirection);
        assert_eq!(gateway.icmp(Origin::Tun, reply, 0, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
        assert_eq!(gateway.icmp(Origin::Tun, request, 1, [0, 7, 0, 1]).reason(), DropReason::IcmpNotError);
    }
}

#[test]
fn an_icmp_error_passes_for_the_live_flow_that_it_quotes_whoever_sends_it() {
    for (v6, router, error) in [(false, "198.51.100.1", (3, 4, 1400)), (true, "2001:db8:9::1", (2, 0, 1400))] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b"data"));
        gateway.judge(Origin::Tun, &ours).passed();
        gateway.error(PEER, router, error, &ours).passed();
        let theirs = gateway.segment(PEER, (1414, 40000, ACK, 501, 101, b"data"));
        gateway.judge(PEER, &theirs).passed();
        gateway.error(Origin::Tun, router, error, &theirs).passed();
        // In the wrong direction it quotes what the receiver has never sent.
        assert_eq!(gateway.error(Origin::Tun, router, error, &ours).reason(), DropReason::IcmpNoFlow);
        let none = gateway.segment(Origin::Tun, (40001, 1414, ACK, 101, 501, b"data"));
        gateway.error(PEER, router, error, &none).dropped(DropReason::IcmpNoFlow, Some(1), Reply::None);
        for sequence in [0, 100, 106, 5000] {
            let stale = gateway.segment(Origin::Tun, (40000, 1414, ACK, sequence, 501, b""));
            assert_eq!(gateway.error(PEER, router, error, &stale).reason(), DropReason::IcmpNoFlow, "{sequence}");
        }
        assert_eq!(gateway.table.len(), 1);
    }
}

#[test]
fn an_icmp_error_goes_to_the_sender_of_what_it_quotes() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    let mut out = [0; 600];
    let error = IcmpError::Unreachable;
    let length = build_error(&mut out, [198, 51, 100, 1].into(), error, &Inner::parse(&ours).unwrap()).unwrap();
    out[19] ^= 1; // Another destination, with the checksum as it must be.
    out[10..12].fill(0);
    let sum = crate::wire::checksum::checksum(&out[..20]);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gateway.judge(PEER, &out[..length]).reason(), DropReason::IcmpNoFlow);
}

#[test]
fn errors_about_udp_and_echo_need_their_flow_too() {
    let mut gateway = Gateway::new();
    let datagram = gateway.datagram(Origin::Tun, 40000, 5000);
    let port_unreachable = (3, 3, 0);
    let error = |gateway: &mut Gateway| gateway.error(PEER, HOSTS[0][1], port_unreachable, &datagram);
    assert_eq!(error(&mut gateway).reason(), DropReason::IcmpNoFlow);
    gateway.judge(Origin::Tun, &datagram).passed();
    error(&mut gateway).passed();

    let mut request = Vec::new();
    gateway.ip(Origin::Tun).icmpv4_echo_request(7, 1).write(&mut request, b"").unwrap();
    let error = |gateway: &mut Gateway| gateway.error(PEER, "198.51.100.1", (11, 0, 0), &request);
    assert_eq!(error(&mut gateway).reason(), DropReason::IcmpNoFlow);
    gateway.judge(Origin::Tun, &request).passed();
    error(&mut gateway).passed();
}

#[test]
fn redirects_and_all_other_icmp_are_refused_even_about_a_live_flow() {
    for v6 in [false, true] {
        let mut gateway = Gateway { v6, ..Gateway::new() };
        gateway.establish();
        let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
        let router = if v6 { "2001:db8:9::1" } else { "198.51.100.1" };
        let allowed: &[(u8, u8)] = if v6 {
            &[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)]
        } else {
            &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 9), (3, 10), (3, 13), (11, 0), (11, 1), (12, 0)]
        };
        let echo: &[u8] = if v6 { &[128, 129] } else { &[0, 8] };
        for kind in (0..=255).filter(|kind| !echo.contains(kind)) {
            for code in 0..=16 {
                let verdict = gateway.error(PEER, router, (kind, code, 1400), &ours);
                if allowed.contains(&(kind, code)) {
                    verdict.passed();
                } else {
                    assert_eq!(verdict.reason(), DropReason::IcmpNotError, "{kind}/{code}");
                }
            }
        }
    }
}

#[test]
fn an_mtu_that_no_link_has_is_not_believed() {
    let mut gateway = Gateway::new();
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    assert_eq!(gateway.error(PEER, "198.51.100.1", (3, 4, 575), &ours).reason(), DropReason::BadTransport);
    gateway.error(PEER, "198.51.100.1", (3, 4, 576), &ours).passed();
    let mut gateway = Gateway { v6: true, ..Gateway::new() };
    gateway.establish();
    let ours = gateway.segment(Origin::Tun, (40000, 1414, ACK, 101, 501, b""));
    assert_eq!(gateway.error(PEER, "2001:db8:9::1", (2, 0, 1279), &ours).reason(), DropReason::BadTransport);
    gateway.error(PEER, "2001:db8:9::1", (2, 0, 1280), &ours).passed();
}

#[test]
fn an_icmp_error_keeps_no_flow_alive_and_ends_none() {
    let mut gateway = Gateway::new();
    let datagram = gateway.datagram(Origin::Tun, 40000, 5000);
    gateway.judge(Origin::Tun, &datagram).passed();
    gateway.pass_time(29);
    gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).passed();
    assert!(!gateway.judge(Origin::Tun, &datagram).opened());
    gateway.pass_time(29);
    gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).passed();
    gateway.pass_time(1);
    assert_eq!(gateway.error(PEER, HOSTS[0][1], (3, 3, 0), &datagram).reason(), DropReason::IcmpNoFlow);
}

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
            let id = flow::FlowId::new(true, 17, (host(false, false), port), (host(false, true), 5000));
            match (step, slots.find(&id)) {
                (0, None) => {
                    let expires = now + Duration::from_nanos(time);
                    let flow = flow::Flow { id, allowed, generation: 1, kind: None, state: flow::State::Echo, bytes: [0; 2], expires };
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
                let id = flow::FlowId { local_port: port, ..id };
                let found = slots.find(&id).and_then(|place| slots.get_mut(place)).map(|flow| flow.expires);
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
