//! Seeds of the simulation, chosen among the first few hundred: each has what its name says and little else, and takes some
//! milliseconds.

use portcullis::sim::plan::Feature::{
    self, Attacker, Certificates, Childless, Cookies, Corrupt, Crash, Duplicate, Eap, FewPackets, Heads, Hostile, Keys,
    Lag, Loss, Mobike, Mtu, Nat, Operator, Ppk, Quantum, Reload, Renewal, Reorder, Shapes, ShortLife, Suites, Third,
    Tokens, V6, Wide,
};

use super::super::simulation::{COOKIES, FAR, NEAR, ONLY_STEPS, REAL_ESP};
use super::{Seed, steps};

/// What happens at which thousandth of the time of faults, to whom, and how.
type Happening = (u8, u64, u8, u8);

/// A seed of which only these features are left.
fn with(seed: u64, on: &[Feature], faults: u8, switches: u8, happens: &[Happening]) -> Vec<u8> {
    let off = Feature::ALL.into_iter().filter(|feature| !on.contains(feature));
    let off = off.fold(0_u64, |bits, feature| bits | 1 << feature as u32);
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend_from_slice(&off.to_le_bytes()[..5]);
    bytes.extend([faults, switches]);
    for (what, thousandth, who, how) in happens {
        let [low, high] = ((thousandth * 65_536 / 1000) as u16).to_le_bytes();
        steps::put(&mut bytes, *what, &[low, high, *who, *how]);
    }
    bytes
}

const CHILDREN: u8 = 0;
const IKE: u8 = 1;
const BOTH: u8 = 2;

pub(super) fn simulation() -> Vec<Seed> {
    let drawn = |seed, on: &[Feature]| with(seed, on, 255, 0, &[]);
    // Both sides at the same time, and at nearly the same time, over a line where nearly everything crosses, and over one where
    // little does.
    let collisions: Vec<Happening> = (1..=8_u8)
        .flat_map(|round| {
            let at = u64::from(round) * 110;
            let [one, other] =
                [[CHILDREN, CHILDREN], [IKE, IKE], [CHILDREN, IKE], [BOTH, BOTH]][usize::from(round) % 4];
            [(7, at, 0, one), (7, at + u64::from(round % 3) * 5, 1, other)]
        })
        .collect();
    let operators: Vec<Happening> = vec![
        (6, 100, 0, 9),
        (6, 200, 1, 9),
        (4, 300, 0, 0),
        (4, 400, 1, 1),
        (4, 450, 0, 2),
        (5, 500, 0, 3),
        (7, 520, 0, BOTH),
        (5, 700, 0, 8),
        (6, 800, 0, 4),
        (6, 801, 1, 4),
    ];
    let troubles: Vec<Happening> =
        vec![(0, 100, 0, 11), (1, 250, 1, 9), (2, 400, 0, 12), (3, 600, 1, 7), (0, 700, 0, 0x1c), (1, 900, 0, 5)];
    let moves: Vec<Happening> =
        vec![(8, 150, 0, 1), (8, 300, 1, 2), (7, 301, 0, BOTH), (8, 500, 0, 3), (8, 500, 1, 1), (8, 700, 0, 0)];
    vec![
        ("as_drawn", with(32, &Feature::ALL, 0, 0, &[])),
        ("calm", with(35, &Feature::ALL, 0, 0, &[])),
        ("moves", drawn(13, &[Mobike, Certificates, Tokens])),
        ("moves_behind_nat", drawn(32, &[Mobike, Nat, ShortLife])),
        ("moves_while_rekeying", with(59, &[Mobike, Renewal, V6], 255, FAR, &moves)),
        ("heads", drawn(83, &[Heads, Certificates])),
        ("heads_rekeyed", drawn(13, &[Heads, Renewal, Tokens])),
        ("eap_and_cookies", drawn(120, &[Eap, Cookies, Crash, Tokens])),
        ("eap_and_certificates", with(205, &[Eap, Certificates, Tokens], 100, COOKIES, &troubles)),
        ("postquantum_keys", drawn(59, &[Ppk, Suites, Renewal])),
        ("ml_kem", drawn(84, &[Ppk, Quantum])),
        ("ml_kem_rekeyed", drawn(5, &[Quantum, Renewal, ShortLife])),
        ("collisions_far", with(35, &[Shapes], 255, ONLY_STEPS | FAR, &collisions)),
        ("collisions_near", with(35, &[], 255, ONLY_STEPS | NEAR, &collisions)),
        ("collisions_of_ml_kem", with(5, &[Quantum], 200, ONLY_STEPS | FAR, &collisions)),
        ("lossy_rekeyings", drawn(116, &[Renewal, ShortLife, Shapes, Loss, Reorder])),
        ("lifetimes", drawn(27, &[ShortLife, Third, Childless])),
        ("operators", with(116, &[Renewal, Reload, Operator, Wide], 255, 0, &operators)),
        ("attacker", with(78, &[Attacker, Corrupt, Duplicate], 255, REAL_ESP | COOKIES, &[])),
        ("hostile", drawn(46, &[Hostile, ShortLife])),
        ("hostile_again", drawn(71, &[Hostile, ShortLife])),
        ("childless", drawn(303, &[Childless, Keys, Mtu])),
        ("few_packets", drawn(137, &[Third, FewPackets, Lag])),
        ("troubles", with(29, &[ShortLife, Tokens], 255, REAL_ESP, &troubles)),
    ]
}
