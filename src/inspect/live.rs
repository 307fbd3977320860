//! What is told of the flows that live, to whoever asks.

use std::net::IpAddr;
use std::time::Duration;

use super::flow::{Flow, State};
use super::flow_table::FlowTable;
use crate::event::FlowKey;
use crate::ids::{RuleId, TunnelId};
use crate::time::Instant;

/// A live flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// The packet with which it was opened.
    pub flow: FlowKey,
    /// The tunnel that carries it.
    pub tunnel: TunnelId,
    /// The rule that allows it.
    pub rule: RuleId,
    /// `opening`, `open`, `closing`, `ended`; `udp`, `echo`.
    pub state: &'static str,
    /// Whether it is known to speak what its rule demands.
    pub recognised: bool,
    /// How long it lives if nothing more is said.
    pub expires_in: Duration,
    /// Bytes of inner packets that went out.
    pub bytes_out: u64,
    /// Bytes of inner packets that came in.
    pub bytes_in: u64,
}

impl Flow {
    /// What is told of it while it lives.
    fn live(&self, now: Instant) -> Live {
        let opener_is_local = self.allowed.opener_is_local;
        let [bytes_out, bytes_in] = self.bytes;
        Live {
            flow: self.id.opener_key(opener_is_local),
            tunnel: self.allowed.tunnel,
            rule: self.allowed.rule,
            state: match &self.state {
                State::Tcp(connection) => connection.as_str(),
                State::Udp { .. } => "udp",
                State::Echo => "echo",
            },
            recognised: matches!(&self.state, State::Tcp(connection) if connection.settled),
            expires_in: self.expires.since(now),
            bytes_out,
            bytes_in,
        }
    }
}

impl FlowTable {
    /// Calls `each` with every live flow between two hosts that was opened to `port`, if one is named, until it says false. Looks
    /// at the whole table: for people who ask.
    pub fn between(
        &self,
        now: Instant,
        (one, other): (IpAddr, IpAddr),
        port: Option<u16>,
        mut each: impl FnMut(Live) -> bool,
    ) {
        let joins = |flow: &&Flow| {
            let ends = (flow.id.local().0, flow.id.remote().0);
            flow.expires > now && (ends == (one, other) || ends == (other, one))
        };
        for live in self.flows.iter().filter(joins).map(|flow| flow.live(now)) {
            if port.is_none_or(|port| live.flow.destination_port == port) && !each(live) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Origin, Verdict};
    use crate::policy::{Service, Snapshot};
    use crate::wire::ip::Inner;
    use etherparse::PacketBuilder;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn open(table: &mut FlowTable, policy: &Snapshot, from: [u8; 4], port: u16, to: [u8; 4]) {
        let mut syn = Vec::new();
        PacketBuilder::ipv4(from, to, 64).tcp(port, 1414, 7, 1000).syn().write(&mut syn, &[]).unwrap();
        let verdict = table.judge(NOW, Origin::Tun, &Inner::parse(&syn).unwrap(), policy);
        assert!(matches!(verdict, Verdict::Pass(pass) if pass.opened), "{verdict:?}");
    }

    fn found(table: &FlowTable, now: Instant, one: [u8; 4], other: [u8; 4], port: Option<u16>) -> Vec<Live> {
        let mut found = Vec::new();
        table.between(now, (one.into(), other.into()), port, |live| {
            found.push(live);
            found.len() < 3
        });
        found
    }

    #[test]
    fn flows_between_two_hosts_are_found_whoever_is_named_first_and_no_others() {
        let policy = Snapshot::anybody(Service::Mq, vec![1414]);
        let mut table = FlowTable::new(16, [0; 4]);
        let (client, other, server) = ([192, 0, 2, 10], [192, 0, 2, 11], [203, 0, 113, 20]);
        open(&mut table, &policy, client, 40_000, server);
        open(&mut table, &policy, other, 40_000, server);
        for (one, two) in [(client, server), (server, client)] {
            let live = found(&table, NOW, one, two, None);
            assert_eq!(live.len(), 1);
            assert_eq!((live[0].flow.source_port, live[0].flow.destination_port), (40_000, 1414));
            assert_eq!((live[0].state, live[0].recognised, live[0].bytes_in), ("opening", false, 0));
            assert!(live[0].bytes_out > 0 && live[0].expires_in > Duration::ZERO);
        }
        assert_eq!(found(&table, NOW, client, server, Some(1414)).len(), 1);
        assert!(found(&table, NOW, client, server, Some(40_000)).is_empty());
        assert!(found(&table, NOW, client, other, None).is_empty());
        // One that has been silent for too long does not live, whether it has been swept away or not.
        assert!(found(&table, NOW + Duration::from_hours(1), client, server, None).is_empty());
    }

    #[test]
    fn whoever_has_heard_enough_is_told_no_more() {
        let policy = Snapshot::anybody(Service::Mq, vec![1414]);
        let mut table = FlowTable::new(16, [0; 4]);
        for port in 0..8 {
            open(&mut table, &policy, [192, 0, 2, 10], 40_000 + port, [203, 0, 113, 20]);
        }
        assert_eq!(found(&table, NOW, [192, 0, 2, 10], [203, 0, 113, 20], None).len(), 3);
    }
}
