//! What differs: the pair of proposals that comes nearest, the first transform in it that does not fit, the first
//! selector that nothing of ours meets.

use crate::ike::account::{Offered, Part};
use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::{Encr, Esn, Integ, KeMethod, Prf, TransformType};

/// The order in which transforms are compared, and shown.
pub const KINDS: [u8; 12] = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 5];

const KE: u8 = TransformType::KE.0;
const INTEG: u8 = TransformType::INTEG.0;
const ESN: u8 = TransformType::ESN.0;

/// Two proposals beside each other: the pair that fits, or the one that comes nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Which of ours.
    pub ours: usize,
    /// Which of theirs.
    pub theirs: usize,
    /// The type of the first transform that differs; `None`: they fit.
    pub differs: Option<u8>,
}

/// The name of a transform type for people.
pub fn kind_name(kind: u8) -> String {
    match kind {
        1 => "encryption".to_owned(),
        2 => "PRF".to_owned(),
        3 => "integrity".to_owned(),
        4 => "group".to_owned(),
        5 => "sequence numbers".to_owned(),
        6..=12 => format!("additional key exchange {}", kind - 5),
        other => format!("transform type {other}"),
    }
}

/// The name of one transform.
pub fn name(part: Part) -> String {
    let name = match part.kind {
        1 => Encr(part.id).to_string(),
        2 => Prf(part.id).to_string(),
        3 => Integ(part.id).to_string(),
        4 | 6..=12 => group(part.id),
        5 => Esn(part.id).to_string(),
        _ => part.id.to_string(),
    };
    part.bits.map_or(name.clone(), |bits| format!("{name}-{bits}"))
}

/// A group with its number, by which Cisco calls it.
pub fn group(id: u16) -> String {
    let method = KeMethod(id);
    match method.name() {
        Some("NONE") => "none".to_owned(),
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    }
}

/// Every transform of one type.
pub fn parts(offered: &Offered, kind: u8) -> Vec<Part> {
    offered.parts.iter().filter(|part| part.kind == kind).copied().collect()
}

/// `a or b`, and what stands for nothing.
pub fn names(parts: &[Part], kind: u8) -> String {
    if parts.is_empty() {
        return if kind == ESN { "no ESN".to_owned() } else { "none".to_owned() };
    }
    parts.iter().map(|part| name(*part)).collect::<Vec<_>>().join(" or ")
}

/// Whether one type of transform is no obstacle between these two.
pub fn fits(ours: &Offered, theirs: &Offered, kind: u8) -> bool {
    let (here, there) = (parts(ours, kind), parts(theirs, kind));
    let none = |list: &[Part]| {
        // NONE as integrity or key exchange, "no ESN" as sequence numbers: the same as nothing at all.
        let may_be_none = matches!(kind, INTEG | KE | ESN | 6..=12);
        list.is_empty() || (may_be_none && list.iter().any(|part| part.id == 0))
    };
    (none(&here) && none(&there)) || here.iter().any(|part| there.contains(part))
}

/// The pair of proposals for one protocol that fits, or comes nearest. `groups`: whether groups count, which they do not
/// in IKE_AUTH.
pub fn nearest(ours: &[Offered], theirs: &[Offered], groups: bool) -> Option<Nearest> {
    let kinds = || KINDS.iter().copied().filter(move |kind| groups || !(*kind == KE || (6..=12).contains(kind)));
    let mut best: Option<(usize, Nearest)> = None;
    for (i, our) in ours.iter().enumerate() {
        for (j, their) in theirs.iter().enumerate().filter(|(_, their)| their.esp == our.esp) {
            let fitting = kinds().filter(|kind| fits(our, their, *kind)).count();
            let differs = kinds().find(|kind| !fits(our, their, *kind));
            if best.as_ref().is_none_or(|(most, _)| fitting > *most) {
                best = Some((fitting, Nearest { ours: i, theirs: j, differs }));
            }
        }
    }
    best.map(|(_, nearest)| nearest)
}

/// Which side of a pair of selectors has nothing in common with the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Our hosts.
    Local,
    /// The peer's hosts.
    Remote,
    /// Each meets something, but not both of one rule.
    Together,
}

/// The pair of ours that comes nearest to the peer's selectors, and the side that does not meet; `None`: one pair meets.
pub fn selectors_apart(
    ours: &[[TrafficSelector; 2]],
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
) -> Option<(usize, Apart)> {
    let meets =
        |ours: &TrafficSelector, theirs: &[TrafficSelector]| theirs.iter().any(|one| one.intersect(ours).is_some());
    let met: Vec<_> = ours.iter().map(|[here, there]| (meets(here, local), meets(there, remote))).collect();
    if met.contains(&(true, true)) {
        return None;
    }
    let (first, second) = (met.iter().position(|(_, there)| *there), met.iter().position(|(here, _)| *here));
    Some(match (first, second) {
        (Some(_), Some(at)) => (at, Apart::Together),
        (Some(at), None) => (at, Apart::Local),
        (None, Some(at)) => (at, Apart::Remote),
        (None, None) => (0, Apart::Local),
    })
}
