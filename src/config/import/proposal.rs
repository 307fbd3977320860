//! Proposals of strongSwan and libreswan as our suites.
//!
//! There a proposal may name several algorithms for one place, any of which will do; here each combination is a suite of
//! its own. What is not offered here is dropped with its reason, and with it the combinations that need it.

use super::peer::Losses;
use super::shown;
use crate::crypto::preset::STRONGSWAN;
use crate::crypto::provider::{ALGORITHMS, Choice};
use crate::crypto::suite::{EspSuite, IkeSuite};

/// No list of ours is longer.
const MAX_SUITES: usize = 64;

/// What a proposal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// IKE SAs.
    Ike,
    /// Child SAs.
    Esp,
}

/// The words of one proposal by place.
#[derive(Default)]
struct Words {
    ciphers: Vec<&'static str>,
    macs: Vec<&'static str>,
    prfs: Vec<&'static str>,
    groups: Vec<&'static str>,
    esn: Vec<&'static str>,
    group_dropped: bool,
}

/// Every suite of a list of proposals, in their order, each once.
pub(super) fn suites(purpose: Purpose, value: &str, line: usize, losses: &mut Losses) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for proposal in value.split(',').map(|text| text.trim().trim_end_matches('!')).filter(|text| !text.is_empty()) {
        let made = if proposal == "default" {
            losses.note(line, "default: what the other gateway offers by itself is replaced by preset \"strongswan\"");
            preset(purpose)
        } else {
            combinations(purpose, &words(proposal, line, losses))
        };
        if made.is_empty() {
            losses.note(line, format!("{}: no suite of this proposal can be used here", shown(proposal)));
        }
        for suite in made {
            if found.len() < MAX_SUITES && !found.contains(&suite) {
                found.push(suite);
            }
        }
    }
    found
}

/// The suites of preset `strongswan`.
pub(super) fn preset(purpose: Purpose) -> Vec<String> {
    let suites = match purpose {
        Purpose::Ike => STRONGSWAN.ike,
        Purpose::Esp => STRONGSWAN.esp,
    };
    suites.iter().map(ToString::to_string).collect()
}

fn words(proposal: &str, line: usize, losses: &mut Losses) -> Words {
    let mut words = Words::default();
    for word in proposal.split(['-', ';', '+']).filter(|word| !word.is_empty()) {
        let plain = canonical(word);
        if let "esn" | "noesn" = plain.as_str() {
            words.esn.push(if plain == "esn" { "-esn" } else { "" });
            continue;
        }
        match ALGORITHMS.iter().find(|row| row.word == plain).map(|row| (row.choice, row.word)) {
            Some((Choice::Cipher(_), word)) => words.ciphers.push(word),
            Some((Choice::Mac(_), word)) => words.macs.push(word),
            Some((Choice::Prf(_), word)) => words.prfs.push(word),
            Some((Choice::Group(_), word)) => words.groups.push(word),
            None => {
                words.group_dropped |= ["modp", "ecp", "dh", "curve", "x448", "mlkem", "ke"]
                    .iter()
                    .any(|prefix| plain.starts_with(prefix));
                let why = plain.parse::<EspSuite>().err().map(|error| error.to_string()).unwrap_or_default();
                losses.note(line, format!("{}: {why}", shown(proposal)));
            }
        }
    }
    words
}

