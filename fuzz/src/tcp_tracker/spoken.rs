//! What is said in an inspected flow: whatever the recogniser makes of it, it fits.

use portcullis::event::DropReason;
use portcullis::inspect::{Cause, Pass, Reply, Verdict};
use portcullis::policy::Mode;
use portcullis::wire::ip::Inner;
use portcullis::wire::tcp;

use super::flow::State;
use super::model::{Said, Segment};
use super::policies::POLICIES;
use super::{Arrival, TUNNEL, World};

impl World {
    /// A segment that carries bytes, and what the table says of them.
    pub(super) fn spoken(
        &mut self,
        at: usize,
        said: Said,
        arrival: &Arrival,
        verdict: &Verdict,
        released: &[(Vec<u8>, Pass)],
    ) {
        let flow = &mut self.flows[at];
        let (rule, inspected) = (flow.rule, flow.inspected.is_some());
        let observes = POLICIES[flow.policy].rule(rule).is_some_and(|rule| rule.mode == Mode::Observe);
        let from_opener = arrival.outbound == flow.opener_is_local;
        let valid = Inner::parse(&arrival.bytes).is_ok_and(|inner| tcp::checksum_holds(&inner));
        let header = arrival.bytes.len() - (said.len - arrival.rest.len());
        let payload = [&arrival.bytes[header..], &arrival.rest].concat();
        let mut passed = Vec::new();
        match verdict {
            Verdict::Pass(pass) => {
                assert!(!pass.opened && pass.rule == rule && pass.tunnel == TUNNEL);
                assert!(inspected || !pass.bare && !pass.recognised, "nobody listens");
                assert!(pass.observed.is_none() || inspected && observes, "{pass:?} of a rule that is enforced");
                if pass.bare {
                    flow.passed_bare(said);
                } else if pass.observed.is_some() {
                    // Who was waiting leaves first: nothing more is heard.
                    flow.readers.iter_mut().for_each(|reader| reader.lies = true);
                } else {
                    passed.push((said, payload, valid));
                }
            }
            Verdict::Waits => assert!(inspected, "nobody listens"),
            Verdict::Drop { reason, reply, .. } => {
                assert!(inspected, "{reason:?} of a flow in which nobody listens");
                assert!(released.is_empty());
                let none_wrong = [DropReason::BadTcpChecksum, DropReason::FlowTableFull, DropReason::StaleTimestamp]
                    .into_iter()
                    .chain((!observes).then_some([DropReason::RetainFull, DropReason::HoldFull]).into_iter().flatten());
                let ends = !none_wrong.into_iter().any(|other| other == *reason);
                assert!(!ends || !observes, "ended for {reason:?} by a rule that only observes");
                assert!(ends || *reply == Reply::None);
                if ends {
                    assert_eq!(*reply == Reply::Reset, arrival.outbound, "our side is told at once");
                    self.read += flow.is_read_well();
                    flow.readers.iter_mut().for_each(|reader| reader.lies = true);
                    if let State::Tcp(connection) = &mut flow.state {
                        connection.end_it();
                    }
                    self.owed.push((Cause::Refused(*reason), flow.clone()));
                    self.touch(at, arrival, false);
                }
                return;
            }
            Verdict::Split(_) => unreachable!("handled before"),
        }
        for (bytes, pass) in released {
            let inner = Inner::parse(bytes).expect("what leaves is a packet");
            let segment = inner.tcp().expect("what leaves is a segment");
            let ports = (segment.source_port(), segment.destination_port());
            let name = flow.name;
            let expected = if arrival.outbound { (name.local, name.remote) } else { (name.remote, name.local) };
            assert_eq!((ports, pass.rule), (expected, rule), "a packet of another flow leaves");
            let segment = Segment {
                from_opener,
                flags: segment.flags(),
                sequence: segment.sequence(),
                acknowledgement: segment.acknowledgement(),
                window: segment.window(),
                len: segment.payload().len() as u32,
                scale: Ok(None),
            };
            let read = flow.connection().expect("a connection").read_segment(&segment);
            passed.push((read, inner.payload()[inner.payload().len() - segment.len as usize..].to_vec(), true));
        }
        if let Verdict::Pass(Pass { observed: Some(_), .. }) = verdict {
            passed.push((said, Vec::new(), false));
        }
        for (said, payload, valid) in passed {
            flow.passed(said, &payload, valid);
        }
        self.touch(at, arrival, true);
    }
}
