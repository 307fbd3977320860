//! Which tunnels nothing passes through now, and which flows of the others are over because nothing passed meanwhile.
//!
//! Who closes a tunnel ends its flows, and need not find them first: each policy remembers under which generation nothing passed
//! the last time, and a flow that was last allowed before that is over, however soon the tunnel was opened again.

use crate::event::DropReason;
use crate::ids::TunnelId;

/// The gate of each tunnel, at the place of its number. One behind the end was never closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates(Box<[Gate]>);

#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    /// Why nothing passes now: the agreement does not hold.
    closed: Option<DropReason>,
    /// The last generation under which nothing passed, and why.
    last: Option<(u64, DropReason)>,
}

impl Gates {
    /// Under `generation` these tunnels are closed, and all others are open.
    pub(super) fn with(&self, generation: u64, closed: impl IntoIterator<Item = (TunnelId, DropReason)>) -> Self {
        let mut gates: Vec<_> = self.0.iter().map(|gate| Gate { closed: None, ..*gate }).collect();
        for (tunnel, reason) in closed {
            *at(&mut gates, tunnel) = Gate { closed: Some(reason), last: Some((generation, reason)) };
        }
        Self(gates.into())
    }

    /// Other rules are in force with `generation`: every gate is open until it is said which are not, and through these tunnels
    /// nothing passes by the rules themselves.
    pub(super) fn under(&self, generation: u64, barred: impl IntoIterator<Item = (TunnelId, DropReason)>) -> Self {
        let mut gates = self.with(generation, []).0.into_vec();
        for (tunnel, reason) in barred {
            at(&mut gates, tunnel).last = Some((generation, reason));
        }
        Self(gates.into())
    }

    /// Why nothing passes through a tunnel now.
    #[inline]
    pub(super) fn closed(&self, tunnel: TunnelId) -> Option<DropReason> {
        self.0.get(usize::from(tunnel.0)).and_then(|gate| gate.closed)
    }

    /// Why nothing passed through a tunnel some time after `generation`.
    pub(super) fn closed_since(&self, tunnel: TunnelId, generation: u64) -> Option<DropReason> {
        let (last, reason) = self.0.get(usize::from(tunnel.0))?.last?;
        (generation < last).then_some(reason)
    }
}

fn at(gates: &mut Vec<Gate>, tunnel: TunnelId) -> &mut Gate {
    let at = usize::from(tunnel.0);
    gates.resize(gates.len().max(at + 1), Gate::default());
    &mut gates[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TunnelId = TunnelId(1);
    const SUSPENDED: DropReason = DropReason::AgreementSuspended;

    #[test]
    fn a_gate_that_was_opened_again_remembers_the_last_generation_under_which_it_was_closed() {
        let never = Gates::default();
        assert_eq!((never.closed(ONE), never.closed_since(ONE, 0)), (None, None));
        let closed = never.with(5, [(ONE, SUSPENDED)]);
        assert_eq!(
            (closed.closed(ONE), closed.closed(TunnelId(0)), closed.closed(TunnelId(2))),
            (Some(SUSPENDED), None, None)
        );
        let open = closed.with(6, []);
        assert_eq!(open.closed(ONE), None);
        assert_eq!([4, 5, 6].map(|last| open.closed_since(ONE, last)), [Some(SUSPENDED), None, None]);
        assert_eq!(open.closed_since(TunnelId(0), 0), None);
        let again = open.with(7, [(ONE, DropReason::AgreementExpired)]).with(8, []);
        assert_eq!([6, 7].map(|last| again.closed_since(ONE, last)), [Some(DropReason::AgreementExpired), None]);
    }

    #[test]
    fn other_rules_forget_no_closing_and_a_tunnel_that_they_disable_is_one() {
        let closed = Gates::default().with(5, [(ONE, SUSPENDED)]);
        let other = closed.under(6, [(TunnelId(3), DropReason::TunnelDisabled)]);
        assert_eq!((other.closed(ONE), other.closed(TunnelId(3))), (None, None), "who is closed is said next");
        assert_eq!(other.closed_since(ONE, 4), Some(SUSPENDED));
        let later = other.with(7, []).under(8, []);
        assert_eq!(later.closed_since(TunnelId(3), 5), Some(DropReason::TunnelDisabled));
        assert_eq!(later.closed_since(TunnelId(3), 6), None);
    }
}
