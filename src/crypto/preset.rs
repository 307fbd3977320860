//! Suites for peers that many people have, so that a tunnel need not list them.
//!
//! AES-GCM comes first and AES-CBC in a suite of its own: RFC 7296 §3.3 keeps combined-mode ciphers and others in
//! separate proposals, and Cisco's own configuration does the same (one IKEv2 proposal or transform set each). All of
//! them are AES-256, which is what a real agreement takes (CBP §2a). ESP suites name a group, so that each rekey makes
//! fresh key material; in IKE_AUTH the group is left out (RFC 7296 §1.2).

use super::suite::{EspSuite, IkeSuite};

/// Suites under a name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name in a tunnel's `preset`.
    pub name: &'static str,
    /// IKE suites as written, in order of preference.
    pub ike: &'static [&'static str],
    /// ESP suites as written, in order of preference.
    pub esp: &'static [&'static str],
}

/// Every preset.
pub const PRESETS: [Preset; 4] = [CISCO_IOS_XE, CISCO_ASA, CNSA, STRONGSWAN];

/// Routers under IOS XE. After GCM with P-384 comes the same strength in CBC for images without GCM in IKE, then
/// SHA-512 with P-256, for proposals left at their defaults, and group 14 for old configurations. No extended sequence
/// numbers: 2^32 packets are years of message queue traffic, and a rekey comes long before.
pub const CISCO_IOS_XE: Preset = Preset {
    name: "cisco-ios-xe",
    ike: &["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384", "aes256-sha512-ecp256", "aes256-sha256-modp2048"],
    esp: &["aes256gcm16-ecp384", "aes256-sha384-ecp384", "aes256-sha256-modp2048"],
};

/// Adaptive Security Appliances and Firepower. GCM with P-384, then CBC by falling strength; groups 19 and 14 are what
/// their assistants write.
pub const CISCO_ASA: Preset = Preset {
    name: "cisco-asa",
    ike: &["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384", "aes256-sha256-ecp256", "aes256-sha256-modp2048"],
    esp: &["aes256gcm16-ecp384", "aes256-sha384-ecp384", "aes256-sha256-modp2048"],
};

/// The Commercial National Security Algorithm suite, version 1 (RFC 9206): AES-256-GCM, a PRF over SHA-384 or SHA-512,
/// P-384 or a MODP group of at least 3072 bits, and nothing to fall back to. Extended sequence numbers come first.
pub const CNSA: Preset = Preset {
    name: "cnsa",
    ike: &[
        "aes256gcm16-prfsha384-ecp384",
        "aes256gcm16-prfsha512-ecp384",
        "aes256gcm16-prfsha384-modp4096",
        "aes256gcm16-prfsha384-modp3072",
    ],
    esp: &["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384", "aes256gcm16-modp4096", "aes256gcm16-modp3072"],
};

/// strongSwan, with its kernel's ESP or its own. P-384 and Curve25519, which its builds have where their MODP groups may
/// be missing; then CBC for old ones. Extended sequence numbers come second to plain ones: its ESP in user space
/// (kernel-libipsec) has none, and takes the first suite of its list that both sides name.
pub const STRONGSWAN: Preset = Preset {
    name: "strongswan",
    ike: &[
        "aes256gcm16-prfsha384-ecp384",
        "aes256gcm16-prfsha256-x25519",
        "aes256-sha384-ecp384",
        "aes256-sha256-x25519",
        "aes256-sha256-modp2048",
    ],
    esp: &[
        "aes256gcm16-ecp384",
        "aes256gcm16-ecp384-esn",
        "aes256gcm16-x25519",
        "aes256-sha384-ecp384",
        "aes256-sha256-modp2048",
    ],
};

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }

    /// The IKE suites.
    #[must_use]
    pub fn ike_suites(&self) -> Vec<IkeSuite> {
        self.ike.iter().map(|text| text.parse().expect("a preset is written well, as a test shows")).collect()
    }

    /// The ESP suites.
    #[must_use]
    pub fn esp_suites(&self) -> Vec<EspSuite> {
        self.esp.iter().map(|text| text.parse().expect("a preset is written well, as a test shows")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::Cipher;

    #[test]
    fn every_preset_is_written_well_and_fit_for_a_real_agreement() {
        for preset in PRESETS {
            let (ike, esp) = (preset.ike_suites(), preset.esp_suites());
            let ciphers = ike.iter().map(|suite| suite.cipher).chain(esp.iter().map(|suite| suite.cipher));
            assert!(ciphers.into_iter().all(Cipher::is_aes256));
            assert_eq!(
                ike.iter().map(ToString::to_string).collect::<Vec<_>>(),
                preset.ike,
                "{} in one form",
                preset.name
            );
            assert_eq!(
                esp.iter().map(ToString::to_string).collect::<Vec<_>>(),
                preset.esp,
                "{} in one form",
                preset.name
            );
            assert!(ike.is_sorted_by_key(|suite| !suite.cipher.is_aead()), "{}: GCM first", preset.name);
            assert!(esp.is_sorted_by_key(|suite| !suite.cipher.is_aead()), "{}: GCM first", preset.name);
            assert_eq!(Preset::named(preset.name).map(|found| found.ike), Some(preset.ike));
        }
        assert!(Preset::named("cisco").is_none());
    }
}
