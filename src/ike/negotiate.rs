//! Proposals (RFC 7296 §2.7, §3.3): made, chosen from as responder, and checked as initiator.
//!
//! We offer one proposal for each configured suite, with exactly one transform of each type. So GCM and CBC never share
//! a proposal (RFC 5282 §8, and what Cisco's policies can hold), and a suite that was not configured cannot be put
//! together from the pieces of others.

use crate::crypto::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, Mac, PrfAlg};
use crate::ike::limits;
use crate::sa::spi::Spi;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::{Encr, Esn, Integ, KeMethod, Prf, ProtocolId, TransformType};
use crate::wire::ike::payload::{Proposal, Sa, Transform, TransformAttribute};

/// Where an ESP proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// RFC 7296 §1.2: the first child SA's keys come from the IKE SA, its proposals name no key exchange.
    IkeAuth,
    /// §1.3.1: a key exchange of its own, if the suite has one.
    CreateChildSa,
}

/// `ours` with the suite in use in front: the peer has taken it once, and its group needs no second try.
pub fn in_use_first<S: Copy + PartialEq>(ours: &[S], in_use: S) -> Vec<S> {
    let (mut first, others): (Vec<S>, Vec<S>) = ours.iter().copied().partition(|suite| *suite == in_use);
    first.extend(others);
    first
}

/// The number of a group in the registry.
pub fn method(group: Group) -> KeMethod {
    group.method()
}

/// The transforms of key exchanges that follow the first one (RFC 9370 §2.2.1).
fn further(additional: Additional) -> Vec<Transform> {
    additional.iter().map(|(place, group)| Transform::additional(place, group.method())).collect()
}

fn encr(cipher: Cipher) -> Transform {
    match cipher {
        Cipher::Aes256Gcm16 => Transform::encr(Encr::AES_GCM_16, Some(256)),
        Cipher::Aes128Gcm16 => Transform::encr(Encr::AES_GCM_16, Some(128)),
        // RFC 7634 §4: the key has one length, so there is no Key Length attribute.
        Cipher::ChaCha20Poly1305 => Transform::encr(Encr::CHACHA20_POLY1305, None),
        Cipher::Aes256Cbc => Transform::encr(Encr::AES_CBC, Some(256)),
    }
}

fn integ(mac: Mac) -> Transform {
    Transform::integ(match mac {
        Mac::HmacSha256 => Integ::HMAC_SHA2_256_128,
        Mac::HmacSha384 => Integ::HMAC_SHA2_384_192,
        Mac::HmacSha512 => Integ::HMAC_SHA2_512_256,
    })
}

fn prf(prf: PrfAlg) -> Transform {
    Transform::prf(match prf {
        PrfAlg::HmacSha256 => Prf::HMAC_SHA2_256,
        PrfAlg::HmacSha384 => Prf::HMAC_SHA2_384,
        PrfAlg::HmacSha512 => Prf::HMAC_SHA2_512,
    })
}

fn ike_transforms(suite: IkeSuite) -> Vec<Transform> {
    // RFC 7296 §3.3.3: for IKE ENCR, PRF, INTEG and KE; RFC 5282 §8: no INTEG beside an AEAD cipher.
    let parts = [Some(encr(suite.cipher)), Some(prf(suite.prf)), suite.mac.map(integ)];
    let group = Transform::ke(method(suite.group));
    parts.into_iter().flatten().chain([group]).chain(further(suite.additional)).collect()
}

fn esp_transforms(suite: EspSuite, place: Place) -> Vec<Transform> {
    let group = suite.group.filter(|_| place == Place::CreateChildSa);
    let esn = Transform::esn(if suite.esn { Esn::YES } else { Esn::NO });
    let parts =
        [Some(encr(suite.cipher)), suite.mac.map(integ), group.map(|group| Transform::ke(method(group))), Some(esn)];
    // RFC 9370 §2.2.4: like the first key exchange, those that follow have no place in IKE_AUTH.
    let further = group.map(|_| further(suite.additional)).unwrap_or_default();
    parts.into_iter().flatten().chain(further).collect()
}

/// Numbers the proposals from 1 (RFC 7296 §3.3.1) and leaves out repetitions.
fn sa(protocol: ProtocolId, spi: &[u8], transforms: impl Iterator<Item = Vec<Transform>>) -> Sa {
    let mut proposals: Vec<Proposal> = Vec::new();
    for transforms in transforms {
        if proposals.iter().any(|proposal| proposal.transforms == transforms) {
            continue;
        }
        let Some(number) = u8::try_from(proposals.len() + 1).ok() else { break };
        proposals.push(Proposal { number, protocol, spi: spi.to_vec(), transforms });
    }
    Sa { proposals }
}

/// What we offer in IKE_SA_INIT.
pub fn ike_offer(suites: &[IkeSuite]) -> Sa {
    sa(ProtocolId::IKE, &[], suites.iter().map(|suite| ike_transforms(*suite)))
}

