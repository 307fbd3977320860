//! What a seed is made of: which gateways and tunnels, over which lines, with which faults at which rates, and what the operators
//! do. Swarm testing: each seed draws a random subset of everything, because uniform rates hide what only comes up when some
//! faults are absent.

mod feature;
mod script;
mod tunnel;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::dice::Dice;
use crate::ike::config::Start;

pub use feature::Feature;
pub use script::{Act, Change};
pub use tunnel::{HeadEnd, Line, TunnelPlan};

/// A NAT.
#[derive(Clone, Copy, Debug)]
pub struct NatPlan {
    /// How long it remembers a mapping that nobody uses.
    pub remembers: Duration,
    /// Whether it lets the ports as they are, if it can.
    pub keeps_ports: bool,
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What is on.
    pub features: BTreeSet<Feature>,
    /// The NAT in front of each gateway.
    pub nats: Vec<Option<NatPlan>>,
    /// Half-open IKE SAs from which on each asks for cookies.
    pub cookies: Vec<Option<usize>>,
    /// The tunnels.
    pub tunnels: Vec<TunnelPlan>,
    /// How long faults happen.
    pub faults_for: Duration,
    /// What happens when.
    pub acts: Vec<(Duration, Act)>,
    /// Mean time between two acts of the attacker.
    pub attack_every: Duration,
    /// Thousandths of the hostile peer's messages that are changed.
    pub hostility: u64,
    /// Longest time for the data path to confirm.
    pub lag: Duration,
    /// Offset of each clock.
    pub clocks: Vec<Duration>,
    /// Whether the real `esp` runs beside the model.
    pub real_esp: bool,
}

/// All transmissions of a request that nobody answers.
const DEAD_AFTER: Duration = Duration::from_secs(50);

/// A minute in which a head-end that has answered and then not let itself be opened is left alone, and two questions to it
/// (`ike::limits`).
const WAY_BACK: Duration = Duration::from_secs(90);

/// Never, as far as a simulation goes.
const NEVER: Duration = Duration::from_hours(1000);

impl Plan {
    /// What `seed` decides, without the features that are `off`.
    #[must_use]
    pub fn draw(seed: u64, off: &BTreeSet<Feature>) -> Self {
        let mut dice = Dice::new(seed, 1);
        let calm = dice.chance(200);
        // Some seeds have much, some little.
        let rate = dice.pick(&[100, 250, 400, 600]);
        let (first, later) = Feature::ALL.split_at(Feature::FIRST);
        let mut features: BTreeSet<Feature> = first.iter().copied().filter(|_| dice.chance(rate)).collect();
        let mut later_dice = Dice::new(seed, 8);
        features.extend(later.iter().filter(|_| later_dice.chance(rate)));
        if dice.chance(600) {
            features.insert(Feature::ShortLife);
        }
        if dice.chance(300) {
            features.insert(Feature::Renewal);
        }
        if Dice::new(seed, 41).chance(500) {
            // A seed with ML-KEM costs far more than one without, and every sixth one is enough.
            features.remove(&Feature::Quantum);
        }
        if calm {
            features.retain(|feature| !Feature::HARMFUL.contains(feature));
        }
        features.retain(|feature| !off.contains(feature));
        let on = |feature| features.contains(&feature);

        // Where there is a third gateway it has tunnels of its own.
        let heads = on(Feature::Heads) && !on(Feature::Third);
        let gateways = if on(Feature::Third) || heads { 3 } else { 2 };
        let mut nat_dice = Dice::new(seed, 2);
        let mut nats = vec![None; gateways];
        for (index, nat) in nats.iter_mut().enumerate() {
            let plan = NatPlan { remembers: nat_dice.millis(25_000, 90_000), keeps_ports: nat_dice.chance(500) };
            if on(Feature::Nat) && (index == 0 || nat_dice.chance(250) && !heads) {
                *nat = Some(plan);
            }
        }
        let mut cookie_dice = Dice::new(seed, 3);
        let cookies = (0..gateways).map(|_| (on(Feature::Cookies) && cookie_dice.chance(600)).then_some(0)).collect();
        let ends: &[[usize; 2]] = if on(Feature::Third) { &[[0, 1], [0, 2], [1, 2]] } else { &[[0, 1]] };
        let mut tunnels: Vec<_> = ends
            .iter()
            .enumerate()
            .map(|(index, ends)| tunnel::draw(&mut Dice::new(seed, 10 + index as u64), *ends, &features, &nats))
            .collect();
        if heads {
            tunnels[0].add_head_end(&mut Dice::new(seed, 40), 2);
        }
        let faults_for = Dice::new(seed, 4).millis(15_000, 70_000);
        let mut plan = Self {
            seed,
            nats,
            cookies,
            acts: Vec::new(),
            attack_every: Dice::new(seed, 5).millis(20, 2000),
            hostility: Dice::new(seed, 6).between(20, 500),
            lag: if on(Feature::Lag) { Dice::new(seed, 7).millis(0, 30) } else { Duration::ZERO },
            clocks: (0..gateways).map(|index| Dice::new(seed, 30 + index as u64).millis(0, 10_000_000)).collect(),
            real_esp: Dice::new(seed, 9).chance(250),
            features,
            tunnels,
            faults_for,
        };
        plan.acts = plan.script();
        plan
    }

