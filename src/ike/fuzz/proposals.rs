//! Choosing a proposal (RFC 7296 §2.7, §3.3) against trying every combination of transforms that was offered.

use crate::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::limits;
use crate::ike::negotiate::{self, Chosen, Place};
use crate::sa::spi::Spi;
use crate::wire::ike::numbers::{Encr, Esn, Integ, KeMethod, ProtocolId, TransformType};
use crate::wire::ike::payload::{Proposal, Sa, Transform, TransformAttribute};

/// Suites that a side has, at most.
const MOST_SUITES: usize = 4;
/// Transforms of a proposal, at most: the combinations of so many are tried.
const MOST_TRANSFORMS: usize = 9;

const CIPHERS: [Cipher; 4] = [Cipher::Aes256Gcm16, Cipher::Aes256Cbc, Cipher::Aes128Gcm16, Cipher::ChaCha20Poly1305];
const MACS: [Mac; 3] = [Mac::HmacSha256, Mac::HmacSha384, Mac::HmacSha512];
const PRFS: [PrfAlg; 3] = [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512];
const GROUPS: [Group; 4] = [Group::Ecp384, Group::Curve25519, Group::Modp2048, Group::Ecp256];

/// The first byte says what is negotiated, the second how many suites each side has; suites of four bytes follow, and
/// proposals: a byte for number and SPI, one for protocol and count, two for each transform.
pub fn proposals(data: &[u8]) {
    let Some(([flags, counts], mut rest)) = data.split_first_chunk() else { return };
    let flag = |bit: u8| flags & 1 << bit != 0;
    let (lab, further) = (flag(0), flag(1));
    let mut suites = |count: u8| {
        let count = usize::from(count) % (MOST_SUITES + 1);
        (0..count).map_while(|_| take::<4>(&mut rest)).collect::<Vec<_>>()
    };
    let (ours, theirs) = (suites(counts & 15), suites(counts >> 4));
    let offered = offer(rest);
    let text = negotiate::compare(&offered, Some(&offered));
    assert!(text.len() <= limits::MAX_DETAIL + 4, "words without a bound");
    if flag(2) {
        let place = if flag(3) { Place::IkeAuth } else { Place::CreateChildSa };
        let (ours, theirs) = (ours.map_all(esp_suite), theirs.map_all(esp_suite));
        esp(&offered, &ours, &theirs, lab, place);
    } else {
        let (ours, theirs) = (ours.map_all(ike_suite), theirs.map_all(ike_suite));
        ike(&offered, &ours, &theirs, lab, further);
    }
}

trait MapAll {
    fn map_all<S>(self, make: fn([u8; 4]) -> S) -> Vec<S>;
}

