//! What a seed is made of: which gateways and tunnels, over which lines, with which faults at which rates, and what the operators
//! do. Swarm testing: each seed draws a random subset of everything, because uniform rates hide what only comes up when some
//! faults are absent.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::dice::Dice;
use crate::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::config::Start;

/// Something that may go wrong, or a choice of the configuration. Each can be turned off, to find the smallest failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Datagrams are lost.
    Loss,
    /// Datagrams come twice.
    Duplicate,
    /// Datagrams overtake each other.
    Reorder,
    /// Bits flip.
    Corrupt,
    /// Long datagrams are lost.
    Mtu,
    /// Nothing passes for a while, one way or both.
    Partition,
    /// A gateway stands behind a NAT, whose mappings change.
    Nat,
    /// A gateway loses its memory and starts again.
    Crash,
    /// A gateway stands still for a while.
    Suspend,
    /// A gateway's clock jumps ahead.
    Jump,
    /// The configuration is loaded again, the same or another one.
    Reload,
    /// The operator takes tunnels down and up.
    Operator,
    /// The operator wants new keys, often on both sides at once.
    Renewal,
    /// Somebody without keys records, replays, reflects, spoofs and mutates.
    Attacker,
    /// A peer that holds the keys says what it should not.
    Hostile,
    /// The data path takes a while to confirm what IKE asks of it.
    Lag,
    /// SAs live for seconds.
    ShortLife,
    /// SAs live for some packets.
    FewPackets,
    /// Cookies are asked for from the first request on.
    Cookies,
    /// Both sides have several suites in different orders.
    Suites,
    /// There is a third gateway.
    Third,
    /// Tunnels have several pairs of selectors.
    Shapes,
    /// One side asks for more than the other allows.
    Wide,
    /// Underlay addresses are IPv6.
    V6,
    /// Pre-shared keys are being replaced by others.
    Keys,
    /// ML-KEM beside X25519.
    Quantum,
    /// One side proves itself by user and password.
    Eap,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Corrupt,
        Self::Mtu,
        Self::Partition,
        Self::Nat,
        Self::Crash,
        Self::Suspend,
        Self::Jump,
        Self::Reload,
        Self::Operator,
        Self::Renewal,
        Self::Attacker,
        Self::Hostile,
        Self::Lag,
        Self::ShortLife,
        Self::FewPackets,
        Self::Cookies,
        Self::Suites,
        Self::Third,
        Self::Shapes,
        Self::Wide,
        Self::V6,
        Self::Keys,
        Self::Quantum,
        Self::Eap,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::Mtu => "mtu",
            Self::Partition => "partition",
            Self::Nat => "nat",
            Self::Crash => "crash",
            Self::Suspend => "suspend",
            Self::Jump => "jump",
            Self::Reload => "reload",
            Self::Operator => "operator",
            Self::Renewal => "renewal",
            Self::Attacker => "attacker",
            Self::Hostile => "hostile",
            Self::Lag => "lag",
            Self::ShortLife => "short-life",
            Self::FewPackets => "few-packets",
            Self::Cookies => "cookies",
            Self::Suites => "suites",
            Self::Third => "third",
            Self::Shapes => "shapes",
            Self::Wide => "wide",
            Self::V6 => "v6",
            Self::Keys => "keys",
            Self::Quantum => "quantum",
            Self::Eap => "eap",
        }
    }

    /// Those that make packets get lost, or tunnels go down. Without them nothing may be lost.
    const HARMFUL: [Self; 12] = [
        Self::Loss,
        Self::Duplicate,
        Self::Corrupt,
        Self::Mtu,
        Self::Partition,
        Self::Crash,
        Self::Suspend,
        Self::Jump,
        Self::Reload,
        Self::Operator,
        Self::Attacker,
        Self::Hostile,
    ];
}