    /// Two gateways of which one opens a tunnel, over a line that loses so many thousandths each way and does nothing else.
    #[must_use]
    pub fn lossy(seed: u64, loss: u64) -> Self {
        let mut plan = Self::draw(seed, &Feature::ALL.into());
        for tunnel in &mut plan.tunnels {
            tunnel.start = [Start::Always, Start::Manual];
            for line in &mut tunnel.lines {
                line.loss = loss;
            }
        }
        plan.faults_for = NEVER;
        plan.acts.clear();
        plan
    }

    /// Whether a feature is on.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether nothing is on that could lose a packet.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        !Feature::HARMFUL.iter().any(|feature| self.has(*feature)) && !self.has(Feature::Nat) && !self.has_passive()
    }

    /// How long a gateway may go on believing in an IKE SA of which the other side knows nothing any more. If both sides open
    /// the tunnel by themselves the one that knows it tells the other. Else the peer's silence has to be noticed first:
    /// RFC 7296 §2.4 wants several attempts over some time before that.
    #[must_use]
    pub fn blindness(&self, tunnel: usize) -> Duration {
        let of = &self.tunnels[tunnel];
        let both = of.start == [Start::Always; 2] && of.ends.iter().all(|end| self.nats[*end].is_none());
        // Two that move at the same time lose each other.
        let both = both && !of.mobike;
        if self.is_calm() || both {
            return Duration::ZERO;
        }
        let blind = of.liveness.into_iter().max().unwrap_or_default() + DEAD_AFTER;
        // The way back to the first head-end: an attempt that began before faults ended and came to nothing, the pause after it,
        // the time for which it has to answer, and the end of the IKE SA with the other one.
        let back = of.second.and_then(|head| head.fail_back);
        back.map_or(blind, |after| blind + DEAD_AFTER + WAY_BACK + 2 * after)
    }

    /// Whether a tunnel waits for somebody to bring it up.
    fn has_passive(&self) -> bool {
        self.tunnels.iter().any(|tunnel| !tunnel.start.contains(&Start::Always))
    }

    /// How many gateways.
    #[must_use]
    pub fn gateways(&self) -> usize {
        self.nats.len()
    }

    /// A gateway's own address, and the one under which others see it.
    #[must_use]
    pub fn addresses(&self, gateway: usize) -> [IpAddr; 2] {
        let number = u8::try_from(gateway).unwrap_or(0) + 1;
        let v6 = |group: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, group, 0, 0, 0, 0, u16::from(number)));
        let v4 = |net: [u8; 3]| IpAddr::V4(Ipv4Addr::new(net[0], net[1], net[2], number));
        let (public, private) = if self.has(Feature::V6) { (v6(1), v6(2)) } else { (v4([192, 0, 2]), v4([10, 99, 0])) };
        if self.nats[gateway].is_some() { [private, public] } else { [public, public] }
    }

    /// The gateway at the other end of a tunnel, seen at `address`.
    #[must_use]
    pub fn peer_of(&self, gateway: usize, tunnel: usize, address: IpAddr) -> usize {
        let of = &self.tunnels[tunnel];
        if gateway != of.ends[0] {
            return of.ends[0];
        }
        let second = of.second.map(|head| head.gateway);
        second.filter(|second| self.addresses(*second)[1] == address).unwrap_or(of.ends[1])
    }

    /// Where a gateway can be reached: at home, or somewhere else.
    #[must_use]
    pub fn public_address(&self, gateway: usize, place: u8) -> IpAddr {
        if place == 0 {
            return self.addresses(gateway)[1];
        }
        let number = u8::try_from(gateway).unwrap_or(0) * 16 + place;
        if self.has(Feature::V6) {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, u16::from(number)))
        } else {
            IpAddr::V4(Ipv4Addr::new(198, 51, 100, number))
        }
    }
}
