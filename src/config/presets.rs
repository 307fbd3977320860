//! Lists of suites by the kind of device on the other side, so that nobody has to guess what a peer can do.
//!
//! Every preset is AES-256 throughout (CBP §2a), strongest first.

use crate::crypto::suite::{EspSuite, IkeSuite};

struct Preset {
    name: &'static str,
    ike: &'static [&'static str],
    esp: &'static [&'static str],
}

const PRESETS: &[Preset] = &[
    // Another Portcullis, or any current strongSwan or libreswan.
    Preset {
        name: "modern",
        ike: &["aes256gcm16-prfsha384-ecp384"],
        esp: &["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384"],
    },
    // IOS XE 16.12 and later: GCM for IKE and ESP, groups 19, 20, 21; ESN is off unless it is switched on.
    Preset {
        name: "cisco-ios-xe",
        ike: &["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384", "aes256-sha256-modp2048"],
        esp: &["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384", "aes256-sha256-modp2048"],
    },
    // ASA 9.x: GCM for ESP with every licence, CBC for IKE as the common ground.
    Preset {
        name: "cisco-asa",
        ike: &["aes256gcm16-prfsha384-ecp384", "aes256-sha256-ecp384", "aes256-sha256-modp2048"],
        esp: &["aes256gcm16-ecp384", "aes256-sha256-modp2048"],
    },
];

/// The lists of a preset.
pub(super) fn find(name: &str) -> Option<(Vec<IkeSuite>, Vec<EspSuite>)> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    let ike = preset.ike.iter().map(|text| text.parse().expect("a test parses every suite of every preset"));
    let esp = preset.esp.iter().map(|text| text.parse().expect("a test parses every suite of every preset"));
    Some((ike.collect(), esp.collect()))
}

/// The names of all presets.
pub(super) fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_parses_and_is_aes_256_throughout() {
        for name in names() {
            let (ike, esp) = find(name).unwrap();
            assert!(!ike.is_empty() && !esp.is_empty());
            assert!(ike.iter().all(|suite| suite.cipher.is_aes256()), "{name}");
            assert!(esp.iter().all(|suite| suite.cipher.is_aes256()), "{name}");
        }
    }
}