/// The line between two gateways, one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Shortest delay.
    pub delay: Duration,
    /// Longest addition to it.
    pub jitter: Duration,
    /// Thousandths lost.
    pub loss: u64,
    /// Thousandths doubled.
    pub duplicate: u64,
    /// Thousandths with a flipped bit.
    pub corrupt: u64,
    /// Longest datagram.
    pub mtu: usize,
}

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

/// One tunnel, as its two gateways have it.
#[derive(Clone, Debug)]
pub struct TunnelPlan {
    /// The two gateways.
    pub ends: [usize; 2],
    /// When each brings it up.
    pub start: [Start; 2],
    /// IKE suites of each.
    pub ike: [Vec<IkeSuite>; 2],
    /// ESP suites of each.
    pub esp: [Vec<EspSuite>; 2],
    /// The pre-shared keys of each, by name.
    pub keys: [Vec<&'static str>; 2],
    /// Which side proves itself by EAP-MSCHAPv2.
    pub eap: Option<usize>,
    /// Whether each takes messages in fragments.
    pub fragmentation: [bool; 2],
    /// How many pairs of selectors.
    pub shapes: u16,
    /// Which side asks for more than the other allows.
    pub wide: Option<usize>,
    /// Whether a NAT is pretended.
    pub force_encapsulation: bool,
    /// Width of the replay window.
    pub replay_window: u32,
    /// After how much silence each side probes.
    pub liveness: [Duration; 2],
    /// When child SAs of each side are renewed and end.
    pub child_life: [[Duration; 2]; 2],
    /// After how many packets.
    pub packets: [u64; 2],
    /// When IKE SAs of each side are renewed and end.
    pub ike_life: [[Duration; 2]; 2],
    /// By how many percent at most earlier.
    pub jitter: u32,
    /// There and back.
    pub lines: [Line; 2],
    /// Time between two packets of a shape, each way.
    pub pace: Duration,
}

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
}

const GCM: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    prf: PrfAlg::HmacSha256,
    group: Group::Curve25519,
    additional: Additional::NONE,
};
const QUANTUM: IkeSuite = IkeSuite { additional: Additional::one(Group::MlKem768), ..GCM };
const FAST: [IkeSuite; 5] = [
    GCM,
    IkeSuite { prf: PrfAlg::HmacSha384, ..GCM },
    IkeSuite { cipher: Cipher::Aes128Gcm16, ..GCM },
    IkeSuite { cipher: Cipher::Aes256Cbc, mac: Some(Mac::HmacSha256), ..GCM },
    IkeSuite { cipher: Cipher::ChaCha20Poly1305, ..GCM },
];
const SLOW: [IkeSuite; 3] = [
    IkeSuite { group: Group::Ecp256, ..GCM },
    IkeSuite { group: Group::Ecp384, prf: PrfAlg::HmacSha384, ..GCM },
    IkeSuite {
        cipher: Cipher::Aes256Cbc,
        mac: Some(Mac::HmacSha512),
        prf: PrfAlg::HmacSha512,
        group: Group::Ecp521,
        additional: Additional::NONE,
    },
];
const ESP: EspSuite = EspSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    group: Some(Group::Curve25519),
    additional: Additional::NONE,
    esn: true,
};
const ESP_SUITES: [EspSuite; 5] = [
    ESP,
    EspSuite { group: None, ..ESP },
    EspSuite { esn: false, ..ESP },
    EspSuite { cipher: Cipher::Aes256Cbc, mac: Some(Mac::HmacSha256), group: None, esn: false, ..ESP },
    EspSuite { group: Some(Group::Ecp256), ..ESP },
];

/// Two lists with something in common, in orders of their own.
fn lists<S: Copy + PartialEq>(dice: &mut Dice, pool: &[S]) -> [Vec<S>; 2] {
    let common = dice.pick(pool);
    [(); 2].map(|()| {
        let mut list = vec![common];
        for _ in 0..dice.below(4) {
            let another = dice.pick(pool);
            if !list.contains(&another) {
                let at = dice.index(list.len() + 1);
                list.insert(at, another);
            }
        }
        list
    })
}

