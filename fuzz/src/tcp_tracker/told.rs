//! What the table tells of its flows, and what is known of them.

use portcullis::event::FlowKey;
use portcullis::ids::RuleId;
use portcullis::inspect::{Ending, Live, Reset};
use portcullis::time::Instant;
use portcullis::wire::ip::Inner;

use super::super::seeds::packets::host;
use super::flow::{Flow, State};
use super::model::Connection;
use super::{Arrival, CAPACITY, KEPT, TUNNEL, World};

impl World {
    /// What is told of flows that have ended is what has ended, each once, in numbers that their ends believe.
    pub(super) fn hear_endings(&mut self, arrival: Option<&Arrival>) {
        while let Some(ending) = self.table.poll_ending() {
            let told = |flow: &Flow| self.is_about(&ending, flow);
            let flow = if let Some(cause) = ending.cause {
                if let Some(at) = self.owed.iter().position(|(owed, flow)| *owed == cause && told(flow)) {
                    self.owed.remove(at).1
                } else {
                    let at = self.dead.iter().position(|flow| flow.dies_of() == cause && told(flow));
                    self.dead.remove(at.unwrap_or_else(|| panic!("{ending:?} of a flow that has not ended")))
                }
            } else {
                let ended = self.flows.iter().find(|flow| told(flow));
                let flow = ended.unwrap_or_else(|| panic!("{ending:?} of no flow")).clone();
                assert!(flow.connection().is_some_and(Connection::is_ended) && ending.remote.is_some());
                flow
            };
            self.resets_are_believed(&ending, &flow, arrival);
        }
        assert!(self.owed.is_empty(), "not told of: {:?}", self.owed);
    }

    pub(super) fn is_about(&self, ending: &Ending, flow: &Flow) -> bool {
        let key = self.key(flow.opener_is_local, flow.name);
        ending.flow == key && ending.bytes == flow.bytes && ending.tunnel == TUNNEL && ending.rule == flow.rule
    }

    pub(super) fn resets_are_believed(&self, ending: &Ending, flow: &Flow, arrival: Option<&Arrival>) {
        let acknowledged = arrival.and_then(|arrival| {
            let inner = Inner::parse(&arrival.bytes).ok()?;
            (!arrival.outbound).then(|| inner.tcp().map(|segment| segment.acknowledgement()))?
        });
        for (reset, to_local) in [(ending.local, true), (ending.remote, false)] {
            let Some(Reset { from, to, sequence, acknowledgement }) = reset else { continue };
            let connection = flow.connection().expect("a RST in something else than TCP");
            let (local, remote) = ((host(true, self.v6), flow.name.local), (host(false, self.v6), flow.name.remote));
            assert_eq!((from, to), if to_local { (remote, local) } else { (local, remote) });
            let opener = to_local != flow.opener_is_local;
            let next = connection.wire(opener, connection.end(opener).sent);
            assert!(sequence == next || !to_local && acknowledged == Some(sequence), "{sequence} is not the next");
            assert_eq!(acknowledgement, connection.wire(!opener, connection.end(!opener).sent));
        }
    }

    /// The table and the model know the same flows.
    pub(super) fn compare(&mut self) {
        let now = Instant::from_nanos(self.now);
        let mut known = Vec::new();
        self.table.between(now, (host(true, self.v6), host(false, self.v6)), None, |live| {
            known.push(live);
            true
        });
        // Asked the other way round for one port, it tells of the first of them, if one is enough.
        if let Some(port) = known.first().map(|live| live.flow.destination_port) {
            let mut first = None;
            self.table.between(now, (host(false, self.v6), host(true, self.v6)), Some(port), |live| {
                assert!(first.is_none(), "it was told that one is enough");
                first = Some(live.flow);
                false
            });
            assert_eq!(first, known.first().map(|live| live.flow), "the first flow of port {port}");
        }
        let told = |live: &Live| {
            let Live { flow, rule, state, expires_in, bytes_out, bytes_in, .. } = *live;
            (flow, rule, state, expires_in.as_nanos() as u64, bytes_out, bytes_in)
        };
        let mut known: Vec<_> = known.iter().map(told).collect();
        let word = |flow: &Flow| match &flow.state {
            State::Tcp(connection) => connection.word(),
            State::Udp { .. } => "udp",
            State::Echo => "echo",
        };
        let of = |flow: &Flow| {
            let key = self.key(flow.opener_is_local, flow.name);
            (key, flow.rule, word(flow), flow.expires - self.now, flow.bytes[0], flow.bytes[1])
        };
        let mut expected: Vec<_> = self.flows.iter().map(of).collect();
        let order = |one: &(FlowKey, RuleId, &str, u64, u64, u64)| {
            let (key, _, _, expires, out, back) = *one;
            (key.protocol, key.source, key.source_port, key.destination_port, expires, out, back)
        };
        known.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(known, expected, "the table, and the model");
        assert_eq!(self.table.capacity(), CAPACITY);
        assert!((self.flows.len()..=CAPACITY).contains(&self.table.len()), "{} places are taken", self.table.len());
        let inspected = self.flows.iter().filter(|flow| flow.inspected.is_some()).count();
        let gone = self.table.len() - self.flows.len();
        assert!(self.table.kept() <= (inspected + gone) * KEPT, "{} bytes are kept", self.table.kept());
    }

    /// Everything ends, and nothing is left.
    pub(super) fn finish(mut self) -> [usize; 2] {
        self.wait(3 * 3600 * 1000);
        self.table.sweep(Instant::from_nanos(self.now), CAPACITY);
        self.hear_endings(None);
        self.compare();
        assert!(self.dead.is_empty(), "never told of: {:?}", self.dead);
        assert!(self.table.is_empty(), "flows that nobody needs");
        assert_eq!(self.table.kept(), 0, "bytes that nobody needs");
        [self.passed, self.read]
    }
}
