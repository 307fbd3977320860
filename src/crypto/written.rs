//! How an operator writes a suite: words joined by hyphens, the ones that operators of IPsec gateways know.
//!
//! IKE: `aes256gcm16-prfsha384-ecp384`, `aes256-sha384-ecp384`. ESP: `aes256gcm16-ecp384-esn`, `aes256-sha256`.
//! Key exchanges that follow the first one (RFC 9370) are written `ke1_mlkem768` to `ke7_..`, as strongSwan does.
//! Words may stand in any order and in capitals; what is printed is in one order and in small letters. Beside a cipher
//! that needs an integrity algorithm the PRF over the same hash is understood if none is written. Left out on purpose:
//! lists of alternatives within one suite. Several proposals are several suites, in order of preference.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::provider::{ALGORITHMS, Choice, row_of};
use super::suite::{Additional, Cipher, EspSuite, Group, IkeSuite, MAX_ADDITIONAL, Mac, PrfAlg};

/// A written suite that means nothing, and where it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct SuiteError {
    /// The bytes of the text that are to blame: one word, or all of it if something is missing.
    pub at: Range<usize>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a written suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A word that nobody knows.
    #[error("`{word}` is no algorithm known here{}", hint(*nearest))]
    Unknown {
        /// The word.
        word: String,
        /// The known word that looks most like it.
        nearest: Option<&'static str>,
    },
    /// An algorithm that exists, but not here.
    #[error("`{word}` is not offered here: {why}; use `{instead}`")]
    NotOffered {
        /// The word.
        word: String,
        /// Why not.
        why: &'static str,
        /// What to write in its place.
        instead: &'static str,
    },
    /// Two words for one place.
    #[error("`{word}` is a second {place} beside `{first}`; write a suite for each")]
    Repeated {
        /// The second word.
        word: String,
        /// The first word.
        first: &'static str,
        /// The place that both take.
        place: &'static str,
    },
    /// A word that has no meaning in this suite.
    #[error("`{word}` does not belong here: {why}")]
    Misplaced {
        /// The word.
        word: String,
        /// Why not.
        why: &'static str,
    },
    /// A place that nobody takes.
    #[error("the {place} is missing: add one, for example `{example}`")]
    Missing {
        /// The place.
        place: &'static str,
        /// A word for it.
        example: &'static str,
    },
}

fn hint(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(word) => format!("; did you mean `{word}`?"),
        None => format!("; known are {}", ALGORITHMS.each_ref().map(|row| row.word).join(", ")),
    }
}

const CIPHER: &str = "encryption algorithm";
const MAC: &str = "integrity algorithm";
const PRF: &str = "pseudorandom function";
const GROUP: &str = "key exchange group";

/// Other words for what the provider table has.
const ALIASES: [(&str, Choice); 2] =
    [("curve25519", Choice::Group(Group::Curve25519)), ("aes256cbc", Choice::Cipher(Cipher::Aes256Cbc))];

const WEAK: &str = "it is too weak";
const SHORT_ICV: &str = "RFC 8221 asks for the 16-byte ICV";
const NOT_BUILT: &str = "this build does not have it";

/// Words that an operator may bring from another gateway.
const NOT_OFFERED: [(&str, &str, &str); 33] = [
    ("des", WEAK, "aes256gcm16"),
    ("3des", WEAK, "aes256gcm16"),
    ("blowfish", WEAK, "aes256gcm16"),
    ("null", WEAK, "aes256gcm16"),
    ("aes", NOT_BUILT, "aes256gcm16"),
    ("aes128", NOT_BUILT, "aes256"),
    ("aes192", NOT_BUILT, "aes256"),
    ("aes256ctr", NOT_BUILT, "aes256gcm16"),
    ("aes256ccm16", NOT_BUILT, "aes256gcm16"),
    ("aes192gcm16", NOT_BUILT, "aes256gcm16"),
    ("aes128gcm8", SHORT_ICV, "aes128gcm16"),
    ("aes128gcm12", SHORT_ICV, "aes128gcm16"),
    ("aes256gcm8", SHORT_ICV, "aes256gcm16"),
    ("aes256gcm12", SHORT_ICV, "aes256gcm16"),
    ("md5", WEAK, "sha384"),
    ("sha", WEAK, "sha384"),
    ("sha1", WEAK, "sha384"),
    ("aesxcbc", NOT_BUILT, "sha384"),
    ("aescmac", NOT_BUILT, "sha384"),
    ("prfmd5", WEAK, "prfsha384"),
    ("prfsha1", WEAK, "prfsha384"),
    ("prfaesxcbc", NOT_BUILT, "prfsha384"),
    ("prfaescmac", NOT_BUILT, "prfsha384"),
    ("modp768", WEAK, "ecp384"),
    ("modp1024", WEAK, "ecp384"),
    ("modp1536", WEAK, "ecp384"),
    ("modp6144", NOT_BUILT, "modp4096"),
    ("modp8192", NOT_BUILT, "modp4096"),
    ("ecp192", WEAK, "ecp384"),
    ("ecp224", WEAK, "ecp384"),
    ("x448", NOT_BUILT, "x25519"),
    ("curve448", NOT_BUILT, "x25519"),
    ("mlkem512", WEAK, "mlkem768"),
];