/// What we offer in place of an IKE SA, under our new SPI.
pub fn ike_rekey_offer(suites: &[IkeSuite], spi: IkeSpi) -> Sa {
    sa(ProtocolId::IKE, &spi.to_be_bytes(), suites.iter().map(|suite| ike_transforms(*suite)))
}

/// What we offer for a child SA that receives under `spi`.
pub fn esp_offer(suites: &[EspSuite], spi: Spi, place: Place) -> Sa {
    sa(ProtocolId::ESP, &spi.get().to_be_bytes(), suites.iter().map(|suite| esp_transforms(*suite, place)))
}

/// Whether the agreement lets this cipher be used at all: the second look, after that of the configuration.
fn permitted(cipher: Cipher, lab: bool) -> bool {
    lab || cipher.is_aes256()
}

/// A suite that both sides have, and the proposal that says so to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<S> {
    /// The suite.
    pub suite: S,
    /// One transform of each type, with the number of the peer's proposal and the peer's SPI.
    pub proposal: Proposal,
}

/// As responder: the first of our suites that one of the peer's proposals holds. `further`: whether the peer can make the
/// key exchanges that follow the first one.
pub fn choose_ike(offered: &Sa, ours: &[IkeSuite], lab: bool, further: bool) -> Option<Chosen<IkeSuite>> {
    let possible = |suite: &&IkeSuite| permitted(suite.cipher, lab) && (further || suite.additional.is_empty());
    ours.iter().filter(possible).find_map(|suite| {
        let wanted = ike_transforms(*suite);
        offered.proposals.iter().filter(|proposal| proposal.protocol == ProtocolId::IKE).find_map(|proposal| {
            let transforms = pick(proposal, &wanted, |_| false)?;
            Some(Chosen { suite: *suite, proposal: Proposal { transforms, ..proposal.clone() } })
        })
    })
}

/// As responder: the same for a child SA. Proposals without a usable SPI are passed over.
pub fn choose_esp(offered: &Sa, ours: &[EspSuite], lab: bool, place: Place) -> Option<(Chosen<EspSuite>, Spi)> {
    ours.iter().filter(|suite| permitted(suite.cipher, lab)).find_map(|suite| {
        let wanted = esp_transforms(*suite, place);
        offered.proposals.iter().filter(|proposal| proposal.protocol == ProtocolId::ESP).find_map(|proposal| {
            let spi = Spi::new(proposal.esp_spi()?)?;
            // In IKE_AUTH a group is meant for later, whatever it is; one is echoed, and none is used.
            let any_group = place == Place::IkeAuth;
            let transforms =
                pick(proposal, &wanted, |kind| any_group && (kind == TransformType::KE || kind.is_additional()))?;
            Some((Chosen { suite: *suite, proposal: Proposal { transforms, ..proposal.clone() } }, spi))
        })
    })
}

/// One transform of each type in `proposal`: those of `wanted`, NONE for an integrity algorithm or key exchange that is
/// not wanted, or the first of a type that `any` lets pass.
fn pick(proposal: &Proposal, wanted: &[Transform], any: impl Fn(TransformType) -> bool) -> Option<Vec<Transform>> {
    let mut picked = Vec::with_capacity(wanted.len());
    for transform in wanted {
        match proposal.transforms_of(transform.kind).find(|offered| same(offered, transform)) {
            Some(offered) => picked.push(offered.clone()),
            // Peers that know no ESN may leave the transform out; RFC 7296 §3.3.3 makes it mandatory, "no" is what it means.
            None if *transform == Transform::esn(Esn::NO)
                && proposal.transforms_of(TransformType::ESN).next().is_none() => {}
            None => return None,
        }
    }
    let mut others: Vec<TransformType> = proposal.transforms.iter().map(|transform| transform.kind).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|kind| !wanted.iter().any(|transform| transform.kind == *kind));
    for kind in others {
        let none = match kind {
            TransformType::INTEG => Transform::integ(Integ::NONE),
            // RFC 9370 §2.2.1: NONE among the transforms of an additional key exchange makes it optional.
            kind if kind == TransformType::KE || kind.is_additional() => Transform::new(kind, KeMethod::NONE.0),
            // RFC 7296 §3.3.6: a proposal with a transform type that is not understood cannot be accepted.
            _ => return None,
        };
        let mut offered = proposal.transforms_of(kind);
        let echoed = proposal.transforms_of(kind).find(|offered| same(offered, &none));
        picked.push(echoed.or_else(|| if any(kind) { offered.next() } else { None })?.clone());
    }
    Some(picked)
}

/// Same type and number, and the same key length and nothing else in the attributes.
fn same(offered: &Transform, wanted: &Transform) -> bool {
    // RFC 7296 §3.3.6: a transform with an attribute that is not understood cannot be chosen.
    offered.kind == wanted.kind && offered.id == wanted.id && offered.attributes == wanted.attributes
}