impl MapAll for Vec<[u8; 4]> {
    fn map_all<S>(self, make: fn([u8; 4]) -> S) -> Vec<S> {
        self.into_iter().map(make).collect()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(*bytes)
}

fn cipher([a, ..]: [u8; 4]) -> (Cipher, Option<Mac>) {
    let cipher = CIPHERS[usize::from(a & 3)];
    (cipher, (!cipher.is_aead()).then_some(MACS[usize::from(a >> 2) % 3]))
}

fn additional(choice: u8) -> Additional {
    let mut all = Additional::NONE;
    for (bit, place, group) in [(0, 1, Group::MlKem768), (1, 2, Group::MlKem1024), (2, 7, Group::Ecp256)] {
        if choice & 1 << bit != 0 {
            all.put(place, group);
        }
    }
    all
}

fn ike_suite(bytes @ [_, b, c, d]: [u8; 4]) -> IkeSuite {
    let (cipher, mac) = cipher(bytes);
    let (prf, group) = (PRFS[usize::from(b) % 3], GROUPS[usize::from(c & 3)]);
    IkeSuite { cipher, mac, prf, group, additional: additional(d) }
}

fn esp_suite(bytes @ [_, b, c, d]: [u8; 4]) -> EspSuite {
    let (cipher, mac) = cipher(bytes);
    let group = (c & 4 != 0).then_some(GROUPS[usize::from(c & 3)]);
    // What follows has to follow something.
    let additional = if group.is_some() { additional(d) } else { Additional::NONE };
    EspSuite { cipher, mac, group, additional, esn: b & 1 != 0 }
}

/// What a peer may say: sense, and what no suite of ours is made of.
fn offer(mut rest: &[u8]) -> Sa {
    let mut proposals = Vec::new();
    while let Some([number, what]) = take::<2>(&mut rest) {
        let transforms = (0..usize::from(what >> 4).min(MOST_TRANSFORMS)).map_while(|_| take::<2>(&mut rest));
        let usable = [0, 0, 1, number];
        let spi = [&[][..], &usable, &[0; 4], &[7; 8], &[0, 0, 0, 255]][usize::from(what & 15) / 3 % 5];
        let protocol = [ProtocolId::IKE, ProtocolId::ESP, ProtocolId::AH][usize::from(what & 15) % 3];
        let transforms = transforms.map(transform).collect();
        proposals.push(Proposal { number: number >> 2, protocol, spi: spi.to_vec(), transforms });
    }
    Sa { proposals }
}

fn transform([kind, which]: [u8; 2]) -> Transform {
    let of = |numbers: &[u16]| numbers[usize::from(which & 15) % numbers.len()];
    let (kind, id) = match kind % 16 {
        0 | 1 => (TransformType::ENCR, of(&[Encr::AES_GCM_16.0, Encr::AES_CBC.0, Encr::CHACHA20_POLY1305.0, 3])),
        2 => (TransformType::PRF, of(&[5, 6, 7, 2])),
        3 | 4 => (TransformType::INTEG, of(&[Integ::NONE.0, 12, 13, 14, 2])),
        5 | 6 => (TransformType::KE, of(&[KeMethod::NONE.0, 20, 31, 14, 19, 2])),
        7 | 8 => (TransformType::ESN, of(&[0, 1, 2])),
        9 | 10 => (TransformType(6), of(&[0, KeMethod::ML_KEM_768.0, KeMethod::ML_KEM_1024.0, 19])),
        11 | 12 => (TransformType(7), of(&[0, KeMethod::ML_KEM_1024.0, KeMethod::ML_KEM_768.0])),
        13 => (TransformType(12), of(&[0, 19, 20])),
        14 => (TransformType(13), of(&[0, 1])),
        _ => (TransformType(kind), u16::from(which)),
    };
    let attributes = match (kind, which >> 4) {
        (TransformType::ENCR, 0..=5) => vec![TransformAttribute::KeyLength(256)],
        (TransformType::ENCR, 6 | 7) => vec![TransformAttribute::KeyLength(128)],
        (_, 13) => vec![TransformAttribute::Short { kind: 99, value: 1 }],
        (_, 14) => vec![TransformAttribute::Long { kind: 99, value: vec![which] }],
        (_, 15) => vec![TransformAttribute::KeyLength(256), TransformAttribute::KeyLength(256)],
        _ => Vec::new(),
    };
    Transform { kind, id, attributes }
}

/// The transforms that mean a suite, by the registries.
fn meaning(cipher: Cipher, mac: Option<Mac>, group: Option<Group>, additional: Additional) -> Vec<Transform> {
    let (encr, bits) = cipher.encr();
    let mut all = vec![Transform::encr(encr, bits)];
    all.extend(mac.map(|mac| Transform::integ(mac.integ())));
    all.extend(group.map(|group| Transform::ke(group.method())));
    all.extend(additional.iter().map(|(place, group)| Transform::new(TransformType(5 + place), group.method().0)));
    all
}

fn of_ike(suite: &IkeSuite) -> Vec<Transform> {
    let mut all = meaning(suite.cipher, suite.mac, Some(suite.group), suite.additional);
    all.push(Transform::prf(suite.prf.number()));
    all
}

fn of_esp(suite: &EspSuite, place: Place) -> Vec<Transform> {
    let (group, additional) = match place {
        Place::IkeAuth => (None, Additional::NONE),
        Place::CreateChildSa => (suite.group, suite.additional),
    };
    let mut all = meaning(suite.cipher, suite.mac, group, additional);
    all.push(Transform::esn(if suite.esn { Esn::YES } else { Esn::NO }));
    all
}

fn is_key_exchange(kind: TransformType) -> bool {
    kind == TransformType::KE || (6..=12).contains(&kind.0)
}

/// Every choice of one transform of each type.
fn combinations(proposal: &Proposal) -> Vec<Vec<&Transform>> {
    let mut kinds: Vec<_> = proposal.transforms.iter().map(|transform| transform.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().fold(vec![Vec::new()], |all, kind| {
        let of_kind = || proposal.transforms.iter().filter(move |transform| transform.kind == kind);
        all.iter().flat_map(|front| of_kind().map(move |last| [front.as_slice(), &[last]].concat())).collect()
    })
}

/// Whether one of the combinations means what `wanted` says. `unused`: key exchanges are for later, whatever they are.
fn holds(proposal: &Proposal, wanted: &[Transform], unused: bool) -> bool {
    combinations(proposal).iter().any(|combination| {
        let none = |transform: &Transform| {
            let optional = transform.kind == TransformType::INTEG || is_key_exchange(transform.kind);
            optional && transform.id == 0 && transform.attributes.is_empty()
        };
        let ignored = |transform: &Transform| none(transform) || unused && is_key_exchange(transform.kind);
        let mut said: Vec<&Transform> = combination.iter().copied().filter(|transform| !ignored(transform)).collect();
        let no_esn = Transform::esn(Esn::NO);
        // Who knows no extended sequence numbers says nothing of them.
        if wanted.contains(&no_esn) && combination.iter().all(|transform| transform.kind != TransformType::ESN) {
            said.push(&no_esn);
        }
        said.len() == wanted.len() && wanted.iter().all(|transform| said.contains(&transform))
    })
}

/// What was chosen is one of what was offered, with one transform of each of its types, and means what `wanted` says.
fn consistent<S>(chosen: &Chosen<S>, offered: &Proposal, wanted: &[Transform], unused: bool) {
    let Proposal { number, protocol, spi, transforms } = &chosen.proposal;
    assert_eq!((number, protocol, spi), (&offered.number, &offered.protocol, &offered.spi));
    assert!(
        transforms.iter().all(|transform| offered.transforms.contains(transform)),
        "a transform that was not offered"
    );
    for transform in &offered.transforms {
        let of_kind = transforms.iter().filter(|of| of.kind == transform.kind).count();
        assert_eq!(of_kind, 1, "not one transform of type {}", transform.kind);
    }
    assert!(holds(&chosen.proposal, wanted, unused), "chosen, but not what it means");
}

/// RFC 5282 and the agreement: AES with 256 bits, where it is no laboratory.
fn strong(cipher: Cipher, lab: bool) -> bool {
    lab || cipher.encr().1 == Some(256)
}

fn ike(offered: &Sa, ours: &[IkeSuite], theirs: &[IkeSuite], lab: bool, further: bool) {
    let possible = |suite: &&IkeSuite| strong(suite.cipher, lab) && (further || suite.additional.iter().count() == 0);
    let fits = |proposal: &&Proposal, suite: &IkeSuite| {
        proposal.protocol == ProtocolId::IKE && holds(proposal, &of_ike(suite), false)
    };
    for offered in [offered, &negotiate::ike_offer(theirs)] {
        let first = |suite: &IkeSuite| offered.proposals.iter().find(|proposal| fits(proposal, suite));
        let expected = ours.iter().filter(possible).find_map(|suite| Some((*suite, first(suite)?)));
        let chosen = negotiate::choose_ike(offered, ours, lab, further);
        assert_eq!(chosen.as_ref().map(|chosen| chosen.suite), expected.map(|(suite, _)| suite));
        if let (Some(chosen), Some((suite, proposal))) = (&chosen, expected) {
            consistent(chosen, proposal, &of_ike(&suite), false);
        }
        // An answer, which nobody need have meant.
        if let Some(suite) = negotiate::accept_ike(offered, theirs, lab) {
            assert!(theirs.contains(&suite) && strong(suite.cipher, lab), "a suite that was not offered");
            assert!(offered.proposals.len() == 1 && fits(&&offered.proposals[0], &suite));
        }
        if negotiate::lacks_post_quantum(offered, ours, lab) {
            assert!(ours.iter().all(|suite| suite.additional.is_post_quantum()));
            assert_eq!(negotiate::choose_ike(offered, ours, lab, false), None);
        }
    }
    let common = ours.iter().filter(possible).find(|suite| theirs.contains(suite));
    let chosen = negotiate::choose_ike(&negotiate::ike_offer(theirs), ours, lab, further);
    assert_eq!(chosen.as_ref().map(|chosen| &chosen.suite), common, "not the first that both have");
    if let Some(Chosen { suite, proposal }) = chosen {
        let accept = |proposal| negotiate::accept_ike(&Sa { proposals: vec![proposal] }, theirs, lab);
        assert_eq!(accept(proposal.clone()), Some(suite));
        for flaw in flaws(&proposal) {
            assert_eq!(accept(flaw), None, "nobody offered that");
        }
    }
}

fn esp(offered: &Sa, ours: &[EspSuite], theirs: &[EspSuite], lab: bool, place: Place) {
    let unused = place == Place::IkeAuth;
    let spi = |proposal: &Proposal| {
        // RFC 4303 §2.1: 0 to 255 are reserved.
        let spi = u32::from_be_bytes(*proposal.spi.first_chunk()?);
        (proposal.spi.len() == 4 && spi > 255).then_some(spi)
    };
    let fits = |proposal: &&Proposal, suite: &EspSuite| {
        let usable = proposal.protocol == ProtocolId::ESP && spi(proposal).is_some();
        usable && holds(proposal, &of_esp(suite, place), unused)
    };
    let own = Spi::new(0x1234_5678).expect("a usable SPI");
    for offered in [offered, &negotiate::esp_offer(theirs, own, place)] {
        let first = |suite: &EspSuite| offered.proposals.iter().find(|proposal| fits(proposal, suite));
        let possible = ours.iter().filter(|suite| strong(suite.cipher, lab));
        let expected = possible.clone().find_map(|suite| Some((*suite, first(suite)?)));
        let chosen = negotiate::choose_esp(offered, ours, lab, place);
        assert_eq!(chosen.as_ref().map(|(chosen, _)| chosen.suite), expected.map(|(suite, _)| suite));
        if let (Some((chosen, of)), Some((suite, proposal))) = (&chosen, expected) {
            assert_eq!(Some(of.get()), spi(proposal));
            consistent(chosen, proposal, &of_esp(&suite, place), unused);
        }
        if let Some((suite, of)) = negotiate::accept_esp(offered, theirs, lab, place) {
            assert!(theirs.contains(&suite) && strong(suite.cipher, lab), "a suite that was not offered");
            assert!(offered.proposals.len() == 1 && fits(&&offered.proposals[0], &suite));
            assert_eq!(Some(of.get()), spi(&offered.proposals[0]));
        }
        if negotiate::child_lacks_post_quantum(offered, ours, lab, place) {
            assert!(!unused && ours.iter().all(|suite| suite.additional.is_post_quantum()));
        }
    }
    // In IKE_AUTH no group is named, so none tells two suites apart.
    let same = |one: &EspSuite, other: &EspSuite| of_esp(one, place) == of_esp(other, place);
    let mut possible = ours.iter().filter(|suite| strong(suite.cipher, lab));
    let common = possible.find(|suite| theirs.iter().any(|theirs| same(suite, theirs)));
    let chosen = negotiate::choose_esp(&negotiate::esp_offer(theirs, own, place), ours, lab, place);
    assert_eq!(chosen.as_ref().map(|(chosen, _)| &chosen.suite), common, "not the first that both have");
    if let Some((Chosen { suite, proposal }, of)) = chosen {
        assert_eq!(of, own);
        let accept = |proposal| negotiate::accept_esp(&Sa { proposals: vec![proposal] }, theirs, lab, place);
        let accepted = accept(proposal.clone());
        assert!(accepted.is_some_and(|(theirs, _)| same(&theirs, &suite)), "what both have is not accepted");
        for flaw in flaws(&proposal) {
            assert_eq!(accept(flaw), None, "nobody offered that");
        }
    }
}

/// What is not consistent with an offer that this proposal is (§2.7, §3.3): each proposal of an offer is another one.
fn flaws(proposal: &Proposal) -> [Proposal; 4] {
    let mut flaws = [(); 4].map(|()| proposal.clone());
    flaws[0].number ^= 1;
    flaws[1].protocol = ProtocolId::AH;
    flaws[2].transforms.pop();
    flaws[3].transforms.extend_from_within(..1);
    flaws
}