/// One word and where it stood.
struct Word<T> {
    value: T,
    text: String,
    at: Range<usize>,
}

impl<T> Word<T> {
    fn misplaced(self, why: &'static str) -> SuiteError {
        SuiteError { at: self.at, fault: Fault::Misplaced { word: self.text, why } }
    }
}

/// The words of a suite by place.
#[derive(Default)]
struct Words {
    cipher: Option<Word<Cipher>>,
    mac: Option<Word<Mac>>,
    prf: Option<Word<PrfAlg>>,
    group: Option<Word<Group>>,
    esn: Option<Word<bool>>,
    additional: Additional,
    /// The first word for one of them.
    first_additional: Option<Word<Group>>,
}

impl Words {
    fn read(text: &str) -> Result<Self, SuiteError> {
        let mut words = Self::default();
        let mut start = 0;
        for part in text.split('-') {
            let at = start..start + part.len();
            start = at.end + 1;
            words.place(part.to_ascii_lowercase(), at)?;
        }
        Ok(words)
    }

    fn place(&mut self, text: String, at: Range<usize>) -> Result<(), SuiteError> {
        if let "esn" | "noesn" = text.as_str() {
            let value = text == "esn";
            return take(&mut self.esn, Word { value, text, at }, "word on sequence numbers", |esn| esn_word(*esn));
        }
        if let Some((place, group)) = additional(&text) {
            let group = group.to_owned();
            return self.follow(place, &group, text, at);
        }
        match look_up(&text) {
            Ok(Choice::Group(value)) if value.is_post_quantum() => Err(Word { value, text, at }
                .misplaced("it follows a classical key exchange: write it with `ke1_` in front")),
            Ok(Choice::Cipher(value)) => take(&mut self.cipher, Word { value, text, at }, CIPHER, |it| it.word()),
            Ok(Choice::Mac(value)) => take(&mut self.mac, Word { value, text, at }, MAC, |it| it.word()),
            Ok(Choice::Prf(value)) => take(&mut self.prf, Word { value, text, at }, PRF, |it| it.word()),
            Ok(Choice::Group(value)) => take(&mut self.group, Word { value, text, at }, GROUP, |it| it.word()),
            Err(fault) => Err(SuiteError { at, fault }),
        }
    }

    /// A key exchange that follows the first one.
    fn follow(&mut self, place: usize, group: &str, text: String, at: Range<usize>) -> Result<(), SuiteError> {
        let value = match look_up(group) {
            Ok(Choice::Group(value)) => value,
            Ok(_) => return Err(Word { value: (), text, at }.misplaced("only a key exchange can follow one")),
            Err(fault) => return Err(SuiteError { at, fault }),
        };
        let twice = self.additional.iter().find(|(_, other)| *other == value);
        if let Some(first) = self.additional.put(place, value).or(twice.map(|(_, other)| other)) {
            let fault =
                Fault::Repeated { word: text, first: first.word(), place: "key exchange of its kind or number" };
            return Err(SuiteError { at, fault });
        }
        self.first_additional.get_or_insert(Word { value, text, at });
        Ok(())
    }

    /// RFC 9370 §2.2.1: what follows is of other kinds than what goes before, and nothing follows nothing.
    fn following(&mut self, group: Option<Group>) -> Result<Additional, SuiteError> {
        let repeats = self.additional.iter().any(|(_, other)| Some(other) == group);
        match self.first_additional.take() {
            Some(word) if group.is_none() => Err(word.misplaced("there is no key exchange that it could follow")),
            Some(word) if repeats => {
                Err(word.misplaced("an additional key exchange is of another kind than the first"))
            }
            _ => Ok(self.additional),
        }
    }

    /// Cipher and integrity, which are one decision: RFC 7296 §3.3 has no integrity algorithm beside a combined-mode
    /// cipher, and one beside every other.
    fn protection(
        &mut self,
        aead_with_mac: &'static str,
        all: &Range<usize>,
    ) -> Result<(Cipher, Option<Mac>), SuiteError> {
        let cipher = self.cipher.take().ok_or_else(|| missing(CIPHER, "aes256gcm16", all))?.value;
        match (cipher.is_aead(), self.mac.take()) {
            (true, None) => Ok((cipher, None)),
            (true, Some(mac)) => Err(mac.misplaced(aead_with_mac)),
            (false, Some(mac)) => Ok((cipher, Some(mac.value))),
            (false, None) => Err(missing(MAC, "sha384", all)),
        }
    }
}

