//! A proposal as other gateways print it: swanctl's words (`aes256-sha256-modp2048`), charon's log (`received proposals:
//! IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048`), Cisco's `show crypto ikev2 proposal` and the lines of
//! its configuration. Every algorithm is understood that such a text may name, also those that are not offered here.

use crate::ike::account::{Offered, Part};
use crate::wire::ike::numbers::{Encr, Integ, KeMethod, Prf};

/// Longest text that is read.
const MAX_TEXT: usize = 64 * 1024;
/// No list is longer.
const MAX_PROPOSALS: usize = 64;

/// What a word stands for by itself.
enum Meaning {
    Part(Part),
    /// A hash: integrity, or PRF, or both.
    Hash {
        integ: Integ,
        prf: Prf,
    },
    /// Nothing that is negotiated.
    Nothing,
}

/// The proposals in a text; the error is a sentence.
pub(super) fn read(text: &str) -> Result<Vec<Offered>, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("a proposal has at most {MAX_TEXT} bytes"));
    }
    let found = if text.to_ascii_lowercase().contains("encryption") {
        cisco(text)?
    } else {
        let body = match text.rsplit_once("proposals:") {
            Some((_, list)) => list.lines().next().unwrap_or_default(),
            None => text,
        };
        let list = body.split([',', ' ', '\n']).map(str::trim).filter(|word| !word.is_empty());
        list.take(MAX_PROPOSALS).map(joined).collect::<Result<Vec<_>, _>>()?
    };
    if found.is_empty() { Err("there is no proposal in this text".to_owned()) } else { Ok(found) }
}

/// `aes256-sha256-modp2048`, or `ESP:AES_GCM_16_256/NO_EXT_SEQ`.
fn joined(text: &str) -> Result<Offered, String> {
    let (protocol, rest) = match text.split_once(':') {
        Some((protocol, rest)) => (Some(protocol.to_ascii_uppercase()), rest),
        None => (None, text),
    };
    let slashes = rest.contains('/') || rest.contains('_');
    let words: Vec<&str> = rest.split(if slashes { '/' } else { '-' }).collect();
    let mut offered = Offered { esp: protocol.as_deref() == Some("ESP"), parts: Vec::new() };
    let mut hashes = Vec::new();
    for word in words.iter().map(|word| word.trim_end_matches('!')).filter(|word| !word.is_empty()) {
        match meaning(word).ok_or_else(|| format!("`{}` is no algorithm known here", shown(word)))? {
            Meaning::Part(part) => add(&mut offered.parts, part),
            Meaning::Hash { integ, prf } => hashes.push((integ, prf)),
            Meaning::Nothing => {}
        }
    }
    // A suite without PRF and group is one for ESP; strongSwan derives an IKE suite's PRF from its integrity algorithm.
    let has = |offered: &Offered, kind: u8| offered.parts.iter().any(|part| part.kind == kind);
    let for_esp = has(&offered, 5) || !(has(&offered, 2) || has(&offered, 4));
    if protocol.is_none() && for_esp {
        offered.esp = true;
    }
    let aead = offered.parts.iter().any(|part| part.kind == 1 && is_aead(part.id));
    let said_prf = has(&offered, 2);
    for (integ, prf) in hashes {
        if !aead {
            add(&mut offered.parts, Part { kind: 3, id: integ.0, bits: None });
        }
        if !offered.esp && !said_prf {
            add(&mut offered.parts, Part { kind: 2, id: prf.0, bits: None });
        }
    }
    Ok(offered)
}

/// The lines of a Cisco device: `Encryption : AES-CBC-256`, ` encryption aes-cbc-256`, ` group 19`.
fn cisco(text: &str) -> Result<Vec<Offered>, String> {
    let mut found: Vec<Offered> = Vec::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<String> =
            line.split([' ', ':', '\t', ',']).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
        let [first, rest @ ..] = words.as_slice() else { continue };
        let (kind, rest) = match (first.as_str(), rest) {
            ("encryption", rest) => (1, rest),
            ("integrity", rest) => (3, rest),
            ("prf", rest) => (2, rest),
            ("group", rest) => (4, rest),
            ("dh", [group, rest @ ..]) if group == "group" => (4, rest),
            _ => continue,
        };
        if kind == 1 || found.is_empty() {
            if found.len() >= MAX_PROPOSALS {
                break;
            }
            found.push(Offered::default());
        }
        let Some(current) = found.last_mut() else { continue };
        for word in rest {
            let part = match (kind, word.as_str()) {
                // `DH_GROUP_256_ECP/Group`, and behind it the number.
                (4, word) if word.starts_with("dh_group") || word == "group" => continue,
                (4, word) => word.parse().ok().map(|id| Part { kind: 4, id, bits: None }),
                (3, "none" | "null") => continue,
                (_, word) => match meaning(word) {
                    Some(Meaning::Part(part)) if part.kind == kind => Some(part),
                    Some(Meaning::Hash { integ, .. }) if kind == 3 => Some(Part { kind, id: integ.0, bits: None }),
                    Some(Meaning::Hash { prf, .. }) if kind == 2 => Some(Part { kind, id: prf.0, bits: None }),
                    _ => None,
                },
            };
            match part {
                Some(part) => add(&mut current.parts, part),
                None => return Err(format!("`{}` is no algorithm known here", shown(word))),
            }
        }
    }
    Ok(found)
}