fn combinations(purpose: Purpose, words: &Words) -> Vec<String> {
    let mut made = Vec::new();
    // A group that was dropped must not leave a proposal without one.
    if words.group_dropped && words.groups.is_empty() {
        return made;
    }
    let or_none = |list: &[&'static str]| if list.is_empty() { vec![""] } else { list.to_vec() };
    for cipher in &words.ciphers {
        let aead = cipher.parse::<EspSuite>().is_ok();
        let macs = if aead { vec![""] } else { words.macs.clone() };
        for mac in macs {
            // Beside a cipher that needs none, an integrity algorithm stands for the PRF over its hash.
            let prfs: Vec<String> = match (purpose, words.prfs.is_empty()) {
                (Purpose::Ike, false) => words.prfs.iter().map(|prf| format!("-{prf}")).collect(),
                (Purpose::Ike, true) if aead => words.macs.iter().map(|mac| format!("-prf{mac}")).collect(),
                (Purpose::Ike, true) | (Purpose::Esp, _) => vec![String::new()],
            };
            for prf in prfs {
                for group in or_none(&words.groups) {
                    for esn in if purpose == Purpose::Ike { vec![""] } else { or_none(&words.esn) } {
                        let dash = |word: &str| if word.is_empty() { String::new() } else { format!("-{word}") };
                        made.extend(written(purpose, &format!("{cipher}{}{prf}{}{esn}", dash(mac), dash(group))));
                        if made.len() >= MAX_SUITES {
                            return made;
                        }
                    }
                }
            }
        }
    }
    made
}

/// In the one form in which suites are written here.
fn written(purpose: Purpose, text: &str) -> Option<String> {
    match purpose {
        Purpose::Ike => text.parse::<IkeSuite>().ok().map(|suite| suite.to_string()),
        Purpose::Esp => text.parse::<EspSuite>().ok().map(|suite| suite.to_string()),
    }
}

/// Our word for theirs; a word that has none stays as it is.
fn canonical(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let ours = match word.replace('_', "").as_str() {
        "aes256gcm" | "aes256gcm128" | "aesgcm256" | "aesgcm16256" | "aesgcmc256" => "aes256gcm16",
        "aes128gcm" | "aes128gcm128" | "aesgcm" | "aesgcm128" | "aesgcm16128" | "aesgcmc128" => "aes128gcm16",
        "aes256cbc" | "aescbc256" => "aes256",
        "aescbc128" => "aes128",
        "chacha20poly1305" => "chacha20poly1305",
        "sha2" | "sha2256" | "sha2256128" | "hmacsha2256" => "sha256",
        "sha2384" | "hmacsha2384" => "sha384",
        "sha2512" | "hmacsha2512" => "sha512",
        "prfsha2256" => "prfsha256",
        "prfsha2384" => "prfsha384",
        "prfsha2512" => "prfsha512",
        "curve25519" | "dh31" => "x25519",
        "dh14" => "modp2048",
        "dh15" => "modp3072",
        "dh16" => "modp4096",
        "dh19" | "secp256r1" => "ecp256",
        "dh20" | "secp384r1" => "ecp384",
        "dh21" | "secp521r1" => "ecp521",
        "dh1" => "modp768",
        "dh2" => "modp1024",
        "dh5" => "modp1536",
        _ => return word,
    };
    ours.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(purpose: Purpose, text: &str) -> (Vec<String>, Vec<String>) {
        let mut losses = Losses::default();
        let suites = suites(purpose, text, 7, &mut losses);
        let lost = losses.finish();
        assert!(lost.iter().all(|lost| lost.line == 7));
        (suites, lost.into_iter().map(|lost| lost.what).collect())
    }

    #[test]
    fn proposals_of_one_choice_become_one_suite() {
        for (purpose, theirs, ours) in [
            (Purpose::Ike, "aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
            (Purpose::Ike, "aes256-sha2_256-modp2048!", "aes256-sha256-modp2048"),
            (Purpose::Ike, "aes_gcm256-sha2_384;dh20", "aes256gcm16-prfsha384-ecp384"),
            (Purpose::Esp, "AES256GCM16-curve25519-esn", "aes256gcm16-x25519-esn"),
            (Purpose::Esp, "aes256-sha256", "aes256-sha256"),
            (Purpose::Esp, "chacha20poly1305-noesn", "chacha20poly1305"),
        ] {
            assert_eq!(read(purpose, theirs), (vec![ours.to_owned()], vec![]), "{theirs}");
        }
    }

    #[test]
    fn alternatives_become_suites_of_their_own() {
        let (suites, lost) = read(Purpose::Ike, "aes256-aes256gcm16-sha384-ecp384-modp2048");
        assert_eq!(
            suites,
            [
                "aes256-sha384-ecp384",
                "aes256-sha384-modp2048",
                "aes256gcm16-prfsha384-ecp384",
                "aes256gcm16-prfsha384-modp2048"
            ]
        );
        assert!(lost.is_empty());
        assert_eq!(read(Purpose::Esp, "aes256gcm16-esn-noesn").0, ["aes256gcm16-esn", "aes256gcm16"]);
    }

    #[test]
    fn what_is_not_offered_is_told_and_never_leaves_something_weaker() {
        let (suites, lost) = read(Purpose::Esp, "aes256-3des-sha256-ecp384, aes256gcm16-modp1024");
        assert_eq!(suites, ["aes256-sha256-ecp384"], "without its group the second proposal is gone");
        assert_eq!(lost.len(), 3, "{lost:?}");
        assert!(lost[0].contains("`3des` is not offered here: it is too weak"), "{lost:?}");
        let (suites, lost) = read(Purpose::Ike, "aes256-sha1-modp2048");
        assert!(suites.is_empty() && lost.len() == 2, "{lost:?}");
    }
}
