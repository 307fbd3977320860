//! Two hosts, a gateway's flow table between them, and what it lets through.

mod any;
mod change;
mod icmp;
mod lives;
mod tcp;

use std::net::IpAddr;
use std::time::Duration;

use etherparse::PacketBuilder;

use super::*;
use crate::event::DropReason;
use crate::ids::{RuleId, TunnelId};
use crate::policy::{Inspection, Mode, Rule, RuleDirection, SelectorMode, Service, Snapshot, TunnelPolicy};
use crate::time::Instant;
use crate::wire::icmp::{IcmpError, build_error};
use crate::wire::ip::Inner;
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN};

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