/// All transmissions of a request that nobody answers.
const DEAD_AFTER: Duration = Duration::from_secs(50);

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
        let mut features: BTreeSet<Feature> = Feature::ALL.into_iter().filter(|_| dice.chance(rate)).collect();
        if dice.chance(600) {
            features.insert(Feature::ShortLife);
        }
        if dice.chance(300) {
            features.insert(Feature::Renewal);
        }
        if calm {
            features.retain(|feature| !Feature::HARMFUL.contains(feature));
        }
        features.retain(|feature| !off.contains(feature));
        let on = |feature| features.contains(&feature);

        let gateways = if on(Feature::Third) { 3 } else { 2 };
        let mut nat_dice = Dice::new(seed, 2);
        let mut nats = vec![None; gateways];
        for (index, nat) in nats.iter_mut().enumerate() {
            let plan = NatPlan { remembers: nat_dice.millis(25_000, 90_000), keeps_ports: nat_dice.chance(500) };
            if on(Feature::Nat) && (index == 0 || nat_dice.chance(250)) {
                *nat = Some(plan);
            }
        }
        let mut cookie_dice = Dice::new(seed, 3);
        let cookies = (0..gateways).map(|_| (on(Feature::Cookies) && cookie_dice.chance(600)).then_some(0)).collect();
        let ends: &[[usize; 2]] = if gateways == 3 { &[[0, 1], [0, 2], [1, 2]] } else { &[[0, 1]] };
        let tunnels: Vec<_> = ends
            .iter()
            .enumerate()
            .map(|(index, ends)| tunnel(&mut Dice::new(seed, 10 + index as u64), *ends, &features, &nats))
            .collect();
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
        if self.is_calm() || both {
            return Duration::ZERO;
        }
        of.liveness.into_iter().max().unwrap_or_default() + DEAD_AFTER
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

    /// When what happens.
    fn script(&self) -> Vec<(Duration, Act)> {
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

fn tunnel(dice: &mut Dice, ends: [usize; 2], features: &BTreeSet<Feature>, nats: &[Option<NatPlan>]) -> TunnelPlan {
    let on = |feature| features.contains(&feature);
    let starts = [
        [Start::Always, Start::Always],
        [Start::Always, Start::Always],
        [Start::Always, Start::Manual],
        [Start::Manual, Start::Always],
        [Start::Always, Start::OnDemand],
        [Start::OnDemand, Start::OnDemand],
        [Start::Manual, Start::Manual],
    ];
    let mut start = dice.pick(&starts);
    if ends.iter().any(|end| nats[*end].is_some()) {
        // Only from inside can a mapping be made. If both are inside, somebody has forwarded the ports.
        start = [Start::Always, dice.pick(&[Start::Manual, Start::Always])];
        if nats[ends[0]].is_none() {
            start.reverse();
        }
    }
    let eap = (on(Feature::Eap) && dice.chance(700)).then_some(0);
    let eap = eap.map(|_| start.iter().position(|start| *start == Start::Always).unwrap_or(0));
    if let Some(client) = eap {
        // RFC 7296 §2.16: EAP is for initiators.
        start[1 - client] = Start::Manual;
    }
    let mut suites_dice = Dice::new(dice.next(), 0);
    let slow = suites_dice.chance(60);
    let (mut ike, mut esp) = ([vec![GCM], vec![GCM]], [vec![ESP], vec![ESP]]);
    if on(Feature::Suites) {
        let all: Vec<_> = FAST.into_iter().chain(SLOW).collect();
        ike = lists(&mut suites_dice, if slow { &all } else { &FAST });
        esp = lists(&mut suites_dice, if slow { &ESP_SUITES } else { &ESP_SUITES[..4] });
    } else if suites_dice.chance(300) {
        let suite = EspSuite { group: None, ..ESP };
        esp = [vec![suite], vec![suite]];
    }
    if on(Feature::Quantum) {
        // Some would rather have ML-KEM, some take nothing else; the other side may not have it.
        let (quantum, esp_quantum) = (QUANTUM, EspSuite { additional: QUANTUM.additional, ..ESP });
        let [mine, theirs] = suites_dice.pick(&[[true, true], [true, true], [true, false], [false, true]]);
        for (list, has) in ike.iter_mut().zip([mine, theirs]) {
            if has {
                list.insert(0, quantum);
            }
        }
        if suites_dice.chance(300) {
            for (list, has) in esp.iter_mut().zip([mine, theirs]) {
                if has {
                    list.insert(0, esp_quantum);
                }
            }
        }
    }
    let mut shape_dice = Dice::new(dice.next(), 0);
    let shapes = if on(Feature::Shapes) { u16::try_from(shape_dice.between(2, 3)).unwrap_or(2) } else { 1 };
    let wide = (on(Feature::Wide) && shapes == 1).then(|| shape_dice.index(2));
    let mut life_dice = Dice::new(dice.next(), 0);
    let mut life = |least: u64, most: u64| {
        [(); 2].map(|()| {
            let soft = life_dice.millis(least, most);
            let hard = soft + life_dice.millis(10_000, 60_000);
            if on(Feature::ShortLife) { [soft, hard] } else { [NEVER / 2, NEVER] }
        })
    };
    let (child_life, ike_life) = (life(3000, 25_000), life(5000, 60_000));
    let mut limit_dice = Dice::new(dice.next(), 0);
    let soft = limit_dice.between(5, 60);
    let hard = soft * limit_dice.between(3, 20) + 20;
    let packets = if on(Feature::FewPackets) { [soft, hard] } else { [1 << 30, 1 << 40] };
    let mut line_dice = Dice::new(dice.next(), 0);
    let heavy = line_dice.chance(300);
    let lines = [(); 2].map(|()| {
        let delay = line_dice.pick(&[1, 5, 20, 60, 150]);
        let rates = [(); 3].map(|()| line_dice.next());
        let rate = |feature, index: usize, most: u64| if on(feature) { rates[index] % most + 1 } else { 0 };
        let jitter = line_dice.millis(1, 300);
        let mtu = line_dice.pick(&[576, 1280, 1400]);
        Line {
            delay: Duration::from_millis(delay),
            jitter: if on(Feature::Reorder) { jitter } else { Duration::ZERO },
            loss: rate(Feature::Loss, 0, if heavy { 500 } else { 150 }),
            duplicate: rate(Feature::Duplicate, 1, 300),
            corrupt: rate(Feature::Corrupt, 2, 50),
            mtu: if on(Feature::Mtu) { mtu } else { 65_535 },
        }
    });
    TunnelPlan {
        ends,
        start,
        ike,
        esp,
        // By EAP the responder proves itself first, and cannot know which key its peer has.
        keys: if on(Feature::Keys) && eap.is_none() {
            dice.pick(&[
                [&["old", "new"][..], &["new", "old"][..]],
                [&["old"][..], &["new", "old"][..]],
                [&["old", "new"][..], &["new"][..]],
            ])
            .map(<[_]>::to_vec)
        } else {
            [vec!["only"], vec!["only"]]
        },
        eap,
        fragmentation: [dice.chance(800), dice.chance(800)],
        shapes,
        wide,
        force_encapsulation: dice.chance(100),
        replay_window: dice.pick(&[64, 64, 1024]),
        liveness: [dice.millis(1000, 4000), dice.millis(1000, 4000)],
        child_life,
        packets,
        ike_life,
        jitter: u32::try_from(dice.pick(&[0, 10, 30])).unwrap_or(0),
        lines,
        pace: dice.millis(150, 1500),
    }
}
