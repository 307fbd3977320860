//! What the documents call a significant change: another peer, end point, cipher, port or contact than the agreement was
//! made for.
//!
//! CBP ISA §4: "Renewals will be initiated by your company every 3 years, or when significant changes occur"; TAXII ISA
//! §1.12 and AIS agreement §4.0: "if the technology documented herein does not change". A change does not stop traffic: it
//! asks for a renewal, which takes the new state as the baseline. What exactly has changed shows the comparison of two policies;
//! here stands in which part, by digests, so that a large configuration takes no room.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// A part of what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The other gateway: addresses and identity.
    Peer,
    /// Our gateway, and the hosts of either side.
    EndPoint,
    /// Algorithms and how the sides prove themselves.
    Cipher,
    /// Services, ports and who opens them.
    Port,
    /// Who is to be called.
    Contact,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::Peer, Self::EndPoint, Self::Cipher, Self::Port, Self::Contact];

    /// The part as it stands in answers, events and on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::EndPoint => "end-point",
            Self::Cipher => "cipher",
            Self::Port => "port",
            Self::Contact => "contact",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The parts as they are, or were when they were agreed upon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline(BTreeMap<Part, Digest>);

impl Baseline {
    /// From facts, each of one part. Their order means nothing, nor does one that comes twice.
    pub fn of(facts: impl IntoIterator<Item = (Part, String)>) -> Self {
        let mut parts: BTreeMap<Part, BTreeSet<String>> = Part::ALL.map(|part| (part, BTreeSet::new())).into();
        for (part, fact) in facts {
            parts.entry(part).or_default().insert(fact);
        }
        let digest = |facts: BTreeSet<String>| {
            // A length goes before each fact, so that no two lists of facts read the same.
            let text = facts.into_iter().fold(String::new(), |text, fact| text + &fact.len().to_string() + " " + &fact);
            Digest::of(text.as_bytes())
        };
        Self(parts.into_iter().map(|(part, facts)| (part, digest(facts))).collect())
    }

    /// The parts in which `now` is not what was agreed. A part that an older version did not record is not compared.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<Part> {
        let differs =
            |(part, agreed): (&Part, &Digest)| now.0.get(part).is_some_and(|is| is != agreed).then_some(*part);
        self.0.iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_part_and_order_is_none() {
        let fact = |part, text: &str| (part, text.to_owned());
        let agreed = || vec![fact(Part::Peer, "203.0.113.5"), fact(Part::Port, "1414"), fact(Part::Port, "22")];
        let baseline = Baseline::of(agreed());
        let mut turned = agreed();
        turned.reverse();
        turned.push(fact(Part::Port, "22"));
        assert_eq!(baseline.differences(&Baseline::of(turned)), []);
        for part in Part::ALL {
            let mut changed = agreed();
            changed.push(fact(part, "more"));
            assert_eq!(baseline.differences(&Baseline::of(changed)), [part]);
        }
        assert_eq!(baseline.differences(&Baseline::of([])), [Part::Peer, Part::Port]);
        // "ab" and "c" are not "a" and "bc".
        let split = |texts: [&str; 2]| Baseline::of(texts.map(|text| fact(Part::Peer, text)));
        assert_ne!(split(["ab", "c"]), split(["a", "bc"]));
        assert_eq!(Baseline::default().differences(&baseline), [], "an older version knew of no parts");
    }
}
