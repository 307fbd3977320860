//! What happens to gateways and lines at which time: faults, operators, reloads.

use std::time::Duration;

use super::{Feature, Plan};
use crate::ike::config::Start;
use crate::sim::dice::Dice;

/// Adds what happens at a moment to a script.
type Make<'a> = dyn FnMut(&mut Dice, &mut Vec<(Duration, Act)>, Duration) + 'a;

/// What happens at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing passes on a tunnel's line, from its first gateway, to it, or both.
    Partition {
        /// Which tunnel.
        tunnel: usize,
        /// There and back.
        ways: [bool; 2],
        /// For how long.
        lasts: Duration,
    },
    /// A gateway's process is killed, and started again later.
    Crash {
        /// Which one.
        gateway: usize,
        /// For how long.
        lasts: Duration,
    },
    /// A gateway neither hears nor acts.
    Suspend {
        /// Which one.
        gateway: usize,
        /// For how long.
        lasts: Duration,
    },
    /// A gateway's clock jumps.
    Jump {
        /// Which one.
        gateway: usize,
        /// By how much.
        by: Duration,
    },
    /// A gateway loads a configuration.
    Reload {
        /// Which one.
        gateway: usize,
        /// What is different in it.
        change: Change,
    },
    /// The operator of a gateway types `up`.
    Up {
        /// Which gateway.
        gateway: usize,
        /// Which tunnel.
        tunnel: usize,
    },
    /// The operator types `down`.
    Down {
        /// Which gateway.
        gateway: usize,
        /// Which tunnel.
        tunnel: usize,
    },
    /// The operator types `rekey`.
    Rekey {
        /// Which gateway.
        gateway: usize,
        /// Which tunnel.
        tunnel: usize,
        /// The child SAs.
        children: bool,
        /// The IKE SA.
        ike: bool,
    },
    /// A gateway is somewhere else from now on.
    Move {
        /// Which one.
        gateway: usize,
        /// Where: at home, or at which other address.
        place: u8,
    },
    /// A NAT forgets its mappings.
    Rebind {
        /// Whose.
        gateway: usize,
    },
}

/// What a reload changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// Lifetimes.
    Lifetimes,
    /// The last pair of selectors is gone.
    FewerShapes,
    /// The replay window, so that every tunnel is negotiated anew.
    Window,
    /// The order of the pre-shared keys.
    Key,
    /// Everything as it was at first.
    Back,
}

impl Plan {
    /// When what happens.
    pub(super) fn script(&self) -> Vec<(Duration, Act)> {
        let mut acts = Vec::new();
        let end = u64::try_from(self.faults_for.as_millis()).unwrap_or(0);
        let mut draw = |feature: Feature, most: u64, make: &mut Make<'_>| {
            if !self.has(feature) {
                return;
            }
            let mut dice = Dice::new(self.seed, 100 + feature as u64);
            for _ in 0..dice.between(1, most) {
                let at = dice.millis(50, end);
                make(&mut dice, &mut acts, at);
            }
        };
        let gateways = self.gateways();
        let gateway = |dice: &mut Dice| dice.index(gateways);
        // A tunnel and one of its ends.
        let end_of = |dice: &mut Dice| {
            let tunnel = dice.index(self.tunnels.len());
            (tunnel, self.tunnels[tunnel].ends[dice.index(2)])
        };
        draw(Feature::Partition, 4, &mut |dice, acts, at| {
            let (tunnel, _) = end_of(dice);
            let ways = dice.pick(&[[true, true], [true, false], [false, true]]);
            let lasts = dice.millis(100, 1000) * u32::try_from(dice.pick(&[1, 1, 5, 20, 60])).unwrap_or(1);
            acts.push((at, Act::Partition { tunnel, ways, lasts }));
        });
        draw(Feature::Crash, 3, &mut |dice, acts, at| {
            let lasts = dice.millis(1, 500) * u32::try_from(dice.pick(&[1, 4, 30])).unwrap_or(1);
            acts.push((at, Act::Crash { gateway: gateway(dice), lasts }));
        });
        draw(Feature::Suspend, 3, &mut |dice, acts, at| {
            let lasts = dice.millis(10, 500) * u32::try_from(dice.pick(&[1, 10, 60])).unwrap_or(1);
            acts.push((at, Act::Suspend { gateway: gateway(dice), lasts }));
        });
        draw(Feature::Jump, 3, &mut |dice, acts, at| {
            let by = dice.millis(100, 1000) * u32::try_from(dice.pick(&[1, 10, 100, 3600])).unwrap_or(1);
            acts.push((at, Act::Jump { gateway: gateway(dice), by }));
        });
        draw(Feature::Reload, 4, &mut |dice, acts, at| {
            let kinds =
                [Change::Nothing, Change::Lifetimes, Change::FewerShapes, Change::Window, Change::Key, Change::Back];
            let change = dice.pick(&kinds);
            let first = gateway(dice);
            // A change that is negotiated has to be made on both sides.
            for gateway in (0..gateways).filter(|of| *of == first || change == Change::Window || change == Change::Back)
            {
                acts.push((at + dice.millis(0, 2000), Act::Reload { gateway, change }));
            }
        });
        draw(Feature::Operator, 4, &mut |dice, acts, at| {
            let (tunnel, gateway) = end_of(dice);
            let of = &self.tunnels[tunnel];
            // A head-end that opens the tunnel chooses itself, and the tunnel does not go back from there.
            let gateway = if of.second.is_some() { of.ends[0] } else { gateway };
            acts.push((at, Act::Down { gateway, tunnel }));
            acts.push((at + dice.millis(1, 8000), Act::Up { gateway, tunnel }));
        });
        draw(Feature::Renewal, 12, &mut |dice, acts, at| {
            let (tunnel, first) = end_of(dice);
            let [children, ike] = dice.pick(&[[true, false], [false, true], [true, true], [true, false]]);
            acts.push((at, Act::Rekey { gateway: first, tunnel, children, ike }));
            if dice.chance(600) {
                // The other side at nearly the same time.
                let other = self.tunnels[tunnel].ends.into_iter().find(|end| *end != first).unwrap_or(first);
                let [children, ike] = dice.pick(&[[true, false], [false, true], [true, true]]);
                let later = dice.millis(0, 60) * u32::from(dice.chance(700));
                acts.push((at + later, Act::Rekey { gateway: other, tunnel, children, ike }));
            }
        });
        draw(Feature::Mobike, 5, &mut |dice, acts, at| {
            let (gateway, place) = (gateway(dice), u8::try_from(dice.below(4)).unwrap_or(0));
            if self.nats[gateway].is_none() {
                acts.push((at, Act::Move { gateway, place }));
            }
        });
        draw(Feature::Heads, 3, &mut |dice, acts, at| {
            // Where there is a third gateway there is no second head-end.
            if let Some(first) = self.tunnels.iter().find(|of| of.second.is_some()).map(|of| of.ends[1]) {
                let lasts = dice.millis(3000, 40_000);
                let act = if dice.chance(500) {
                    Act::Crash { gateway: first, lasts }
                } else {
                    Act::Suspend { gateway: first, lasts }
                };
                acts.push((at, act));
            }
        });
        draw(Feature::Nat, 4, &mut |dice, acts, at| acts.push((at, Act::Rebind { gateway: gateway(dice) })));
        // What only an operator brings up.
        for (index, tunnel) in self.tunnels.iter().enumerate() {
            if tunnel.start == [Start::Manual; 2] {
                let gateway = tunnel.ends[tunnel.eap.unwrap_or(0)];
                acts.push((Duration::from_millis(10), Act::Up { gateway, tunnel: index }));
            }
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }
}
