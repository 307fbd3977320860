//! Who wants to be woken when. An ordered set, so that the next time costs nothing to know and equal times have an order.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::TunnelId;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// An IKE SA, by our SPI.
    IkeSa(IkeSpi),
    /// What outlives IKE SAs.
    Connection(TunnelId),
    /// The table of refused datagrams.
    Refusals,
}

/// One time per owner.
#[derive(Debug, Default)]
pub struct Agenda {
    by_time: BTreeSet<(Instant, Owner)>,
    by_owner: BTreeMap<Owner, Instant>,
}

impl Agenda {
    /// Sets or clears the time of `owner`.
    pub fn set(&mut self, owner: Owner, at: Option<Instant>) {
        // A flood asks for the same time again and again.
        if self.by_owner.get(&owner).copied() == at {
            return;
        }
        if let Some(old) = self.by_owner.remove(&owner) {
            self.by_time.remove(&(old, owner));
        }
        if let Some(at) = at {
            self.by_owner.insert(owner, at);
            self.by_time.insert((at, owner));
        }
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the next owner whose time has come.
    pub fn take_due(&mut self, now: Instant) -> Option<Owner> {
        let (at, owner) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.set(owner, None);
        Some(owner)
    }
}

/// The earlier of two times that may not be set.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_in_the_order_of_their_times_and_once_each() {
        let mut agenda = Agenda::default();
        let at = Instant::from_nanos;
        agenda.set(Owner::IkeSa(1), Some(at(30)));
        agenda.set(Owner::IkeSa(2), Some(at(10)));
        agenda.set(Owner::IkeSa(1), Some(at(20)));
        agenda.set(Owner::Refusals, Some(at(15)));
        agenda.set(Owner::Refusals, None);
        assert_eq!(agenda.next(), Some(at(10)));
        assert_eq!(agenda.take_due(at(9)), None);
        assert_eq!(agenda.take_due(at(25)), Some(Owner::IkeSa(2)));
        assert_eq!(agenda.take_due(at(25)), Some(Owner::IkeSa(1)));
        assert_eq!(agenda.next(), None);
    }
}