fn take<T>(
    place: &mut Option<Word<T>>,
    word: Word<T>,
    name: &'static str,
    canonical: impl Fn(&T) -> &'static str,
) -> Result<(), SuiteError> {
    if let Some(first) = place {
        let first = canonical(&first.value);
        return Err(SuiteError { at: word.at, fault: Fault::Repeated { word: word.text, first, place: name } });
    }
    *place = Some(word);
    Ok(())
}

/// `ke1_` to `ke7_` and a key exchange.
fn additional(text: &str) -> Option<(usize, &str)> {
    let (place, group) = text.strip_prefix("ke")?.split_once('_')?;
    let place = place.parse().ok().filter(|place| (1..=MAX_ADDITIONAL).contains(place))?;
    Some((place, group))
}

fn look_up(text: &str) -> Result<Choice, Fault> {
    if let Some(row) = ALGORITHMS.iter().find(|row| row.word == text) {
        return Ok(row.choice);
    }
    if let Some((_, choice)) = ALIASES.iter().find(|(alias, _)| *alias == text) {
        return Ok(*choice);
    }
    let word = text.to_owned();
    if let Some((_, why, instead)) = NOT_OFFERED.iter().find(|(known, _, _)| *known == text) {
        return Err(Fault::NotOffered { word, why, instead });
    }
    let nearest = ALGORITHMS
        .iter()
        .map(|row| row.word)
        .chain(["esn"])
        .map(|word| (strsim::damerau_levenshtein(word, text), word))
        .min_by_key(|(distance, _)| *distance)
        // A word that shares less than two thirds of its letters is a guess, not a slip.
        .filter(|(distance, word)| distance * 3 <= word.len())
        .map(|(_, word)| word);
    Err(Fault::Unknown { word, nearest })
}

fn missing(place: &'static str, example: &'static str, all: &Range<usize>) -> SuiteError {
    SuiteError { at: all.clone(), fault: Fault::Missing { place, example } }
}

impl FromStr for IkeSuite {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        let all = 0..text.len();
        let mut words = Words::read(text)?;
        if let Some(esn) = words.esn.take() {
            return Err(esn.misplaced("sequence numbers are those of ESP"));
        }
        let (cipher, mac) = words.protection(
            "this cipher protects integrity itself; name the pseudorandom function with `prf` before the hash",
            &all,
        )?;
        let prf = match (words.prf.take(), mac) {
            (Some(prf), _) => prf.value,
            (None, Some(mac)) => mac.prf(),
            (None, None) => return Err(missing(PRF, "prfsha384", &all)),
        };
        let group = words.group.take().ok_or_else(|| missing(GROUP, "ecp384", &all))?.value;
        let additional = words.following(Some(group))?;
        Ok(Self { cipher, mac, prf, group, additional })
    }
}

impl FromStr for EspSuite {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        let mut words = Words::read(text)?;
        if let Some(prf) = words.prf.take() {
            return Err(prf.misplaced("ESP takes its keys from the IKE SA and has no pseudorandom function of its own"));
        }
        let (cipher, mac) = words.protection("this cipher protects integrity itself", &(0..text.len()))?;
        let group = words.group.take().map(|group| group.value);
        let additional = words.following(group)?;
        Ok(Self { cipher, mac, group, additional, esn: words.esn.is_some_and(|esn| esn.value) })
    }
}

macro_rules! word {
    ($($type:ident => $choice:ident),*) => { $(
        impl $type {
            /// The word for it in a written suite.
            #[must_use]
            pub fn word(self) -> &'static str {
                row_of(Choice::$choice(self)).word
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    )* };
}

word!(Cipher => Cipher, Mac => Mac, PrfAlg => Prf, Group => Group);

const fn esn_word(esn: bool) -> &'static str {
    if esn { "esn" } else { "noesn" }
}

impl fmt::Display for Additional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(place, group)| write!(f, "-ke{place}_{group}"))
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cipher)?;
        if let Some(mac) = self.mac {
            write!(f, "-{mac}")?;
        }
        if self.mac.map(Mac::prf) != Some(self.prf) {
            write!(f, "-{}", self.prf)?;
        }
        write!(f, "-{}{}", self.group, self.additional)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cipher)?;
        if let Some(mac) = self.mac {
            write!(f, "-{mac}")?;
        }
        if let Some(group) = self.group {
            write!(f, "-{group}{}", self.additional)?;
        }
        if self.esn { f.write_str("-esn") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
