//! One tunnel: what its two ends are configured with, and the line between them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Feature, NEVER, NatPlan};
use crate::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::config::{Childless, Start};
use crate::sim::dice::Dice;

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

/// A further gateway that is the same peer.
#[derive(Clone, Copy, Debug)]
pub struct HeadEnd {
    /// Which one.
    pub gateway: usize,
    /// For how long the first one has to answer before it gets the tunnel back.
    pub fail_back: Option<Duration>,
}

/// One tunnel, as its two gateways have it.
#[derive(Clone, Debug)]
pub struct TunnelPlan {
    /// The two gateways.
    pub ends: [usize; 2],
    /// What the first of them may use in place of the second one.
    pub second: Option<HeadEnd>,
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
    /// Which side proves itself by a certificate, if it does not by EAP.
    pub certificates: [bool; 2],
    /// Whether each side has the postquantum key, and takes nothing without it.
    pub ppk: [Option<bool>; 2],
    /// What each does with IKE SAs that have no child SA.
    pub childless: [Childless; 2],
    /// Whether either side may move.
    pub mobike: bool,
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
const ESP_SUITES: [EspSuite; 6] = [
    ESP,
    EspSuite { group: None, ..ESP },
    EspSuite { group: None, cipher: Cipher::Aes128Gcm16, ..ESP },
    EspSuite { esn: false, ..ESP },
    EspSuite { cipher: Cipher::Aes256Cbc, mac: Some(Mac::HmacSha256), group: None, esn: false, ..ESP },
    EspSuite { group: Some(Group::Ecp256), ..ESP },
];

impl TunnelPlan {
    /// The second end is two gateways, and the first end opens the tunnel with either.
    pub(super) fn add_head_end(&mut self, dice: &mut Dice, gateway: usize) {
        let after = dice.millis(4000, 15_000);
        self.second = Some(HeadEnd { gateway, fail_back: dice.chance(750).then_some(after) });
        self.start = [Start::Always, Start::Manual];
        self.eap = self.eap.map(|_| 0);
        // Where the peer may be its head-ends say.
        self.mobike = false;
        // A head-end whose IKE SA nobody rekeys opens another one by itself: a choice that is not gone back from.
        self.ike_life[1] = [NEVER / 2, NEVER];
    }

    /// Which end of it a gateway is.
    #[must_use]
    pub fn end_of(&self, gateway: usize) -> Option<usize> {
        let second = self.second.is_some_and(|head| head.gateway == gateway);
        self.ends.iter().position(|end| *end == gateway).or(second.then_some(1))
    }

    /// The hosts of a shape of the tunnel with this number: behind one end, and behind the other one.
    #[must_use]
    pub fn hosts(&self, number: usize, shape: u16, end: usize) -> [IpAddr; 2] {
        let octet = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
        [self.ends[end], self.ends[1 - end]]
            .map(|gateway| Ipv4Addr::new(10, octet(gateway + 1), octet(number), octet(usize::from(shape) + 1)).into())
    }

    /// Every gateway of it: the two ends, and the second head-end.
    pub fn gateways(&self) -> impl Iterator<Item = usize> + use<> {
        self.ends.into_iter().chain(self.second.map(|head| head.gateway))
    }
}

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

/// Draws one.
pub(super) fn draw(
    dice: &mut Dice,
    ends: [usize; 2],
    features: &BTreeSet<Feature>,
    nats: &[Option<NatPlan>],
) -> TunnelPlan {
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
        esp = lists(&mut suites_dice, if slow { &ESP_SUITES } else { &ESP_SUITES[..5] });
    } else if suites_dice.chance(700) {
        // Most of what a seed costs are its key exchanges: in most seeds child SAs are rekeyed without one.
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
    let (far, close) = (soft * limit_dice.between(3, 20) + 20, limit_dice.between(1, 6));
    // Where packets may be lost, a hard limit may be so near that no rekeying is fast enough.
    let harmful = features.iter().any(|feature| Feature::HARMFUL.contains(feature));
    let (soft, hard) = if harmful && limit_dice.chance(300) { (soft + 20, soft + 20 + close) } else { (soft, far) };
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
    let mut plan = TunnelPlan {
        ends,
        second: None,
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
        certificates: {
            let ends = dice.pick(&[[true, true], [true, true], [true, false], [false, true]]);
            if on(Feature::Certificates) { ends } else { [false; 2] }
        },
        // RFC 8784 knows nothing of EAP.
        ppk: {
            let (must, may) = (Some(true), Some(false));
            let ends = dice.pick(&[[must, must], [may, may], [must, may], [may, None], [None, may]]);
            if on(Feature::Ppk) && eap.is_none() { ends } else { [None; 2] }
        },
        childless: {
            let all = [Childless::Allow, Childless::Prefer, Childless::Prefer, Childless::Off];
            let ends = [(); 2].map(|()| dice.pick(&all));
            if on(Feature::Childless) { ends } else { [Childless::Allow; 2] }
        },
        mobike: dice.chance(900) && on(Feature::Mobike),
    };
    if plan.certificates != [false; 2] {
        // Who is asked by a certificate cannot know either which key its peer has.
        plan.keys = [vec!["only"], vec!["only"]];
    }
    plan
}