/// As initiator: the suite of ours that the peer's answer names.
pub fn accept_ike(answer: &Sa, ours: &[IkeSuite], lab: bool) -> Option<IkeSuite> {
    let offer = ike_offer(ours);
    let chosen = accepted(answer, &offer)?;
    let suite = ours.iter().find(|suite| same_set(&ike_transforms(**suite), &chosen.transforms))?;
    permitted(suite.cipher, lab).then_some(*suite)
}

/// As initiator: the same for a child SA, with the peer's SPI. The group of the suite is what was configured, also
/// where the proposal could not name it.
pub fn accept_esp(answer: &Sa, ours: &[EspSuite], lab: bool, place: Place) -> Option<(EspSuite, Spi)> {
    let offer = sa(ProtocolId::ESP, &[], ours.iter().map(|suite| esp_transforms(*suite, place)));
    let chosen = accepted(answer, &offer)?;
    let suite = ours.iter().find(|suite| same_set(&esp_transforms(**suite, place), &chosen.transforms))?;
    let spi = Spi::new(answer.proposals.first()?.esp_spi()?)?;
    permitted(suite.cipher, lab).then_some((*suite, spi))
}

/// Whether what one side offers fails at nothing but that we ask for post-quantum key exchanges beside the others: the
/// other side has none, or somebody has taken them out of its message.
pub fn lacks_post_quantum(theirs: &Sa, ours: &[IkeSuite], lab: bool) -> bool {
    let required = !ours.is_empty() && ours.iter().all(|suite| suite.additional.is_post_quantum());
    let classical: Vec<_> = ours.iter().map(|suite| IkeSuite { additional: Additional::NONE, ..*suite }).collect();
    required && choose_ike(theirs, &classical, lab, false).is_some()
}

/// The same for a child SA.
pub fn child_lacks_post_quantum(theirs: &Sa, ours: &[EspSuite], lab: bool, place: Place) -> bool {
    let required = !ours.is_empty() && ours.iter().all(|suite| suite.additional.is_post_quantum());
    let classical: Vec<_> = ours.iter().map(|suite| EspSuite { additional: Additional::NONE, ..*suite }).collect();
    required && place == Place::CreateChildSa && choose_esp(theirs, &classical, lab, place).is_some()
}

/// RFC 7296 §2.7: the responder "MUST choose a single proposal" and answers with its number; §3.3: the answer must be
/// "consistent with one of the proposals" offered.
fn accepted<'a>(answer: &Sa, offer: &'a Sa) -> Option<&'a Proposal> {
    let [answer] = answer.proposals.as_slice() else { return None };
    let offered = offer.proposals.iter().find(|offered| offered.number == answer.number)?;
    let matches = answer.protocol == offered.protocol && same_set(&offered.transforms, &answer.transforms);
    matches.then_some(offered)
}

/// The same transforms in whatever order. Ours never repeat a type, so equal length and inclusion are equality.
fn same_set(ours: &[Transform], theirs: &[Transform]) -> bool {
    ours.len() == theirs.len() && ours.iter().all(|transform| theirs.contains(transform))
}

/// What was offered against what, in names and numbers of the registries only.
pub fn compare(ours: &Sa, theirs: Option<&Sa>) -> String {
    let mut text = format!("ours: {}", describe(ours));
    if let Some(theirs) = theirs {
        text += "; theirs: ";
        text += &describe(theirs);
    }
    if text.len() > limits::MAX_DETAIL {
        let end = text.floor_char_boundary(limits::MAX_DETAIL);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

fn describe(sa: &Sa) -> String {
    let proposals = sa.proposals.iter().map(|proposal| {
        let transforms: Vec<_> = proposal.transforms.iter().take(64).map(name).collect();
        format!("{} {}", proposal.protocol, transforms.join(" "))
    });
    proposals.take(16).collect::<Vec<_>>().join(" | ")
}

fn name(transform: &Transform) -> String {
    let name = match transform.kind {
        TransformType::ENCR => Encr(transform.id).to_string(),
        TransformType::PRF => Prf(transform.id).to_string(),
        TransformType::INTEG => Integ(transform.id).to_string(),
        TransformType::KE => KeMethod(transform.id).to_string(),
        TransformType::ESN => Esn(transform.id).to_string(),
        other if other.is_additional() => format!("{other}:{}", KeMethod(transform.id)),
        other => format!("{other}/{}", transform.id),
    };
    match transform.attributes.first() {
        Some(TransformAttribute::KeyLength(bits)) => format!("{name}-{bits}"),
        Some(_) => format!("{name}+"),
        None => name,
    }
}

#[cfg(test)]
#[path = "tests/negotiate.rs"]
mod tests;
