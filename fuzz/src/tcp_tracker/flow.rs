//! A flow as the model keeps it, and what its two ends read.

use std::collections::BTreeMap;
use std::mem::Discriminant;

use portcullis::ids::RuleId;
use portcullis::inspect::Cause;
use portcullis::inspect::recognise::{Recogniser, Speaker};
use portcullis::policy::{Inspection, Mode};

use super::MEMORY;
use super::model::{Connection, Said};
use super::policies::POLICIES;

/// Both ends of a flow; for echo the identifier stands in the place of our port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) protocol: u8,
    pub(super) local: u16,
    pub(super) remote: u16,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Tcp(Box<Connection>),
    Udp { answered: bool },
    Echo,
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) name: Name,
    pub(super) opener_is_local: bool,
    pub(super) rule: RuleId,
    /// The policy under which it was judged last.
    pub(super) policy: usize,
    pub(super) inspected: Option<Discriminant<Inspection>>,
    pub(super) state: State,
    pub(super) expires: u64,
    pub(super) bytes: [u64; 2],
    /// What the responder reads, and the opener.
    pub(super) readers: [Reader; 2],
}

/// Two hosts that get the same packets: one believes what it was told first, the other what it was told last.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    pub(super) first: BTreeMap<i64, u8>,
    pub(super) last: BTreeMap<i64, u8>,
    /// As far as the application has read it: nothing can change it any more.
    pub(super) read: i64,
    /// It has acknowledged what it has not got, or passed bytes are not all legal: whatever it reads is its own fault.
    pub(super) lies: bool,
}

impl Reader {
    pub(super) fn take(&mut self, at: i64, bytes: &[u8]) {
        for (place, byte) in (at..).zip(bytes) {
            // The stream begins behind the SYN.
            if (self.read.max(1)..MEMORY).contains(&place) {
                self.first.entry(place).or_insert(*byte);
                self.last.insert(place, *byte);
            }
        }
    }

    pub(super) fn acknowledge(&mut self, up_to: i64) {
        let has = (1..MEMORY).take_while(|place| self.first.contains_key(place)).last().unwrap_or(0) + 1;
        // A FIN counts as well.
        self.lies |= up_to > has + 1;
        self.read = self.read.max(up_to);
    }

    pub(super) fn text(of: &BTreeMap<i64, u8>) -> Vec<u8> {
        (1..MEMORY).map_while(|place| of.get(&place).copied()).collect()
    }
}

impl Flow {
    pub(super) fn connection(&self) -> Option<&Connection> {
        if let State::Tcp(connection) = &self.state { Some(connection) } else { None }
    }

    /// How it ends by itself.
    pub(super) fn dies_of(&self) -> Cause {
        if self.connection().is_some_and(|connection| !connection.is_open()) { Cause::Closed } else { Cause::Expired }
    }

    /// A segment has passed and arrived, if its receiver takes it.
    pub(super) fn passed(&mut self, said: Said, payload: &[u8], valid: bool) {
        let State::Tcp(connection) = &mut self.state else { return };
        connection.passed(said);
        self.arrived(said, payload, valid);
    }

    pub(super) fn passed_bare(&mut self, said: Said) {
        let State::Tcp(connection) = &mut self.state else { return };
        connection.passed_bare(said);
        self.arrived(said, &[], true);
    }

    pub(super) fn arrived(&mut self, said: Said, payload: &[u8], valid: bool) {
        if self.inspected.is_none() {
            return;
        }
        let [ahead, back] = &mut self.readers;
        let (to, by) = if said.from_opener { (ahead, back) } else { (back, ahead) };
        if valid {
            to.take(said.at, payload);
            by.acknowledge(said.acknowledged);
        } else {
            // The gateway has believed an acknowledgement that nobody has sent.
            by.lies = true;
        }
    }

    /// What the receivers of an inspected flow have read, whatever they make of bytes that were sent twice, is legal. How much
    /// it is.
    pub(super) fn is_read_well(&self) -> usize {
        let rule = POLICIES[self.policy].rule(self.rule).expect("a flow has a rule");
        let [ahead, back] = &self.readers;
        if self.inspected.is_none() || rule.mode == Mode::Observe || ahead.lies || back.lies {
            return 0;
        }
        let port = if self.opener_is_local { self.name.remote } else { self.name.local };
        for (said, answered) in [(&ahead.first, &back.first), (&ahead.last, &back.last)] {
            let mut recogniser = Recogniser::of(&rule.inspection, port).expect("it is inspected");
            for (by, bytes) in [(Speaker::Opener, said), (Speaker::Responder, answered)] {
                let heard = recogniser.hear(&rule.inspection, by, &Reader::text(bytes));
                assert_eq!(heard, Ok(()), "{by:?}: {:?}", Reader::text(bytes));
            }
        }
        ahead.first.len() + back.first.len()
    }
}