fn add(parts: &mut Vec<Part>, part: Part) {
    if !parts.contains(&part) {
        parts.push(part);
    }
}

fn is_aead(id: u16) -> bool {
    (14..=20).contains(&id) || id == Encr::CHACHA20_POLY1305.0
}

/// A word of the text for an error: short, and without what a terminal obeys.
fn shown(word: &str) -> String {
    word.chars().take(40).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

fn meaning(word: &str) -> Option<Meaning> {
    let word = word.to_ascii_lowercase().replace(['_', '-'], "");
    let part = |kind: u8, id: u16, bits: Option<u16>| Some(Meaning::Part(Part { kind, id, bits }));
    if let Some(meaning) = hash(&word) {
        return Some(meaning);
    }
    match word.as_str() {
        "esn" | "extseq" => return part(5, 1, None),
        "noesn" | "noextseq" => return part(5, 0, None),
        "null" => return part(1, Encr::NULL.0, None),
        "des" | "descbc" => return part(1, Encr::DES.0, None),
        "3des" | "3descbc" => return part(1, Encr::TRIPLE_DES.0, None),
        "chacha20poly1305" => return part(1, Encr::CHACHA20_POLY1305.0, None),
        "none" | "default" => return Some(Meaning::Nothing),
        _ => {}
    }
    if let Some(id) = group(&word) {
        return part(4, id, None);
    }
    // aes256, aescbc256, aesgcm16256, aes256gcm16, aesgcm256, aes256gcm128, aes256ctr
    let rest = word.strip_prefix("aes")?;
    let (bits, mode) = match ["128", "192", "256"].into_iter().find(|bits| rest.starts_with(bits)) {
        Some(bits) => (bits.parse().ok(), rest.strip_prefix(bits).unwrap_or_default()),
        None => match ["128", "192", "256"].into_iter().find(|bits| rest.ends_with(bits)) {
            Some(bits) => (bits.parse().ok(), rest.strip_suffix(bits).unwrap_or_default()),
            None => (Some(128), rest),
        },
    };
    let id = match mode {
        "" | "cbc" => Encr::AES_CBC,
        "ctr" => Encr::AES_CTR,
        "gcm8" | "gcm64" => Encr::AES_GCM_8,
        "gcm12" | "gcm96" => Encr::AES_GCM_12,
        "gcm" | "gcm16" | "gcm128" => Encr::AES_GCM_16,
        "ccm16" | "ccm128" => Encr::AES_CCM_16,
        _ => return None,
    };
    part(1, id.0, bits)
}

fn hash(word: &str) -> Option<Meaning> {
    let (is_prf, bare) = match word.strip_prefix("prf") {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix("auth").unwrap_or(word)),
    };
    let bare = bare.strip_prefix("hmac").unwrap_or(bare);
    let (integ, prf) = match bare {
        "md5" | "md596" => (Integ::HMAC_MD5_96, Prf::HMAC_MD5),
        "sha" | "sha1" | "sha96" | "sha196" => (Integ::HMAC_SHA1_96, Prf::HMAC_SHA1),
        "sha2" | "sha256" | "sha2256" | "sha2256128" | "sha256128" => (Integ::HMAC_SHA2_256_128, Prf::HMAC_SHA2_256),
        "sha384" | "sha2384" | "sha2384192" | "sha384192" => (Integ::HMAC_SHA2_384_192, Prf::HMAC_SHA2_384),
        "sha512" | "sha2512" | "sha2512256" | "sha512256" => (Integ::HMAC_SHA2_512_256, Prf::HMAC_SHA2_512),
        "aesxcbc" | "aesxcbc96" | "aes128xcbc" => (Integ::AES_XCBC_96, Prf::AES128_XCBC),
        "aescmac" | "aes128cmac" => return Some(Meaning::Part(Part { kind: 2, id: Prf::AES128_CMAC.0, bits: None })),
        _ => return None,
    };
    // charon writes out which of the two it means: HMAC_SHA2_256_128 has its length behind it.
    let truncated = ["96", "128", "192", "256"].iter().any(|bits| bare.len() > 7 && bare.ends_with(bits));
    Some(match (is_prf, truncated) {
        (true, _) => Meaning::Part(Part { kind: 2, id: prf.0, bits: None }),
        (false, true) => Meaning::Part(Part { kind: 3, id: integ.0, bits: None }),
        (false, false) => Meaning::Hash { integ, prf },
    })
}

fn group(word: &str) -> Option<u16> {
    let id = match word {
        "modp768" => KeMethod::MODP_768,
        "modp1024" => KeMethod::MODP_1024,
        "modp1536" => KeMethod::MODP_1536,
        "modp2048" => KeMethod::MODP_2048,
        "modp3072" => KeMethod::MODP_3072,
        "modp4096" => KeMethod::MODP_4096,
        "modp6144" => KeMethod::MODP_6144,
        "modp8192" => KeMethod::MODP_8192,
        "ecp256" => KeMethod::ECP_256,
        "ecp384" => KeMethod::ECP_384,
        "ecp521" => KeMethod::ECP_521,
        "modp2048256" | "modp2048s256" => KeMethod::MODP_2048_256,
        "curve25519" | "x25519" => KeMethod::CURVE25519,
        "curve448" | "x448" => KeMethod::CURVE448,
        other => return other.strip_prefix("dh").or_else(|| other.strip_prefix("group"))?.parse().ok(),
    };
    Some(id.0)
}
